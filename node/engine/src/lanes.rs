//! Lanes: what is the same for the packets of a run, found out once and kept for the rest of one batch.
//!
//! A lane holds decisions, no state: whoever uses one looks its peer and session up again, and goes the long way when
//! they are gone. None outlives the call that handles its batch, within which the time and the paths do not change.

use std::net::SocketAddr;

use crate::{
    NetworkHandle,
    engine::Envelope,
    filter::FlowMark,
    forwarding::Onward,
    handshakes::Via,
    mtu,
    peers::PeerId,
    wire::{
        datagram::{DATA_HEADER, Datagram, RELAY_HEADER, SessionIndex},
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
    frames: Option<InLane>,
    relayed: Option<(SocketAddr, [u8; RELAY_HEADER], Via)>,
    onward: Option<(SocketAddr, [u8; RELAY_HEADER], Onward)>,
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
    pub(crate) fn relayed(&self, source: SocketAddr, datagram: &[u8]) -> Option<Via> {
        let (known, header, via) = self.relayed.as_ref()?;
        (*known == source && datagram.starts_with(header)).then_some(*via)
    }

    pub(crate) fn keep_relayed(&mut self, source: SocketAddr, datagram: &[u8], via: Via) {
        self.relayed = datagram.first_chunk().map(|header| (source, *header, via));
    }

    /// Whither a datagram goes on whose relay header was seen before. Only for data: what a handshake may is judged anew.
    pub(crate) fn onward(&self, source: SocketAddr, datagram: &[u8]) -> Option<Onward> {
        let (known, header, onward) = self.onward.as_ref()?;
        (*known == source && datagram.starts_with(header) && holds_data(datagram)).then_some(*onward)
    }

    pub(crate) fn keep_onward(&mut self, source: SocketAddr, datagram: &[u8], onward: Onward) {
        if holds_data(datagram) {
            self.onward = datagram.first_chunk().map(|header| (source, *header, onward));
        }
    }
}

/// Whether what stands behind a short relay header is a data datagram.
fn holds_data(datagram: &[u8]) -> bool {
    let inner = datagram.get(RELAY_HEADER..).and_then(|inner| inner.get(..DATA_HEADER));
    inner.is_some_and(|inner| matches!(Datagram::parse(inner), Ok(Datagram::Data { .. })))
}
