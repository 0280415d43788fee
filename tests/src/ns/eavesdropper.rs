//! An eavesdropper who recorded everything and stole the secrets of all nodes afterwards: what he can compute.
//!
//! He replays the handshake (PROTOCOL.md §5) as far as static secrets reach. Of the four Diffie-Hellman results he has three:
//! `es` and `ss` with the responder's secret, `se` with the initiator's. `ee` is between two ephemeral keys that no longer
//! exist, and everything that seals data hangs on it.

use farlan_crypto::{Aead as _, Identity, Key, SalsaPoly, hmac_sha512, sha512};
use x25519_dalek::{PublicKey, StaticSecret};

use super::record::{Data, inner};

/// A node whose secret is known.
pub struct Stolen {
    secret: StaticSecret,
    public: [u8; 32],
}

impl Stolen {
    /// From the seed in a secret file.
    pub fn new(identity: &Identity) -> Self {
        let mut scalar = [0; 32];
        scalar.copy_from_slice(&sha512(&[identity.seed().as_bytes()])[..32]);
        Self {
            secret: StaticSecret::from(scalar),
            public: identity.public().noise_static(),
        }
    }

    fn agree(&self, other: &[u8; 32]) -> [u8; 32] {
        self.secret.diffie_hellman(&PublicKey::from(*other)).to_bytes()
    }
}

/// A recorded handshake of which both messages were found.
struct Handshake {
    /// Chaining key and hash after message 1.
    state: State,
    initiator_ephemeral: [u8; 32],
    responder_ephemeral: [u8; 32],
    sealed_payload: Vec<u8>,
    shared: [[u8; 32]; 3],
}

/// What the eavesdropper made of a record.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Handshakes of which he read the payload of message 1 with the responder's secret; the receiver's part of Noise IK.
    pub read: usize,
    /// Of those, with message 2 on record.
    pub answered: usize,
    /// Keys he computed and tried.
    pub tried: usize,
    /// Payloads of message 2 that he read.
    pub second_payloads: usize,
    /// Data datagrams on record.
    pub datagrams: usize,
    /// Data datagrams that he opened.
    pub opened: usize,
}

/// What may have been the fourth Diffie-Hellman result, as the eavesdropper guesses it from a handshake's ephemeral public
/// keys.
pub type Guess<'a> = &'a dyn Fn([&[u8; 32]; 2]) -> Vec<[u8; 32]>;

/// Reads a record with all these secrets. `guess` adds to what the eavesdropper takes for `ee`.
pub fn read(record: &[Vec<u8>], stolen: &[Stolen], guess: Guess<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut keys = Vec::new();
    let mut initiations: Vec<&[u8]> = record.iter().map(|datagram| inner(datagram).0).collect();
    initiations.retain(|datagram| datagram.first() == Some(&1));
    initiations.sort();
    initiations.dedup();
    for initiation in initiations {
        let responses = record.iter().map(|datagram| inner(datagram).0);
        // A response begins with the initiation's sender index as its receiver's.
        let response = responses
            .filter(|datagram| datagram.first() == Some(&2))
            .find(|response| response.get(4..8) == initiation.get(4..8));
        let Some(handshake) = stolen
            .iter()
            .find_map(|responder| Handshake::open(initiation, response, responder, stolen))
        else {
            continue;
        };
        outcome.read += 1;
        outcome.answered += usize::from(response.is_some());
        handshake.keys(guess, &mut keys, &mut outcome);
    }
    let data: Vec<Data> = record.iter().filter_map(|datagram| Data::parse(datagram)).collect();
    outcome.datagrams = data.len();
    outcome.tried = keys.len();
    let opens = |data: &&Data| keys.iter().any(|key| data.opens(key));
    outcome.opened = data.iter().filter(opens).count();
    outcome
}

impl Handshake {
    /// Reads message 1 as the responder does.
    fn open(initiation: &[u8], response: Option<&[u8]>, responder: &Stolen, stolen: &[Stolen]) -> Option<Self> {
        let message = initiation.get(8..144)?;
        let (ephemeral, rest) = message.split_first_chunk::<32>()?;
        let (sealed_static, sealed_payload) = rest.split_first_chunk::<48>()?;
        let mut state = State::new();
        state.mix_hash(b"farlan 1");
        state.mix_hash(&responder.public);
        state.mix_hash(ephemeral);
        let es = responder.agree(ephemeral);
        let key = state.mix_key(&es);
        let initiator: [u8; 32] = state.open(&key, sealed_static)?.try_into().ok()?;
        let ss = responder.agree(&initiator);
        let key = state.mix_key(&ss);
        state.open(&key, sealed_payload)?;
        let second = response.and_then(|response| response.get(12..)).unwrap_or_default();
        let (responder_ephemeral, sealed_payload) = match second.split_first_chunk::<32>() {
            Some((ephemeral, sealed)) => (*ephemeral, sealed.to_vec()),
            None => ([0; 32], Vec::new()),
        };
        // With the initiator's secret, too, if that was stolen.
        let theirs = stolen.iter().find(|node| node.public == initiator);
        let se = theirs.map_or([0; 32], |initiator| initiator.agree(&responder_ephemeral));
        Some(Self {
            state,
            initiator_ephemeral: *ephemeral,
            responder_ephemeral,
            sealed_payload,
            shared: [es, ss, se],
        })
    }

    /// Every key that follows from what is known, with every known value in the place of the unknown one.
    fn keys(&self, guess: Guess<'_>, keys: &mut Vec<Key>, outcome: &mut Outcome) {
        let [es, ss, se] = self.shared;
        let mut guesses = vec![[0; 32], es, ss, se, self.initiator_ephemeral, self.responder_ephemeral];
        guesses.extend(guess([&self.initiator_ephemeral, &self.responder_ephemeral]));
        // The keys of a handshake that ends after message 1, or leaves out `ee`.
        for shared in [&[][..], &[se]] {
            let mut state = self.state.clone();
            for shared in shared {
                keys.push(state.mix_key(shared));
            }
            keys.extend(state.split());
        }
        for ee in guesses {
            let mut state = self.state.clone();
            state.mix_hash(&self.responder_ephemeral);
            keys.push(state.mix_key(&ee));
            let key = state.mix_key(&se);
            outcome.second_payloads += usize::from(state.open(&key, &self.sealed_payload).is_some());
            keys.push(key);
            keys.extend(state.split());
        }
    }
}

/// Noise's symmetric state (revision 34, §5.2).
#[derive(Clone)]
struct State {
    chaining_key: [u8; 64],
    hash: [u8; 64],
}

impl State {
    fn new() -> Self {
        let mut name = [0; 64];
        name[..31].copy_from_slice(b"Noise_IK_25519_SalsaPoly_SHA512");
        Self {
            chaining_key: name,
            hash: name,
        }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha512(&[&self.hash, data]);
    }

    fn mix_key(&mut self, shared: &[u8]) -> Key {
        let [chaining_key, key] = self.derive(shared);
        self.chaining_key = chaining_key;
        truncated(&key)
    }

    fn open(&mut self, key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = sealed.to_vec();
        let opened = SalsaPoly::open(key, 0, &self.hash, &mut plain).ok()?.to_vec();
        self.mix_hash(sealed);
        Some(opened)
    }

    fn split(&self) -> [Key; 2] {
        self.derive(&[]).map(|key| truncated(&key))
    }

    fn derive(&self, input: &[u8]) -> [[u8; 64]; 2] {
        let temporary = hmac_sha512(&self.chaining_key, &[input]);
        let first = hmac_sha512(&temporary, &[&[1]]);
        [first, hmac_sha512(&temporary, &[&first, &[2]])]
    }
}

fn truncated(key: &[u8; 64]) -> Key {
    Key::from_bytes(std::array::from_fn(|n| key[n]))
}

#[cfg(test)]
mod tests {
    use farlan_crypto::{Initiator, Responder, Sealer, Seed, TAG, Work};

    use super::*;

    fn identity(fill: u8) -> Identity {
        Identity::from_seed(Seed::from_bytes([fill; 32]), Work::NONE).unwrap()
    }

    /// A session on record: both handshake messages and a datagram each way, with these ephemeral secrets.
    fn record(alice: &Identity, bob: &Identity, ephemerals: [[u8; 32]; 2]) -> Vec<Vec<u8>> {
        let mut initiation = vec![1, 1, 0, 0, 9, 9, 9, 9];
        let payload = [7; 40];
        let begun = Initiator::<SalsaPoly>::start(
            b"farlan 1",
            alice,
            &bob.public(),
            &ephemerals[0],
            &payload,
            &mut initiation,
        );
        let mut response = vec![2, 1, 0, 0, 9, 9, 9, 9, 8, 8, 8, 8];
        let read = Responder::<SalsaPoly>::read(b"farlan 1", bob, &initiation[8..], &mut Vec::new()).unwrap();
        let bobs = read.respond(&ephemerals[1], &[7; 44], &mut response).unwrap();
        let alices = begun.unwrap().finish(alice, &response[12..], &mut Vec::new()).unwrap();
        let data = |key| {
            let mut datagram = vec![0; 16 + 5 + TAG];
            datagram[0] = 3;
            let (header, sealed) = datagram.split_at_mut(16);
            Sealer::new(key).seal(0, header, sealed);
            datagram
        };
        let first = data(alices.send);
        vec![initiation, response, first, data(bobs.send)]
    }

    /// That he opens everything as soon as he has `ee` shows that nothing else is missing.
    #[test]
    fn the_ephemeral_keys_are_what_he_lacks() {
        let (alice, bob) = (identity(1), identity(2));
        let record = record(&alice, &bob, [[3; 32], [4; 32]]);
        let stolen = [Stolen::new(&alice), Stolen::new(&bob)];
        let outcome = read(&record, &stolen, &|_| Vec::new());
        assert_eq!((outcome.read, outcome.answered, outcome.datagrams), (1, 1, 2));
        assert_eq!((outcome.second_payloads, outcome.opened), (0, 0), "{outcome:?}");
        let with_one_ephemeral = |[_, responder]: [&[u8; 32]; 2]| {
            let shared = StaticSecret::from([3; 32]).diffie_hellman(&PublicKey::from(*responder));
            vec![shared.to_bytes()]
        };
        let outcome = read(&record, &stolen, &with_one_ephemeral);
        assert_eq!((outcome.second_payloads, outcome.opened), (1, 2), "{outcome:?}");
    }
}
