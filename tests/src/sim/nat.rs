//! One NAT: which outside port a flow gets, who may send to it, and for how long (RFC 4787).
//!
//! Flows are kept as Linux keeps them: one entry per inside and outside endpoint, and two hosts may share an outside port as
//! long as they speak to different endpoints from it. An ordinary router gives a new flow the port that the same inside endpoint
//! got last, if nobody speaks to that destination from it; else the inside port itself; else any.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::random::ReproducibleRandom;

/// How a NAT picks the outside port of a flow (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// One port per inside endpoint.
    EndpointIndependent,
    /// One port per inside endpoint and outside address.
    AddressDependent,
    /// One port per inside and outside endpoint: a symmetric NAT.
    Symmetric,
}

/// From whom a NAT lets datagrams in to a port that it gave (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// From anybody.
    EndpointIndependent,
    /// From addresses that the inside spoke to.
    AddressDependent,
    /// From endpoints that the inside spoke to.
    AddressAndPortDependent,
}

/// Which number a new outside port gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The inside port's, where it is free.
    Preserved,
    /// Any.
    Random,
    /// Any, but always the same for what it is given to.
    Hashed,
    /// The one after the port given last.
    Sequential,
}

/// What a NAT does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatKind {
    /// Which flows share an outside port.
    pub mapping: Mapping,
    /// Who may send to it.
    pub filtering: Filtering,
    /// Its number.
    pub ports: Ports,
    /// How long a silent flow is remembered.
    pub lifetime: Duration,
    /// Whether datagrams from inside to its own outside address come back in.
    pub hairpin: bool,
    /// Whether a refused datagram leaves an entry behind, as in a Linux router without input rules: while that lives, an
    /// inside endpoint that speaks to its sender leaves from another port than the one the sender knows.
    pub poisoned: bool,
    /// Whether no datagram gets out.
    pub blocks_udp: bool,
    /// Whether no datagram gets in.
    pub blocks_udp_in: bool,
    /// Whether the hosts behind it have IPv6, untranslated, and who may then send to them.
    pub firewall: Option<Filtering>,
}

/// How long most NATs remember a silent flow: Linux' nf_conntrack_udp_timeout.
const LIFETIME: Duration = Duration::from_secs(30);

impl NatKind {
    /// A home router: keeps ports, filters by endpoint.
    pub const HOME: Self = Self {
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        ports: Ports::Preserved,
        lifetime: LIFETIME,
        hairpin: false,
        poisoned: false,
        blocks_udp: false,
        blocks_udp_in: false,
        firewall: None,
    };

    /// A symmetric NAT: another random port for every peer.
    pub const SYMMETRIC: Self = Self {
        mapping: Mapping::Symmetric,
        ports: Ports::Random,
        ..Self::HOME
    };

    /// The same with another filter.
    pub const fn filtering(self, filtering: Filtering) -> Self {
        Self { filtering, ..self }
    }

    /// The same with other port numbers.
    pub const fn ports(self, ports: Ports) -> Self {
        Self { ports, ..self }
    }

    /// The same with another memory.
    pub const fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The same with hairpin.
    pub const fn hairpin(self) -> Self {
        Self { hairpin: true, ..self }
    }

    /// The same, remembering refused datagrams.
    pub const fn poisoned(self) -> Self {
        Self { poisoned: true, ..self }
    }

    /// The same, letting no UDP out.
    pub const fn without_udp(self) -> Self {
        Self {
            blocks_udp: true,
            ..self
        }
    }

    /// The same, letting no UDP in.
    pub const fn deaf(self) -> Self {
        Self {
            blocks_udp_in: true,
            ..self
        }
    }

    /// The same with IPv6 behind a firewall.
    pub const fn with_ipv6(self, filtering: Filtering) -> Self {
        Self {
            firewall: Some(filtering),
            ..self
        }
    }
}

impl From<Mapping> for NatKind {
    fn from(mapping: Mapping) -> Self {
        match mapping {
            Mapping::EndpointIndependent => Self::HOME,
            Mapping::AddressDependent | Mapping::Symmetric => Self {
                mapping,
                ..Self::SYMMETRIC
            },
        }
    }
}

/// A NAT with its state.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) kind: NatKind,
    /// The NAT it is behind, if any.
    pub(super) realm: Option<usize>,
    pub(super) outside: Ipv4Addr,
    /// By inside and outside endpoint; entries may be dead.
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    /// Flows before dead ones are looked for.
    room: usize,
    /// By outside port and outside endpoint.
    back: BTreeMap<(u16, SocketAddr), Back>,
    /// The ports that an inside endpoint has for what they are bound to, newest last.
    mapped: BTreeMap<(SocketAddr, Bound), Vec<Mapped>>,
    /// The inside endpoint that sent from an outside port last, and when.
    owners: BTreeMap<u16, (SocketAddr, Duration)>,
    /// IPv6 flows from inside, with the moment of the last datagram.
    flows6: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    /// Distance of outside ports from inside ones.
    shift: u16,
    /// Ports given in sequence so far.
    given: u16,
    events: NatEvents,
}

/// What happened at a NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NatEvents {
    /// Datagrams that found their flow forgotten.
    pub(super) expired: u64,
    /// Flows that got another port because of a refused datagram.
    pub(super) poisoned: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    port: u16,
    /// The last datagram either way.
    used: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Mapped {
    port: u16,
    used: Duration,
}

/// What a datagram from outside finds.
#[derive(Clone, Copy, Debug)]
enum Back {
    /// The flow of this inside endpoint.
    Flow(SocketAddr),
    /// An entry that a refused datagram left then.
    Refused(Duration),
}

/// What an outside port is bound to beside its inside endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Nothing,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

/// Entries of a table before dead ones are looked for.
const ROOM: usize = 8192;

/// The ports that are given in sequence: so many, from this one on.
const FIRST_SEQUENTIAL: u16 = 20_000;
const SEQUENTIAL: u16 = 2048;

/// Tries to find a free port at random.
const TRIES: usize = 128;

impl Nat {
    pub(super) fn new(kind: NatKind, realm: Option<usize>, outside: Ipv4Addr) -> Self {
        Self {
            kind,
            realm,
            outside,
            flows: BTreeMap::new(),
            room: ROOM,
            back: BTreeMap::new(),
            mapped: BTreeMap::new(),
            owners: BTreeMap::new(),
            flows6: BTreeMap::new(),
            shift: 0,
            given: 0,
            events: NatEvents::default(),
        }
    }

    /// What happened since the last call.
    pub(super) fn take_events(&mut self) -> NatEvents {
        std::mem::take(&mut self.events)
    }

    /// Forgets everything, as after a reboot. Returns whether anything was alive.
    pub(super) fn reboot(&mut self, now: Duration) -> bool {
        let alive = self.flows.values().any(|flow| self.kind.alive(flow.used, now))
            || self.flows6.values().any(|&last| self.kind.alive(last, now));
        self.flows.clear();
        self.back.clear();
        self.mapped.clear();
        self.owners.clear();
        self.flows6.clear();
        alive
    }

    /// The same, and gives other ports afterwards.
    pub(super) fn rebind(&mut self, now: Duration) -> bool {
        self.shift = self.shift.wrapping_add(1_009);
        self.reboot(now)
    }

    /// Opens or refreshes a flow and returns its outside endpoint; none if another flow has the port that it must have.
    pub(super) fn outbound(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        remote: SocketAddr,
        random: &mut ReproducibleRandom,
    ) -> Option<SocketAddr> {
        let port = match self.live_flow(now, inside, remote) {
            Some(port) => port,
            None => {
                let port = self.choose(now, inside, remote, random)?;
                self.begin(now, inside, remote, port);
                port
            }
        };
        self.touch(now, inside, remote, port);
        self.owners.insert(port, (inside, now));
        Some(SocketAddr::new(self.outside.into(), port))
    }

    /// The inside endpoint for a datagram from outside, if the filter lets it in.
    pub(super) fn inbound(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let kind = self.kind;
        if let Some(inside) = self.back_in(now, port, from) {
            return Some(inside);
        }
        if let Some(inside) = self.owner(now, port) {
            let passes = match kind.filtering {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => {
                    let of_address = |port| (inside, SocketAddr::new(from.ip(), port));
                    self.flows
                        .range(of_address(0)..=of_address(u16::MAX))
                        .any(|(_, flow)| kind.alive(flow.used, now))
                }
                Filtering::AddressAndPortDependent => false,
            };
            if passes {
                // Answers go back the way it came, unless there is a flow to that endpoint already.
                if self.live_flow(now, inside, from).is_none() {
                    self.begin(now, inside, from, port);
                }
                return Some(inside);
            }
        }
        self.refuse(now, port, from);
        None
    }

    /// The inside endpoint for a datagram from inside to an outside port, whatever the filter; `from` is what it was
    /// translated to.
    pub(super) fn hairpin(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        // A flow is a flow, though somebody else may have got the port for another endpoint meanwhile.
        if let Some(inside) = self.back_in(now, port, from) {
            return Some(inside);
        }
        let inside = self.owner(now, port)?;
        // Answers come from the port that was spoken to, whoever they go to.
        if self.live_flow(now, inside, from).is_none() {
            self.begin(now, inside, from, port);
        }
        Some(inside)
    }

    /// The inside endpoint of the flow that a datagram from outside is of, if it is of one.
    fn back_in(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let Some(&Back::Flow(inside)) = self.back.get(&(port, from)) else {
            return None;
        };
        let alive = self.live_flow(now, inside, from) == Some(port);
        alive.then(|| {
            self.touch(now, inside, from, port);
            inside
        })
    }

    /// The inside endpoint that sent from a port last, whether the NAT still knows it or not.
    pub(super) fn peek(&self, port: u16) -> Option<SocketAddr> {
        self.owners.get(&port).map(|&(inside, _)| inside)
    }

    /// Notes an IPv6 datagram that leaves.
    pub(super) fn leaves(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr) {
        if self.flows6.len() >= ROOM {
            let kind = self.kind;
            self.flows6.retain(|_, last| kind.alive(*last, now));
        }
        let before = self.flows6.insert((inside, remote), now);
        self.events.expired += u64::from(before.is_some_and(|before| !self.kind.alive(before, now)));
    }

    /// Whether an IPv6 datagram may enter.
    pub(super) fn enters(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr) -> bool {
        let kind = self.kind;
        let known = self.flows6.get(&(inside, remote)).copied();
        let passes = match kind.firewall {
            None => false,
            Some(Filtering::EndpointIndependent) => true,
            Some(Filtering::AddressDependent) => self
                .flows6
                .iter()
                .any(|((own, other), &last)| *own == inside && other.ip() == remote.ip() && kind.alive(last, now)),
            Some(Filtering::AddressAndPortDependent) => known.is_some_and(|last| kind.alive(last, now)),
        };
        if passes && known.is_some() {
            self.flows6.insert((inside, remote), now);
        }
        self.events.expired += u64::from(!passes && known.is_some());
        passes
    }

    /// The port of a flow that is remembered.
    fn live_flow(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr) -> Option<u16> {
        let Flow { port, used } = *self.flows.get(&(inside, remote))?;
        if self.kind.alive(used, now) {
            return Some(port);
        }
        self.flows.remove(&(inside, remote));
        self.back.remove(&(port, remote));
        self.events.expired += 1;
        None
    }

    fn begin(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr, port: u16) {
        let kind = self.kind;
        if self.flows.len() >= self.room {
            self.flows.retain(|_, flow| kind.alive(flow.used, now));
            let flows = &self.flows;
            self.back.retain(|&(_, remote), back| match back {
                Back::Flow(inside) => flows.contains_key(&(*inside, remote)),
                Back::Refused(last) => kind.alive(*last, now),
            });
            self.mapped
                .retain(|_, ports| ports.iter().any(|mapped| kind.alive(mapped.used, now)));
            // Where most are alive, looking again at every new one would find nothing.
            self.room = (2 * self.flows.len()).max(ROOM);
        }
        self.flows.insert((inside, remote), Flow { port, used: now });
        self.back.insert((port, remote), Back::Flow(inside));
        let ports = self.mapped.entry((inside, kind.bound(remote))).or_default();
        ports.retain(|mapped| mapped.port != port && kind.alive(mapped.used, now));
        ports.push(Mapped { port, used: now });
    }

    /// A datagram of a flow passed.
    fn touch(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr, port: u16) {
        if let Some(flow) = self.flows.get_mut(&(inside, remote)) {
            flow.used = now;
        }
        let ports = self.mapped.get_mut(&(inside, self.kind.bound(remote)));
        if let Some(mapped) = ports.and_then(|ports| ports.iter_mut().find(|mapped| mapped.port == port)) {
            mapped.used = now;
        }
    }

    /// Whose port this is, as far as that is remembered.
    fn owner(&self, now: Duration, port: u16) -> Option<SocketAddr> {
        let &(inside, last) = self.owners.get(&port)?;
        self.kind.alive(last, now).then_some(inside)
    }

    /// Whether a flow of `inside` to `remote` can begin at a port.
    fn is_free(&self, now: Duration, port: u16, inside: SocketAddr, remote: SocketAddr) -> bool {
        let taken = match self.back.get(&(port, remote)) {
            Some(Back::Flow(owner)) => {
                let flow = self.flows.get(&(*owner, remote));
                flow.is_some_and(|flow| flow.port == port && self.kind.alive(flow.used, now))
            }
            Some(Back::Refused(last)) => self.kind.alive(*last, now),
            None => false,
        };
        // Where a port is open to others than those who were spoken to, it must be clear whose it is.
        let shared = self.kind.filtering == Filtering::AddressAndPortDependent
            || self.owner(now, port).is_none_or(|owner| owner == inside);
        !taken && shared
    }

    fn choose(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        remote: SocketAddr,
        random: &mut ReproducibleRandom,
    ) -> Option<u16> {
        let kind = self.kind;
        let bound = kind.bound(remote);
        let usual = self
            .mapped
            .get(&(inside, bound))
            .and_then(|ports| ports.iter().rev().find(|mapped| kind.alive(mapped.used, now)))
            .map(|mapped| mapped.port);
        if let Some(port) = usual.filter(|&port| self.is_free(now, port, inside, remote)) {
            return Some(port);
        }
        let refused = |nat: &Self, port| matches!(nat.back.get(&(port, remote)), Some(Back::Refused(_)));
        let mut moved = usual.is_some_and(|port| refused(self, port));
        let wanted = match kind.ports {
            Ports::Preserved if kind.mapping == Mapping::EndpointIndependent => {
                let own = self.preserved(inside);
                moved |= refused(self, own);
                Some(own)
            }
            Ports::Preserved => {
                // The first has the inside port, the others those above it.
                let mut port = self.preserved(inside);
                while self.owner(now, port).is_some() {
                    port = port.wrapping_add(1).max(1_024);
                }
                Some(port)
            }
            Ports::Hashed => {
                let port = self.hashed(inside, bound);
                moved |= refused(self, port);
                if !moved && !self.is_free(now, port, inside, remote) {
                    return None;
                }
                Some(port)
            }
            Ports::Sequential => {
                let port = FIRST_SEQUENTIAL + self.given % SEQUENTIAL;
                self.given = (self.given + 1) % SEQUENTIAL;
                Some(port)
            }
            Ports::Random => None,
        };
        if let Some(port) = wanted.filter(|&port| self.is_free(now, port, inside, remote)) {
            return Some(port);
        }
        self.events.poisoned += u64::from(moved);
        (0..TRIES)
            .map(|_| 1_024 + random.below(64_512) as u16)
            .find(|&port| self.is_free(now, port, inside, remote))
    }

    fn refuse(&mut self, now: Duration, port: u16, from: SocketAddr) {
        if self.kind.poisoned {
            self.back.insert((port, from), Back::Refused(now));
        }
    }

    fn preserved(&self, inside: SocketAddr) -> u16 {
        inside.port().wrapping_add(self.shift).max(1_024)
    }

    /// A port that follows from what it is given to, and from the NAT.
    fn hashed(&self, inside: SocketAddr, bound: Bound) -> u16 {
        let mut hasher = DefaultHasher::new();
        let remote = match bound {
            Bound::Nothing => None,
            Bound::Address(address) => Some((address, 0)),
            Bound::Endpoint(endpoint) => Some((endpoint.ip(), endpoint.port())),
        };
        (self.outside, self.shift, inside, remote).hash(&mut hasher);
        1_024 + (hasher.finish() % 64_000) as u16
    }
}

impl NatKind {
    fn bound(self, remote: SocketAddr) -> Bound {
        match self.mapping {
            Mapping::EndpointIndependent => Bound::Nothing,
            Mapping::AddressDependent => Bound::Address(remote.ip()),
            Mapping::Symmetric => Bound::Endpoint(remote),
        }
    }
}

impl NatKind {
    fn alive(self, last: Duration, now: Duration) -> bool {
        now < last + self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(9, 2, 0, 0);
    const NOW: Duration = Duration::from_secs(1);

    fn at(host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::new(9, 1, 0, host).into(), port)
    }

    fn inside() -> SocketAddr {
        SocketAddr::new(Ipv4Addr::new(192, 168, 0, 2).into(), 9_600)
    }

    /// The outside ports of flows to two ports of one host and to another host.
    fn ports(kind: NatKind) -> [u16; 3] {
        let mut nat = Nat::new(kind, None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        [at(1, 1), at(1, 2), at(2, 1)].map(|remote| nat.outbound(NOW, inside(), remote, &mut random).unwrap().port())
    }

    #[test]
    fn mappings_share_ports_as_they_should() {
        assert_eq!(ports(NatKind::HOME), [9_600; 3]);
        let [first, second, third] = ports(NatKind::HOME.ports(Ports::Random));
        assert!(first != 9_600 && first == second && second == third);
        let [first, second, third] = ports(Mapping::AddressDependent.into());
        assert!(first == second && second != third);
        let [first, second, third] = ports(NatKind::SYMMETRIC);
        assert!(first != second && second != third && first != third);
        let [first, second, third] = ports(NatKind::SYMMETRIC.ports(Ports::Sequential));
        assert!(second == first + 1 && third == second + 1);
    }

    #[test]
    fn filters_let_in_whom_they_should() {
        use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        for (filtering, expected) in [
            (EndpointIndependent, [true, true, true]),
            (AddressDependent, [true, true, false]),
            (AddressAndPortDependent, [true, false, false]),
        ] {
            let kind = NatKind::HOME.filtering(filtering).with_ipv6(filtering);
            let mut nat = Nat::new(kind, None, OUTSIDE);
            let mut random = ReproducibleRandom::new(1, "nat", 0);
            let port = nat.outbound(NOW, inside(), at(1, 1), &mut random).unwrap().port();
            nat.leaves(NOW, inside(), at(1, 1));
            let remotes = [at(1, 1), at(1, 2), at(2, 1)];
            assert_eq!(remotes.map(|from| nat.inbound(NOW, port, from).is_some()), expected);
            assert_eq!(remotes.map(|from| nat.enters(NOW, inside(), from)), expected);
            assert_eq!(nat.inbound(NOW, port + 1, at(1, 1)), None);
            let later = NOW + kind.lifetime;
            assert_eq!(nat.inbound(later, port, at(1, 1)), None);
            assert_eq!(nat.take_events().expired, 1);
        }
    }

    #[test]
    fn traffic_either_way_keeps_a_flow_and_a_random_port_changes_after_it() {
        let mut nat = Nat::new(NatKind::HOME.ports(Ports::Random), None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let mut now = NOW;
        let port = nat.outbound(now, inside(), at(1, 1), &mut random).unwrap().port();
        for _ in 0..5 {
            now += Duration::from_secs(29);
            assert!(nat.inbound(now, port, at(1, 1)).is_some());
        }
        now += LIFETIME;
        assert_ne!(nat.outbound(now, inside(), at(1, 1), &mut random).unwrap().port(), port);
        assert_eq!(nat.take_events().expired, 1);
    }

    #[test]
    fn a_refused_datagram_poisons_for_its_sender_only() {
        let mut nat = Nat::new(NatKind::HOME.poisoned(), None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let port = nat.outbound(NOW, inside(), at(1, 1), &mut random).unwrap().port();
        assert_eq!(nat.inbound(NOW, port, at(2, 1)), None);
        let other = nat.outbound(NOW, inside(), at(2, 1), &mut random).unwrap().port();
        assert_ne!(other, port);
        assert_eq!(nat.take_events().poisoned, 1);
        assert_eq!(
            nat.outbound(NOW, inside(), at(2, 1), &mut random).unwrap().port(),
            other
        );
        // A new flow gets the port that this endpoint got last.
        assert_eq!(
            nat.outbound(NOW, inside(), at(3, 1), &mut random).unwrap().port(),
            other
        );
        // Its own flow first, and nothing is refused.
        assert!(nat.inbound(NOW, other, at(3, 1)).is_some());
        assert_eq!(nat.inbound(NOW, other, at(2, 1)), Some(inside()));
        // Forgotten like any flow.
        let later = NOW + LIFETIME;
        assert_eq!(
            nat.outbound(later, inside(), at(2, 1), &mut random).unwrap().port(),
            port
        );
    }

    #[test]
    fn two_hosts_share_a_port_towards_different_endpoints_only() {
        let mut nat = Nat::new(NatKind::HOME, None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let [a, b] = [2, 3].map(|host| SocketAddr::new(Ipv4Addr::new(192, 168, 0, host).into(), 9_600));
        let mut port = |nat: &mut Nat, inside, remote| nat.outbound(NOW, inside, remote, &mut random).unwrap().port();
        assert_eq!(port(&mut nat, a, at(1, 1)), 9_600);
        assert_eq!(port(&mut nat, b, at(2, 1)), 9_600);
        assert_eq!(nat.inbound(NOW, 9_600, at(1, 1)), Some(a));
        assert_eq!(nat.inbound(NOW, 9_600, at(2, 1)), Some(b));
        // Where the other one speaks from it already, it is another port, and that is used from then on.
        let other = port(&mut nat, b, at(1, 1));
        assert_ne!(other, 9_600);
        assert_eq!(port(&mut nat, b, at(3, 1)), other);
        assert_eq!(nat.inbound(NOW, other, at(1, 1)), Some(b));
        // A router that lets anybody in must know whose a port is.
        let mut nat = Nat::new(NatKind::FULL, None, OUTSIDE);
        assert_eq!(port(&mut nat, a, at(1, 1)), 9_600);
        assert_ne!(port(&mut nat, b, at(2, 1)), 9_600);
    }

    #[test]
    fn a_hairpin_goes_to_whose_flow_it_is_of_whoever_got_the_port_last() {
        let mut nat = Nat::new(NatKind::HOME.hairpin(), None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let [a, b] = [2, 3].map(|host| SocketAddr::new(Ipv4Addr::new(192, 168, 0, host).into(), 9_600));
        for (inside, remote) in [(a, at(1, 1)), (b, at(2, 1))] {
            assert_eq!(nat.outbound(NOW, inside, remote, &mut random).unwrap().port(), 9_600);
        }
        assert_eq!(nat.hairpin(NOW, 9_600, at(1, 1)), Some(a));
        assert_eq!(nat.hairpin(NOW, 9_600, at(2, 1)), Some(b));
        assert_eq!(nat.hairpin(NOW, 9_600, at(3, 1)), Some(b), "a new one");
    }

    #[test]
    fn a_port_by_hash_is_the_same_again_and_another_after_a_rebinding() {
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        for kind in [NatKind::PORT_RAND, NatKind::SYM_ADDR] {
            let mut nat = Nat::new(kind, None, OUTSIDE);
            let mut port = |nat: &mut Nat, now| nat.outbound(now, inside(), at(1, 1), &mut random).unwrap().port();
            let first = port(&mut nat, NOW);
            assert_eq!(port(&mut nat, NOW + 2 * LIFETIME), first);
            nat.reboot(NOW);
            assert_eq!(port(&mut nat, NOW), first);
            nat.rebind(NOW);
            assert_ne!(port(&mut nat, NOW), first);
        }
    }

    #[test]
    fn who_is_let_in_unasked_is_answered_from_where_it_came() {
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let kind = NatKind::SYMMETRIC.filtering(Filtering::EndpointIndependent);
        let mut nat = Nat::new(kind, None, OUTSIDE);
        let port = nat.outbound(NOW, inside(), at(1, 1), &mut random).unwrap().port();
        assert_eq!(nat.inbound(NOW, port, at(2, 1)), Some(inside()));
        assert_eq!(nat.outbound(NOW, inside(), at(2, 1), &mut random).unwrap().port(), port);
        assert_ne!(nat.outbound(NOW, inside(), at(3, 1), &mut random).unwrap().port(), port);
    }
}
