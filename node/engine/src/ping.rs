//! Asking a peer, inside the session, for a sign of life.

use std::net::IpAddr;

use crate::{Engine, Event, Outbox, Target, Time, handshakes::Via, peers::PeerId, wire::control::Control};

/// Pings that wait for an answer, oldest first; the oldest gives way.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: Vec<Waiting>,
    /// Peers with pings asked for since the last turn.
    fresh: Vec<PeerId>,
}

#[derive(Debug)]
struct Waiting {
    token: u64,
    /// The number on the wire.
    nonce: u64,
    peer: PeerId,
    /// When it was sent; not yet where no session stands.
    sent: Option<Time>,
}

const MAX_WAITING: usize = 64;

impl Pings {
    pub(crate) fn wait_for(&self, peer: PeerId) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.peer == peer && waiting.sent.is_none())
    }

    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.waiting.retain(|waiting| waiting.peer != peer);
    }

    /// Whether pings were asked for since the last turn.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }
}

impl Engine {
    /// Sends a ping as soon as a session stands; `token` comes back in the event.
    pub fn ping(&mut self, now: Time, target: Target, token: u64) {
        let found = self
            .ping_target(now, target)
            .filter(|id| self.peers.get(*id).is_some_and(|peer| peer.key != self.public));
        let Some(peer) = found else {
            self.events.push(Event::PingFailed {
                token,
                reason: "nobody with that id or address is known",
            });
            return;
        };
        if self.pings.waiting.len() >= MAX_WAITING {
            self.pings.waiting.remove(0);
        }
        let nonce = self.random_u64();
        self.pings.waiting.push(Waiting {
            token,
            nonce,
            peer,
            sent: None,
        });
        self.want(now, peer);
        self.pings.fresh.push(peer);
    }

    /// Sends the pings asked for since the last turn, where a session stands.
    pub(crate) fn tend_pings(&mut self, now: Time, out: &mut Outbox) {
        for id in std::mem::take(&mut self.pings.fresh) {
            self.send_pings(now, id, out);
        }
    }

    /// Whom a target means, if that is known here.
    pub(crate) fn ping_target(&mut self, now: Time, target: Target) -> Option<PeerId> {
        let key = match target {
            Target::Node(node) => {
                if let Some(id) = self.peers.by_node(&node) {
                    return Some(id);
                }
                self.networks.iter().find_map(|network| network.member(&node))?.key
            }
            Target::Address(handle, address) => {
                let network = self.networks.get(handle)?;
                match address {
                    IpAddr::V4(address) => network.member_by_ipv4(address)?.key,
                    IpAddr::V6(address) => {
                        let prefix = network
                            .plan
                            .prefix_of_ipv6(address)
                            .or_else(|| network.plan.prefix_of_link_local(address))?;
                        network.member_by_prefix(&prefix)?.key
                    }
                }
            }
        };
        self.pin(now, key)
    }

    /// Sends the pings that waited for a session with `id`.
    pub(crate) fn send_pings(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if self.peers.get(id).is_none_or(|peer| peer.sessions.current().is_none()) {
            return;
        }
        let mut due = Vec::new();
        for waiting in self
            .pings
            .waiting
            .iter_mut()
            .filter(|waiting| waiting.peer == id && waiting.sent.is_none())
        {
            waiting.sent = Some(now);
            due.push(Control::Ping { token: waiting.nonce });
        }
        if !due.is_empty() {
            self.send_control(now, id, None, &due, out);
            self.expect_answer(now, id);
            self.note_use(now, id, out);
        }
    }

    /// A peer answered.
    pub(crate) fn ponged(&mut self, now: Time, id: PeerId, via: Via, nonce: u64, out: &mut Outbox) {
        if self.size_answered(now, id, nonce) {
            return;
        }
        let Some(position) = self
            .pings
            .waiting
            .iter()
            .position(|waiting| waiting.peer == id && waiting.nonce == nonce)
        else {
            return;
        };
        let waiting = self.pings.waiting.remove(position);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(sent) = waiting.sent else { return };
        let path = via.path();
        let rtt = now.since(sent);
        peer.measure_rtt(rtt);
        let node = peer.key.node_id();
        let kind = path.kind();
        let supernode = self.supernode_on(path);
        if let Some(envelope) = self.envelope(path) {
            out.events.push(Event::Pong {
                token: waiting.token,
                node,
                rtt,
                path: kind,
                address: envelope.destination().endpoint,
                supernode,
                tcp: envelope.destination().is_stream(),
            });
        }
    }
}
