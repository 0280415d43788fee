//! Copies, as they are sent.

use std::sync::Arc;

use farlan_crypto::NodeId;

use crate::message::{Sealed, put_mutable};

/// A copy to be sent now. It is kept until it is acknowledged: see [`Spreading::due`](crate::Spreading::due) and
/// [`Spreading::unsent`](crate::Spreading::unsent).
#[derive(Clone, Debug)]
pub struct CopyTo {
    /// To whom.
    pub to: NodeId,
    /// The broadcast's id: what it is acknowledged with.
    pub id: u64,
    /// What is sent.
    pub form: Form,
}

/// How a copy is sent.
#[derive(Clone, Debug)]
pub enum Form {
    /// By its origin, and to go no further: an ordinary group frame with the id as its number.
    Direct(Spread),
    /// With the signature: [`Spread::write`].
    Spread(Spread),
}

/// What all copies of a broadcast share, and the budget of one.
#[derive(Clone, Debug)]
pub struct Spread {
    body: Arc<Body>,
    budget: u8,
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) id: u64,
    /// That of these copies.
    pub(crate) level: u8,
    /// Those of whom the origin let send it on, then the latest first.
    pub(crate) tags: Vec<u16>,
    /// So many are the former.
    pub(crate) forwarders: u8,
    pub(crate) token: [u8; 16],
    pub(crate) sealed: Sealed<Arc<[u8]>>,
}

impl Body {
    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * self.tags.len() + self.sealed.bytes().len()
    }

    /// A copy that its origin does not let go on needs no signature: the session proves where it comes from.
    pub(crate) fn copy(self: &Arc<Self>, to: NodeId, budget: u8) -> CopyTo {
        let spread = Spread {
            body: Arc::clone(self),
            budget,
        };
        let is_direct = self.level == 1 && budget == 0;
        CopyTo {
            to,
            id: self.id,
            form: if is_direct {
                Form::Direct(spread)
            } else {
                Form::Spread(spread)
            },
        }
    }
}

impl Spread {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.body.sealed.frame()
    }

    /// The deliveries that whoever gets it may cause.
    #[must_use]
    pub fn budget(&self) -> u8 {
        self.budget
    }

    /// The bytes that [`write`](Self::write) appends.
    #[must_use]
    pub fn length(&self) -> usize {
        let more = if self.budget > 0 {
            2 * self.body.tags.len() + 1 + 16
        } else {
            0
        };
        3 + more + self.body.sealed.bytes().len()
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_within(out, usize::MAX);
    }

    /// Appends the message with no more tags than fit into `room` bytes, the latest first. Tags only save copies to those that have
    /// it already; the rest, and the tags of the forwarders, is written in any case.
    pub fn write_within(&self, out: &mut Vec<u8>, room: usize) {
        let body = &self.body;
        let too_much = self.length().saturating_sub(room).div_ceil(2);
        let kept = body.tags.len().saturating_sub(too_much).max(body.forwarders.into());
        let right = (body.forwarders, &body.token);
        put_mutable(out, body.level, self.budget, &body.tags[..kept], right);
        out.extend_from_slice(body.sealed.bytes());
    }
}
