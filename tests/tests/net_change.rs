//! Changes of the network under load: routers start anew, addresses change, a laptop goes elsewhere, a card fails, a machine
//! stands still. Frames flow again within bounds that are generous, for a busy machine; what was measured is printed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::echo::EchoStream;
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::topology::{INSIDE, LAN};
use farlan_tests::ns::transfer::SteadyTransfer;
use farlan_tests::ns::{Home, Lab, Nat, Wire, limit};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(180);

/// Pace of the pings.
const PACE: Duration = Duration::from_millis(10);

/// How long a path may take to come or to come back.
const PATH_LIMIT: Duration = Duration::from_secs(60);

/// Longest time without an answer.
const GAP_LIMIT: Duration = Duration::from_secs(15);

/// How long the load runs before a change, and after everything is well again.
const STEADY: Duration = Duration::from_secs(2);

/// So many answers in a row show that traffic is back.
const SOME: usize = 20;

/// Two direct nodes that ping each other, the second downloading from the first.
struct Busy {
    pair: Pair,
    pings: EchoStream,
    transfer: SteadyTransfer,
}

impl Busy {
    fn start(lab: &mut Lab) -> Result<Self> {
        let pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::PLAIN)?;
        let pings = pair.pings(PACE)?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let transfer = SteadyTransfer::start(pair.a.host(), pair.b.host(), pair.b.ipv4()?.into())?;
        std::thread::sleep(STEADY);
        Ok(Self { pair, pings, transfer })
    }

    /// Waits until traffic flows and the two are direct again after something that happened at `begun`, prints what that cost, and returns
    /// the longest time without an answer.
    fn settle(self, what: &str, begun: Instant) -> Result<Duration> {
        let Self { pair, pings, transfer } = self;
        pings.wait_until(SOME, PATH_LIMIT, |_| true)?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let direct = begun.elapsed();
        std::thread::sleep(STEADY);
        let record = pings.stop()?;
        let bytes = transfer.stop().context("the download")?;
        let (gap, _) = record.longest_gap_after(begun).context("no answers after the change")?;
        println!(
            "{what}: no answer for {:.2} s, direct again after {:.1} s, {} of {} pings lost, {bytes} bytes downloaded whole",
            gap.as_secs_f64(),
            direct.as_secs_f64(),
            record.lost().len(),
            record.sent.len(),
        );
        ensure!(gap <= GAP_LIMIT, "no answer for {gap:?}\n{}", pair.counters()?);
        Ok(gap)
    }
}

#[test]
fn a_router_that_starts_anew_under_load_interrupts_shortly() {
    limit::test(LIMIT, |lab| {
        let busy = Busy::start(lab)?;
        let begun = Instant::now();
        busy.pair.b.home.rebind_router(40_000..=49_999)?;
        busy.settle("the router starts anew", begun)?;
        Ok(())
    });
}

#[test]
fn another_address_outside_interrupts_shortly() {
    limit::test(LIMIT, |lab| {
        let mut busy = Busy::start(lab)?;
        let begun = Instant::now();
        busy.pair.b.home.change_address(lab)?;
        busy.settle("another address outside", begun)?;
        Ok(())
    });
}

#[test]
fn a_download_goes_on_when_the_laptop_goes_to_another_home_and_comes_whole() {
    limit::test(LIMIT, |lab| {
        let elsewhere = lab.home("c", Nat::Port, Wire::PLAIN)?;
        let mut busy = Busy::start(lab)?;
        busy.pair.b.home.unplug()?;
        std::thread::sleep(Duration::from_secs(3));
        let there = busy.pair.b.home.plug_into(&elsewhere)?;
        busy.pair.b.home = there;
        busy.settle("to another home, 3 s without link", Instant::now())?;
        Ok(())
    });
}

/// Gives the host of a home a second card, on the LAN of another home. Its default route comes behind the first one's.
fn second_uplink(home: &Home, other: &Home) -> Result<()> {
    let (host, router) = (&home.host, &other.router);
    let name = host.name();
    router.ip(&format!("link add up2 type veth peer name eth1 netns {name}"))?;
    router.set_sysctl_if_there("ipv6/conf/up2/disable_ipv6", "1")?;
    router.ip(&format!("link set up2 master {LAN} up"))?;
    host.set_sysctl_if_there("ipv6/conf/eth1/disable_ipv6", "1")?;
    let [a, b, c, _] = other.inside.octets();
    host.ip(&format!("address add {a}.{b}.{c}.99/24 dev eth1"))?;
    host.ip("link set eth1 up")?;
    host.ip(&format!("route add default via {a}.{b}.{c}.1 dev eth1 metric 500"))?;
    Ok(())
}

#[test]
fn a_second_card_takes_over_when_the_first_has_no_way_out_any_more() {
    limit::test(LIMIT, |lab| {
        let other = lab.home("c", Nat::Port, Wire::PLAIN)?;
        let busy = Busy::start(lab)?;
        let home = busy.pair.b.home.clone();
        second_uplink(&home, &other)?;
        std::thread::sleep(STEADY);
        ensure!(
            busy.pair
                .views()?
                .iter()
                .all(|view| view.path.as_deref() == Some("direct")),
            "a second card disturbs"
        );
        let begun = Instant::now();
        // Both cards keep their addresses.
        home.host.ip(&format!("route del default dev {INSIDE}"))?;
        busy.settle("the other card leads outside", begun)?;
        Ok(())
    });
}

#[test]
fn a_daemon_that_was_stopped_for_half_a_minute_goes_on_at_once() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::PLAIN)?;
        let pings = pair.pings(PACE)?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let pid = i32::try_from(pair.b.node.process()?.pid())?;
        let pid = Pid::from_raw(pid).context("a process has a number")?;
        kill_process(pid, Signal::STOP)?;
        std::thread::sleep(Duration::from_secs(30));
        // What waits in its socket is of before, and is not an answer to what comes now.
        pings.stop()?;
        kill_process(pid, Signal::CONT)?;
        let begun = Instant::now();
        let pings = pair.pings(PACE)?;
        pings.wait_until(SOME, PATH_LIMIT, |_| true)?;
        let record = pings.stop()?;
        let first = record.answers.first().context("no answer")?.at - begun;
        println!("first answer {:.2} s after the daemon went on", first.as_secs_f64());
        ensure!(first <= GAP_LIMIT, "the first answer came after {first:?}");
        pair.wait_path("direct", PATH_LIMIT)?;
        Ok(())
    });
}
