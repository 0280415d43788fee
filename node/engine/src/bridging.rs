//! What makes a *friends* network Ethernet beyond the members' own cards: hosts behind bridges, virtual machines, and
//! virtual MACs.

use std::net::IpAddr;

use farlan_crypto::defects::planted;
use farlan_netconf::{Mac, NodePrefix, Policy, private::Rights};

use crate::{
    Engine, NetworkHandle, Outbox, Time,
    lookups::LookupTarget,
    multicast::ALL,
    neighbours::{Asked, spoken_for},
    peers::PeerId,
    switch::{Route, ask_for_node, mac_at, target_of},
};

impl Engine {
    /// Whether a frame that peer `id` sent into a network goes to the card. What is foreign in it is learned. In private networks only
    /// members with the right to bridge send what is foreign.
    pub(crate) fn let_in(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        if !self.admits(now, id, handle, frame) {
            return false;
        }
        let friends = self
            .networks
            .get(handle)
            .filter(|network| network.policy == Policy::Friends);
        if friends.is_none() {
            return true;
        }
        if !self.speaks_for_itself(now, id, handle, frame) {
            self.counters.foreign_neighbour += 1;
            return false;
        }
        self.learn(now, id, handle, frame)
    }

    /// Whether a frame gives nobody's address away: in ARP and neighbour discovery a member speaks for its own addresses
    /// and for those nobody holds. The own addresses are left to the kernel, which is to see a duplicate.
    fn speaks_for_itself(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let address = match spoken_for(frame) {
            Some(Asked::Ipv4(address)) => IpAddr::V4(address),
            Some(Asked::Ipv6(address)) => IpAddr::V6(address),
            None => return true,
        };
        self.is_own_address(handle, address) || !self.held_by_other(now, handle, address, Some(id))
    }

    /// Learns a foreign source; whether it may be one.
    fn learn(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let (Some(network), Some(peer)) = (self.networks.get_mut(handle), self.peers.get(id)) else {
            return false;
        };
        let node = peer.key.node_id();
        let Some(source) = mac_at(frame, 6).filter(|source| *source != network.plan.mac(&node)) else {
            return true;
        };
        let private = network.private.as_ref();
        if private.is_some_and(|private| !private.has_right(&node, Rights::BRIDGE)) && !planted("bridge-right-ignored")
        {
            self.counters.bridged_without_right += 1;
            return false;
        }
        if !source.is_group() && network.learned.saw(now, source, id) {
            self.counters.learned_displaced += 1;
        }
        true
    }

    /// A frame came from the own card: its source is here now.
    pub(crate) fn source_is_here(&mut self, now: Time, handle: NetworkHandle, frame: &[u8]) {
        if let (Some(network), Some(source)) = (self.networks.get_mut(handle), mac_at(frame, 6))
            && source != network.mac
        {
            network.learned.forget(source);
            network.channels.other_behind(now);
        }
    }

    /// Where a frame goes whose destination is no member's own MAC. `prefix` is what the MAC tells of a node id.
    pub(crate) fn foreign_route(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        destination: Mac,
        prefix: Option<NodePrefix>,
    ) -> Route {
        let learned = self
            .networks
            .get_mut(handle)
            .and_then(|network| network.learned.towards(now, destination));
        if let Some(found) = learned.filter(|found| self.shares(found.peer, handle)) {
            if found.in_doubt && self.floods(handle) {
                self.counters.flooded += 1;
                return Route::Group;
            }
            return Route::Peer {
                peer: found.peer,
                own: false,
            };
        }
        self.counters.unknown_destination += 1;
        let flood = self.floods(handle) && prefix.is_none_or(|prefix| self.is_no_node(now, handle, &prefix));
        match prefix {
            _ if flood => {
                self.counters.flooded += 1;
                Route::Group
            }
            Some(prefix) => ask_for_node(&prefix),
            None => Route::Nowhere,
        }
    }

    /// Whether what nobody is known for goes to all: on small networks of friends, as on a switch.
    fn floods(&self, handle: NetworkHandle) -> bool {
        let most = u32::try_from(ALL).unwrap_or(u32::MAX);
        let friends = self
            .networks
            .get(handle)
            .filter(|network| network.policy == Policy::Friends);
        friends.is_some_and(|network| network.status().members <= most)
    }

    /// Whether asking for a node would find none: the lists or the directory said so, or nobody can be asked. What is for
    /// a node that was here is no matter for others, so those known by now or from before are waited for.
    fn is_no_node(&self, now: Time, handle: NetworkHandle, prefix: &NodePrefix) -> bool {
        let Some(network) = self.networks.get(handle) else {
            return false;
        };
        let known = self.peers.by_prefix(prefix).is_some() || network.was_member(prefix);
        let (low, _) = prefix.bounds();
        let target = LookupTarget::Node {
            low,
            bits: prefix.bits(),
        };
        let nobody = network.list_complete()
            || self.directory.registered(&network.world).next().is_none()
            || self.lookups.is_denied(now, handle, target);
        !known && nobody
    }

    /// The directory knows nobody by an address or id: frames held for it go to all where that is done, questions have.
    pub(crate) fn not_located(&mut self, now: Time, handle: NetworkHandle, target: LookupTarget, out: &mut Outbox) {
        for frame in self
            .held
            .take(handle, |frame| target_of(frame, handle, &self.networks) == Some(target))
        {
            let unicast = mac_at(&frame, 0).filter(|mac| !mac.is_group());
            let prefix = unicast.and_then(|mac| self.networks.get(handle)?.plan.prefix_of_mac(mac));
            if self.floods(handle) && prefix.is_some_and(|prefix| self.is_no_node(now, handle, &prefix)) {
                self.counters.flooded += 1;
                self.send_group(now, handle, &frame, out);
            }
        }
        self.seal_pending(out);
    }

    /// Forgets what is known of a peer's MACs and addresses, as the peer is.
    pub(crate) fn forget_foreign(&mut self, id: PeerId) {
        for network in self.networks.iter_mut() {
            network.learned.forget_peer(id);
            network.claimed.forget_peer(id);
        }
    }
}
