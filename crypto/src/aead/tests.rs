use data_encoding::HEXLOWER;
use proptest::prelude::*;
use salsa20::cipher::StreamCipherSeek;

use super::*;

/// The cipher composed once more from the raw crates, by another route: the keystream is reached by seeking, the MAC
/// input is laid out in one buffer.
pub(crate) fn composed(key: &[u8; 32], counter: u64, aad: &[u8], message: &[u8]) -> Vec<u8> {
    let nonce = counter.to_le_bytes();
    let mut one_time_key = [0; 32];
    Salsa20::new(key.into(), &nonce.into()).apply_keystream(&mut one_time_key);
    let mut sealed = message.to_vec();
    let mut cipher = Salsa20::new(key.into(), &nonce.into());
    cipher.seek(64u32);
    cipher.apply_keystream(&mut sealed);

    let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(16), 0);
    let mut input = aad.to_vec();
    pad(&mut input);
    input.extend_from_slice(&sealed);
    pad(&mut input);
    input.extend_from_slice(&(aad.len() as u64).to_le_bytes());
    input.extend_from_slice(&(message.len() as u64).to_le_bytes());
    sealed.extend_from_slice(&Poly1305::new(&one_time_key.into()).compute_unpadded(&input));
    sealed
}

pub(crate) fn sealed(key: &[u8; 32], counter: u64, aad: &[u8], message: &[u8]) -> Vec<u8> {
    let mut buffer = [message, &[0xee; TAG]].concat();
    SalsaPoly::seal(&Key::from_bytes(*key), counter, aad, &mut buffer);
    buffer
}

fn bytes(length: usize, factor: u8) -> Vec<u8> {
    (0..length)
        .map(|n| (n as u8).wrapping_mul(factor).wrapping_add(factor))
        .collect()
}

#[test]
fn agrees_with_the_raw_crates_at_all_short_lengths() {
    let key: [u8; 32] = bytes(32, 3).try_into().unwrap();
    for length in 0..=300 {
        let message = bytes(length, 7);
        let aad = bytes(length * 5 % 37, 11);
        let counter = length as u64 * 0x0123_4567_89ab;
        let expected = composed(&key, counter, &aad, &message);
        let mut buffer = sealed(&key, counter, &aad, &message);
        assert_eq!(buffer, expected, "length {length}");
        let opened = SalsaPoly::open(&Key::from_bytes(key), counter, &aad, &mut buffer).unwrap();
        assert_eq!(opened, message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_raw_crates(key in any::<[u8; 32]>(), counter in any::<u64>(),
                                  aad in prop::collection::vec(any::<u8>(), 0..200),
                                  message in prop::collection::vec(any::<u8>(), 0..9100)) {
        let mut buffer = sealed(&key, counter, &aad, &message);
        prop_assert_eq!(&buffer, &composed(&key, counter, &aad, &message));
        let opened = SalsaPoly::open(&Key::from_bytes(key), counter, &aad, &mut buffer).unwrap();
        prop_assert_eq!(opened, message.as_slice());
    }
}

/// eSTREAM's Salsa20 test vectors, 256-bit key, set 1, vector 0: bytes 192..256 of the stream are bytes 128..192 of a
/// message of zeros, since block 0 is not used for the message.
#[test]
fn the_keystream_is_salsa20_from_block_1() {
    let mut key = [0; 32];
    key[0] = 0x80;
    assert_eq!(
        HEXLOWER.encode(&sealed(&key, 0, b"", &[0; 192])[128..192]),
        "57be81f47b17d9ae7c4ff15429a73e10acf250ed3a90a93c711308a74c6216a9\
         ed84cd126da7f28e8abf8bb63517e1ca98e712f4fb2e1a6aed9fdc73291faa17"
    );
}

/// RFC 8439 §2.8.2: the MAC input and Poly1305, with that example's one-time key and ciphertext.
#[test]
fn the_tag_is_that_of_rfc_8439() {
    let one_time_key = decode("7bac2b252db447af09b67a55a4e955840ae1d6731075d9eb2a9375783ed553ff");
    let ciphertext = decode(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
         3ff4def08e4b7a9de576d26586cec64b6116",
    );
    let mac = Poly1305::new_from_slice(&one_time_key).unwrap();
    let tag = authenticate(mac, &decode("50515253c0c1c2c3c4c5c6c7"), &ciphertext);
    assert_eq!(HEXLOWER.encode(&tag), "1ae10b594f09e26a7e902ecbd0600691");
}

#[test]
fn any_changed_bit_is_refused_and_nothing_is_decrypted() {
    let key = Key::from_bytes([9; 32]);
    let mut good = sealed(
        key.as_bytes(),
        1,
        b"header",
        b"a message of more than one block of Poly1305",
    );
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let before = bad.clone();
        assert_eq!(
            SalsaPoly::open(&key, 1, b"header", &mut bad),
            Err(OpenError),
            "bit {bit}"
        );
        assert_eq!(bad, before, "bit {bit}");
    }
    for bit in 0..48 {
        let mut header = *b"header";
        header[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SalsaPoly::open(&key, 1, &header, &mut good.clone()), Err(OpenError));
    }
    for bit in 0..64 {
        assert_eq!(
            SalsaPoly::open(&key, 1 ^ (1 << bit), b"header", &mut good.clone()),
            Err(OpenError)
        );
    }
    assert!(SalsaPoly::open(&key, 1, b"header", &mut good).is_ok());
}

#[test]
fn any_truncation_is_refused() {
    let key = Key::from_bytes([9; 32]);
    let good = sealed(key.as_bytes(), 1, b"", b"message");
    for length in 0..good.len() {
        assert_eq!(
            SalsaPoly::open(&key, 1, b"", &mut good[..length].to_vec()),
            Err(OpenError),
            "{length}"
        );
    }
}

/// Padding is not part of the lengths: bytes cannot wander between header and message.
#[test]
fn zeros_at_the_end_count() {
    let key = [9; 32];
    let tag = |aad: &[u8], message: &[u8]| sealed(&key, 0, aad, message)[message.len()..].to_vec();
    assert_ne!(tag(b"", b""), tag(&[0], b""));
    assert_ne!(tag(&[0; 16], b""), tag(&[0; 15], b""));
    assert_ne!(tag(b"a", &[0; 3]), tag(b"a", &[0; 4]));
}

#[test]
#[should_panic(expected = "room for the tag")]
fn sealing_without_room_for_the_tag_is_a_mistake_of_the_caller() {
    SalsaPoly::seal(&Key::from_bytes([0; 32]), 0, b"", &mut [0; TAG - 1]);
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", Key::from_bytes([0x5a; 32])), "Key(..)");
}

fn decode(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}
