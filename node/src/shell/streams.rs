//! Streams: TCP connections that carry datagrams, where UDP is blocked. The engine decides which are opened and closed; a
//! supernode accepts some. Nothing here waits: what cannot be sent at once is queued, within bounds, or lost.

pub(crate) mod framing;
mod places;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use farlan_engine::{Batch, Leg, Received, Socket as Own, Time};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{
    data_plane::ShellCounters,
    poller::{Interest, Poller},
    udp::{no_ipv6, to_plain},
};
use framing::{Incoming, Outgoing};
use places::{MOST_ACCEPTED, Places, Room, prefix};

/// A bound TCP port at which a supernode takes streams, not yet in use.
#[derive(Debug)]
pub struct StreamListener(Socket);

impl StreamListener {
    /// Listens at `address`. The unspecified IPv6 address stands for all addresses of both families; where there is no
    /// IPv6, for those of IPv4.
    ///
    /// # Errors
    /// Those of the system: the port is taken (`AddrInUse`), or is not allowed to this user.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        match Self::bind_one(address) {
            Err(error) if any && no_ipv6(&error) => {
                Self::bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
            }
            result => result,
        }
    }

    fn bind_one(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Streams of the run before may still be ending.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self(socket))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let address = self.0.local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// The number of the stream or listener that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A stream.
    Stream(u32),
    /// A listener, by its position.
    Listener(usize),
}

impl Source {
    /// What a number of the poller stands for, if it is one of these.
    pub(super) fn of(number: u64) -> Option<Self> {
        if let Some(number) = number.checked_sub(FIRST_STREAM) {
            return u32::try_from(number).ok().map(Self::Stream);
        }
        let position = usize::try_from(number.checked_sub(FIRST_LISTENER)?).ok()?;
        (position < MOST_LISTENERS).then_some(Self::Listener(position))
    }

    fn number(self) -> u64 {
        match self {
            Self::Stream(number) => FIRST_STREAM + u64::from(number),
            Self::Listener(position) => FIRST_LISTENER + position as u64,
        }
    }
}

/// All streams of a data plane.
#[derive(Debug)]
pub(super) struct Streams {
    listeners: Vec<Socket>,
    /// Whether nothing is accepted, since the system has no room.
    paused: bool,
    connections: BTreeMap<u32, Connection>,
    /// The number given to an accepted stream last.
    accepted: u32,
    /// Which of the accepted ones may stay.
    places: Places,
    /// Those to which something was given since all were flushed.
    touched: Vec<u32>,
    /// What the engine has yet to be told: those that stand now, and those that have ended.
    begun: Vec<u32>,
    ended: Vec<u32>,
    /// When it is to be looked for those that say or take nothing.
    sweep: Option<Time>,
    full: u64,
    /// Bytes that wait to be sent, in all.
    waiting: usize,
    room: Box<[u8]>,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    remote: SocketAddr,
    state: State,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether it is waited for that the socket takes more.
    writes: bool,
    touched: bool,
    /// Since when what waits has not become less.
    stalled: Option<Time>,
    /// Whose place it takes, of an accepted one.
    prefix: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    /// Accepted; the preface has yet to come.
    Accepted(Time),
    Open,
}

impl Streams {
    /// None but those to be accepted.
    ///
    /// # Errors
    /// Those of waiting for the listeners.
    pub(super) fn new(listeners: Vec<StreamListener>, poller: &Poller) -> io::Result<Self> {
        let listeners: Vec<Socket> = listeners
            .into_iter()
            .map(|listener| listener.0)
            .take(MOST_LISTENERS)
            .collect();
        for (position, listener) in listeners.iter().enumerate() {
            poller.add(listener, Source::Listener(position).number())?;
        }
        Ok(Self {
            places: Places::new(if listeners.is_empty() { 0 } else { descriptors() }),
            listeners,
            paused: false,
            connections: BTreeMap::new(),
            accepted: 0,
            touched: Vec::new(),
            begun: Vec::new(),
            ended: Vec::new(),
            sweep: None,
            full: 0,
            waiting: 0,
            room: vec![0; READ].into(),
        })
    }

    /// Datagrams that were lost because too much waited in their stream.
    pub(super) fn full(&self) -> u64 {
        self.full
    }

    /// The first that there is.
    #[cfg(test)]
    pub(super) fn first(&self) -> Option<u32> {
        self.connections.keys().next().copied()
    }

    /// When [`Self::tend`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.sweep
    }

    /// The streams that stand since this was last asked. Some may have ended since.
    pub(super) fn take_begun(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.begun)
    }

    /// The streams that were not made, or have ended, since this was last asked. All that came by them was handed over before.
    pub(super) fn take_ended(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ended)
    }

    /// Begins to connect to `address`; what comes of it is told as news.
    pub(super) fn open(&mut self, number: u32, address: SocketAddr, poller: &Poller) {
        match connect(address) {
            Ok(socket) => {
                let connection = Connection {
                    socket,
                    remote: address,
                    state: State::Connecting,
                    incoming: Incoming::default(),
                    outgoing: Outgoing::with_preface(),
                    writes: true,
                    touched: false,
                    stalled: None,
                    prefix: None,
                };
                let interest = Interest::ReadAndWrite;
                if poller
                    .watch(&connection.socket, Source::Stream(number).number(), interest)
                    .is_ok()
                {
                    self.waiting += connection.outgoing.waiting().len();
                    self.connections.insert(number, connection);
                    return;
                }
                self.ended.push(number);
            }
            Err(error) => {
                tracing::debug!(%address, %error, "no stream");
                self.ended.push(number);
            }
        }
    }

    /// Ends a stream that the engine does not need any more.
    pub(super) fn close(&mut self, number: u32) {
        self.remove(number);
    }

    fn remove(&mut self, number: u32) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        self.waiting = self.waiting.saturating_sub(connection.outgoing.waiting().len());
        if let Some(prefix) = connection.prefix {
            self.places.remove(number, prefix);
        }
        Some(connection)
    }

    /// Ends a stream, and tells the engine of it if it ever heard of it.
    fn end(&mut self, number: u32) {
        let connection = self.remove(number);
        if connection.is_some_and(|connection| !matches!(connection.state, State::Accepted(_))) {
            self.ended.push(number);
        }
    }

    /// Accepts what has come in at a listener.
    pub(super) fn accept(&mut self, now: Time, position: usize, poller: &Poller, counters: &mut ShellCounters) {
        for _ in 0..ACCEPTED_PER_TURN {
            let Some(listener) = self.listeners.get(position) else {
                return;
            };
            let (socket, remote) = match listener.accept() {
                Ok((socket, remote)) => (socket, remote),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => return self.pause(now, &error, poller),
                },
            };
            let Some(remote) = remote.as_socket().map(to_plain) else {
                continue;
            };
            let prefix = prefix(remote.ip());
            match self.places.room_for(prefix) {
                Room::Free => {}
                Room::InPlaceOf(other) => {
                    counters.streams_gave_way += 1;
                    self.end(other);
                }
                Room::Nowhere => {
                    counters.streams_over_limit += 1;
                    continue;
                }
            }
            let number = self.accepted.wrapping_add(1);
            let set_up = socket
                .set_nonblocking(true)
                .and_then(|()| tune(&socket))
                .and_then(|()| poller.watch(&socket, Source::Stream(number).number(), Interest::Read));
            if set_up.is_err() || self.connections.contains_key(&number) {
                continue;
            }
            self.accepted = number;
            counters.streams_accepted += 1;
            self.places.add(number, prefix);
            let connection = Connection {
                socket,
                remote,
                state: State::Accepted(now),
                incoming: Incoming::with_preface(),
                outgoing: Outgoing::default(),
                writes: false,
                touched: false,
                stalled: None,
                prefix: Some(prefix),
            };
            self.connections.insert(number, connection);
            self.sweep.get_or_insert(now + SWEEP);
        }
    }

    /// Something authentic has come by an accepted stream: it does not give way to others.
    pub(super) fn proved(&mut self, number: u32, counters: &mut ShellCounters) {
        let prefix = self.connections.get(&number).and_then(|connection| connection.prefix);
        if prefix.is_some_and(|prefix| !self.places.prove(number, prefix)) {
            counters.streams_over_limit += 1;
            self.end(number);
        }
    }

    /// The system has no room for more: nothing is accepted for a moment, lest the thread does nothing else.
    fn pause(&mut self, now: Time, error: &io::Error, poller: &Poller) {
        tracing::debug!(%error, "no stream can be accepted");
        self.watch_listeners(Interest::Nothing, poller);
        self.sweep = Some(now + SWEEP);
    }

    fn watch_listeners(&mut self, interest: Interest, poller: &Poller) {
        self.paused = interest == Interest::Nothing;
        for (position, listener) in self.listeners.iter().enumerate() {
            // What is watched can be watched otherwise.
            let _ = poller.change(listener, Source::Listener(position).number(), interest);
        }
    }

    /// Reads what has come by a stream, up to a limit, into the batch.
    pub(super) fn receive(&mut self, number: u32, datagrams: &mut Batch<Received>, counters: &mut ShellCounters) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.state == State::Connecting {
            if !matches!(connection.socket.take_error(), Ok(None)) {
                self.end(number);
            }
            return;
        }
        let leg = Leg {
            socket: Own::Stream(number),
            endpoint: connection.remote,
        };
        for _ in 0..READS_PER_TURN {
            let room = &mut self.room;
            let count = match rustix::io::read(&connection.socket, &mut room[..]) {
                Ok(0) => return self.end(number),
                Ok(count) => count,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return self.end(number),
            };
            let bytes = room.get(..count).unwrap_or_default();
            let taken = connection
                .incoming
                .take(bytes, |datagram| datagrams.push(leg, datagram));
            if taken.is_err() {
                counters.streams_malformed += 1;
                return self.end(number);
            }
            if matches!(connection.state, State::Accepted(_)) && !connection.incoming.awaits_preface() {
                connection.state = State::Open;
                self.begun.push(number);
            }
            if count < READ {
                return;
            }
        }
    }

    /// A stream takes more, or its connection stands.
    pub(super) fn writable(&mut self, now: Time, number: u32, poller: &Poller) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.state == State::Connecting {
            if !matches!(connection.socket.take_error(), Ok(None)) || connection.socket.peer_addr().is_err() {
                return self.end(number);
            }
            connection.state = State::Open;
            self.begun.push(number);
        }
        self.write(now, number, poller);
    }

    /// Gives a datagram to a stream; it leaves with [`Self::flush`].
    pub(super) fn send(&mut self, number: u32, datagram: &[u8]) {
        // What is for one that has ended is lost.
        let connection = self.connections.get_mut(&number);
        let Some(connection) = connection.filter(|connection| connection.state == State::Open) else {
            return;
        };
        let before = connection.outgoing.waiting().len();
        // Where those that take nothing have filled what all share, each still has its own.
        let room = if self.waiting < SHARED { usize::MAX } else { OWN };
        let fits = before + framing::of(datagram) <= room;
        if !fits || !connection.outgoing.push(datagram) {
            self.full += 1;
            return;
        }
        self.waiting += connection.outgoing.waiting().len() - before;
        if !std::mem::replace(&mut connection.touched, true) {
            self.touched.push(number);
        }
    }

    /// Sends what was given to streams, as far as they take it.
    pub(super) fn flush(&mut self, now: Time, poller: &Poller) {
        while let Some(number) = self.touched.pop() {
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.touched = false;
                // Where it is waited for, it is told.
                if !connection.writes {
                    self.write(now, number, poller);
                }
            }
        }
    }

    fn write(&mut self, now: Time, number: u32, poller: &Poller) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        while !connection.outgoing.waiting().is_empty() {
            match rustix::io::write(&connection.socket, connection.outgoing.waiting()) {
                Ok(count) => {
                    connection.outgoing.sent(count);
                    self.waiting = self.waiting.saturating_sub(count);
                    connection.stalled = None;
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return self.end(number),
            }
        }
        let waits = !connection.outgoing.waiting().is_empty();
        if waits {
            connection.stalled.get_or_insert(now);
            self.sweep.get_or_insert(now + SWEEP);
        }
        if waits != connection.writes {
            connection.writes = waits;
            let interest = if waits { Interest::ReadAndWrite } else { Interest::Read };
            if poller
                .change(&connection.socket, Source::Stream(number).number(), interest)
                .is_err()
            {
                self.end(number);
            }
        }
    }

    /// Ends streams that say nothing at their beginning, and those that take nothing.
    pub(super) fn tend(&mut self, now: Time, poller: &Poller, counters: &mut ShellCounters) {
        if self.sweep.is_none_or(|at| now < at) {
            return;
        }
        if self.paused {
            self.watch_listeners(Interest::Read, poller);
        }
        let mut again = false;
        let mut over = Vec::new();
        for (number, connection) in &self.connections {
            let silent = matches!(connection.state, State::Accepted(since) if now.since(since) >= PREFACE_WITHIN);
            let stalled = connection.stalled.is_some_and(|since| now.since(since) >= STALLED);
            counters.streams_malformed += u64::from(silent);
            counters.streams_stalled += u64::from(stalled);
            if silent || stalled {
                over.push(*number);
            } else {
                again |= matches!(connection.state, State::Accepted(_)) || connection.stalled.is_some();
            }
        }
        for number in over {
            self.end(number);
        }
        self.sweep = again.then_some(now + SWEEP);
    }
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Begins a connection.
fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

/// Datagrams leave at once, little waits in the kernel, where nothing can be dropped, and an end that is gone is noticed.
fn tune(socket: &Socket) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// How many streams may be accepted: as many descriptors as this process may have at the same time, less those for other
/// things.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (MOST_ACCEPTED + OTHER_DESCRIPTORS) as u64;
    let most = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < most) {
        // Where it is refused, there are fewer streams.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                maximum: limit.maximum,
            },
        );
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(wanted).min(wanted);
    usize::try_from(current)
        .unwrap_or_default()
        .saturating_sub(OTHER_DESCRIPTORS)
}

/// Bytes that may wait in one stream whatever waits in others, and in all streams together: 64 MiB with what each has of
/// its own.
const OWN: usize = framing::MOST_OF_ONE;
const SHARED: usize = (64 << 20) - MOST_ACCEPTED * OWN;

/// Descriptors for other things than streams.
const OTHER_DESCRIPTORS: usize = 128;

/// Listeners of one data plane.
const MOST_LISTENERS: usize = 16;

/// Their numbers in the poller.
const FIRST_LISTENER: u64 = 1 << 36;
const FIRST_STREAM: u64 = 1 << 40;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Connections accepted in a turn.
const ACCEPTED_PER_TURN: usize = 32;

/// Bytes read at once, and how often in a turn.
const READ: usize = 16 << 10;
const READS_PER_TURN: usize = 8;

/// An accepted stream says within this time that it is one.
const PREFACE_WITHIN: Duration = Duration::from_secs(5);

/// A stream that has taken nothing for so long while something waited is ended.
const STALLED: Duration = Duration::from_secs(15);

/// How often both are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes that the kernel takes before it has sent those before them.
const UNSENT: u32 = 64 << 10;

/// What is sent and not acknowledged within this time ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A connection on which nothing has come for so long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
