//! One lab with two homes, in which two new nodes meet again and again.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::expectation::{Expected, Kinds};
use super::row::{Outcome, Row, Times};
use crate::ns::api::Api;
use crate::ns::echo::EchoStream;
use crate::ns::program::{Node, PORT};
use crate::ns::traffic::Watched;
use crate::ns::world::World;
use crate::ns::{Home, Lab, Wire};

/// Time between two pings.
const PACE: Duration = Duration::from_millis(20);

/// How long programs may take to start, to register and to get addresses, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(40);

/// How long a pair that can be direct may take before the run counts as relayed.
const DIRECT_LIMIT: Duration = Duration::from_secs(15);

/// How long a pair that must stay relayed is watched: ample for the first rounds of tries.
const WATCH: Duration = Duration::from_secs(10);

/// How long a direct path is watched.
const HOLD: Duration = Duration::from_secs(1);

/// Of the pings in that time, how many must be seen to go straight: a few are not sent in time on a busy machine.
const LEAST_SHARE: f64 = 0.5;

/// How often is looked whether both nodes are direct.
const LOOK: Duration = Duration::from_millis(10);

/// Supernodes of a lab: to know how its NAT behaves, a node needs two.
const SUPERNODES: usize = 2;

/// What packets meet between any two of the homes and supernodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Milliseconds one way; a round trip takes twice as long.
    pub delay_ms: f64,
    /// Share lost one way, 0 to 1.
    pub loss: f64,
}

impl Distance {
    /// Neither delay nor loss.
    pub const NONE: Self = Self {
        delay_ms: 0.0,
        loss: 0.0,
    };

    /// The wire of each machine, of which two are between any two of them.
    pub fn wire(self) -> Wire {
        Wire {
            delay: Duration::from_secs_f64(self.delay_ms / 2000.0),
            loss: 1.0 - (1.0 - self.loss).sqrt(),
            ..Wire::PLAIN
        }
    }
}

/// Two homes and two supernodes, all on wires of the same kind.
#[derive(Debug)]
pub struct PairLab {
    kinds: Kinds,
    distance: Distance,
    world: World,
    homes: [Home; 2],
    watched: Watched,
    at_once: usize,
}

/// Two nodes of one run, of which the first pings.
struct Ends {
    nodes: [Node; 2],
    apis: [Api; 2],
}

impl PairLab {
    /// Builds it. `at_once` is for the record only.
    ///
    /// # Errors
    /// The lab or the supernodes fail.
    pub fn new(lab: &mut Lab, kinds: Kinds, distance: Distance, at_once: usize) -> Result<Self> {
        let wire = distance.wire();
        let world = World::start(lab, SUPERNODES, wire)?;
        let [one, other] = kinds.0;
        let homes = [lab.home("a", one, wire)?, lab.home("b", other, wire)?];
        let watched = lab.watch(&homes[0], &homes[1])?;
        Ok(Self {
            kinds,
            distance,
            world,
            homes,
            watched,
            at_once,
        })
    }

    /// Starts two nodes without any state but an identity behind rebooted routers, joins both to a new network, pings from one to the other
    /// (in turn from each home) until both are direct or time is up, and stops them. What fails is a row too.
    pub fn run(&self, lab: &Lab, run: u16) -> Row {
        let mut row = Row {
            kinds: self.kinds,
            distance: self.distance,
            run,
            at_once: self.at_once,
            outcome: Outcome::Failed,
            times: None,
            sent: 0,
            lost: 0,
            doubled: 0,
            load: load(),
        };
        if let Err(error) = self.measure(lab, &mut row) {
            row.outcome = Outcome::Failed;
            eprintln!("{}, run {run}: {error:#}", self.kinds);
        }
        row
    }

    fn measure(&self, lab: &Lab, row: &mut Row) -> Result<()> {
        self.homes.iter().try_for_each(Home::reboot_router)?;
        let (mut ends, launched) = self.launch(lab, row.run)?;
        let registered = self.join(&ends, row.run)?;
        let judged = self.judge(lab, &ends, row, launched, registered);
        for node in &mut ends.nodes {
            node.stop()?;
        }
        judged
    }

    /// Starts both programs, and returns when. An identity takes a second or more to make on a busy machine, once in the life of
    /// a node, so each has one by then.
    fn launch(&self, lab: &Lab, run: u16) -> Result<(Ends, Instant)> {
        let node = |name: &str, home: &Home| -> Result<Node> {
            let mut unborn = Node::new(lab, name, &home.host, None)?;
            unborn.forget()?;
            unborn.launch()?;
            let answers = || Api::of(&unborn).ask("/v1/status").map(Some);
            Api::await_it("an identity", START_LIMIT, answers)?;
            unborn.stop()?;
            let mut node = Node::new(lab, name, &home.host, Some(&self.world.link))?;
            // Ports that nobody remembers.
            node.set_port(PORT + 1 + run % 1000);
            Ok(node)
        };
        let [home_a, home_b] = &self.homes;
        let (a, b) = (node("a", home_a)?, node("b", home_b)?);
        let mut nodes = if run.is_multiple_of(2) { [a, b] } else { [b, a] };
        let launched = Instant::now();
        for node in &mut nodes {
            node.launch()?;
        }
        let apis = [0, 1].map(|end: usize| Api::of(&nodes[end]));
        Ok((Ends { nodes, apis }, launched))
    }

    /// Joins both, and returns when both were registered.
    fn join(&self, ends: &Ends, run: u16) -> Result<Instant> {
        let link = self.world.network(&format!("run {run}"))?;
        let join = |api: &Api| -> Result<Instant> {
            Api::await_it("the daemon to answer", START_LIMIT, || api.ask("/v1/status").map(Some))?;
            api.join(&link)?;
            let registered = || Ok(api.is_registered()?.then_some(()));
            Ok(Api::await_it("the registration", START_LIMIT, registered)?.1)
        };
        let [a, b] = thread::scope(|scope| {
            let threads = ends.apis.each_ref().map(|api| scope.spawn(move || join(api)));
            threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(a?.max(b?))
    }

    fn judge(&self, lab: &Lab, ends: &Ends, row: &mut Row, launched: Instant, registered: Instant) -> Result<()> {
        let address =
            |api: &Api| -> Result<Ipv4Addr> { Ok(Api::await_it("an address", START_LIMIT, || api.ipv4())?.0) };
        let [_, target] = [address(&ends.apis[0])?, address(&ends.apis[1])?];
        let ids = [ends.apis[0].node_id()?, ends.apis[1].node_id()?];
        let pings = EchoStream::start(ends.nodes[0].namespace(), target.into(), PACE)?;
        let begun = Instant::now();
        let limit = match self.kinds.expected() {
            Expected::Direct => DIRECT_LIMIT,
            Expected::Relay => WATCH,
        };
        let direct = self.await_direct(ends, &ids, begun + limit)?;
        let straight = match direct {
            Some(_) => self.straight(lab)?,
            None => 0,
        };
        let record = pings.stop()?;
        let first = *record.sent.first().context("no ping was sent")?;
        ensure!(!record.answers.is_empty(), "no ping was answered: {record}");
        row.sent = record.sent.len();
        row.lost = record.lost().len();
        row.doubled = record.doubled();
        let Some(direct) = direct else {
            row.outcome = Outcome::Relay;
            return Ok(());
        };
        let least = (HOLD.as_secs_f64() / PACE.as_secs_f64() * LEAST_SHARE) as u64;
        ensure!(
            straight >= least,
            "both nodes say direct, but only {straight} packets went straight one way or the other"
        );
        let since = |moment: Instant| direct.saturating_duration_since(moment).as_secs_f64();
        row.outcome = Outcome::Direct;
        row.times = Some(Times {
            first_frame: since(first),
            registered: since(registered),
            launched: since(launched),
        });
        Ok(())
    }

    /// The moment at which both said that the path to the other is direct, none if they do not in time.
    fn await_direct(&self, ends: &Ends, ids: &[String; 2], deadline: Instant) -> Result<Option<Instant>> {
        let is_direct = |end: usize| -> Result<bool> {
            let path = ends.apis[end].path_to(&ids[1 - end])?;
            Ok(path.is_some_and(|(kind, _)| kind == Expected::Direct.word()))
        };
        while Instant::now() < deadline {
            let looked = Instant::now();
            if is_direct(0)? && is_direct(1)? {
                return Ok(Some(looked));
            }
            thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// How many packets go straight from home to home in the next second, in the direction with fewer.
    fn straight(&self, lab: &Lab) -> Result<u64> {
        let before = lab.passed(&self.watched)?;
        thread::sleep(HOLD);
        let after = lab.passed(&self.watched)?;
        Ok((after[0] - before[0]).min(after[1] - before[1]))
    }
}

/// The load average over the last minute, 0 where the system does not tell.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
