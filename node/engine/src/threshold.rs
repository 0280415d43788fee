//! Up to how many members or subscribers everybody gets a copy of a frame to a group.

use crate::{Limits, networks::Listing};

/// Up to [`Limits::full_max`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threshold(usize);

impl Default for Threshold {
    fn default() -> Self {
        Self::new(Limits::FULL_MAX)
    }
}

impl Threshold {
    pub(crate) fn new(full_max: usize) -> Self {
        Self(full_max)
    }

    /// The number itself.
    pub(crate) fn full_max(self) -> usize {
        self.0
    }

    /// Whether a network has more members than a node sends copies to.
    pub(crate) fn is_passed(self, count: u32) -> bool {
        usize::try_from(count).is_ok_and(|count| count > self.0)
    }

    /// Whether that may be so soon: three quarters of them are there.
    pub(crate) fn is_near(self, count: u32) -> bool {
        usize::try_from(count).is_ok_and(|count| count > self.0 * 3 / 4)
    }

    /// A list of subscribers of which so many are known may be whole: longer ones are given as samples, until they are as short
    /// as the threshold again.
    pub(crate) fn longest_whole(self) -> usize {
        self.0 + self.0 / 8
    }

    /// Whether a list of subscribers names them all.
    pub(crate) fn names_all(self, listing: &Listing) -> bool {
        let count = usize::try_from(listing.count).unwrap_or(usize::MAX);
        listing.version > 0 && count <= self.longest_whole() && listing.members.len() + listing.kept_out.len() >= count
    }
}
