//! What the made-up nodes do: they register, keep alive, look each other up, subscribe, relay, and come back after a restart.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use farlan_crypto::sha512;
use rand_core::Rng as _;
use socket2::{MsgHdr, SockAddr, SockRef};

use super::light::{Came, Light, Membership, Said, Supernode, acknowledge, locate, register, subscribe};
use crate::{
    ns::sys::{set_receive_buffer, set_send_buffer},
    sim::ReproducibleRandom,
};

/// What a crowd is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many there are.
    pub nodes: u32,
    /// How many networks they are divided among.
    pub networks: u32,
    /// How many channels each of them has.
    pub channels: usize,
    /// Of how many that there are in each network.
    pub of_channels: u32,
    /// Each keeps alive so often: every 25 s, as nodes do, unless fewer are to be as much work as more would be.
    pub keepalive: Duration,
}

/// What the crowd does beside keeping alive, a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Look-ups.
    pub lookups: f64,
    /// Relayed datagrams of 1,000 bytes.
    pub relayed: f64,
}

/// What was seen of the supernode from outside.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Keepalives sent and answered.
    pub keepalives: (u64, u64),
    /// The round trips of look-ups, in microseconds.
    pub lookups: Vec<u32>,
    /// Look-ups sent, and those that found somebody.
    pub located: (u64, u64),
    /// Relayed datagrams sent and arrived.
    pub relayed: (u64, u64),
    /// Lists and samples that came, and how many entries were in them.
    pub lists: (u64, u64),
    /// Initiations sent, and cookies that came.
    pub initiations: (u64, u64),
    /// Datagrams that no node expected.
    pub unexpected: u64,
    /// How late the load was behind its own plan, at the most.
    pub late: Duration,
}

/// An unanswered initiation or register is sent again after this pause, then after twice and three times it. A node begins with less
/// (PROTOCOL.md 5) and comes to three seconds.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: u8 = 3;

/// So often a node registers under a session without an answer, before it begins anew.
const ASKED: u8 = 3;

/// /24 networks in which the nodes are.
const PREFIXES: u32 = 4096;

/// Datagrams received at one time, and things of one kind that are done at one time: what comes meanwhile waits, and is not to be counted as the
/// supernode's.
const AT_ONCE: usize = 32;

/// What may wait for the crowd, and what of it may wait for the supernode, in bytes.
const BUFFER: usize = 64 << 20;

/// A node and its plan.
struct Node {
    light: Light,
    registered: bool,
    /// Whether it waits for a session or registration.
    waits: bool,
    /// How often it has registered without an answer.
    asked: u8,
    /// How often it has tried, up to [`LONGEST`].
    tries: u8,
}

/// All nodes.
pub struct Crowd {
    shape: Shape,
    supernode: Supernode,
    to: SocketAddr,
    socket: UdpSocket,
    nodes: Vec<Node>,
    random: ReproducibleRandom,
    start: Instant,
    /// When which node keeps alive: those for whom it is the first time, and the others. Each queue is in order, so that nothing waits
    /// behind what is due later.
    keepalives: [VecDeque<(Duration, u32)>; 2],
    /// When which handshake is looked at again.
    again: BinaryHeap<Reverse<(Duration, u32)>>,
    /// When which node comes.
    coming: VecDeque<(Duration, u32)>,
    registered: u32,
    /// Look-ups under way: when each was sent, by its number.
    asked: VecDeque<(u32, Duration)>,
    next_request: u32,
    /// The time over which the supernode says to come back, in milliseconds.
    pub window: u32,
    /// What was seen since it was last taken.
    pub seen: Seen,
    rates: Rates,
    lookup_due: Duration,
    relay_due: Duration,
    buffer: Vec<u8>,
    /// When the first and the last node were registered, since the start.
    pub first_registered: Option<Duration>,
    /// See [`Self::first_registered`].
    pub last_registered: Duration,
}

impl Crowd {
    /// Makes the nodes.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn new(shape: Shape, supernode: Supernode, port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        // Without privilege it is what the system allows.
        let _ = set_receive_buffer(&socket, BUFFER);
        let _ = set_send_buffer(&socket, BUFFER);
        ensure!(
            shape.nodes <= PREFIXES * 250,
            "there are too few addresses in {PREFIXES} prefixes"
        );
        let nodes = (0..shape.nodes).map(|number| {
            let light = Light::new(1, number)?;
            Ok(Node {
                light,
                registered: false,
                waits: false,
                asked: 0,
                tries: 0,
            })
        });
        Ok(Self {
            shape,
            supernode,
            to: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            socket,
            nodes: nodes.collect::<Result<_>>()?,
            random: ReproducibleRandom::new(1, "crowd", 0),
            start: Instant::now(),
            keepalives: Default::default(),
            again: BinaryHeap::new(),
            coming: VecDeque::new(),
            registered: 0,
            asked: VecDeque::new(),
            next_request: 1,
            window: 0,
            seen: Seen::default(),
            rates: Rates::default(),
            lookup_due: Duration::ZERO,
            relay_due: Duration::ZERO,
            buffer: vec![0; 1 << 16],
            first_registered: None,
            last_registered: Duration::ZERO,
        })
    }

    /// How many are registered, as they know.
    pub fn registered(&self) -> u32 {
        self.registered
    }

    /// How much time has passed for the crowd.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// From now on they do this.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
        self.lookup_due = self.now();
        self.relay_due = self.now();
    }

    /// Prepares the handshakes of all, so that making them does not take the time in which they come.
    ///
    /// # Errors
    /// None of these keys.
    pub fn prepare(&mut self) -> Result<()> {
        let (supernode, half) = (&self.supernode, self.nodes.len().div_ceil(2).max(1));
        // Nothing is measured yet, so both processors may work.
        thread::scope(|scope| {
            let halves = self.nodes.chunks_mut(half).map(|nodes| {
                scope.spawn(move || {
                    nodes.iter_mut().try_for_each(|node| {
                        node.light.forget();
                        node.registered = false;
                        node.waits = false;
                        node.asked = 0;
                        node.tries = 0;
                        node.light.begin(supernode)
                    })
                })
            });
            let halves: Vec<_> = halves.collect();
            halves.into_iter().try_for_each(|half| match half.join() {
                Ok(prepared) => prepared,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        self.registered = 0;
        self.keepalives.iter_mut().for_each(VecDeque::clear);
        self.again.clear();
        self.first_registered = None;
        Ok(())
    }

    /// All come within `window`, each at a random moment of it.
    pub fn come_within(&mut self, window: Duration) {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        let random = &mut self.random;
        let times = (0..self.shape.nodes).map(|number| (Duration::from_nanos(random.next_u64() % nanos), number));
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        let now = self.now();
        times.iter_mut().for_each(|(at, _)| *at += now);
        self.coming = times.into();
    }

    /// Runs for a time, or until all are registered, if that is what is waited for.
    ///
    /// # Errors
    /// The socket fails.
    pub fn run(&mut self, time: Duration, until_registered: bool) -> Result<()> {
        let end = self.now() + time;
        while self.now() < end && !(until_registered && self.registered == self.shape.nodes) {
            let received = self.receive()?;
            let worked = self.act()?;
            if !received && !worked {
                thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(())
    }

    /// Where a node is: [`PREFIXES`] times /24, the nodes of each with addresses of their own.
    fn address(number: u32) -> Ipv4Addr {
        let (prefix, host) = (number % PREFIXES, number / PREFIXES + 1);
        Ipv4Addr::from(0x7f10_0000 + (prefix << 8) + host)
    }

    /// Sends from the address of a node.
    fn send(&self, number: u32, datagram: &[u8]) -> Result<()> {
        let control = packet_info(Self::address(number));
        let to = SockAddr::from(self.to);
        let data = [IoSlice::new(datagram)];
        let message = MsgHdr::new().with_addr(&to).with_buffers(&data).with_control(&control);
        match SockRef::from(&self.socket).sendmsg(&message, 0) {
            Ok(_) => Ok(()),
            // As if it was lost.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error).context("sending"),
        }
    }

    fn member_key(&self, number: u32) -> [u8; 16] {
        let network = number % self.shape.networks.max(1);
        key(&[b"network", &network.to_be_bytes()])
    }

    fn channels(&self, number: u32) -> Vec<[u8; 16]> {
        let network = number % self.shape.networks.max(1);
        let of = self.shape.of_channels.max(1);
        let first = number / self.shape.networks.max(1);
        let channels = (0..self.shape.channels).map(|at| (first + u32::try_from(at).unwrap_or_default()) % of);
        channels
            .map(|channel| key(&[b"channel", &network.to_be_bytes(), &channel.to_be_bytes()]))
            .collect()
    }

    /// Everything that is due. Whether anything was.
    fn act(&mut self) -> Result<bool> {
        let now = self.now();
        let mut worked = false;
        for _ in 0..AT_ONCE {
            let Some((at, number)) = self.coming.front().copied().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.seen.late = self.seen.late.max(now - at);
            self.coming.pop_front();
            self.initiate(now, number)?;
            worked = true;
        }
        for _ in 0..AT_ONCE {
            let due = self.again.peek().map(|Reverse(due)| *due);
            let Some((_, number)) = due.filter(|(at, _)| *at <= now) else {
                break;
            };
            self.again.pop();
            if self.nodes[number as usize].waits {
                self.initiate(now, number)?;
                worked = true;
            }
        }
        for _ in 0..AT_ONCE {
            let Some((at, number)) = self.due_keepalive(now) else {
                break;
            };
            self.seen.late = self.seen.late.max(now - at);
            let node = &mut self.nodes[number as usize];
            if node.registered {
                let datagram = node.light.seal(&[])?;
                self.send(number, &datagram)?;
                self.seen.keepalives.0 += 1;
                // From when it was due, not from when it was sent: what was held up once and came all at once does not do so for ever.
                self.keepalives[1].push_back((at + self.shape.keepalive, number));
            }
            worked = true;
        }
        for _ in 0..16 {
            if self.rates.lookups <= 0.0 || self.lookup_due > now {
                break;
            }
            self.lookup_due += Duration::from_secs_f64(1.0 / self.rates.lookups);
            self.look_up()?;
            worked = true;
        }
        for _ in 0..16 {
            if self.rates.relayed <= 0.0 || self.relay_due > now {
                break;
            }
            self.relay_due += Duration::from_secs_f64(1.0 / self.rates.relayed);
            self.relay()?;
            worked = true;
        }
        Ok(worked)
    }

    /// Sends the initiation, or the register if there is a session.
    fn initiate(&mut self, now: Duration, number: u32) -> Result<()> {
        let node = &mut self.nodes[number as usize];
        node.waits = true;
        node.tries = (node.tries + 1).min(LONGEST);
        self.again.push(Reverse((now + AGAIN * u32::from(node.tries), number)));
        if node.light.stands() && !node.light.has_begun() {
            node.asked += 1;
            if node.asked <= ASKED {
                return self.register(number);
            }
            // The supernode gave the session up before anything came under it, or has lost it.
            node.light.forget();
            node.asked = 0;
        }
        if !node.light.has_begun() {
            node.light.begin(&self.supernode)?;
        }
        let datagram = node.light.initiation().context("a handshake was begun")?;
        self.seen.initiations.0 += 1;
        self.send(number, &datagram)
    }

    /// Takes out who has to keep alive next, if it is time.
    fn due_keepalive(&mut self, now: Duration) -> Option<(Duration, u32)> {
        let [first, other] = &mut self.keepalives;
        let is_first = first
            .front()
            .is_some_and(|one| other.front().is_none_or(|next| one < next));
        let queue = if is_first { first } else { other };
        queue.pop_front_if(|(at, _)| *at <= now)
    }

    fn register(&mut self, number: u32) -> Result<()> {
        let member_key = self.member_key(number);
        let ipv4 = (0x0a00_0000 + number).to_be_bytes();
        let address_key = key(&[b"address", &member_key, &ipv4]);
        let membership = Membership {
            member_key,
            address_key,
            ipv4,
        };
        let node = &mut self.nodes[number as usize];
        let datagram = node.light.tell(&[register(1, &[membership])])?;
        self.send(number, &datagram)
    }

    fn anybody(&mut self) -> u32 {
        self.random.next_u32() % self.shape.nodes
    }

    fn look_up(&mut self) -> Result<()> {
        let (asking, wanted) = (self.anybody(), self.anybody());
        let wanted = self.nodes[wanted as usize].light.node_id();
        let node = &mut self.nodes[asking as usize];
        if node.registered {
            let request = self.next_request;
            self.next_request += 1;
            let datagram = node.light.tell(&[locate(request, &wanted)])?;
            self.seen.located.0 += 1;
            self.asked.push_back((request, self.now()));
            self.send(asking, &datagram)?;
        }
        Ok(())
    }

    /// From a node to another of its network, which may be spoken to.
    fn relay(&mut self) -> Result<()> {
        let from = self.anybody();
        let to = (from + self.shape.networks) % self.shape.nodes;
        let (from_node, to_node) = (&self.nodes[from as usize], &self.nodes[to as usize]);
        if from_node.registered && to_node.registered {
            let mut datagram = vec![4, 0, 0, 0];
            datagram.extend_from_slice(&to_node.light.index.to_be_bytes());
            datagram.extend_from_slice(&from_node.light.index.to_be_bytes());
            datagram.extend_from_slice(&[3, 0, 0, 0]);
            datagram.extend_from_slice(&to.to_be_bytes());
            datagram.resize(1000, 0x5a);
            self.seen.relayed.0 += 1;
            self.send(from, &datagram)?;
        }
        Ok(())
    }

    /// Takes what has come. Whether anything had.
    fn receive(&mut self) -> Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut any = false;
        for _ in 0..AT_ONCE {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    any = true;
                    self.take(&mut buffer[..length])?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("receiving"),
            }
        }
        self.buffer = buffer;
        Ok(any)
    }

    fn take(&mut self, datagram: &mut [u8]) -> Result<()> {
        let now = self.now();
        if datagram.first() == Some(&4) {
            self.seen.relayed.1 += 1;
            return Ok(());
        }
        let number = match datagram.get(4..8) {
            Some(number) => u32::from_be_bytes([number[0], number[1], number[2], number[3]]),
            None => return Ok(()),
        };
        // Hints name what was under way before a restart: the nodes come back by themselves here.
        let Some(node) = self.nodes.get_mut(number as usize).filter(|_| datagram[0] != 6) else {
            self.seen.unexpected += 1;
            return Ok(());
        };
        match node.light.take(&self.supernode, datagram) {
            Ok(Came::Session) => self.register(number),
            Ok(Came::Cookie(initiation)) => {
                self.seen.initiations.1 += 1;
                self.send(number, &initiation)
            }
            Ok(Came::Said(said)) => said.into_iter().try_for_each(|said| self.heard(now, number, said)),
            Err(_) => {
                self.seen.unexpected += 1;
                Ok(())
            }
        }
    }

    fn heard(&mut self, now: Duration, number: u32, said: Said) -> Result<()> {
        let node = &mut self.nodes[number as usize];
        match said {
            Said::Empty => self.seen.keepalives.1 += 1,
            Said::Window(window) => {
                self.window = window;
                // It takes the place of an empty answer, or comes with the registration.
                self.seen.keepalives.1 += u64::from(node.registered);
            }
            Said::Registered(index) => {
                node.light.index = index;
                node.waits = false;
                if !node.registered {
                    node.registered = true;
                    self.registered += 1;
                    self.first_registered.get_or_insert(now);
                    self.last_registered = now;
                    self.keepalives[0].push_back((now + self.shape.keepalive, number));
                    let (member_key, channels) = (self.member_key(number), self.channels(number));
                    if !channels.is_empty() {
                        let node = &mut self.nodes[number as usize];
                        let datagram = node.light.tell(&[subscribe(1, &member_key, &channels)])?;
                        self.send(number, &datagram)?;
                    }
                }
            }
            Said::List {
                channel,
                key,
                upto,
                entries,
                ..
            } => {
                self.seen.lists.0 += 1;
                self.seen.lists.1 += u64::from(entries);
                let datagram = node.light.tell(&[acknowledge(channel, &key, upto)])?;
                self.send(number, &datagram)?;
            }
            Said::Located { request, found } => {
                self.seen.located.1 += u64::from(found);
                while let Some((asked, at)) = self.asked.front().copied().filter(|(asked, _)| *asked <= request) {
                    self.asked.pop_front();
                    if asked == request {
                        let micros = (now - at).as_micros();
                        self.seen.lookups.push(u32::try_from(micros).unwrap_or(u32::MAX));
                    }
                }
            }
            Said::Asked(answer) => {
                let datagram = node.light.tell(&[answer])?;
                self.send(number, &datagram)?;
            }
            Said::Subscribed | Said::Other(_) => {}
        }
        Ok(())
    }
}

fn key(parts: &[&[u8]]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&sha512(parts)[..16]);
    key
}

/// The control message by which a datagram leaves from an address: `IP_PKTINFO`.
fn packet_info(source: Ipv4Addr) -> Vec<u8> {
    let header = size_of::<libc::cmsghdr>();
    let mut bytes = Vec::with_capacity(header + 16);
    bytes.extend_from_slice(&(header + size_of::<libc::in_pktinfo>()).to_ne_bytes());
    bytes.extend_from_slice(&libc::IPPROTO_IP.to_ne_bytes());
    bytes.extend_from_slice(&libc::IP_PKTINFO.to_ne_bytes());
    bytes.extend_from_slice(&0_i32.to_ne_bytes());
    bytes.extend_from_slice(&source.octets());
    bytes.extend_from_slice(&[0; 4]);
    bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
    bytes
}
