//! What libsodium made of pseudorandom inputs, recomputed.
//!
//! `libsodium.txt` holds digests that `scripts/judge-libsodium` had libsodium compute; how the inputs are made is said there in
//! `judge-libsodium.py`. Of 100,000 cases of each class an ordinary run takes the first 20,000, of those on the
//! curve the first 10,000; with `FARLAN_JUDGE_ALL` set, as that script does, all.

use ed25519_dalek::SigningKey;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::Salsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use sha2::{Digest, Sha512};
use x25519_dalek::StaticSecret;

use crate::noise::shared_for_test;
use crate::{Aead, Identity, Key, SalsaPoly, Seed, Signature, TAG, Work, sha512};

const SAID: &str = include_str!("libsodium.txt");

/// Parts of each class, and cases of each part.
const PARTS: u64 = 10;
const PART: u64 = 10_000;

/// The stream that a case takes its inputs from.
struct Inputs {
    prefix: Vec<u8>,
    block: u64,
    bytes: Vec<u8>,
}

impl Inputs {
    fn new(class: &str, number: u64) -> Self {
        let prefix = [b"farlan judge 1 ", class.as_bytes(), b" ", &number.to_le_bytes()[..]].concat();
        Self {
            prefix,
            block: 0,
            bytes: Vec::new(),
        }
    }

    fn take(&mut self, count: u64) -> Vec<u8> {
        let count = count as usize;
        while self.bytes.len() < count {
            let block = sha512(&[&self.prefix, &self.block.to_le_bytes()]);
            self.bytes.extend(block);
            self.block += 1;
        }
        let rest = self.bytes.split_off(count);
        std::mem::replace(&mut self.bytes, rest)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N as u64).try_into().unwrap()
    }

    fn number(&mut self, below: u64) -> u64 {
        u64::from_le_bytes(self.array()) % below
    }

    /// Some bytes, fewer than `below`.
    fn some(&mut self, below: u64) -> Vec<u8> {
        let count = self.number(below);
        self.take(count)
    }
}

/// Compares `parts` parts of a class, and its later ones as well if asked for.
fn judge(class: &str, parts: u64, ours: impl Fn(&mut Inputs) -> Vec<u8>) {
    let all = std::env::var_os("FARLAN_JUDGE_ALL").is_some();
    let said: Vec<_> = SAID.lines().filter_map(|line| line.strip_prefix(class)).collect();
    assert_eq!(said.len() as u64, PARTS, "{class}");
    for part in 0..if all { PARTS } else { parts } {
        let mut digest = Sha512::new();
        for number in part * PART..(part + 1) * PART {
            digest.update(ours(&mut Inputs::new(class, number)));
        }
        let digest = data_encoding::HEXLOWER.encode(&digest.finalize()[..32]);
        assert_eq!(said[part as usize], format!(" {part} {digest}"), "{class}, part {part}");
    }
}

#[test]
fn keystream() {
    judge("keystream", 2, |inputs| {
        let (key, nonce): ([u8; 32], [u8; 8]) = (inputs.array(), inputs.array());
        let block = inputs.number(1 << 57);
        let mut message = inputs.some(2048);
        let mut cipher = Salsa20::new(&key.into(), &nonce.into());
        cipher.seek(block * 64);
        cipher.apply_keystream(&mut message);
        message
    });
}

#[test]
fn onetimeauth() {
    judge("onetimeauth", 2, |inputs| {
        let key: [u8; 32] = inputs.array();
        let message = inputs.some(2048);
        Poly1305::new(&key.into()).compute_unpadded(&message).to_vec()
    });
}

#[test]
fn sealing() {
    judge("sealing", 2, |inputs| {
        let (key, counter) = (Key::from_bytes(inputs.array()), u64::from_le_bytes(inputs.array()));
        let aad = inputs.some(65);
        let mut message = inputs.some(2048);
        message.extend([0; TAG]);
        SalsaPoly::seal(&key, counter, &aad, &mut message);
        message
    });
}

/// What is special of the points, in the order of `judge-libsodium.py`.
fn point(number: u64) -> Option<[u8; 32]> {
    let prime = |plus: i8| {
        // 2^255 - 19 + plus, which for small plus changes the first byte alone.
        let mut bytes = [0xff; 32];
        bytes[0] = (0xed + i16::from(plus)) as u8;
        bytes[31] = 0x7f;
        bytes
    };
    let small = |first| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    };
    let hex = |text: &str| {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .unwrap()
            .try_into()
            .unwrap()
    };
    Some(match number {
        0 => small(0),
        1 => small(1),
        2 => hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        3 => hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        4 => prime(-1),
        5 => prime(0),
        6 => prime(1),
        7 => prime(2),
        8 => prime(9),
        9 => prime(18),
        10 => {
            let mut bytes = small(9);
            bytes[31] = 0x80;
            bytes
        }
        11 => small(9),
        12..16 => small(number as u8 - 10),
        _ => return None,
    })
}

#[test]
fn scalarmult() {
    judge("scalarmult", 1, |inputs| {
        let (scalar, drawn): ([u8; 32], [u8; 32]) = (inputs.array(), inputs.array());
        let point = point(inputs.number(64)).unwrap_or(drawn);
        let shared = shared_for_test(&StaticSecret::from(scalar), &point);
        shared.map_or_else(|_| b"refused".to_vec(), |shared| shared.to_vec())
    });
}

#[test]
fn keymap() {
    judge("keymap", 1, |inputs| {
        let seed: [u8; 32] = inputs.array();
        let identity = Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap();
        let mut scalar = SigningKey::from_bytes(&seed).to_scalar_bytes();
        scalar[0] &= 248;
        scalar[31] = scalar[31] & 127 | 64;
        [*identity.public().as_bytes(), identity.public().noise_static(), scalar].concat()
    });
}

#[test]
fn signature() {
    judge("signature", 1, |inputs| {
        let identity = Identity::from_seed(Seed::from_bytes(inputs.array()), Work::NONE).unwrap();
        let domain = inputs.some(32);
        let message = inputs.some(200);
        let signature = identity.sign(&domain, &message);
        let mut changed = *signature.as_bytes();
        match inputs.number(513) {
            512 => add_order(&mut changed),
            bit => changed[bit as usize / 8] ^= 1 << (bit % 8),
        }
        let verifies = |signature: &Signature| identity.public().verify(&domain, &message, signature).is_ok();
        let judged = [verifies(&signature), verifies(&Signature::from_bytes(changed))];
        [&signature.as_bytes()[..], &judged.map(u8::from)].concat()
    });
}

/// Adds the order of the group to S, which a lax verification would not notice.
fn add_order(signature: &mut [u8; 64]) {
    let order = b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}
