//! Poly1305 of four messages at once, with AVX2: messages of one length, which have the same steps.
//!
//! Numbers are five limbs of 26 bits, each message in a lane of its own.

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

use super::poly1305::{Input, filled, finish, parts};
use super::wipe;
use crate::job::TAG;

/// From how many bytes of text on this is faster than in words of 64 bits.
pub(super) const FROM: usize = 96;

/// Bytes of the header.
pub(super) const HEADER: usize = 16;

/// Messages of one length, each with a header of 16 bytes.
pub(super) struct Alike<'a, const N: usize> {
    pub(super) inputs: &'a [Input<'a>; N],
}

impl<'a, const N: usize> Alike<'a, N> {
    /// None if these are others, or shorter than `from`.
    #[inline(always)]
    pub(super) fn of(inputs: &'a [Input<'a>], from: usize) -> Option<Self> {
        let length = inputs.first()?.text.len();
        if length < from {
            return None;
        }
        let inputs: &[_; N] = inputs.try_into().ok()?;
        let is_one = |input: &Input<'_>| input.text.len() == length && input.aad.len() == HEADER;
        inputs.iter().all(is_one).then_some(Self { inputs })
    }

    /// The headers.
    #[inline(always)]
    pub(super) fn headers(&self) -> [&'a [u8; HEADER]; N] {
        let blank = &[0; HEADER];
        self.inputs
            .each_ref()
            .map(|input| input.aad.first_chunk().unwrap_or(blank))
    }
}

/// Adds four numbers with limbs below 2^27, and multiplies, modulo 2^130 − 5 but for a little: the limbs of `$sum` are below
/// 2^27 before and after. `$r` is the multiplier, `$s` five times all its limbs but the first, which is how often counts what stands above 2^130.
macro_rules! absorb {
    ($sum:ident, $r:ident, $s:ident, $number:expr) => {{
        let number = $number;
        let h: [__m256i; 5] = std::array::from_fn(|n| _mm256_add_epi64($sum[n], number[n]));
        let h = unseen(h);
        let ([r0, r1, r2, r3, r4], [s1, s2, s3, s4]) = ($r, $s);
        // Of each weight five products below 2^57.
        let by_weight = [
            [r0, s4, s3, s2, s1],
            [r1, r0, s4, s3, s2],
            [r2, r1, r0, s4, s3],
            [r3, r2, r1, r0, s4],
            [r4, r3, r2, r1, r0],
        ];
        let [d0, d1, d2, d3, d4] = by_weight.map(|[a, b, c, d, e]| {
            let first = _mm256_add_epi64(_mm256_mul_epu32(h[1], b), _mm256_mul_epu32(h[2], c));
            let second = _mm256_add_epi64(_mm256_mul_epu32(h[3], d), _mm256_mul_epu32(h[0], a));
            _mm256_add_epi64(_mm256_add_epi64(first, second), _mm256_mul_epu32(h[4], e))
        });
        let mask = _mm256_set1_epi64x(LIMB);
        let over = |limb| _mm256_srli_epi64::<26>(limb);
        let keep = |limb| _mm256_and_si256(limb, mask);
        // Two chains of carries at once.
        let (d1, d4) = (_mm256_add_epi64(d1, over(d0)), _mm256_add_epi64(d4, over(d3)));
        let (d0, d3) = (keep(d0), keep(d3));
        let above = over(d4);
        let five = _mm256_add_epi64(above, _mm256_slli_epi64::<2>(above));
        let (d2, d0) = (_mm256_add_epi64(d2, over(d1)), _mm256_add_epi64(d0, five));
        let (d1, d4) = (keep(d1), keep(d4));
        let (d3, d1) = (_mm256_add_epi64(d3, over(d2)), _mm256_add_epi64(d1, over(d0)));
        let (d2, d0) = (keep(d2), keep(d0));
        $sum = [d0, d1, d2, keep(d3), _mm256_add_epi64(d4, over(d3))];
    }};
}

/// The tags, as the AEAD composes them.
#[target_feature(enable = "avx2")]
pub(super) fn tags(four: &Alike<'_, 4>) -> [[u8; TAG]; 4] {
    let [a, b, c, d] = four.inputs.each_ref().map(|input| input.text.as_chunks());
    let keys = four.inputs.each_ref().map(|input| parts(input.one_time_key));
    let of_lanes = |word: usize| {
        let [a, b, c, d] = keys.each_ref().map(|(r, _)| r[word] as i64);
        _mm256_setr_epi64x(a, b, c, d)
    };
    let five = |limb| _mm256_add_epi64(limb, _mm256_slli_epi64::<2>(limb));
    let r = limbs(of_lanes(0), of_lanes(1));
    let s = [five(r[1]), five(r[2]), five(r[3]), five(r[4])];
    // In memory that anybody may have changed: see `unseen`.
    let mut multiplier = (r, s);
    black_box(&mut multiplier);
    let (r, s) = multiplier;
    let mut sum = [_mm256_setzero_si256(); 5];
    absorb!(sum, r, s, marked(load(four.headers())));
    for (((a, b), c), d) in a.0.iter().zip(b.0).zip(c.0).zip(d.0) {
        absorb!(sum, r, s, marked(load([a, b, c, d])));
    }
    if !a.1.is_empty() {
        let last = [a.1, b.1, c.1, d.1].map(filled);
        absorb!(sum, r, s, marked(load(last.each_ref())));
    }
    let lengths = [HEADER, four.inputs[0].text.len()].map(|length| _mm256_set1_epi64x(length as i64));
    absorb!(sum, r, s, marked(limbs(lengths[0], lengths[1])));

    let mut sums = [[0_u64; 4]; 5];
    for (limbs, limb) in sums.iter_mut().zip(sum) {
        // SAFETY: 32 bytes are written to an array of that length.
        unsafe { _mm256_storeu_si256(limbs.as_mut_ptr().cast(), limb) }
    }
    let mut tags = [[0; TAG]; 4];
    for (n, (tag, (_, pad))) in tags.iter_mut().zip(keys).enumerate() {
        *tag = finish(words_of(sums.each_ref().map(|limbs| limbs[n])), pad);
    }
    wipe(&mut sums, [[0; 4]; 5]);
    let zero = _mm256_setzero_si256();
    wipe(&mut multiplier, ([zero; 5], [zero; 4]));
    tags
}

/// The same limbs, of which the compiler does not know that they have no more than 32 bits: it would take the masks away that make a
/// product one of 32 bits, and then multiply words of 64 bits in three steps.
#[target_feature(enable = "avx2")]
fn unseen([mut a, mut b, mut c, mut d, mut e]: [__m256i; 5]) -> [__m256i; 5] {
    // SAFETY: a comment, no instruction.
    unsafe {
        asm!("/* {} {} {} {} {} */", inout(ymm_reg) a, inout(ymm_reg) b, inout(ymm_reg) c, inout(ymm_reg) d,
            inout(ymm_reg) e, options(pure, nomem, nostack, preserves_flags));
    }
    [a, b, c, d, e]
}

const LIMB: i64 = (1 << 26) - 1;

/// A block of each lane.
#[target_feature(enable = "avx2")]
fn load([a, b, c, d]: [&[u8; 16]; 4]) -> [__m256i; 5] {
    // SAFETY: 16 bytes are read from an array of that length.
    let [a, b, c, d] = [a, b, c, d].map(|block| unsafe { _mm_loadu_si128(block.as_ptr().cast()) });
    let (ac, bd) = (_mm256_set_m128i(c, a), _mm256_set_m128i(d, b));
    limbs(_mm256_unpacklo_epi64(ac, bd), _mm256_unpackhi_epi64(ac, bd))
}

/// Numbers below 2^128.
#[target_feature(enable = "avx2")]
fn limbs(low: __m256i, high: __m256i) -> [__m256i; 5] {
    let mask = _mm256_set1_epi64x(LIMB);
    let middle = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
    [
        _mm256_and_si256(low, mask),
        _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
        _mm256_and_si256(middle, mask),
        _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
        _mm256_srli_epi64::<40>(high),
    ]
}

/// Adds the 2^128 that belongs to a block.
#[target_feature(enable = "avx2")]
fn marked([l0, l1, l2, l3, l4]: [__m256i; 5]) -> [__m256i; 5] {
    [l0, l1, l2, l3, _mm256_or_si256(l4, _mm256_set1_epi64x(1 << 24))]
}

/// The number of five limbs of at most 32 bits as words of 64 bits: modulo 2^130 − 5, and less than twice that.
#[inline(always)]
fn words_of([l0, l1, l2, l3, l4]: [u64; 5]) -> [u64; 3] {
    const MASK: u64 = LIMB as u64;
    let l1 = l1 + (l0 >> 26);
    let l2 = l2 + (l1 >> 26);
    let l3 = l3 + (l2 >> 26);
    let l4 = l4 + (l3 >> 26);
    let (l0, l1, l2, l3) = (l0 & MASK, l1 & MASK, l2 & MASK, l3 & MASK);
    let low = l0 | l1 << 26 | l2 << 52;
    let high = l2 >> 12 | l3 << 14 | l4 << 40;
    // What is above 2^130 counts five times.
    let (low, carry) = low.carrying_add(5 * (l4 >> 26), false);
    let (high, carry) = high.carrying_add(0, carry);
    [low, high, (l4 >> 24 & 3) + u64::from(carry)]
}
