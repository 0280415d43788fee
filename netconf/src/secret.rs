//! The secret of a network and the keys made from it.

use std::fmt;
use std::net::Ipv4Addr;

use farlan_crypto::{Key, Secret, hash};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::Mac;

/// What all members of a network know and nobody else: 64 bytes.
///
/// Everything made from it is the first 16 bytes of HMAC-SHA-512(secret, label ‖ input), for a beacon the whole, for keys
/// that seal the last 32 bytes. The labels are `"member"`, `"ipv4"`, `"channel"`, `"recognition"` and `"beacon"`, on private networks
/// also `"credentials"`, `"application"`, `"admission"` and `"document"`; none begins another, so no two purposes share an
/// output.
/// Erased when dropped.
pub struct NetworkSecret(Secret<64>);

/// The name under which supernodes keep the entries of a network, or of one of its addresses: 16 bytes that tell
/// nothing about either without the secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryKey([u8; 16]);

/// What one network makes of the nonce of one beacon.
#[derive(Debug)]
pub struct BeaconKeys {
    /// Marks the slot for members of the network. Without the secret it looks random.
    pub tag: [u8; 12],
    /// Seals that slot, once.
    pub key: Key,
}

impl BeaconKeys {
    /// Whether `tag` is this one, in constant time.
    #[must_use]
    pub fn fits(&self, tag: &[u8; 12]) -> bool {
        self.tag.ct_eq(tag).into()
    }
}

/// The two sides of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The side that sent the first message.
    Initiator,
    /// The side that answered.
    Responder,
}

impl Role {
    /// The byte that stands for it: 0 for the initiator, 1 for the responder.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }
}

impl NetworkSecret {
    pub(crate) fn new(bytes: [u8; 64]) -> Self {
        Self(Secret::from(bytes))
    }

    /// The key under which members of the network register and are listed: label `"member"`, no input.
    #[must_use]
    pub fn member_key(&self) -> DirectoryKey {
        DirectoryKey(self.derive(&[b"member"]))
    }

    /// The key under which the claim to an IPv4 address of the network is kept: label `"ipv4"`, input the 4 bytes of
    /// the address.
    #[must_use]
    pub fn address_key(&self, address: Ipv4Addr) -> DirectoryKey {
        DirectoryKey(self.derive(&[b"ipv4", &address.octets()]))
    }

    /// The key under which the subscribers to a channel of the network are listed: label `"channel"`, input the 6 bytes of
    /// the group's MAC and the UDP port as 2 bytes, 0 for a channel that is a group alone.
    #[must_use]
    pub fn channel_key(&self, group: Mac, port: Option<u16>) -> DirectoryKey {
        let port = port.unwrap_or(0).to_be_bytes();
        DirectoryKey(self.derive(&[b"channel", group.as_bytes(), &port]))
    }

    /// The tag by which the side with `role` shows that it knows the secret: label `"recognition"`, input the handshake
    /// hash and one byte, 0 for the initiator and 1 for the responder.
    ///
    /// The role keeps a side from sending the other's tag back; the handshake hash ties the tag to one session.
    #[must_use]
    pub fn recognition_tag(&self, handshake_hash: &[u8; 64], role: Role) -> [u8; 16] {
        self.derive(&[b"recognition", handshake_hash, &[role.code()]])
    }

    /// Whether `tag` is the [`recognition_tag`](Self::recognition_tag) of the side with `role`, in constant time.
    #[must_use]
    pub fn recognizes(&self, tag: &[u8; 16], handshake_hash: &[u8; 64], role: Role) -> bool {
        self.recognition_tag(handshake_hash, role).ct_eq(tag).into()
    }

    /// What a member makes of the nonce of a beacon, label `"beacon"`, input the nonce: the tag by which other members
    /// recognise the slot that is meant for them (bytes 0 to 12), and the key under which it is sealed (bytes 32 to 64).
    #[must_use]
    pub fn beacon(&self, nonce: &[u8; 16]) -> BeaconKeys {
        let digest = Zeroizing::new(hash::hmac_sha512(self.0.as_bytes(), &[b"beacon", nonce]));
        let mut tag = [0; 12];
        tag.copy_from_slice(&digest[..12]);
        let key = Key::new(Secret::filled(|key| key.copy_from_slice(&digest[32..])));
        BeaconKeys { tag, key }
    }

    /// A key that seals: the last 32 bytes of the HMAC of a label and its input.
    pub(crate) fn sealing_key(&self, parts: &[&[u8]]) -> Key {
        let digest = Zeroizing::new(hash::hmac_sha512(self.0.as_bytes(), parts));
        Key::new(Secret::filled(|key| key.copy_from_slice(&digest[32..])))
    }

    /// The secret bytes, for hashes of other domains.
    pub(crate) fn as_bytes(&self) -> &[u8; 64] {
        self.0.as_bytes()
    }

    fn derive(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut digest = hash::hmac_sha512(self.0.as_bytes(), parts);
        let mut derived = [0; 16];
        derived.copy_from_slice(&digest[..16]);
        digest.zeroize();
        derived
    }
}

impl fmt::Debug for NetworkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkSecret(..)")
    }
}

impl DirectoryKey {
    /// The key made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for DirectoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryKey(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_and_tags_differ_by_secret_and_purpose() {
        let mut seen = BTreeSet::new();
        for secret in [NetworkSecret::new([1; 64]), NetworkSecret::new([2; 64])] {
            seen.insert(*secret.member_key().as_bytes());
            for host in 0..3 {
                seen.insert(*secret.address_key(Ipv4Addr::new(10, 64, 0, host)).as_bytes());
            }
            let group = Mac::from_bytes([0x01, 0, 0x5e, 1, 2, 3]);
            for (group, port) in [
                (Mac::BROADCAST, Some(27_015)),
                (Mac::BROADCAST, Some(27_016)),
                (group, None),
            ] {
                seen.insert(*secret.channel_key(group, port).as_bytes());
            }
            for hash in [[3; 64], [4; 64]] {
                seen.insert(secret.recognition_tag(&hash, Role::Initiator));
                seen.insert(secret.recognition_tag(&hash, Role::Responder));
            }
        }
        assert_eq!(seen.len(), 2 * (1 + 3 + 3 + 4));
    }

    #[test]
    fn a_tag_is_recognised_for_its_secret_session_and_role_only() {
        let secret = NetworkSecret::new([1; 64]);
        let mut tag = secret.recognition_tag(&[3; 64], Role::Initiator);
        assert!(secret.recognizes(&tag, &[3; 64], Role::Initiator));
        assert!(!secret.recognizes(&tag, &[3; 64], Role::Responder));
        assert!(!secret.recognizes(&tag, &[4; 64], Role::Initiator));
        assert!(!NetworkSecret::new([2; 64]).recognizes(&tag, &[3; 64], Role::Initiator));
        tag[15] ^= 1;
        assert!(!secret.recognizes(&tag, &[3; 64], Role::Initiator));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let secret = NetworkSecret::new([0xab; 64]);
        assert_eq!(format!("{secret:?}"), "NetworkSecret(..)");
    }
}
