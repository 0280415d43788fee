//! LANs without the Internet: nodes on one switch that start meet without a supernode, and so do two islands that get a link.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use farlan_netconf::Mtu;

use super::ends::{START_LIMIT, newborn};
use super::pair::{Distance, SUPERNODES};
use super::repeat::{Figures, Goal, Repeat};
use crate::ns::api::Api;
use crate::ns::echo::EchoStream;
use crate::ns::program::Node;
use crate::ns::topology::LAN;
use crate::ns::world::World;
use crate::ns::{Home, Lab, Nat};

/// Pace of the pings.
const PACE: Duration = Duration::from_millis(20);

/// How long nodes may take to meet before a run counts as failed.
const MEET_LIMIT: Duration = Duration::from_secs(60);

/// How many answers in a row show that they have met.
const SOME: usize = 20;

/// How long two islands are watched before they get a link, so that a beacon just sent is not what joins them.
const APART: Duration = Duration::from_secs(5);

/// How long programs are down in a reboot.
const DOWN: Duration = Duration::from_secs(1);

/// Most seconds until two nodes on one switch have met.
const MEET: f64 = 5.0;

/// The nodes: two on each island.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

const REBOOT: &str = "seconds from the start of both until they ping, the Internet cut";
const MERGE: &str = "seconds from the link between two islands until they ping";

/// How often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    repeat: Repeat,
}

/// Cuts the Internet, kills all supernodes and reboots four nodes that are two and two on a switch each; then connects the
/// switches. Again and again.
///
/// # Errors
/// None so far.
pub fn islands(options: &Options) -> Result<bool> {
    let goal = |figure| Goal {
        figure,
        percentile: 100,
        most: MEET,
    };
    let goals = [goal(REBOOT), goal(MERGE)];
    let what = "islands of two nodes each";
    options.repeat.measure(what, MEET_LIMIT * 4, &goals, |lab, _| {
        let mut world = World::start(lab, SUPERNODES, Distance::NONE.wire())?;
        let homes = lab.shared_home(&NAMES, Nat::Port, Distance::NONE.wire())?;
        let (mut nodes, addresses) = members(lab, &world, &homes)?;
        for node in &mut nodes {
            node.stop()?;
        }
        for supernode in &mut world.supernodes {
            supernode.process().kill()?;
        }
        let outsides: Vec<_> = homes[0].outsides();
        lab.cut(&outsides)?;
        split(&homes)?;
        thread::sleep(DOWN);
        let started = Instant::now();
        for node in &mut nodes {
            node.launch()?;
        }
        // Before there is a card pings get nowhere, and are as good as lost.
        let pings = [(0, 1), (2, 3)].map(|(from, to)| ping(&homes[from], addresses[to]));
        let mut figures: Figures = Vec::new();
        for pings in pings {
            figures.push((REBOOT, first_answer(pings?, started)?));
        }
        let across = ping(&homes[0], addresses[2])?;
        thread::sleep(APART);
        ensure!(across.record().answers.is_empty(), "the islands are no islands");
        let linked = Instant::now();
        link(&homes)?;
        figures.push((MERGE, first_answer(across, linked)?));
        for node in &mut nodes {
            node.stop()?;
        }
        Ok(figures)
    })
}

/// Starts a node in each home, and lets all join one network.
fn members(lab: &Lab, world: &World, homes: &[Home]) -> Result<(Vec<Node>, Vec<Ipv4Addr>)> {
    let network = world.network("islands", Mtu::DEFAULT)?;
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for (name, home) in NAMES.iter().zip(homes) {
        let mut node = newborn(lab, name, home, Some(&world.link))?;
        node.launch()?;
        let api = Api::of(&node);
        Api::await_it("the daemon to answer", START_LIMIT, || api.ask("/v1/status").map(Some))?;
        api.join(&network)?;
        addresses.push(Api::await_it("an address", START_LIMIT, || api.ipv4())?.0);
        nodes.push(node);
    }
    // All have spoken with each other, so that each knows all.
    for (from, home) in homes.iter().enumerate() {
        for (to, address) in addresses.iter().enumerate() {
            if from != to {
                let pings = ping(home, *address)?;
                pings.wait_until(SOME, MEET_LIMIT, |_| true)?;
                drop(pings.stop()?);
            }
        }
    }
    Ok((nodes, addresses))
}

fn ping(home: &Home, to: Ipv4Addr) -> Result<EchoStream> {
    EchoStream::start(&home.host, to.into(), PACE)
}

/// Seconds from `start` to the first answer.
fn first_answer(pings: EchoStream, start: Instant) -> Result<f64> {
    pings.wait_until(SOME, MEET_LIMIT, |_| true)?;
    let record = pings.stop()?;
    let first = record.first(|_| true).context("no answer")?;
    Ok((first.at - start).as_secs_f64())
}

/// Name of the second switch, and of the two ends of the cable between the switches.
const SWITCH: &str = "island";
const CABLE: [&str; 2] = ["cable0", "cable1"];

/// Puts the third and the fourth host on a switch of their own.
fn split(homes: &[Home]) -> Result<()> {
    let router = &homes[0].router;
    router.ip(&format!("link add {SWITCH} type bridge mcast_snooping 0"))?;
    router.set_sysctl_if_there(&format!("ipv6/conf/{SWITCH}/disable_ipv6"), "1")?;
    router.ip(&format!("link set {SWITCH} up"))?;
    for home in &homes[2..] {
        router.ip(&format!("link set {} master {SWITCH}", home.port))?;
    }
    Ok(())
}

/// Connects the two switches.
fn link(homes: &[Home]) -> Result<()> {
    let router = &homes[0].router;
    let [one, other] = CABLE;
    router.ip(&format!("link add {one} type veth peer name {other}"))?;
    for (end, switch) in [(one, LAN), (other, SWITCH)] {
        router.set_sysctl_if_there(&format!("ipv6/conf/{end}/disable_ipv6"), "1")?;
        router.ip(&format!("link set {end} master {switch} up"))?;
    }
    Ok(())
}
