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

mod counters;
mod requests;
mod streaming;

use std::{io, os::fd::AsFd, sync::Arc, thread, time::Duration};

use farlan_crypto::random::{self, SystemRandom};
use farlan_engine::{
    Batch, Config, Engine, Event, FrameLabel, NetworkHandle, Outbox, Received, Role, Socket, Time, Transmit,
};
use farlan_netconf::Seconds;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::{
    beacon::BeaconSockets,
    cards::{CUT_PER_READ, Cards, FRAMES_PER_READ},
    clock::{Clock, time_of_day},
    poller::{Poller, Ready, Waker},
    scheduling::ask_for_short_turns,
    streams::{Source, Streams},
    udp::{AttachedUnderlay, Underlay},
};

pub use counters::ShellCounters;
pub use requests::{Request, Snapshot};

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
            let is_supernode = config.role == Role::Supernode;
            let mut engine = Engine::new(config, Box::new(random));
            if is_supernode {
                // It tells its nodes, and is told whenever the clock was set; a node's daemon sees to the time itself.
                engine.set_wall_clock(Time::ZERO, time_of_day(), Seconds::default());
            }
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
    /// The longest turn since a snapshot was taken, its chores included and its wait not.
    longest_turn: Duration,
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
            longest_turn: Duration::ZERO,
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
            let begun = self.now();
            if let Some(reply) = self.turn() {
                self.shutdown();
                // Nobody waiting is no reason not to end.
                let _ = reply.map(|reply| reply.send(()));
                return;
            }
            self.chores(self.now());
            now = self.now();
            self.longest_turn = self.longest_turn.max(now.since(begun));
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

/// Requests that may wait.
const REQUESTS: usize = 64;

/// Events that may wait: a peer coming and going is two, and a network of 128 members may come at once.
const EVENTS: usize = 4096;

#[cfg(test)]
mod tests;
