//! Frames of the network's full size over wires that take less: cut by farlan, never by IP.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use farlan_tests::ns::capture::Capture;
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::paths::PATH_LIMIT;
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::topology::OUTSIDE;
use farlan_tests::ns::{Nat, Wire, limit, transfer};

const LIMIT: Duration = Duration::from_secs(180);

/// What the homes' wires take.
const NARROW: u16 = 1400;

/// How soon full-size frames must get through.
const FOUND: Duration = Duration::from_secs(3);

/// IP and ICMP headers of a ping.
const HEADERS: u16 = 28;

/// The smallest ping that carries its time, which `ping` then prints.
const SMALLEST: u16 = HEADERS + 16;

/// Pings of full size and of the smallest pass between two homes whose wires take [`NARROW`] bytes, over the relay and
/// over the direct path, whether routers tell that a packet is too large or not.
fn full_size_passes(mtu: u16, tells: bool) {
    for path in ["relay", "direct"] {
        limit::test(LIMIT, |lab| {
            let wire = Wire::PLAIN;
            let homes = [lab.home("a", Nat::Port, wire)?, lab.home("b", Nat::Port, wire)?];
            for home in &homes {
                lab.limit_packets(home, NARROW, tells)?;
            }
            if path == "relay" {
                lab.block(&homes[0], &homes[1])?;
            }
            let captures = [&homes[0], &homes[1]].map(|home| Capture::start(&home.router, OUTSIDE));
            let pair = Pair::in_homes_with(lab, homes, wire, &["--mtu", &mtu.to_string()])?;
            let small = pair.pings(Duration::from_millis(50))?;
            pair.wait_path(path, PATH_LIMIT)?;
            drop(small.stop()?);
            let ping = |bytes: u16, count: &str| -> Result<PingReport> {
                let (bytes, target) = ((bytes - HEADERS).to_string(), pair.b.ipv4()?.to_string());
                let words = ["-c", count, "-i", "0.1", "-W", "1", "-M", "do", "-s", &bytes, &target];
                PingReport::run(pair.a.host(), &words, DEFAULT_LIMIT)
            };
            let start = Instant::now();
            wait_for("a ping of full size", FOUND * 3, || {
                Ok((ping(mtu, "1")?.answered() == 1).then_some(()))
            })?;
            let took = start.elapsed();
            println!("MTU {mtu}, {path}, told {tells}: full size passes after {took:?}");
            ensure!(took <= FOUND, "MTU {mtu}, {path}, told {tells}: after {took:?}");
            for bytes in [mtu, mtu - 1, NARROW - 100, NARROW - 50, SMALLEST] {
                let report = ping(bytes, "20")?;
                let one_each = report.answered() == 20 && report.answers.len() == 20;
                ensure!(one_each, "{path}, {bytes} bytes: {}", report.finished);
            }
            let data = transfer::noise(mtu.into(), 1_000_000);
            let received = transfer::tcp(pair.a.host(), pair.b.host(), pair.b.ipv4()?.into(), &data)?;
            ensure!(received.sha256 == transfer::sha256(&data), "{path}: {received:?}");
            pair.wait_path(path, Duration::from_secs(1))?;
            for capture in captures {
                let datagrams = capture?.datagrams();
                ensure!(!datagrams.is_empty(), "nothing was captured");
                let fragment = datagrams.iter().find(|datagram| datagram.fragment);
                ensure!(fragment.is_none(), "IP cut a datagram: {fragment:?}");
            }
            Ok(())
        });
    }
}

#[test]
fn the_usual_mtu_passes_narrow_wires() {
    full_size_passes(1372, true);
}

#[test]
fn the_usual_mtu_passes_narrow_wires_that_tell_nothing() {
    full_size_passes(1372, false);
}

#[test]
fn the_largest_mtu_passes_narrow_wires() {
    full_size_passes(9000, true);
}

#[test]
fn the_largest_mtu_passes_narrow_wires_that_tell_nothing() {
    full_size_passes(9000, false);
}
