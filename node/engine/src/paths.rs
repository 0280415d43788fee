//! Ways to peers: the relay, which is chosen in `relays`, and the report of every change of the way that data takes. What
//! comes from a peer shows a way to it, too (see `inbound`).

use std::time::Duration;

use farlan_crypto::NodeId;
use tracing::info;

use crate::{
    Engine, Event, Leg, PathKind, Time,
    peers::{Path, PeerId},
};

/// Two ends that begin over different supernodes take each other's for a moment; what is left after this time is the way.
pub(crate) const RELAY_SETTLED: Duration = Duration::from_secs(1);

/// The way of data to a peer, as far as a change of it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Straight.
    Direct(Leg),
    /// Over a supernode, or over one that is still to be found.
    Relay(Option<PeerId>),
}

impl Engine {
    /// Chooses a way to a peer that has none, or whose relay is not registered any more.
    pub(crate) fn find_path(&mut self, now: Time, id: PeerId) {
        self.find_relay(now, id);
        self.report_path(id, "its supernode is lost");
    }

    /// The same, where the caller reports what comes of it.
    pub(crate) fn find_relay(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.supernode {
            return;
        }
        if let Some(path) = peer.path.filter(|path| self.envelope(*path).is_some()) {
            self.visit(now, Some(path));
            return;
        }
        let path = self.relay_path(now, id);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = path;
        }
    }

    /// Reports the supernode that a peer took, once it stays with it.
    pub(crate) fn tend_report(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.moved.take_if(|moved| now.since(*moved) >= RELAY_SETTLED).is_some() {
            self.report_path(id, "the peer took it");
        }
    }

    /// Reports the way of data to a peer if it is another than before: straight or over which supernode. Of whom no session
    /// stands, and of the first way over a supernode, there is nothing to report.
    pub(crate) fn report_path(&mut self, id: PeerId, reason: &'static str) {
        let standing = |peer: &&crate::peers::Peer| !peer.supernode && peer.sessions.current().is_some();
        let Some(peer) = self.peers.get(id).filter(standing) else {
            return;
        };
        let way = peer.way();
        let next = match way {
            Some(Path::Direct(leg)) => Reported::Direct(leg),
            Some(Path::Relay { supernode, .. }) => Reported::Relay(Some(supernode)),
            // It would be the relay, if there were one.
            Some(Path::Passed { .. }) | None => Reported::Relay(None),
        };
        let (before, node) = (peer.reported, peer.key.node_id());
        let nowhere = next == Reported::Relay(None) && matches!(before, None | Some(Reported::Relay(_)));
        if nowhere || before == Some(next) {
            return;
        }
        let address = way
            .and_then(|way| self.envelope(way))
            .map(|envelope| envelope.destination().endpoint);
        let supernode = way.and_then(|way| self.supernode_on(way));
        if let Some(peer) = self.peers.get_mut(id) {
            peer.reported = Some(next);
        }
        // That it would be the relay was reported before there was one.
        if matches!((before, next), (None | Some(Reported::Relay(None)), Reported::Relay(_))) {
            return;
        }
        let kind = match next {
            Reported::Direct(_) => PathKind::Direct,
            Reported::Relay(_) => PathKind::Relay,
        };
        match supernode {
            Some(supernode) => {
                info!(peer = %node.short(), path = %kind, supernode = %supernode.short(), reason, "path changed");
            }
            None => info!(peer = %node.short(), path = %kind, reason, "path changed"),
        }
        self.events.push(Event::PathChanged {
            node,
            path: kind,
            address,
            reason,
        });
    }

    /// The supernode over which a path leads first.
    pub(crate) fn supernode_on(&self, path: Path) -> Option<NodeId> {
        match path {
            Path::Relay { supernode, .. } => Some(self.peers.get(supernode)?.key.node_id()),
            Path::Direct(_) | Path::Passed { .. } => None,
        }
    }
}
