//! Where no supernode answers: whom this node met is a member, and IPv4 addresses are held on one's own authority.
//!
//! A member is *met* once it proved in a session to share the network; it stays known after that, so that frames for it find
//! it, for [`MET_KEPT`] after it was last heard or its beacon was read. Supernodes' lists go before.
//!
//! An IPv4 address that no supernode could be asked for is held *provisionally*: the one of the last run, or, where somebody
//! was met, the first candidate that nobody met has. A supernode's word decides later. Of two that hold the same one provisionally
//! the one with the lower place among its candidates keeps it, of equal ones the lower node id; against one that a
//! supernode granted nobody does.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use farlan_crypto::{NodeId, PublicKey, defects::planted};

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    networks::{Held, Ipv4Claim, Member, Network},
    peers::PeerId,
    wire::{control::Place, datagram::RelayIndex},
};

/// Members met that a network remembers.
const MAX_MET: usize = 256;

/// A member that is silent for so long is forgotten.
const MET_KEPT: Duration = Duration::from_secs(3600);

/// A supernode has so long to answer before an address is held without its word.
const WAITED: Duration = Duration::from_millis(1500);

/// Whoever was met has so long to tell which addresses are taken.
const ASKED_AROUND: Duration = Duration::from_millis(500);

/// In the place of a claim: no supernode granted the address.
pub(crate) const PROVISIONAL: u8 = 0x80;

/// The members that a network's sessions showed.
#[derive(Debug, Default)]
pub(crate) struct Met {
    members: BTreeMap<NodeId, Member>,
    heard: BTreeMap<NodeId, Time>,
    /// When somebody was met first.
    since: Option<Time>,
}

impl Met {
    pub(crate) fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// A member proved to be one.
    fn note(&mut self, now: Time, key: PublicKey) {
        let node = key.node_id();
        if self.members.len() >= MAX_MET && !self.members.contains_key(&node) {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| **heard);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.forget(&oldest);
            }
        }
        self.since.get_or_insert(now);
        self.heard.insert(node, now);
        let place = Place {
            home: NodeId::from_bytes([0; 16]),
            index: RelayIndex::NONE,
        };
        let ipv4 = None;
        self.members.entry(node).or_insert(Member { key, place, ipv4 });
    }

    /// Lets a test take somebody for a member.
    #[cfg(test)]
    pub(crate) fn note_for_test(&mut self, now: Time, key: PublicKey) {
        self.note(now, key);
    }

    /// A member told its address: nobody else met has it.
    fn note_ipv4(&mut self, node: &NodeId, ipv4: Option<Ipv4Addr>) {
        if !self.members.contains_key(node) {
            return;
        }
        for (other, member) in &mut self.members {
            if other == node {
                member.ipv4 = ipv4;
            } else if member.ipv4 == ipv4 {
                member.ipv4 = None;
            }
        }
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.members.remove(node);
        self.heard.remove(node);
    }
}

impl Network {
    /// Whether `node` proved to be a member, and not long ago.
    pub(crate) fn has_met(&self, node: &NodeId) -> bool {
        self.met.members.contains_key(node)
    }

    pub(crate) fn has_met_nobody(&self) -> bool {
        self.met.members.is_empty()
    }

    /// When an address is to be held without a supernode's word, if one is.
    fn holds_alone_at(&self, silent_since: Time) -> Option<Time> {
        let Ipv4Claim::Candidate { held: Held::Not, .. } = self.ipv4 else {
            return None;
        };
        let waited = self.joined.max(silent_since) + WAITED;
        let met = self.met.since.map(|since| waited.max(since + ASKED_AROUND));
        if self.held_before { Some(waited) } else { met }
    }

    /// Moves on from candidates that members met hold; whether one is left.
    fn find_free_candidate(&mut self) -> bool {
        while let Some(candidate) = self.ipv4_claim() {
            let mut members = self.met.members.values();
            let certified = self.private.as_ref().and_then(|private| private.holder_of(candidate));
            if certified.is_none() && !members.any(|member| member.ipv4 == Some(candidate)) {
                return true;
            }
            let Ipv4Claim::Candidate { tried, .. } = &mut self.ipv4 else {
                return false;
            };
            *tried += 1;
        }
        false
    }

    /// The place of an address among a node's candidates; who set it by hand comes behind all.
    fn rank(&self, node: &NodeId, address: Ipv4Addr) -> (usize, NodeId) {
        let candidates = self.plan.ipv4_candidates(node);
        let place = candidates.iter().position(|candidate| *candidate == address);
        (place.unwrap_or(candidates.len()), *node)
    }
}

impl Engine {
    /// A peer proved to share a network.
    pub(crate) fn note_met(&mut self, now: Time, id: PeerId, handle: NetworkHandle) {
        let Some(key) = self.peers.get(id).map(|peer| peer.key) else {
            return;
        };
        if let Some(network) = self.networks.get_mut(handle) {
            network.met.note(now, key);
        }
    }

    /// A peer is in no network any more but in `shared`.
    pub(crate) fn note_left(&mut self, node: &NodeId, shared: &[NetworkHandle]) {
        let gone = |network: &&mut Network| !shared.contains(&network.handle);
        for network in self.networks.iter_mut().filter(gone) {
            network.met.forget(node);
        }
    }

    /// Something came from a member that was met.
    pub(crate) fn still_near(&mut self, now: Time, node: &NodeId) {
        for network in self.networks.iter_mut() {
            if let Some(heard) = network.met.heard.get_mut(node) {
                *heard = now;
            }
        }
    }

    /// Forgets members that were silent for long.
    pub(crate) fn forget_unheard(&mut self, now: Time) {
        for network in self.networks.iter_mut() {
            let heard_lately = |node: &NodeId| {
                let id = self.peers.by_node(node);
                let peer = id.and_then(|id| self.peers.get(id));
                peer.and_then(|peer| peer.heard)
                    .is_some_and(|heard| now.since(heard) < MET_KEPT)
            };
            let over = |(node, heard): (&NodeId, &Time)| {
                (now.since(*heard) >= MET_KEPT && !heard_lately(node)).then_some(*node)
            };
            let over: Vec<NodeId> = network.met.heard.iter().filter_map(over).collect();
            for node in over {
                network.met.forget(&node);
            }
        }
    }

    /// When an address is to be held without a supernode's word.
    pub(crate) fn islands_deadline(&self) -> Option<Time> {
        let at = |network: &Network| network.holds_alone_at(self.directory.silent_since(&network.world)?);
        self.networks.iter().filter_map(at).min()
    }

    /// Holds addresses provisionally where no supernode answers.
    pub(crate) fn tend_islands(&mut self, now: Time, out: &mut Outbox) {
        if self.islands_deadline().is_none_or(|at| at > now) {
            return;
        }
        let directory = &self.directory;
        for network in self.networks.iter_mut() {
            let at = directory.silent_since(&network.world);
            if at.and_then(|at| network.holds_alone_at(at)).is_some_and(|at| at <= now) {
                self.events.extend(hold_provisionally(network));
            }
        }
        self.tell_claims_everywhere(now, out);
    }

    /// A peer told an address. If it is the one that this node holds provisionally, one of the two has to move; whether this
    /// node did.
    pub(crate) fn address_told(
        &mut self,
        id: PeerId,
        handle: NetworkHandle,
        (address, provisional): (Option<Ipv4Addr>, bool),
    ) -> bool {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return false;
        };
        let own = self.node_id;
        let Some(network) = self.networks.get_mut(handle) else {
            return false;
        };
        network.met.note_ipv4(&node, address);
        let clashes = address.is_some() && network.ipv4_claim() == address;
        let Ipv4Claim::Candidate {
            held: Held::Provisionally,
            ..
        } = network.ipv4
        else {
            return false;
        };
        let Some(address) = address.filter(|_| clashes) else {
            return false;
        };
        let stays = provisional && network.rank(&own, address) < network.rank(&node, address);
        if stays || planted("island-clash-kept") {
            return false;
        }
        self.events.push(Event::Ipv4Withdrawn {
            network: handle,
            address: Some(address),
        });
        self.events.extend(hold_provisionally(network));
        true
    }
}

/// Holds the next candidate that nobody met has.
fn hold_provisionally(network: &mut Network) -> Option<Event> {
    let free = network.find_free_candidate();
    let address = network.ipv4_claim().filter(|_| free);
    let Some(address) = address else {
        network.ipv4 = Ipv4Claim::Exhausted;
        return Some(Event::Ipv4Withdrawn {
            network: network.handle,
            address: None,
        });
    };
    if let Ipv4Claim::Candidate { held, .. } = &mut network.ipv4 {
        *held = Held::Provisionally;
    }
    Some(Event::Ipv4Assigned {
        network: network.handle,
        address,
    })
}
