//! The lab itself: its wires, NATs and limits are what they claim, without farlan.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use farlan_tests::ns::avahi::Avahi;
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::{self, PingReport};
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::topology::{INSIDE, OUTSIDE};
use farlan_tests::ns::{Lab, Nat, Wire, limit, namespace, transfer};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_round_trip_takes_as_long_as_asked_for() {
    limit::test(LIMIT, |lab| {
        let wire = Wire::for_round_trip(Duration::from_millis(150));
        let s = lab.public_host("s", wire)?;
        let a = lab.home("a", Nat::Port, wire)?;
        let target = s.address.to_string();
        let report = PingReport::run(&a.host, &["-c", "20", "-i", "0.05", &target], DEFAULT_LIMIT)?;
        ensure!(report.answered() == 20, "{}", report.finished);
        let median = report.median_rtt_ms().context("no answer")?;
        ensure!((148.0..=154.0).contains(&median), "median round trip {median} ms");
        let first = a.host.inside(|| {
            let start = std::time::Instant::now();
            let deadline = start + Duration::from_secs(5);
            ping::first_answer(s.address.into(), Duration::from_millis(20), deadline).map(|at| at - start)
        })??;
        ensure!(first >= Duration::from_millis(148), "an answer after {first:?}");
        Ok(())
    });
}

#[test]
fn delayed_wires_keep_large_transfers_whole() {
    limit::test(LIMIT, |lab| {
        let wire = Wire {
            delay: Duration::from_millis(2),
            ..Wire::PLAIN
        };
        let s = lab.public_host("s", wire)?;
        let a = lab.home("a", Nat::Port, wire)?;
        let data = transfer::noise(7, 4 << 20);
        let received = transfer::tcp(&a.host, &s.namespace, s.address.into(), &data)?;
        ensure!(
            received.bytes == data.len() && received.sha256 == transfer::sha256(&data),
            "{received:?}"
        );
        let datagram = transfer::noise(8, 60_000);
        let received = transfer::udp(&a.host, &s.namespace, s.address.into(), &datagram)?;
        ensure!(received.sha256 == transfer::sha256(&datagram), "{received:?}");
        Ok(())
    });
}

#[test]
fn a_lossy_wire_loses_its_share() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let t = lab.public_host(
            "t",
            Wire {
                loss: 0.3,
                ..Wire::PLAIN
            },
        )?;
        let target = t.address.to_string();
        let words = ["-c", "400", "-i", "0.005", "-W", "1", &target];
        let report = PingReport::run(&s.namespace, &words, DEFAULT_LIMIT)?;
        // 0.7 squared of 400 are 196; five standard deviations are 50. Lost ARP packets cost a few at the start.
        ensure!(
            (120..=260).contains(&report.answered()),
            "{} of 400 answered",
            report.answered()
        );
        Ok(())
    });
}

#[test]
fn homes_reach_no_other_home() {
    limit::test(LIMIT, |lab| {
        let a = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let b = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let inside_b = b.inside.to_string();
        let report = PingReport::run(&a.host, &["-c", "2", "-W", "1", "-i", "0.2", &inside_b], DEFAULT_LIMIT)?;
        ensure!(report.answers.is_empty(), "{}", report.finished);
        ensure!(a.router.addresses(OUTSIDE, "-6")?.is_empty(), "the underlay has IPv6");
        Ok(())
    });
}

/// The judges of the LAN tests find over a plain Ethernet what they must find over farlan.
#[test]
fn avahi_finds_a_service_over_a_plain_ethernet() {
    limit::test(LIMIT, |lab| {
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let alice = Avahi::start(&home.host, INSIDE, "alice", lab.directory())?;
        let router = Avahi::start(&home.router, "lan", "router", lab.directory())?;
        let _service = alice.publish("Alice music", "_daap._tcp", 3689)?;
        wait_for("the service", Duration::from_secs(30), || {
            let found = router.browse("_daap._tcp")?.stdout;
            Ok(found.contains("Alice\\032music").then_some(()))
        })
    });
}

#[test]
fn packet_sockets_show_tags_as_they_were_on_the_wire() {
    limit::test(LIMIT, |lab| {
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let from = home.host.inside(|| PacketSocket::open(INSIDE, Offloads::Bare))??;
        let to = home.router.inside(|| PacketSocket::open("lan", Offloads::Bare))??;
        for tags in [
            &[][..],
            &[0x81, 0, 0x60, 0x64],
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 0x65],
        ] {
            let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], tags, &[0x88, 0xb5], b"payload"].concat();
            from.send(&frame)?;
            wait_for(&format!("{frame:02x?}"), Duration::from_secs(5), || {
                Ok(to.receive()?.filter(|arrived| *arrived == frame))
            })?;
        }
        Ok(())
    });
}

#[test]
fn nothing_is_left_behind() {
    let mut names = Vec::new();
    let mut directory = None;
    limit::test(LIMIT, |lab: &mut Lab| {
        let a = lab.home(
            "a",
            Nat::Port,
            Wire {
                delay: Duration::from_millis(1),
                ..Wire::PLAIN
            },
        )?;
        names = [&a.host, &a.router]
            .map(|namespace| namespace.name().to_owned())
            .to_vec();
        directory = Some(lab.directory().to_owned());
        Ok(())
    });
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is still there");
    }
    assert!(directory.is_some_and(|directory| !directory.exists()));
}

#[test]
fn leftovers_of_the_dead_are_removed() {
    limit::test(LIMIT, |_| {
        // A process that has ended and was waited for: its id belongs to nobody for now.
        let mut child = std::process::Command::new("true").spawn()?;
        let dead = child.id();
        child.wait()?;
        let name = format!("fl{dead}-0-left");
        farlan_tests::ns::run(&["ip", "netns", "add", &name])?;
        let removed = namespace::remove_leftovers()?;
        ensure!(removed.contains(&name), "removed {removed:?}");
        ensure!(!Path::new("/run/netns").join(&name).exists(), "{name} is still there");
        Ok(())
    });
}
