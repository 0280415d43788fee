//! The scene most tests play in.

use std::time::Duration;

use super::{
    lab::{Family, HostId, Lab, NetId, PingId},
    links::LinkQuality,
    nat::Mapping,
    underlay::NatId,
};

/// One supernode and some nodes, each behind a NAT of its own, in one network.
#[derive(Debug)]
pub struct Scene {
    /// The lab it lies in.
    pub lab: Lab,
    /// The supernode.
    pub supernode: HostId,
    /// The nodes.
    pub nodes: Vec<HostId>,
    /// Their NATs, home routers and symmetric ones in turn.
    pub nats: Vec<NatId>,
    /// The network.
    pub network: NetId,
}

/// The policy of the network of a [`Scene`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A link network, policy `friends`.
    Link,
    /// A name network, policy `strangers`.
    Name,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Link, Self::Name];
}

impl Scene {
    /// A scene of `count` nodes that have joined at time zero, without waiting for anything.
    pub fn new(seed: u64, kind: Kind, count: usize, links: LinkQuality) -> Self {
        let mut lab = Lab::new(seed);
        lab.set_links(links);
        let supernode = lab.add_supernode();
        let network = match kind {
            Kind::Link => lab.add_link_network(),
            Kind::Name => lab.add_name_network("earth"),
        };
        let mappings = [Mapping::EndpointIndependent, Mapping::Symmetric];
        let nats: Vec<NatId> = mappings
            .into_iter()
            .cycle()
            .take(count)
            .map(|mapping| lab.add_nat(mapping))
            .collect();
        let nodes: Vec<HostId> = nats.iter().map(|&nat| lab.add_node(Some(nat))).collect();
        nodes.iter().for_each(|&node| lab.join(node, network));
        Self {
            lab,
            supernode,
            nodes,
            nats,
            network,
        }
    }

    /// A scene whose nodes have registered, got their addresses and know of each other.
    pub fn settled(seed: u64, kind: Kind, count: usize, links: LinkQuality) -> Self {
        let mut scene = Self::new(seed, kind, count, links);
        scene.lab.settle(scene.network, &scene.nodes);
        scene
    }

    /// All ordered pairs of nodes.
    pub fn pairs(&self) -> Vec<(HostId, HostId)> {
        let pair = |&from: &HostId| {
            self.nodes
                .iter()
                .filter(move |&&to| to != from)
                .map(move |&to| (from, to))
        };
        self.nodes.iter().flat_map(pair).collect()
    }

    /// Pings once.
    pub fn ping(&mut self, from: HostId, to: HostId, family: Family) -> PingId {
        self.lab.ping(from, to, self.network, family)
    }

    /// Pings once and waits for the answer; none within `limit` is nothing.
    pub fn ping_for(&mut self, from: HostId, to: HostId, family: Family, limit: Duration) -> Option<Duration> {
        let ping = self.ping(from, to, family);
        self.lab.run_until(limit, |lab| lab.answer(ping).is_some())?;
        self.lab.answer(ping)
    }

    /// Pings every `interval` until an answer comes, and returns the time to that answer; none within `limit` is
    /// nothing.
    pub fn ping_until_answered(
        &mut self,
        from: HostId,
        to: HostId,
        family: Family,
        interval: Duration,
        limit: Duration,
    ) -> Option<Duration> {
        let start = self.lab.now();
        let mut pings = Vec::new();
        while self.lab.now() - start < limit {
            pings.push((self.ping(from, to, family), self.lab.now() - start));
            let answered = self.lab.run_until(interval, |lab| {
                pings.iter().any(|&(ping, _)| lab.answer(ping).is_some())
            });
            if answered.is_some() {
                break;
            }
        }
        pings
            .iter()
            .filter_map(|&(ping, sent)| Some(sent + self.lab.answer(ping)?))
            .min()
    }
}
