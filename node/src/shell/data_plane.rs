//! The data-plane thread: one loop that carries packets between the underlay, the engine and the cards.
//!
//! A turn, in order:
//! 1. wait until the underlay or a card is readable, a request has come, or the engine's timer is due;
//! 2. datagrams from the underlay into the engine (first, since what peers sent came earlier than what will be sent);
//! 3. frames from the cards into the engine;
//! 4. what the engine wants sent, written and reported goes out;
//! 5. if its timer is due, the engine does its chores, public-key work among them, and the result goes out too.
//!
//! Nothing is awaited within a turn, and each source is read up to a limit, so that none starves the others.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    pin::Pin,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use farlan_crypto::{
    PublicKey,
    random::{self, SystemRandom},
};
use farlan_engine::{
    Anchor, AnchorStatus, Batch, Config, Counters, Engine, Event, FrameLabel, Join, JoinError, NetworkHandle,
    NetworkStatus, Outbox, PeerStatus, Received, SupernodeStatus, Target, Time,
};
use farlan_netconf::{World, WorldId};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::Sleep,
};

use super::{
    cards::Cards,
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
        /// The TAP device, non-blocking.
        descriptor: OwnedFd,
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
    /// What is served, on a supernode.
    pub anchor: AnchorStatus,
    /// The engine's counters.
    pub counters: Counters,
    /// The shell's counters.
    pub shell: ShellCounters,
}

/// What the shell dropped and why, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShellCounters {
    /// Datagrams not sent because the socket's queue was full.
    pub underlay_full: u64,
    /// Datagrams that came while the socket's receive buffer was full, as the kernel counts them.
    pub underlay_overrun: u64,
    /// Datagrams that the system refused to send: no route, too large for the link.
    pub underlay_refused: u64,
    /// Frames that a card did not take: it is down, or they are no frames.
    pub card_refused: u64,
    /// Frames for a network whose card does not exist (yet).
    pub card_missing: u64,
    /// Frames from a card that were longer than its MTU allows.
    pub card_overlong: u64,
    /// Events nobody took in time.
    pub events_dropped: u64,
}

impl ShellCounters {
    /// Names and values, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("underlay_full", self.underlay_full),
            ("underlay_overrun", self.underlay_overrun),
            ("underlay_refused", self.underlay_refused),
            ("card_refused", self.card_refused),
            ("card_missing", self.card_missing),
            ("card_overlong", self.card_overlong),
            ("events_dropped", self.events_dropped),
        ]
        .into_iter()
    }
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
}

impl DataPlane {
    /// Starts the thread; the receiver yields the engine's events.
    ///
    /// # Errors
    /// [`DataPlaneError::Random`] and [`DataPlaneError::Start`].
    pub fn start(config: Config, underlay: Underlay) -> Result<(Self, mpsc::Receiver<Event>), DataPlaneError> {
        let random = SystemRandom::from_os()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (data_plane, requests) = Self::channel();
        let (events, received) = mpsc::channel(EVENTS);
        thread::Builder::new().name("data-plane".into()).spawn(move || {
            runtime.block_on(async {
                let engine = Engine::new(config, Box::new(random));
                match Loop::new(engine, underlay, requests, events) {
                    Ok(data_plane) => data_plane.run().await,
                    Err(error) => tracing::error!(%error, "cannot watch the underlay socket"),
                }
            });
        })?;
        Ok((data_plane, received))
    }

    /// A handle, and the end at which its requests arrive: for whoever plays the data plane in a test.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(REQUESTS);
        (Self { requests }, received)
    }

    /// Hands over a request that has no answer.
    ///
    /// # Errors
    /// [`DataPlaneError::Ended`].
    pub async fn send(&self, request: Request) -> Result<(), DataPlaneError> {
        self.requests.send(request).await.map_err(|_| DataPlaneError::Ended)
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
    underlay: AttachedUnderlay,
    cards: Cards,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
    origin: Instant,
    timer: Pin<Box<Sleep>>,
    /// Datagrams received in this turn.
    datagrams: Batch<Received>,
    /// Frames read in this turn.
    frames: Batch<FrameLabel>,
    outbox: Outbox,
    counters: ShellCounters,
    /// The limit of a source ended the last turn, not its emptiness.
    more: bool,
    /// A request was carried out; its outputs come with the next timeout.
    requested: bool,
}

/// Why [`Loop::wait`] returned.
enum Wake {
    /// There is work for a turn.
    Turn,
    /// A request has come.
    Request(Request),
    /// All handles are gone.
    Abandoned,
}

impl Loop {
    fn new(
        engine: Engine,
        underlay: Underlay,
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        Ok(Self {
            engine,
            underlay: underlay.attach()?,
            cards: Cards::default(),
            requests,
            events,
            origin: Instant::now(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            datagrams: Batch::with_capacity(DATAGRAMS_PER_TURN, DATAGRAMS_PER_TURN * TYPICAL_PACKET),
            frames: Batch::with_capacity(FRAMES_PER_TURN, FRAMES_PER_TURN * TYPICAL_PACKET),
            outbox: Outbox::default(),
            counters: ShellCounters::default(),
            more: false,
            requested: false,
        })
    }

    async fn run(mut self) {
        self.refill_entropy();
        loop {
            match self.wait().await {
                Wake::Turn => self.turn(),
                Wake::Request(Request::Shutdown { reply }) => {
                    self.shutdown();
                    // Nobody waiting is no reason not to end.
                    let _ = reply.send(());
                    return;
                }
                Wake::Request(request) => self.carry_out(request),
                Wake::Abandoned => return self.shutdown(),
            }
        }
    }

    /// Step 1: returns as soon as there is something to do.
    async fn wait(&mut self) -> Wake {
        let deadline = self.deadline();
        let at_once = self.more || deadline.is_some_and(|deadline| deadline <= Instant::now());
        if at_once {
            // Lets the runtime look at all descriptors, so that a busy one does not hide the others.
            tokio::task::yield_now().await;
        } else {
            let deadline = deadline.unwrap_or_else(|| Instant::now() + LONGEST_SLEEP);
            self.timer.as_mut().reset(deadline.into());
        }
        poll_fn(|context| {
            if let Poll::Ready(request) = self.requests.poll_recv(context) {
                return Poll::Ready(request.map_or(Wake::Abandoned, Wake::Request));
            }
            // All are asked, since one that is not asked does not wake the task.
            let underlay = self.underlay.poll_readable(context).is_ready();
            let cards = self.cards.poll_readable(context).is_ready();
            if at_once || underlay || cards || self.timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Wake::Turn);
            }
            Poll::Pending
        })
        .await
    }

    /// Steps 2 to 5.
    fn turn(&mut self) {
        let more_datagrams = self.receive_datagrams();
        if !self.datagrams.is_empty() {
            self.engine
                .handle_datagrams(self.now(), &mut self.datagrams, &mut self.outbox);
            for (transmit, datagram) in self.datagrams.onward() {
                self.outbox.datagrams.push(*transmit, datagram);
            }
            self.datagrams.clear();
        }
        let more_frames = self
            .cards
            .read(FRAMES_PER_TURN, &mut self.frames, &mut self.counters.card_overlong);
        if !self.frames.is_empty() {
            self.engine
                .handle_frames(self.now(), &mut self.frames, &mut self.outbox);
            self.frames.clear();
        }
        self.flush();
        self.chores();
        self.more = more_datagrams || more_frames;
    }

    /// Takes up to a turn's worth of datagrams, and returns whether there may be more.
    fn receive_datagrams(&mut self) -> bool {
        (0..DATAGRAMS_PER_TURN).all(|_| match self.underlay.receive(&mut self.datagrams) {
            Ok(()) => true,
            // An error belongs to one datagram; only emptiness ends the round.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        })
    }

    /// Step 5, if it is time: timers, retries, queued public-key work.
    fn chores(&mut self) {
        let now = self.now();
        if self.requested || self.engine.next_timeout().is_some_and(|deadline| deadline <= now) {
            self.requested = false;
            self.engine.handle_timeout(now, &mut self.outbox);
            self.flush();
        }
        self.refill_entropy();
    }

    /// Step 4: datagrams to the underlay, frames to the cards, events to whoever listens.
    fn flush(&mut self) {
        for (transmit, datagram) in self.outbox.datagrams.iter() {
            match self.underlay.send(transmit, datagram) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counters.underlay_full += 1,
                Err(_) => self.counters.underlay_refused += 1,
            }
        }
        for (label, frame) in self.outbox.frames.iter() {
            match self.cards.write(label.network, frame) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.counters.card_missing += 1,
                Err(_) => self.counters.card_refused += 1,
            }
        }
        for event in self.outbox.events.drain(..) {
            if self.events.try_send(event).is_err() {
                self.counters.events_dropped += 1;
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
                descriptor,
                mtu,
                reply,
            } => {
                let _ = reply.send(self.cards.attach(network, descriptor, mtu));
            }
            Request::Leave { network, reply } => {
                self.engine.leave(now, network);
                self.cards.detach(network);
                let _ = reply.send(());
            }
            Request::SetAddresses { network, addresses } => self.engine.set_addresses(now, network, &addresses),
            Request::Greet { world, peers } => self.engine.greet(now, world, &peers),
            Request::SetLocalEndpoints { endpoints } => self.engine.set_local_endpoints(now, endpoints),
            Request::SetHideAddress { hide } => self.engine.set_hide_address(hide),
            Request::Ping { target, token } => self.engine.ping(now, target, token),
            Request::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(now));
                return;
            }
            // `run` takes it before it comes here.
            Request::Shutdown { .. } => return,
        }
        self.requested = true;
        self.chores();
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
            anchor: self.engine.anchor(),
            counters: self.engine.counters(),
            shell: ShellCounters {
                underlay_overrun: self.underlay.overrun().into(),
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
        Time::ZERO + self.origin.elapsed()
    }

    /// When the engine wants to be called, on the thread's clock.
    fn deadline(&self) -> Option<Instant> {
        let after = self.engine.next_timeout()?.since(Time::ZERO);
        self.origin.checked_add(after)
    }
}

/// Datagrams received before the engine gets them: at 1,400 bytes about 0.1 ms of work.
const DATAGRAMS_PER_TURN: usize = 64;

/// Frames read from each card before the engine gets them.
const FRAMES_PER_TURN: usize = 64;

/// Bytes for which the arenas have room per packet from the start.
const TYPICAL_PACKET: usize = 1600;

/// How long the thread sleeps when the engine has no wish: long enough to cost nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Requests that may wait.
const REQUESTS: usize = 64;

/// Events that may wait: a peer coming and going is two, and a network of 128 members may come at once.
const EVENTS: usize = 4096;
