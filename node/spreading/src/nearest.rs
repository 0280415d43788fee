//! Those who may get a copy, the nearest first.

use farlan_crypto::NodeId;

use crate::{
    Contacts, Time,
    contacts::{ACTIVE, Contact, KEPT},
    links::MAX_BOOTSTRAP,
    plan::{Candidate, WEIGHT, Why},
    score::halved,
};

/// Active contacts that get a copy.
pub(crate) const MAX_ACTIVE: usize = 64;

/// Other contacts that get a copy.
pub(crate) const MAX_RECENT: usize = 16;

/// Origins heard that an origin sends copies to.
const MAX_HEARD: usize = 32;

impl Contact {
    fn candidate(&self, now: Time, why: Why) -> Candidate {
        Candidate {
            node: self.node,
            why,
            need: self.need,
            weight: halved(WEIGHT, self.age(now)).max(1),
            wants: true,
        }
    }
}

impl Contacts {
    /// The pinned and the active contacts by score, `most` of them, and the recent ones; of those for whom `may` holds.
    pub(crate) fn nearest(
        &self,
        now: Time,
        most: usize,
        may: impl Fn(&NodeId) -> bool,
    ) -> (Vec<Candidate>, Vec<Candidate>) {
        let (mut active, mut recent) = (Vec::new(), Vec::new());
        let alive = self.contacts.iter().filter(|contact| !contact.dead);
        for contact in alive.filter(|contact| may(&contact.node)) {
            let ranked = (contact.score(now), contact.both, contact);
            match contact.age(now) {
                age if age < ACTIVE => active.push(ranked),
                age if age < KEPT => recent.push(ranked),
                _ => {}
            }
        }
        let by_score = |one: &(u32, Time, &Contact), other: &(u32, Time, &Contact)| {
            (other.0, other.1)
                .cmp(&(one.0, one.1))
                .then_with(|| one.2.node.cmp(&other.2.node))
        };
        active.sort_unstable_by(by_score);
        recent.sort_unstable_by(by_score);
        let pinned = self
            .pinned
            .iter()
            .filter(|pinned| !pinned.dead && may(&pinned.node))
            .map(|pinned| {
                let need = self.find(&pinned.node).and_then(|contact| contact.need);
                at_random(pinned.node, Why::Pinned, need)
            });
        let active = active.iter().filter(|(.., contact)| !self.is_pinned(&contact.node));
        let active = pinned.chain(active.map(|(.., contact)| contact.candidate(now, Why::Active)));
        let recent = recent.iter().map(|(.., contact)| contact.candidate(now, Why::Recent));
        (active.take(most).collect(), recent.take(MAX_RECENT).collect())
    }

    /// Origins heard lately.
    pub(crate) fn heard(&self, now: Time) -> impl Iterator<Item = Candidate> {
        let heard = self.heard.lately(now).take(MAX_HEARD);
        heard.map(|(node, need)| at_random(node, Why::Heard, need))
    }

    /// Members at random.
    pub(crate) fn links(&self, now: Time) -> impl Iterator<Item = Candidate> {
        let needed = if self.is_lonely(now) { MAX_BOOTSTRAP } else { 0 };
        let bootstrap = self.bootstrap.nodes.iter().take(needed);
        let bootstrap = bootstrap.map(|(node, need)| at_random(*node, Why::Bootstrap, *need));
        let long_links = self.long_links.nodes.iter();
        bootstrap.chain(long_links.map(|(node, need)| at_random(*node, Why::LongLink, *need)))
    }
}

/// One of a sample of the subscribers.
pub(crate) fn sampled(node: NodeId) -> Candidate {
    at_random(node, Why::Sample, None)
}

/// One who is no contact, or not by that.
fn at_random(node: NodeId, why: Why, need: Option<u8>) -> Candidate {
    let hundredths = match why {
        Why::Pinned | Why::Active | Why::Recent => 100,
        Why::Sample => 50,
        Why::Heard => 30,
        Why::Bootstrap => 6,
        Why::LongLink => 4,
    };
    Candidate {
        node,
        why,
        need,
        weight: hundredths * WEIGHT / 100,
        wants: true,
    }
}
