//! Open networks on real kernels: what strangers get through with, what they do not, and `farlan open`.
//!
//! The one who attacks writes frames to its own card, and its daemon, which is the released one, sends what it is given. Some
//! attacks its daemon keeps for itself (broadcast ARP and IGMP); those go to the victim's MAC here, and the scenarios of the
//! engine send them as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::topology::Home;
use farlan_tests::ns::trio::{JOIN_LIMIT, Member};
use farlan_tests::ns::{Lab, Namespace, Nat, Node, Supernode, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(150);

/// How long is waited for what is not to come.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a program may listen before it is found that it does, on a busy machine.
const FOUND: Duration = Duration::from_secs(20);

/// The port of a listed game (ioquake3).
const GAME: u16 = 27960;

/// Two members of the open network `earth`.
struct Street {
    _supernode: Supernode,
    liar: Member,
    victim: Member,
}

impl Street {
    fn start(lab: &mut Lab) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let homes = [
            lab.home("liar", Nat::Port, Wire::PLAIN)?,
            lab.home("victim", Nat::Port, Wire::PLAIN)?,
        ];
        let [liar, victim] = homes;
        let member = |name: &str, home: Home| -> Result<Member> {
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            node.join("earth")?;
            let network = node.wait_addressed(JOIN_LIMIT)?;
            Ok(Member { home, node, network })
        };
        let (liar, victim) = (member("liar", liar)?, member("victim", victim)?);
        let street = Self {
            _supernode: supernode,
            liar,
            victim,
        };
        pings(&street.liar, &street.victim)?;
        pings(&street.victim, &street.liar)?;
        Ok(street)
    }
}

fn pings(from: &Member, to: &Member) -> Result<()> {
    for target in [IpAddr::from(to.ipv4()?), IpAddr::from(to.ipv6()?)] {
        let target = target.to_string();
        let report = PingReport::run(
            from.host(),
            &["-c", "5", "-i", "0.2", "-W", "3", &target],
            DEFAULT_LIMIT,
        )?;
        ensure!(
            report.answered() == 5,
            "{} asked {target}: {}",
            from.node.name(),
            report.finished
        );
    }
    Ok(())
}

/// What the victim's daemon refused so far, all reasons together.
fn refused(member: &Member) -> Result<u64> {
    let status = member.node.status()?;
    let counters = status
        .get("counters")
        .and_then(Value::as_object)
        .context("no counters")?;
    let reasons = counters
        .iter()
        .filter(|(name, _)| name.starts_with("filtered_") || name.starts_with("foreign_"));
    Ok(reasons.filter_map(|(_, value)| value.as_u64()).sum())
}

/// A connection between two members carries bytes both ways.
fn connect(from: &Namespace, to: &Namespace, address: SocketAddr) -> Result<bool> {
    let listener = to.inside(|| TcpListener::bind(address))??;
    listener.set_nonblocking(true)?;
    let stream = from.inside(|| TcpStream::connect_timeout(&address, SILENCE))?;
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut accepted = wait_for("the connection", SILENCE, || match listener.accept() {
        Ok((accepted, _)) => Ok(Some(accepted)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    accepted.set_nonblocking(false)?;
    for stream in [&stream, &accepted] {
        stream.set_read_timeout(Some(DEFAULT_LIMIT))?;
    }
    let mut buffer = [0; 5];
    stream.write_all(b"there")?;
    accepted.read_exact(&mut buffer)?;
    accepted.write_all(b"again")?;
    stream.read_exact(&mut buffer)?;
    ensure!(&buffer == b"again");
    Ok(true)
}

/// Whether datagrams to a port of `to` arrive there, where a program listens, within so long.
fn datagram_arrives(from: &Member, to: &Member, target: Ipv4Addr, port: u16, within: Duration) -> Result<bool> {
    let receiver = to.host().inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    let own = from.ipv4()?;
    let sender = from.host().inside(|| UdpSocket::bind((own, 0)))??;
    sender.set_broadcast(true)?;
    let begun = Instant::now();
    let mut buffer = [0; 16];
    while begun.elapsed() < within {
        sender.send_to(b"hello", (target, port))?;
        match receiver.recv_from(&mut buffer) {
            Ok((length, source)) => {
                ensure!(buffer.get(..length) == Some(b"hello") && source.ip() == IpAddr::from(own));
                return Ok(true);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn mac(member: &Member) -> Result<[u8; 6]> {
    let text = member.mac()?;
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a MAC of six bytes")
}

fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4(protocol: u8, fragment: u16, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 7],
        &fragment.to_be_bytes(),
        &[64, protocol, 0, 0],
        &source.octets(),
        &destination.octets(),
    ]
    .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

/// The checksum of ICMPv6 (bytes 2 and 3 of the message) and of UDP (6 and 7) is filled in.
fn ipv6(next: u8, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut payload = payload.to_vec();
    let pseudo = [
        &source.octets()[..],
        &destination.octets(),
        &[0, 0],
        &length,
        &[0, 0, 0, next],
        &payload,
    ]
    .concat();
    let sum = checksum(&pseudo).to_be_bytes();
    match next {
        58 => payload[2..4].copy_from_slice(&sum),
        17 => payload[6..8].copy_from_slice(&sum),
        _ => {}
    }
    [
        &[0x60, 0, 0, 0],
        &length[..],
        &[next, 255],
        &source.octets(),
        &destination.octets(),
        &payload,
    ]
    .concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// UDP without a checksum.
fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    [
        &from.to_be_bytes()[..],
        &to.to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat()
}

fn arp(to: [u8; 6], from: [u8; 6], operation: u8, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        body.extend(mac);
        body.extend(address.octets());
    }
    ethernet(to, from, 0x0806, &body)
}

/// Frames that a hostile member writes to its card; each has bytes of its own.
fn attacks(liar: &Member, victim: &Member) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (own, to) = (mac(liar)?, mac(victim)?);
    let (source, target) = (liar.ipv4()?, victim.ipv4()?);
    let (source6, target6) = (liar.ipv6()?, victim.ipv6()?);
    let (local, local_target) = (liar.link_local()?, victim.link_local()?);
    let broadcast = [0xff; 6];
    let other = Ipv4Addr::from_bits(target.to_bits() ^ 1);
    let all_nodes: Ipv6Addr = "ff02::1".parse()?;
    let all_nodes_mac = [0x33, 0x33, 0, 0, 0, 1];
    let group = |last: u8| [1, 0, 0x5e, 0, 0, last];
    let four = |to: [u8; 6], destination: Ipv4Addr, protocol: u8, payload: &[u8]| {
        ethernet(to, own, 0x0800, &ipv4(protocol, 0, source, destination, payload))
    };
    let six = |to: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]| {
        ethernet(to, own, 0x86dd, &ipv6(next, source, destination, payload))
    };
    let icmp6 = |kind: u8, rest: &[u8]| [&[kind, 0, 0, 0][..], rest].concat();
    let name_answer = [
        &[0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
        b"\x05stray\x05local\0\0\x01\0\x01",
    ]
    .concat();
    let inner = ipv4(17, 0, other, target, &udp(1, 2, b"inner"));
    let syn = |port: u16| {
        let mut tcp = [
            &40000_u16.to_be_bytes()[..],
            &port.to_be_bytes(),
            &[0; 8],
            &[0x50, 2, 4, 0, 0, 0, 0, 0],
        ]
        .concat();
        let pseudo = [&source.octets()[..], &target.octets(), &[0, 6, 0, 20], &tcp].concat();
        let sum = checksum(&pseudo).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        tcp
    };
    let tag = [0x81, 0, 0, 0];
    let tagged = |frame: Vec<u8>| [&frame[..12], &tag, &frame[12..]].concat();
    Ok(vec![
        (
            "DHCP offer",
            four(broadcast, Ipv4Addr::BROADCAST, 17, &udp(67, 68, &[2; 240])),
        ),
        ("DHCP acknowledgement", four(to, target, 17, &udp(67, 68, &[5; 240]))),
        (
            "DHCPv6 advertisement",
            six(to, local, local_target, 17, &udp(547, 546, &[2; 40])),
        ),
        (
            "router advertisement",
            six(
                all_nodes_mac,
                local,
                all_nodes,
                58,
                &icmp6(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
            ),
        ),
        (
            "ICMP redirect",
            four(to, target, 1, &[&[5, 1, 0, 0, 10, 64, 6, 6], &inner[..28]].concat()),
        ),
        (
            "ICMPv6 redirect",
            six(to, local, local_target, 58, &icmp6(137, &[0; 36])),
        ),
        (
            "STP",
            ethernet(
                [1, 0x80, 0xc2, 0, 0, 0],
                own,
                38,
                &[&[0x42, 0x42, 3][..], &[0; 35]].concat(),
            ),
        ),
        ("LLDP", ethernet([1, 0x80, 0xc2, 0, 0, 14], own, 0x88cc, &[2; 46])),
        ("802.1X", ethernet(to, own, 0x888e, &[1; 46])),
        (
            "gratuitous ARP for the victim's address",
            arp(broadcast, own, 2, (own, target), (own, target)),
        ),
        (
            "ARP reply for another's address",
            arp(to, own, 2, (own, other), (to, target)),
        ),
        (
            "ARP reply with another's MAC",
            arp(to, own, 2, ([2, 7, 7, 7, 7, 7], source), (to, target)),
        ),
        (
            "neighbour advertisement for the victim's address",
            six(
                all_nodes_mac,
                local,
                all_nodes,
                58,
                &icmp6(136, &[&[0x20, 0, 0, 0][..], &target6.octets(), &[2, 1], &own].concat()),
            ),
        ),
        (
            "neighbour advertisement of another's MAC",
            six(
                to,
                source6,
                target6,
                58,
                &icmp6(
                    136,
                    &[&[0x20, 0, 0, 0][..], &source6.octets(), &[2, 1, 2, 7, 7, 7, 7, 7]].concat(),
                ),
            ),
        ),
        (
            "mDNS answer",
            four(group(251), [224, 0, 0, 251].into(), 17, &udp(5353, 5353, &name_answer)),
        ),
        (
            "mDNS answer to one",
            four(to, target, 17, &udp(5353, 5353, &name_answer)),
        ),
        ("LLMNR answer", four(to, target, 17, &udp(5355, 5355, &name_answer))),
        (
            "NetBIOS name answer",
            four(broadcast, Ipv4Addr::BROADCAST, 17, &udp(137, 137, &name_answer)),
        ),
        (
            "IGMP query",
            four(to, [224, 0, 0, 1].into(), 2, &[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0]),
        ),
        ("TCP to a listening port", four(to, target, 6, &syn(7002))),
        (
            "TCP in fragments",
            ethernet(to, own, 0x0800, &ipv4(6, 0x2000, source, target, &syn(7002)[..16])),
        ),
        (
            "the rest of it",
            ethernet(to, own, 0x0800, &ipv4(6, 2, source, target, &syn(7002)[16..])),
        ),
        ("TCP behind a tag", tagged(four(to, target, 6, &syn(7002)))),
        (
            "UDP to everybody",
            four(broadcast, Ipv4Addr::BROADCAST, 17, &udp(1900, 1900, b"NOTIFY")),
        ),
        ("IP in IP", four(to, target, 4, &inner)),
        (
            "6to4",
            four(to, target, 41, &ipv6(17, source6, target6, &udp(1, 2, b"inner"))),
        ),
        ("GRE", four(to, target, 47, &[&[0, 0, 8, 0], &inner[..]].concat())),
        (
            "another's source address",
            ethernet(to, own, 0x0800, &ipv4(17, 0, other, target, &udp(1, GAME, b"forged"))),
        ),
        (
            "another's source MAC",
            ethernet(
                to,
                [2, 7, 7, 7, 7, 7],
                0x0800,
                &ipv4(17, 0, source, target, &udp(1, GAME, b"forged")),
            ),
        ),
        (
            "the victim's own source address",
            ethernet(to, own, 0x0800, &ipv4(17, 0, target, target, &udp(1, GAME, b"forged"))),
        ),
        (
            "for another address of this machine",
            four(to, [192, 168, 2, 2].into(), 17, &udp(1, GAME, b"inside")),
        ),
        ("a wake-up call", ethernet(broadcast, own, 0x0842, &[0xff; 102])),
    ])
}

#[test]
fn what_a_hostile_member_sends_does_not_reach_the_card() {
    limit::test(LIMIT, |lab| {
        let street = Street::start(lab)?;
        let (liar, victim) = (&street.liar, &street.victim);
        // A listener that no attack may reach, and routes and neighbours that none may change.
        let address = SocketAddr::from((victim.ipv4()?, 7002));
        let _listener = victim.host().inside(|| TcpListener::bind(address))??;
        let state = || -> Result<String> {
            let card = &victim.network.interface;
            let addresses = victim.host().ip(&format!("-o address show dev {card}"))?;
            let routes = victim.host().ip(&format!("route show dev {card}"))?;
            let routes6 = victim.host().ip(&format!("-6 route show dev {card}"))?;
            Ok([addresses, routes, routes6].join("\n"))
        };
        let before = state()?;
        let attacks = attacks(liar, victim)?;
        ensure!(attacks.len() >= 12);
        // What is meant for a LAN alone does not leave the liar's machine otherwise.
        for port in [137, 1900, 5353, 5355] {
            liar.node.cli(&["open", &format!("{port}/udp")])?.success()?;
        }
        let open = |member: &Member| {
            let card = member.network.interface.clone();
            member.host().inside(move || PacketSocket::open(&card, Offloads::Bare))
        };
        let (source, sink) = (open(liar)??, open(victim)??);
        let refused_before = refused(victim)?;
        for (what, frame) in &attacks {
            source.send(frame).with_context(|| what.to_string())?;
        }
        // Each was sent, came, and was refused.
        let expected = refused_before + attacks.len() as u64;
        wait_for("all attacks to be refused", DEFAULT_LIMIT, || {
            let refused = refused(victim)?;
            Ok((refused >= expected).then_some(()))
        })
        .with_context(|| {
            format!(
                "{} of {} were refused",
                refused(victim).unwrap_or(0) - refused_before,
                attacks.len()
            )
        })?;
        std::thread::sleep(SILENCE);
        let mut came = Vec::new();
        while let Some(frame) = sink.receive()? {
            came.push(frame);
        }
        let through: Vec<_> = attacks
            .iter()
            .filter(|(_, frame)| came.contains(frame))
            .map(|(what, _)| what)
            .collect();
        ensure!(through.is_empty(), "{through:?} arrived");
        ensure!(state()? == before, "before: {before}\nnow: {}", state()?);
        println!(
            "{} attacks, 0 delivered, {} refused",
            attacks.len(),
            refused(victim)? - refused_before
        );
        // What is allowed passes, and can be seen with the same means.
        pings(liar, victim)?;
        let ping_seen = wait_for("a ping at the card", DEFAULT_LIMIT, || Ok(sink.receive()?))?;
        ensure!(ping_seen.len() > 14);
        ensure!(
            datagram_arrives(liar, victim, victim.ipv4()?, GAME, FOUND)?,
            "a listed game is reached while it runs"
        );
        Ok(())
    });
}

#[test]
fn answers_games_and_opened_ports_pass() {
    limit::test(LIMIT, |lab| {
        let mut street = Street::start(lab)?;
        let (liar, victim) = (&street.liar, &street.victim);
        let [there, here] = [liar, victim].map(|member| member.ipv4().map(IpAddr::from));
        let (there, here) = (there?, here?);
        let [there6, here6] = [liar, victim].map(|member| member.ipv6().map(IpAddr::from));
        let (there6, here6) = (there6?, here6?);
        // Both ends have a filter; the other opens what it serves.
        liar.node.cli(&["open", "7001/tcp"])?.success()?;
        for address in [there, there6] {
            ensure!(
                connect(victim.host(), liar.host(), SocketAddr::new(address, 7001))?,
                "the victim begins"
            );
        }
        for address in [here, here6] {
            ensure!(
                !connect(liar.host(), victim.host(), SocketAddr::new(address, 7002))?,
                "the port is not open"
            );
        }
        ensure!(victim.node.counter("filtered_not_open")? >= 2);
        let opened = victim.node.cli(&["open", "7002/tcp"])?.success()?;
        ensure!(opened.stdout.contains("opened 7002/tcp in earth"), "{opened}");
        for address in [here, here6] {
            ensure!(
                connect(liar.host(), victim.host(), SocketAddr::new(address, 7002))?,
                "the port is open"
            );
        }
        ensure!(
            !datagram_arrives(liar, victim, victim.ipv4()?, 7002, SILENCE)?,
            "UDP was not opened"
        );
        game_is_open_while_it_runs(liar, victim)?;
        ensure!(
            datagram_arrives(liar, victim, victim.broadcast_address()?, 4445, FOUND)?,
            "a game's announcement"
        );
        let shown = victim.node.cli(&["open"])?.success()?;
        ensure!(
            shown.stdout.contains("7002/tcp") && shown.stdout.contains("minecraft"),
            "{shown}"
        );
        let networks = victim.node.json(&["networks"])?;
        ensure!(networks[0]["opened"] == serde_json::json!(["7002/tcp"]), "{networks}");
        let metrics = victim.node.cli(&["metrics"])?.success()?;
        let counted = metrics.stdout.lines().any(|line| {
            line.strip_prefix("farlan_filtered_not_open_total ")
                .is_some_and(|value| value.parse::<u64>().is_ok_and(|value| value >= 2))
        });
        ensure!(counted, "{metrics}");

        // It is remembered.
        street.victim.node.stop()?;
        street.victim.node.start()?;
        street.victim.network = street.victim.node.wait_addressed(JOIN_LIMIT)?;
        let (liar, victim) = (&street.liar, &street.victim);
        ensure!(
            victim.ipv4()? == here.to_string().parse::<Ipv4Addr>()?,
            "it has its address again"
        );
        pings(liar, victim)?;
        ensure!(
            connect(liar.host(), victim.host(), SocketAddr::new(here, 7002))?,
            "open after a restart"
        );
        victim.node.cli(&["close", "7002"])?.success()?;
        ensure!(
            !connect(liar.host(), victim.host(), SocketAddr::new(here, 7002))?,
            "closed"
        );
        victim.node.cli(&["close", "7002"])?.expect_code(1)?;
        victim.node.cli(&["open", "http"])?.expect_code(2)?;
        Ok(())
    });
}

/// Nobody who is not there is spoken to: what is for a listed game that does not run is refused, and counted.
fn game_is_open_while_it_runs(liar: &Member, victim: &Member) -> Result<()> {
    let open_now = || -> Result<Value> { Ok(victim.node.json(&["open"])?[0]["games_open"].clone()) };
    let refused = || victim.node.counter("filtered_not_open");
    ensure!(open_now()? == serde_json::json!([]), "{}", open_now()?);
    let (own, target) = (liar.ipv4()?, victim.ipv4()?);
    let sender = liar.host().inside(|| UdpSocket::bind((own, 0)))??;
    let before = refused()?;
    wait_for("a datagram to be refused", FOUND, || {
        sender.send_to(b"hello", (target, GAME))?;
        Ok((refused()? > before).then_some(()))
    })?;
    ensure!(datagram_arrives(liar, victim, target, GAME, FOUND)?, "it runs");
    let server = victim
        .host()
        .inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GAME)))??;
    wait_for("the game to be open", FOUND, || {
        Ok((open_now()? == serde_json::json!([format!("{GAME}/udp")])).then_some(()))
    })?;
    drop(server);
    wait_for("the game to be closed", FOUND, || {
        Ok((open_now()? == serde_json::json!([])).then_some(()))
    })?;
    // Where it listens for this machine alone, no stranger gets.
    let _server = victim
        .host()
        .inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, GAME)))??;
    std::thread::sleep(SILENCE + SILENCE);
    ensure!(open_now()? == serde_json::json!([]), "{}", open_now()?);
    Ok(())
}

#[test]
fn a_connection_that_this_machine_began_goes_on_over_a_restart_of_the_daemon() {
    limit::test(LIMIT, |lab| {
        let mut street = Street::start(lab)?;
        street.liar.node.cli(&["open", "7001/tcp"])?.success()?;
        let address = SocketAddr::from((street.liar.ipv4()?, 7001));
        let listener = street.liar.host().inside(|| TcpListener::bind(address))??;
        let mut stream = street
            .victim
            .host()
            .inside(|| TcpStream::connect_timeout(&address, SILENCE))??;
        let (mut accepted, _) = listener.accept()?;
        for stream in [&stream, &accepted] {
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        }
        let mut buffer = [0; 5];
        stream.write_all(b"first")?;
        accepted.read_exact(&mut buffer)?;
        street.victim.node.stop()?;
        street.victim.node.start()?;
        street.victim.network = street.victim.node.wait_addressed(JOIN_LIMIT)?;
        let begun = Instant::now();
        stream.write_all(b"again")?;
        accepted.read_exact(&mut buffer)?;
        accepted.write_all(b"there")?;
        stream.read_exact(&mut buffer)?;
        ensure!(&buffer == b"there");
        println!("went on after {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn friends_need_no_opening() {
    limit::test(LIMIT, |lab| {
        let pair = farlan_tests::ns::pair::Pair::start(lab, [Nat::Port; 2], Wire::PLAIN)?;
        let address = SocketAddr::from((pair.b.ipv4()?, 7002));
        ensure!(
            connect(pair.a.host(), pair.b.host(), address)?,
            "among friends all ports are open"
        );
        let finished = pair.b.node.cli(&["open", "7002/tcp"])?.expect_code(1)?;
        ensure!(finished.stderr.contains("nothing needs opening"), "{finished}");
        Ok(())
    });
}
