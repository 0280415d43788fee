//! Whom the user chose: those who come first, and those who are not heard.

use farlan_crypto::NodeId;

use crate::Contacts;

/// Nodes that are pinned, and as many that are muted.
pub(crate) const MAX_CHOSEN: usize = 256;

/// One who comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    pub(crate) node: NodeId,
    pub(crate) dead: bool,
}

impl Contacts {
    /// Nothing goes to a node, and nothing of it is delivered or sent on. Returns false if 256 are muted already.
    pub fn mute(&mut self, node: &NodeId) -> bool {
        match self.muted.binary_search(node) {
            Err(place) if self.muted.len() < MAX_CHOSEN => self.muted.insert(place, *node),
            Err(_) => return false,
            Ok(_) => {}
        }
        true
    }

    /// Ends [`mute`](Self::mute).
    pub fn unmute(&mut self, node: &NodeId) {
        self.muted.retain(|muted| muted != node);
    }

    /// Whether a node is muted.
    #[must_use]
    pub fn is_muted(&self, node: &NodeId) -> bool {
        self.muted.binary_search(node).is_ok()
    }

    /// A node comes first among the active contacts, whatever there is to do with it. Returns false if 256 are pinned already.
    pub fn pin(&mut self, node: &NodeId) -> bool {
        let known = self.is_pinned(node);
        if !known && self.pinned.len() < MAX_CHOSEN {
            let (node, dead) = (*node, false);
            self.pinned.push(Pinned { node, dead });
            return true;
        }
        known
    }

    /// Ends [`pin`](Self::pin).
    pub fn unpin(&mut self, node: &NodeId) {
        self.pinned.retain(|pinned| pinned.node != *node);
    }

    /// Whether a node is pinned.
    #[must_use]
    pub fn is_pinned(&self, node: &NodeId) -> bool {
        self.pinned.iter().any(|pinned| pinned.node == *node)
    }
}
