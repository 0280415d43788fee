//! A `friends` network of three homes is one Ethernet: what a LAN carries, it carries.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::avahi::Avahi;
use farlan_tests::ns::command::{DEFAULT_LIMIT, Finished, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::trio::{Member, Trio};
use farlan_tests::ns::{Lab, Nat, Wire, limit, transfer};

const LIMIT: Duration = Duration::from_secs(120);

/// How long a single frame may be under way on a busy machine.
const FRAME_LIMIT: Duration = Duration::from_secs(5);

/// Every NAT kind of the lab takes part.
const NATS: [Nat; 3] = [Nat::Port, Nat::Port, Nat::Symmetric];

/// Runs a test on a network of three.
fn on_a_lan(body: impl FnOnce(&Lab, &Trio) -> Result<()>) {
    limit::test(LIMIT, |lab| {
        let trio = Trio::start(lab, NATS, Wire::PLAIN)?;
        body(lab, &trio)
    });
}

/// Every ordered pair of members.
fn pairs(trio: &Trio) -> impl Iterator<Item = (&Member, &Member)> {
    let all = &trio.members;
    all.iter().flat_map(move |from| {
        all.iter()
            .filter(move |to| to.node.name() != from.node.name())
            .map(move |to| (from, to))
    })
}

fn ping_all(from: &Member, target: &str) -> Result<()> {
    let report = PingReport::run(from.host(), &["-c", "5", "-i", "0.2", "-W", "2", target], DEFAULT_LIMIT)?;
    ensure!(
        report.answered() == 5,
        "{} asked {target}: {}",
        from.node.name(),
        report.finished
    );
    ensure!(report.answers.len() == 5, "duplicates: {}", report.finished);
    Ok(())
}

#[test]
fn everyone_answers_ping() {
    on_a_lan(|_, trio| pairs(trio).try_for_each(|(from, to)| ping_all(from, &to.ipv4()?.to_string())));
}

#[test]
fn everyone_answers_ping6() {
    on_a_lan(|_, trio| {
        pairs(trio).try_for_each(|(from, to)| {
            ensure!(
                to.ipv6()?.octets()[0] == 0xfd,
                "{} is not a unique local address",
                to.ipv6()?
            );
            ping_all(from, &to.ipv6()?.to_string())
        })
    });
}

#[test]
fn everyone_answers_on_the_link_local_address() {
    on_a_lan(|_, trio| {
        pairs(trio)
            .try_for_each(|(from, to)| ping_all(from, &format!("{}%{}", to.link_local()?, from.network.interface)))
    });
}

fn arping(from: &Member, target: Ipv4Addr) -> Result<Finished> {
    let target = target.to_string();
    let words = ["arping", "-c", "3", "-w", "5", "-I", &from.network.interface, &target];
    from.host().exec(&words, DEFAULT_LIMIT)
}

/// The MAC addresses in the answers that either of Debian's two programs of that name prints.
fn macs_in_answers(output: &str) -> Vec<String> {
    let is_mac = |word: &&str| word.len() == 17 && word.bytes().filter(|byte| *byte == b':').count() == 5;
    let answers = output.lines().filter(|line| line.contains(" from "));
    answers
        .flat_map(|line| {
            line.split([' ', '[', ']', '(', ')'])
                .filter(is_mac)
                .map(str::to_ascii_lowercase)
        })
        .collect()
}

#[test]
fn arping_finds_present_members_and_nobody_else() {
    on_a_lan(|_, trio| {
        for (from, to) in pairs(trio) {
            let finished = arping(from, to.ipv4()?)?.success()?;
            let macs = macs_in_answers(&finished.stdout);
            let own = to.mac()?;
            ensure!(
                !macs.is_empty() && macs.iter().all(|mac| *mac == own),
                "wanted {own}: {finished}"
            );
        }
        let [a, _, _] = trio.abc()?;
        let last = u32::from(a.broadcast_address()?) - 1;
        let taken = trio.members.iter().map(Member::ipv4).collect::<Result<Vec<_>>>()?;
        let absent = (0..4)
            .map(|back| Ipv4Addr::from(last - back))
            .find(|address| !taken.contains(address));
        let finished = arping(a, absent.context("no free address")?)?;
        ensure!(
            macs_in_answers(&finished.stdout).is_empty(),
            "somebody answered: {finished}"
        );
        ensure!(finished.code == Some(1), "{finished}");
        Ok(())
    });
}

#[test]
fn a_megabyte_by_tcp_arrives_whole() {
    on_a_lan(|_, trio| {
        let data = transfer::noise(1, 1_000_000);
        let digest = transfer::sha256(&data);
        for (from, to) in pairs(trio) {
            for address in [IpAddr::from(to.ipv4()?), to.ipv6()?.into()] {
                let received = transfer::tcp(from.host(), to.host(), address, &data)
                    .with_context(|| format!("{} to {address}", from.node.name()))?;
                ensure!(
                    received.bytes == data.len() && received.sha256 == digest,
                    "{address}: {received:?}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_datagram_of_60_kilobytes_arrives_whole() {
    on_a_lan(|_, trio| {
        let data = transfer::noise(2, 60_000);
        let digest = transfer::sha256(&data);
        for (from, to) in pairs(trio) {
            // A node holds no more than 32 frames for a peer it has no session with yet; these are 44 or more.
            ping_all(from, &to.ipv4()?.to_string())?;
            for address in [IpAddr::from(to.ipv4()?), to.ipv6()?.into()] {
                let received = transfer::udp(from.host(), to.host(), address, &data)
                    .with_context(|| format!("{} to {address}", from.node.name()))?;
                ensure!(
                    received.bytes == data.len() && received.sha256 == digest,
                    "{address}: {received:?}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn everyone_answers_a_broadcast_ping() {
    on_a_lan(|_, trio| {
        let [a, b, c] = trio.abc()?;
        for member in [b, c] {
            member.host().set_sysctl("ipv4/icmp_echo_ignore_broadcasts", "0")?;
        }
        let report = PingReport::broadcast(a.host(), a.broadcast_address()?, 5, DEFAULT_LIMIT)?;
        for member in [b, c] {
            let answers = report.answers_of(member.ipv4()?);
            ensure!(
                answers == 5,
                "{} answered {answers} of 5: {}",
                member.node.name(),
                report.finished
            );
        }
        ensure!(report.answers.len() == 10, "others answered too: {}", report.finished);
        Ok(())
    });
}

#[test]
fn a_music_library_is_found_by_avahi() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        let alice = Avahi::start(a.host(), &a.network.interface, "alice", lab.directory())?;
        let bob = Avahi::start(b.host(), &b.network.interface, "bob", lab.directory())?;
        let carol = Avahi::start(c.host(), &c.network.interface, "carol", lab.directory())?;
        let _service = alice.publish("Alice music", "_daap._tcp", 3689)?;
        let address = a.ipv4()?.to_string();
        for (name, listener) in [("bob", &bob), ("carol", &carol)] {
            let what = format!("{name} to find the service");
            wait_for(&what, Duration::from_secs(40), || {
                let finished = listener.browse("_daap._tcp")?;
                // "=;interface;protocol;name;type;domain;host;address;port;text", a space as \032.
                let found = finished.stdout.lines().any(|line| {
                    let fields: Vec<_> = line.split(';').collect();
                    fields.first() == Some(&"=")
                        && fields.get(3) == Some(&"Alice\\032music")
                        && fields.get(6) == Some(&"alice.local")
                        && fields.get(7) == Some(&address.as_str())
                        && fields.get(8) == Some(&"3689")
                });
                if !found {
                    anyhow::bail!("it sees: {finished}\n{}", finished.stdout);
                }
                Ok(Some(()))
            })?;
        }
        Ok(())
    });
}

/// An Ethernet frame from its parts; `tags` stands between the addresses and the EtherType.
fn frame(destination: [u8; 6], source: [u8; 6], tags: &[u8], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, tags, &ether_type.to_be_bytes(), payload].concat()
}

fn mac_bytes(text: &str) -> Result<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|pair| u8::from_str_radix(pair, 16))
        .collect::<Result<Vec<_>, _>>()?;
    bytes
        .try_into()
        .ok()
        .with_context(|| format!("{text} is not a MAC address"))
}

/// Waits until exactly this frame has arrived; shows what else of its EtherType came.
fn expect_frame(socket: &PacketSocket, wanted: &[u8], what: &str) -> Result<()> {
    let end = Instant::now() + FRAME_LIMIT;
    let mut others = Vec::new();
    while Instant::now() < end {
        match socket.receive()? {
            Some(frame) if frame == wanted => return Ok(()),
            Some(frame) => others.push(format!("{:02x?}", frame.get(..32).unwrap_or(&frame))),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    anyhow::bail!("{what}: the frame did not arrive; others did: {others:?}")
}

#[test]
fn frames_of_any_kind_arrive_byte_for_byte() {
    const VLAN_100: &[u8] = &[0x81, 0x00, 0x60, 0x64];
    const SERVICE_AND_CUSTOMER: &[u8] = &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x20, 0x65];
    const MTU: usize = 1372;
    // What it is, the tags, the EtherType, and the longest payload that the sending kernel lets through: an
    // 802.1Q tag may come on top of the MTU.
    const KINDS: [(&str, &[u8], u16, usize); 5] = [
        ("the local experimental EtherType", &[], 0x88b5, MTU),
        ("IPX", &[], 0x8137, MTU),
        ("a VLAN tag", VLAN_100, 0x88b5, MTU),
        ("a VLAN tag before IPX", VLAN_100, 0x8137, MTU),
        (
            "two tags",
            SERVICE_AND_CUSTOMER,
            0x88b5,
            MTU - SERVICE_AND_CUSTOMER.len(),
        ),
    ];
    on_a_lan(|_, trio| {
        let [a, b, c] = trio.abc()?;
        let open = |member: &Member| {
            member
                .host()
                .inside(|| PacketSocket::open(&member.network.interface, Offloads::Bare))?
                .context("packet socket")
        };
        let (from, at_b, at_c) = (open(a)?, open(b)?, open(c)?);
        let (mac_a, mac_b) = (mac_bytes(&a.mac()?)?, mac_bytes(&b.mac()?)?);
        for (number, (kind, tags, ether_type, longest)) in KINDS.into_iter().enumerate() {
            // A kernel that takes a tag out looks two bytes behind it, so shorter payloads are lost at the card.
            for length in [2, 46, 700, longest] {
                let payload = transfer::noise((number * 10_000 + length) as u64, length);
                let what = format!("{kind}, {length} bytes");
                let unicast = frame(mac_b, mac_a, tags, ether_type, &payload);
                from.send(&unicast).with_context(|| what.clone())?;
                expect_frame(&at_b, &unicast, &what)?;
                let broadcast = frame([0xff; 6], mac_a, tags, ether_type, &payload);
                from.send(&broadcast).with_context(|| what.clone())?;
                expect_frame(&at_b, &broadcast, &format!("broadcast to b: {what}"))?;
                expect_frame(&at_c, &broadcast, &format!("broadcast to c: {what}"))?;
            }
        }
        Ok(())
    });
}
