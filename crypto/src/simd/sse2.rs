//! SSE2, which every x86-64 processor has: four blocks at once, or two.

use std::arch::x86_64::*;

use super::group::{BLOCK, CONSTANTS, Group, Keystream, MOST};
use super::rounds::{rounds_by_diagonal, rounds_by_word, state_by_word, step, transpose_quarters};
use super::wipe;

/// Four blocks, of which the first `filled` are wanted.
#[target_feature(enable = "sse2")]
pub(super) fn blocks(group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
    match filled {
        0..=2 => two(group, keystream),
        _ => four(group, keystream),
    }
}

macro_rules! turn {
    ($v:expr, $bits:literal) => {{
        let v = $v;
        _mm_or_si128(_mm_slli_epi32::<$bits>(v), _mm_srli_epi32::<{ 32 - $bits }>(v))
    }};
}

#[target_feature(enable = "sse2")]
fn load(words: &[u32; MOST]) -> __m128i {
    // SAFETY: 16 bytes are read from an array of 64.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

/// A quarter of a block.
#[target_feature(enable = "sse2")]
fn store(block: &mut [u8; BLOCK], quarter: usize, value: __m128i) {
    let (quarters, _) = block.as_chunks_mut::<{ BLOCK / 4 }>();
    // SAFETY: 16 bytes are written to an array of that length.
    unsafe { _mm_storeu_si128(quarters[quarter].as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "sse2")]
fn four(group: &Group<'_>, keystream: &mut Keystream) {
    let start = state_by_word!(group, _mm_set1_epi32, load);
    let mut x = start;
    rounds_by_word!(x, _mm_add_epi32, _mm_xor_si128, turn);
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm_add_epi32(*word, start);
    }
    for quarter in 0..4 {
        let n = 4 * quarter;
        let lanes = transpose_quarters!(
            [x[n], x[n + 1], x[n + 2], x[n + 3]],
            _mm_unpacklo_epi32,
            _mm_unpackhi_epi32,
            _mm_unpacklo_epi64,
            _mm_unpackhi_epi64
        );
        for (block, value) in keystream.0.iter_mut().zip(lanes) {
            store(block, quarter, value);
        }
    }
}

#[target_feature(enable = "sse2")]
fn two(group: &Group<'_>, keystream: &mut Keystream) {
    let mut diagonals = group.diagonals::<2>();
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| word as i32);
    let starts = [0, 1].map(|lane| {
        let [b, c, d] = diagonals.each_ref().map(|lanes| {
            // SAFETY: 16 bytes are read from an array of that length.
            unsafe { _mm_loadu_si128(lanes[lane].as_ptr().cast()) }
        });
        [_mm_setr_epi32(c0, c1, c2, c3), b, c, d]
    });
    wipe(&mut diagonals, [[[0; 4]; 2]; 3]);
    let [mut x, mut y] = starts;
    rounds_by_diagonal!([x, y], _mm_add_epi32, _mm_xor_si128, turn, _mm_shuffle_epi32);
    let (upper, odd) = (_mm_setr_epi32(0, 0, -1, -1), _mm_setr_epi32(0, -1, 0, -1));
    for (block, (x, start)) in keystream.0.iter_mut().zip([x, y].into_iter().zip(starts)) {
        let [a, b, c, d] = std::array::from_fn(|n| _mm_add_epi32(x[n], start[n]));
        let (ac, ca) = (blend(upper, a, c), blend(upper, c, a));
        let (bd, db) = (blend(upper, b, d), blend(upper, d, b));
        let rows = [
            blend(odd, ac, db),
            blend(odd, bd, ac),
            blend(odd, ca, bd),
            blend(odd, db, ca),
        ];
        for (quarter, row) in rows.into_iter().enumerate() {
            store(block, quarter, row);
        }
    }
}

/// The bits of `one` where `mask` has zeros, else those of `other`.
#[target_feature(enable = "sse2")]
fn blend(mask: __m128i, one: __m128i, other: __m128i) -> __m128i {
    _mm_or_si128(_mm_andnot_si128(mask, one), _mm_and_si128(mask, other))
}
