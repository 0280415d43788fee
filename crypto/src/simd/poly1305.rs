//! Poly1305 (RFC 8439 §2.5) in 64-bit words, one block after the other.

use crate::job::{KEY, TAG};

/// What a tag is made of.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) one_time_key: &'a [u8; KEY],
    pub(super) aad: &'a [u8],
    pub(super) text: &'a [u8],
}

/// The tag of header and ciphertext as the AEAD composes them: each padded to full blocks, then both lengths.
pub(super) fn tag(input: Input<'_>) -> [u8; TAG] {
    let mut poly = Poly1305::new(input.one_time_key);
    poly.padded(input.aad);
    poly.padded(input.text);
    poly.block(input.aad.len() as u64, input.text.len() as u64);
    let tag = poly.finish();
    super::wipe(&mut poly, Poly1305::ZERO);
    tag
}

/// The tags of two messages, in less time than one after the other: what a block needs of the one before it is ready late.
pub(super) fn two([one, other]: &[Input<'_>; 2]) -> [[u8; TAG]; 2] {
    // The states stay in registers, so there is nothing to wipe.
    let [mut first, mut second] = [one, other].map(|input| Poly1305::new(input.one_time_key));
    first.padded(one.aad);
    second.padded(other.aad);
    let [blocks, other_blocks] = [one, other].map(|input| input.text.as_chunks::<16>().0);
    for (block, other_block) in blocks.iter().zip(other_blocks) {
        first.full(block);
        second.full(other_block);
    }
    let both = 16 * blocks.len().min(other_blocks.len());
    first.padded(&one.text[both..]);
    second.padded(&other.text[both..]);
    first.block(one.aad.len() as u64, one.text.len() as u64);
    second.block(other.aad.len() as u64, other.text.len() as u64);
    [first.finish(), second.finish()]
}

/// The state between two blocks.
#[derive(Clone, Copy)]
struct Poly1305 {
    /// The multiplier, of which the bits that RFC 8439 §2.5 names are cleared.
    r: [u64; 2],
    /// The sum so far, below 2^130 + 2^67: two words and what is above.
    sum: [u64; 3],
    /// What is added at the end.
    pad: [u64; 2],
}

impl Poly1305 {
    const ZERO: Self = Self {
        r: [0; 2],
        sum: [0; 3],
        pad: [0; 2],
    };

    fn new(one_time_key: &[u8; KEY]) -> Self {
        let (r, pad) = parts(one_time_key);
        Self { r, sum: [0; 3], pad }
    }

    /// All blocks of `bytes`, the last one filled with zeros.
    #[inline(always)]
    fn padded(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<16>();
        // The state stays in registers.
        let mut state = *self;
        for block in blocks {
            state.full(block);
        }
        if !rest.is_empty() {
            state.full(&filled(rest));
        }
        *self = state;
    }

    #[inline(always)]
    fn full(&mut self, block: &[u8; 16]) {
        let [low, high] = words(block);
        self.block(low, high);
    }

    /// Adds a full block, 2^128 on top of it, and multiplies.
    #[inline(always)]
    fn block(&mut self, low: u64, high: u64) {
        let [r0, r1] = self.r;
        // r1 is a multiple of 4, and 2^130 is 5: so 2^128 times r1 is this.
        let s1 = r1 + (r1 >> 2);
        let [h0, h1, h2] = self.sum;
        let (h0, carry) = h0.carrying_add(low, false);
        let (h1, carry) = h1.carrying_add(high, carry);
        let h2 = h2 + 1 + u64::from(carry);

        let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
        // No sum overflows: h2 is below 8, r0, r1 below 2^60, s1 below 2^61.
        let d0 = wide(h0, r0) + wide(h1, s1);
        let d1 = wide(h0, r1) + wide(h1, r0) + u128::from(h2 * s1) + (d0 >> 64);
        let d2 = h2 * r0 + (d1 >> 64) as u64;

        // What is above 2^130 counts five times: once as a whole, four times as the bits that stand above two others.
        let above = (d2 & !3) + (d2 >> 2);
        let (h0, carry) = (d0 as u64).carrying_add(above, false);
        let (h1, carry) = (d1 as u64).carrying_add(0, carry);
        self.sum = [h0, h1, (d2 & 3) + u64::from(carry)];
    }

    /// The sum modulo 2^130 − 5, and the pad added.
    fn finish(&self) -> [u8; TAG] {
        finish(self.sum, self.pad)
    }
}

/// What a key consists of: the multiplier, of which the bits that RFC 8439 §2.5 names are cleared, and what is added at the end.
#[inline(always)]
pub(super) fn parts(one_time_key: &[u8; KEY]) -> ([u64; 2], [u64; 2]) {
    let (words, _) = one_time_key.as_chunks();
    let [r0, r1, pad0, pad1] = std::array::from_fn(|n| u64::from_le_bytes(words[n]));
    ([r0 & 0x0fff_fffc_0fff_ffff, r1 & 0x0fff_fffc_0fff_fffc], [pad0, pad1])
}

/// A block that begins with `rest`, of at most 16 bytes, filled with zeros.
#[inline(always)]
pub(super) fn filled(rest: &[u8]) -> [u8; 16] {
    // In pieces that overlap: a copy of any length calls a function.
    let length = rest.len();
    let bits = 8 * length as u32;
    let number = if let (Some(low), Some(high)) = (rest.first_chunk(), rest.last_chunk()) {
        u128::from(u64::from_le_bytes(*low)) | u128::from(u64::from_le_bytes(*high)) << (bits - 64)
    } else if let (Some(low), Some(high)) = (rest.first_chunk(), rest.last_chunk()) {
        u128::from(u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << (bits - 32))
    } else {
        let bytes = rest.iter().rev();
        u128::from(bytes.fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    number.to_le_bytes()
}

/// A block as a number.
#[inline(always)]
pub(super) fn words(block: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*block);
    [number as u64, (number >> 64) as u64]
}

/// The tag: `sum`, which is less than twice 2^130 − 5, modulo that, and `pad` added, modulo 2^128.
pub(super) fn finish([h0, h1, h2]: [u64; 3], [pad0, pad1]: [u64; 2]) -> [u8; TAG] {
    let (g0, carry) = h0.carrying_add(5, false);
    let (g1, carry) = h1.carrying_add(0, carry);
    let g2 = h2 + u64::from(carry);
    // All ones if the sum is not below 2^130 − 5, without a branch.
    let mask = (g2 >> 2).wrapping_neg();
    let (h0, h1) = (h0 & !mask | g0 & mask, h1 & !mask | g1 & mask);
    let (low, carry) = h0.carrying_add(pad0, false);
    let (high, _) = h1.carrying_add(pad1, carry);
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}
