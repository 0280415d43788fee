//! How the two ends of a session find out which networks they have in common: each shows by tags which it is in.

use std::collections::{BTreeMap, VecDeque};

use farlan_crypto::defects::planted;
use farlan_netconf::{DirectoryKey, NetworkSecret, Role as Side};
use rand_core::Rng as _;

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    early::{EARLY_KEPT, Message},
    networks::{Network, RESEND},
    peers::PeerId,
    private::issue,
    retry::Retry,
    sessions::Named,
    wire::{
        control::{Control, TAG, TAG_PADDING},
        datagram::SessionIndex,
    },
};

impl Engine {
    /// Tells the other end of a session, by tags only members can make, which networks this node is in; of private ones those
    /// that it shows.
    pub(crate) fn offer_networks(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let joined = self.networks.handles();
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        session.networks.offer(&joined);
        if let Some(peer) = self.peers.get(id) {
            let node = peer.key.node_id();
            self.applications.session_stands(now, &node, local);
        }
        self.decide_showing(now, id, local);
        let Some(session) = self.peers.get(id).and_then(|peer| peer.sessions.get(local)) else {
            return;
        };
        let offered = session.networks.offered.clone();
        let under: BTreeMap<_, _> = session
            .networks
            .shown
            .iter()
            .map(|shown| (shown.network, shown.under))
            .collect();
        let (hash, role) = (session.handshake_hash(), session.role);
        let mut tags: Vec<[u8; TAG]> = Vec::with_capacity(offered.len().next_multiple_of(TAG_PADDING));
        for place in &offered {
            let network = place.and_then(|handle| self.networks.get(handle));
            let secret = network.and_then(|network| match under.get(&network.handle) {
                Some(under) => network.secret_under(under.as_ref()?),
                None => Some(&network.secret),
            });
            tags.push(match secret {
                Some(secret) => secret.recognition_tag(&hash, role),
                None => self.random_tag(),
            });
        }
        while tags.is_empty() || !tags.len().is_multiple_of(TAG_PADDING) {
            tags.push(self.random_tag());
        }
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        session.networks.tags = tags;
        session.networks.offer_number += 1;
        session.networks.offer_retry = Some(Retry::due(RESEND, now).twice());
        self.resend_offer(now, id, local, out);
        self.tend_credentials(now, id, out);
        self.share(now, id, local, out);
    }

    fn random_tag(&mut self) -> [u8; TAG] {
        let mut tag = [0; TAG];
        self.random.fill_bytes(&mut tag);
        tag
    }

    pub(crate) fn resend_offer(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        let Some(retry) = &mut networks.offer_retry else { return };
        retry.again(now);
        let message = Control::Networks {
            number: networks.offer_number,
            tags: networks.tags.clone(),
        };
        self.send_control(now, id, Some(local), &[message], out);
        self.arm(id);
    }

    /// Joined or left: every session's list is brought up to date at the next turn.
    pub(crate) fn offer_everywhere(&mut self, now: Time) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let locals: Vec<SessionIndex> = peer.sessions.iter().map(|session| session.local).collect();
            for session in peer.sessions.usable_mut() {
                // A number not used yet, due now: `tend_networks` makes the list.
                session.networks.offer_retry = Some(Retry::due(RESEND, now).twice());
                session.networks.tags.clear();
            }
            for local in locals {
                self.match_networks(now, id, local);
            }
            self.arm(id);
        }
    }

    /// The other end's list.
    pub(crate) fn networks_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, tags): (u32, &[[u8; TAG]]),
        out: &mut Outbox,
    ) {
        self.send_control(now, id, Some(local), &[Control::Ack { number }], out);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local) else {
            return;
        };
        if session.networks.their_number.is_some_and(|last| number <= last) {
            return;
        }
        session.networks.their_tags = tags.to_vec();
        let first = session.networks.their_number.replace(number).is_none();
        let early = self.early.take((id, local));
        if first {
            self.begin_settling(now, id, local);
        }
        self.match_networks(now, id, local);
        self.settle_session(now, id, local);
        self.tell_claims(now, id, local, out);
        self.tell_addresses(now, id, local, out);
        self.tell_names(now, id, local, out);
        self.tell_channels(now, id, local, out);
        self.begin_documents(now, id, local, out);
        self.tell_homes(now, id, out);
        self.open_early(now, id, local, early, out);
        self.release_waiting(now, id, out);
        self.consider_round(now, id, out);
    }

    /// Messages that came too early to be understood: what they waited for has come. They may have to wait again.
    pub(crate) fn open_early(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        early: VecDeque<Message>,
        out: &mut Outbox,
    ) {
        for (_, via, message) in early.into_iter().filter(|(since, ..)| now.since(*since) < EARLY_KEPT) {
            self.opened(now, id, (local, via), &message, out);
        }
    }

    /// Finds the common networks among the other end's tags. A private one counts only if both ends have shown it and the
    /// other's credential is valid. Returns whether one is shared that was not.
    pub(crate) fn match_networks(&mut self, now: Time, id: PeerId, local: SessionIndex) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let session = peer.sessions.by_index(local).filter(|session| session.networks.known());
        let Some(session) = session else { return false };
        let node = peer.key.node_id();
        let their_side = match session.role {
            Side::Initiator => Side::Responder,
            Side::Responder => Side::Initiator,
        };
        let hash = session.handshake_hash();
        let mut expected: Vec<Expected<'_>> = Vec::new();
        for network in self.networks.iter() {
            let one = |(under, secret): (DirectoryKey, &NetworkSecret)| Expected {
                network,
                under,
                tag: secret.recognition_tag(&hash, their_side),
            };
            expected.extend(network.secrets().map(one));
        }
        let mut theirs = Vec::with_capacity(session.networks.their_tags.len());
        let mut named = Vec::new();
        for (place, tag) in (0..=u8::MAX).zip(&session.networks.their_tags) {
            let fits = |expected: &&Expected<'_>| same(&expected.tag, tag) || planted("network-unproved");
            let found = expected.iter().find(fits);
            theirs.push(found.and_then(|Expected { network, under, .. }| {
                let Some(private) = &network.private else {
                    return Some(network.handle);
                };
                // Who is kept out may show a credential that is valid.
                named.push(Named {
                    place,
                    network: network.handle,
                    under: *under,
                });
                let shared = session.networks.is_shown(network.handle) && private.is_member(&node);
                (shared && private.starting.is_none()).then_some(network.handle)
            }));
        }
        let before = std::mem::replace(&mut session.networks.theirs, theirs);
        session.networks.named = named;
        let handles = self.networks.iter().map(|network| network.handle);
        let shared: Vec<NetworkHandle> = handles.filter(|handle| session.networks.shared(*handle)).collect();
        let grown = shared.iter().any(|handle| !before.contains(&Some(*handle)));
        // Of private networks those count, too, that the session before this one shares, as long as this one has to find out.
        let settling = session.networks.settling.is_some();
        let stays = |network: &&Network| {
            let private = network.private.as_ref();
            settling && peer.up.contains(&network.handle) && private.is_some_and(|private| private.is_member(&node))
        };
        let mut up = shared.clone();
        up.extend(self.networks.iter().filter(stays).map(|network| network.handle));
        let mut fresh = Vec::new();
        for network in &shared {
            if peer.up.insert(*network) {
                fresh.push(*network);
                self.events.push(Event::PeerUp {
                    network: *network,
                    node,
                });
                self.handing.met(now, *network, node);
                let private = self.networks.get(*network).and_then(|network| network.private.as_ref());
                if let Some(private) = private.filter(|private| private.is_holder()) {
                    self.events.push(Event::MemberMet {
                        network: *network,
                        node: peer.key,
                        issue: private.shown_by(&node).map_or(0, issue),
                    });
                }
            }
        }
        let lost: Vec<NetworkHandle> = peer
            .up
            .iter()
            .copied()
            .filter(|network| !up.contains(network))
            .collect();
        peer.up.retain(|network| up.contains(network));
        peer.claims.retain(|network, _| up.contains(network));
        peer.names.retain(|network, _| up.contains(network));
        peer.channels.retain(|network, _| up.contains(network));
        for network in self.networks.iter_mut().filter(|network| !up.contains(&network.handle)) {
            network.claimed.forget_peer(id);
        }
        for network in &shared {
            if fresh.contains(network) {
                self.review_peer_channels(now, *network);
            }
            self.note_met(now, id, *network);
        }
        self.note_left(&node, &up);
        for network in lost {
            self.forget_member(id, network);
        }
        grown
    }
}

/// The tag by which the other end of a session would name a network.
struct Expected<'a> {
    network: &'a Network,
    under: DirectoryKey,
    tag: [u8; TAG],
}

/// Whether two tags are the same, in constant time.
fn same(one: &[u8; TAG], other: &[u8; TAG]) -> bool {
    let differ = one
        .iter()
        .zip(other)
        .fold(0, |differ, (one, other)| differ | (one ^ other));
    std::hint::black_box(differ) == 0
}
