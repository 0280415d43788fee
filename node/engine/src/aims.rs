//! How many datagrams go to addresses that peers named: it may be somebody's who has nothing to do with it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use farlan_crypto::defects::planted;

use crate::Time;

/// Datagrams with the system's time to live that reach an address which never answered, within [`WITHIN`], whoever named
/// it and how often.
const FULL: usize = 10;

/// The same of datagrams that are to die on the way.
const OPENING: usize = 24;

/// The same of either where somebody answered: many peers may be behind one address.
const ANSWERED: usize = 256;

/// See [`FULL`].
const WITHIN: Duration = Duration::from_secs(60);

/// An answer counts for so long.
const ANSWER_KEPT: Duration = Duration::from_secs(600);

/// Pauses after searches that found nothing at an address which never answered, in seconds: one may have missed, and a second
/// one will not. The last is repeated.
const SEARCH_PAUSES: [u64; 2] = [1, 600];

/// The same where somebody answered.
const SEARCH_PAUSES_ANSWERED: [u64; 4] = [1, 10, 60, 600];

/// The two ends of a search do not see its end at the same time: so much earlier than the pause is over another may begin.
const SEARCH_SLACK: Duration = Duration::from_millis(500);

/// What became of searches is known for so long after the last one.
const SEARCH_KEPT: Duration = Duration::from_secs(1200);

/// Addresses of which this is known at one time; where all are in use, no further one is tried.
const MAX_AIMED: usize = 8192;

/// What was sent to addresses that peers named.
#[derive(Debug, Default)]
pub(crate) struct Aims(BTreeMap<IpAddr, Aim>);

#[derive(Debug, Default)]
struct Aim {
    full: VecDeque<Time>,
    opening: VecDeque<Time>,
    answered: Option<Time>,
    searched: Searched,
}

/// What became of searches at an address, whichever peer they were for.
#[derive(Debug, Default)]
struct Searched {
    last: Option<Time>,
    fruitless: usize,
    mispredicted: bool,
    not_before: Option<Time>,
}

impl Aims {
    /// Whether one more datagram may go to an address, which is noted then; `dies` if it is not to arrive.
    pub(crate) fn may_send(&mut self, now: Time, address: IpAddr, dies: bool) -> bool {
        let Some(aim) = self.at(now, address) else {
            return false;
        };
        let (sent, most) = if dies {
            (&mut aim.opening, OPENING)
        } else {
            (&mut aim.full, FULL)
        };
        let most = if aim.answered.is_some() { ANSWERED } else { most };
        while sent.pop_front_if(|at| now.since(*at) >= WITHIN).is_some() {}
        let fits = sent.len() < most;
        if fits {
            sent.push_back(now);
        }
        fits
    }

    /// Somebody answered there.
    pub(crate) fn answered(&mut self, now: Time, address: IpAddr) {
        if let Some(aim) = self.at(now, address) {
            aim.answered = Some(now);
            aim.searched = Searched::default();
        }
    }

    /// Whether a search may begin that sends many datagrams to an address. Nothing that a peer or a supernode says makes that
    /// sooner.
    pub(crate) fn may_search(&mut self, now: Time, address: IpAddr) -> bool {
        let Some(aim) = self.at(now, address) else {
            return false;
        };
        let may = aim.searched.not_before.is_none_or(|at| at <= now + SEARCH_SLACK);
        if may {
            aim.searched.last = Some(now);
        }
        may
    }

    /// When the next search at an address may begin, if one found nothing there lately.
    pub(crate) fn search_not_before(&self, address: IpAddr) -> Option<Time> {
        self.0.get(&host(address))?.searched.not_before
    }

    /// Whether a port of an address was predicted lately, and wrongly.
    pub(crate) fn is_mispredicted(&self, address: IpAddr) -> bool {
        self.0.get(&host(address)).is_some_and(|aim| aim.searched.mispredicted)
    }

    /// A search that sent something to an address is over; whether it found nothing.
    pub(crate) fn search_ended(&mut self, now: Time, address: IpAddr, (begun, predicts): (Time, bool)) -> bool {
        let Some(aim) = self.at(now, address) else { return true };
        if aim.answered.is_some_and(|at| at >= begun) {
            return false;
        }
        if planted("search-uncounted") {
            return true;
        }
        let pauses = if aim.answered.is_some() {
            &SEARCH_PAUSES_ANSWERED[..]
        } else {
            &SEARCH_PAUSES
        };
        let searched = &mut aim.searched;
        // A wrong prediction is followed by another technique.
        if predicts && !searched.mispredicted {
            searched.mispredicted = true;
        } else {
            searched.fruitless += 1;
        }
        let pause = pauses
            .get(searched.fruitless.saturating_sub(1))
            .or_else(|| pauses.last());
        searched.not_before = Some(now + Duration::from_secs(pause.copied().unwrap_or_default()));
        searched.last = Some(now);
        true
    }

    /// This machine is elsewhere: what was found nowhere may be found now.
    pub(crate) fn search_anew(&mut self) {
        for aim in self.0.values_mut() {
            aim.searched = Searched::default();
        }
    }

    fn at(&mut self, now: Time, address: IpAddr) -> Option<&mut Aim> {
        let host = host(address);
        if !self.0.contains_key(&host) && self.0.len() >= MAX_AIMED {
            self.0.retain(|_, aim| aim.is_in_use(now));
            if self.0.len() >= MAX_AIMED {
                return None;
            }
        }
        let aim = self.0.entry(host).or_default();
        aim.answered = aim.answered.filter(|at| now.since(*at) < ANSWER_KEPT);
        if aim.searched.last.is_some_and(|last| now.since(last) >= SEARCH_KEPT) {
            aim.searched = Searched::default();
        }
        Some(aim)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Aim {
    fn is_in_use(&self, now: Time) -> bool {
        let last = self.full.back().max(self.opening.back());
        last.is_some_and(|at| now.since(*at) < WITHIN)
            || self.answered.is_some_and(|at| now.since(at) < ANSWER_KEPT)
            || self.searched.last.is_some_and(|at| now.since(at) < SEARCH_KEPT)
    }
}

/// What one machine has: an IPv4 address, or the first half of an IPv6 address.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_that_never_answered_gets_ten_datagrams_in_any_minute() {
        let mut aims = Aims::default();
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let mut sent = Vec::new();
        for second in 0..600 {
            for host in 0..5_u16 {
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 7, 7, 7, host).into();
                if aims.may_send(at(second), address, false) {
                    sent.push(second);
                }
            }
        }
        assert!(sent.windows(11).all(|window| window[10] - window[0] >= 60));
        assert_eq!(sent.len(), 100);
        aims.answered(at(600), address);
        assert!((0..100).all(|_| aims.may_send(at(660), address, false)));
    }

    #[test]
    fn an_address_that_never_answered_is_searched_twice_and_then_every_ten_minutes() {
        let mut aims = Aims::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut begun = Vec::new();
        for second in 0..3600 {
            if aims.may_search(at(second), address) {
                begun.push(second);
                assert!(aims.search_ended(at(second), address, (at(second), false)));
            }
        }
        assert_eq!(begun, [0, 1, 601, 1201, 1801, 2401, 3001]);
        // What a peer there answered begins it anew, and so does another place of this machine.
        aims.answered(at(3600), address);
        assert!(aims.may_search(at(3600), address));
        assert!(!aims.search_ended(at(3601), address, (at(3600), false)));
        for second in [3602, 3604] {
            aims.search_ended(at(second), address, (at(second), true));
        }
        assert!(aims.is_mispredicted(address));
        assert!(!aims.may_search(at(3604), address) && aims.may_search(at(3605), address));
        aims.search_ended(at(3605), address, (at(3605), false));
        aims.search_anew();
        assert!(aims.may_search(at(3605), address) && !aims.is_mispredicted(address));
    }

    #[test]
    fn the_table_is_bounded_and_what_is_not_in_use_makes_room() {
        let mut aims = Aims::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..2 * u32::try_from(MAX_AIMED).unwrap() {
            aims.may_send(at(1), address(number), false);
        }
        assert_eq!(aims.len(), MAX_AIMED);
        assert!(!aims.may_send(at(2), address(u32::MAX), false));
        assert!(aims.may_send(at(62), address(u32::MAX), false));
        assert_eq!(aims.len(), 1);
    }
}
