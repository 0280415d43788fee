//! Ways to peers. Every way leads over a supernode so far: which one is chosen in `relays`. What comes from a peer shows a
//! way to it, too (see `inbound`).

use crate::{Engine, peers::PeerId};

impl Engine {
    /// Chooses a way to a peer that has none, or whose relay is not registered any more.
    pub(crate) fn find_path(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.supernode || peer.path.is_some_and(|path| self.envelope(path).is_some()) {
            return;
        }
        let path = self.relay_path(id);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = path;
        }
    }
}
