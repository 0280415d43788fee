//! Numbered UDP datagrams in several flows, with an account of what was lost, doubled and overtaken.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_netconf::Mtu;
use socket2::SockRef;

use super::namespace::Namespace;
use super::sys;

/// Datagrams in how many flows, how many and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Flows, each with a socket of its own.
    pub flows: u16,
    /// Rounds in each of which every flow sends a burst.
    pub rounds: u32,
    /// The longest burst; they have 1 to so many datagrams.
    pub burst: u32,
    /// Time between rounds.
    pub pause: Duration,
    /// Whether a burst is handed to the kernel in one piece (`UDP_SEGMENT`), its datagrams all having one size.
    pub segmented: bool,
}

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many were sent.
    pub sent: u64,
    /// How many of them never came.
    pub lost: u64,
    /// How many came more than once.
    pub doubled: u64,
    /// How many came after a later one of their flow.
    pub overtaken: u64,
    /// How many were not as they were sent.
    pub damaged: u64,
}

/// Sends `load` to `address` in another namespace and keeps account.
///
/// # Errors
/// A socket is refused.
pub fn run(from: &Namespace, to: &Namespace, address: IpAddr, load: Load) -> Result<Account> {
    let receiver = to.inside(|| UdpSocket::bind(SocketAddr::new(address, 0)))??;
    // A receiver that gets no processor for a while is not to be mistaken for a network that loses.
    sys::set_receive_buffer(&receiver, BUFFER).context("a large receive buffer")?;
    receiver.set_read_timeout(Some(SILENCE))?;
    let target = receiver.local_addr()?;
    let unspecified: IpAddr = if address.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let senders = from.inside(|| -> io::Result<Vec<UdpSocket>> {
        (0..load.flows)
            .map(|_| {
                let socket = UdpSocket::bind((unspecified, 0))?;
                socket.connect(target)?;
                SockRef::from(&socket).set_send_buffer_size(BUFFER)?;
                Ok(socket)
            })
            .collect()
    })??;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver));
        let sent = send(&senders, load, if address.is_ipv4() { FULL_IPV4 } else { FULL_IPV6 })?;
        let received = receiving
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        account(&sent, &received)
    })
}

/// Sends everything, up to `full` bytes each, and returns how many datagrams each flow had.
fn send(senders: &[UdpSocket], load: Load, full: usize) -> Result<Vec<u64>> {
    let all = [SMALL, full, 100, 700, full, 1000, SMALL + 1];
    let mut sent = vec![0; senders.len()];
    let mut wave = 0_usize;
    let start = Instant::now();
    for round in 0..load.rounds {
        for (flow, socket) in senders.iter().enumerate() {
            let count = (round + flow as u32) % load.burst + 1;
            let mut burst = Vec::new();
            let mut sizes = Vec::new();
            for _ in 0..count {
                // One size for all that go in one piece.
                if !load.segmented || sizes.is_empty() {
                    wave += 1;
                }
                let size = all[wave % all.len()];
                let number = sent.get_mut(flow).context("a flow")?;
                burst.extend_from_slice(&datagram(flow as u16, *number, size));
                sizes.push(size);
                *number += 1;
            }
            if load.segmented {
                let size = sizes[0];
                for piece in burst.chunks(size * (MOST_AT_ONCE / size)) {
                    sys::send_segmented(socket, piece, size as u16)
                        .with_context(|| format!("sending {} bytes as datagrams of {size}", piece.len()))?;
                }
            } else {
                let mut rest = &burst[..];
                for size in sizes {
                    let (one, others) = rest.split_at(size);
                    socket.send(one).context("sending")?;
                    rest = others;
                }
            }
        }
        // By the clock, so that a late sender does not become slower and slower.
        let due = start + load.pause * (round + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}

/// What comes until nothing has come for [`SILENCE`].
fn receive(receiver: &UdpSocket) -> Result<Vec<Vec<u8>>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        match receiver.recv(&mut buffer) {
            Ok(length) => all.push(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(all);
            }
            Err(error) => return Err(error).context("receiving"),
        }
    }
}

fn account(sent: &[u64], received: &[Vec<u8>]) -> Result<Account> {
    ensure!(!received.is_empty(), "nothing arrived at all");
    let mut account = Account {
        sent: sent.iter().sum(),
        ..Account::default()
    };
    let mut seen: BTreeMap<(u16, u64), u64> = BTreeMap::new();
    let mut latest: BTreeMap<u16, u64> = BTreeMap::new();
    for bytes in received {
        let known =
            parse(bytes).filter(|(flow, number)| sent.get(usize::from(*flow)).is_some_and(|sent| number < sent));
        let Some((flow, number)) = known else {
            account.damaged += 1;
            continue;
        };
        let times = seen.entry((flow, number)).or_default();
        *times += 1;
        if *times > 1 {
            account.doubled += 1;
            continue;
        }
        let latest = latest.entry(flow).or_default();
        if number < *latest {
            account.overtaken += 1;
        }
        *latest = number.max(*latest);
    }
    account.lost = account.sent - seen.len() as u64;
    Ok(account)
}

/// `flow 2 | number 8 | filling that follows from both and its place`.
fn datagram(flow: u16, number: u64, size: usize) -> Vec<u8> {
    let mut bytes = flow.to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    let seed = flow as usize * 31 + number as usize + size;
    bytes.extend((HEADER..size.max(HEADER)).map(|index| (seed + index * 7) as u8));
    bytes
}

fn parse(bytes: &[u8]) -> Option<(u16, u64)> {
    let (flow, rest) = bytes.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    let (flow, number) = (u16::from_be_bytes(*flow), u64::from_be_bytes(*number));
    (bytes == datagram(flow, number, bytes.len())).then_some((flow, number))
}

const HEADER: usize = 10;

/// The smallest UDP payload.
const SMALL: usize = 64;

/// UDP payloads that fill a frame at the default MTU.
const FULL_IPV4: usize = Mtu::DEFAULT.bytes() as usize - 28;
const FULL_IPV6: usize = Mtu::DEFAULT.bytes() as usize - 48;

/// Bytes that the kernel cuts up at most, headers not counted.
const MOST_AT_ONCE: usize = 60_000;

const BUFFER: usize = 64 << 20;

/// So long without a datagram means that all have come.
const SILENCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_tells_everything_apart() {
        let one = |number| datagram(0, number, SMALL);
        let mut bent = one(5);
        bent[20] ^= 1;
        let received = [one(0), one(2), one(2), one(1), bent, one(9), datagram(1, 0, FULL_IPV4)];
        let expected = Account {
            sent: 7,
            lost: 3,
            doubled: 1,
            overtaken: 1,
            damaged: 2,
        };
        assert_eq!(account(&[6, 1], &received).unwrap(), expected);
    }
}
