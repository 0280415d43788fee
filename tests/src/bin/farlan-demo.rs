//! The demo: a supernode and three nodes behind NATs, made of network namespaces on this machine, exchange ping,
//! TCP and a broadcast. Every line it prints is something it measured; if anything is not as it must be, it says
//! so and ends with exit code 1.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use farlan_tests::ns::command::DEFAULT_LIMIT;
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::trio::{JOIN_LIMIT, Member};
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit, namespace, requirements, transfer};
use serde_json::Value;

/// The whole demo takes a few seconds; a hanging one ends here.
const LIMIT: Duration = Duration::from_secs(60);

/// How many times each ping asks.
const PINGS: u32 = 12;

#[derive(Parser)]
#[command(about = "Show a LAN of three machines behind NATs, in network namespaces")]
struct Arguments {
    /// Kill the supernode before the nodes start: the demo must fail then.
    #[arg(long)]
    kill_supernode: bool,
    /// Only remove what killed runs have left behind.
    #[arg(long)]
    clean: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.clean {
        namespace::remove_leftovers().map(|_| ())
    } else {
        requirements::check_base().and_then(|()| limit::with_lab(LIMIT, |lab| demo(lab, arguments.kill_supernode)))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(lab: &mut Lab, kill_supernode: bool) -> Result<()> {
    let start = Instant::now();
    let public = lab.public_host("s", Wire::PLAIN)?;
    let mut supernode = Supernode::start(lab, &public)?;
    println!("supernode    pid {} at {}", supernode.process().pid(), public.address);
    if kill_supernode {
        supernode.process().kill()?;
        println!("supernode    killed before any node starts");
    }

    let mut members: Vec<Member> = Vec::new();
    let mut link: Option<String> = None;
    for (name, nat) in [("a", Nat::Port), ("b", Nat::Port), ("c", Nat::Symmetric)] {
        let home = lab.home(name, nat, Wire::PLAIN)?;
        let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
        let began = Instant::now();
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        let router = if nat == Nat::Symmetric {
            "a symmetric NAT"
        } else {
            "a NAT"
        };
        println!(
            "{name}            {} behind {router} at {}, registered {:.2} s after its start",
            home.inside,
            home.outside,
            began.elapsed().as_secs_f64()
        );
        let began = Instant::now();
        let verb = if let Some(link) = &link {
            node.join(link)?;
            "joined"
        } else {
            link = Some(node.host()?);
            "made the network"
        };
        let network = node.wait_addressed(JOIN_LIMIT)?;
        let member = Member { home, node, network };
        println!(
            "             {verb} in {:.2} s: {} and {}",
            began.elapsed().as_secs_f64(),
            member.ipv4()?,
            member.ipv6()?
        );
        members.push(member);
    }

    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from, to) = (&members[from], &members[to]);
        show_ping(from, to, to.ipv4()?.into())?;
        show_ping(from, to, to.ipv6()?.into())?;
    }
    show_tcp(&members[0], &members[1], 1)?;
    show_tcp(&members[1], &members[2], 2)?;
    show_broadcast(&members)?;
    println!("all done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn show_ping(from: &Member, to: &Member, address: IpAddr) -> Result<()> {
    let (count, target) = (PINGS.to_string(), address.to_string());
    let words = ["-c", &count, "-i", "0.05", "-W", "2", &target];
    let report = PingReport::run(from.host(), &words, DEFAULT_LIMIT)?;
    let answered = report.answered();
    ensure!(
        answered == PINGS as usize,
        "{} of {PINGS} pings answered: {}",
        answered,
        report.finished
    );
    let first = report.answers.first().context("no answer")?.rtt_ms;
    let median = report.median_rtt_ms().context("no answer")?;
    let family = if address.is_ipv4() { "ping " } else { "ping6" };
    println!(
        "{family}        {} answered {} of {PINGS} by {}: first {first:.1} ms, median {median:.1} ms, {}",
        to.node.name(),
        answered,
        from.node.name(),
        path(from, to)?
    );
    Ok(())
}

fn show_tcp(from: &Member, to: &Member, seed: u64) -> Result<()> {
    let data = transfer::noise(seed, 1_000_000);
    let sent = transfer::sha256(&data);
    let received = transfer::tcp(from.host(), to.host(), to.ipv4()?.into(), &data)?;
    ensure!(
        received.sha256 == sent,
        "{} got {received:?}, sent was {sent}",
        to.node.name()
    );
    println!(
        "TCP          {} sent {} bytes to {} in {:.2} s, {}; SHA-256 at both ends {}…",
        from.node.name(),
        received.bytes,
        to.node.name(),
        received.took.as_secs_f64(),
        path(from, to)?,
        &received.sha256[..16]
    );
    Ok(())
}

fn show_broadcast(members: &[Member]) -> Result<()> {
    let (from, others) = members.split_first().context("no members")?;
    for member in others {
        member.host().set_sysctl("ipv4/icmp_echo_ignore_broadcasts", "0")?;
    }
    let target = from.broadcast_address()?;
    let report = PingReport::broadcast(from.host(), target, PINGS, DEFAULT_LIMIT)?;
    for member in others {
        let answered = report.answers_of(member.ipv4()?);
        let name = member.node.name();
        ensure!(
            answered == PINGS as usize,
            "{name} answered {answered} of {PINGS} broadcasts: {}",
            report.finished
        );
        println!(
            "broadcast    {name} answered {answered} of {PINGS} pings by {} to {target}",
            from.node.name()
        );
    }
    Ok(())
}

/// How `from` reaches `to`, in words, as its daemon's `peers` says.
fn path(from: &Member, to: &Member) -> Result<String> {
    let status = to.node.status()?;
    let id = status
        .get("node_id")
        .and_then(Value::as_str)
        .context("`status` has no node_id")?;
    let peers = from.node.peers()?;
    let peer = peers
        .iter()
        .find(|peer| peer.get("node_id").and_then(Value::as_str) == Some(id));
    let peer = peer.with_context(|| format!("{} does not list {id}", from.node.name()))?;
    let address = peer
        .get("address")
        .and_then(Value::as_str)
        .unwrap_or("an unknown address");
    match peer.get("path").and_then(Value::as_str) {
        Some("relay") => Ok(format!("through the supernode at {address}")),
        Some("direct") => Ok(format!("directly to {address}")),
        _ => anyhow::bail!("{} shows no path to {}: {peer}", from.node.name(), to.node.name()),
    }
}
