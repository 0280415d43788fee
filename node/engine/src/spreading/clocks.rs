//! What time it is: what supernodes tell, this machine's clock, and what peers tell where there is neither.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Engine, Outbox, Time,
    peers::PeerId,
    wire::control::{Control, Spread},
};

/// Peers' clocks that are remembered; of more, the one told longest ago gives way.
const MAX_CLOCKS: usize = 32;

/// A clock counts for so long after it was told.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The clocks of others.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    supernodes: BTreeMap<PeerId, Told>,
    peers: BTreeMap<PeerId, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    millis: u64,
    at: Time,
}

impl Told {
    fn goes_on(self, now: Time) -> Option<u64> {
        let since = now.since(self.at);
        (since < KEPT).then(|| self.millis.saturating_add(millis(since)))
    }
}

impl Clocks {
    /// A supernode, of which there are few, or a peer tells the time.
    pub(crate) fn told(&mut self, now: Time, (by, is_supernode): (PeerId, bool), millis: u64) {
        let told = if is_supernode {
            &mut self.supernodes
        } else {
            &mut self.peers
        };
        told.retain(|_, told| told.goes_on(now).is_some());
        if !told.contains_key(&by) && told.len() >= MAX_CLOCKS {
            let oldest = told.iter().min_by_key(|(_, told)| told.at).map(|(id, _)| *id);
            told.retain(|id, _| Some(*id) != oldest);
        }
        told.insert(by, Told { millis, at: now });
    }

    /// What time it is: the median of supernodes' clocks, and from two on of the own one with them; the own one where no supernode
    /// told; else that of peers, who may be anybody. Of two in the middle the earlier.
    pub(crate) fn median(&self, now: Time, own: Option<u64>) -> Option<u64> {
        let clocks = |told: &BTreeMap<PeerId, Told>| -> Vec<u64> {
            let clocks = told.values().filter_map(|told| told.goes_on(now));
            clocks.collect()
        };
        let supernodes = clocks(&self.supernodes);
        match (supernodes.len(), own) {
            (0, Some(own)) => Some(own),
            (0, None) => middle(clocks(&self.peers)),
            (1, _) => middle(supernodes),
            _ => middle(supernodes.into_iter().chain(own).collect()),
        }
    }
}

fn middle(mut clocks: Vec<u64>) -> Option<u64> {
    clocks.sort_unstable();
    clocks.get(clocks.len().checked_sub(1)? / 2).copied()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// This machine's time of day in milliseconds since 1970, if it was handed in.
    pub(crate) fn own_clock(&self, now: Time) -> Option<u64> {
        self.wall_clock.millis(now)
    }

    /// What time it is, as far as this node knows.
    pub(crate) fn agreed_clock(&self, now: Time) -> Option<u64> {
        self.spreads.clocks.median(now, self.own_clock(now))
    }

    /// Tells a peer the time, once a session.
    pub(crate) fn tell_clock(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if let Some(message) = self.clock_untold(now, id) {
            self.send_control(now, id, None, &[message], out);
        }
    }

    /// What tells a peer the time, unless it was told under this session.
    pub(crate) fn clock_untold(&mut self, now: Time, id: PeerId) -> Option<Control> {
        let millis = self.own_clock(now)?;
        let session = self.peers.get_mut(id)?.sessions.sending()?;
        let untold = !std::mem::replace(&mut session.clock_told, true);
        untold.then_some(Control::Spread(Spread::Clock { millis }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    const SUPERNODES: [(PeerId, bool); 3] = [
        (PeerId::for_test(1), true),
        (PeerId::for_test(2), true),
        (PeerId::for_test(3), true),
    ];

    #[test]
    fn supernodes_know_the_time_best_and_it_goes_on() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.median(at(1), None), None);
        assert_eq!(clocks.median(at(1), Some(5000)), Some(5000));
        clocks.told(at(1), SUPERNODES[0], 900_000);
        assert_eq!(
            clocks.median(at(2), Some(5000)),
            Some(901_000),
            "one knows better than this machine"
        );
        clocks.told(at(2), SUPERNODES[1], 5100);
        assert_eq!(clocks.median(at(2), Some(5000)), Some(5100));
        clocks.told(at(2), SUPERNODES[2], 5050);
        assert_eq!(clocks.median(at(12), Some(15_000)), Some(15_050));
        assert_eq!(clocks.median(at(90_000), Some(7)), Some(7), "told long ago");
    }

    #[test]
    fn peers_have_no_say_where_there_is_a_supernode_or_a_clock() {
        let mut clocks = Clocks::default();
        for number in 10..50 {
            clocks.told(at(1), (PeerId::for_test(number), false), u64::MAX);
        }
        assert_eq!(clocks.median(at(1), Some(5000)), Some(5000));
        clocks.told(at(1), SUPERNODES[0], 6000);
        assert_eq!(clocks.median(at(1), None), Some(6000));
        assert_eq!(clocks.median(at(1), Some(5000)), Some(6000));
    }

    #[test]
    fn they_are_few() {
        let mut clocks = Clocks::default();
        for number in 0..1000 {
            clocks.told(at(number), (PeerId::for_test(number), false), 1000);
        }
        assert_eq!(clocks.peers.len(), MAX_CLOCKS);
        assert!(clocks.peers.contains_key(&PeerId::for_test(999)));
    }
}
