//! The beacon: peers on one link find each other without anybody's help.
//!
//! A node sends a beacon to everybody on each link of its machine, densely when something may have changed and seldom
//! otherwise. Only members of a network in common can read it ([`crate::wire::beacon`]): they learn the sender's key, and
//! where it is from the datagram's source. Who reads one *calls*: it begins a handshake straight to that endpoint, unless the
//! two have met and the sender does not seek.
//!
//! A source can be forged and a beacon recorded, so a beacon counts only if it seems to come from an address on one of the
//! links, and an endpoint known from beacons alone gets one initiation for each beacon that came from there, which is longer
//! and does not leave the link. It becomes a path like any other, by a handshake or a challenge.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use farlan_crypto::{PublicKey, defects::planted};
use farlan_netconf::Policy;
use rand_core::Rng as _;

use crate::{
    Batch, Engine, Leg, MAX_NETWORKS, NetworkHandle, Outbox, Received, Role, Socket, Time,
    networks::Network,
    peers::{Path, Peer, PeerId},
    rates::{Meter, Meters, Rate},
    wire::{
        beacon::{self, Beacon, NONCE, SLOT, SLOTS, Sender},
        datagram::{Datagram, VERSION},
    },
};

/// After a start, and after a change of the cards or networks, beacons are sent at these moments.
const DENSE: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// The pauses after that, while no supernode tells who is there ...
const ALONE: Duration = Duration::from_secs(10);

/// ... while some member is not reached directly; the last is repeated ...
const MISSING: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// ... and otherwise. Each is up to a tenth shorter or longer.
const CALM: Duration = Duration::from_secs(60);

/// Cards on which beacons are sent.
const MAX_CARDS: usize = 16;

/// Beacons that are looked at: each costs an HMAC a network.
const LOOKED_AT: Rate = Rate::per_second(200, Duration::from_secs(2));

/// Those of one address. Many daemons on one machine are many senders.
const OF_ONE: Rate = Rate::per_second(10, Duration::from_secs(3));

/// Addresses of which that is counted.
const MAX_SOURCES: usize = 1024;

/// Peers that are new, or called again, because of beacons.
const CALLED: Rate = Rate {
    count: 256,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(60),
};

/// Nonces that are remembered: one that comes again is a copy.
const MAX_NONCES: usize = 1024;

/// Initiations that beacons of one peer can be worth at one time.
const MAX_CREDIT: u8 = 4;

/// A peer with whom a session stands is not called again sooner than this.
const CALL_AGAIN: Duration = Duration::from_secs(10);

/// Where a peer's beacon came from is of use for so long.
const NEAR_KEPT: Duration = Duration::from_secs(180);

/// The time to live (hop limit) of what goes where only beacons came from: no router passes it on.
const LINK_TTL: u8 = 1;

/// Shorter prefixes are no link's.
const SHORTEST_PREFIX: u8 = 8;

/// IPv4 addresses of a card that are used.
const MAX_SUBNETS: usize = 16;

/// An IPv4 address of a card, and which others are on the same link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkSubnet {
    /// The card's own address.
    pub address: Ipv4Addr,
    /// The leading bits that all addresses on the link have in common, 0 to 32.
    pub prefix: u8,
}

impl LinkSubnet {
    /// Whether `address` can be a machine's on this link. None is where the prefix has less than 8 bits, and the first and last
    /// address are nobody's where it has less than 31.
    fn contains(&self, address: Ipv4Addr) -> bool {
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let [own, other] = [self.address, address].map(u32::from);
        let host = other & host_bits;
        let machine = host_bits <= 1 || (host != 0 && host != host_bits);
        self.prefix >= SHORTEST_PREFIX && own & !host_bits == other & !host_bits && machine
    }
}

/// A card of this machine by which beacons go to everybody on its link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BeaconCard {
    /// Its number on this machine.
    pub index: u32,
    /// Its IPv4 addresses, with what is on the link; without any, there are no beacons by IPv4. Up to 16 count.
    pub ipv4: Vec<LinkSubnet>,
    /// Whether it has an IPv6 link-local address.
    pub ipv6: bool,
}

/// A beacon's label on its way out: to everybody on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The card's number.
    pub card: u32,
    /// By IPv6; otherwise by IPv4.
    pub ipv6: bool,
}

/// What a node knows of the beacons it sends and gets.
#[derive(Debug)]
pub(crate) struct Beacons {
    cards: Vec<BeaconCard>,
    /// When the next one is due, and since when, in which step.
    due: Option<Time>,
    since: Time,
    step: usize,
    nonces: VecDeque<[u8; NONCE]>,
    looked_at: Meter,
    sources: Meters<IpAddr>,
    called: Meter,
}

impl Default for Beacons {
    fn default() -> Self {
        Self {
            cards: Vec::new(),
            due: None,
            since: Time::ZERO,
            step: 0,
            nonces: VecDeque::new(),
            looked_at: Meter::default(),
            sources: Meters::new(OF_ONE, MAX_SOURCES),
            called: Meter::default(),
        }
    }
}

impl Beacons {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Something changed: others are to notice soon.
    fn begin(&mut self, now: Time) {
        self.due = Some(now).filter(|_| !self.cards.is_empty());
        self.since = now;
        self.step = 0;
    }

    /// Whether an address can be a machine's on the link of a card. Any other is an outsider's, or a victim's.
    pub(crate) fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let mut subnets = self.cards.iter().flat_map(|card| &card.ipv4);
                subnets.any(|subnet| subnet.contains(address)) || planted("beacon-from-anywhere")
            }
            // No router passes these on.
            IpAddr::V6(address) => address.is_unicast_link_local() && self.cards.iter().any(|card| card.ipv6),
        }
    }

    /// Whether this nonce is new, which it is not any more.
    fn is_new(&mut self, nonce: [u8; NONCE]) -> bool {
        if self.nonces.contains(&nonce) {
            return false;
        }
        if self.nonces.len() >= MAX_NONCES {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce);
        true
    }
}

/// Where a peer is on a link of this machine, as its beacons say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    pub(crate) leg: Leg,
    /// Initiations that may go there for beacons that came from there.
    credit: u8,
    /// Whether it was recognised as a member of a network of friends.
    pub(crate) friend: bool,
    heard: Time,
    called: Option<Time>,
}

impl Near {
    /// Whether an initiation may go there; it is noted then.
    pub(crate) fn spend(&mut self, now: Time) -> bool {
        let fits = (self.credit > 0 || planted("beacon-source-trusted")) && now.since(self.heard) < NEAR_KEPT;
        if fits {
            self.credit = self.credit.saturating_sub(1);
        }
        fits
    }

    /// The time to live of what goes there.
    pub(crate) fn time_to_live(&self) -> Option<u8> {
        Some(LINK_TTL).filter(|_| !planted("beacon-answer-routed"))
    }

    /// Whether [`Self::spend`] would allow one.
    pub(crate) fn is_open(&self) -> bool {
        self.credit > 0
    }
}

/// The time to live of a datagram to `leg`, if nothing but beacons tells that the peer is there.
pub(crate) fn time_to_live(now: Time, peer: &Peer, leg: Leg) -> Option<u8> {
    let near = peer
        .near
        .filter(|near| near.leg == leg && now.since(near.heard) < NEAR_KEPT)?;
    let known = peer.direct.is_proven(leg) || peer.direct.is_only_told(leg);
    near.time_to_live().filter(|_| !known)
}

impl Engine {
    /// The cards of this machine on whose links peers are looked for by beacons; without any, none is sent or read. Call it
    /// at the start and whenever they change, be it that a link came up.
    pub fn set_beacon_cards(&mut self, now: Time, mut cards: Vec<BeaconCard>) {
        for card in &mut cards {
            card.ipv4.sort_unstable();
            card.ipv4.truncate(MAX_SUBNETS);
        }
        cards.retain(|card| !card.ipv4.is_empty() || card.ipv6);
        cards.sort_unstable();
        cards.dedup_by_key(|card| card.index);
        cards.truncate(MAX_CARDS);
        if self.role == Role::Node && self.beacons.cards != cards {
            self.beacons.cards = cards;
            self.beacons.begin(now);
        }
    }

    /// The networks, or this machine's place, changed.
    pub(crate) fn begin_beacons(&mut self, now: Time) {
        self.beacons.begin(now);
    }

    /// Takes beacons that came to the group, each with its source.
    pub fn handle_beacons(&mut self, now: Time, received: &Batch<Received>, out: &mut Outbox) {
        for (label, datagram) in received.iter() {
            match Datagram::parse(datagram) {
                Ok(Datagram::Beacon(beacon)) => self.beacon_received(now, label.source, (beacon, datagram.len()), out),
                _ => self.counters.malformed_datagrams += 1,
            }
        }
        self.end_turn(now, out);
    }

    /// The networks in which this node lets itself be found: by strangers only if it does not hide.
    fn shown(&self) -> impl Iterator<Item = &Network> {
        let hides = self.hides() && !planted("beacon-shows-hidden");
        self.networks
            .iter()
            .filter(move |network| !hides || network.policy == Policy::Friends)
    }

    /// Sends the beacons that are due.
    pub(crate) fn tend_beacons(&mut self, now: Time, out: &mut Outbox) {
        if self.beacons.due.is_none_or(|due| due > now) {
            return;
        }
        self.forget_unheard(now);
        let seeks = self.beacons.step < DENSE.len() || self.shown().any(|network| network.has_met_nobody());
        let mut casts = Vec::new();
        for card in &self.beacons.cards {
            let families = [(!card.ipv4.is_empty(), false), (card.ipv6, true)];
            let used = families.into_iter().filter(|(has, _)| *has);
            casts.extend(used.map(|(_, ipv6)| Cast { card: card.index, ipv6 }));
        }
        if self.shown().next().is_some() {
            for cast in casts {
                let bytes = self.beacon(seeks);
                out.beacons.push(cast, &bytes);
                self.counters.beacons_sent += 1;
            }
        }
        self.beacons.step += 1;
        let dense = DENSE.get(self.beacons.step).map(|offset| self.beacons.since + *offset);
        self.beacons.due = Some(dense.unwrap_or_else(|| now + self.beacon_pause()));
    }

    /// A beacon of this node. Every one has a nonce of its own, so that nobody sees that two are of one node.
    fn beacon(&mut self, seeks: bool) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        self.random.fill_bytes(&mut nonce);
        let header = beacon::header(&nonce);
        let sender = Sender {
            key: *self.public.as_bytes(),
            seeks,
        };
        let keys = self
            .shown()
            .take(MAX_NETWORKS)
            .map(|network| network.secret.beacon(&nonce));
        let mut slots: Vec<[u8; SLOT]> = keys.map(|keys| beacon::slot(&header, &keys, &sender)).collect();
        while slots.is_empty() || !slots.len().is_multiple_of(SLOTS) {
            let mut slot = [0; SLOT];
            self.random.fill_bytes(&mut slot);
            slots.push(slot);
        }
        // Their order tells nothing: each is as likely in each place.
        for place in (1..slots.len()).rev() {
            let other = self.random.next_u64() % (place as u64 + 1);
            slots.swap(place, usize::try_from(other).unwrap_or(place));
        }
        [&header[..], slots.as_flattened()].concat()
    }

    fn beacon_pause(&mut self) -> Duration {
        let alone = self
            .shown()
            .any(|network| self.directory.registered(&network.world).next().is_none());
        let missing = || self.shown().any(|network| self.misses_somebody(network));
        let pause = if alone {
            ALONE
        } else if missing() {
            let step = self.beacons.step.saturating_sub(DENSE.len());
            MISSING.get(step).or(MISSING.last()).copied().unwrap_or(CALM)
        } else {
            CALM
        };
        let spread = u64::try_from(pause.as_nanos() / 5).unwrap_or(1).max(1);
        pause * 9 / 10 + Duration::from_nanos(self.random_u64() % spread)
    }

    /// Whether a member that is known is not reached directly.
    fn misses_somebody(&self, network: &Network) -> bool {
        let direct = |key: &PublicKey| {
            let peer = self.peers.by_node(&key.node_id()).and_then(|id| self.peers.get(id));
            *key == self.public || peer.is_some_and(|peer| peer.direct.active().is_some())
        };
        let told = usize::try_from(network.status().members).unwrap_or(usize::MAX);
        told > network.listed().count().max(1) || network.listed().any(|member| !direct(&member.key))
    }

    fn beacon_received(&mut self, now: Time, leg: Leg, (beacon, bytes): (Beacon<'_>, usize), out: &mut Outbox) {
        let usable = self.beacons.is_on_link(leg.ip()) && leg.endpoint.port() != 0 && leg.socket == Socket::Main;
        if self.role != Role::Node || self.beacons.cards.is_empty() || !usable || beacon.version() != VERSION {
            self.counters.beacons_foreign += 1;
            return;
        }
        let within = self.beacons.sources.take(now, leg.ip()) && self.beacons.looked_at.take(now, &LOOKED_AT, 1);
        if !within {
            self.counters.beacons_limited += 1;
            return;
        }
        let nonce = beacon.nonce();
        let mut read: Option<Sender> = None;
        let mut shared: Vec<(NetworkHandle, Policy)> = Vec::new();
        for network in self.shown() {
            // Who was away while the secret changed knows the former one only.
            let mut secrets = network.secrets();
            let Some(sender) = secrets.find_map(|(_, secret)| beacon.sender(&secret.beacon(&nonce))) else {
                continue;
            };
            // Whoever wrote two keys into one beacon is believed in the first.
            if read.is_none_or(|read| read.key == sender.key) {
                read = Some(sender);
                shared.push((network.handle, network.policy));
            }
        }
        let Some(sender) = read else {
            self.counters.beacons_foreign += 1;
            return;
        };
        if sender.key == *self.public.as_bytes() || !self.beacons.is_new(nonce) {
            return;
        }
        let Ok(key) = PublicKey::from_bytes(&sender.key, self.work) else {
            self.counters.beacons_foreign += 1;
            return;
        };
        let node = key.node_id();
        shared.retain(|(handle, _)| {
            self.networks
                .get(*handle)
                .is_some_and(|network| !network.keeps_out(&node))
        });
        if shared.is_empty() {
            self.counters.beacons_foreign += 1;
            return;
        }
        self.counters.beacons_recognised += 1;
        self.found_near(now, (key, leg, bytes), (&shared, sender.seeks), out);
    }

    /// A member of networks of this node is on its link.
    fn found_near(
        &mut self,
        now: Time,
        (key, leg, bytes): (PublicKey, Leg, usize),
        (shared, seeks): (&[(NetworkHandle, Policy)], bool),
        out: &mut Outbox,
    ) {
        let node = key.node_id();
        let met = |(handle, _): &(NetworkHandle, Policy)| {
            self.networks.get(*handle).is_some_and(|network| network.has_met(&node))
        };
        let met = shared.iter().all(met);
        let known = self.peers.by_node(&node);
        if known.is_none() && met && !seeks {
            return self.still_near(now, &node);
        }
        let Some(id) = known.or_else(|| {
            let fits = self.beacons.called.take(now, &CALLED, 1);
            fits.then(|| self.pin(now, key)).flatten()
        }) else {
            self.counters.beacons_limited += 1;
            return;
        };
        self.still_near(now, &node);
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.key == key && !peer.supernode) else {
            return;
        };
        let before = peer.near.filter(|near| near.leg == leg);
        peer.near = Some(Near {
            leg,
            credit: before.map_or(1, |near| (near.credit + 1).min(MAX_CREDIT)),
            friend: shared.iter().any(|(_, policy)| *policy == Policy::Friends),
            heard: now,
            called: peer.near.and_then(|near| near.called),
        });
        let session = peer.sessions.current().is_some();
        let lately = peer
            .near
            .and_then(|near| near.called)
            .is_some_and(|called| now.since(called) < CALL_AGAIN);
        if session {
            // A candidate that may get what came from there.
            self.direct_heard(now, id, (leg, bytes), false);
        }
        let calls = if session { seeks && !lately } else { seeks || !met };
        if calls {
            self.call(now, id, session, out);
        }
        self.arm(id);
    }

    /// Begins a handshake to where a peer's beacon came from, or sends the one under way there too.
    fn call(&mut self, now: Time, id: PeerId, session: bool, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.wanted = Some(now);
        let begins = peer.outgoing.is_none();
        let Some(near) = &mut peer.near else { return };
        near.called = Some(now);
        let leg = near.leg;
        if begins {
            return self.begin_handshake(id, session);
        }
        if near.spend(now) {
            let ttl = near.time_to_live();
            self.send_initiation_along(now, id, (Path::Direct(leg), ttl), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_the_machines_of_its_subnet() {
        let cases = [
            ("192.168.1.5", 24, "192.168.1.77", true),
            ("192.168.1.5", 24, "192.168.1.5", true),
            ("192.168.1.5", 24, "192.168.2.77", false),
            ("192.168.1.5", 24, "192.168.1.0", false),
            ("192.168.1.5", 24, "192.168.1.255", false),
            ("192.168.1.5", 16, "192.168.1.255", true),
            ("169.254.3.4", 16, "169.254.200.1", true),
            ("192.0.2.4", 31, "192.0.2.5", true),
            ("192.0.2.4", 31, "192.0.2.6", false),
            ("192.0.2.4", 32, "192.0.2.4", true),
            ("192.0.2.4", 32, "192.0.2.5", false),
            ("10.1.2.3", 8, "10.200.0.1", true),
            ("10.1.2.3", 7, "10.200.0.1", false),
            ("10.1.2.3", 0, "198.51.100.1", false),
            ("10.1.2.3", 33, "10.1.2.4", false),
        ];
        for (own, prefix, other, expected) in cases {
            let subnet = LinkSubnet {
                address: own.parse().unwrap(),
                prefix,
            };
            assert_eq!(
                subnet.contains(other.parse().unwrap()),
                expected,
                "{own}/{prefix} {other}"
            );
        }
    }
}
