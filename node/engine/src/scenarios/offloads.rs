//! Super-frames and open checksums: what a card with offloads hands over arrives as the frames it stands for.

use std::{net::Ipv4Addr, num::NonZeroU16, time::Duration};

use farlan_netconf::{Mac, Parameters};
use farlan_offload::{Offload, Segments, complete};

use super::lab::{Lab, Place, intact, link, name};
use crate::{FrameLabel, NetworkHandle, Outbox, content::Content};

/// Bytes of payload in each frame of a super-frame.
const SEGMENT: u16 = 1300;

/// A supernode and two members of one network with a session.
struct Two {
    lab: Lab,
    supernode: Place,
    nodes: [Place; 2],
    networks: [NetworkHandle; 2],
}

impl Two {
    /// Registered, and not in touch yet.
    fn unmet(parameters: &Parameters) -> Self {
        let (mut lab, [supernode, one, other]) = Lab::with_two_nodes();
        let networks = [one, other].map(|node| {
            let network = lab.join(node, parameters);
            lab.open_all(node, network);
            network
        });
        lab.run_seconds(3);
        Self {
            lab,
            supernode,
            nodes: [one, other],
            networks,
        }
    }

    fn in_network(parameters: &Parameters) -> Self {
        let mut two = Self::unmet(parameters);
        // Brings a session about, and lets both paths find out what they carry.
        for length in [100, 1330] {
            for from in [0, 1] {
                two.send(from, &[(Offload::default(), two.tcp(from, length))]);
            }
            two.lab.run_seconds(4);
        }
        for node in two.nodes {
            two.lab.hosts[node].frames.clear();
            two.lab.hosts[node].labels.clear();
        }
        two
    }

    fn mac(&self, member: usize) -> Mac {
        self.lab.mac(self.nodes[member], self.networks[member])
    }

    fn ipv4(&self, member: usize) -> Ipv4Addr {
        let status = self.lab.status(self.nodes[member], self.networks[member]);
        status.ipv4.unwrap()
    }

    /// A TCP segment from one member to the other, with a payload of `length` bytes and an open checksum.
    fn tcp(&self, from: usize, length: usize) -> Vec<u8> {
        let (source, destination) = (self.ipv4(from), self.ipv4(1 - from));
        let mut frame = [self.mac(1 - from).as_bytes(), &self.mac(from).as_bytes()[..]].concat();
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(u16::try_from(40 + length).unwrap().to_be_bytes());
        frame.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend([
            0x9c, 0x40, 0x14, 0x51, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x18, 4, 0, 0, 0, 0, 0,
        ]);
        frame.extend((0..length).map(|at| u8::try_from(at % 251).unwrap()));
        let header: u32 = frame[14..34]
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        let header = (header & 0xffff) + (header >> 16);
        frame[24..26].copy_from_slice(&(!u16::try_from((header & 0xffff) + (header >> 16)).unwrap()).to_be_bytes());
        frame
    }

    fn send(&mut self, from: usize, frames: &[(Offload, Vec<u8>)]) {
        let network = self.networks[from];
        let frames: Vec<_> = frames
            .iter()
            .map(|(offload, frame)| {
                (
                    FrameLabel {
                        network,
                        offload: *offload,
                    },
                    &frame[..],
                )
            })
            .collect();
        self.lab.send_batch(self.nodes[from], &frames);
    }

    fn run(&mut self) {
        self.lab.run(Duration::from_millis(500));
    }

    /// What the card of a member was given, with complete checksums, and how many of them were open.
    fn received(&self, member: usize) -> (Vec<Vec<u8>>, usize) {
        let host = &self.lab.hosts[self.nodes[member]];
        let open = host.labels.iter().filter(|label| label.offload.partial).count();
        assert!(host.labels.iter().all(|label| label.offload.segment.is_none()));
        let frames = host.frames.iter().zip(&host.labels).map(|((network, frame), label)| {
            assert_eq!((*network, label.network), (self.networks[member], *network));
            let mut frame = frame.clone();
            if label.offload.partial {
                complete(&mut frame).unwrap();
            }
            frame
        });
        (frames.collect(), open)
    }
}

/// A super-frame's label.
fn cut() -> Offload {
    Offload {
        partial: true,
        segment: NonZeroU16::new(SEGMENT),
    }
}

/// What a super-frame stands for, with complete checksums.
fn plain(offload: Offload, frame: &[u8]) -> Vec<Vec<u8>> {
    let segments = Segments::new(frame, offload).unwrap();
    let all = (0..segments.len()).map(|index| {
        let mut plain = Vec::new();
        segments.write(index, 0, &mut plain);
        complete(&mut plain).unwrap();
        plain
    });
    all.collect()
}

#[test]
fn a_super_frame_arrives_as_the_frames_it_stands_for() {
    for (parameters, straight) in [(link(1), false), (link(1), true), (name(), false)] {
        let mut two = Two::in_network(&parameters);
        two.lab.open = straight;
        // Brings the way about that it takes, and lets it find out what it carries.
        for (length, seconds) in [(10, 20), (1330, 4)] {
            two.send(0, &[(Offload::default(), two.tcp(0, length))]);
            two.lab.run_seconds(seconds);
        }
        let (before, _) = two.received(1);
        let frame = two.tcp(0, 60_500);
        two.send(0, &[(cut(), frame.clone())]);
        two.run();
        let (frames, open) = two.received(1);
        assert_eq!(frames[before.len()..], plain(cut(), &frame), "straight: {straight}");
        assert_eq!(open, 47, "checksums are left open all the way");
        let relayed = two.lab.hosts[two.supernode].engine.counters().relayed;
        two.send(0, &[(cut(), frame)]);
        two.run();
        let more = two.lab.hosts[two.supernode].engine.counters().relayed - relayed;
        assert_eq!(more >= 47, !straight, "{more} datagrams over the supernode");
    }
}

#[test]
fn frames_of_one_batch_keep_their_order_whatever_they_are() {
    let mut two = Two::in_network(&link(1));
    let open = Offload {
        partial: true,
        segment: None,
    };
    let batch = [
        (open, two.tcp(0, 10)),
        (cut(), two.tcp(0, 2500)),
        (Offload::default(), two.tcp(0, 30)),
        (cut(), two.tcp(0, 1299)),
        (open, two.tcp(0, 0)),
    ];
    two.send(0, &batch);
    two.run();
    let mut expected: Vec<Vec<u8>> = batch[..2]
        .iter()
        .flat_map(|(offload, frame)| plain(*offload, frame))
        .collect();
    expected.push(batch[2].1.clone());
    expected.extend(batch[3..].iter().flat_map(|(offload, frame)| plain(*offload, frame)));
    let (frames, open) = two.received(1);
    assert_eq!(frames, expected);
    assert_eq!(open, 5, "all but the one whose card had filled it in");
}

#[test]
fn what_waits_for_a_session_is_made_plain() {
    let mut two = Two::unmet(&link(1));
    let frame = two.tcp(0, 5500);
    two.send(0, &[(cut(), frame.clone())]);
    two.lab.run_seconds(2);
    assert_eq!(two.received(1), (plain(cut(), &frame), 0));
}

#[test]
fn what_does_not_fit_the_path_goes_in_parts_and_plain() {
    let mut two = Two::in_network(&link(1));
    // Nothing longer passes, which the nodes find out.
    two.lab.wire = Box::new(|_, _, bytes| bytes.len() <= 700);
    let frame = two.tcp(0, 4500);
    for _ in 0..80 {
        two.send(0, &[(cut(), frame.clone())]);
        two.lab.run(Duration::from_millis(250));
    }
    for node in two.nodes {
        two.lab.hosts[node].frames.clear();
        two.lab.hosts[node].labels.clear();
    }
    two.send(0, &[(cut(), frame.clone())]);
    two.run();
    assert_eq!(two.received(1), (plain(cut(), &frame), 0));
    assert!(two.lab.hosts[two.nodes[0]].engine.counters().messages_cut > 0);
}

#[test]
fn a_frame_for_all_has_a_complete_checksum() {
    let mut two = Two::in_network(&link(1));
    let mut frame = two.tcp(0, 100);
    frame[..6].copy_from_slice(Mac::BROADCAST.as_bytes());
    let open = Offload {
        partial: true,
        segment: None,
    };
    two.send(0, &[(open, frame.clone())]);
    two.run();
    assert_eq!(two.received(1), (plain(open, &frame), 0));
}

#[test]
fn what_is_no_super_frame_is_dropped_and_counted() {
    let mut two = Two::in_network(&link(1));
    let mut frame = two.tcp(0, 3000);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    two.send(0, &[(cut(), frame)]);
    two.run();
    assert_eq!(two.received(1), (vec![], 0));
    assert_eq!(two.lab.hosts[two.nodes[0]].engine.counters().malformed_frames, 1);
}

#[test]
fn a_frame_that_is_too_long_is_dropped_whether_or_not_a_super_frame_is_as_long() {
    let mut two = Two::in_network(&link(1));
    let long = two.tcp(0, 10_000);
    two.send(0, &[(Offload::default(), long.clone())]);
    let too_long = Offload {
        partial: true,
        segment: NonZeroU16::new(9500),
    };
    two.send(0, &[(too_long, long.clone())]);
    two.run();
    // Of the super-frame, the rest fits.
    assert_eq!(two.received(1), (plain(too_long, &long)[1..].to_vec(), 0));
    let counters = two.lab.hosts[two.nodes[0]].engine.counters();
    assert_eq!(counters.malformed_frames, 2);
    assert_eq!(counters.queue_dropped, 0);
}

#[test]
fn a_frame_of_a_peer_that_is_none_is_counted_whatever_came_before_it() {
    let mut two = Two::in_network(&link(1));
    let good = two.tcp(0, 100);
    let [sender, receiver] = two.nodes;
    let id = two.lab.peer_id(sender, &two.lab.key(receiver));
    let long = vec![2; 9100];
    for (own, bad) in [(false, &good[..13]), (true, &good[..13]), (false, &[]), (false, &long)] {
        let mut out = Outbox::default();
        let engine = &mut two.lab.hosts[sender].engine;
        let path = engine.peers.get(id).unwrap().way().unwrap();
        for frame in [&good[..], bad, &good, bad] {
            let network = 0;
            let content = Content::Frame { network, frame, own };
            engine.send_along(two.lab.now, id, (path, None), content, &mut out);
        }
        two.lab.take(sender, &mut out);
    }
    two.run();
    assert_eq!(two.received(1).0, vec![good; 8]);
    assert_eq!(two.lab.hosts[receiver].engine.counters().malformed_frames, 8);
}

#[test]
fn a_run_loses_only_what_the_wire_loses_or_bends() {
    let mut two = Two::in_network(&link(1));
    let mut count = 0;
    two.lab.wire = Box::new(move |_, _, bytes| {
        if bytes.len() < 900 {
            return true;
        }
        count += 1;
        if count % 7 == 3 {
            // Behind the relay header, the header and a few sealed bytes.
            bytes[60] ^= 1;
        }
        count % 5 != 0
    });
    let frame = two.tcp(0, 60_000);
    two.send(0, &[(cut(), frame.clone())]);
    two.run();
    two.lab.wire = intact();
    let (frames, _) = two.received(1);
    let all = plain(cut(), &frame);
    let mut left = all.iter();
    for got in &frames {
        assert!(left.any(|sent| sent == got), "in order, and as sent");
    }
    assert!((15..45).contains(&frames.len()), "{}", frames.len());
    assert!(two.lab.hosts[two.nodes[1]].engine.counters().forged > 0);
}
