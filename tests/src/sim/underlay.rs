//! The simulated Internet: addresses, NATs, links and what they do to datagrams.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use farlan_engine::{Leg, Socket};

use super::{
    faults::{FaultCounts, FaultKind},
    links::LinkQuality,
    nat::{Nat, NatKind},
    random::ReproducibleRandom,
};

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
    /// Datagrams sent to addresses that nobody has.
    pub astray: u64,
}

/// Hosts' addresses, NATs and links.
///
/// A *realm* is a network with addresses of its own: the core (`None`), or the inside of a NAT. What a datagram passes on
/// its way up to the realm of its destination happens when it is sent, what it passes on its way down when it arrives.
#[derive(Debug)]
pub struct Underlay {
    random: ReproducibleRandom,
    default: LinkQuality,
    links: BTreeMap<(usize, usize), LinkQuality>,
    sites: Vec<Site>,
    nats: Vec<Nat>,
    /// Who has which address in which realm.
    places: BTreeMap<(Option<usize>, IpAddr), Place>,
    /// How many addresses were given in each realm.
    given: BTreeMap<Option<usize>, u16>,
    cut: BTreeSet<(usize, usize)>,
    faults: FaultCounts,
    poisoned: u64,
    /// NATs that forgot a flow since this was asked last.
    forgetful: Vec<NatId>,
    /// Numbers datagrams.
    sent: u64,
    /// The latest datagram that arrived, and how many did, by sender and receiver.
    arrived: BTreeMap<(usize, usize), (u64, u64)>,
    /// NATs that got another address.
    renumbered: u16,
}

/// The main UDP port of every host.
pub(super) const PORT: u16 = 9600;

/// The second UDP port of every supernode, which is its first extra socket.
pub(super) const SECOND_PORT: u16 = PORT + 1;

/// The ports from which systems pick: the first, and how many (Linux' ip_local_port_range).
const PICKED: u16 = 32_768;
const PICKED_PORTS: u16 = 28_232;

/// The longest IP packet that passes: Ethernet's.
pub(super) const UNDERLAY_MTU: usize = 1500;

/// The hop count of the simulated core: a smaller time to live dies there, after the NATs near the sender saw it.
const CORE_HOPS: u8 = 6;

/// One way inside one site.
pub(super) const LOCAL_DELAY: Duration = Duration::from_micros(200);

/// How long after its time a datagram may be replayed.
pub(super) const REPLAYED: Duration = Duration::from_secs(30);

/// Where replayed datagrams come from.
const ATTACKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 666);

/// What counts as held up.
const HELD_UP: Duration = Duration::from_millis(5);

/// NATs that get another address have one above this.
const RENUMBERED: u16 = 0x8000;

/// The least time after which TCP sends something again: Linux' TCP_RTO_MIN.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// Homes are numbered alike: this many different subnets of 192.168.0.0/16 must do for all.
const HOME_SUBNETS: usize = 8;

#[derive(Debug)]
struct Site {
    realm: Option<usize>,
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    supernode: bool,
    /// The ports of its open sockets, and the other way round; the main one has [`PORT`].
    sockets: BTreeMap<u16, u16>,
    ports: BTreeMap<u16, Socket>,
    traffic: Traffic,
}

impl Site {
    /// The socket at a port.
    fn socket(&self, port: u16) -> Option<Socket> {
        if port == PORT {
            return Some(Socket::Main);
        }
        self.ports.get(&port).copied()
    }

    /// The port of a socket, which is opened if it is not.
    fn port(&mut self, socket: Socket, random: &mut ReproducibleRandom) -> u16 {
        let Socket::Extra(number) = socket else {
            return PORT;
        };
        *self.sockets.entry(number).or_insert_with(|| {
            let picked = || PICKED + random.below(PICKED_PORTS.into()) as u16;
            let port = std::iter::repeat_with(picked).find(|port| !self.ports.contains_key(port));
            let port = port.unwrap_or(PICKED);
            self.ports.insert(port, socket);
            port
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Host(usize),
    Nat(usize),
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
    /// The realm that its destination is looked for in.
    realm: Option<usize>,
    /// The NAT that it was about to leave when it turned back.
    hairpin: Option<usize>,
    number: u64,
    copy: Copied,
    held_up: bool,
}

/// What a datagram is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Original,
    Duplicate,
    Bent,
    Replayed,
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
            places: BTreeMap::new(),
            given: BTreeMap::new(),
            cut: BTreeSet::new(),
            faults: FaultCounts::default(),
            poisoned: 0,
            forgetful: Vec::new(),
            sent: 0,
            arrived: BTreeMap::new(),
            renumbered: 0,
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

    /// Adds a NAT, on the open Internet or behind another one, its carrier's.
    pub(super) fn add_nat(&mut self, kind: NatKind, carrier: Option<NatId>) -> NatId {
        let index = self.nats.len();
        let realm = carrier.map(|NatId(carrier)| carrier);
        let outside = self.new_nat_address(index, realm);
        self.nats.push(Nat::new(kind, realm, outside));
        self.places.insert((realm, outside.into()), Place::Nat(index));
        NatId(index)
    }

    /// Adds the host with the next index, on the open Internet or behind a NAT.
    pub(super) fn add_host(&mut self, nat: Option<NatId>, supernode: bool) {
        let index = self.sites.len();
        self.sites.push(Site {
            realm: None,
            v4: Ipv4Addr::UNSPECIFIED,
            v6: None,
            supernode,
            sockets: BTreeMap::new(),
            ports: BTreeMap::new(),
            traffic: Traffic::default(),
        });
        if supernode {
            let site = &mut self.sites[index];
            site.sockets.insert(0, SECOND_PORT);
            site.ports.insert(SECOND_PORT, Socket::Extra(0));
        }
        self.place(index, nat);
    }

    /// A host closes a socket; if it is named again, it is another one. A supernode keeps its second port.
    pub(super) fn close(&mut self, host: usize, socket: Socket) {
        let site = &mut self.sites[host];
        if let Socket::Extra(number) = socket
            && !(site.supernode && number == 0)
            && let Some(port) = site.sockets.remove(&number)
        {
            site.ports.remove(&port);
        }
    }

    /// A host closes all its extra sockets, as its program ends.
    pub(super) fn close_all(&mut self, host: usize) {
        let numbers: Vec<u16> = self.sites[host].sockets.keys().copied().collect();
        numbers
            .into_iter()
            .for_each(|number| self.close(host, Socket::Extra(number)));
    }

    /// How many extra sockets a host has open.
    pub(super) fn extra_sockets(&self, host: usize) -> usize {
        self.sites[host].sockets.len()
    }

    /// Whether a host has an address.
    pub(super) fn has_address(&self, host: usize, address: IpAddr) -> bool {
        let site = &self.sites[host];
        address == IpAddr::V4(site.v4) || site.v6.is_some_and(|v6| address == IpAddr::V6(v6))
    }

    /// The IPv4 address from which the core sees a host.
    pub(super) fn seen_from_core(&self, host: usize) -> IpAddr {
        let (mut realm, mut seen) = (self.sites[host].realm, self.sites[host].v4);
        while let Some(nat) = realm {
            (realm, seen) = (self.nats[nat].realm, self.nats[nat].outside);
        }
        seen.into()
    }

    /// Whether the way between two hosts is cut.
    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// How long something takes over a TCP connection between two hosts: what is lost is sent again.
    pub(super) fn stream_delay(&mut self, from: usize, to: usize) -> Duration {
        let pair = (from.min(to), from.max(to));
        let quality = self.links.get(&pair).copied().unwrap_or(self.default);
        let mut delay = quality.delay + self.random.duration_below(quality.jitter);
        let mut pause = LEAST_PAUSE.max(2 * quality.delay);
        while self.random.chance(quality.loss.min(0.9)) {
            delay += pause;
            pause *= 2;
        }
        delay
    }

    /// How many datagrams of one host another one got.
    pub(super) fn arrived(&self, sender: usize, receiver: usize) -> u64 {
        self.arrived.get(&(sender, receiver)).map_or(0, |&(_, count)| count)
    }

    /// A NAT does something else from now on.
    pub(super) fn set_kind(&mut self, nat: NatId, kind: NatKind) {
        self.nats[nat.0].kind = kind;
    }

    /// A NAT gets another outside address and forgets everything.
    pub(super) fn renumber(&mut self, now: Duration, nat: NatId) {
        let Nat { realm, outside, .. } = self.nats[nat.0];
        self.places.remove(&(realm, outside.into()));
        self.renumbered += 1;
        let outside = self.new_nat_address(usize::from(RENUMBERED + self.renumbered), realm);
        self.places.insert((realm, outside.into()), Place::Nat(nat.0));
        self.nats[nat.0].outside = outside;
        self.reboot(now, nat);
    }

    /// A NAT forgets everything, as after a reboot.
    pub(super) fn reboot(&mut self, now: Duration, nat: NatId) {
        if self.nats[nat.0].reboot(now) {
            self.faults.fired(FaultKind::Rebind);
        }
    }

    /// Moves a host to new addresses, on the open Internet or behind a NAT.
    pub(super) fn move_host(&mut self, host: usize, nat: Option<NatId>) {
        let Site { realm, v4, v6, .. } = self.sites[host];
        self.places.remove(&(realm, v4.into()));
        if let Some(v6) = v6 {
            self.places.remove(&(None, v6.into()));
        }
        self.place(host, nat);
    }

    /// On the open Internet a host has IPv4 and IPv6, behind a NAT IPv4, and IPv6 if the NAT has a firewall for it.
    fn place(&mut self, host: usize, nat: Option<NatId>) {
        let realm = nat.map(|NatId(nat)| nat);
        let number = self.number_in(realm);
        let [high, low] = number.to_be_bytes();
        let v4 = match realm {
            None => Ipv4Addr::new(9, 1, high, low),
            Some(nat) => Ipv4Addr::new(192, 168, (nat % HOME_SUBNETS) as u8, low.wrapping_add(2)),
        };
        let subnet = match realm {
            None => Some(0),
            Some(nat) => self.nats[nat].kind.firewall.map(|_| nat as u16 + 1),
        };
        let v6 = subnet.map(|subnet| Ipv6Addr::new(0x2a00, 0x9600, 0, subnet, 0, 0, 0, number + 1));
        self.places.insert((realm, v4.into()), Place::Host(host));
        if let Some(v6) = v6 {
            self.places.insert((None, v6.into()), Place::Host(host));
        }
        debug_assert!(number < 250 || realm.is_none(), "a home ran out of addresses");
        let site = &mut self.sites[host];
        (site.realm, site.v4, site.v6) = (realm, v4, v6);
    }

    /// A number that no address of a realm has had.
    fn number_in(&mut self, realm: Option<usize>) -> u16 {
        let given = self.given.entry(realm).or_default();
        *given += 1;
        *given - 1
    }

    /// NATs are in 9.2.0.0/16, those behind a carrier's in 100.64.0.0/16.
    fn new_nat_address(&mut self, index: usize, realm: Option<usize>) -> Ipv4Addr {
        match realm {
            None => nat_address(index as u16),
            Some(_) => {
                let [high, low] = self.number_in(realm).to_be_bytes();
                Ipv4Addr::new(100, 64, high, low)
            }
        }
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

    pub(super) fn faults(&mut self) -> &mut FaultCounts {
        &mut self.faults
    }

    pub(super) fn fault_counts(&self) -> FaultCounts {
        self.faults
    }

    /// How often a NAT gave a flow another port because of a refused datagram.
    pub(super) fn poisoned(&self) -> u64 {
        self.poisoned
    }

    /// NATs that forgot a flow since the last call.
    pub(super) fn take_forgetful(&mut self) -> Vec<NatId> {
        std::mem::take(&mut self.forgetful)
    }

    /// What a NAT does.
    pub(super) fn kind(&self, nat: NatId) -> Option<NatKind> {
        self.nats.get(nat.0).map(|nat| nat.kind)
    }

    /// Whether anybody replays datagrams.
    pub(super) fn is_replayed(&self) -> bool {
        self.default.replay > 0.0 || self.links.values().any(|quality| quality.replay > 0.0)
    }

    /// Whether no link loses or bends anything.
    pub(super) fn is_lossless(&self) -> bool {
        let lossless = |quality: &LinkQuality| quality.loss == 0.0 && quality.corruption == 0.0;
        lossless(&self.default) && self.links.values().all(lossless)
    }

    /// The NATs in front of a host, its own first.
    pub(super) fn chain(&self, host: usize) -> Vec<(NatId, NatKind)> {
        let mut chain = Vec::new();
        let mut realm = self.sites[host].realm;
        while let Some(nat) = realm {
            chain.push((NatId(nat), self.nats[nat].kind));
            realm = self.nats[nat].realm;
        }
        chain
    }

    /// A NAT forgets everything and gives other ports afterwards, as after a reboot.
    pub(super) fn rebind(&mut self, now: Duration, nat: NatId) {
        if self.nats[nat.0].rebind(now) {
            self.faults.fired(FaultKind::Rebind);
        }
    }

    /// Sends a datagram of `length` payload bytes; returns the copies that will arrive, or why there is none.
    pub(super) fn send(
        &mut self,
        now: Duration,
        sender: usize,
        leg: Leg,
        ttl: Option<u8>,
        length: usize,
    ) -> Result<Vec<Parcel>, &'static str> {
        let Leg {
            socket,
            endpoint: destination,
        } = leg;
        let size = length + headers(destination);
        let site = &mut self.sites[sender];
        let port = site.port(socket, &mut self.random);
        site.traffic.sent += 1;
        site.traffic.bytes += size as u64;
        site.traffic.largest = site.traffic.largest.max(size);
        if size > UNDERLAY_MTU {
            return Err("too big");
        }
        self.sent += 1;
        let number = self.sent;
        let parcel = |at, source, realm| Parcel {
            at,
            source,
            destination,
            sender,
            flip: None,
            realm,
            hairpin: None,
            number,
            copy: Copied::Original,
            held_up: false,
        };
        let (source, turn) = match destination.ip() {
            IpAddr::V4(_) => self.climb(now, (sender, port), destination, ttl)?,
            IpAddr::V6(_) => self.climb6(now, (sender, port), destination)?,
        };
        let Turn::Core = turn else {
            let parcel = parcel(now + LOCAL_DELAY, source, turn.realm());
            let hairpin = turn.hairpin();
            return Ok(vec![Parcel { hairpin, ..parcel }]);
        };
        if !self.places.contains_key(&(None, destination.ip())) {
            self.sites[sender].traffic.astray += 1;
        }
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
            self.faults.fired(FaultKind::Loss);
            return Err("lost");
        }
        let prompt = |random: &mut ReproducibleRandom| {
            let jitter = random.duration_below(quality.jitter);
            Parcel {
                held_up: jitter >= HELD_UP,
                ..parcel(now + quality.delay + jitter, source, None)
            }
        };
        let mut parcels = vec![prompt(&mut self.random)];
        if self.random.chance(quality.duplication) {
            parcels.push(Parcel {
                copy: Copied::Duplicate,
                ..prompt(&mut self.random)
            });
        }
        if self.random.chance(quality.corruption) {
            let flip = Some(self.random.below(u64::MAX));
            parcels.push(Parcel {
                flip,
                copy: Copied::Bent,
                ..prompt(&mut self.random)
            });
        }
        if self.random.chance(quality.replay) {
            let at = now + quality.delay + self.random.duration_below(REPLAYED);
            let source = if self.random.chance(0.5) { ATTACKER } else { source };
            parcels.push(Parcel {
                at,
                source,
                copy: Copied::Replayed,
                ..prompt(&mut self.random)
            });
        }
        Ok(parcels)
    }

    /// Takes an IPv4 datagram up to the realm where its destination is, through the NATs on the way.
    fn climb(
        &mut self,
        now: Duration,
        (sender, port): (usize, u16),
        destination: SocketAddr,
        ttl: Option<u8>,
    ) -> Result<(SocketAddr, Turn), &'static str> {
        let site = &self.sites[sender];
        let mut source = SocketAddr::new(site.v4.into(), port);
        let mut realm = site.realm;
        let mut hops = 0;
        while let Some(index) = realm {
            if self.places.contains_key(&(realm, destination.ip())) {
                return Ok((source, Turn::Inside(index)));
            }
            hops += 1;
            if ttl.is_some_and(|ttl| ttl <= hops) {
                return Err("time to live exceeded");
            }
            let nat = &mut self.nats[index];
            let own = IpAddr::V4(nat.outside) == destination.ip();
            if own && !nat.kind.hairpin {
                return Err("no hairpin");
            }
            if nat.kind.blocks_udp && !own {
                return Err("UDP blocked");
            }
            let outside = nat.outbound(now, source, destination, &mut self.random);
            source = outside.ok_or("port taken")?;
            realm = nat.realm;
            self.collect_events(index);
            if own {
                return Ok((source, Turn::Hairpin(index, realm)));
            }
        }
        Ok((source, Turn::Core))
    }

    fn climb6(
        &mut self,
        now: Duration,
        (sender, port): (usize, u16),
        destination: SocketAddr,
    ) -> Result<(SocketAddr, Turn), &'static str> {
        let site = &self.sites[sender];
        let source = SocketAddr::new(site.v6.ok_or("no route to IPv6")?.into(), port);
        let realm = site.realm;
        let Some(nat) = realm else {
            return Ok((source, Turn::Core));
        };
        if let Some(Place::Host(receiver)) = self.places.get(&(None, destination.ip()))
            && self.sites[*receiver].realm == realm
        {
            return Ok((source, Turn::Inside(nat)));
        }
        if self.nats[nat].kind.blocks_udp {
            return Err("UDP blocked");
        }
        self.nats[nat].leaves(now, source, destination);
        self.collect_events(nat);
        Ok((source, Turn::Core))
    }

    /// The host and the socket that a datagram reaches at its arrival, or why it reaches none.
    pub(super) fn arrive(&mut self, parcel: &Parcel, length: usize) -> Result<(usize, Socket), &'static str> {
        let Parcel {
            at,
            source,
            destination,
            sender,
            ..
        } = *parcel;
        let (receiver, port) = match destination.ip() {
            IpAddr::V4(_) => self.descend(parcel)?,
            IpAddr::V6(_) => self.descend6(at, parcel.realm, source, destination)?,
        };
        let socket = self.sites[receiver].socket(port).ok_or("closed port")?;
        let pair = (sender.min(receiver), sender.max(receiver));
        if self.cut.contains(&pair) {
            let supernode = self.sites[sender].supernode || self.sites[receiver].supernode;
            self.faults.fired(if supernode {
                FaultKind::CutSupernode
            } else {
                FaultKind::CutNodes
            });
            return Err("cut");
        }
        match parcel.copy {
            Copied::Original => {
                let (latest, count) = self.arrived.entry((sender, receiver)).or_default();
                if parcel.number < *latest {
                    self.faults.fired(FaultKind::Reorder);
                }
                *latest = parcel.number.max(*latest);
                *count += 1;
                self.faults.add(FaultKind::Delay, parcel.held_up.into());
            }
            Copied::Duplicate => self.faults.fired(FaultKind::Duplication),
            Copied::Bent => self.faults.fired(FaultKind::Corruption),
            Copied::Replayed => self.faults.fired(FaultKind::Replay),
        }
        let traffic = &mut self.sites[receiver].traffic;
        traffic.received += 1;
        traffic.bytes += (length + headers(destination)) as u64;
        Ok((receiver, socket))
    }

    /// Takes an IPv4 datagram down through the NATs in front of its destination: the host, and the port there.
    fn descend(&mut self, parcel: &Parcel) -> Result<(usize, u16), &'static str> {
        let Parcel {
            at,
            source,
            mut destination,
            mut realm,
            hairpin,
            ..
        } = *parcel;
        loop {
            match self.places.get(&(realm, destination.ip())) {
                Some(&Place::Host(host)) => return Ok((host, destination.port())),
                Some(&Place::Nat(index)) => {
                    let nat = &mut self.nats[index];
                    if nat.kind.blocks_udp_in && hairpin != Some(index) {
                        return Err("UDP blocked");
                    }
                    let inside = if hairpin == Some(index) {
                        nat.hairpin(at, destination.port(), source)
                    } else {
                        nat.inbound(at, destination.port(), source)
                    };
                    self.collect_events(index);
                    destination = inside.ok_or("filtered")?;
                    realm = Some(index);
                }
                None => return Err("nobody there"),
            }
        }
    }

    fn descend6(
        &mut self,
        now: Duration,
        realm: Option<usize>,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<(usize, u16), &'static str> {
        let place = self.places.get(&(None, destination.ip()));
        let Some(&Place::Host(host)) = place else {
            return Err("nobody there");
        };
        let at_home = self.sites[host].realm;
        if let Some(nat) = at_home.filter(|_| at_home != realm) {
            if self.nats[nat].kind.blocks_udp_in {
                return Err("UDP blocked");
            }
            let enters = self.nats[nat].enters(now, destination, source);
            self.collect_events(nat);
            if !enters {
                return Err("filtered");
            }
        }
        Ok((host, destination.port()))
    }

    /// The host that an endpoint of the core belongs to, through its NATs where there are some, whatever they filter.
    fn owner(&self, endpoint: SocketAddr) -> Option<usize> {
        let (mut realm, mut endpoint) = (None, endpoint);
        loop {
            match *self.places.get(&(realm, endpoint.ip()))? {
                Place::Host(host) => return Some(host),
                Place::Nat(index) => {
                    endpoint = self.nats[index].peek(endpoint.port())?;
                    realm = Some(index);
                }
            }
        }
    }

    fn collect_events(&mut self, nat: usize) {
        let events = self.nats[nat].take_events();
        if events.expired > 0 {
            self.faults.add(FaultKind::Expiry, events.expired);
            self.forgetful.push(NatId(nat));
        }
        self.poisoned += events.poisoned;
    }
}

/// Where a datagram stops going up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Behind this NAT, where its destination is.
    Inside(usize),
    /// At this NAT, which it was about to leave, outside of which is this realm.
    Hairpin(usize, Option<usize>),
    /// Not before the core.
    Core,
}

impl Turn {
    fn realm(self) -> Option<usize> {
        match self {
            Self::Inside(nat) => Some(nat),
            Self::Hairpin(_, realm) => realm,
            Self::Core => None,
        }
    }

    fn hairpin(self) -> Option<usize> {
        match self {
            Self::Hairpin(nat, _) => Some(nat),
            Self::Inside(_) | Self::Core => None,
        }
    }
}

/// The outside address of a NAT on the open Internet; open hosts are in 9.1.0.0/16.
fn nat_address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(9, 2, high, low)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            shared || v4.is_private() || v4.is_loopback() || v4.is_link_local()
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// IP and UDP headers.
fn headers(destination: SocketAddr) -> usize {
    if destination.is_ipv4() { 28 } else { 48 }
}

#[cfg(test)]
mod tests;
