//! The fast data path, end to end: how few system calls it takes, and that nothing is reordered, doubled or damaged by
//! what makes it fast.
//!
//! Nothing here judges wall-clock time; `scripts/bench` measures that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_netconf::Mtu;
use farlan_tests::ns::bridge::{Bridge, Guest};
use farlan_tests::ns::command::{self, DEFAULT_LIMIT};
use farlan_tests::ns::flows::{self, Load};
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::paths::PATH_LIMIT;
use farlan_tests::ns::snmp::Counts;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::syscalls::Tracer;
use farlan_tests::ns::topology::INSIDE;
use farlan_tests::ns::transfer;
use farlan_tests::ns::trio::Member;
use farlan_tests::ns::{Lab, Namespace, Nat, Wire, limit};
use farlan_tests::sim::ethernet;

const LIMIT: Duration = Duration::from_secs(240);

/// System calls of the data plane that move packets.
const DATA_CALLS: [&str; 10] = [
    "read", "readv", "write", "writev", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg",
];

/// For each ping a node reads its request from the card and sends it, and receives the answer and writes it to the
/// card; or the other way round.
const CALLS_PER_ECHO: u64 = 4;

/// Further calls that the time of a run may bring: each datagram of a handshake, sign of life, registration or probe of
/// the path takes one, and 2 s see far fewer than these.
const CALLS_ALLOWED: u64 = 80;

const ECHOES: usize = 200;
const ECHO_INTERVAL: Duration = Duration::from_millis(10);

/// Two members whose daemons have these configurations, on a direct path over plain wires.
fn configured(lab: &mut Lab, configurations: [&str; 2]) -> Result<Pair> {
    let pair = Pair::with_configurations(lab, [Nat::Port, Nat::Port], configurations)?;
    become_direct(&pair)?;
    Ok(pair)
}

fn become_direct(pair: &Pair) -> Result<()> {
    let pings = pair.pings(Duration::from_millis(50))?;
    pair.wait_path("direct", PATH_LIMIT)?;
    drop(pings.stop()?);
    Ok(())
}

fn start_direct(lab: &mut Lab) -> Result<Pair> {
    let pair = Pair::start(lab, [Nat::Port, Nat::Port], Wire::PLAIN)?;
    become_direct(&pair)?;
    Ok(pair)
}

/// The IPv4 and IPv6 addresses of a member.
fn addresses(member: &Member) -> Result<[IpAddr; 2]> {
    Ok([member.ipv4()?.into(), member.ipv6()?.into()])
}

#[test]
fn an_echo_takes_four_system_calls_at_each_end() {
    limit::test(LIMIT, |lab| {
        let pair = start_direct(lab)?;
        // Whatever a new path brings with it is over after a while.
        thread::sleep(Duration::from_secs(3));
        let mut tracers = Vec::new();
        for member in [&pair.a, &pair.b] {
            tracers.push(Tracer::attach(lab, member.node.pid()?, "data-plane", &DATA_CALLS)?);
        }
        let pings = pair.pings(ECHO_INTERVAL)?;
        pings.wait_sent(ECHOES, LIMIT)?;
        let record = pings.stop()?;
        ensure!(record.lost().is_empty(), "lost {:?}", record.lost());
        let echoes = record.sent.len() as u64;
        let mut most = 0;
        for (tracer, name) in tracers.into_iter().zip(["a", "b"]) {
            let counts = tracer.stop()?;
            let total = counts.get("total").copied().context("a total")?;
            println!("{name}: {:.2} calls an echo: {counts:?}", total as f64 / echoes as f64);
            ensure!(total >= echoes, "{name} cannot have served {echoes} echoes: {counts:?}");
            most = most.max(total);
        }
        let allowed = CALLS_PER_ECHO * echoes + CALLS_ALLOWED;
        ensure!(
            most <= allowed,
            "{most} calls for {echoes} echoes, allowed are {allowed}"
        );
        Ok(())
    });
}

/// The system calls of the data planes of `a` and `b` while `a` sends [`SOME`] bytes by TCP.
fn calls_of_a_transfer(lab: &mut Lab, configurations: [&str; 2]) -> Result<[BTreeMap<String, u64>; 2]> {
    let pair = configured(lab, configurations)?;
    let trace = |member: &Member| Tracer::attach(lab, member.node.pid()?, "data-plane", &DATA_CALLS);
    let tracers = [trace(&pair.a)?, trace(&pair.b)?];
    let data = transfer::noise(6, SOME);
    let received = transfer::tcp(pair.a.host(), pair.b.host(), pair.b.ipv4()?.into(), &data)?;
    ensure!(received.sha256 == transfer::sha256(&data), "other bytes arrived");
    let [a, b] = tracers;
    let counts = [a.stop()?, b.stop()?];
    println!("{configurations:?}: for {FRAMES} frames {counts:?}");
    Ok(counts)
}

/// Frames that [`SOME`] bytes take at least, with the smallest headers of IPv4 and TCP.
const FRAMES: u64 = (SOME / (Mtu::DEFAULT.bytes() as usize - 40)) as u64;

/// A call that moves a single frame or datagram is made twice for each, and answers come on top.
#[test]
fn a_transfer_moves_many_frames_by_one_system_call() {
    limit::test(LIMIT, |lab| {
        for counts in calls_of_a_transfer(lab, ["", ""])? {
            let total = counts.get("total").copied().context("a total")?;
            ensure!(total < FRAMES / 4, "{total} calls for {FRAMES} frames");
        }
        Ok(())
    });
}

#[test]
fn offloads_that_are_forbidden_are_not_used() {
    let count = |counts: &BTreeMap<String, u64>, names: [&str; 2]| -> u64 {
        names.iter().filter_map(|name| counts.get(*name)).sum()
    };
    limit::test(LIMIT, |lab| {
        let [a, b] = calls_of_a_transfer(lab, ["[offloads]\ncard = false\n"; 2])?;
        ensure!(count(&a, ["read", "readv"]) >= FRAMES, "the card of a: {a:?}");
        ensure!(count(&b, ["write", "writev"]) >= FRAMES, "the card of b: {b:?}");
        Ok(())
    });
    limit::test(LIMIT, |lab| {
        let [a, _] = calls_of_a_transfer(lab, ["[offloads]\nsend = false\n", ""])?;
        ensure!(count(&a, ["sendto", "sendmsg"]) >= FRAMES, "the socket of a: {a:?}");
        Ok(())
    });
}

/// Far below what any machine manages: here a loss is a fault.
const PACED: Load = Load {
    flows: 4,
    rounds: 400,
    burst: 1,
    pause: Duration::from_millis(5),
    segmented: false,
};

/// Bursts that fill batches and coalesce. What a queue that is full drops is lost, which is nothing on a machine that
/// has time, but nothing else may happen.
const BURSTS: Load = Load {
    flows: 6,
    rounds: 80,
    burst: 48,
    pause: Duration::from_millis(8),
    segmented: false,
};

fn check_flows(pair: &Pair, way: &str) -> Result<()> {
    for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for address in addresses(to)? {
            for (name, load) in [
                ("paced", PACED),
                ("bursts", BURSTS),
                (
                    "bursts in one piece",
                    Load {
                        segmented: true,
                        ..BURSTS
                    },
                ),
            ] {
                let account = flows::run(from.host(), to.host(), address, load)?;
                println!("{way}, to {address}, {name}: {account:?}, {:?}", overflows(pair)?);
                let wrong = account.doubled + account.overtaken + account.damaged;
                ensure!(wrong == 0, "{way}, {name}: {account:?}\n{}", pair.counters()?);
                let may_be_lost = if load.burst == PACED.burst { 0 } else { account.sent / 2 };
                ensure!(
                    account.lost <= may_be_lost,
                    "{way}, {name}: {account:?}\n{}",
                    pair.counters()?
                );
            }
        }
    }
    Ok(())
}

#[test]
fn flows_keep_their_order_on_a_direct_path() {
    limit::test(LIMIT, |lab| {
        let pair = start_direct(lab)?;
        check_flows(&pair, "direct")?;
        pair.wait_path("direct", PATH_LIMIT)?;
        Ok(())
    });
}

#[test]
fn flows_keep_their_order_over_the_relay() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start_apart(lab, [Wire::PLAIN, Wire::PLAIN], Wire::PLAIN)?;
        check_flows(&pair, "relay")?;
        pair.wait_path("relay", PATH_LIMIT)?;
        Ok(())
    });
}

/// Bytes over each number of streams.
const LARGE: usize = 300_000_000;

/// A part that goes first, in which TCP finds out what the path carries.
const START: usize = 20_000_000;

/// Counters of a daemon that tell of datagrams or frames which found a queue full.
const OVERFLOWS: [&str; 3] = ["card_dropped", "underlay_overrun", "underlay_full"];

/// What is shown of TCP at the sender.
const SHOWN: [&str; 6] = [
    "Tcp.OutSegs",
    "Tcp.RetransSegs",
    "TcpExt.TCPDSACKRecvSegs",
    "TcpExt.TCPLossProbes",
    "TcpExt.TCPTimeouts",
    "TcpExt.TCPLostRetransmit",
];

fn overflows(pair: &Pair) -> Result<Vec<(&'static str, u64)>> {
    OVERFLOWS
        .into_iter()
        .map(|name| Ok((name, pair.counter(name)?)))
        .collect()
}

fn send_streams(pair: &Pair, control: &str, streams: usize, bytes: usize) -> Result<()> {
    let address = pair.b.ipv4()?.into();
    thread::scope(|scope| {
        let each = |stream: usize| {
            let data = transfer::noise(stream as u64, bytes / streams);
            let received = transfer::tcp_by(pair.a.host(), pair.b.host(), address, &data, Some(control))?;
            ensure!(
                received.sha256 == transfer::sha256(&data),
                "stream {stream}: other bytes arrived"
            );
            Ok(())
        };
        let all: Vec<_> = (0..streams).map(|stream| scope.spawn(move || each(stream))).collect();
        all.into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn loses_nothing(control: &str) {
    limit::test(LIMIT, |lab| {
        let pair = start_direct(lab)?;
        for streams in [1, 4] {
            let before = Counts::of(pair.a.host())?;
            send_streams(&pair, control, streams, START)?;
            let started = Counts::of(pair.a.host())?;
            let full = overflows(&pair)?;
            send_streams(&pair, control, streams, LARGE)?;
            let after = Counts::of(pair.a.host())?;
            for (part, from, to) in [("start", &before, &started), ("steady", &started, &after)] {
                let said = SHOWN
                    .iter()
                    .map(|name| Ok(format!("{name} {}", to.since(from, name)?)))
                    .collect::<Result<Vec<_>>>()?;
                println!("{control}, {streams} streams, {part}: {}", said.join(", "));
            }
            println!("{full:?}, then {:?}", overflows(&pair)?);
            // On a busy machine TCP loses patience, and the other end says that it had the segment already.
            let repeated = after.since(&started, "Tcp.RetransSegs")?;
            let needless = after.since(&started, "TcpExt.TCPDSACKRecvSegs")?;
            let mut lost = 0;
            if control == "cubic" {
                // It fills whatever queue there is: what the receiving socket had no room for, up to 64 segments at a time, is
                // its own doing. That is counted, and stays little.
                let overrun = |counts: &[(&str, u64)]| {
                    counts
                        .iter()
                        .find(|(name, _)| *name == "underlay_overrun")
                        .map_or(0, |(_, count)| *count)
                };
                let now = overflows(&pair)?;
                lost = 64 * (overrun(&now[..]) - overrun(&full[..]));
                ensure!(
                    repeated * 25 <= after.since(&started, "Tcp.OutSegs")?,
                    "{repeated} segments were repeated\n{}",
                    pair.counters()?
                );
            } else {
                ensure!(overflows(&pair)? == full, "a queue was full\n{}", pair.counters()?);
            }
            // That is not heard any more of the last segment of a stream.
            ensure!(
                repeated <= needless + lost + streams as u64,
                "{repeated} segments were repeated, {needless} of them for nothing\n{}",
                pair.counters()?
            );
        }
        Ok(())
    });
}

#[test]
fn large_transfers_by_cubic_lose_nothing_that_is_not_counted() {
    loses_nothing("cubic");
}

#[test]
fn large_transfers_by_bbr_lose_nothing() {
    loses_nothing("bbr");
}

/// Bytes of each transfer with some offloads or all.
const SOME: usize = 6_000_000;

/// Both ways, both families: right bytes, and every ping answered.
fn check_pair(pair: &Pair) -> Result<()> {
    for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for address in addresses(to)? {
            let data = transfer::noise(7, SOME);
            let received = transfer::tcp(from.host(), to.host(), address, &data)?;
            let right = received.sha256 == transfer::sha256(&data);
            ensure!(right, "to {address}: {} bytes, not those sent", received.bytes);
            let answer = transfer::udp(from.host(), to.host(), address, &data[..20_000])?;
            ensure!(
                answer.sha256 == transfer::sha256(&data[..20_000]),
                "to {address}: another datagram"
            );
            let count = "20";
            let words = [
                "ping",
                "-n",
                "-D",
                "-i",
                "0.02",
                "-c",
                count,
                "-W",
                "5",
                &address.to_string(),
            ];
            let said = from.host().exec(&words, DEFAULT_LIMIT)?.success()?.stdout;
            ensure!(said.contains(&format!("{count} received")), "{said}");
        }
        tagged(from, to)?;
    }
    Ok(())
}

/// Frames behind a VLAN tag, raw, as a kernel with VLANs would send them on the card.
fn tagged(from: &Member, to: &Member) -> Result<()> {
    let open = |member: &Member| {
        member
            .host()
            .inside(|| PacketSocket::open(&member.network.interface, Offloads::Bare))?
            .context("a packet socket")
    };
    let (sender, receiver) = (open(from)?, open(to)?);
    let frames: Vec<_> = (0..TAGGED)
        .map(|number| {
            let mut payload = vec![0, 5, 0x88, 0xb5];
            payload.extend((0..100 + number * 12).map(|index| (index * 3 + number) as u8));
            Ok(ethernet(mac(&to.mac()?)?, mac(&from.mac()?)?, 0x8100, &payload))
        })
        .collect::<Result<_>>()?;
    for frame in &frames {
        sender.send(frame)?;
    }
    let mut came = Vec::new();
    command::wait_for("all tagged frames", DEFAULT_LIMIT, || {
        while let Some(frame) = receiver.receive()? {
            if frame.get(12..14) == Some(&[0x81, 0]) {
                came.push(frame);
            }
        }
        Ok((came.len() >= frames.len()).then_some(()))
    })?;
    ensure!(came == frames, "tagged frames were changed or changed places");
    Ok(())
}

const TAGGED: usize = 100;

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| Ok(u8::from_str_radix(part, 16)?))
        .collect::<Result<_>>()?;
    bytes.try_into().ok().context("six bytes")
}

fn works_with(configuration: &str) {
    limit::test(LIMIT, |lab| {
        let pair = configured(lab, [configuration, ""])?;
        check_pair(&pair)
    });
}

#[test]
fn cards_without_offloads_work_with_others() {
    works_with("[offloads]\ncard = false\n");
}

#[test]
fn sockets_that_send_one_by_one_work_with_others() {
    works_with("[offloads]\nsend = false\n");
}

#[test]
fn sockets_that_receive_one_by_one_work_with_others() {
    works_with("[offloads]\nreceive = false\n");
}

#[test]
fn nodes_without_any_offload_work_with_others() {
    works_with("[offloads]\ncard = false\nsend = false\nreceive = false\n");
}

/// A host behind a member's bridge whose cable neither fills in nor waives checksums: what it receives is what a real
/// wire would carry.
fn forwards_complete_frames(configuration: &str) {
    limit::test(LIMIT, |lab| {
        let pair = configured(lab, ["", configuration])?;
        let bridge = Bridge::around(&pair.b)?;
        let guest = Guest::plug(lab, &bridge, "guest", 1)?;
        let plain = |host: &Namespace, card: &str, features: &[&str]| -> Result<()> {
            let mut words = vec!["ethtool", "-K", card];
            features.iter().for_each(|feature| words.extend([*feature, "off"]));
            host.exec(&words, DEFAULT_LIMIT)?.success()?;
            Ok(())
        };
        plain(pair.b.host(), "to-guest", &["tx", "tso", "gso"])?;
        plain(&guest.host, INSIDE, &["rx", "gro", "tx", "tso", "gso"])?;
        let before = Counts::of(&guest.host)?;
        for address in [IpAddr::from(guest.ipv4), guest.ipv6.into()] {
            let data = transfer::noise(8, SOME);
            let received = transfer::tcp(pair.a.host(), &guest.host, address, &data)?;
            ensure!(
                received.sha256 == transfer::sha256(&data),
                "to {address}: other bytes arrived"
            );
            let load = Load {
                segmented: true,
                rounds: 50,
                ..BURSTS
            };
            let account = flows::run(pair.a.host(), &guest.host, address, load)?;
            println!("to {address} behind the bridge: {account:?}");
            ensure!(
                account.damaged + account.doubled + account.overtaken == 0,
                "{account:?}"
            );
            let load = Load { rounds: 50, ..PACED };
            let account = flows::run(pair.a.host(), &guest.host, address, load)?;
            ensure!(account.lost == 0, "{account:?}");
        }
        for address in addresses(&pair.a)? {
            let data = transfer::noise(9, SOME);
            let received = transfer::tcp(&guest.host, pair.a.host(), address, &data)?;
            ensure!(
                received.sha256 == transfer::sha256(&data),
                "to {address}: other bytes arrived"
            );
        }
        let wrong = |counts: &Counts| -> Result<u64> {
            let names = ["Tcp.InCsumErrors", "Udp.InCsumErrors", "Tcp.InErrs"];
            names.iter().map(|name| counts.since(&before, name)).sum()
        };
        let found = wrong(&Counts::of(&guest.host)?)?;
        ensure!(found == 0, "{found} frames with wrong checksums reached the wire");
        // The kernel behind the wire does look.
        bad_checksum(&pair.a, &guest)?;
        command::wait_for("the guest to count a wrong checksum", DEFAULT_LIMIT, || {
            Ok((wrong(&Counts::of(&guest.host)?)? == 1).then_some(()))
        })?;
        Ok(())
    });
}

/// Sends the guest a UDP datagram whose checksum is wrong.
fn bad_checksum(from: &Member, guest: &Guest) -> Result<()> {
    let receiver = guest.host.inside(|| std::net::UdpSocket::bind((guest.ipv4, 0)))??;
    let port = receiver.local_addr()?.port();
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&from.ipv4()?.octets());
    packet.extend_from_slice(&guest.ipv4.octets());
    let sum: u32 = packet
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&[0x30, 0x39]);
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&[0, 12, 0x12, 0x34, 1, 2, 3, 4]);
    let frame = ethernet(mac(&guest.host.mac(INSIDE)?)?, mac(&from.mac()?)?, 0x0800, &packet);
    let card = &from.network.interface;
    let socket = from.host().inside(|| PacketSocket::open(card, Offloads::Bare))??;
    socket.send(&frame)?;
    Ok(())
}

#[test]
fn frames_are_complete_on_a_wire_behind_a_card_with_offloads() {
    forwards_complete_frames("");
}

#[test]
fn frames_are_complete_on_a_wire_behind_a_card_without() {
    forwards_complete_frames("[offloads]\ncard = false\n");
}
