//! AVX-512: sixteen blocks at once, or eight, or four.

use std::arch::x86_64::*;

use super::avx2::{load_diagonals, load_eight, store_diagonals, store_eight};
use super::group::{BLOCK, CONSTANTS, Group, Keystream, MOST};
use super::rounds::{rounds_by_diagonal, rounds_by_word, state_by_word, step, transpose_quarters};
use super::{Run, wipe};
use crate::job::{Job, KEY};

/// Sixteen blocks, of which the first `filled` are wanted.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn blocks(group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
    match filled {
        0..=4 => four(group, keystream),
        5..=8 => eight(group, keystream),
        _ => sixteen(group, keystream),
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn xor(text: &mut [u8], stream: &[u8]) {
    super::xor(text, stream);
}

#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn combine(runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
    super::combine(runs, jobs, keys, keystream);
}

macro_rules! turn {
    ($v:expr, $bits:literal) => {
        _mm512_rol_epi32::<$bits>($v)
    };
}

macro_rules! turn_eight {
    ($v:expr, $bits:literal) => {
        _mm256_rol_epi32::<$bits>($v)
    };
}

#[target_feature(enable = "avx512f,avx512vl")]
fn load(words: &[u32; MOST]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of that length.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn store(block: &mut [u8; BLOCK], value: __m512i) {
    // SAFETY: 64 bytes are written to an array of that length.
    unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn sixteen(group: &Group<'_>, keystream: &mut Keystream) {
    let start = state_by_word!(group, _mm512_set1_epi32, load);
    let mut x = start;
    rounds_by_word!(x, _mm512_add_epi32, _mm512_xor_si512, turn);
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, start);
    }
    let [a, b, c, d] = [0, 4, 8, 12].map(|n| {
        transpose_quarters!(
            [x[n], x[n + 1], x[n + 2], x[n + 3]],
            _mm512_unpacklo_epi32,
            _mm512_unpackhi_epi32,
            _mm512_unpacklo_epi64,
            _mm512_unpackhi_epi64
        )
    });
    for n in 0..4 {
        let blocks = transpose([a[n], b[n], c[n], d[n]]);
        for (block, value) in keystream.0.iter_mut().skip(n).step_by(4).zip(blocks) {
            store(block, value);
        }
    }
}

/// Four registers, each with 16 bytes of four blocks, to four registers of one block each.
#[target_feature(enable = "avx512f,avx512vl")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
    let (ab_high, cd_high) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab, cd),
        _mm512_shuffle_i32x4::<0xdd>(ab, cd),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}

#[target_feature(enable = "avx512f,avx512vl")]
fn eight(group: &Group<'_>, keystream: &mut Keystream) {
    let start = state_by_word!(group, _mm256_set1_epi32, load_eight);
    let mut x = start;
    rounds_by_word!(x, _mm256_add_epi32, _mm256_xor_si256, turn_eight);
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm256_add_epi32(*word, start);
    }
    store_eight(&x, keystream);
}

#[target_feature(enable = "avx512f,avx512vl")]
fn four(group: &Group<'_>, keystream: &mut Keystream) {
    let mut diagonals = group.diagonals::<4>();
    let starts = load_diagonals(&diagonals);
    wipe(&mut diagonals, [[[0; 4]; 4]; 3]);
    let [mut x, mut y] = starts;
    rounds_by_diagonal!(
        [x, y],
        _mm256_add_epi32,
        _mm256_xor_si256,
        turn_eight,
        _mm256_shuffle_epi32
    );
    store_diagonals([x, y], starts, keystream);
}
