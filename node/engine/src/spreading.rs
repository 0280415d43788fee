//! Broadcasts in networks too large for copies to all: the engine around [`farlan_spreading`], which says who gets a copy and
//! what goes on. Here are sessions, keys, the card, and what supernodes tell.
//!
//! 1. [`Engine::note_exchange`] tells who speaks with whom: unicast IP frames, by `outbound` and `inbound`.
//! 2. [`Engine::spread`] sends a frame of this machine.
//! 3. [`Engine::spread_received`] ([`arriving`]) takes a copy in; the signature is checked in its turn ([`crate::work`]), then the frame is
//!    delivered as if its origin had sent it here, and copies go on.
//! 4. [`Engine::tend_spreading`] sends again what was not acknowledged, tells contacts the own need, and looks for company
//!    ([`company`]) where contacts are few. Supernodes give it ([`serving`]).

mod arriving;
mod circle;
mod clocks;
mod company;
mod serving;

use std::{collections::BTreeSet, time::Duration};

use farlan_crypto::{Identity, NodeId, PublicKey, Signature, Work};
use farlan_netconf::{Mac, NodePrefix, Policy};
use farlan_spreading::{
    Allowances, ChannelOf, CopyTo, Form, MAX_CEILING, Neighbours, Origination, SIGNING_DOMAIN, Signer,
    Spread as Copied, Spreading, Verifier,
};
use rand_core::Rng as _;

use crate::{
    Channel, Engine, NetworkHandle, Outbox, Time,
    content::{Content, FRAME_HEADER},
    examinations::lookup_target,
    injection::Kind,
    networks::Network,
    peers::{Path, Peer, PeerId},
    rates::{Meters, Rate},
    switch::mac_at,
    wire::{control::Query, datagram::RelayIndex, sealed::FRAGMENT_HEADER},
};
pub(crate) use arriving::Unchecked;
pub use circle::{ChannelSubscribers, CircleStatus};
use clocks::Clocks;
use company::Company;
use serving::{MAX_COUNTED, SAMPLES};

/// The ceiling of what nearly every machine says to all the time: mDNS, SSDP, LLMNR, NetBIOS.
const CHATTER: u8 = 32;

/// How often such a frame may leave to one port or group; more are dropped.
const CHATTER_RATE: Rate = Rate::per_second(1, Duration::from_secs(8));

/// Groups and ports for which that is counted.
const MAX_CHATTER: usize = 64;

/// Beside copies to all subscribers of a channel a broadcast spreads at least so far.
const BESIDE: u8 = 32;

/// Subscribers of a sample that are used; of a channel with up to twice as many as get a copy each, more.
const SAMPLED: usize = 16;
const SAMPLED_OF_FEW: usize = 64;

/// Which way a unicast frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// To the peer.
    Sent,
    /// From it.
    Received,
}

/// What the node needs for the broadcasts of all its networks.
#[derive(Debug)]
pub(crate) struct Spreads {
    pub(crate) allowances: Allowances,
    pub(crate) clocks: Clocks,
    /// Samples that a supernode gave.
    samples: Meters<PeerId>,
    /// Chatter that left.
    chatter: Meters<(NetworkHandle, Mac, u16)>,
}

impl Default for Spreads {
    fn default() -> Self {
        Self {
            allowances: Allowances::default(),
            clocks: Clocks::default(),
            samples: Meters::new(SAMPLES, MAX_COUNTED),
            chatter: Meters::new(CHATTER_RATE, MAX_CHATTER),
        }
    }
}

/// The broadcasts of one network that is too large for copies to all.
#[derive(Debug)]
pub(crate) struct Social {
    pub(crate) spreading: Spreading,
    pub(crate) company: Company,
}

/// What the spreading asks of the engine.
struct Around<'a> {
    engine: &'a Engine,
    network: NetworkHandle,
}

impl Neighbours for Around<'_> {
    fn rtt(&self, node: &NodeId) -> Option<Duration> {
        self.engine.peers.get(self.engine.peers.by_node(node)?)?.rtt
    }

    fn is_relayed(&self, node: &NodeId) -> bool {
        let peer = self.engine.peers.by_node(node).and_then(|id| self.engine.peers.get(id));
        !peer.is_some_and(|peer| matches!(peer.way(), Some(Path::Direct(_))))
    }

    fn wants(&self, node: &NodeId, channel: &ChannelOf) -> bool {
        let channel = Channel {
            group: channel.group,
            port: Some(channel.port).filter(|port| *port != 0),
        };
        let id = self.engine.peers.by_node(node);
        !channel.is_specific() || id.is_none_or(|id| !self.engine.is_declined(id, self.network, &channel))
    }

    fn admits(&self, origin: &NodeId, _: &[u8; 32], frame: &[u8]) -> bool {
        let Some(network) = self.engine.networks.get(self.network) else {
            return false;
        };
        let is_member = network.private.as_ref().is_none_or(|private| private.is_member(origin));
        // What is for one, and what a node asks the directory for instead.
        let group = matches!(Kind::of(frame), Some(Kind::Of(..)));
        let own_mac = mac_at(frame, 6) == Some(network.plan.mac(origin));
        is_member && group && (own_mac || network.policy == Policy::Friends)
    }
}

/// This node's signatures.
struct Own<'a>(&'a Identity);

impl Signer for Own<'_> {
    fn key(&self) -> [u8; 32] {
        *self.0.public().as_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.0.sign(SIGNING_DOMAIN, message).as_bytes()
    }
}

/// The keys of others.
struct Keys(Work);

impl Verifier for Keys {
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId> {
        Some(PublicKey::from_bytes(key, self.0).ok()?.node_id())
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let key = PublicKey::from_bytes(key, self.0);
        key.is_ok_and(|key| {
            key.verify(SIGNING_DOMAIN, message, &Signature::from_bytes(*signature))
                .is_ok()
        })
    }
}

impl Network {
    /// Begins to count who speaks with whom: once a supernode counts more members than get a copy each, or a peer spreads a frame, so
    /// that others count so many already.
    pub(crate) fn begin_spreading(&mut self, own: NodeId) {
        if self.social.is_none() {
            let id = *self.id.as_bytes().first_chunk().unwrap_or(&[0; 8]);
            let mut spreading = Spreading::new(id, own);
            let contacts = spreading.contacts_mut();
            for node in &self.muted {
                contacts.mute(node);
            }
            for node in &self.pinned {
                contacts.pin(node);
            }
            self.social = Some(Box::new(Social {
                spreading,
                company: Company::default(),
            }));
        }
    }
}

impl Engine {
    /// A unicast frame went to a peer or came from it; `ether` is what it is from its EtherType on.
    pub(crate) fn note_exchange(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        id: PeerId,
        exchange: Exchange,
        ether: &[u8],
    ) {
        let network = self.networks.get_mut(handle);
        let Some(social) = network.and_then(|network| network.social.as_mut()) else {
            return;
        };
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        if is_ip(ether) {
            social.company.look_soon(now);
        }
        let contacts = social.spreading.contacts_mut();
        match exchange {
            _ if !is_ip(ether) => {}
            Exchange::Sent => contacts.sent(now, &node),
            Exchange::Received => contacts.received(now, &node),
        }
    }

    /// Whether frames to groups spread in a network.
    pub(crate) fn spreads_in(&self, handle: NetworkHandle) -> bool {
        let network = self.networks.get(handle);
        network.is_some_and(|network| network.social.is_some() && network.is_large())
    }

    /// Does something with the broadcasts of a network, which asks the engine about others meanwhile.
    fn with_social<T>(
        &mut self,
        handle: NetworkHandle,
        act: impl FnOnce(&mut Social, &mut Allowances, &Around<'_>) -> T,
    ) -> Option<T> {
        let mut social = self.networks.get_mut(handle)?.social.take()?;
        let mut allowances = std::mem::take(&mut self.spreads.allowances);
        let around = Around {
            engine: self,
            network: handle,
        };
        let done = act(&mut social, &mut allowances, &around);
        self.spreads.allowances = allowances;
        if let Some(network) = self.networks.get_mut(handle) {
            network.social = Some(social);
        }
        Some(done)
    }

    /// Spreads a frame of this machine. Those who get a copy `already` get none by this way; it bears the message id that is returned,
    /// so that it and one that came round are one.
    pub(crate) fn spread(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        (channel, frame): (Option<Channel>, &[u8]),
        already: &[PeerId],
        out: &mut Outbox,
    ) -> Option<u64> {
        let of = channel_of(channel, frame);
        let ceiling = match channel {
            _ if !already.is_empty() => {
                let left = usize::from(MAX_CEILING).saturating_sub(already.len());
                u8::try_from(left).unwrap_or(MAX_CEILING).max(BESIDE)
            }
            Some(_) => MAX_CEILING,
            None if !is_chatter(of) => MAX_CEILING,
            None => CHATTER,
        };
        if ceiling == CHATTER && already.is_empty() && !self.spreads.chatter.take(now, (handle, of.group, of.port)) {
            self.counters.group_rate_limited += 1;
            return None;
        }
        let sample = match channel.filter(|_| already.is_empty()) {
            Some(channel) => self.sample_of(now, handle, &channel),
            None => Vec::new(),
        };
        let node_of = |id: &PeerId| self.peers.get(*id).map(|peer| peer.key.node_id());
        let already: Vec<NodeId> = already.iter().filter_map(node_of).collect();
        let mut token = [0; 16];
        self.random.fill_bytes(&mut token);
        let unix_ms = self.agreed_clock(now).unwrap_or_else(|| now.as_nanos() / 1_000_000);
        let copies = self.with_social(handle, |social, _, around| {
            let what = Origination {
                unix_ms,
                token,
                frame,
                port: of.port,
                ceiling,
                sample: &sample,
                already: &already,
            };
            let own = Own(&around.engine.identity);
            let copies = social.spreading.originate(now, &what, around, &own)?;
            Some((social.spreading.originated(), copies))
        });
        let Some((id, copies)) = copies? else {
            self.counters.group_rate_limited += 1;
            return None;
        };
        self.send_spread_copies(now, handle, copies, out);
        Some(id)
    }

    /// The subscribers of a channel that are known.
    fn sample_known(&self, handle: NetworkHandle, channel: &Channel) -> Vec<NodeId> {
        let known = self.subscribers_of(handle, channel);
        let Some(subscribers) = known else { return Vec::new() };
        let others = subscribers.keys.iter().filter(|key| **key != self.public);
        others
            .map(PublicKey::node_id)
            .take(self.sampled(subscribers.count))
            .collect()
    }

    /// How many of so many subscribers of a channel are used as a sample.
    fn sampled(&self, subscribers: usize) -> usize {
        let few = 2 * self.threshold.full_max();
        if subscribers <= few { SAMPLED_OF_FEW } else { SAMPLED }
    }

    /// Some subscribers of a channel, as supernodes tell them.
    fn sample_of(&mut self, now: Time, handle: NetworkHandle, channel: &Channel) -> Vec<NodeId> {
        let Some(subscribers) = self.subscribers_of(handle, channel) else {
            return Vec::new();
        };
        let most = self.sampled(subscribers.count);
        let keys = self.any_of(subscribers.keys, most);
        let mut chosen = Vec::new();
        self.choose(now, &keys, &mut chosen);
        let node_of = |id: &PeerId| self.peers.get(*id).map(|peer| peer.key.node_id());
        chosen.iter().filter_map(node_of).collect()
    }

    /// Sends copies, or lets them wait for sessions.
    pub(crate) fn send_spread_copies(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        copies: Vec<CopyTo>,
        out: &mut Outbox,
    ) {
        for copy in copies {
            let keeps_out = |network: &Network| network.keeps_out(&copy.to);
            let known = self.peers.by_node(&copy.to);
            let Some(id) = known.filter(|_| !self.networks.get(handle).is_some_and(keeps_out)) else {
                self.with_social(handle, |social, _, _| {
                    social.spreading.unsent(&copy.to, copy.id);
                    social.spreading.contacts_mut().dead(&copy.to);
                });
                continue;
            };
            if self.send_spread_copy(now, id, handle, &copy, out) {
                continue;
            }
            self.with_social(handle, |social, _, _| social.spreading.unsent(&copy.to, copy.id));
            self.want(now, id);
            self.locate_peer(now, handle, id);
        }
    }

    /// Has the directory asked where a member is to which no way is known.
    fn locate_peer(&mut self, now: Time, handle: NetworkHandle, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let node = peer.key.node_id();
        let place = self.networks.get(handle).and_then(|network| network.member(&node));
        let is_known = peer.way().is_some() || peer.outgoing.is_some() || !peer.homes.is_empty();
        if !is_known && place.is_none_or(|member| member.place.index == RelayIndex::NONE) {
            self.look_up(now, handle, lookup_target(&node), Query::Prefix(NodePrefix::of(&node)));
        }
    }

    /// Lays one copy out, if a session stands.
    fn send_spread_copy(
        &mut self,
        now: Time,
        id: PeerId,
        network: NetworkHandle,
        copy: &CopyTo,
        out: &mut Outbox,
    ) -> bool {
        self.tell_clock(now, id, out);
        match &copy.form {
            Form::Direct(spread) => self.send_to_group(now, id, network, out, |place| Content::Group {
                network: place,
                sequence: copy.id,
                frame: spread.frame(),
            }),
            Form::Spread(spread) => {
                let bytes = self.written(now, id, spread);
                self.send_to_group(now, id, network, out, |place| Content::Spread {
                    network: place,
                    copy: &bytes,
                })
            }
        }
    }

    /// The bytes of a copy, without tags where it would be cut for them: they only save copies to those who have it already. Those of the
    /// forwarders stay.
    fn written(&mut self, now: Time, id: PeerId, spread: &Copied) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(spread.length());
        spread.write(&mut bytes);
        let way = self.peers.get(id).and_then(Peer::way);
        let Some(envelope) = way.and_then(|way| self.envelope(way)) else {
            return bytes;
        };
        let content = Content::Spread {
            network: 0,
            copy: &bytes,
        };
        if let Some(room) = self.room(now, id, &envelope, &content) {
            // What a part leaves room for has the header of parts beside it.
            let room = (room + FRAGMENT_HEADER).saturating_sub(FRAME_HEADER);
            let mut shorter = Vec::with_capacity(room);
            spread.write_within(&mut shorter, room);
            if shorter.len() <= room {
                return shorter;
            }
        }
        bytes
    }

    /// Sends the copies that waited for a session with a peer.
    pub(crate) fn release_spread(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        for handle in self.networks.handles() {
            let copies = self.with_social(handle, |social, _, around| {
                let waits = social.spreading.waiting_for(&node);
                waits.then(|| social.spreading.release(now, &node, around))
            });
            if let Some(Some(copies)) = copies {
                self.send_spread_copies(now, handle, copies, out);
            }
        }
        self.seal_pending(out);
    }

    /// Those for a session with which copies wait.
    pub(crate) fn spread_waiting(&self) -> BTreeSet<NodeId> {
        let social = self.networks.iter().filter_map(|network| network.social.as_ref());
        social.flat_map(|social| social.spreading.waiting()).collect()
    }

    /// Whether a copy waits for a session with a peer.
    pub(crate) fn spread_waits_for(&self, id: PeerId) -> bool {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return false;
        };
        let mut social = self.networks.iter().filter_map(|network| network.social.as_ref());
        social.any(|social| social.spreading.waiting_for(&node))
    }

    /// When [`Self::tend_spreading`] has something to do.
    pub(crate) fn spreading_deadline(&self) -> Option<Time> {
        let social = self.networks.iter().filter_map(|network| network.social.as_ref());
        social
            .flat_map(|social| [social.spreading.deadline(), social.company.deadline()])
            .flatten()
            .min()
    }

    /// Sends copies again, tells contacts what they are to know, and looks for company.
    pub(crate) fn tend_spreading(&mut self, now: Time, out: &mut Outbox) {
        let mut sent = false;
        for handle in self.networks.handles() {
            let Some(network) = self.networks.get(handle) else {
                continue;
            };
            let Some(social) = &network.social else { continue };
            if social.spreading.deadline().is_some_and(|due| due <= now) {
                let copies = self.with_social(handle, |social, _, _| social.spreading.due(now));
                self.send_spread_copies(now, handle, copies.unwrap_or_default(), out);
                sent = true;
            }
            self.tend_company(now, handle, out);
        }
        if sent {
            self.seal_pending(out);
        }
    }
}

/// The channel of a frame as the spreading knows it.
fn channel_of(channel: Option<Channel>, frame: &[u8]) -> ChannelOf {
    let group = mac_at(frame, 0).unwrap_or(Mac::BROADCAST);
    let port = channel.and_then(|channel| channel.port);
    let port = port.or_else(|| {
        crate::channels::Datagram::of(frame)?
            .port
            .filter(|_| group == Mac::BROADCAST)
    });
    ChannelOf {
        group,
        port: port.unwrap_or(0),
    }
}

/// Whether what stands from the EtherType on is IP, behind two VLAN tags at most.
fn is_ip(mut ether: &[u8]) -> bool {
    for _ in 0..3 {
        match ether {
            [0x08, 0x00, ..] | [0x86, 0xdd, ..] => return true,
            [0x81, 0x00, _, _, rest @ ..] | [0x88, 0xa8, _, _, rest @ ..] => ether = rest,
            _ => return false,
        }
    }
    false
}

/// Whether it is what nearly every machine says to all: what is no channel, but for broadcasts to no port.
fn is_chatter(of: ChannelOf) -> bool {
    of.group != Mac::BROADCAST || of.port != 0
}
