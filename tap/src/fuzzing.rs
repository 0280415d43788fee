//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use crate::{addresses, netlink, routes};

/// Input: datagrams of the kernel, each after a length of two bytes, in answer to request 1. Nothing that stands in one
/// makes its readers fail otherwise than by an error.
///
/// # Panics
/// It does.
pub fn netlink(mut input: &[u8]) {
    let mut answer = netlink::Answer::to(1);
    while let Some((length, rest)) = input.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        input = rest;
        if !matches!(answer.take(datagram), Ok(false)) {
            break;
        }
    }
    for reply in &answer.replies {
        if let Ok(link) = netlink::Link::read(reply) {
            // What is not text becomes U+FFFD, three bytes for one.
            assert!(link.name.len() <= 3 * reply.body().len());
        }
        let _ = addresses::Entry::read(reply);
        let _ = routes::Entry::read(reply);
    }
}

#[cfg(test)]
mod tests;
