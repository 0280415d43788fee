//! Opened messages that cannot be understood yet: they wait for the other end's list of networks, or for its claims.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Time,
    handshakes::Via,
    peers::PeerId,
    wire::{datagram::SessionIndex, sealed::LONGEST},
};

/// Messages of one session that wait; more are dropped.
pub(crate) const MAX_EARLY: usize = 32;

/// A message waits no longer than this: its sender tells its networks again after 0.7 s.
pub(crate) const EARLY_KEPT: Duration = Duration::from_secs(2);

/// Bytes of all that wait.
const MAX_BYTES: usize = 4 << 20;

/// One session has no more than this part of what is free then.
const SHARE: usize = 4;

type Of = (PeerId, SessionIndex);

/// A message, when it came, and which way.
pub(crate) type Message = (Time, Via, Vec<u8>);

/// All messages that wait.
#[derive(Debug, Default)]
pub(crate) struct Early {
    sessions: BTreeMap<Of, VecDeque<Message>>,
    /// When something came to wait, oldest first.
    order: VecDeque<(Time, Of)>,
    bytes: usize,
}

impl Early {
    /// Lets a message wait; whether there is room.
    pub(crate) fn push(&mut self, now: Time, of: Of, via: Via, message: &[u8]) -> bool {
        self.expire(now);
        let waiting = self.sessions.get(&of);
        let (count, bytes) = waiting.map_or((0, 0), |waiting| (waiting.len(), bytes_of(waiting)));
        let free = MAX_BYTES - self.bytes;
        let fits = message.len() <= LONGEST
            && count < MAX_EARLY
            && bytes + cost(message) <= (free / SHARE).max(cost(message))
            && cost(message) <= free;
        if fits {
            self.bytes += cost(message);
            self.order.push_back((now, of));
            self.sessions
                .entry(of)
                .or_default()
                .push_back((now, via, message.to_vec()));
        }
        fits
    }

    /// Takes what waits for a session's lists out.
    pub(crate) fn take(&mut self, of: Of) -> VecDeque<Message> {
        let waiting = self.sessions.remove(&of).unwrap_or_default();
        self.bytes -= bytes_of(&waiting);
        waiting
    }

    /// Drops what waited too long.
    pub(crate) fn expire(&mut self, now: Time) {
        let old = |at: Time| now.since(at) >= EARLY_KEPT;
        while let Some((_, of)) = self.order.pop_front_if(|(at, _)| old(*at)) {
            let Some(waiting) = self.sessions.get_mut(&of) else {
                continue;
            };
            while let Some((_, _, message)) = waiting.pop_front_if(|(at, ..)| old(*at)) {
                self.bytes -= cost(&message);
            }
            if waiting.is_empty() {
                self.sessions.remove(&of);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.order.front().map(|(at, _)| *at + EARLY_KEPT)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a message takes, with what it is kept in.
fn cost(message: &[u8]) -> usize {
    message.len() + 128
}

fn bytes_of(waiting: &VecDeque<Message>) -> usize {
    waiting.iter().map(|(_, _, message)| cost(message)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_want_all_leave_room_for_one_more_and_nothing_stays() {
        let mut early = Early::default();
        let via = Via::Direct(std::net::SocketAddr::from(([192, 0, 2, 1], 1)).into());
        let at = |millis| Time::ZERO + Duration::from_secs(1) + Duration::from_millis(millis);
        for peer in 0..80 {
            let of = (PeerId::for_test(peer), SessionIndex(1));
            for _ in 0..40 {
                early.push(at(0), of, via, &[0; 1400]);
            }
            assert!((1..=MAX_EARLY).contains(&early.sessions[&of].len()));
        }
        assert!(early.push(at(1), (PeerId::for_test(5000), SessionIndex(1)), via, &[0; 1400]));
        assert_eq!(early.take((PeerId::for_test(5000), SessionIndex(1))).len(), 1);
        assert_eq!(early.take((PeerId::for_test(0), SessionIndex(1))).len(), MAX_EARLY);
        for peer in 100..2000 {
            early.push(at(1), (PeerId::for_test(peer), SessionIndex(1)), via, &[0; 9000]);
            assert!(early.bytes() <= MAX_BYTES);
        }
        early.expire(at(2001));
        assert_eq!((early.bytes(), early.sessions.len(), early.order.len()), (0, 0, 0));
        assert!(
            !early.push(at(3000), (PeerId::for_test(1), SessionIndex(1)), via, &[0; 10_000]),
            "too long"
        );
    }
}
