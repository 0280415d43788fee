//! What one end of a pair has found out about its own side and about the way to the other end: what the two need to know of
//! each other to say why they are, or are not, in direct touch.
//!
//! It holds classes, counts and ages. Nothing in it says where a node is.

use std::time::Duration;

use crate::{behaviour::Behaviour, classes::classes};

classes! {
    /// Whether something is so.
    Finding {
        /// Not found out.
        Unknown = 0 "unknown",
        /// It is not.
        No = 1 "no",
        /// It is.
        Yes = 2 "yes",
    }
}

classes! {
    /// What came of asking the router for a port.
    PortMapping {
        /// Not found out.
        Unknown = 0 "unknown",
        /// The router does not do it, or is not asked.
        None = 1 "none",
        /// It gave one.
        Held = 2 "held",
        /// It refused, or gave one that leads nowhere.
        Refused = 3 "refused",
    }
}

classes! {
    /// What came of searching for the port behind which the other end is.
    Search {
        /// There was none.
        None = 0 "none",
        /// It is under way, or waits for its turn.
        UnderWay = 1 "under way",
        /// It found a way.
        Found = 2 "found",
        /// It found nothing.
        Nothing = 3 "nothing",
    }
}

classes! {
    /// The way that datagrams to the other end take.
    Way {
        /// There is none.
        None = 0 "none",
        /// Over a supernode.
        Relay = 1 "relay",
        /// Straight.
        Direct = 2 "direct",
        /// Straight, between two addresses of one local network.
        Lan = 3 "direct-lan",
    }
}

classes! {
    /// How far a node opens itself to a peer.
    Openness {
        /// Not known.
        Unknown = 0 "unknown",
        /// It tells the peer its endpoints.
        Open = 1 "open",
        /// It hides its address from members of open networks.
        Hidden = 2 "hidden",
        /// It has met too many strangers in the last minute.
        TooManyStrangers = 3 "too many strangers",
    }
}

/// Numbers of endpoints, by their kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Where supernodes see the node, and its global addresses.
    pub outside: u8,
    /// Those of its local network.
    pub local: u8,
    /// Those that its router gave it on demand.
    pub mapped: u8,
}

/// What one end has found out. Where it does not open itself to the other, only [`Self::openness`] is told, and everything
/// else is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// How far it opens itself to the other end.
    pub openness: Openness,
    /// The version of its program: major, minor, patch; 0.0.0 where it is not told.
    pub version: [u8; 3],
    /// How its NAT behaves.
    pub behaviour: Behaviour,
    /// Whether it reaches supernodes by UDP.
    pub udp: Finding,
    /// Whether it reaches supernodes by TCP.
    pub tcp: Finding,
    /// Whether its carrier translates addresses, behind a router of its own or not.
    pub carrier: Finding,
    /// What its router gave it.
    pub port_mapping: PortMapping,
    /// Whether a supernode saw another machine with its identity in the last minutes.
    pub twin: Finding,
    /// The way its datagrams to the other end take.
    pub way: Way,
    /// Whether they go over TCP.
    pub over_tcp: Finding,
    /// What it told the other end of its endpoints.
    pub told: Endpoints,
    /// Rounds of tries since the last path, or since the two met.
    pub rounds: u16,
    /// How long ago the first of them began.
    pub round: Option<Seconds>,
    /// Challenges it sent straight in these rounds.
    pub sent: u16,
    /// Authentic datagrams of the other end that came straight in these rounds.
    pub came: u16,
    /// Answers to its challenges in these rounds.
    pub answered: u16,
    /// What came of its search.
    pub search: Search,
    /// Whether challenges were not sent because too many had gone to the address, or too many endpoints were named.
    pub limited: Finding,
    /// How long ago a direct path was lost.
    pub lost: Option<Seconds>,
    /// How long ago a frame or ping last went to the other end or came from it.
    pub used: Option<Seconds>,
    /// The largest IP packet known to pass on the way in use, in bytes; 0 where it was not tried.
    pub mtu: u16,
    /// The smallest one that was tried there without an answer; 0 if there is none.
    pub too_large: u16,
}

impl Observations {
    /// What is told to whom it does not open itself.
    pub(crate) fn closed(openness: Openness) -> Self {
        Self {
            openness,
            ..Self::default()
        }
    }
}

/// A number of whole seconds, 65,534 at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(u16);

impl Seconds {
    const MOST: u16 = u16::MAX - 1;

    /// So many seconds, or the most there can be.
    pub const fn new(seconds: u16) -> Self {
        Self(if seconds > Self::MOST { Self::MOST } else { seconds })
    }

    /// How many.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self::new(u16::try_from(duration.as_secs()).unwrap_or(Self::MOST))
    }
}

impl From<Option<bool>> for Finding {
    fn from(is_so: Option<bool>) -> Self {
        is_so.map_or(Self::Unknown, Self::from)
    }
}

impl From<bool> for Finding {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

impl From<Finding> for Option<bool> {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Unknown => None,
            Finding::No => Some(false),
            Finding::Yes => Some(true),
        }
    }
}
