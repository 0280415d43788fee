//! What a router does to UDP, in the words of RFC 4787.

/// The properties that decide who reaches whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// On what of the destination the port outside depends (RFC 4787 §4.1).
    pub mapping: Dependence,
    /// What the source of a packet must have in common with a destination of the home to get in (§5).
    pub filtering: Dependence,
    /// How ports outside are chosen.
    pub port: PortRule,
    /// Whether hosts behind it reach each other by their outside endpoints (§6).
    pub hairpins: bool,
    /// Whether a stranger's packet makes what the home then sends there leave from another port than the rest.
    pub poisonable: bool,
}

/// On what of an endpoint something depends; the later, the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependence {
    /// Endpoint-independent.
    Nothing,
    /// Address-dependent.
    Address,
    /// Address- and port-dependent.
    AddressAndPort,
}

/// How a router chooses ports outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRule {
    /// The sender's own (port preservation).
    Kept,
    /// One after the other.
    Sequential,
    /// By no rule that could be told from outside.
    Scattered,
}
