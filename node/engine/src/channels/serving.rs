//! A supernode's side: what registered nodes subscribe to.

use std::{collections::BTreeMap, time::Duration};

use farlan_netconf::DirectoryKey;

use super::MAX_CHANNELS;
use crate::{
    Engine, Outbox, Time,
    peers::PeerId,
    rates::{Meter, Prefix, Rate},
    subscriptions::ListKey,
    wire::{
        control::{Audience, Control},
        datagram::SessionIndex,
    },
};

/// Channels that one node may take up or give up.
const CHANGES: Rate = Rate::per_second(5, Duration::from_secs(10));

/// What a registered node subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Its channels in each network, by the member key.
    networks: BTreeMap<DirectoryKey, InNetwork>,
    /// What it used of [`CHANGES`].
    changes: Meter,
}

#[derive(Debug)]
struct InNetwork {
    /// The session and the number of the latest message.
    latest: (SessionIndex, u32),
    channels: Vec<DirectoryKey>,
}

impl Subscribed {
    fn len(&self) -> usize {
        self.networks.values().map(|network| network.channels.len()).sum()
    }

    fn keys(&self) -> Vec<ListKey> {
        let channels = self.networks.values().flat_map(|network| &network.channels);
        channels.map(|key| ListKey::Subscribers(*key)).collect()
    }
}

impl Engine {
    /// A node tells its channels in a network, which take the place of those it told before.
    pub(crate) fn subscribe_asked(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, member_key, wanted): (u32, DirectoryKey, &[(DirectoryKey, u64)]),
        out: &mut Outbox,
    ) {
        let Some((memberships, subscribed, prefix)) = self.anchor.channels_of(id) else {
            return;
        };
        // Who is not registered for the network, or not yet, is not answered, and tries again.
        let membership = memberships
            .iter()
            .find(|membership| membership.member_key == member_key);
        let Some(membership) = membership.copied() else {
            return;
        };
        let before = subscribed.networks.get(&member_key);
        let latest = before.map(|before| before.latest).filter(|(under, _)| *under == local);
        let latest = latest.map(|(_, number)| number);
        // One that was overtaken must not undo a newer one.
        if latest.is_some_and(|latest| number < latest) {
            return;
        }
        let before: Vec<DirectoryKey> = before.map(|before| before.channels.clone()).unwrap_or_default();
        // One that is in another network of the node's already stays there: nobody is on a list twice.
        let others = subscribed.networks.iter().filter(|(key, _)| **key != member_key);
        let elsewhere: Vec<DirectoryKey> = others.flat_map(|(_, other)| other.channels.clone()).collect();
        let mut channels: Vec<(DirectoryKey, u64)> = Vec::new();
        for (key, version) in wanted.iter().filter(|(key, _)| !elsewhere.contains(key)) {
            if channels.len() < MAX_CHANNELS && !channels.iter().any(|(known, _)| known == key) {
                channels.push((*key, *version));
            }
        }
        let kept = |key: &DirectoryKey| channels.iter().any(|(wanted, _)| wanted == key);
        let taken_up = channels.iter().filter(|(key, _)| !before.contains(key)).count();
        let given_up: Vec<DirectoryKey> = before.iter().filter(|key| !kept(key)).copied().collect();
        let changes = u64::try_from(taken_up + given_up.len()).unwrap_or(u64::MAX);
        if !subscribed.changes.take(now, &CHANGES, changes.max(1)) {
            self.counters.subscriptions_limited += 1;
            return;
        }
        if latest == Some(number) {
            self.say_subscribed(now, id, number, out);
            return;
        }
        let held = before.len();
        let room = self.anchor.places.take_subscriptions(prefix, held, channels.len());
        if room < channels.len() {
            self.counters.subscriptions_limited += 1;
        }
        channels.truncate(room);
        let lost = before
            .iter()
            .filter(|key| !channels.iter().any(|(kept, _)| kept == *key));
        let lost: Vec<ListKey> = lost.map(|key| ListKey::Subscribers(*key)).collect();
        if let Some((_, subscribed, _)) = self.anchor.channels_of(id) {
            let latest = (local, number);
            let keys = channels.iter().map(|(key, _)| *key).collect();
            subscribed
                .networks
                .insert(member_key, InNetwork { latest, channels: keys });
        }
        self.say_subscribed(now, id, number, out);
        self.unsubscribe(now, id, &lost, out);
        for (key, version) in channels {
            self.list(now, id, ListKey::Subscribers(key), &membership, Some(version), out);
        }
    }

    fn say_subscribed(&mut self, now: Time, id: PeerId, number: u32, out: &mut Outbox) {
        let answer = Audience::Subscribed { number };
        self.send_control(now, id, None, &[Control::Audience(answer)], out);
    }

    /// A node's memberships changed: it is no subscriber in networks that it left, and listed elsewhere where it moved.
    pub(crate) fn review_subscriptions(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some((memberships, subscribed, prefix)) = self.anchor.channels_of(id) else {
            return;
        };
        if subscribed.networks.is_empty() {
            return;
        }
        let held = subscribed.len();
        let is_member = |key: &DirectoryKey| memberships.iter().any(|membership| membership.member_key == *key);
        let left = subscribed.networks.extract_if(.., |key, _| !is_member(key));
        let left: Vec<ListKey> = left
            .flat_map(|(_, network)| network.channels)
            .map(ListKey::Subscribers)
            .collect();
        let mut stays = Vec::new();
        for membership in memberships {
            if let Some(network) = subscribed.networks.get(&membership.member_key) {
                stays.extend(network.channels.iter().map(|key| (*key, *membership)));
            }
        }
        self.anchor.places.take_subscriptions(prefix, held, stays.len());
        self.unsubscribe(now, id, &left, out);
        for (key, membership) in stays {
            self.list(now, id, ListKey::Subscribers(key), &membership, None, out);
        }
    }

    /// A registration ends, and its subscriptions with it.
    pub(crate) fn end_subscriptions(
        &mut self,
        now: Time,
        id: PeerId,
        (prefix, subscribed): (Option<Prefix>, &Subscribed),
        out: &mut Outbox,
    ) {
        self.anchor.places.take_subscriptions(prefix, subscribed.len(), 0);
        self.unsubscribe(now, id, &subscribed.keys(), out);
    }
}
