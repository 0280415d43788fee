//! Copies, as they arrive.

use std::sync::Arc;

use farlan_crypto::NodeId;

use crate::{ChannelOf, CopyTo, Verifier, anchor_of, message::Sealed, plan::MAX_SHARES, tag_of};

/// What becomes of a copy that arrived.
#[derive(Debug)]
pub enum Arrival {
    /// It is here already: acknowledge it.
    Known {
        /// Its id.
        id: u64,
    },
    /// It is not taken.
    Refused {
        /// Why.
        why: Refusal,
        /// Its id, if it is to be acknowledged all the same, so that it does not come again.
        ack: Option<u64>,
    },
    /// Whether its signature is genuine is to be found out, then [`Spreading::verified`](crate::Spreading::verified).
    Check(Pending),
}

impl Refusal {
    /// Whether another copy would be refused as well: it is acknowledged, so that its sender does not take this node for dead.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Muted | Self::Stale | Self::NotAdmitted)
    }
}

/// Why a copy is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is no message.
    Malformed,
    /// It was signed for another network.
    OtherNetwork,
    /// Its origin's key is none.
    BadKey,
    /// Its origin is muted.
    Muted,
    /// It is too old, or from the future, or nothing tells what time it is.
    Stale,
    /// Its origin may not send such a frame here.
    NotAdmitted,
    /// Signatures of this neighbour, or of all, took too long lately.
    Overload,
}

/// A copy whose signature is to be checked.
#[derive(Debug)]
pub struct Pending {
    pub(crate) id: u64,
    pub(crate) from: NodeId,
    pub(crate) origin: NodeId,
    pub(crate) level: u8,
    pub(crate) budget: u8,
    pub(crate) tags: Vec<u16>,
    /// So many of them, the first ones, are those of whom the origin let send it on.
    pub(crate) forwarders: u8,
    pub(crate) token: [u8; 16],
    pub(crate) sealed: Sealed<Arc<[u8]>>,
}

impl Pending {
    /// The origin's key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        self.sealed.key()
    }

    /// What is signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.sealed.signed()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        self.sealed.signature()
    }

    /// Whether it is genuine.
    #[must_use]
    pub fn is_genuine(&self, verifier: &dyn Verifier) -> bool {
        verifier.verify(self.key(), self.message(), self.signature())
    }

    /// The tags of whom the origin let send it on, if that is what it signed.
    pub(crate) fn forwarders(&self) -> &[u16] {
        self.split_tags().0
    }

    /// Those and all others.
    pub(crate) fn split_tags(&self) -> (&[u16], &[u16]) {
        self.tags.split_at_checked(self.forwarders.into()).unwrap_or_default()
    }

    /// What the copy may cause, and the level of what it causes: 2 or 3. Nobody can raise either: level 1 is proved by the session,
    /// level 2 by the session with one whom the origin signed for, together with the token that it gave to those, and beyond that
    /// nothing is sent on.
    pub(crate) fn grant(&self) -> (u8, u8) {
        let most = self.budget.min(self.sealed.ceiling());
        if self.budget == 0 || anchor_of(&self.token, self.forwarders()) != *self.sealed.anchor() {
            (0, 3)
        } else if self.level == 1 && self.from == self.origin {
            (most.min(MAX_SHARES[0]), 2)
        } else if self.forwarders().contains(&tag_of(self.sealed.salt(), &self.from)) {
            (most.min(MAX_SHARES[1]), 3)
        } else {
            (0, 3)
        }
    }
}

/// What follows from a copy whose signature was checked.
#[derive(Debug, Default)]
pub struct Accepted {
    /// The id to be acknowledged to whom it came from, together with the own [`Contacts::need`](crate::Contacts::need).
    pub ack: Option<u64>,
    /// A frame for the own card, if this machine wants its channel.
    pub deliver: Option<Delivery>,
    /// Copies for others.
    pub copies: Vec<CopyTo>,
}

/// A frame for the own card.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose it is.
    pub origin: NodeId,
    /// Its channel.
    pub channel: ChannelOf,
    pub(crate) sealed: Sealed<Arc<[u8]>>,
}

impl Delivery {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.sealed.frame()
    }
}
