//! Worlds drawn at random: supernodes, NATs, nodes and networks.

use std::time::Duration;

use super::{
    lab::{HostId, Lab, NetId},
    links::LinkQuality,
    nat::{Filtering, Mapping, NatKind, Ports},
    random::ReproducibleRandom,
    underlay::NatId,
};

/// A lab with everything in it that a run plays with.
#[derive(Debug)]
pub(super) struct World {
    pub(super) lab: Lab,
    pub(super) supernodes: Vec<HostId>,
    pub(super) nodes: Vec<HostId>,
    pub(super) networks: Vec<NetId>,
    /// Whether each node has joined each network, up or not.
    pub(super) joined: Vec<Vec<bool>>,
    /// All NATs.
    pub(super) nats: Vec<NatId>,
    /// Where nodes can be: on the open Internet or behind these NATs.
    pub(super) places: Vec<Option<NatId>>,
    /// How links behave when nothing is wrong.
    pub(super) healthy: LinkQuality,
}

/// One run in this many is a big one.
const BIG: u64 = 16;

/// One run in this many, those with this remainder, has more than three supernodes.
const LARGE_WORLD: u64 = 8;
const LARGE_WORLD_AT: u64 = 5;

/// The least number of nodes of a big run.
pub(super) const MANY: usize = 200;

const MILLISECOND: Duration = Duration::from_millis(1);

impl World {
    /// The world of a seed. Its nodes have joined, and nothing has happened yet.
    pub(super) fn draw(seed: u64, random: &mut ReproducibleRandom) -> Self {
        let big = seed.is_multiple_of(BIG);
        let mut lab = Lab::new(seed);
        let healthy = LinkQuality::of_delay(random.duration_below(70 * MILLISECOND) + 5 * MILLISECOND)
            .with_jitter(random.duration_below(4 * MILLISECOND));
        lab.set_links(healthy);
        // Members of a big network are looked up at one supernode, which after a restart knows only those that have spoken
        // to it since. In worlds of more than three, records are kept by some of them only.
        let supernodes = match seed % LARGE_WORLD {
            _ if big => 1,
            LARGE_WORLD_AT => 4 + random.below(3),
            _ => 1 + random.below(3),
        };
        let supernodes: Vec<HostId> = (0..supernodes).map(|_| lab.add_supernode()).collect();
        let networks: Vec<NetId> = (0..if big { 1 } else { 1 + random.below(2) })
            .map(|number| match random.below(if big { 8 } else { 2 }) {
                // Friends ask everybody about whom no list names: in a big network that takes long to simulate.
                0 => lab.add_link_network(),
                _ => lab.add_name_network(["earth", "water"][number as usize]),
            })
            .collect();
        let count = if big {
            MANY + random.below(40) as usize
        } else {
            2 + random.below(15) as usize
        };
        let carriers: Vec<NatId> = (0..1 + random.below(2))
            .map(|_| lab.add_nat(draw_kind(random)))
            .collect();
        let homes: Vec<NatId> = (0..count * 2 / 3 + 1)
            .map(|_| {
                let kind = draw_kind(random);
                if random.chance(0.25) {
                    lab.add_nat_behind(carriers[random.below(carriers.len() as u64) as usize], kind)
                } else {
                    lab.add_nat(kind)
                }
            })
            .collect();
        // About one node in six is on the open Internet.
        let open = homes.len() / 5 + 1;
        let places: Vec<Option<NatId>> = homes
            .iter()
            .copied()
            .map(Some)
            .chain(std::iter::repeat_n(None, open))
            .collect();
        let nodes: Vec<HostId> = (0..count)
            .map(|_| {
                let place = places[random.below(places.len() as u64) as usize];
                lab.add_node(place)
            })
            .collect();
        let joined: Vec<Vec<bool>> = nodes
            .iter()
            .map(|_| {
                (0..networks.len())
                    .map(|network| network == 0 || random.chance(0.6))
                    .collect()
            })
            .collect();
        for (node, joined) in nodes.iter().zip(&joined) {
            for (&network, _) in networks.iter().zip(joined).filter(|(_, joined)| **joined) {
                lab.join(*node, network);
            }
        }
        Self {
            lab,
            supernodes,
            nodes,
            networks,
            joined,
            nats: carriers.into_iter().chain(homes).collect(),
            places,
            healthy,
        }
    }

    pub(super) fn is_big(&self) -> bool {
        self.nodes.len() >= MANY
    }

    /// Whether a node is up and in a network.
    pub(super) fn is_member(&self, node: usize, network: usize) -> bool {
        self.joined[node][network] && self.lab.is_up(self.nodes[node])
    }

    /// The members of a network that are up.
    pub(super) fn members(&self, network: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&node| self.is_member(node, network))
            .collect()
    }
}

/// Any NAT there is; most of them map by inside endpoint and filter by outside endpoint, as they do in the world.
fn draw_kind(random: &mut ReproducibleRandom) -> NatKind {
    let mapping = match random.below(20) {
        0..=11 => Mapping::EndpointIndependent,
        12..=14 => Mapping::AddressDependent,
        _ => Mapping::Symmetric,
    };
    let ports = match random.below(20) {
        0..=11 => Ports::Preserved,
        12..=15 => Ports::Random,
        _ => Ports::Sequential,
    };
    let lifetime = match random.below(20) {
        0..=11 => 30,
        12..=16 => 31 + random.below(150),
        _ => 10 + random.below(12),
    };
    NatKind {
        mapping,
        filtering: draw_filtering(random),
        ports,
        lifetime: Duration::from_secs(lifetime),
        hairpin: random.chance(0.3),
        poisoned: random.chance(0.2),
        blocks_udp: false,
        blocks_udp_in: false,
        firewall: random.chance(0.5).then(|| draw_filtering(random)),
    }
}

fn draw_filtering(random: &mut ReproducibleRandom) -> Filtering {
    match random.below(5) {
        0 => Filtering::EndpointIndependent,
        1 => Filtering::AddressDependent,
        _ => Filtering::AddressAndPortDependent,
    }
}
