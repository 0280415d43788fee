//! A laboratory of one private network.

use farlan_netconf::{
    AddressPlan,
    private::{Admission, Refusal},
};

use super::{
    club::{Club, MORNING, join, set_clock},
    lab::{Lab, Place, frame},
};
use crate::{Event, Membership, NetworkHandle, Role};

/// A supernode, and nodes that join one private network when a test says so.
pub(super) struct Town {
    pub(super) lab: Lab,
    pub(super) club: Club,
    pub(super) nodes: Vec<Place>,
    pub(super) networks: Vec<NetworkHandle>,
}

impl Town {
    pub(super) fn new(nodes: usize) -> Self {
        let mut lab = Lab::new();
        let supernode = lab.add(Role::Supernode);
        let nodes: Vec<Place> = (0..nodes).map(|_| lab.add(Role::Node)).collect();
        for node in &nodes {
            lab.set_world(*node, 1, &[supernode]);
            set_clock(&mut lab, *node, MORNING);
        }
        Self {
            lab,
            club: Club::new(100),
            nodes,
            networks: Vec::new(),
        }
    }

    /// All have certificates.
    pub(super) fn of_members(nodes: usize) -> Self {
        let mut town = Self::new(nodes);
        for node in 0..nodes {
            town.join_as_member(node);
        }
        town
    }

    pub(super) fn key(&self, node: usize) -> farlan_crypto::PublicKey {
        self.lab.key(self.nodes[node])
    }

    pub(super) fn join_as_member(&mut self, node: usize) {
        let key = self.key(node);
        let membership = self.club.member(key);
        self.join(node, membership);
    }

    pub(super) fn join(&mut self, node: usize, membership: Membership) {
        let network = join(&mut self.lab, self.nodes[node], &self.club, membership);
        self.networks.resize(self.networks.len().max(node + 1), network);
        self.networks[node] = network;
    }

    pub(super) fn engine(&mut self, node: usize) -> &mut crate::Engine {
        &mut self.lab.hosts[self.nodes[node]].engine
    }

    pub(super) fn frame(&self, from: usize, to: usize, mark: u8) -> Vec<u8> {
        let plan = AddressPlan::new(&self.club.network.id(), self.club.network.subnet());
        let mac = |node: usize| plan.mac(&self.key(node).node_id());
        frame(mac(to), mac(from), mark)
    }

    pub(super) fn send(&mut self, from: usize, to: usize, mark: u8) -> Vec<u8> {
        let frame = self.frame(from, to, mark);
        self.lab.send(self.nodes[from], self.networks[from], &frame);
        frame
    }

    /// Sends a frame, and says whether it arrives within a second.
    pub(super) fn reaches(&mut self, from: usize, to: usize, mark: u8) -> bool {
        let now = self.lab.now.as_nanos().to_be_bytes();
        let frame = [&self.frame(from, to, mark)[..], &now].concat();
        self.lab.send(self.nodes[from], self.networks[from], &frame);
        self.lab.run_seconds(1);
        self.lab.received(self.nodes[to], self.networks[to], &frame) == 1
    }

    pub(super) fn frames(&self, node: usize) -> usize {
        self.lab.hosts[self.nodes[node]].frames.len()
    }

    pub(super) fn shares(&self, node: usize, with: usize) -> bool {
        let engine = &self.lab.hosts[self.nodes[node]].engine;
        let id = engine.peers.by_node(&self.key(with).node_id());
        id.is_some_and(|id| engine.shares(id, self.networks[node]))
    }

    pub(super) fn events(&self, node: usize) -> &[Event] {
        &self.lab.hosts[self.nodes[node]].events
    }

    pub(super) fn revocations_reach(&mut self, node: usize) {
        let (now, revocations, network) = (self.lab.now, self.club.revocations.clone(), self.networks[node]);
        self.engine(node).revocations_known(now, network, &revocations);
        assert_eq!(self.engine(node).revocations(network), Some(&revocations));
    }

    pub(super) fn config_reaches(&mut self, node: usize) {
        let (now, config, network) = (self.lab.now, self.club.config(), self.networks[node]);
        self.engine(node).config_known(now, network, config.clone());
        assert_eq!(self.engine(node).config(network), Some(&config));
    }
}

/// A controller's daemon: answers what is asked.
pub(super) fn answer(town: &mut Town, node: usize, refusal: Option<Refusal>) -> usize {
    let mut answered = 0;
    let events = std::mem::take(&mut town.lab.hosts[town.nodes[node]].events);
    for event in &events {
        let Event::Application {
            network,
            node: key,
            request,
            ..
        } = event
        else {
            continue;
        };
        let admission = match refusal {
            Some(refusal) => Admission::Refused(refusal),
            None => {
                let fields = town.club.fields(*key);
                Admission::Granted(Box::new(town.club.sign(fields)))
            }
        };
        town.engine(node)
            .answer_application(*network, &key.node_id(), *request, &admission);
        answered += 1;
    }
    answered
}
