//! Addresses set by hand, by DHCP or the like on the cards of one network: the own ones, and who told which first.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use crate::{Time, peers::PeerId};

/// Addresses of one member in one network that count; those beyond are found like any host's, by asking all.
pub(crate) const MAX_CLAIMED: usize = 16;

/// A holder heard within this time is there: it gives signs of life every 0.5 s to whoever speaks to it.
pub(crate) const FRESH: Duration = Duration::from_secs(2);

/// A holder that did not answer for so long when it was asked holds nothing any more.
pub(crate) const PATIENCE: Duration = crate::peers::SILENCE;

/// The hand-set addresses of one network.
#[derive(Debug, Default)]
pub(crate) struct ClaimedAddresses {
    /// The own ones, and since when.
    own: BTreeMap<IpAddr, Time>,
    /// Those of others, first claimant first.
    claims: BTreeMap<IpAddr, Vec<Claim>>,
}

/// A member that told an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) peer: PeerId,
    /// When it was told first.
    pub(crate) since: Time,
    /// When it was asked whether it is still there, for somebody contests the address.
    pub(crate) asked: Option<Time>,
}

impl ClaimedAddresses {
    /// Sets the own addresses; whether they changed.
    pub(crate) fn set_own(&mut self, now: Time, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let addresses: BTreeSet<IpAddr> = addresses
            .filter(|address| is_claimable(*address))
            .take(MAX_CLAIMED)
            .collect();
        if self.own.keys().eq(&addresses) {
            return false;
        }
        let since = |address| self.own.get(address).copied().unwrap_or(now);
        self.own = addresses.iter().map(|address| (*address, since(address))).collect();
        true
    }

    /// The own addresses.
    pub(crate) fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.own.keys().copied()
    }

    /// Since when an address is the own.
    pub(crate) fn own_since(&self, address: IpAddr) -> Option<Time> {
        self.own.get(&address).copied()
    }

    /// `peer` has these addresses and no others. Returns those it tells anew.
    pub(crate) fn told(&mut self, now: Time, peer: PeerId, addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        let addresses: BTreeSet<IpAddr> = addresses
            .filter(|address| is_claimable(*address))
            .take(MAX_CLAIMED)
            .collect();
        self.claims.retain(|address, claims| {
            claims.retain(|claim| claim.peer != peer || addresses.contains(address));
            !claims.is_empty()
        });
        let mut fresh = Vec::new();
        for address in addresses {
            let claims = self.claims.entry(address).or_default();
            if claims.iter().all(|claim| claim.peer != peer) {
                claims.push(Claim {
                    peer,
                    since: now,
                    asked: None,
                });
                fresh.push(address);
            }
        }
        fresh
    }

    /// Who holds an address: the first who told it of those of whom `is_here` holds.
    pub(crate) fn holder(&self, address: IpAddr, is_here: impl Fn(PeerId) -> bool) -> Option<Claim> {
        let mut claims = self.claims.get(&address)?.iter();
        claims.find(|claim| is_here(claim.peer)).copied()
    }

    /// The addresses that `peer` and somebody else tell.
    pub(crate) fn shared_by(&self, peer: PeerId) -> Vec<IpAddr> {
        let told = self
            .claims
            .iter()
            .filter(|(_, claims)| claims.len() > 1 && claims.iter().any(|claim| claim.peer == peer));
        told.map(|(address, _)| *address).collect()
    }

    /// Notes when the holder was asked, or that it answered.
    pub(crate) fn asked(&mut self, address: IpAddr, peer: PeerId, asked: Option<Time>) {
        let claims = self.claims.get_mut(&address).into_iter().flatten();
        for claim in claims.filter(|claim| claim.peer == peer) {
            claim.asked = asked;
        }
    }

    /// `peer` does not hold `address` any more.
    pub(crate) fn drop_claim(&mut self, address: IpAddr, peer: PeerId) {
        if let Some(claims) = self.claims.get_mut(&address) {
            claims.retain(|claim| claim.peer != peer);
            if claims.is_empty() {
                self.claims.remove(&address);
            }
        }
    }

    /// Forgets what a peer told.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.told(Time::ZERO, peer, std::iter::empty());
    }
}

/// Whether an address can be somebody's on a LAN.
fn is_claimable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: PeerId = PeerId::for_test(1);
    const B: PeerId = PeerId::for_test(2);

    fn ip(number: u8) -> IpAddr {
        IpAddr::from([192, 168, 7, number])
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn holder(claimed: &ClaimedAddresses, number: u8) -> Option<PeerId> {
        claimed.holder(ip(number), |_| true).map(|claim| claim.peer)
    }

    #[test]
    fn the_first_claimant_holds_and_the_next_follows() {
        let mut claimed = ClaimedAddresses::default();
        assert_eq!(claimed.told(at(1), A, [ip(1), ip(2)].into_iter()), [ip(1), ip(2)]);
        assert_eq!(claimed.told(at(2), B, [ip(1)].into_iter()), [ip(1)]);
        let again = claimed.told(at(3), A, [ip(1), ip(2)].into_iter());
        assert!(again.is_empty(), "told before");
        assert_eq!(holder(&claimed, 1), Some(A));
        assert_eq!(claimed.shared_by(B), [ip(1)]);
        let here = claimed.holder(ip(1), |peer| peer != A);
        assert_eq!(here.map(|claim| claim.peer), Some(B), "the first is away");
        claimed.told(at(4), A, [ip(2)].into_iter());
        assert_eq!(holder(&claimed, 1), Some(B));
        claimed.told(at(5), A, [ip(1), ip(2)].into_iter());
        assert_eq!(holder(&claimed, 1), Some(B), "it comes back behind");
        claimed.drop_claim(ip(1), B);
        assert_eq!(holder(&claimed, 1), Some(A));
        claimed.forget_peer(A);
        assert!(claimed.claims.is_empty());
    }

    #[test]
    fn addresses_of_nobody_are_left_out() {
        let mut claimed = ClaimedAddresses::default();
        let nobodys = [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
        ];
        let nobodys = nobodys.map(|text| text.parse().unwrap());
        assert!(claimed.told(at(1), A, nobodys.into_iter()).is_empty());
        assert!(!claimed.set_own(at(1), nobodys.into_iter()));
        assert!(claimed.set_own(at(1), [ip(1)].into_iter()));
        assert!(!claimed.set_own(at(2), [ip(1)].into_iter()));
        assert!(claimed.set_own(at(3), [ip(1), ip(2)].into_iter()));
        assert_eq!(
            (claimed.own_since(ip(1)), claimed.own_since(ip(2))),
            (Some(at(1)), Some(at(3)))
        );
    }

    proptest! {
        #[test]
        fn a_member_claims_16_at_most_and_the_first_one_stays(
            steps in proptest::collection::vec((1_u64..4, proptest::collection::btree_set(0_u8..24, 0..24)), 1..40)
        ) {
            let mut claimed = ClaimedAddresses::default();
            let mut now = 0;
            for (peer, numbers) in steps {
                now += 1;
                let peer = PeerId::for_test(peer);
                let before: Vec<_> = (0..24).map(|number| holder(&claimed, number)).collect();
                claimed.told(at(now), peer, numbers.iter().map(|number| ip(*number)));
                let told: Vec<u8> = numbers.into_iter().take(MAX_CLAIMED).collect();
                for number in 0..24 {
                    let after = holder(&claimed, number);
                    match before[usize::from(number)] {
                        Some(first) if first != peer => prop_assert_eq!(after, Some(first)),
                        _ if told.contains(&number) => prop_assert_eq!(after, Some(peer)),
                        _ => prop_assert_ne!(after, Some(peer)),
                    }
                }
            }
        }
    }
}
