//! Cold starts: two new nodes in two homes, timed from "both registered" to the first answered ping, and to the first one
//! that was answered over the direct path.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::echo::EchoStream;
use super::pair::PeerView;
use super::paths::RoundTrip;
use super::ping;
use super::program::{Node, PORT, Supernode, registered};
use super::topology::{Access, Home, Lab, Nat, Wire};
use super::trio::JOIN_LIMIT;

/// Time between two pings.
const PING_INTERVAL: Duration = Duration::from_millis(50);

/// How long a cold start may take before it counts as failed.
const FIRST_PING_LIMIT: Duration = Duration::from_secs(15);

/// How long two nodes may take to become direct before the run counts as failed.
const DIRECT_LIMIT: Duration = Duration::from_secs(20);

/// How many answers in a row show that the path is direct.
const SOME: usize = 20;

/// Two homes, a supernode, and a node that makes the networks.
#[derive(Debug)]
pub struct ColdPair {
    supernode: Supernode,
    homes: [Home; 2],
    maker: Node,
    round_trip: Option<RoundTrip>,
}

/// Time from "both registered" to the first answered ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstAnswers {
    /// To the other's IPv4 address.
    pub ipv4: Duration,
    /// To the other's IPv6 address.
    pub ipv6: Duration,
}

/// Time until a ping was answered over the direct path, both ways of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAnswer {
    /// From "both registered".
    pub registered: Duration,
    /// From the first ping, the first frame between the two that is no multicast of their kernels.
    pub first_ping: Duration,
}

impl ColdPair {
    /// Builds the homes, each on a wire of that kind, as the supernode is.
    ///
    /// # Errors
    /// The lab or the programs fail.
    pub fn new(lab: &mut Lab, nats: [impl Into<Access>; 2], wire: Wire) -> Result<Self> {
        let public = lab.public_host("s", wire)?;
        let supernode = Supernode::start(lab, &public)?;
        let [a, b] = nats;
        let homes = [lab.home("a", a, wire)?, lab.home("b", b, wire)?];
        let shelter = lab.home("m", Nat::Port, wire)?;
        let mut maker = Node::new(lab, "m", &shelter.host, Some(supernode.link()))?;
        maker.start()?;
        maker.wait_registered(JOIN_LIMIT)?;
        let round_trip = RoundTrip::of(wire);
        Ok(Self {
            supernode,
            homes,
            maker,
            round_trip,
        })
    }

    /// The homes.
    pub fn homes(&self) -> &[Home; 2] {
        &self.homes
    }

    /// The supernode's process, to kill it.
    pub fn supernode(&mut self) -> &mut Supernode {
        &mut self.supernode
    }

    /// Starts two nodes without any state, joins both by the link of a new network, pings, and stops them.
    /// Different values of `run` give different UDP ports, which the routers have not seen.
    ///
    /// # Errors
    /// A program fails, or no answer comes in 15 s.
    pub fn start(&mut self, lab: &Lab, run: u16) -> Result<FirstAnswers> {
        self.run(lab, run, |a, b, start| {
            thread::scope(|scope| {
                let pings = [false, true].map(|is_ipv6| scope.spawn(move || first_answer(a, b, is_ipv6, start)));
                let [ipv4, ipv6] = pings.map(value);
                Ok(FirstAnswers {
                    ipv4: ipv4?,
                    ipv6: ipv6?,
                })
            })
        })
    }

    /// As [`start`](Self::start), but pings until the path is direct, by the round trip and by what both nodes say.
    ///
    /// # Errors
    /// A program fails, the wires have no delay by which a path could be told, or the path is not direct within 20 s.
    pub fn start_direct(&mut self, lab: &Lab, run: u16) -> Result<DirectAnswer> {
        let trip = self.round_trip.context("wires without a delay")?;
        self.run(lab, run, |a, b, start| {
            let target = address(b, false)?;
            let pings = EchoStream::start(a.namespace(), target, PING_INTERVAL)?;
            pings.wait_until(SOME, DIRECT_LIMIT, |took| trip.is_direct(took))?;
            for (node, peer) in [(a, b), (b, a)] {
                let view = PeerView::of(node, peer)?;
                ensure!(view.path.as_deref() == Some("direct"), "{} sees {view:?}", node.name());
            }
            let record = pings.stop()?;
            let answer = record.first(|took| trip.is_direct(took)).context("no direct answer")?;
            Ok(DirectAnswer {
                registered: answer.at - start,
                first_ping: answer.at - *record.sent.first().context("no ping")?,
            })
        })
    }

    /// Starts two nodes, joins both, calls `judge` with the time at which both were registered, and stops them.
    fn run<T>(&mut self, lab: &Lab, run: u16, judge: impl FnOnce(&Node, &Node, Instant) -> Result<T>) -> Result<T> {
        let link = self.maker.host()?;
        // The maker leaves again, so that nobody else is in the network.
        for network in self.maker.networks()? {
            self.maker.cli(&["leave", &network.network_id])?.success()?;
        }
        let node = |name: &str, home: &Home| -> Result<Node> {
            let mut node = Node::new(lab, name, &home.host, Some(self.supernode.link()))?;
            node.forget()?;
            node.set_port(PORT + 1 + run);
            node.launch()?;
            Ok(node)
        };
        let [home_a, home_b] = &self.homes;
        let (mut a, mut b) = (node("a", home_a)?, node("b", home_b)?);
        a.wait_ready()?;
        b.wait_ready()?;
        let judged = join_and(&a, &b, &link, judge)?;
        a.stop()?;
        b.stop()?;
        Ok(judged)
    }
}

fn join_and<T>(a: &Node, b: &Node, link: &str, judge: impl FnOnce(&Node, &Node, Instant) -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let joins = [a, b].map(|node| scope.spawn(move || node.join(link)));
        let clocks = [a, b].map(|node| scope.spawn(move || registered_at(node)));
        let [clock_a, clock_b] = clocks.map(value);
        let judged = judge(a, b, clock_a?.max(clock_b?));
        for join in joins.map(value) {
            join?;
        }
        judged
    })
}

/// When the `status` that first showed a registration was asked for.
fn registered_at(node: &Node) -> Result<Instant> {
    wait_for("the registration", JOIN_LIMIT, || {
        let asked = Instant::now();
        Ok(registered(&node.status()?).then_some(asked))
    })
}

/// Pings from `a` the address of `b`, beginning as soon as `b` shows one.
fn first_answer(a: &Node, b: &Node, is_ipv6: bool, start: Instant) -> Result<Duration> {
    let target = address(b, is_ipv6)?;
    let deadline = start + FIRST_PING_LIMIT;
    let answered = a
        .namespace()
        .inside(|| ping::first_answer(target, PING_INTERVAL, deadline))??;
    Ok(answered - start)
}

/// The node's address on its network, as soon as it shows one.
fn address(node: &Node, is_ipv6: bool) -> Result<IpAddr> {
    wait_for("an address", FIRST_PING_LIMIT, || {
        let network = node.networks()?.into_iter().next();
        Ok(network.and_then(|network| {
            if is_ipv6 {
                network.ipv6.map(IpAddr::from)
            } else {
                network.ipv4.map(IpAddr::from)
            }
        }))
    })
}

fn value<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
