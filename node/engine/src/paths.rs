//! Ways to peers. Every way leads over a supernode so far: which one is chosen in `relays`. What comes from a peer shows a
//! way to it, too (see `inbound`).

use crate::{Engine, Time, peers::PeerId};

impl Engine {
    /// Chooses a way to a peer that has none, or whose relay is not registered any more.
    pub(crate) fn find_path(&mut self, now: Time, id: PeerId) {
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
}
