//! Streams: the way to a supernode over TCP, where UDP is blocked or starved.
//!
//! Nothing here knows TCP. A stream is opened and closed by the shell on request ([`Outbox::opens`], [`Outbox::closed`]),
//! and while it is in use, the path to its supernode is the leg that it makes; everything that goes to or over the supernode
//! follows the path. The steps:
//!
//! 1. [`Engine::tend_stream`] opens a stream when the supernode does not answer, or loses most of what it is asked.
//! 2. A handshake then goes both ways, and the first answer counts; a session that stands moves by the supernode's challenge
//!    ([`Engine::challenged`]).
//! 3. While the stream is in use, UDP is tried again ([`Trial`]), and the registration moves back.

mod table;
mod trial;

use std::{net::SocketAddr, time::Duration};

use farlan_crypto::{TAG, defects::planted};
use tracing::{debug, info};

pub(crate) use table::Streams;
use trial::{ENOUGH_TO_RETURN, ENOUGH_TO_STAY, SCOUTED, Trial, Verdict};

use crate::{
    Engine, Leg, Outbox, Role, Socket, Time,
    content::Content,
    handshakes::Via,
    peers::{Path, PeerId},
    wire::{
        control::{Control, PADDING, messages},
        datagram::{DATA_HEADER, Datagram},
        sealed::Sealed,
    },
};

/// A supernode that has not answered for so long is tried over a stream as well: the first handshake message was repeated
/// once.
const OPEN_AFTER: Duration = Duration::from_millis(1200);

/// So many signs of life under way without an answer are taken for the same.
const SIGNS_MISSED: u32 = 3;

/// A connection that is not made within this time is given up for the next address.
const CONNECT: Duration = Duration::from_secs(1);

/// Pauses after no address took a connection, the last one repeated.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
];

/// A stream that served so long is made anew at once when it ends.
const SERVED: Duration = Duration::from_secs(10);

/// An open stream over which no handshake was answered within this time is given up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A stream that is out of use is kept for so long: UDP may fail at once.
const GRACE: Duration = Duration::from_secs(10);

/// Streams that a node has at one time.
const MOST_STREAMS: usize = 8;

/// A ping that is to be challenged is sent again after this time, and so often in all.
const MOVE_RETRY: Duration = Duration::from_secs(1);
const MOVE_TRIES: u32 = 3;

/// When UDP is tried after the way went over to a stream: at first, then, and then if it failed soon after the last return.
const FIRST_TRIAL: Duration = Duration::from_secs(5);
const TRIAL_PAUSE: Duration = Duration::from_secs(15);
const TRIAL_PAUSE_LONG: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(300);

/// While registered over UDP, it is measured this often at the most.
const MEASURED_FOR: Duration = Duration::from_secs(30);

/// The IP packets of a measurement: what every path carries, and large enough for all that is not tried before.
const PROBE_SIZE: usize = 1280;

/// A supernode's streams.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The supernode's TCP endpoints.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Which of them is tried next.
    next: usize,
    state: State,
    /// None is opened before.
    again: Time,
    /// How often in a row no address took a connection.
    failures: usize,
    /// The one in use has ended.
    broken: bool,
    /// UDP loses most of what is sent.
    starved: bool,
    /// What has yet to be done about one that is open since.
    fresh: bool,
    moving: Option<Moving>,
    trial: Option<Trial>,
    next_trial: Time,
    /// When UDP was last measured while it was in use.
    measured: Option<Time>,
    /// When the registration last went back to UDP.
    returned: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Opening {
        number: u32,
        since: Time,
    },
    Open {
        number: u32,
        address: SocketAddr,
        in_use: bool,
        /// Since it is in use; while it is not, until when it is kept.
        at: Time,
    },
}

/// A registration on its way to another leg.
#[derive(Clone, Copy, Debug)]
struct Moving {
    to: Leg,
    tries: u32,
    sent: Time,
}

impl Stream {
    /// Whether the way to the supernode leads over a stream; then the leg.
    pub(crate) fn leg_in_use(&self) -> Option<Leg> {
        self.open_leg().filter(|_| self.is_in_use())
    }

    /// The leg of an open stream that is not in use (yet).
    pub(crate) fn spare_leg(&self) -> Option<Leg> {
        self.open_leg().filter(|_| !self.is_in_use())
    }

    fn open_leg(&self) -> Option<Leg> {
        match self.state {
            State::Open { number, address, .. } => Some(Leg {
                socket: Socket::Stream(number),
                endpoint: address,
            }),
            State::Closed | State::Opening { .. } => None,
        }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self.state, State::Open { in_use: true, .. })
    }

    /// Whether a leg is that of the open stream.
    pub(crate) fn is_at(&self, leg: Leg) -> bool {
        self.open_leg().is_some_and(|open| open.socket == leg.socket)
    }

    fn number(&self) -> Option<u32> {
        match self.state {
            State::Closed => None,
            State::Opening { number, .. } | State::Open { number, .. } => Some(number),
        }
    }

    /// UDP is to be tried as soon as possible: this machine is elsewhere.
    pub(crate) fn try_udp_now(&mut self, now: Time) {
        self.next_trial = now;
        self.again = now;
    }

    /// When there is something to do, apart from what the supernode's silence makes.
    fn deadline(&self) -> Option<Time> {
        let state = match self.state {
            State::Closed => None,
            State::Opening { since, .. } => Some(since + CONNECT),
            State::Open { .. } if self.fresh => Some(Time::ZERO),
            State::Open { in_use: false, at, .. } => Some(at),
            State::Open { in_use: true, .. } => {
                let idle = self.trial.is_none() && self.moving.is_none();
                idle.then_some(self.next_trial)
            }
        };
        let moving = self.moving.map(|moving| moving.sent + MOVE_RETRY);
        let trial = self.trial.as_ref().map(Trial::deadline);
        [state, moving, trial].into_iter().flatten().min()
    }
}

/// Why the way to a supernode goes over a stream.
const NO_ANSWER: &str = "no answer over UDP, which may be blocked";
const LOSSY: &str = "most datagrams are lost over UDP";
const ENDED: &str = "the stream before has ended";

impl Engine {
    /// A stream stands: one that [`Outbox::opens`] asked for, or one that this supernode accepted, under a number of the
    /// caller's. What it leads to comes with the next timeout.
    pub fn stream_opened(&mut self, now: Time, number: u32) {
        if self.role == Role::Supernode {
            self.streams.accept(now, number);
            return;
        }
        let Some(id) = self.owner_of(number) else {
            self.streams.closes.push(number);
            return;
        };
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            let stream = &mut registration.stream;
            if let (State::Opening { .. }, Some(address)) = (stream.state, stream.addresses.get(stream.next).copied()) {
                stream.state = State::Open {
                    number,
                    address,
                    in_use: false,
                    at: now + ANSWERED_WITHIN,
                };
                stream.fresh = true;
            }
        }
        self.arm(id);
    }

    /// A stream could not be made, or has ended.
    pub fn stream_closed(&mut self, now: Time, number: u32) {
        self.streams.forget(number);
        if let Some(id) = self.owner_of(number) {
            self.stream_failed(now, id, false);
        }
    }

    fn owner_of(&self, number: u32) -> Option<PeerId> {
        let mut registrations = self.directory.registrations.iter();
        registrations
            .find(|(_, registration)| registration.stream.number() == Some(number))
            .map(|(id, _)| *id)
    }

    /// When there is something to do about the stream to a supernode.
    pub(crate) fn stream_deadline(&self, id: PeerId) -> Option<Time> {
        let stream = &self.directory.registrations.get(&id)?.stream;
        let trouble = match stream.state {
            State::Closed if !stream.addresses.is_empty() => self.trouble(id),
            _ => None,
        };
        let opened = trouble.map(|(at, _)| at.max(stream.again));
        opened.into_iter().chain(stream.deadline()).min()
    }

    /// Since when a supernode that is to be reached by itself is better reached over a stream, or from when on, and why.
    fn trouble(&self, id: PeerId) -> Option<(Time, &'static str)> {
        let registration = self.directory.registrations.get(&id)?;
        let needed = self.directory.worlds.values().any(|known| known.homes.wants(id));
        if !registration.wanted || !needed || registration.way.through {
            return None;
        }
        let stream = &registration.stream;
        if stream.broken {
            return Some((Time::ZERO, ENDED));
        }
        if stream.starved {
            return Some((Time::ZERO, LOSSY));
        }
        if registration.index.is_none() {
            return registration.missed.map(|missed| (missed + OPEN_AFTER, NO_ANSWER));
        }
        let unanswered = registration.unanswered?;
        unanswered.misses(SIGNS_MISSED).then_some((Time::ZERO, NO_ANSWER))
    }

    /// Opens, uses, leaves and closes the stream to a supernode.
    pub(crate) fn tend_stream(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get(&id) else {
            return;
        };
        if registration.stream.addresses.is_empty() && registration.stream.state == State::Closed {
            return;
        }
        let unwanted = !registration.wanted || registration.way.through;
        if unwanted {
            return self.end_stream(id);
        }
        let trouble = self.trouble(id).filter(|(at, _)| *at <= now).map(|(_, why)| why);
        let session = self.peers.get(id).is_some_and(|peer| peer.sessions.current().is_some());
        let stream = &registration.stream;
        match stream.state {
            State::Closed if trouble.is_some() && stream.again <= now => self.open_stream(now, id),
            State::Closed => self.measure_udp(now, id),
            State::Opening { since, .. } if now.since(since) >= CONNECT => self.stream_failed(now, id, true),
            State::Opening { .. } => {}
            State::Open { in_use: false, at, .. } => {
                let fresh = stream.fresh;
                let leg = stream.open_leg();
                if now >= at && (!session || stream.moving.is_some()) {
                    self.stream_failed(now, id, true);
                } else if now >= at {
                    debug!(supernode = %self.name(id), "the stream is of no use any more");
                    self.end_stream(id);
                } else if let (Some(leg), true, Some(_), None) = (leg, session, trouble, stream.moving) {
                    self.begin_move(now, id, leg, out);
                } else if fresh && !session {
                    self.send_initiation(now, id, out);
                }
            }
            State::Open { in_use: true, .. } => {
                if stream.trial.is_none() && stream.moving.is_none() && stream.next_trial <= now {
                    self.begin_trial(now, id);
                }
            }
        }
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.stream.fresh = false;
        }
        self.tend_move(now, id, out);
        self.tend_trial(now, id, out);
    }

    fn open_stream(&mut self, now: Time, id: PeerId) {
        let open = self.directory.registrations.values();
        let open = open.filter(|registration| registration.stream.state != State::Closed);
        let full = open.count() >= MOST_STREAMS;
        let number = self.streams.last.wrapping_add(1);
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        if full {
            stream.again = now + CONNECT;
            self.counters.streams_refused += 1;
            return;
        }
        stream.next %= stream.addresses.len().max(1);
        let Some(address) = stream.addresses.get(stream.next).copied() else {
            return;
        };
        stream.state = State::Opening { number, since: now };
        self.streams.last = number;
        self.streams.opens.push((number, address));
        debug!(supernode = %self.name(id), %address, "opening a stream");
    }

    /// The stream was not made, is silent or has ended; `close` if the caller has yet to end it.
    fn stream_failed(&mut self, now: Time, id: PeerId, close: bool) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        if let Some(number) = stream.number().filter(|_| close) {
            self.streams.closes.push(number);
        }
        let before = std::mem::take(&mut stream.state);
        stream.moving = None;
        stream.trial = None;
        stream.fresh = false;
        match before {
            State::Open { in_use: true, at, .. } => {
                stream.broken = true;
                let served = now.since(at) >= SERVED;
                stream.again = if served { now } else { now + AGAIN[0] };
                // UDP may work by now.
                registration.keepalive = now;
                self.directory.changed = true;
                info!(supernode = %self.name(id), "the stream has ended");
            }
            State::Closed => return,
            State::Opening { .. } | State::Open { .. } => {
                stream.next += 1;
                stream.again = now;
                if stream.next >= stream.addresses.len() {
                    stream.next = 0;
                    stream.starved = false;
                    let pause = AGAIN.get(stream.failures).or(AGAIN.last()).copied();
                    stream.again = now + pause.unwrap_or_default();
                    stream.failures += 1;
                }
            }
        }
        self.point(id);
        self.arm(id);
    }

    /// Closes the stream to a supernode.
    pub(crate) fn end_stream(&mut self, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        let in_use = stream.is_in_use();
        self.streams.closes.extend(stream.number());
        *stream = Stream {
            addresses: std::mem::take(&mut stream.addresses),
            returned: stream.returned,
            ..Stream::default()
        };
        if in_use {
            self.point(id);
        }
    }

    /// The supernode is silent: both ways begin anew.
    pub(crate) fn stream_silent(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        stream.moving = None;
        stream.trial = None;
        stream.starved = false;
        if let State::Open { in_use, at, .. } = &mut stream.state
            && *in_use
        {
            *in_use = false;
            *at = now + ANSWERED_WITHIN;
            self.point(id);
        }
    }

    /// The way to a supernode leads over its open stream from now on.
    fn use_stream(&mut self, now: Time, id: PeerId) {
        let why = self.trouble(id).map_or(NO_ANSWER, |(_, why)| why);
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        let State::Open {
            in_use, at, address, ..
        } = &mut stream.state
        else {
            return;
        };
        let address = *address;
        if std::mem::replace(in_use, true) {
            return;
        }
        (*at, stream.failures) = (now, 0);
        (stream.starved, stream.broken) = (false, false);
        (stream.moving, stream.trial) = (None, None);
        let flaps = stream.returned.is_some_and(|returned| now.since(returned) < SOON);
        stream.next_trial = now + if flaps { TRIAL_PAUSE_LONG } else { FIRST_TRIAL };
        info!(supernode = %self.name(id), %address, reason = why, "the way to the supernode leads over TCP");
        self.way_changed(id);
    }

    /// The way to a supernode leads over UDP again.
    fn leave_stream(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        (stream.moving, stream.trial) = (None, None);
        (stream.starved, stream.broken) = (false, false);
        if let State::Open { in_use, at, .. } = &mut stream.state
            && std::mem::replace(in_use, false)
        {
            *at = now + GRACE;
            stream.returned = Some(now);
            info!(supernode = %self.name(id), "the way to the supernode leads over UDP again");
            self.way_changed(id);
        }
    }

    /// The path to a supernode is another: what was measured and waited for on the one before says nothing of it.
    fn way_changed(&mut self, id: PeerId) {
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.unanswered = None;
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.rtt = None;
        }
        self.directory.changed = true;
        self.point(id);
        self.arm(id);
    }

    /// Message 2 of a supernode came by a leg, or its challenge was answered there: that is the way.
    pub(crate) fn leg_proved(&mut self, now: Time, id: PeerId, leg: Leg) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if !leg.is_stream() {
            registration.use_address(leg.endpoint);
            self.leave_stream(now, id);
        } else if registration.stream.is_at(leg) {
            self.use_stream(now, id);
        }
    }

    /// Begins to move a registration that stands, by asking for a challenge.
    fn begin_move(&mut self, now: Time, id: PeerId, to: Leg, out: &mut Outbox) {
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.stream.moving = Some(Moving {
                to,
                tries: 1,
                sent: now,
            });
            self.ask_for_challenge(now, id, to, out);
        }
    }

    fn ask_for_challenge(&mut self, now: Time, id: PeerId, to: Leg, out: &mut Outbox) {
        let token = self.random_u64();
        let message = &[Control::Ping { token }];
        self.send_along(now, id, (Path::Direct(to), None), Content::Control(message), out);
    }

    fn tend_move(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        let Some(moving) = stream
            .moving
            .as_mut()
            .filter(|moving| now.since(moving.sent) >= MOVE_RETRY)
        else {
            return;
        };
        let to = moving.to;
        if moving.tries < MOVE_TRIES {
            moving.tries += 1;
            moving.sent = now;
            self.ask_for_challenge(now, id, to, out);
        } else if to.is_stream() {
            self.stream_failed(now, id, true);
        } else {
            stream.moving = None;
            stream.next_trial = now + TRIAL_PAUSE;
        }
    }

    /// A supernode asks this node to show that it is where something of it came from. What came another way than data takes
    /// is answered if the registration is to move there.
    pub(crate) fn challenged(&mut self, now: Time, id: PeerId, via: Via, nonce: u64, out: &mut Outbox) {
        let stream = self
            .directory
            .registrations
            .get(&id)
            .map(|registration| &registration.stream);
        let answer = &[Control::Answer { nonce }];
        if let (Via::Direct(leg), Some(stream)) = (via, stream)
            && leg.is_stream() != stream.is_in_use()
        {
            if stream.moving.is_none_or(|moving| moving.to != leg) {
                return;
            }
            // What follows is refused until this is there.
            let copies = if leg.is_stream() { 1 } else { 2 };
            for _ in 0..copies {
                self.send_along(now, id, (via.path(), None), Content::Control(answer), out);
            }
            self.leg_proved(now, id, leg);
            // Shows that it is so, and measures it.
            self.send_keepalive(now, id, None, true, out);
            return;
        }
        self.send_control(now, id, None, answer, out);
    }

    /// Has UDP measured, if a sign of life had to be repeated.
    fn measure_udp(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let repeated = registration.unanswered.is_some_and(|unanswered| unanswered.misses(2));
        let address = registration.in_use();
        let stream = &mut registration.stream;
        let lately = stream.measured.is_some_and(|at| now.since(at) < MEASURED_FOR);
        if let Some(address) = address
            && repeated
            && !lately
            && stream.trial.is_none()
            && registration.index.is_some()
        {
            stream.measured = Some(now);
            stream.trial = Some(Trial::of(vec![address], now, true, ENOUGH_TO_STAY));
        }
    }

    /// Begins to try UDP from a stream.
    fn begin_trial(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if planted("stream-never-left") {
            registration.stream.next_trial = now + TRIAL_PAUSE_LONG;
            return;
        }
        let endpoints = registration.scouted(SCOUTED);
        let stream = &mut registration.stream;
        let flaps = stream.returned.is_some_and(|returned| now.since(returned) < SOON);
        stream.next_trial = now + if flaps { TRIAL_PAUSE_LONG } else { TRIAL_PAUSE };
        if !endpoints.is_empty() {
            stream.trial = Some(Trial::of(endpoints, now, false, ENOUGH_TO_RETURN));
        }
    }

    fn tend_trial(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let stream = &mut registration.stream;
        let in_use = stream.is_in_use();
        let Some(trial) = &mut stream.trial else { return };
        match trial.verdict(now) {
            Verdict::Open if now >= trial.deadline() => {
                trial.sent += 1;
                let endpoints = trial.endpoints.clone();
                for endpoint in endpoints {
                    self.probe_way(now, id, endpoint, out);
                }
            }
            Verdict::Open => {}
            Verdict::Works(endpoint) => {
                stream.trial = None;
                if in_use {
                    self.begin_move(now, id, endpoint.into(), out);
                }
            }
            verdict @ (Verdict::Silent | Verdict::Failed) => {
                stream.trial = None;
                stream.starved |= !in_use;
                if in_use && verdict == Verdict::Silent {
                    // Nobody is reached where the supernode saw this node before.
                    self.seen_nowhere(id);
                }
            }
        }
        self.arm(id);
    }

    fn probe_way(&mut self, now: Time, id: PeerId, endpoint: SocketAddr, out: &mut Outbox) {
        let token = self.random_u64();
        let path = Path::Direct(endpoint.into());
        let Some(envelope) = self.envelope(path) else { return };
        let registration = self.directory.registrations.get_mut(&id);
        let Some(trial) = registration.and_then(|registration| registration.stream.trial.as_mut()) else {
            return;
        };
        trial.waiting.push((token, endpoint));
        // Those that go into the blue for days are short.
        let packet = if trial.measuring { PROBE_SIZE } else { 0 };
        let length = packet
            .saturating_sub(envelope.overhead() + DATA_HEADER + TAG)
            .max(PADDING);
        let message = &Control::WayProbe { token };
        self.send_along(now, id, (path, None), Content::Padded { message, length }, out);
    }

    /// A supernode answered a probe.
    pub(crate) fn way_answer_told(&mut self, now: Time, id: PeerId, via: Via, (token, observed): (u64, SocketAddr)) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        let Some(trial) = &mut registration.stream.trial else {
            return;
        };
        let asked = |(known, endpoint): &(u64, SocketAddr)| *known == token && via == Via::Direct(Leg::from(*endpoint));
        let Some(position) = trial.waiting.iter().position(asked) else {
            return;
        };
        let (_, endpoint) = trial.waiting.swap_remove(position);
        if trial.measuring {
            trial.answered += 1;
        } else {
            *trial = Trial::of(vec![endpoint], now, true, ENOUGH_TO_RETURN);
        }
        self.observed_told(now, id, observed);
        self.arm(id);
    }

    /// Answers the probe in a message, if it is one, by the way it came and in no more bytes. Returns whether it was one. Nobody
    /// has proved to be where it came from, so that no more than a few of one node are answered.
    pub(crate) fn way_probed(&mut self, now: Time, id: PeerId, via: Via, message: &[u8], out: &mut Outbox) -> bool {
        let Some(token) = probe_in(message) else {
            return false;
        };
        if !self.anchor.may_probe(now, id) {
            self.counters.way_probes_limited += 1;
            return true;
        }
        let length = message.len();
        let observed = observed_by(via.path());
        let message = &Control::WayAnswer { token, observed };
        self.send_along(now, id, (via.path(), None), Content::Padded { message, length }, out);
        true
    }

    /// Whether what came by a stream is what may come by one: what the supernode at its other end sealed, or what it passes
    /// on. Anything else would make it part of the way to others.
    pub(crate) fn may_come_by(&self, leg: Leg, datagram: &Datagram<'_>) -> bool {
        let Socket::Stream(number) = leg.socket else {
            return true;
        };
        if planted("stream-taken-for-direct") {
            return true;
        }
        let Some(owner) = self.owner_of(number) else {
            return false;
        };
        match datagram {
            Datagram::Initiation { .. } => false,
            Datagram::Response { receiver, .. }
            | Datagram::Cookie { receiver, .. }
            | Datagram::Data { receiver, .. } => self.peers.by_session(*receiver) == Some(owner),
            _ => true,
        }
    }
}

/// Where a node is seen that is reached by a path: the endpoint of a stream is none at which others reach it.
pub(crate) fn observed_by(path: Path) -> SocketAddr {
    match path {
        Path::Direct(leg) if !leg.is_stream() || planted("stream-told-as-candidate") => leg.endpoint,
        _ => SocketAddr::from(([0, 0, 0, 0], 0)),
    }
}

/// The token of a probe that a message consists of.
pub(crate) fn probe_in(message: &[u8]) -> Option<u64> {
    let Ok(Sealed::Control(body)) = Sealed::parse(message) else {
        return None;
    };
    match messages(body).next() {
        Some(Ok(Some(Control::WayProbe { token }))) if message.len() >= PADDING => Some(token),
        _ => None,
    }
}
