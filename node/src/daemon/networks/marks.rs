//! Members whom the user mutes or pins.

use std::collections::BTreeSet;

use farlan_crypto::NodeId;

use crate::shell::Request;
use farlan_engine::NetworkHandle;

/// What can be done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Mark {
    /// Nothing of its broadcasts is heard or passed on, and it gets none.
    Muted,
    /// It comes first among those who get a broadcast.
    Pinned,
}

impl Mark {
    /// What a member is then.
    pub(in crate::daemon) fn word(self) -> &'static str {
        match self {
            Self::Muted => "muted",
            Self::Pinned => "pinned",
        }
    }

    /// What ends it.
    pub(in crate::daemon) fn end(self) -> &'static str {
        match self {
            Self::Muted => "unmute",
            Self::Pinned => "unpin",
        }
    }

    /// What the data plane is told.
    pub(in crate::daemon) fn request(self, network: NetworkHandle, nodes: Vec<NodeId>, on: bool) -> Request {
        match self {
            Self::Muted => Request::SetMuted {
                network,
                nodes,
                muted: on,
            },
            Self::Pinned => Request::SetPinned {
                network,
                nodes,
                pinned: on,
            },
        }
    }
}

/// Those of one network who are muted, or pinned: [`MOST`](Self::MOST) at the most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Marked(BTreeSet<NodeId>);

impl Marked {
    /// The engine takes no more.
    pub(in crate::daemon) const MOST: usize = 256;

    /// Reads what [`texts`](Self::texts) wrote.
    pub(super) fn parse(texts: &[String]) -> Result<Self, String> {
        let nodes = texts.iter().map(|text| {
            let node = text.parse::<NodeId>();
            node.map_err(|error| format!("{text:?} is no node id: {error}"))
        });
        let nodes = nodes.collect::<Result<BTreeSet<_>, _>>()?;
        if nodes.len() > Self::MOST {
            return Err(format!("more than {} members are muted or pinned", Self::MOST));
        }
        Ok(Self(nodes))
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub(in crate::daemon) fn contains(&self, node: &NodeId) -> bool {
        self.0.contains(node)
    }

    pub(in crate::daemon) fn iter(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter()
    }

    pub(in crate::daemon) fn is_full(&self) -> bool {
        self.0.len() >= Self::MOST
    }

    pub(in crate::daemon) fn set(&mut self, node: NodeId, on: bool) {
        if on {
            self.0.insert(node);
        } else {
            self.0.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_so_that_they_are_read_as_the_same_and_are_no_more_than_256() {
        let ids = |count: u16| -> Vec<String> {
            let id = |number: u16| {
                let mut bytes = [0; 16];
                bytes[..2].copy_from_slice(&number.to_be_bytes());
                NodeId::from_bytes(bytes).to_string()
            };
            (0..count).map(id).collect()
        };
        let most = Marked::parse(&ids(256)).unwrap();
        assert!(most.is_full());
        assert_eq!(Marked::parse(&most.texts()), Ok(most));
        assert!(Marked::parse(&ids(257)).unwrap_err().contains("more than 256"));
        assert!(Marked::parse(&["abc".to_owned()]).unwrap_err().contains("no node id"));
    }
}
