//! One NAT: which outside port a flow gets, who may send to it, and for how long (RFC 4787).

use std::{
    collections::BTreeMap,
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
    /// What each outside port is given to; entries may be dead.
    ports: BTreeMap<u16, Mapped>,
    /// The port of each inside endpoint and what it is bound to.
    index: BTreeMap<(SocketAddr, Bound), u16>,
    /// Refused datagrams by port and sender, with the moment of the last.
    refused: BTreeMap<(u16, SocketAddr), Duration>,
    /// IPv6 flows from inside, with the moment of the last datagram.
    flows: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    /// Distance of outside ports from inside ones.
    shift: u16,
    /// The port given last, of those given in sequence.
    last: u16,
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

#[derive(Debug)]
struct Mapped {
    inside: SocketAddr,
    bound: Bound,
    /// Whom the inside spoke to from this port, with the moment of the last datagram either way.
    remotes: BTreeMap<SocketAddr, Duration>,
    used: Duration,
}

/// What an outside port is bound to beside its inside endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Nothing,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

/// Entries of a table before dead ones are looked for.
const ROOM: usize = 256;

impl Nat {
    pub(super) fn new(kind: NatKind, realm: Option<usize>, outside: Ipv4Addr) -> Self {
        Self {
            kind,
            realm,
            outside,
            ports: BTreeMap::new(),
            index: BTreeMap::new(),
            refused: BTreeMap::new(),
            flows: BTreeMap::new(),
            shift: 0,
            last: 20_000,
            events: NatEvents::default(),
        }
    }

    /// What happened since the last call.
    pub(super) fn take_events(&mut self) -> NatEvents {
        std::mem::take(&mut self.events)
    }

    /// Forgets everything and gives other ports afterwards, as after a reboot. Returns whether anything was alive.
    pub(super) fn rebind(&mut self, now: Duration) -> bool {
        let alive = self.ports.values().any(|mapped| self.kind.alive(mapped.used, now))
            || self.flows.values().any(|&last| self.kind.alive(last, now));
        self.ports.clear();
        self.index.clear();
        self.refused.clear();
        self.flows.clear();
        self.shift = self.shift.wrapping_add(1_009);
        alive
    }

    /// Opens or refreshes a flow and returns its outside endpoint.
    pub(super) fn outbound(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        remote: SocketAddr,
        random: &mut ReproducibleRandom,
    ) -> SocketAddr {
        let endpoint = Bound::Endpoint(remote);
        let bound = match self.kind.mapping {
            Mapping::EndpointIndependent => Bound::Nothing,
            Mapping::AddressDependent => Bound::Address(remote.ip()),
            Mapping::Symmetric => endpoint,
        };
        // A flow that was moved to a port of its own stays there.
        let moved = self.live_port(now, inside, endpoint);
        let usual = self.live_port(now, inside, bound);
        let port = match (moved, usual) {
            (Some(port), _) => port,
            (None, Some(port)) if !self.collides(now, port, remote) => port,
            (None, Some(_)) => {
                self.events.poisoned += 1;
                self.allocate(now, inside, endpoint, random)
            }
            (None, None) => {
                let wanted = self.preserved(inside);
                if self.kind.ports == Ports::Preserved && self.collides(now, wanted, remote) {
                    self.events.poisoned += 1;
                    self.allocate(now, inside, endpoint, random)
                } else {
                    self.allocate(now, inside, bound, random)
                }
            }
        };
        if let Some(mapped) = self.ports.get_mut(&port) {
            if mapped.remotes.len() >= ROOM {
                let kind = self.kind;
                mapped.remotes.retain(|_, last| kind.alive(*last, now));
            }
            mapped.remotes.insert(remote, now);
            mapped.used = now;
        }
        SocketAddr::new(self.outside.into(), port)
    }

    /// The inside endpoint for a datagram from outside, if the filter lets it in.
    pub(super) fn inbound(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let kind = self.kind;
        let Some(mapped) = self.ports.get_mut(&port) else {
            self.refuse(now, port, from);
            return None;
        };
        if !kind.alive(mapped.used, now) {
            self.events.expired += 1;
            self.refuse(now, port, from);
            return None;
        }
        let known = mapped.remotes.get(&from).is_some_and(|&last| kind.alive(last, now));
        let passes = match kind.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => mapped
                .remotes
                .iter()
                .any(|(remote, &last)| remote.ip() == from.ip() && kind.alive(last, now)),
            Filtering::AddressAndPortDependent => known,
        };
        if !passes {
            self.events.expired += u64::from(mapped.remotes.contains_key(&from));
            self.refuse(now, port, from);
            return None;
        }
        mapped.used = now;
        if known {
            mapped.remotes.insert(from, now);
        }
        Some(mapped.inside)
    }

    /// The inside endpoint that has a port, whoever may use it.
    pub(super) fn peek(&self, port: u16) -> Option<SocketAddr> {
        self.ports.get(&port).map(|mapped| mapped.inside)
    }

    /// Notes an IPv6 datagram that leaves.
    pub(super) fn leaves(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr) {
        if self.flows.len() >= 4 * ROOM {
            let kind = self.kind;
            self.flows.retain(|_, last| kind.alive(*last, now));
        }
        let before = self.flows.insert((inside, remote), now);
        self.events.expired += u64::from(before.is_some_and(|before| !self.kind.alive(before, now)));
    }

    /// Whether an IPv6 datagram may enter.
    pub(super) fn enters(&mut self, now: Duration, inside: SocketAddr, remote: SocketAddr) -> bool {
        let kind = self.kind;
        let known = self.flows.get(&(inside, remote)).copied();
        let passes = match kind.firewall {
            None => false,
            Some(Filtering::EndpointIndependent) => true,
            Some(Filtering::AddressDependent) => self
                .flows
                .iter()
                .any(|((own, other), &last)| *own == inside && other.ip() == remote.ip() && kind.alive(last, now)),
            Some(Filtering::AddressAndPortDependent) => known.is_some_and(|last| kind.alive(last, now)),
        };
        if passes && known.is_some() {
            self.flows.insert((inside, remote), now);
        }
        self.events.expired += u64::from(!passes && known.is_some());
        passes
    }

    fn live_port(&mut self, now: Duration, inside: SocketAddr, bound: Bound) -> Option<u16> {
        let &port = self.index.get(&(inside, bound))?;
        let alive = self
            .ports
            .get(&port)
            .is_some_and(|mapped| self.kind.alive(mapped.used, now));
        if !alive {
            self.index.remove(&(inside, bound));
            self.ports.remove(&port);
            self.events.expired += 1;
        }
        alive.then_some(port)
    }

    /// Whether a flow from `port` to `remote` is taken by an entry that a refused datagram left.
    fn collides(&self, now: Duration, port: u16, remote: SocketAddr) -> bool {
        let kind = self.kind;
        let own = self.ports.get(&port).and_then(|mapped| mapped.remotes.get(&remote));
        !own.is_some_and(|&last| kind.alive(last, now))
            && self
                .refused
                .get(&(port, remote))
                .is_some_and(|&last| kind.alive(last, now))
    }

    fn refuse(&mut self, now: Duration, port: u16, from: SocketAddr) {
        if !self.kind.poisoned {
            return;
        }
        if self.refused.len() >= ROOM {
            let kind = self.kind;
            self.refused.retain(|_, last| kind.alive(*last, now));
        }
        self.refused.insert((port, from), now);
    }

    fn preserved(&self, inside: SocketAddr) -> u16 {
        inside.port().wrapping_add(self.shift).max(1_024)
    }

    fn allocate(&mut self, now: Duration, inside: SocketAddr, bound: Bound, random: &mut ReproducibleRandom) -> u16 {
        let mut port = match self.kind.ports {
            Ports::Preserved => self.preserved(inside),
            Ports::Random => 1_024 + random.below(60_000) as u16,
            Ports::Sequential => self.last.wrapping_add(1).max(1_024),
        };
        while let Some(taken) = self.ports.get(&port) {
            let (owner, dead) = ((taken.inside, taken.bound), !self.kind.alive(taken.used, now));
            if dead {
                self.index.remove(&owner);
                break;
            }
            port = port.wrapping_add(1).max(1_024);
        }
        self.last = port;
        self.index.insert((inside, bound), port);
        let fresh = Mapped {
            inside,
            bound,
            remotes: BTreeMap::new(),
            used: now,
        };
        self.ports.insert(port, fresh);
        port
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
        [at(1, 1), at(1, 2), at(2, 1)].map(|remote| nat.outbound(NOW, inside(), remote, &mut random).port())
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
            let port = nat.outbound(NOW, inside(), at(1, 1), &mut random).port();
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
        let port = nat.outbound(now, inside(), at(1, 1), &mut random).port();
        for _ in 0..5 {
            now += Duration::from_secs(29);
            assert!(nat.inbound(now, port, at(1, 1)).is_some());
        }
        now += LIFETIME;
        assert_ne!(nat.outbound(now, inside(), at(1, 1), &mut random).port(), port);
        assert_eq!(nat.take_events().expired, 1);
    }

    #[test]
    fn a_refused_datagram_poisons_for_its_sender_only() {
        let mut nat = Nat::new(NatKind::HOME.poisoned(), None, OUTSIDE);
        let mut random = ReproducibleRandom::new(1, "nat", 0);
        let port = nat.outbound(NOW, inside(), at(1, 1), &mut random).port();
        assert_eq!(nat.inbound(NOW, port, at(2, 1)), None);
        let other = nat.outbound(NOW, inside(), at(2, 1), &mut random).port();
        assert_ne!(other, port);
        assert_eq!(nat.take_events().poisoned, 1);
        assert_eq!(nat.outbound(NOW, inside(), at(2, 1), &mut random).port(), other);
        assert_eq!(nat.outbound(NOW, inside(), at(3, 1), &mut random).port(), port);
        // Its own flow first, and nothing is refused.
        assert!(nat.inbound(NOW, port, at(3, 1)).is_some());
        assert_eq!(nat.inbound(NOW, other, at(2, 1)), Some(inside()));
        // Forgotten like any flow.
        let later = NOW + LIFETIME;
        assert_eq!(nat.outbound(later, inside(), at(2, 1), &mut random).port(), port);
    }
}
