//! How the NAT between this node and the Internet behaves: what its mappings and its filter go by (RFC 4787 §4 and §5),
//! and how it picks ports.
//!
//! The node asks its supernodes where they see it (`look` and `seen`), from its main socket and from extra ones, and
//! compares. A run takes [`MAX_PACKETS`] datagrams at the most. It is made when this node has come to its supernodes, and
//! again when its endpoints change.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::TAG;
use tracing::debug;

use crate::{
    Engine, Leg, Outbox, Role, Socket, Time,
    classes::classes,
    content::Content,
    direct::OPENING_TTL,
    handshakes::Via,
    peers::{Path, PeerId},
    sockets::Purpose,
    wire::{
        control::{Control, FROM_SECOND, PADDING, WITH_SHOW, messages},
        datagram::{SessionIndex, put_data},
        sealed::Sealed,
    },
};

classes! {
    /// By what a NAT chooses the outside port of a socket (RFC 4787 §4.1).
    Mapping {
        /// Not known (yet).
        Unknown = 0 "unknown",
        /// By nothing else: all the world sees one port. So it is without a NAT, too.
        Independent = 1 "independent",
        /// By the far address.
        AddressDependent = 2 "address dependent",
        /// By the far address and port.
        PortDependent = 3 "port dependent",
        /// By the far address at least; whether by the port, too, nobody could tell.
        Dependent = 4 "dependent",
    }
}

classes! {
    /// By what a NAT or firewall lets a datagram in to a port that is in use (RFC 4787 §5).
    Filtering {
        /// Not known (yet).
        Unknown = 0 "unknown",
        /// By the far address at the most.
        NotByPort = 1 "not by port",
        /// By the far address and port: it lets in only what comes from where something went.
        ByPort = 2 "by port",
    }
}

/// How a NAT picks the outside ports of new mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// Not known (yet).
    #[default]
    Unknown,
    /// The outside port is the inside one.
    Kept,
    /// It is another, and the same for everybody.
    Changed,
    /// One after the other.
    Sequential {
        /// From one to the next; never 0.
        stride: i8,
    },
    /// In no order that was recognised.
    Random,
}

/// How the NAT between this node and the Internet behaves, as far as this node's supernodes could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether there is one: whether supernodes see another address or port than this machine's.
    pub translated: Option<bool>,
    /// What its mappings go by.
    pub mapping: Mapping,
    /// What its filter goes by.
    pub filtering: Filtering,
    /// How it picks ports.
    pub ports: Ports,
    /// Whether a datagram from behind it to an outside endpoint of its own comes back in.
    pub hairpin: Option<bool>,
}

impl Mapping {
    /// Whether different far ends may see different ports.
    pub fn is_dependent(self) -> bool {
        matches!(self, Self::AddressDependent | Self::PortDependent | Self::Dependent)
    }
}

/// Datagrams of one run at the most.
pub(crate) const MAX_PACKETS: usize = 20;

/// How often one question is asked that should be answered.
const TRIES: u8 = 3;

/// The same of one that a filter may keep from being answered, and of what may come back by a hairpin.
const DOUBTFUL_TRIES: u8 = 2;

/// Sockets whose ports are compared.
const SAMPLES: u8 = 5;

/// Ports that lie no further apart follow one another; in between are those of others behind the same NAT.
const STRIDE_MOST: i32 = 15;

/// A run begins so long after the last change, and no later than this after the first: supernodes answer one by one.
const SETTLED: Duration = Duration::from_millis(400);
const SETTLED_AT_LAST: Duration = Duration::from_secs(2);

/// Runs are at least this far apart, twice as far after each, up to the longest; and near again after that.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(640);

/// Patience with an answer: twice the round trip within these, and the first of them where it is not known.
const PATIENCE: Duration = Duration::from_millis(400);
const PATIENCE_MIN: Duration = Duration::from_millis(150);
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// What is known, and the run under way.
#[derive(Debug, Default)]
pub(crate) struct Detection {
    known: Behaviour,
    run: Option<Run>,
    /// When the first and the last change came that ask for a run.
    wanted: Option<(Time, Time)>,
    /// When the last run began, and the pause that has to follow it.
    last: Option<(Time, Duration)>,
    /// Whether that was about IPv6.
    ipv6: bool,
}

#[derive(Debug)]
struct Run {
    home: (PeerId, SocketAddr),
    other: Option<(PeerId, SocketAddr)>,
    /// The home's second port.
    second: Option<SocketAddr>,
    questions: Vec<Question>,
    packets: usize,
    /// Something was answered, from which nothing has been concluded yet.
    news: bool,
    /// A socket by which nothing went but to the home's first port.
    fresh: Option<Socket>,
    /// Whether all has been answered, or given up, that tells the mapping.
    mapping_asked: bool,
}

/// What is asked, each once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Where the home sees the main socket.
    Home,
    /// Where another supernode does.
    Other,
    /// Where the home's second port does.
    SecondPort,
    /// Where the home sees the fresh socket, then others.
    Sample(u8),
    /// Whether the fresh socket hears the home's second port, to which it sent nothing.
    Filter,
    /// Whether the main socket hears the fresh one by its outside endpoint, or the other way round.
    Hairpin,
}

#[derive(Debug)]
struct Question {
    ask: Ask,
    leg: Leg,
    token: u64,
    tries: u8,
    /// When it is asked again or given up.
    next: Time,
    answer: Option<SocketAddr>,
    over: bool,
}

impl Detection {
    /// The tokens of what supernodes are asked and have not answered.
    #[cfg(test)]
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        let asked = self.run.iter().flat_map(|run| &run.questions);
        let open = asked.filter(|asked| asked.ask != Ask::Hairpin && asked.answer.is_none());
        open.map(|asked| asked.token).collect()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let begin = self.wanted.map(|(first, last)| {
            let settled = (last + SETTLED).min(first + SETTLED_AT_LAST);
            self.last.map_or(settled, |(at, pause)| settled.max(at + pause))
        });
        match &self.run {
            Some(run) if run.news => Some(Time::ZERO),
            Some(run) => run
                .questions
                .iter()
                .filter(|asked| !asked.over)
                .map(|asked| asked.next)
                .min(),
            None => begin,
        }
    }

    /// Somebody wants it found out anew: as soon as the last run is [`PAUSE`] past.
    pub(crate) fn want_again(&mut self, now: Time) {
        self.last = self.last.map(|(at, _)| (at, PAUSE));
        if self.run.is_none() && self.last.is_none_or(|(at, _)| now.since(at) >= PAUSE) {
            self.want(now, false);
        }
    }

    /// Whether it is being found out, or is about to be.
    pub(crate) fn is_under_way(&self) -> bool {
        self.run.is_some() || self.wanted.is_some()
    }

    /// Whether more may soon be known of the mapping.
    pub(crate) fn asks_mapping(&self) -> bool {
        match &self.run {
            Some(run) => !run.mapping_asked,
            None => self.wanted.is_some(),
        }
    }

    /// Something changed by which the NAT may be another; `elsewhere` if it must be.
    pub(crate) fn want(&mut self, now: Time, elsewhere: bool) {
        let (first, _) = self.wanted.unwrap_or((now, now));
        self.wanted = Some((first, now));
        if elsewhere {
            self.known = Behaviour::default();
        }
    }
}

impl Run {
    fn answer(&self, ask: Ask) -> Option<SocketAddr> {
        self.questions.iter().find(|asked| asked.ask == ask)?.answer
    }

    /// Whether something was asked, and answered or given up.
    fn is_over(&self, ask: Ask) -> bool {
        self.questions.iter().any(|asked| asked.ask == ask && asked.over)
    }

    fn has(&self, ask: Ask) -> bool {
        self.questions.iter().any(|asked| asked.ask == ask)
    }

    /// Whether a supernode did not answer where it should have.
    fn is_lost(&self) -> bool {
        let unanswered = |ask| self.has(ask) && self.answer(ask).is_none();
        unanswered(Ask::Home) || unanswered(Ask::Other)
    }

    fn mapping(&self) -> Mapping {
        let home = self.answer(Ask::Home);
        let differs = |ask| Some(home? != self.answer(ask)?);
        match (differs(Ask::Other), differs(Ask::SecondPort)) {
            (_, Some(true)) => Mapping::PortDependent,
            (Some(true), Some(false)) => Mapping::AddressDependent,
            (Some(true), None) => Mapping::Dependent,
            (Some(false), _) => Mapping::Independent,
            (None, _) => Mapping::Unknown,
        }
    }

    fn filtering(&self) -> Filtering {
        // Silence tells something only where the second port is known to answer.
        let silent = self.is_over(Ask::Filter) && self.answer(Ask::SecondPort).is_some();
        match self.answer(Ask::Filter) {
            Some(_) => Filtering::NotByPort,
            None if silent => Filtering::ByPort,
            None => Filtering::Unknown,
        }
    }

    fn hairpin(&self) -> Option<bool> {
        self.is_over(Ask::Hairpin).then(|| self.answer(Ask::Hairpin).is_some())
    }

    /// How ports are picked where mappings are dependent.
    fn picked(&self) -> Ports {
        let samples: Vec<i32> = (0..=SAMPLES)
            .filter_map(|number| Some(i32::from(self.answer(Ask::Sample(number))?.port())))
            .collect();
        picked(&samples)
    }
}

/// The rule by which a NAT picked these ports one after the other.
fn picked(samples: &[i32]) -> Ports {
    let steps: Vec<i32> = samples
        .iter()
        .zip(samples.iter().skip(1))
        .map(|(one, next)| next - one)
        .collect();
    if steps.len() < 2 {
        return Ports::Unknown;
    }
    let small = |sign: i32| {
        steps
            .iter()
            .filter(move |step| (1..=STRIDE_MOST).contains(&(**step * sign)))
    };
    // Where the ports begin anew there is one large step.
    for sign in [1, -1] {
        if small(sign).count() + usize::from(steps.len() > 2) >= steps.len() {
            let stride = small(sign).min_by_key(|step| step.abs());
            if let Some(stride) = stride.and_then(|stride| i8::try_from(*stride).ok()) {
                return Ports::Sequential { stride };
            }
        }
    }
    Ports::Random
}

impl Engine {
    /// How the NAT between this node and the Internet behaves, as far as is known.
    pub fn behaviour(&self) -> Behaviour {
        let mut known = self.detection.known;
        if known.mapping == Mapping::Unknown {
            // NATs are for IPv4.
            known.mapping = self.presumed_mapping(!self.traversal.is_seen_by_ipv4());
        }
        known
    }

    /// What is known of IPv6 where [`Self::behaviour`] is of IPv4: nothing is asked for it.
    pub(crate) fn behaviour_by_ipv6(&self) -> Option<Behaviour> {
        let seen = self.traversal.observed().map(|(_, endpoint)| endpoint);
        let seen: Vec<SocketAddr> = seen.filter(SocketAddr::is_ipv6).collect();
        if seen.is_empty() || !self.traversal.is_seen_by_ipv4() {
            return None;
        }
        let own = self.traversal.local();
        let translated = seen.iter().any(|endpoint| !own.contains(endpoint));
        Some(Behaviour {
            translated: Some(translated).filter(|_| !own.is_empty()),
            mapping: if translated {
                self.presumed_mapping(true)
            } else {
                Mapping::Independent
            },
            ..Behaviour::default()
        })
    }

    /// What the endpoints at which supernodes see this node by a family tell before anything was asked.
    fn presumed_mapping(&self, ipv6: bool) -> Mapping {
        let seen = self.traversal.observed().filter(|(_, at)| at.is_ipv6() == ipv6);
        let seen = seen.filter_map(|(id, endpoint)| Some((self.way_of_family(id, ipv6)?.ip(), endpoint)));
        let seen: Vec<(IpAddr, SocketAddr)> = seen.collect();
        let mut pairs = seen
            .iter()
            .flat_map(|one| seen.iter().map(move |other| (one, other)))
            .filter(|((one, _), (other, _))| one != other);
        match pairs.next() {
            None => Mapping::Unknown,
            Some(((_, one), (_, other))) if one != other => Mapping::Dependent,
            Some(_) if pairs.any(|((_, one), (_, other))| one != other) => Mapping::Dependent,
            Some(_) => Mapping::Independent,
        }
    }

    /// Tells the port of this supernode's second socket, [`Socket::Extra`]`(0)`, if it has one.
    pub fn set_second_port(&mut self, port: Option<u16>) {
        self.anchor.second_port = port;
    }

    /// Asks what is to be asked now, and draws the conclusions.
    pub(crate) fn tend_detection(&mut self, now: Time, out: &mut Outbox) {
        if self.detection.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.role != Role::Node {
            self.detection = Detection::default();
            return;
        }
        if self.detection.run.is_none() {
            self.begin_detection(now);
        }
        self.ask_on(now, out);
    }

    fn begin_detection(&mut self, now: Time) {
        // NATs are for IPv4; where there is none, what filters IPv6 is of interest.
        let of_family = |ipv6: bool| {
            let way = |id: PeerId| Some((id, self.way_of_family(id, ipv6)?));
            self.directory.homes().filter_map(way).collect()
        };
        let mut seen: Vec<(PeerId, SocketAddr)> = of_family(false);
        if seen.is_empty() {
            seen = of_family(true);
        }
        let Some(home) = seen.first().copied() else {
            // Whoever registers this node asks for a run again.
            self.detection.wanted = None;
            return;
        };
        let other = seen.iter().find(|(_, at)| at.ip() != home.1.ip()).copied();
        let ipv6 = home.1.is_ipv6();
        if std::mem::replace(&mut self.detection.ipv6, ipv6) != ipv6 {
            self.detection.known = Behaviour::default();
        }
        let pause = match self.detection.last {
            Some((at, pause)) if now.since(at) < LONGEST_PAUSE => (pause * 2).min(LONGEST_PAUSE),
            _ => PAUSE,
        };
        self.detection.wanted = None;
        self.detection.last = Some((now, pause));
        let fresh = self.sockets.open(Purpose::Look);
        self.detection.run = Some(Run {
            home,
            other,
            second: None,
            questions: Vec::new(),
            packets: 0,
            news: false,
            fresh,
            mapping_asked: false,
        });
        self.add_question(now, Ask::Home, Leg::from(home.1));
        if let Some((_, at)) = other {
            self.add_question(now, Ask::Other, Leg::from(at));
        }
        if let Some(socket) = fresh {
            let endpoint = home.1;
            self.add_question(now, Ask::Sample(0), Leg { socket, endpoint });
        }
    }

    fn add_question(&mut self, now: Time, ask: Ask, leg: Leg) {
        let token = self.random_u64();
        if let Some(run) = &mut self.detection.run
            && !run.has(ask)
        {
            run.questions.push(Question {
                ask,
                leg,
                token,
                tries: 0,
                next: now,
                answer: None,
                over: false,
            });
        }
    }

    /// Asks what is due, notes what was learned, and ends the run when there is nothing more to ask.
    fn ask_on(&mut self, now: Time, out: &mut Outbox) {
        self.conclude(now);
        let Some(run) = &mut self.detection.run else { return };
        let rtt = self.peers.get(run.home.0).and_then(|peer| peer.rtt);
        let patience = rtt.map_or(PATIENCE, |rtt| (rtt * 2).clamp(PATIENCE_MIN, PATIENCE_MAX));
        let mut due = Vec::new();
        for asked in run
            .questions
            .iter_mut()
            .filter(|asked| !asked.over && asked.next <= now)
        {
            let tries = match asked.ask {
                Ask::Filter | Ask::Hairpin => DOUBTFUL_TRIES,
                _ => TRIES,
            };
            if asked.tries >= tries || run.packets >= MAX_PACKETS {
                asked.over = true;
                continue;
            }
            asked.tries += 1;
            asked.next = now + patience;
            run.packets += 1;
            due.push((asked.ask, asked.leg, asked.token));
        }
        for (ask, leg, token) in due {
            match ask {
                Ask::Hairpin => self.look_in_the_mirror(token, out),
                _ => self.look(now, (ask, leg), token, out),
            }
        }
        self.conclude(now);
    }

    fn look(&mut self, now: Time, (ask, leg): (Ask, Leg), token: u64, out: &mut Outbox) {
        let Some(run) = &self.detection.run else { return };
        let id = match (ask, run.other) {
            (Ask::Other, Some((other, _))) => other,
            _ => run.home.0,
        };
        let flags = if ask == Ask::Filter { FROM_SECOND } else { 0 };
        let content = Content::Control(&[Control::Look { token, flags }]);
        self.send_along(now, id, (Path::Direct(leg), None), content, out);
    }

    /// Sends this node's main socket and the fresh one a datagram each, to their outside endpoints. They lead nowhere but
    /// to this node's own NAT.
    fn look_in_the_mirror(&mut self, token: u64, out: &mut Outbox) {
        let Some(run) = &mut self.detection.run else { return };
        let ends = (run.fresh, run.answer(Ask::Home), run.answer(Ask::Sample(0)));
        let (Some(fresh), Some(main_seen), Some(fresh_seen)) = ends else {
            return;
        };
        run.packets += 1;
        for (socket, endpoint) in [(Socket::Main, fresh_seen), (fresh, main_seen)] {
            let transmit = crate::Transmit {
                ttl: Some(OPENING_TTL),
                ..Leg { socket, endpoint }.into()
            };
            out.datagrams.write(transmit, |bytes| {
                put_data(bytes, SessionIndex(mirror_index(token)), token);
                bytes.extend_from_slice(&[0; TAG]);
            });
        }
    }

    /// A datagram for a session that does not exist: it may be the one that this node sent itself. Whether it is.
    pub(crate) fn mirrored(&mut self, leg: Leg, index: SessionIndex, token: u64) -> bool {
        let Some(run) = &mut self.detection.run else {
            return false;
        };
        let is = |asked: &&mut Question| asked.ask == Ask::Hairpin && asked.token == token && !asked.over;
        let Some(asked) = run.questions.iter_mut().find(is) else {
            return false;
        };
        if index.0 != mirror_index(token) {
            return false;
        }
        asked.answer = Some(leg.endpoint);
        asked.over = true;
        run.news = true;
        true
    }

    /// A supernode says where it saw this node.
    pub(crate) fn seen_told(&mut self, id: PeerId, (token, endpoint, second): (u64, SocketAddr, u16)) {
        let Some(run) = &mut self.detection.run else { return };
        let (home, other) = (run.home, run.other);
        let waits = |asked: &&mut Question| asked.token == token && asked.ask != Ask::Hairpin;
        let Some(asked) = run.questions.iter_mut().find(waits) else {
            return;
        };
        let of = if asked.ask == Ask::Other {
            other.map(|(other, _)| other)
        } else {
            Some(home.0)
        };
        if of != Some(id) {
            return;
        }
        // Late is not never: what was given up counts as well.
        asked.answer = Some(endpoint);
        asked.over = true;
        if asked.ask == Ask::Home && second != 0 && second != home.1.port() {
            run.second = Some(SocketAddr::new(home.1.ip(), second));
        }
        run.news = true;
    }

    /// Notes what the answers so far tell, and asks what follows from them.
    fn conclude(&mut self, now: Time) {
        let Some(run) = &mut self.detection.run else { return };
        run.news = false;
        let before = self.detection.known;
        let own = self.traversal.local();
        let (mapping, home) = (run.mapping(), run.answer(Ask::Home));
        let mut known = before;
        if let Some(home) = home.filter(|_| !own.is_empty()) {
            known.translated = Some(!own.contains(&home));
        }
        // As long as a run is not over, what an earlier one found is better than nothing.
        if mapping != Mapping::Unknown {
            known.mapping = mapping;
        }
        match run.filtering() {
            Filtering::Unknown => {}
            filtering => known.filtering = filtering,
        }
        known.hairpin = run.hairpin().or(known.hairpin);
        known.ports = match (run.picked(), mapping.is_dependent(), home, own.first()) {
            (Ports::Unknown, true, ..) => known.ports,
            (picked, true, ..) => picked,
            (_, false, Some(home), Some(own)) if own.port() == home.port() => Ports::Kept,
            (_, false, Some(_), Some(_)) => Ports::Changed,
            _ => known.ports,
        };
        let (fresh, at) = (run.fresh, run.home.1);
        let second = run.second;
        // Where a supernode says to have seen the sockets something is sent: to no address but where this node is seen anyway.
        let seen_alike = home.zip(run.answer(Ask::Sample(0))).is_some_and(|(main, fresh)| {
            let mut observed = self.traversal.observed();
            main.ip() == fresh.ip() && observed.any(|(_, endpoint)| endpoint.ip() == main.ip())
        });
        let looked = run.answer(Ask::Sample(0)).is_some();
        let next_sample = (1..=SAMPLES).find(|number| !run.is_over(Ask::Sample(*number)));
        let sampling = run
            .questions
            .iter()
            .any(|asked| matches!(asked.ask, Ask::Sample(_)) && !asked.over);
        self.detection.known = known;
        if let Some(second) = second {
            self.add_question(now, Ask::SecondPort, Leg::from(second));
        }
        if let (Some(socket), true) = (fresh, looked) {
            if second.is_some() {
                self.add_question(now, Ask::Filter, Leg { socket, endpoint: at });
            }
            if !mapping.is_dependent() && seen_alike && known.translated != Some(false) {
                self.add_question(now, Ask::Hairpin, Leg { socket, endpoint: at });
            }
        }
        if mapping.is_dependent()
            && !sampling
            && let Some(number) = next_sample
            && let Some(socket) = self.sockets.open(Purpose::Look)
        {
            self.add_question(now, Ask::Sample(number), Leg { socket, endpoint: at });
        }
        let mut asked = false;
        let mut over = false;
        if let Some(run) = &mut self.detection.run {
            let of_mapping = |ask| matches!(ask, Ask::Home | Ask::Other | Ask::SecondPort);
            let open = run.questions.iter().any(|asked| of_mapping(asked.ask) && !asked.over);
            asked = !open && !std::mem::replace(&mut run.mapping_asked, !open);
            over = run.questions.iter().all(|asked| asked.over);
        }
        if over {
            debug!(behaviour = ?known, "how the NAT behaves");
            let lost = self.detection.run.take().is_some_and(|run| run.is_lost());
            if lost {
                self.detection.want(now, false);
            }
            self.sockets.close_all(Purpose::Look, |_| false);
        }
        // Searches that waited for what this would tell wait no longer, whether it has told anything new or not.
        if known != before || asked {
            self.traversal.behaviour_changed();
        }
    }

    /// A supernode is asked where it sees a node. It answers straight to whence it came, or from its second port, with no
    /// more than came; nothing else follows from it, or from what answers `show`. Whether the message was one of the two.
    pub(crate) fn looked(&mut self, now: Time, id: PeerId, via: Via, message: &[u8], out: &mut Outbox) -> bool {
        let Ok(Sealed::Control(body)) = Sealed::parse(message) else {
            return false;
        };
        let (token, flags) = match messages(body).next() {
            Some(Ok(Some(Control::Look { token, flags }))) => (token, flags),
            Some(Ok(Some(Control::Shown { nonce }))) => {
                if let Via::Direct(came) = via {
                    self.anchor.shown_aside(now, id, came, nonce);
                }
                return true;
            }
            _ => return false,
        };
        let Via::Direct(came) = via else { return true };
        if message.len() < PADDING || !self.anchor.may_look(now, id) {
            self.counters.looks_limited += 1;
            return true;
        }
        let second = self.anchor.second_port;
        let back = match (flags & FROM_SECOND != 0, second, came.socket) {
            (false, ..) => came,
            (true, Some(_), Socket::Main) => Leg {
                socket: Socket::Extra(0),
                ..came
            },
            _ => return true,
        };
        let mut messages = vec![Control::Seen {
            token,
            observed: came.endpoint,
            second: second.unwrap_or_default(),
        }];
        if flags & WITH_SHOW != 0 && came.socket == Socket::Main && back == came {
            let nonce = self.random_u64();
            self.anchor.ask_aside(now, id, came, nonce);
            messages.push(Control::Show { nonce });
        }
        self.send_along(now, id, (Path::Direct(back), None), Content::Control(&messages), out);
        true
    }
}

/// Under which session index a datagram to oneself goes: one that the token tells, so that both have to be guessed.
fn mirror_index(token: u64) -> u32 {
    let bytes = token.to_be_bytes();
    u32::from_be_bytes([bytes[0] ^ bytes[4], bytes[1], bytes[2] ^ bytes[6], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_one_another_are_told_from_others() {
        assert_eq!(
            picked(&[20_000, 20_001, 20_002, 20_003, 20_004]),
            Ports::Sequential { stride: 1 }
        );
        // Others behind the same NAT open ports as well.
        assert_eq!(
            picked(&[20_000, 20_003, 20_004, 20_010, 20_011]),
            Ports::Sequential { stride: 1 }
        );
        assert_eq!(picked(&[500, 496, 492, 488]), Ports::Sequential { stride: -4 });
        // The ports begin anew.
        assert_eq!(
            picked(&[22_046, 22_047, 20_000, 20_001, 20_002]),
            Ports::Sequential { stride: 1 }
        );
        assert_eq!(picked(&[20_000, 20_256, 20_512, 20_768, 21_024]), Ports::Random);
        assert_eq!(picked(&[5000, 41_200, 9011, 61_000, 33_333]), Ports::Random);
        assert_eq!(picked(&[5000, 5001, 40_000, 40_001, 5002]), Ports::Random);
        assert_eq!(picked(&[5000, 5000, 5000]), Ports::Random);
        assert_eq!(picked(&[5000, 5001]), Ports::Unknown);
        assert_eq!(picked(&[]), Ports::Unknown);
    }
}
