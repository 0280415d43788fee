//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use crate::{
    addresses, netlink,
    requests::{Answer, LONGEST, Request},
    routes,
};

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

/// Input: a message between the daemon and the card helper. What is read of it, written anew, is what stood there, so
/// nothing can be hidden in one; and whatever it says can be shown. Whether it was read as a request or as an answer.
///
/// # Panics
/// It is not.
pub fn requests(input: &[u8]) -> bool {
    let (request, answer) = (Request::parse(input), Answer::parse(input));
    if let Ok(request) = &request {
        assert_eq!(request.to_bytes(), input);
    }
    if let Ok(answer) = &answer {
        assert_eq!(answer.to_bytes(), input);
        if let Answer::Error(error) = answer {
            assert!(!error.to_string().is_empty());
        }
    }
    let is_read = request.is_ok() || answer.is_ok();
    assert!(!is_read || input.len() <= LONGEST);
    is_read
}

#[cfg(test)]
mod tests;
