//! A record of all that an eavesdropper sees: every packet that arrives at some interfaces, whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::program::PORT;
use super::sys::{self, Offloads, PacketSocket, VNET_HEADER};

/// How long the end of a record may go unnoticed.
const TICK: Duration = Duration::from_millis(20);

/// A record that goes on until it is dropped.
#[derive(Debug)]
pub struct Record {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Record {
    /// An empty record.
    pub fn new() -> Self {
        Self {
            frames: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Records from now on what arrives at an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn listen(&mut self, namespace: &Namespace, interface: &str) -> Result<()> {
        let socket = namespace
            .inside(|| PacketSocket::open(interface, Offloads::Kept))?
            .with_context(|| format!("cannot record at {interface}"))?;
        let (frames, stop) = (Arc::clone(&self.frames), Arc::clone(&self.stop));
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // An interface that is gone shows nothing more.
                if sys::wait_readable([&socket, &socket], TICK).is_err() {
                    break;
                }
                while let Ok(Some(frame)) = socket.receive() {
                    lock(&frames).push(frame);
                }
            }
        }));
        Ok(())
    }

    /// All frames so far, each behind its `virtio_net_hdr`.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        lock(&self.frames).clone()
    }

    /// The UDP datagrams from or to the port of the programs so far; what was sent as one super-packet is cut.
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        lock(&self.frames).iter().flat_map(|frame| datagrams(frame)).collect()
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has no way to panic that matters to a record that ends.
            let _ = thread.join();
        }
    }
}

fn lock(frames: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The datagrams in a frame behind a `virtio_net_hdr` with UDP over IPv4.
fn datagrams(frame: &[u8]) -> Vec<Vec<u8>> {
    /// `VIRTIO_NET_HDR_GSO_UDP_L4`.
    const SUPER_PACKET: u8 = 5;
    let parse = || {
        let (header, frame) = frame.split_at_checked(VNET_HEADER)?;
        let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
        let udp = ip.get(usize::from(ip.first()? & 15) * 4..)?;
        let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
        let ours = ip.get(9) == Some(&17) && (port(0)? == PORT || port(2)? == PORT);
        let length = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
        let end = length.min(ip.len()) - (ip.len() - udp.len());
        let payload = udp.get(8..end).filter(|payload| ours && !payload.is_empty())?;
        let segment = match header[1] {
            SUPER_PACKET => usize::from(u16::from_le_bytes([header[4], header[5]])),
            _ => payload.len(),
        };
        Some(payload.chunks(segment.max(1)).map(<[u8]>::to_vec).collect())
    };
    parse().unwrap_or_default()
}

/// What is inside of the relay datagrams (PROTOCOL.md §4), or the datagram itself; and whether it was relayed.
pub fn inner(datagram: &[u8]) -> (&[u8], bool) {
    let header = match datagram.first() {
        Some(4 | 7 | 8) => 12,
        Some(5) => 24,
        _ => return (datagram, false),
    };
    (datagram.get(header..).unwrap_or_default(), true)
}

/// A data datagram: the receiver's index, the counter, the header that is authenticated, and what is sealed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Data {
    /// The session index of the receiver.
    pub receiver: u32,
    /// The counter of the sealing.
    pub counter: u64,
    /// The first 16 bytes.
    pub header: [u8; 16],
    /// What follows them.
    pub sealed: Vec<u8>,
}

impl Data {
    /// Reads a datagram, relayed or not.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, sealed) = inner(datagram).0.split_first_chunk::<16>()?;
        let (receiver, counter) = (header[4..8].try_into().ok()?, header[8..].try_into().ok()?);
        (header[0] == 3).then(|| Self {
            receiver: u32::from_be_bytes(receiver),
            counter: u64::from_be_bytes(counter),
            header: *header,
            sealed: sealed.to_vec(),
        })
    }

    /// Whether `key` opens it.
    pub fn opens(&self, key: &farlan_crypto::Key) -> bool {
        use farlan_crypto::Aead as _;
        let mut sealed = self.sealed.clone();
        farlan_crypto::SalsaPoly::open(key, self.counter, &self.header, &mut sealed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(gso: u8, segment: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, gso, 0, 0];
        frame.extend(segment.to_le_bytes());
        frame.extend([0; 4]);
        frame.extend([0; 12]);
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((28 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(PORT.to_be_bytes());
        frame.extend([0, 9, 0, 0, 0, 0]);
        frame.extend(payload);
        // What Ethernet pads is not of the datagram.
        frame.extend([0; 3]);
        frame
    }

    #[test]
    fn super_packets_are_cut() {
        let payload: Vec<u8> = (0..25).collect();
        assert_eq!(datagrams(&frame(0, 0, &payload)).concat(), payload);
        let cut: Vec<_> = payload.chunks(10).map(<[u8]>::to_vec).collect();
        assert_eq!(datagrams(&frame(5, 10, &payload)), cut);
        let whole = frame(0, 0, &payload);
        for length in 0..whole.len() - 3 {
            assert_eq!(
                datagrams(&whole[..length]).concat().len(),
                length.saturating_sub(52),
                "{length}"
            );
        }
    }

    #[test]
    fn relayed_data_is_read() {
        let data = [&[3, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 7][..], b"sealed"].concat();
        let read = Data::parse(&data).unwrap();
        assert_eq!((read.receiver, read.counter), (0x0102_0304, 7));
        assert_eq!(read.sealed, b"sealed");
        for (kind, header) in [(4, 12), (7, 12), (8, 12), (5, 24)] {
            let mut relayed = vec![0; header];
            relayed[0] = kind;
            relayed.extend(&data);
            assert_eq!(Data::parse(&relayed), Some(read.clone()));
            assert!(inner(&relayed).1);
        }
        assert_eq!(Data::parse(&data[..15]), None);
        assert_eq!(Data::parse(&[1; 40]), None);
    }
}
