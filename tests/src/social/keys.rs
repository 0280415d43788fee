//! Who is who: node ids, and signatures that are real ones in small worlds and a keyed hash in large ones.

use std::{collections::BTreeMap, fmt};

use farlan_crypto::{Identity, NodeId, PublicKey, Seed, Signature, Work};
use farlan_spreading::{SIGNING_DOMAIN, Signer, Verifier};
use sha2::{Digest, Sha512};

use super::draw::Draw;

/// In worlds of up to so many nodes broadcasts are signed with Ed25519. Ten million of these signatures take longer than all the rest.
pub const SIGNED: u32 = 10_000;

/// The keys of all nodes.
pub struct Keys(Kind);

enum Kind {
    /// Ed25519.
    Real {
        identities: Vec<Identity>,
        numbers: BTreeMap<NodeId, u32>,
    },
    /// A hash with a key that everybody has, but that none of the nodes uses in another's name. Ids and keys are computed.
    Hashed { nodes: u32, draw: Draw },
}

impl Keys {
    /// The keys of `nodes` nodes.
    pub fn new(seed: u64, nodes: u32) -> Self {
        let draw = Draw::new(seed, "keys");
        if nodes > SIGNED {
            return Self(Kind::Hashed { nodes, draw });
        }
        let identities: Vec<Identity> = (0..nodes).filter_map(|node| identity(draw.of(node.into()))).collect();
        let numbers = (0..)
            .zip(&identities)
            .map(|(node, identity)| (identity.node_id(), node))
            .collect();
        Self(Kind::Real { identities, numbers })
    }

    /// A node's id.
    pub fn id(&self, node: u32) -> NodeId {
        match &self.0 {
            Kind::Real { identities, .. } => identities[node as usize].node_id(),
            Kind::Hashed { draw, .. } => hashed_id(*draw, node),
        }
    }

    /// The node with this id.
    pub fn number(&self, id: &NodeId) -> Option<u32> {
        match &self.0 {
            Kind::Real { numbers, .. } => numbers.get(id).copied(),
            Kind::Hashed { nodes, .. } => {
                let number = leading(id.as_bytes());
                (number < *nodes).then_some(number)
            }
        }
    }

    /// What a node signs with.
    pub fn signer(&self, node: u32) -> impl Signer + '_ {
        Own { keys: self, node }
    }

    fn key(&self, node: u32) -> [u8; 32] {
        match &self.0 {
            Kind::Real { identities, .. } => *identities[node as usize].public().as_bytes(),
            Kind::Hashed { draw, .. } => hashed_key(*draw, node),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match &self.0 {
            Kind::Real { .. } => "signed with Ed25519",
            Kind::Hashed { .. } => "signed with a keyed hash instead of Ed25519",
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys({self})")
    }
}

impl Verifier for Keys {
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId> {
        match &self.0 {
            Kind::Real { .. } => PublicKey::from_bytes(key, Work::NONE).ok().map(|key| key.node_id()),
            Kind::Hashed { nodes, draw } => {
                let node = leading(key);
                (node < *nodes && hashed_key(*draw, node) == *key).then(|| hashed_id(*draw, node))
            }
        }
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        match &self.0 {
            Kind::Real { .. } => PublicKey::from_bytes(key, Work::NONE).is_ok_and(|key| {
                let signature = Signature::from_bytes(*signature);
                key.verify(SIGNING_DOMAIN, message, &signature).is_ok()
            }),
            Kind::Hashed { .. } => keyed_hash(key, message) == *signature,
        }
    }
}

/// One node's key.
struct Own<'k> {
    keys: &'k Keys,
    node: u32,
}

impl Signer for Own<'_> {
    fn key(&self) -> [u8; 32] {
        self.keys.key(self.node)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        match &self.keys.0 {
            Kind::Real { identities, .. } => *identities[self.node as usize].sign(SIGNING_DOMAIN, message).as_bytes(),
            Kind::Hashed { .. } => keyed_hash(&self.key(), message),
        }
    }
}

fn keyed_hash(key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let digest = Sha512::new()
        .chain_update(b"instead of a signature")
        .chain_update(key)
        .chain_update(message)
        .finalize();
    let mut hash = [0; 64];
    hash.copy_from_slice(&digest);
    hash
}

fn identity(draw: Draw) -> Option<Identity> {
    let mut seed = [0; 32];
    fill(&mut seed, draw);
    Identity::from_seed(Seed::from_bytes(seed), Work::NONE).ok()
}

/// The first four bytes are the node's number, the others are random.
fn hashed_id(draw: Draw, node: u32) -> NodeId {
    let mut id = [0; 16];
    fill(&mut id, draw.of(node.into()).of(0));
    id[..4].copy_from_slice(&node.to_be_bytes());
    NodeId::from_bytes(id)
}

/// As [`hashed_id`].
fn hashed_key(draw: Draw, node: u32) -> [u8; 32] {
    let mut key = [0; 32];
    fill(&mut key, draw.of(node.into()).of(1));
    key[..4].copy_from_slice(&node.to_be_bytes());
    key
}

fn fill(bytes: &mut [u8], draw: Draw) {
    for (number, chunk) in (0..).zip(bytes.chunks_mut(8)) {
        let drawn = draw.of(number).number().to_be_bytes();
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    }
}

fn leading(bytes: &[u8]) -> u32 {
    let mut first = [0; 4];
    first.copy_from_slice(&bytes[..4]);
    u32::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_know_who_signed() {
        for nodes in [100, SIGNED + 1] {
            let keys = Keys::new(1, nodes);
            let signer = keys.signer(7);
            let mut signature = signer.sign(b"message");
            assert_eq!(keys.node_id(&signer.key()), Some(keys.id(7)));
            assert_eq!(keys.number(&keys.id(7)), Some(7));
            assert!(keys.verify(&signer.key(), b"message", &signature));
            assert!(!keys.verify(&keys.signer(8).key(), b"message", &signature));
            assert!(!keys.verify(&signer.key(), b"massage", &signature));
            signature[3] ^= 1;
            assert!(!keys.verify(&signer.key(), b"message", &signature));
        }
    }
}
