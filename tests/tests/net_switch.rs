//! A `friends` network is a switch: hosts behind bridges, virtual MACs, DHCP, router advertisements, duplicate addresses
//! and addresses set by hand.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::bridge::{Bridge, Guest, prefix_of};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::{self, PingReport};
use farlan_tests::ns::program::Process;
use farlan_tests::ns::topology::INSIDE;
use farlan_tests::ns::trio::{Member, Trio};
use farlan_tests::ns::{Lab, Namespace, Nat, Wire, limit};

const LIMIT: Duration = Duration::from_secs(150);

/// How long anything may take to become known on a busy machine, where the test does not measure it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon whoever moved must be reached at the new place.
const FOLLOWED: Duration = Duration::from_secs(2);

/// How long a VRRP router takes to find that the master is silent (RFC 5798 §6.1): three advertisement intervals of a second,
/// and for the priority 100 of 256 the skew of 156/256 s.
const MASTER_DOWN: Duration = Duration::from_millis(3610);

/// Pace of the pings that measure how long a target is out of reach.
const PING_INTERVAL: Duration = Duration::from_millis(20);

fn on_a_lan(body: impl FnOnce(&mut Lab, &Trio) -> Result<()>) {
    limit::test(LIMIT, |lab| {
        let trio = Trio::start(lab, [Nat::Port; 3], Wire::PLAIN)?;
        body(lab, &trio)
    });
}

fn ping_from(from: &Namespace, target: impl Into<IpAddr>) -> Result<()> {
    let target = target.into().to_string();
    let report = PingReport::run(from, &["-c", "5", "-i", "0.2", "-W", "2", &target], DEFAULT_LIMIT)?;
    ensure!(
        report.answered() == 5 && report.answers.len() == 5,
        "{} asked {target}: {}",
        from.name(),
        report.finished
    );
    Ok(())
}

/// How long a target that moved at `moved` stays without an answer.
fn gap(from: &Namespace, target: IpAddr, moved: Instant) -> Result<Duration> {
    let deadline = Instant::now() + PATIENCE;
    let first = from.inside(|| ping::first_answer(target, PING_INTERVAL, deadline))?;
    let first = first.with_context(|| match from.ip(&format!("neighbour show {target}")) {
        Ok(neighbours) => format!("{} has {neighbours:?}", from.name()),
        Err(error) => error.to_string(),
    })?;
    Ok(first - moved)
}

/// Every one of some times must be as short as wanted.
fn judge(what: &str, gaps: &[Duration], wanted: Duration) -> Result<()> {
    println!("{what}: {gaps:.2?}");
    let longest = gaps.iter().max().context("no times")?;
    ensure!(*longest <= wanted + PING_INTERVAL, "{what}: {gaps:?}");
    Ok(())
}

fn card(member: &Member) -> &str {
    &member.network.interface
}

fn add(member: &Member, address: &str) -> Result<()> {
    member
        .host()
        .ip(&format!("address add {address} dev {}", card(member)))?;
    Ok(())
}

fn remove(member: &Member, address: &str) -> Result<()> {
    member
        .host()
        .ip(&format!("address del {address} dev {}", card(member)))?;
    Ok(())
}

/// Whether a check for duplicates (RFC 5227) finds somebody at an IPv4 address.
fn is_taken(member: &Member, address: Ipv4Addr) -> Result<bool> {
    let address = address.to_string();
    let words = [
        "busybox",
        "arping",
        "-D",
        "-c",
        "2",
        "-w",
        "3",
        "-I",
        card(member),
        &address,
    ];
    let finished = member.host().exec(&words, DEFAULT_LIMIT)?;
    match finished.code {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => anyhow::bail!("{finished}"),
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, PATIENCE, || Ok(holds()?.then_some(())))
}

#[test]
fn hosts_behind_a_bridge_are_reached_and_followed_when_they_move() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        let (at_a, at_b) = (Bridge::around(a)?, Bridge::around(b)?);
        let mut first = Guest::plug(lab, &at_a, "g1", 1)?;
        let second = Guest::plug(lab, &at_a, "g2", 2)?;
        let third = Guest::plug(lab, &at_b, "g3", 3)?;
        for guest in [&first, &second, &third] {
            ping_from(c.host(), guest.ipv4)?;
            ping_from(c.host(), guest.ipv6)?;
            ping_from(&guest.host, c.ipv4()?)?;
            ping_from(&guest.host, c.ipv6()?)?;
        }
        // From behind one bridge to behind another, and to the neighbour on the same.
        for guest in [&second, &third] {
            ping_from(&first.host, guest.ipv4)?;
            ping_from(&first.host, guest.ipv6)?;
        }
        // Members with a bridge are reached themselves, from farlan's side and from behind their own bridge.
        for from in [c.host(), &first.host, &third.host] {
            ping_from(from, a.ipv4()?)?;
            ping_from(from, a.ipv6()?)?;
        }
        ping_from(a.host(), b.ipv4()?)?;
        ping_from(b.host(), a.ipv6()?)?;
        let mut gaps = Vec::new();
        for (round, to) in [&at_b, &at_a, &at_b, &at_a, &at_b].into_iter().enumerate() {
            let target = if round % 2 == 0 {
                first.ipv4.into()
            } else {
                IpAddr::from(first.ipv6)
            };
            ping_from(c.host(), target)?;
            let moved = Instant::now();
            first.move_to(to)?;
            gaps.push(gap(c.host(), target, moved)?);
        }
        judge("a host that moved is reached after", &gaps, FOLLOWED)?;
        ping_from(&third.host, first.ipv4)
    });
}

/// A VRRP router.
struct Router {
    process: Process,
}

/// With which MAC a VRRP router answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RouterMac {
    /// That of VRRP, which moves with the address.
    Virtual,
    /// That of its card, on which the address is then set.
    Own,
}

impl Router {
    fn start(lab: &Lab, member: &Member, priority: u8, mac: RouterMac, virtual_address: &str) -> Result<Self> {
        let name = member.node.name();
        let file = |ending: &str| lab.directory().join(format!("{name}-keepalived.{ending}"));
        let configuration = format!(
            "global_defs {{\n router_id {name}\n}}\n\
             vrrp_instance lan {{\n state BACKUP\n interface {}\n {}\n virtual_router_id 51\n priority {priority}\n \
             advert_int 1\n virtual_ipaddress {{\n  {virtual_address}\n }}\n}}\n",
            card(member),
            if mac == RouterMac::Virtual { "use_vmac" } else { "" }
        );
        fs::write(file("conf"), configuration)?;
        let mut command = member.host().command("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--log-detail", "--use-file"]);
        command.arg(file("conf")).arg("--pid").arg(file("pid"));
        command.arg("--vrrp_pid").arg(file("vrrp.pid"));
        let process = Process::spawn(command, &format!("{name}-keepalived"), lab.directory())?;
        Ok(Self { process })
    }
}

fn has_address(member: &Member, address: Ipv4Addr) -> Result<bool> {
    Ok(member
        .host()
        .ip("-4 -o address show")?
        .contains(&format!("inet {address}/")))
}

#[test]
fn a_virtual_router_moves_from_member_to_member() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        let address = Ipv4Addr::from(u32::from(a.broadcast_address()?) - 21);
        let with_prefix = format!("{address}/{}", prefix_of(a)?);
        let mut first = Router::start(lab, b, 150, RouterMac::Virtual, &with_prefix)?;
        wait_until("b to be master", || has_address(b, address))?;
        let second = Router::start(lab, c, 100, RouterMac::Virtual, &with_prefix)?;
        wait_until("a to reach the virtual router", || {
            Ok(
                PingReport::run(a.host(), &["-c", "1", "-W", "1", &address.to_string()], DEFAULT_LIMIT)?.answered()
                    == 1,
            )
        })?;
        ping_from(a.host(), address)?;
        let neighbours = a.host().ip(&format!("neighbour show {address}"))?;
        ensure!(neighbours.contains("00:00:5e:00:01:33"), "no virtual MAC: {neighbours}");

        let mut gaps = Vec::new();
        let stopped = Instant::now();
        first.process.stop(PATIENCE)?;
        gaps.push(gap(a.host(), address.into(), stopped)?);
        ping_from(a.host(), address)?;
        // The one of higher priority takes over again.
        let first = Router::start(lab, b, 150, RouterMac::Virtual, &with_prefix)?;
        wait_until("b to be master again", || has_address(b, address))?;
        gaps.push(gap(a.host(), address.into(), Instant::now())?);
        wait_until("c to step back", || Ok(!has_address(c, address)?))?;
        ping_from(a.host(), address)?;
        judge("a virtual router that moved is reached after", &gaps, FOLLOWED)?;

        // A crash of the whole machine: nothing is said any more. The other waits for three advertisements.
        let crashed = Instant::now();
        b.host().ip(&format!("link set {} down", card(b)))?;
        let gap = gap(a.host(), address.into(), crashed)?;
        judge(
            "a virtual router whose machine went down is reached after",
            &[gap],
            MASTER_DOWN + FOLLOWED,
        )?;
        ping_from(a.host(), address)?;
        drop((first, second));
        Ok(())
    });
}

#[test]
fn an_address_of_a_machine_that_vanished_moves_to_the_next() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        let address = Ipv4Addr::from(u32::from(a.broadcast_address()?) - 22);
        let with_prefix = format!("{address}/{}", prefix_of(a)?);
        let _first = Router::start(lab, b, 150, RouterMac::Own, &with_prefix)?;
        wait_until("b to be master", || has_address(b, address))?;
        let _second = Router::start(lab, c, 100, RouterMac::Own, &with_prefix)?;
        ping_from(a.host(), address)?;
        let neighbours = a.host().ip(&format!("neighbour show {address}"))?;
        ensure!(neighbours.contains(&b.mac()?), "wanted {}: {neighbours}", b.mac()?);

        // Nobody says that b has it no more: c finds it silent after 3 s and more, and so must a's node.
        let crashed = Instant::now();
        b.host().ip(&format!("link set {INSIDE} down"))?;
        let gap = gap(a.host(), address.into(), crashed)?;
        judge(
            "an address of a machine that vanished is reached elsewhere after",
            &[gap],
            MASTER_DOWN + FOLLOWED,
        )?;
        ping_from(a.host(), address)?;
        let neighbours = a.host().ip(&format!("neighbour show {address}"))?;
        ensure!(neighbours.contains(&c.mac()?), "wanted {}: {neighbours}", c.mac()?);
        Ok(())
    });
}

#[test]
fn a_lease_is_handed_out_by_a_member() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        add(a, "192.168.77.1/24")?;
        add(c, "192.168.77.3/24")?;
        let mut command = a.host().command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--bind-interfaces",
        ]);
        command.args([
            "--user=root",
            "--log-facility=-",
            "--log-dhcp",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.arg(format!("--interface={}", card(a)));
        command.arg("--dhcp-range=192.168.77.100,192.168.77.150,255.255.255.0,10m");
        command.arg(format!("--dhcp-leasefile={}", lab.directory().join("leases").display()));
        command.arg("--pid-file");
        let mut server = Process::spawn(command, "dnsmasq", lab.directory())?;
        wait_until("dnsmasq", || {
            server.ensure_running()?;
            Ok(server.log().contains("DHCP, IP range"))
        })?;

        let script = lab.directory().join("lease");
        fs::write(
            &script,
            "#!/bin/sh\nif [ \"$1\" = bound ]; then exec ip address add \"$ip/$mask\" dev \"$interface\"; fi\n",
        )?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let script = script.display().to_string();
        let words = [
            "udhcpc",
            "-i",
            card(b),
            "-f",
            "-q",
            "-n",
            "-t",
            "10",
            "-T",
            "1",
            "-s",
            &script,
        ];
        b.host().exec(&words, DEFAULT_LIMIT)?.success()?;
        let addresses = b.host().addresses(card(b), "-4")?;
        let lease = addresses.iter().find_map(|address| address.strip_suffix("/24"));
        let lease: Ipv4Addr = lease
            .with_context(|| format!("no lease among {addresses:?}"))?
            .parse()?;
        ensure!(lease.octets()[3] >= 100, "{lease} is not of the range");
        ping_from(b.host(), Ipv4Addr::new(192, 168, 77, 1))?;
        ping_from(c.host(), lease)?;
        ping_from(a.host(), lease)
    });
}

#[test]
fn a_prefix_is_advertised_by_a_member() {
    on_a_lan(|lab, trio| {
        let [a, b, c] = trio.abc()?;
        a.host().set_sysctl("ipv6/conf/all/forwarding", "1")?;
        let file = |ending: &str| lab.directory().join(format!("radvd.{ending}"));
        let configuration = format!(
            "interface {} {{\n AdvSendAdvert on;\n MinRtrAdvInterval 3;\n MaxRtrAdvInterval 4;\n AdvDefaultLifetime 0;\n \
             prefix fd42:42:42:1::/64 {{ AdvOnLink on; AdvAutonomous on; }};\n}};\n",
            card(a)
        );
        fs::write(file("conf"), configuration)?;
        // radvd refuses a file that others may write.
        fs::set_permissions(file("conf"), fs::Permissions::from_mode(0o600))?;
        let mut command = a.host().command("radvd");
        command
            .args(["--nodaemon", "--logmethod", "stderr", "--config"])
            .arg(file("conf"));
        command.arg("--pidfile").arg(file("pid"));
        let mut router = Process::spawn(command, "radvd", lab.directory())?;
        let mut addresses = Vec::new();
        for member in [b, c] {
            let what = format!("{} to have an address of the prefix", member.node.name());
            addresses.push(wait_for(&what, PATIENCE, || {
                router.ensure_running()?;
                let listing = member
                    .host()
                    .ip(&format!("-6 -o address show dev {} -tentative", card(member)))?;
                let words = listing.split_whitespace();
                let found = words
                    .filter_map(|word| word.strip_suffix("/64"))
                    .find(|word| word.starts_with("fd42:"));
                Ok(found.map(str::to_owned))
            })?);
        }
        let [at_b, at_c] = &addresses[..] else {
            anyhow::bail!("two addresses")
        };
        ping_from(b.host(), at_c.parse::<IpAddr>()?)?;
        ping_from(c.host(), at_b.parse::<IpAddr>()?)
    });
}

/// What became of an IPv6 address that was set: whether the kernel found it to be a duplicate.
fn dad_failed(member: &Member, address: &str) -> Result<bool> {
    add(member, &format!("{address}/64"))?;
    wait_for("the check for duplicates to end", PATIENCE, || {
        let listing = member.host().ip(&format!("-6 -o address show dev {}", card(member)))?;
        let line = listing.lines().find(|line| line.contains(&format!(" {address}/")));
        let line = line.with_context(|| format!("{address} is not there: {listing}"))?;
        Ok(if line.contains("dadfailed") {
            Some(true)
        } else {
            (!line.contains("tentative")).then_some(false)
        })
    })
}

#[test]
fn duplicate_addresses_are_seen_by_whoever_sets_the_second() {
    on_a_lan(|_, trio| {
        let [a, b, c] = trio.abc()?;
        let shared = Ipv4Addr::new(192, 168, 77, 5);
        for (first, second, octet) in [(a, b, 1), (b, a, 2)] {
            let address = Ipv4Addr::new(192, 168, 77, octet);
            ensure!(!is_taken(second, address)?, "{address} is free");
            add(first, &format!("{address}/24"))?;
            wait_until("the other member to see the address", || is_taken(second, address))?;
            ensure!(!is_taken(first, address)?, "{address} is nobody else's");
            // One that the directory gave out, and a free one beside it.
            ensure!(is_taken(second, first.ipv4()?)?, "{} is taken", first.ipv4()?);
        }
        add(a, &format!("{shared}/24"))?;
        wait_until("b to see the address", || is_taken(b, shared))?;
        add(b, &format!("{shared}/24"))?;
        ensure!(is_taken(b, shared)?, "it is a's, also after b has set it");
        wait_until("a to see the second", || is_taken(a, shared))?;
        // For everybody else the first has it.
        add(c, "192.168.77.9/24")?;
        ping_from(c.host(), shared)?;
        let neighbours = c.host().ip(&format!("neighbour show {shared}"))?;
        ensure!(neighbours.contains(&a.mac()?), "wanted {}: {neighbours}", a.mac()?);

        for (first, second, address) in [(a, b, "fd77::1"), (b, a, "fd77::2")] {
            ensure!(!dad_failed(first, address)?, "{address} is free");
            ensure!(dad_failed(second, address)?, "{address} is taken");
        }
        ensure!(
            dad_failed(b, &a.ipv6()?.to_string())?,
            "an address that follows from a's id"
        );
        Ok(())
    });
}

#[test]
fn a_hand_set_address_is_reached_as_long_as_it_is_there() {
    on_a_lan(|_, trio| {
        let [a, b, c] = trio.abc()?;
        let inside = Ipv4Addr::from(u32::from(a.broadcast_address()?) - 31);
        let (own, outside) = (format!("{inside}/{}", prefix_of(a)?), "192.168.77.1/24");
        for address in [&own[..], outside, "fd77::1/64"] {
            add(a, address)?;
        }
        for (member, octet) in [(b, 2), (c, 3)] {
            add(member, &format!("192.168.77.{octet}/24"))?;
            add(member, &format!("fd77::{octet}/64"))?;
        }
        for member in [b, c] {
            ping_from(member.host(), inside)?;
            ping_from(member.host(), Ipv4Addr::new(192, 168, 77, 1))?;
            wait_until("the IPv6 address to be of use", || {
                let report = PingReport::run(member.host(), &["-c", "1", "-W", "1", "fd77::1"], DEFAULT_LIMIT)?;
                Ok(report.answered() == 1)
            })?;
            ping_from(member.host(), "fd77::1".parse::<IpAddr>()?)?;
        }
        // A card that is down has none, although its kernel keeps it.
        a.host().ip(&format!("link set {} down", card(a)))?;
        wait_until("the address of a card that is down to be free", || {
            Ok(!is_taken(b, Ipv4Addr::new(192, 168, 77, 1))?)
        })?;
        a.host().ip(&format!("link set {} up", card(a)))?;
        wait_until("the address to be taken again", || {
            is_taken(b, Ipv4Addr::new(192, 168, 77, 1))
        })?;
        for address in [&own[..], outside] {
            remove(a, address)?;
        }
        for address in [inside, Ipv4Addr::new(192, 168, 77, 1)] {
            wait_until("the address to be free", || Ok(!is_taken(b, address)?))?;
        }
        ensure!(!dad_failed(b, "fd77::1")?, "nobody answers for it");

        // It may come to another member, whose kernel says nothing, while others are speaking with the first.
        let mut gaps = Vec::new();
        for (from, to) in [(b, a), (a, b), (b, a)] {
            let (address, target) = ("192.168.77.50/24", IpAddr::from([192, 168, 77, 50]));
            if gaps.is_empty() {
                add(from, address)?;
            }
            ping_from(c.host(), target)?;
            let moved = Instant::now();
            remove(from, address)?;
            add(to, address)?;
            gaps.push(gap(c.host(), target, moved)?);
        }
        judge("an address set elsewhere is reached after", &gaps, FOLLOWED)
    });
}
