//! Members at random.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::{
    Contacts, Time,
    contacts::{Contact, KEPT},
};

/// Members at random are replaced after so long.
const LINKS_KEPT: Duration = Duration::from_secs(600);

/// They are asked for no more often, if some do not answer or there are none.
const LINKS_ASKED: Duration = Duration::from_secs(10);

/// With so many contacts nobody needs members at random.
const ENOUGH: usize = 4;

/// Those members.
pub(crate) const MAX_BOOTSTRAP: usize = 8;

/// Long links.
const MAX_LONG_LINKS: usize = 2;

/// Members at random, and what they said they could make use of.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) nodes: Vec<(NodeId, Option<u8>)>,
    set: Option<Time>,
}

impl Links {
    pub(crate) fn wants(&self, now: Time, least: usize) -> bool {
        let age = self.set.map_or(LINKS_KEPT, |set| now.since(set));
        age >= LINKS_KEPT || (self.nodes.len() < least && age >= LINKS_ASKED)
    }

    pub(crate) fn set(&mut self, now: Time, nodes: &[NodeId], most: usize) {
        self.nodes = nodes.iter().take(most).map(|node| (*node, None)).collect();
        self.set = Some(now);
    }
}

#[cfg(test)]
impl Links {
    pub(crate) const MOST_BYTES: usize = MAX_BOOTSTRAP * size_of::<(NodeId, Option<u8>)>();

    pub(crate) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<(NodeId, Option<u8>)>()
    }
}

impl Contacts {
    /// Whether there are too few contacts, and [`set_bootstrap`](Self::set_bootstrap) is to be called.
    #[must_use]
    pub fn wants_bootstrap(&self, now: Time) -> bool {
        self.is_lonely(now) && self.bootstrap.wants(now, 1)
    }

    /// Up to 8 members: they get copies as long as there are too few contacts.
    pub fn set_bootstrap(&mut self, now: Time, nodes: &[NodeId]) {
        self.bootstrap.set(now, nodes, MAX_BOOTSTRAP);
    }

    /// Whether [`set_long_links`](Self::set_long_links) is to be called.
    #[must_use]
    pub fn wants_long_links(&self, now: Time) -> bool {
        self.long_links.wants(now, MAX_LONG_LINKS)
    }

    /// Two members at random.
    pub fn set_long_links(&mut self, now: Time, nodes: &[NodeId]) {
        self.long_links.set(now, nodes, MAX_LONG_LINKS);
    }

    pub(crate) fn is_lonely(&self, now: Time) -> bool {
        let there = |contact: &&Contact| !contact.dead && contact.age(now) < KEPT;
        self.contacts.iter().filter(there).take(ENOUGH).count() < ENOUGH
    }
}
