//! What a node knows of the network that it is in: how its NAT behaves, what it reaches, and what packets its supernodes'
//! ways carry.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::NodeId;

use crate::{
    Engine, Time,
    behaviour::Behaviour,
    observations::{Finding, PortMapping},
    peers::{Path, PeerId},
    ranges::{is_carriers, is_global},
};

/// What a node knows of the network that it is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// How the NAT behaves: that for IPv4, where supernodes see this node by IPv4.
    pub behaviour: Behaviour,
    /// What is known of IPv6, where that is of IPv4 and supernodes see this node by both.
    pub behaviour_by_ipv6: Option<Behaviour>,
    /// Whether a carrier translates.
    pub carrier: Finding,
    /// What the router gave on demand.
    pub port_mapping: PortMapping,
    /// Whether supernodes are reached by UDP.
    pub udp: Finding,
    /// Whether they are reached by TCP.
    pub tcp: Finding,
    /// The endpoints of the own cards.
    pub local: Vec<SocketAddr>,
    /// Where supernodes see this node, and its global addresses.
    pub outside: Vec<SocketAddr>,
    /// Whether the address is hidden from members of open networks.
    pub hidden: bool,
    /// The supernodes in use.
    pub supernodes: Vec<Reached>,
    /// Whether something is still being found out.
    pub under_way: bool,
}

/// A supernode in use, and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// Its id.
    pub node: NodeId,
    /// Where it sees this node, by the family in which it is spoken to.
    pub seen_at: Option<SocketAddr>,
    /// The same by the other family.
    pub also_seen_at: Option<SocketAddr>,
    /// Whether it is reached by UDP.
    pub udp: Finding,
    /// Whether it is reached by TCP.
    pub tcp: Finding,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
    /// The largest IP packet known to pass, in bytes.
    pub mtu: Option<usize>,
    /// The smallest that was tried without an answer.
    pub too_large: Option<usize>,
}

/// The largest packet that the ways are tried for: what Ethernet carries.
const USUAL: usize = 1500;

impl Engine {
    /// Finds out anew what can be found out of the own network, with a few dozen packets to each supernode in use;
    /// [`Surroundings::under_way`] says as long as it goes on.
    pub fn look_around(&mut self, now: Time) {
        self.detection.want_again(now);
        self.sights.ask_anew();
        let homes: Vec<PeerId> = self.directory.homes().collect();
        for home in homes {
            self.watch_relay(now, home);
            let Some(peer) = self.peers.get_mut(home) else { continue };
            if let Some(Path::Direct(leg)) = peer.path.filter(|_| !peer.sessions.is_empty())
                && !leg.is_stream()
            {
                peer.relay_mtu.lead_to(leg);
                peer.relay_mtu.note(now, USUAL);
                self.arm(home);
            }
        }
    }

    /// What this node knows of the network that it is in.
    pub fn surroundings(&self) -> Surroundings {
        let (udp, tcp) = self.transports();
        let (local, seen) = (self.traversal.local(), self.traversal.observed());
        let global = local.iter().filter(|endpoint| is_global(endpoint.ip())).copied();
        let outside: BTreeSet<SocketAddr> = seen.map(|(_, seen)| seen).chain(global).collect();
        Surroundings {
            behaviour: self.behaviour(),
            behaviour_by_ipv6: self.behaviour_by_ipv6(),
            port_mapping: self.port_mapping(),
            carrier: self.carrier(),
            udp,
            tcp,
            local: local.to_vec(),
            outside: outside.into_iter().collect(),
            hidden: self.hides(),
            supernodes: self.reached(),
            under_way: self.looks_around(),
        }
    }

    fn looks_around(&self) -> bool {
        let mut homes = self.directory.homes();
        self.detection.is_under_way()
            || self.sights.is_under_way()
            || homes.any(|home| self.peers.get(home).is_some_and(|peer| peer.relay_mtu.is_searching()))
    }

    fn reached(&self) -> Vec<Reached> {
        let wanted: Vec<PeerId> = self.directory.wanted().collect();
        let reached = |id: PeerId| {
            let peer = self.peers.get(id)?;
            let (udp, tcp) = self.transports_to(id);
            let size = peer.relay_mtu.found();
            let (ipv6, direct) = match peer.path {
                Some(Path::Direct(leg)) => (leg.is_ipv6(), true),
                _ => (self.traversal.observed_by(id, true).is_some(), false),
            };
            Some(Reached {
                node: peer.key.node_id(),
                seen_at: self.traversal.observed_by(id, ipv6),
                also_seen_at: self.traversal.observed_by(id, !ipv6).filter(|_| direct),
                udp,
                tcp,
                rtt: peer.rtt,
                mtu: size.map(|(limit, _)| limit),
                too_large: size.and_then(|(_, too_large)| too_large),
            })
        };
        wanted.into_iter().filter_map(reached).collect()
    }

    /// Whether supernodes are reached by UDP, and by TCP.
    pub(crate) fn transports(&self) -> (Finding, Finding) {
        let any = |of: fn((Finding, Finding)) -> Finding| {
            let found: Vec<Finding> = self.directory.wanted().map(|id| of(self.transports_to(id))).collect();
            let known = [Finding::Yes, Finding::No]
                .into_iter()
                .find(|finding| found.contains(finding));
            known.unwrap_or_default()
        };
        (any(|(udp, _)| udp), any(|(_, tcp)| tcp))
    }

    /// The same of one supernode.
    fn transports_to(&self, id: PeerId) -> (Finding, Finding) {
        let registered = self.directory.relay_index(id).is_some();
        let path = self.peers.get(id).and_then(|peer| peer.path).filter(|_| registered);
        match path {
            Some(Path::Direct(leg)) if leg.is_stream() => (Finding::No, Finding::Yes),
            Some(Path::Direct(_)) => (Finding::Yes, Finding::Unknown),
            _ => (Finding::Unknown, Finding::Unknown),
        }
    }

    /// What the router gave on demand.
    pub(crate) fn port_mapping(&self) -> PortMapping {
        let mut mapped = self.traversal.mapped().iter();
        if mapped.any(|endpoint| is_global(endpoint.ip())) {
            PortMapping::Held
        } else if self.traversal.mapped().is_empty() {
            PortMapping::Unknown
        } else {
            PortMapping::Refused
        }
    }

    /// Whether a carrier translates: a card or the router's outside has an address that only carriers give (RFC 6598), or
    /// the router was given another one than supernodes see.
    pub(crate) fn carrier(&self) -> Finding {
        let given = |endpoint: &SocketAddr| is_carriers(endpoint.ip());
        let mapped = self.traversal.mapped();
        let mut routers = mapped.iter().filter(|endpoint| endpoint.is_ipv4());
        let seen = self.traversal.observed().filter(|(_, seen)| seen.is_ipv4());
        let seen: BTreeSet<IpAddr> = seen.map(|(_, seen)| seen.ip()).collect();
        let behind = self.traversal.local().iter().chain(mapped).any(given);
        match routers.next() {
            _ if behind => Finding::Yes,
            Some(outside) if !seen.is_empty() => (!seen.contains(&outside.ip())).into(),
            _ => Finding::Unknown,
        }
    }
}
