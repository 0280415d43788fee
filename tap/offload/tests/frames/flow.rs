//! Flows, and the frames in them as etherparse builds them.

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the frames of a flow share.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) macs: [u8; 12],
    /// Tag protocol and tag.
    pub(crate) tags: Vec<(bool, u16)>,
    pub(crate) six: bool,
    pub(crate) tcp: bool,
    pub(crate) addresses: [u8; 32],
    pub(crate) service: u8,
    pub(crate) label: u32,
    pub(crate) hops: u8,
    pub(crate) id: u16,
    pub(crate) atomic: bool,
    /// Words of options.
    pub(crate) ip_options: Vec<[u8; 4]>,
    pub(crate) tcp_options: Vec<[u8; 4]>,
    pub(crate) ports: (u16, u16),
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// The flags of TCP.
    pub(crate) flags: u8,
}

impl Flow {
    /// A flow without options or tags.
    pub(crate) fn plain(six: bool, tcp: bool) -> Self {
        Self {
            macs: [2; 12],
            tags: Vec::new(),
            six,
            tcp,
            addresses: [0xfd; 32],
            service: 0,
            label: 7,
            hops: 64,
            id: 1000,
            atomic: true,
            ip_options: Vec::new(),
            tcp_options: Vec::new(),
            ports: (1234, 4321),
            sequence: u32::MAX - 5000,
            acknowledged: 77,
            window: 501,
            urgent: 0,
            flags: ACK,
        }
    }

    /// The `index`th frame of the flow, `before` bytes having been sent, with a complete or an open checksum.
    pub(crate) fn frame(&self, index: usize, before: usize, flags: u8, payload: &[u8], partial: bool) -> Vec<u8> {
        let mut frame = self.macs.to_vec();
        for (service, tag) in &self.tags {
            frame.extend_from_slice(if *service { &[0x88, 0xa8] } else { &[0x81, 0x00] });
            frame.extend_from_slice(&tag.to_be_bytes());
        }
        let transport = if self.tcp {
            TcpHeader::MIN_LEN + 4 * self.tcp_options.len()
        } else {
            UdpHeader::LEN
        } + payload.len();
        let protocol = if self.tcp { IpNumber::TCP } else { IpNumber::UDP };
        let transport_length = u16::try_from(transport).expect("it fits");
        if self.six {
            frame.extend_from_slice(&[0x86, 0xdd]);
            let ip = self.ipv6(transport_length, protocol);
            frame.extend_from_slice(&ip.to_bytes());
        } else {
            frame.extend_from_slice(&[0x08, 0x00]);
            let ip = self.ipv4(index, transport_length, protocol);
            frame.extend_from_slice(&ip.to_bytes());
        }
        let (ipv4, ipv6) = (
            self.ipv4(index, transport_length, protocol),
            self.ipv6(transport_length, protocol),
        );
        if self.tcp {
            let mut tcp = self.tcp_header(before, flags);
            tcp.checksum = match (partial, self.six) {
                (true, _) => self.pseudo(transport_length),
                (false, true) => tcp.calc_checksum_ipv6(&ipv6, payload).expect("it fits"),
                (false, false) => tcp.calc_checksum_ipv4(&ipv4, payload).expect("it fits"),
            };
            frame.extend_from_slice(&tcp.to_bytes());
        } else {
            let mut udp = UdpHeader {
                source_port: self.ports.0,
                destination_port: self.ports.1,
                length: transport_length,
                checksum: 0,
            };
            udp.checksum = match (partial, self.six) {
                (true, _) => self.pseudo(transport_length),
                (false, true) => udp.calc_checksum_ipv6(&ipv6, payload).expect("it fits"),
                (false, false) => udp.calc_checksum_ipv4(&ipv4, payload).expect("it fits"),
            };
            frame.extend_from_slice(&udp.to_bytes());
        }
        frame.extend_from_slice(payload);
        frame
    }

    /// The frames of a flow that carry `payload` in pieces of `size` bytes.
    pub(crate) fn frames(&self, payload: &[u8], size: usize, partial: bool) -> Vec<Vec<u8>> {
        let count = payload.len().div_ceil(size);
        let frame = |(index, piece): (usize, &[u8])| {
            let mut flags = self.flags;
            if index > 0 {
                flags &= !CWR;
            }
            if index + 1 < count {
                flags &= !(FIN | PSH);
            }
            self.frame(index, index * size, flags, piece, partial)
        };
        payload.chunks(size).enumerate().map(frame).collect()
    }

    /// Bytes of all headers.
    pub(crate) fn headers(&self) -> usize {
        self.transport() + if self.tcp { 20 + 4 * self.tcp_options.len() } else { 8 }
    }

    /// Where the TCP or UDP header begins.
    pub(crate) fn transport(&self) -> usize {
        self.ip() + if self.six { 40 } else { 20 + 4 * self.ip_options.len() }
    }

    /// Where the IP header begins.
    pub(crate) fn ip(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Where the checksum of TCP or UDP is.
    pub(crate) fn checksum(&self) -> usize {
        self.transport() + if self.tcp { 16 } else { 6 }
    }

    /// The `virtio_net_hdr` of a super-frame.
    pub(crate) fn vnet(&self, size: u16, partial: bool) -> [u8; 10] {
        let kind = match (self.tcp, self.six) {
            (true, false) => 1,
            (true, true) => 4,
            (false, _) => 5,
        };
        let [size, start] = [size, self.transport() as u16].map(u16::to_ne_bytes);
        let offset: [u8; 2] = (if self.tcp { 16_u16 } else { 6 }).to_ne_bytes();
        [
            u8::from(partial),
            kind,
            0,
            0,
            size[0],
            size[1],
            start[0],
            start[1],
            offset[0],
            offset[1],
        ]
    }

    fn ipv4(&self, index: usize, payload: u16, protocol: IpNumber) -> Ipv4Header {
        let mut ip = Ipv4Header {
            identification: self.id.wrapping_add(index as u16),
            dont_fragment: self.atomic,
            dscp: (self.service >> 2).try_into().expect("it has 6 bits"),
            ecn: (self.service & 3).try_into().expect("it has 2 bits"),
            time_to_live: self.hops,
            protocol,
            source: *self.addresses.first_chunk().expect("there are 32 bytes"),
            destination: *self.addresses.last_chunk().expect("there are 32 bytes"),
            options: self
                .ip_options
                .concat()
                .as_slice()
                .try_into()
                .expect("there are at most 40 bytes"),
            ..Ipv4Header::default()
        };
        ip.total_len = ip.header_len() as u16 + payload.min(u16::MAX - ip.header_len() as u16);
        ip.header_checksum = ip.calc_header_checksum();
        ip
    }

    fn ipv6(&self, payload: u16, protocol: IpNumber) -> Ipv6Header {
        Ipv6Header {
            traffic_class: self.service,
            flow_label: Ipv6FlowLabel::try_new(self.label).expect("it has 20 bits"),
            payload_length: payload,
            next_header: protocol,
            hop_limit: self.hops,
            source: *self.addresses.first_chunk().expect("there are 32 bytes"),
            destination: *self.addresses.last_chunk().expect("there are 32 bytes"),
        }
    }

    fn tcp_header(&self, before: usize, flags: u8) -> TcpHeader {
        let sequence = self.sequence.wrapping_add(before as u32);
        let mut tcp = TcpHeader::new(self.ports.0, self.ports.1, sequence, self.window);
        tcp.acknowledgment_number = self.acknowledged;
        tcp.urgent_pointer = self.urgent;
        tcp.set_options_raw(&self.tcp_options.concat())
            .expect("there are at most 40 bytes");
        let flag = |bit: u8| flags & bit != 0;
        tcp.fin = flag(FIN);
        tcp.syn = flag(SYN);
        tcp.rst = flag(RST);
        tcp.psh = flag(PSH);
        tcp.ack = flag(ACK);
        tcp.urg = flag(URG);
        tcp.ece = flag(ECE);
        tcp.cwr = flag(CWR);
        tcp
    }

    /// The sum of the pseudo-header, word by word (RFC 9293, 3.1; RFC 8200, 8.1).
    fn pseudo(&self, length: u16) -> u16 {
        let addresses = match self.six {
            true => self.addresses.to_vec(),
            false => [&self.addresses[..4], &self.addresses[28..]].concat(),
        };
        let words = addresses.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        let mut total: u32 = words.map(u32::from).sum::<u32>() + if self.tcp { 6 } else { 17 } + u32::from(length);
        while total > 0xffff {
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }
}

/// Any flow; options of any kind, which nobody looks into.
pub(crate) fn flows() -> impl Strategy<Value = Flow> {
    let link = (
        any::<[u8; 12]>(),
        vec(any::<(bool, u16)>(), 0..=2),
        any::<(bool, bool)>(),
    );
    let ip = (
        any::<[u8; 32]>(),
        any::<u8>(),
        0..1_u32 << 20,
        any::<u8>(),
        any::<u16>(),
        any::<bool>(),
    );
    let ip_options = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<[u8; 4]>(), 0..=10)];
    let tcp = (
        any::<(u16, u16)>(),
        any::<(u32, u32)>(),
        any::<(u16, u16)>(),
        any::<u8>(),
    );
    (link, ip, ip_options, tcp, vec(any::<[u8; 4]>(), 0..=10)).prop_map(|(link, ip, ip_options, tcp, tcp_options)| {
        let (macs, tags, (six, is_tcp)) = link;
        let (addresses, service, label, hops, id, atomic) = ip;
        let (ports, (sequence, acknowledged), (window, urgent), flags) = tcp;
        Flow {
            macs,
            tags,
            six,
            tcp: is_tcp,
            addresses,
            service,
            label,
            hops,
            id,
            atomic,
            ip_options: if six { Vec::new() } else { ip_options },
            tcp_options: if is_tcp { tcp_options } else { Vec::new() },
            ports,
            sequence,
            acknowledged,
            window,
            urgent,
            flags,
        }
    })
}

/// The `index`th frame of 100 bytes, whose payload is such that its checksum comes out as zero.
pub(crate) fn without_sum(flow: &Flow, index: usize) -> Vec<u8> {
    let mut payload = payload(100, 6);
    payload[98..].fill(0);
    let frame = |payload: &[u8]| flow.frame(index, 100 * index, flow.flags, payload, false);
    let rest = frame(&payload);
    payload[98..].copy_from_slice(&rest[flow.checksum()..flow.checksum() + 2]);
    let frame = frame(&payload);
    let expected = if flow.tcp { [0; 2] } else { [0xff; 2] };
    assert_eq!(frame[flow.checksum()..flow.checksum() + 2], expected);
    frame
}

/// Payload that a seed tells: random enough for checksums, quick to make.
pub(crate) fn payload(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;
