//! A node and the peers with which it shares a network: telling them the own channels, and hearing theirs.
//!
//! Only where the list of members is not whole: elsewhere a frame to a group goes to all. Who knows no list of subscribers
//! sends what goes to a multicast group to the peers that said that they subscribed, and to those that said nothing.

use std::{collections::BTreeMap, time::Duration};

use farlan_netconf::Mac;

use super::{CHANGES, Channel, Channels, MAX_CHANNELS};
use crate::{
    Engine, NetworkHandle, Outbox, Time,
    networks::RESEND,
    peers::PeerId,
    retry::Retry,
    wire::{
        control::{Audience, Control},
        datagram::SessionIndex,
    },
};

/// Tries until a peer is taken for one of an older version, which does not know the message. It hears of changes still.
const TRIES: u32 = 8;

/// A list that was whole may be short of it for so long before peers are told: a supernode sends it anew in parts.
const LISTING: Duration = Duration::from_secs(1);

/// What a node wants to hear of what goes to many in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// [`MAX_CHANNELS`] at most, each of them specific.
    pub(crate) channels: Vec<Channel>,
    /// Whether it wants more groups than these, or does not know which.
    pub(crate) more: bool,
}

impl Wanted {
    /// Whether frames of a channel need not be sent there. What is broadcast may be heard by who never said so.
    fn declines(&self, channel: &Channel) -> bool {
        channel.group != Mac::BROADCAST && !self.more && !self.channels.contains(channel)
    }
}

/// What the two ends of a session told each other of their channels.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    /// Number of the last message sent.
    number: u32,
    /// What was told of each network.
    told: BTreeMap<NetworkHandle, Told>,
    /// Whether the other end has acknowledged one, so knows the message.
    understood: bool,
    /// Number of the last message received of each network.
    theirs: BTreeMap<NetworkHandle, u32>,
}

#[derive(Debug)]
struct Told {
    number: u32,
    wanted: Wanted,
    since: Time,
    /// Set until it is acknowledged.
    retry: Option<Retry>,
}

impl Exchanged {
    /// When something is to be sent again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let retries = self.told.values().filter_map(|told| told.retry.as_ref());
        retries.map(Retry::at).min()
    }

    /// Forgets a network that was left.
    pub(crate) fn withdraw(&mut self, network: NetworkHandle) {
        self.told.remove(&network);
        self.theirs.remove(&network);
    }

    /// A list is to be sent, instead of what was told before.
    fn begin(&mut self, now: Time, network: NetworkHandle, wanted: Wanted) {
        self.number += 1;
        let told = Told {
            number: self.number,
            wanted,
            since: now,
            retry: Some(Retry::due(RESEND, now)),
        };
        self.told.insert(network, told);
    }

    /// Takes what is due, to be sent now: in which network, under which number.
    fn take_due(&mut self, now: Time) -> Vec<(NetworkHandle, u32, Wanted)> {
        let mut due = Vec::new();
        for (network, told) in &mut self.told {
            let Some(retry) = told.retry.as_mut().filter(|retry| retry.at() <= now) else {
                continue;
            };
            if !self.understood && retry.sent() >= TRIES {
                told.retry = None;
                continue;
            }
            retry.again(now);
            due.push((*network, told.number, told.wanted.clone()));
        }
        due
    }
}

impl Channels {
    /// What peers are told; nothing as long as the machine has not said what it listens to.
    fn wanted(&self) -> Option<Wanted> {
        if !self.heard {
            return None;
        }
        let mut channels = self.own();
        // In which order they are used says nothing.
        channels.sort_unstable();
        Some(Wanted {
            channels,
            more: self.more || self.behind,
        })
    }

    /// The card has sent a frame of another machine's, whose groups nobody knows.
    pub(crate) fn other_behind(&mut self, now: Time) {
        if !self.behind {
            self.behind = true;
            self.look_at(now);
        }
    }
}

impl Engine {
    /// A peer has come to share a network, and may have to be told.
    pub(crate) fn review_peer_channels(&mut self, now: Time, handle: NetworkHandle) {
        if let Some(network) = self.networks.get_mut(handle).filter(|network| !network.list_complete()) {
            network.channels.look_at(now);
        }
    }

    /// The list of members may have ceased to be whole: then peers are told what they had no use for before.
    pub(super) fn review_list(&mut self, now: Time, handle: NetworkHandle) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let whole = network.list_complete();
        let before = std::mem::replace(&mut network.channels.whole, whole);
        if before && !whole {
            network.channels.look_at(now + LISTING);
        }
    }

    /// Tells those who share a network the own channels, if they have to be told now.
    pub(super) fn tell_peers(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let Some(wanted) = network.channels.wanted() else {
            return;
        };
        let whole = network.list_complete();
        let mut told_now = Vec::new();
        for id in self.peers.ids() {
            let peer = self.peers.get_mut(id).filter(|peer| peer.up.contains(&handle));
            let session = peer.and_then(|peer| peer.sessions.sending());
            let Some(session) = session.filter(|session| session.networks.shared(handle)) else {
                continue;
            };
            let exchanged = &mut session.networks.channels;
            let begins = match exchanged.told.get(&handle) {
                None if whole => None,
                None => Some(now),
                // Whoever was told once is told every change.
                Some(told) => (told.wanted != wanted).then_some(told.since + CHANGES),
            };
            let Some(begins) = begins else { continue };
            if begins <= now {
                exchanged.begin(now, handle, wanted.clone());
                told_now.push((id, session.local));
            } else {
                network.channels.look_at(begins);
            }
        }
        for (id, local) in told_now {
            self.resend_channels(now, id, local, out);
        }
    }

    /// Tells the other end of a session, whose networks are known, the own channels in those that are shared.
    pub(crate) fn tell_channels(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        for network in self.networks.iter() {
            let handle = network.handle;
            if !networks.shared(handle) {
                networks.channels.told.remove(&handle);
            } else if let Some(wanted) = network.channels.wanted()
                && (!network.list_complete() || networks.channels.told.contains_key(&handle))
            {
                networks.channels.begin(now, handle, wanted);
            }
        }
        self.resend_channels(now, id, local, out);
    }

    /// Sends what is due in a session.
    fn resend_channels(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let mut messages = Vec::new();
        for (network, number, wanted) in session.networks.channels.take_due(now) {
            let place = session.networks.position(network);
            if let Some(place) = place.filter(|_| session.networks.shared(network)) {
                messages.push(Control::Audience(Audience::Channels {
                    number,
                    place,
                    more: wanted.more,
                    channels: wanted.channels,
                }));
            }
        }
        for message in messages {
            self.send_control(now, id, Some(local), &[message], out);
        }
        self.arm(id);
    }

    /// Tells a peer again what it did not acknowledge.
    pub(crate) fn tend_peer_channels(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        let sessions = peer.sessions.iter();
        let due: Vec<_> = sessions
            .filter(|session| due(session.networks.channels.deadline()))
            .map(|session| session.local)
            .collect();
        for local in due {
            self.resend_channels(now, id, local, out);
        }
    }

    /// The other end's channels in a network.
    pub(crate) fn channels_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, place): (u32, u8),
        (channels, more): (&[Channel], bool),
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local).filter(|session| session.networks.known()) else {
            return;
        };
        // What is of a place not known yet comes again.
        let Some(network) = session.networks.at(place) else {
            return;
        };
        let latest = session.networks.channels.theirs.entry(network).or_default();
        if number > *latest {
            *latest = number;
            let mut wanted = Wanted {
                more,
                ..Wanted::default()
            };
            for channel in channels.iter().filter(|channel| channel.is_specific()) {
                if wanted.channels.len() < MAX_CHANNELS && !wanted.channels.contains(channel) {
                    wanted.channels.push(*channel);
                }
            }
            peer.channels.insert(network, wanted);
        }
        let answer = Control::Audience(Audience::ChannelsAck { number });
        self.send_control(now, id, Some(local), &[answer], out);
    }

    /// The other end has this node's channels in a network.
    pub(crate) fn channels_acknowledged(&mut self, now: Time, id: PeerId, local: SessionIndex, number: u32) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local) else {
            return;
        };
        let exchanged = &mut session.networks.channels;
        let Some(told) = exchanged.told.values_mut().find(|told| told.number == number) else {
            return;
        };
        exchanged.understood = true;
        if let Some(sample) = told.retry.take().and_then(|retry| retry.round_trip(now)) {
            peer.measure_rtt(sample);
        }
    }

    /// The peers that said that they subscribed to a channel.
    pub(crate) fn subscribed_peers(&self, handle: NetworkHandle, channel: &Channel) -> Vec<PeerId> {
        let peers = self.peers.iter().filter(|(_, peer)| {
            let wanted = peer.channels.get(&handle);
            wanted.is_some_and(|wanted| wanted.channels.contains(channel))
        });
        peers.map(|(id, _)| id).collect()
    }

    /// Whether a peer said that it does not want the frames of a channel.
    pub(crate) fn is_declined(&self, id: PeerId, handle: NetworkHandle, channel: &Channel) -> bool {
        let wanted = self.peers.get(id).and_then(|peer| peer.channels.get(&handle));
        wanted.is_some_and(|wanted| wanted.declines(channel))
    }
}
