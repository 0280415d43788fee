//! Whom a broadcast is for.

use farlan_crypto::NodeId;
use farlan_netconf::Mac;

use crate::ChannelOf;

/// Whom a broadcast is for.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Its channel.
    pub channel: ChannelOf,
    /// The most deliveries it may cause, up to [`MAX_CEILING`](crate::MAX_CEILING).
    pub ceiling: u8,
    /// Subscribers of the channel that a supernode told, as many as are to be used.
    pub sample: &'a [NodeId],
    /// Those that get it anyhow: they get no copy, and nobody sends them one as far as tags tell.
    pub already: &'a [NodeId],
}

/// A broadcast of this node.
#[derive(Clone, Copy, Debug)]
pub struct Origination<'a> {
    /// The own clock, in milliseconds since 1970. It need not be right.
    pub unix_ms: u64,
    /// 16 random bytes, anew for each.
    pub token: [u8; 16],
    /// The frame.
    pub frame: &'a [u8],
    /// The UDP destination port of a broadcast, or 0.
    pub port: u16,
    /// As in [`Reach`].
    pub ceiling: u8,
    /// As in [`Reach`].
    pub sample: &'a [NodeId],
    /// As in [`Reach`].
    pub already: &'a [NodeId],
}

impl<'a> Origination<'a> {
    /// Whom it is for; none if its frame goes to no group.
    pub(crate) fn reach(&self) -> Option<Reach<'a>> {
        let group = Mac::from_bytes(*self.frame.first_chunk()?);
        group.is_group().then_some(Reach {
            channel: ChannelOf { group, port: self.port },
            ceiling: self.ceiling,
            sample: self.sample,
            already: self.already,
        })
    }
}
