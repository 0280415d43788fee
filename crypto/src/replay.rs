//! The replay window: which counters of a session have been received.
//!
//! A ring of 64-bit blocks in the manner of RFC 6479: when the window moves, whole blocks are cleared instead of bits
//! shifted, so marking costs the same however wide the window is. The ring has one block more than the window needs,
//! which is the room the newest counter moves in.

/// Remembers the newest `bits` counters, each accepted once.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// Counter `c` is bit `c % 64` of block `(c / 64) % blocks.len()`.
    blocks: Box<[u64]>,
    /// The highest marked counter, or 0.
    highest: u64,
}

/// What the window knows of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Never marked, and new enough to tell.
    Fresh,
    /// Marked before.
    Replayed,
    /// Older than the window reaches: it may have been marked.
    TooOld,
}

impl ReplayWindow {
    /// An empty window in which a counter is judged while it is less than `bits` behind the highest one.
    ///
    /// `bits` is rounded up to a multiple of 64, at least 64. The memory is `bits / 8 + 8` bytes.
    pub fn new(bits: u32) -> Self {
        let blocks = bits.div_ceil(64).max(1) as usize + 1;
        Self {
            blocks: vec![0; blocks].into_boxed_slice(),
            highest: 0,
        }
    }

    /// Judges `counter` without marking it.
    pub fn check(&self, counter: u64) -> Freshness {
        if counter > self.highest {
            return Freshness::Fresh;
        }
        if self.highest - counter >= self.width() {
            return Freshness::TooOld;
        }
        let (block, bit) = self.position(counter);
        if self.blocks[block] & bit == 0 {
            Freshness::Fresh
        } else {
            Freshness::Replayed
        }
    }

    /// Marks `counter` as received and returns what [`ReplayWindow::check`] said of it before.
    ///
    /// Only for a counter whose datagram proved authentic: a forged high one would shut out the honest ones.
    pub fn mark(&mut self, counter: u64) -> Freshness {
        let freshness = self.check(counter);
        if freshness == Freshness::Fresh {
            self.advance(counter);
            let (block, bit) = self.position(counter);
            self.blocks[block] |= bit;
        }
        freshness
    }

    /// Makes `counter` the highest one if it is, clearing the blocks that it enters.
    fn advance(&mut self, counter: u64) {
        if counter <= self.highest {
            return;
        }
        let ring = self.blocks.len() as u64;
        let from = self.highest / 64;
        let entered = (counter / 64 - from).min(ring);
        for step in 1..=entered {
            self.blocks[((from + step) % ring) as usize] = 0;
        }
        self.highest = counter;
    }

    /// How many counters are judged, the highest one included.
    fn width(&self) -> u64 {
        (self.blocks.len() as u64 - 1) * 64
    }

    /// Block index and bit mask of a counter.
    fn position(&self, counter: u64) -> (usize, u64) {
        let block = (counter / 64) % self.blocks.len() as u64;
        (block as usize, 1 << (counter % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The same rules told by a set of all counters ever marked.
    #[derive(Default)]
    struct Model {
        marked: HashSet<u64>,
        highest: u64,
    }

    impl Model {
        fn mark(&mut self, counter: u64, width: u64) -> Freshness {
            if counter <= self.highest && self.highest - counter >= width {
                return Freshness::TooOld;
            }
            self.highest = self.highest.max(counter);
            if self.marked.insert(counter) {
                Freshness::Fresh
            } else {
                Freshness::Replayed
            }
        }
    }

    /// A session of datagrams: the sender counts on by steps and a few leaps, which go round the ring many times, and
    /// each counter arrives some way behind. It begins near zero, anywhere, or near the end of the range.
    fn counters() -> impl Strategy<Value = Vec<u64>> {
        let base = prop_oneof![Just(0), Just(1 << 32), Just(u64::MAX - 4000), any::<u64>()];
        let step = prop_oneof![16 => 0..40u64, 4 => 0..400u64, 1 => 0..20_000u64];
        let behind = prop_oneof![4 => Just(0), 4 => 0..80u64, 2 => 0..300u64, 1 => 0..9000u64];
        (base, prop::collection::vec((step, behind), 1..400)).prop_map(|(mut front, arrivals)| {
            let arrive = |(step, behind)| {
                front = front.saturating_add(step);
                front.saturating_sub(behind)
            };
            arrivals.into_iter().map(arrive).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_set(width in prop_oneof![Just(64u32), Just(128), Just(256), Just(8192)],
                             counters in counters()) {
            let mut window = ReplayWindow::new(width);
            let mut model = Model::default();
            for counter in counters {
                let expected = model.mark(counter, u64::from(width));
                prop_assert_eq!(window.check(counter), expected);
                prop_assert_eq!(window.mark(counter), expected);
            }
        }
    }

    #[test]
    fn the_edge_of_the_window_is_exact() {
        for (bits, width) in [(256, 256), (8192, 8192), (1, 64), (0, 64), (65, 128)] {
            for highest in [width, width + 1, 10_000 * 64 - 1, 10_000 * 64, u64::MAX] {
                let mut window = ReplayWindow::new(bits);
                assert_eq!(window.mark(highest), Freshness::Fresh);
                assert_eq!(window.check(highest - width), Freshness::TooOld, "{bits} {highest}");
                assert_eq!(window.mark(highest - width + 1), Freshness::Fresh, "{bits} {highest}");
                assert_eq!(window.mark(highest - width + 1), Freshness::Replayed);
                assert_eq!(window.mark(highest), Freshness::Replayed);
            }
        }
    }

    #[test]
    fn counter_zero_is_accepted_once() {
        let mut window = ReplayWindow::new(256);
        assert_eq!(window.mark(0), Freshness::Fresh);
        assert_eq!(window.mark(0), Freshness::Replayed);
    }
}
