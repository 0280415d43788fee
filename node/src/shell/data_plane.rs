//! The data-plane thread: one loop that carries packets between the underlay, the engine and the cards.
//!
//! A turn, in order:
//! 1. wait until the underlay or a card is readable, a request has come, or the engine's timer is due;
//! 2. datagrams from the underlay into the engine (first, since what peers sent came earlier than what will be sent),
//!    and what the engine wants sent, written and reported goes out;
//! 3. frames from each readable card into the engine, and its output out;
//! 4. requests that have come are carried out;
//! 5. if its timer is due, the engine does its chores, public-key work among them, and the result goes out too.
//!
//! Nothing waits within a turn, and each source is read up to a limit, so that none starves the others: what is left
//! over stays readable, and the next turn begins at once.

mod streaming;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::Duration,
};

use farlan_crypto::{
    NodeId, PublicKey,
    random::{self, SystemRandom},
};
use farlan_engine::{
    Anchor, AnchorStatus, Batch, Config, Contact, Counters, Engine, Event, FrameLabel, Join, JoinError, NetworkHandle,
    NetworkStatus, OpenPorts, Outbox, PeerStatus, Received, Socket, SupernodeStatus, Surroundings, Target, Time,
    Transmit,
};
use farlan_netconf::{DnsLabel, World, WorldId};
use thiserror::Error;
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    beacon::{BeaconSockets, LinkCard},
    cards::{AttachedCard, CUT_PER_READ, Cards, FRAMES_PER_READ},
    clock::Clock,
    poller::{Poller, Ready, Waker},
    scheduling::ask_for_short_turns,
    streams::{Source, Streams},
    udp::{AttachedUnderlay, Underlay},
};

/// What the rest of the program asks of the data plane.
#[derive(Debug)]
pub enum Request {
    /// Make a world known, or exchange the addresses of its supernodes.
    SetWorld {
        /// Which.
        world: WorldId,
        /// Its supernodes.
        anchors: Vec<Anchor>,
    },
    /// Hold the signed list of a world, to hand it on and to take newer ones.
    HoldWorld {
        /// The list.
        world: Box<World>,
    },
    /// Forget a world whose networks have been left.
    RemoveWorld {
        /// Which.
        world: WorldId,
    },
    /// Join a network; the answer holds the addresses its card needs.
    Join {
        /// Which, and how.
        join: Join,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<NetworkStatus, JoinError>>,
    },
    /// Take the card of a joined network.
    Attach {
        /// Which network.
        network: NetworkHandle,
        /// The card.
        card: AttachedCard,
        /// The card's MTU in bytes.
        mtu: u16,
        /// Where the answer goes.
        reply: oneshot::Sender<io::Result<()>>,
    },
    /// Leave a network and close its card.
    Leave {
        /// Which.
        network: NetworkHandle,
        /// Told when the card is closed.
        reply: oneshot::Sender<()>,
    },
    /// Tell peers of what others put on the card of a network.
    SetAddresses {
        /// Which network.
        network: NetworkHandle,
        /// The addresses besides those that the engine gave the card.
        addresses: Vec<IpAddr>,
    },
    /// Tell the members of a network what this machine is called there.
    SetName {
        /// Which network.
        network: NetworkHandle,
        /// The name, if any.
        name: Option<DnsLabel>,
    },
    /// Let the members of a network of strangers reach these ports of this machine, and no others.
    SetOpened {
        /// Which network.
        network: NetworkHandle,
        /// The ports.
        ports: Vec<OpenPorts>,
    },
    /// Begin sessions with these peers once a supernode of their world answers.
    Greet {
        /// The world in which they were met.
        world: WorldId,
        /// Who.
        peers: Vec<PublicKey>,
    },
    /// Take note of this machine's own underlay endpoints.
    SetLocalEndpoints {
        /// All of them, with the underlay's port.
        endpoints: Vec<SocketAddr>,
    },
    /// Take note of the own addresses from which the rest of the world is reached.
    SetSources {
        /// One a family at most.
        sources: Vec<IpAddr>,
    },
    /// Send and hear beacons by these cards.
    SetLinkCards {
        /// All that there are.
        cards: Vec<LinkCard>,
    },
    /// Call peers of an earlier run where they answered.
    Remember {
        /// The world in which they were met.
        world: WorldId,
        /// Who, and where.
        contacts: Vec<Contact>,
    },
    /// Take note of where the home's router lets datagrams in to this machine.
    SetMappedEndpoints {
        /// All of them.
        endpoints: Vec<SocketAddr>,
    },
    /// Ask a supernode whether strangers get through; the answer comes as an event.
    ProveReach {
        /// Which.
        supernode: NodeId,
        /// To which port; 0 for the one at which the supernode sees this node.
        port: u16,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Keep a NAT's port open by what is sent towards an endpoint.
    KeepOpen {
        /// Where to; nowhere any more.
        endpoint: Option<SocketAddr>,
    },
    /// Hide this machine's address from strangers, or do not.
    SetHideAddress {
        /// Whether to.
        hide: bool,
    },
    /// Ping somebody; the answer comes as an event.
    Ping {
        /// Whom.
        target: Target,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Find out what stands between this node and a peer; the answer comes as an event.
    Examine {
        /// Whom.
        target: Target,
        /// The peer's key, where it was met before.
        key: Option<PublicKey>,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Find out anew what the own network is like; snapshots tell.
    LookAround,
    /// Tell how things stand.
    Snapshot {
        /// Where the answer goes.
        reply: oneshot::Sender<Snapshot>,
    },
    /// Say goodbye to everybody, close the cards and end the thread.
    Shutdown {
        /// Told when all is sent.
        reply: oneshot::Sender<()>,
    },
}

/// How things stand at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The supernodes of all worlds in use.
    pub supernodes: Vec<SupernodeStatus>,
    /// The joined networks.
    pub networks: Vec<NetworkStatus>,
    /// Peers in common networks, and those lately spoken to.
    pub peers: Vec<PeerStatus>,
    /// What the own network is like.
    pub surroundings: Surroundings,
    /// What is served, on a supernode.
    pub anchor: AnchorStatus,
    /// The engine's counters.
    pub counters: Counters,
    /// The shell's counters.
    pub shell: ShellCounters,
}

macro_rules! shell_counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What the shell dropped and why, since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShellCounters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl ShellCounters {
            /// Names and values, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// What a counter counts, in a sentence; nothing if there is none of that name.
            pub fn meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),*).trim_ascii()),)*
                    // The daemon adds what the kernel counts on the present cards.
                    "card_dropped" => Some("Frames that the kernel dropped on their way from the cards to the daemon."),
                    _ => None,
                }
            }
        }
    };
}

shell_counters! {
    /// Datagrams not sent because the socket's queue was full.
    underlay_full,
    /// Datagrams that came while the socket's receive buffer was full, as the kernel counts them.
    underlay_overrun,
    /// Datagrams that the system refused to send: no route, too large for the link.
    underlay_refused,
    /// Datagrams not sent because no further socket could be opened.
    underlay_no_socket,
    /// Streams accepted.
    streams_accepted,
    /// Streams not accepted, or not kept, because there are enough by which nodes came, in all or of one /24 or /56.
    streams_over_limit,
    /// Streams by which nothing authentic had come, ended because others came.
    streams_gave_way,
    /// Streams ended because what came was no stream of datagrams, or nothing at all.
    streams_malformed,
    /// Streams ended because the other end took nothing.
    streams_stalled,
    /// Datagrams not sent because too much waited in their stream.
    stream_full,
    /// Frames that a card did not take: it is down, or they are no frames.
    card_refused,
    /// Frames for a network whose card does not exist (yet).
    card_missing,
    /// Frames from a card that were longer than its MTU allows.
    card_overlong,
    /// Frames from a card whose header said what does not fit them.
    card_malformed,
    /// Events nobody took in time.
    events_dropped,
}

/// Why the data plane did not do what was asked.
#[derive(Debug, Error)]
pub enum DataPlaneError {
    /// The operating system has no randomness.
    #[error(transparent)]
    Random(#[from] random::RandomError),
    /// The thread could not be started.
    #[error("cannot start the data plane: {0}")]
    Start(#[from] io::Error),
    /// The thread has ended.
    #[error("the data plane has ended")]
    Ended,
}

/// The way to the data-plane thread. Clones lead to the same thread; it ends when all are gone, or at
/// [`Request::Shutdown`].
#[derive(Clone, Debug)]
pub struct DataPlane {
    requests: mpsc::Sender<Request>,
    /// Behind the sender: a handle drops them in this order, so whoever the last waker wakes finds no sender left.
    waker: Option<Arc<Waker>>,
}

impl DataPlane {
    /// Starts the thread; the receiver yields the engine's events.
    ///
    /// # Errors
    /// [`DataPlaneError::Random`] and [`DataPlaneError::Start`].
    pub fn start(config: Config, underlay: Underlay) -> Result<(Self, mpsc::Receiver<Event>), DataPlaneError> {
        let random = SystemRandom::from_os()?;
        let (poller, waker) = Poller::new()?;
        let mut underlay = underlay;
        let streams = Streams::new(underlay.take_listeners(), &poller)?;
        let second = underlay.second_port();
        let underlay = underlay.attach()?;
        poller.add(&underlay, UNDERLAY)?;
        let (mut data_plane, requests) = Self::channel();
        data_plane.waker = Some(Arc::new(waker));
        let (events, received) = mpsc::channel(EVENTS);
        thread::Builder::new().name("data-plane".into()).spawn(move || {
            ask_for_short_turns();
            let mut engine = Engine::new(config, Box::new(random));
            engine.set_second_port(second);
            Loop::new(engine, poller, (underlay, streams), requests, events).run();
        })?;
        Ok((data_plane, received))
    }

    /// A handle, and the end at which its requests arrive: for whoever plays the data plane in a test.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(REQUESTS);
        let waker = None;
        (Self { requests, waker }, received)
    }

    /// Hands over a request that has no answer.
    ///
    /// # Errors
    /// [`DataPlaneError::Ended`].
    pub async fn send(&self, request: Request) -> Result<(), DataPlaneError> {
        self.requests.send(request).await.map_err(|_| DataPlaneError::Ended)?;
        if let Some(waker) = &self.waker {
            waker.wake();
        }
        Ok(())
    }

    /// Hands over a request, made around the sender of its answer, and waits for the answer.
    ///
    /// # Errors
    /// [`DataPlaneError::Ended`].
    pub async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, DataPlaneError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply)).await?;
        answer.await.map_err(|_| DataPlaneError::Ended)
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`DataPlaneError::Ended`].
    pub async fn snapshot(&self) -> Result<Snapshot, DataPlaneError> {
        self.ask(|reply| Request::Snapshot { reply }).await
    }
}

/// The loop and all it owns.
struct Loop {
    engine: Engine,
    poller: Poller,
    underlay: AttachedUnderlay,
    beacons: BeaconSockets,
    streams: Streams,
    cards: Cards,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
    clock: Clock,
    ready: Sources,
    /// Datagrams received in this turn.
    datagrams: Batch<Received>,
    /// Datagrams received by streams.
    streamed: Batch<Received>,
    /// Frames read from one card.
    frames: Batch<FrameLabel>,
    outbox: Outbox,
    counters: ShellCounters,
    /// A request was carried out; its outputs come with the next timeout.
    requested: bool,
}

/// What there is to do in a turn.
#[derive(Debug, Default)]
struct Sources {
    underlay: bool,
    beacons: bool,
    /// The readable extra sockets.
    extras: Vec<u16>,
    requests: bool,
    /// The readable cards, and whether each reports an error.
    cards: Vec<(NetworkHandle, bool)>,
    /// The streams and listeners that are ready, and whether to be written to.
    streams: Vec<(Source, bool)>,
    /// Cards of which more may be expected than one frame.
    busy: Vec<NetworkHandle>,
}

impl Loop {
    fn new(
        engine: Engine,
        poller: Poller,
        (underlay, streams): (AttachedUnderlay, Streams),
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            engine,
            poller,
            datagrams: underlay.batch(RECEIVES_PER_TURN),
            streamed: Batch::default(),
            underlay,
            beacons: BeaconSockets::default(),
            streams,
            cards: Cards::default(),
            requests,
            events,
            clock: Clock::start(),
            ready: Sources::default(),
            frames: Cards::batch(),
            outbox: Outbox::default(),
            counters: ShellCounters::default(),
            requested: false,
        }
    }

    fn run(mut self) {
        self.refill_entropy();
        let mut now = self.now();
        loop {
            if let Err(error) = self.wait(now) {
                tracing::error!(%error, "cannot wait for packets");
                return self.shutdown();
            }
            if let Some(reply) = self.turn() {
                self.shutdown();
                // Nobody waiting is no reason not to end.
                let _ = reply.map(|reply| reply.send(()));
                return;
            }
            now = self.now();
            self.chores(now);
        }
    }

    /// Steps 2 to 4. When the thread is to end, returns who wants to be told, if anybody.
    fn turn(&mut self) -> Option<Option<oneshot::Sender<()>>> {
        self.receive_datagrams();
        self.receive_beacons();
        self.receive_by_streams();
        self.read_cards();
        self.take_requests()
    }

    /// Step 1: returns as soon as there is something to do.
    fn wait(&mut self, now: Time) -> io::Result<()> {
        let until = if self.ready.requests {
            Some(now)
        } else {
            let timers = self.engine.next_timeout().into_iter();
            timers.chain(self.streams.deadline()).min()
        };
        self.ready.underlay = false;
        self.ready.beacons = false;
        self.ready.extras.clear();
        self.ready.cards.clear();
        self.ready.streams.clear();
        self.watch_opened();
        let ready = self.poller.wait(now, until)?;
        // The machine slept, or this program was stopped.
        let late = until.map(|until| self.clock.now().since(until.max(now)));
        if let Some(slept) = late.filter(|late| *late >= SLEPT) {
            self.engine.woke(self.clock.now(), slept);
        }
        for ready in ready {
            match *ready {
                Ready::Woken => self.ready.requests = true,
                Ready::Readable(UNDERLAY) | Ready::Broken(UNDERLAY) => self.ready.underlay = true,
                Ready::Readable(BEACONS) | Ready::Broken(BEACONS) => self.ready.beacons = true,
                Ready::Readable(extra @ FIRST_EXTRA..=LAST_EXTRA) | Ready::Broken(extra @ FIRST_EXTRA..=LAST_EXTRA) => {
                    self.ready.extras.extend(u16::try_from(extra - FIRST_EXTRA));
                }
                Ready::Readable(number) | Ready::Broken(number) | Ready::Writable(number)
                    if let Some(source) = Source::of(number) =>
                {
                    let writable = matches!(ready, Ready::Writable(_));
                    self.ready.streams.push((source, writable));
                }
                Ready::Writable(_) => {}
                Ready::Readable(card) => self
                    .ready
                    .cards
                    .extend(self.cards.network(card).map(|card| (card, false))),
                Ready::Broken(card) => self
                    .ready
                    .cards
                    .extend(self.cards.network(card).map(|card| (card, true))),
            }
        }
        Ok(())
    }

    /// Waits for the extra sockets that were opened, too.
    fn watch_opened(&mut self) {
        for number in self.underlay.take_opened() {
            let added = self
                .underlay
                .extra(number)
                .is_some_and(|extra| self.poller.add(extra, FIRST_EXTRA + u64::from(number)).is_ok());
            if !added {
                self.underlay.close(Socket::Extra(number));
            }
        }
    }

    /// Step 2.
    fn receive_datagrams(&mut self) {
        if self.ready.underlay {
            self.receive_by(Socket::Main);
        }
        let mut extras = std::mem::take(&mut self.ready.extras);
        for number in extras.drain(..) {
            self.receive_by(Socket::Extra(number));
        }
        self.ready.extras = extras;
    }

    fn receive_by(&mut self, socket: Socket) {
        for _ in 0..RECEIVES_PER_TURN {
            // An error belongs to one datagram; the others stay readable.
            let more = self.underlay.receive(socket, &mut self.datagrams).unwrap_or(false);
            if !more || self.datagrams.bytes() >= BYTES_PER_TURN || self.datagrams.len() >= DATAGRAMS_PER_TURN {
                break;
            }
        }
        if !self.datagrams.is_empty() {
            self.engine
                .handle_datagrams(self.now(), &mut self.datagrams, &mut self.outbox);
            let onward = self.datagrams.onward();
            let onward = onward.map(|(transmit, datagram)| (*transmit, datagram));
            send_all(onward, (&mut self.underlay, &mut self.streams), &mut self.counters);
            self.flush();
            self.datagrams.clear();
        }
    }

    /// The beacons that have come.
    fn receive_beacons(&mut self) {
        if !self.ready.beacons {
            return;
        }
        self.beacons.receive(&mut self.datagrams);
        self.engine
            .handle_beacons(self.now(), &self.datagrams, &mut self.outbox);
        self.datagrams.clear();
        self.flush();
    }

    /// Sends beacons by these cards from now on, and hears them. The sockets are opened when there are cards first.
    fn set_link_cards(&mut self, now: Time, cards: &[LinkCard]) {
        if self.beacons.descriptors().next().is_none() && !cards.is_empty() {
            self.beacons = BeaconSockets::open();
            for socket in self.beacons.descriptors() {
                if let Err(error) = self.poller.add(socket, BEACONS) {
                    tracing::debug!(%error, "cannot wait for beacons");
                }
            }
        }
        let possible = self.beacons.set_cards(cards);
        self.engine.set_beacon_cards(now, possible);
    }

    /// Step 3: each card's frames leave before the next card is read, while they are in the processor's cache.
    fn read_cards(&mut self) {
        let mut ready = std::mem::take(&mut self.ready.cards);
        self.ready
            .busy
            .retain(|busy| ready.iter().any(|(card, _)| card == busy));
        for (card, is_broken) in ready.drain(..) {
            self.read_card(card, is_broken);
        }
        self.ready.cards = ready;
    }

    fn read_card(&mut self, card: NetworkHandle, is_broken: bool) {
        // A card that was silent gets one read: most often it has one frame, and a second read would only say so. If
        // there is more, it is ready again in the next turn.
        let position = self.ready.busy.iter().position(|busy| *busy == card);
        let (limit, rounds) = if is_broken || position.is_some() {
            (FRAMES_PER_READ, ROUNDS_PER_TURN)
        } else {
            (1, 1)
        };
        let (mut more, mut frames, mut cut, mut bytes) = (true, 0, 0, 0);
        for _ in 0..rounds {
            let brought = self.cards.read(card, limit, &mut self.frames, &mut self.counters);
            more = brought.more;
            cut += brought.frames;
            frames += self.frames.len();
            bytes += self.frames.bytes();
            if !self.frames.is_empty() {
                self.engine
                    .handle_frames(self.now(), &mut self.frames, &mut self.outbox);
                self.frames.clear();
                self.flush();
            }
            if !more || bytes >= BYTES_PER_TURN || cut >= CUT_PER_READ {
                break;
            }
        }
        match position {
            Some(position) if !more && frames <= 1 => {
                self.ready.busy.swap_remove(position);
            }
            None if more => self.ready.busy.push(card),
            _ => {}
        }
        if is_broken {
            self.cards.close_broken(card);
        }
    }

    /// Step 4.
    fn take_requests(&mut self) -> Option<Option<oneshot::Sender<()>>> {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.ready.requests {
                return None;
            }
            match self.requests.try_recv() {
                Ok(Request::Shutdown { reply }) => return Some(Some(reply)),
                Ok(request) => self.carry_out(request),
                Err(TryRecvError::Empty) => self.ready.requests = false,
                Err(TryRecvError::Disconnected) => return Some(None),
            }
        }
        None
    }

    /// Step 5, if it is time: timers, retries, queued public-key work.
    fn chores(&mut self, now: Time) {
        self.streams.tend(now, &self.poller, &mut self.counters);
        self.tell_of_streams();
        if self.requested || self.engine.next_timeout().is_some_and(|deadline| deadline <= now) {
            self.requested = false;
            self.engine.handle_timeout(now, &mut self.outbox);
            self.flush();
        }
        self.refill_entropy();
    }

    /// Datagrams to the underlay, frames to the cards, events to whoever listens.
    fn flush(&mut self) {
        let datagrams = self.outbox.datagrams.iter();
        let datagrams = datagrams.map(|(transmit, datagram)| (*transmit, datagram));
        send_all(datagrams, (&mut self.underlay, &mut self.streams), &mut self.counters);
        self.streams.flush(self.now(), &self.poller);
        for (number, address) in self.outbox.opens.drain(..) {
            self.streams.open(number, address, &self.poller);
        }
        for number in self.outbox.proved.drain(..) {
            self.streams.proved(number, &mut self.counters);
        }
        self.cards.write_all(&self.outbox.frames, &mut self.counters);
        for (cast, beacon) in self.outbox.beacons.iter() {
            if let Err(error) = self.beacons.send(self.underlay.as_fd(), *cast, beacon) {
                tracing::debug!(?cast, %error, "a beacon was not sent");
                self.counters.underlay_refused += 1;
            }
        }
        for event in self.outbox.events.drain(..) {
            if self.events.try_send(event).is_err() {
                self.counters.events_dropped += 1;
            }
        }
        for socket in self.outbox.closed.drain(..) {
            match socket {
                Socket::Stream(number) => self.streams.close(number),
                Socket::Main | Socket::Extra(_) => self.underlay.close(socket),
            }
        }
        self.outbox.clear();
    }

    fn carry_out(&mut self, request: Request) {
        let now = self.now();
        // An asker who has gone away needs no answer, so failures to answer are ignored throughout.
        match request {
            Request::SetWorld { world, anchors } => self.engine.set_world(now, world, anchors),
            Request::HoldWorld { world } => self.engine.hold_world(now, &world),
            Request::RemoveWorld { world } => self.engine.remove_world(now, world),
            Request::Join { join, reply } => {
                let _ = reply.send(self.join(now, join));
            }
            Request::Attach {
                network,
                card,
                mtu,
                reply,
            } => {
                let _ = reply.send(self.attach(network, card, mtu));
            }
            Request::Leave { network, reply } => {
                self.engine.leave(now, network);
                self.cards.detach(network);
                let _ = reply.send(());
            }
            Request::SetAddresses { network, addresses } => self.engine.set_addresses(now, network, &addresses),
            Request::SetName { network, name } => self.engine.set_name(now, network, name),
            Request::SetOpened { network, ports } => self.engine.set_opened(network, &ports),
            Request::Greet { world, peers } => self.engine.greet(now, world, &peers),
            Request::SetLocalEndpoints { endpoints } => self.engine.set_local_endpoints(now, endpoints),
            Request::SetSources { sources } => self.engine.set_sources(now, &sources),
            Request::SetLinkCards { cards } => self.set_link_cards(now, &cards),
            Request::Remember { world, contacts } => self.engine.remember(now, world, &contacts),
            Request::SetMappedEndpoints { endpoints } => self.engine.set_mapped_endpoints(now, endpoints),
            Request::ProveReach { supernode, port, token } => self.engine.prove_reach(now, supernode, port, token),
            Request::KeepOpen { endpoint } => self.engine.keep_open(now, endpoint),
            Request::SetHideAddress { hide } => self.engine.set_hide_address(hide),
            Request::Ping { target, token } => self.engine.ping(now, target, token),
            Request::Examine { target, key, token } => self.engine.examine(now, target, key, token),
            Request::LookAround => self.engine.look_around(now),
            Request::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(now));
                return;
            }
            // `take_requests` takes it before it comes here.
            Request::Shutdown { .. } => return,
        }
        self.requested = true;
        self.chores(now);
    }

    fn attach(&mut self, network: NetworkHandle, card: AttachedCard, mtu: u16) -> io::Result<()> {
        self.poller.add(&card.descriptor, network.as_u8().into())?;
        self.cards.attach(network, card, mtu);
        Ok(())
    }

    fn join(&mut self, now: Time, join: Join) -> Result<NetworkStatus, JoinError> {
        let world = join.world;
        let handle = self.engine.join(now, join)?;
        let joined = self
            .engine
            .networks()
            .into_iter()
            .find(|network| network.handle == handle);
        // A network that was joined is listed.
        joined.ok_or(JoinError::UnknownWorld(world))
    }

    fn snapshot(&self, now: Time) -> Snapshot {
        Snapshot {
            supernodes: self.engine.supernodes(),
            networks: self.engine.networks(),
            peers: self.engine.peers(now),
            surroundings: self.engine.surroundings(),
            anchor: self.engine.anchor(),
            counters: self.engine.counters(),
            shell: ShellCounters {
                underlay_overrun: self.underlay.overrun().into(),
                stream_full: self.streams.full(),
                ..self.counters
            },
        }
    }

    fn shutdown(&mut self) {
        self.engine.shutdown(self.now(), &mut self.outbox);
        self.flush();
        self.cards.clear();
    }

    /// Gives the engine the randomness its next handshakes mix in.
    fn refill_entropy(&mut self) {
        for _ in 0..self.engine.entropy_wanted() {
            match random::os_bytes() {
                Ok(bytes) => self.engine.add_entropy(bytes),
                Err(error) => {
                    tracing::warn!(%error, "no fresh randomness");
                    return;
                }
            }
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

/// Hands datagrams over to the socket or stream by which each leaves.
fn send_all<'a>(
    datagrams: impl Iterator<Item = (Transmit, &'a [u8])>,
    (underlay, streams): (&mut AttachedUnderlay, &mut Streams),
    counters: &mut ShellCounters,
) {
    let underlaid = datagrams.filter(|(transmit, datagram)| match transmit.destination.socket {
        Socket::Stream(number) => {
            streams.send(number, datagram);
            false
        }
        Socket::Main | Socket::Extra(_) => true,
    });
    underlay.send_all(underlaid, counters);
}

/// A wait that ends so late was interrupted by the machine's sleep, or by somebody who stopped the program.
const SLEPT: Duration = Duration::from_secs(5);

/// The underlay's number in the poller; a card's is that of its network.
const UNDERLAY: u64 = 1 << 32;

/// The number of the sockets of beacons.
const BEACONS: u64 = UNDERLAY + 1;

/// The numbers of the extra sockets, of which [`Socket::Extra`] counts.
const FIRST_EXTRA: u64 = 2 << 32;

/// See [`FIRST_EXTRA`].
const LAST_EXTRA: u64 = FIRST_EXTRA + u16::MAX as u64;

/// System calls that receive datagrams before the engine gets them: where nothing is coalesced, some 32 datagrams,
/// and at 1,400 bytes about 0.1 ms of work.
const RECEIVES_PER_TURN: usize = 4;

/// Datagrams after which no more are received before the engine gets them, and the cards their turn: many
/// acknowledgements at once set many frames free, and a card's queue holds no more than its device's `txqueuelen`.
const DATAGRAMS_PER_TURN: usize = 64;

/// Bytes after which no more are received, or read from a card, in a turn. One system call can bring twice as much.
const BYTES_PER_TURN: usize = 256 << 10;

/// How often in a turn a card is read up to the limit of one read. In all it is about as many frames as datagrams can
/// come in a turn: were it fewer, acknowledgements would set free more frames than leave, until the card's queue
/// overflows.
const ROUNDS_PER_TURN: usize = 4;

/// Requests carried out in a turn.
const REQUESTS_PER_TURN: usize = 8;

/// Requests that may wait.
const REQUESTS: usize = 64;

/// Events that may wait: a peer coming and going is two, and a network of 128 members may come at once.
const EVENTS: usize = 4096;

#[cfg(test)]
mod tests;
