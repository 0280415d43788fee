//! The switch's table: MACs that no arithmetic knows, and the member behind which each was seen last.
//!
//! They are those of hosts behind a member's bridge, of virtual machines and of VRRP routers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farlan_netconf::Mac;

use crate::{Time, peers::PeerId};

/// MACs learned behind one member; the one seen longest ago gives way, so that a member that makes them up displaces
/// its own only.
pub(crate) const MAX_LEARNED: usize = 64;

/// A MAC without a frame from it for so long is forgotten: the default of IEEE 802.1Q §8.8.3.
pub(crate) const AGE: Duration = Duration::from_secs(300);

/// A MAC that was spoken to for so long and said nothing may have moved without a word: one frame is sent to all, and
/// again after as long.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(1);

/// Which MACs are behind which member of one network.
#[derive(Debug, Default)]
pub(crate) struct LearnedMacs {
    entries: BTreeMap<Mac, Entry>,
    /// The same, by member.
    behind: BTreeMap<PeerId, BTreeSet<Mac>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    peer: PeerId,
    seen: Time,
    /// Since when frames were sent to it without one from it, or since one was sent to all.
    unanswered: Option<Time>,
}

/// Behind whom a learned MAC was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) peer: PeerId,
    /// It has not spoken while spoken to: all are to be asked with this frame, for it may have moved.
    pub(crate) in_doubt: bool,
}

impl LearnedMacs {
    /// A frame from `mac` came from `peer`. Returns whether another entry had to make room.
    pub(crate) fn saw(&mut self, now: Time, mac: Mac, peer: PeerId) -> bool {
        let entry = Entry {
            peer,
            seen: now,
            unanswered: None,
        };
        if let Some(known) = self.entries.get_mut(&mac)
            && known.peer == peer
        {
            *known = entry;
            return false;
        }
        self.forget(mac);
        let behind = self.behind.entry(peer).or_default();
        let mut evicted = false;
        if behind.len() >= MAX_LEARNED {
            let seen = |mac: &Mac| self.entries.get(mac).map(|entry| entry.seen);
            let oldest = behind.iter().copied().min_by_key(|mac| seen(mac));
            if let Some(oldest) = oldest {
                behind.remove(&oldest);
                let gone = self.entries.remove(&oldest);
                evicted = gone.is_some_and(|gone| now.since(gone.seen) < AGE);
            }
        }
        behind.insert(mac);
        self.entries.insert(mac, entry);
        evicted
    }

    /// A frame from `mac` came from the own card, or it is no foreign MAC any more.
    pub(crate) fn forget(&mut self, mac: Mac) {
        let Some(entry) = self.entries.remove(&mac) else { return };
        if let Some(behind) = self.behind.get_mut(&entry.peer) {
            behind.remove(&mac);
            if behind.is_empty() {
                self.behind.remove(&entry.peer);
            }
        }
    }

    /// Forgets what was seen behind a peer.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        for mac in self.behind.remove(&peer).unwrap_or_default() {
            self.entries.remove(&mac);
        }
    }

    /// A frame goes to `mac`: where that is, if it is known.
    pub(crate) fn towards(&mut self, now: Time, mac: Mac) -> Option<Whereabouts> {
        if self.entries.get(&mac).is_some_and(|entry| now.since(entry.seen) >= AGE) {
            self.forget(mac);
        }
        let entry = self.entries.get_mut(&mac)?;
        let since = *entry.unanswered.get_or_insert(now);
        let in_doubt = now.since(since) >= UNANSWERED;
        if in_doubt {
            entry.unanswered = Some(now);
        }
        Some(Whereabouts {
            peer: entry.peer,
            in_doubt,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mac(number: u8) -> Mac {
        Mac::from_bytes([0, 0x16, 0x3e, 0, 0, number])
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    const A: PeerId = PeerId::for_test(1);
    const B: PeerId = PeerId::for_test(2);

    fn behind(peer: PeerId) -> Option<Whereabouts> {
        Some(Whereabouts { peer, in_doubt: false })
    }

    #[test]
    fn the_next_frame_moves_a_mac() {
        let mut learned = LearnedMacs::default();
        learned.saw(at(0), mac(1), A);
        assert_eq!(learned.towards(at(1), mac(1)), behind(A));
        learned.saw(at(1), mac(1), B);
        assert_eq!(learned.towards(at(1), mac(1)), behind(B));
        assert_eq!(learned.towards(at(1), mac(2)), None);
        learned.forget(mac(1));
        assert_eq!(learned.towards(at(1), mac(1)), None);
        assert!(learned.behind.is_empty());
    }

    #[test]
    fn a_mac_is_forgotten_300_seconds_after_its_last_frame() {
        let mut learned = LearnedMacs::default();
        learned.saw(at(0), mac(1), A);
        learned.saw(at(10), mac(1), A);
        assert_eq!(learned.towards(at(309), mac(1)), behind(A));
        assert_eq!(learned.towards(at(310), mac(1)), None);
        assert!(learned.entries.is_empty() && learned.behind.is_empty());
    }

    #[test]
    fn a_silent_mac_is_looked_for_once_a_second() {
        let mut learned = LearnedMacs::default();
        learned.saw(at(0), mac(1), A);
        let mut sent_to_all = 0;
        for tenth in 0..50 {
            let now = at(5) + Duration::from_millis(100) * tenth;
            sent_to_all += u32::from(learned.towards(now, mac(1)).unwrap().in_doubt);
        }
        assert_eq!(sent_to_all, 4, "after 1, 2, 3 and 4 s");
        learned.saw(at(10), mac(1), A);
        assert_eq!(learned.towards(at(20), mac(1)), behind(A), "it spoke");
    }

    #[test]
    fn a_member_that_makes_macs_up_displaces_its_own() {
        let mut learned = LearnedMacs::default();
        learned.saw(at(0), mac(255), B);
        for number in 0..64 {
            assert!(!learned.saw(at(1 + u64::from(number)), mac(number), A));
        }
        learned.saw(at(100), mac(0), A);
        assert!(learned.saw(at(101), mac(64), A));
        assert_eq!(learned.towards(at(101), mac(1)), None, "the one seen longest ago");
        for present in [0, 2, 63, 64] {
            assert_eq!(learned.towards(at(101), mac(present)), behind(A));
        }
        assert_eq!(learned.towards(at(101), mac(255)), behind(B));
        learned.forget_peer(A);
        assert_eq!((learned.entries.len(), learned.behind.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn no_member_has_more_than_its_share_and_the_two_tables_agree(
            steps in proptest::collection::vec((0_u8..4, any::<u8>(), 0_u64..20), 1..600)
        ) {
            let mut learned = LearnedMacs::default();
            let mut now = 0;
            for (peer, number, passed) in steps {
                now += passed;
                match peer {
                    0 => learned.forget(mac(number)),
                    peer => {
                        learned.saw(at(now), mac(number), PeerId::for_test(peer.into()));
                        let found = learned.towards(at(now), mac(number));
                        prop_assert_eq!(found, behind(PeerId::for_test(peer.into())));
                    }
                }
                for (peer, macs) in &learned.behind {
                    prop_assert!((1..=MAX_LEARNED).contains(&macs.len()));
                    prop_assert!(macs.iter().all(|mac| learned.entries[mac].peer == *peer));
                }
                let listed: usize = learned.behind.values().map(BTreeSet::len).sum();
                prop_assert_eq!(listed, learned.entries.len());
            }
        }
    }
}
