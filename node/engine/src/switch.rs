//! The virtual switch: where a frame of this machine goes, and which frames of others are let in.

use std::{collections::VecDeque, time::Duration};

use farlan_crypto::{NodeId, defects::planted};
use farlan_netconf::{Mac, NodePrefix, Policy};

use crate::{
    Engine, NetworkHandle, Outbox, Time,
    lookups::LookupTarget,
    neighbours::{Asked, Question, answer, is_membership_report, question},
    networks::Network,
    peers::PeerId,
    wire::{control::Query, sealed::MACS},
};

/// An Ethernet header: destination, source, ethertype.
pub(crate) const HEADER: usize = 14;

/// The longest frame taken from a card: the largest network MTU, header and two VLAN tags.
pub(crate) const MAX_FRAME: usize = 9000 + HEADER + 8;

/// Frames of one network that wait for the directory; the oldest gives way.
const MAX_HELD: usize = 32;

/// How long a frame waits for the directory: longer than the 1 s after which a kernel asks again.
const HELD: Duration = Duration::from_secs(3);

/// What becomes of a frame of this machine.
#[derive(Debug)]
pub(crate) enum Route {
    /// To one peer; `own` if its MACs are the two nodes' own.
    Peer { peer: PeerId, own: bool },
    /// To all members.
    Group,
    /// This frame is the answer.
    Answer(Vec<u8>),
    /// Wait until the directory knows more, after asking it; meanwhile all members are asked too where `flood` says so.
    Ask {
        target: LookupTarget,
        query: Option<Query>,
        flood: bool,
    },
    /// Dropped, or consumed.
    Nowhere,
}

/// Frames that wait for the directory to know more.
#[derive(Debug, Default)]
pub(crate) struct HeldFrames(VecDeque<Held>);

#[derive(Debug)]
struct Held {
    network: NetworkHandle,
    frame: Vec<u8>,
    since: Time,
}

impl HeldFrames {
    pub(crate) fn push(&mut self, now: Time, network: NetworkHandle, frame: &[u8]) {
        let mut of_network = self.0.iter().enumerate().filter(|(_, held)| held.network == network);
        if let Some((oldest, _)) = of_network.next()
            && of_network.count() + 1 >= MAX_HELD
        {
            self.0.remove(oldest);
        }
        self.0.push_back(Held {
            network,
            frame: frame.to_vec(),
            since: now,
        });
    }

    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.0.retain(|held| held.network != network);
    }

    /// Takes the frames of a network out for which `wanted` holds.
    pub(crate) fn take(&mut self, network: NetworkHandle, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        self.0.retain_mut(|held| {
            let take = held.network == network && wanted(&held.frame);
            if take {
                taken.push(std::mem::take(&mut held.frame));
            }
            !take
        });
        taken
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.0.front().map(|held| held.since + HELD)
    }
}

impl Engine {
    /// Decides where a frame of this machine goes.
    pub(crate) fn route(&mut self, now: Time, handle: NetworkHandle, frame: &[u8]) -> Route {
        let Some(network) = self.networks.get(handle) else {
            return Route::Nowhere;
        };
        let Some(destination) = mac_at(frame, 0).filter(|_| (HEADER..=MAX_FRAME).contains(&frame.len())) else {
            self.counters.malformed_frames += 1;
            return Route::Nowhere;
        };
        if destination.is_group() {
            let Some(question) = question(frame) else {
                let consumed = is_membership_report(frame);
                return if consumed { Route::Nowhere } else { Route::Group };
            };
            if let Some(route) = self.hand_set_route(now, handle, frame, &question) {
                return route;
            }
            let network = self.networks.get(handle);
            return network.map_or(Route::Nowhere, |network| {
                neighbour_route(network, frame, &question, &self.node_id)
            });
        }
        let Some(prefix) = network.plan.prefix_of_mac(destination) else {
            return self.foreign_route(now, handle, destination, None);
        };
        if prefix.matches(&self.node_id) {
            return Route::Nowhere;
        }
        let member = network.member_by_prefix(&prefix).map(|member| member.key);
        // A peer that no list names (any more) may still be in the network: it proved so in its session.
        let known = || self.peers.by_prefix(&prefix).filter(|id| self.shares(*id, handle));
        let own_source = mac_at(frame, 6) == Some(network.mac);
        let peer = match member {
            Some(key) => self.peers.by_node(&key.node_id()).or_else(|| self.pin(now, key)),
            None => known(),
        };
        let peer = match peer {
            // Another peer than the one meant.
            Some(meant) if planted("wrong-receiver") => self.peers.ids().into_iter().find(|id| *id != meant),
            peer => peer,
        };
        match peer {
            Some(peer) => {
                let node = self.peers.get(peer).map(|peer| peer.key.node_id());
                let plan = self.networks.get(handle).map(|network| &network.plan);
                let derived = plan.zip(node).map(|(plan, node)| plan.mac(&node));
                let own = own_source && derived == Some(destination);
                Route::Peer { peer, own }
            }
            None => self.foreign_route(now, handle, destination, Some(prefix)),
        }
    }

    /// Whether a peer proved to be in a network, in a session that stands.
    pub(crate) fn shares(&self, id: PeerId, network: NetworkHandle) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.up.contains(&network))
    }

    /// Whether the MACs of `frame` are this node's own and that of peer `id`.
    pub(crate) fn is_own_pair(&self, network: NetworkHandle, id: PeerId, frame: &[u8]) -> bool {
        let (Some(network), Some(peer)) = (self.networks.get(network), self.peers.get(id)) else {
            return false;
        };
        mac_at(frame, 0) == Some(network.plan.mac(&peer.key.node_id())) && mac_at(frame, 6) == Some(network.mac)
    }

    /// Tries the held frames of a network again, now that the directory knows more.
    pub(crate) fn try_held_again(&mut self, now: Time, network: NetworkHandle, out: &mut Outbox) {
        let held = std::mem::take(&mut self.held.0);
        for held in held {
            if held.network != network {
                self.held.0.push_back(held);
                continue;
            }
            match self.route(now, network, &held.frame) {
                Route::Peer { peer, own } => self.send_frame(now, peer, network, &held.frame, own, out),
                Route::Answer(answer) => {
                    self.counters.neighbours_answered += 1;
                    out.frames.push(network, &answer);
                }
                // It went to all members when it came.
                Route::Ask { .. } => self.held.0.push_back(held),
                Route::Group | Route::Nowhere => {}
            }
        }
        self.seal_pending(out);
    }

    /// Drops frames that waited too long.
    pub(crate) fn tend_held(&mut self, now: Time) {
        while self.held.0.front().is_some_and(|held| now.since(held.since) >= HELD) {
            self.held.0.pop_front();
            self.counters.queue_dropped += 1;
        }
    }

    /// Whether a frame that peer `id` sent into a network may reach the card.
    pub(crate) fn admits(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let (Some(network), Some(peer)) = (self.networks.get(handle), self.peers.get(id)) else {
            return false;
        };
        if !(HEADER..=MAX_FRAME).contains(&frame.len()) {
            self.counters.malformed_frames += 1;
            return false;
        }
        let node = peer.key.node_id();
        let source = mac_at(frame, 6);
        let own_mac = source == Some(network.plan.mac(&node));
        match network.policy {
            Policy::Friends => {
                // Nobody can take another node's derived MAC.
                let taken = source.filter(|_| !own_mac).is_some_and(|source| {
                    source == network.mac
                        || network.plan.prefix_of_mac(source).is_some_and(|prefix| {
                            let proved = self.peers.by_prefix(&prefix);
                            network.member_by_prefix(&prefix).is_some()
                                || proved.is_some_and(|other| other != id && self.shares(other, handle))
                        })
                });
                if taken {
                    self.counters.foreign_source_mac += 1;
                }
                !taken
            }
            Policy::Strangers => self.lets_stranger_in(now, id, handle, frame),
        }
    }
}

/// Where a question about a neighbour goes.
fn neighbour_route(network: &Network, frame: &[u8], asked: &Question, node: &NodeId) -> Route {
    let to_all = match network.policy {
        Policy::Friends => Route::Group,
        Policy::Strangers => Route::Nowhere,
    };
    match asked.target {
        Asked::Ipv4(address) => {
            if network.ipv4_held() == Some(address) {
                // An announcement, or the kernel's own check for a duplicate.
                return Route::Nowhere;
            }
            if let Some(member) = network.member_by_ipv4(address) {
                let mac = network.plan.mac(&member.key.node_id());
                return Route::Answer(answer(frame, asked, mac));
            }
            if !network.parameters.subnet.is_host(address) || asked.is_announcement {
                return to_all;
            }
            let flood = network.policy == Policy::Friends;
            let query = (!network.list_complete()).then(|| Query::Address(network.secret.address_key(address)));
            Route::Ask {
                target: LookupTarget::Ipv4(address),
                query,
                flood,
            }
        }
        Asked::Ipv6(address) => {
            let plan = &network.plan;
            let Some(prefix) = plan
                .prefix_of_ipv6(address)
                .or_else(|| plan.prefix_of_link_local(address))
            else {
                return to_all;
            };
            if prefix.matches(node) {
                return Route::Nowhere;
            }
            if let Some(member) = network.member_by_prefix(&prefix) {
                let owner = member.key.node_id();
                // Another address that only begins like a member's is not its.
                if plan.ipv6(&owner) == address || plan.link_local(&owner) == address {
                    return Route::Answer(answer(frame, asked, plan.mac(&owner)));
                }
                return to_all;
            }
            match ask_for_node(&prefix) {
                Route::Ask { target, query, .. } => Route::Ask {
                    target,
                    query: query.filter(|_| !network.list_complete()),
                    flood: network.policy == Policy::Friends,
                },
                other => other,
            }
        }
    }
}

pub(crate) fn ask_for_node(prefix: &NodePrefix) -> Route {
    let (low, _) = prefix.bounds();
    let target = LookupTarget::Node {
        low,
        bits: prefix.bits(),
    };
    Route::Ask {
        target,
        query: Some(Query::Prefix(*prefix)),
        flood: false,
    }
}

/// What the directory is asked for on behalf of a held frame.
pub(crate) fn target_of(
    frame: &[u8],
    handle: NetworkHandle,
    networks: &crate::networks::Networks,
) -> Option<LookupTarget> {
    let network = networks.get(handle)?;
    let prefix = match question(frame).map(|question| question.target) {
        Some(Asked::Ipv4(address)) => return Some(LookupTarget::Ipv4(address)),
        Some(Asked::Ipv6(address)) => network
            .plan
            .prefix_of_ipv6(address)
            .or_else(|| network.plan.prefix_of_link_local(address))?,
        None => network.plan.prefix_of_mac(mac_at(frame, 0)?)?,
    };
    let (low, _) = prefix.bounds();
    Some(LookupTarget::Node {
        low,
        bits: prefix.bits(),
    })
}

/// EtherTypes.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Whether a frame speaks for an IPv4 address, by what it says from its EtherType on.
pub(crate) fn carries_ipv4(rest: &[u8]) -> bool {
    let ethertype = rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    matches!(ethertype, Some(IPV4 | ARP))
}

/// The MAC at byte `at` of a frame.
pub(crate) fn mac_at(frame: &[u8], at: usize) -> Option<Mac> {
    debug_assert!(at + 6 <= MACS);
    frame.get(at..)?.first_chunk::<6>().map(|bytes| Mac::from_bytes(*bytes))
}
