//! Packets for the measurements.

use std::{net::Ipv4Addr, num::NonZeroU16};

use farlan_netconf::Mtu;
use farlan_offload::Offload;

use crate::sim::{MacAddress, ethernet};

pub(super) const ETHERNET: usize = 14;
pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;

/// TCP payload of a full frame at the default MTU.
pub(super) const SEGMENT: NonZeroU16 = NonZeroU16::new(Mtu::DEFAULT.bytes() - 40).expect("it is not zero");

/// What goes with a super-frame.
pub(super) const SUPER: Offload = Offload {
    partial: true,
    segment: Some(SEGMENT),
};

/// Where datagrams go.
pub(super) const PORT: u16 = 0x303a;

/// A UDP datagram over IPv4 of `length` bytes in all.
pub(super) fn udp(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let mut packet = ipv4(from, to, UDP, length);
    packet.extend_from_slice(&[0x30, 0x39]);
    packet.extend_from_slice(&PORT.to_be_bytes());
    packet.extend_from_slice(&((length - IPV4) as u16).to_be_bytes());
    packet.resize(length, 0);
    packet
}

/// A TCP super-frame over IPv4 that stands for `count` full frames, its checksum open.
pub(super) fn super_frame(
    to_mac: MacAddress,
    from_mac: MacAddress,
    from: Ipv4Addr,
    to: Ipv4Addr,
    count: usize,
) -> Vec<u8> {
    let tcp = TCP_HEADER + count * usize::from(SEGMENT.get());
    let mut packet = ipv4(from, to, TCP, IPV4 + tcp);
    packet.extend_from_slice(&[0x30, 0x39, 0x30, 0x3a, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, ACK, 1, 0]);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, TCP], &(tcp as u16).to_be_bytes()].concat();
    packet.extend_from_slice(&sum(&pseudo).to_be_bytes());
    packet.resize(IPV4 + tcp, 0xa5);
    ethernet(to_mac, from_mac, ETHERTYPE_IPV4, &packet)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&(length as u16).to_be_bytes());
    header.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    let sum = !sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The Internet checksum of an even number of bytes, not complemented.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const IPV4: usize = 20;
const TCP_HEADER: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ACK: u8 = 0x10;
