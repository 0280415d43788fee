//! What arrives at an interface: every UDP packet with its time, addresses and TTL, as the wire has it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::sys::{self, Offloads, PacketSocket};

/// How long the end of a capture may go unnoticed.
const TICK: Duration = Duration::from_millis(50);

/// A capture that runs until it is dropped. It sees what arrives at the interface, not what leaves through it.
#[derive(Debug)]
pub struct Capture {
    seen: Arc<Mutex<Vec<Datagram>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When the kernel saw it, since 1970.
    pub at: Duration,
    /// Where it came from; port 0 in a fragment that is not the first.
    pub source: SocketAddr,
    /// Where it goes; port 0 in a fragment that is not the first.
    pub destination: SocketAddr,
    /// Its TTL or hop limit at this place.
    pub ttl: u8,
    /// Length of the whole IP packet in bytes.
    pub length: usize,
    /// Whether it is a fragment of an IP packet.
    pub fragment: bool,
}

impl Capture {
    /// Begins to capture what arrives at an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = namespace
            .inside(|| PacketSocket::open(interface, Offloads::Bare))?
            .with_context(|| format!("cannot capture at {interface}"))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // An interface that is gone shows nothing more.
                    if sys::wait_readable([&socket, &socket], TICK).is_err() {
                        break;
                    }
                    while let Ok(Some((at, frame))) = socket.receive_stamped() {
                        if let Some(datagram) = parse(at, &frame) {
                            lock(&seen).push(datagram);
                        }
                    }
                }
            }
        });
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// All UDP packets so far, in the order they came.
    pub fn datagrams(&self) -> Vec<Datagram> {
        lock(&self.seen).clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has no way to panic that matters to a capture that ends.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Vec<Datagram>>) -> MutexGuard<'_, Vec<Datagram>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads an Ethernet frame with UDP over IPv4 (RFC 791) or IPv6 (RFC 8200, with no other extension header than that of
/// fragments).
fn parse(at: Duration, frame: &[u8]) -> Option<Datagram> {
    const UDP: u8 = 17;
    const FRAGMENT: u8 = 44;
    let (kind, packet) = (frame.get(12..14)?, frame.get(14..)?);
    let ip = match kind {
        [0x08, 0x00] => {
            let header = packet.get(..20)?;
            let flags = u16::from_be_bytes([header[6], header[7]]);
            let address = |place: usize| IpAddr::from([0, 1, 2, 3].map(|byte| header[place + byte]));
            Ip {
                protocol: header[9],
                ttl: header[8],
                addresses: [address(12), address(16)],
                payload: usize::from(header[0] & 15) * 4,
                length: u16::from_be_bytes([header[2], header[3]]).into(),
                more: flags & 0x2000 != 0,
                offset: flags & 0x1fff,
            }
        }
        [0x86, 0xdd] => {
            let header: &[u8; 40] = packet.get(..40)?.try_into().ok()?;
            let address = |place: usize| {
                let bytes = header.get(place..place + 16)?;
                Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)))
            };
            let mut ip = Ip {
                protocol: header[6],
                ttl: header[7],
                addresses: [address(8)?, address(24)?],
                payload: 40,
                length: 40 + usize::from(u16::from_be_bytes([header[4], header[5]])),
                more: false,
                offset: 0,
            };
            if ip.protocol == FRAGMENT {
                let extension = packet.get(40..48)?;
                let offset = u16::from_be_bytes([extension[2], extension[3]]);
                (ip.protocol, ip.payload) = (extension[0], 48);
                (ip.more, ip.offset) = (offset & 1 != 0, offset >> 3);
            }
            ip
        }
        _ => return None,
    };
    if ip.protocol != UDP {
        return None;
    }
    let ports = if ip.offset == 0 {
        let udp = packet.get(ip.payload..ip.payload + 4)?;
        [[udp[0], udp[1]], [udp[2], udp[3]]].map(u16::from_be_bytes)
    } else {
        [0, 0]
    };
    let [source, destination] = [0, 1].map(|end| SocketAddr::new(ip.addresses[end], ports[end]));
    Some(Datagram {
        at,
        source,
        destination,
        ttl: ip.ttl,
        length: ip.length,
        fragment: ip.more || ip.offset > 0,
    })
}

/// What matters of an IP header.
struct Ip {
    protocol: u8,
    ttl: u8,
    addresses: [IpAddr; 2],
    payload: usize,
    length: usize,
    more: bool,
    offset: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_udp_over_ipv4() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0x20, 0, 5, 17, 0, 0]);
        frame.extend([
            192, 168, 1, 2, 198, 51, 100, 6, 0x25, 0x80, 0x25, 0x81, 0, 12, 0, 0, 1, 2, 3, 4,
        ]);
        let datagram = parse(Duration::from_secs(7), &frame).unwrap();
        assert_eq!(datagram.source, "192.168.1.2:9600".parse().unwrap());
        assert_eq!(datagram.destination, "198.51.100.6:9601".parse().unwrap());
        assert_eq!((datagram.ttl, datagram.length, datagram.fragment), (5, 32, true));
        for length in 0..frame.len() - 8 {
            assert_eq!(parse(Duration::ZERO, &frame[..length]), None);
        }
    }

    #[test]
    fn reads_udp_over_ipv6() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
        let addresses: [Ipv6Addr; 2] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        frame.extend(addresses.iter().flat_map(Ipv6Addr::octets));
        frame.extend([0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]);
        let datagram = parse(Duration::ZERO, &frame).unwrap();
        assert_eq!(datagram.source, "[2001:db8::1]:1".parse().unwrap());
        assert_eq!((datagram.ttl, datagram.length, datagram.fragment), (64, 52, false));
        frame[20] = 6;
        assert_eq!(parse(Duration::ZERO, &frame), None);
    }
}
