//! How many datagrams go to addresses that peers named: it may be somebody's who has nothing to do with it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

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
        last.is_some_and(|at| now.since(*at) < WITHIN) || self.answered.is_some_and(|at| now.since(at) < ANSWER_KEPT)
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
