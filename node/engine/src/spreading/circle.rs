//! Who hears this machine's broadcasts, to be shown; whom the user mutes or pins.

use farlan_crypto::NodeId;
use farlan_spreading::{Circle, MAX_CEILING, Reach};

use super::channel_of;
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
    /// What was sent and came there.
    pub counts: farlan_spreading::Counts,
}

/// Members of a network that may be muted, or pinned.
const MAX_MARKED: usize = 256;

impl Engine {
    /// Who would get a copy of a broadcast of this machine in a network now: one of a channel, or one of none.
    #[must_use]
    pub fn circle(&self, now: Time, network: NetworkHandle, channel: Option<Channel>) -> Option<CircleStatus> {
        let of = self.networks.get(network)?;
        let sample: Vec<NodeId> = channel.map_or_else(Vec::new, |channel| self.sample_known(network, &channel));
        let reach = Reach {
            channel: channel_of(channel, &[]),
            ceiling: MAX_CEILING,
            sample: &sample,
            already: &[],
        };
        let social = of.social.as_ref().filter(|_| of.is_large());
        let around = super::Around { engine: self, network };
        Some(CircleStatus {
            members: of.status().members,
            full_max: self.threshold.full_max(),
            circle: social.map(|social| social.spreading.circle(now, &reach, &around)),
            ceiling: MAX_CEILING,
            counts: social.map(|social| *social.spreading.counts()).unwrap_or_default(),
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
