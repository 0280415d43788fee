//! Beacons: what a node sends to everybody in its LAN.

use std::net::{IpAddr, SocketAddr};

use farlan_engine::{Batch, BeaconCard, LinkSubnet, Outbox, Received, Role};

use super::{super::underlay::LOCAL_DELAY, Due, Lab};

/// The one card of every host.
const CARD: u32 = 1;

impl Lab {
    /// Nodes that are behind NATs and started from now on send beacons into their LANs, by IPv4.
    pub fn use_beacons(&mut self) {
        self.beacons = true;
    }

    /// Tells the engine of a host that starts by which cards it sends beacons.
    pub(super) fn set_beacon_cards(&mut self, host: usize) {
        let in_lan = !self.underlay.chain(host).is_empty();
        let now = self.engine_time(host);
        let this = &mut self.hosts[host];
        if let (true, true, Role::Node, Some(engine)) = (self.beacons, in_lan, this.role, &mut this.engine) {
            let endpoints = self.underlay.endpoints(host);
            let subnets = endpoints.iter().filter_map(|endpoint| match endpoint.ip() {
                IpAddr::V4(address) => Some(LinkSubnet { address, prefix: 24 }),
                IpAddr::V6(_) => None,
            });
            let card = BeaconCard {
                index: CARD,
                ipv4: subnets.collect(),
                ipv6: false,
            };
            engine.set_beacon_cards(now, vec![card]);
        }
    }

    /// Sends the beacons of a host to all others of its LAN.
    pub(super) fn cast(&mut self, host: usize, out: &Outbox) {
        let home = |lab: &Self, host: usize| lab.underlay.chain(host).first().map(|nat| nat.0);
        let own = home(self, host);
        let Some(source) = self.underlay.endpoints(host).into_iter().find(SocketAddr::is_ipv4) else {
            return;
        };
        for (_, bytes) in out.beacons.iter() {
            for other in (0..self.hosts.len()).filter(|&other| other != host) {
                if own.is_some() && home(self, other) == own && !self.underlay.is_cut(host, other) {
                    self.enter(self.now + LOCAL_DELAY, Due::Beacon(other, source, bytes.to_vec()));
                }
            }
        }
    }

    pub(super) fn hear_beacon(&mut self, host: usize, source: SocketAddr, bytes: &[u8]) {
        self.record("beacon", host, bytes);
        if !self.beacons || self.hosts[host].asleep.is_some() {
            return;
        }
        let now = self.engine_time(host);
        let mut batch: Batch<Received> = Batch::default();
        batch.push(source, bytes);
        let mut out = Outbox::default();
        if let Some(engine) = &mut self.hosts[host].engine {
            engine.handle_beacons(now, &batch, &mut out);
        }
        self.deliver(host, &mut out);
        self.run_timers(host);
    }
}
