//! A supernode's side: what registered nodes subscribe to.

use std::time::Duration;

use farlan_netconf::DirectoryKey;

use super::MAX_CHANNELS;
use crate::{
    Engine, Outbox, Time,
    peers::PeerId,
    rates::{Meter, Rate},
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
    networks: Vec<InNetwork>,
    /// What it used of [`CHANGES`].
    changes: Meter,
}

#[derive(Debug)]
struct InNetwork {
    member_key: DirectoryKey,
    /// The session and the number of the latest message.
    latest: (SessionIndex, u32),
    channels: Box<[DirectoryKey]>,
}

impl Subscribed {
    pub(crate) fn len(&self) -> usize {
        self.networks.iter().map(|network| network.channels.len()).sum()
    }

    fn of(&self, member_key: &DirectoryKey) -> Option<&InNetwork> {
        self.networks.iter().find(|network| network.member_key == *member_key)
    }

    /// In which network a channel is.
    pub(crate) fn network_of(&self, channel: &DirectoryKey) -> Option<DirectoryKey> {
        let network = self
            .networks
            .iter()
            .find(|network| network.channels.contains(channel))?;
        Some(network.member_key)
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
        if !memberships.iter().any(|membership| membership.member_key == member_key) {
            return;
        }
        let before = subscribed.of(&member_key);
        let latest = before.map(|before| before.latest).filter(|(under, _)| *under == local);
        let latest = latest.map(|(_, number)| number);
        // One that was overtaken must not undo a newer one.
        if latest.is_some_and(|latest| number < latest) {
            return;
        }
        let before: Vec<DirectoryKey> = before.map(|before| before.channels.to_vec()).unwrap_or_default();
        // One that is in another network of the node's already stays there: nobody is on a list twice.
        let others = subscribed
            .networks
            .iter()
            .filter(|other| other.member_key != member_key);
        let elsewhere: Vec<DirectoryKey> = others.flat_map(|other| other.channels.to_vec()).collect();
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
            subscribed.networks.retain(|network| network.member_key != member_key);
            subscribed.networks.reserve_exact(1);
            subscribed.networks.push(InNetwork {
                member_key,
                latest,
                channels: keys,
            });
        }
        self.say_subscribed(now, id, number, out);
        self.unsubscribe(now, id, &lost, out);
        for (key, version) in channels {
            self.list(now, id, ListKey::Subscribers(key), Some(version), out);
        }
    }

    fn say_subscribed(&mut self, now: Time, id: PeerId, number: u32, out: &mut Outbox) {
        let answer = Audience::Subscribed { number };
        self.send_control(now, id, None, &[Control::Audience(answer)], out);
    }

    /// A node's memberships changed: it is no subscriber in networks that it left, and listed elsewhere where it moved.
    pub(crate) fn review_subscriptions(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if self.anchor.subscriptions_held(id).is_none() {
            return;
        }
        let Some((memberships, subscribed, prefix)) = self.anchor.channels_of(id) else {
            return;
        };
        let held = subscribed.len();
        let is_member = |key: &DirectoryKey| memberships.iter().any(|membership| membership.member_key == *key);
        let left = subscribed
            .networks
            .extract_if(.., |network| !is_member(&network.member_key));
        let left: Vec<ListKey> = left
            .flat_map(|network| network.channels)
            .map(ListKey::Subscribers)
            .collect();
        let stays = subscribed.networks.iter().flat_map(|network| network.channels.to_vec());
        let stays: Vec<DirectoryKey> = stays.collect();
        self.anchor.places.take_subscriptions(prefix, held, stays.len());
        self.unsubscribe(now, id, &left, out);
        for key in stays {
            self.list(now, id, ListKey::Subscribers(key), None, out);
        }
    }

    /// A registration ends, and its places for subscriptions are free; it leaves the lists with all others.
    pub(crate) fn end_subscriptions(&mut self, id: PeerId) {
        if let Some((held, prefix)) = self.anchor.subscriptions_held(id) {
            self.anchor.places.take_subscriptions(prefix, held, 0);
        }
    }
}
