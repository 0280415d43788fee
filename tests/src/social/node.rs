//! One node of a run: the shipped state machine, filled with what its world says happened before, through the same calls that
//! traffic makes.

use std::time::Duration;

use farlan_crypto::NodeId;
use farlan_spreading::{Allowances, ChannelOf, Contacts, Neighbours, Spreading, Time};

use super::{
    frames,
    keys::Keys,
    world::{Contact, World},
};

/// When runs begin: what happened before has room in front of it.
pub const BEGINNING: Time = Time::from_nanos(700_000_000_000);

/// The network that all are in.
pub const NETWORK: [u8; 8] = *b"ten mill";

/// Most contacts for which a need of active, and of recent ones, is told.
const NEED_ACTIVE: usize = 64;
const NEED_RECENT: usize = 16;

/// As long contacts are active after they talked.
const ACTIVE: f64 = 30.0;

/// What a node does with what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// What the shipped code does.
    #[default]
    Honest,
    /// Acknowledges everything and sends nothing on.
    Drops,
    /// Sends everything on to everybody it knows, with the highest level and budget it can claim, and tries forgeries.
    Inflates,
}

/// One node of a run.
#[derive(Debug)]
pub struct Node {
    /// The shipped state machine.
    pub spreading: Spreading,
    /// What it spends on others.
    pub allowances: Allowances,
    /// With whom it has a session, in order.
    pub sessions: Vec<u32>,
    /// With whom it talks during the run, and when in each second.
    talks: Box<[(NodeId, u64)]>,
    /// Until when it has.
    talked: Time,
    /// What it does.
    pub behaviour: Behaviour,
    /// When its uplink is free again, and when it is to be woken, in nanoseconds.
    pub uplink: u64,
    /// See [`Node::uplink`].
    pub wake: u64,
    /// Copies sent, tries after the first included.
    pub sent: u32,
    /// Copies received.
    pub received: u32,
    /// How far its clock is off, in milliseconds.
    pub skew: i64,
}

impl Node {
    /// The state of `node` of this world, as it stands at `now`.
    pub fn new(world: &World, keys: &Keys, node: u32, now: Time) -> Self {
        let mut spreading = Spreading::new(NETWORK, keys.id(node));
        let contacts = world.contacts(node);
        let bootstrap = world.bootstrap(node, contacts.len());
        let long_links = world.long_links(node);
        let mut sessions: Vec<u32> = contacts.iter().map(|contact| contact.node).collect();
        sessions.extend(&bootstrap);
        sessions.extend(&long_links);
        sessions.sort_unstable();
        sessions.dedup();
        remember(spreading.contacts_mut(), world, keys, node, &contacts, now);
        let talks = contacts
            .iter()
            .filter(|contact| contact.ago == 0.0 && !world.is_gone(contact.node));
        let ids = |nodes: &[u32]| nodes.iter().map(|node| keys.id(*node)).collect::<Vec<_>>();
        if spreading.contacts().wants_bootstrap(now) {
            spreading.contacts_mut().set_bootstrap(now, &ids(&bootstrap));
        }
        if spreading.contacts().wants_long_links(now) {
            spreading.contacts_mut().set_long_links(now, &ids(&long_links));
        }
        Self {
            spreading,
            allowances: Allowances::new(),
            sessions,
            talks: talks
                .map(|contact| (keys.id(contact.node), world.moment(node, contact.node)))
                .collect(),
            talked: now,
            behaviour: Behaviour::Honest,
            uplink: 0,
            wake: u64::MAX,
            sent: 0,
            received: 0,
            skew: world.skew(node),
        }
    }

    /// Talk goes on: a packet each way in each second.
    pub fn talk(&mut self, now: Time) {
        let before = self.talked;
        if now.since(before) < Duration::from_secs(1) {
            return;
        }
        self.talked = now;
        let contacts = self.spreading.contacts_mut();
        for (node, moment) in &self.talks {
            let mut at = latest(before, *moment) + Duration::from_secs(1);
            while at <= now {
                contacts.sent(at, node);
                contacts.received(at, node);
                at += Duration::from_secs(1);
            }
        }
    }

    /// Notes a session; false if there was one.
    pub fn meet(&mut self, other: u32) -> bool {
        let place = self.sessions.binary_search(&other);
        if let Err(place) = place {
            self.sessions.insert(place, other);
        }
        place.is_err()
    }

    /// Whether there is a session.
    pub fn knows(&self, other: u32) -> bool {
        self.sessions.binary_search(&other).is_ok()
    }
}

/// Lets a node live through its last minutes: one packet each way in each second of a talk, and what the others said they need.
fn remember(own: &mut Contacts, world: &World, keys: &Keys, node: u32, contacts: &[Contact], now: Time) {
    let mut seconds: Vec<(u64, u32)> = Vec::new();
    for contact in contacts {
        // Talk that goes on does so until now; what is over is over since the run began.
        let until = if contact.ago == 0.0 { now } else { BEGINNING };
        let until = Time::from_nanos(until.as_nanos().saturating_sub((contact.ago * 1e9) as u64));
        let last = latest(until, world.moment(node, contact.node)).as_nanos();
        seconds.extend(
            (0..contact.seconds.into()).map(|back: u64| (last.saturating_sub(back * 1_000_000_000), contact.node)),
        );
    }
    seconds.sort_unstable();
    for (at, node) in seconds {
        let (at, id) = (Time::from_nanos(at), keys.id(node));
        own.sent(at, &id);
        own.received(at, &id);
    }
    for contact in contacts {
        own.set_need(&keys.id(contact.node), need(world, contact.node));
    }
}

/// The latest moment until then that is so many nanoseconds into its second.
fn latest(until: Time, moment: u64) -> Time {
    const SECOND: u64 = 1_000_000_000;
    let begun = until.as_nanos().saturating_sub(moment) / SECOND;
    Time::from_nanos(begun * SECOND + moment)
}

/// What a node says it needs.
fn need(world: &World, node: u32) -> u8 {
    let contacts = world.contacts(node);
    let active = contacts.iter().filter(|contact| contact.ago < ACTIVE).count();
    (active.min(NEED_ACTIVE) + (contacts.len() - active).min(NEED_RECENT)) as u8
}

/// What a node's state machine asks about others.
pub struct View<'a> {
    /// The world.
    pub world: &'a World,
    /// Who is who.
    pub keys: &'a Keys,
    /// Whose view it is.
    pub node: u32,
    /// With whom it has a session, in order.
    pub sessions: &'a [u32],
}

impl Neighbours for View<'_> {
    fn rtt(&self, node: &NodeId) -> Option<Duration> {
        let other = self.keys.number(node)?;
        // Who is reached with a handshake only is known from then on.
        let way = if self.sessions.binary_search(&other).is_ok() {
            self.world.places.way(self.node, other)
        } else {
            self.world.places.relay(self.node, other)
        };
        Some(Duration::from_secs_f64(2.0 * way.delay / 1e3))
    }

    fn is_relayed(&self, node: &NodeId) -> bool {
        let Some(other) = self.keys.number(node) else {
            return true;
        };
        self.sessions.binary_search(&other).is_err() || self.world.places.relayed(self.node, other)
    }

    fn wants(&self, _: &NodeId, _: &ChannelOf) -> bool {
        true
    }

    fn admits(&self, origin: &NodeId, _: &[u8; 32], frame: &[u8]) -> bool {
        frames::is_from(frame, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::social::Proportions;

    #[test]
    fn talk_goes_on_during_a_run_but_with_those_who_are_gone() {
        let world = World::new(1, 1000, &Proportions::social());
        let keys = Keys::new(1, world.nodes);
        let player = (0..world.nodes).find(|node| {
            let contacts = world.contacts(*node);
            let talk = contacts.iter().filter(|contact| contact.ago == 0.0);
            talk.clone().any(|contact| world.is_gone(contact.node))
                && talk.clone().any(|contact| !world.is_gone(contact.node))
        });
        let player = player.unwrap();
        let mut node = Node::new(&world, &keys, player, BEGINNING);
        let later = BEGINNING + Duration::from_secs(60);
        node.talk(later);
        for contact in world.contacts(player) {
            let talks = contact.ago == 0.0 && !world.is_gone(contact.node);
            let id = keys.id(contact.node);
            assert_eq!(node.spreading.contacts().is_active(later, &id), talks, "{contact:?}");
        }
    }
}
