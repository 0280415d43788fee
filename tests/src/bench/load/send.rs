//! The generator.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::ns::sys::take_real_time_priority;

use super::datagrams::{AT_ONCE, NUMBER, send_many};

/// How often the generator looks at the clock. Packets that are due are sent together, as a busy program's are.
const TICK: Duration = Duration::from_micros(100);

/// How much of what a generator without a processor has missed it makes up for. More would be another load: a burst.
const MOST_BEHIND: Duration = Duration::from_millis(5);

/// The number of the packets that say that no more come.
pub(super) const END: u64 = u64::MAX;

/// What is sent where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The receiver.
    address: SocketAddr,
    /// Bytes of payload of each packet.
    #[arg(long)]
    bytes: usize,
    /// Packets a second.
    #[arg(long)]
    rate: u32,
    /// For how long.
    #[arg(long)]
    seconds: u32,
}

pub(super) fn send(options: &Options) -> Result<()> {
    ensure!(options.bytes >= NUMBER, "a packet has at least {NUMBER} bytes");
    ensure!(options.rate > 0, "a rate of nothing");
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(options.address).context("cannot connect")?;
    // The rate is the one that is named even where others want the processor; a generator that may not goes on without.
    let _ = take_real_time_priority();
    let mut packets = vec![vec![0x55_u8; options.bytes]; AT_ONCE];
    let rate = f64::from(options.rate);
    let time = Duration::from_secs(options.seconds.into());
    let most_behind = MOST_BEHIND.as_secs_f64() * rate;
    let mut sent = 0_u64;
    // Packets that will not be sent because their time was missed.
    let mut missed = 0.0;
    let start = Instant::now();
    while start.elapsed() < time {
        let due = start.elapsed().as_secs_f64() * rate - missed - sent as f64;
        if due > most_behind {
            missed += due - most_behind;
        }
        let mut left = due.min(most_behind) as usize;
        while left > 0 {
            let batch = left.min(AT_ONCE);
            for (packet, number) in packets.iter_mut().zip(sent..).take(batch) {
                packet[..NUMBER].copy_from_slice(&number.to_be_bytes());
            }
            let went = send_many(&socket, &packets[..batch])?;
            sent += went as u64;
            left -= went.min(left);
            if went == 0 {
                break;
            }
        }
        thread::sleep(TICK);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "sent": sent, "seconds": seconds }));
    // What is queued on the way goes first; the end is told several times, since it may be lost.
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(100));
        // The receiver ends at the first, so that nobody listens to the others.
        let _ = socket.send(&END.to_be_bytes());
    }
    Ok(())
}
