//! Frames that follow each other become one super-frame, which cut gives them back; others do not.

use farlan_offload::{LONGEST_RUN, Malformed, Run};
use proptest::prelude::*;

use crate::bodies::{following, make_checksums, written};
use crate::flow::{self, ACK, CWR, ECE, FIN, Flow, PSH, RST, SYN, URG, flows, without_sum};

/// How many of the frames become one run; what is written for them is looked at.
fn joined(frames: &[(Vec<u8>, bool)]) -> usize {
    let mut run = Run::start(&frames[0].0, frames[0].1).expect("a run begins");
    let count = 1 + frames[1..]
        .iter()
        .take_while(|(frame, partial)| run.join(frame, *partial))
        .count();
    written(&frames[..count], &mut run);
    count
}

fn marked(frames: Vec<Vec<u8>>, partial: bool) -> Vec<(Vec<u8>, bool)> {
    frames.into_iter().map(|frame| (frame, partial)).collect()
}

/// Two frames of a flow.
fn pair(flow: &Flow, partial: bool) -> [(Vec<u8>, bool); 2] {
    let payload = flow::payload(200, 1);
    let [a, b] = marked(flow.frames(&payload, 100, partial), partial)
        .try_into()
        .expect("there are two");
    [a, b]
}

/// Every kind of flow.
fn kinds() -> [Flow; 4] {
    [(false, false), (false, true), (true, false), (true, true)].map(|(six, tcp)| Flow::plain(six, tcp))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_belongs_together_is_joined_whole(
        flow in flows(),
        size in prop_oneof![1..100_usize, 1000..1500_usize, 1..9000_usize],
        count in 1..=64_usize,
        last in 0..9000_usize,
        push: bool,
        partials: u64,
        seed: u8,
    ) {
        let flow = Flow { flags: if push { ACK | PSH } else { ACK }, ..flow };
        let count = count.min((65_535 - (flow.headers() - flow.ip())) / size);
        let payload = flow::payload((count - 1) * size + last % size + 1, seed);
        let partial = |index: usize| partials >> (index % 64) & 1 != 0;
        let open = flow.frames(&payload, size, true);
        let complete = flow.frames(&payload, size, false);
        let frames: Vec<_> = open.into_iter().zip(complete).enumerate()
            .map(|(index, (open, complete))| if partial(index) { (open, true) } else { (complete, false) })
            .collect();
        prop_assert_eq!(joined(&frames), count);
    }

    #[test]
    fn whatever_is_joined_comes_back(
        flow in flows(),
        size in 1..300_usize,
        count in 2..6_usize,
        changes in proptest::collection::vec((0..6_usize, 0..170_usize, any::<u8>(), any::<bool>()), 0..3),
        partials: u8,
        seed: u8,
    ) {
        let flow = Flow { flags: ACK, ..flow };
        let payload = flow::payload(size * count, seed);
        let mut frames = Vec::new();
        for (index, mut frame) in flow.frames(&payload, size, false).into_iter().enumerate() {
            for (_, at, value, mend) in changes.iter().filter(|change| change.0 == index) {
                if let Some(byte) = frame.get_mut(*at) {
                    *byte = *value;
                }
                if *mend {
                    make_checksums(&mut frame);
                }
            }
            frames.push((frame, partials >> index & 1 != 0));
        }
        let mut rest = &frames[..];
        while let Some(((first, partial), further)) = rest.split_first() {
            rest = match Run::start(first, *partial) {
                Ok(_) => &rest[joined(rest)..],
                Err(Malformed) => further,
            };
        }
    }
}

#[test]
fn a_run_has_at_most_64_frames() {
    for flow in kinds() {
        let payload = flow::payload(100 * (LONGEST_RUN + 5), 1);
        assert_eq!(joined(&marked(flow.frames(&payload, 100, true), true)), LONGEST_RUN);
    }
}

#[test]
fn a_run_fits_an_ip_packet() {
    for flow in kinds() {
        let most = 65_535 - (flow.headers() - flow.ip());
        // 13 frames of 5000 bytes leave a few hundred.
        let rest = most - 13 * 5000;
        let mut payload = flow::payload(13 * 5000 + rest, 1);
        assert_eq!(joined(&marked(flow.frames(&payload, 5000, true), true)), 14);
        payload.push(0);
        assert_eq!(joined(&marked(flow.frames(&payload, 5000, true), true)), 13);
    }
}

#[test]
fn frames_of_any_size_begin_a_run() {
    for flow in kinds() {
        let payload = flow::payload(65_535 - (flow.headers() - flow.ip()), 1);
        let whole = flow.frame(0, 0, ACK, &payload, true);
        let next = flow.frame(1, payload.len(), ACK, &[1], true);
        assert_eq!(joined(&[(whole, true), (next, true)]), 1);
    }
}

#[test]
fn only_the_last_frame_is_shorter_and_none_is_longer() {
    for flow in kinds() {
        let piece = |index, before, length: usize| (flow.frame(index, before, ACK, &vec![1; length], true), true);
        assert_eq!(
            joined(&[
                piece(0, 0, 100),
                piece(1, 100, 100),
                piece(2, 200, 99),
                piece(3, 299, 99)
            ]),
            3
        );
        assert_eq!(joined(&[piece(0, 0, 100), piece(1, 100, 101)]), 1);
        assert_eq!(joined(&[piece(0, 0, 100), piece(1, 100, 0)]), 1);
        assert_eq!(joined(&[piece(0, 0, 0), piece(1, 0, 0)]), 1);
    }
}

#[test]
fn push_ends_a_run_and_other_flags_keep_a_frame_alone() {
    for six in [false, true] {
        let flow = Flow::plain(six, true);
        let piece = |index: usize, flags| (flow.frame(index, index * 10, flags, &[1; 10], true), true);
        assert_eq!(joined(&[piece(0, ACK), piece(1, ACK | PSH), piece(2, ACK)]), 2);
        assert_eq!(joined(&[piece(0, ACK | PSH), piece(1, ACK)]), 1);
        for flags in [ACK | FIN, ACK | SYN, ACK | RST, ACK | URG, ACK | ECE, ACK | CWR, 0, PSH] {
            assert_eq!(joined(&[piece(0, ACK), piece(1, flags)]), 1, "{flags:#x}");
            assert_eq!(joined(&[piece(0, flags), piece(1, ACK)]), 1, "{flags:#x}");
            assert_eq!(joined(&[piece(0, flags), piece(1, flags)]), 1, "{flags:#x}");
        }
    }
}

#[test]
fn counted_congestion_marks_keep_a_frame_alone() {
    // The third bit of the counter that CWR and ECE are the others of (RFC 9768).
    for six in [false, true] {
        let flow = Flow::plain(six, true);
        let marked = pair(&flow, true).map(|(mut frame, partial)| {
            frame[flow.transport() + 12] |= 1;
            (frame, partial)
        });
        assert_eq!(joined(&marked), 1);
    }
}

#[test]
fn a_gap_ends_a_run() {
    for six in [false, true] {
        let flow = Flow::plain(six, true);
        let piece = |index, before| (flow.frame(index, before, ACK, &[1; 10], true), true);
        assert_eq!(joined(&[piece(0, 0), piece(1, 10)]), 2);
        assert_eq!(joined(&[piece(0, 0), piece(1, 11)]), 1);
        assert_eq!(joined(&[piece(0, 0), piece(1, 0)]), 1);
    }
}

#[test]
fn ids_follow_or_mean_nothing() {
    for (tcp, atomic) in [(false, false), (false, true), (true, false), (true, true)] {
        let flow = Flow {
            id: u16::MAX,
            atomic,
            ..Flow::plain(false, tcp)
        };
        let piece = |index, before| (flow.frame(index, before, ACK, &[1; 10], true), true);
        assert_eq!(joined(&[piece(0, 0), piece(1, 10), piece(2, 20)]), 3);
        assert_eq!(joined(&[piece(0, 0), piece(2, 10)]), 1);
        let constant = joined(&[piece(0, 0), piece(0, 10), piece(0, 20)]);
        assert_eq!(constant, if atomic && !tcp { 3 } else { 1 });
    }
}

/// Everything a frame says but its place, size and checksums must be as in the first.
#[test]
fn any_other_difference_in_the_headers_keeps_frames_apart() {
    for mut flow in kinds() {
        flow.tags = vec![(true, 5), (false, 6)];
        // One bit does not make the second id the first.
        flow.id = 1001;
        flow.tcp_options = if flow.tcp {
            vec![[1, 1, 8, 10], [0, 0, 0, 1], [0, 0, 0, 2]]
        } else {
            Vec::new()
        };
        let [first, second] = pair(&flow, true);
        assert_eq!(joined(&[first.clone(), second.clone()]), 2);
        let checksum = flow.checksum()..flow.checksum() + 2;
        for at in (0..flow.headers()).filter(|at| !checksum.contains(at)) {
            for bit in 0..8 {
                let mut other = second.clone();
                other.0[at] ^= 1 << bit;
                make_checksums(&mut other.0);
                let is_push = flow.tcp && at == flow.transport() + 13 && 1 << bit == PSH;
                let is_ipv4_checksum = !flow.six && (flow.ip() + 10..flow.ip() + 12).contains(&at);
                let same = is_push || is_ipv4_checksum;
                assert_eq!(
                    joined(&[first.clone(), other]),
                    if same { 2 } else { 1 },
                    "byte {at}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn a_complete_checksum_must_be_right_to_join() {
    for flow in kinds() {
        let [first, second] = pair(&flow, false);
        assert_eq!(joined(&[first.clone(), second.clone()]), 2);
        let broken = |frame: &(Vec<u8>, bool)| {
            let mut frame = frame.clone();
            frame.0[flow.headers() + 7] ^= 4;
            frame
        };
        // Written as they are, so that whoever receives them sees that they are broken.
        assert_eq!(joined(&[broken(&first), second.clone()]), 1);
        assert_eq!(joined(&[first.clone(), broken(&second)]), 1);
        assert_eq!(joined(&[broken(&second), first.clone()]), 1);
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_alone() {
    for six in [false, true] {
        let flow = Flow::plain(six, false);
        let [first, second] = pair(&flow, false);
        let without = |frame: &(Vec<u8>, bool)| {
            let mut frame = frame.clone();
            frame.0[flow.checksum()..flow.checksum() + 2].fill(0);
            frame
        };
        assert_eq!(joined(&[without(&first), without(&second)]), 1);
        assert_eq!(joined(&[first, without(&second)]), 1);
        // Not even if the sum is right with it.
        let [first, second] = [0, 1].map(|index| (without_sum(&flow, index), false));
        assert_eq!(joined(&[without(&first), without(&second)]), 1);
        assert_eq!(joined(&[first, second]), 2);
    }
}

#[test]
fn a_broken_ipv4_header_is_not_made_good() {
    for (tcp, partial) in [(false, false), (false, true), (true, false), (true, true)] {
        let flow = Flow::plain(false, tcp);
        let [first, second] = pair(&flow, partial);
        let broken = |frame: &(Vec<u8>, bool)| {
            let mut frame = frame.clone();
            frame.0[flow.ip() + 10] ^= 1;
            frame
        };
        assert_eq!(joined(&[broken(&first), second.clone()]), 1);
        assert_eq!(joined(&[first, broken(&second)]), 1);
    }
}

#[test]
fn padding_keeps_a_frame_alone() {
    for flow in kinds() {
        for partial in [false, true] {
            let [first, second] = pair(&flow, partial);
            let padded = |frame: &(Vec<u8>, bool)| ([&frame.0[..], &[0; 3]].concat(), frame.1);
            assert_eq!(joined(&[padded(&first), second.clone()]), 1);
            assert_eq!(joined(&[first, padded(&second)]), 1);
        }
    }
}

#[test]
fn fragments_stay_alone() {
    for tcp in [false, true] {
        let flow = Flow {
            atomic: false,
            ..Flow::plain(false, tcp)
        };
        let fragments = pair(&flow, false).map(|(mut frame, partial)| {
            // They would verify, had they been whole.
            frame[flow.ip() + 6] |= 0x20;
            let checksum = ipv4_checksum(&frame, &flow);
            frame[flow.ip() + 10..flow.ip() + 12].copy_from_slice(&checksum.to_be_bytes());
            (frame, partial)
        });
        assert_eq!(joined(&fragments), 1);
        assert_eq!(Run::start(&fragments[0].0, true).map(|_| ()), Err(Malformed));
    }
}

fn ipv4_checksum(frame: &[u8], flow: &Flow) -> u16 {
    let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[flow.ip()..flow.transport()]).expect("it is one");
    header.to_header().calc_header_checksum()
}

#[test]
fn what_came_over_the_network_as_an_open_checksum_is_not_believed() {
    for flow in kinds() {
        let expected = flow.frame(0, 0, ACK, &[1; 10], true);
        let mut lies = expected.clone();
        lies[flow.checksum()..flow.checksum() + 2].copy_from_slice(&[0x12, 0x34]);
        let mut run = Run::start(&lies, true).expect("it is of the plain shape");
        let (head, replaced) = run.finish();
        assert_eq!([&head[10..], &lies[replaced..]].concat(), expected);
    }
}

#[test]
fn other_frames_are_written_as_they_are() {
    let arp = [&[0xff; 6][..], &[2; 6], &[8, 6, 0, 1], &[0; 26]].concat();
    for frame in [&arp[..], &arp[..13], &[]] {
        let mut run = Run::start(frame, false).expect("any frame begins a run");
        assert!(!run.join(frame, false));
        assert_eq!(run.finish(), (&[0; 10][..], 0));
        assert_eq!(Run::start(frame, true).map(|_| ()), Err(Malformed));
    }
}

#[test]
fn a_run_that_is_begun_anew_forgets_the_one_before() {
    let flow = Flow::plain(false, true);
    let [first, second] = pair(&flow, true);
    let mut run = Run::start(&first.0, true).expect("a run begins");
    assert!(run.join(&second.0, true));
    run.finish();
    assert_eq!(run.restart(&[0; 60], true), Err(Malformed));
    assert_eq!((run.frames(), run.finish()), (0, (&[0; 10][..], 0)));
    assert_eq!(run.restart(&first.0, true), Ok(()));
    assert!(run.join(&second.0, true));
    run.finish();
    assert_eq!(run.restart(&[0; 60], false), Ok(()));
    assert_eq!((run.frames(), run.finish()), (1, (&[0; 10][..], 0)));
    assert!(!run.join(&second.0, true));
    assert_eq!(run.restart(&[0; 60], true), Err(Malformed));
    assert_eq!((run.frames(), run.finish()), (0, (&[0; 10][..], 0)));
    assert!(!run.join(&second.0, true));
    let udp = Flow::plain(true, false).frame(0, 0, 0, &[3; 20], true);
    assert_eq!(run.restart(&udp, true), Ok(()));
    written(&[(udp, true)], &mut run);
}

#[test]
fn the_frame_that_follows_is_the_one_that_joins() {
    // The fuzz targets make long runs of it.
    for flow in kinds() {
        let first = flow.frame(0, 0, ACK, &[1; 10], false);
        let mut second = following(&first, None);
        make_checksums(&mut second);
        assert_eq!(second, flow.frame(1, 10, ACK, &[1; 10], false));
    }
}
