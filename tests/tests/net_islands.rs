//! Peers on one switch without any router: they find each other with no supernode left.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::program::{NetworkView, Node, Supernode};
use farlan_tests::ns::switch::{Cards, Plugged, Switches};
use farlan_tests::ns::{Lab, limit};

const LIMIT: Duration = Duration::from_secs(180);

/// How long peers on one switch may take to meet: generous, for a busy machine. The measured times are printed.
const MEETING_LIMIT: Duration = Duration::from_secs(15);

/// How long islands may take that nothing tells of each other: beacons are seldom then.
const MERGING_LIMIT: Duration = Duration::from_secs(60);

fn ping(from: &Plugged, target: &str, limit: Duration) -> Result<()> {
    wait_for(&format!("{target} to answer {}", from.host.name()), limit, || {
        let report = PingReport::run(&from.host, &["-c", "1", "-W", "1", target], DEFAULT_LIMIT)?;
        Ok((report.answered() == 1).then_some(()))
    })
}

fn ipv4(network: &NetworkView) -> Result<Ipv4Addr> {
    network.ipv4.context("the network has no IPv4 address")
}

/// A supernode on switch 0, whose link is in the networks that are made, and which can vanish.
fn supernode(lab: &mut Lab, switches: &mut Switches) -> Result<Supernode> {
    let host = switches.plug(lab, "s", 0, Cards::Ipv4)?;
    Supernode::start(lab, &host.public().context("no IPv4")?)
}

#[test]
fn two_nodes_that_rebooted_with_the_internet_cut_meet_and_have_the_addresses_of_before() {
    limit::test(LIMIT, |lab| {
        let mut switches = Switches::new(lab, 1)?;
        let mut supernode = supernode(lab, &mut switches)?;
        let hosts = [
            switches.plug(lab, "a", 0, Cards::Ipv4)?,
            switches.plug(lab, "b", 0, Cards::Ipv4)?,
        ];
        let mut nodes = [
            Node::new(lab, "a", &hosts[0].host, Some(supernode.link()))?,
            Node::new(lab, "b", &hosts[1].host, Some(supernode.link()))?,
        ];
        nodes.iter_mut().try_for_each(Node::start)?;
        let link = nodes[0].host()?;
        nodes[1].join(&link)?;
        let mut before = Vec::new();
        for node in &nodes {
            before.push(node.wait_addressed(MEETING_LIMIT)?);
        }
        ping(&hosts[0], &ipv4(&before[1])?.to_string(), MEETING_LIMIT)?;
        // What was met is written down every ten seconds.
        for node in &nodes {
            let file = node.state_directory().join("contacts.toml");
            wait_for("the contacts to be written down", Duration::from_secs(30), || {
                Ok(std::fs::read_to_string(&file)
                    .is_ok_and(|text| text.contains("key"))
                    .then_some(()))
            })?;
        }
        supernode.process().kill()?;
        for node in &mut nodes {
            node.kill()?;
        }
        let begun = Instant::now();
        for node in &mut nodes {
            node.launch()?;
        }
        for node in &mut nodes {
            node.wait_ready()?;
        }
        ping(&hosts[0], &ipv4(&before[1])?.to_string(), MEETING_LIMIT)?;
        println!(
            "first answer {:.2} s after both daemons were started",
            begun.elapsed().as_secs_f64()
        );
        ping(&hosts[1], &ipv4(&before[0])?.to_string(), MEETING_LIMIT)?;
        let ipv6 = before[1].ipv6.context("no IPv6")?;
        ping(&hosts[0], &ipv6.to_string(), MEETING_LIMIT)?;
        for (node, before) in nodes.iter().zip(&before) {
            ensure!(
                node.wait_addressed(MEETING_LIMIT)?.ipv4 == before.ipv4,
                "another address than before"
            );
            ensure!(node.counter("beacons_recognised")? > 0, "no beacon was read");
        }
        Ok(())
    });
}

#[test]
fn a_node_joins_by_link_where_only_a_member_is_there() {
    for cards in [Cards::Ipv4, Cards::LinkLocal] {
        limit::test(LIMIT, |lab| {
            // The supernode was there when the network was made, on another switch.
            let mut switches = Switches::new(lab, 2)?;
            let mut supernode = supernode(lab, &mut switches)?;
            supernode.process().kill()?;
            let hosts = [switches.plug(lab, "a", 1, cards)?, switches.plug(lab, "b", 1, cards)?];
            let mut a = Node::new(lab, "a", &hosts[0].host, Some(supernode.link()))?;
            a.start()?;
            let link = a.host()?;
            let mut b = Node::new(lab, "b", &hosts[1].host, None)?;
            b.start()?;
            let begun = Instant::now();
            let finished = b.join(&link)?;
            println!("{cards:?}: joined after {:.2} s", begun.elapsed().as_secs_f64());
            ensure!(
                finished.stdout.contains("members were found"),
                "nothing is said of it: {finished}"
            );
            let networks = [a.wait_addressed(MEETING_LIMIT)?, b.wait_addressed(MEETING_LIMIT)?];
            ping(&hosts[1], &ipv4(&networks[0])?.to_string(), MEETING_LIMIT)?;
            ping(&hosts[0], &ipv4(&networks[1])?.to_string(), MEETING_LIMIT)?;
            println!("{cards:?}: pings answered after {:.2} s", begun.elapsed().as_secs_f64());
            Ok(())
        });
    }
}

#[test]
fn two_islands_become_one_when_their_switches_are_connected() {
    limit::test(LIMIT, |lab| {
        let mut switches = Switches::new(lab, 2)?;
        let mut supernode = supernode(lab, &mut switches)?;
        supernode.process().kill()?;
        let mut members = Vec::new();
        let mut link = None;
        for (name, switch) in [("a", 0), ("b", 0), ("c", 1), ("d", 1)] {
            let host = switches.plug(lab, name, switch, Cards::Ipv4)?;
            let mut node = Node::new(lab, name, &host.host, Some(supernode.link()))?;
            node.start()?;
            match &link {
                None => link = Some(node.host()?),
                // The first one of the second island is alone, and says so.
                Some(link) if name == "c" => _ = node.cli(&["join", link])?,
                Some(link) => _ = node.join(link)?,
            }
            members.push((host, node));
        }
        let mut addresses = Vec::new();
        for (_, node) in &members {
            addresses.push(ipv4(&node.wait_addressed(MEETING_LIMIT)?)?.to_string());
        }
        ping(&members[0].0, &addresses[1], MEETING_LIMIT)?;
        ping(&members[2].0, &addresses[3], MEETING_LIMIT)?;
        let apart = PingReport::run(
            &members[0].0.host,
            &["-c", "1", "-W", "1", &addresses[2]],
            DEFAULT_LIMIT,
        )?;
        ensure!(apart.answered() == 0, "they were not apart: {}", apart.finished);
        switches.connect(0, 1)?;
        let begun = Instant::now();
        for (from, to) in [(0, 2), (1, 3), (2, 1), (3, 0)] {
            ping(&members[from].0, &addresses[to], MERGING_LIMIT)?;
            println!(
                "{from} reached {to} {:.1} s after the switches were connected",
                begun.elapsed().as_secs_f64()
            );
        }
        // A broadcast reaches all.
        for (host, _) in &members {
            host.host.set_sysctl("ipv4/icmp_echo_ignore_broadcasts", "0")?;
        }
        let network = members[0].1.wait_addressed(MEETING_LIMIT)?;
        let own = ipv4(&network)?;
        let listing = members[0].0.host.addresses(&network.interface, "-4")?;
        let prefix: u32 = listing
            .iter()
            .find_map(|address| address.strip_prefix(&format!("{own}/"))?.parse().ok())
            .context("the kernel does not have the address")?;
        let all = Ipv4Addr::from(u32::from(own) | (u32::MAX >> prefix));
        let report = PingReport::broadcast(&members[0].0.host, all, 5, DEFAULT_LIMIT)?;
        for address in &addresses[1..] {
            let answers = report.answers_of(address.parse::<Ipv4Addr>()?);
            ensure!(answers >= 4, "{address} answered {answers} of 5: {}", report.finished);
        }
        Ok(())
    });
}
