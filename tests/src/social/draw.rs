//! Randomness that is a pure function: the same seed, subject and index give the same number at any time, so that nothing about
//! ten million nodes has to be kept.

/// Draws about one subject, such as where nodes are.
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Draws about `subject` in the world of `seed`.
    pub fn new(seed: u64, subject: &str) -> Self {
        let named = subject
            .bytes()
            .fold(seed ^ 0x6a09_e667_f3bc_c908, |state, byte| mix(state ^ u64::from(byte)));
        Self(mix(named))
    }

    /// Draws about the thing of this number, which are independent of those about others.
    pub fn of(self, index: u64) -> Self {
        Self(mix(self.0 ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number of 64 bits.
    pub fn number(self) -> u64 {
        mix(self.0 ^ 0xbb67_ae85_84ca_a73b)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A fraction from 0 to below 1.
    pub fn unit(self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn chance(self, share: f64) -> bool {
        self.unit() < share
    }
}

/// Mixes all bits of a number into all others; a bijection (the finaliser of splitmix64).
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The same randomness one number after another: for jitter and losses, of which nobody asks again.
#[derive(Clone, Debug)]
pub struct Stream {
    draw: Draw,
    next: u64,
}

impl Stream {
    /// The numbers of this draw.
    pub fn new(draw: Draw) -> Self {
        Self { draw, next: 0 }
    }

    /// The next draw.
    pub fn draw(&mut self) -> Draw {
        self.next += 1;
        self.draw.of(self.next)
    }
}

/// A shuffle of the numbers below some bound that can be asked for any of them, in both directions: a Feistel network of four
/// rounds over the next even power of two, walked until it is back below the bound.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    draw: Draw,
    bound: u64,
    half: u32,
}

impl Shuffle {
    /// A shuffle of the numbers below `bound`.
    pub fn new(draw: Draw, bound: u64) -> Self {
        let bits = 64 - bound.saturating_sub(1).leading_zeros();
        Self {
            draw,
            bound,
            half: bits.div_ceil(2).max(1),
        }
    }

    /// How many numbers are shuffled.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Where this number, which is below the bound, is put.
    pub fn place(&self, number: u64) -> u64 {
        let mut at = number;
        loop {
            at = self.rounds(at, [0, 1, 2, 3]);
            if at < self.bound {
                return at;
            }
        }
    }

    /// Which number is put at this place.
    pub fn number(&self, place: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let mut at = place;
        loop {
            // Backwards is the same with its halves swapped and its rounds in the other order.
            let swapped = ((at & mask) << self.half) | (at >> self.half);
            let back = self.rounds(swapped, [3, 2, 1, 0]);
            at = ((back & mask) << self.half) | (back >> self.half);
            if at < self.bound {
                return at;
            }
        }
    }

    fn rounds(&self, number: u64, order: [u64; 4]) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for round in order {
            (left, right) = (right, left ^ (self.draw.of(right << 2 | round).number() & mask));
        }
        (left << self.half) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_differ_by_seed_subject_and_index() {
        let one = Draw::new(1, "a").of(7).number();
        assert_eq!(Draw::new(1, "a").of(7).number(), one);
        assert_ne!(Draw::new(2, "a").of(7).number(), one);
        assert_ne!(Draw::new(1, "b").of(7).number(), one);
        assert_ne!(Draw::new(1, "a").of(8).number(), one);
    }

    #[test]
    fn a_shuffle_is_a_bijection_and_knows_its_way_back() {
        for bound in [1, 2, 3, 5, 64, 1000, 4097] {
            let shuffle = Shuffle::new(Draw::new(3, "shuffle"), bound);
            let mut seen = vec![false; bound as usize];
            for number in 0..bound {
                let place = shuffle.place(number);
                assert_eq!(shuffle.number(place), number, "of {bound}");
                assert!(!std::mem::replace(&mut seen[place as usize], true));
            }
        }
    }

    #[test]
    fn units_are_spread_evenly() {
        let mut stream = Stream::new(Draw::new(4, "units"));
        let sum: f64 = (0..10_000).map(|_| stream.draw().unit()).sum();
        assert!((4800.0..5200.0).contains(&sum), "{sum}");
    }
}
