//! What goes wrong in a run, counted.

use std::{fmt, ops::AddAssign};

/// A kind of fault of a [`super::Lab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A datagram was lost on a bad link.
    Loss,
    /// A datagram was held up for 5 ms or more beyond the delay of its link.
    Delay,
    /// A datagram arrived after one that the same host sent later to the same host.
    Reorder,
    /// A second copy of a datagram arrived.
    Duplication,
    /// A copy with a bit flipped arrived.
    Corruption,
    /// An old copy arrived.
    Replay,
    /// A datagram did not pass a cut between two nodes.
    CutNodes,
    /// A datagram did not pass a cut between a node and a supernode.
    CutSupernode,
    /// A running node was taken down without a word.
    Crash,
    /// A node came up again.
    Restart,
    /// A running node said goodbye and went down.
    Goodbye,
    /// A NAT forgot flows that were alive, and gave other ports.
    Rebind,
    /// A datagram found its flow forgotten by a NAT or firewall.
    Expiry,
    /// A running node moved to another address.
    Roam,
    /// The clock of a running node jumped.
    ClockJump,
    /// A running supernode was taken down.
    SupernodeCrash,
    /// A supernode came up again.
    SupernodeRestart,
    /// A node left or joined a network.
    Membership,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Loss,
        Self::Delay,
        Self::Reorder,
        Self::Duplication,
        Self::Corruption,
        Self::Replay,
        Self::CutNodes,
        Self::CutSupernode,
        Self::Crash,
        Self::Restart,
        Self::Goodbye,
        Self::Rebind,
        Self::Expiry,
        Self::Roam,
        Self::ClockJump,
        Self::SupernodeCrash,
        Self::SupernodeRestart,
        Self::Membership,
    ];
}

/// How often faults of each kind had an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// How often a kind did.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// All kinds with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.into_iter().map(|kind| (kind, self.of(kind)))
    }

    /// Kinds with fewer than `least`.
    pub fn fewer_than(&self, least: u64) -> Vec<FaultKind> {
        self.iter()
            .filter(|&(_, count)| count < least)
            .map(|(kind, _)| kind)
            .collect()
    }

    pub(super) fn fired(&mut self, kind: FaultKind) {
        self.add(kind, 1);
    }

    pub(super) fn add(&mut self, kind: FaultKind, count: u64) {
        self.0[kind as usize] += count;
    }
}

impl AddAssign for FaultCounts {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in self.iter() {
            writeln!(f, "{:>12}  {kind:?}", count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let mut counts = FaultCounts::default();
        for (number, kind) in FaultKind::ALL.into_iter().enumerate() {
            counts.add(kind, number as u64);
        }
        for (number, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(counts.of(kind), number as u64, "{kind:?}");
        }
        assert_eq!(counts.fewer_than(2), [FaultKind::Loss, FaultKind::Delay]);
    }
}
