//! What the kernel says of a frame.

use std::num::NonZeroU16;

use farlan_offload::{Malformed, Offload, read_vnet};

use crate::flow::{self, Flow};

/// A `virtio_net_hdr` without a super-frame.
fn header(flags: u8, start: usize, offset: u16) -> [u8; 10] {
    let [start, offset] = [start as u16, offset].map(u16::to_ne_bytes);
    [flags, 0, 0, 0, 0, 0, start[0], start[1], offset[0], offset[1]]
}

const OPEN: Offload = Offload {
    partial: true,
    segment: None,
};

fn kinds() -> [Flow; 4] {
    [(false, false), (false, true), (true, false), (true, true)].map(|(six, tcp)| Flow::plain(six, tcp))
}

fn offset(flow: &Flow) -> u16 {
    if flow.tcp { 16 } else { 6 }
}

#[test]
fn a_plain_frame_is_left_alone() {
    let mut frame = vec![1, 2, 3];
    assert_eq!(read_vnet(&[0; 10], &mut frame), Ok(Offload::default()));
    // The flags that say something else: DATA_VALID, RSC_INFO.
    assert_eq!(
        read_vnet(&header(6, 60_000, 60_000), &mut frame),
        Ok(Offload::default())
    );
    assert_eq!(frame, [1, 2, 3]);
    assert_eq!(read_vnet(&[0; 10], &mut []), Ok(Offload::default()));
}

#[test]
fn an_open_checksum_at_its_usual_place_stays_open() {
    for mut flow in kinds() {
        for tags in [vec![], vec![(false, 3)], vec![(true, 3), (false, 4)]] {
            flow.tags = tags;
            let frame = flow.frame(0, 0, flow.flags, &flow::payload(99, 4), true);
            let mut read = frame.clone();
            assert_eq!(
                read_vnet(&header(1, flow.transport(), offset(&flow)), &mut read),
                Ok(OPEN)
            );
            assert_eq!(read, frame);
        }
    }
}

#[test]
fn an_open_checksum_elsewhere_is_completed() {
    for mut flow in kinds() {
        // A third tag hides the headers.
        flow.tags = vec![(true, 1), (true, 2), (false, 3)];
        let payload = flow::payload(99, 4);
        let mut frame = flow.frame(0, 0, flow.flags, &payload, true);
        let header = header(1, flow.transport(), offset(&flow));
        assert_eq!(read_vnet(&header, &mut frame), Ok(Offload::default()));
        assert_eq!(frame, flow.frame(0, 0, flow.flags, &payload, false));
    }
}

#[test]
fn behind_options_the_checksum_is_completed() {
    // With a source route the pseudo-header has another address than the packet: here the sum is one higher.
    for tcp in [false, true] {
        let mut flow = Flow::plain(false, tcp);
        flow.ip_options = vec![[131, 4, 4, 0]];
        let payload = flow::payload(50, 5);
        let mut frame = flow.frame(0, 0, flow.flags, &payload, true);
        frame[flow.checksum() + 1] += 1;
        let header = header(1, flow.transport(), offset(&flow));
        assert_eq!(read_vnet(&header, &mut frame), Ok(Offload::default()));
        let mut expected = flow.frame(0, 0, flow.flags, &payload, false);
        expected[flow.checksum() + 1] -= 1;
        assert_eq!(frame, expected);
    }
}

#[test]
fn an_unknown_protocol_gets_its_checksum() {
    // As for SCTP-like or tunnelled things: a sum over what follows, wherever the kernel wants it.
    let mut frame = [0x55; 20];
    frame[14..20].copy_from_slice(&[0x12, 0x34, 0, 0, 0x56, 0x78]);
    assert_eq!(read_vnet(&header(1, 14, 2), &mut frame), Ok(Offload::default()));
    assert_eq!(frame[14..], [0x12, 0x34, 0x97, 0x53, 0x56, 0x78]);
    // A sum of all ones becomes all ones again, not the zero that says "none".
    let mut frame = [0xff, 0xff, 0, 0];
    assert_eq!(read_vnet(&header(1, 0, 2), &mut frame), Ok(Offload::default()));
    assert_eq!(frame, [0xff; 4]);
    // The last byte of an odd number of them is the upper half of a word.
    let mut frame = [0, 0, 0x12];
    assert_eq!(read_vnet(&header(1, 0, 0), &mut frame), Ok(Offload::default()));
    assert_eq!(frame, [0xed, 0xff, 0x12]);
}

#[test]
fn a_checksum_outside_the_frame_is_malformed() {
    let frame = [0; 20];
    for (start, offset) in [
        (20, 0),
        (19, 0),
        (0, 19),
        (10, 9),
        (65_535, 65_535),
        (0, 65_535),
        (65_535, 0),
    ] {
        let mut read = frame;
        assert_eq!(
            read_vnet(&header(1, start, offset), &mut read),
            Err(Malformed),
            "{start} {offset}"
        );
        assert_eq!(read, frame);
    }
    assert_eq!(read_vnet(&header(1, 18, 0), &mut [0; 20]), Ok(Offload::default()));
    assert_eq!(read_vnet(&header(1, 0, 0), &mut []), Err(Malformed));
}

#[test]
fn super_frames_are_of_their_kind() {
    for flow in kinds() {
        let mut frame = flow.frame(0, 0, flow.flags, &[1; 500], true);
        let said = flow.vnet(100, true);
        for kind in 0..=255_u8 {
            let mut header = said;
            header[1] = kind;
            let known = kind & 0x7f == said[1];
            let expected = match kind {
                0 => Ok(OPEN),
                _ if known => Ok(Offload {
                    partial: true,
                    segment: NonZeroU16::new(100),
                }),
                _ => Err(Malformed),
            };
            assert_eq!(read_vnet(&header, &mut frame), expected, "kind {kind}");
        }
    }
}

#[test]
fn a_super_frame_may_have_its_checksum() {
    for flow in kinds() {
        let mut frame = flow.frame(0, 0, flow.flags, &[1; 500], false);
        let expected = Offload {
            partial: false,
            segment: NonZeroU16::new(100),
        };
        assert_eq!(read_vnet(&flow.vnet(100, false), &mut frame), Ok(expected));
    }
}

#[test]
fn super_frames_of_no_plain_shape_are_malformed() {
    for flow in kinds() {
        let whole = flow.frame(0, 0, flow.flags, &[1; 500], true);
        let said = flow.vnet(100, true);
        let mut elsewhere = said;
        elsewhere[6] += 2;
        let mut other_field = said;
        other_field[8] += 2;
        for header in [flow.vnet(0, true), elsewhere, other_field] {
            assert_eq!(read_vnet(&header, &mut whole.clone()), Err(Malformed));
        }
        // Shorter than its length says.
        assert_eq!(read_vnet(&said, &mut whole[..whole.len() - 1].to_vec()), Err(Malformed));
        for length in 0..flow.headers() {
            assert_eq!(read_vnet(&said, &mut whole[..length].to_vec()), Err(Malformed));
        }
        let with = |at: usize, byte: u8| {
            let mut frame = whole.clone();
            frame[at] = byte;
            read_vnet(&said, &mut frame)
        };
        let ip = flow.ip();
        // EtherType and version do not agree; no such version; another protocol.
        assert_eq!(with(13, if flow.six { 0x00 } else { 0xdd }), Err(Malformed));
        for version in (0..16).filter(|version| *version != if flow.six { 6 } else { 4 }) {
            assert_eq!(with(ip, version << 4 | 5), Err(Malformed));
        }
        for protocol in [0, 1, 43, 44, 58, if flow.tcp { 17 } else { 6 }] {
            assert_eq!(with(if flow.six { ip + 6 } else { ip + 9 }, protocol), Err(Malformed));
        }
        if !flow.six {
            // Header lengths below the least and beyond the frame's, fragments, total lengths within the headers.
            for words in 0..5 {
                assert_eq!(with(ip, 0x40 | words), Err(Malformed));
            }
            assert_eq!(with(ip, 0x4f), Err(Malformed));
            for bit in [0x20, 0x10, 0x08, 0x04, 0x02, 0x01] {
                assert_eq!(with(ip + 6, bit), Err(Malformed));
            }
            assert_eq!(with(ip + 7, 0x01), Err(Malformed));
        }
        if flow.tcp {
            for words in 0..5 {
                assert_eq!(with(flow.transport() + 12, words << 4), Err(Malformed));
            }
        } else {
            assert_eq!(with(flow.transport() + 5, 7), Err(Malformed));
        }
    }
}

#[test]
fn a_jumbogram_is_malformed() {
    for tcp in [false, true] {
        let flow = Flow::plain(true, tcp);
        let mut frame = flow.frame(0, 0, flow.flags, &[1; 500], true);
        frame[flow.ip() + 4..flow.ip() + 6].fill(0);
        assert_eq!(read_vnet(&flow.vnet(100, true), &mut frame), Err(Malformed));
    }
}
