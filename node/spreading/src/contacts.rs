//! Whom a node has to do with.

use farlan_crypto::NodeId;

use crate::Time;

/// The members that a node has to do with: see the words in the [crate]'s documentation.
#[derive(Debug)]
pub struct Contacts {
    own: NodeId,
}

impl Contacts {
    /// A unicast IP frame of this machine went to a node.
    pub fn sent(&mut self, now: Time, node: &NodeId) {
        todo!()
    }

    /// A unicast IP frame came from a node, and was let in.
    pub fn received(&mut self, now: Time, node: &NodeId) {
        todo!()
    }

    /// How many deliveries this node could make use of.
    #[must_use]
    pub fn need(&self, now: Time) -> u8 {
        todo!()
    }

    /// What a node said it could make use of.
    pub fn set_need(&mut self, node: &NodeId, need: u8) {
        todo!()
    }

    /// The contacts that are to be told the own need now, which is returned with them. To be asked once a second or so.
    pub fn hints_due(&mut self, now: Time) -> (u8, Vec<NodeId>) {
        todo!()
    }

    /// A node that is to be told that it is no contact here any more. No more than one a second; to be asked once a second or so.
    pub fn take_farewell(&mut self, now: Time) -> Option<NodeId> {
        todo!()
    }

    /// A node said that this one is no contact there any more.
    pub fn bye(&mut self, node: &NodeId) {
        todo!()
    }

    /// A node does not answer: it gets nothing before something comes from it.
    pub fn dead(&mut self, node: &NodeId) {
        todo!()
    }

    /// A node is no member any more.
    pub fn forget(&mut self, node: &NodeId) {
        todo!()
    }

    /// Whether there are too few contacts, and [`set_bootstrap`](Self::set_bootstrap) is to be called with up to 8 members.
    #[must_use]
    pub fn wants_bootstrap(&self, now: Time) -> bool {
        todo!()
    }

    /// Members for as long as there are too few contacts.
    pub fn set_bootstrap(&mut self, now: Time, nodes: &[NodeId]) {
        todo!()
    }

    /// Whether [`set_long_links`](Self::set_long_links) is to be called with 2 members at random.
    #[must_use]
    pub fn wants_long_links(&self, now: Time) -> bool {
        todo!()
    }

    /// Two members at random.
    pub fn set_long_links(&mut self, now: Time, nodes: &[NodeId]) {
        todo!()
    }

    /// Nothing goes to a node, and nothing of it is delivered or sent on. Returns false if there are too many of them.
    pub fn mute(&mut self, node: &NodeId) -> bool {
        todo!()
    }

    /// Ends [`mute`](Self::mute).
    pub fn unmute(&mut self, node: &NodeId) {
        todo!()
    }

    /// Whether a node is muted.
    #[must_use]
    pub fn is_muted(&self, node: &NodeId) -> bool {
        todo!()
    }

    /// A node comes first among the active contacts, whatever there is to do with it. Returns false if there are too many of them.
    pub fn pin(&mut self, node: &NodeId) -> bool {
        todo!()
    }

    /// Ends [`pin`](Self::pin).
    pub fn unpin(&mut self, node: &NodeId) {
        todo!()
    }

    /// Whether a node is pinned.
    #[must_use]
    pub fn is_pinned(&self, node: &NodeId) -> bool {
        todo!()
    }

    /// Whether a node is an active contact.
    #[must_use]
    pub fn is_active(&self, now: Time, node: &NodeId) -> bool {
        todo!()
    }
}
