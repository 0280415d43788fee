//! A node's side: telling supernodes the own channels, and hearing who else subscribed to them.
//!
//! Only supernodes that count more members than a node sends copies to are told: in a smaller network a frame to a group
//! goes to all, whoever wants it. Once told, a supernode is told every change.

use std::collections::BTreeMap;

use farlan_netconf::DirectoryKey;

use super::{ANSWER_WAITED, CHANGES, Channel, SAMPLE_KEPT};
use crate::{
    Engine, NetworkHandle, Outbox, Time,
    directory::REQUEST,
    members::take_in,
    networks::Network,
    peers::PeerId,
    retry::Retry,
    wire::control::{Audience, Control, MemberEntry},
};

/// What a supernode was told of the channels in a network.
#[derive(Debug)]
pub(super) struct Announced {
    number: u32,
    keys: Vec<DirectoryKey>,
    since: Time,
    /// Set until it acknowledges.
    retry: Option<Retry>,
}

impl Network {
    /// What a supernode is to be told under a member key: the keys of all own channels.
    fn channel_keys(&self, member_key: &DirectoryKey, own: &[Channel]) -> Vec<DirectoryKey> {
        let secret = self.secret_under(member_key);
        let keys = secret.map(|secret| own.iter().map(|channel| channel.key(secret)).collect());
        keys.unwrap_or_default()
    }

    /// Whether what a supernode listed of a channel that is in use is a sample, and an old one.
    fn wants_sample(&self, now: Time, supernode: PeerId, announced: &Announced) -> Option<Time> {
        let mut keys = announced.keys.iter();
        let wanted = keys.any(|key| {
            let listing = self.channels.lists.get(key).and_then(|lists| lists.get(&supernode));
            let channel = self.channels.keys.get(key);
            let used = channel.and_then(|channel| self.channels.used.get(channel));
            listing.is_some_and(|listing| !self.channels.threshold.names_all(listing))
                && used.is_some_and(|used| now.since(*used) < SAMPLE_KEPT)
        });
        wanted.then_some(announced.since + SAMPLE_KEPT)
    }
}

impl Engine {
    pub(crate) fn channels_deadline(&self) -> Option<Time> {
        let networks = self.networks.iter();
        networks.filter_map(|network| network.channels.deadline()).min()
    }

    /// Tells supernodes and peers what changed, and supernodes again what they did not acknowledge.
    pub(crate) fn tend_channels(&mut self, now: Time, out: &mut Outbox) {
        for handle in self.networks.handles() {
            self.review_list(now, handle);
            let network = self.networks.get(handle);
            let due = network.and_then(|network| network.channels.deadline());
            if due.is_some_and(|due| due <= now) {
                self.release_held(now, handle, out);
                self.announce_channels(now, handle, out);
                self.tell_peers(now, handle, out);
            }
        }
    }

    fn announce_channels(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let directory = &self.directory;
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        network.channels.look = network.channels.expire(now);
        let mut own = network.channels.own();
        // In which order they are used says nothing.
        own.sort_unstable();
        network.channels.asked.retain(|channel, _| own.contains(channel));
        let waiting = network.channels.held.iter();
        let is_lost = network.channels.held.iter().any(|(channel, _)| !own.contains(channel));
        let waiting = waiting.filter_map(|(channel, _)| network.channels.asked.get(channel));
        let first = waiting.min().map(|first| *first + ANSWER_WAITED);
        // What is of no channel any more waits for nothing.
        if let Some(at) = first.into_iter().chain(is_lost.then_some(now)).min() {
            network.channels.look_at(at);
        }
        network.channels.used.retain(|channel, _| own.contains(channel));
        // Whom it concerns: who counts too many, and who was told before.
        let (mut keys, mut told, mut all_holders) = (BTreeMap::new(), Vec::new(), Vec::new());
        for member_key in network.registered_under() {
            let of_secret = network.channel_keys(&member_key, &own);
            keys.extend(of_secret.iter().copied().zip(own.iter().copied()));
            let holders = directory.holders(&network.world, &member_key);
            for supernode in holders.iter().copied() {
                let listing = network.listed_under(&member_key, supernode);
                let many = listing.is_some_and(|listing| network.channels.threshold.is_passed(listing.count));
                let before = network.channels.announced.contains_key(&(supernode, member_key));
                if (many || before) && directory.relay_index(supernode).is_some() {
                    told.push((supernode, member_key, of_secret.clone()));
                }
            }
            all_holders.extend(holders);
        }
        let channels = &mut network.channels;
        channels.keys = keys;
        channels.lists.retain(|key, _| channels.keys.contains_key(key));
        for lists in channels.lists.values_mut() {
            lists.retain(|supernode, _| all_holders.contains(supernode));
        }
        let is_told = |by: &(PeerId, DirectoryKey)| told.iter().any(|(id, key, _)| (*id, *key) == *by);
        channels.announced.retain(|by, _| is_told(by));
        for (supernode, member_key, keys) in told {
            self.announce_to(now, handle, (supernode, member_key), keys, out);
        }
    }

    /// Tells one supernode, if it has to be told now.
    fn announce_to(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        told: (PeerId, DirectoryKey),
        keys: Vec<DirectoryKey>,
        out: &mut Outbox,
    ) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let (supernode, member_key) = told;
        let announced = network.channels.announced.get(&told);
        let begins = match announced {
            None => (!keys.is_empty()).then_some(now),
            Some(announced) if announced.keys != keys => Some(announced.since + CHANGES),
            Some(announced) if announced.retry.is_none() => network.wants_sample(now, supernode, announced),
            Some(_) => None,
        };
        if begins.is_some_and(|begins| begins <= now) {
            let announced = Announced {
                number: self.directory.request_number(),
                keys,
                since: now,
                retry: Some(Retry::due(REQUEST, now)),
            };
            network.channels.announced.insert(told, announced);
        } else if let Some(begins) = begins {
            network.channels.look_at(begins);
        }
        let Some(announced) = network.channels.announced.get_mut(&told) else {
            return;
        };
        let Some(retry) = &mut announced.retry else { return };
        let due = retry.at() <= now;
        if due {
            retry.again(now);
        }
        let (at, number) = (retry.at(), announced.number);
        let (lists, threshold) = (&network.channels.lists, network.channels.threshold);
        let version = |key: &DirectoryKey| {
            let listing = lists.get(key).and_then(|lists| lists.get(&supernode));
            listing
                .filter(|listing| threshold.names_all(listing))
                .map_or(0, |listing| listing.version)
        };
        let channels = announced.keys.iter().map(|key| (*key, version(key))).collect();
        network.channels.look_at(at);
        if due {
            let message = Audience::Subscribe {
                number,
                member_key,
                channels,
            };
            self.send_control(now, supernode, None, &[Control::Audience(message)], out);
        }
    }

    /// A supernode has taken what it was told.
    pub(crate) fn subscribed(&mut self, now: Time, id: PeerId, number: u32) {
        for network in self.networks.iter_mut() {
            let mut announced = network.channels.announced.iter_mut();
            let found = announced.find(|((told, _), announced)| *told == id && announced.number == number);
            if let Some((_, announced)) = found {
                announced.retry = None;
                // What comes next may be a later sample.
                network.channels.look_at(now + SAMPLE_KEPT);
            }
        }
    }

    /// A change of the list of those who subscribed to a channel, or a sample of it.
    pub(crate) fn subscribers_told(
        &mut self,
        now: Time,
        id: PeerId,
        channel_key: DirectoryKey,
        part: (u64, u64, u32),
        entries: &[MemberEntry],
        out: &mut Outbox,
    ) {
        let directory = &self.directory;
        let ours = |network: &&mut Network| {
            network.channels.keys.contains_key(&channel_key) && directory.serves(id, &network.world)
        };
        let Some(network) = self.networks.iter_mut().find(ours) else {
            return;
        };
        let handle = network.handle;
        let lists = network.channels.lists.entry(channel_key).or_default();
        let mut listing = lists.remove(&id).unwrap_or_default();
        let longest = network.channels.threshold.longest_whole();
        let (moved, _) = take_in(network, &mut listing, part, (entries, self.work), longest);
        let version = listing.version;
        if let Some(lists) = network.channels.lists.get_mut(&channel_key) {
            lists.insert(id, listing);
        }
        let message = Audience::SubscribersAck { channel_key, version };
        self.send_control(now, id, None, &[Control::Audience(message)], out);
        for (key, place) in &moved {
            self.place_told(key, *place);
        }
        self.release_held(now, handle, out);
    }
}
