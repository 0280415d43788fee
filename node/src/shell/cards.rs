//! The cards of the joined networks, as the data-plane thread sees them: descriptors from which frames come and into
//! which frames go.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use farlan_engine::{Batch, FrameLabel, NetworkHandle};

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
    descriptor: File,
    largest_frame: usize,
}

impl Cards {
    /// Takes the card of a network; one it had before is closed, with which the device vanishes.
    ///
    /// `mtu` is the card's, in bytes.
    ///
    /// # Errors
    /// None yet.
    pub(super) fn attach(&mut self, network: NetworkHandle, descriptor: OwnedFd, mtu: u16) -> io::Result<()> {
        self.detach(network);
        let largest_frame = usize::from(mtu) + ETHERNET_HEADER + VLAN_TAGS;
        self.cards.push(Card {
            network,
            descriptor: File::from(descriptor),
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

    /// The network with this number, if it has a card.
    pub(super) fn network(&self, number: u64) -> Option<NetworkHandle> {
        let mut networks = self.cards.iter().map(|card| card.network);
        networks.find(|network| u64::from(network.as_u8()) == number)
    }

    /// Reads up to `limit` frames from the card of `network`, and returns whether it may hold more. Frames longer than the
    /// card's MTU allows are left out, and counted in `overlong`.
    ///
    /// A card that cannot be read any more is closed.
    pub(super) fn read(
        &mut self,
        network: NetworkHandle,
        limit: usize,
        frames: &mut Batch<FrameLabel>,
        overlong: &mut u64,
    ) -> bool {
        let Some(card) = self.cards.iter().find(|card| card.network == network) else {
            return false;
        };
        let Some(error) = (0..limit).find_map(|_| card.read(frames, overlong).err()) else {
            return true;
        };
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            tracing::warn!(network = network.as_u8(), %error, "the network card is gone");
            self.detach(network);
        }
        false
    }

    /// Closes a card that reports an error, if that is still to be done: an error condition stays for ever.
    pub(super) fn close_broken(&mut self, network: NetworkHandle) {
        if self.cards.iter().any(|card| card.network == network) {
            tracing::warn!(network = network.as_u8(), "the network card is gone");
            self.detach(network);
        }
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
        (&card.descriptor).write(frame).map(|_| ())
    }
}

impl Card {
    fn read(&self, frames: &mut Batch<FrameLabel>, overlong: &mut u64) -> io::Result<()> {
        let mut length = 0;
        // One byte more than allowed: the kernel cuts a frame that is longer than the room without a word.
        frames.read(self.largest_frame + 1, |room| {
            length = (&self.descriptor).read(room)?;
            let kept = if length > self.largest_frame { 0 } else { length };
            Ok((kept, self.network.into()))
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
