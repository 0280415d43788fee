//! Measurements of the released programs in network namespaces: the time to the first answered ping of two cold
//! nodes, and what an idle node costs.

use std::net::IpAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::program::{PORT, registered};
use farlan_tests::ns::summary::Summary;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::topology::INSIDE;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit, ping, requirements};

/// Time between two pings of the cold start.
const PING_INTERVAL: Duration = Duration::from_millis(50);

/// How long a cold start may take before it counts as failed.
const FIRST_PING_LIMIT: Duration = Duration::from_secs(15);

/// How long an idle node is left alone before the count begins, so that joining is not counted.
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(about = "Measure the released programs in network namespaces")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Time from "both registered" to the first answered ping, between two NATed homes that start cold.
    FirstPing {
        /// How many cold starts.
        #[arg(long, default_value_t = 100)]
        runs: u16,
        /// Round trip between any two of the homes and the supernode, in milliseconds.
        #[arg(long, default_value_t = 150)]
        round_trip_ms: u64,
        /// Put the second home behind a symmetric NAT.
        #[arg(long)]
        symmetric: bool,
    },
    /// Bytes, memory and CPU of a node that does nothing.
    Idle {
        /// How long to watch, in seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = requirements::check_base().and_then(|()| match arguments.what {
        What::FirstPing {
            runs,
            round_trip_ms,
            symmetric,
        } => {
            let limit = Duration::from_secs(120 + u64::from(runs) * 60);
            let round_trip = Duration::from_millis(round_trip_ms);
            limit::with_lab(limit, |lab| first_ping(lab, runs, round_trip, symmetric))
        }
        What::Idle { seconds } => {
            let limit = Duration::from_secs(120 + seconds);
            limit::with_lab(limit, |lab| idle(lab, Duration::from_secs(seconds)))
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Milliseconds from "both registered" to the first answer.
struct FirstAnswers {
    ipv4: f64,
    ipv6: f64,
}

fn first_ping(lab: &mut Lab, runs: u16, round_trip: Duration, symmetric: bool) -> Result<()> {
    let wire = Wire::for_round_trip(round_trip);
    let public = lab.public_host("s", wire)?;
    let supernode = Supernode::start(lab, &public)?;
    let other = if symmetric { Nat::Symmetric } else { Nat::Port };
    let homes = [lab.home("a", Nat::Port, wire)?, lab.home("b", other, wire)?];
    let shelter = lab.home("m", Nat::Port, wire)?;
    let mut maker = Node::new(lab, "m", &shelter.host, Some(supernode.link()))?;
    maker.start()?;
    maker.wait_registered(JOIN_LIMIT)?;

    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for run in 0..runs {
        // A network of its own for each run, in which nobody else is.
        let link = maker.host()?;
        for network in maker.networks()? {
            maker.cli(&["leave", &network.network_id])?.success()?;
        }
        let mut nodes = Vec::new();
        for (name, home) in ["a", "b"].into_iter().zip(&homes) {
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.forget()?;
            // A port that the routers have not seen.
            node.set_port(PORT + 1 + run);
            nodes.push(node);
        }
        let first = cold_start(&mut nodes, &link).with_context(|| format!("run {run}"))?;
        println!("run {run}: IPv4 {:.0} ms, IPv6 {:.0} ms", first.ipv4, first.ipv6);
        ipv4.push(first.ipv4);
        ipv6.push(first.ipv6);
        for node in &mut nodes {
            node.stop()?;
        }
    }
    let trip = round_trip.as_millis();
    println!("milliseconds from \"both registered\" to the first answered ping at {trip} ms round trip");
    for (family, measured) in [("IPv4", &ipv4), ("IPv6", &ipv6)] {
        println!("{family}  {}", Summary::of(measured).context("no runs")?);
    }
    Ok(())
}

/// Starts both nodes, joins them by the link, and pings from the first to the second.
fn cold_start(nodes: &mut [Node], link: &str) -> Result<FirstAnswers> {
    for node in nodes.iter_mut() {
        node.launch()?;
    }
    for node in nodes.iter_mut() {
        node.wait_ready()?;
    }
    let [a, b] = nodes else { bail!("two nodes are wanted") };
    let (a, b) = (&*a, &*b);
    thread::scope(|scope| {
        let joins = [a, b].map(|node| scope.spawn(move || node.join(link)));
        let clocks = [a, b].map(|node| scope.spawn(move || registered_at(node)));
        let clocks = clocks.map(|clock| clock.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let [clock_a, clock_b] = clocks;
        let start = clock_a?.max(clock_b?);

        let pings = [false, true].map(|is_ipv6| scope.spawn(move || first_answer(a, b, is_ipv6, start)));
        let [ipv4, ipv6] = pings.map(|ping| ping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        for join in joins {
            join.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(FirstAnswers {
            ipv4: ipv4?,
            ipv6: ipv6?,
        })
    })
}

/// When the `status` that first showed a registration was asked for.
fn registered_at(node: &Node) -> Result<Instant> {
    wait_for("the registration", JOIN_LIMIT, || {
        let asked = Instant::now();
        Ok(registered(&node.status()?).then_some(asked))
    })
}

/// Pings from `a` the address of `b`, beginning as soon as the daemons show cards with addresses.
fn first_answer(a: &Node, b: &Node, is_ipv6: bool, start: Instant) -> Result<f64> {
    let address = |node: &Node| -> Result<Option<IpAddr>> {
        let network = node.networks()?.into_iter().next();
        Ok(network.and_then(|network| {
            if is_ipv6 {
                network.ipv6.map(IpAddr::from)
            } else {
                network.ipv4.map(IpAddr::from)
            }
        }))
    };
    let target = wait_for("b's address", FIRST_PING_LIMIT, || address(b))?;
    let deadline = start + FIRST_PING_LIMIT;
    let answered = a
        .namespace()
        .inside(|| ping::first_answer(target, PING_INTERVAL, deadline))??;
    Ok(answered.duration_since(start).as_secs_f64() * 1000.0)
}

fn idle(lab: &mut Lab, time: Duration) -> Result<()> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    // The card's host must send nothing by itself; router solicitations are all an idle kernel would repeat.
    home.host.set_sysctl("ipv6/conf/default/router_solicitations", "0")?;
    let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
    node.start()?;
    node.wait_registered(JOIN_LIMIT)?;
    node.host()?;
    let network = node.wait_addressed(JOIN_LIMIT)?;
    thread::sleep(SETTLE);

    let outgoing = home.router.inside(|| PacketSocket::open("lan", Offloads::Kept))??;
    let incoming = home.host.inside(|| PacketSocket::open(INSIDE, Offloads::Kept))??;
    let card = home
        .host
        .inside(|| PacketSocket::open(&network.interface, Offloads::Bare))??;
    let sent_before = frames_sent(&home.host, &network.interface)?;
    let cpu_before = cpu_seconds(node.pid()?)?;
    let start = Instant::now();
    let mut counts = [Count::default(), Count::default()];
    while start.elapsed() < time {
        for (count, socket) in counts.iter_mut().zip([&outgoing, &incoming]) {
            count.take(socket)?;
        }
        while card.receive()?.is_some() {}
        thread::sleep(Duration::from_millis(200).min(time.saturating_sub(start.elapsed())));
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (cpu_seconds(node.pid()?)? - cpu_before) / seconds * 100.0;
    let sent_by_host = frames_sent(&home.host, &network.interface)? - sent_before;
    let [out, back] = counts;
    let a_day = (out.bytes + back.bytes) as f64 / seconds * 86_400.0;
    println!(
        "watched      {seconds:.0} s, one supernode, one network; the host sent {sent_by_host} frames to its card"
    );
    println!("out          {} packets, {} IP bytes", out.packets, out.bytes);
    println!("back         {} packets, {} IP bytes", back.packets, back.bytes);
    println!("extrapolated {:.3} MB a day", a_day / 1e6);
    println!(
        "memory       {:.1} MB resident",
        resident_kilobytes(node.pid()?)? * 1024.0 / 1e6
    );
    println!("CPU          {cpu:.3} % of a core");
    Ok(())
}

/// IP packets and their bytes.
#[derive(Clone, Copy, Default)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    fn take(&mut self, socket: &PacketSocket) -> Result<()> {
        const ETHERNET_HEADER: usize = 14;
        const OFFLOAD_HEADER: usize = farlan_tests::ns::sys::VNET_HEADER;
        while let Some(packet) = socket.receive()? {
            let frame = packet.get(OFFLOAD_HEADER..).unwrap_or_default();
            if matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd])) {
                self.packets += 1;
                self.bytes += (frame.len() - ETHERNET_HEADER) as u64;
            }
        }
        Ok(())
    }
}

fn frames_sent(namespace: &farlan_tests::ns::Namespace, interface: &str) -> Result<u64> {
    let path = "/proc/thread-self/net/dev";
    let table = namespace.inside(|| std::fs::read_to_string(path))??;
    let prefix = format!("{interface}:");
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(&prefix));
    // Eight columns for receiving; then bytes and packets sent.
    let packets = row.and_then(|row| row.split_whitespace().nth(9));
    packets
        .with_context(|| format!("{interface} is not in {path}"))?
        .parse()
        .context("a count")
}

/// Processor time of a process so far, in seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat line")?.parse()?) };
    // proc(5) counts in USER_HZ, which is 100 on every Linux of today.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn resident_kilobytes(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no VmRSS")?.parse()?)
}
