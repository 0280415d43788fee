//! What the spreading asks of the node around it.

use std::time::Duration;

use farlan_crypto::NodeId;
use farlan_netconf::Mac;

/// Makes the signatures of the own broadcasts.
pub trait Signer {
    /// The own public key.
    fn key(&self) -> [u8; 32];
    /// Signs the signed part of a message, in [`SIGNING_DOMAIN`](crate::SIGNING_DOMAIN).
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Knows the keys of others. Ed25519 in the engine; a keyed hash may stand behind it in a simulation.
///
/// The signature itself is checked by whoever drives the [`Spreading`](crate::Spreading), between
/// [`Spreading::arrive`](crate::Spreading::arrive) and
/// [`Spreading::verified`](crate::Spreading::verified).
pub trait Verifier {
    /// The node id of a key that is a valid identity.
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId>;
    /// Whether it is this key's signature, in [`SIGNING_DOMAIN`](crate::SIGNING_DOMAIN).
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// What the spreading asks its node about others.
pub trait Neighbours {
    /// The round trip to a node, if it is known.
    fn rtt(&self, node: &NodeId) -> Option<Duration>;
    /// Whether a node is reached through a supernode only, or not at all yet.
    fn is_relayed(&self, node: &NodeId) -> bool;
    /// Whether a node wants the frames of this channel: all want broadcasts; a specific multicast group only those that said
    /// so.
    fn wants(&self, node: &NodeId, channel: &ChannelOf) -> bool;
    /// Whether an origin may send this frame here: it is a member, the source MAC its own, the destination a group. Asked before
    /// the signature is checked.
    fn admits(&self, origin: &NodeId, key: &[u8; 32], frame: &[u8]) -> bool;
}

/// The channel of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelOf {
    /// The destination of its frames.
    pub group: Mac,
    /// The UDP destination port of broadcasts; 0 for those that are no UDP, and for multicast groups.
    pub port: u16,
}
