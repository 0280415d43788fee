use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use data_encoding::HEXLOWER;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::*;
use crate::aead::tests::composed;
use crate::aead::{OpenError, SalsaPoly};
use crate::identity::{Seed, Work};

mod published;

/// The cipher for which handshake vectors are published (RFC 8439; nonce: 4 zero bytes, then the counter).
struct ChaChaPoly;

impl ChaChaPoly {
    fn nonce(counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        nonce
    }
}

impl Aead for ChaChaPoly {
    const NAME: &'static str = "ChaChaPoly";

    fn seal(key: &Key, counter: u64, aad: &[u8], message_and_tag: &mut [u8]) {
        let (message, tag) = message_and_tag.split_last_chunk_mut::<TAG>().unwrap();
        let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
        let made = cipher
            .encrypt_inout_detached(&Self::nonce(counter).into(), aad, message.into())
            .unwrap();
        tag.copy_from_slice(&made);
    }

    fn open<'a>(key: &Key, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (message, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(OpenError)?;
        let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
        let tag = (*tag).into();
        cipher
            .decrypt_inout_detached(&Self::nonce(counter).into(), aad, (&mut *message).into(), &tag)
            .map_err(|_| OpenError)?;
        Ok(message)
    }
}

fn decode(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn array(hex: &str) -> [u8; 32] {
    decode(hex).try_into().unwrap()
}

fn static_key(secret: [u8; 32]) -> StaticKey {
    let public = x25519_dalek::PublicKey::from(&StaticSecret::from(secret)).to_bytes();
    StaticKey::from_parts(secret, public)
}

/// Everything a handshake is made from.
struct Script {
    prologue: Vec<u8>,
    initiator: [u8; 32],
    responder: [u8; 32],
    ephemerals: [[u8; 32]; 2],
    payloads: [Vec<u8>; 2],
}

/// Everything that comes out of one: both messages, the keys of the initiator's and the responder's direction, the
/// hash.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: [Vec<u8>; 2],
    keys: [[u8; 32]; 2],
    hash: [u8; 64],
}

impl Script {
    fn numbered(n: u8) -> Self {
        Self {
            prologue: vec![n; usize::from(n)],
            initiator: [n; 32],
            responder: [n + 50; 32],
            ephemerals: [[n + 100; 32], [n + 150; 32]],
            payloads: [vec![n; usize::from(n) * 3], vec![n; usize::from(n % 2) * 17]],
        }
    }

    fn responder_public(&self) -> [u8; 32] {
        static_key(self.responder).public
    }

    /// This crate on both sides.
    fn ours<C: Aead>(&self) -> Outcome {
        let (initiator, responder) = (static_key(self.initiator), static_key(self.responder));
        let mut messages = [Vec::new(), Vec::new()];
        let mut payload = Vec::new();
        let first = Initiator::<C>::start_with(
            &self.prologue,
            &initiator,
            &responder.public,
            &self.ephemerals[0],
            &self.payloads[0],
            &mut messages[0],
        )
        .unwrap();
        let second = Responder::<C>::read_with(&self.prologue, &responder, &messages[0], &mut payload).unwrap();
        assert_eq!(payload, self.payloads[0]);
        assert_eq!(second.remote_static(), initiator.public);
        let theirs = second
            .respond(&self.ephemerals[1], &self.payloads[1], &mut messages[1])
            .unwrap();
        payload.clear();
        let mine = first.finish_with(&initiator, &messages[1], &mut payload).unwrap();
        assert_eq!(payload, self.payloads[1]);
        let keys = [*mine.send.as_bytes(), *mine.receive.as_bytes()];
        assert_eq!(keys, [*theirs.receive.as_bytes(), *theirs.send.as_bytes()]);
        assert_eq!(mine.handshake_hash, theirs.handshake_hash);
        assert_eq!(messages[0].len(), self.payloads[0].len() + MESSAGE_1_OVERHEAD);
        assert_eq!(messages[1].len(), self.payloads[1].len() + MESSAGE_2_OVERHEAD);
        Outcome {
            messages,
            keys,
            hash: mine.handshake_hash,
        }
    }

    /// This crate begins, snow answers.
    fn ours_to_snow<C: Aead>(&self) -> Outcome {
        let initiator = static_key(self.initiator);
        let mut snow = self.snow(C::NAME, false);
        let mut messages = [Vec::new(), Vec::new()];
        let mut payload = Vec::new();
        let first = Initiator::<C>::start_with(
            &self.prologue,
            &initiator,
            &self.responder_public(),
            &self.ephemerals[0],
            &self.payloads[0],
            &mut messages[0],
        )
        .unwrap();
        assert_eq!(snow_reads(&mut snow, &messages[0]), self.payloads[0]);
        messages[1] = snow_writes(&mut snow, &self.payloads[1]);
        let mine = first.finish_with(&initiator, &messages[1], &mut payload).unwrap();
        assert_eq!(payload, self.payloads[1]);
        let keys = [*mine.send.as_bytes(), *mine.receive.as_bytes()];
        snow_agrees(&mut snow, keys, mine.handshake_hash);
        Outcome {
            messages,
            keys,
            hash: mine.handshake_hash,
        }
    }

    /// snow begins, this crate answers.
    fn snow_to_ours<C: Aead>(&self) -> Outcome {
        let mut snow = self.snow(C::NAME, true);
        let mut messages = [snow_writes(&mut snow, &self.payloads[0]), Vec::new()];
        let mut payload = Vec::new();
        let responder = static_key(self.responder);
        let second = Responder::<C>::read_with(&self.prologue, &responder, &messages[0], &mut payload).unwrap();
        assert_eq!(payload, self.payloads[0]);
        assert_eq!(second.remote_static(), static_key(self.initiator).public);
        let mine = second
            .respond(&self.ephemerals[1], &self.payloads[1], &mut messages[1])
            .unwrap();
        assert_eq!(snow_reads(&mut snow, &messages[1]), self.payloads[1]);
        let keys = [*mine.receive.as_bytes(), *mine.send.as_bytes()];
        snow_agrees(&mut snow, keys, mine.handshake_hash);
        Outcome {
            messages,
            keys,
            hash: mine.handshake_hash,
        }
    }

    /// A snow handshake with the given cipher and this script's keys.
    fn snow(&self, cipher: &str, begins: bool) -> snow::HandshakeState {
        // snow knows no Salsa20: the name it hashes is set by hand, the cipher comes from the resolver.
        let mut params: snow::params::NoiseParams = "Noise_IK_25519_ChaChaPoly_SHA512".parse().unwrap();
        params.name = format!("Noise_IK_25519_{cipher}_SHA512");
        let resolver = Box::new(Resolver {
            salsa: cipher == SalsaPoly::NAME,
        });
        let (local, ephemeral) = match begins {
            true => (&self.initiator, &self.ephemerals[0]),
            false => (&self.responder, &self.ephemerals[1]),
        };
        let remote = self.responder_public();
        let builder = snow::Builder::with_resolver(params, resolver)
            .prologue(&self.prologue)
            .unwrap()
            .local_private_key(local)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(ephemeral);
        if begins {
            builder.remote_public_key(&remote).unwrap().build_initiator().unwrap()
        } else {
            builder.build_responder().unwrap()
        }
    }
}

fn snow_reads(snow: &mut snow::HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 65535];
    let length = snow.read_message(message, &mut payload).unwrap();
    payload.truncate(length);
    payload
}

fn snow_writes(snow: &mut snow::HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 65535];
    let length = snow.write_message(payload, &mut message).unwrap();
    message.truncate(length);
    message
}

fn snow_agrees(snow: &mut snow::HandshakeState, keys: [[u8; 32]; 2], hash: [u8; 64]) {
    assert!(snow.is_handshake_finished());
    assert_eq!(snow.get_handshake_hash(), hash);
    let (first, second) = snow.dangerously_get_raw_split();
    assert_eq!([first, second], keys);
}

/// snow's own primitives, but for the cipher where it is Salsa20-Poly1305.
struct Resolver {
    salsa: bool,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NoRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        if self.salsa {
            return Some(Box::new(SnowSalsa([0; 32])));
        }
        DefaultResolver.resolve_cipher(choice)
    }
}

/// All keys of the scripts are fixed.
struct NoRandom;

impl Random for NoRandom {
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), snow::Error> {
        Err(snow::Error::Rng)
    }
}

/// Salsa20-Poly1305 for snow, from the independent composition.
struct SnowSalsa([u8; 32]);

impl Cipher for SnowSalsa {
    fn name(&self) -> &'static str {
        SalsaPoly::NAME
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = *key;
    }

    fn encrypt(&self, nonce: u64, aad: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let sealed = composed(&self.0, nonce, aad, plain);
        out[..sealed.len()].copy_from_slice(&sealed);
        sealed.len()
    }

    fn decrypt(&self, nonce: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (ciphertext, _) = sealed.split_last_chunk::<TAG>().ok_or(snow::Error::Decrypt)?;
        // Sealing the ciphertext yields the plaintext, since the cipher is its own inverse.
        let plain = composed(&self.0, nonce, aad, ciphertext)[..ciphertext.len()].to_vec();
        if composed(&self.0, nonce, aad, &plain) != sealed {
            return Err(snow::Error::Decrypt);
        }
        out[..plain.len()].copy_from_slice(&plain);
        Ok(plain.len())
    }
}

/// RFC 7748 §6.1.
#[test]
fn diffie_hellman_matches_rfc_7748() {
    let alice = array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let shared = array("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(
        static_key(alice).public,
        array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        static_key(bob).public,
        array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    assert_eq!(
        *shared_for_test(&StaticSecret::from(alice), &static_key(bob).public).unwrap(),
        shared
    );
    assert_eq!(
        *shared_for_test(&StaticSecret::from(bob), &static_key(alice).public).unwrap(),
        shared
    );
}

#[test]
fn snow_and_ours_are_one_protocol_with_chacha() {
    for n in 0..12 {
        let script = Script::numbered(n);
        let outcome = script.ours::<ChaChaPoly>();
        assert_eq!(script.ours_to_snow::<ChaChaPoly>(), outcome);
        assert_eq!(script.snow_to_ours::<ChaChaPoly>(), outcome);
    }
}

#[test]
fn snow_and_ours_are_one_protocol_with_salsa() {
    for n in 0..12 {
        let script = Script::numbered(n);
        let outcome = script.ours::<SalsaPoly>();
        assert_eq!(script.ours_to_snow::<SalsaPoly>(), outcome);
        assert_eq!(script.snow_to_ours::<SalsaPoly>(), outcome);
        assert_ne!(outcome, script.ours::<ChaChaPoly>());
    }
}

fn identity(fill: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([fill; 32]), Work::NONE).unwrap()
}

type Begun = (Initiator<SalsaPoly>, Vec<u8>);

fn begin(local: &Identity, remote: &Identity) -> Begun {
    let mut message = Vec::new();
    let key = remote.public();
    let initiator = Initiator::start(b"p", local, &key, &[3; 32], b"to you", &mut message).unwrap();
    (initiator, message)
}

fn read(local: &Identity, message: &[u8]) -> Result<Responder<SalsaPoly>, HandshakeError> {
    let mut payload = b"before".to_vec();
    let result = Responder::read(b"p", local, message, &mut payload);
    let expected: &[u8] = if result.is_ok() { b"beforeto you" } else { b"before" };
    assert_eq!(payload, expected);
    result
}

#[test]
fn identities_shake_hands() {
    let (alice, bob) = (identity(1), identity(2));
    assert_eq!(alice.noise().public, alice.public().noise_static());
    let (initiator, message) = begin(&alice, &bob);
    let responder = read(&bob, &message).unwrap();
    assert_eq!(responder.remote_static(), alice.public().noise_static());
    assert!(responder.remote_is(&alice.public()));
    assert!(!responder.remote_is(&bob.public()));
    let mut answer = b"header".to_vec();
    let theirs = responder.respond(&[4; 32], b"", &mut answer).unwrap();
    assert_eq!(answer.len(), 6 + MESSAGE_2_OVERHEAD);
    let mut payload = Vec::new();
    let mine = initiator.finish(&alice, &answer[6..], &mut payload).unwrap();
    assert!(payload.is_empty());
    assert_eq!(mine.send.as_bytes(), theirs.receive.as_bytes());
    assert_eq!(mine.receive.as_bytes(), theirs.send.as_bytes());
    assert_eq!(mine.handshake_hash, theirs.handshake_hash);
    assert_ne!(mine.send.as_bytes(), mine.receive.as_bytes());
}

#[test]
fn message_1_with_any_change_is_refused() {
    let (alice, bob) = (identity(1), identity(2));
    let (_, message) = begin(&alice, &bob);
    for bit in 0..message.len() * 8 {
        let mut bad = message.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read(&bob, &bad).err(), Some(HandshakeError::Forged), "bit {bit}");
    }
    for length in 0..message.len() {
        let error = read(&bob, &message[..length]).err();
        let expected = if length < MESSAGE_1_OVERHEAD {
            HandshakeError::TooShort
        } else {
            HandshakeError::Forged
        };
        assert_eq!(error, Some(expected), "length {length}");
    }
    let longer = [&message[..], &[0]].concat();
    assert_eq!(read(&bob, &longer).err(), Some(HandshakeError::Forged));
    assert!(read(&bob, &message).is_ok());
}

#[test]
fn message_1_is_for_one_node_and_one_prologue() {
    let (alice, bob) = (identity(1), identity(2));
    let (_, message) = begin(&alice, &bob);
    assert_eq!(read(&identity(3), &message).err(), Some(HandshakeError::Forged));
    let other = Responder::<SalsaPoly>::read(b"q", &bob, &message, &mut Vec::new());
    assert_eq!(other.err(), Some(HandshakeError::Forged));
    let other = Responder::<ChaChaPoly>::read(b"p", &bob, &message, &mut Vec::new());
    assert_eq!(other.err(), Some(HandshakeError::Forged));
}

#[test]
fn message_2_with_any_change_is_refused_and_the_true_one_still_taken() {
    let (alice, bob) = (identity(1), identity(2));
    let (initiator, message) = begin(&alice, &bob);
    let mut answer = Vec::new();
    let theirs = read(&bob, &message)
        .unwrap()
        .respond(&[4; 32], b"to me", &mut answer)
        .unwrap();
    let refused = |bad: &[u8]| {
        let mut payload = b"before".to_vec();
        let error = initiator.finish(&alice, bad, &mut payload).err();
        assert_eq!(payload, b"before");
        error
    };
    for bit in 0..answer.len() * 8 {
        let mut bad = answer.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&bad), Some(HandshakeError::Forged), "bit {bit}");
    }
    for length in 0..answer.len() {
        let expected = if length < MESSAGE_2_OVERHEAD {
            HandshakeError::TooShort
        } else {
            HandshakeError::Forged
        };
        assert_eq!(refused(&answer[..length]), Some(expected), "length {length}");
    }
    assert_eq!(refused(&[&answer[..], &[0]].concat()), Some(HandshakeError::Forged));

    let mut payload = Vec::new();
    let mine = initiator.finish(&alice, &answer, &mut payload).unwrap();
    assert_eq!(payload, b"to me");
    assert_eq!(mine.handshake_hash, theirs.handshake_hash);
}

#[test]
fn only_the_responder_can_answer() {
    let (alice, bob, mallory) = (identity(1), identity(2), identity(3));
    let (to_bob, _) = begin(&alice, &bob);
    let (_, to_mallory) = begin(&alice, &mallory);
    let mut answer = Vec::new();
    read(&mallory, &to_mallory)
        .unwrap()
        .respond(&[4; 32], b"", &mut answer)
        .unwrap();
    assert_eq!(
        to_bob.finish(&alice, &answer, &mut Vec::new()).err(),
        Some(HandshakeError::Forged)
    );
}

/// All encodings of the points whose multiples by a clamped scalar are zero, u coordinates beyond p and with the
/// ignored top bit included.
fn weak_points() -> Vec<[u8; 32]> {
    let mut points: Vec<_> = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .into_iter()
    .map(array)
    .collect();
    for n in 0..points.len() {
        let mut top = points[n];
        top[31] |= 0x80;
        points.push(top);
    }
    points
}

#[test]
fn weak_points_are_refused_wherever_they_come() {
    let (alice, bob) = (identity(1), identity(2));
    let (initiator, message) = begin(&alice, &bob);
    let responder_static = bob.public().noise_static();
    for point in weak_points() {
        let mut bad = message.clone();
        bad[..POINT].copy_from_slice(&point);
        assert_eq!(read(&bob, &bad).err(), Some(HandshakeError::WeakKey));

        let mut answer = point.to_vec();
        answer.resize(MESSAGE_2_OVERHEAD, 0);
        assert_eq!(
            initiator.finish(&alice, &answer, &mut Vec::new()).err(),
            Some(HandshakeError::WeakKey)
        );

        let mut out = b"before".to_vec();
        let begun = Initiator::<SalsaPoly>::start_with(b"p", alice.noise(), &point, &[3; 32], b"", &mut out);
        assert_eq!(begun.err(), Some(HandshakeError::WeakKey));
        assert_eq!(out, b"before");

        // A weak static key, sealed as it should be by an initiator that does not check.
        let ephemeral = StaticSecret::from([3; 32]);
        let mut state = SymmetricState::<SalsaPoly>::new(b"p", &responder_static);
        let mut bad = x25519_dalek::PublicKey::from(&ephemeral).to_bytes().to_vec();
        state.mix_hash(&bad);
        let key = state.mix_key(&diffie_hellman(&ephemeral, &responder_static).unwrap());
        state.seal(&key, &point, &mut bad);
        let key = state.mix_key(&[0; POINT]);
        state.seal(&key, b"to you", &mut bad);
        assert_eq!(read(&bob, &bad).err(), Some(HandshakeError::WeakKey));
    }
}

#[test]
fn debug_shows_no_secret() {
    let (alice, bob) = (identity(1), identity(2));
    let (initiator, message) = begin(&alice, &bob);
    assert_eq!(format!("{initiator:?}"), "Initiator(..)");
    let responder = read(&bob, &message).unwrap();
    assert_eq!(format!("{responder:?}"), "Responder(..)");
    let keys = responder.respond(&[4; 32], b"", &mut Vec::new()).unwrap();
    assert_eq!(format!("{keys:?}"), "SessionKeys(..)");
}

#[test]
fn a_coordinate_has_one_encoding() {
    let p = {
        let mut p = [0xff; POINT];
        (p[0], p[31]) = (0xed, 0x7f);
        p
    };
    let mut before = p;
    before[0] -= 1;
    assert!(is_canonical(&before) && is_canonical(&[0; POINT]) && !is_canonical(&p));
    let (mut high, mut beyond) = ([0; POINT], p);
    high[31] = 0x80;
    beyond[0] = 0xff;
    assert!(!is_canonical(&high) && !is_canonical(&beyond));
}

proptest::proptest! {
    /// Random coordinates are on the curve or on its twist, half of them each.
    #[test]
    fn both_ways_to_multiply_agree(secret: [u8; 32], public: [u8; 32]) {
        let _ = shared_for_test(&StaticSecret::from(secret), &public);
    }
}
