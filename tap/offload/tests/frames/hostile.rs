//! Whatever comes, nothing panics and nothing is written that says something false of itself.

use farlan_offload::{Malformed, Offload, Run, Segments, complete, read_vnet};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bodies;
use crate::flow::{Flow, flows};

/// A frame of a flow, or what is left of it after changes, with a few bytes more or less.
fn spoilt(flow: &Flow, length: usize, cut: Option<usize>, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = flow.frame(0, 0, flow.flags, &vec![0x5a; length], false);
    for (at, value) in changes {
        if let Some(byte) = frame.get_mut(*at) {
            *byte = *value;
        }
    }
    if let Some(cut) = cut {
        frame.resize(cut % (frame.len() + 20), 0xee);
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes(header: [u8; 10], mut bytes in vec(any::<u8>(), 0..300)) {
        bodies::segments(&[&header, &bytes[..]].concat());
        bodies::run(&bytes);
        let length = bytes.len();
        let _ = complete(&mut bytes);
        prop_assert_eq!(bytes.len(), length);
    }

    #[test]
    fn spoilt_super_frames(
        flow in flows(),
        length in prop_oneof![0..300_usize, 0..3000_usize],
        cut in proptest::option::weighted(0.3, any::<usize>()),
        changes in vec((0..150_usize, any::<u8>()), 0..3),
        size in prop_oneof![1..200_u16, any::<u16>()],
        open: bool,
    ) {
        let frame = spoilt(&flow, length, cut, &changes);
        bodies::segments(&[&flow.vnet(size, open)[..], &frame].concat());
        let mut frame = frame;
        if complete(&mut frame).is_ok() {
            let places = bodies::Places::of(&frame).expect("a completed frame is of the plain shape");
            prop_assert_eq!(places.transport_sum(&frame), 0xffff);
        }
    }

    #[test]
    fn any_offload_of_any_frame(flow in flows(), changes in vec((0..150_usize, any::<u8>()), 0..2), partial: bool,
                                segment: u16, open: bool) {
        let frame = spoilt(&flow, 100, None, &changes);
        let offload = Offload { partial, segment: segment.try_into().ok() };
        if let Ok(segments) = Segments::new(&frame, offload) {
            let mut out = Vec::new();
            for index in 0..segments.len() {
                out.clear();
                segments.write(index, 0, &mut out);
                prop_assert!(out.len() <= segments.longest());
                if offload.segment.is_some() {
                    let places = bodies::Places::of(&out).expect("a segment is of the plain shape");
                    prop_assert_eq!(places.end, out.len());
                }
            }
        }
        if let Ok(mut run) = Run::start(&frame, open) {
            bodies::written(&[(frame, open)], &mut run);
        }
    }
}

#[test]
fn the_largest_super_frame_in_the_smallest_pieces() {
    for (six, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let flow = Flow::plain(six, tcp);
        let length = 65_535 - (flow.headers() - flow.ip());
        let mut frame = flow.frame(0, 0, flow.flags, &vec![1; length], true);
        let offload = read_vnet(&flow.vnet(1, true), &mut frame).expect("the kernel says so");
        let segments = Segments::new(&frame, offload).expect("it can be cut");
        assert_eq!(segments.len(), length);
        let mut out = Vec::new();
        segments.write(length - 1, 0, &mut out);
        assert_eq!(out, flow.frame(length - 1, length - 1, flow.flags, &[1], true));
    }
}

#[test]
fn no_header_begins_within_the_one_before() {
    // The last four bytes of IPv4's header and the first of UDP's would make a good header of UDP.
    let mut flow = Flow::plain(false, false);
    let length = 100 + 8 + 4;
    flow.ports.0 = length;
    let mut frame = flow.frame(0, 0, 0, &[1; 100], true);
    frame[flow.ip()] = 0x44;
    assert_eq!(Run::start(&frame, true).map(|_| ()), Err(Malformed));
    assert_eq!(complete(&mut frame), Err(Malformed));
    assert!(
        Segments::new(
            &frame,
            Offload {
                partial: true,
                segment: 10.try_into().ok()
            }
        )
        .is_err()
    );
}

#[test]
fn frames_behind_frames_do_not_matter() {
    // IPv6 can say up to 65,535 bytes behind its header, which is more than a whole packet of IPv4.
    let flow = Flow::plain(true, false);
    let whole = flow.frame(0, 0, 0, &vec![1; 65_527], true);
    bodies::segments(&[&flow.vnet(1400, true)[..], &whole].concat());
    let mut run = Run::start(&whole, true).expect("a run begins");
    bodies::written(&[(whole, true)], &mut run);
}
