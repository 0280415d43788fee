//! The queue in virtual time, and what goes from node to node.

use std::cmp::Ordering;

/// What goes from node to node: real bytes.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// A copy with a signature.
    Signed(Box<[u8]>),
    /// A direct copy: its number, and the frame.
    Direct(Box<[u8]>),
    /// An acknowledgement, with what its sender needs.
    Ack { id: u64, need: u8 },
}

/// What happens at a moment.
#[derive(Debug)]
pub(super) enum What {
    Packet {
        from: u32,
        to: u32,
        packet: Packet,
    },
    /// A node's copies may be due.
    Wake(u32),
    /// Two nodes have a session now.
    Session {
        one: u32,
        other: u32,
    },
    /// A node broadcasts.
    Call {
        node: u32,
        ceiling: u8,
    },
}

/// It, and when; what is to happen at the same moment happens in this order.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest, which a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
