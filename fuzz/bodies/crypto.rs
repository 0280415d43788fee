//! What must hold of keys, ids and handshake messages that come from outside.
#![allow(dead_code, reason = "each target uses a part")]

use std::str::FromStr as _;

use farlan_crypto::{
    HandshakeError, Identity, Initiator, NodeId, PublicKey, Responder, SalsaPoly, Seed, SessionKeys, Signature, Work,
    fuzzing,
};

/// Input: the text of a secret file, of a node id, and a key.
pub(crate) fn keys(input: &[u8]) {
    fuzzing::secret_file(input);
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(id) = NodeId::from_str(text)
    {
        assert!(id.to_string().eq_ignore_ascii_case(text), "an id has one spelling");
    }
    if let Some(bytes) = input.first_chunk::<32>()
        && let Ok(key) = PublicKey::from_bytes(bytes, Work::NONE)
    {
        assert_eq!(key.as_bytes(), bytes);
        // It panics for no key that was taken.
        key.noise_static();
        if let Some(signature) = input[32..].first_chunk::<64>() {
            let signature = Signature::from_bytes(*signature);
            assert_eq!(signature.as_bytes(), &input[32..96]);
            assert!(key.verify(b"farlan fuzzing", b"never signed", &signature).is_err());
        }
    }
}

/// Input: how two handshake messages are bent and cut, and their payloads. A handshake comes to an end where both arrive
/// as they were made, and never otherwise.
pub(crate) fn noise(input: &[u8]) {
    const PROLOGUE: &[u8] = b"farlan fuzzing";
    let Some((flaws, payload)) = input.split_first_chunk::<12>() else {
        // As it stands, it is of nobody.
        let (_, responder) = pair();
        assert!(Responder::<SalsaPoly>::read(PROLOGUE, &responder, input, &mut Vec::new()).is_err());
        return;
    };
    let (initiator, responder) = pair();
    let mut first = Vec::new();
    let begun = Initiator::<SalsaPoly>::start(PROLOGUE, &initiator, &responder.public(), &[7; 32], payload, &mut first);
    let begun = begun.expect("the keys are good");
    let changed = bend(&mut first, &flaws[..6]);
    let mut received = Vec::new();
    let read = Responder::<SalsaPoly>::read(PROLOGUE, &responder, &first, &mut received);
    let read = match read {
        Err(error) => {
            assert!(changed, "{error}");
            assert!(received.is_empty());
            return;
        }
        Ok(read) => read,
    };
    assert!(!changed, "a bent message 1 was taken");
    assert_eq!(received, payload);
    assert!(read.remote_is(&initiator.public()));
    let mut second = Vec::new();
    let keys = read.respond(&[8; 32], payload, &mut second).expect("the keys are good");
    let changed = bend(&mut second, &flaws[6..]);
    let mut answered = Vec::new();
    let finished: Result<SessionKeys, HandshakeError> = begun.finish(&initiator, &second, &mut answered);
    assert_eq!(finished.is_err(), changed);
    let Ok(finished) = finished else {
        assert!(answered.is_empty());
        return;
    };
    assert_eq!(answered, payload);
    assert_eq!(finished.send.as_bytes(), keys.receive.as_bytes());
    assert_eq!(finished.receive.as_bytes(), keys.send.as_bytes());
    assert_eq!(finished.handshake_hash, keys.handshake_hash);
}

fn pair() -> (Identity, Identity) {
    let identity = |seed| Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE).expect("no work is asked for");
    (identity(1), identity(2))
}

/// Changes a message by six bytes: what, where (two), how, a length (two). Returns whether it is another now.
fn bend(message: &mut Vec<u8>, flaw: &[u8]) -> bool {
    let before = message.clone();
    let at = usize::from(u16::from_be_bytes([flaw[1], flaw[2]])) % message.len();
    let length = usize::from(u16::from_be_bytes([flaw[4], flaw[5]])) % (message.len() + 20);
    match flaw[0] % 6 {
        0 => {}
        1 => message[at] ^= flaw[3],
        2 => message.resize(length, flaw[3]),
        3 => message[at..].fill(flaw[3]),
        4 => message[..at].fill(flaw[3]),
        _ => message.rotate_left(at),
    }
    *message != before
}
