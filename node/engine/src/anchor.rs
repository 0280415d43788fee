//! A supernode's side: registrations, relaying, look-ups. The lists of members are in `subscriptions`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use farlan_crypto::NodeId;
use farlan_netconf::DirectoryKey;
use tracing::debug;

use crate::{
    AnchorStatus, Engine, Outbox, Time,
    handshakes::Via,
    peers::{Path, PeerId},
    subscriptions::Subscriptions,
    wire::{
        control::{Control, Membership, NodeRecord, Query},
        datagram::{Datagram, RelayIndex, RelayTarget, SessionIndex, Unknown, put_hint, put_relay},
    },
};

/// A registration ends so long after the last sealed datagram: three lost signs of life.
const REGISTRATION_KEPT: Duration = Duration::from_secs(75);

/// A relay index is not given to another node for so long, so that late datagrams meet nobody.
const INDEX_RESTS: Duration = Duration::from_secs(600);

/// An IPv4 claim outlives its registration for so long, so that a node that comes back finds its address free.
const CLAIM_KEPT: Duration = Duration::from_secs(600);

/// Registrations one supernode holds.
pub(crate) const MAX_REGISTRATIONS: usize = 1 << SLOT_BITS;

/// Low bits of a relay index: the slot. The others count its uses.
const SLOT_BITS: u32 = 20;

/// Memberships of one node; more are ignored.
const MAX_MEMBERSHIPS: usize = 16;

/// Registrations one is remembered to have relayed to; the memory starts anew when it is full.
const MAX_SENT_TO: usize = 4096;

/// A new address is challenged at most this often.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(1);

/// What a supernode keeps.
#[derive(Debug)]
pub(crate) struct Anchor {
    registrations: BTreeMap<PeerId, Registration>,
    by_index: BTreeMap<RelayIndex, PeerId>,
    indexes: Indexes,
    claims: BTreeMap<DirectoryKey, Claim>,
    /// When claims without a registration end.
    claim_ends: BTreeSet<(Time, DirectoryKey)>,
    pub(crate) subscriptions: Subscriptions,
}

/// A registered node.
#[derive(Debug)]
struct Registration {
    index: RelayIndex,
    heard: Time,
    /// The session and the number of the latest request.
    latest: (SessionIndex, u32),
    memberships: Vec<Membership>,
    /// The registrations it relayed something to: those may answer with more than handshakes.
    sent_to: BTreeSet<RelayIndex>,
    challenge: Option<Challenge>,
}

/// A new address of a node that has to prove itself.
#[derive(Debug)]
struct Challenge {
    address: SocketAddr,
    nonce: u64,
    sent: Time,
}

/// An IPv4 address taken in a network.
#[derive(Debug)]
struct Claim {
    holder: NodeId,
    /// When it ends; unset while its holder is registered.
    ends: Option<Time>,
}

/// Gives out relay indexes.
#[derive(Debug)]
struct Indexes {
    /// How often each slot was used, starting at random so that the indexes of an earlier run mean nothing.
    uses: Vec<u32>,
    first_use: u64,
    resting: VecDeque<(Time, u32)>,
}

impl Anchor {
    pub(crate) fn new(random: u64) -> Self {
        Self {
            registrations: BTreeMap::new(),
            by_index: BTreeMap::new(),
            indexes: Indexes {
                uses: Vec::new(),
                first_use: random,
                resting: VecDeque::new(),
            },
            claims: BTreeMap::new(),
            claim_ends: BTreeSet::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    pub(crate) fn status(&self) -> AnchorStatus {
        AnchorStatus {
            registrations: self.registrations.len(),
            subscriptions: self.subscriptions.len(),
            claims: self.claims.len(),
        }
    }

    pub(crate) fn has_registration(&self, id: PeerId) -> bool {
        self.registrations.contains_key(&id)
    }

    pub(crate) fn registration_deadline(&self, id: PeerId) -> Option<Time> {
        self.registrations
            .get(&id)
            .map(|registration| registration.heard + REGISTRATION_KEPT)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let claim = self.claim_ends.first().map(|(at, _)| *at);
        [claim, self.subscriptions.deadline()].into_iter().flatten().min()
    }

    pub(crate) fn index_of(&self, id: PeerId) -> Option<RelayIndex> {
        self.registrations.get(&id).map(|registration| registration.index)
    }

    fn share_a_network(&self, one: PeerId, other: PeerId) -> bool {
        let (Some(one), Some(other)) = (self.registrations.get(&one), self.registrations.get(&other)) else {
            return false;
        };
        one.memberships
            .iter()
            .any(|a| other.memberships.iter().any(|b| a.member_key == b.member_key))
    }
}

impl Indexes {
    fn take(&mut self, now: Time) -> Option<RelayIndex> {
        let rested = self
            .resting
            .pop_front_if(|(since, _)| now.since(*since) >= INDEX_RESTS)
            .map(|(_, slot)| slot);
        let slot = match rested {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.uses.len())
                    .ok()
                    .filter(|_| self.uses.len() < MAX_REGISTRATIONS)?;
                // Slots of an earlier run began elsewhere.
                let first = self.first_use.wrapping_mul(u64::from(slot) | 1) >> 40;
                self.uses.push(u32::try_from(first).unwrap_or_default());
                slot
            }
        };
        let uses = self.uses.get_mut(usize::try_from(slot).ok()?)?;
        *uses = uses.wrapping_add(1);
        let index = (*uses << SLOT_BITS) | slot;
        if index == 0 {
            *uses = uses.wrapping_add(1);
        }
        Some(RelayIndex((*uses << SLOT_BITS) | slot))
    }

    fn give_back(&mut self, now: Time, index: RelayIndex) {
        self.resting.push_back((now, index.0 & ((1 << SLOT_BITS) - 1)));
    }
}

impl Engine {
    /// A node registers, or changes its memberships.
    pub(crate) fn register_asked(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (request, memberships): (u32, &[Membership]),
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        let node = peer.key.node_id();
        let Some(Path::Direct(observed)) = peer.path else {
            return;
        };
        let before = match self.anchor.registrations.get_mut(&id) {
            // An older request that was overtaken must not undo a newer one.
            Some(registration) if registration.latest.0 == local && request < registration.latest.1 => return,
            Some(registration) => {
                registration.latest = (local, request);
                std::mem::take(&mut registration.memberships)
            }
            None => {
                let Some(index) = self.anchor.indexes.take(now) else {
                    return;
                };
                self.anchor.by_index.insert(index, id);
                debug!(node = %node.short(), "registered");
                let registration = Registration {
                    index,
                    heard: now,
                    latest: (local, request),
                    memberships: Vec::new(),
                    sent_to: BTreeSet::new(),
                    challenge: None,
                };
                self.anchor.registrations.insert(id, registration);
                Vec::new()
            }
        };
        // Claims first: who comes first holds an address.
        let mut refused = Vec::new();
        let mut memberships: Vec<Membership> = memberships.iter().copied().take(MAX_MEMBERSHIPS).collect();
        for (position, membership) in memberships.iter_mut().enumerate() {
            if membership.ipv4.is_some() && !self.claim(membership.address_key, node) {
                membership.ipv4 = None;
                refused.extend(u8::try_from(position));
            }
        }
        for old in &before {
            if old.ipv4.is_some()
                && !memberships
                    .iter()
                    .any(|new| new.ipv4.is_some() && new.address_key == old.address_key)
            {
                self.release(old.address_key, &node);
            }
        }
        let Some(registration) = self.anchor.registrations.get_mut(&id) else {
            return;
        };
        registration.heard = now;
        registration.memberships = memberships.clone();
        let index = registration.index;
        let message = Control::Registered {
            request,
            index,
            observed,
            refused,
        };
        self.send_control(now, id, None, &[message], out);
        self.subscribe(now, id, &before, &memberships, out);
        self.arm(id);
    }

    /// Takes an address for `holder`, unless another holds it.
    fn claim(&mut self, key: DirectoryKey, holder: NodeId) -> bool {
        let claim = self.anchor.claims.entry(key).or_insert(Claim { holder, ends: None });
        if claim.holder != holder {
            return false;
        }
        if let Some(ends) = claim.ends.take() {
            self.anchor.claim_ends.remove(&(ends, key));
        }
        true
    }

    fn release(&mut self, key: DirectoryKey, holder: &NodeId) {
        if let Some(claim) = self.anchor.claims.get(&key).filter(|claim| claim.holder == *holder) {
            if let Some(ends) = claim.ends {
                self.anchor.claim_ends.remove(&(ends, key));
            }
            self.anchor.claims.remove(&key);
        }
    }

    /// Ends a registration; its addresses stay reserved for a while, or are free at once if the node said goodbye.
    pub(crate) fn end_registration(&mut self, now: Time, id: PeerId, goodbye: bool, out: &mut Outbox) {
        let Some(registration) = self.anchor.registrations.remove(&id) else {
            return;
        };
        self.anchor.by_index.remove(&registration.index);
        self.anchor.indexes.give_back(now, registration.index);
        let node = self.peers.get(id).map(|peer| peer.key.node_id());
        for membership in registration
            .memberships
            .iter()
            .filter(|membership| membership.ipv4.is_some())
        {
            let key = membership.address_key;
            match (goodbye, self.anchor.claims.get_mut(&key)) {
                (false, Some(claim)) if Some(claim.holder) == node => {
                    let ends = now + CLAIM_KEPT;
                    claim.ends = Some(ends);
                    self.anchor.claim_ends.insert((ends, key));
                }
                (true, _) => {
                    if let Some(node) = node {
                        self.release(key, &node);
                    }
                }
                _ => {}
            }
        }
        if let Some(node) = node {
            debug!(node = %node.short(), "gone");
        }
        self.unsubscribe(now, id, &registration.memberships, out);
    }

    /// Ends a registration that was not heard for too long.
    pub(crate) fn tend_anchored(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let over = self
            .anchor
            .registration_deadline(id)
            .is_some_and(|deadline| deadline <= now);
        if over {
            self.end_registration(now, id, false, out);
            self.end_sessions(id, out);
        }
    }

    /// Frees addresses whose holders did not come back, and sends lists again.
    pub(crate) fn tend_anchor(&mut self, now: Time, out: &mut Outbox) {
        while let Some((_, key)) = self.anchor.claim_ends.first().copied().filter(|(at, _)| *at <= now) {
            self.anchor.claim_ends.pop_first();
            self.anchor.claims.remove(&key);
        }
        self.tend_subscriptions(now, out);
    }

    /// Something sealed came from a node: its registration lives on, and a sign of life is answered alike. From a new
    /// address it is challenged first.
    pub(crate) fn anchored_heard(&mut self, now: Time, id: PeerId, via: Via, empty: bool, out: &mut Outbox) {
        let nonce = self.random_u64();
        let Some(peer) = self.peers.get(id) else { return };
        let path = peer.path;
        let rehomed = match (via, path) {
            (Via::Direct(address), Some(Path::Direct(known))) => (address != known).then_some(address),
            _ => None,
        };
        let Some(registration) = self.anchor.registrations.get_mut(&id) else {
            // Not registered (any more): the next request brings it back; until then it is told by silence.
            return;
        };
        registration.heard = now;
        if let Some(address) = rehomed {
            let lately =
                |challenge: &Challenge| challenge.address == address && now.since(challenge.sent) < CHALLENGE_PAUSE;
            if !registration.challenge.as_ref().is_some_and(lately) {
                registration.challenge = Some(Challenge {
                    address,
                    nonce,
                    sent: now,
                });
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.path = Some(Path::Direct(address));
                }
                self.send_control(now, id, None, &[Control::Challenge { nonce }], out);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.path = path;
                }
            }
        } else if empty {
            self.send_empty(now, id, out);
        }
        self.arm(id);
    }

    /// A node answered from the address where it was challenged.
    pub(crate) fn challenge_answered(&mut self, now: Time, id: PeerId, nonce: u64, out: &mut Outbox) {
        let Some(registration) = self.anchor.registrations.get_mut(&id) else {
            return;
        };
        if let Some(challenge) = registration.challenge.take_if(|challenge| challenge.nonce == nonce)
            && let Some(peer) = self.peers.get_mut(id)
        {
            let endpoint = challenge.address;
            peer.path = Some(Path::Direct(endpoint));
            self.send_control(now, id, None, &[Control::Observed { endpoint }], out);
        }
    }

    /// Passes a datagram on to another registered node.
    ///
    /// Until the destination has sent something to the source, only handshakes pass, unless both are in one network.
    pub(crate) fn relay(
        &mut self,
        address: SocketAddr,
        destination: RelayTarget,
        source: RelayIndex,
        inner: &[u8],
        out: &mut Outbox,
    ) {
        let from = self.anchor.by_index.get(&source).copied();
        let from = from.filter(|id| {
            self.peers
                .get(*id)
                .is_some_and(|peer| peer.path == Some(Path::Direct(address)))
        });
        let Some(from) = from else {
            self.counters.relay_unknown_source += 1;
            self.transmit(Path::Direct(address), out, |bytes| {
                put_hint(bytes, Unknown::Registration(source))
            });
            return;
        };
        let to = match destination {
            RelayTarget::Index(index) => self.anchor.by_index.get(&index).copied(),
            RelayTarget::Node(node) => self.peers.by_node(&node),
        };
        let registration = to.and_then(|to| Some((to, self.anchor.registrations.get(&to)?)));
        let Some((to, registration)) = registration else {
            self.counters.relay_unknown_destination += 1;
            return;
        };
        let index = registration.index;
        let answered = registration.sent_to.contains(&source);
        let handshake = Datagram::parse(inner).is_ok_and(|inner| inner.is_handshake());
        if !answered && !handshake && !self.anchor.share_a_network(from, to) {
            self.counters.relay_unanswered += 1;
            return;
        }
        let Some(path) = self.peers.get(to).and_then(|peer| peer.path) else {
            return;
        };
        let sent = self.transmit(path, out, |bytes| {
            put_relay(bytes, RelayTarget::Index(index), source);
            bytes.extend_from_slice(inner);
        });
        if sent {
            self.counters.relayed += 1;
        }
        if let Some(registration) = self.anchor.registrations.get_mut(&from) {
            if registration.sent_to.len() >= MAX_SENT_TO {
                registration.sent_to.clear();
            }
            registration.sent_to.insert(index);
        }
    }

    /// A look-up: who is it, and an introduction to the other side.
    pub(crate) fn locate_asked(&mut self, now: Time, id: PeerId, request: u32, query: &Query, out: &mut Outbox) {
        if !self.anchor.has_registration(id) {
            return;
        }
        let found = match query {
            Query::Prefix(prefix) => self.peers.by_prefix(prefix),
            Query::Address(key) => self
                .anchor
                .claims
                .get(key)
                .and_then(|claim| self.peers.by_node(&claim.holder)),
        };
        let found = found.filter(|found| *found != id && self.anchor.has_registration(*found));
        let record = found.and_then(|found| self.node_record(found));
        self.send_control(now, id, None, &[Control::Located { request, found: record }], out);
        if let (Some(found), Some(record)) = (found, self.node_record(id)) {
            self.send_control(now, found, None, &[Control::Introduce { record }], out);
        }
    }

    /// How a registered node is reached.
    pub(crate) fn node_record(&self, id: PeerId) -> Option<NodeRecord> {
        let key = *self.peers.get(id)?.key.as_bytes();
        Some(NodeRecord {
            key,
            home: self.node_id,
            index: self.anchor.index_of(id)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_rests_before_it_is_given_out_again() {
        let mut indexes = Indexes {
            uses: Vec::new(),
            first_use: 0x1234_5678_9abc_def0,
            resting: VecDeque::new(),
        };
        let first = indexes.take(Time::ZERO).unwrap();
        indexes.give_back(Time::ZERO, first);
        let second = indexes.take(Time::ZERO).unwrap();
        assert_ne!(first.0 & 0xf_ffff, second.0 & 0xf_ffff);
        let third = indexes.take(Time::ZERO + INDEX_RESTS).unwrap();
        assert_eq!(third.0 & 0xf_ffff, first.0 & 0xf_ffff);
        assert_ne!(third, first);
    }

    #[test]
    fn no_index_is_zero() {
        let mut indexes = Indexes {
            uses: vec![u32::MAX],
            first_use: 0,
            resting: VecDeque::from([(Time::ZERO, 0)]),
        };
        assert_ne!(indexes.take(Time::ZERO + INDEX_RESTS), Some(RelayIndex(0)));
    }
}
