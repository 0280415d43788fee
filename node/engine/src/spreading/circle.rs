//! Who hears this machine's broadcasts, to be shown; whom the user mutes or pins.

use farlan_crypto::NodeId;
use farlan_netconf::Mac;
use farlan_spreading::{ChannelOf, Circle, MAX_CEILING, Reach};

use super::BESIDE;
use crate::{Channel, Engine, NetworkHandle, Time};

/// Who hears this machine's broadcasts in a network.
#[derive(Clone, Debug)]
pub struct CircleStatus {
    /// How many members there are, this node among them; 0 if nobody tells.
    pub members: u32,
    /// Up to how many members each gets a copy.
    pub full_max: usize,
    /// Where there are more: to whom copies go, why, and how far. None where all members get one.
    pub circle: Option<Circle>,
    /// The most deliveries that one broadcast may cause there.
    pub ceiling: u8,
    /// The subscribers of the channel that was asked about, where it is one, there are more members, and supernodes told.
    pub subscribers: Option<ChannelSubscribers>,
    /// What was sent and came there.
    pub counts: farlan_spreading::Counts,
}

/// The subscribers of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSubscribers {
    /// How many there are, this node among them if it is one.
    pub count: usize,
    /// Others that are known here.
    pub known: Vec<NodeId>,
    /// Whether these get a copy each, and the broadcast spreads beside that, if it is none to a multicast group.
    pub served: bool,
}

/// Members of a network that may be muted, or pinned.
const MAX_MARKED: usize = 256;

impl Engine {
    /// Who would get a copy of a broadcast of this machine in a network now: one of a channel, or one of none.
    #[must_use]
    pub fn circle(&self, now: Time, network: NetworkHandle, channel: Option<Channel>) -> Option<CircleStatus> {
        let of = self.networks.get(network)?;
        let social = of.social.as_ref().filter(|_| of.is_large());
        let channel = channel.filter(|channel| social.is_some() && channel.is_specific());
        let subscribers = channel.and_then(|channel| self.channel_subscribers(network, &channel));
        let known = subscribers.as_ref().map_or(&[][..], |subscribers| &subscribers.known);
        let served = subscribers.as_ref().is_some_and(|subscribers| subscribers.served);
        let (sample, already) = if served {
            (Vec::new(), known)
        } else {
            let sample = channel.map_or_else(Vec::new, |channel| self.sample_known(network, &channel));
            (sample, &[][..])
        };
        let ceiling = match channel {
            // As `send_copies` and `spread` have it.
            Some(channel) if !already.is_empty() && channel.group != Mac::BROADCAST => 0,
            _ if !already.is_empty() => {
                let left = usize::from(MAX_CEILING).saturating_sub(already.len());
                u8::try_from(left).unwrap_or(MAX_CEILING).max(BESIDE)
            }
            _ => MAX_CEILING,
        };
        let reach = Reach {
            channel: ChannelOf {
                group: channel.map_or(Mac::BROADCAST, |channel| channel.group),
                port: channel.and_then(|channel| channel.port).unwrap_or(0),
            },
            ceiling,
            sample: &sample,
            already,
        };
        let around = super::Around { engine: self, network };
        Some(CircleStatus {
            members: of.status().members,
            full_max: self.threshold.full_max(),
            circle: social.map(|social| social.spreading.circle(now, &reach, &around)),
            ceiling,
            subscribers,
            counts: social.map(|social| *social.spreading.counts()).unwrap_or_default(),
        })
    }

    /// The subscribers of a channel of a large network, as supernodes and they themselves told.
    fn channel_subscribers(&self, network: NetworkHandle, channel: &Channel) -> Option<ChannelSubscribers> {
        let subscribers = self.subscribers_of(network, channel)?;
        let mutes = |node: &NodeId| self.networks.get(network).is_some_and(|network| network.mutes(node));
        let listed = subscribers.keys.iter().filter(|key| **key != self.public);
        let mut known: Vec<NodeId> = listed.map(farlan_crypto::PublicKey::node_id).collect();
        if subscribers.whole {
            for id in self.subscribed_peers(network, channel) {
                let node = self.peers.get(id).map(|peer| peer.key.node_id());
                known.extend(node.filter(|node| !known.contains(node)));
            }
        }
        known.retain(|node| !mutes(node));
        known.truncate(self.threshold.full_max());
        Some(ChannelSubscribers {
            count: subscribers.count,
            served: subscribers.whole && !known.is_empty(),
            known,
        })
    }

    /// Mutes a member of a network, so that nothing it says to all is delivered here or sent on, and it gets nothing of what this
    /// machine says to all; or ends that. Returns whether there was room: for 256.
    pub fn set_muted(&mut self, network: NetworkHandle, node: &NodeId, muted: bool) -> bool {
        self.mark(network, node, muted, true)
    }

    /// Pins a member of a network, so that it comes first among those who get what this machine says to all; or ends that. Returns
    /// whether there was room: for 256.
    pub fn set_pinned(&mut self, network: NetworkHandle, node: &NodeId, pinned: bool) -> bool {
        self.mark(network, node, pinned, false)
    }

    fn mark(&mut self, network: NetworkHandle, node: &NodeId, on: bool, mute: bool) -> bool {
        let Some(network) = self.networks.get_mut(network) else {
            return false;
        };
        let marked = if mute { &mut network.muted } else { &mut network.pinned };
        if !on {
            marked.remove(node);
        } else if !marked.contains(node) && marked.len() >= MAX_MARKED {
            return false;
        } else {
            marked.insert(*node);
        }
        if let Some(social) = &mut network.social {
            let contacts = social.spreading.contacts_mut();
            match (mute, on) {
                (true, true) => return contacts.mute(node),
                (true, false) => contacts.unmute(node),
                (false, true) => return contacts.pin(node),
                (false, false) => contacts.unpin(node),
            }
        }
        true
    }
}
