//! Frames between the descriptor and the kernel.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use farlan_tap::{Card, Create, create};

use crate::support::*;

#[test]
fn frames_go_both_ways_one_at_a_time() {
    in_namespace(|| {
        let card = create(&Create {
            offloads: false,
            ..request("frames")
        })
        .unwrap();
        let mut wire = Wire::new(card);

        // The kernel answers for its own address.
        wire.send(&arp(1, OUR_IP));
        let answer = wire.frame("the kernel's ARP reply", |frame| frame[12..14] == ARP && frame[21] == 2);
        assert_eq!(answer[..6], PEER_MAC);
        assert_eq!(answer[6..12], MAC);
        assert_eq!(answer[22..28], MAC);
        assert_eq!(answer[28..32], OUR_IP.octets());
        assert_eq!(answer.len(), 42);

        // The kernel asks for the peer, and after the answer sends what waited. Its own earlier look at the ARP request
        // may have told it the peer's address, so the entry is forgotten first.
        ip(&["neighbour", "flush", "dev", "frames"]);
        let socket = UdpSocket::bind((OUR_IP, 0)).unwrap();
        socket.send_to(b"hello over the wire", (PEER_IP, 4242)).unwrap();
        let question = wire.frame("the kernel's ARP request", |frame| {
            frame[12..14] == ARP && frame[21] == 1
        });
        assert_eq!(question[..6], [0xff; 6]);
        assert_eq!(question[38..42], PEER_IP.octets());
        wire.send(&arp(2, OUR_IP));
        let datagram = wire.frame("the waiting datagram", |frame| frame.ends_with(b"hello over the wire"));
        assert_eq!(datagram[..6], PEER_MAC);
        assert_eq!(datagram[6..14], [0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x08, 0x00]);
        assert_eq!(datagram.len(), 14 + 20 + 8 + 19);
    });
}

#[test]
fn a_read_without_a_frame_does_not_block() {
    in_namespace(|| {
        let card = create(&Create {
            addresses: Vec::new(),
            ..request("idle")
        })
        .unwrap();
        // SAFETY: F_GETFL takes and gives integers only.
        let flags = unsafe { libc::fcntl(card.fd.as_raw_fd(), libc::F_GETFL) };
        assert_ne!(flags & libc::O_NONBLOCK, 0);
        let mut file = File::from(card.fd);
        let mut buffer = [0; 2048];
        // The kernel may have sent a multicast report or two.
        let error = (0..100).find_map(|_| file.read(&mut buffer).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
const PEER_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const ARP: [u8; 2] = [0x08, 0x06];

/// An ARP message from the peer: a question (1) or an answer (2) about itself, for `target`.
fn arp(operation: u8, target: Ipv4Addr) -> Vec<u8> {
    let (to, known) = if operation == 1 {
        ([0xff; 6], [0; 6])
    } else {
        (MAC, MAC)
    };
    let mut frame = Vec::new();
    frame.extend(to);
    frame.extend(PEER_MAC);
    frame.extend(ARP);
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(PEER_MAC);
    frame.extend(PEER_IP.octets());
    frame.extend(known);
    frame.extend(target.octets());
    frame
}

/// The far end of a card.
struct Wire {
    file: File,
}

impl Wire {
    fn new(card: Card) -> Self {
        Self {
            file: File::from(card.fd),
        }
    }

    fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.file.write(frame).expect("the kernel takes a frame"), frame.len());
    }

    /// The next frame `wanted` picks; others, such as multicast reports, are passed over.
    fn frame(&mut self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buffer = [0; 2048];
        loop {
            match self.file.read(&mut buffer) {
                Ok(length) if wanted(&buffer[..length]) => return buffer[..length].to_vec(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(deadline, what),
                Err(error) => panic!("waiting for {what}: {error}"),
            }
        }
    }

    fn wait(&self, deadline: Instant, what: &str) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{what} did not come");
        let mut poll = libc::pollfd {
            fd: self.file.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = i32::try_from(left.as_millis()).expect("ten seconds fit") + 1;
        // SAFETY: the pointer is to one `pollfd`, as the count says.
        unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    }
}
