//! Who may have a stream at a supernode. Whoever sends eight bytes has one, so one by which something authentic came does
//! not give way to any other, and the others give way to each other, the oldest first: a node shows itself within a few
//! round trips, and whoever wants to keep it from that has to connect faster than that, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use farlan_crypto::defects::planted;

/// Streams accepted at one time.
pub(super) const MOST_ACCEPTED: usize = 4096;

/// Proved streams of one prefix, and as many that are not proved (yet).
pub(super) const MOST_OF_PREFIX: usize = 64;

/// The places of accepted streams.
#[derive(Debug)]
pub(super) struct Places {
    /// How many there are.
    pub(super) most: usize,
    taken: usize,
    /// Those by which nothing authentic has come; numbers grow, so the first is the oldest.
    unproved: BTreeSet<u32>,
    prefixes: BTreeMap<IpAddr, Prefix>,
}

/// The streams of one prefix.
#[derive(Debug, Default)]
struct Prefix {
    proved: usize,
    unproved: BTreeSet<u32>,
}

/// Whether one more may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// This one has to end for it.
    InPlaceOf(u32),
    Nowhere,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            unproved: BTreeSet::new(),
            prefixes: BTreeMap::new(),
        }
    }

    /// Whether there is a place for one more of a prefix.
    pub(super) fn room_for(&self, prefix: IpAddr) -> Room {
        let first = |unproved: &BTreeSet<u32>| unproved.first().copied().map_or(Room::Nowhere, Room::InPlaceOf);
        let held = self.prefixes.get(&prefix);
        match held {
            Some(held) if held.proved >= MOST_OF_PREFIX => Room::Nowhere,
            Some(held) if held.unproved.len() >= MOST_OF_PREFIX && planted("unproved-streams-stay") => Room::Nowhere,
            Some(held) if held.unproved.len() >= MOST_OF_PREFIX => first(&held.unproved),
            _ if self.taken >= self.most => first(&self.unproved),
            _ => Room::Free,
        }
    }

    /// Takes a place for one that has come.
    pub(super) fn add(&mut self, number: u32, prefix: IpAddr) {
        self.taken += 1;
        self.unproved.insert(number);
        self.prefixes.entry(prefix).or_default().unproved.insert(number);
    }

    /// Something authentic has come by one. Returns whether it may stay: its prefix has not too many of these.
    pub(super) fn prove(&mut self, number: u32, prefix: IpAddr) -> bool {
        let Some(held) = self.prefixes.get_mut(&prefix) else {
            return true;
        };
        if held.unproved.contains(&number) {
            if held.proved >= MOST_OF_PREFIX {
                return false;
            }
            held.unproved.remove(&number);
            held.proved += 1;
            self.unproved.remove(&number);
        }
        true
    }

    /// Frees the place of one that has ended.
    pub(super) fn remove(&mut self, number: u32, prefix: IpAddr) {
        let Some(held) = self.prefixes.get_mut(&prefix) else {
            return;
        };
        self.taken = self.taken.saturating_sub(1);
        if held.unproved.remove(&number) {
            self.unproved.remove(&number);
        } else {
            held.proved = held.proved.saturating_sub(1);
        }
        if held.proved == 0 && held.unproved.is_empty() {
            self.prefixes.remove(&prefix);
        }
    }

    /// Whether nobody has one.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0 && self.unproved.is_empty() && self.prefixes.is_empty()
    }
}

/// What one household or one customer of a host is likely to have: an IPv4 /24 or an IPv6 /56.
pub(super) fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xff).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0));

    #[test]
    fn prefixes_are_those_of_a_household() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.255", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:0:ff00::1", "2001:db8:0:ffff::1", true),
            ("2001:db8:0:ff00::1", "2001:db8:1::1", false),
        ] {
            let [one, other] = [one, other].map(|address| prefix(address.parse().unwrap()));
            assert_eq!(one == other, same);
        }
    }

    #[test]
    fn a_prefix_keeps_so_many_proved_ones_and_no_more() {
        let mut places = Places::new(MOST_ACCEPTED);
        for number in 0..MOST_OF_PREFIX as u32 {
            assert_eq!(places.room_for(HERE), Room::Free);
            places.add(number, HERE);
            assert!(places.prove(number, HERE) && places.prove(number, HERE));
            places.add(1000 + number, HERE);
        }
        assert_eq!(places.room_for(HERE), Room::Nowhere);
        assert!(!places.prove(1000, HERE));
        places.remove(0, HERE);
        assert_eq!(places.room_for(HERE), Room::InPlaceOf(1000));
        assert!(places.prove(1001, HERE));
        for number in (1..MOST_OF_PREFIX as u32).chain(1000..1000 + MOST_OF_PREFIX as u32) {
            places.remove(number, HERE);
        }
        assert!(places.is_empty());
    }
}
