//! One pair of hosts behind any two kinds of home: whether it comes to a direct path where it must, and what that costs.
//!
//! A run makes two nodes and one or two supernodes, lets the nodes ping each other, and looks at three things: what the engines
//! say of their paths, whose datagrams got where without passing a supernode, and which pings had no answer.

use std::{fmt, time::Duration};

use farlan_engine::PathKind;

use super::{
    homes::Home,
    lab::{Family, HostId, Lab, NetId, PingId},
    links::LinkQuality,
    nat::{Filtering, Mapping, NatKind},
    oracle::{Expected, expected},
    random::ReproducibleRandom,
    underlay::NatId,
};

/// Where two homes meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// In the core of the Internet.
    Core,
    /// The same with IPv6, which the routers let in as they filter.
    Firewalls([Filtering; 2]),
    /// The two are in the first one's LAN.
    Lan,
    /// Behind one carrier's router; the homes' own carriers are left out.
    Carrier(NatKind),
}

/// A pair to be tried.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Decides everything random, the delays of the links among it.
    pub seed: u64,
    /// What the two are behind.
    pub homes: [Home; 2],
    /// Where these meet.
    pub meeting: Meeting,
    /// The round trip between the two at most, and that to the supernodes.
    pub round_trip: Duration,
    /// The share of datagrams lost on each link.
    pub loss: f64,
    /// One or more.
    pub supernodes: usize,
}

/// What became of a pair.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the oracle says.
    pub expected: Expected,
    /// Whether both nodes came to a supernode, an address and knowledge of each other.
    pub settled: bool,
    /// From the first frame until both engines said that they send straight.
    pub direct: Option<Duration>,
    /// Whether what they sent afterwards did so.
    pub straight: bool,
    /// Pings without an answer.
    pub lost: usize,
    /// Pings with two answers of one host.
    pub doubled: usize,
    /// Pings.
    pub pings: usize,
    /// Datagrams sent to addresses that nobody has.
    pub astray: u64,
    /// Datagrams that the busier one of the two sent in the ten seconds that were worst.
    pub sent: u64,
    /// Extra sockets still open a minute after the last try.
    pub sockets: usize,
}

/// Direct paths that two nodes have to each other at the most, as the engine bounds them.
const MOST_PATHS: usize = 16;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// From the first frame to the direct path where nothing is lost.
pub const SOON: Duration = Duration::from_secs(5);

/// So much longer it may take where the first search found nothing: the rest of that one, the pause after it, and the second
/// one. A birthday search of 256 sockets and 2,000 of 64,512 ports misses once in 3,200, and once in ten millions twice.
const SECOND_SEARCH: Duration = Duration::from_secs(7);

/// The same where datagrams are lost.
pub const LATER: Duration = Duration::from_secs(30);

/// How long a pair speaks that is to stay relayed: several rounds of tries.
const RELAYED: Duration = Duration::from_secs(16);

/// How long a pair speaks after it came to a direct path.
const AFTER: Duration = Duration::from_secs(1);

/// The longest way there and back, over two supernodes, and time for the last retries.
const ANSWER: Duration = Duration::from_secs(4);

impl Pair {
    /// A pair without faults, 40 ms apart, one supernode.
    pub fn new(seed: u64, homes: [Home; 2]) -> Self {
        Self {
            seed,
            homes,
            meeting: Meeting::Core,
            round_trip: 40 * MILLISECOND,
            loss: 0.0,
            supernodes: 1,
        }
    }

    /// The pair of a seed: any two kinds, up to 300 ms apart; up to 5 % are lost in every second one.
    pub fn draw(seed: u64) -> Self {
        let mut random = ReproducibleRandom::new(seed, "pair", 0);
        let mut home = || Home::ALL[random.below(Home::ALL.len() as u64) as usize];
        let homes = [home(), home()];
        let filtering = |number| match number {
            0 => Filtering::EndpointIndependent,
            1 => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        };
        let meeting = match random.below(12) {
            0 => Meeting::Lan,
            1 => Meeting::Firewalls([filtering(random.below(3)), filtering(random.below(3))]),
            2 => {
                let carriers = [NatKind::FULL, NatKind::PORT, NatKind::SYM];
                let carrier = carriers[random.below(3) as usize];
                Meeting::Carrier(if random.chance(0.5) { carrier.hairpin() } else { carrier })
            }
            _ => Meeting::Core,
        };
        let round_trip = random.duration_below(300 * MILLISECOND);
        let (lossy, loss) = (random.chance(0.5), random.below(5_000) as f64 / 100_000.0);
        Self {
            seed,
            homes,
            meeting,
            round_trip,
            loss: if lossy { loss } else { 0.0 },
            supernodes: 1 + random.below(2) as usize,
        }
    }

    /// Whether one of the homes maps by destination.
    pub fn hard_sides(&self) -> usize {
        let hard = |home: &&Home| {
            let mut routers = home.routers().into_iter();
            routers.any(|kind| kind.mapping != Mapping::EndpointIndependent)
        };
        self.homes.iter().filter(hard).count()
    }

    /// How long it may take to the direct path. [`super::PairReport::is_good`] says of how many pairs it may take longer than
    /// [`SOON`].
    pub fn limit(&self) -> Duration {
        match self.hard_sides() {
            _ if self.loss > 0.0 => LATER,
            0 => SOON,
            _ => SOON + SECOND_SEARCH,
        }
    }

    /// Builds it. The two nodes have joined one network.
    pub fn build(&self) -> (Lab, NetId, [HostId; 2], [Option<NatId>; 2]) {
        let mut random = ReproducibleRandom::new(self.seed, "links", 0);
        let mut lab = Lab::new(self.seed);
        lab.set_unrecorded();
        lab.use_beacons();
        let supernodes: Vec<HostId> = (0..self.supernodes).map(|_| lab.add_supernode()).collect();
        let network = lab.add_link_network();
        let places = match self.meeting {
            Meeting::Core => self.homes.map(|home| home.build(&mut lab)),
            Meeting::Firewalls(filters) => [0, 1].map(|end| {
                let home = self.homes[end].map_router(|kind| kind.with_ipv6(filters[end]));
                home.build(&mut lab)
            }),
            Meeting::Lan => [self.homes[0].build(&mut lab); 2],
            Meeting::Carrier(kind) => {
                let carrier = lab.add_nat(kind);
                self.homes
                    .map(|home| home.build_behind(&mut lab, Some(carrier)).or(Some(carrier)))
            }
        };
        let nodes = places.map(|place| lab.add_node(place));
        let mut quality = |most: Duration| {
            let delay = random.duration_below(most / 2 + MILLISECOND);
            LinkQuality::of_delay(delay)
                .with_jitter(random.duration_below(2 * MILLISECOND))
                .with_loss(self.loss)
        };
        lab.set_links(quality(self.round_trip));
        let [a, b] = nodes;
        let direct = LinkQuality {
            delay: self.round_trip / 2,
            ..quality(self.round_trip)
        };
        lab.set_link(a, b, direct);
        for node in nodes {
            for &supernode in &supernodes {
                let link = quality(self.round_trip);
                lab.set_link(node, supernode, link);
            }
        }
        nodes.iter().for_each(|&node| lab.join(node, network));
        (lab, network, nodes, places)
    }

    /// Runs it.
    pub fn run(&self) -> Seen {
        let (lab, network, nodes, _) = self.build();
        let mut talk = Talk::new(lab, network, nodes);
        let expected = expected(&talk.lab, nodes[0], nodes[1]);
        let mut seen = Seen {
            expected,
            settled: talk.settle(LATER),
            direct: None,
            straight: false,
            lost: 0,
            doubled: 0,
            pings: 0,
            astray: 0,
            sent: 0,
            sockets: 0,
        };
        if !seen.settled {
            return seen;
        }
        let start = talk.lab.now();
        let end = start
            + match expected {
                Expected::Relay | Expected::Unlikely => RELAYED,
                Expected::Direct | Expected::Either => self.limit(),
            };
        while talk.lab.now() < end && seen.direct.is_none() {
            talk.step();
            if talk.says_direct() {
                seen.direct = Some(talk.lab.now() - start);
            }
        }
        if seen.direct.is_some() {
            seen.straight = talk.goes_straight(AFTER, self.loss);
        }
        (seen.lost, seen.doubled) = talk.faults();
        seen.pings = talk.pings.len();
        seen.astray = nodes.iter().map(|&node| talk.lab.traffic(node).astray).sum();
        seen.sent = talk.most_sent;
        if nodes.iter().any(|&node| talk.lab.extra_sockets(node) > 0) {
            talk.lab.run(60 * SECOND);
            seen.sockets = nodes.iter().map(|&node| talk.lab.extra_sockets(node)).sum();
        }
        seen
    }

    /// What is not as it must be, in words.
    pub fn complaints(&self, seen: &Seen) -> Vec<String> {
        let mut complaints = Vec::new();
        if !seen.settled {
            complaints.push("never came to a supernode".to_owned());
            return complaints;
        }
        match (seen.expected, seen.direct) {
            (Expected::Direct, None) => complaints.push(format!("not direct after {:?}", self.limit())),
            (Expected::Relay, Some(time)) => complaints.push(format!("direct after {time:?}, which cannot be")),
            _ => {}
        }
        if seen.direct.is_some() && !seen.straight {
            complaints.push("said to be direct, and what was sent was not seen straight".to_owned());
        }
        if self.loss == 0.0 && seen.lost > 0 {
            complaints.push(format!("{} of {} pings lost", seen.lost, seen.pings));
        }
        // A path that was found goes on by its socket, and a search opens 256.
        if seen.sockets > MOST_PATHS {
            complaints.push(format!(
                "{} sockets of searches still open a minute later",
                seen.sockets
            ));
        }
        if seen.doubled > 0 {
            complaints.push(format!("{} pings doubled", seen.doubled));
        }
        if matches!(self.meeting, Meeting::Core | Meeting::Firewalls(_)) && seen.astray > 0 {
            complaints.push(format!("{} datagrams to addresses that nobody has", seen.astray));
        }
        complaints
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.homes;
        write!(f, "{a} × {b}")?;
        match self.meeting {
            Meeting::Core => {}
            Meeting::Firewalls(_) => write!(f, " with IPv6")?,
            Meeting::Lan => write!(f, " in one LAN, {a}")?,
            Meeting::Carrier(kind) => write!(
                f,
                " behind one carrier ({:?}, {:?}{})",
                kind.mapping,
                kind.filtering,
                if kind.hairpin { ", hairpin" } else { "" }
            )?,
        }
        write!(
            f,
            ", {} ms, {:.1} % lost, {} supernodes",
            self.round_trip.as_millis(),
            self.loss * 100.0,
            self.supernodes
        )
    }
}

/// Two nodes that ping each other.
#[derive(Debug)]
pub struct Talk {
    /// Where they are.
    pub lab: Lab,
    /// Their network.
    pub network: NetId,
    /// The two.
    pub nodes: [HostId; 2],
    /// All their pings.
    pub pings: Vec<PingId>,
    /// The time between two pings of one of them.
    pub interval: Duration,
    /// What each had sent at the last few looks, and the most of any of them within ten seconds.
    history: Vec<[u64; 2]>,
    most_sent: u64,
}

impl Talk {
    /// Two nodes that have joined.
    pub fn new(lab: Lab, network: NetId, nodes: [HostId; 2]) -> Self {
        Self {
            lab,
            network,
            nodes,
            pings: Vec::new(),
            interval: 100 * MILLISECOND,
            history: Vec::new(),
            most_sent: 0,
        }
    }

    /// Waits until both are registered, have their IPv4 addresses and count each other. Whether that came about.
    pub fn settle(&mut self, limit: Duration) -> bool {
        let (network, nodes) = (self.network, self.nodes);
        let settled = self.lab.run_until(limit, |lab| {
            nodes.iter().all(|&host| {
                lab.is_registered(host)
                    && lab
                        .network(host, network)
                        .is_some_and(|status| status.ipv4.is_some() && status.members as usize == nodes.len())
            })
        });
        settled.is_some()
    }

    /// One of them, 0 or 1, pings the other, if that has an address.
    pub fn ping(&mut self, end: usize) -> Option<PingId> {
        let (from, to) = (self.nodes[end], self.nodes[1 - end]);
        let address = self.lab.address(to, self.network, Family::V4)?;
        let ping = self.lab.ping_address(from, self.network, address);
        self.pings.push(ping);
        Some(ping)
    }

    /// Both ping, and one interval passes.
    pub fn step(&mut self) {
        self.ping(0);
        self.ping(1);
        self.lab.run(self.interval);
        let sent = self.nodes.map(|node| self.lab.traffic(node).sent);
        self.history.push(sent);
        let looks = (10 * SECOND).div_duration_f64(self.interval) as usize;
        let before = self.history[self.history.len().saturating_sub(looks)];
        let most = [0, 1].map(|end| sent[end] - before[end]).into_iter().max();
        self.most_sent = self.most_sent.max(most.unwrap_or_default());
    }

    /// Both ping for so long.
    pub fn speak(&mut self, duration: Duration) {
        let end = self.lab.now() + duration;
        while self.lab.now() < end {
            self.step();
        }
    }

    /// Whether both engines say that they send straight.
    pub fn says_direct(&self) -> bool {
        let [a, b] = self.nodes;
        [(a, b), (b, a)].into_iter().all(|(from, to)| {
            let to = self.lab.node_id(to);
            let peers = self.lab.peers(from);
            peers
                .iter()
                .any(|peer| peer.node == to && peer.path == Some(PathKind::Direct))
        })
    }

    /// Speaks for so long, and tells whether what was sent got to the other end without passing anybody.
    pub fn goes_straight(&mut self, duration: Duration, loss: f64) -> bool {
        let [a, b] = self.nodes;
        let count = |lab: &Lab| [lab.straight(a, b), lab.straight(b, a)];
        // What is under way passes first.
        self.speak(SECOND);
        let before = count(&self.lab);
        self.speak(duration);
        let after = count(&self.lab);
        // A request and an answer each, less what is lost or still under way.
        let pings = duration.div_duration_f64(self.interval);
        let least = pings * (1.5 - 5.0 * loss);
        [0, 1].into_iter().all(|end| (after[end] - before[end]) as f64 >= least)
    }

    /// Pings without an answer, and with several, once the last ones had time for one.
    pub fn faults(&mut self) -> (usize, usize) {
        self.lab.run(ANSWER);
        let lost = self.pings.iter().filter(|&&ping| self.lab.answer(ping).is_none());
        let doubled = self.pings.iter().filter(|&&ping| self.lab.answerers(ping).len() > 1);
        (lost.count(), doubled.count())
    }
}
