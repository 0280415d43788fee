//! The counter.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use socket2::SockRef;

use super::datagrams::{NUMBER, Received, receive_many, widen_receive_buffer};
use super::send::END;

/// How long nothing may come before the counter gives up: longer than a sender takes from its start to its end's signs.
const SILENCE: Duration = Duration::from_secs(3);

/// How many packets one run can count, a bound for its memory: ten minutes of a million a second.
const MOST: u64 = 600_000_000;

/// Which numbers have come.
#[derive(Debug, Default)]
struct Seen {
    bits: Vec<u64>,
    received: u64,
    doubled: u64,
    reordered: u64,
    highest: Option<u64>,
}

impl Seen {
    fn take(&mut self, number: u64) {
        if number >= MOST {
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] & bit != 0 {
            self.doubled += 1;
            return;
        }
        self.bits[word] |= bit;
        self.received += 1;
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
    }
}

pub(super) fn receive(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    widen_receive_buffer(&socket)?;
    SockRef::from(&socket).set_read_timeout(Some(SILENCE))?;
    println!("ready");
    let mut seen = Seen::default();
    let mut received = Received::default();
    loop {
        match receive_many(&socket, &mut received) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Err(error.into()),
        }
        let mut is_end = false;
        for packet in received.packets() {
            if let Some(number) = packet.first_chunk::<NUMBER>().map(|bytes| u64::from_be_bytes(*bytes)) {
                is_end |= number == END;
                seen.take(number);
            }
        }
        if is_end {
            break;
        }
    }
    let Seen {
        received,
        doubled,
        reordered,
        ..
    } = seen;
    println!(
        "{}",
        serde_json::json!({ "received": received, "doubled": doubled, "reordered": reordered })
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_counts_once() {
        let mut seen = Seen::default();
        for number in [0, 1, 3, 2, 3, 70, END] {
            seen.take(number);
        }
        assert_eq!((seen.received, seen.doubled, seen.reordered), (5, 1, 1));
    }
}
