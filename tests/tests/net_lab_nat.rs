//! The lab's routers and its core, without farlan: NATs translate as their kind says, links are cut and healed, small
//! TTLs expire, and the judges of the path tests see what happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::capture::Capture;
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::echo::EchoStream;
use farlan_tests::ns::nat::classify::Classifier;
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::topology::{Home, INSIDE, OUTSIDE};
use farlan_tests::ns::traffic::Count;
use farlan_tests::ns::{Access, Lab, Namespace, Nat, Wire, limit};

const LIMIT: Duration = Duration::from_secs(60);

/// How long a packet may be under way before it counts as dropped.
const PATIENCE: Duration = Duration::from_millis(500);

/// The port of the homes' hosts.
const PORT: u16 = 9600;

fn socket(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::new(address.into(), port);
    let socket = namespace.inside(|| UdpSocket::bind(address))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The kinds that translate UDP.
fn translating() -> Vec<Access> {
    let all = Access::ALL.into_iter();
    all.filter(|access| access.router != Nat::Absent && access.behaviour().is_some())
        .collect()
}

fn inside(home: &Home) -> Result<UdpSocket> {
    socket(&home.host, home.inside, PORT)
}

/// The source of the next packet, none if nothing comes.
fn source(socket: &UdpSocket) -> Option<SocketAddr> {
    Some(socket.recv_from(&mut [0; 16]).ok()?.1)
}

/// Each kind does what its name says, as packets between two addresses with two ports each show.
#[test]
fn routers_translate_as_their_kind_says() {
    limit::test(LIMIT * 2, |lab| {
        let (s, t) = (lab.public_host("s", Wire::PLAIN)?, lab.public_host("t", Wire::PLAIN)?);
        for (number, access) in Access::ALL.into_iter().enumerate() {
            let home = lab.home(&format!("n{number}"), access, Wire::PLAIN)?;
            let measured = Classifier::new(&home, [&s, &t]).measure();
            let measured = measured.with_context(|| access.to_string())?;
            println!("{access}: {measured:?}");
            ensure!(
                measured == access.behaviour(),
                "{access} should be {:?}, but is {measured:?}",
                access.behaviour()
            );
        }
        Ok(())
    });
}

/// What a home is seen as outside is one address whatever the port, and for carried ones the carrier's.
#[test]
fn homes_are_seen_by_their_outside_address() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        for (number, access) in Access::ALL.into_iter().enumerate() {
            let home = lab.home(&format!("n{number}"), access, Wire::PLAIN)?;
            if access.behaviour().is_some() {
                let public = socket(&s.namespace, s.address, 5000)?;
                inside(&home)?.send_to(b"out", public.local_addr()?)?;
                let seen = source(&public).with_context(|| format!("{access}: nothing gets out"))?;
                ensure!(seen.ip() == home.outside, "{access}: seen as {seen}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_router_that_blocks_udp_lets_out_the_tcp_of_the_web() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let home = lab.home("a", Nat::UdpBlocked, Wire::PLAIN)?;
        for (port, passes) in [(80, true), (443, true), (444, false)] {
            let address = SocketAddr::from((s.address, port));
            let _listener = s.namespace.inside(|| TcpListener::bind(address))??;
            let connected = home.host.inside(|| TcpStream::connect_timeout(&address, PATIENCE))?;
            ensure!(connected.is_ok() == passes, "port {port}: {connected:?}");
        }
        Ok(())
    });
}

/// What a peer sends too early makes a poisoned router use another port, unless it never gets there.
#[test]
fn an_early_packet_poisons_a_router_unless_it_expires_before() {
    limit::test(LIMIT, |lab| {
        let t = lab.public_host("t", Wire::PLAIN)?;
        let home = lab.home("a", Nat::Poison, Wire::PLAIN)?;
        let own = inside(&home)?;
        for (port, ttl, poisoned) in [(5000, 5, false), (5001, 64, true)] {
            let peer = socket(&t.namespace, t.address, port)?;
            peer.set_ttl(ttl)?;
            peer.send_to(b"early", (home.outside, PORT))?;
            // The report about the expired packet may be the socket's next error.
            let _ = peer.recv_from(&mut [0; 16]);
            own.send_to(b"out", peer.local_addr()?)?;
            let seen = source(&peer).context("nothing gets out")?;
            ensure!((seen.port() != PORT) == poisoned, "after TTL {ttl} seen as {seen}");
        }
        Ok(())
    });
}

#[test]
fn small_ttls_expire_in_the_core_and_captures_show_them() {
    limit::test(LIMIT, |lab| {
        lab.use_dual_stack()?;
        let s = lab.public_host("s", Wire::PLAIN)?;
        let a = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let capture = Capture::start(&a.router, "lan")?;
        let (from4, to4) = (inside(&a)?, socket(&s.namespace, s.address, 5000)?);
        let (ipv6, public) = (a.ipv6.context("no IPv6")?, s.ipv6.context("no IPv6")?);
        let (from6, to6) = (socket(&a.host, ipv6, PORT)?, socket(&s.namespace, public, 5000)?);
        // Six hops are five at the core, behind the home's router.
        for (ttl, arrives) in [(5, false), (6, false), (7, true), (64, true)] {
            let before = lab.counted(Count::Expired)?;
            from4.set_ttl(ttl)?;
            from4.send_to(b"ttl", to4.local_addr()?)?;
            ensure!(source(&to4).is_some() == arrives, "IPv4 with TTL {ttl}");
            socket2::SockRef::from(&from6).set_unicast_hops_v6(ttl)?;
            from6.send_to(b"ttl", to6.local_addr()?)?;
            ensure!(source(&to6).is_some() == arrives, "IPv6 with hop limit {ttl}");
            let expired = lab.counted(Count::Expired)? - before;
            ensure!(
                expired == if arrives { 0 } else { 2 },
                "{expired} packets with TTL {ttl} expired"
            );
        }
        let seen = capture.datagrams();
        let ttls = |is_ipv4: bool| -> Vec<_> {
            let those = seen.iter().filter(|datagram| datagram.source.is_ipv4() == is_ipv4);
            those
                .filter(|datagram| datagram.source.port() == PORT)
                .map(|datagram| datagram.ttl)
                .collect()
        };
        ensure!(ttls(true) == [5, 6, 7, 64] && ttls(false) == [5, 6, 7, 64], "{seen:?}");
        let times: Vec<_> = seen.iter().map(|datagram| datagram.at).collect();
        let took = times[times.len() - 1] - times[0];
        // Two TTLs do not arrive, in either family, and each is waited for.
        ensure!(times.is_sorted() && took >= PATIENCE * 4, "{times:?}");
        Ok(())
    });
}

#[test]
fn ipv6_gets_out_of_homes_and_back_but_not_in() {
    limit::test(LIMIT, |lab| {
        lab.use_dual_stack()?;
        let s = lab.public_host("s", Wire::PLAIN)?;
        let a = lab.home("a", Nat::Symmetric, Wire::for_round_trip(Duration::from_millis(20)))?;
        let b = lab.home("b", Nat::Symmetric, Wire::PLAIN)?;
        let public = s.ipv6.context("no IPv6")?.to_string();
        let report = PingReport::run(&a.host, &["-c", "3", "-i", "0.1", &public], DEFAULT_LIMIT)?;
        ensure!(report.answered() == 3, "{}", report.finished);
        let [ipv6_a, ipv6_b] = [&a, &b].map(|home| home.ipv6);
        let (ipv6_a, ipv6_b) = (ipv6_a.context("no IPv6")?, ipv6_b.context("no IPv6")?);
        let (socket_a, socket_b) = (socket(&a.host, ipv6_a, PORT)?, socket(&b.host, ipv6_b, PORT)?);
        socket_a.send_to(b"knock", socket_b.local_addr()?)?;
        ensure!(source(&socket_b).is_none(), "a stranger's packet got in");
        socket_b.send_to(b"knock", socket_a.local_addr()?)?;
        ensure!(
            source(&socket_a) == Some(socket_b.local_addr()?),
            "an answer did not get in"
        );
        socket_a.send_to(b"answer", socket_b.local_addr()?)?;
        ensure!(
            source(&socket_b) == Some(socket_a.local_addr()?),
            "an answer did not get in"
        );
        Ok(())
    });
}

#[test]
fn hosts_of_one_home_share_a_switch_and_an_address() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let homes = lab.shared_home(&["a", "b"], Nat::Port, Wire::PLAIN)?;
        let [a, b] = &homes[..] else {
            anyhow::bail!("not two hosts: {homes:?}");
        };
        ensure!(a.outside == b.outside && a.inside != b.inside, "{a:?} and {b:?}");
        let report = PingReport::run(&a.host, &["-c", "3", "-i", "0.1", &b.inside.to_string()], DEFAULT_LIMIT)?;
        ensure!(report.answered() == 3, "{}", report.finished);
        let hops = report.finished.stdout.matches("ttl=64").count();
        ensure!(hops == 3, "a router is between them: {}", report.finished);
        // Both use the same port: the second gets another one outside.
        let public = socket(&s.namespace, s.address, 5000)?;
        let mut seen = Vec::new();
        for home in [a, b] {
            inside(home)?.send_to(b"out", public.local_addr()?)?;
            seen.extend(source(&public));
        }
        ensure!(seen.len() == 2 && seen[0] != seen[1], "seen as {seen:?}");
        ensure!(seen.iter().all(|seen| seen.ip() == a.outside), "seen as {seen:?}");
        Ok(())
    });
}

#[test]
fn a_rebooted_router_forgets_and_a_rebound_one_uses_other_ports() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        for (number, access) in translating().into_iter().enumerate() {
            let home = lab.home(&format!("n{number}"), access, Wire::PLAIN)?;
            let (own, public) = (inside(&home)?, socket(&s.namespace, s.address, 5000)?);
            let seen = || -> Result<SocketAddr> {
                own.send_to(b"out", public.local_addr()?)?;
                source(&public).with_context(|| format!("{access}: nothing gets out"))
            };
            let before = seen()?;
            home.reboot_router()?;
            public.send_to(b"answer", before)?;
            ensure!(source(&own).is_none(), "{access}: the router has not forgotten");
            let after = seen()?;
            // Ports follow from the sender's or begin anew, but for the random one; what the poisoned router has kept of
            // the answer takes the port.
            let is_random = [access.router, access.carrier.unwrap_or(Nat::Port)].contains(&Nat::Symmetric);
            let is_same = !is_random && access.router != Nat::Poison;
            ensure!((before == after) == is_same, "{access}: {before}, then {after}");
            home.rebind_router(40_000..=49_999)?;
            let rebound = seen()?;
            ensure!((40_000..=49_999).contains(&rebound.port()), "{access}: {rebound}");
            public.send_to(b"answer", rebound)?;
            ensure!(source(&own).is_some(), "{access}: an answer did not get in");
        }
        Ok(())
    });
}

#[test]
fn the_core_drops_what_it_is_told_to_and_streams_account_for_it() {
    limit::test(LIMIT, |lab: &mut Lab| {
        let a = lab.home("a", Nat::FullCone, Wire::PLAIN)?;
        let b = lab.home("b", Nat::FullCone, Wire::PLAIN)?;
        let s = lab.public_host("s", Wire::PLAIN)?;
        let interval = Duration::from_millis(10);
        let pings = |target: Ipv4Addr| EchoStream::start(&a.host, target.into(), interval);
        // The routers answer pings themselves.
        let (to_b, to_s) = (pings(b.outside)?, pings(s.address)?);
        let answered = |stream: &EchoStream| stream.wait_until(20, Duration::from_secs(10), |_| true);
        answered(&to_b)?;
        answered(&to_s)?;
        let silence = |stream: &EchoStream| -> Result<bool> {
            let before = stream.record().answers.len();
            stream.wait_sent(30, Duration::from_secs(10))?;
            Ok(stream.record().answers.len() <= before + 2)
        };
        lab.block(&a, &b)?;
        ensure!(silence(&to_b)? && !silence(&to_s)?, "not only the pair is blocked");
        lab.unblock(&a, &b)?;
        ensure!(!silence(&to_b)?, "still blocked");
        lab.cut(&a.outsides())?;
        ensure!(silence(&to_b)? && silence(&to_s)?, "not cut off");
        lab.heal(&a.outsides())?;
        wait_for("the answers to come back", Duration::from_secs(10), || {
            Ok((!silence(&to_s)?).then_some(()))
        })?;
        let healed = Instant::now();
        to_b.wait_sent(50, Duration::from_secs(10))?;
        let (to_b, to_s) = (to_b.stop()?, to_s.stop()?);
        let dropped = lab.counted(Count::Dropped)? as usize;
        // Requests and answers are dropped alike.
        let lost = to_b.lost().len() + to_s.lost().len();
        ensure!(lost >= 80 && dropped >= lost, "lost {lost}, the core dropped {dropped}");
        ensure!(to_b.doubled() == 0 && to_b.overtaken().is_empty(), "{to_b}");
        ensure!(to_b.longest_gap() >= Duration::from_millis(280), "{to_b}");
        let after = to_b.since(healed);
        ensure!(
            after.sent.len() >= 50 && after.lost().is_empty(),
            "after healing: {after}"
        );
        Ok(())
    });
}

#[test]
fn narrow_wires_drop_large_packets_and_tell_or_not() {
    limit::test(LIMIT, |lab| {
        let s = lab.public_host("s", Wire::PLAIN)?;
        let target = s.address.to_string();
        for (name, tells) in [("a", true), ("b", false)] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            lab.limit_packets(&home, 1400, tells)?;
            for (bytes, passes) in [("1372", true), ("1373", false)] {
                let words = ["-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", bytes, &target];
                let report = PingReport::run(&home.host, &words, DEFAULT_LIMIT)?;
                ensure!((report.answered() == 2) == passes, "{bytes} bytes: {}", report.finished);
                let told = format!("{}{}", report.finished.stdout, report.finished.stderr);
                let told = told.contains("mtu") || told.contains("Frag needed");
                ensure!(told == (tells && !passes), "{}", report.finished);
            }
        }
        Ok(())
    });
}

#[test]
fn the_underlay_has_only_the_families_asked_for() {
    limit::test(LIMIT, |lab| {
        let a = lab.home("a", Nat::Port, Wire::PLAIN)?;
        lab.use_dual_stack()?;
        let b = lab.home("b", Nat::Port, Wire::PLAIN)?;
        for (home, is_dual) in [(&a, false), (&b, true)] {
            for (namespace, interface) in [(&home.host, INSIDE), (&home.router, "lan"), (&home.router, OUTSIDE)] {
                let has = !namespace.addresses(interface, "-6")?.is_empty();
                ensure!(has == is_dual, "{} at {}", interface, namespace.name());
            }
        }
        Ok(())
    });
}
