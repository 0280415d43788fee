//! The view of a node's contacts, to be shown.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::{Neighbours, Reach, Spreading, Time, Why};

/// Whom a node has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// All of them; those who would get a copy of a broadcast first, in their order.
    pub neighbours: Vec<Neighbour>,
    /// The own need.
    pub need: u8,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub node: NodeId,
    /// Why it would get a copy of a broadcast, and with which share; none if it would not.
    pub copy: Option<(Why, u8)>,
    /// How long ago unicast frames last went both ways, for a contact.
    pub age: Option<Duration>,
    /// In how many seconds of the last ones unicast frames went both ways, with a half-life of 30 s.
    pub score: u32,
    /// What it said it could make use of.
    pub need: Option<u8>,
    /// Pinned.
    pub pinned: bool,
    /// Muted.
    pub muted: bool,
    /// It does not answer.
    pub dead: bool,
}

impl Spreading {
    /// Whom the node has to do with, and who of them a broadcast would go to, to be shown.
    #[must_use]
    pub fn circle(&self, now: Time, what: &Reach<'_>, neighbours: &dyn Neighbours) -> Circle {
        let contacts = self.contacts();
        let plan = self.plan(now, what, neighbours);
        let mut all: Vec<_> = plan
            .copies
            .iter()
            .map(|copy| (copy.node, Some((copy.why, copy.share))))
            .collect();
        let mut planned: Vec<_> = plan.copies.iter().map(|copy| copy.node).collect();
        planned.sort_unstable();
        let others = contacts
            .all(now)
            .into_iter()
            .filter(|node| planned.binary_search(node).is_err());
        all.extend(others.map(|node| (node, None)));
        let neighbours = all.into_iter().map(|(node, copy)| {
            let contact = contacts.find(&node);
            Neighbour {
                node,
                copy,
                age: contact.map(|contact| contact.age(now)),
                score: contact.map_or(0, |contact| contact.seconds(now)),
                need: contact.and_then(|contact| contact.need),
                pinned: contacts.is_pinned(&node),
                muted: contacts.is_muted(&node),
                dead: contacts.is_dead(&node),
            }
        });
        Circle {
            neighbours: neighbours.collect(),
            need: contacts.need(now),
        }
    }
}
