//! UDP is blocked: the same datagrams go over TCP to the supernode, and over UDP again once it works. The times are
//! printed; what is asserted leaves room for a machine that is busy with other things.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::echo::EchoStream;
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::paths::PATH_LIMIT;
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::topology::{Home, OUTSIDE};
use farlan_tests::ns::{Nat, Node, Supernode, Wire, limit};

const LIMIT: Duration = Duration::from_secs(240);

/// How soon frames pass over TCP: 3 s, and as much again for every second a busy machine takes.
const OVER_TCP: Duration = Duration::from_secs(15);

/// How soon the way leads over UDP again: 60 s, and some.
const OVER_UDP: Duration = Duration::from_secs(90);

/// What a hotel lets out: no UDP, and of TCP two ports.
fn block_udp(home: &Home) -> Result<()> {
    home.router.nft(&format!(
        "table ip blocked {{
            chain forward {{
                type filter hook forward priority -10;
                oifname {OUTSIDE} meta l4proto udp drop
                iifname {OUTSIDE} meta l4proto udp drop
                oifname {OUTSIDE} tcp dport != {{ 80, 443 }} drop
            }}
        }}"
    ))
}

fn open_udp(home: &Home) -> Result<()> {
    home.router.nft("delete table ip blocked")
}

/// Whether a node's way to its supernode leads over TCP.
fn over_tcp(node: &Node) -> Result<bool> {
    let status = node.status()?;
    let supernode = &status["supernodes"][0];
    let tcp = supernode["tcp"].as_bool().context("a status without tcp")?;
    let address = supernode["address"].as_str().context("no address")?;
    ensure!(address.starts_with("tcp/") == tcp, "{supernode}");
    Ok(tcp && supernode["registered"] == true)
}

/// Waits until a node is registered over TCP, or over UDP; returns how long it took.
fn wait_over(node: &Node, tcp: bool, limit: Duration) -> Result<Duration> {
    let start = Instant::now();
    wait_for(&format!("{} to have tcp {tcp}", node.name()), limit, || {
        let registered = node.status()?["supernodes"][0]["registered"] == true;
        Ok((registered && over_tcp(node)? == tcp).then_some(()))
    })?;
    Ok(start.elapsed())
}

#[test]
fn a_node_that_starts_behind_a_block_is_on_the_lan_over_tcp_and_on_udp_again_when_it_is_open() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::PLAIN)?;
        ensure!(!over_tcp(&pair.a.node)? && !over_tcp(&pair.b.node)?);
        pair.b.node.stop()?;
        block_udp(&pair.b.home)?;

        let pings = pair.pings(Duration::from_millis(50))?;
        let start = Instant::now();
        pair.b.node.launch()?;
        pings.wait_until(20, OVER_TCP * 2, |_| true)?;
        let first = pings.record().since(start).answers.first().context("no answer")?.at;
        let ready = start.elapsed();
        let took = first.duration_since(start);
        println!("UDP blocked from the start: the first ping passes after {took:?} (20 of them within {ready:?})");
        ensure!(took < OVER_TCP, "{took:?}");
        pair.b.node.wait_ready()?;
        ensure!(over_tcp(&pair.b.node)? && !over_tcp(&pair.a.node)?);
        ensure!(pair.b.node.log().contains("leads over TCP"), "{}", pair.b.node.log());
        let shown = pair.b.node.cli(&["peers"])?.success()?;
        ensure!(shown.stdout.contains("relay, tcp"), "{shown}");
        let shown = pair.b.node.cli(&["status"])?.success()?;
        ensure!(shown.stdout.contains("tcp/"), "{shown}");
        let status = pair.supernode.cli(&["status"])?.success()?;
        ensure!(status.stdout.contains("at TCP [::]:443"), "{status}");

        // Of full size, too.
        let target = pair.b.ipv4()?.to_string();
        let words = ["-c", "20", "-i", "0.1", "-W", "2", "-M", "do", "-s", "1344", &target];
        let report = PingReport::run(pair.a.host(), &words, DEFAULT_LIMIT)?;
        ensure!(report.answered() >= 19, "{report:?}");

        open_udp(&pair.b.home)?;
        let opened = Instant::now();
        let back = wait_over(&pair.b.node, false, OVER_UDP)?;
        println!("UDP open again: registered over it after {back:?}");
        pair.wait_path("direct", PATH_LIMIT)?;
        let gap = pings.record().longest_gap_after(opened).map(|(gap, _)| gap);
        println!("the longest gap meanwhile: {gap:?}");
        let record = pings.stop()?.since(opened);
        ensure!(record.lost().len() < 40, "{} lost", record.lost().len());
        Ok(())
    });
}

#[test]
fn a_block_in_mid_traffic_at_both_ends_is_got_over_and_so_is_its_end() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(
            lab,
            [Nat::Port, Nat::Port],
            Wire::for_round_trip(Duration::from_millis(40)),
        )?;
        let pings = pair.pings(Duration::from_millis(50))?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let blocked = Instant::now();
        for member in [&pair.a, &pair.b] {
            block_udp(&member.home)?;
        }
        for member in [&pair.a, &pair.b] {
            wait_over(&member.node, true, OVER_UDP)?;
        }
        pings.wait_until(40, OVER_TCP * 2, |_| true)?;
        let (gap, _) = pings.record().longest_gap_after(blocked).context("no gap")?;
        println!("blocked at both ends in mid-traffic: a gap of {gap:?}");
        ensure!(gap < OVER_TCP, "{gap:?}");
        let views = pair.views()?;
        ensure!(
            views.iter().all(|view| view.path.as_deref() == Some("relay")),
            "{views:?}"
        );
        let opened = Instant::now();
        for member in [&pair.a, &pair.b] {
            open_udp(&member.home)?;
        }
        for member in [&pair.a, &pair.b] {
            wait_over(&member.node, false, OVER_UDP)?;
        }
        println!("both over UDP again after {:?}", opened.elapsed());
        pair.wait_path("direct", OVER_UDP)?;
        pings.stop()?;
        Ok(())
    });
}

#[test]
fn machines_on_one_lan_stay_direct_while_the_way_to_the_supernode_is_blocked() {
    limit::test(LIMIT, |lab| {
        let mut homes = lab.shared_home(&["a", "b"], Nat::Port, Wire::PLAIN)?;
        let (b, a) = (homes.pop().context("two")?, homes.pop().context("two")?);
        let pair = Pair::in_homes(lab, [a, b], Wire::PLAIN)?;
        let pings = pair.pings(Duration::from_millis(50))?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let blocked = Instant::now();
        block_udp(&pair.a.home)?;
        for member in [&pair.a, &pair.b] {
            wait_over(&member.node, true, OVER_UDP)?;
        }
        pings.wait_sent(100, LIMIT)?;
        let views = pair.views()?;
        ensure!(
            views.iter().all(|view| view.path.as_deref() == Some("direct")),
            "{views:?}"
        );
        let record = pings.stop()?.since(blocked);
        let (lost, sent) = (record.lost().len(), record.sent.len());
        println!("on one LAN: {lost} of {sent} pings lost while the supernode's UDP is blocked");
        ensure!(lost * 100 <= sent, "{lost} of {sent}");
        Ok(())
    });
}

#[test]
fn a_tcp_port_that_another_program_has_is_said_and_the_supernode_serves_by_udp() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let taken = public
            .namespace
            .inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 443)))??;
        let supernode = Supernode::start(lab, &public)?;
        let status = supernode.cli(&["status"])?.success()?;
        ensure!(status.stdout.contains("no TCP port is open"), "{status}");
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        node.wait_registered(DEFAULT_LIMIT)?;
        // Blocked, it asks the other program without end, and is back when it can.
        block_udp(&home)?;
        let lost = |node: &Node| -> Result<bool> { Ok(node.status()?["supernodes"][0]["registered"] == false) };
        wait_for("the loss of the supernode", OVER_UDP, || Ok(lost(&node)?.then_some(())))?;
        open_udp(&home)?;
        node.wait_registered(DEFAULT_LIMIT)?;
        ensure!(!over_tcp(&node)?);
        drop(taken);
        Ok(())
    });
}

#[test]
fn a_stream_carries_a_conversation_at_some_speed() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start_apart(lab, [Wire::PLAIN; 2], Wire::PLAIN)?;
        for member in [&pair.a, &pair.b] {
            block_udp(&member.home)?;
        }
        for member in [&pair.a, &pair.b] {
            wait_over(&member.node, true, OVER_UDP)?;
        }
        let target = IpAddr::from(pair.b.ipv4()?);
        let pings = EchoStream::start(pair.a.host(), target, Duration::from_millis(10))?;
        pings.wait_until(100, OVER_TCP * 2, |_| true)?;
        pings.wait_sent(500, LIMIT)?;
        let record = pings.stop()?;
        let since = record.answers.first().context("no answer")?.request;
        let lost = record.lost().into_iter().filter(|request| *request >= since).count();
        println!(
            "{lost} of {} pings lost, 100 a second over TCP at both ends",
            record.sent.len() - since
        );
        ensure!(lost <= 5, "{lost} lost");
        Ok(())
    });
}
