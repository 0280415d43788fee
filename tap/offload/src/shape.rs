//! Where the headers of a frame of the plain shape are.
//!
//! ```text
//! 0          6          12          14, 18 or 22 (`ip`)    `transport`        `payload`      `end`
//! | to       | from     | tags 0..2 | type | IPv4 or IPv6  | TCP or UDP       | payload      | padding
//! ```

/// The headers of one frame of the plain shape; `14 <= ip < transport < payload <= end <= frame.len()`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// First byte of the IP header.
    pub(crate) ip: usize,
    /// First byte of the TCP or UDP header.
    pub(crate) transport: usize,
    /// First byte behind the TCP or UDP header.
    pub(crate) payload: usize,
    /// Behind the last byte of the IP packet; what follows in the frame is Ethernet's padding.
    pub(crate) end: usize,
    pub(crate) version: Version,
    pub(crate) protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Shape {
    /// `None` if the frame is not of the plain shape.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let mut ip = ETHERNET;
        let mut ether_type = read16(frame, ip - 2)?;
        while ether_type == VLAN || ether_type == SERVICE_VLAN {
            ip += TAG;
            if ip > ETHERNET + 2 * TAG {
                return None;
            }
            ether_type = read16(frame, ip - 2)?;
        }
        let (version, transport, end, protocol) = match ether_type {
            IPV4 => {
                let header: &[u8; IPV4_HEADER] = frame.get(ip..)?.first_chunk()?;
                let length = usize::from(header[0] & 0x0f) * 4;
                if header[0] >> 4 != 4 || length < IPV4_HEADER {
                    return None;
                }
                // More fragments, or a fragment's offset.
                if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                    return None;
                }
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                (Version::V4, ip + length, ip + total, header[9])
            }
            IPV6 => {
                let header: &[u8; IPV6_HEADER] = frame.get(ip..)?.first_chunk()?;
                if header[0] >> 4 != 6 {
                    return None;
                }
                let transport = ip + IPV6_HEADER;
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                (Version::V6, transport, transport + length, header[6])
            }
            _ => return None,
        };
        let rest = frame.get(transport..end)?;
        let (protocol, header) = match protocol {
            TCP => (Protocol::Tcp, usize::from(rest.get(TCP_OFFSET)? >> 4) * 4),
            UDP => (Protocol::Udp, UDP_HEADER),
            _ => return None,
        };
        let shortest = match protocol {
            Protocol::Tcp => TCP_HEADER,
            Protocol::Udp => UDP_HEADER,
        };
        if header < shortest || header > rest.len() {
            return None;
        }
        if protocol == Protocol::Udp && usize::from(read16(rest, UDP_LENGTH)?) != rest.len() {
            return None;
        }
        Some(Self {
            ip,
            transport,
            payload: transport + header,
            end,
            version,
            protocol,
        })
    }

    /// Where in the frame the checksum of TCP or UDP is.
    pub(crate) fn checksum(&self) -> usize {
        self.transport + self.checksum_offset()
    }

    /// Where in the TCP or UDP header its checksum is.
    pub(crate) fn checksum_offset(&self) -> usize {
        match self.protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
        }
    }

    /// Whether the IP header has options.
    pub(crate) fn has_options(&self) -> bool {
        self.version == Version::V4 && self.transport - self.ip > IPV4_HEADER
    }
}

/// A number of 16 bits in network order.
pub(crate) fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of 16 bits in network order, at a place that a [`Shape`] has checked.
pub(crate) fn at16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A number of 32 bits in network order, at a place that a [`Shape`] has checked.
pub(crate) fn at32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Stores a number of 16 bits in network order at a place that a [`Shape`] has checked.
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Stores a length that a [`Shape`] or the limits of a run keep below 65,536.
pub(crate) fn put_length(bytes: &mut [u8], at: usize, length: usize) {
    debug_assert!(length <= usize::from(u16::MAX));
    put16(bytes, at, length as u16);
}

/// Bytes of the longest headers of the plain shape: Ethernet, two tags, IPv4 and TCP with all options.
pub(crate) const LONGEST_HEADERS: usize = ETHERNET + 2 * TAG + 60 + 60;

const ETHERNET: usize = 14;
const TAG: usize = 4;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Bytes of an IPv4 header without options, and where its fields are.
pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV4_LENGTH: usize = 2;
pub(crate) const IPV4_ID: usize = 4;
pub(crate) const IPV4_FRAGMENT: usize = 6;
pub(crate) const IPV4_CHECKSUM: usize = 10;
pub(crate) const IPV4_ADDRESSES: usize = 12;

/// Bytes of an IPv6 header, and where its fields are.
pub(crate) const IPV6_HEADER: usize = 40;
pub(crate) const IPV6_LENGTH: usize = 4;
pub(crate) const IPV6_ADDRESSES: usize = 8;

/// Bytes of a TCP header without options, and where its fields are.
const TCP_HEADER: usize = 20;
pub(crate) const TCP_SEQUENCE: usize = 4;
pub(crate) const TCP_OFFSET: usize = 12;
pub(crate) const TCP_FLAGS: usize = 13;

/// Bytes of a UDP header, and where its length is.
const UDP_HEADER: usize = 8;
pub(crate) const UDP_LENGTH: usize = 4;

/// The flags of TCP that are changed or looked at.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;
