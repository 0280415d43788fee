//! Cutting a super-frame into frames, as the kernel's `tcp_gso_segment`, `__udp_gso_segment` and `inet_gso_segment` do.

use crate::checksum::{addresses, closed, fold, sum};
use crate::shape::{
    CWR, FIN, IPV4_CHECKSUM, IPV4_ID, IPV4_LENGTH, IPV6_HEADER, IPV6_LENGTH, PSH, Protocol, Shape, TCP_FLAGS,
    TCP_SEQUENCE, UDP_LENGTH, Version, at16, at32, put_length, put16,
};
use crate::{Malformed, Offload};

/// The frames that a super-frame stands for (TCP or UDP over IPv4 or IPv6, behind up to two VLAN tags); a frame that is
/// none stands for itself.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    /// How it is cut; `None` for a frame that is no super-frame.
    cut: Option<Cut>,
    len: usize,
}

/// What all segments share.
#[derive(Clone, Debug)]
struct Cut {
    shape: Shape,
    /// Bytes of payload in each segment but the last.
    size: usize,
    partial: bool,
    /// The sum of the pseudo-header but its length.
    addresses: u32,
    /// The sum of the IPv4 header but its length, id and checksum.
    ipv4: u32,
}

impl<'a> Segments<'a> {
    /// Prepares to cut a frame that [`read_vnet`](crate::read_vnet) has described.
    ///
    /// # Errors
    /// A super-frame that is not of the plain shape or has no payload.
    pub fn new(frame: &'a [u8], offload: Offload) -> Result<Self, Malformed> {
        let Some(size) = offload.segment else {
            return Ok(Self {
                frame,
                cut: None,
                len: 1,
            });
        };
        let shape = Shape::of(frame).ok_or(Malformed)?;
        let size = usize::from(size.get());
        let len = (shape.end - shape.payload).div_ceil(size);
        if len == 0 {
            return Err(Malformed);
        }
        let ipv4 = match shape.version {
            Version::V4 => {
                sum(&frame[shape.ip..shape.ip + IPV4_LENGTH])
                    + sum(&frame[shape.ip + IPV4_ID + 2..shape.ip + IPV4_CHECKSUM])
                    + sum(&frame[shape.ip + IPV4_CHECKSUM + 2..shape.transport])
            }
            Version::V6 => 0,
        };
        let cut = Cut {
            size,
            partial: offload.partial,
            addresses: addresses(frame, &shape),
            ipv4,
            shape,
        };
        Ok(Self {
            frame,
            cut: Some(cut),
            len,
        })
    }

    /// How many frames it stands for: at least one, at most one for each byte of payload.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the longest of the frames, from the Ethernet header on.
    pub fn longest(&self) -> usize {
        match &self.cut {
            Some(Cut { shape, size, .. }) => shape.end.min(shape.payload + size),
            None => self.frame.len(),
        }
    }

    /// Appends frame `index` without its first `skip` bytes, which may be up to all of both MAC addresses. Its checksum
    /// is left open if the super-frame's was, else complete.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len) or `skip` above 12.
    pub fn write(&self, index: usize, skip: usize, out: &mut Vec<u8>) {
        assert!(
            index < self.len && skip <= MACS,
            "segment {index} of {}, without {skip} bytes",
            self.len
        );
        let Some(cut) = &self.cut else {
            out.extend_from_slice(self.frame.get(skip..).unwrap_or_default());
            return;
        };
        let shape = &cut.shape;
        let from = shape.payload + index * cut.size;
        let payload = &self.frame[from..shape.end.min(from + cut.size)];
        let start = out.len();
        out.reserve(shape.payload - skip + payload.len());
        out.extend_from_slice(&self.frame[skip..shape.payload]);
        out.extend_from_slice(payload);
        // Everything that is written below is behind the MAC addresses.
        let segment = &mut out[start..];
        let shape = shape.without(skip, payload.len());

        match shape.version {
            Version::V4 => {
                let length = shape.end - shape.ip;
                let id = at16(self.frame, cut.shape.ip + IPV4_ID).wrapping_add(index as u16);
                put_length(segment, shape.ip + IPV4_LENGTH, length);
                put16(segment, shape.ip + IPV4_ID, id);
                let checksum = !fold(cut.ipv4 + length as u32 + u32::from(id));
                put16(segment, shape.ip + IPV4_CHECKSUM, checksum);
            }
            Version::V6 => put_length(segment, shape.ip + IPV6_LENGTH, shape.end - shape.ip - IPV6_HEADER),
        }
        let length = shape.end - shape.transport;
        match shape.protocol {
            Protocol::Tcp => {
                let before = (index * cut.size) as u32;
                let sequence = at32(self.frame, cut.shape.transport + TCP_SEQUENCE).wrapping_add(before);
                let at = shape.transport + TCP_SEQUENCE;
                segment[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
                let flags = &mut segment[shape.transport + TCP_FLAGS];
                if index > 0 {
                    *flags &= !CWR;
                }
                if index + 1 < self.len {
                    *flags &= !(FIN | PSH);
                }
            }
            Protocol::Udp => put_length(segment, shape.transport + UDP_LENGTH, length),
        }
        let open = fold(cut.addresses + length as u32);
        if cut.partial {
            put16(segment, shape.checksum(), open);
        } else {
            put16(segment, shape.checksum(), 0);
            let checksum = closed(segment, &shape);
            put16(segment, shape.checksum(), checksum);
        }
    }
}

impl Shape {
    /// The shape of a segment with `payload` bytes, `skip` bytes having been left out before it.
    fn without(&self, skip: usize, payload: usize) -> Self {
        Self {
            ip: self.ip - skip,
            transport: self.transport - skip,
            payload: self.payload - skip,
            end: self.payload - skip + payload,
            ..*self
        }
    }
}

/// Bytes of both MAC addresses.
const MACS: usize = 12;
