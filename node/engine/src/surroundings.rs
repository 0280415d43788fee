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
    direct::{is_carriers, is_global},
    observations::{Filtering, Finding, Mapping, PortMapping, Ports},
    peers::{Path, PeerId},
};

/// What a node knows of the network that it is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// How the NAT maps.
    pub mapping: Mapping,
    /// How it, or a firewall, filters.
    pub filtering: Filtering,
    /// How it chooses ports.
    pub ports: Ports,
    /// Whether it leads back what comes from inside.
    pub hairpin: Finding,
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
    /// Where it sees this node.
    pub seen_at: Option<SocketAddr>,
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
        let (udp, tcp) = self.reach();
        let (local, seen) = self.traversal.endpoints();
        let global = local.iter().filter(|endpoint| is_global(endpoint.ip())).copied();
        let outside: BTreeSet<SocketAddr> = seen.map(|(_, seen)| seen).chain(global).collect();
        Surroundings {
            mapping: self.mapping(),
            carrier: self.carrier(),
            udp,
            tcp,
            local: local.to_vec(),
            outside: outside.into_iter().collect(),
            hidden: self.hides(),
            supernodes: self.reached(),
            under_way: self.looks_around(),
            ..Surroundings::default()
        }
    }

    fn looks_around(&self) -> bool {
        let mut homes = self.directory.homes();
        homes.any(|home| self.peers.get(home).is_some_and(|peer| peer.relay_mtu.is_searching()))
    }

    fn reached(&self) -> Vec<Reached> {
        let wanted: Vec<PeerId> = self.directory.wanted().collect();
        let reached = |id: PeerId| {
            let peer = self.peers.get(id)?;
            let (udp, tcp) = self.reach_of(id);
            let size = peer.relay_mtu.found();
            let (_, mut seen) = self.traversal.endpoints();
            Some(Reached {
                node: peer.key.node_id(),
                seen_at: seen.find(|(supernode, _)| *supernode == id).map(|(_, seen)| seen),
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
    pub(crate) fn reach(&self) -> (Finding, Finding) {
        let any = |of: fn((Finding, Finding)) -> Finding| {
            let found: Vec<Finding> = self.directory.wanted().map(|id| of(self.reach_of(id))).collect();
            let known = [Finding::Yes, Finding::No]
                .into_iter()
                .find(|finding| found.contains(finding));
            known.unwrap_or_default()
        };
        (any(|(udp, _)| udp), any(|(_, tcp)| tcp))
    }

    /// The same of one supernode.
    fn reach_of(&self, id: PeerId) -> (Finding, Finding) {
        let answers = self.directory.is_registered_directly(id);
        let path = self.peers.get(id).and_then(|peer| peer.path).filter(|_| answers);
        match path {
            Some(Path::Direct(leg)) if leg.is_stream() => (Finding::No, Finding::Yes),
            Some(Path::Direct(_)) => (Finding::Yes, Finding::Unknown),
            _ => (Finding::Unknown, Finding::Unknown),
        }
    }

    /// How the NAT maps, as far as the endpoints tell at which supernodes see this node.
    pub(crate) fn mapping(&self) -> Mapping {
        let (local, seen) = self.traversal.endpoints();
        let seen: Vec<SocketAddr> = seen.map(|(_, seen)| seen).filter(SocketAddr::is_ipv4).collect();
        if seen.iter().any(|seen| local.contains(seen)) {
            return Mapping::None;
        }
        let endpoints: BTreeSet<&SocketAddr> = seen.iter().collect();
        let addresses: BTreeSet<IpAddr> = seen.iter().map(SocketAddr::ip).collect();
        match (seen.len(), endpoints.len(), addresses.len()) {
            (2.., 1, _) => Mapping::Same,
            (2.., 2.., 1) => Mapping::ByPort,
            _ => Mapping::Unknown,
        }
    }

    /// Whether a carrier translates: a card has an address that only carriers give (RFC 6598).
    pub(crate) fn carrier(&self) -> Finding {
        let (local, _) = self.traversal.endpoints();
        let given = local.iter().any(|own| is_carriers(own.ip()));
        if given { Finding::Yes } else { Finding::Unknown }
    }
}
