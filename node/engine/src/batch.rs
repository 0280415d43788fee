//! Batches of packets in one preallocated arena each: what goes into the engine and what comes out.

use std::{net::SocketAddr, ops::Range};

use farlan_offload::Offload;

use crate::{Cast, Event, Leg, NetworkHandle, Socket};

/// Packets that lie one behind the other in one arena, each with a small label `M`.
///
/// The arena keeps its memory when it is cleared, so a warmed-up batch allocates nothing. Packets of equal size and
/// label are adjacent, which is what segmentation offload of the underlay needs.
#[derive(Debug)]
pub struct Batch<M> {
    /// What lies behind `used` is left over from earlier reads, so that memory is not cleared for every read.
    bytes: Vec<u8>,
    used: usize,
    /// Bytes in gaps between the packets: room that a vectored read left free.
    gaps: usize,
    entries: Vec<Entry<M>>,
}

#[derive(Debug)]
struct Entry<M> {
    label: M,
    range: Range<usize>,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            gaps: 0,
            entries: Vec::new(),
        }
    }
}

impl<M> Batch<M> {
    /// An empty batch for [`Self::read_many`]: its arena of `bytes` bytes costs address space only until it is filled.
    pub fn with_arena(packets: usize, bytes: usize) -> Self {
        Self {
            // Fresh zeroed memory of the system, which no page stands behind before the first write.
            bytes: vec![0; bytes],
            used: 0,
            gaps: 0,
            entries: Vec::with_capacity(packets),
        }
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all packets together.
    pub fn bytes(&self) -> usize {
        self.used - self.gaps
    }

    /// Forgets all packets and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.gaps = 0;
        self.entries.clear();
    }

    /// Adds a copy of `packet`.
    pub fn push(&mut self, label: impl Into<M>, packet: &[u8]) {
        self.write(label, |arena| arena.extend_from_slice(packet));
    }

    /// Adds the packet that `write` appends to the arena, and returns where it lies.
    ///
    /// `write` must only append.
    pub(crate) fn write(&mut self, label: impl Into<M>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.used;
        self.bytes.truncate(start);
        write(&mut self.bytes);
        debug_assert!(start <= self.bytes.len());
        self.used = self.bytes.len();
        let range = start..self.used;
        self.entries.push(Entry {
            label: label.into(),
            range: range.clone(),
        });
        range
    }

    /// Lets `read` fill up to `room` bytes of the arena with any number of packets, as a vectored read system call
    /// does, and place them.
    pub fn read_many<T>(&mut self, room: usize, read: impl FnOnce(&mut [u8], &mut Places<'_, M>) -> T) -> T {
        let start = self.used;
        if self.bytes.len() < start + room {
            self.bytes.resize(start + room, 0);
        }
        let mut places = Places {
            entries: &mut self.entries,
            start,
            used: &mut self.used,
            gaps: &mut self.gaps,
            end: start + room,
        };
        let free = self.bytes.get_mut(start..start + room).unwrap_or_default();
        read(free, &mut places)
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = (&M, &[u8])> {
        self.entries
            .iter()
            .map(|entry| (&entry.label, self.bytes.get(entry.range.clone()).unwrap_or_default()))
    }

    /// The packet at position `index`, if there is one.
    pub fn packet(&self, index: usize) -> Option<(&M, &[u8])> {
        let entry = self.entries.get(index)?;
        Some((&entry.label, self.bytes.get(entry.range.clone())?))
    }

    /// The packet at position `index` for work in place, if there is one.
    pub fn packet_mut(&mut self, index: usize) -> Option<(&M, &mut [u8])> {
        let entry = self.entries.get(index)?;
        Some((&entry.label, self.bytes.get_mut(entry.range.clone())?))
    }

    /// All packets in order, for work in place.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&M, &mut [u8])> {
        let mut arena = self.bytes.as_mut_slice();
        let mut offset = 0;
        self.entries.iter().map_while(move |entry| {
            let before = entry.range.start.checked_sub(offset)?;
            let (_, tail) = std::mem::take(&mut arena).split_at_mut_checked(before)?;
            let (packet, tail) = tail.split_at_mut_checked(entry.range.len())?;
            arena = tail;
            offset = entry.range.end;
            Some((&entry.label, packet))
        })
    }

    /// Takes the last packet back.
    pub(crate) fn pop(&mut self) {
        if let Some(entry) = self.entries.pop() {
            self.used = entry.range.start;
        }
    }

    /// The bytes at `range` of the arena, as returned by [`Self::write`].
    pub(crate) fn slice_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.bytes.get_mut(range)
    }
}

/// Where the packets of one [`Batch::read_many`] lie.
#[derive(Debug)]
pub struct Places<'a, M> {
    entries: &'a mut Vec<Entry<M>>,
    /// Where in the arena the room that was read into begins.
    start: usize,
    used: &'a mut usize,
    gaps: &'a mut usize,
    end: usize,
}

impl<M> Places<'_, M> {
    /// Adds the packet at `range` of the room. Packets are added in the order in which they lie there; one that is
    /// empty, lies before an earlier one or beyond the room is none.
    pub fn add(&mut self, label: M, range: Range<usize>) {
        let range = self.start.saturating_add(range.start)..self.start.saturating_add(range.end);
        if range.is_empty() || range.start < *self.used || range.end > self.end {
            return;
        }
        *self.gaps += range.start - *self.used;
        *self.used = range.end;
        self.entries.push(Entry { label, range });
    }
}

/// Which card a frame comes from or goes to, and what its offloads left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLabel {
    /// The network of the card.
    pub network: NetworkHandle,
    /// Super-frames go into the engine only; what comes out are single frames.
    pub offload: Offload,
}

impl From<NetworkHandle> for FrameLabel {
    /// A plain frame, as a card without offloads has it.
    fn from(network: NetworkHandle) -> Self {
        Self {
            network,
            offload: Offload::default(),
        }
    }
}

/// Where a datagram goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The way it leaves.
    pub destination: Leg,
    /// The IP time to live (hop limit) of this datagram, where it differs from the system's.
    pub ttl: Option<u8>,
    /// Whether it may be too large for the way. Segmentation offload makes one packet of several datagrams, which devices on the
    /// way may drop as one: with it only those may leave that are as long, and would fare the same.
    pub alike: bool,
}

impl From<Leg> for Transmit {
    /// As all others are sent.
    fn from(destination: Leg) -> Self {
        Self {
            destination,
            ttl: None,
            alike: false,
        }
    }
}

/// Where a datagram came from, and where it goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The way it came.
    pub source: Leg,
    /// Set by a supernode's engine where the datagram is to be passed on as it now lies in the batch. The caller sends it
    /// before it clears the batch.
    pub onward: Option<Transmit>,
}

impl From<Leg> for Received {
    fn from(source: Leg) -> Self {
        Self { source, onward: None }
    }
}

impl From<SocketAddr> for Received {
    /// By the main socket.
    fn from(source: SocketAddr) -> Self {
        Leg::from(source).into()
    }
}

impl Batch<Received> {
    /// Lets the packet at position `index` go on to `destination` without its first `skipped` bytes.
    pub(crate) fn send_on(&mut self, index: usize, destination: Leg, skipped: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            // Nobody but its sender knows whether it tries a size, and the next one may be another sender's.
            entry.label.onward = Some(Transmit {
                alike: true,
                ..destination.into()
            });
            entry.range.start = (entry.range.start + skipped).min(entry.range.end);
        }
    }

    /// What is to be passed on, in order.
    pub fn onward(&self) -> impl Iterator<Item = (&Transmit, &[u8])> {
        self.iter()
            .filter_map(|(label, bytes)| Some((label.onward.as_ref()?, bytes)))
    }
}

/// What the engine wants done; the caller empties it after each call.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Datagrams for the underlay.
    pub datagrams: Batch<Transmit>,
    /// Ethernet frames for the cards.
    pub frames: Batch<FrameLabel>,
    /// Beacons for everybody on a link of this machine.
    pub beacons: Batch<Cast>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Streams to be opened, each under its number to an address. The caller answers each by
    /// [`Engine::stream_opened`](crate::Engine::stream_opened) or [`stream_closed`](crate::Engine::stream_closed).
    pub opens: Vec<(u32, SocketAddr)>,
    /// Streams that this supernode accepted and by which something authentic has come since: those that give way to others
    /// last. Each is named once.
    pub proved: Vec<u32>,
    /// Sockets that are of no use any more, once the datagrams above are sent. They may be named again later, and are then
    /// opened anew; but a stream is not.
    pub closed: Vec<Socket>,
}

impl Outbox {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.frames.clear();
        self.beacons.clear();
        self.events.clear();
        self.opens.clear();
        self.proved.clear();
        self.closed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_in_order_and_adjacent() {
        let mut batch = Batch::default();
        batch.push('a', b"one");
        batch.push('b', b"three");
        let read = batch.read_many(10, |room, places| {
            room[..2].copy_from_slice(b"xy");
            places.add('c', 0..2);
            2
        });
        assert_eq!(read, 2);
        let all: Vec<_> = batch.iter().map(|(label, bytes)| (*label, bytes.to_vec())).collect();
        assert_eq!(
            all,
            [('a', b"one".to_vec()), ('b', b"three".to_vec()), ('c', b"xy".to_vec())]
        );
        assert_eq!(batch.bytes(), 10);
    }

    #[test]
    fn what_is_passed_on_takes_nothing_shorter_with_it() {
        let (from, to) = (
            SocketAddr::from(([192, 0, 2, 1], 1)),
            SocketAddr::from(([192, 0, 2, 2], 2)),
        );
        let mut batch: Batch<Received> = Batch::default();
        batch.push(Received::from(from), b"12345");
        batch.send_on(0, to.into(), 2);
        let (onward, bytes) = batch.onward().next().unwrap();
        assert_eq!(
            (onward.destination, onward.alike, bytes),
            (to.into(), true, b"345".as_slice())
        );
    }

    #[test]
    fn a_failed_or_empty_read_adds_nothing() {
        let mut batch: Batch<()> = Batch::default();
        assert!(batch.read_many(10, |_, _| Err::<(), _>("would block")).is_err());
        batch.read_many(10, |_, places| places.add((), 0..0));
        assert!(batch.is_empty());
        assert_eq!(batch.bytes(), 0);
    }

    #[test]
    fn many_packets_of_one_read_lie_where_they_were_read() {
        let mut batch = Batch::with_arena(4, 32);
        batch.push('a', b"one");
        let result = batch.read_many(16, |room, places| {
            assert_eq!(room.len(), 16);
            room[2..4].copy_from_slice(b"xy");
            room[8..11].copy_from_slice(b"123");
            places.add('b', 2..4);
            places.add('c', 8..10);
            places.add('d', 10..11);
            // Not in order, empty, beyond the room.
            places.add('e', 1..3);
            places.add('f', 12..12);
            places.add('g', 12..17);
            "result"
        });
        assert_eq!(result, "result");
        batch.push('h', b"after");
        let all: Vec<_> = batch.iter().map(|(label, bytes)| (*label, bytes)).collect();
        let expected: [(char, &[u8]); 5] = [('a', b"one"), ('b', b"xy"), ('c', b"12"), ('d', b"3"), ('h', b"after")];
        assert_eq!(all, expected);
        assert_eq!(batch.bytes(), 3 + 2 + 2 + 1 + 5, "gaps are none of the packets'");
        batch.clear();
        assert_eq!(batch.bytes(), 0);
        assert_eq!(batch.read_many(8, |room, _| room.len()), 8);
        assert!(batch.is_empty());
    }
}
