//! AVX2: eight blocks at once, or four.

use std::arch::x86_64::*;

use super::group::{BLOCK, CONSTANTS, Group, Keystream, MOST};
use super::rounds::{rounds_by_diagonal, rounds_by_word, state_by_word, step, transpose_quarters};
use super::{Run, wipe};
use crate::job::{Job, KEY};

/// Eight blocks, of which the first `filled` are wanted.
#[target_feature(enable = "avx2")]
pub(super) fn blocks(group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
    match filled {
        0..=4 => four(group, keystream),
        _ => eight(group, keystream),
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn xor(text: &mut [u8], stream: &[u8]) {
    super::xor(text, stream);
}

#[target_feature(enable = "avx2")]
pub(super) fn combine(runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
    super::combine(runs, jobs, keys, keystream);
}

macro_rules! turn {
    ($v:expr, $bits:literal) => {{
        let v = $v;
        _mm256_or_si256(_mm256_slli_epi32::<$bits>(v), _mm256_srli_epi32::<{ 32 - $bits }>(v))
    }};
}

/// The first eight words.
#[target_feature(enable = "avx2")]
pub(super) fn load_eight(words: &[u32; MOST]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 64.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// Half a block.
#[target_feature(enable = "avx2")]
fn store(block: &mut [u8; BLOCK], half: usize, value: __m256i) {
    let (halves, _) = block.as_chunks_mut::<{ BLOCK / 2 }>();
    // SAFETY: 32 bytes are written to an array of that length.
    unsafe { _mm256_storeu_si256(halves[half].as_mut_ptr().cast(), value) }
}

/// The blocks whose words are in `x`.
#[target_feature(enable = "avx2")]
pub(super) fn store_eight(x: &[__m256i; 16], keystream: &mut Keystream) {
    let [a, b, c, d] = [0, 4, 8, 12].map(|n| {
        transpose_quarters!(
            [x[n], x[n + 1], x[n + 2], x[n + 3]],
            _mm256_unpacklo_epi32,
            _mm256_unpackhi_epi32,
            _mm256_unpacklo_epi64,
            _mm256_unpackhi_epi64
        )
    });
    for n in 0..4 {
        // Each holds 16 bytes of blocks n and n + 4.
        store_two(keystream, [n, n + 4], [a[n], b[n], c[n], d[n]]);
    }
}

/// Four registers, each with 16 bytes of two blocks.
#[target_feature(enable = "avx2")]
fn store_two(keystream: &mut Keystream, [first, second]: [usize; 2], [a, b, c, d]: [__m256i; 4]) {
    store(&mut keystream.0[first], 0, _mm256_permute2x128_si256::<0x20>(a, b));
    store(&mut keystream.0[first], 1, _mm256_permute2x128_si256::<0x20>(c, d));
    store(&mut keystream.0[second], 0, _mm256_permute2x128_si256::<0x31>(a, b));
    store(&mut keystream.0[second], 1, _mm256_permute2x128_si256::<0x31>(c, d));
}

#[target_feature(enable = "avx2")]
fn eight(group: &Group<'_>, keystream: &mut Keystream) {
    let start = state_by_word!(group, _mm256_set1_epi32, load_eight);
    let mut x = start;
    rounds_by_word!(two: x, _mm256_add_epi32, _mm256_xor_si256, turn);
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm256_add_epi32(*word, start);
    }
    store_eight(&x, keystream);
}

#[target_feature(enable = "avx2")]
fn four(group: &Group<'_>, keystream: &mut Keystream) {
    let mut diagonals = group.diagonals::<4>();
    let starts = load_diagonals(&diagonals);
    wipe(&mut diagonals, [[[0; 4]; 4]; 3]);
    let [mut x, mut y] = starts;
    rounds_by_diagonal!([x, y], _mm256_add_epi32, _mm256_xor_si256, turn, _mm256_shuffle_epi32);
    store_diagonals([x, y], starts, keystream);
}

/// Two states, each of two blocks.
#[target_feature(enable = "avx2")]
pub(super) fn load_diagonals(diagonals: &[[[u32; 4]; 4]; 3]) -> [[__m256i; 4]; 2] {
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| word as i32);
    let constants = _mm256_setr_epi32(c0, c1, c2, c3, c0, c1, c2, c3);
    [0, 1].map(|pair| {
        let [b, c, d] = diagonals.each_ref().map(|lanes| {
            let (pairs, _) = lanes.as_chunks::<2>();
            // SAFETY: 32 bytes are read from an array of that length.
            unsafe { _mm256_loadu_si256(pairs[pair].as_ptr().cast()) }
        });
        [constants, b, c, d]
    })
}

/// The four blocks of two states that began as `starts`.
#[target_feature(enable = "avx2")]
pub(super) fn store_diagonals(states: [[__m256i; 4]; 2], starts: [[__m256i; 4]; 2], keystream: &mut Keystream) {
    for (pair, (x, start)) in states.into_iter().zip(starts).enumerate() {
        let [a, b, c, d] = std::array::from_fn(|n| _mm256_add_epi32(x[n], start[n]));
        let (ac, ca) = (_mm256_blend_epi32::<UPPER>(a, c), _mm256_blend_epi32::<UPPER>(c, a));
        let (bd, db) = (_mm256_blend_epi32::<UPPER>(b, d), _mm256_blend_epi32::<UPPER>(d, b));
        let rows = [
            _mm256_blend_epi32::<ODD>(ac, db),
            _mm256_blend_epi32::<ODD>(bd, ac),
            _mm256_blend_epi32::<ODD>(ca, bd),
            _mm256_blend_epi32::<ODD>(db, ca),
        ];
        store_two(keystream, [2 * pair, 2 * pair + 1], rows);
    }
}

/// The third and fourth word of each 128 bits.
const UPPER: i32 = 0xcc;

/// The second and fourth word of each 128 bits.
const ODD: i32 = 0xaa;
