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
    heard: Vec<(NodeId, Time)>,
}

impl Heard {
    pub(crate) fn note(&mut self, now: Time, node: NodeId) {
        self.forget(&node);
        if self.heard.len() >= MAX_HEARD {
            self.heard.remove(0);
        }
        self.heard.push((node, now));
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.heard.retain(|(heard, _)| heard != node);
    }

    /// The latest first.
    pub(crate) fn lately(&self, now: Time) -> impl Iterator<Item = NodeId> {
        let lately = move |(_, at): &&(NodeId, Time)| now.since(*at) < KEPT;
        self.heard.iter().rev().take_while(lately).map(|(node, _)| *node)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.heard.capacity() * size_of::<(NodeId, Time)>()
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
        heard.note(at(100), node(50));
        let lately: Vec<_> = heard.lately(at(100)).collect();
        assert_eq!(lately.len(), MAX_HEARD);
        assert_eq!(&lately[..3], [node(50), node(99), node(98)]);
        assert_eq!(heard.lately(at(698)).collect::<Vec<_>>(), [node(50), node(99)]);
        heard.forget(&node(50));
        assert_eq!(heard.lately(at(100)).next(), Some(node(99)));
    }
}
