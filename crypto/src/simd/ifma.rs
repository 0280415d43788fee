//! Poly1305 of eight blocks at once, with AVX-512 IFMA, which multiplies integers of 52 bits.
//!
//! Numbers are three limbs of 44, 44 and 42 bits. Eight messages of one length have a lane each. Of a message by itself the sum of a message's blocks is taken in eight lanes, each of which gets every eighth block and
//! is multiplied by r^8; at the end each is multiplied by the power of r that it still lacks, and the lanes are added. Zero blocks
//! in front, without the 2^128 that belongs to a block, make the number of blocks a multiple of eight and do not count.

use std::arch::asm;
use std::arch::x86_64::*;

use super::across::{Alike, HEADER};
use super::poly1305::{Input, filled, finish, parts};
use super::wipe;
use crate::job::TAG;

/// From how many bytes of text on this is faster than block by block.
const FROM: usize = 288;

/// From how many bytes of text on eight messages at once are faster than in words of 64 bits.
pub(super) const EIGHT_FROM: usize = 48;

/// Bytes of eight blocks.
const EIGHT: usize = 128;

const LOW: u64 = (1 << 44) - 1;
const TOP: u64 = (1 << 42) - 1;

/// Whether `tag` can be used, and is the faster way.
pub(super) fn pays(input: Input<'_>) -> bool {
    input.aad.len() <= 16 && input.text.len() >= FROM
}

/// The tag of a header of at most 16 bytes and a `text` of at least 128, as the AEAD composes them.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
pub(super) fn tag(input: Input<'_>) -> [u8; TAG] {
    let Input { aad, text, .. } = input;
    // What is copied is read in larger pieces, which waits for recent writes: so it comes first.
    let of_aad = usize::from(!aad.is_empty());
    let blocks = of_aad + text.len().div_ceil(16) + 1;
    let blank = blocks.next_multiple_of(8) - blocks;
    // The first eight: nothing, the header, and as much of the text as fits.
    let mut first = [0; EIGHT];
    let (before, begin) = first.split_at_mut(16 * (blank + of_aad));
    before[16 * blank..][..aad.len()].copy_from_slice(aad);
    let (head, rest) = text.split_at(begin.len());
    begin.copy_from_slice(head);
    let (eights, end) = rest.as_chunks::<EIGHT>();
    // The last eight: the end of the text, filled with zeros, and the lengths.
    let mut last = [0; EIGHT];
    last[..end.len()].copy_from_slice(end);
    last[EIGHT - 16..EIGHT - 8].copy_from_slice(&(aad.len() as u64).to_le_bytes());
    last[EIGHT - 8..].copy_from_slice(&(text.len() as u64).to_le_bytes());

    let ([r0, r1], pad) = parts(input.one_time_key);
    let mut powers = powers(limbs(r0, r1));
    let eighth = powers.map(|limb| limb[0]);
    let in_all = |limbs: Limbs| Multiplier::new(limbs.map(|limb| _mm512_set1_epi64(limb as i64)));
    let (eighth, sixteenth) = (in_all(eighth), in_all(product(eighth, eighth)));
    let lasting = Multiplier::new(powers.each_ref().map(|limb| {
        // SAFETY: 64 bytes are read from an array of that length.
        unsafe { _mm512_loadu_si512(limb.as_ptr().cast()) }
    }));
    wipe(&mut powers, [[0; 8]; 3]);

    let counts = _mm512_cmpge_epu64_mask(
        _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7),
        _mm512_set1_epi64(blank as i64),
    );
    let mark = _mm512_set1_epi64(MARK);
    let none = [[_mm512_setzero_si512(); 3]; 2];
    let mut sum = load(&first, _mm512_maskz_mov_epi64(counts, mark));
    // Two eights at once, so that the products of the second need not wait: the odd one out is the first.
    let (odd, pairs) = eights.split_at(eights.len() % 2);
    sum = match odd {
        [eight] => reduce(eighth.on(sixteenth.on(none, sum), load(eight, mark))),
        _ => eighth.times(sum),
    };
    let (pairs, _) = pairs.as_chunks::<2>();
    for [one, other] in pairs {
        let ahead = eighth.on(none, load(other, mark));
        sum = reduce(sixteenth.on(ahead, add(sum, load(one, mark))));
    }
    sum = lasting.times(add(sum, load(&last, mark)));
    finish(words_of(sum.map(|limb| _mm512_reduce_add_epi64(limb) as u64)), pad)
}

/// The tags of eight messages at once, each in a lane of its own.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
pub(super) fn eight(alike: &Alike<'_, 8>) -> [[u8; TAG]; 8] {
    let keys = alike.inputs.each_ref().map(|input| parts(input.one_time_key));
    let of_lanes = |word: usize| {
        let [a, b, c, d, e, f, g, h] = IN_LANES.map(|n| keys[n].0[word] as i64);
        _mm512_setr_epi64(a, b, c, d, e, f, g, h)
    };
    let r = split(of_lanes(0), of_lanes(1));
    let multiplier = Multiplier::new(r);
    let square = Multiplier::new(multiplier.times(r));
    let mark = _mm512_set1_epi64(MARK);
    let mut sum = multiplier.times(gather(alike.headers(), mark));
    // Two blocks at once, so that the products of the second need not wait.
    let texts = alike.inputs.each_ref().map(|input| input.text.as_chunks::<32>());
    let [a, b, c, d, e, f, g, h] = texts.map(|(pairs, _)| pairs.iter());
    for (((a, b), (c, d)), ((e, f), (g, h))) in a.zip(b).zip(c.zip(d)).zip(e.zip(f).zip(g.zip(h))) {
        let [one, other] = gather_two([a, b, c, d, e, f, g, h], mark);
        let ahead = multiplier.on([[_mm512_setzero_si512(); 3]; 2], other);
        sum = reduce(square.on(ahead, add(sum, one)));
    }
    let rests = texts.map(|(_, rest)| rest.chunks(16));
    for number in 0..rests[0].len() {
        let last = rests
            .clone()
            .map(|mut blocks| filled(blocks.nth(number).unwrap_or_default()));
        sum = multiplier.times(add(sum, gather(last.each_ref(), mark)));
    }
    let lengths = [HEADER, alike.inputs[0].text.len()].map(|length| _mm512_set1_epi64(length as i64));
    let [l0, l1, l2] = split(lengths[0], lengths[1]);
    sum = multiplier.times(add(sum, [l0, l1, _mm512_or_si512(l2, mark)]));

    let mut sums = [[0_u64; 8]; 3];
    for (limbs, limb) in sums.iter_mut().zip(sum) {
        // SAFETY: 64 bytes are written to an array of that length.
        unsafe { _mm512_storeu_si512(limbs.as_mut_ptr().cast(), limb) }
    }
    let mut tags = [[0; TAG]; 8];
    for (lane, n) in IN_LANES.into_iter().enumerate() {
        tags[n] = finish(words_of(sums.each_ref().map(|limbs| limbs[lane])), keys[n].1);
    }
    wipe(&mut sums, [[0; 8]; 3]);
    tags
}

/// Which of eight blocks, or messages, stands in which lane.
const IN_LANES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// 2^128, in the third limb.
const MARK: i64 = 1 << 40;

/// Eight blocks as numbers, with `mark` on top.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn load(blocks: &[u8; EIGHT], mark: __m512i) -> [__m512i; 3] {
    let (halves, _) = blocks.as_chunks::<{ EIGHT / 2 }>();
    let half = |n: usize| {
        // SAFETY: 64 bytes are read from an array of that length.
        unsafe { _mm512_loadu_si512(halves[n].as_ptr().cast()) }
    };
    numbers(half(0), half(1), mark)
}

/// The same of blocks that lie apart.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn gather([a, b, c, d, e, f, g, h]: [&[u8; 16]; 8], mark: __m512i) -> [__m512i; 3] {
    // SAFETY: 16 bytes are read from an array of that length.
    let block = |block: &[u8; 16]| unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
    // In all lanes at once, of which some are taken: reading does that, no step of its own.
    let half = |a, b, c, d| {
        let x = _mm512_broadcast_i32x4(block(a));
        let x = _mm512_mask_broadcast_i32x4(x, 0x00f0, block(b));
        let x = _mm512_mask_broadcast_i32x4(x, 0x0f00, block(c));
        _mm512_mask_broadcast_i32x4(x, 0xf000, block(d))
    };
    numbers(half(a, b, c, d), half(e, f, g, h), mark)
}

/// The same of pairs of blocks.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn gather_two(pairs: [&[u8; 32]; 8], mark: __m512i) -> [[__m512i; 3]; 2] {
    let [ones, others] = [0, 1].map(|n| pairs.map(|pair| &pair.as_chunks::<16>().0[n]));
    [gather(ones, mark), gather(others, mark)]
}

/// Two registers of four blocks as numbers in [`IN_LANES`]' order, with `mark` on top.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn numbers(a: __m512i, b: __m512i, mark: __m512i) -> [__m512i; 3] {
    let [l0, l1, l2] = split(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    [l0, l1, _mm512_or_si512(l2, mark)]
}

/// Numbers below 2^128.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn split(low: __m512i, high: __m512i) -> [__m512i; 3] {
    let mask = _mm512_set1_epi64(LOW as i64);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(middle, mask),
        _mm512_srli_epi64::<24>(high),
    ]
}

#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn add(a: [__m512i; 3], b: [__m512i; 3]) -> [__m512i; 3] {
    [
        _mm512_add_epi64(a[0], b[0]),
        _mm512_add_epi64(a[1], b[1]),
        _mm512_add_epi64(a[2], b[2]),
    ]
}

/// Eight numbers to multiply by.
struct Multiplier {
    r: [__m512i; 3],
    /// 20 times the second and third limb: what stands above 2^132 counts so often.
    s: [__m512i; 2],
}

impl Multiplier {
    /// Limbs of at most 45 bits.
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
    fn new(r: [__m512i; 3]) -> Self {
        let twenty = |limb| _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb));
        Self {
            r,
            s: [twenty(r[1]), twenty(r[2])],
        }
    }

    /// Products with numbers of limbs below 2^47, modulo 2^130 − 5 but for a little: limbs of at most 45 bits.
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
    fn times(&self, number: [__m512i; 3]) -> [__m512i; 3] {
        reduce(self.on([[_mm512_setzero_si512(); 3]; 2], number))
    }

    /// Adds products to sums: the lower 52 bits of those of each weight, and what is above them.
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
    fn on(&self, [low, high]: [[__m512i; 3]; 2], [h0, h1, h2]: [__m512i; 3]) -> [[__m512i; 3]; 2] {
        let ([r0, r1, r2], [s1, s2]) = (self.r, self.s);
        // Limb 0 comes last out of the step before.
        let by_weight = [[r0, s2, s1], [r1, r0, s2], [r2, r1, r0]];
        let (mut sums_low, mut sums_high) = (low, high);
        for ((low, high), [x, y, z]) in sums_low.iter_mut().zip(&mut sums_high).zip(by_weight) {
            *low = _mm512_madd52lo_epu64(*low, h1, y);
            *high = _mm512_madd52hi_epu64(*high, h1, y);
            *low = _mm512_madd52lo_epu64(*low, h2, z);
            *high = _mm512_madd52hi_epu64(*high, h2, z);
            *low = _mm512_madd52lo_epu64(*low, h0, x);
            *high = _mm512_madd52hi_epu64(*high, h0, x);
        }
        [sums_low, sums_high]
    }
}

/// The number that sums of products are, of at most six products: limbs of at most 45 bits.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn reduce([[low0, low1, low2], [high0, high1, high2]]: [[__m512i; 3]; 2]) -> [__m512i; 3] {
    // 2^52 is 2^8 times the next limb's unit; above the third limb's it counts 20 times.
    let above = _mm512_add_epi64(_mm512_slli_epi64::<12>(high2), _mm512_slli_epi64::<10>(apart(high2)));
    let d0 = _mm512_add_epi64(low0, above);
    let d1 = _mm512_add_epi64(low1, _mm512_slli_epi64::<8>(high0));
    let d2 = _mm512_add_epi64(low2, _mm512_slli_epi64::<8>(high1));

    let (mask, top) = (_mm512_set1_epi64(LOW as i64), _mm512_set1_epi64(TOP as i64));
    let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
    let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
    let carry = _mm512_srli_epi64::<42>(d2);
    let five = _mm512_add_epi64(carry, _mm512_slli_epi64::<2>(apart(carry)));
    [
        _mm512_add_epi64(_mm512_and_si512(d0, mask), five),
        _mm512_and_si512(d1, mask),
        _mm512_and_si512(d2, top),
    ]
}

/// The same, and the compiler does not know it: it would make a multiplication of two shifts and a sum, which takes longer.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
fn apart(mut number: __m512i) -> __m512i {
    // SAFETY: a comment, no instruction.
    unsafe { asm!("/* {} */", inout(zmm_reg) number, options(pure, nomem, nostack, preserves_flags)) }
    number
}

type Limbs = [u64; 3];

/// A number below 2^128.
fn limbs(low: u64, high: u64) -> Limbs {
    [low & LOW, (low >> 44 | high << 20) & LOW, high >> 24]
}

/// r^8, r^4, r^7, r^3, r^6, r^2, r^5 and r, as the blocks they belong to lie in the lanes: first the lowest limbs of all of them.
#[inline(always)]
fn powers(r: Limbs) -> [[u64; 8]; 3] {
    let r2 = product(r, r);
    let (r3, r4) = (product(r2, r), product(r2, r2));
    let (r5, r6, r7, r8) = (product(r4, r), product(r4, r2), product(r4, r3), product(r4, r4));
    let powers = [r8, r4, r7, r3, r6, r2, r5, r];
    [0, 1, 2].map(|limb| powers.map(|power| power[limb]))
}

/// Modulo 2^130 − 5 but for a little: limbs of at most 45 bits, as those of the factors.
#[inline(always)]
fn product([a0, a1, a2]: Limbs, [b0, b1, b2]: Limbs) -> Limbs {
    let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let (s1, s2) = (20 * b1, 20 * b2);
    let d0 = wide(a0, b0) + wide(a1, s2) + wide(a2, s1);
    let d1 = wide(a0, b1) + wide(a1, b0) + wide(a2, s2) + (d0 >> 44);
    let d2 = wide(a0, b2) + wide(a1, b1) + wide(a2, b0) + (d1 >> 44);
    // d2 is below 2^92: what is above its 42 bits fits into 64 after the multiplication.
    let d0 = (d0 as u64 & LOW) + 5 * (d2 >> 42) as u64;
    let d1 = (d1 as u64 & LOW) + (d0 >> 44);
    [d0 & LOW, d1, d2 as u64 & TOP]
}

/// The number of three limbs of at most 50 bits as words of 64 bits: modulo 2^130 − 5, and less than twice that.
fn words_of([l0, l1, l2]: Limbs) -> [u64; 3] {
    let l1 = l1 + (l0 >> 44);
    let l2 = l2 + (l1 >> 44);
    let l0 = (l0 & LOW) + 5 * (l2 >> 42);
    let l1 = (l1 & LOW) + (l0 >> 44);
    let l2 = (l2 & TOP) + (l1 >> 44);
    let (l0, l1) = (l0 & LOW, l1 & LOW);
    [l0 | l1 << 44, l1 >> 20 | l2 << 24, l2 >> 40]
}
