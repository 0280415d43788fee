//! The AEAD once more from nothing but the papers: Salsa20 from its specification, Poly1305 as arithmetic on large numbers,
//! the composition of PROTOCOL.md §3. None of the crates that the product uses.

use proptest::prelude::*;

use crate::aead::tests::sealed;
use crate::{Aead, Key, SalsaPoly, Sealer, TAG, seal_batch, sha512};

/// Block `number` of the keystream (D. J. Bernstein, "Salsa20 specification", §9 and §10).
fn salsa20(key: &[u8; 32], nonce: [u8; 8], number: u64) -> [u8; 64] {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let constants = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574_u32];
    let mut start = [0_u32; 16];
    for n in 0..4 {
        start[5 * n] = constants[n];
        start[1 + n] = word(&key[4 * n..][..4]);
        start[11 + n] = word(&key[16 + 4 * n..][..4]);
    }
    (start[6], start[7]) = (word(&nonce[..4]), word(&nonce[4..]));
    (start[8], start[9]) = (number as u32, (number >> 32) as u32);
    let mut x = start;
    for round in 0..20 {
        for n in 0..4 {
            // Columns, then rows, each from its diagonal on.
            let step = if round % 2 == 0 { 4 } else { 1 };
            let at = |k: usize| -> usize {
                if step == 4 {
                    (5 * n + 4 * k) % 16
                } else {
                    4 * n + (n + k) % 4
                }
            };
            for (k, turn) in [(1, 7), (2, 9), (3, 13), (4, 18)] {
                x[at(k)] ^= x[at(k + 3)].wrapping_add(x[at(k + 2)]).rotate_left(turn);
            }
        }
    }
    let words = x
        .iter()
        .zip(start)
        .map(|(word, start)| word.wrapping_add(start).to_le_bytes());
    words.flatten().collect::<Vec<u8>>().try_into().unwrap()
}

/// Poly1305 (RFC 8439 §2.5) with numbers as 17 bytes and more, multiplied as at school.
fn poly1305(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
    let mut r: [u64; 17] = std::array::from_fn(|n| key.get(n).filter(|_| n < 16).map_or(0, |byte| u64::from(*byte)));
    for n in [3, 7, 11, 15] {
        r[n] &= 15;
    }
    for n in [4, 8, 12] {
        r[n] &= 252;
    }
    let mut sum = [0_u64; 17];
    for block in message.chunks(16) {
        for (n, byte) in block.iter().chain(&[1]).enumerate() {
            sum[n] += u64::from(*byte);
        }
        let mut product = [0_u64; 34];
        for (n, a) in sum.iter().enumerate() {
            for (m, b) in r.iter().enumerate() {
                product[n + m] += a * b;
            }
        }
        // 2^136 is 64 times 2^130, and 2^130 is 5 modulo the prime.
        sum = std::array::from_fn(|n| product[n] + 64 * 5 * product[n + 17]);
        for _ in 0..2 {
            carry(&mut sum);
            let above = sum[16] >> 2;
            sum[16] &= 3;
            sum[0] += 5 * above;
        }
        carry(&mut sum);
    }
    // At most once is it not below 2^130 − 5.
    let mut less = sum;
    less[0] += 5;
    carry(&mut less);
    let mut tag = if less[16] >= 4 { less } else { sum };
    for (n, byte) in tag.iter_mut().take(16).enumerate() {
        *byte += u64::from(key[16 + n]);
    }
    carry(&mut tag);
    std::array::from_fn(|n| tag[n] as u8)
}

/// Makes all but the highest digit smaller than 256.
fn carry(digits: &mut [u64; 17]) {
    for n in 0..16 {
        digits[n + 1] += digits[n] >> 8;
        digits[n] &= 255;
    }
}

/// What sealing is to make.
fn composed(key: &[u8; 32], counter: u64, aad: &[u8], message: &[u8]) -> Vec<u8> {
    let block = |number| salsa20(key, counter.to_le_bytes(), number);
    let mut sealed = message.to_vec();
    for (number, chunk) in sealed.chunks_mut(64).enumerate() {
        let stream = block(number as u64 + 1);
        chunk.iter_mut().zip(stream).for_each(|(byte, stream)| *byte ^= stream);
    }
    let mut input = Vec::new();
    for part in [aad, &sealed] {
        input.extend(part);
        input.resize(input.len().next_multiple_of(16), 0);
    }
    input.extend((aad.len() as u64).to_le_bytes());
    input.extend((message.len() as u64).to_le_bytes());
    let one_time_key = block(0)[..32].try_into().unwrap();
    sealed.extend(poly1305(&one_time_key, &input));
    sealed
}

/// Bytes that look random and are always the same.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(64)).flat_map(|block| sha512(&[&[seed as u8, block as u8], &seed.to_le_bytes()]));
    blocks.take(length).collect()
}

/// The example of "Salsa20 specification" §9 is for the hash function; this is eSTREAM's, set 1, vector 0.
#[test]
fn the_judge_knows_salsa20_and_poly1305() {
    let mut key = [0; 32];
    key[0] = 0x80;
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    assert_eq!(
        hex(&salsa20(&key, [0; 8], 3)),
        "57be81f47b17d9ae7c4ff15429a73e10acf250ed3a90a93c711308a74c6216a9\
         ed84cd126da7f28e8abf8bb63517e1ca98e712f4fb2e1a6aed9fdc73291faa17"
    );
    // RFC 8439 §2.5.2, and the carries of appendix A.3, vectors 7 to 9.
    let one_time_key = "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b";
    let key = data_encoding::HEXLOWER.decode(one_time_key.as_bytes()).unwrap();
    let tag = poly1305(&key.try_into().unwrap(), b"Cryptographic Forum Research Group");
    assert_eq!(hex(&tag), "a8061dc1305136c6c22b8baf0c0127a9");
    let mut key = [0; 32];
    key[0] = 1;
    let carried = [&[0xff; 16][..], &[0xf0], &[0xff; 15], &[0x11], &[0; 15]].concat();
    assert_eq!(hex(&poly1305(&key, &carried)), "05000000000000000000000000000000");
    let carried = [&[0xff; 16][..], &[0xfb], &[0xfe; 15], &[1; 16]].concat();
    assert_eq!(hex(&poly1305(&key, &carried)), "00000000000000000000000000000000");
    key[0] = 2;
    let carried = [&[0xfd][..], &[0xff; 15]].concat();
    assert_eq!(hex(&poly1305(&key, &carried)), "faffffffffffffffffffffffffffffff");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn sealing_is_the_composition(key in any::<[u8; 32]>(), counter in any::<u64>(),
                                  aad in prop::collection::vec(any::<u8>(), 0..70),
                                  message in prop::collection::vec(any::<u8>(), 0..2100)) {
        let expected = composed(&key, counter, &aad, &message);
        let mut made = sealed(&key, counter, &aad, &message);
        prop_assert_eq!(&made, &expected);
        let opened = SalsaPoly::open(&Key::from_bytes(key), counter, &aad, &mut made).unwrap();
        prop_assert_eq!(opened, message.as_slice());
    }
}

/// Around every edge of a block of the cipher and of the authenticator.
#[test]
fn sealing_is_the_composition_at_every_edge() {
    let key: [u8; 32] = bytes(1, 32).try_into().unwrap();
    for length in (0..=200).chain(1000..1100) {
        for aad in [0, 1, 15, 16, 17, 31, 32, 33, 64] {
            let (aad, message) = (bytes(2, aad), bytes(3, length));
            let counter = length as u64 | (aad.len() as u64) << 56;
            assert_eq!(
                sealed(&key, counter, &aad, &message),
                composed(&key, counter, &aad, &message),
                "{length}, {}",
                aad.len()
            );
        }
    }
}

/// Batches are compared too, since messages may share lanes there.
#[test]
fn batches_are_the_composition() {
    let keys: Vec<[u8; 32]> = (0..3).map(|n| bytes(n + 10, 32).try_into().unwrap()).collect();
    let sealers: Vec<_> = keys.iter().map(|key| Sealer::new(Key::from_bytes(*key))).collect();
    let lengths: Vec<usize> = (0..200).map(|n| n * 97 % 1500).collect();
    for batch in [1, 2, 3, 7, 8, 9, 64, 200] {
        let plain: Vec<_> = lengths[..batch].iter().map(|length| bytes(5, *length)).collect();
        let headers: Vec<_> = (0..batch).map(|n| bytes(n, 16)).collect();
        let mut buffers: Vec<_> = plain.iter().map(|plain| [plain, &[0; TAG][..]].concat()).collect();
        let jobs = buffers.iter_mut().zip(&headers).enumerate();
        let mut jobs: Vec<_> = jobs
            .map(|(n, (buffer, header))| sealers[n % 3].job(n as u64, header, buffer))
            .collect();
        seal_batch(&mut jobs);
        for (n, made) in buffers.iter().enumerate() {
            assert_eq!(
                made,
                &composed(&keys[n % 3], n as u64, &headers[n], &plain[n]),
                "{n} of {batch}"
            );
        }
    }
}

/// Every bit of header, ciphertext and tag of messages of many lengths.
#[test]
fn every_changed_bit_is_refused() {
    let key = Key::from_bytes(bytes(7, 32).try_into().unwrap());
    for length in [0, 1, 15, 16, 17, 63, 64, 65, 200] {
        let header = bytes(8, 16);
        let good = sealed(key.as_bytes(), 5, &header, &bytes(9, length));
        let mut refused = 0;
        for bit in 0..(16 + good.len()) * 8 {
            let (mut header, mut message) = (header.clone(), good.clone());
            match bit.checked_sub(128) {
                None => header[bit / 8] ^= 1 << (bit % 8),
                Some(bit) => message[bit / 8] ^= 1 << (bit % 8),
            }
            let before = message.clone();
            assert!(
                SalsaPoly::open(&key, 5, &header, &mut message).is_err(),
                "{length}, bit {bit}"
            );
            assert_eq!(message, before);
            refused += 1;
        }
        assert_eq!(refused, (16 + length + TAG) * 8);
        assert!(SalsaPoly::open(&key, 5, &header, &mut good.clone()).is_ok());
    }
}
