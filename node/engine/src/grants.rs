//! A supernode's part in a search: it tells two nodes that both asked for each other the address that the other has proved
//! to be at. Whoever was not asked for learns nothing, and of nobody else.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use farlan_crypto::NodeId;

use crate::{
    Engine, Outbox, Time,
    peers::{Path, PeerId},
    rates::{Meter, Rate},
    wire::control::Control,
};

/// What one node may ask, retries included.
pub(crate) const ASKED: Rate = Rate {
    count: 60,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(30),
};

/// One end waits so long for the other to ask, and is told again for so long what it was told.
const WITHIN: Duration = Duration::from_secs(5);

/// One pair begins no new search sooner after the last one.
const APART: Duration = Duration::from_secs(1);

/// Pairs of which this is known at one time; where all are in use, no further one is.
const MAX_PAIRS: usize = 4096;

/// The pairs that asked lately, the lower peer first.
#[derive(Debug, Default)]
pub(crate) struct Grants(BTreeMap<(PeerId, PeerId), Asked>);

/// When the lower and the higher of a pair asked, under which number of the search, and when both were told.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    by: [Option<(Time, u32)>; 2],
    granted: Option<(Time, u32)>,
}

/// What follows from a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The other end has not asked yet, or it is too early.
    Wait,
    /// Both are told.
    Both,
    /// Who asked again is told again.
    Again,
}

impl Grants {
    fn ask(&mut self, now: Time, (from, about): (PeerId, PeerId), number: u32) -> Verdict {
        let pair = (from.min(about), from.max(about));
        if !self.0.contains_key(&pair) && self.0.len() >= MAX_PAIRS {
            self.0.retain(|_, asked| asked.is_in_use(now));
            if self.0.len() >= MAX_PAIRS {
                return Verdict::Wait;
            }
        }
        let asked = self.0.entry(pair).or_default();
        let position = usize::from(from > about);
        if let Some((at, granted)) = asked.granted {
            if granted == number && now.since(at) < WITHIN {
                return Verdict::Again;
            }
            if now.since(at) < APART {
                return Verdict::Wait;
            }
        }
        if let Some(by) = asked.by.get_mut(position) {
            *by = Some((now, number));
        }
        let lately = |by: Option<(Time, u32)>| by.is_some_and(|(at, of)| of == number && now.since(at) < WITHIN);
        if asked.by.iter().all(|by| lately(*by)) {
            asked.granted = Some((now, number));
            asked.by = [None, None];
            return Verdict::Both;
        }
        Verdict::Wait
    }
}

impl Asked {
    fn is_in_use(&self, now: Time) -> bool {
        let mut times = self.by.iter().flatten().chain(&self.granted);
        times.any(|(at, _)| now.since(*at) < WITHIN)
    }
}

impl Engine {
    /// A node wants to search a way to another one.
    pub(crate) fn search_asked(&mut self, now: Time, id: PeerId, (number, node): (u32, NodeId), out: &mut Outbox) {
        if !self.anchor.may_ask_for_search(now, id) {
            self.counters.searches_limited += 1;
            return;
        }
        let about = self.peers.by_node(&node).filter(|about| *about != id);
        let Some(about) = about.filter(|about| self.proved_addresses(now, [*about, id]).is_some()) else {
            return;
        };
        match self.anchor.grants.ask(now, (id, about), number) {
            Verdict::Wait => {}
            Verdict::Again => self.grant_search(now, (id, about), number, out),
            Verdict::Both => {
                self.counters.searches_granted += 1;
                self.grant_search(now, (id, about), number, out);
                self.grant_search(now, (about, id), number, out);
            }
        }
    }

    fn grant_search(&mut self, now: Time, (to, about): (PeerId, PeerId), number: u32, out: &mut Outbox) {
        let node = self.peers.get(about).map(|peer| peer.key.node_id());
        let (Some(node), Some([address, _])) = (node, self.proved_addresses(now, [about, to])) else {
            return;
        };
        let message = Control::SearchGranted { number, node, address };
        self.send_control(now, to, None, &[message], out);
    }

    /// The addresses at which two registered nodes have shown to be: of IPv4 where there are such, for the sake of its NATs.
    fn proved_addresses(&self, now: Time, pair: [PeerId; 2]) -> Option<[IpAddr; 2]> {
        let [Some(one), Some(other)] = pair.map(|id| self.proved_address(id)) else {
            return None;
        };
        let ipv4 = |id: PeerId, registered: IpAddr| {
            let aside = self.anchor.address_aside(now, id);
            [Some(registered), aside].into_iter().flatten().find(IpAddr::is_ipv4)
        };
        let both = ipv4(pair[0], one).zip(ipv4(pair[1], other));
        Some(both.map_or([one, other], |(one, other)| [one, other]))
    }

    /// The address that a registered node is registered from.
    fn proved_address(&self, id: PeerId) -> Option<IpAddr> {
        match self.peers.get(id)?.path {
            Some(Path::Direct(leg)) if self.anchor.has_registration(id) && !leg.is_stream() => Some(leg.ip()),
            _ => None,
        }
    }
}

/// What one node asked lately.
pub(crate) type Asking = Meter;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerId = PeerId::for_test(1);
    const OTHER: PeerId = PeerId::for_test(2);

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn both_have_to_ask_for_the_same_search_within_five_seconds() {
        let mut grants = Grants::default();
        for _ in 0..3 {
            assert_eq!(grants.ask(at(0), (ONE, OTHER), 7), Verdict::Wait);
        }
        assert_eq!(grants.ask(at(1), (OTHER, ONE), 8), Verdict::Wait);
        assert_eq!(
            grants.ask(at(5000), (OTHER, ONE), 7),
            Verdict::Wait,
            "the first asked too long ago"
        );
        assert_eq!(grants.ask(at(9999), (ONE, OTHER), 7), Verdict::Both);
        assert_eq!(grants.ask(at(10_500), (OTHER, ONE), 7), Verdict::Again);
        assert_eq!(grants.ask(at(10_600), (OTHER, ONE), 8), Verdict::Wait);
        assert_eq!(
            grants.ask(at(10_700), (ONE, OTHER), 8),
            Verdict::Wait,
            "too soon after the last one"
        );
        assert_eq!(grants.ask(at(11_000), (ONE, OTHER), 8), Verdict::Wait);
        assert_eq!(grants.ask(at(11_100), (OTHER, ONE), 8), Verdict::Both);
    }

    #[test]
    fn the_table_of_pairs_is_bounded() {
        let mut grants = Grants::default();
        for number in 0..2 * u64::try_from(MAX_PAIRS).unwrap() {
            grants.ask(at(0), (ONE, PeerId::for_test(number + 2)), 1);
        }
        assert_eq!(grants.0.len(), MAX_PAIRS);
        grants.ask(at(5000), (ONE, PeerId::for_test(u64::MAX)), 1);
        assert_eq!(grants.0.len(), 1);
    }
}
