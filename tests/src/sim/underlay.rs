//! The simulated Internet: addresses, NATs, links and what they do to datagrams.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::random::ReproducibleRandom;

/// How datagrams between two hosts fare, one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkQuality {
    /// The least time under way.
    pub delay: Duration,
    /// Up to this much is added at random to each datagram; more than their spacing reorders them.
    pub jitter: Duration,
    /// The share that is lost, 0 to 1.
    pub loss: f64,
    /// The share that arrives twice, 0 to 1.
    pub duplication: f64,
    /// The share of which somebody on the way makes a copy with one bit flipped, 0 to 1.
    pub corruption: f64,
    /// The share of which somebody on the way sends a copy up to 30 s later, half of them from his own address, 0 to 1.
    pub replay: f64,
}

impl LinkQuality {
    /// A faultless link with this delay.
    pub const fn of_delay(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            corruption: 0.0,
            replay: 0.0,
        }
    }

    /// The same with a share of datagrams lost.
    pub const fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with jitter.
    pub const fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same with a share of datagrams doubled.
    pub const fn with_duplication(self, duplication: f64) -> Self {
        Self { duplication, ..self }
    }

    /// The same with a share of datagrams bent and a share replayed.
    pub const fn with_attacker(self, corruption: f64, replay: f64) -> Self {
        Self {
            corruption,
            replay,
            ..self
        }
    }
}

/// How a NAT picks the outside port of a flow (RFC 4787 §4.1). Both filter by address and port, keep no hairpin, and
/// forget a flow 30 s after its last datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// One port per inside endpoint, the same number where it is free: a home router.
    EndpointIndependent,
    /// A random port per inside and outside endpoint: a symmetric NAT.
    Symmetric,
}

/// A NAT of a [`super::Lab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(super) usize);

/// Datagrams of one host, with their IP and UDP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// IP bytes, both ways.
    pub bytes: u64,
    /// The largest IP packet sent.
    pub largest: usize,
}

/// Hosts' addresses, NATs and links.
#[derive(Debug)]
pub struct Underlay {
    random: ReproducibleRandom,
    default: LinkQuality,
    links: BTreeMap<(usize, usize), LinkQuality>,
    sites: Vec<Site>,
    nats: Vec<Nat>,
    cut: BTreeSet<(usize, usize)>,
}

/// The UDP port of every host.
pub(super) const PORT: u16 = 9600;

/// The longest IP packet that passes: Ethernet's.
pub(super) const UNDERLAY_MTU: usize = 1500;

/// The hop count of the simulated core: a smaller time to live dies there, after the NATs near the sender saw it.
const CORE_HOPS: u8 = 6;

/// One way inside one site.
const LOCAL_DELAY: Duration = Duration::from_micros(200);

/// How long after its time a datagram may be replayed.
const REPLAYED: Duration = Duration::from_secs(30);

/// Where replayed datagrams come from.
const ATTACKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 666);

/// How long a NAT remembers a silent flow: Linux' nf_conntrack_udp_timeout.
const NAT_LIFETIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Site {
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    nat: Option<usize>,
    traffic: Traffic,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) at: Duration,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) sender: usize,
    /// A number that picks the bit that is flipped.
    pub(super) flip: Option<u64>,
}

impl Parcel {
    /// What of `bytes` arrives.
    pub(super) fn contents(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if let (Some(flip), false) = (self.flip, bytes.is_empty()) {
            let bit = flip % (bytes.len() as u64 * 8);
            bytes[bit as usize / 8] ^= 1 << (bit % 8);
        }
        bytes
    }
}

impl Underlay {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: ReproducibleRandom::new(seed, "underlay", 0),
            default: LinkQuality::of_delay(Duration::from_millis(10)),
            links: BTreeMap::new(),
            sites: Vec::new(),
            nats: Vec::new(),
            cut: BTreeSet::new(),
        }
    }

    /// How links without a rule of their own behave.
    pub(super) fn set_default(&mut self, quality: LinkQuality) {
        self.default = quality;
    }

    /// How the link between two hosts behaves, both ways.
    pub(super) fn set_link(&mut self, a: usize, b: usize, quality: LinkQuality) {
        self.links.insert((a.min(b), a.max(b)), quality);
    }

    pub(super) fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(pair);
        } else {
            self.cut.remove(&pair);
        }
    }

    pub(super) fn add_nat(&mut self, mapping: Mapping) -> NatId {
        let number = self.nats.len() as u16;
        self.nats.push(Nat {
            mapping,
            outside: nat_address(number),
            flows: BTreeMap::new(),
            ports: BTreeMap::new(),
            shift: 0,
        });
        NatId(self.nats.len() - 1)
    }

    /// Adds the host with the next index: on the open Internet with IPv4 and IPv6, or behind a NAT with IPv4 only.
    pub(super) fn add_host(&mut self, nat: Option<NatId>) {
        let number = self.sites.len() as u16;
        let [high, low] = number.to_be_bytes();
        let site = match nat {
            Some(NatId(nat)) => Site {
                v4: Ipv4Addr::new(192, 168, nat as u8, low.wrapping_add(2)),
                v6: None,
                nat: Some(nat),
                traffic: Traffic::default(),
            },
            None => Site {
                v4: Ipv4Addr::new(9, 1, high, low),
                v6: Some(Ipv6Addr::new(0x2a00, 0x9600, 0, 0, 0, 0, 0, number + 1)),
                nat: None,
                traffic: Traffic::default(),
            },
        };
        self.sites.push(site);
    }

    /// The endpoints of a host as it knows them itself.
    pub(super) fn endpoints(&self, host: usize) -> Vec<SocketAddr> {
        let site = &self.sites[host];
        let v4 = SocketAddr::new(site.v4.into(), PORT);
        std::iter::once(v4)
            .chain(site.v6.map(|v6| SocketAddr::new(v6.into(), PORT)))
            .collect()
    }

    pub(super) fn traffic(&self, host: usize) -> Traffic {
        self.sites[host].traffic
    }

    /// A NAT forgets everything and gives other ports afterwards, as after a reboot.
    pub(super) fn rebind(&mut self, nat: NatId) {
        let nat = &mut self.nats[nat.0];
        nat.flows.clear();
        nat.ports.clear();
        nat.shift = nat.shift.wrapping_add(1_009);
    }

    /// Sends a datagram of `length` payload bytes; returns the copies that will arrive, or why there is none.
    pub(super) fn send(
        &mut self,
        now: Duration,
        sender: usize,
        destination: SocketAddr,
        ttl: Option<u8>,
        length: usize,
    ) -> Result<Vec<Parcel>, &'static str> {
        let size = length + headers(destination);
        let site = &mut self.sites[sender];
        site.traffic.sent += 1;
        site.traffic.bytes += size as u64;
        site.traffic.largest = site.traffic.largest.max(size);
        if size > UNDERLAY_MTU {
            return Err("too big");
        }
        let inside = match destination.ip() {
            IpAddr::V4(_) => SocketAddr::new(site.v4.into(), PORT),
            IpAddr::V6(_) => SocketAddr::new(site.v6.ok_or("no route to IPv6")?.into(), PORT),
        };
        let nat = site.nat;
        if let Some(local) = self.inside_host(nat, destination) {
            let at = now + LOCAL_DELAY;
            debug_assert_ne!(local, sender, "a host sends to itself");
            return Ok(vec![Parcel {
                at,
                source: inside,
                destination,
                sender,
                flip: None,
            }]);
        }
        let source = match nat {
            Some(nat) => self.nats[nat].outbound(now, inside, destination, &mut self.random),
            None => inside,
        };
        if is_private(destination.ip()) {
            return Err("no route to a private address");
        }
        if ttl.is_some_and(|ttl| ttl < CORE_HOPS) {
            return Err("time to live exceeded");
        }
        // Quality goes by the host that would get it; nowhere is as far as the default.
        let quality = self
            .owner(destination)
            .and_then(|receiver| self.links.get(&(sender.min(receiver), sender.max(receiver))))
            .copied()
            .unwrap_or(self.default);
        if self.random.chance(quality.loss) {
            return Err("lost");
        }
        let prompt = |random: &mut ReproducibleRandom| Parcel {
            at: now + quality.delay + random.duration_below(quality.jitter),
            source,
            destination,
            sender,
            flip: None,
        };
        let mut parcels = vec![prompt(&mut self.random)];
        if self.random.chance(quality.duplication) {
            parcels.push(prompt(&mut self.random));
        }
        if self.random.chance(quality.corruption) {
            let flip = Some(self.random.below(u64::MAX));
            parcels.push(Parcel {
                flip,
                ..prompt(&mut self.random)
            });
        }
        if self.random.chance(quality.replay) {
            let at = now + quality.delay + self.random.duration_below(REPLAYED);
            let source = if self.random.chance(0.5) { ATTACKER } else { source };
            parcels.push(Parcel {
                at,
                source,
                ..prompt(&mut self.random)
            });
        }
        Ok(parcels)
    }

    /// The host that a datagram reaches at its arrival, or why it reaches none.
    pub(super) fn arrive(&mut self, parcel: &Parcel, length: usize) -> Result<usize, &'static str> {
        let Parcel {
            at,
            source,
            destination,
            sender,
            ..
        } = *parcel;
        let inside = is_private(destination.ip());
        let receiver = if inside {
            self.inside_host(self.sites[sender].nat, destination)
        } else if let Some(nat) = self
            .nats
            .iter_mut()
            .find(|nat| IpAddr::V4(nat.outside) == destination.ip())
        {
            let inside = nat.inbound(at, destination.port(), source).ok_or("filtered")?;
            self.sites.iter().position(|site| IpAddr::V4(site.v4) == inside.ip())
        } else {
            self.owner(destination)
        };
        let receiver = receiver.ok_or("nobody there")?;
        if self.cut.contains(&(sender.min(receiver), sender.max(receiver))) {
            return Err("cut");
        }
        let traffic = &mut self.sites[receiver].traffic;
        traffic.received += 1;
        traffic.bytes += (length + headers(destination)) as u64;
        Ok(receiver)
    }

    /// The host with this endpoint in the private network behind `nat`.
    fn inside_host(&self, nat: Option<usize>, endpoint: SocketAddr) -> Option<usize> {
        nat?;
        self.sites
            .iter()
            .position(|site| site.nat == nat && IpAddr::V4(site.v4) == endpoint.ip() && endpoint.port() == PORT)
    }

    /// The host that an outside endpoint belongs to, through its NAT where there is one.
    fn owner(&self, endpoint: SocketAddr) -> Option<usize> {
        if let Some(nat) = self.nats.iter().find(|nat| IpAddr::V4(nat.outside) == endpoint.ip()) {
            let inside = nat.ports.get(&endpoint.port())?.inside;
            return self.sites.iter().position(|site| IpAddr::V4(site.v4) == inside.ip());
        }
        self.sites.iter().position(|site| {
            site.nat.is_none()
                && endpoint.port() == PORT
                && (IpAddr::V4(site.v4) == endpoint.ip() || site.v6.map(IpAddr::V6) == Some(endpoint.ip()))
        })
    }
}

#[derive(Debug)]
struct Nat {
    mapping: Mapping,
    outside: Ipv4Addr,
    /// When the last datagram passed either way between an inside and an outside endpoint.
    flows: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    ports: BTreeMap<u16, PortOwner>,
    /// Distance of outside ports from inside ones.
    shift: u16,
}

/// Whom an outside port is given to: an inside endpoint, on a symmetric NAT for one outside endpoint only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortOwner {
    inside: SocketAddr,
    outside: Option<SocketAddr>,
}

impl Nat {
    /// Opens or refreshes a flow and returns its outside endpoint.
    fn outbound(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        outside: SocketAddr,
        random: &mut ReproducibleRandom,
    ) -> SocketAddr {
        self.expire(now);
        self.flows.insert((inside, outside), now);
        let bound = (self.mapping == Mapping::Symmetric).then_some(outside);
        let owner = PortOwner { inside, outside: bound };
        let known = self
            .ports
            .iter()
            .find(|&(_, &known)| known == owner)
            .map(|(&port, _)| port);
        let port = known.unwrap_or_else(|| {
            let mut port = match self.mapping {
                Mapping::EndpointIndependent => inside.port().wrapping_add(self.shift).max(1_024),
                Mapping::Symmetric => 1_024 + random.below(60_000) as u16,
            };
            while self.ports.contains_key(&port) {
                port = port.wrapping_add(1).max(1_024);
            }
            self.ports.insert(port, owner);
            port
        });
        SocketAddr::new(self.outside.into(), port)
    }

    /// The inside endpoint for a datagram from outside, if the filter lets it in.
    fn inbound(&mut self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        let inside = self.ports.get(&port)?.inside;
        // On a symmetric NAT the port is bound to one outside endpoint, which must be this one.
        if self.ports.get(&port)?.outside.is_some_and(|bound| bound != from) {
            return None;
        }
        *self.flows.get_mut(&(inside, from))? = now;
        Some(inside)
    }

    fn expire(&mut self, now: Duration) {
        self.flows.retain(|_, last| now < *last + NAT_LIFETIME);
        let flows = &self.flows;
        self.ports.retain(|_, owner| match owner.outside {
            Some(outside) => flows.contains_key(&(owner.inside, outside)),
            None => flows.keys().any(|(inside, _)| *inside == owner.inside),
        });
    }
}

/// Addresses that nobody else uses in a simulation: NATs in 9.2.0.0/16, open hosts in 9.1.0.0/16.
fn nat_address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(9, 2, high, low)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// IP and UDP headers.
fn headers(destination: SocketAddr) -> usize {
    if destination.is_ipv4() { 28 } else { 48 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two open hosts 0 and 1, and host 2 behind a NAT.
    fn underlay(mapping: Mapping) -> Underlay {
        let mut underlay = Underlay::new(1);
        let nat = underlay.add_nat(mapping);
        underlay.add_host(None);
        underlay.add_host(None);
        underlay.add_host(Some(nat));
        underlay
    }

    fn pass(
        underlay: &mut Underlay,
        now: Duration,
        from: usize,
        to: SocketAddr,
    ) -> Result<(usize, SocketAddr), &'static str> {
        let parcel = underlay.send(now, from, to, None, 100)?.remove(0);
        Ok((underlay.arrive(&parcel, 100)?, parcel.source))
    }

    #[test]
    fn home_router_keeps_one_port_and_filters() {
        let mut underlay = underlay(Mapping::EndpointIndependent);
        let (first, second) = (underlay.endpoints(0)[0], underlay.endpoints(1)[0]);
        let now = Duration::from_secs(1);
        let (_, outside) = pass(&mut underlay, now, 2, first).unwrap();
        assert_eq!(outside.port(), PORT);
        assert_eq!(pass(&mut underlay, now, 0, outside), Ok((2, first)));
        assert_eq!(pass(&mut underlay, now, 1, outside), Err("filtered"));
        let (_, same) = pass(&mut underlay, now, 2, second).unwrap();
        assert_eq!(same, outside);
        assert_eq!(pass(&mut underlay, now, 1, outside), Ok((2, second)));
        assert_eq!(
            pass(&mut underlay, now + Duration::from_secs(31), 1, outside),
            Err("filtered")
        );
    }

    #[test]
    fn symmetric_nat_gives_each_peer_another_port() {
        let mut underlay = underlay(Mapping::Symmetric);
        let (first, second) = (underlay.endpoints(0)[0], underlay.endpoints(1)[0]);
        let now = Duration::from_secs(1);
        let (_, outside) = pass(&mut underlay, now, 2, first).unwrap();
        let (_, other) = pass(&mut underlay, now, 2, second).unwrap();
        assert_ne!(other.port(), outside.port());
        assert_eq!(pass(&mut underlay, now, 0, outside), Ok((2, first)));
        assert_eq!(pass(&mut underlay, now, 1, outside), Err("filtered"));
        assert_eq!(pass(&mut underlay, now, 1, other), Ok((2, second)));
    }

    #[test]
    fn rebinding_changes_the_port() {
        let mut underlay = underlay(Mapping::EndpointIndependent);
        let first = underlay.endpoints(0)[0];
        let now = Duration::from_secs(1);
        let (_, before) = pass(&mut underlay, now, 2, first).unwrap();
        underlay.rebind(NatId(0));
        assert_eq!(pass(&mut underlay, now, 0, before), Err("filtered"));
        let (_, after) = pass(&mut underlay, now, 2, first).unwrap();
        assert_ne!(before, after);
    }

    #[test]
    fn short_lived_datagrams_open_the_nat_and_die() {
        let mut underlay = underlay(Mapping::EndpointIndependent);
        let first = underlay.endpoints(0)[0];
        let now = Duration::from_secs(1);
        assert!(underlay.send(now, 2, first, Some(5), 100).is_err());
        let outside = SocketAddr::new(nat_address(0).into(), PORT);
        assert_eq!(pass(&mut underlay, now, 0, outside), Ok((2, first)));
    }

    #[test]
    fn loss_and_duplication_come_at_their_rates() {
        let mut underlay = underlay(Mapping::EndpointIndependent);
        let first = underlay.endpoints(0)[0];
        let quality = LinkQuality::of_delay(Duration::from_millis(1))
            .with_loss(0.2)
            .with_duplication(0.1);
        underlay.set_default(quality);
        let (mut lost, mut doubled) = (0, 0);
        for _ in 0..10_000 {
            match underlay.send(Duration::ZERO, 1, first, None, 100) {
                Err(_) => lost += 1,
                Ok(copies) => doubled += copies.len() - 1,
            }
        }
        assert!((1_850..2_150).contains(&lost), "{lost}");
        assert!((700..900).contains(&doubled), "{doubled}");
    }
}
