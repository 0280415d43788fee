//! Channels: what members subscribe to, so that in a network too large for copies to all a broadcast reaches those who
//! want it.
//!
//! A channel is a group to which frames go: a multicast MAC, or, since everything is broadcast to one MAC, the UDP port of
//! broadcasts. Where each supernode keeps the lists of members ([`crate::members`]) it keeps one of the subscribers to each
//! channel as well ([`crate::subscriptions`]). A node subscribes ([`announcing`]) to what its machine listens to, as
//! [`Engine::set_channels`] is told, and to what it broadcasts itself. A supernode takes that in [`serving`].

mod announcing;
mod serving;

use std::{collections::BTreeMap, time::Duration};

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};
use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::{DirectoryKey, Mac};

use crate::{
    Engine, NetworkHandle, Time,
    multicast::ALL,
    networks::Listing,
    peers::PeerId,
    switch::{HEADER, mac_at},
};
use announcing::{Announced, is_whole};
pub(crate) use serving::Subscribed;

/// A group of frames that members of a network may subscribe to: those to one multicast MAC, or the UDP broadcasts over
/// IPv4 to one port.
///
/// What every machine listens to is no channel that anybody could subscribe to: see [`Self::is_specific`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The destination MAC of its frames: a multicast MAC, or [`Mac::BROADCAST`].
    pub group: Mac,
    /// The UDP destination port of broadcasts; none for a multicast MAC.
    pub port: Option<u16>,
}

impl Channel {
    /// The broadcasts to a UDP port.
    #[must_use]
    pub const fn broadcasts(port: u16) -> Self {
        Self {
            group: Mac::BROADCAST,
            port: Some(port),
        }
    }

    /// The frames to a multicast MAC.
    #[must_use]
    pub const fn multicast(group: Mac) -> Self {
        Self { group, port: None }
    }

    /// Whether it can be subscribed to. Not so what is no group, what nearly every machine listens to (broadcasts that are no
    /// UDP or go to a port of NetBIOS names, the groups of mDNS, SSDP, LLMNR, of all hosts and routers and of neighbour
    /// solicitations), what does not leave a link (bridges and routers among themselves), and DHCP, whose servers broadcast
    /// nothing by which they could be known.
    #[must_use]
    pub fn is_specific(&self) -> bool {
        match (self.group, self.port) {
            (Mac::BROADCAST, port) => port.is_some_and(|port| port != 0 && !GENERIC_PORTS.contains(&port)),
            (_, Some(_)) => false,
            (group, None) => group.is_group() && !is_generic(group),
        }
    }

    fn key(&self, secret: &farlan_netconf::NetworkSecret) -> DirectoryKey {
        secret.channel_key(self.group, self.port)
    }
}

/// UDP ports whose broadcasts are no channel: DHCP and NetBIOS names and datagrams.
const GENERIC_PORTS: [u16; 4] = [67, 68, 137, 138];

/// Whether a multicast MAC is that of a group to which nearly all belong, or one that does not leave a link.
fn is_generic(group: Mac) -> bool {
    match *group.as_bytes() {
        // 224.0.0.x: all hosts, all routers, mDNS, LLMNR; and SSDP.
        [0x01, 0x00, 0x5e, 0, 0, _] | [0x01, 0x00, 0x5e, 0x7f, 0xff, 0xfa] => true,
        // ff02::1 to ff02::ff, among them all nodes, all routers, SSDP, mDNS; LLMNR; solicited nodes.
        [0x33, 0x33, 0, 0, 0, _] | [0x33, 0x33, 0, 1, 0, 3] | [0x33, 0x33, 0xff, ..] => true,
        // Bridges, LLDP, 802.1X.
        [0x01, 0x80, 0xc2, ..] => true,
        _ => false,
    }
}

/// Channels of one network to which a node subscribes: each takes memory at supernodes.
pub(crate) const MAX_CHANNELS: usize = 8;

/// Broadcasting to a port subscribes to it for so long.
const LEARNED_KEPT: Duration = Duration::from_secs(600);

/// A sample of subscribers that is used is taken anew so often: some of them leave.
const SAMPLE_KEPT: Duration = Duration::from_secs(60);

/// A list of subscribers of which so many are known may be whole: longer ones are given as samples.
const LONGEST_WHOLE: usize = 144;

/// A node's channels in one network, and who else subscribed to them.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Those the machine listens to.
    told: Vec<Channel>,
    /// UDP ports to which the machine broadcasts, and when it last did, the latest last.
    learned: Vec<(u16, Time)>,
    /// The own channels by their keys under all secrets in use.
    keys: BTreeMap<DirectoryKey, Channel>,
    /// The subscribers as each supernode lists them.
    lists: BTreeMap<DirectoryKey, BTreeMap<PeerId, Listing>>,
    /// What each supernode was told, by the member key it was told under.
    announced: BTreeMap<(PeerId, DirectoryKey), Announced>,
    /// When a frame last went to each of the own channels.
    used: BTreeMap<Channel, Time>,
    /// When something may have to be told.
    look: Option<Time>,
    /// The identification of the latest broadcast in fragments, and its port: only the first fragment tells it.
    fragmented: Option<(u16, u16)>,
}

/// Who subscribed to a channel, as far as it is known.
#[derive(Debug)]
pub(crate) struct Subscribers {
    /// Whether these are all.
    pub(crate) whole: bool,
    pub(crate) keys: Vec<PublicKey>,
}

impl Channels {
    /// When [`Engine::tend_channels`] has something to do here.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.look
    }

    fn look_at(&mut self, at: Time) {
        self.look = Some(self.look.map_or(at, |look| look.min(at)));
    }

    /// The own channels: those the machine listens to, then those it broadcasts to, the latest first.
    fn own(&self) -> Vec<Channel> {
        let learned = self.learned.iter().rev().map(|(port, _)| Channel::broadcasts(*port));
        let mut own: Vec<Channel> = Vec::new();
        for channel in self.told.iter().copied().chain(learned) {
            if own.len() < MAX_CHANNELS && !own.contains(&channel) {
                own.push(channel);
            }
        }
        own
    }

    /// The machine broadcasts to a port.
    fn learn(&mut self, now: Time, port: u16) {
        let before = self.own();
        self.learned.retain(|(known, _)| *known != port);
        if self.learned.len() >= MAX_CHANNELS {
            self.learned.remove(0);
        }
        self.learned.push((port, now));
        if !before.contains(&Channel::broadcasts(port)) {
            self.look_at(now);
        } else {
            self.look_at(now + LEARNED_KEPT);
        }
    }

    /// Forgets ports to which nothing was broadcast for long; when the next is due.
    fn expire(&mut self, now: Time) -> Option<Time> {
        self.learned.retain(|(_, at)| now.since(*at) < LEARNED_KEPT);
        self.learned.first().map(|(_, at)| *at + LEARNED_KEPT)
    }

    /// The channel of a frame to a group; none if it is of no channel.
    fn channel_of(&mut self, frame: &[u8]) -> Option<Channel> {
        let group = mac_at(frame, 0)?;
        let channel = if group == Mac::BROADCAST {
            Channel::broadcasts(self.port_of(frame)?)
        } else {
            Channel::multicast(group)
        };
        Some(channel).filter(Channel::is_specific)
    }

    /// The UDP port to which a frame goes over IPv4.
    fn port_of(&mut self, frame: &[u8]) -> Option<u16> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else {
            return None;
        };
        let (header, payload) = (ip.header(), ip.payload());
        if payload.ip_number != IpNumber::UDP {
            return None;
        }
        let id = header.identification();
        if header.fragments_offset().value() != 0 {
            let (_, port) = self.fragmented.filter(|(of, _)| *of == id)?;
            return Some(port);
        }
        let port = u16::from_be_bytes(*payload.payload.get(2..)?.first_chunk()?);
        if header.more_fragments() {
            self.fragmented = Some((id, port));
        }
        Some(port)
    }

    /// Who subscribed to a channel of this node, if a supernode has told.
    fn subscribers(&self, channel: &Channel) -> Option<Subscribers> {
        let keys = self.keys.iter().filter(|(_, known)| *known == channel);
        let lists = keys.filter_map(|(key, _)| self.lists.get(key)).flat_map(BTreeMap::values);
        let (mut told, mut whole, mut all) = (false, false, BTreeMap::<NodeId, PublicKey>::new());
        for list in lists.filter(|list| list.version > 0) {
            told = true;
            whole |= is_whole(list);
            all.extend(list.members.iter().map(|(node, member)| (*node, member.key)));
        }
        told.then(|| Subscribers {
            whole,
            keys: all.into_values().collect(),
        })
    }

    /// The lists of subscribers, whoever tells them.
    pub(crate) fn listings(&self) -> impl Iterator<Item = &Listing> {
        self.lists.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn listings_mut(&mut self) -> impl Iterator<Item = &mut Listing> {
        self.lists.values_mut().flat_map(BTreeMap::values_mut)
    }

    /// Forgets what a supernode told and was told.
    pub(crate) fn forget_supernode(&mut self, supernode: PeerId) {
        for lists in self.lists.values_mut() {
            lists.remove(&supernode);
        }
        self.announced.retain(|(told, _), _| *told != supernode);
    }

    /// Supernodes may have to be told something else than before.
    pub(crate) fn review(&mut self, now: Time) {
        self.look_at(now);
    }

    /// A supernode counts so many members under a member key.
    pub(crate) fn counted(&mut self, now: Time, by: (PeerId, DirectoryKey), count: u32) {
        if is_many(count) && !self.announced.contains_key(&by) {
            self.look_at(now);
        }
    }

    /// What was said to a supernode has to be said again: it may have forgotten.
    pub(crate) fn announce_again(&mut self, now: Time, supernode: PeerId) {
        self.announced.retain(|(told, _), _| *told != supernode);
        self.look_at(now);
    }
}

/// Whether a network has more members than a node sends copies to.
fn is_many(count: u32) -> bool {
    usize::try_from(count).is_ok_and(|count| count > ALL)
}

impl Engine {
    /// Tells which channels of a network the machine listens to: the multicast groups that its kernel or programs joined on the
    /// card, and the ports at which programs expect broadcasts. They take the place of those told before; what is no channel is
    /// left out, and of the others the first eight count.
    pub fn set_channels(&mut self, now: Time, network: NetworkHandle, channels: &[Channel]) {
        let Some(network) = self.networks.get_mut(network) else {
            return;
        };
        let mut told: Vec<Channel> = Vec::new();
        for channel in channels.iter().filter(|channel| channel.is_specific()) {
            if told.len() < MAX_CHANNELS && !told.contains(channel) {
                told.push(*channel);
            }
        }
        if network.channels.told != told {
            network.channels.told = told;
            network.channels.review(now);
        }
    }

    /// The channel of a frame that this machine sends to a group, which it subscribes to if it is one of broadcasts.
    pub(crate) fn note_channel(&mut self, now: Time, handle: NetworkHandle, frame: &[u8]) -> Option<Channel> {
        let channels = &mut self.networks.get_mut(handle)?.channels;
        let channel = channels.channel_of(frame)?;
        if let Some(port) = channel.port {
            channels.learn(now, port);
        }
        if channels.keys.values().any(|own| *own == channel) {
            let before = channels.used.insert(channel, now);
            if before.is_none_or(|before| now.since(before) >= SAMPLE_KEPT) {
                channels.look_at(now);
            }
        }
        Some(channel)
    }

    /// Who subscribed to a channel, as far as it was told.
    pub(crate) fn subscribers_of(&self, handle: NetworkHandle, channel: &Channel) -> Option<Subscribers> {
        self.networks.get(handle)?.channels.subscribers(channel)
    }
}

/// Whether the destination of a frame is a group.
pub(crate) fn is_to_group(frame: &[u8]) -> bool {
    frame.len() >= HEADER && mac_at(frame, 0).is_some_and(|destination| destination.is_group())
}
