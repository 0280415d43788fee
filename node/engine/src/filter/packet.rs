//! Frames of strangers, read strictly: what is not wholly understood is refused, with the reason.
//!
//! Headers are read by etherparse's slices. Reading is a pure function of the frame, and holds nothing of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpOperation, ArpPacketSlice, Icmpv4Slice, Icmpv6Slice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};
use farlan_netconf::Mac;

use super::open::Protocol;
use crate::switch::{ARP, HEADER, IPV4, IPV6, VLAN_TAGS, mac_at};

/// Why a frame of a stranger is not let in. Each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Cut, or headers and lengths that contradict each other.
    Malformed,
    /// Behind a VLAN tag.
    Tagged,
    /// What bridges and switches say to each other: STP, LLDP, 802.1X, CDP.
    LinkControl,
    /// Neither ARP nor IP.
    EtherType,
    /// IPv4 options, or IPv6 extension headers that are not passed over: source routes above all.
    Options,
    /// A packet inside a packet, or encrypted.
    Tunnel,
    /// A protocol over IP that is none of TCP, UDP, ICMP.
    Protocol,
    /// IGMP and MLD.
    Membership,
    /// A fragment whose first one was not let in, that overlaps it, or is one of ICMP.
    Fragment,
    /// For an IP address that is not this node's in the network.
    Destination,
    /// From or for the ports of DHCP and DHCPv6.
    Dhcp,
    /// Router advertisements (IPv6 and ICMP).
    RouterAdvertisement,
    /// ICMP and ICMPv6 redirects.
    Redirect,
    /// An ICMP message of another kind, or one that belongs to no flow.
    Icmp,
    /// More pings than a sender may send.
    PingRate,
    /// mDNS, LLMNR and NetBIOS names that nobody here asked for.
    NameService,
    /// For a port that is not opened, in no flow.
    NotOpen,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Arp(ArpMessage),
    Neighbour(NeighbourMessage),
    Ip(IpPacket),
}

/// An ARP request or reply for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArpMessage {
    pub(crate) sender_mac: Mac,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
    pub(crate) is_request: bool,
}

/// A neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourMessage {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) target: Ipv6Addr,
    pub(crate) is_solicitation: bool,
    /// The link-layer address that all options of that kind agree on.
    pub(crate) link_address: Option<Mac>,
}

/// An IP packet, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpPacket {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) content: Content,
}

/// Which part of its packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
    /// Where in the packet's payload it begins, in bytes.
    pub(crate) offset: usize,
    /// Its bytes.
    pub(crate) length: usize,
}

impl Fragment {
    /// A packet has 65,535 bytes at most (RFC 8200 §4.5): what is said to be behind them overflows who puts it together.
    fn fits(self) -> Result<(), Refused> {
        let end = self.offset + self.length;
        (end <= usize::from(u16::MAX)).then_some(()).ok_or(Refused::Malformed)
    }
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Tcp {
        from: u16,
        to: u16,
        flags: TcpFlags,
    },
    Udp {
        from: u16,
        to: u16,
        /// Whether it would be an answer if it were one of the name services, which all have the header of DNS.
        is_name_answer: bool,
    },
    EchoRequest {
        identifier: u16,
    },
    EchoReply {
        identifier: u16,
    },
    /// An ICMP error about a packet.
    Error(Quoted),
    /// A later fragment: its first one says what it is.
    Later,
}

/// The flags of TCP that flows depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpFlags {
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
}

/// The packet that an ICMP error is about, as far as it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) protocol: Protocol,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Ports; of a ping its identifier and nothing.
    pub(crate) ports: (u16, u16),
}

/// Extension headers of IPv6 that are passed over.
const MAX_EXTENSIONS: usize = 4;

/// Ethernet payloads are padded to this length, in bytes (IEEE 802.3 §4.2.3.3).
const PADDED: usize = 46;

/// RFC 4861 §7.1: with any other hop limit the message came from elsewhere.
const ND_HOP_LIMIT: u8 = 255;

/// Below, the two bytes are a length, and an LLC header follows: STP and CDP are of that kind (IEEE 802.3 §3.2.6).
const LOWEST_ETHERTYPE: u16 = 0x0600;

/// Slow protocols (LACP), 802.1X, LLDP, MACsec, connectivity fault management, loopback.
const LINK_CONTROL: [u16; 6] = [0x8809, 0x888e, 0x88cc, 0x88e5, 0x8902, 0x9000];

/// The groups of IEEE 802.1 bridges (01-80-C2-00-00-xx) and those of Cisco's protocols.
const LINK_CONTROL_GROUPS: [[u8; 5]; 2] = [[0x01, 0x80, 0xc2, 0, 0], [0x01, 0x00, 0x0c, 0xcc, 0xcc]];

/// IPv4, IPv6, GRE, ESP, AH, EtherIP's kin and others that carry packets.
const TUNNELS: [u8; 13] = [4, 41, 47, 50, 51, 55, 94, 97, 98, 108, 115, 137, 142];

/// Ports of the services by which machines on a LAN ask each other for names: NetBIOS, mDNS, LLMNR.
pub(crate) const NAME_SERVICES: [u16; 3] = [137, 5353, 5355];

impl Packet {
    /// Reads a frame of at least an Ethernet header.
    ///
    /// # Errors
    /// Why it is not let in, whatever is opened.
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, Refused> {
        let destination = frame.first_chunk::<5>().ok_or(Refused::Malformed)?;
        let ethertype = frame.get(HEADER - 2..HEADER).ok_or(Refused::Malformed)?;
        let ethertype = ethertype.first_chunk().ok_or(Refused::Malformed)?;
        let payload = frame.get(HEADER..).ok_or(Refused::Malformed)?;
        if LINK_CONTROL_GROUPS.contains(destination) {
            return Err(Refused::LinkControl);
        }
        match u16::from_be_bytes(*ethertype) {
            IPV4 => ipv4(payload).map(Self::Ip),
            IPV6 => ipv6(payload),
            ARP => arp(payload).map(Self::Arp),
            ethertype if ethertype < LOWEST_ETHERTYPE || LINK_CONTROL.contains(&ethertype) => Err(Refused::LinkControl),
            ethertype if VLAN_TAGS.contains(&ethertype) => Err(Refused::Tagged),
            _ => Err(Refused::EtherType),
        }
    }
}

fn arp(bytes: &[u8]) -> Result<ArpMessage, Refused> {
    let slice = ArpPacketSlice::from_slice(bytes).map_err(|_| Refused::Malformed)?;
    ends(bytes, slice.slice().len())?;
    let arp = slice.to_packet().try_eth_ipv4().map_err(|_| Refused::Malformed)?;
    if !matches!(arp.operation, ArpOperation::REQUEST | ArpOperation::REPLY) {
        return Err(Refused::EtherType);
    }
    Ok(ArpMessage {
        sender_mac: Mac::from_bytes(arp.sender_mac),
        sender: arp.sender_ipv4.into(),
        target: arp.target_ipv4.into(),
        is_request: arp.operation == ArpOperation::REQUEST,
    })
}

fn ipv4(bytes: &[u8]) -> Result<IpPacket, Refused> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Refused::Malformed)?;
    let length = usize::from(header.total_len());
    let payload = bytes.get(header.slice().len()..length).ok_or(Refused::Malformed)?;
    ends(bytes, length)?;
    // IGMP has an option, and a counter of its own.
    if !header.options().is_empty() && header.protocol() != IpNumber::IGMP {
        return Err(Refused::Options);
    }
    let offset = usize::from(header.fragments_offset().byte_offset());
    let fragment = (header.more_fragments() || offset > 0).then(|| Fragment {
        protocol: header.protocol().0,
        identification: header.identification().into(),
        offset,
        length: payload.len(),
    });
    fragment.map_or(Ok(()), Fragment::fits)?;
    if header.protocol() == IpNumber::IPV6_ICMP {
        return Err(Refused::Protocol);
    }
    Ok(IpPacket {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        fragment,
        content: content(header.protocol(), fragment.as_ref(), payload)?,
    })
}

fn ipv6(bytes: &[u8]) -> Result<Packet, Refused> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Refused::Malformed)?;
    let fixed = header.slice().len();
    let length = fixed + usize::from(header.payload_length());
    let mut payload = bytes.get(fixed..length).ok_or(Refused::Malformed)?;
    ends(bytes, length)?;
    let mut next = header.next_header();
    let mut fragment = None;
    let mut extensions = 0;
    loop {
        match next {
            IpNumber::IPV6_HEADER_HOP_BY_HOP if extensions > 0 => return Err(Refused::Options),
            IpNumber::IPV6_HEADER_HOP_BY_HOP | IpNumber::IPV6_DESTINATION_OPTIONS => {
                let extension = Ipv6RawExtHeaderSlice::from_slice(payload).map_err(|_| Refused::Malformed)?;
                next = extension.next_header();
                payload = payload.get(extension.slice().len()..).ok_or(Refused::Malformed)?;
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER if fragment.is_some() => return Err(Refused::Options),
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let extension = Ipv6FragmentHeaderSlice::from_slice(payload).map_err(|_| Refused::Malformed)?;
                next = extension.next_header();
                payload = payload.get(extension.slice().len()..).ok_or(Refused::Malformed)?;
                let offset = usize::from(extension.fragment_offset().byte_offset());
                fragment = Some(Fragment {
                    protocol: next.0,
                    identification: extension.identification(),
                    offset,
                    length: payload.len(),
                });
                fragment.map_or(Ok(()), Fragment::fits)?;
                if offset > 0 {
                    break;
                }
            }
            IpNumber::IPV6_ROUTE_HEADER => return Err(Refused::Options),
            _ => break,
        }
        extensions += 1;
        if extensions > MAX_EXTENSIONS {
            return Err(Refused::Options);
        }
    }
    let (source, destination) = (header.source_addr(), header.destination_addr());
    if next == IpNumber::IPV6_ICMP && fragment.is_none() {
        let kind = payload.first().ok_or(Refused::Malformed)?;
        if matches!(*kind, NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT) {
            return neighbour((source, destination), header.hop_limit(), payload).map(Packet::Neighbour);
        }
    }
    if matches!(next, IpNumber::ICMP | IpNumber::IGMP) {
        return Err(Refused::Protocol);
    }
    Ok(Packet::Ip(IpPacket {
        source: source.into(),
        destination: destination.into(),
        fragment,
        content: content(next, fragment.as_ref(), payload)?,
    }))
}

/// Whether nothing but the padding of short frames stands behind what is `length` bytes long.
fn ends(bytes: &[u8], length: usize) -> Result<(), Refused> {
    let padded = bytes.len() == PADDED && length < PADDED;
    (bytes.len() == length || padded)
        .then_some(())
        .ok_or(Refused::Malformed)
}

/// Types of ICMPv6 (RFC 4443, 4861, 2710, 3810).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ROUTER_ADVERTISEMENT: u8 = 134;
const REDIRECT: u8 = 137;
const MEMBERSHIP: [u8; 4] = [130, 131, 132, 143];
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Destination unreachable, packet too big, time exceeded.
const ERRORS: [u8; 3] = [1, 2, 3];

/// Types of ICMP (RFC 792, 1256).
const ECHO_REPLY_4: u8 = 0;
const REDIRECT_4: u8 = 5;
const ECHO_REQUEST_4: u8 = 8;
const ROUTER_4: [u8; 2] = [9, 10];
/// Destination unreachable (fragmentation needed, too), time exceeded.
const ERRORS_4: [u8; 2] = [3, 11];

/// The header of an ICMP message, in bytes.
const ICMP_HEADER: usize = 8;

fn content(protocol: IpNumber, fragment: Option<&Fragment>, payload: &[u8]) -> Result<Content, Refused> {
    let is_icmp = matches!(protocol, IpNumber::ICMP | IpNumber::IPV6_ICMP);
    match protocol {
        // Nobody says anything in fragments of ICMP that is worth the risk.
        _ if is_icmp && fragment.is_some() => Err(Refused::Fragment),
        IpNumber::TCP | IpNumber::UDP if fragment.is_some_and(|fragment| fragment.offset > 0) => Ok(Content::Later),
        IpNumber::TCP => {
            let tcp = TcpHeaderSlice::from_slice(payload).map_err(|_| Refused::Malformed)?;
            let flags = TcpFlags {
                syn: tcp.syn(),
                ack: tcp.ack(),
                fin: tcp.fin(),
                rst: tcp.rst(),
            };
            if !flags.make_sense() {
                return Err(Refused::Malformed);
            }
            Ok(Content::Tcp {
                from: tcp.source_port(),
                to: tcp.destination_port(),
                flags,
            })
        }
        IpNumber::UDP => {
            let udp = UdpHeaderSlice::from_slice(payload).map_err(|_| Refused::Malformed)?;
            let (said, there) = (usize::from(udp.length()), payload.len());
            // The first of several fragments has a part of what its header says.
            let fits = if fragment.is_some() {
                said >= there
            } else {
                said == there
            };
            if !fits {
                return Err(Refused::Malformed);
            }
            const FLAGS: usize = 8 + 2;
            Ok(Content::Udp {
                from: udp.source_port(),
                to: udp.destination_port(),
                is_name_answer: payload.get(FLAGS).is_some_and(|flags| flags & 0x80 != 0),
            })
        }
        IpNumber::ICMP => icmp(payload),
        IpNumber::IPV6_ICMP => icmpv6(payload),
        IpNumber::IGMP => Err(Refused::Membership),
        IpNumber(protocol) if TUNNELS.contains(&protocol) => Err(Refused::Tunnel),
        _ => Err(Refused::Protocol),
    }
}

impl TcpFlags {
    fn make_sense(self) -> bool {
        let begins = self.syn && !self.fin && !self.rst;
        begins || (!self.syn && (self.ack || self.rst))
    }

    /// Whether a segment asks for a connection.
    pub(crate) fn asks(self) -> bool {
        self.syn && !self.ack
    }
}

fn icmp(payload: &[u8]) -> Result<Content, Refused> {
    let icmp = Icmpv4Slice::from_slice(payload).map_err(|_| Refused::Malformed)?;
    let identifier = u16::from_be_bytes([icmp.bytes5to8()[0], icmp.bytes5to8()[1]]);
    match icmp.type_u8() {
        ECHO_REQUEST_4 | ECHO_REPLY_4 if icmp.code_u8() != 0 => Err(Refused::Malformed),
        ECHO_REQUEST_4 => Ok(Content::EchoRequest { identifier }),
        ECHO_REPLY_4 => Ok(Content::EchoReply { identifier }),
        REDIRECT_4 => Err(Refused::Redirect),
        kind if ROUTER_4.contains(&kind) => Err(Refused::RouterAdvertisement),
        kind if ERRORS_4.contains(&kind) => {
            let quote = payload.get(ICMP_HEADER..).and_then(quoted_ipv4);
            quote.map(Content::Error).ok_or(Refused::Icmp)
        }
        _ => Err(Refused::Icmp),
    }
}

fn icmpv6(payload: &[u8]) -> Result<Content, Refused> {
    let icmp = Icmpv6Slice::from_slice(payload).map_err(|_| Refused::Malformed)?;
    let identifier = u16::from_be_bytes([icmp.bytes5to8()[0], icmp.bytes5to8()[1]]);
    match icmp.type_u8() {
        ECHO_REQUEST | ECHO_REPLY if icmp.code_u8() != 0 => Err(Refused::Malformed),
        ECHO_REQUEST => Ok(Content::EchoRequest { identifier }),
        ECHO_REPLY => Ok(Content::EchoReply { identifier }),
        ROUTER_ADVERTISEMENT => Err(Refused::RouterAdvertisement),
        REDIRECT => Err(Refused::Redirect),
        kind if MEMBERSHIP.contains(&kind) => Err(Refused::Membership),
        kind if ERRORS.contains(&kind) => {
            let quote = payload.get(ICMP_HEADER..).and_then(quoted_ipv6);
            quote.map(Content::Error).ok_or(Refused::Icmp)
        }
        _ => Err(Refused::Icmp),
    }
}

fn quoted_ipv4(bytes: &[u8]) -> Option<Quoted> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    if header.fragments_offset().byte_offset() > 0 {
        return None;
    }
    let (protocol, ports) = quoted(header.protocol(), ECHO_REQUEST_4, bytes.get(header.slice().len()..)?)?;
    Some(Quoted {
        protocol,
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        ports,
    })
}

fn quoted_ipv6(bytes: &[u8]) -> Option<Quoted> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let (protocol, ports) = quoted(header.next_header(), ECHO_REQUEST, bytes.get(header.slice().len()..)?)?;
    Some(Quoted {
        protocol,
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        ports,
    })
}

/// Protocol and ports of a packet of which the first 8 bytes are quoted.
fn quoted(protocol: IpNumber, request: u8, payload: &[u8]) -> Option<(Protocol, (u16, u16))> {
    let [a, b, c, d, e, f, ..] = *payload.first_chunk::<8>()?;
    let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    match protocol {
        IpNumber::TCP => Some((Protocol::Tcp, ports)),
        IpNumber::UDP => Some((Protocol::Udp, ports)),
        IpNumber::ICMP | IpNumber::IPV6_ICMP if a == request => Some((Protocol::Echo, (u16::from_be_bytes([e, f]), 0))),
        _ => None,
    }
}

/// `type 1 | code 1 | checksum 2 | flags 4 | target 16 | options`.
fn neighbour(
    (source, destination): (Ipv6Addr, Ipv6Addr),
    hop_limit: u8,
    message: &[u8],
) -> Result<NeighbourMessage, Refused> {
    const TARGET: usize = 8;
    const OPTIONS: usize = 24;
    let target = message.get(TARGET..).and_then(|rest| rest.first_chunk::<16>());
    let target = Ipv6Addr::from(*target.ok_or(Refused::Malformed)?);
    let options = message.get(OPTIONS..).ok_or(Refused::Malformed)?;
    let code = message.get(1);
    if hop_limit != ND_HOP_LIMIT || code != Some(&0) || target.is_multicast() {
        return Err(Refused::Malformed);
    }
    Ok(NeighbourMessage {
        source,
        destination,
        target,
        is_solicitation: message.first() == Some(&NEIGHBOUR_SOLICITATION),
        link_address: link_address(options)?,
    })
}

/// The one link-layer address that the options of a neighbour message give, of source and target alike: which of them a
/// kernel takes is not for us to guess. `type 1 | length in units of 8 bytes 1 | …` (RFC 4861 §4.6)
fn link_address(mut options: &[u8]) -> Result<Option<Mac>, Refused> {
    const SOURCE: u8 = 1;
    const TARGET: u8 = 2;
    let mut found = None;
    while let [kind, units, ..] = options {
        let length = usize::from(*units) * 8;
        let (option, rest) = options
            .split_at_checked(length)
            .filter(|_| length > 0)
            .ok_or(Refused::Malformed)?;
        if matches!(*kind, SOURCE | TARGET) {
            let mac = mac_at(option, 2).filter(|_| length == 8).ok_or(Refused::Malformed)?;
            if found.is_some_and(|found| found != mac) {
                return Err(Refused::Malformed);
            }
            found = Some(mac);
        }
        options = rest;
    }
    // A single byte is no option.
    options.is_empty().then_some(found).ok_or(Refused::Malformed)
}

/// What tells packets of one flow from others, without reading them: as long as it stays the same, so does the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowMark {
    /// Protocol, addresses and ports as they stand in the frame.
    bytes: [u8; 40],
    /// The flags of TCP that flows depend on.
    flags: u8,
}

impl FlowMark {
    /// The mark of a TCP segment or UDP datagram that stands behind a plain IP header and is no fragment.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        const PUSH_URGENT: u8 = 0x28;
        let ethertype = u16::from_be_bytes(*frame.get(HEADER - 2..)?.first_chunk()?);
        let (protocol, addresses, ports) = match ethertype {
            IPV4 => {
                let [version, _, _, _, _, _, flags, offset, ..] = *frame.get(HEADER..)?.first_chunk::<8>()?;
                // Anything but "do not fragment" makes it part of a longer story.
                if version != 0x45 || flags & !0x40 != 0 || offset != 0 {
                    return None;
                }
                (frame.get(HEADER + 9)?, HEADER + 12, HEADER + 20)
            }
            IPV6 => (frame.get(HEADER + 6)?, HEADER + 8, HEADER + 40),
            _ => return None,
        };
        let flags = match *protocol {
            6 => frame.get(ports + 13)? & !PUSH_URGENT,
            17 => 0,
            _ => return None,
        };
        let mut bytes = [0; 40];
        let end = ports + 4;
        let (head, tail) = bytes.split_first_mut()?;
        *head = *protocol;
        tail.get_mut(..end - addresses)?
            .copy_from_slice(frame.get(addresses..end)?);
        Some(Self { bytes, flags })
    }
}

#[cfg(test)]
mod tests;
