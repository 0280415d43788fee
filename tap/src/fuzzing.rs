//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use crate::{
    addresses,
    dbus::{HEAD, answer_to, length},
    hosts::with_block,
    listener::{Report, Watch},
    netlink,
    requests::{Answer, HostName, LONGEST, Request},
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

/// Input: what a bus sends: messages, one behind the other. Whatever it is, an answer is found in it or not.
pub fn bus(mut input: &[u8]) {
    while let Some(head) = input.first_chunk::<HEAD>() {
        let Some(length) = length(head) else { return };
        let message = input.get(..length).unwrap_or(input);
        let _ = answer_to(1, message);
        input = input.get(length..).unwrap_or_default();
    }
}

/// Input: a hosts file, behind a byte that says how many names are to be written into it. What comes out again is what was
/// there.
///
/// # Panics
/// It is not.
pub fn hosts(input: &[u8]) {
    let Some((count, file)) = input.split_first() else {
        return;
    };
    let name = |number: u8| HostName {
        ipv4: Some([10, 0, 0, number].into()),
        ipv6: None,
        name: format!("n{number}.lan.farlan.internal"),
    };
    let names: Vec<_> = (1..=count % 8).map(name).collect();
    // What an earlier run, or somebody who plays it, left goes first.
    let file = with_block(file, OWNER, &[]);
    let with = with_block(&file, OWNER, &names);
    assert!(with.starts_with(&file));
    assert_eq!(with_block(&with, OWNER, &[]), file);
}

const OWNER: &str = "wcsghuf2mb";

/// Input: a message between the daemon and the card helper, or the listener. What is read of it, written anew, is what stood there, so
/// nothing can be hidden in one; and whatever it says can be shown. Whether it was read as a request, an answer or what to watch.
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
    let (watch, report) = (Watch::parse(input), Report::parse(input));
    if let Ok(watch) = &watch {
        assert_eq!(watch.to_bytes(), input);
    }
    if let Ok(report) = &report {
        assert_eq!(report.to_bytes(), input);
    }
    let is_read = request.is_ok() || answer.is_ok() || watch.is_ok();
    assert!(!is_read || input.len() <= LONGEST);
    is_read
}

#[cfg(test)]
mod tests;
