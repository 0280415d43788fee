//! Making one super-frame of frames that follow each other, as the kernel's GRO does: the inverse of cutting.

use crate::Malformed;
use crate::checksum::{addresses, fold, sum, verifies};
use crate::shape::{
    ACK, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_ID, IPV4_LENGTH, IPV6_HEADER, IPV6_LENGTH, LONGEST_HEADERS, PSH, Protocol,
    Shape, TCP_FLAGS, TCP_OFFSET, TCP_SEQUENCE, UDP_LENGTH, Version, at16, at32, put_length, put16,
};
use crate::vnet::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VNET_HEADER};

/// Frames that the card takes as one: a run begins with one frame and takes further ones of the same flow.
///
/// Payloads are not copied: what is to be written is what [`finish`](Self::finish) gives and then, of each frame of the
/// run in its order, what is behind the headers. A frame that [`join`](Self::join) refuses ends the run, or the frames
/// of a flow would change their order.
#[derive(Clone, Debug)]
pub struct Run {
    /// The `virtio_net_hdr` and the headers of the first frame.
    head: [u8; VNET_HEADER + LONGEST_HEADERS],
    /// Where in the first frame things are; `None` if it is written as it is.
    shape: Option<Shape>,
    /// Whether the checksum of the first frame is open.
    partial: bool,
    /// Whether further frames may join.
    open: bool,
    /// Whether the last frame had PSH.
    push: bool,
    frames: usize,
    /// Bytes of payload of all frames.
    payload: usize,
}

impl Run {
    /// Begins with a frame, whose checksum is open if it is `partial`.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub fn start(frame: &[u8], partial: bool) -> Result<Self, Malformed> {
        let mut run = Self::default();
        run.restart(frame, partial)?;
        Ok(run)
    }

    /// Begins anew with a frame, whose checksum is open if it is `partial`.
    ///
    /// A frame of any shape whose checksum is complete is taken; one that nothing may be joined to, or whose checksum is
    /// wrong, stays alone and is written as it is.
    ///
    /// # Errors
    /// The checksum is open and the frame is not of the plain shape, so that nobody knows where its checksum is. The run
    /// is then empty.
    pub fn restart(&mut self, frame: &[u8], partial: bool) -> Result<(), Malformed> {
        self.head[..VNET_HEADER].fill(0);
        self.shape = None;
        self.frames = 0;
        self.partial = partial;
        self.open = false;
        self.push = false;
        match Shape::of(frame) {
            Some(shape) => {
                self.open = may_be_first(frame, &shape, partial);
                if partial || self.open {
                    self.head[VNET_HEADER..VNET_HEADER + shape.payload].copy_from_slice(&frame[..shape.payload]);
                    self.payload = shape.end - shape.payload;
                    self.shape = Some(shape);
                }
            }
            None if partial => return Err(Malformed),
            None => {}
        }
        self.frames = 1;
        Ok(())
    }

    /// Whether `frame`, whose checksum is open if it is `partial`, continues the run; it is then part of it.
    ///
    /// It does if cutting the super-frame gives it back: its headers differ from the first frame's only in what follows
    /// from its place. The one exception is the id of datagrams that may not be fragmented, which means nothing (RFC
    /// 6864, 4.1): senders that keep it constant are welcome too. A complete checksum must be right.
    pub fn join(&mut self, frame: &[u8], partial: bool) -> bool {
        let Some(shape) = self.shape.filter(|_| self.open) else {
            return false;
        };
        let first = &self.head[VNET_HEADER..VNET_HEADER + shape.payload];
        // The first frame's payload has the size of all but the last; a frame with another size has been the last.
        let size = self.size(&shape);
        let Some(payload) = frame
            .len()
            .checked_sub(shape.payload)
            .filter(|bytes| (1..=size).contains(bytes))
        else {
            return false;
        };
        if self.frames == LONGEST_RUN || shape.payload - shape.ip + self.payload + payload > LONGEST_PACKET {
            return false;
        }
        // The frame's shape is the first's if the fields that make it are the same, apart from the lengths.
        let end = frame.len();
        let same = |from: usize, to: usize| first[from..to] == frame[from..to];
        let transport = shape.transport;
        let follows = match shape.version {
            Version::V4 => {
                let ip = shape.ip;
                same(0, ip + IPV4_LENGTH)
                    && usize::from(at16(frame, ip + IPV4_LENGTH)) == end - ip
                    && self.id_follows(at16(frame, ip + IPV4_ID), &shape)
                    && same(ip + IPV4_FRAGMENT, ip + IPV4_CHECKSUM)
                    && same(ip + IPV4_CHECKSUM + 2, transport + 4)
                    && sum(&frame[ip..transport]) == u32::from(u16::MAX)
            }
            Version::V6 => {
                let ip = shape.ip;
                same(0, ip + IPV6_LENGTH)
                    && usize::from(at16(frame, ip + IPV6_LENGTH)) == end - transport
                    && same(ip + IPV6_LENGTH + 2, transport + 4)
            }
        };
        if !follows {
            return false;
        }
        let push = match shape.protocol {
            Protocol::Tcp => {
                let sequence = at32(first, transport + TCP_SEQUENCE).wrapping_add(self.payload as u32);
                let flags = frame[transport + TCP_FLAGS];
                let follows = at32(frame, transport + TCP_SEQUENCE) == sequence
                    && same(transport + TCP_SEQUENCE + 4, transport + TCP_FLAGS)
                    && flags & !PSH == ACK
                    && same(transport + TCP_FLAGS + 1, shape.checksum())
                    && same(shape.checksum() + 2, shape.payload);
                if !follows {
                    return false;
                }
                flags & PSH != 0
            }
            Protocol::Udp => {
                if usize::from(at16(frame, transport + UDP_LENGTH)) != end - transport {
                    return false;
                }
                false
            }
        };
        if !partial && !verifies(frame, &Shape { end, ..shape }) {
            return false;
        }
        self.frames += 1;
        self.payload += payload;
        self.push = push;
        self.open = !push && payload == size;
        true
    }

    /// How many frames the run has.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The `virtio_net_hdr` and the headers as they are to be written, and how many bytes of each frame of the run they
    /// stand for. These are none where the only frame is written as it is.
    pub fn finish(&mut self) -> (&[u8], usize) {
        let Some(shape) = self.shape.filter(|_| self.partial || self.frames > 1) else {
            return (&self.head[..VNET_HEADER], 0);
        };
        let (vnet, head) = self.head.split_at_mut(VNET_HEADER);
        let end = shape.payload + self.payload;
        vnet[0] = NEEDS_CSUM;
        vnet[6..8].copy_from_slice(&(shape.transport as u16).to_ne_bytes());
        vnet[8..10].copy_from_slice(&(shape.checksum_offset() as u16).to_ne_bytes());
        if self.frames > 1 {
            let size = shape.end - shape.payload;
            vnet[1] = match (shape.protocol, shape.version) {
                (Protocol::Tcp, Version::V4) => GSO_TCPV4,
                (Protocol::Tcp, Version::V6) => GSO_TCPV6,
                (Protocol::Udp, _) => GSO_UDP_L4,
            };
            vnet[2..4].copy_from_slice(&(shape.payload as u16).to_ne_bytes());
            vnet[4..6].copy_from_slice(&(size as u16).to_ne_bytes());
            match shape.version {
                Version::V4 => {
                    put_length(head, shape.ip + IPV4_LENGTH, end - shape.ip);
                    put16(head, shape.ip + IPV4_CHECKSUM, 0);
                    let checksum = !fold(sum(&head[shape.ip..shape.transport]));
                    put16(head, shape.ip + IPV4_CHECKSUM, checksum);
                }
                Version::V6 => put_length(head, shape.ip + IPV6_LENGTH, end - shape.ip - IPV6_HEADER),
            }
            match shape.protocol {
                Protocol::Tcp if self.push => head[shape.transport + TCP_FLAGS] |= PSH,
                Protocol::Tcp => {}
                Protocol::Udp => put_length(head, shape.transport + UDP_LENGTH, end - shape.transport),
            }
        }
        // What the field held came over the network, and the kernel would believe it.
        let open = fold(addresses(head, &shape) + (end - shape.transport) as u32);
        put16(head, shape.checksum(), open);
        (&self.head[..VNET_HEADER + shape.payload], shape.payload)
    }

    /// Bytes of payload of the first frame.
    fn size(&self, shape: &Shape) -> usize {
        shape.end - shape.payload
    }

    /// Whether an IPv4 id is that of the next frame.
    fn id_follows(&self, id: u16, shape: &Shape) -> bool {
        let first = &self.head[VNET_HEADER..];
        let first_id = at16(first, shape.ip + IPV4_ID);
        let atomic = at16(first, shape.ip + IPV4_FRAGMENT) & DONT_FRAGMENT != 0;
        id == first_id.wrapping_add(self.frames as u16) || (id == first_id && atomic && shape.protocol == Protocol::Udp)
    }
}

impl Default for Run {
    /// An empty run, to be [restarted](Self::restart); nothing joins it.
    fn default() -> Self {
        Self {
            head: [0; VNET_HEADER + LONGEST_HEADERS],
            shape: None,
            partial: false,
            open: false,
            push: false,
            frames: 0,
            payload: 0,
        }
    }
}

/// Whether other frames may be joined to this one.
fn may_be_first(frame: &[u8], shape: &Shape, partial: bool) -> bool {
    // Padding would come to lie within the payload.
    if shape.end != frame.len() || shape.payload == shape.end {
        return false;
    }
    if shape.protocol == Protocol::Tcp
        && (frame[shape.transport + TCP_FLAGS] != ACK || frame[shape.transport + TCP_OFFSET] & 0x0f != 0)
    {
        return false;
    }
    // The header's checksum is made anew, which must not make a broken one good.
    if shape.version == Version::V4 && sum(&frame[shape.ip..shape.transport]) != u32::from(u16::MAX) {
        return false;
    }
    partial || verifies(frame, shape)
}

/// Frames in a run: what the kernel takes of datagrams in one super-frame (`UDP_MAX_SEGMENTS`, which was 64 until
/// Linux 6.8).
pub const LONGEST_RUN: usize = 64;

/// Bytes of the IP packet of a run, which its length field holds.
const LONGEST_PACKET: usize = 65_535;

const DONT_FRAGMENT: u16 = 0x4000;
