//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use super::streams::framing::{Incoming, Outgoing};

/// Input: whether a preface is awaited, in how long pieces the bytes come, and what comes by a stream. However it is cut, the
/// same datagrams come out, and written anew they are what stood there.
///
/// # Panics
/// They are not.
pub fn stream(input: &[u8]) {
    let Some((&[how, piece], bytes)) = input.split_first_chunk::<2>() else {
        return;
    };
    let new = || {
        if how & 1 == 0 {
            Incoming::default()
        } else {
            Incoming::with_preface()
        }
    };
    let read = |piece: usize| {
        let (mut incoming, mut datagrams) = (new(), Vec::new());
        let mut pieces = bytes.chunks(piece);
        let result = pieces.try_for_each(|piece| incoming.take(piece, |datagram| datagrams.push(datagram.to_vec())));
        let awaits = incoming.awaits_preface();
        (datagrams, awaits, result)
    };
    let (datagrams, awaits, result) = read(bytes.len().max(1));
    assert_eq!(read(usize::from(piece) + 1), (datagrams.clone(), awaits, result));
    let mut outgoing = if how & 1 == 0 || awaits {
        Outgoing::default()
    } else {
        Outgoing::with_preface()
    };
    assert!(datagrams.iter().all(|datagram| outgoing.push(datagram)));
    if result.is_ok() {
        assert!(bytes.starts_with(outgoing.waiting()));
    }
}
