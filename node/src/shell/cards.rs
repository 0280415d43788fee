//! The cards of the joined networks, as the data-plane thread sees them: descriptors from which frames come and into
//! which frames go.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    task::{Context, Poll},
};

use farlan_engine::{Batch, FrameLabel, NetworkHandle};
use tokio::io::{Interest, unix::AsyncFd};

/// The cards, by the handle of their network.
///
/// There are at most [`farlan_engine::MAX_NETWORKS`], so a list that is searched is the fastest map.
#[derive(Debug, Default)]
pub(super) struct Cards {
    cards: Vec<Card>,
}

#[derive(Debug)]
struct Card {
    network: NetworkHandle,
    descriptor: AsyncFd<File>,
    largest_frame: usize,
}

impl Cards {
    /// Takes the card of a network; one it had before is closed, with which the device vanishes.
    ///
    /// `mtu` is the card's, in bytes.
    ///
    /// # Errors
    /// Those of registering the descriptor for readiness.
    pub(super) fn attach(&mut self, network: NetworkHandle, descriptor: OwnedFd, mtu: u16) -> io::Result<()> {
        self.detach(network);
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a File keeps its descriptor, which is all that asks"
        )]
        let descriptor = AsyncFd::with_interest(File::from(descriptor), Interest::READABLE)?;
        let largest_frame = usize::from(mtu) + ETHERNET_HEADER + VLAN_TAGS;
        self.cards.push(Card {
            network,
            descriptor,
            largest_frame,
        });
        Ok(())
    }

    /// Closes the card of a network, if it has one.
    pub(super) fn detach(&mut self, network: NetworkHandle) {
        self.cards.retain(|card| card.network != network);
    }

    /// Closes all cards.
    pub(super) fn clear(&mut self) {
        self.cards.clear();
    }

    /// Whether any card may have a frame; otherwise wakes the task when one has.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // Every card is asked, since one that is not asked does not wake the task.
        let mut result = Poll::Pending;
        for card in &self.cards {
            if card.descriptor.poll_read_ready(context).is_ready() {
                result = Poll::Ready(());
            }
        }
        result
    }

    /// Reads up to `limit` frames from each card, and returns whether one may hold more. Frames longer than the card's
    /// MTU allows are left out, and counted in `overlong`.
    ///
    /// A card that cannot be read any more is closed. (One whose device somebody deleted only becomes silent: the kernel
    /// reports that as an error condition, not as something to read.)
    pub(super) fn read(&mut self, limit: usize, frames: &mut Batch<FrameLabel>, overlong: &mut u64) -> bool {
        let mut more = false;
        self.cards.retain(|card| {
            let stopped = (0..limit).find_map(|_| card.read(frames, overlong).err());
            more |= stopped.is_none();
            let kept = stopped
                .as_ref()
                .is_none_or(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted));
            if !kept {
                tracing::warn!(network = card.network.as_u8(), error = ?stopped, "the network card is gone");
            }
            kept
        });
        more
    }

    /// Writes a frame to the card of `network`.
    ///
    /// # Errors
    /// `NotFound` without a card; EIO while the card is down, EINVAL for a frame that is none.
    pub(super) fn write(&self, network: NetworkHandle, frame: &[u8]) -> io::Result<()> {
        let card = self
            .cards
            .iter()
            .find(|card| card.network == network)
            .ok_or(io::ErrorKind::NotFound)?;
        card.descriptor.get_ref().write(frame).map(|_| ())
    }
}

impl Card {
    fn read(&self, frames: &mut Batch<FrameLabel>, overlong: &mut u64) -> io::Result<()> {
        let mut length = 0;
        self.descriptor.try_io(Interest::READABLE, |mut device| {
            // One byte more than allowed: the kernel cuts a frame that is longer than the room without a word.
            frames.read(self.largest_frame + 1, |room| {
                length = device.read(room)?;
                let kept = if length > self.largest_frame { 0 } else { length };
                Ok((kept, self.network.into()))
            })
        })?;
        if length > self.largest_frame {
            *overlong += 1;
        }
        // Nothing to read without an error is an end, at which a descriptor stays readable for ever.
        if length == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }
}

/// Bytes of an Ethernet header: two addresses and the EtherType.
const ETHERNET_HEADER: usize = 14;

/// Bytes of two VLAN tags (IEEE 802.1ad), which the MTU does not count.
const VLAN_TAGS: usize = 8;
