//! From the relay to the peer: which endpoints two nodes tell each other, and when they try them. What goes out on the paths is
//! in `challenges`, the state of each path in `direct`.
//!
//! A *round* begins when a peer is used and no direct path works: both ends tell each other their endpoints inside the
//! session and send sealed challenges to each other's, at the same moments as far as the relay allows. What answers is a
//! path. Rounds are repeated with growing pauses as long as the peer is used; a failed one costs nothing but its
//! datagrams, since frames go over the relay meanwhile.
//!
//! Where that cannot suffice, since one end's NAT gives every far end another port, `search` tries many ports.

mod challenges;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{PublicKey, defects::planted};
use farlan_netconf::Policy;
use tracing::debug;

use crate::{
    Behaviour, Engine, Leg, Outbox, Socket, Time,
    aims::Aims,
    change::OwnChange,
    direct::{AGAIN, OPENING, OPENING_MAX, Use},
    fresh::Fresh,
    multicast::ALL,
    observations::{Endpoints, Openness},
    peers::{Peer, PeerId},
    ranges::{is_global, is_private, same_range},
    rates::{Meter, Rate},
    retry::Retry,
    search::{SearchHistory, again_within},
    wire::{
        control::{Candidate, Control, behaviour_code},
        datagram::SessionIndex,
    },
};

/// Endpoints told to one peer, and taken from one.
const MAX_CANDIDATES: usize = 8;

/// Of those, so many with one address: two NAT mappings are seen by two supernodes.
const MAX_PORTS: usize = 2;

/// Mapped endpoints that are taken note of: one per router.
const MAX_MAPPED: usize = 4;

/// Candidates told so lately are not told again because the other end asks: both began a round at once.
const TOLD_LATELY: Duration = Duration::from_secs(1);

/// The pauses between rounds that found no path, in seconds; the last is repeated.
const ROUND_PAUSES: [u64; 5] = [5, 10, 20, 40, 60];

/// A peer is in use for so long after a frame, see [`Use::Busy`].
const BUSY: Duration = Duration::from_secs(3);

/// Rounds are begun for so long after a frame.
const TRIED: Duration = Duration::from_secs(10);

/// Paths are kept open for so long after a frame, see [`Use::Lately`].
const LATELY: Duration = Duration::from_secs(600);

/// Strangers to whom endpoints are told within [`STRANGERS_WITHIN`].
const STRANGERS: usize = 30;
const STRANGERS_WITHIN: Duration = Duration::from_secs(60);

/// Endpoints of one peer that are tried for the first time.
const NAMED: Rate = Rate {
    count: 32,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(60),
};

/// Set in the number of an acknowledgement that is for candidates.
pub(crate) const CANDIDATES_ACK: u32 = 1 << 30;

/// What this node knows of its own endpoints.
#[derive(Debug, Default)]
pub(crate) struct Traversal {
    /// Those of its own cards.
    local: Vec<SocketAddr>,
    /// Where its home's router lets datagrams in to it.
    mapped: Vec<SocketAddr>,
    /// Where its supernodes see it, by family: whether it is IPv6.
    observed: BTreeMap<(PeerId, bool), SocketAddr>,
    /// Strangers are not told where this node is.
    hide_address: bool,
    /// When endpoints were told to strangers lately.
    strangers: Vec<Time>,
    /// Something of the above changed since the last turn.
    changed: bool,
    /// What was sent to addresses that peers named.
    pub(crate) aims: Aims,
    /// The cards changed: supernodes are to see the new source address at once.
    moved: bool,
    /// What about them.
    pub(crate) change: OwnChange,
}

/// What two nodes told each other of their endpoints.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// The number of the message sent last, and the session and pauses under which it is repeated.
    number: u32,
    under_way: Option<(SessionIndex, Retry, bool)>,
    /// What was told last, and when.
    told: Vec<Candidate>,
    told_behaviour: Behaviour,
    told_at: Option<Time>,
    /// When the other end last acknowledged these endpoints.
    acknowledged: Option<Time>,
    their_number: Option<(SessionIndex, u32)>,
    theirs: Vec<Candidate>,
    their_behaviour: Behaviour,
    /// The address of the path in use when the other end ceased to name it.
    pub(crate) withdrawn: Option<IpAddr>,
    /// What became of searches.
    pub(crate) searches: SearchHistory,
    /// Whether this peer was counted among the strangers.
    accepted: bool,
    /// The endpoints it named lately.
    named: Meter,
    /// The fresh socket by which it is tried.
    pub(crate) fresh: Fresh,
    /// When the next round may begin, and how many found nothing.
    next_round: Time,
    rounds: usize,
}

impl Exchange {
    pub(crate) fn deadline(&self) -> Option<Time> {
        let own = [self.resend_at(), self.searches.deadline(), self.fresh.deadline()];
        own.into_iter().flatten().min()
    }

    fn resend_at(&self) -> Option<Time> {
        self.under_way.as_ref().map(|(_, retry, _)| retry.at())
    }

    /// What was told last, by kinds; `mapped` are the own mapped endpoints.
    pub(crate) fn told(&self, mapped: &[SocketAddr]) -> Endpoints {
        let mut counts = Endpoints::default();
        for candidate in &self.told {
            let count = match candidate {
                Candidate { endpoint, .. } if mapped.contains(endpoint) => &mut counts.mapped,
                Candidate { local: true, .. } => &mut counts.local,
                Candidate { .. } => &mut counts.outside,
            };
            *count = count.saturating_add(1);
        }
        counts
    }

    /// Whether the other end may not have this end's endpoints yet. What else it is told does not matter for that: it has
    /// opened its NAT as soon as it had the endpoints.
    fn is_unheard(&self, now: Time) -> bool {
        let heard = self.acknowledged.is_some_and(|at| now.since(at) < AGAIN);
        self.under_way.is_some() && !heard
    }

    /// How the other end's NAT behaves, once it has told anything.
    pub(crate) fn their_behaviour(&self) -> Option<Behaviour> {
        self.their_number.map(|_| self.their_behaviour)
    }

    /// What the other end told.
    pub(crate) fn theirs(&self) -> &[Candidate] {
        &self.theirs
    }

    /// The endpoints at which the other end says to be from outside.
    pub(crate) fn named_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let outside = self.theirs.iter().filter(|candidate| !candidate.local);
        outside.map(|candidate| candidate.endpoint)
    }

    /// Whether there are ways that do not lead through the NATs for IPv4, at an end with or without IPv6.
    pub(crate) fn has_other_ways(&self, ipv6: bool) -> bool {
        let other = |candidate: &Candidate| candidate.local || (ipv6 && candidate.endpoint.is_ipv6());
        self.theirs.iter().any(other)
    }

    /// The socket that is seen at the endpoint towards which the other end opens in a search, where it is granted `address`: the
    /// first one there that it was told.
    pub(crate) fn socket_told(&self, address: IpAddr) -> Socket {
        let mut outside = self.told.iter().filter(|candidate| !candidate.local);
        let first = outside.find(|candidate| candidate.endpoint.ip() == address);
        let fresh = self.fresh.seen();
        let fresh = fresh.filter(|(_, seen)| first.is_some_and(|first| first.endpoint == *seen));
        fresh.map_or(Socket::Main, |(socket, _)| socket)
    }

    /// Whether the other end is about to learn of a fresh socket, towards which it is to open.
    pub(crate) fn is_telling_fresh(&self) -> bool {
        self.fresh.is_coming() || (self.fresh.seen().is_some() && self.under_way.is_some())
    }

    /// Whether the other end was told this last.
    fn has_told(&self, candidates: &[Candidate], behaviour: &Behaviour) -> bool {
        self.told == candidates && behaviour_code(&self.told_behaviour) == behaviour_code(behaviour)
    }

    /// What was told to the other end is void: it holds no session any more.
    pub(crate) fn session_ended(&mut self) {
        *self = Self {
            number: self.number,
            accepted: self.accepted,
            named: self.named,
            searches: self.searches,
            ..Self::default()
        };
    }
}

impl Traversal {
    #[cfg(test)]
    pub(crate) fn aimed(&self) -> usize {
        self.aims.len()
    }

    /// Those of this machine's cards.
    pub(crate) fn local(&self) -> &[SocketAddr] {
        &self.local
    }

    /// Where its supernodes see this node.
    pub(crate) fn observed(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.observed.iter().map(|((id, _), endpoint)| (*id, *endpoint))
    }

    /// Where one supernode sees it in a family.
    pub(crate) fn observed_by(&self, supernode: PeerId, ipv6: bool) -> Option<SocketAddr> {
        self.observed.get(&(supernode, ipv6)).copied()
    }

    /// Whether any supernode sees it at an IPv4 address.
    pub(crate) fn is_seen_by_ipv4(&self) -> bool {
        self.observed.values().any(SocketAddr::is_ipv4)
    }

    /// A supernode does not see it in a family. Returns whether it was the last one that did.
    pub(crate) fn forget_family(&mut self, supernode: PeerId, ipv6: bool) -> bool {
        let forgotten = self.observed.remove(&(supernode, ipv6)).is_some();
        self.changed |= forgotten;
        forgotten && !self.observed.keys().any(|(_, family)| *family == ipv6)
    }

    /// More is known of how the NAT behaves: peers are to know it, too.
    pub(crate) fn behaviour_changed(&mut self) {
        self.changed = true;
    }

    /// This machine may be seen elsewhere now.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
        self.changed = true;
    }

    /// Where supernodes saw this node is over.
    pub(crate) fn forget_observed(&mut self, is_over: impl Fn(IpAddr) -> bool) {
        self.observed.retain(|_, endpoint| !is_over(endpoint.ip()));
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.changed || self.moved
    }

    pub(crate) fn forget(&mut self, supernode: PeerId) {
        self.observed.retain(|(id, _), _| *id != supernode);
    }

    /// Whether a private address may be of a local network that this machine is in, as far as its own addresses tell:
    /// a network is seldom larger than the first 16 bits of an IPv4 address and the first 64 of an IPv6 address say.
    pub(crate) fn is_like_own(&self, address: IpAddr) -> bool {
        self.local.iter().any(|own| match (own.ip(), address) {
            (IpAddr::V4(own), IpAddr::V4(address)) => own.octets()[..2] == address.octets()[..2],
            (IpAddr::V6(own), IpAddr::V6(address)) => own.octets()[..8] == address.octets()[..8],
            _ => false,
        })
    }

    /// Whether supernodes see this node at a private address, in the range of that other one: they are in one local network.
    fn is_seen_like(&self, address: IpAddr) -> bool {
        let mut seen = self.observed.values().map(SocketAddr::ip);
        seen.any(|own| is_private(own) && same_range(own, address))
    }

    /// Where the home's router lets datagrams in.
    pub(crate) fn mapped(&self) -> &[SocketAddr] {
        &self.mapped
    }

    /// The endpoints by which others may reach this node from outside.
    fn outside(&self) -> BTreeSet<SocketAddr> {
        let global = self.local.iter().filter(|endpoint| is_global(endpoint.ip()));
        let mapped = self.mapped.iter().filter(|endpoint| is_global(endpoint.ip()));
        self.observed.values().chain(global).chain(mapped).copied().collect()
    }
}

impl Peer {
    /// How much this peer is used.
    pub(crate) fn use_at(&self, now: Time) -> Use {
        match self.used.map(|used| now.since(used)) {
            Some(ago) if ago < BUSY => Use::Busy,
            Some(ago) if ago < LATELY => Use::Lately,
            _ => Use::Idle,
        }
    }
}

impl Engine {
    /// This machine's own underlay endpoints: the addresses of its cards, farlan's own left out, with the underlay's
    /// port. Call it at the start and whenever they change; paths are tried anew then.
    pub fn set_local_endpoints(&mut self, now: Time, mut endpoints: Vec<SocketAddr>) {
        endpoints.retain(|endpoint| is_usable(*endpoint));
        endpoints.sort_unstable();
        endpoints.dedup();
        if self.traversal.local != endpoints {
            let before = std::mem::replace(&mut self.traversal.local, endpoints);
            self.traversal.moved |= self.traversal.change.note(&before, &self.traversal.local);
            self.traversal.changed = true;
            self.sights.ask_anew();
            self.detection.want(now, true);
        }
    }

    /// Where the home's router lets datagrams in to this node from outside, by mappings. Those with an address that means
    /// nothing to everybody, behind another NAT, are told to neighbours only. Call it whenever they change.
    pub fn set_mapped_endpoints(&mut self, _now: Time, mut endpoints: Vec<SocketAddr>) {
        endpoints.retain(|endpoint| is_usable(*endpoint));
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints.truncate(MAX_MAPPED);
        if self.traversal.mapped != endpoints {
            self.traversal.mapped = endpoints;
            self.traversal.changed = true;
        }
    }

    /// Whether this node's endpoints are kept from peers in networks of strangers; they reach it over supernodes only.
    /// Direct paths to them that stand are given up.
    pub fn set_hide_address(&mut self, hide: bool) {
        self.traversal.hide_address = hide;
        for id in self.peers.ids() {
            let hidden = self.peers.get(id).is_some_and(|peer| self.is_hidden_from(peer));
            let Some(peer) = self.peers.get_mut(id).filter(|_| hidden) else {
                continue;
            };
            if std::mem::take(&mut peer.direct).active().is_none() {
                continue;
            }
            self.report_path(id, "this node's address is hidden");
        }
    }

    /// Whether a peer is not to know where this node is.
    fn is_hidden_from(&self, peer: &Peer) -> bool {
        self.traversal.hide_address && !peer.supernode && self.shares_no_friends(peer)
    }

    /// Whether a peer is in no network of friends with this node.
    fn shares_no_friends(&self, peer: &Peer) -> bool {
        let mut shared = peer.up.iter().filter_map(|handle| self.networks.get(*handle));
        let near_friend = peer.up.is_empty() && peer.near.is_some_and(|near| near.friend);
        !near_friend && shared.all(|network| network.policy == Policy::Strangers)
    }

    /// Whether a handshake that came straight by `leg` may be answered from there. Who hides does not let himself be
    /// found by trying all addresses; friends find him over the relay.
    pub(crate) fn may_answer_straight(&self, key: &PublicKey, leg: Leg) -> bool {
        let peer = self.peers.by_node(&key.node_id()).and_then(|id| self.peers.get(id));
        let near = |peer: &Peer| peer.near.is_some_and(|near| near.friend && near.leg == leg);
        let may = |peer: &Peer| peer.supernode || near(peer) || peer.direct.known().contains(&leg);
        !self.traversal.hide_address || peer.is_some_and(may)
    }

    /// Whether this node's address is hidden from strangers.
    pub(crate) fn hides(&self) -> bool {
        self.traversal.hide_address
    }

    /// A supernode told where it sees this node.
    pub(crate) fn observed_told(&mut self, now: Time, supernode: PeerId, endpoint: SocketAddr) {
        // Nobody else has a say in where this node is tried; and one that is reached through another does not see it.
        if endpoint.ip().is_unspecified() || !self.directory.anchors().any(|anchor| anchor == supernode) {
            return;
        }
        let before = self.traversal.observed_by(supernode, endpoint.is_ipv6());
        if before.is_some_and(|before| before != endpoint && before.ip() == endpoint.ip()) {
            self.mapping_forgotten(now, supernode);
        }
        self.note_observed(now, supernode, endpoint);
    }

    /// Takes note of where a supernode sees this node in the endpoint's family.
    pub(crate) fn note_observed(&mut self, now: Time, supernode: PeerId, endpoint: SocketAddr) {
        let known_by_ipv4 = self.traversal.is_seen_by_ipv4();
        let before = self
            .traversal
            .observed
            .insert((supernode, endpoint.is_ipv6()), endpoint);
        if before != Some(endpoint) {
            self.traversal.changed = true;
            // What is known of a NAT for IPv4 hangs on no IPv6 address.
            if endpoint.is_ipv4() || !known_by_ipv4 {
                let elsewhere = before.is_some_and(|before| before.ip() != endpoint.ip());
                self.detection.want(now, elsewhere);
            }
        }
    }

    /// A supernode does not see this node any more, since nothing gets through to it over UDP.
    pub(crate) fn seen_nowhere(&mut self, supernode: PeerId) {
        for ipv6 in [false, true] {
            self.traversal.forget_family(supernode, ipv6);
        }
        self.review_sights_of(supernode);
    }

    /// A frame or ping went to a peer or came from it: a direct path is worth having.
    pub(crate) fn note_use(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let before = peer.usage;
        peer.used = Some(now);
        peer.usage = Use::Busy;
        if peer.direct.active().is_none() {
            self.consider_round(now, id, out);
        }
        if before != Use::Busy {
            self.arm(id);
            if before == Use::Idle {
                self.sights.keep();
            }
        }
    }

    /// Begins a round if the peer is used, no path works, and the pause after the last round is over.
    pub(crate) fn consider_round(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let used = peer.used.is_some_and(|used| now.since(used) < TRIED);
        if used && peer.direct.active().is_none() && peer.exchange.next_round <= now && !peer.up.is_empty() {
            self.begin_round(now, id, out);
        }
    }

    fn begin_round(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if !self.accepts(now, id) {
            return;
        }
        self.sights.keep();
        self.plan_next_round(now, id);
        self.tell_candidates(now, id, true, out);
    }

    fn plan_next_round(&mut self, now: Time, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            let exchange = &mut peer.exchange;
            let pause = ROUND_PAUSES.get(exchange.rounds).or(ROUND_PAUSES.last());
            exchange.next_round = now + Duration::from_secs(pause.copied().unwrap_or_default());
            exchange.rounds += 1;
            peer.history.round_began(now);
        }
        self.plan_fresh(now, id);
    }

    /// Whether a peer may learn where this node is, and may make it send to the endpoints it tells.
    pub(crate) fn accepts(&mut self, now: Time, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(id) else {
            return false;
        };
        let shared = || peer.up.iter().filter_map(|handle| self.networks.get(*handle));
        if shared().next().is_none() || self.openness(now, peer) != Openness::Open {
            return false;
        }
        if self.is_stranger(peer) {
            let strangers = &mut self.traversal.strangers;
            strangers.retain(|at| now.since(*at) < STRANGERS_WITHIN);
            strangers.push(now);
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exchange.accepted = true;
        }
        true
    }

    /// How far this node opens itself to a peer with which it shares a network.
    pub(crate) fn openness(&self, now: Time, peer: &Peer) -> Openness {
        let lately = |at: &&Time| now.since(**at) < STRANGERS_WITHIN;
        if self.is_hidden_from(peer) {
            Openness::Hidden
        } else if self.is_stranger(peer) && self.traversal.strangers.iter().filter(lately).count() >= STRANGERS {
            Openness::TooManyStrangers
        } else {
            Openness::Open
        }
    }

    /// Whether a peer has not been accepted yet and is in none but large networks with this node.
    fn is_stranger(&self, peer: &Peer) -> bool {
        let small = |network: &crate::networks::Network| {
            let members = network.status().members;
            // A list that has not come yet tells nothing.
            usize::try_from(members).is_ok_and(|members| (1..=ALL).contains(&members))
        };
        let mut shared = peer.up.iter().filter_map(|handle| self.networks.get(*handle));
        !peer.exchange.accepted && !shared.any(small)
    }

    /// Whether this node and a peer are in one local network, as far as the endpoints tell: seen from the same outside
    /// address, or both reached their supernodes by private addresses. The other end's are what it says: a stranger has to be
    /// seen on a link of this machine, since he learns its outside address from its candidates.
    fn may_be_near(&self, peer: &Peer) -> bool {
        if self.shares_no_friends(peer) && !planted("stranger-taken-for-near") {
            return peer.near.is_some();
        }
        let theirs = peer.exchange.theirs();
        let theirs = || theirs.iter().filter(|candidate| !candidate.local);
        self.traversal.outside().iter().any(|own| {
            theirs().any(|candidate| match (own.ip(), candidate.endpoint.ip()) {
                (IpAddr::V4(own), IpAddr::V4(their)) => own == their || (own.is_private() && their.is_private()),
                (IpAddr::V6(own), IpAddr::V6(their)) => {
                    own.octets()[..8] == their.octets()[..8] || (is_private(own.into()) && is_private(their.into()))
                }
                _ => false,
            })
        })
    }

    /// Whether something may be sent to an address because a peer named it; to a private one only where both may be in one
    /// local network. A stranger makes this node send nowhere but to where its own local networks may be.
    pub(crate) fn may_aim(&self, peer: &Peer, address: IpAddr) -> bool {
        if !is_private(address) {
            return true;
        }
        let near = self.may_be_near(peer);
        if self.shares_no_friends(peer) && !planted("stranger-taken-for-near") {
            let mut own = self.traversal.local.iter();
            let in_own = own.any(|own| is_private(own.ip()) && same_range(own.ip(), address));
            return (near && in_own) || self.traversal.is_seen_like(address);
        }
        near
    }

    /// The endpoints that a peer is told; those of local networks only if it may be in them.
    fn own_candidates(&self, id: PeerId) -> Vec<Candidate> {
        let near = self.peers.get(id).is_some_and(|peer| self.may_be_near(peer));
        let mapped = &self.traversal.mapped;
        let local = self.traversal.local.iter().chain(mapped);
        let local = local.filter(|endpoint| near && !is_global(endpoint.ip()));
        let local = local.map(|endpoint| Candidate {
            local: true,
            endpoint: *endpoint,
        });
        // First what is open to everybody: behind a NAT that maps by destination the others are of no use.
        let mut outside: Vec<SocketAddr> = self.traversal.outside().into_iter().collect();
        outside.sort_by_key(|endpoint| !mapped.contains(endpoint));
        // And what is tried by a fresh socket before what was tried in vain.
        let fresh = self.peers.get(id).and_then(|peer| peer.exchange.fresh.seen());
        let fresh = fresh.map(|(_, seen)| seen).filter(|seen| !outside.contains(seen));
        let first = outside.iter().filter(|endpoint| mapped.contains(endpoint)).count();
        outside.splice(first..first, fresh);
        let outside = outside.into_iter().map(|endpoint| Candidate { local: false, endpoint });
        capped(outside.chain(local))
    }

    pub(crate) fn tell_candidates(&mut self, now: Time, id: PeerId, ask: bool, out: &mut Outbox) {
        let (candidates, behaviour) = (self.own_candidates(id), self.behaviour());
        let Some(peer) = self.peers.get_mut(id) else { return };
        let rtt = peer.rtt;
        let Some(local) = peer.sessions.current().map(|session| session.local) else {
            return;
        };
        let exchange = &mut peer.exchange;
        exchange.number = (exchange.number + 1) & (CANDIDATES_ACK - 1);
        if exchange.told != candidates {
            exchange.acknowledged = None;
        }
        exchange.told = candidates;
        exchange.told_behaviour = behaviour;
        exchange.told_at = Some(now);
        exchange.under_way = Some((local, Retry::due(again_within(rtt), now).twice(), ask));
        self.resend_candidates(now, id, out);
    }

    fn resend_candidates(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let stands = |local: &SessionIndex| peer.sessions.get(*local).is_some();
        let stands = peer
            .exchange
            .under_way
            .as_ref()
            .is_some_and(|(local, ..)| stands(local));
        let exchange = &mut peer.exchange;
        let Some((local, retry, ask)) = &mut exchange.under_way else {
            return;
        };
        retry.again(now);
        let message = Control::Candidates {
            number: exchange.number,
            ask: *ask,
            candidates: exchange.told.clone(),
            behaviour: exchange.told_behaviour,
        };
        let local = *local;
        if !stands {
            exchange.under_way = None;
            return;
        }
        self.send_control(now, id, Some(local), &[message], out);
        self.arm(id);
    }

    /// The other end has this node's candidates.
    pub(crate) fn candidates_acknowledged(&mut self, now: Time, id: PeerId, number: u32) {
        if let Some(peer) = self.peers.get_mut(id)
            && peer.exchange.number == number
        {
            peer.exchange.under_way = None;
            peer.exchange.acknowledged = Some(now);
        }
    }

    /// The other end's endpoints: they are tried, and it is told this node's if it does not have them.
    pub(crate) fn candidates_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, ask, candidates, behaviour): (u32, bool, &[Candidate], &Behaviour),
        out: &mut Outbox,
    ) {
        if self.peers.get(id).is_none_or(|peer| peer.up.is_empty()) {
            // Its list of networks was overtaken; both come again.
            return;
        }
        let ack = Control::Ack {
            number: number | CANDIDATES_ACK,
        };
        self.send_control(now, id, Some(local), &[ack], out);
        if !self.accepts(now, id) {
            return;
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        let exchange = &mut peer.exchange;
        if exchange
            .their_number
            .is_some_and(|(session, last)| session == local && number <= last)
        {
            return;
        }
        exchange.their_number = Some((local, number));
        let usable = candidates.iter().filter(|candidate| is_usable(candidate.endpoint));
        let theirs = capped(usable.copied());
        let elsewhere = exchange.theirs != theirs;
        let before = std::mem::replace(&mut exchange.theirs, theirs);
        exchange.their_behaviour = *behaviour;
        exchange.searches.candidates_came(now, elsewhere);
        self.peer_moved(now, id, &before, out);
        self.try_candidates(now, id);
        self.searches.wake();
        // What both know now may make them neighbours, which is worth another message.
        let current = self.own_candidates(id);
        let Some(peer) = self.peers.get(id) else { return };
        let lately = peer.exchange.told_at.is_some_and(|at| now.since(at) < TOLD_LATELY);
        let told = peer.exchange.has_told(&current, &self.behaviour());
        if !told || (ask && !lately) {
            self.tell_candidates(now, id, false, out);
        }
        if ask {
            self.sights.keep();
            self.plan_next_round(now, id);
        }
        // The challenges are for the timers, as all that draws random numbers: what comes in the same turn may be in any order.
        self.arm(id);
    }

    /// Begins to challenge the other end's endpoints; private ones only where both may be in one local network.
    pub(crate) fn try_candidates(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let overlay = |address: IpAddr| {
            let mut networks = self.networks.iter();
            networks.any(|network| match address {
                IpAddr::V4(address) => network.parameters.subnet.contains(address),
                IpAddr::V6(address) => network.plan.prefix_of_ipv6(address).is_some(),
            })
        };
        let own = &self.traversal.local;
        let targets: Vec<SocketAddr> = peer
            .exchange
            .theirs
            .iter()
            .map(|candidate| candidate.endpoint)
            .filter(|endpoint| self.may_aim(peer, endpoint.ip()))
            .filter(|endpoint| !overlay(endpoint.ip()) && !own.contains(endpoint))
            .collect();
        // The other end begins when this end's candidates have crossed the relay, half a round trip from now at most.
        let opening = peer.rtt.map_or(OPENING, |rtt| (rtt / 2).clamp(OPENING, OPENING_MAX));
        debug!(peer = %self.name(id), candidates = targets.len(), "trying direct paths");
        if let Some(peer) = self.peers.get_mut(id) {
            let met = &mut **peer;
            let fresh = met.exchange.fresh.seen();
            let (direct, named) = (&mut met.direct, &mut met.exchange.named);
            let new = |leg: &Leg| !direct.has(*leg);
            let by_fresh = targets.iter().filter_map(|endpoint| {
                let (socket, seen) = fresh?;
                let alike = !is_private(endpoint.ip()) && endpoint.is_ipv4() == seen.is_ipv4();
                let endpoint = *endpoint;
                alike.then_some(Leg { socket, endpoint })
            });
            let by_fresh: Vec<Leg> = by_fresh.collect();
            let targets: Vec<Leg> = targets
                .into_iter()
                .map(Leg::from)
                .chain(by_fresh)
                .filter(|leg| !new(leg) || named.take(now, &NAMED, 1))
                .collect();
            direct.try_candidates(now, &targets, opening);
        }
    }

    /// Own endpoints changed: supernodes see the new ones at once, and so do the peers in use.
    pub(crate) fn tend_traversal(&mut self, now: Time, out: &mut Outbox) {
        if std::mem::take(&mut self.traversal.moved) {
            self.traversal.aims.search_anew();
            self.own_change(now, out);
        }
        if !std::mem::take(&mut self.traversal.changed) {
            return;
        }
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode && !peer.up.is_empty()) else {
                continue;
            };
            let current = self.own_candidates(id);
            let told = peer.exchange.has_told(&current, &self.behaviour());
            let used = peer.use_at(now) != Use::Idle;
            if used
                && peer.direct.active().is_none()
                && let Some(peer) = self.peers.get_mut(id)
            {
                peer.exchange.searches.reconsider(now);
                self.arm(id);
            }
            if used && !told && self.accepts(now, id) {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.exchange.rounds = 0;
                    peer.exchange.searches.begin_anew();
                }
                self.plan_next_round(now, id);
                self.tell_candidates(now, id, true, out);
            }
        }
    }
}

/// At most [`MAX_CANDIDATES`], and [`MAX_PORTS`] with one address.
fn capped(candidates: impl Iterator<Item = Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let address = candidate.endpoint.ip();
        let ports = kept.iter().filter(|kept| kept.endpoint.ip() == address).count();
        if kept.len() < MAX_CANDIDATES && ports < MAX_PORTS {
            kept.push(candidate);
        }
    }
    kept
}

/// Whether a datagram to an endpoint can reach one machine.
fn is_usable(endpoint: SocketAddr) -> bool {
    let address = endpoint.ip();
    let one_machine = match address {
        IpAddr::V4(address) => !address.is_broadcast() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none(),
    };
    one_machine
        && endpoint.port() != 0
        && !address.is_unspecified()
        && !address.is_multicast()
        && !address.is_loopback()
}
