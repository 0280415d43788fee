//! Whose broadcasts came lately.

use std::time::Duration;

use farlan_crypto::NodeId;

use crate::Time;

/// Origins that are remembered.
const MAX_HEARD: usize = 64;

/// For so long.
const KEPT: Duration = Duration::from_secs(600);

/// The origins of broadcasts that came within two levels: who hears me is likely to be near, and to want to hear from me. An
/// origin sends them copies itself, so that those that many have to do with need not.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The latest last.
    heard: Vec<Origin>,
}

/// One of them, and what it said it could make use of.
#[derive(Clone, Copy, Debug)]
struct Origin {
    node: NodeId,
    at: Time,
    need: Option<u8>,
}

impl Heard {
    pub(crate) fn note(&mut self, now: Time, node: NodeId) {
        let known = self.heard.iter().position(|origin| origin.node == node);
        let known = known.map(|place| self.heard.remove(place));
        if self.heard.len() >= MAX_HEARD {
            self.heard.remove(0);
        }
        let need = known.and_then(|origin| origin.need);
        self.heard.push(Origin { node, at: now, need });
    }

    pub(crate) fn set_need(&mut self, node: &NodeId, need: u8) {
        for origin in self.heard.iter_mut().filter(|origin| origin.node == *node) {
            origin.need = Some(need);
        }
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.heard.retain(|origin| origin.node != *node);
    }

    /// The latest first, and what they said they could make use of.
    pub(crate) fn lately(&self, now: Time) -> impl Iterator<Item = (NodeId, Option<u8>)> {
        let lately = move |origin: &&Origin| now.since(origin.at) < KEPT;
        let heard = self.heard.iter().rev().take_while(lately);
        heard.map(|origin| (origin.node, origin.need))
    }

    #[cfg(test)]
    pub(crate) const MOST_BYTES: usize = MAX_HEARD * size_of::<Origin>();

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.heard.capacity() * size_of::<Origin>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[test]
    fn the_latest_come_first_and_old_ones_not_at_all() {
        let mut heard = Heard::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        for number in 0..100 {
            heard.note(at(u64::from(number)), node(number));
        }
        heard.set_need(&node(50), 9);
        heard.note(at(100), node(50));
        let lately: Vec<_> = heard.lately(at(100)).collect();
        assert_eq!(lately.len(), MAX_HEARD);
        assert_eq!(lately[..3], [(node(50), Some(9)), (node(99), None), (node(98), None)]);
        assert_eq!(heard.lately(at(698)).count(), 2);
        heard.forget(&node(50));
        assert_eq!(heard.lately(at(100)).next(), Some((node(99), None)));
    }
}
