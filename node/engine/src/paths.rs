//! Ways to peers. Every way leads over a supernode so far: by the index that it lists for the peer, else by the peer's id.
//! What comes from a peer shows a way to it, too (see `inbound`).

use farlan_crypto::NodeId;

use crate::{
    Engine,
    peers::{Path, PeerId},
    wire::datagram::RelayTarget,
};

impl Engine {
    /// Chooses a way to a peer that has none, or whose relay is not registered any more.
    pub(crate) fn find_path(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.supernode || peer.path.is_some_and(|path| self.envelope(path).is_some()) {
            return;
        }
        let node = peer.key.node_id();
        let path = self.relay_path(&node);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = path;
        }
    }

    /// A relayed way to a node: by the index its supernode lists, else by its id through any registered supernode.
    fn relay_path(&self, node: &NodeId) -> Option<Path> {
        let listings = self.networks.iter().flat_map(|network| network.listings.iter());
        let mut listed = listings
            .filter(|(supernode, _)| self.directory.relay_index(**supernode).is_some())
            .filter_map(|(supernode, listing)| Some((*supernode, listing.members.get(node)?.index)));
        if let Some((supernode, index)) = listed.next() {
            return Some(Path::Relay {
                supernode,
                target: RelayTarget::Index(index),
            });
        }
        self.directory.homes().next().map(|supernode| Path::Relay {
            supernode,
            target: RelayTarget::Node(*node),
        })
    }

    /// A peer that does not answer is tried by its id through the next supernode: its index may be of another time, or it
    /// may have lost the supernode used so far.
    pub(crate) fn try_other_relay(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
            return;
        };
        let used = match peer.path {
            Some(Path::Relay { supernode, .. }) => Some(supernode),
            _ => None,
        };
        let mut homes = self.directory.homes();
        let next = homes
            .find(|id| Some(*id) > used)
            .or_else(|| self.directory.homes().next());
        peer.path = next.map(|supernode| Path::Relay {
            supernode,
            target: RelayTarget::Node(peer.key.node_id()),
        });
    }
}
