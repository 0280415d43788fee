//! Super-frames are cut into the frames that the reference builds one by one.

use std::num::NonZeroU16;

use farlan_offload::{Malformed, Offload, Segments, complete, read_vnet};
use proptest::prelude::*;

use crate::flow::{self, Flow, flows, without_sum};

/// All frames that a super-frame is cut into.
fn cut(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let segments = Segments::new(frame, offload).expect("it can be cut");
    (0..segments.len())
        .map(|index| {
            let mut out = Vec::new();
            segments.write(index, 0, &mut out);
            out
        })
        .collect()
}

fn offload(partial: bool, size: u16) -> Offload {
    Offload {
        partial,
        segment: NonZeroU16::new(size),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn segments_are_what_the_reference_builds(
        flow in flows(),
        length in prop_oneof![1..200_usize, 1..20_000_usize, 60_000..65_300_usize],
        pieces in 1..100_usize,
        more in 0..3_u16,
        partial: bool,
        skip in 0..=12_usize,
        seed: u8,
    ) {
        let length = length.min(65_535 + flow.ip() - flow.headers());
        let payload = flow::payload(length, seed);
        let size = (length.div_ceil(pieces) as u16).saturating_add(more);
        let whole = flow.frame(0, 0, flow.flags, &payload, partial);
        let expected = flow.frames(&payload, size.into(), partial);

        let described = read_vnet(&flow.vnet(size, partial), &mut whole.clone()).expect("the kernel says so");
        prop_assert_eq!(described, offload(partial && flow.ip_options.is_empty(), size));

        let segments = Segments::new(&whole, offload(partial, size)).expect("it can be cut");
        prop_assert_eq!(segments.len(), expected.len());
        prop_assert_eq!(segments.longest(), expected.iter().map(Vec::len).max().expect("there is one"));
        let mut out = Vec::new();
        for (index, frame) in expected.iter().enumerate() {
            let start = out.len();
            segments.write(index, skip, &mut out);
            prop_assert_eq!(&out[start..], &frame[skip..], "segment {}", index);
        }
    }

    #[test]
    fn open_checksums_are_completed(flow in flows(), length in 0..3000_usize, seed: u8, before: u16) {
        let payload = flow::payload(length, seed);
        let expected = flow.frame(0, 0, flow.flags, &payload, false);
        let mut frame = flow.frame(0, 0, flow.flags, &payload, true);
        // It does not matter what was there.
        frame[flow.checksum()..flow.checksum() + 2].copy_from_slice(&before.to_be_bytes());
        prop_assert_eq!(complete(&mut frame), Ok(()));
        prop_assert_eq!(frame, expected);
    }
}

#[test]
fn a_frame_that_is_no_super_frame_stands_for_itself() {
    let frame = b"\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06 not even ARP".to_vec();
    let segments = Segments::new(&frame, Offload::default()).expect("it need not be cut");
    assert_eq!((segments.len(), segments.longest()), (1, frame.len()));
    let mut out = vec![1];
    segments.write(0, 12, &mut out);
    assert_eq!(out, [&[1], &frame[12..]].concat());

    let runt = Segments::new(&frame[..5], Offload::default()).expect("it need not be cut");
    out.clear();
    runt.write(0, 12, &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_super_frame_without_payload_is_malformed() {
    for (six, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let flow = Flow::plain(six, tcp);
        let mut frame = flow.frame(0, 0, flow.flags, &[], true);
        assert_eq!(Segments::new(&frame, offload(true, 1)).map(|_| ()), Err(Malformed));
        assert_eq!(read_vnet(&flow.vnet(1, true), &mut frame), Err(Malformed));
    }
}

#[test]
fn a_segment_larger_than_the_payload_is_the_frame_itself() {
    let flow = Flow::plain(false, true);
    for partial in [false, true] {
        let frame = flow.frame(0, 0, flow.flags, &[7; 100], partial);
        for size in [100, 101, u16::MAX] {
            assert_eq!(cut(&frame, offload(partial, size)), std::slice::from_ref(&frame));
        }
    }
}

#[test]
fn what_follows_the_packet_is_in_no_segment() {
    let flow = Flow::plain(true, false);
    let payload = flow::payload(250, 3);
    let mut frame = flow.frame(0, 0, 0, &payload, true);
    frame.extend_from_slice(&[0xee; 9]);
    assert_eq!(cut(&frame, offload(true, 100)), flow.frames(&payload, 100, true));
}

#[test]
fn a_datagram_always_has_a_checksum() {
    for (six, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let flow = Flow::plain(six, tcp);
        let frame = without_sum(&flow, 0);
        assert_eq!(cut(&frame, offload(false, 100)), std::slice::from_ref(&frame));
        let mut completed = frame.clone();
        assert_eq!(complete(&mut completed), Ok(()));
        assert_eq!(completed, frame);
    }
}

#[test]
fn ids_and_sequence_numbers_go_round() {
    let mut flow = Flow::plain(false, true);
    flow.id = u16::MAX - 1;
    flow.sequence = u32::MAX - 150;
    let payload = flow::payload(500, 9);
    let whole = flow.frame(0, 0, flow.flags, &payload, false);
    let frames = cut(&whole, offload(false, 100));
    assert_eq!(frames, flow.frames(&payload, 100, false));
    assert_eq!(frames[2][18..20], [0, 0]);
}

#[test]
#[should_panic(expected = "segment 3 of 3")]
fn there_is_no_segment_behind_the_last() {
    let flow = Flow::plain(false, false);
    let frame = flow.frame(0, 0, 0, &[1; 300], true);
    let segments = Segments::new(&frame, offload(true, 100)).expect("it can be cut");
    segments.write(3, 0, &mut Vec::new());
}
