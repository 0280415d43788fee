//! Poly1305 of four messages at once, with AVX2.
//!
//! Numbers are five limbs of 26 bits, each message in a lane of its own. Messages end together: those of fewer blocks begin with
//! blocks of zeros, without the 2^128 that belongs to a block, which leave a sum of zero as it is.

use std::arch::x86_64::*;

use super::poly1305::{Input, filled, finish, parts, words};
use super::wipe;
use crate::job::TAG;

/// The four messages of `inputs`, or three and the last one again, if this is faster for them than in words of 64 bits.
pub(super) fn pays<'a>(inputs: &[Input<'a>]) -> Option<[Input<'a>; 4]> {
    let four = match *inputs {
        [a, b, c] => [a, b, c, c],
        [a, b, c, d] => [a, b, c, d],
        _ => return None,
    };
    let blocks = inputs.iter().map(|input| input.text.len().div_ceil(16) + 2);
    let most = blocks.clone().max().unwrap_or(0);
    // A step of four takes about as long as two blocks in words.
    let is_filled = blocks.sum::<usize>() >= 2 * most && most > 20;
    (is_filled && inputs.iter().all(|input| input.aad.len() <= 16)).then_some(four)
}

/// The tags of messages with headers of at most 16 bytes, as the AEAD composes them.
#[target_feature(enable = "avx2")]
pub(super) fn tags(inputs: [Input<'_>; 4]) -> [[u8; TAG]; 4] {
    let lanes = inputs.map(Lane::of);
    let steps = lanes.iter().map(Lane::blocks).max().unwrap_or(0);
    let blank = lanes.each_ref().map(|lane| steps - lane.blocks());
    // Where all lanes have full blocks of text, these are read at once.
    let begin = (0..4).map(|n| blank[n] + lanes[n].before).max().unwrap_or(0);
    let end = (0..4).map(|n| blank[n] + lanes[n].before + lanes[n].full.len()).min();
    let end = end.unwrap_or(0).max(begin);

    let keys = inputs.map(|input| parts(input.one_time_key));
    let r = keys.map(|(r, _)| r);
    let multiplier = Multiplier::new(limbs(lane_words(&r, 0), lane_words(&r, 1)));
    let mut sum = [_mm256_setzero_si256(); 5];
    let step = |sum, step: usize| {
        let blocks: [_; 4] = std::array::from_fn(|n| match step.checked_sub(blank[n]) {
            Some(number) => lanes[n].block(number),
            None => [0; 3],
        });
        let marks = lane_words(&blocks, 2);
        let mut number = limbs(lane_words(&blocks, 0), lane_words(&blocks, 1));
        number[4] = _mm256_or_si256(number[4], marks);
        multiplier.times(add(sum, number))
    };
    for number in 0..begin {
        sum = step(sum, number);
    }
    let mark = _mm256_set1_epi64x(MARK);
    let [a, b, c, d]: [_; 4] = std::array::from_fn(|n| {
        let first = begin - blank[n] - lanes[n].before;
        lanes[n].full.get(first..first + (end - begin)).unwrap_or(&[])
    });
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        let mut number = load([a, b, c, d]);
        number[4] = _mm256_or_si256(number[4], mark);
        sum = multiplier.times(add(sum, number));
    }
    for number in end..steps {
        sum = step(sum, number);
    }

    let mut sums = [[0_u64; 4]; 5];
    for (limbs, limb) in sums.iter_mut().zip(sum) {
        // SAFETY: 32 bytes are written to an array of that length.
        unsafe { _mm256_storeu_si256(limbs.as_mut_ptr().cast(), limb) }
    }
    let tags = std::array::from_fn(|n| finish(words_of(sums.each_ref().map(|limbs| limbs[n])), keys[n].1));
    wipe(&mut sums, [[0; 4]; 5]);
    tags
}

/// A message as blocks.
#[derive(Clone, Copy)]
struct Lane<'a> {
    input: Input<'a>,
    /// Blocks of the header.
    before: usize,
    /// Blocks of the text that are full.
    full: &'a [[u8; 16]],
    rest: &'a [u8],
}

impl<'a> Lane<'a> {
    fn of(input: Input<'a>) -> Self {
        let (full, rest) = input.text.as_chunks();
        Self {
            input,
            before: usize::from(!input.aad.is_empty()),
            full,
            rest,
        }
    }

    fn blocks(&self) -> usize {
        self.before + self.full.len() + usize::from(!self.rest.is_empty()) + 1
    }

    /// A block as words, and what stands above them in the fifth limb.
    #[inline(always)]
    fn block(&self, number: usize) -> [u64; 3] {
        let [low, high] = match number.checked_sub(self.before) {
            None => words(&filled(self.input.aad)),
            Some(number) => match self.full.get(number) {
                Some(block) => words(block),
                None if number == self.full.len() && !self.rest.is_empty() => words(&filled(self.rest)),
                None => [self.input.aad.len() as u64, self.input.text.len() as u64],
            },
        };
        [low, high, MARK as u64]
    }
}

/// 2^128, in the fifth limb.
const MARK: i64 = 1 << 24;

const LIMB: i64 = (1 << 26) - 1;

/// Word `number` of each lane.
#[target_feature(enable = "avx2")]
fn lane_words<const N: usize>(lanes: &[[u64; N]; 4], number: usize) -> __m256i {
    let [a, b, c, d] = lanes.each_ref().map(|words| words[number] as i64);
    _mm256_setr_epi64x(a, b, c, d)
}

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

#[target_feature(enable = "avx2")]
fn add(a: [__m256i; 5], b: [__m256i; 5]) -> [__m256i; 5] {
    [
        _mm256_add_epi64(a[0], b[0]),
        _mm256_add_epi64(a[1], b[1]),
        _mm256_add_epi64(a[2], b[2]),
        _mm256_add_epi64(a[3], b[3]),
        _mm256_add_epi64(a[4], b[4]),
    ]
}

/// Four numbers to multiply by.
struct Multiplier {
    r: [__m256i; 5],
    /// Five times all limbs but the first: what stands above 2^130 counts so often.
    s: [__m256i; 4],
}

impl Multiplier {
    #[target_feature(enable = "avx2")]
    fn new(r: [__m256i; 5]) -> Self {
        let five = |limb| _mm256_add_epi64(limb, _mm256_slli_epi64::<2>(limb));
        Self {
            r,
            s: [five(r[1]), five(r[2]), five(r[3]), five(r[4])],
        }
    }

    /// Products with numbers of limbs below 2^28, modulo 2^130 − 5 but for a little: limbs below 2^27.
    #[target_feature(enable = "avx2")]
    fn times(&self, h: [__m256i; 5]) -> [__m256i; 5] {
        let ([r0, r1, r2, r3, r4], [s1, s2, s3, s4]) = (self.r, self.s);
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
        [d0, d1, d2, keep(d3), _mm256_add_epi64(d4, over(d3))]
    }
}

/// The number of five limbs of at most 32 bits as words of 64 bits: modulo 2^130 − 5, and less than twice that.
#[inline(always)]
fn words_of([l0, l1, l2, l3, l4]: [u64; 5]) -> [u64; 3] {
    const MASK: u64 = LIMB as u64;
    let l1 = l1 + (l0 >> 26);
    let l2 = l2 + (l1 >> 26);
    let l3 = l3 + (l2 >> 26);
    let l4 = l4 + (l3 >> 26);
    let low = u128::from(l0 & MASK)
        | u128::from(l1 & MASK) << 26
        | u128::from(l2 & MASK) << 52
        | u128::from(l3 & MASK) << 78
        | u128::from(l4 & ((1 << 24) - 1)) << 104;
    // What is above 2^130 counts five times; the sum of both stays below 2^131.
    let (low, carry) = low.overflowing_add(u128::from(5 * (l4 >> 26)));
    [
        low as u64,
        (low >> 64) as u64,
        (l4 >> 24 & 3) + u64::from(carry),
    ]
}
