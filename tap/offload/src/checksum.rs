//! The Internet's checksum (RFC 1071).

use crate::Malformed;
use crate::shape::{IPV4_ADDRESSES, IPV6_ADDRESSES, Protocol, Shape, Version, put16};

/// Fills in an open TCP or UDP checksum, for cards without offloads. What the field held before does not matter.
///
/// # Errors
/// The frame is not of the plain shape.
pub fn complete(frame: &mut [u8]) -> Result<(), Malformed> {
    let shape = Shape::of(frame).ok_or(Malformed)?;
    put16(frame, shape.checksum(), 0);
    let checksum = closed(frame, &shape);
    put16(frame, shape.checksum(), checksum);
    Ok(())
}

/// The complete checksum of a frame whose checksum's field is zero.
pub(crate) fn closed(frame: &[u8], shape: &Shape) -> u16 {
    let length = shape.end - shape.transport;
    let total = addresses(frame, shape) + length as u32 + sum(&frame[shape.transport..shape.end]);
    match !fold(total) {
        // Zero would say that a datagram has no checksum.
        0 if shape.protocol == Protocol::Udp => u16::MAX,
        checksum => checksum,
    }
}

/// Whether the complete checksum of TCP or UDP is right; one that is not there is not.
pub(crate) fn verifies(frame: &[u8], shape: &Shape) -> bool {
    let at = shape.checksum();
    if shape.protocol == Protocol::Udp && frame[at..at + 2] == [0, 0] {
        return false;
    }
    let length = shape.end - shape.transport;
    let total = addresses(frame, shape) + length as u32 + sum(&frame[shape.transport..shape.end]);
    fold(total) == u16::MAX
}

/// The sum of the pseudo-header without its length, not folded. `frame` may be the headers alone.
pub(crate) fn addresses(frame: &[u8], shape: &Shape) -> u32 {
    let (from, to) = match shape.version {
        Version::V4 => (shape.ip + IPV4_ADDRESSES, shape.ip + IPV4_ADDRESSES + 8),
        Version::V6 => (shape.ip + IPV6_ADDRESSES, shape.ip + IPV6_ADDRESSES + 32),
    };
    let protocol = match shape.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    sum(&frame[from..to]) + protocol
}

/// The ones' complement sum of words of 16 bits in network order; an odd last byte is followed by a zero.
///
/// The sum does not depend on the order of the bytes in a word until it is read, so that wide words of the machine's
/// own order can be added (RFC 1071, 2 B), which the compiler makes vectors of.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    total += u64::from(u32::from_ne_bytes(last));
    total = (total & 0xffff_ffff) + (total >> 32);
    total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
    u32::from(u16::from_be(fold(total as u32)))
}

/// Carries what is above 16 bits back in.
pub(crate) fn fold(total: u32) -> u16 {
    let total = (total & 0xffff) + (total >> 16);
    (total + (total >> 16)) as u16
}
