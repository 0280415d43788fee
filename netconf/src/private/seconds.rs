//! The notion of time by which documents expire.

use std::fmt;

/// Seconds since 1970-01-01 00:00 UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

impl Seconds {
    /// That many seconds since 1970.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The seconds since 1970.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `seconds` later; the end of time is not passed.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// `seconds` earlier; 1970 is not passed.
    #[must_use]
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// The seconds from `earlier` to this time; 0 if it is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The time at which a network's documents are judged: the latest of the machine's clock, the date of the build and
/// `newest_signed`, the newest time in anything that the network key signed.
///
/// `own_expiry` is the expiry of the node's own credential, or of the delegation from which it is going to make one. If that
/// has passed by the clock, the clock counts for nothing: if it is right nobody accepts the node anyway, and if it is
/// wrong, by years, the node goes on as a member.
#[must_use]
pub fn now(clock: Seconds, build: Seconds, newest_signed: Seconds, own_expiry: Option<Seconds>) -> Seconds {
    let known = build.max(newest_signed);
    match own_expiry {
        Some(expiry) if clock >= expiry => known,
        Some(_) | None => clock.max(known),
    }
}
