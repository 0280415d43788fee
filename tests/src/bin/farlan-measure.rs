//! Measurements of the released programs in network namespaces: the time to the first answered ping of two cold
//! nodes, what an idle node costs, how direct paths come and what they survive, and what floods of handshakes do.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use farlan_tests::ns::cold::ColdPair;
use farlan_tests::ns::summary::Summary;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::topology::INSIDE;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::usage::{cpu_seconds, resident_bytes};
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, flood, limit, measure_paths, requirements};

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
    /// What floods of bogus initiations do to a supernode, to what it relays and to who calls it.
    Flood {
        /// How long each kind of flood is watched, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Datagrams a second.
        #[arg(long, default_value_t = 110_000)]
        rate: u32,
        /// Calls by new nodes under each kind.
        #[arg(long, default_value_t = 9)]
        calls: u64,
        /// Which kinds; all without.
        #[arg(long, value_enum)]
        kind: Vec<flood::Kind>,
    },
    /// Direct paths: from cold starts, through changes and outages, and with files.
    Direct(measure_paths::Options),
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
        What::Flood {
            seconds,
            rate,
            calls,
            kind,
        } => {
            let kinds = if kind.is_empty() {
                flood::Kind::ALL.to_vec()
            } else {
                kind
            };
            let limit = Duration::from_secs(300 + seconds * 12);
            limit::with_lab(limit, |lab| {
                flood::measure(lab, &kinds, rate, Duration::from_secs(seconds), calls).map(|_| ())
            })
        }
        What::Direct(options) => measure_paths::measure(&options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn first_ping(lab: &mut Lab, runs: u16, round_trip: Duration, symmetric: bool) -> Result<()> {
    let other = if symmetric { Nat::Symmetric } else { Nat::Port };
    let mut pair = ColdPair::new(lab, [Nat::Port, other], Wire::for_round_trip(round_trip))?;
    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for run in 0..runs {
        let first = pair.start(lab, run).with_context(|| format!("run {run}"))?;
        let [four, six] = [first.ipv4, first.ipv6].map(|time| time.as_secs_f64() * 1000.0);
        println!("run {run}: IPv4 {four:.0} ms, IPv6 {six:.0} ms");
        ipv4.push(four);
        ipv6.push(six);
    }
    let trip = round_trip.as_millis();
    println!("milliseconds from \"both registered\" to the first answered ping at {trip} ms round trip");
    for (family, measured) in [("IPv4", &ipv4), ("IPv6", &ipv6)] {
        println!("{family}  {}", Summary::of(measured).context("no runs")?);
    }
    Ok(())
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
    let sent_before = home.host.card_sent(&network.interface)?.frames;
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
    let sent_by_host = home.host.card_sent(&network.interface)?.frames - sent_before;
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
        resident_bytes(node.pid()?)? as f64 / 1e6
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
