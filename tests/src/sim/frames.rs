//! Ethernet frames as a kernel writes and reads them: ARP, neighbour discovery and ping.
//!
//! Written apart from the engine's own parsing on purpose, since the simulator judges the engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A MAC address as it stands on the wire.
pub type MacAddress = [u8; 6];

/// The MAC address of everybody.
pub const BROADCAST: MacAddress = [0xff; 6];

/// ARP operation "who has".
pub const ARP_REQUEST: u16 = 1;

/// ARP operation "is at".
pub const ARP_REPLY: u16 = 2;

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// [`ARP_REQUEST`] or [`ARP_REPLY`].
    pub operation: u16,
    /// Who speaks.
    pub sender: (MacAddress, Ipv4Addr),
    /// Whom it is about.
    pub target: (MacAddress, Ipv4Addr),
}

/// A neighbour solicitation or advertisement (RFC 4861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Source of the IPv6 packet; unspecified in duplicate address detection.
    pub source: Ipv6Addr,
    /// Destination of the IPv6 packet.
    pub destination: Ipv6Addr,
    /// The address asked for or told of.
    pub target: Ipv6Addr,
    /// The link-layer address option, if there is one.
    pub link_layer: Option<MacAddress>,
}

/// An ICMP or ICMPv6 echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is the request.
    pub request: bool,
    /// Source of the IP packet.
    pub source: IpAddr,
    /// Destination of the IP packet.
    pub destination: IpAddr,
    /// What the request carries and the reply repeats.
    pub token: u64,
}

/// What a frame carries, as far as the simulated kernel understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// ARP.
    Arp(Arp),
    /// A neighbour solicitation.
    Solicitation(Neighbour),
    /// A neighbour advertisement.
    Advertisement(Neighbour),
    /// A ping or its answer.
    Echo(Echo),
    /// Anything else.
    Other,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802 local experimental EtherType 1: no engine knows what is inside.
const ETHERTYPE_EXPERIMENTAL: u16 = 0x88b5;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// `destination 6 | source 6 | EtherType 2 | payload`.
pub fn ethernet(destination: MacAddress, source: MacAddress, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A frame of an experimental EtherType with a unique number and `length` bytes of filling.
pub fn payload_frame(destination: MacAddress, source: MacAddress, number: u64, length: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend((0..length).map(|index| (index as u8) ^ (number as u8)));
    ethernet(destination, source, ETHERTYPE_EXPERIMENTAL, &payload)
}

/// The UDP port of [`datagram_frame`], which the lab opens on networks of strangers.
pub(crate) const DATAGRAM_PORT: u16 = 9;

/// A UDP datagram with a unique number and `length` bytes of filling between the link-local IPv6 addresses that follow from
/// the MACs; to all nodes if the destination is a group. Strangers are let in with that.
pub fn datagram_frame(destination: MacAddress, source: MacAddress, number: u64, length: usize) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let [from, to] = [source, destination]
        .map(|[a, b, c, d, e, f]| Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]));
    let to = if destination[0] & 1 == 1 { ALL_NODES } else { to };
    let mut message = [DATAGRAM_PORT.to_be_bytes(), DATAGRAM_PORT.to_be_bytes()].concat();
    message.extend_from_slice(&((16 + length) as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&number.to_be_bytes());
    message.extend((0..length).map(|index| (index as u8) ^ (number as u8)));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(message.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[UDP, 64]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(&message);
    ethernet(destination, source, ETHERTYPE_IPV6, &packet)
}

/// A UDP broadcast over IPv4 to a port, with a unique number and `length` bytes of filling.
pub fn broadcast_to_port(source: MacAddress, port: u16, number: u64, length: usize) -> Vec<u8> {
    let mut message = [port.to_be_bytes(), port.to_be_bytes()].concat();
    message.extend_from_slice(&((16 + length) as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&number.to_be_bytes());
    message.extend((0..length).map(|index| (index as u8) ^ (number as u8)));
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&((20 + message.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    packet.extend_from_slice(&message);
    ethernet(BROADCAST, source, ETHERTYPE_IPV4, &packet)
}

/// An ARP packet in a frame: `1 | 0x0800 | 6 | 4 | operation 2 | sender 6 + 4 | target 6 + 4`.
pub fn arp(destination: MacAddress, source: MacAddress, packet: &Arp) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend_from_slice(&packet.operation.to_be_bytes());
    for (mac, ip) in [packet.sender, packet.target] {
        body.extend_from_slice(&mac);
        body.extend_from_slice(&ip.octets());
    }
    ethernet(destination, source, ETHERTYPE_ARP, &body)
}

/// A neighbour solicitation with the source's link-layer address option, unless the source is unspecified.
pub fn neighbour_solicitation(destination: MacAddress, source: MacAddress, packet: &Neighbour) -> Vec<u8> {
    neighbour(destination, source, 135, [0; 4], 1, packet)
}

/// A neighbour advertisement, solicited and overriding, with the target's link-layer address option.
pub fn neighbour_advertisement(destination: MacAddress, source: MacAddress, packet: &Neighbour) -> Vec<u8> {
    neighbour(destination, source, 136, [0x60, 0, 0, 0], 2, packet)
}

fn neighbour(
    destination: MacAddress,
    source: MacAddress,
    kind: u8,
    flags: [u8; 4],
    option: u8,
    packet: &Neighbour,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&flags);
    message.extend_from_slice(&packet.target.octets());
    if let Some(mac) = packet.link_layer {
        message.extend_from_slice(&[option, 1]);
        message.extend_from_slice(&mac);
    }
    ethernet(
        destination,
        source,
        ETHERTYPE_IPV6,
        &ipv6(packet.source, packet.destination, 255, message),
    )
}

/// An ICMP echo with `token` in its first 8 data bytes and 48 bytes of filling, as `ping` sends by default.
pub fn echo4(
    destination: MacAddress,
    source: MacAddress,
    from: Ipv4Addr,
    to: Ipv4Addr,
    request: bool,
    token: u64,
) -> Vec<u8> {
    let mut message = echo_message(if request { 8 } else { 0 }, token);
    let sum = checksum([&message[..]]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = (20 + message.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&(token as u16).to_be_bytes());
    packet.extend_from_slice(&[0x40, 0, 64, ICMP, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum([&packet[..]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&message);
    ethernet(destination, source, ETHERTYPE_IPV4, &packet)
}

/// An ICMPv6 echo, otherwise like [`echo4`].
pub fn echo6(
    destination: MacAddress,
    source: MacAddress,
    from: Ipv6Addr,
    to: Ipv6Addr,
    request: bool,
    token: u64,
) -> Vec<u8> {
    let message = echo_message(if request { 128 } else { 129 }, token);
    ethernet(destination, source, ETHERTYPE_IPV6, &ipv6(from, to, 64, message))
}

fn echo_message(kind: u8, token: u64) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&((token >> 16) as u16).to_be_bytes());
    message.extend_from_slice(&(token as u16).to_be_bytes());
    message.extend_from_slice(&token.to_be_bytes());
    message.extend(0x10..0x40);
    message
}

/// An IPv6 packet around an ICMPv6 message, whose checksum (bytes 2 and 3) is filled in.
fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, hops: u8, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum6(source, destination, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(message.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[ICMPV6, hops]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(&message);
    packet
}

fn checksum6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    checksum([
        &source.octets()[..],
        &destination.octets(),
        &length,
        &[0, 0, 0, ICMPV6],
        message,
    ])
}

/// The Internet checksum (RFC 1071) over parts of even length, the last of which may be odd.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&byte| u64::from(byte));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Destination MAC, source MAC and contents of a frame; nothing if it is shorter than an Ethernet header.
///
/// A packet with a wrong checksum or length counts as [`Packet::Other`], as a kernel drops it.
pub fn parse(frame: &[u8]) -> Option<(MacAddress, MacAddress, Packet)> {
    let destination = array(frame, 0)?;
    let source = array(frame, 6)?;
    let ethertype = u16::from_be_bytes(array(frame, 12)?);
    let body = &frame[14..];
    let packet = match ethertype {
        ETHERTYPE_ARP => parse_arp(body),
        ETHERTYPE_IPV4 => parse_ipv4(body),
        ETHERTYPE_IPV6 => parse_ipv6(body),
        _ => None,
    };
    Some((destination, source, packet.unwrap_or(Packet::Other)))
}

/// The source address a frame claims in its IP header, ARP sender or neighbour discovery source, if it has any.
pub(super) fn claimed_source(frame: &[u8]) -> Option<IpAddr> {
    let body = frame.get(14..)?;
    match u16::from_be_bytes(array(frame, 12)?) {
        ETHERTYPE_ARP => Some(IpAddr::V4(array::<4>(body, 14)?.into())),
        ETHERTYPE_IPV4 => Some(IpAddr::V4(array::<4>(body, 12)?.into())),
        ETHERTYPE_IPV6 => Some(IpAddr::V6(array::<16>(body, 8)?.into())),
        _ => None,
    }
}

fn parse_arp(body: &[u8]) -> Option<Packet> {
    if body.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    Some(Packet::Arp(Arp {
        operation: u16::from_be_bytes(array(body, 6)?),
        sender: (array(body, 8)?, array::<4>(body, 14)?.into()),
        target: (array(body, 18)?, array::<4>(body, 24)?.into()),
    }))
}

fn parse_ipv4(body: &[u8]) -> Option<Packet> {
    let header = body.get(..20)?;
    let length = usize::from(u16::from_be_bytes(array(body, 2)?));
    let message = body.get(20..length)?;
    if header[0] != 0x45 || header[9] != ICMP || checksum([header]) != 0 || checksum([message]) != 0 {
        return None;
    }
    let request = match message.first()? {
        8 => true,
        0 => false,
        _ => return None,
    };
    Some(Packet::Echo(Echo {
        request,
        source: IpAddr::V4(array::<4>(header, 12)?.into()),
        destination: IpAddr::V4(array::<4>(header, 16)?.into()),
        token: u64::from_be_bytes(array(message, 8)?),
    }))
}

fn parse_ipv6(body: &[u8]) -> Option<Packet> {
    let length = usize::from(u16::from_be_bytes(array(body, 4)?));
    let source: Ipv6Addr = array::<16>(body, 8)?.into();
    let destination: Ipv6Addr = array::<16>(body, 24)?.into();
    let message = body.get(40..40 + length)?;
    if body[0] >> 4 != 6 || body[6] != ICMPV6 || checksum6(source, destination, message) != 0 {
        return None;
    }
    let kind = *message.first()?;
    match kind {
        128 | 129 => Some(Packet::Echo(Echo {
            request: kind == 128,
            source: source.into(),
            destination: destination.into(),
            token: u64::from_be_bytes(array(message, 8)?),
        })),
        135 | 136 => {
            let option = if kind == 135 { 1 } else { 2 };
            let link_layer = (message.get(24..26) == Some(&[option, 1]))
                .then(|| array(message, 26))
                .flatten();
            let neighbour = Neighbour {
                source,
                destination,
                target: array::<16>(message, 8)?.into(),
                link_layer,
            };
            // RFC 4861 §6.1: a hop limit of 255 proves that no router passed the packet on.
            let valid = body[7] == 255;
            valid.then_some(if kind == 135 {
                Packet::Solicitation(neighbour)
            } else {
                Packet::Advertisement(neighbour)
            })
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddress = [2, 0, 0, 0, 0, 1];
    const B: MacAddress = [2, 0, 0, 0, 0, 2];

    #[test]
    fn what_is_written_is_read_back() {
        let ip4 = |n| Ipv4Addr::new(10, 64, 0, n);
        let ip6 = |n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n);
        let question = Arp {
            operation: ARP_REQUEST,
            sender: (A, ip4(1)),
            target: ([0; 6], ip4(2)),
        };
        assert_eq!(
            parse(&arp(BROADCAST, A, &question)),
            Some((BROADCAST, A, Packet::Arp(question)))
        );
        let neighbour = Neighbour {
            source: ip6(1),
            destination: ip6(2),
            target: ip6(2),
            link_layer: Some(A),
        };
        assert_eq!(
            parse(&neighbour_solicitation(B, A, &neighbour)),
            Some((B, A, Packet::Solicitation(neighbour)))
        );
        assert_eq!(
            parse(&neighbour_advertisement(B, A, &neighbour)),
            Some((B, A, Packet::Advertisement(neighbour)))
        );
        for request in [true, false] {
            let echo = Echo {
                request,
                source: ip4(1).into(),
                destination: ip4(2).into(),
                token: 0x0102_0304_0506,
            };
            let frame = echo4(B, A, ip4(1), ip4(2), request, echo.token);
            assert_eq!(parse(&frame), Some((B, A, Packet::Echo(echo))));
            let echo = Echo {
                source: ip6(1).into(),
                destination: ip6(2).into(),
                ..echo
            };
            let frame = echo6(B, A, ip6(1), ip6(2), request, echo.token);
            assert_eq!(parse(&frame), Some((B, A, Packet::Echo(echo))));
        }
    }

    #[test]
    fn a_flipped_bit_is_no_ping() {
        let frame = echo4(B, A, Ipv4Addr::new(10, 64, 0, 1), Ipv4Addr::new(10, 64, 0, 2), true, 7);
        for index in 14..frame.len() {
            let mut bent = frame.clone();
            bent[index] ^= 0x10;
            assert!(matches!(parse(&bent), Some((_, _, Packet::Other))), "{index}");
        }
        for length in 0..frame.len() {
            assert!(
                !matches!(parse(&frame[..length]), Some((_, _, Packet::Echo(_)))),
                "{length}"
            );
        }
    }
}
