//! Seeds, from which the secrets of a private network are made.

use std::fmt;
use std::sync::Arc;

use farlan_crypto::{Secret, hash};
use zeroize::Zeroizing;

use crate::network::NetworkId;
use crate::secret::NetworkSecret;

/// Separates the secrets of private networks from all other hashes.
const SECRET_DOMAIN: &[u8] = b"farlan private secret 1";

/// What the secret of a private network is made from: 32 random bytes, replaced at each kick. Wiped when the last clone is
/// dropped; clones share the bytes.
#[derive(Clone)]
pub struct NetworkSeed(Arc<Secret<32>>);

impl NetworkSeed {
    /// The seed that `secret` is, which must come from a cryptographic generator.
    #[must_use]
    pub fn new(secret: Secret<32>) -> Self {
        Self(Arc::new(secret))
    }

    /// A seed of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::new(Secret::from(bytes))
    }

    /// The secret bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The secret of the network `id` under this seed: SHA-512(`"farlan private secret 1"` ‖ network id ‖ seed).
    #[must_use]
    pub fn secret(&self, id: &NetworkId) -> NetworkSecret {
        let digest = Zeroizing::new(hash::sha512(&[SECRET_DOMAIN, id.as_bytes(), self.as_bytes()]));
        NetworkSecret::new(*digest)
    }
}

impl PartialEq for NetworkSeed {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NetworkSeed {}

impl fmt::Debug for NetworkSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkSeed(..)")
    }
}
