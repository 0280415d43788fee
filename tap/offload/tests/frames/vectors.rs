//! What the kernel makes of super-frames, from `vectors.txt`.

use farlan_offload::{Offload, Run, Segments, complete, read_vnet};

/// One super-frame and its frames.
struct Vector {
    name: &'static str,
    vnet: [u8; 10],
    whole: Vec<u8>,
    frames: Vec<Vec<u8>>,
}

fn vectors() -> Vec<Vector> {
    let (_, vectors) = include_str!("vectors.txt").split_once("\n\n").expect("there is a head");
    vectors.split("\n\n").map(vector).collect()
}

fn vector(text: &'static str) -> Vector {
    let mut lines = text.trim().lines();
    let mut next = |word: &str| lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let name = next("#").expect("a vector has a name");
    let numbers = next("vnet").expect("a virtio_net_hdr follows").split(' ');
    let numbers: Vec<u16> = numbers.map(|number| number.parse().expect("it is a number")).collect();
    let mut vnet = vec![numbers[0] as u8, numbers[1] as u8];
    vnet.extend(numbers[2..].iter().flat_map(|number| number.to_ne_bytes()));
    let whole = bytes(next("whole").expect("a super-frame follows"));
    Vector {
        name,
        vnet: vnet.try_into().expect("there are six numbers"),
        whole,
        frames: std::iter::from_fn(|| next("frame")).map(bytes).collect(),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("it is hex"))
        .collect()
}

#[test]
fn the_kernel_cuts_as_we_do() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 7);
    for Vector {
        name,
        vnet,
        whole,
        frames,
    } in vectors
    {
        let offload = read_vnet(&vnet, &mut whole.clone()).expect(name);
        assert!(offload.partial, "{name}");
        for partial in [false, true] {
            let segments = Segments::new(&whole, Offload { partial, ..offload }).expect(name);
            assert_eq!(segments.len(), frames.len(), "{name}");
            for (index, frame) in frames.iter().enumerate() {
                let mut segment = Vec::new();
                segments.write(index, 0, &mut segment);
                if partial {
                    assert_ne!(segment, *frame, "{name}");
                    complete(&mut segment).expect(name);
                }
                assert_eq!(segment, *frame, "{name}");
            }
        }
    }
}

#[test]
fn what_the_kernel_cut_is_joined_to_what_it_was() {
    for Vector {
        name,
        vnet,
        whole,
        frames,
    } in vectors()
    {
        let mut run = Run::start(&frames[0], false).expect(name);
        // CWR and FIN keep the frames that have them alone.
        let joined = frames[1..].iter().filter(|frame| run.join(frame, false)).count();
        if name.contains("CWR") {
            assert_eq!(joined, 0, "{name}");
            continue;
        }
        assert_eq!(joined, frames.len() - 1, "{name}");
        let (head, replaced) = run.finish();
        let mut written = head.to_vec();
        for frame in &frames {
            written.extend_from_slice(&frame[replaced..]);
        }
        assert_eq!(written, [&vnet[..], &whole].concat(), "{name}");
    }
}
