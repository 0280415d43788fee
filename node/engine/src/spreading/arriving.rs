//! Copies of others' broadcasts: taken in, checked, delivered, sent on.

use std::net::Ipv4Addr;

use etherparse::{LaxNetSlice, LaxSlicedPacket};
use farlan_crypto::PublicKey;
use farlan_netconf::{NetworkId, Policy};
use farlan_spreading::{Arrival, Delivery, Pending, Refusal};

use super::Keys;
use crate::{
    Engine, NetworkHandle, Outbox, Time,
    peers::PeerId,
    wire::control::{Control, Spread},
};

/// Message ids in one acknowledgement: they fill one padded block.
const ACKS_AT_ONCE: usize = 7;

/// A copy whose signature waits to be checked.
#[derive(Debug)]
pub(crate) struct Unchecked {
    network: NetworkHandle,
    id: NetworkId,
    from: PeerId,
    pending: Pending,
}

impl Engine {
    /// A copy came that is or was forwarded.
    pub(crate) fn spread_received(&mut self, now: Time, id: PeerId, handle: NetworkHandle, copy: &[u8]) {
        let own = self.node_id;
        if let Some(network) = self.networks.get_mut(handle) {
            network.begin_spreading(own);
        }
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        let clock = self.agreed_clock(now);
        let arrival = self.with_social(handle, |social, allowances, around| {
            let keys = Keys(around.engine.work);
            social
                .spreading
                .arrive(now, &node, copy, clock, around, &keys, allowances)
        });
        match arrival {
            Some(Arrival::Known { id: number }) => {
                self.counters.spread_duplicates += 1;
                self.acknowledge_spread(id, handle, number);
            }
            Some(Arrival::Refused { why, ack }) => {
                self.count_refusal(why);
                if let Some(number) = ack {
                    self.acknowledge_spread(id, handle, number);
                }
            }
            Some(Arrival::Check(pending)) => {
                let Some(id_of_network) = self.networks.get(handle).map(|network| network.id) else {
                    return;
                };
                let unchecked = Unchecked {
                    network: handle,
                    id: id_of_network,
                    from: id,
                    pending,
                };
                self.counters.spread_limited += self.handshakes.queue.add_copy(id, unchecked);
            }
            None => {}
        }
    }

    fn count_refusal(&mut self, why: Refusal) {
        let counters = &mut self.counters;
        let counter = match why {
            Refusal::Malformed => &mut counters.malformed_messages,
            Refusal::Stale => &mut counters.spread_stale,
            Refusal::Overload => &mut counters.spread_limited,
            Refusal::OtherNetwork | Refusal::BadKey | Refusal::Muted | Refusal::NotAdmitted => {
                &mut counters.spread_refused
            }
        };
        *counter += 1;
    }

    /// Checks the signature of a copy, delivers it and sends it on.
    pub(crate) fn check_copy(&mut self, now: Time, unchecked: Unchecked, out: &mut Outbox) {
        let Unchecked {
            network,
            id,
            from,
            pending,
        } = unchecked;
        let key = *pending.key();
        let genuine = pending.is_genuine(&Keys(self.work));
        if !genuine {
            self.counters.spread_forged += 1;
        }
        // The network may have been left meanwhile, and another have its handle.
        let Some(of) = self.networks.get(network).filter(|of| of.id == id) else {
            return;
        };
        let forwards = of.is_large();
        let accepted = self.with_social(network, |social, allowances, around| {
            social.spreading.set_forwards(forwards);
            social.spreading.verified(now, pending, genuine, around, allowances)
        });
        let Some(accepted) = accepted else { return };
        if let Some(number) = accepted.ack {
            self.acknowledge_spread(from, network, number);
        }
        if let Some(delivery) = &accepted.deliver {
            self.deliver_spread(now, network, (&key, delivery), out);
        }
        self.counters.spread_forwarded += u64::try_from(accepted.copies.len()).unwrap_or_default();
        self.send_spread_copies(now, network, accepted.copies, out);
        self.seal_pending(out);
    }

    /// Hands a frame to the card as if its origin had sent it here in a session.
    fn deliver_spread(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        (key, delivery): (&[u8; 32], &Delivery),
        out: &mut Outbox,
    ) {
        let key = PublicKey::from_bytes(key, self.work).ok();
        let Some(origin) = key.and_then(|key| self.pin(now, key)) else {
            return;
        };
        let frame = delivery.frame();
        let lent = self.lend_claim(origin, handle, frame);
        let is_let_in = self.let_in(now, origin, handle, frame) && self.may_inject(now, origin, handle, frame);
        if lent && let Some(peer) = self.peers.get_mut(origin) {
            peer.claims.remove(&handle);
        }
        if is_let_in {
            self.counters.spread_delivered += 1;
            self.counters.frames_received += 1;
            out.frames.push(handle, frame);
        }
    }

    /// Among strangers: whoever this node has no session with has, as far as this one frame goes, the IPv4 address that its signed
    /// frame comes from, if that is one of those that its id may have and nobody else is known to hold it. Returns whether it was lent;
    /// it is not kept, since nothing would tell that it ended.
    fn lend_claim(&mut self, origin: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let network = self.networks.get(handle);
        let peer = self.peers.get(origin);
        let unclaimed = peer.is_some_and(|peer| !peer.claims.contains_key(&handle) && peer.sessions.is_empty());
        if !unclaimed || network.is_none_or(|network| network.policy != Policy::Strangers) {
            return false;
        }
        if let Some(source) = ipv4_source(frame)
            && self.may_claim(origin, handle, source)
            && let Some(peer) = self.peers.get_mut(origin)
        {
            peer.claims.insert(handle, source);
            return true;
        }
        false
    }

    fn acknowledge_spread(&mut self, id: PeerId, handle: NetworkHandle, number: u64) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.spread_acks.push((handle, number));
            self.acks_due.push(id);
        }
    }

    /// Acknowledges the copies of this turn to one peer.
    pub(crate) fn flush_spread_acks(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let mut acks = std::mem::take(&mut peer.spread_acks);
        if acks.is_empty() {
            return;
        }
        acks.sort_unstable();
        for of_network in acks.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((handle, _)) = of_network.first().copied() else {
                continue;
            };
            let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
            let Some(place) = session.and_then(|session| session.networks.position(handle)) else {
                continue;
            };
            let need = self.with_social(handle, |social, _, _| social.spreading.contacts().need(now));
            for ids in of_network.chunks(ACKS_AT_ONCE) {
                let ids = ids.iter().map(|(_, number)| *number).collect();
                let need = need.unwrap_or_default();
                let message = Spread::Ack { place, need, ids };
                self.send_control(now, id, None, &[Control::Spread(message)], out);
            }
        }
    }

    /// Something about broadcasts that spread.
    pub(crate) fn spread_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: crate::wire::datagram::SessionIndex,
        told: &Spread,
        out: &mut Outbox,
    ) {
        let node = self.role == crate::Role::Node;
        match told {
            Spread::Ack { place, need, ids } if node => {
                self.for_contact(id, local, *place, |spreading, from| {
                    spreading.acknowledged(now, from, ids, Some(*need));
                });
            }
            Spread::Contact { place, need, bye } if node => {
                self.for_contact(id, local, *place, |spreading, from| {
                    let contacts = spreading.contacts_mut();
                    contacts.set_need(from, *need);
                    if *bye {
                        contacts.bye(from);
                    }
                });
            }
            Spread::Clock { millis } if node => {
                let is_supernode = self.peers.get(id).is_some_and(|peer| peer.supernode);
                self.spreads.clocks.told(now, (id, is_supernode), *millis);
            }
            Spread::SampleWanted { request, member_key } if !node => {
                self.sample_asked(now, id, (*request, *member_key), out);
            }
            Spread::Sample { request, records, .. } if node => self.sample_told(now, id, *request, records),
            _ => self.counters.unknown_messages += 1,
        }
    }

    /// What a peer says of the network at a place of its own list.
    fn for_contact(
        &mut self,
        id: PeerId,
        local: crate::wire::datagram::SessionIndex,
        place: u8,
        act: impl FnOnce(&mut farlan_spreading::Spreading, &farlan_crypto::NodeId),
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let node = peer.key.node_id();
        let session = peer.sessions.by_index(local).filter(|session| session.networks.known());
        let handle = session.and_then(|session| session.networks.at(place));
        let network = handle.and_then(|handle| self.networks.get_mut(handle));
        if let Some(social) = network.and_then(|network| network.social.as_mut()) {
            act(&mut social.spreading, &node);
        }
    }

    /// A copy of this node's that was a plain group frame came to its end.
    pub(crate) fn spread_acknowledged_directly(&mut self, now: Time, id: PeerId, sequences: &[u64]) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        let social = self.networks.iter_mut().filter_map(|network| network.social.as_mut());
        for social in social {
            social.spreading.acknowledged(now, &node, sequences, None);
        }
    }
}

/// The IPv4 address a frame comes from.
fn ipv4_source(frame: &[u8]) -> Option<Ipv4Addr> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.net? {
        LaxNetSlice::Ipv4(ip) => Some(ip.header().source_addr()),
        _ => None,
    }
}
