//! What can happen to the lab's homes, without farlan: timers run out, addresses change, hosts move, UDP is blocked, wires get
//! worse, programs stand still.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::echo::EchoStream;
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::program::Process;
use farlan_tests::ns::topology::{Bursts, Home, INSIDE, PublicHost};
use farlan_tests::ns::usage::cpu_seconds;
use farlan_tests::ns::{Access, Lab, Nat, Wire, limit, transfer};

const LIMIT: Duration = Duration::from_secs(120);

/// How long a packet may be under way before it counts as dropped.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long something that must come may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

const PORT: u16 = 9600;

fn socket(namespace: &farlan_tests::ns::Namespace, address: impl Into<IpAddr>, port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::new(address.into(), port);
    let socket = namespace.inside(|| UdpSocket::bind(address))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The source of the next packet, none if nothing comes.
fn source(socket: &UdpSocket) -> Option<SocketAddr> {
    Some(socket.recv_from(&mut [0; 16]).ok()?.1)
}

/// As whom a public host sees the home's socket.
fn seen(own: &UdpSocket, public: &UdpSocket) -> Result<SocketAddr> {
    own.send_to(b"out", public.local_addr()?)?;
    source(public).context("nothing gets out")
}

/// A home whose routers forget after three seconds, and five if they have seen an answer.
fn forgetful(lab: &mut Lab, name: &str, access: impl Into<Access>) -> Result<(Home, UdpSocket)> {
    let mut home = lab.home(name, access, Wire::PLAIN)?;
    home.set_udp_timers(Duration::from_secs(3), Duration::from_secs(5))?;
    let own = socket(&home.host, home.inside, PORT)?;
    Ok((home, own))
}

/// A reply passes while the timer runs and not a second after. The kernel looks for what has run out when it looks a flow up, so
/// it is exact.
#[test]
fn routers_forget_when_their_timers_run_out() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let kinds = ["port", "full", "port/port"];
        let mut homes = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            homes.push(forgetful(lab, &format!("h{number}"), kind.parse::<Access>()?)?);
        }
        // They mostly wait, so all at once.
        thread::scope(|scope| {
            let threads: Vec<_> = homes
                .iter()
                .map(|(home, own)| scope.spawn(|| forgets_in_time(home, own, &s)))
                .collect();
            let outcomes = threads.into_iter().map(|thread| {
                let outcome = thread.join();
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            outcomes.collect()
        })
    });
}

fn forgets_in_time(home: &Home, own: &UdpSocket, host: &PublicHost) -> Result<()> {
    let access = home.access;
    let reply_passes = |is_stream: bool, after_ms: u64| -> Result<bool> {
        let public = socket(&host.namespace, host.address, 0)?;
        let mut mapped = seen(own, &public)?;
        if is_stream {
            // A flow is a stream once it has gone back and forth for two seconds.
            for _ in 0..6 {
                public.send_to(b"answer", mapped)?;
                ensure!(source(own).is_some(), "an answer did not get in");
                thread::sleep(Duration::from_millis(500));
                mapped = seen(own, &public)?;
            }
        }
        thread::sleep(Duration::from_millis(after_ms));
        public.send_to(b"answer", mapped)?;
        Ok(source(own).is_some())
    };
    ensure!(reply_passes(false, 2_000)?, "{access}: forgotten too early");
    // A router with a table of its own remembers by that.
    let remembers = access.router == Nat::FullCone;
    ensure!(reply_passes(false, 4_000)? == remembers, "{access}: an unanswered flow");
    ensure!(reply_passes(true, 4_000)?, "{access}: a stream is forgotten too early");
    ensure!(!reply_passes(true, 6_500)?, "{access}: a stream is not forgotten");
    Ok(())
}

#[test]
fn a_home_gets_another_address_and_loses_its_flows() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        for (number, access) in Access::ALL.into_iter().enumerate() {
            if access.router == Nat::Absent || access.behaviour().is_none() {
                continue;
            }
            let mut home = lab.home(&format!("n{number}"), access, Wire::PLAIN)?;
            let own = socket(&home.host, home.inside, PORT)?;
            let public = socket(&s.namespace, s.address, 0)?;
            let mut before = seen(&own, &public)?;
            for _ in 0..2 {
                let address = home.change_address(lab)?;
                ensure!(address == home.outside && before.ip() != address, "{access}: {home:?}");
                public.send_to(b"answer", before)?;
                ensure!(source(&own).is_none(), "{access}: the old address still works");
                let after = seen(&own, &public)?;
                ensure!(after.ip() == address, "{access}: seen as {after}, not {address}");
                public.send_to(b"answer", after)?;
                ensure!(source(&own).is_some(), "{access}: an answer did not get in");
                before = after;
            }
        }
        Ok(())
    });
}

#[test]
fn a_host_roams_to_another_lan_and_back() {
    limit::test(LIMIT, |lab| {
        lab.use_dual_stack()?;
        let s = lab.public_host("s", Wire::PLAIN)?;
        let a = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let b = lab.home("b", Nat::Symmetric, Wire::PLAIN)?;
        // "7: eth0@if8: <FLAGS> ..."
        let card = || -> Result<String> {
            let listing = a.host.ip(&format!("-o link show dev {INSIDE}"))?;
            Ok(listing.split(':').next().unwrap_or_default().to_owned())
        };
        let before = card()?;
        let there = a.roam_to(&b)?;
        ensure!(there.inside != b.inside && there.outside == b.outside, "{there:?}");
        reaches(&there, &s)?;
        // It is a host of that LAN now.
        let neighbour = PingReport::run(
            &b.host,
            &["-c", "2", "-i", "0.2", &there.inside.to_string()],
            DEFAULT_LIMIT,
        )?;
        ensure!(neighbour.answered() == 2, "{}", neighbour.finished);
        // Not to a place that a host of that LAN has already.
        let back = there.roam_to(&a)?;
        ensure!(back.inside == a.inside && back.outside == a.outside, "{back:?}");
        reaches(&back, &s)?;
        ensure!(before == card()?, "the host has another card now");
        back.unplug()?;
        let cut = PingReport::run(&a.host, &["-c", "1", "-W", "1", &s.address.to_string()], DEFAULT_LIMIT)?;
        ensure!(cut.answers.is_empty(), "{}", cut.finished);
        Ok(())
    });
}

/// A home's host is seen by its outside address, over both families.
fn reaches(home: &Home, host: &PublicHost) -> Result<()> {
    let (own, public) = (
        socket(&home.host, home.inside, 0)?,
        socket(&host.namespace, host.address, 0)?,
    );
    let seen = seen(&own, &public)?;
    ensure!(seen.ip() == home.outside, "seen as {seen}: {home:?}");
    let (own, public) = (home.ipv6.context("no IPv6")?, host.ipv6.context("no IPv6")?);
    let (own, public) = (socket(&home.host, own, 0)?, socket(&host.namespace, public, 0)?);
    own.send_to(b"out", public.local_addr()?)?;
    ensure!(source(&public) == Some(own.local_addr()?), "not over IPv6: {home:?}");
    Ok(())
}

/// Guests of one router reach each other by their outside endpoints if it hairpins, and not otherwise.
#[test]
fn isolated_neighbours_have_nothing_but_the_hairpin() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        for (names, access) in [(["a", "b"], "port"), (["c", "d"], "full~"), (["e", "f"], "port~")] {
            let access: Access = access.parse()?;
            let homes = lab.shared_home(&names, access, Wire::PLAIN)?;
            let public = socket(&s.namespace, s.address, 0)?;
            let mut ends = Vec::new();
            for home in &homes {
                home.isolate()?;
                let own = socket(&home.host, home.inside, 0)?;
                let outside = seen(&own, &public)?;
                ends.push((own, outside));
            }
            let [(one, one_outside), (other, other_outside)] = &ends[..] else {
                anyhow::bail!("not two hosts");
            };
            one.send_to(b"knock", other.local_addr()?)?;
            ensure!(source(other).is_none(), "{access}: through the LAN");
            one.send_to(b"knock", other_outside)?;
            let arrived = source(other);
            ensure!(
                arrived == access.hairpins.then_some(*one_outside),
                "{access}: {arrived:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn blocked_udp_passes_in_neither_direction_and_tcp_does() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let home = lab.home("a", Nat::FullCone, Wire::PLAIN)?;
        let (own, public) = (
            socket(&home.host, home.inside, PORT)?,
            socket(&s.namespace, s.address, 0)?,
        );
        let mapped = seen(&own, &public)?;
        home.block_udp()?;
        ensure!(seen(&own, &public).is_err(), "UDP gets out");
        public.send_to(b"answer", mapped)?;
        ensure!(source(&own).is_none(), "UDP gets in");
        let address = SocketAddr::from((s.address, 443));
        let _listener = s.namespace.inside(|| TcpListener::bind(address))??;
        home.host.inside(|| TcpStream::connect_timeout(&address, SOON))??;
        home.unblock_udp()?;
        ensure!(seen(&own, &public)? == mapped, "another mapping");
        Ok(())
    });
}

/// Large packets vanish without a word behind the narrow wire, for a home behind a carrier as well.
#[test]
fn a_narrow_wire_is_a_black_hole() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let target = s.address.to_string();
        for (name, access) in [
            ("a", Access::of(Nat::Port)),
            ("b", Access::behind(Nat::Port, Nat::Symmetric)),
        ] {
            let home = lab.home(name, access, Wire::PLAIN)?;
            lab.limit_packets(&home, 1280, false)?;
            for (bytes, passes) in [("1252", true), ("1253", false)] {
                let words = ["-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", bytes, &target];
                let report = PingReport::run(&home.host, &words, DEFAULT_LIMIT)?;
                ensure!((report.answered() == 2) == passes, "{bytes} bytes: {}", report.finished);
                let text = format!("{}{}", report.finished.stdout, report.finished.stderr);
                ensure!(!text.contains("Frag needed") && !text.contains("mtu"), "{text}");
            }
        }
        Ok(())
    });
}

#[test]
fn wires_lose_in_bursts_and_let_packets_overtake() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let bursts = Bursts { begin: 0.02, end: 0.1 };
        let bad = lab.public_host(
            "t",
            Wire {
                bursts: Some(bursts),
                ..Wire::PLAIN
            },
        )?;
        let jittery = lab.public_host(
            "u",
            Wire {
                delay: Duration::from_millis(2),
                jitter: Duration::from_millis(40),
                ..Wire::PLAIN
            },
        )?;
        let pings = |host: &PublicHost| EchoStream::start(&s.namespace, host.address.into(), Duration::from_millis(3));
        let (to_bad, to_jittery) = (pings(&bad)?, pings(&jittery)?);
        for stream in [&to_bad, &to_jittery] {
            stream.wait_sent(1500, LIMIT)?;
        }
        let (to_bad, to_jittery) = (to_bad.stop()?, to_jittery.stop()?);
        println!("bursts: {to_bad}\njitter: {to_jittery}");
        // One packet in six is lost in each direction, ten at a time.
        let lost = to_bad.lost();
        let share = lost.len() as f64 / to_bad.sent.len() as f64;
        ensure!((0.15..0.45).contains(&share), "{share:.2} lost: {to_bad}");
        let bursts = lost.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() + 1;
        ensure!(lost.len() / bursts >= 4, "{bursts} bursts: {to_bad}");
        ensure!(to_jittery.lost().is_empty(), "{to_jittery}");
        ensure!(to_jittery.overtaken().len() > 100, "{to_jittery}");
        Ok(())
    });
}

#[test]
fn a_wire_with_a_rate_takes_its_time() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let slow = lab.public_host(
            "t",
            Wire {
                rate_kbit: 4000,
                ..Wire::PLAIN
            },
        )?;
        let data = transfer::noise(9, 1_000_000);
        let received = transfer::tcp(&s.namespace, &slow.namespace, slow.address.into(), &data)?;
        ensure!(received.sha256 == transfer::sha256(&data), "{received:?}");
        // Two seconds without headers and repetitions; a busy machine takes longer, never less.
        ensure!(received.took >= Duration::from_millis(1900), "{received:?}");
        Ok(())
    });
}

/// What sleeps does nothing, and its children neither.
#[test]
fn a_program_and_its_children_sleep_and_wake() {
    limit::test(LIMIT, |lab| {
        let host = lab.loose_host("a")?;
        let mut command = host.command("sh");
        command.args(["-c", "(while :; do echo child; done) & while :; do echo parent; done"]);
        let mut process = Process::spawn(command, "busy", lab.directory())?;
        wait_for("both to work", SOON, || {
            process.ensure_running()?;
            let log = process.log();
            Ok((log.contains("child") && log.contains("parent")).then_some(()))
        })?;
        process.sleep()?;
        let length = || -> Result<u64> { Ok(lab.directory().join("busy.log").metadata()?.len()) };
        // A signal is delivered when the processor is given up at the latest.
        wait_for("both to sleep", SOON, || {
            let before = length()?;
            thread::sleep(PATIENCE);
            Ok((length()? == before).then_some(()))
        })?;
        let spent = cpu_seconds(process.pid())?;
        thread::sleep(PATIENCE);
        ensure!(cpu_seconds(process.pid())? == spent, "it is awake");
        process.wake()?;
        let (asleep, start) = (length()?, Instant::now());
        wait_for("both to work again", SOON, || Ok((length()? > asleep).then_some(())))?;
        println!("awake after {:?}", start.elapsed());
        process.kill()
    });
}
