//! The cases of Project Wycheproof.

use std::collections::BTreeMap;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use wycheproof::TestResult;
use wycheproof::{aead, eddsa, xdh};
use x25519_dalek::StaticSecret;

use crate::aead::authenticate;
use crate::identity::verifies;
use crate::noise::shared_for_test;
use crate::{HandshakeError, Signature};

/// All 518 of X25519. What they call acceptable is taken, twisted points and second encodings included, as RFC 7748 has it; but
/// for results of zero, which end a handshake.
#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut judged = BTreeMap::<_, u32>::new();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
        let shared = shared_for_test(&StaticSecret::from(array(&case.private_key)), &array(&case.public_key));
        let zero = case.flags.contains(&xdh::TestFlag::ZeroSharedSecret);
        match shared {
            Err(error) => assert!(zero && error == HandshakeError::WeakKey, "case {}", case.tc_id),
            Ok(shared) => assert!(!zero && shared[..] == case.shared_secret[..], "case {}", case.tc_id),
        }
        let verdict = match case.result {
            TestResult::Valid => "valid",
            TestResult::Acceptable => "acceptable",
            TestResult::Invalid => "invalid",
        };
        *judged.entry((verdict, zero)).or_default() += 1;
    }
    let expected = [
        (("acceptable", false), 222),
        (("acceptable", true), 31),
        (("valid", false), 265),
    ];
    assert_eq!(Vec::from_iter(judged), expected, "verdict, and whether it is refused");
}

/// All 150 of Ed25519: the 88 valid ones verify, the 62 others do not, of which 12 are not even as long as a signature.
#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut judged = BTreeMap::<_, u32>::new();
    for group in &set.test_groups {
        let key = <[u8; 32]>::try_from(&group.key.pk[..]).unwrap();
        for case in &group.tests {
            let signature = <[u8; 64]>::try_from(&case.sig[..]).ok();
            let verified = signature.is_some_and(|bytes| verifies(&key, &case.msg, &Signature::from_bytes(bytes)));
            assert_eq!(verified, case.result == TestResult::Valid, "case {}", case.tc_id);
            *judged.entry((verified, signature.is_some())).or_default() += 1;
        }
    }
    let expected = [((false, false), 12), ((false, true), 50), ((true, true), 88)];
    assert_eq!(
        Vec::from_iter(judged),
        expected,
        "whether it verifies, and whether it has 64 bytes"
    );
}

/// Those of ChaCha20-Poly1305 with nonces of 12 bytes, for the tag, which is made as ours: among them the carries of Poly1305
/// that random messages do not meet.
#[test]
fn the_tag_of_chacha20_poly1305() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut right, mut wrong) = (0, 0);
    for group in &set.test_groups {
        if (group.key_size, group.nonce_size) != (256, 96) {
            continue;
        }
        for case in &group.tests {
            let mut one_time_key = [0; 32];
            let mut cipher = ChaCha20::new_from_slices(&case.key, &case.nonce).unwrap();
            cipher.apply_keystream(&mut one_time_key);
            let tag = authenticate(Poly1305::new(&one_time_key.into()), &case.aad, &case.ct);
            let is_right = tag[..] == case.tag[..];
            assert_eq!(is_right, case.result == TestResult::Valid, "case {}", case.tc_id);
            right += u32::from(is_right);
            wrong += u32::from(!is_right);
        }
    }
    assert_eq!((right, wrong), (256, 60));
}
