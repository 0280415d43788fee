//! How often this engine says that it does not know something: nothing shows who asked.

use std::time::Duration;

use crate::{
    Time,
    handshakes::Via,
    rates::{Meter, Meters, Prefix, Rate},
    wire::datagram::SupernodeTag,
};

/// Hints to one /24 or /56, or over one other supernode.
const RATE: Rate = Rate::per_second(20, Duration::from_secs(2));

/// Seconds within which each node shows itself once.
const KEPT_ALIVE_WITHIN: usize = 20;

/// Hints in all, where no more nodes than usual may register.
const RATE_IN_ALL: Rate = Rate::per_second(1000, Duration::from_secs(1));

/// Of those asking, so many are counted at one time.
const MAX_COUNTED: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    Near(Prefix),
    Over(SupernodeTag),
}

/// The hints sent lately.
#[derive(Debug)]
pub(crate) struct Hints {
    all: Meter,
    in_all: Rate,
    askers: Meters<Asker>,
}

impl Hints {
    /// Those of a supernode at which so many nodes may register: after a restart each of them is to learn of it by its next sign of
    /// life.
    pub(crate) fn new(registrations: usize) -> Self {
        let count = RATE_IN_ALL
            .count
            .max(u64::try_from(registrations / KEPT_ALIVE_WITHIN).unwrap_or(u64::MAX));
        Self {
            all: Meter::default(),
            in_all: Rate { count, ..RATE_IN_ALL },
            askers: Meters::new(RATE, MAX_COUNTED),
        }
    }

    pub(crate) fn allow(&mut self, now: Time, to: Via) -> bool {
        let asker = match to {
            Via::Direct(leg) => Asker::Near(Prefix::of(leg)),
            Via::Passed { sibling, .. } => Asker::Over(sibling),
            // Only supernodes give hints, and nothing is relayed to them.
            Via::Relay { .. } => return false,
        };
        self.askers.take(now, asker) && self.all.take(now, &self.in_all, 1)
    }
}
