//! How many peers are kept, and who makes room for whom.
//!
//! The least valuable go first: who has no session, then who proved no common network, then those to whom this machine
//! sends least. Whoever this machine has long spoken with makes room for nobody.

use std::time::Duration;

use farlan_crypto::PublicKey;

use crate::{
    Engine, Event, Role, Time,
    peers::{Peer, PeerId},
};

/// Nodes that have a session with a supernode and are not registered (yet): as many, or twice those whose first word it waits for.
const MAX_UNREGISTERED: usize = 4096;

/// So many of the table make room at once, so that it is not looked through for each newcomer.
const SHARE: usize = 16;

/// Of the peers of a node no more than so many at once: each may have been of use.
const MOST_AT_ONCE: usize = 256;

/// A peer with whom this machine has spoken for so long ...
const LONG: Duration = Duration::from_secs(60);

/// ... and not longer ago than this stays.
const LATELY: Duration = Duration::from_secs(600);

impl Engine {
    /// The peer with `key`, made if it is new and there is room for it.
    pub(crate) fn pin(&mut self, now: Time, key: PublicKey) -> Option<PeerId> {
        let is_new = self.peers.by_node(&key.node_id()).is_none();
        if is_new && !self.has_room(now) {
            self.counters.peers_refused += 1;
            return None;
        }
        let id = self.peers.pin(key)?;
        if is_new {
            if self.role == Role::Supernode {
                self.anchor.unregistered.insert(id);
            }
            self.recall(id);
        }
        Some(id)
    }

    /// Nodes for which a supernode has room beside the registered ones.
    fn max_unregistered(&self) -> usize {
        (2 * self.max_half_open()).max(MAX_UNREGISTERED)
    }

    /// Whether there is room for another peer; if not, those of least value make some. At a supernode the registered ones stay and are
    /// not looked at, for there may be a million, and of very many others only those that came first are.
    fn has_room(&mut self, now: Time) -> bool {
        let rank = |(id, peer): (PeerId, &Peer)| Some((value(now, peer)?, id));
        let (share, mut ranked): (usize, Vec<_>) = match self.role {
            Role::Node => {
                if self.peers.len() < self.max_peers {
                    return true;
                }
                let share = (self.max_peers / SHARE).clamp(1, MOST_AT_ONCE);
                (share, self.peers.iter().filter_map(rank).collect())
            }
            Role::Supernode => {
                let most = self.max_unregistered();
                if self.peers.len() < self.anchor.places.most() + most {
                    return true;
                }
                let unregistered = self.anchor.unregistered.iter().take(2 * most);
                let unregistered = unregistered.filter_map(|id| Some((*id, self.peers.get(*id)?)));
                (most / SHARE, unregistered.filter_map(rank).collect())
            }
        };
        let share = share.min(ranked.len());
        if share == 0 {
            return false;
        }
        ranked.select_nth_unstable(share - 1);
        ranked.truncate(share);
        for (_, id) in ranked {
            self.displace(id);
        }
        true
    }

    fn displace(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let half_open: Vec<_> = peer.half_open.iter().map(|half_open| half_open.local()).collect();
        if self.role == Role::Node && !peer.sessions.is_empty() {
            let node = peer.key.node_id();
            self.events.push(Event::PeerDown { node });
        }
        for local in half_open {
            self.end_half_open(id, local);
        }
        self.drop_outgoing(id);
        self.forget_peer(id);
        self.counters.peers_displaced += 1;
    }

    /// Forgets a peer and what hangs on it.
    pub(crate) fn forget_peer(&mut self, id: PeerId) {
        self.note_parting(id);
        self.pings.forget(id);
        self.forget_foreign(id);
        self.anchor.forget_challenge(id);
        self.anchor.unregistered.remove(&id);
        self.disarm(id);
        self.peers.forget(id);
    }
}

/// What a peer is worth, the least first; none if it stays.
fn value(now: Time, peer: &Peer) -> Option<(u8, Option<Time>, Option<Time>)> {
    let long = |(first, last): (Time, Time)| last.since(first) >= LONG && now.since(last) < LATELY;
    if peer.supernode || peer.served.is_some_and(long) {
        return None;
    }
    let rank = match (peer.sessions.is_empty(), peer.up.is_empty()) {
        // Frames of this machine wait for it.
        (true, _) if !peer.waiting.is_empty() => 2,
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    Some((rank, peer.served.map(|(_, last)| last), peer.heard))
}
