//! What a wire does to each packet of one direction: when it arrives, if it does.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::wire::{Bursts, Wire};

/// How much may wait where the wire has a rate, as the time it takes to send it.
const QUEUE: Duration = Duration::from_millis(50);

/// One direction of a wire.
#[derive(Debug)]
pub struct Impairment {
    wire: Wire,
    random: ChaCha8Rng,
    /// Whether a burst of losses is going on.
    bad: bool,
    /// When the last packet has left the queue.
    free: Option<Instant>,
}

impl Impairment {
    /// One that does to packets what the wire says, always the same for the same seed.
    pub fn new(wire: Wire, seed: u64) -> Self {
        Self {
            wire,
            random: ChaCha8Rng::seed_from_u64(seed),
            bad: false,
            free: None,
        }
    }

    /// When a packet of `length` bytes arrives that was sent now; never if it is lost.
    pub fn arrival(&mut self, now: Instant, length: usize) -> Option<Instant> {
        if self.burst_strikes() || self.happens(self.wire.loss) {
            return None;
        }
        let sent = self.queue(now, length)?;
        let late = self
            .wire
            .jitter
            .mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        Some(sent + self.wire.delay + late)
    }

    fn burst_strikes(&mut self) -> bool {
        let Some(Bursts { begin, end }) = self.wire.bursts else {
            return false;
        };
        let changes = self.happens(if self.bad { end } else { begin });
        self.bad ^= changes;
        self.bad
    }

    /// When the packet has been sent at the wire's rate; never if the queue is full. A packet that finds nothing waiting is
    /// taken, however long it is.
    fn queue(&mut self, now: Instant, length: usize) -> Option<Instant> {
        if self.wire.rate_kbit == 0 {
            return Some(now);
        }
        let takes = Duration::from_secs_f64(length as f64 * 8.0 / (f64::from(self.wire.rate_kbit) * 1000.0));
        let free = self.free.filter(|free| *free > now);
        let sent = free.unwrap_or(now) + takes;
        if free.is_some() && sent > now + QUEUE {
            return None;
        }
        self.free = Some(sent);
        Some(sent)
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && f64::from(self.random.next_u32()) < probability * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: usize = 100_000;

    fn lost(wire: Wire) -> Vec<bool> {
        let mut direction = Impairment::new(wire, 5);
        let now = Instant::now();
        (0..PACKETS).map(|_| direction.arrival(now, 100).is_none()).collect()
    }

    #[test]
    fn the_share_asked_for_is_lost() {
        let count = lost(Wire {
            loss: 0.05,
            ..Wire::PLAIN
        });
        let count = count.into_iter().filter(|lost| *lost).count();
        assert!((4_500..5_500).contains(&count), "{count}");
    }

    #[test]
    fn bursts_are_as_long_and_as_rare_as_asked_for() {
        let bursts = Bursts { begin: 0.01, end: 0.04 };
        let lost = lost(Wire {
            bursts: Some(bursts),
            ..Wire::PLAIN
        });
        let begun = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let count = lost.iter().filter(|lost| **lost).count();
        // One in five is lost, 25 at a time.
        assert!((15_000..25_000).contains(&count), "{count}");
        assert!((20..30).contains(&(count / begun)), "{begun} bursts");
    }

    #[test]
    fn jitter_lets_packets_overtake_and_is_bounded() {
        let wire = Wire {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            ..Wire::PLAIN
        };
        let mut direction = Impairment::new(wire, 1);
        let now = Instant::now();
        let arrivals: Vec<_> = (0..1000).filter_map(|_| direction.arrival(now, 100)).collect();
        assert_eq!(arrivals.len(), 1000);
        let late = |arrival: &Instant| *arrival - now - wire.delay;
        assert!(arrivals.iter().all(|arrival| late(arrival) <= wire.jitter));
        assert!(arrivals.iter().any(|arrival| late(arrival) > wire.jitter / 2));
        assert!(!arrivals.is_sorted());
    }

    #[test]
    fn a_rate_delays_what_waits_and_drops_what_waits_too_long() {
        let wire = Wire {
            rate_kbit: 8,
            ..Wire::PLAIN
        };
        // A thousand bytes a second, of which fifty may wait.
        let mut direction = Impairment::new(wire, 1);
        let now = Instant::now();
        let mut arrival = |after_ms: u64, length| {
            let sent = now + Duration::from_millis(after_ms);
            let arrival = direction.arrival(sent, length)?;
            Some((arrival - now).as_millis())
        };
        assert_eq!(arrival(0, 10), Some(10));
        assert_eq!(arrival(0, 40), Some(50));
        assert_eq!(arrival(0, 1), None);
        assert_eq!(arrival(10, 10), Some(60));
        assert_eq!(arrival(100, 1000), Some(1100), "an empty queue takes anything");
    }

    #[test]
    fn a_plain_wire_does_nothing() {
        let now = Instant::now();
        assert_eq!(Impairment::new(Wire::PLAIN, 0).arrival(now, 9000), Some(now));
    }
}
