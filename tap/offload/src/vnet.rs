//! What the kernel says of a frame: `struct virtio_net_hdr` (`linux/virtio_net.h`).
//!
//! ```text
//! 0       1          2         4          6            8             10
//! | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | frame
//! ```
//!
//! The numbers have the machine's own byte order, as a TAP device has them unless told otherwise.

use std::num::NonZeroU16;

use crate::checksum::{fold, sum};
use crate::shape::{Protocol, Shape, Version, put16};
use crate::{Malformed, Offload};

/// Bytes of a `virtio_net_hdr`.
pub const VNET_HEADER: usize = 10;

/// What the kernel's `virtio_net_hdr` says of `frame`.
///
/// A checksum that is open anywhere but in the TCP or UDP header of a frame of the plain shape is completed here, so
/// that nobody else has to know of such places.
///
/// # Errors
/// The header names a kind of super-frame that is not known or not of the plain shape, or a checksum's place outside the
/// frame.
pub fn read_vnet(header: &[u8; VNET_HEADER], frame: &mut [u8]) -> Result<Offload, Malformed> {
    let open = header[0] & NEEDS_CSUM != 0;
    let gso = header[1];
    if !open && gso == GSO_NONE {
        return Ok(Offload::default());
    }
    let size = u16::from_ne_bytes([header[4], header[5]]);
    let start = usize::from(u16::from_ne_bytes([header[6], header[7]]));
    let offset = usize::from(u16::from_ne_bytes([header[8], header[9]]));
    let shape = Shape::of(frame);
    let plain = shape.filter(|shape| shape.transport == start && shape.checksum_offset() == offset);

    if gso != GSO_NONE {
        let shape = if open { plain } else { shape }.ok_or(Malformed)?;
        let known = match (gso & !GSO_ECN, shape.protocol) {
            (GSO_TCPV4, Protocol::Tcp) => shape.version == Version::V4,
            (GSO_TCPV6, Protocol::Tcp) => shape.version == Version::V6,
            (GSO_UDP_L4, Protocol::Udp) => true,
            _ => false,
        };
        if !known || shape.payload == shape.end {
            return Err(Malformed);
        }
        return Ok(Offload {
            partial: open && !shape.has_options(),
            segment: Some(NonZeroU16::new(size).ok_or(Malformed)?),
        });
    }
    // Options may route the packet over another address than the pseudo-header's, which a receiver could not tell.
    if plain.is_some_and(|shape| !shape.has_options()) {
        return Ok(Offload {
            partial: true,
            segment: None,
        });
    }
    let at = start + offset;
    if at + 2 > frame.len() {
        return Err(Malformed);
    }
    let checksum = !fold(sum(&frame[start..]));
    // As the kernel does it for every protocol: to UDP zero means "none", to the others both mean zero.
    put16(frame, at, if checksum == 0 { u16::MAX } else { checksum });
    Ok(Offload::default())
}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum at `csum_start + csum_offset` is open.
pub(crate) const NEEDS_CSUM: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_NONE`: not a super-frame.
pub(crate) const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub(crate) const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub(crate) const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: datagrams of one size; not to be confused with `VIRTIO_NET_HDR_GSO_UDP` (3), which
/// stands for fragments of one datagram and which farlan does not ask for.
pub(crate) const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: the first frame may have CWR, which all super-frames here are cut for.
const GSO_ECN: u8 = 0x80;
