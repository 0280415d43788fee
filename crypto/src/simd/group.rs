//! What goes into a kernel and what comes out: up to sixteen blocks, of any keys and nonces.

use crate::job::KEY;

/// The most lanes that a kernel has.
pub(super) const MOST: usize = 16;

/// Bytes of a block of Salsa20.
pub(super) const BLOCK: usize = 64;

/// "expand 32-byte k", the words on the diagonal of the state.
pub(super) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Blocks to be made, one per lane.
#[repr(align(64))]
pub(super) struct Group<'a> {
    keys: [&'a [u8; KEY]; MOST],
    nonces_low: Lanes,
    nonces_high: Lanes,
    /// Of the block under its nonce: 32 bits, enough for messages of 256 GiB.
    numbers: Lanes,
    /// Whether all lanes have the key of the first.
    is_common: bool,
}

impl<'a> Group<'a> {
    /// Lanes that nothing was set in, under a key that is used first.
    pub(super) fn new(key: &'a [u8; KEY]) -> Self {
        Self {
            keys: [key; MOST],
            nonces_low: [0; _],
            nonces_high: [0; _],
            numbers: [0; _],
            is_common: true,
        }
    }

    /// Blocks `number`, `number + 1` and so on under one nonce in `count` lanes from `first` on.
    #[inline(always)]
    pub(super) fn set(&mut self, first: usize, count: usize, key: &'a [u8; KEY], nonce: u64, number: usize) {
        // Whether keys are at the same place in memory tells nothing of their bytes.
        let is_first = std::ptr::eq(self.keys[0], key);
        if first == 0 {
            if !self.is_common || !is_first {
                self.keys = [key; MOST];
            }
            self.is_common = true;
        } else if !self.is_common || !is_first {
            self.is_common = false;
            self.keys
                .iter_mut()
                .skip(first)
                .take(count)
                .for_each(|lane| *lane = key);
        }
        if count < FEW {
            for n in 0..count {
                let lane = (first + n) % MOST;
                self.nonces_low[lane] = nonce as u32;
                self.nonces_high[lane] = (nonce >> 32) as u32;
                self.numbers[lane] = (number + n) as u32;
            }
        } else {
            set(&mut self.nonces_low, first, [nonce as u32; MOST]);
            set(&mut self.nonces_high, first, [(nonce >> 32) as u32; MOST]);
            set(&mut self.numbers, first, std::array::from_fn(|n| (number + n) as u32));
        }
    }

    /// Of each lane the lower and the higher word of the nonce, and the number.
    #[inline(always)]
    pub(super) fn words(&self) -> [&[u32; MOST]; 3] {
        [&self.nonces_low, &self.nonces_high, &self.numbers].map(|lanes| lanes.first_chunk().unwrap_or(&[0; MOST]))
    }

    /// The words of the key, if it is one in all lanes.
    pub(super) fn common_key(&self) -> Option<[u32; 8]> {
        self.is_common.then(|| words(self.keys[0]))
    }

    /// The words of all keys, the first of all lanes first. To be wiped.
    pub(super) fn spread_keys(&self) -> [[u32; MOST]; 8] {
        let mut spread = [[0; MOST]; 8];
        for (lane, key) in self.keys.iter().enumerate() {
            for (words, word) in spread.iter_mut().zip(words(key)) {
                words[lane] = word;
            }
        }
        spread
    }

    /// The states of the blocks in the first lanes by diagonal, but for the diagonal that is the constants. To be wiped.
    pub(super) fn diagonals<const LANES: usize>(&self) -> [[[u32; 4]; LANES]; 3] {
        let mut diagonals = [[[0; 4]; LANES]; 3];
        let [first, second, third] = diagonals.each_mut();
        let lanes = first.iter_mut().zip(second).zip(third);
        for (lane, ((first, second), third)) in lanes.enumerate() {
            let [k0, k1, k2, k3, k4, k5, k6, k7] = words(self.keys[lane]);
            *first = [k3, 0, k7, k2];
            *second = [self.numbers[lane], k6, k1, self.nonces_high[lane]];
            *third = [k5, k0, self.nonces_low[lane], k4];
        }
        diagonals
    }
}

/// Fewer lanes than these are set one by one.
const FEW: usize = 4;

/// One word of each lane, and room behind the last one.
type Lanes = [u32; 2 * MOST];

/// Sets all lanes from `first` on, of which later ones are set again: a write of fixed length takes less time than the right one.
#[inline(always)]
fn set(lanes: &mut Lanes, first: usize, words: [u32; MOST]) {
    if let Some(lanes) = lanes[first % MOST..].first_chunk_mut() {
        *lanes = words;
    }
}

fn words(key: &[u8; KEY]) -> [u32; 8] {
    let (words, _) = key.as_chunks::<4>();
    std::array::from_fn(|n| u32::from_le_bytes(words[n]))
}

/// The blocks that a kernel made, one behind the other.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Keystream(pub(super) [[u8; BLOCK]; MOST]);

impl Keystream {
    pub(super) const ZERO: Self = Self([[0; BLOCK]; MOST]);
}
