//! Who gets a copy, and what share of the budget.

use farlan_crypto::NodeId;

/// Why somebody gets a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It was pinned.
    Pinned,
    /// An active contact.
    Active,
    /// Its broadcasts were heard lately.
    Heard,
    /// A subscriber that a supernode told.
    Sample,
    /// A contact, but not an active one.
    Recent,
    /// A member at random, since there are few contacts.
    Bootstrap,
    /// A member at random.
    LongLink,
}

/// One who gets a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Who.
    pub node: NodeId,
    /// Why.
    pub why: Why,
    /// The deliveries it may cause.
    pub share: u8,
}

/// Who gets a copy of a broadcast, in the order in which they were chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Those who get a copy. Their number and their shares are together no more than the budget.
    pub copies: Vec<Planned>,
}
