//! The cards of the joined networks, as the data-plane thread sees them: descriptors from which frames come and into
//! which frames go.
//!
//! A card with offloads has a `virtio_net_hdr` before each frame. Reading gives super-frames, which the engine cuts; what
//! the engine puts out is made into super-frames again where frames follow each other, which saves the kernel's network
//! stack a walk for each of them.

use std::{
    fs::File,
    io::{self, IoSlice, Read, Write},
    os::fd::OwnedFd,
};

use farlan_engine::{Batch, FrameLabel, NetworkHandle};
use farlan_offload::{LONGEST_RUN, Malformed, Offload, Run, Segments, VNET_HEADER, complete, read_vnet};

use super::data_plane::ShellCounters;

/// A card, handed to the data plane.
#[derive(Debug)]
pub struct AttachedCard {
    /// The TAP device, non-blocking.
    pub descriptor: OwnedFd,
    /// Whether there is a `virtio_net_hdr` before each frame.
    pub vnet: bool,
}

/// The cards, by the handle of their network.
///
/// There are at most [`farlan_engine::MAX_NETWORKS`], so a list that is searched is the fastest map.
#[derive(Debug, Default)]
pub(super) struct Cards {
    cards: Vec<Card>,
    /// A copy of a frame whose checksum has to be completed.
    completed: Vec<u8>,
}

#[derive(Debug)]
struct Card {
    network: NetworkHandle,
    device: File,
    largest_frame: usize,
    vnet: bool,
    /// The kernel refused a super-frame of TCP.
    tcp_refused: bool,
    /// The kernel refused a super-frame of UDP, as those before Linux 6.2 do.
    udp_refused: bool,
}

impl Cards {
    /// An empty batch with an arena for what one [`read`](Self::read) takes.
    pub(super) fn batch() -> Batch<FrameLabel> {
        Batch::with_arena(FRAMES_PER_READ, BYTES_PER_READ + ROOM)
    }

    /// Takes the card of a network; one it had before is closed, with which the device vanishes.
    ///
    /// `mtu` is the card's, in bytes.
    pub(super) fn attach(&mut self, network: NetworkHandle, card: AttachedCard, mtu: u16) {
        self.detach(network);
        self.cards.push(Card {
            network,
            device: File::from(card.descriptor),
            largest_frame: usize::from(mtu) + ETHERNET_HEADER + VLAN_TAGS,
            vnet: card.vnet,
            tcp_refused: false,
            udp_refused: false,
        });
    }

    /// Closes the card of a network, if it has one.
    pub(super) fn detach(&mut self, network: NetworkHandle) {
        self.cards.retain(|card| card.network != network);
    }

    /// Closes all cards.
    pub(super) fn clear(&mut self) {
        self.cards.clear();
    }

    /// The network with this number, if it has a card.
    pub(super) fn network(&self, number: u64) -> Option<NetworkHandle> {
        let mut networks = self.cards.iter().map(|card| card.network);
        networks.find(|network| u64::from(network.as_u8()) == number)
    }

    /// Reads from the card of `network`.
    ///
    /// Up to `limit` frames are read; but a card that brings a super-frame is in the midst of a transfer, and is read
    /// on to its end, as far as one call goes. A caller that expects a single frame says 1: most often there is no
    /// other, and a second system call would only say so.
    ///
    /// Frames that the card's MTU does not allow and those whose header makes no sense are left out and counted. A card
    /// that cannot be read any more is closed.
    pub(super) fn read(
        &mut self,
        network: NetworkHandle,
        limit: usize,
        frames: &mut Batch<FrameLabel>,
        counters: &mut ShellCounters,
    ) -> Brought {
        let mut brought = Brought::default();
        let Some(card) = self.cards.iter().find(|card| card.network == network) else {
            return brought;
        };
        let mut limit = limit.min(FRAMES_PER_READ);
        let most_bytes = frames.bytes() + BYTES_PER_READ;
        let mut read = 0;
        while read < limit && frames.bytes() < most_bytes && brought.frames < CUT_PER_READ {
            match card.read(frames, counters) {
                Ok(Taken::Frame) => brought.frames += 1,
                Ok(Taken::SuperFrame { frames }) => {
                    brought.frames += frames;
                    limit = FRAMES_PER_READ;
                }
                Err(error) => {
                    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                        tracing::warn!(network = network.as_u8(), %error, "the network card is gone");
                        self.detach(network);
                    }
                    return brought;
                }
            }
            read += 1;
        }
        brought.more = true;
        brought
    }

    /// Closes a card that reports an error, if that is still to be done: an error condition stays for ever.
    pub(super) fn close_broken(&mut self, network: NetworkHandle) {
        if self.cards.iter().any(|card| card.network == network) {
            tracing::warn!(network = network.as_u8(), "the network card is gone");
            self.detach(network);
        }
    }

    /// Writes frames to their cards, in order; what cannot be written is counted.
    pub(super) fn write_all(&mut self, frames: &Batch<FrameLabel>, counters: &mut ShellCounters) {
        let mut index = 0;
        while let Some((label, frame)) = frames.packet(index) {
            let Some(card) = self.cards.iter_mut().find(|card| card.network == label.network) else {
                counters.card_missing += 1;
                index += 1;
                continue;
            };
            if !card.vnet {
                let written = card.write_completed(label.offload, frame, &mut self.completed);
                counters.card_refused += u64::from(written.is_err());
                index += 1;
                continue;
            }
            let Ok(mut run) = Run::start(frame, label.offload.partial) else {
                counters.card_refused += 1;
                index += 1;
                continue;
            };
            let mut end = index + 1;
            while let Some((next, frame)) = frames.packet(end)
                && next.network == label.network
                && run.join(frame, next.offload.partial)
            {
                end += 1;
            }
            if end == index + 1 {
                let written = card.write_single(&mut run, frame);
                counters.card_refused += u64::from(written.is_err());
            } else {
                let frames = (index..end).filter_map(|index| frames.packet(index));
                card.write_run(&mut run, frames, &mut self.completed, counters);
            }
            index = end;
        }
    }
}

/// What a call of [`Cards::read`] brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brought {
    /// Frames, those that were left out too; a super-frame counts as those it stands for.
    pub(super) frames: usize,
    /// Whether the card may hold more.
    pub(super) more: bool,
}

/// What one read of a card brought.
enum Taken {
    Frame,
    SuperFrame { frames: usize },
}

impl Card {
    fn read(&self, frames: &mut Batch<FrameLabel>, counters: &mut ShellCounters) -> io::Result<Taken> {
        let before = if self.vnet { VNET_HEADER } else { 0 };
        // One byte more than allowed: the kernel cuts a frame that is longer than the room without a word.
        let room = if self.vnet { ROOM } else { self.largest_frame + 1 };
        frames.read_many(room, |room, places| {
            let length = (&self.device).read(room)?;
            // Nothing to read without an error is an end, at which a descriptor stays readable for ever.
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let offload = if self.vnet {
                let read = room.get_mut(..length).and_then(<[u8]>::split_first_chunk_mut);
                read.map_or(Err(Malformed), |(header, frame)| read_vnet(header, frame))
            } else {
                Ok(Offload::default())
            };
            let frame = room.get(before..length).unwrap_or_default();
            let network = self.network;
            match offload.and_then(|offload| Ok((offload, Segments::new(frame, offload)?))) {
                // The MTU bounds the frames for which a super-frame stands.
                Ok((offload, segments)) if segments.longest() <= self.largest_frame => {
                    let frames = segments.len();
                    places.add(FrameLabel { network, offload }, before..length);
                    if offload.segment.is_some() {
                        return Ok(Taken::SuperFrame { frames });
                    }
                }
                Ok(_) => counters.card_overlong += 1,
                Err(Malformed) => counters.card_malformed += 1,
            }
            Ok(Taken::Frame)
        })
    }

    /// Writes the only frame of `run`.
    fn write_single(&self, run: &mut Run, frame: &[u8]) -> io::Result<()> {
        let (head, replaced) = run.finish();
        let parts = [
            IoSlice::new(head),
            IoSlice::new(frame.get(replaced..).unwrap_or_default()),
        ];
        (&self.device).write_vectored(&parts).map(drop)
    }

    /// Writes the frames of `run` as one; if the kernel refuses that, one by one.
    fn write_run<'a>(
        &mut self,
        run: &mut Run,
        frames: impl Iterator<Item = (&'a FrameLabel, &'a [u8])> + Clone,
        completed: &mut Vec<u8>,
        counters: &mut ShellCounters,
    ) {
        let count = run.frames();
        let (head, replaced) = run.finish();
        let is_udp = head.get(GSO_TYPE) == Some(&GSO_UDP_L4);
        let is_refused = if is_udp { self.udp_refused } else { self.tcp_refused };
        let mut refusal = None;
        if !is_refused {
            let mut slices = [IoSlice::new(&[]); 1 + LONGEST_RUN];
            let parts = frames
                .clone()
                .map(|(_, frame)| frame.get(replaced..).unwrap_or_default());
            for (slice, part) in slices.iter_mut().zip(std::iter::once(head).chain(parts)) {
                *slice = IoSlice::new(part);
            }
            let slices = slices.get(..=count).unwrap_or_default();
            match (&self.device).write_vectored(slices).map(drop) {
                Ok(()) => return,
                Err(error) => refusal = Some(error),
            }
        }
        let mut taken = false;
        for (label, frame) in frames {
            match self.write_completed(label.offload, frame, completed) {
                Ok(()) => taken = true,
                Err(_) => counters.card_refused += 1,
            }
        }
        // A card that is down says EIO, and may be up for the single frames; one short of memory will not always be.
        let is_lasting = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        if let Some(error) = refusal.filter(|error| taken && is_lasting(error)) {
            let protocol = if is_udp { "udp" } else { "tcp" };
            tracing::info!(network = self.network.as_u8(), protocol, %error, "the network card takes no super-frames");
            if is_udp {
                self.udp_refused = true;
            } else {
                self.tcp_refused = true;
            }
        }
    }

    /// Writes one frame with a complete checksum.
    fn write_completed(&self, offload: Offload, frame: &[u8], completed: &mut Vec<u8>) -> io::Result<()> {
        let mut frame = frame;
        if offload.partial {
            completed.clear();
            completed.extend_from_slice(frame);
            complete(completed).map_err(|_| io::ErrorKind::InvalidData)?;
            frame = completed;
        }
        if self.vnet {
            let parts = [IoSlice::new(&[0; VNET_HEADER]), IoSlice::new(frame)];
            (&self.device).write_vectored(&parts).map(drop)
        } else {
            (&self.device).write(frame).map(drop)
        }
    }
}

/// Bytes of an Ethernet header: two addresses and the EtherType.
const ETHERNET_HEADER: usize = 14;

/// Bytes of two VLAN tags (IEEE 802.1ad), which the MTU does not count.
const VLAN_TAGS: usize = 8;

/// What one read of a card with offloads may bring and a byte more: the header, and a super-frame as long as IP's length
/// fields allow.
const ROOM: usize = VNET_HEADER + ETHERNET_HEADER + VLAN_TAGS + IP_PACKET + 1;

/// Bytes of the longest IP packet.
const IP_PACKET: usize = 65_535;

/// Frames read from a card before the engine gets them.
pub(super) const FRAMES_PER_READ: usize = 64;

/// Bytes of frames after which no more are read from a card before the engine gets them: what becomes of them still fits
/// into a processor's cache.
const BYTES_PER_READ: usize = 256 << 10;

/// Frames for which what was read stands, after which no more are read before the engine gets them. Segments are as
/// short as the receiving end of a connection wants them (Linux goes down to 8 bytes), so bytes alone would bound neither
/// the time nor the memory that cutting takes: the last super-frame comes in addition, and no other does.
pub(super) const CUT_PER_READ: usize = 256;

/// Where a `virtio_net_hdr` has the kind of super-frame.
const GSO_TYPE: usize = 1;

/// `VIRTIO_NET_HDR_GSO_UDP_L4` of `linux/virtio_net.h`: a super-frame of UDP.
const GSO_UDP_L4: u8 = 5;

#[cfg(test)]
mod tests;
