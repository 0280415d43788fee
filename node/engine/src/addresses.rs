//! Addresses that were put on the cards by hand, by DHCP or the like: told to peers, answered for, and kept from others.

use std::{collections::VecDeque, net::IpAddr};

use farlan_crypto::NodeId;
use farlan_netconf::{Mac, Policy};

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    claimed::{Claim, FRESH, PATIENCE},
    names,
    neighbours::{Asked, Question, announcement, answer},
    networks::{Network, RESEND},
    peers::PeerId,
    retry::Retry,
    sessions,
    switch::Route,
    wire::{
        control::{ADDRESSES_AT_ONCE, Control},
        datagram::SessionIndex,
    },
};

/// Set, both bits, in the number of an acknowledgement that is for a list of addresses.
pub(crate) const ADDRESSES_ACK: u32 = 0b11 << 30;

/// What contested addresses cause by the end of a turn.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    /// Holders to be asked whether they are still there.
    ask: Vec<PeerId>,
    /// Frames that tell the own kernel who holds an address now.
    announce: Vec<(NetworkHandle, Vec<u8>)>,
    /// Addresses whose holders were asked, and when their patience ends.
    open: VecDeque<(Time, NetworkHandle, IpAddr)>,
}

/// Contested addresses whose holders were asked; of the oldest beyond, the next who asks for one finds out.
const MAX_OPEN: usize = 64;

impl Contests {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.open.front().map(|(at, _, _)| *at)
    }
}

impl Engine {
    /// Tells which addresses the card of a network has besides those that the engine gave it. Only *friends* networks have
    /// such; elsewhere they count for nothing.
    pub fn set_addresses(&mut self, now: Time, network: NetworkHandle, addresses: &[IpAddr]) {
        let Some(network) = self
            .networks
            .get_mut(network)
            .filter(|network| network.policy == Policy::Friends)
        else {
            return;
        };
        let hand_set = addresses.iter().copied().filter(|address| !given(network, *address));
        let hand_set: Vec<_> = hand_set.collect();
        if !network.claimed.set_own(now, hand_set.into_iter()) {
            return;
        }
        let (handle, claimed) = (network.handle, &network.claimed);
        let fresh = claimed.own().filter(|address| claimed.own_since(*address) == Some(now));
        for address in fresh.collect::<Vec<_>>() {
            let claimant = self
                .claim_on(handle, address)
                .and_then(|claim| self.peers.get(claim.peer));
            let other = self
                .firm_owner(handle, address)
                .or_else(|| claimant.map(|peer| peer.key.node_id()));
            self.report_conflict(handle, address, other);
        }
        self.tell_addresses_everywhere(now);
    }

    fn report_conflict(&mut self, network: NetworkHandle, address: IpAddr, other: Option<NodeId>) {
        if let Some(node) = other.filter(|node| *node != self.node_id) {
            self.events.push(Event::AddressConflict { network, address, node });
        }
    }

    fn tell_addresses_everywhere(&mut self, now: Time) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            if let Some(session) = peer.sessions.sending().filter(|session| session.networks.known()) {
                due(&mut session.networks, now);
                self.arm(id);
            }
        }
    }

    /// Tells the other end this node's hand-set addresses in the common networks.
    pub(crate) fn tell_addresses(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        if let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) {
            due(&mut session.networks, now);
            self.resend_addresses(now, id, local, out);
        }
    }

    fn resend_addresses(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        let friends: Vec<_> = self
            .networks
            .iter()
            .filter(|network| network.policy == Policy::Friends && networks.shared(network.handle))
            .collect();
        if friends.is_empty() {
            networks.addresses_retry = None;
            return;
        }
        let mut addresses = Vec::new();
        for network in friends {
            if let Some(place) = networks.position(network.handle) {
                addresses.extend(network.claimed.own().map(|address| (place, address)));
            }
        }
        addresses.truncate(ADDRESSES_AT_ONCE);
        let Some(retry) = &mut networks.addresses_retry else {
            return;
        };
        retry.again(now);
        let number = networks.addresses_number;
        self.send_control(now, id, Some(local), &[Control::Addresses { number, addresses }], out);
        self.arm(id);
    }

    /// Sends lists that are new or were not acknowledged.
    pub(crate) fn tend_addresses(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let is_due = |retry: &Option<Retry>| retry.as_ref().is_some_and(|retry| retry.at() <= now);
        let sessions = peer.sessions.iter();
        let due: Vec<_> = sessions
            .filter(|session| is_due(&session.networks.addresses_retry))
            .map(|session| session.local)
            .collect();
        for local in due {
            self.resend_addresses(now, id, local, out);
        }
    }

    /// The other end has this node's list of networks: what was told before of places it did not know yet is told again.
    pub(crate) fn places_known(&mut self, now: Time, id: PeerId, local: SessionIndex) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        names::due_again(&mut session.networks, now);
        let told = session.networks.addresses_number > 0;
        let mut shared = self
            .networks
            .iter()
            .filter(|network| session.networks.shared(network.handle));
        if told && shared.any(|network| network.claimed.own().next().is_some()) {
            due(&mut session.networks, now);
        }
    }

    /// The other end's hand-set addresses.
    pub(crate) fn addresses_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, addresses): (u32, &[(u8, IpAddr)]),
        out: &mut Outbox,
    ) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        if !session.networks.known() {
            // Its list was overtaken; both come again.
            return;
        }
        if session.networks.their_addresses_number.is_none_or(|last| number > last) {
            session.networks.their_addresses_number = Some(number);
            let networks = self.networks.iter();
            let shared: Vec<_> = networks
                .filter(|network| network.policy == Policy::Friends && session.networks.shared(network.handle))
                .map(|network| network.handle)
                .collect();
            let mut told: Vec<(NetworkHandle, IpAddr)> = Vec::with_capacity(addresses.len());
            for (place, address) in addresses {
                told.extend(session.networks.at(*place).map(|handle| (handle, *address)));
            }
            for handle in shared {
                let here = told.iter().filter(|(network, _)| *network == handle);
                let here: Vec<_> = here.map(|(_, address)| *address).collect();
                self.addresses_told_in(now, id, handle, &here);
            }
        }
        let number = number | ADDRESSES_ACK;
        self.send_control(now, id, Some(local), &[Control::Ack { number }], out);
    }

    fn addresses_told_in(&mut self, now: Time, id: PeerId, handle: NetworkHandle, addresses: &[IpAddr]) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let contested = network.claimed.shared_by(id);
        let fresh = network.claimed.told(now, id, addresses.iter().copied());
        for address in &fresh {
            if self.is_own_address(handle, *address) {
                let teller = self.peers.get(id).map(|peer| peer.key.node_id());
                self.report_conflict(handle, *address, teller);
            }
            // Somebody silent makes way.
            if !self.held_by_other(now, handle, *address, Some(id)) {
                self.announce_holder(handle, *address);
            }
        }
        // What it gave up passes to whoever waited for it.
        for address in contested.into_iter().filter(|address| !addresses.contains(address)) {
            self.announce_holder(handle, address);
        }
    }

    /// Tells the own kernel who holds a hand-set address now: its table may name another.
    fn announce_holder(&mut self, handle: NetworkHandle, address: IpAddr) {
        let Some(network) = self.networks.get(handle) else {
            return;
        };
        if network.claimed.own_since(address).is_some() || self.has_firm_owner(handle, address) {
            return;
        }
        if let Some(mac) = self
            .claim_on(handle, address)
            .and_then(|claim| self.mac_of(handle, claim.peer))
        {
            self.contests.announce.push((handle, announcement(address, mac)));
        }
    }

    /// Who holds a hand-set address, of those with whom a session stands.
    fn claim_on(&self, handle: NetworkHandle, address: IpAddr) -> Option<Claim> {
        let network = self.networks.get(handle)?;
        network.claimed.holder(address, |peer| self.shares(peer, handle))
    }

    fn mac_of(&self, handle: NetworkHandle, id: PeerId) -> Option<Mac> {
        let (network, peer) = (self.networks.get(handle)?, self.peers.get(id)?);
        Some(network.plan.mac(&peer.key.node_id()))
    }

    /// Whether an address is this node's, given by the engine or set by hand.
    pub(crate) fn is_own_address(&self, handle: NetworkHandle, address: IpAddr) -> bool {
        let hand_set = |network: &Network| network.claimed.own_since(address).is_some();
        self.networks
            .get(handle)
            .is_some_and(|network| given(network, address) || hand_set(network))
    }

    /// Whether an address is somebody's (this node's too) whatever is told: by a list or by arithmetic.
    fn has_firm_owner(&self, handle: NetworkHandle, address: IpAddr) -> bool {
        let own = |network: &Network| given(network, address);
        self.networks.get(handle).is_some_and(own) || self.firm_owner(handle, address).is_some()
    }

    /// The member whose address it is by a list or by arithmetic.
    fn firm_owner(&self, handle: NetworkHandle, address: IpAddr) -> Option<NodeId> {
        let network = self.networks.get(handle)?;
        match address {
            IpAddr::V4(v4) => {
                let mut listed = network.listings.values().flat_map(|listing| listing.members.values());
                listed
                    .find(|member| member.ipv4 == Some(v4))
                    .map(|member| member.key.node_id())
            }
            IpAddr::V6(v6) => {
                let plan = &network.plan;
                let prefix = plan.prefix_of_ipv6(v6).or_else(|| plan.prefix_of_link_local(v6))?;
                let member = network.member_by_prefix(&prefix).map(|member| member.key.node_id());
                let node = member.or_else(|| {
                    let id = self.peers.by_prefix(&prefix).filter(|id| self.shares(*id, handle))?;
                    self.peers.get(id).map(|peer| peer.key.node_id())
                })?;
                Some(node).filter(|node| plan.ipv6(node) == v6 || plan.link_local(node) == v6)
            }
        }
    }

    /// Whether another member than `speaker` (none: this node) holds an address. A holder that is not heard is asked, and
    /// does not hold it any more if it did not answer.
    pub(crate) fn held_by_other(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        address: IpAddr,
        speaker: Option<PeerId>,
    ) -> bool {
        if let Some(owner) = self.firm_owner(handle, address) {
            let speaker = speaker.and_then(|id| self.peers.get(id));
            return speaker.is_none_or(|peer| peer.key.node_id() != owner);
        }
        self.settle(now, handle, address);
        let Some(claim) = self
            .claim_on(handle, address)
            .filter(|claim| Some(claim.peer) != speaker)
        else {
            return false;
        };
        let heard = self.peers.get(claim.peer).and_then(|peer| peer.heard);
        let fresh = heard.is_some_and(|heard| now.since(heard) < FRESH);
        if !fresh && claim.asked.is_none() {
            if let Some(network) = self.networks.get_mut(handle) {
                network.claimed.asked(address, claim.peer, Some(now));
            }
            self.contests.ask.push(claim.peer);
            if self.contests.open.len() >= MAX_OPEN {
                self.contests.open.pop_front();
            }
            self.contests.open.push_back((now + PATIENCE, handle, address));
        }
        true
    }

    /// Takes addresses from those who were asked and did not answer.
    pub(crate) fn tend_contests(&mut self, now: Time) {
        while let Some((_, handle, address)) = self.contests.open.pop_front_if(|(at, _, _)| *at <= now) {
            self.settle(now, handle, address);
        }
    }

    /// Takes a hand-set address from a holder that was asked and did not answer.
    fn settle(&mut self, now: Time, handle: NetworkHandle, address: IpAddr) {
        let Some(claim) = self.claim_on(handle, address) else {
            return;
        };
        let Some(asked) = claim.asked else { return };
        let heard = self.peers.get(claim.peer).and_then(|peer| peer.heard);
        let answered = heard.is_some_and(|heard| heard > asked);
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        if answered {
            network.claimed.asked(address, claim.peer, None);
        } else if now.since(asked) >= PATIENCE {
            network.claimed.drop_claim(address, claim.peer);
            self.announce_holder(handle, address);
        }
    }

    /// The answer to a question about a neighbour, or where it goes, as far as hand-set addresses decide it.
    pub(crate) fn hand_set_route(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        frame: &[u8],
        asked: &Question,
    ) -> Option<Route> {
        let network = self.networks.get(handle)?;
        if network.policy != Policy::Friends {
            return None;
        }
        let address = match asked.target {
            Asked::Ipv4(address) => IpAddr::V4(address),
            Asked::Ipv6(address) => IpAddr::V6(address),
        };
        let own = network.claimed.own_since(address);
        if self.has_firm_owner(handle, address) {
            return None;
        }
        // Whoever asks may have found the holder silent.
        let held = self.held_by_other(now, handle, address, None);
        let claim = self.claim_on(handle, address);
        let mac = claim.and_then(|claim| self.mac_of(handle, claim.peer));
        let told = mac.map(|mac| Route::Answer(answer(frame, asked, mac)));
        if asked.is_announcement {
            // Of two who announce one address, the second is shown that it is taken.
            let first = own.zip(claim).is_none_or(|(own, claim)| claim.since <= own);
            return told.filter(|_| held && first).or(Some(Route::Group));
        }
        match own {
            None => told,
            // A check for a duplicate of the own address: there may be one that nobody told of.
            Some(_) if asked.asker.is_none() => told.or(Some(Route::Group)),
            Some(_) => Some(Route::Nowhere),
        }
    }

    /// Asks holders and tells the own kernel, at the end of a turn.
    pub(crate) fn flush_contests(&mut self, now: Time, out: &mut Outbox) {
        for (handle, frame) in std::mem::take(&mut self.contests.announce) {
            out.frames.push(handle, &frame);
        }
        for id in std::mem::take(&mut self.contests.ask) {
            let token = self.random_u64();
            self.send_control(now, id, None, &[Control::Ping { token }], out);
            self.expect_answer(now, id);
        }
    }
}

/// Whether the engine gave this node an address.
fn given(network: &Network, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => network.ipv4_held() == Some(v4),
        IpAddr::V6(v6) => network.ipv6 == v6 || network.link_local == v6,
    }
}

/// A new list is due now.
fn due(networks: &mut sessions::Networks, now: Time) {
    networks.addresses_number += 1;
    networks.addresses_retry = Some(Retry::due(RESEND, now));
}
