//! How often what happened.

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Own broadcasts.
    pub originated: u64,
    /// Of them those above the rate, that went to active contacts only.
    pub thinned: u64,
    /// Own broadcasts above that rate, that went nowhere.
    pub suppressed: u64,
    /// Broadcasts taken from others, direct copies among them.
    pub taken: u64,
    /// Copies of what was here already.
    pub duplicates: u64,
    /// Copies refused.
    pub refused: u64,
    /// Bad signatures.
    pub forged: u64,
    /// Copies sent on.
    pub forwarded: u64,
    /// Copies not sent on since a limit was reached.
    pub limited: u64,
    /// Copies sent again.
    pub resent: u64,
    /// Copies given up.
    pub lost: u64,
}
