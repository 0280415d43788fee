//! The command line, as people and scripts use it between two homes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::cold::ColdPair;
use farlan_tests::ns::command::{self, DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::program::{NetworkView, PORT, Process};
use farlan_tests::ns::topology::PublicHost;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// A supernode and two registered nodes behind NATs, in no network yet.
struct Pair {
    public: PublicHost,
    supernode: Supernode,
    a: Node,
    b: Node,
}

impl Pair {
    fn start(lab: &mut Lab) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut node = |name: &str, nat: Nat| -> Result<Node> {
            let home = lab.home(name, nat, Wire::PLAIN)?;
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            Ok(node)
        };
        let (a, b) = (node("a", Nat::Port)?, node("b", Nat::Symmetric)?);
        Ok(Self {
            public,
            supernode,
            a,
            b,
        })
    }
}

fn node_id(node: &Node) -> Result<String> {
    let status = node.status()?;
    let id = status.get("node_id").and_then(Value::as_str);
    Ok(id.context("no node_id")?.to_owned())
}

/// Waits until a network has its IPv4 address.
fn addressed(node: &Node, name: &str) -> Result<NetworkView> {
    wait_for(&format!("{}'s address in {name}", node.name()), JOIN_LIMIT, || {
        let networks = node.networks()?;
        Ok(networks
            .into_iter()
            .find(|network| network.name == name && network.ipv4.is_some()))
    })
}

fn pings(from: &Node, to: &NetworkView) -> Result<()> {
    let target = to.ipv4.context("no IPv4 address")?.to_string();
    let report = PingReport::run(
        from.namespace(),
        &["-c", "5", "-i", "0.2", "-W", "2", &target],
        DEFAULT_LIMIT,
    )?;
    ensure!(report.answered() == 5, "{}", report.finished);
    Ok(())
}

#[test]
fn a_peer_can_be_pinged_by_id_prefix_and_address() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab)?;
        pair.b.join(&pair.a.host()?)?;
        let there = pair.b.wait_addressed(JOIN_LIMIT)?;
        let id = node_id(&pair.b)?;
        let targets = [
            id.clone(),
            id[..10].to_owned(),
            there.ipv4.context("no IPv4 address")?.to_string(),
            there.ipv6.context("no IPv6 address")?.to_string(),
        ];
        for target in &targets {
            let finished = pair.a.cli(&["ping", target, "-c", "1"])?.success()?;
            ensure!(finished.stdout.contains(&id[..10]), "{finished}");
        }
        // A prefix must be of ten letters, and somebody must have it.
        pair.a.cli(&["ping", &id[..9], "-c", "1"])?.expect_code(2)?;
        let nobody = if id.starts_with('a') {
            "bbbbbbbbbb"
        } else {
            "aaaaaaaaaa"
        };
        pair.a.cli(&["ping", nobody, "-c", "1", "-W", "2"])?.expect_code(1)?;
        Ok(())
    });
}

#[test]
fn peers_and_networks_show_what_tools_rely_on() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab)?;
        let finished = pair.a.cli(&["host", "--name", "attic"])?.success()?;
        ensure!(finished.stdout.lines().count() == 1, "{finished}");
        ensure!(
            !finished.stderr.trim().is_empty(),
            "nothing says that whoever holds the link is in"
        );
        pair.b.join(finished.stdout.trim())?;
        let (at_a, at_b) = (addressed(&pair.a, "attic")?, addressed(&pair.b, "attic")?);
        ensure!(at_a.network_id == at_b.network_id, "{at_a:?} {at_b:?}");
        ensure!(at_a.policy == "friends" && at_a.ipv4 != at_b.ipv4, "{at_a:?} {at_b:?}");
        for view in [&at_a, &at_b] {
            let host = if view == &at_a { &pair.a } else { &pair.b };
            ensure!(
                host.namespace().interfaces()?.contains(&view.interface),
                "no card {}",
                view.interface
            );
        }
        pings(&pair.a, &at_b)?;

        let id = node_id(&pair.b)?;
        pair.a.cli(&["ping", &id, "-c", "1"])?.success()?;
        let supernode = format!("{}:{PORT}", pair.public.address);
        let listed = |peers: &[Value]| peers.iter().find(|peer| peer["node_id"] == id.as_str()).cloned();
        let peer = wait_for("b with a measured round trip", JOIN_LIMIT, || {
            let peers = pair.a.peers()?;
            match listed(&peers).filter(|b| b["path"].is_string() && b["rtt_ms"].is_number()) {
                None => anyhow::bail!("there are {peers:?}"),
                found => Ok(found),
            }
        })?;
        match peer["path"].as_str() {
            Some("relay") => ensure!(peer["address"] == supernode.as_str(), "{peer}"),
            Some("direct") => ensure!(peer["address"] != supernode.as_str(), "{peer}"),
            _ => anyhow::bail!("no such path: {peer}"),
        }
        let status = pair.a.status()?;
        let listed = &status["supernodes"][0];
        ensure!(
            listed["address"] == supernode.as_str() && listed["registered"] == true,
            "{status}"
        );
        ensure!(
            listed["node_id"].is_string() && listed["rtt_ms"].is_number(),
            "{status}"
        );
        Ok(())
    });
}

#[test]
fn whoever_knows_the_name_is_in_an_open_network() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab)?;
        for node in [&pair.a, &pair.b] {
            let finished = node.join("london")?;
            ensure!(
                finished.stdout.contains("filter"),
                "nothing says that the card is unfiltered: {finished}"
            );
        }
        let (at_a, at_b) = (addressed(&pair.a, "london")?, addressed(&pair.b, "london")?);
        ensure!(at_a.policy == "strangers", "{at_a:?}");
        let [first, second, ..] = at_a.ipv4.context("no IPv4 address")?.octets();
        ensure!(first == 10 && second & 0xc0 == 64, "{at_a:?} is not in 10.64.0.0/10");
        pings(&pair.a, &at_b)?;
        let status = pair.a.cli(&["status"])?.success()?;
        ensure!(
            status.stdout.contains("filter"),
            "nothing says that the card is unfiltered: {status}"
        );
        Ok(())
    });
}

#[test]
fn a_node_is_in_several_networks_at_once() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab)?;
        let link = pair.a.host()?;
        pair.a.join("london")?;
        // A link can be long; it may come on standard input.
        let join = pair.b.cli_command(&["join", "-"]);
        command::finish(join, DEFAULT_LIMIT, Some(&format!("{link}\n")))?.success()?;
        pair.b.join("london")?;
        for name in ["lan", "london"] {
            let (at_a, at_b) = (addressed(&pair.a, name)?, addressed(&pair.b, name)?);
            pings(&pair.a, &at_b)?;
            pings(&pair.b, &at_a)?;
        }
        pair.b.cli(&["leave", "london"])?.success()?;
        let left: Vec<_> = pair.b.networks()?.into_iter().map(|network| network.name).collect();
        ensure!(left == ["lan"], "still in {left:?}");
        pings(&pair.a, &addressed(&pair.b, "lan")?)
    });
}

#[test]
fn host_and_join_become_the_daemon_where_none_runs() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab)?;
        pair.a.stop()?;
        let mut command = pair.a.cli_command(&["host"]);
        command.arg("--state-dir").arg(pair.a.state_directory());
        let mut foreground = Process::spawn(command, "foreground", lab.directory())?;
        let link = wait_for("the link", JOIN_LIMIT, || {
            foreground.ensure_running()?;
            let log = foreground.log();
            // The log holds standard error too; only a whole line is a link.
            let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            Ok(lines
                .find(|line| line.starts_with("farlan:") && !line.contains(' '))
                .map(|line| line.trim().to_owned()))
        })?;
        pair.b.join(&link)?;
        pings(&pair.b, &pair.a.wait_addressed(JOIN_LIMIT)?)?;
        let code = foreground.stop(JOIN_LIMIT)?;
        ensure!(code == 0, "ended with exit code {code}");
        Ok(())
    });
}

#[test]
fn joining_through_a_dead_supernode_says_so() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab)?;
        let link = pair.a.host()?;
        pair.b.stop()?;
        pair.supernode.process().kill()?;
        pair.b.start()?;
        let finished = pair.b.cli(&["join", &link])?.expect_code(5)?;
        ensure!(finished.stderr.contains("supernode"), "{finished}");
        Ok(())
    });
}

#[test]
fn two_cold_homes_at_150_milliseconds_meet_at_once() {
    limit::test(LIMIT, |lab| {
        let mut pair = ColdPair::new(
            lab,
            [Nat::Port, Nat::Symmetric],
            Wire::for_round_trip(Duration::from_millis(150)),
        )?;
        for run in 0..3 {
            let first = pair.start(lab, run)?;
            // `scripts/measure-first-ping` measures exactly; this much is left for a busy machine.
            ensure!(first.ipv4.max(first.ipv6) < Duration::from_secs(5), "{first:?}");
            ensure!(
                first.ipv4.min(first.ipv6) > Duration::from_millis(140),
                "faster than a round trip: {first:?}"
            );
        }
        Ok(())
    });
}
