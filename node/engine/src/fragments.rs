//! Messages too large for a path: cut into parts that are sealed one by one, and put together again.
//!
//! The network below never cuts a datagram (DF is set), so this end does it, and every part is authentic by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Time,
    peers::PeerId,
    wire::{
        datagram::SessionIndex,
        sealed::{LONGEST, MAX_PARTS},
    },
};

/// Parts wait for each other so long.
const KEPT: Duration = Duration::from_secs(1);

/// Messages of one peer, and of all, being put together: with the longest message about 4.5 MB. The oldest gives way.
pub(crate) const MAX_OF_PEER: usize = 8;
pub(crate) const MAX_IN_ALL: usize = 512;

/// Of the last half one peer has this part of those that are free.
const LAST_SHARE: usize = 32;

/// Names a message being put together.
type Key = (PeerId, SessionIndex, u16);

/// All messages being put together.
#[derive(Debug, Default)]
pub(crate) struct Assemblies {
    messages: BTreeMap<Key, Message>,
    /// Oldest first; those that were completed are still named here.
    order: VecDeque<(Time, Key)>,
}

#[derive(Debug)]
struct Message {
    since: Time,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    length: usize,
}

/// One part of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) message: u16,
    pub(crate) position: u8,
    pub(crate) count: u8,
    pub(crate) bytes: &'a [u8],
}

impl Assemblies {
    /// Takes a part; returns the message if it was the last one missing, and how many messages were given up for it.
    pub(crate) fn take(
        &mut self,
        now: Time,
        peer: PeerId,
        session: SessionIndex,
        part: Part<'_>,
    ) -> (Option<Vec<u8>>, u64) {
        let mut lost = self.expire(now);
        let count = usize::from(part.count);
        if !(2..=MAX_PARTS).contains(&count) || usize::from(part.position) >= count || part.bytes.is_empty() {
            return (None, lost);
        }
        let key = (peer, session, part.message);
        if !self.messages.contains_key(&key) {
            lost += self.make_room(peer);
            let message = Message {
                since: now,
                parts: vec![None; count],
                missing: count,
                length: 0,
            };
            self.messages.insert(key, message);
            self.order.push_back((now, key));
        }
        let Some(message) = self.messages.get_mut(&key) else {
            return (None, lost);
        };
        let fits = message.parts.len() == count && message.length + part.bytes.len() <= LONGEST;
        let place = message
            .parts
            .get_mut(usize::from(part.position))
            .filter(|place| fits && place.is_none());
        let Some(place) = place else {
            // Parts that contradict each other make no message.
            self.messages.remove(&key);
            return (None, lost + 1);
        };
        *place = Some(part.bytes.to_vec());
        message.length += part.bytes.len();
        message.missing -= 1;
        if message.missing > 0 {
            return (None, lost);
        }
        let message = self.messages.remove(&key);
        let whole = message.map(|message| message.parts.into_iter().flatten().flatten().collect());
        (whole, lost)
    }

    /// Forgets messages whose parts did not come in time; returns how many.
    pub(crate) fn expire(&mut self, now: Time) -> u64 {
        let mut lost = 0;
        while let Some((_, key)) = self.order.pop_front_if(|(since, _)| now.since(*since) >= KEPT) {
            lost += self.remove_if_old(now, &key);
        }
        lost
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.order.front().map(|(since, _)| *since + KEPT)
    }

    /// How many messages are being put together, and how many of them are named in order.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.messages.len(), self.order.len())
    }

    fn remove_if_old(&mut self, now: Time, key: &Key) -> u64 {
        // The number may name a later message by now.
        let old = self
            .messages
            .get(key)
            .is_some_and(|message| now.since(message.since) >= KEPT);
        u64::from(old && self.messages.remove(key).is_some())
    }

    fn make_room(&mut self, peer: PeerId) -> u64 {
        let mut lost = 0;
        let of_peer = (peer, SessionIndex(0), 0)..=(peer, SessionIndex(u32::MAX), u16::MAX);
        let oldest = |messages: &BTreeMap<Key, Message>| {
            let of_peer = messages.range(of_peer.clone());
            of_peer.min_by_key(|(_, message)| message.since).map(|(key, _)| *key)
        };
        // When they become few, a peer has the less of them.
        let free = MAX_IN_ALL.saturating_sub(self.messages.len());
        let share = if free > MAX_IN_ALL / 2 {
            MAX_OF_PEER
        } else {
            (free / LAST_SHARE).clamp(1, MAX_OF_PEER)
        };
        if self.messages.range(of_peer.clone()).count() >= share
            && let Some(key) = oldest(&self.messages)
        {
            self.messages.remove(&key);
            lost += 1;
        }
        while self.messages.len() >= MAX_IN_ALL
            && let Some((_, key)) = self.order.pop_front()
        {
            lost += u64::from(self.messages.remove(&key).is_some());
        }
        // Completed ones must not make the list grow without end.
        if self.order.len() > 4 * MAX_IN_ALL {
            let messages = &self.messages;
            self.order.retain(|(_, key)| messages.contains_key(key));
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peers::Peers;

    fn peers(count: usize) -> Vec<PeerId> {
        let mut peers = Peers::default();
        (0..count)
            .filter_map(|seed| {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&(seed as u64).to_le_bytes());
                let identity = farlan_crypto::Identity::from_seed(
                    farlan_crypto::Seed::from_bytes(bytes),
                    farlan_crypto::Work::NONE,
                );
                peers.pin(identity.ok()?.public())
            })
            .collect()
    }

    fn part(message: u16, position: u8, count: u8, bytes: &[u8]) -> Part<'_> {
        Part {
            message,
            position,
            count,
            bytes,
        }
    }

    const SESSION: SessionIndex = SessionIndex(7);

    proptest! {
        #[test]
        fn parts_make_the_message_in_any_order(
            length in 2usize..9000, size in 300usize..1500, shuffle in any::<u64>(),
        ) {
            let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut parts: Vec<(u8, &[u8])> = (0u8..).zip(message.chunks(size)).collect();
            prop_assume!(parts.len() >= 2);
            let count = parts.len() as u8;
            let half = parts.len() / 2;
            parts.rotate_left((shuffle % (half as u64 + 1)) as usize);
            if shuffle % 2 == 0 {
                parts.reverse();
            }
            let (mut assemblies, peer) = (Assemblies::default(), peers(1)[0]);
            let last = parts.len() - 1;
            for (at, (position, bytes)) in parts.iter().enumerate() {
                let (whole, lost) = assemblies.take(Time::ZERO, peer, SESSION, part(3, *position, count, bytes));
                prop_assert_eq!(lost, 0);
                prop_assert_eq!(whole, (at == last).then(|| message.clone()));
            }
            prop_assert!(assemblies.messages.is_empty());
        }

        #[test]
        fn any_parts_are_bounded(parts in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), 0usize..9000), 0..300)) {
            let (mut assemblies, peer) = (Assemblies::default(), peers(1)[0]);
            for (message, position, count, length) in parts {
                let bytes = vec![1; length];
                let (whole, _) = assemblies.take(Time::ZERO, peer, SESSION, part(message, position, count, &bytes));
                prop_assert!(whole.is_none_or(|whole| whole.len() <= LONGEST));
                prop_assert!(assemblies.messages.len() <= MAX_OF_PEER);
            }
        }
    }

    #[test]
    fn what_is_not_complete_within_a_second_is_forgotten() {
        let (mut assemblies, peer) = (Assemblies::default(), peers(1)[0]);
        assert_eq!(
            assemblies.take(Time::ZERO, peer, SESSION, part(1, 0, 2, b"one")).0,
            None
        );
        let late = assemblies.deadline().unwrap();
        assert_eq!(late, Time::ZERO + KEPT);
        // The same number names another message by now.
        assert_eq!(assemblies.take(late, peer, SESSION, part(1, 1, 2, b"two")), (None, 1));
        assert_eq!(
            assemblies.take(late, peer, SESSION, part(1, 0, 2, b"new ")),
            (Some(b"new two".to_vec()), 0)
        );
    }

    #[test]
    fn sessions_and_peers_do_not_mix() {
        let (mut assemblies, peers) = (Assemblies::default(), peers(2));
        assert_eq!(
            assemblies.take(Time::ZERO, peers[0], SESSION, part(1, 0, 2, b"a")).0,
            None
        );
        assert_eq!(
            assemblies.take(Time::ZERO, peers[1], SESSION, part(1, 1, 2, b"b")).0,
            None
        );
        assert_eq!(
            assemblies
                .take(Time::ZERO, peers[0], SessionIndex(8), part(1, 1, 2, b"c"))
                .0,
            None
        );
        let (whole, _) = assemblies.take(Time::ZERO, peers[0], SESSION, part(1, 1, 2, b"d"));
        assert_eq!(whole, Some(b"ad".to_vec()));
    }

    #[test]
    fn all_peers_together_are_bounded() {
        let mut assemblies = Assemblies::default();
        for peer in peers(MAX_IN_ALL / MAX_OF_PEER + 50) {
            for message in 0..20 {
                assemblies.take(Time::ZERO, peer, SESSION, part(message, 0, 2, b"x"));
            }
        }
        assert!(assemblies.messages.len() <= MAX_IN_ALL);
        assert!(assemblies.order.len() <= 4 * MAX_IN_ALL + 1);
    }
}
