//! The path MTU: how large a datagram may be on one path, found by trying (as in RFC 8899).
//!
//! A path begins at [`BASE`]. The first message that does not fit is cut into fragments, and asks for more: padded pings
//! of the next sizes go out together, and the largest that is answered is the new limit. As long as large datagrams
//! flow the limit is confirmed every second, so that a path that carries less than before is noticed although nobody
//! tells.

use std::time::Duration;

use crate::{Leg, Time};

/// The sizes that are tried, in bytes of IP packets: what is left of Ethernet's 1500 behind PPPoE (1492), common tunnels
/// (1470 to 1400), jumbo frames. The first stands for paths on which even the second does not pass.
const RUNGS: [usize; 9] = [576, 1280, 1400, 1440, 1470, 1492, 1500, 4352, 9000];

/// Where a path begins: what every IPv6 path carries (RFC 8200 §5), and practically every other.
const BASE: usize = 1;

/// The smallest limit: what fits it always fits.
pub(crate) const FLOOR: usize = RUNGS[0];

/// How often a size is tried before it is taken to be too large.
const TRIES: u32 = 3;

/// Sizes that did not pass are not tried again for so long, the last pause being repeated: soon at first, since the loss of
/// all tries looks the same.
const RAISE_PAUSES: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// After a limit was lowered, more is tried again so much later.
const LOWERED_PAUSE: Duration = Duration::from_secs(10);

/// The limit is confirmed this often while large datagrams flow.
const CONFIRM: Duration = Duration::from_secs(1);

/// After so many unanswered confirmations, on a path that is alive, the limit is lowered.
const MISSES: u32 = 4;

/// Unanswered confirmations whose answers still count.
const MAX_TOKENS: usize = 8;

/// Without large datagrams for so long nothing is confirmed any more.
const GIVE_UP: Duration = Duration::from_secs(3);

/// How long a padded ping may go unanswered where the round trip is not known.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(500);

/// The MTU of one path.
#[derive(Debug, Default)]
pub(crate) struct PathMtu {
    /// The underlay endpoint it was found for; another begins anew.
    destination: Option<Leg>,
    /// The largest size known to pass, as a place in [`RUNGS`]; unset means [`BASE`].
    rung: Option<usize>,
    /// The largest size asked for.
    wanted: usize,
    search: Option<Search>,
    /// When more may be tried.
    raise_at: Time,
    /// How many searches found nothing larger.
    searches: usize,
    /// Whether something larger passed once and does not any more.
    lowered: bool,
    /// When a large datagram was last sent.
    large: Option<Time>,
    confirmed: Time,
    confirming: Option<Confirming>,
}

/// Larger sizes being tried.
#[derive(Debug)]
struct Search {
    sent: Time,
    tries: u32,
    probes: Vec<(u64, usize)>,
}

#[derive(Debug)]
struct Confirming {
    tokens: Vec<u64>,
    sent: Time,
    missed: u32,
}

impl PathMtu {
    /// The largest IP packet that passes, in bytes.
    pub(crate) fn limit(&self) -> usize {
        RUNGS.get(self.rung()).copied().unwrap_or(FLOOR)
    }

    /// The largest IP packet known to pass, and the smallest that was tried without an answer, if there is one; in bytes.
    /// None where nothing was found out yet.
    pub(crate) fn found(&self) -> Option<(usize, Option<usize>)> {
        let in_vain = self.searches > 0 && self.search.is_none() && self.wanted > self.rung();
        let too_large = RUNGS.get(self.rung() + 1).copied().filter(|_| in_vain || self.lowered);
        (self.rung.is_some() || in_vain).then_some((self.limit(), too_large))
    }

    /// Whether larger sizes are being tried.
    pub(crate) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    fn rung(&self) -> usize {
        self.rung.unwrap_or(BASE)
    }

    /// The path leads to `destination`.
    pub(crate) fn lead_to(&mut self, destination: Leg) {
        if self.destination.is_some_and(|known| known != destination) {
            *self = Self::default();
        }
        self.destination = Some(destination);
    }

    /// An IP packet of `size` bytes is to be sent. Returns whether something is to be done that was not before.
    pub(crate) fn note(&mut self, now: Time, size: usize) -> bool {
        let limit = self.limit();
        if size > limit {
            let rung = RUNGS.iter().position(|rung| *rung >= size).unwrap_or(RUNGS.len() - 1);
            let more = rung > self.wanted;
            self.wanted = self.wanted.max(rung);
            // Fragments fill the limit.
            self.large = Some(now);
            return more;
        }
        let begins = self.large.is_none();
        if size > RUNGS[BASE] {
            self.large = Some(now);
        }
        begins && self.large.is_some()
    }

    /// The sizes to be tried now, in bytes of IP packets; `patience` is how long an answer may take, `heard` when
    /// something last came over the path.
    pub(crate) fn due(&mut self, now: Time, patience: Option<Duration>, heard: Option<Time>) -> Vec<usize> {
        let patience = patience.unwrap_or(PATIENCE_UNKNOWN);
        let mut due = Vec::new();
        match &self.search {
            Some(search) if now.since(search.sent) < patience => {}
            Some(search) if search.tries >= TRIES => {
                self.search = None;
                let pause = RAISE_PAUSES.get(self.searches).or(RAISE_PAUSES.last());
                self.raise_at = now + pause.copied().unwrap_or_default();
                self.searches += 1;
            }
            _ if self.wanted > self.rung() && now >= self.raise_at => {
                let tries = self.search.as_ref().map_or(0, |search| search.tries) + 1;
                let probes = self.search.take().map(|search| search.probes).unwrap_or_default();
                self.search = Some(Search {
                    sent: now,
                    tries,
                    probes,
                });
                due.extend(RUNGS.iter().take(self.wanted + 1).skip(self.rung() + 1));
            }
            _ => self.search = None,
        }
        if self.large.is_some_and(|large| now.since(large) >= GIVE_UP) {
            self.confirming = None;
            self.large = None;
        }
        if let Some(confirming) = &mut self.confirming {
            if now.since(confirming.sent) >= patience {
                // Nothing at all means a dead path, which others notice.
                confirming.missed += u32::from(heard.is_some_and(|heard| heard >= confirming.sent));
                if confirming.missed >= MISSES {
                    self.lower(now);
                } else {
                    confirming.sent = now;
                    due.push(self.limit());
                }
            }
        } else if self.confirm_at().is_some_and(|at| at <= now) {
            self.confirming = Some(Confirming {
                tokens: Vec::new(),
                sent: now,
                missed: 0,
            });
            due.push(self.limit());
        }
        if self.confirming.is_none() && self.large.is_some_and(|large| now.since(large) >= CONFIRM) {
            self.large = None;
        }
        due
    }

    /// Nothing can be asked any more; what was found stays.
    pub(crate) fn session_ended(&mut self) {
        self.search = None;
        self.confirming = None;
        self.large = None;
    }

    fn lower(&mut self, now: Time) {
        self.rung = Some(if self.rung() > BASE { BASE } else { 0 });
        self.lowered = true;
        self.confirming = None;
        self.search = None;
        self.confirmed = now;
        self.raise_at = now + LOWERED_PAUSE;
    }

    /// A padded ping of `size` bytes with this token was sent.
    pub(crate) fn tried(&mut self, size: usize, token: u64) {
        let rung = RUNGS.iter().position(|rung| *rung == size).unwrap_or_default();
        if rung > self.rung() {
            if let Some(search) = &mut self.search {
                search.probes.push((token, rung));
            }
        } else if let Some(confirming) = &mut self.confirming {
            if confirming.tokens.len() >= MAX_TOKENS {
                confirming.tokens.remove(0);
            }
            confirming.tokens.push(token);
        }
    }

    /// A ping was answered; whether it was one of these.
    pub(crate) fn answered(&mut self, now: Time, token: u64) -> bool {
        if let Some(confirming) = &self.confirming
            && confirming.tokens.contains(&token)
        {
            self.confirming = None;
            self.confirmed = now;
            return true;
        }
        let Some(search) = &mut self.search else { return false };
        let Some(rung) = search
            .probes
            .iter()
            .find(|(asked, _)| *asked == token)
            .map(|(_, rung)| *rung)
        else {
            return false;
        };
        if rung > self.rung() {
            self.searches = 0;
        }
        self.lowered &= rung <= self.rung();
        self.rung = Some(self.rung().max(rung));
        self.confirmed = now;
        if self.rung() >= self.wanted {
            self.search = None;
        }
        true
    }

    fn confirm_at(&self) -> Option<Time> {
        let large = self.large?;
        let at = self.confirmed + CONFIRM;
        (at.since(large) < CONFIRM || at <= large).then_some(at)
    }

    /// When [`Self::due`] has something to do.
    pub(crate) fn deadline(&self, patience: Option<Duration>) -> Option<Time> {
        let patience = patience.unwrap_or(PATIENCE_UNKNOWN);
        let search = match &self.search {
            Some(search) => Some(search.sent + patience),
            None => (self.wanted > self.rung() && self.large.is_some()).then_some(self.raise_at),
        };
        let confirm = match &self.confirming {
            Some(confirming) => Some(confirming.sent + patience),
            None => self.large.map(|large| self.confirm_at().unwrap_or(large + CONFIRM)),
        };
        [search, confirm].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    /// A path that carries packets up to `carries` bytes; a frame of `size` bytes is sent every 10 ms.
    struct Path {
        mtu: PathMtu,
        now: Time,
        tokens: u64,
        answers: Vec<(Time, u64)>,
        tried: usize,
    }

    impl Path {
        fn new() -> Self {
            Self {
                mtu: PathMtu::default(),
                now: Time::ZERO + Duration::from_secs(50),
                tokens: 0,
                answers: Vec::new(),
                tried: 0,
            }
        }

        fn run(&mut self, time: Duration, size: usize, carries: usize) {
            let end = self.now + time;
            while self.now < end {
                self.mtu.note(self.now, size);
                let now = self.now;
                for (_, token) in self.answers.extract_if(.., |(at, _)| *at <= now) {
                    assert!(self.mtu.answered(now, token) || self.mtu.search.is_none());
                }
                for size in self.mtu.due(now, Some(2 * RTT), Some(now)) {
                    self.tokens += 1;
                    self.tried += 1;
                    self.mtu.tried(size, self.tokens);
                    if size <= carries {
                        self.answers.push((now + RTT, self.tokens));
                    }
                }
                self.now += Duration::from_millis(10);
            }
        }
    }

    #[test]
    fn the_limit_is_found_within_a_round_trip() {
        for (carries, found) in [(1500, 1500), (1499, 1492), (1400, 1400), (1290, 1280), (9000, 1500)] {
            let mut path = Path::new();
            path.run(Duration::from_millis(60), 1494, carries);
            assert_eq!(path.mtu.limit(), found, "{carries}");
        }
        let mut path = Path::new();
        path.run(Duration::from_millis(60), 8900, 9000);
        assert_eq!(path.mtu.limit(), 9000);
    }

    #[test]
    fn small_packets_ask_for_nothing() {
        let mut path = Path::new();
        path.run(Duration::from_secs(10), 1280, 1500);
        assert_eq!((path.tried, path.mtu.limit(), path.mtu.deadline(None)), (0, 1280, None));
    }

    #[test]
    fn a_path_that_carries_less_is_noticed_within_three_seconds_and_one_that_carries_more_later() {
        let mut path = Path::new();
        path.run(Duration::from_secs(5), 1494, 1500);
        assert_eq!(path.mtu.limit(), 1500);
        path.run(Duration::from_secs(3), 1494, 1400);
        assert_eq!(path.mtu.limit(), 1280);
        path.run(LOWERED_PAUSE, 1494, 1400);
        assert_eq!(path.mtu.limit(), 1400);
        path.run(RAISE_PAUSES[0] + Duration::from_secs(2), 1494, 1500);
        assert_eq!(path.mtu.limit(), 1500);
        path.run(Duration::from_secs(6), 1494, 1000);
        assert_eq!(path.mtu.limit(), FLOOR);
    }

    #[test]
    fn confirming_costs_a_packet_a_second_and_ends_with_the_large_packets() {
        let mut path = Path::new();
        path.run(Duration::from_secs(10), 1494, 1500);
        path.tried = 0;
        path.run(Duration::from_secs(10), 1494, 1500);
        assert!((8..=11).contains(&path.tried), "{}", path.tried);
        path.run(Duration::from_secs(3), 100, 1500);
        path.tried = 0;
        path.run(Duration::from_secs(100), 100, 1500);
        assert_eq!((path.tried, path.mtu.deadline(None)), (0, None));
    }

    #[test]
    fn a_path_that_is_dead_keeps_its_limit() {
        let mut path = Path::new();
        path.run(Duration::from_secs(5), 1494, 1500);
        for _ in 0..100 {
            path.mtu.note(path.now, 1494);
            let heard = Time::ZERO + Duration::from_secs(54);
            let due = path.mtu.due(path.now, Some(RTT), Some(heard));
            for size in due {
                path.mtu.tried(size, u64::MAX);
            }
            path.now += Duration::from_millis(100);
        }
        assert_eq!(path.mtu.limit(), 1500);
    }

    #[test]
    fn a_path_that_fell_silent_is_not_asked_for_ever() {
        let mut path = Path::new();
        path.run(Duration::from_millis(2500), 1494, 1500);
        let last = path.now;
        let mut late = 0;
        for _ in 0..100 {
            path.now += Duration::from_millis(100);
            for size in path.mtu.due(path.now, Some(RTT), Some(last)) {
                path.mtu.tried(size, u64::MAX);
                late += usize::from(path.now.since(last) > GIVE_UP + CONFIRM);
            }
        }
        assert_eq!((late, path.mtu.deadline(Some(RTT))), (0, None));
    }

    #[test]
    fn another_destination_begins_anew() {
        let mut path = Path::new();
        let [one, other] = [1, 2].map(|last| Leg::from(std::net::SocketAddr::from(([192, 0, 2, last], 9600))));
        path.mtu.lead_to(one);
        path.run(Duration::from_secs(5), 1494, 1500);
        path.mtu.lead_to(one);
        assert_eq!(path.mtu.limit(), 1500);
        path.mtu.lead_to(other);
        assert_eq!(path.mtu.limit(), 1280);
    }
}
