//! Channels: what members subscribe to, so that in a network too large for copies to all a broadcast reaches those who
//! want it.
//!
//! A channel is a group to which frames go: a multicast MAC, or, since everything is broadcast to one MAC, the UDP port of
//! broadcasts. Where each supernode keeps the lists of members ([`crate::members`]) it keeps one of the subscribers to each
//! channel as well ([`crate::subscriptions`]). A node subscribes ([`announcing`]) to what its machine listens to, as
//! [`Engine::set_channels`] is told, and to what it broadcasts itself. A supernode takes that in [`serving`]. Where no list of
//! members is whole, peers tell each other as well ([`peers`]), so that it works without any directory.

mod announcing;
mod peers;
mod serving;

use std::{collections::BTreeMap, time::Duration};

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};
use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::{DirectoryKey, Mac};

use crate::{
    Engine, NetworkHandle, Outbox, Time, networks::Listing, peers::PeerId, switch::mac_at, threshold::Threshold,
};
use announcing::Announced;
pub(crate) use peers::{Exchanged, Wanted};
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

/// Of these so many are left for those that the machine sends to, if there are some.
const LEARNED_AT_LEAST: usize = 2;

/// Sending to a channel subscribes to it for so long.
const LEARNED_KEPT: Duration = Duration::from_secs(600);

/// A channel to which the machine sent within this time is in use.
const IN_USE: Duration = Duration::from_secs(60);

/// Whoever was told is told of a change at once, but no more often than this: a program that opens many ports causes two messages,
/// not one for each, and one that opens and closes them all the time stays far below what supernodes take. It is short enough
/// for a newcomer, which is told of in two round trips more, to hear what is announced every 1.5 s within 3 s.
const CHANGES: Duration = Duration::from_secs(1);

/// A sample of subscribers that is used is taken anew so often: some of them leave.
const SAMPLE_KEPT: Duration = Duration::from_secs(60);

/// The first frames of a channel wait so long to be told who subscribed: a program that asks once who is there asks those then.
const ANSWER_WAITED: Duration = Duration::from_secs(1);

/// Frames of one network that wait for that.
const MAX_HELD: usize = 8;

/// A node's channels in one network, and who else subscribed to them.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Up to how many get a copy each.
    pub(crate) threshold: Threshold,
    /// Those the machine listens to.
    told: Vec<Channel>,
    /// Whether the machine has said so.
    heard: bool,
    /// Whether it listens to more groups than are told.
    more: bool,
    /// Whether other machines are behind the card.
    behind: bool,
    #[cfg(test)]
    pub(crate) many_for_test: bool,
    /// Whether the list of members was whole when it was last looked at.
    whole: bool,
    /// Groups, and UDP ports of broadcasts, to which the machine sends, and when it last did, the latest last.
    learned: Vec<(Channel, Time)>,
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
    /// When each of the own channels was first used without being answered yet who else subscribed.
    asked: BTreeMap<Channel, Time>,
    /// Frames that wait for that.
    held: Vec<(Channel, Vec<u8>)>,
    /// The identification of the latest broadcast in fragments, and its port: only the first fragment tells it.
    fragmented: Option<(u16, u16)>,
}

/// Who subscribed to a channel, as far as it is known.
#[derive(Debug)]
pub(crate) struct Subscribers {
    /// Whether these are all.
    pub(crate) whole: bool,
    /// How many there are.
    pub(crate) count: usize,
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

    /// The own channels: those the machine listens to, then those it sends to, the latest first; of these at least two.
    fn own(&self) -> Vec<Channel> {
        let learned = self.learned.iter().rev().map(|(channel, _)| *channel);
        let learned = learned.filter(|channel| !self.told.contains(channel));
        let learned: Vec<Channel> = learned.take(MAX_CHANNELS).collect();
        let told = MAX_CHANNELS - learned.len().min(LEARNED_AT_LEAST);
        let told = self.told.iter().copied().take(told);
        told.chain(learned).take(MAX_CHANNELS).collect()
    }

    /// The machine sends to a channel. One that was used just before is not given up for another: a program that goes through
    /// many ports would take the place of a game that tells of itself.
    fn learn(&mut self, now: Time, channel: Channel) {
        let before = self.own();
        if !self.learned.iter().any(|(known, _)| *known == channel) && self.learned.len() >= MAX_CHANNELS {
            if self.learned.first().is_some_and(|(_, at)| now.since(*at) < IN_USE) {
                return;
            }
            self.learned.remove(0);
        }
        self.learned.retain(|(known, _)| *known != channel);
        self.learned.push((channel, now));
        if before.contains(&channel) {
            self.look_at(now + LEARNED_KEPT);
        } else {
            self.look_at(now);
        }
    }

    /// Forgets channels to which nothing was sent for long; when the next is due.
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
        let datagram = Datagram::of(frame)?;
        if datagram.is_later {
            let (_, port) = self.fragmented.filter(|(of, _)| *of == datagram.identification)?;
            return Some(port);
        }
        let port = datagram.port?;
        if datagram.has_more {
            self.fragmented = Some((datagram.identification, port));
        }
        Some(port)
    }

    /// Who subscribed to a channel of this node, if a supernode has told.
    fn subscribers(&self, channel: &Channel) -> Option<Subscribers> {
        let keys = self.keys.iter().filter(|(_, known)| *known == channel);
        let lists = keys
            .filter_map(|(key, _)| self.lists.get(key))
            .flat_map(BTreeMap::values);
        let (mut told, mut whole, mut count) = (false, false, 0);
        let mut all = BTreeMap::<NodeId, PublicKey>::new();
        for list in lists.filter(|list| list.version > 0) {
            told = true;
            count = count.max(usize::try_from(list.count).unwrap_or(usize::MAX));
            whole |= self.threshold.names_all(list);
            all.extend(list.members.iter().map(|(node, member)| (*node, member.key)));
        }
        told.then(|| Subscribers {
            whole,
            count,
            keys: all.into_values().collect(),
        })
    }

    /// Whether a supernode has told all who subscribed to a channel, or that there are too many.
    fn is_told(&self, channel: &Channel) -> bool {
        let keys = self.keys.iter().filter(|(_, known)| *known == channel);
        let mut lists = keys
            .filter_map(|(key, _)| self.lists.get(key))
            .flat_map(BTreeMap::values);
        let longest = self.threshold.longest_whole();
        lists.any(|list| {
            let too_many = usize::try_from(list.count).is_ok_and(|count| count > longest);
            self.threshold.names_all(list) || too_many
        })
    }

    /// The frames that need not wait any more.
    fn release(&mut self, now: Time) -> Vec<(Channel, Vec<u8>)> {
        let all = std::mem::take(&mut self.held);
        let waits = |channel: &Channel| {
            let asked = self.asked.get(channel);
            asked.is_some_and(|asked| now.since(*asked) < ANSWER_WAITED) && !self.is_told(channel)
        };
        let (held, released) = all.into_iter().partition(|(channel, _)| waits(channel));
        self.held = held;
        released
    }

    /// The lists of subscribers that name them all, whoever tells them.
    pub(crate) fn whole_listings(&self) -> impl Iterator<Item = &Listing> {
        self.listings().filter(|listing| self.threshold.names_all(listing))
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
        let nothing = self.told.is_empty() && self.learned.is_empty();
        if !(nothing && self.announced.is_empty() && self.lists.is_empty()) {
            self.look_at(now);
        }
    }

    /// A supernode counts so many members under a member key.
    pub(crate) fn counted(&mut self, now: Time, by: (PeerId, DirectoryKey), count: u32) {
        if self.threshold.is_passed(count) && !self.announced.contains_key(&by) {
            self.review(now);
        }
    }

    /// What was said to a supernode has to be said again: it may have forgotten.
    pub(crate) fn announce_again(&mut self, now: Time, supernode: PeerId) {
        self.announced.retain(|(told, _), _| *told != supernode);
        self.review(now);
    }
}

impl Engine {
    /// Tells which channels of a network the machine listens to: the multicast groups that its kernel or programs joined on the
    /// card, and the ports at which programs expect broadcasts. They take the place of those told before; what is no channel is
    /// left out, and of the others the first eight count. As long as it was not called, peers are told nothing, and send all.
    pub fn set_channels(&mut self, now: Time, network: NetworkHandle, channels: &[Channel]) {
        let Some(network) = self.networks.get_mut(network) else {
            return;
        };
        let (mut told, mut more) = (Vec::<Channel>::new(), false);
        for channel in channels.iter().filter(|channel| channel.is_specific()) {
            if told.contains(channel) {
                continue;
            }
            if told.len() < MAX_CHANNELS {
                told.push(*channel);
            } else {
                more |= channel.group != Mac::BROADCAST;
            }
        }
        let channels = &mut network.channels;
        if !channels.heard || (&channels.told, channels.more) != (&told, more) {
            (channels.told, channels.more, channels.heard) = (told, more, true);
            channels.look_at(now);
        }
    }

    /// The channel of a frame that this machine sends to a group, which it subscribes to: who tells something to a group seldom
    /// joins it, and is to know who did.
    pub(crate) fn note_channel(&mut self, now: Time, handle: NetworkHandle, frame: &[u8]) -> Option<Channel> {
        let channels = &mut self.networks.get_mut(handle)?.channels;
        let channel = channels.channel_of(frame)?;
        channels.learn(now, channel);
        if channels.keys.values().any(|own| *own == channel) {
            let before = channels.used.insert(channel, now);
            if before.is_none_or(|before| now.since(before) >= SAMPLE_KEPT) {
                channels.look_at(now);
            }
        }
        Some(channel)
    }

    /// Keeps a frame back if this node has just subscribed to its channel, and supernodes are about to tell who else did.
    pub(crate) fn hold_for_subscribers(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        channel: Channel,
        frame: &[u8],
    ) -> bool {
        let directory = &self.directory;
        let Some(network) = self.networks.get_mut(handle) else {
            return false;
        };
        let mut listings = network.listings.iter();
        let threshold = network.channels.threshold;
        let is_asked =
            listings.any(|(id, listing)| threshold.is_passed(listing.count) && directory.relay_index(*id).is_some());
        let complete = network.list_complete();
        let channels = &mut network.channels;
        if complete || !is_asked || channels.is_told(&channel) || !channels.own().contains(&channel) {
            return false;
        }
        let asked = *channels.asked.entry(channel).or_insert(now);
        if now.since(asked) >= ANSWER_WAITED || channels.held.len() >= MAX_HELD {
            return false;
        }
        channels.held.push((channel, frame.to_vec()));
        channels.look_at(asked + ANSWER_WAITED);
        true
    }

    /// Sends frames that need not wait for an answer any more.
    fn release_held(&mut self, now: Time, handle: NetworkHandle, out: &mut Outbox) {
        let channels = self.networks.get_mut(handle).map(|network| &mut network.channels);
        let released = channels.map(|channels| channels.release(now)).unwrap_or_default();
        for (channel, frame) in &released {
            self.send_copies(now, handle, Some(*channel), frame, out);
        }
        if !released.is_empty() {
            self.seal_pending(out);
        }
    }

    /// Who subscribed to a channel, as far as it was told.
    pub(crate) fn subscribers_of(&self, handle: NetworkHandle, channel: &Channel) -> Option<Subscribers> {
        self.networks.get(handle)?.channels.subscribers(channel)
    }
}

/// What a frame tells of a UDP datagram over IPv4, or of a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    identification: u16,
    is_later: bool,
    has_more: bool,
    /// The port it goes to; a later part does not tell.
    pub(crate) port: Option<u16>,
}

impl Datagram {
    /// Reads a frame, behind VLAN tags, too.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else {
            return None;
        };
        let (header, payload) = (ip.header(), ip.payload());
        if payload.ip_number != IpNumber::UDP {
            return None;
        }
        let is_later = header.fragments_offset().value() != 0;
        let port = payload.payload.get(2..).and_then(|rest| rest.first_chunk()).copied();
        Some(Self {
            identification: header.identification(),
            is_later,
            has_more: header.more_fragments(),
            port: port.filter(|_| !is_later).map(u16::from_be_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Time = Time::from_nanos(1_000_000_000);

    fn multicast(group: [u8; 6]) -> Channel {
        Channel::multicast(Mac::from_bytes(group))
    }

    #[test]
    fn what_all_listen_to_is_no_channel() {
        for group in [
            [0x01, 0, 0x5e, 0, 0, 0xfb],
            [0x01, 0, 0x5e, 0, 0, 0xfc],
            [0x01, 0, 0x5e, 0, 0, 1],
            [0x01, 0, 0x5e, 0x7f, 0xff, 0xfa],
            [0x33, 0x33, 0, 0, 0, 0xfb],
            [0x33, 0x33, 0, 0, 0, 0x0c],
            [0x33, 0x33, 0, 0, 0, 1],
            [0x33, 0x33, 0, 0, 0, 2],
            [0x33, 0x33, 0, 1, 0, 3],
            [0x33, 0x33, 0xff, 0x12, 0x34, 0x56],
            [0x01, 0x80, 0xc2, 0, 0, 0],
            [0xff; 6],
            [0x02, 0, 0, 0, 0, 1],
        ] {
            assert!(!multicast(group).is_specific(), "{group:x?}");
        }
        for port in [0, 67, 68, 137, 138] {
            assert!(!Channel::broadcasts(port).is_specific(), "{port}");
        }
        assert!(Channel::broadcasts(27_015).is_specific());
        for group in [[0x01, 0, 0x5e, 1, 2, 3], [0x33, 0x33, 0, 0, 1, 1]] {
            assert!(multicast(group).is_specific(), "{group:x?}");
            let with_port = Channel {
                port: Some(1),
                ..multicast(group)
            };
            assert!(!with_port.is_specific());
        }
    }

    /// A broadcast of a UDP datagram, or of a part of one, behind `tags` VLAN tags.
    fn broadcast(tags: usize, (id, offset, more): (u16, u16, bool), port: u16) -> Vec<u8> {
        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
        frame.extend([0x81, 0, 0, 0].repeat(tags));
        frame.extend([0x08, 0, 0x45, 0, 0, 36]);
        frame.extend(id.to_be_bytes());
        frame.extend((offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 255, 255, 255, 255]);
        frame.extend([0x12, 0x34]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        frame
    }

    #[test]
    fn a_broadcast_is_of_the_channel_of_its_port() {
        let mut channels = Channels::default();
        let whole = (1, 0, false);
        for tags in 0..=2 {
            let channel = channels.channel_of(&broadcast(tags, whole, 27_015));
            assert_eq!(channel, Some(Channel::broadcasts(27_015)), "{tags} tags");
        }
        assert_eq!(channels.channel_of(&broadcast(0, whole, 137)), None);
        // Only the first of several parts says the port.
        assert_eq!(channels.channel_of(&broadcast(0, (7, 2, false), 99)), None);
        let first = channels.channel_of(&broadcast(0, (7, 0, true), 4000));
        assert_eq!(first, Some(Channel::broadcasts(4000)));
        assert_eq!(channels.channel_of(&broadcast(0, (7, 2, false), 99)), first);
        assert_eq!(channels.channel_of(&broadcast(0, (8, 2, false), 99)), None);
        let frame = broadcast(0, whole, 27_015);
        for length in 0..frame.len() {
            let channel = channels.channel_of(&frame[..length]);
            assert!(
                channel.is_none_or(|channel| channel == Channel::broadcasts(27_015)),
                "{length}"
            );
        }
        let multicast = [&[0x01, 0, 0x5e, 1, 2, 3], &frame[6..]].concat();
        let group = Mac::from_bytes([0x01, 0, 0x5e, 1, 2, 3]);
        assert_eq!(channels.channel_of(&multicast), Some(Channel::multicast(group)));
    }

    #[test]
    fn told_channels_go_before_learned_ones_and_the_latest_of_these_first() {
        let mut channels = Channels {
            told: (1..=5).map(Channel::broadcasts).collect(),
            ..Channels::default()
        };
        for (number, port) in [10, 11, 12, 13, 3].into_iter().enumerate() {
            channels.learn(AT + Duration::from_secs(number as u64), Channel::broadcasts(port));
        }
        let ports = |channels: &Channels| channels.own().iter().filter_map(|own| own.port).collect::<Vec<_>>();
        assert_eq!(ports(&channels), [1, 2, 3, 4, 5, 13, 12, 11]);
        channels.learn(AT + Duration::from_secs(6), Channel::broadcasts(10));
        assert_eq!(ports(&channels), [1, 2, 3, 4, 5, 10, 13, 12]);
        channels.expire(AT + Duration::from_secs(604));
        assert_eq!(ports(&channels), [1, 2, 3, 4, 5, 10], "ten minutes after the last");
        for port in 100..1000 {
            channels.learn(AT, Channel::broadcasts(port));
        }
        assert_eq!(
            (channels.learned.len(), channels.own().len()),
            (MAX_CHANNELS, MAX_CHANNELS)
        );
        channels.told = (1..=8).map(Channel::broadcasts).collect();
        assert_eq!(
            ports(&channels)[..6],
            [1, 2, 3, 4, 5, 6],
            "two are left for what is sent"
        );
        assert!(ports(&channels)[6..].iter().all(|port| *port > 8));
    }

    #[test]
    fn who_goes_through_many_ports_does_not_displace_what_is_in_use() {
        let mut channels = Channels::default();
        let game = multicast([0x01, 0, 0x5e, 0, 2, 60]);
        for second in 0..100 {
            let now = AT + Duration::from_secs(second);
            channels.learn(now, game);
            for port in 1000..1030 {
                channels.learn(now, Channel::broadcasts(port));
            }
            assert!(channels.own().contains(&game));
        }
        // When that ends, others have their turn.
        let later = AT + Duration::from_secs(200);
        channels.learn(later, Channel::broadcasts(5));
        assert!(channels.own().contains(&Channel::broadcasts(5)));
    }
}
