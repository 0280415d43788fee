//! A wire of the lab: passes Ethernet packets between two interfaces of its network namespace, each after a time, and on
//! request late, too fast for it, or not at all.
//!
//! The interfaces must carry no addresses, since this program alone forwards between them. Packets keep their
//! offload headers, so partial checksums and segmentation super-packets come through whole; what happens to a
//! super-packet happens to all of it. It prints `ready` once both sockets are open, and ends after a bounded time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use farlan_tests::ns::impairment::Impairment;
use farlan_tests::ns::sys::{self, Offloads, PacketSocket, VNET_HEADER};
use farlan_tests::ns::wire::{Bursts, Wire};

/// Most bytes under way in one direction; what comes on top is dropped, as a full queue does.
const QUEUE: usize = 64 << 20;

/// Longest sleep where nothing is under way.
const IDLE: Duration = Duration::from_millis(500);

/// Most packets taken from one side in a row, so that neither starves the other.
const BURST: usize = 64;

/// Longest delay and jitter, in milliseconds.
const LONGEST_MS: f64 = 60_000.0;

#[derive(Parser)]
#[command(about = "Pass packets between two interfaces as a wire would that delays and loses")]
struct Arguments {
    /// One interface.
    left: String,
    /// The other interface.
    right: String,
    /// Delay in each direction, in milliseconds.
    #[arg(long, default_value_t = 0.0)]
    delay_ms: f64,
    /// How much longer a packet may take at random, in milliseconds; packets overtake each other by it.
    #[arg(long, default_value_t = 0.0)]
    jitter_ms: f64,
    /// Share of packets lost, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Probability with which a burst of losses begins at a packet, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    burst_begin: f64,
    /// Probability with which it ends at a packet, 0 to 1.
    #[arg(long, default_value_t = 1.0)]
    burst_end: f64,
    /// Most bits a second in each direction, by thousands; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    rate_kbit: u32,
    /// Seed of all that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this many seconds.
    #[arg(long, default_value_t = 7200)]
    seconds: u64,
}

impl Arguments {
    fn wire(&self) -> Result<Wire> {
        let milliseconds = |name: &str, value: f64| {
            ensure!(
                (0.0..=LONGEST_MS).contains(&value),
                "--{name} is not within 0 to {LONGEST_MS}"
            );
            Ok(Duration::from_secs_f64(value / 1000.0))
        };
        let shares = [
            ("loss", self.loss),
            ("burst-begin", self.burst_begin),
            ("burst-end", self.burst_end),
        ];
        for (name, share) in shares {
            ensure!((0.0..=1.0).contains(&share), "--{name} is not within 0 to 1");
        }
        let bursts = Bursts {
            begin: self.burst_begin,
            end: self.burst_end,
        };
        Ok(Wire {
            delay: milliseconds("delay-ms", self.delay_ms)?,
            jitter: milliseconds("jitter-ms", self.jitter_ms)?,
            loss: self.loss,
            bursts: (bursts.begin > 0.0).then_some(bursts),
            rate_kbit: self.rate_kbit,
        })
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wire = arguments.wire()?;
    let open =
        |name: &str| PacketSocket::open(name, Offloads::Kept).with_context(|| format!("cannot open interface {name}"));
    let left = open(&arguments.left)?;
    let right = open(&arguments.right)?;
    if let Err(error) = sys::take_real_time_priority() {
        eprintln!("no real-time priority, delays are less exact on a busy machine: {error}");
    }
    println!("ready");

    // What happens in one direction must not depend on what goes in the other.
    let mut rightwards = Direction::new(wire, arguments.seed.wrapping_mul(2));
    let mut leftwards = Direction::new(wire, arguments.seed.wrapping_mul(2).wrapping_add(1));
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    while Instant::now() < end {
        rightwards.take(&left)?;
        leftwards.take(&right)?;
        rightwards.deliver(&right);
        leftwards.deliver(&left);
        let next = rightwards.next().into_iter().chain(leftwards.next()).min();
        let wait = next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        sys::wait_readable([&left, &right], wait.min(IDLE))?;
    }
    Ok(())
}

/// The packets under way in one direction.
struct Direction {
    impairment: Impairment,
    /// By the time they are due, then by the order in which they came.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    taken: u64,
    bytes: usize,
    refused: u64,
}

impl Direction {
    fn new(wire: Wire, seed: u64) -> Self {
        Self {
            impairment: Impairment::new(wire, seed),
            waiting: BTreeMap::new(),
            taken: 0,
            bytes: 0,
            refused: 0,
        }
    }

    /// Takes in what has arrived.
    fn take(&mut self, from: &PacketSocket) -> Result<()> {
        for _ in 0..BURST {
            let Some(packet) = from.receive()? else { break };
            let length = packet.len().saturating_sub(VNET_HEADER);
            let Some(due) = self.impairment.arrival(Instant::now(), length) else {
                continue;
            };
            if self.bytes + packet.len() > QUEUE {
                continue;
            }
            self.bytes += packet.len();
            self.taken += 1;
            self.waiting.insert((due, self.taken), packet);
        }
        Ok(())
    }

    /// Sends what is due.
    fn deliver(&mut self, to: &PacketSocket) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            self.bytes -= packet.len();
            if let Err(error) = to.send(&packet) {
                // A wire loses what its far end does not take; the first time is worth a line.
                if self.refused == 0 {
                    eprintln!("a packet of {} bytes was refused: {error}", packet.len());
                }
                self.refused += 1;
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        Some(self.waiting.first_key_value()?.0.0)
    }
}
