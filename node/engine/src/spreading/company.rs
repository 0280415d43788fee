//! Looking for company: members that a supernode names, for who has few contacts, and two at random for everybody. And what
//! contacts are told of each other.

use std::time::Duration;

use farlan_crypto::{NodeId, PublicKey};

use crate::{
    Engine, NetworkHandle, Outbox, Time,
    directory::REQUEST,
    peers::PeerId,
    retry::Retry,
    wire::control::{Control, NodeRecord, Spread},
};

/// How often the contacts are looked at, as long as there are some, and else.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_IDLE: Duration = Duration::from_secs(10);

/// A holder that does not answer is not asked for longer; the next one is then.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sample that was asked for and not given is not asked for again for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// Of a sample so many are those that came last and others at random, for who has few contacts.
const BOOTSTRAP: usize = 8;

/// Members at random that everybody has.
const LONG_LINKS: usize = 2;

/// What is under way to find company in one network.
#[derive(Debug, Default)]
pub(crate) struct Company {
    look: Option<Time>,
    asked: Option<Asked>,
    /// When a sample was last asked for, or given.
    last: Option<Time>,
    /// A test's node looks for none.
    #[cfg(test)]
    pub(crate) off_for_test: bool,
}

#[derive(Debug)]
struct Asked {
    request: u32,
    supernode: PeerId,
    since: Time,
    retry: Retry,
}

impl Company {
    /// Somebody spoke: whoever is a contact now is to be told soon.
    pub(crate) fn look_soon(&mut self, now: Time) {
        self.look = self.look.map(|look| look.min(now + LOOK));
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let asked = self.asked.as_ref().map(|asked| asked.retry.at());
        [Some(self.look.unwrap_or(Time::ZERO)), asked]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Engine {
    /// Tells contacts what they are to know, and asks for company.
    pub(crate) fn tend_company(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let is_large = network.is_large();
        let Some(social) = &mut network.social else { return };
        if social.company.look.is_none_or(|look| look <= now) {
            let contacts = social.spreading.contacts_mut();
            let is_idle = !contacts.has_active(now);
            social.company.look = Some(now + if is_idle { LOOK_IDLE } else { LOOK });
            let farewell = contacts.take_farewell(now);
            let (need, told) = contacts.hints_due(now);
            let wants = contacts.wants_bootstrap(now) || contacts.wants_long_links(now);
            let lately = social.company.last.is_some_and(|last| now.since(last) < PAUSE);
            #[cfg(test)]
            let wants = wants && !social.company.off_for_test;
            let ask = is_large && wants && !lately && social.company.asked.is_none();
            for (node, bye) in told
                .into_iter()
                .map(|node| (node, false))
                .chain(farewell.map(|node| (node, true)))
            {
                self.tell_contact(now, handle, &node, (need, bye), out);
            }
            if ask {
                self.ask_for_company(now, handle);
            }
        }
        self.resend_sample_wanted(now, handle, out);
    }

    /// Tells a contact the own need, or that it is none any more. Whoever has no session with this node is not told.
    fn tell_contact(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        node: &NodeId,
        (need, bye): (u8, bool),
        out: &mut Outbox,
    ) {
        let Some(id) = self.peers.by_node(node).filter(|id| self.shares(*id, handle)) else {
            return;
        };
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        if let Some(place) = session.and_then(|session| session.networks.position(handle)) {
            let message = Spread::Contact { place, need, bye };
            self.send_control(now, id, None, &[Control::Spread(message)], out);
        }
    }

    fn ask_for_company(&mut self, now: Time, handle: NetworkHandle) {
        let Some(network) = self.networks.get(handle) else {
            return;
        };
        let holders = self.directory.holders(&network.world, &network.member_key);
        let registered = |id: &&PeerId| self.directory.relay_index(**id).is_some();
        let supernode = holders.iter().find(registered).copied();
        let request = self.directory.request_number();
        let company = self
            .networks
            .get_mut(handle)
            .and_then(|network| network.social.as_mut());
        if let (Some(supernode), Some(social)) = (supernode, company) {
            social.company.last = Some(now);
            social.company.asked = Some(Asked {
                request,
                supernode,
                since: now,
                retry: Retry::due(REQUEST, now),
            });
        }
    }

    fn resend_sample_wanted(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let member_key = network.member_key;
        let Some(social) = &mut network.social else { return };
        social.company.asked.take_if(|asked| now.since(asked.since) >= PATIENCE);
        let Some(asked) = &mut social.company.asked else { return };
        if asked.retry.at() <= now {
            asked.retry.again(now);
            let (request, supernode) = (asked.request, asked.supernode);
            let message = Spread::SampleWanted { request, member_key };
            self.send_control(now, supernode, None, &[Control::Spread(message)], out);
        }
    }

    /// A supernode names some members.
    pub(crate) fn sample_told(&mut self, now: Time, id: PeerId, request: u32, records: &[NodeRecord]) {
        let is_asked = |asked: &Asked| asked.request == request && asked.supernode == id;
        let network = self.networks.iter_mut().find_map(|network| {
            let company = &mut network.social.as_mut()?.company;
            company.asked.take_if(|asked| is_asked(asked))?;
            company.last = Some(now);
            Some(network.handle)
        });
        let Some(handle) = network else { return };
        let mut nodes = Vec::new();
        for record in records.iter().take(2 * BOOTSTRAP) {
            let Ok(key) = PublicKey::from_bytes(&record.key, self.work) else {
                continue;
            };
            let keeps_out = |network: &crate::networks::Network| network.keeps_out(&key.node_id());
            if key == self.public || self.networks.get(handle).is_none_or(keeps_out) {
                continue;
            }
            self.note_member(handle, key, record.place());
            if self.pin(now, key).is_some() {
                self.place_told(&key, record.place());
                nodes.push(key.node_id());
            }
        }
        let Some(social) = self
            .networks
            .get_mut(handle)
            .and_then(|network| network.social.as_mut())
        else {
            return;
        };
        let contacts = social.spreading.contacts_mut();
        if contacts.wants_long_links(now) {
            // Those that came last go before those at random.
            let at_random: Vec<NodeId> = nodes.iter().rev().take(LONG_LINKS).copied().collect();
            contacts.set_long_links(now, &at_random);
        }
        if contacts.wants_bootstrap(now) {
            contacts.set_bootstrap(now, spread_over(&nodes).as_slice());
        }
    }

    /// Remembers where a member is that a supernode named.
    fn note_member(&mut self, handle: NetworkHandle, key: PublicKey, place: crate::wire::control::Place) {
        if let Some(network) = self
            .networks
            .get_mut(handle)
            .filter(|network| network.member(&key.node_id()).is_none())
        {
            network.note_located(crate::networks::Member { key, place, ipv4: None });
        }
    }
}

/// Of the two halves of a sample the first of each.
fn spread_over(nodes: &[NodeId]) -> Vec<NodeId> {
    let (last, random) = nodes.split_at(nodes.len() / 2);
    let half = BOOTSTRAP / 2;
    let mut chosen: Vec<NodeId> = last
        .iter()
        .take(half)
        .chain(random.iter().take(half))
        .copied()
        .collect();
    let others: Vec<NodeId> = nodes.iter().filter(|node| !chosen.contains(node)).copied().collect();
    chosen.extend(others.iter().take(BOOTSTRAP.saturating_sub(chosen.len())));
    chosen
}
