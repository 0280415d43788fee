//! How much of what leaves the cards is handed over: so that one program gone wild costs little, and silences no other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What may be handed over: of each card and destination port, and of all.
#[derive(Debug)]
pub(super) struct Limiter {
    /// When the present second began.
    second: Instant,
    /// How many frames may be handed over in it.
    left: u32,
    /// How many frames may be read in it.
    readable: u32,
    buckets: BTreeMap<(u32, u16), Bucket>,
}

/// What a card and a port have left.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// How many frames.
    left: u32,
    /// When it was filled last.
    filled: Instant,
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            second: now,
            left: MOST_A_SECOND,
            readable: MOST_READ,
            buckets: BTreeMap::new(),
        }
    }

    /// Begins another second if it is time. Whether one began.
    pub(super) fn begin_second(&mut self, now: Instant) -> bool {
        let is_over = now.saturating_duration_since(self.second) >= SECOND;
        if is_over {
            self.second = now;
            self.left = MOST_A_SECOND;
            self.readable = MOST_READ;
        }
        is_over
    }

    /// How long until another second begins.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        SECOND.saturating_sub(now.saturating_duration_since(self.second))
    }

    /// Whether something may be read in this second still.
    pub(super) fn may_read(&self) -> bool {
        self.readable > 0
    }

    /// Whether a frame that was read, and which left `card` for `port`, is handed over.
    pub(super) fn take(&mut self, now: Instant, card: u32, port: u16) -> bool {
        self.readable = self.readable.saturating_sub(1);
        if self.left == 0 {
            return false;
        }
        if !self.buckets.contains_key(&(card, port)) && self.buckets.len() >= MOST_BUCKETS {
            // Who was silent for so long is as good as new.
            self.buckets
                .retain(|_, bucket| now.saturating_duration_since(bucket.filled) < FULL);
            if self.buckets.len() >= MOST_BUCKETS {
                return false;
            }
        }
        let bucket = self.buckets.entry((card, port)).or_insert(Bucket {
            left: BURST,
            filled: now,
        });
        bucket.fill(now);
        if bucket.left == 0 {
            return false;
        }
        bucket.left -= 1;
        self.left -= 1;
        true
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.filled);
        if gone >= FULL {
            (self.left, self.filled) = (BURST, now);
            return;
        }
        // Below 20.
        let more = (gone.as_millis() / EACH.as_millis()) as u32;
        self.left = self.left.saturating_add(more).min(BURST);
        self.filled += EACH * more;
    }
}

/// The port to which a frame goes that the filter let through; 0 if it is too short after all.
pub(super) fn destination_port(frame: &[u8]) -> u16 {
    let header = frame.get(14).map_or(0, |byte| usize::from(byte & 15) * 4);
    let port = frame.get(14 + header + 2..14 + header + 4);
    port.and_then(|port| port.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Frames that are handed over in a second: twenty times what is copied to a network of them.
const MOST_A_SECOND: u32 = 100;

/// Frames that are read in a second; in a flood beyond that the kernel drops what does not fit its buffers.
const MOST_READ: u32 = 10_000;

/// Frames of one card to one port: 10 a second, 20 at once.
const BURST: u32 = 20;
const EACH: Duration = Duration::from_millis(100);
const FULL: Duration = Duration::from_secs(2);

/// Cards with ports that are told apart; while so many are busy, further ones are not handed over.
const MOST_BUCKETS: usize = 1024;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_port_leaves_the_others_their_share() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(begun);
        let wild = (0..5_000).filter(|_| limiter.take(begun, 1, 6112)).count();
        assert_eq!(wild, 20);
        assert!(limiter.take(begun, 1, 4445) && limiter.take(begun, 2, 6112));
        let mut count = 0;
        for tenth in 1..=100 {
            let now = begun + EACH * tenth;
            limiter.begin_second(now);
            count += (0..50).filter(|_| limiter.take(now, 1, 6112)).count();
        }
        assert_eq!(count, 100, "ten a second");
    }

    #[test]
    fn all_ports_have_a_bound_together_in_each_second() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(begun);
        let all = |limiter: &mut Limiter, now| (0..500).filter(|port| limiter.take(now, 1, *port)).count();
        assert_eq!(all(&mut limiter, begun), 100);
        let now = begun + Duration::from_millis(600);
        assert!(!limiter.begin_second(now));
        assert_eq!(limiter.rest(now), Duration::from_millis(400));
        assert_eq!(all(&mut limiter, now), 0);
        let now = begun + SECOND;
        assert!(limiter.begin_second(now));
        assert_eq!(all(&mut limiter, now), 100);
    }

    #[test]
    fn what_is_read_in_a_second_is_bounded() {
        let begun = Instant::now();
        let mut limiter = Limiter::new(begun);
        let mut read = 0;
        while limiter.may_read() {
            limiter.take(begun, 1, 6112);
            read += 1;
        }
        assert_eq!(read, 10_000);
        limiter.begin_second(begun + SECOND);
        assert!(limiter.may_read());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_silent() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(now);
        for card in 0..2_000 {
            limiter.begin_second(now);
            limiter.take(now, card, 1);
            now += Duration::from_millis(1);
        }
        assert_eq!(limiter.buckets.len(), 200, "100 of each second");
        let begun = now;
        for card in 0..200_000u32 {
            now += Duration::from_micros(10);
            limiter.second = now;
            limiter.left = 1;
            limiter.take(now, card, 2);
        }
        assert_eq!(limiter.buckets.len(), MOST_BUCKETS);
        now = begun + FULL * 4;
        limiter.begin_second(now);
        assert!(limiter.take(now, 7, 7));
        assert_eq!(limiter.buckets.len(), 1);
    }

    #[test]
    fn the_port_is_behind_a_header_of_any_length() {
        for (length, words) in [(20, 5), (60, 15)] {
            let mut frame = vec![0; 14 + length];
            frame[14] = 0x40 | words;
            frame.extend([1, 2, 0x17, 0xe0, 0, 8, 0, 0]);
            assert_eq!(destination_port(&frame), 6112);
            assert_eq!(destination_port(&frame[..14 + length + 3]), 0);
        }
        assert_eq!(destination_port(&[]), 0);
    }
}
