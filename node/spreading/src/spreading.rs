//! Ties it together: a broadcast leaves, arrives, is found genuine, goes on.

use std::{sync::Arc, time::Duration};

use farlan_crypto::NodeId;
use farlan_netconf::Mac;

use crate::{Allowances, Circle, Contacts, Plan, Time};

/// The most deliveries that one broadcast may cause.
pub const MAX_CEILING: u8 = 192;

/// Makes the signatures of the own broadcasts.
pub trait Signer {
    /// The own public key.
    fn key(&self) -> [u8; 32];
    /// Signs the signed part of a message, in [`SIGNING_DOMAIN`](crate::SIGNING_DOMAIN).
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Knows the keys of others. Ed25519 in the engine; a keyed hash may stand behind it in a simulation.
///
/// The signature itself is checked by whoever drives the [`Spreading`], between [`Spreading::arrive`] and
/// [`Spreading::verified`].
pub trait Verifier {
    /// The node id of a key that is a valid identity.
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId>;
    /// Whether it is this key's signature, in [`SIGNING_DOMAIN`](crate::SIGNING_DOMAIN).
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// What the spreading asks its node about others.
pub trait Neighbours {
    /// The round trip to a node, if it is known.
    fn rtt(&self, node: &NodeId) -> Option<Duration>;
    /// Whether a node is reached through a supernode only, or not at all yet.
    fn is_relayed(&self, node: &NodeId) -> bool;
    /// Whether a node wants the frames of this channel: all want broadcasts; a specific multicast group only those that said
    /// so.
    fn wants(&self, node: &NodeId, channel: &ChannelOf) -> bool;
    /// Whether an origin may send this frame here: it is a member, the source MAC its own, the destination a group. Asked before
    /// the signature is checked.
    fn admits(&self, origin: &NodeId, key: &[u8; 32], frame: &[u8]) -> bool;
}

/// The channel of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelOf {
    /// The destination of its frames.
    pub group: Mac,
    /// The UDP destination port of broadcasts; 0 for those that are no UDP, and for multicast groups.
    pub port: u16,
}

/// Whom a broadcast is for.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Its channel.
    pub channel: ChannelOf,
    /// The most deliveries it may cause, up to [`MAX_CEILING`].
    pub ceiling: u8,
    /// Subscribers of the channel that a supernode told, as many as are to be used.
    pub sample: &'a [NodeId],
    /// Those that get it anyhow: they get no copy, and nobody sends them one as far as tags tell.
    pub already: &'a [NodeId],
}

/// A broadcast of this node.
#[derive(Clone, Copy, Debug)]
pub struct Origination<'a> {
    /// The own clock, in milliseconds since 1970. It need not be right.
    pub unix_ms: u64,
    /// 16 random bytes, anew for each.
    pub token: [u8; 16],
    /// The frame.
    pub frame: &'a [u8],
    /// The UDP destination port of a broadcast, or 0.
    pub port: u16,
    /// As in [`Reach`].
    pub ceiling: u8,
    /// As in [`Reach`].
    pub sample: &'a [NodeId],
    /// As in [`Reach`].
    pub already: &'a [NodeId],
}

/// A copy to be sent now. It is kept until it is acknowledged: see [`Spreading::due`] and [`Spreading::unsent`].
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
    body: Arc<[u8]>,
    budget: u8,
}

impl Spread {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        todo!()
    }

    /// The deliveries that whoever gets it may cause.
    #[must_use]
    pub fn budget(&self) -> u8 {
        self.budget
    }

    /// The bytes that [`write`](Self::write) appends.
    #[must_use]
    pub fn length(&self) -> usize {
        todo!()
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends the message with no more tags than fit into `room` bytes. Tags only save copies to those that have it already.
    pub fn write_within(&self, out: &mut Vec<u8>, room: usize) {
        todo!()
    }
}

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
    /// Whether its signature is genuine is to be found out, then [`Spreading::verified`].
    Check(Pending),
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
    bytes: Arc<[u8]>,
}

impl Pending {
    /// The origin's key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        todo!()
    }

    /// What is signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        todo!()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        todo!()
    }

    /// Whether it is genuine.
    #[must_use]
    pub fn is_genuine(&self, verifier: &dyn Verifier) -> bool {
        verifier.verify(self.key(), self.message(), self.signature())
    }
}

/// What follows from a copy whose signature was checked.
#[derive(Debug, Default)]
pub struct Accepted {
    /// The id to be acknowledged to whom it came from, together with the own [`Contacts::need`].
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
    body: Arc<[u8]>,
}

impl Delivery {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        todo!()
    }
}

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

/// The broadcasts of one node in one network.
#[derive(Debug)]
pub struct Spreading {
    contacts: Contacts,
    counts: Counts,
}

impl Spreading {
    /// Of the node `own` in the network whose id begins with `network`.
    #[must_use]
    pub fn new(network: [u8; 8], own: NodeId) -> Self {
        todo!()
    }

    /// Whom the node has to do with.
    #[must_use]
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Whom the node has to do with.
    pub fn contacts_mut(&mut self) -> &mut Contacts {
        &mut self.contacts
    }

    /// How often what happened.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Who would get a copy of a broadcast now, why, and with which share. [`originate`](Self::originate) goes by the same plan.
    #[must_use]
    pub fn plan(&self, now: Time, what: &Reach<'_>, neighbours: &dyn Neighbours) -> Plan {
        todo!()
    }

    /// Whom the node has to do with, and who of them a broadcast would go to, to be shown.
    #[must_use]
    pub fn circle(&self, now: Time, what: &Reach<'_>, neighbours: &dyn Neighbours) -> Circle {
        todo!()
    }

    /// Sends a broadcast. None above the rates of the own broadcasts; no copies if there is nobody.
    ///
    /// Up to 10 a second (60 at once) are sent by the [`plan`](Self::plan), beyond that up to 50 in all (100 at once) to active
    /// contacts only, with no share.
    pub fn originate(
        &mut self,
        now: Time,
        what: &Origination<'_>,
        neighbours: &dyn Neighbours,
        signer: &dyn Signer,
    ) -> Option<Vec<CopyTo>> {
        todo!()
    }

    /// Takes a copy with a signature that came from `from` in a session; `clock` is the median time of others in milliseconds since
    /// 1970, if there is one. Everything but the signature is looked at.
    pub fn arrive(
        &mut self,
        now: Time,
        from: &NodeId,
        bytes: &[u8],
        clock: Option<u64>,
        neighbours: &dyn Neighbours,
        verifier: &dyn Verifier,
        allowances: &mut Allowances,
    ) -> Arrival {
        todo!()
    }

    /// Goes on with a copy whose signature is `genuine` or not.
    pub fn verified(
        &mut self,
        now: Time,
        pending: Pending,
        genuine: bool,
        neighbours: &dyn Neighbours,
        allowances: &mut Allowances,
    ) -> Accepted {
        todo!()
    }

    /// Takes a direct copy: its origin is whom the session is with. Returns whether it is new and to be delivered. It is acknowledged
    /// in any case.
    pub fn direct(&mut self, now: Time, origin: &NodeId, number: u64) -> bool {
        todo!()
    }

    /// A node has received copies; `need` is what it said of itself, if it did.
    pub fn acknowledged(&mut self, now: Time, from: &NodeId, ids: &[u64], need: Option<u8>) {
        todo!()
    }

    /// The copies to be sent again now. Whoever did not acknowledge one in three tries is no longer counted on.
    pub fn due(&mut self, now: Time, neighbours: &dyn Neighbours) -> Vec<CopyTo> {
        todo!()
    }

    /// When [`due`](Self::due) is to be called, or earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        todo!()
    }

    /// A copy could not be sent, since no session stands: it waits up to 5 s.
    pub fn unsent(&mut self, now: Time, to: &NodeId, id: u64) {
        todo!()
    }

    /// Whether a copy waits for a session with a node.
    #[must_use]
    pub fn waiting_for(&self, node: &NodeId) -> bool {
        todo!()
    }

    /// The copies that waited for a session with a node, to be sent now.
    pub fn release(&mut self, now: Time, node: &NodeId, neighbours: &dyn Neighbours) -> Vec<CopyTo> {
        todo!()
    }
}
