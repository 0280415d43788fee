//! Very many made-up nodes against a real supernode and two real nodes, to see what they take of memory and whether the
//! real ones notice.
//!
//! Everything runs in one process and in virtual time, without a wire between. A made-up node is a whole engine with an
//! identity of its own, which does what it is to do and is gone: nobody says goodbye.

use std::{
    collections::VecDeque,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use farlan_crypto::{Identity, Seed, Work};
use farlan_engine::{
    Anchor, Batch, Config, Engine, Event, FrameLabel, Join, Limits, NetworkHandle, OpenPorts, Outbox, Received, Role,
    Time, Transport,
};
use farlan_netconf::{Mtu, NetworkName, Parameters, Subnet, WorldId};

use crate::sim::{DATAGRAM_PORT, ReproducibleRandom, datagram_frame};

/// What the made-up nodes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Each registers, makes a session with a real node and proves to be in its open network; a hundred come in a second.
    Members,
    /// Each registers with two networks of its own; a thousand come in a second.
    Registering,
    /// Each only sends datagrams in its name: initiations, relayed ones, ones under sessions that do not exist.
    Forging,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How many made-up nodes came.
    pub fakes: u64,
    /// How many of them got what they wanted.
    pub served: u64,
    /// Frames that the real nodes sent each other, and that did not arrive.
    pub frames: u64,
    /// See [`Self::frames`].
    pub lost: u64,
    /// How often a real node lost the other or a registration.
    pub parted: u64,
    /// Registrations and memory lists at the supernode, at the most.
    pub registrations: usize,
    /// Sessions and members that the real node shows, at the end.
    pub peers: usize,
    /// Peers and registrations refused or displaced.
    pub refused: u64,
    /// The most memory that this process ever had resident, in bytes.
    pub resident: u64,
}

const SUPERNODE: usize = 0;
const FAKE: usize = 3;

/// The two real nodes exchange a frame each so often.
const PAUSE: Duration = Duration::from_millis(100);

struct Host {
    engine: Engine,
    address: SocketAddr,
    events: Vec<Event>,
    frames: u64,
}

struct Street {
    hosts: Vec<Host>,
    now: Time,
    passing: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    limits: Limits,
    networks: [Option<NetworkHandle>; 2],
}

fn world() -> WorldId {
    WorldId::from_bytes([1; 16])
}

fn earth() -> Result<Parameters> {
    Ok(Parameters::open_name(world(), NetworkName::parse("earth")?))
}

fn own_network(number: u64, which: u8) -> Result<Parameters> {
    let mut random = [which; 16];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let subnet = Subnet::new(Ipv4Addr::new(10, 128, 16, 0), 20)?;
    Ok(Parameters::link(random, subnet, Mtu::DEFAULT))
}

impl Street {
    fn engine(&self, number: u64, role: Role) -> Result<Engine> {
        let mut seed = [0x5a; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let config = Config {
            identity: Identity::from_seed(Seed::from_bytes(seed), Work::NONE)?,
            work: Work::NONE,
            role,
            limits: self.limits,
        };
        Ok(Engine::new(
            config,
            Box::new(ReproducibleRandom::new(1, "fakes", number)),
        ))
    }

    fn move_in(&mut self, number: u64, role: Role, address: SocketAddr) -> Result<()> {
        let mut engine = self.engine(number, role)?;
        if let Some(supernode) = self.hosts.first() {
            let anchor = Anchor {
                key: supernode.engine.public(),
                addresses: vec![supernode.address],
                streams: Vec::new(),
            };
            engine.set_world(self.now, world(), vec![anchor]);
        }
        self.hosts.push(Host {
            engine,
            address,
            events: Vec::new(),
            frames: 0,
        });
        Ok(())
    }

    fn take(&mut self, place: usize, out: &mut Outbox) {
        let Some(host) = self.hosts.get_mut(place) else { return };
        for (transmit, bytes) in out.datagrams.iter().filter(|(transmit, _)| transmit.ttl.is_none()) {
            self.passing
                .push_back((host.address, transmit.destination.endpoint, bytes.to_vec()));
        }
        host.frames += out.frames.len() as u64;
        host.events.append(&mut out.events);
        out.clear();
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let Some(place) = self.hosts.iter().position(|host| host.address == to) else {
            return;
        };
        let mut batch: Batch<Received> = Batch::default();
        batch.push(from, bytes);
        let mut out = Outbox::default();
        if let Some(host) = self.hosts.get_mut(place) {
            host.engine.handle_datagrams(self.now, &mut batch, &mut out);
        }
        for (transmit, bytes) in batch.onward() {
            out.datagrams.push(*transmit, bytes);
        }
        self.take(place, &mut out);
    }

    /// Until nothing is to be done at this moment.
    fn settle(&mut self) {
        loop {
            while let Some((from, to, bytes)) = self.passing.pop_front() {
                self.deliver(from, to, &bytes);
            }
            let due = |host: &Host| host.engine.next_timeout().is_some_and(|at| at <= self.now);
            let Some(place) = self.hosts.iter().position(due) else {
                break;
            };
            let mut out = Outbox::default();
            if let Some(host) = self.hosts.get_mut(place) {
                host.engine.handle_timeout(self.now, &mut out);
            }
            self.take(place, &mut out);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            let next = self.hosts.iter().filter_map(|host| host.engine.next_timeout()).min();
            self.now = next.map_or(end, |next| next.clamp(self.now, end));
            self.settle();
        }
    }

    /// Each of the real nodes sends the other a frame.
    fn speak(&mut self) {
        let macs: Vec<_> = (0..2)
            .filter_map(|at| {
                let status = self.hosts.get(at + 1)?.engine.networks();
                status.first().map(|status| *status.mac.as_bytes())
            })
            .collect();
        let [one, other] = macs[..] else { return };
        for (place, (from, to)) in [(1, (one, other)), (2, (other, one))] {
            let frame = datagram_frame(to, from, 0, 40);
            let mut batch: Batch<FrameLabel> = Batch::default();
            if let Some(network) = self.networks[place - 1] {
                batch.push(network, &frame);
            }
            let mut out = Outbox::default();
            if let Some(host) = self.hosts.get_mut(place) {
                host.engine.handle_frames(self.now, &mut batch, &mut out);
            }
            self.take(place, &mut out);
        }
        self.settle();
    }

    fn counters(&self, names: &[&str]) -> u64 {
        let counters = self
            .hosts
            .iter()
            .take(FAKE)
            .flat_map(|host| host.engine.counters().iter().collect::<Vec<_>>());
        counters
            .filter(|(name, _)| names.contains(name))
            .map(|(_, value)| value)
            .sum()
    }
}

/// Where a made-up node is: each in a prefix of its own.
fn address(number: u64) -> SocketAddr {
    let [.., a, b, c] = number.to_be_bytes();
    SocketAddr::from(([20 + (a & 0x1f), b, c, 9], 9600))
}

/// Lets `fakes` made-up nodes come.
///
/// # Errors
/// The real nodes do not find each other to begin with; the memory cannot be read.
pub fn measure(doing: Doing, fakes: u64, limits: Limits, mut told: impl FnMut(u64)) -> Result<Seen> {
    let mut street = Street {
        hosts: Vec::new(),
        now: Time::ZERO + Duration::from_secs(1),
        passing: VecDeque::new(),
        limits,
        networks: [None; 2],
    };
    for (number, role) in [Role::Supernode, Role::Node, Role::Node].into_iter().enumerate() {
        let number = number as u64;
        let last = u8::try_from(number + 1)?;
        street.move_in(u64::MAX - number, role, SocketAddr::from(([203, 0, 113, last], 9600)))?;
    }
    for place in 1..FAKE {
        let join = join(earth()?, Vec::new());
        let now = street.now;
        let host = street.hosts.get_mut(place).context("a real node")?;
        let network = host.engine.join(now, join)?;
        let port = OpenPorts {
            transport: Transport::Udp,
            first: DATAGRAM_PORT,
            last: DATAGRAM_PORT,
        };
        host.engine.set_opened(network, &[port]);
        street.networks[place - 1] = Some(network);
    }
    street.run(Duration::from_secs(4));
    // Long enough to be old acquaintances.
    for _ in 0..700 {
        street.speak();
        street.run(PAUSE);
    }
    let arrived = |street: &Street| street.hosts[1..FAKE].iter().map(|host| host.frames).sum::<u64>();
    let before = arrived(&street);
    ensure!(before > 1000, "the real nodes do not speak: {before} frames");
    street.hosts[1..FAKE].iter_mut().for_each(|host| host.events.clear());

    let pause = match doing {
        Doing::Members => Duration::from_millis(10),
        Doing::Registering | Doing::Forging => Duration::from_millis(1),
    };
    let (mut served, mut sent, mut registrations, mut parted) = (0, 0, 0, 0);
    let mut next = street.now;
    let real: Vec<_> = street.hosts[..FAKE].iter().map(|host| host.engine.node_id()).collect();
    for number in 0..fakes {
        served += u64::from(come(&mut street, doing, number)?);
        street.run(pause);
        if street.now >= next {
            street.speak();
            sent += 2;
            next = street.now + PAUSE;
        }
        for host in &mut street.hosts[1..FAKE] {
            for event in host.events.drain(..) {
                parted += u64::from(match event {
                    Event::PeerDown { node } => real.contains(&node),
                    Event::RegistrationLost { .. } => true,
                    _ => false,
                });
            }
        }
        registrations = registrations.max(street.hosts[SUPERNODE].engine.anchor().registrations);
        if (number + 1).is_multiple_of(50_000) {
            told(number + 1);
        }
    }
    street.run(Duration::from_secs(1));
    Ok(Seen {
        fakes,
        served,
        frames: sent,
        lost: sent - (arrived(&street) - before).min(sent),
        parted,
        registrations,
        peers: street.hosts[1].engine.peers(street.now).len(),
        refused: street.counters(&[
            "peers_displaced",
            "peers_refused",
            "registrations_refused",
            "handshakes_overflow",
        ]),
        resident: peak_resident()?,
    })
}

fn join(parameters: Parameters, greet: Vec<farlan_crypto::PublicKey>) -> Join {
    Join {
        parameters,
        world: world(),
        ipv4: true,
        preferred: None,
        greet,
        membership: None,
        name: None,
    }
}

/// One made-up node comes, does its thing and is gone. Returns whether it got what it wanted.
fn come(street: &mut Street, doing: Doing, number: u64) -> Result<bool> {
    let at = address(number);
    if doing == Doing::Forging {
        forge(street, number, at);
        return Ok(false);
    }
    let node = street.hosts[1].engine.public();
    street.move_in(number, Role::Node, at)?;
    let joins = match doing {
        Doing::Members => vec![join(earth()?, vec![node])],
        _ => vec![
            join(own_network(number, 1)?, Vec::new()),
            join(own_network(number, 2)?, Vec::new()),
        ],
    };
    let now = street.now;
    for join in joins {
        street.hosts[FAKE].engine.join(now, join)?;
    }
    street.settle();
    let fake = street.hosts.pop().context("the made-up node")?;
    Ok(fake.events.iter().any(|event| match doing {
        Doing::Members => matches!(event, Event::PeerUp { .. }),
        _ => matches!(event, Event::Registered { .. }),
    }))
}

/// Datagrams in somebody's name: PROTOCOL.md §4.
fn forge(street: &mut Street, number: u64, from: SocketAddr) {
    let filled = |start: &[u8], length: usize| {
        let mut bytes = start.to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.resize(length, 0x5a);
        bytes
    };
    let [supernode, node] = [0, 1].map(|place| street.hosts[place].address);
    let initiation = filled(&[1, 1, 0, 0], 176);
    let data = filled(&[3, 0, 0, 0], 100);
    for to in [supernode, node] {
        for datagram in [&initiation, &data] {
            street.deliver(from, to, datagram);
            for envelope in [4, 7, 8] {
                let relayed = [&filled(&[envelope, 0, 0, 0], 12)[..], datagram].concat();
                street.deliver(from, to, &relayed);
            }
        }
    }
}

/// The most memory that this process ever had resident, in bytes.
fn peak_resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
