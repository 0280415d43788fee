//! Identity, handshake, AEAD, session keys and replay window of farlan.
//!
//! | module | what it holds |
//! |---|---|
//! | [`identity`] | the Ed25519 key of a node, its node id, work stamp and signatures |
//! | [`key_pair`] | keys that sign documents of networks, and blinded ones |
//! | [`secret_file`] | that key on disk |
//! | [`private_file`] | files that only their owner may read, written whole |
//! | [`noise`] | the Noise IK handshake, which yields [`noise::SessionKeys`] |
//! | [`aead`] | Salsa20-Poly1305, the one cipher of farlan |
//! | [`simd`] | the same in the lanes of SIMD registers, on x86-64 |
//! | [`job`] | one message to seal or to open, as work for a batch |
//! | [`session`] | sealing and opening the datagrams of one session |
//! | [`replay`] | the window that recognises datagrams seen before |
//! | [`hash`] | SHA-512 and HMAC-SHA512 |
//! | [`random`] | the generator of the daemon |
//! | [`secret`] | secret bytes that stay at one place and are wiped there |
//! | [`defects`] | faults for the tests to find; nothing in normal builds |
//!
//! Apart from [`secret_file`], [`private_file`] and [`random`], and one variable of the environment that `simd` reads, nothing here touches
//! the operating system; time never occurs, and randomness is always an argument.

// The bodies of the fuzz targets name the crate as their own programs do.
#[cfg(test)]
extern crate self as farlan_crypto;

pub mod aead;
pub mod defects;
#[cfg(all(unix, any(test, feature = "fuzzing")))]
pub mod fuzzing;
pub mod hash;
pub mod identity;
pub mod job;
#[cfg(test)]
mod judges;
pub mod key_pair;
pub mod noise;
#[cfg(feature = "plaintext")]
mod plaintext;
#[cfg(unix)]
pub mod private_file;
pub mod random;
pub mod replay;
pub mod secret;
#[cfg(unix)]
pub mod secret_file;
pub mod session;
#[cfg(target_arch = "x86_64")]
pub mod simd;

pub use aead::{Aead, KEY, Key, SalsaPoly, TAG};
pub use hash::{HmacKey, hmac_sha512, sha512};
pub use identity::{BadSignature, Identity, KeyError, NodeId, ParseNodeIdError, PublicKey, Seed, Signature, Work};
pub use job::Job;
pub use key_pair::{BlindedKeyPair, Blinding, KeyPair, VerifyingKey};
pub use noise::{HandshakeError, Initiator, MESSAGE_1_OVERHEAD, MESSAGE_2_OVERHEAD, Responder, SessionKeys};
pub use random::{RandomError, SystemRandom};
pub use replay::ReplayWindow;
pub use secret::{Secret, wipe_stack};
pub use session::{Exhausted, OpenError, Opener, PLAINTEXT, Sealer, Window, open_batch, seal_batch};
