//! A home behind a wire that takes only small packets and tells nobody.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use farlan_netconf::Mtu;

use super::ends::{Ends, START_LIMIT};
use super::pair::{Distance, SUPERNODES};
use super::repeat::{Goal, Repeat};
use crate::ns::ping;
use crate::ns::program::Process;
use crate::ns::world::World;
use crate::ns::{Access, Namespace};

/// The network's MTU, and the payload of a ping that makes an IPv4 packet of that size.
const FULL: u16 = 1500;
const PAYLOAD: u16 = FULL - 28;

/// Seconds between two pings, and how many are sent: 15 s.
const PACE: &str = "0.05";
const PINGS: u32 = 300;

/// Of the pings after the first answer, how many are judged for losses.
const JUDGED: u32 = 200;

/// Most seconds until a frame of full size passes.
const MOST: f64 = 3.0;

const LAUNCHED: &str = "seconds from the start to an answer of full size";
const FIRST: &str = "seconds from the first frame to an answer of full size";
const LOST: &str = "pings of full size lost after that";

/// Two homes, how narrow, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The kind of the home with wide wires.
    #[arg(long, default_value = "port")]
    from: Access,
    /// The kind of the home with a narrow one.
    #[arg(long, default_value = "port")]
    to: Access,
    /// What the narrow wire takes, in bytes.
    #[arg(long, default_value_t = 1280)]
    bytes: u16,
    #[command(flatten)]
    repeat: Repeat,
}

/// Starts two nodes again and again, and sees when frames of full size pass.
///
/// # Errors
/// None so far.
pub fn blackhole(options: &Options) -> Result<bool> {
    let Options {
        from,
        to,
        bytes,
        repeat,
    } = options;
    let goals = [Goal {
        figure: LAUNCHED,
        percentile: 95,
        most: MOST,
    }];
    let what = format!("{to} behind a wire for packets of {bytes} bytes that tells nobody, {from} with a wide one");
    repeat.measure(&what, Duration::from_secs(90), &goals, |lab, run| {
        let wire = Distance::NONE.wire();
        let world = World::start(lab, SUPERNODES, wire)?;
        let (a, b) = (lab.home("a", *from, wire)?, lab.home("b", *to, wire)?);
        lab.limit_packets(&b, *bytes, false)?;
        let link = world.network("narrow", Mtu::new(FULL)?)?;
        let ends = Ends::start(lab, &world, [("a", &a), ("b", &b)], run, &link)?;
        let end = usize::from(!run.is_multiple_of(2));
        let before = ends.launched.elapsed().as_secs_f64();
        let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let mut process = full_pings(ends.nodes[end].namespace(), ends.addresses[1 - end], lab.directory())?;
        process.wait(START_LIMIT)?;
        let answers = ping::answers(&process.log());
        ends.stop()?;
        let first = answers.first().context("no frame of full size was answered")?;
        let judged = (first.sequence + 1)..(first.sequence + 1 + JUDGED);
        ensure!(
            judged.end <= PINGS,
            "the first answer is that to ping {}",
            first.sequence
        );
        let is_answered = |number: &u32| answers.iter().any(|answer| answer.sequence == *number);
        let lost: Vec<_> = judged.filter(|number| !is_answered(number)).collect();
        if !lost.is_empty() {
            println!(
                "run {run}: pings {lost:?} lost; the first answer is that to {}",
                first.sequence
            );
        }
        let took = first.at - begun;
        Ok(vec![
            (LAUNCHED, before + took),
            (FIRST, took),
            (LOST, lost.len() as f64),
        ])
    })
}

fn full_pings(from: &Namespace, to: Ipv4Addr, logs: &Path) -> Result<Process> {
    let mut command = from.command("ping");
    command.args(["-n", "-D", "-M", "do", "-W", "1", "-i", PACE]);
    command.args(["-c", &PINGS.to_string(), "-s", &PAYLOAD.to_string(), &to.to_string()]);
    Process::spawn(command, "ping", logs)
}
