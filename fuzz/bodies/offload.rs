//! What must hold of `farlan-offload` whatever it is given. The fuzz targets run it, and the crate's tests on the
//! committed corpus and on random frames.
//!
//! Checksums and places of fields come from here and from etherparse, not from the crate.
#![allow(dead_code, reason = "each target uses a part")]

use std::num::NonZeroU16;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use farlan_offload::{LONGEST_RUN, Offload, Run, Segments, VNET_HEADER, complete, read_vnet};

/// Input: a `virtio_net_hdr` and a frame. Reads the one, cuts the other and looks at all that comes out.
pub(crate) fn segments(input: &[u8]) {
    let Some((header, frame)) = input.split_first_chunk::<VNET_HEADER>() else {
        return;
    };
    let mut read = frame.to_vec();
    let Ok(offload) = read_vnet(header, &mut read) else {
        // Even then the frame has its length, and what it says of itself is not our doing.
        assert_eq!(read.len(), frame.len());
        return;
    };
    assert_eq!(read.len(), frame.len());
    // Only a checksum is ever written.
    assert!(read.iter().zip(frame).filter(|(a, b)| a != b).count() <= 2);

    for partial in [offload.partial, !offload.partial] {
        let offload = Offload { partial, ..offload };
        let Ok(segments) = Segments::new(&read, offload) else {
            panic!("read_vnet took what cannot be cut");
        };
        let Some(size) = offload.segment else {
            let mut out = Vec::new();
            segments.write(0, 0, &mut out);
            assert_eq!((segments.len(), &out, segments.longest()), (1, &read, read.len()));
            continue;
        };
        cut(&read, offload, size, &segments);
    }
    if offload.partial {
        assert_eq!(complete(&mut read), Ok(()));
        let places = Places::of(&read).expect("a partial frame is of the plain shape");
        assert_eq!(places.transport_sum(&read), 0xffff);
    }
}

/// Looks at the frames of a super-frame.
fn cut(frame: &[u8], offload: Offload, size: NonZeroU16, segments: &Segments<'_>) {
    let whole = Places::of(frame).expect("a super-frame is of the plain shape");
    let payload = &frame[whole.payload..whole.end];
    let size = usize::from(size.get());
    assert_eq!(segments.len(), payload.len().div_ceil(size));
    let mut longest = 0;
    // A super-frame may stand for 65,000 frames; the first and the last are those that differ.
    let indices = (0..segments.len()).filter(|index| *index < 100 || index + 2 > segments.len());
    for index in indices {
        let skip = index % 13;
        let mut out = vec![0xa5; 3];
        segments.write(index, skip, &mut out);
        assert_eq!(out[..3], [0xa5; 3]);
        let mut segment = frame[..skip].to_vec();
        segment.extend_from_slice(&out[3..]);
        longest = longest.max(segment.len());

        let places = Places::of(&segment).expect("a segment is of the plain shape");
        assert_eq!(places.end, segment.len());
        assert_eq!(
            (places.ip, places.transport, places.payload),
            (whole.ip, whole.transport, whole.payload)
        );
        let from = index * size;
        assert_eq!(
            &segment[places.payload..],
            &payload[from..payload.len().min(from + size)]
        );
        if places.six {
            assert_eq!(segment[..places.ip + 4], frame[..places.ip + 4]);
        } else {
            assert_eq!(sum(&segment[places.ip..places.transport]), 0xffff);
            let id = read16(frame, whole.ip + 4).wrapping_add(index as u16);
            assert_eq!(read16(&segment, places.ip + 4), id);
        }
        if places.tcp {
            let at = places.transport;
            let sequence = u32::from(read16(frame, at + 4)) << 16 | u32::from(read16(frame, at + 6));
            let expected = sequence.wrapping_add(from as u32);
            assert_eq!(segment[at + 4..at + 8], expected.to_be_bytes());
            let mut flags = frame[at + 13];
            if index > 0 {
                flags &= !0x80;
            }
            if index + 1 < segments.len() {
                flags &= !0x09;
            }
            assert_eq!(segment[at + 13], flags);
        }
        if offload.partial {
            assert_eq!(read16(&segment, places.checksum()), places.open(&segment));
        } else {
            assert_eq!(places.transport_sum(&segment), 0xffff);
            assert!(places.tcp || read16(&segment, places.checksum()) != 0);
        }
    }
    assert_eq!(longest, segments.longest());
}

/// Input: frames as [`frames`] reads them. Makes runs of them and looks at what is to be written.
pub(crate) fn run(input: &[u8]) {
    let frames = frames(input);
    let mut rest = &frames[..];
    let mut again = Run::default();
    while let Some(((first, partial), further)) = rest.split_first() {
        let started = Run::start(first, *partial);
        assert_eq!(
            again.restart(first, *partial),
            started.as_ref().map(|_| ()).map_err(|error| *error)
        );
        let Ok(mut run) = started else {
            assert!(*partial && Places::of(first).is_none());
            assert_eq!(again.frames(), 0);
            rest = further;
            continue;
        };
        let joined = further
            .iter()
            .take_while(|(frame, partial)| run.join(frame, *partial))
            .count();
        for (frame, partial) in &further[..joined] {
            assert!(again.join(frame, *partial), "a run that is begun anew is another");
        }
        let frames = 1 + joined;
        assert_eq!((run.frames(), again.frames()), (frames, frames));
        assert_eq!(again.finish(), run.finish());
        written(&rest[..frames], &mut run);
        rest = &rest[frames..];
    }
}

/// Looks at what is written for the frames of a run.
pub(crate) fn written(frames: &[(Vec<u8>, bool)], run: &mut Run) {
    let (first, partial) = &frames[0];
    let (head, replaced) = run.finish();
    let (vnet, head) = head
        .split_first_chunk::<VNET_HEADER>()
        .expect("a run has a virtio_net_hdr");
    if frames.len() == 1 && !partial {
        assert_eq!((*vnet, head, replaced), ([0; VNET_HEADER], &[][..], 0));
        return;
    }
    assert!(frames.len() <= LONGEST_RUN);
    assert_eq!(head.len(), replaced);
    let mut whole = head.to_vec();
    for (frame, _) in frames {
        whole.extend_from_slice(&frame[replaced..]);
    }
    let places = Places::of(&whole).expect("what has an open checksum is of the plain shape");
    let half = |at: usize| usize::from(u16::from_ne_bytes([vnet[at], vnet[at + 1]]));
    assert_eq!(vnet[0], 1);
    assert_eq!(
        (half(6), half(8)),
        (places.transport, places.checksum() - places.transport)
    );
    assert_eq!(read16(&whole, places.checksum()), places.open(&whole));
    if frames.len() == 1 {
        assert_eq!((vnet[1], half(2), half(4)), (0, 0, 0));
        let mut expected = first.clone();
        let open = places.open(&whole).to_be_bytes();
        expected[places.checksum()..places.checksum() + 2].copy_from_slice(&open);
        assert_eq!(whole, expected);
        return;
    }
    assert_eq!(places.end, whole.len());
    assert!(places.end - places.ip <= 65_535);
    let kind = match (places.tcp, places.six) {
        (true, false) => 1,
        (true, true) => 4,
        (false, _) => 5,
    };
    assert_eq!((vnet[1], half(2)), (kind, places.payload));
    let taken = read_vnet(vnet, &mut whole.clone()).expect("the super-frame is one for the kernel too");
    let size = taken.segment.expect("it is a super-frame");
    assert_eq!(usize::from(size.get()), half(4));

    // Cutting it gives the frames back.
    for (index, (frame, partial)) in frames.iter().enumerate() {
        let offload = Offload {
            partial: *partial,
            segment: Some(size),
        };
        let segments = Segments::new(&whole, offload).expect("the super-frame can be cut");
        assert_eq!(segments.len(), frames.len());
        let mut segment = Vec::new();
        segments.write(index, 0, &mut segment);
        let mut frame = frame.clone();
        if !places.six {
            // The id of datagrams that may not be fragmented means nothing.
            if !places.tcp && frame[places.ip + 6] & 0x40 != 0 {
                let id = read16(&segment, places.ip + 4);
                let first_id = read16(first, places.ip + 4);
                let own = read16(&frame, places.ip + 4);
                assert!(own == id || own == first_id);
                for frame in [&mut segment, &mut frame] {
                    let ip = places.ip;
                    assert_eq!(sum(&frame[ip..places.transport]), 0xffff);
                    frame[ip + 4..ip + 6].fill(0);
                    frame[ip + 10..ip + 12].fill(0);
                }
            } else {
                same_zero(&mut segment, &mut frame, places.ip + 10);
            }
        }
        if *partial {
            // What came with it was not to be trusted.
            let at = places.checksum();
            let open = Places::of(&frame).expect("it is of the plain shape").open(&frame);
            frame[at..at + 2].copy_from_slice(&open.to_be_bytes());
        } else {
            same_zero(&mut segment, &mut frame, places.checksum());
        }
        assert_eq!(segment, frame, "frame {index} of {}", frames.len());
    }
}

/// A checksum has two zeros, which are the same.
fn same_zero(a: &mut [u8], b: &mut [u8], at: usize) {
    for frame in [a, b] {
        if frame[at..at + 2] == [0xff, 0xff] {
            frame[at..at + 2].fill(0);
        }
    }
}

/// Reads frames from an input: a byte of flags, then a frame's length and bytes, or a frame that follows the one before,
/// with changes.
fn frames(input: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut input = input.iter().copied();
    let mut next = || input.next();
    let mut frames: Vec<(Vec<u8>, bool)> = Vec::new();
    while let Some(flags) = next() {
        let partial = flags & 1 != 0;
        let previous = frames.last().map(|(frame, _)| frame);
        let frame = match previous {
            Some(previous) if flags & 2 != 0 => {
                let payload = (flags & 4 != 0).then(|| next().unwrap_or(0));
                let mut frame = following(previous, payload.map(usize::from));
                // Changes before the checksums are made, and after it.
                if flags & 8 != 0 {
                    change(&mut frame, next(), next());
                }
                make_checksums(&mut frame);
                if flags & 16 != 0 {
                    change(&mut frame, next(), next());
                }
                frame
            }
            _ => {
                let length = usize::from(next().unwrap_or(0)) << 8 | usize::from(next().unwrap_or(0));
                let mut frame: Vec<u8> = (0..length).map_while(|_| next()).collect();
                if flags & 32 != 0 {
                    make_checksums(&mut frame);
                }
                frame
            }
        };
        // `flags >> 6` more that follow without a change, so that few bytes make long runs.
        let more = [0, 1, 7, 70][usize::from(flags >> 6)];
        frames.push((frame, partial));
        for _ in 0..more {
            let mut frame = following(&frames[frames.len() - 1].0, None);
            make_checksums(&mut frame);
            frames.push((frame, partial));
        }
        if frames.len() > 300 {
            break;
        }
    }
    frames
}

/// The frame that a sender would send next in a flow, its checksums not made.
pub(crate) fn following(frame: &[u8], payload: Option<usize>) -> Vec<u8> {
    let mut next = frame.to_vec();
    let Some(places) = Places::of(frame) else {
        return next;
    };
    if let Some(bytes) = payload {
        next.resize(places.payload + bytes, 0x5a);
        let (at, length) = match places.six {
            true => (places.ip + 4, next.len() - places.transport),
            false => (places.ip + 2, next.len() - places.ip),
        };
        next[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
        if !places.tcp {
            let length = (next.len() - places.transport) as u16;
            next[places.transport + 4..places.transport + 6].copy_from_slice(&length.to_be_bytes());
        }
    }
    if !places.six {
        let id = read16(frame, places.ip + 4).wrapping_add(1);
        next[places.ip + 4..places.ip + 6].copy_from_slice(&id.to_be_bytes());
    }
    if places.tcp {
        let at = places.transport + 4;
        let sequence = u32::from(read16(frame, at)) << 16 | u32::from(read16(frame, at + 2));
        let sequence = sequence.wrapping_add((places.end - places.payload) as u32);
        next[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
    }
    next
}

fn change(frame: &mut [u8], at: Option<u8>, value: Option<u8>) {
    if let (Some(at), Some(value)) = (at, value)
        && let Some(byte) = frame.get_mut(usize::from(at))
    {
        *byte = value;
    }
}

/// Makes both checksums of a frame of the plain shape right.
pub(crate) fn make_checksums(frame: &mut [u8]) {
    let Some(places) = Places::of(frame) else {
        return;
    };
    if !places.six {
        frame[places.ip + 10..places.ip + 12].fill(0);
        let checksum = !sum(&frame[places.ip..places.transport]);
        frame[places.ip + 10..places.ip + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    let at = places.checksum();
    frame[at..at + 2].fill(0);
    let checksum = match !places.transport_sum(frame) {
        0 if !places.tcp => 0xffff,
        checksum => checksum,
    };
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Where things are in a frame of the plain shape, as etherparse sees it.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) ip: usize,
    pub(crate) transport: usize,
    pub(crate) payload: usize,
    pub(crate) end: usize,
    pub(crate) six: bool,
    pub(crate) tcp: bool,
}

impl Places {
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let ip = 14 + 4 * packet.link_exts.len();
        // Other tags and more than two of them are none of ours.
        let plain_tags = (0..packet.link_exts.len()).all(|tag| matches!(read16(frame, 12 + 4 * tag), 0x8100 | 0x88a8));
        if packet.link_exts.len() > 2 || !plain_tags {
            return None;
        }
        let (six, transport, end) = match packet.net? {
            NetSlice::Ipv4(slice) => {
                if slice.is_payload_fragmented() || slice.extensions().auth.is_some() {
                    return None;
                }
                let header = slice.header();
                (false, ip + header.slice().len(), ip + usize::from(header.total_len()))
            }
            NetSlice::Ipv6(slice) => {
                if !slice.extensions().is_empty() {
                    return None;
                }
                (true, ip + 40, ip + 40 + usize::from(slice.header().payload_length()))
            }
            NetSlice::Arp(_) => return None,
        };
        let (tcp, payload) = match packet.transport? {
            TransportSlice::Tcp(tcp) => (true, transport + tcp.header_len()),
            TransportSlice::Udp(udp) if usize::from(udp.length()) == end - transport => (false, transport + 8),
            _ => return None,
        };
        // etherparse takes the lengths of zero for unknown ones.
        (payload <= end).then_some(Self {
            ip,
            transport,
            payload,
            end,
            six,
            tcp,
        })
    }

    pub(crate) fn checksum(&self) -> usize {
        self.transport + if self.tcp { 16 } else { 6 }
    }

    /// The sum of the pseudo-header.
    pub(crate) fn open(&self, frame: &[u8]) -> u16 {
        let addresses = match self.six {
            true => &frame[self.ip + 8..self.ip + 40],
            false => &frame[self.ip + 12..self.ip + 20],
        };
        let mut pseudo = addresses.to_vec();
        pseudo.extend_from_slice(&[0, if self.tcp { 6 } else { 17 }]);
        pseudo.extend_from_slice(&((self.end - self.transport) as u16).to_be_bytes());
        sum(&pseudo)
    }

    /// The sum over pseudo-header, header and payload: all ones if the checksum is right.
    pub(crate) fn transport_sum(&self, frame: &[u8]) -> u16 {
        let mut summed = self.open(frame).to_be_bytes().to_vec();
        summed.extend_from_slice(&frame[self.transport..self.end]);
        sum(&summed)
    }
}

/// The ones' complement sum, word by word.
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |total: u16, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (total, carry) = total.overflowing_add(word);
        total + u16::from(carry)
    })
}

fn read16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
