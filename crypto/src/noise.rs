//! The handshake: Noise IK (Noise Protocol Framework, revision 34, §7.5) with 25519 and SHA512.
//!
//! ```text
//!   <- s                     the initiator knows the responder's static key
//!   ...
//!   -> e, es, s, ss          message 1:  e 32 ‖ sealed s 48 ‖ sealed payload (+16)
//!   <- e, ee, se             message 2:  e 32 ‖ sealed payload (+16)
//! ```
//!
//! Protocol name: `Noise_IK_25519_` ‖ cipher name ‖ `_SHA512`; farlan's is `Noise_IK_25519_SalsaPoly_SHA512`. Two
//! rules are added to the framework: a Diffie-Hellman result of all zeros ends the handshake, and a payload that is
//! empty is sealed all the same (16 bytes).
//!
//! In IK each key that the handshake derives seals exactly one message, so the cipher's counter is 0 throughout and
//! is not part of the state.

use std::fmt;
use std::marker::PhantomData;

use curve25519_dalek::{edwards::EdwardsPoint, montgomery::MontgomeryPoint};
use thiserror::Error;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::aead::{Aead, KEY, Key, TAG};
use crate::defects::planted;
use crate::hash::{HmacKey, hmac_sha512, sha512};
use crate::identity::{Identity, PublicKey, Work};
use crate::secret::{Secret, cleanly};

/// Bytes that message 1 has beyond its payload: ephemeral key, sealed static key, tag of the payload.
pub const MESSAGE_1_OVERHEAD: usize = POINT + (POINT + TAG) + TAG;

/// Bytes that message 2 has beyond its payload: ephemeral key, tag of the payload.
pub const MESSAGE_2_OVERHEAD: usize = POINT + TAG;

/// The side that sends message 1, waiting for message 2.
pub struct Initiator<C> {
    state: SymmetricState<C>,
    ephemeral: Box<StaticSecret>,
}

impl<C: Aead> Initiator<C> {
    /// Begins a handshake: appends message 1 to `message`.
    ///
    /// `prologue` is what both sides must agree on beforehand. `ephemeral` is 32 fresh secret bytes, used for this
    /// handshake only. `payload` is sealed, but can be replayed, and is not forward secret against the loss of the
    /// responder's key.
    ///
    /// # Errors
    /// [`HandshakeError::WeakKey`]; `message` is then unchanged.
    pub fn start(
        prologue: &[u8],
        local: &Identity,
        remote: &PublicKey,
        ephemeral: &[u8; 32],
        payload: &[u8],
        message: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let remote = remote.noise_static();
        cleanly(|| Self::start_with(prologue, local.noise(), &remote, ephemeral, payload, message))
    }

    /// Ends the handshake with message 2 of the responder: appends its payload to `payload`.
    ///
    /// A failure leaves the handshake as it was, so that a forged message 2 does not spoil the true one.
    ///
    /// # Errors
    /// [`HandshakeError`] if the message is too short, not of the responder, or carries a weak key; `payload` is then
    /// unchanged.
    pub fn finish(
        &self,
        local: &Identity,
        message: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<SessionKeys, HandshakeError> {
        cleanly(|| self.finish_with(local.noise(), message, payload))
    }

    fn start_with(
        prologue: &[u8],
        local: &StaticKey,
        remote: &[u8; POINT],
        ephemeral: &[u8; 32],
        payload: &[u8],
        message: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let ephemeral = Box::new(StaticSecret::from(*ephemeral));
        let ephemeral_public = x25519_dalek::PublicKey::from(&*ephemeral);
        let point = Remote::new(*remote);
        let es = point.shared_with(&ephemeral)?;
        let ss = point.shared_with(&local.secret)?;

        let mut state = SymmetricState::<C>::new(prologue, remote);
        message.reserve(MESSAGE_1_OVERHEAD + payload.len());
        message.extend_from_slice(ephemeral_public.as_bytes());
        state.mix_hash(ephemeral_public.as_bytes());
        let key = state.mix_key(&es);
        state.seal(&key, &local.public, message);
        let key = state.mix_key(&ss);
        state.seal(&key, payload, message);
        Ok(Self { state, ephemeral })
    }

    fn finish_with(
        &self,
        local: &StaticKey,
        message: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<SessionKeys, HandshakeError> {
        let (remote_ephemeral, sealed_payload) =
            message.split_first_chunk::<POINT>().ok_or(HandshakeError::TooShort)?;
        let mut state = self.state.clone();
        state.mix_hash(remote_ephemeral);
        let point = Remote::new(*remote_ephemeral);
        // The key after `ee` seals nothing; it only enters the chaining key.
        state.mix_key(&*point.shared_with(&self.ephemeral)?);
        let key = state.mix_key(&*point.shared_with(&local.secret)?);
        state.open(&key, sealed_payload, payload)?;
        let (send, receive) = state.split();
        Ok(SessionKeys {
            send,
            receive,
            handshake_hash: state.hash,
        })
    }
}

impl<C> fmt::Debug for Initiator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator(..)")
    }
}

/// The side that has read message 1 and may answer it.
pub struct Responder<C> {
    state: SymmetricState<C>,
    remote_static: Remote,
    remote_ephemeral: Remote,
}

impl<C: Aead> Responder<C> {
    /// Reads message 1: appends its payload to `payload`.
    ///
    /// Success proves that the sender of the bytes once held the secret of [`Responder::remote_static`], not that it
    /// is there now: only a message under the session keys does.
    ///
    /// # Errors
    /// [`HandshakeError`] if the message is too short, not meant for `local`, begun with another prologue, or carries
    /// a weak key; `payload` is then unchanged.
    pub fn read(
        prologue: &[u8],
        local: &Identity,
        message: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        cleanly(|| Self::read_with(prologue, local.noise(), message, payload))
    }

    /// The initiator's Noise static key.
    ///
    /// Whose it is shows the Ed25519 key in the payload, after [`Responder::remote_key`] has confirmed it.
    pub fn remote_static(&self) -> [u8; 32] {
        self.remote_static.encoded
    }

    /// Whether the initiator is the holder of `key`.
    pub fn remote_is(&self, key: &PublicKey) -> bool {
        key.noise_static() == self.remote_static.encoded
    }

    /// The key in the payload, checked like any other from outside ([`PublicKey::from_bytes`]), if the initiator is its
    /// holder ([`Responder::remote_is`]). It costs a third of the two, since the handshake has the point already.
    pub fn remote_key(&self, bytes: &[u8; 32], work: Work) -> Option<PublicKey> {
        match &self.remote_static.point {
            // The map gives the one encoding of a coordinate.
            Some(point) if is_canonical(&self.remote_static.encoded) => PublicKey::of_point(bytes, point, work).ok(),
            Some(_) => None,
            None => PublicKey::from_bytes(bytes, work)
                .ok()
                .filter(|key| self.remote_is(key)),
        }
    }

    /// Answers: appends message 2 to `message` and returns the keys of the session.
    ///
    /// `ephemeral` is 32 fresh secret bytes, used for this handshake only.
    ///
    /// # Errors
    /// [`HandshakeError::WeakKey`]; `message` is then unchanged.
    pub fn respond(
        self,
        ephemeral: &[u8; 32],
        payload: &[u8],
        message: &mut Vec<u8>,
    ) -> Result<SessionKeys, HandshakeError> {
        cleanly(|| self.respond_with(ephemeral, payload, message))
    }

    fn respond_with(
        mut self,
        ephemeral: &[u8; 32],
        payload: &[u8],
        message: &mut Vec<u8>,
    ) -> Result<SessionKeys, HandshakeError> {
        let ephemeral = StaticSecret::from(*ephemeral);
        let ephemeral_public = x25519_dalek::PublicKey::from(&ephemeral);
        let ee = self.remote_ephemeral.shared_with(&ephemeral)?;
        let se = self.remote_static.shared_with(&ephemeral)?;

        message.reserve(MESSAGE_2_OVERHEAD + payload.len());
        message.extend_from_slice(ephemeral_public.as_bytes());
        self.state.mix_hash(ephemeral_public.as_bytes());
        self.state.mix_key(&ee);
        let key = self.state.mix_key(&se);
        self.state.seal(&key, payload, message);
        let (receive, send) = self.state.split();
        Ok(SessionKeys {
            send,
            receive,
            handshake_hash: self.state.hash,
        })
    }

    fn read_with(
        prologue: &[u8],
        local: &StaticKey,
        message: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let (remote_ephemeral, rest) = message.split_first_chunk::<POINT>().ok_or(HandshakeError::TooShort)?;
        let (sealed_static, sealed_payload) = rest
            .split_first_chunk::<{ POINT + TAG }>()
            .ok_or(HandshakeError::TooShort)?;

        let mut state = SymmetricState::<C>::new(prologue, &local.public);
        state.mix_hash(remote_ephemeral);
        let remote_ephemeral = Remote::new(*remote_ephemeral);
        let key = state.mix_key(&*remote_ephemeral.shared_with(&local.secret)?);
        let mut opened = Vec::with_capacity(POINT + TAG);
        state.open(&key, sealed_static, &mut opened)?;
        let remote_static = Remote::new(opened.try_into().map_err(|_| HandshakeError::TooShort)?);
        let key = state.mix_key(&*remote_static.shared_with(&local.secret)?);
        state.open(&key, sealed_payload, payload)?;
        Ok(Self {
            state,
            remote_static,
            remote_ephemeral,
        })
    }
}

impl<C> fmt::Debug for Responder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder(..)")
    }
}

/// What a finished handshake leaves; each side's `send` is the other's `receive`.
pub struct SessionKeys {
    /// Seals what this side sends.
    pub send: Key,
    /// Opens what the other side sends.
    pub receive: Key,
    /// Equal on both sides and different in every session; not a secret. Proofs made inside the session are bound to
    /// it.
    pub handshake_hash: [u8; 64],
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// It is shorter than its fixed parts.
    #[error("the handshake message is too short")]
    TooShort,
    /// A tag is wrong: forged, damaged, for another node, or another protocol version.
    #[error("the handshake message is not authentic")]
    Forged,
    /// A Diffie-Hellman result was zero: a key of small order.
    #[error("the handshake message carries a weak key")]
    WeakKey,
}

/// A Noise static key: the secret and the public key that belongs to it.
pub(crate) struct StaticKey {
    secret: StaticSecret,
    public: [u8; POINT],
}

impl StaticKey {
    /// Takes `public` on trust to be the public key of `secret` (clamped where it is used).
    pub(crate) fn from_parts(secret: [u8; 32], public: [u8; 32]) -> Self {
        Self {
            secret: StaticSecret::from(secret),
            public,
        }
    }
}

/// Bytes of a Curve25519 point and of a Diffie-Hellman result.
const POINT: usize = 32;

/// The framework's symmetric state: chaining key and handshake hash (§5.2). The cipher key is passed by hand.
struct SymmetricState<C> {
    chaining_key: Secret<64>,
    hash: [u8; 64],
    cipher: PhantomData<fn() -> C>,
}

impl<C: Aead> SymmetricState<C> {
    /// The state after the pre-message: protocol name, prologue, the responder's static key.
    fn new(prologue: &[u8], responder: &[u8; POINT]) -> Self {
        let name = ["Noise_IK_25519_", C::NAME, "_SHA512"].concat();
        // A name that fits the hash is padded with zeros instead of hashed (§5.2).
        let hash = if name.len() <= 64 {
            let mut padded = [0; 64];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            padded
        } else {
            sha512(&[name.as_bytes()])
        };
        let mut state = Self {
            chaining_key: Secret::copy_of(&hash),
            hash,
            cipher: PhantomData,
        };
        state.mix_hash(prologue);
        state.mix_hash(responder);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha512(&[&self.hash, data]);
    }

    /// Mixes a Diffie-Hellman result into the chaining key and returns the cipher key that comes with it.
    fn mix_key(&mut self, secret: &[u8; POINT]) -> Key {
        let (chaining_key, key) = hkdf(self.chaining_key.as_bytes(), secret);
        self.chaining_key = chaining_key;
        truncated(&key)
    }

    /// Appends `plain`, sealed, to `message`. `key` is the newest of [`SymmetricState::mix_key`], used once.
    fn seal(&mut self, key: &Key, plain: &[u8], message: &mut Vec<u8>) {
        let start = message.len();
        message.extend_from_slice(plain);
        message.extend_from_slice(&[0; TAG]);
        C::seal(key, 0, &self.hash, &mut message[start..]);
        self.mix_hash(&message[start..]);
    }

    /// Appends what `sealed` holds to `plain`.
    fn open(&mut self, key: &Key, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), HandshakeError> {
        if sealed.len() < TAG {
            return Err(HandshakeError::TooShort);
        }
        let start = plain.len();
        plain.extend_from_slice(sealed);
        let opened = C::open(key, 0, &self.hash, &mut plain[start..]).map(|opened| opened.len());
        plain.truncate(start + opened.unwrap_or(0));
        opened.map_err(|_| HandshakeError::Forged)?;
        self.mix_hash(sealed);
        Ok(())
    }

    /// The session's keys: of the initiator's messages, of the responder's.
    fn split(&self) -> (Key, Key) {
        let (first, second) = hkdf(self.chaining_key.as_bytes(), &[]);
        (truncated(&first), truncated(&second))
    }
}

impl<C> Clone for SymmetricState<C> {
    fn clone(&self) -> Self {
        Self {
            chaining_key: Secret::copy_of(self.chaining_key.as_bytes()),
            hash: self.hash,
            cipher: PhantomData,
        }
    }
}

/// A point of the other side, with which this side's secrets are multiplied.
struct Remote {
    /// As it came.
    encoded: [u8; POINT],
    /// The point of the Edwards curve with this u coordinate and an even x. There is none on the twist, where no honest key is,
    /// and at u = -1.
    point: Option<EdwardsPoint>,
}

impl Remote {
    fn new(encoded: [u8; POINT]) -> Self {
        let point = MontgomeryPoint(encoded).to_edwards(0);
        Self { encoded, point }
    }

    /// X25519 that refuses the all-zero result (RFC 7748 §6.1).
    ///
    /// The multiples are computed on the Edwards curve, whose formulas take the processor's vector unit, in constant time like the
    /// ladder: a quarter to two thirds of its time, for two secrets at each point. The u coordinate is that of the ladder, as both ends
    /// of the sign have it.
    ///
    /// # Errors
    /// [`HandshakeError::WeakKey`].
    fn shared_with(&self, secret: &StaticSecret) -> Result<Zeroizing<[u8; POINT]>, HandshakeError> {
        let Some(point) = &self.point else {
            return diffie_hellman(secret, &self.encoded);
        };
        let multiple = Zeroizing::new(point.mul_clamped(*secret.as_bytes()));
        let shared = Zeroizing::new(multiple.to_montgomery().to_bytes());
        if *shared == [0; POINT] && !planted("weak-point-accepted") {
            return Err(HandshakeError::WeakKey);
        }
        Ok(shared)
    }
}

/// The same by either way, which must agree: for the judges.
#[cfg(test)]
pub(crate) fn shared_for_test(
    secret: &StaticSecret,
    public: &[u8; POINT],
) -> Result<Zeroizing<[u8; POINT]>, HandshakeError> {
    let shared = Remote::new(*public).shared_with(secret);
    assert_eq!(
        shared.as_deref().ok(),
        diffie_hellman(secret, public).as_deref().ok(),
        "the two ways differ at {public:x?}"
    );
    shared
}

/// Whether a u coordinate is less than 2^255 - 19, and nothing else is in its bytes.
fn is_canonical(encoded: &[u8; POINT]) -> bool {
    let [first, middle @ .., last] = encoded;
    *last < 0x7f || *last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff))
}

/// The same by the ladder, for any u coordinate.
fn diffie_hellman(secret: &StaticSecret, public: &[u8; POINT]) -> Result<Zeroizing<[u8; POINT]>, HandshakeError> {
    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*public));
    if !shared.was_contributory() && !planted("weak-point-accepted") {
        return Err(HandshakeError::WeakKey);
    }
    Ok(Zeroizing::new(shared.to_bytes()))
}

/// The framework's HKDF with two outputs (§4.3; RFC 5869 with empty info).
fn hkdf(chaining_key: &[u8; 64], input: &[u8]) -> (Secret<64>, Secret<64>) {
    let temporary = HmacKey::new(&*Zeroizing::new(hmac_sha512(chaining_key, &[input])));
    let first = Secret::from(temporary.mac(&[&[1]]));
    let second = Secret::from(temporary.mac(&[first.as_bytes(), &[2]]));
    (first, second)
}

/// The first 32 bytes: with a 64-byte hash, keys are its truncated outputs (§5.2).
fn truncated(output: &Secret<64>) -> Key {
    Key::new(Secret::filled(|key| key.copy_from_slice(&output.as_bytes()[..KEY])))
}

#[cfg(test)]
mod tests;
