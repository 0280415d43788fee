//! Faults of a lab beyond a host's life: addresses, clocks, links; and what the model hears of them.

use std::{net::SocketAddr, time::Duration};

use farlan_engine::Role;

use super::{
    super::{
        faults::{FaultCounts, FaultKind},
        nat::NatKind,
        underlay::{NatId, REPLAYED},
    },
    HostId, Lab,
};

/// NATs that forget sooner than this are faults in themselves: no keep-alive of 25 s holds a flow there.
const SHORT_LIVED: Duration = Duration::from_secs(30);

impl Lab {
    /// Supernodes are listed with IPv6 before IPv4 for all that start from now on: who has both is registered by IPv6.
    pub fn list_ipv6_first(&mut self) {
        self.ipv6_first = true;
    }

    /// A host moves to new addresses, on the open Internet or behind a NAT; its engine goes on.
    pub fn roam(&mut self, host: HostId, nat: Option<NatId>) {
        self.record("roam", host.0, &[]);
        if self.hosts[host.0].engine.is_some() {
            self.underlay.faults().fired(FaultKind::Roam);
        }
        self.model.health(self.now).disturb(self.now, host.0);
        self.underlay.move_host(host.0, nat);
        self.break_streams(host.0);
        let (time, endpoints) = (self.engine_time(host.0), self.underlay.endpoints(host.0));
        if let Some(engine) = &mut self.hosts[host.0].engine {
            engine.set_local_endpoints(time, endpoints);
            self.run_timers(host.0);
        }
    }

    /// A NAT forgets its flows, and gives the same ports as before where it keeps those of the inside.
    pub fn reboot(&mut self, nat: NatId) {
        self.tell_rebound(nat);
        self.break_streams_behind(nat);
        self.underlay.reboot(self.now, nat);
    }

    /// A NAT gets another outside address from its provider, and forgets its flows.
    pub fn renumber(&mut self, nat: NatId) {
        self.tell_rebound(nat);
        self.break_streams_behind(nat);
        self.underlay.renumber(self.now, nat);
    }

    /// A NAT does something else from now on: lets no UDP out, or forgets sooner. Flows that it knows stay.
    pub fn set_nat(&mut self, nat: NatId, kind: NatKind) {
        self.tell_rebound(nat);
        self.underlay.set_kind(nat, kind);
    }

    /// A host falls asleep: it hears nothing and does nothing until it is woken.
    pub fn sleep(&mut self, host: HostId) {
        self.record("sleep", host.0, &[]);
        self.model.health(self.now).disturb(self.now, host.0);
        self.hosts[host.0].asleep.get_or_insert(self.now);
    }

    /// A host wakes up; `counted` says whether its engine's clock went on meanwhile.
    pub fn wake(&mut self, host: HostId, counted: bool) {
        let Some(since) = self.hosts[host.0].asleep.take() else {
            return;
        };
        self.record("wake", host.0, &[]);
        self.model.health(self.now).disturb(self.now, host.0);
        if !counted {
            self.hosts[host.0].started += self.now - since;
        }
        self.run_timers(host.0);
    }

    /// The clock of a host jumps ahead, as after a suspension that lasted for nobody else.
    pub fn jump_clock(&mut self, host: HostId, by: Duration) {
        self.record("jump", host.0, &by.as_nanos().to_be_bytes());
        if self.hosts[host.0].engine.is_none() {
            return;
        }
        self.underlay.faults().fired(FaultKind::ClockJump);
        self.model.health(self.now).disturb(self.now, host.0);
        self.hosts[host.0].jumped += by;
        self.run_timers(host.0);
    }

    /// How often faults of each kind had an effect.
    pub fn faults(&self) -> FaultCounts {
        self.underlay.fault_counts()
    }

    /// How often a NAT gave a flow another port because of a datagram it had refused.
    pub fn poisoned(&self) -> u64 {
        self.underlay.poisoned()
    }

    /// The NATs in front of a host, its own first.
    pub fn nats_of(&self, host: HostId) -> Vec<(NatId, NatKind)> {
        self.underlay.chain(host.0)
    }

    /// The underlay endpoints of a host as it knows them itself.
    pub fn endpoints(&self, host: HostId) -> Vec<SocketAddr> {
        self.underlay.endpoints(host.0)
    }

    /// How many datagrams of one host got to another one without passing any third.
    pub fn straight(&self, from: HostId, to: HostId) -> u64 {
        self.underlay.arrived(from.0, to.0)
    }

    /// How many extra sockets a host has open.
    pub fn extra_sockets(&self, host: HostId) -> usize {
        self.underlay.extra_sockets(host.0)
    }

    /// Whether a host is up.
    pub fn is_up(&self, host: HostId) -> bool {
        self.hosts[host.0].engine.is_some()
    }

    /// The kind of a fault that stops a host, if it runs.
    pub(super) fn running(&self, host: HostId, node: FaultKind, supernode: FaultKind) -> Option<FaultKind> {
        let host = &self.hosts[host.0];
        host.engine.as_ref().map(|_| match host.role {
            Role::Node => node,
            Role::Supernode => supernode,
        })
    }

    pub(super) fn tell_links(&mut self) {
        if self.underlay.is_replayed() {
            self.model.set_held_back(REPLAYED);
        }
        let good = self.underlay.is_lossless();
        self.model.health(self.now).set_links(self.now, good);
    }

    pub(super) fn tell_rebound(&mut self, nat: NatId) {
        for host in 0..self.hosts.len() {
            if self.underlay.chain(host).iter().any(|&(other, _)| other == nat) {
                self.model.health(self.now).rebound(self.now, host);
            }
        }
    }

    /// Excuses frames for the hosts behind a short-lived NAT that forgot a flow.
    pub(super) fn tell_expired(&mut self) {
        for nat in self.underlay.take_forgetful() {
            let Some(kind) = self.underlay.kind(nat) else { continue };
            if kind.lifetime < SHORT_LIVED {
                self.tell_rebound(nat);
            }
        }
    }
}
