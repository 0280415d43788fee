//! A wire with a delay: passes Ethernet packets between two interfaces of its network namespace, each after a
//! fixed time, in order, and loses some of them on request.
//!
//! The interfaces must carry no addresses, since this program alone forwards between them. Packets keep their
//! offload headers, so partial checksums and segmentation super-packets come through whole. It prints `ready`
//! once both sockets are open, and ends after a bounded time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use farlan_tests::ns::sys::{self, Offloads, PacketSocket};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Most bytes under way in one direction; what comes on top is dropped, as a full queue does.
const QUEUE: usize = 64 << 20;

/// Longest sleep where nothing is under way.
const IDLE: Duration = Duration::from_millis(500);

/// Most packets taken from one side in a row, so that neither starves the other.
const BURST: usize = 64;

#[derive(Parser)]
#[command(about = "Pass packets between two interfaces with a delay")]
struct Arguments {
    /// One interface.
    left: String,
    /// The other interface.
    right: String,
    /// Delay in each direction, in milliseconds.
    #[arg(long, default_value_t = 0.0)]
    delay_ms: f64,
    /// Share of packets lost, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Seed of the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this many seconds.
    #[arg(long, default_value_t = 7200)]
    seconds: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        (0.0..=60_000.0).contains(&arguments.delay_ms),
        "--delay-ms is not within 0 to 60000"
    );
    ensure!((0.0..=1.0).contains(&arguments.loss), "--loss is not within 0 to 1");
    let open =
        |name: &str| PacketSocket::open(name, Offloads::Kept).with_context(|| format!("cannot open interface {name}"));
    let left = open(&arguments.left)?;
    let right = open(&arguments.right)?;
    if let Err(error) = sys::take_real_time_priority() {
        eprintln!("no real-time priority, delays are less exact on a busy machine: {error}");
    }
    println!("ready");

    let delay = Duration::from_secs_f64(arguments.delay_ms / 1000.0);
    let mut loss = Loss {
        share: arguments.loss,
        random: ChaCha8Rng::seed_from_u64(arguments.seed),
    };
    let mut rightwards = Direction::default();
    let mut leftwards = Direction::default();
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    while Instant::now() < end {
        rightwards.take(&left, delay, &mut loss)?;
        leftwards.take(&right, delay, &mut loss)?;
        rightwards.deliver(&right);
        leftwards.deliver(&left);
        let next = rightwards.next().into_iter().chain(leftwards.next()).min();
        let wait = next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        sys::wait_readable([&left, &right], wait.min(IDLE))?;
    }
    Ok(())
}

/// The packets under way in one direction, in the order they are due.
#[derive(Default)]
struct Direction {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    refused: u64,
}

impl Direction {
    /// Takes in what has arrived.
    fn take(&mut self, from: &PacketSocket, delay: Duration, loss: &mut Loss) -> Result<()> {
        for _ in 0..BURST {
            let Some(packet) = from.receive()? else { break };
            if loss.strikes() || self.bytes + packet.len() > QUEUE {
                continue;
            }
            self.bytes += packet.len();
            self.waiting.push_back((Instant::now() + delay, packet));
        }
        Ok(())
    }

    /// Sends what is due.
    fn deliver(&mut self, to: &PacketSocket) {
        let now = Instant::now();
        while let Some((_, packet)) = self.waiting.pop_front_if(|(due, _)| *due <= now) {
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
        self.waiting.front().map(|(due, _)| *due)
    }
}

/// Seeded random loss.
struct Loss {
    share: f64,
    random: ChaCha8Rng,
}

impl Loss {
    fn strikes(&mut self) -> bool {
        self.share > 0.0 && f64::from(self.random.next_u32()) < self.share * f64::from(u32::MAX)
    }
}
