//! What strangers may say to this machine: the inbound filter of networks with the policy *strangers*.
//!
//! A frame passes when all of this holds, in this order:
//!
//! 1. It is for this node's MAC or a group, and its source MAC is the sender's own.
//! 2. It is ARP or IP, complete and without anything that hides what it is ([`packet`]).
//! 3. Every address in it that says who speaks is the sender's own ([`Speaker`]).
//! 4. [`Filter::lets_in`]: it speaks to an address of this node and belongs to a flow that this machine began ([`flows`]),
//!    or is a ping ([`pings`]), a neighbour message, an error about a flow, or for an opened port ([`open`]); later
//!    fragments follow their first ([`pieces`]).
//!
//! What this machine sends passes, but for what is meant for its own LAN ([`leaving`]), and makes its flows known
//! ([`Engine::lets_out`]). Networks of friends have no filter.

mod flows;
mod leaving;
mod open;
mod packet;
mod pieces;
mod pings;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use farlan_crypto::defects::planted;
use farlan_netconf::{Mac, Policy, Subnet};

pub use open::{OpenPorts, Transport};
pub(crate) use packet::FlowMark;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use packet::{Content as PacketContent, Packet as StrangersPacket};

use crate::{
    Counters, Engine, NetworkHandle, Time,
    networks::Network,
    peers::{Peer, PeerId},
    switch::mac_at,
};
use flows::Flows;
use leaving::Leaving;
use open::{Opened, Protocol};
use packet::{ArpMessage, Content, IpPacket, NAME_SERVICES, NeighbourMessage, Packet, Quoted, Refused};
use pieces::Pieces;
use pings::PingRates;

/// The state of the filter in one network.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    opened: Opened,
    /// What was opened before: there others began, and what their ports' servers go on sending begins nothing.
    opened_once: Opened,
    flows: Flows,
    pieces: Pieces,
    pings: PingRates,
    leaving: Leaving,
}

/// The addresses of one node in a network.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    mac: Mac,
    ipv4: Option<Ipv4Addr>,
    ipv6: Ipv6Addr,
    link_local: Ipv6Addr,
}

/// This node's addresses, and the subnet around them.
#[derive(Clone, Copy, Debug)]
struct Here {
    addresses: Addresses,
    subnet: Subnet,
}

/// Who sent a frame, by the session it came in.
#[derive(Clone, Copy, Debug)]
struct Speaker(Addresses);

impl Engine {
    /// Opens ports of this machine to the members of a *strangers* network, and closes all others. Replies, pings and what
    /// a network of friends carries pass in any case.
    pub fn set_opened(&mut self, network: NetworkHandle, ports: &[OpenPorts]) {
        if let Some(network) = self.networks.get_mut(network) {
            network.filter.opened_once.add(&network.filter.opened);
            network.filter.opened = Opened::new(ports);
        }
    }

    /// Whether a frame that peer `id` sent into a network of strangers may reach the card.
    pub(crate) fn lets_stranger_in(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let (Some(network), Some(peer)) = (self.networks.get_mut(handle), self.peers.get(id)) else {
            return false;
        };
        let destination = mac_at(frame, 0);
        if destination.is_none_or(|destination| !destination.is_group() && destination != network.mac) {
            self.counters.foreign_destination += 1;
            return false;
        }
        let speaker = Speaker::of(network, peer, handle);
        if mac_at(frame, 6) != Some(speaker.0.mac) && !planted("source-check-off") {
            self.counters.foreign_source_mac += 1;
            return false;
        }
        let packet = match Packet::parse(frame) {
            Ok(packet) => packet,
            Err(refused) => {
                refused.count(&mut self.counters);
                return planted("filter-off");
            }
        };
        if !speaker.speaks_for_itself(&packet) {
            match packet {
                Packet::Ip(_) => self.counters.foreign_source_ip += 1,
                Packet::Arp(_) | Packet::Neighbour(_) => self.counters.foreign_neighbour += 1,
            }
            return false;
        }
        let here = Here::of(network);
        let to_all = destination.is_some_and(|destination| destination.is_group());
        let verdict = network.filter.lets_in(now, (id, to_all), &here, &packet);
        if let Err(refused) = verdict {
            refused.count(&mut self.counters);
        }
        verdict.is_ok() || planted("filter-off")
    }

    /// Whether a frame of this machine's may leave into a network; in one of strangers its flow is noted.
    pub(crate) fn lets_out(&mut self, now: Time, handle: NetworkHandle, frame: &[u8]) -> bool {
        let strangers = self.networks.get_mut(handle);
        let Some(network) = strangers.filter(|network| network.policy == Policy::Strangers) else {
            return true;
        };
        let Ok(Packet::Ip(packet)) = Packet::parse(frame) else {
            return true;
        };
        let here = Here::of(network);
        let Filter {
            flows,
            opened,
            opened_once,
            leaving,
            ..
        } = &mut network.filter;
        if leaving.keeps_back(now, &packet, opened) {
            self.counters.kept_from_strangers += 1;
            return false;
        }
        // What has a foreign source goes nowhere, and answers to it would not come here.
        if here.addresses.has(packet.source) {
            let to_group = here.is_group(packet.destination);
            self.counters.flows_displaced += flows.sent(now, &packet, to_group, (opened, opened_once));
        }
        true
    }
}

impl Filter {
    /// Whether what is said may reach this machine. `to_all` tells that the frame has a group's MAC.
    ///
    /// # Errors
    /// Why it may not.
    fn lets_in(
        &mut self,
        now: Time,
        (sender, to_all): (PeerId, bool),
        here: &Here,
        packet: &Packet,
    ) -> Result<(), Refused> {
        let packet = match packet {
            Packet::Arp(_) => return Ok(()),
            Packet::Neighbour(message) => {
                let destination = message.destination;
                let fits = destination.is_multicast() || here.addresses.has(destination.into());
                return fits.then_some(()).ok_or(Refused::Destination);
            }
            Packet::Ip(packet) => packet,
        };
        // A frame to all that holds a packet for one, or the other way round, passes by somebody's rules.
        let to_group = here.is_group(packet.destination);
        if to_all != to_group || !(to_group || here.addresses.has(packet.destination)) {
            return Err(Refused::Destination);
        }
        match packet.content {
            Content::Later => return self.later_fragment(now, sender, packet),
            Content::EchoRequest { .. } => {
                return self.pings.allows(now, sender).then_some(()).ok_or(Refused::PingRate);
            }
            Content::Error(quoted) => return self.error(now, packet, &quoted),
            Content::EchoReply { .. } => return self.flows.came(now, packet).then_some(()).ok_or(Refused::Icmp),
            Content::Udp { from, to, .. } if is_dhcp(from, to) => return Err(Refused::Dhcp),
            Content::Tcp { .. } | Content::Udp { .. } => {}
        }
        let (protocol, to) = match packet.content {
            Content::Tcp { to, .. } => (Protocol::Tcp, to),
            Content::Udp { to, .. } => (Protocol::Udp, to),
            _ => return Err(Refused::Protocol),
        };
        let is_reply = !to_group && self.flows.came(now, packet);
        let is_open = self.opened.contains(protocol, to) && !(to_group && protocol == Protocol::Tcp);
        if !is_reply && !is_open {
            return Err(match protocol {
                Protocol::Udp if NAME_SERVICES.contains(&to) => Refused::NameService,
                _ => Refused::NotOpen,
            });
        }
        if let Some(fragment) = &packet.fragment {
            self.pieces.first(now, sender, packet, fragment);
        }
        Ok(())
    }

    fn later_fragment(&self, now: Time, sender: PeerId, packet: &IpPacket) -> Result<(), Refused> {
        let fragment = packet.fragment.as_ref();
        let follows = fragment.is_some_and(|fragment| self.pieces.follows(now, sender, packet, fragment));
        (follows || planted("fragment-unchecked"))
            .then_some(())
            .ok_or(Refused::Fragment)
    }

    /// An error comes from whom the packet went to that it is about: nobody stands between the members of a network.
    fn error(&self, now: Time, packet: &IpPacket, quoted: &Quoted) -> Result<(), Refused> {
        let about_us = quoted.source == packet.destination && quoted.destination == packet.source;
        let known = self.flows.has(now, quoted) || self.opened.contains(quoted.protocol, quoted.ports.0);
        (about_us && known).then_some(()).ok_or(Refused::Icmp)
    }
}

impl Speaker {
    fn of(network: &Network, peer: &Peer, handle: NetworkHandle) -> Self {
        let node = peer.key.node_id();
        let told = peer.claims.get(&handle).copied();
        let ipv4 = told.or_else(|| network.member(&node).and_then(|member| member.ipv4));
        Self(Addresses {
            mac: network.plan.mac(&node),
            // Two nodes can have a candidate in common. Whatever is claimed: nobody speaks for this machine.
            ipv4: ipv4.filter(|address| network.ipv4_held() != Some(*address)),
            ipv6: network.plan.ipv6(&node),
            link_local: network.plan.link_local(&node),
        })
    }

    /// Whether everything that says who speaks says that it is this one.
    fn speaks_for_itself(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Ip(packet) => self.0.has(packet.source) || planted("source-check-off"),
            Packet::Arp(message) => self.is_own_arp(message) || planted("neighbour-check-off"),
            Packet::Neighbour(message) => self.is_own_neighbour_message(message) || planted("neighbour-check-off"),
        }
    }

    /// A probe, from no address, asks whether one is free: it must not ask for another's.
    fn is_own_arp(&self, message: &ArpMessage) -> bool {
        let is_probe = message.is_request && message.sender.is_unspecified();
        let address = if is_probe { message.target } else { message.sender };
        message.sender_mac == self.0.mac && self.0.has(address.into())
    }

    /// A solicitation speaks for its source, an advertisement for its target. A solicitation from no address asks whether
    /// its target is free, and gives no link-layer address (RFC 4861 §7.1.1).
    fn is_own_neighbour_message(&self, message: &NeighbourMessage) -> bool {
        let is_probe = message.is_solicitation && message.source.is_unspecified();
        if is_probe {
            return message.link_address.is_none() && self.0.has(message.target.into());
        }
        let own_target = message.is_solicitation || self.0.has(message.target.into());
        let own_link = message.link_address.is_none_or(|mac| mac == self.0.mac);
        self.0.has(message.source.into()) && own_target && own_link
    }
}

impl Here {
    fn of(network: &Network) -> Self {
        Self {
            addresses: Addresses {
                mac: network.mac,
                ipv4: network.ipv4_held(),
                ipv6: network.ipv6,
                link_local: network.link_local,
            },
            subnet: network.parameters.subnet,
        }
    }

    /// Whether an address is that of many: a multicast address, or a broadcast address of the network.
    fn is_group(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                address.is_multicast() || address.is_broadcast() || address == self.subnet.broadcast()
            }
            IpAddr::V6(address) => address.is_multicast(),
        }
    }
}

impl Addresses {
    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => Some(address) == self.ipv4,
            IpAddr::V6(address) => address == self.ipv6 || address == self.link_local,
        }
    }
}

/// Whether a datagram is of DHCP or DHCPv6: from a server, or for a client. Nobody configures this machine from here.
fn is_dhcp(from: u16, to: u16) -> bool {
    const SERVERS: [u16; 2] = [67, 547];
    const CLIENTS: [u16; 2] = [68, 546];
    SERVERS.contains(&from) || CLIENTS.contains(&to)
}

impl Refused {
    fn count(self, counters: &mut Counters) {
        let counter = match self {
            Self::Malformed => &mut counters.filtered_malformed,
            Self::Tagged => &mut counters.filtered_tagged,
            Self::LinkControl => &mut counters.filtered_link_control,
            Self::EtherType => &mut counters.filtered_ethertype,
            Self::Options => &mut counters.filtered_options,
            Self::Tunnel => &mut counters.filtered_tunnel,
            Self::Protocol => &mut counters.filtered_protocol,
            Self::Membership => &mut counters.filtered_membership,
            Self::Fragment => &mut counters.filtered_fragment,
            Self::Destination => &mut counters.filtered_destination,
            Self::Dhcp => &mut counters.filtered_dhcp,
            Self::RouterAdvertisement => &mut counters.filtered_router_advertisement,
            Self::Redirect => &mut counters.filtered_redirect,
            Self::Icmp => &mut counters.filtered_icmp,
            Self::PingRate => &mut counters.filtered_ping_rate,
            Self::NameService => &mut counters.filtered_name_service,
            Self::NotOpen => &mut counters.filtered_not_open,
        };
        *counter += 1;
    }
}
