use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::scalar::Scalar;
use data_encoding::HEXLOWER;
use ed25519_dalek::Verifier;
use proptest::prelude::*;
use x25519_dalek::StaticSecret;

use super::*;
use crate::random::SystemRandom;

/// Few enough tries for a test in an unoptimised build.
const LITTLE: Work = Work(4);

fn identity(first: u8) -> Identity {
    let mut seed = [0x42; 32];
    seed[0] = first;
    Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap()
}

fn array(hex: &str) -> [u8; 32] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

/// RFC 8032 §7.1, tests 1 and 3.
#[test]
fn keys_and_signatures_match_rfc_8032() {
    let make = |seed| Identity::from_seed(Seed::from_bytes(array(seed)), Work::NONE).unwrap();
    let first = make("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    assert_eq!(
        *first.public().as_bytes(),
        array("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    );
    let third = make("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
    assert_eq!(
        *third.public().as_bytes(),
        array("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    );
    assert_eq!(
        HEXLOWER.encode(&third.signing.sign(&[0xaf, 0x82]).to_bytes()),
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    );
}

/// The example of libsodium's own test of `crypto_sign_ed25519_*_to_curve25519`.
#[test]
fn the_noise_key_is_that_of_libsodium() {
    let seed = Seed::from_bytes(array(
        "421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee",
    ));
    let identity = Identity::from_seed(seed, Work::NONE).unwrap();
    assert_eq!(
        identity.public().noise_static(),
        array("f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50")
    );
    let mut scalar = identity.signing.to_scalar_bytes();
    scalar[0] &= 248;
    scalar[31] = scalar[31] & 127 | 64;
    assert_eq!(
        scalar,
        array("8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// The secret that X25519 uses belongs to the Montgomery image of the public key.
    #[test]
    fn secret_and_public_noise_key_belong_together(seed in any::<[u8; 32]>()) {
        let identity = Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap();
        let secret = StaticSecret::from(identity.signing.to_scalar_bytes());
        let public = x25519_dalek::PublicKey::from(&secret).to_bytes();
        prop_assert_eq!(identity.public().noise_static(), public);
        prop_assert_eq!(PublicKey::from_bytes(identity.public().as_bytes(), Work::NONE), Ok(identity.public()));
    }

    #[test]
    fn node_ids_survive_their_text(bytes in any::<[u8; 16]>()) {
        let id = NodeId::from_bytes(bytes);
        let text = id.to_string();
        prop_assert_eq!(text.len(), NodeId::TEXT);
        prop_assert!(text.bytes().all(|c| c.is_ascii_lowercase() || (b'2'..=b'7').contains(&c)));
        prop_assert_eq!(text.parse(), Ok(id));
        prop_assert_eq!(text.to_ascii_uppercase().parse(), Ok(id));
        prop_assert_eq!(id.short(), &text[..10]);
    }
}

#[test]
fn text_that_is_no_node_id_is_refused() {
    let good = NodeId::from_bytes([0xab; 16]).to_string();
    assert!(good.parse::<NodeId>().is_ok());
    let spare_bits = format!("{}b", "a".repeat(25));
    for text in [
        "",
        &good[..25],
        &format!("{good}a"),
        &good.replace('v', "1"),
        &good.replace('v', "="),
        &spare_bits,
    ] {
        assert_eq!(text.parse::<NodeId>(), Err(ParseNodeIdError), "{text}");
    }
    assert!("a".repeat(26).parse::<NodeId>().is_ok());
    assert!("ä".repeat(13).parse::<NodeId>().is_err());
}

#[test]
fn node_ids_are_the_hash_of_domain_and_key() {
    let key = identity(1).public();
    let digest = sha512(&[b"farlan node id 1", key.as_bytes()]);
    assert_eq!(key.node_id().as_bytes(), &digest[..16]);
    assert_eq!(NodeId::of_key(key.as_bytes()), key.node_id());
}

#[test]
fn points_of_small_order_are_refused() {
    for point in EIGHT_TORSION {
        assert_eq!(
            PublicKey::from_bytes(point.compress().as_bytes(), Work::NONE),
            Err(KeyError::Weak)
        );
    }
}

#[test]
fn second_encodings_of_a_point_are_refused() {
    // y + p for the 19 values of y where it fits 255 bits, with either sign.
    let mut refused = 0;
    let mut of_large_order = 0;
    for excess in 0..19u8 {
        for sign in [0, 0x80] {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xed + excess;
            bytes[31] = 0x7f | sign;
            let Some(point) = CompressedEdwardsY(bytes).decompress() else {
                assert_eq!(PublicKey::from_bytes(&bytes, Work::NONE), Err(KeyError::NotAPoint));
                continue;
            };
            assert_eq!(PublicKey::from_bytes(&bytes, Work::NONE), Err(KeyError::NotCanonical));
            refused += 1;
            of_large_order += usize::from(!point.is_small_order());
        }
    }
    assert!(refused > 4 && of_large_order > 4, "{refused} {of_large_order}");

    // Zero has no sign: the neutral point with the sign bit set.
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes[31] = 0x80;
    assert_eq!(PublicKey::from_bytes(&bytes, Work::NONE), Err(KeyError::NotCanonical));
}

#[test]
fn bytes_off_the_curve_are_refused() {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(PublicKey::from_bytes(&bytes, Work::NONE), Err(KeyError::NotAPoint));
}

#[test]
fn work_counts_leading_zero_bits_of_the_stamp() {
    let mut met = [0u32; 9];
    for n in 0..600u32 {
        let digest = sha512(&[&n.to_le_bytes()]);
        let stamp = sha512(&[&digest]);
        let zeros = stamp[0].leading_zeros();
        for bits in 0..=8 {
            let is_met = Work(bits).is_met(&digest);
            assert_eq!(is_met, zeros >= u32::from(bits), "{n} {bits}");
            met[usize::from(bits)] += u32::from(is_met);
        }
    }
    assert_eq!(met[0], 600);
    assert!((200..400).contains(&met[1]) && met[8] < 20, "{met:?}");
}

#[test]
fn generated_identities_carry_their_work() {
    let mut random = SystemRandom::from_os().unwrap();
    let identity = Identity::generate(&mut random, LITTLE);
    assert_eq!(
        PublicKey::from_bytes(identity.public().as_bytes(), LITTLE),
        Ok(identity.public())
    );
    let again = Identity::from_seed(Seed::from_bytes(*identity.seed().as_bytes()), LITTLE).unwrap();
    assert_eq!(again.public(), identity.public());
    assert_ne!(Identity::generate(&mut random, Work::NONE).public(), identity.public());
}

#[test]
fn a_key_without_the_work_is_refused_everywhere() {
    let poor = (0..)
        .map(identity)
        .find(|i| PublicKey::from_bytes(i.public().as_bytes(), LITTLE).is_err())
        .unwrap();
    assert_eq!(
        PublicKey::from_bytes(poor.public().as_bytes(), LITTLE),
        Err(KeyError::Work)
    );
    assert_eq!(
        Identity::from_seed(Seed::from_bytes(*poor.seed().as_bytes()), LITTLE).err(),
        Some(KeyError::Work)
    );
    assert_eq!(
        PublicKey::from_bytes(poor.public().as_bytes(), Work::REQUIRED),
        Err(KeyError::Work)
    );
}

#[test]
fn signatures_hold_for_one_key_domain_and_message() {
    let signer = identity(1);
    let signature = signer.sign(b"config", b"message");
    let key = signer.public();
    assert_eq!(key.verify(b"config", b"message", &signature), Ok(()));
    assert_eq!(
        identity(2).public().verify(b"config", b"message", &signature),
        Err(BadSignature)
    );
    assert_eq!(key.verify(b"config", b"massage", &signature), Err(BadSignature));
    assert_eq!(key.verify(b"confi", b"gmessage", &signature), Err(BadSignature));
    assert_eq!(key.verify(b"", b"configmessage", &signature), Err(BadSignature));
    for bit in 0..512 {
        let mut bytes = *signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            key.verify(b"config", b"message", &Signature::from_bytes(bytes)),
            Err(BadSignature),
            "bit {bit}"
        );
    }
}

/// S + group order verifies under lax rules; accepting it would let anybody alter a signature.
#[test]
fn signatures_cannot_be_altered_into_valid_ones() {
    let order = array("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let signer = identity(1);
    let mut bytes = *signer.sign(b"d", b"m").as_bytes();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(
        signer.public().verify(b"d", b"m", &Signature::from_bytes(bytes)),
        Err(BadSignature)
    );
}

/// With R = 0 the equation of lax rules holds for S = k·a: the signature reveals the secret and binds nothing.
#[test]
fn signatures_with_a_point_of_small_order_are_refused() {
    let signer = identity(1);
    let key = signer.public();
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let hash = sha512(&[&bytes[..32], key.as_bytes(), &signed_bytes(b"d", b"m")]);
    let scalar = Scalar::from_bytes_mod_order_wide(&hash) * signer.signing.to_scalar();
    bytes[32..].copy_from_slice(scalar.as_bytes());

    let lax = VerifyingKey::from_bytes(key.as_bytes()).unwrap();
    let signature = ed25519_dalek::Signature::from_bytes(&bytes);
    assert!(lax.verify(&signed_bytes(b"d", b"m"), &signature).is_ok());
    assert_eq!(key.verify(b"d", b"m", &Signature::from_bytes(bytes)), Err(BadSignature));
}

#[test]
fn the_longest_domain_works() {
    let signer = identity(1);
    let signature = signer.sign(&[7; 255], b"m");
    assert_eq!(signer.public().verify(&[7; 255], b"m", &signature), Ok(()));
}

#[test]
#[should_panic(expected = "at most 255 bytes")]
fn a_longer_domain_is_a_mistake_of_the_caller() {
    identity(1).sign(&[7; 256], b"m");
}

#[test]
fn debug_shows_the_node_id_and_no_secret() {
    let identity = identity(1);
    let id = identity.node_id().to_string();
    assert_eq!(format!("{:?}", identity.public()), format!("PublicKey({id})"));
    assert_eq!(format!("{identity:?}"), format!("Identity {{ node_id: {id}, .. }}"));
    assert_eq!(format!("{:?}", identity.seed()), "Seed(..)");
}

#[test]
fn a_public_key_is_small() {
    assert_eq!(size_of::<PublicKey>(), 48);
}
