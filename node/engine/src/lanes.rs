//! Lanes: what is the same for the packets of a run, found out once and kept for the rest of one batch.
//!
//! A lane holds decisions, no state: whoever uses one looks its peer and session up again, and goes the long way when
//! they are gone. None outlives the call that handles its batch, within which the time and the paths do not change.

use crate::{
    Leg, NetworkHandle,
    engine::Envelope,
    filter::FlowMark,
    forwarding::Onward,
    handshakes::Via,
    mtu,
    peers::PeerId,
    relay_limits::Grant,
    wire::{
        datagram::{Datagram, RELAY_HEADER, SessionIndex},
        sealed::{FrameIn, MACS},
    },
};

/// Where frames between two MACs go.
#[derive(Debug)]
pub(crate) struct OutLane {
    pub(crate) network: NetworkHandle,
    /// Destination and source.
    pub(crate) macs: [u8; MACS],
    pub(crate) peer: PeerId,
    /// Whether the MACs are the two nodes' own.
    pub(crate) own: bool,
    pub(crate) session: SessionIndex,
    /// The same session at the other end.
    pub(crate) remote: SessionIndex,
    /// The network's place in this end's list.
    pub(crate) place: u8,
    pub(crate) envelope: Envelope,
    /// The largest packet, in bytes, of which the path's MTU was told in this batch.
    pub(crate) noted: usize,
    /// The largest packet that passes, in bytes.
    pub(crate) limit: usize,
    /// On networks of strangers, the flow that was noted last, where its mark can be told.
    pub(crate) flow: Option<Option<FlowMark>>,
}

impl OutLane {
    /// Before anything larger was noted: what fits every path.
    pub(crate) const ROOM: usize = mtu::FLOOR;

    pub(crate) fn is_for(&self, network: NetworkHandle, frame: &[u8]) -> bool {
        self.network == network && frame.starts_with(&self.macs)
    }
}

/// What was found out about the datagrams before, in one batch.
#[derive(Debug, Default)]
pub(crate) struct InLanes {
    /// Whether the datagram whose turn it is was found authentic ahead of it, and opened then.
    pub(crate) ahead: Option<bool>,
    frames: Option<InLane>,
    relayed: Option<(Leg, [u8; RELAY_HEADER], Via)>,
    onward: Option<OnwardLane>,
}

/// What goes on to one destination, and how much more may.
#[derive(Debug)]
struct OnwardLane {
    source: Leg,
    header: [u8; RELAY_HEADER],
    onward: Onward,
    /// Unset where there is no limit.
    grant: Option<Grant>,
}

/// What becomes of frames under one session that came one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InLane {
    pub(crate) via: Via,
    pub(crate) peer: PeerId,
    pub(crate) session: SessionIndex,
    /// The network's place in the other end's list.
    pub(crate) place: u8,
    pub(crate) network: NetworkHandle,
    /// The MACs between the two nodes: this node's and the peer's.
    pub(crate) macs: [u8; MACS],
}

impl InLane {
    /// The frame in a message, if it takes this lane.
    pub(crate) fn frame_in<'a>(&self, message: &'a [u8]) -> Option<FrameIn<'a>> {
        FrameIn::of(message).filter(|frame| frame.place == self.place)
    }
}

impl InLanes {
    /// The lane of datagrams under the session `local` that come by `via`.
    pub(crate) fn frames(&self, via: Via, local: SessionIndex) -> Option<InLane> {
        self.frames.filter(|lane| lane.session == local && lane.via == via)
    }

    pub(crate) fn keep_frames(&mut self, lane: Option<InLane>) {
        self.frames = lane;
    }

    /// By which way a datagram came whose relay header was seen before.
    pub(crate) fn relayed(&self, source: Leg, datagram: &[u8]) -> Option<Via> {
        let (known, header, via) = self.relayed.as_ref()?;
        (*known == source && datagram.starts_with(header)).then_some(*via)
    }

    pub(crate) fn keep_relayed(&mut self, source: Leg, datagram: &[u8], via: Via) {
        self.relayed = datagram.first_chunk().map(|header| (source, *header, via));
    }

    /// Whither a datagram goes on whose relay header was seen before. Only for data: what a handshake may is judged anew.
    pub(crate) fn onward(&mut self, source: Leg, datagram: &[u8]) -> Option<Onward> {
        let lane = self.onward.as_mut()?;
        let same = lane.source == source && datagram.starts_with(&lane.header) && holds_data(datagram);
        let enough = same && lane.grant.as_mut().is_none_or(|grant| grant.take(datagram.len()));
        enough.then_some(lane.onward)
    }

    /// Keeps the lane of a datagram that goes on; returns whether it has one.
    pub(crate) fn keep_onward(&mut self, source: Leg, datagram: &[u8], onward: Onward, grant: Option<Grant>) -> bool {
        let header = datagram.first_chunk().filter(|_| holds_data(datagram));
        self.onward = header.map(|header| OnwardLane {
            source,
            header: *header,
            onward,
            grant,
        });
        self.onward.is_some()
    }

    /// Leaves the lane of what goes on; returns what it did not use.
    pub(crate) fn leave_onward(&mut self) -> Option<Grant> {
        self.onward.take().and_then(|lane| lane.grant)
    }
}

/// Whether what stands behind a short relay header is a data datagram.
fn holds_data(datagram: &[u8]) -> bool {
    datagram.get(RELAY_HEADER..).is_some_and(Datagram::is_data)
}
