//! IP fragments of which the first was let in: the later ones, which name no port, follow it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::packet::{Fragment, IpPacket};
use crate::{Time, peers::PeerId};

/// How long later fragments follow the first. They leave a kernel together.
const KEPT: Duration = Duration::from_secs(5);

/// Packets in fragments at one time, and of one sender.
const MAX_PIECES: usize = 256;
const MAX_PIECES_OF_ONE: usize = 16;

/// The packets whose first fragment was let in.
#[derive(Debug, Default)]
pub(crate) struct Pieces(BTreeMap<Key, First>);

/// The sender comes first, so that the packets of one lie together. Its addresses are its own, so nobody can add to
/// another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    sender: PeerId,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Clone, Copy, Debug)]
struct First {
    length: usize,
    until: Time,
}

impl Pieces {
    /// The first fragment of a packet was let in.
    pub(crate) fn first(&mut self, now: Time, sender: PeerId, packet: &IpPacket, fragment: &Fragment) {
        let key = key(sender, packet, fragment);
        if !self.0.contains_key(&key) {
            self.make_room(now, sender);
        }
        let first = First {
            length: fragment.length,
            until: now + KEPT,
        };
        self.0.insert(key, first);
    }

    /// Whether a later fragment belongs to a first one that was let in, and lies behind it.
    pub(crate) fn follows(&self, now: Time, sender: PeerId, packet: &IpPacket, fragment: &Fragment) -> bool {
        let first = self.0.get(&key(sender, packet, fragment));
        first.is_some_and(|first| first.until > now && fragment.offset >= first.length)
    }

    fn make_room(&mut self, now: Time, sender: PeerId) {
        let of_sender = || self.0.iter().filter(move |(key, _)| key.sender == sender);
        let full = if of_sender().count() >= MAX_PIECES_OF_ONE {
            of_sender().min_by_key(|(_, first)| first.until).map(|(key, _)| *key)
        } else if self.0.len() >= MAX_PIECES {
            self.0.retain(|_, first| first.until > now);
            let oldest = self.0.iter().min_by_key(|(_, first)| first.until);
            oldest.filter(|_| self.0.len() >= MAX_PIECES).map(|(key, _)| *key)
        } else {
            None
        };
        if let Some(oldest) = full {
            self.0.remove(&oldest);
        }
    }
}

fn key(sender: PeerId, packet: &IpPacket, fragment: &Fragment) -> Key {
    Key {
        sender,
        source: packet.source,
        destination: packet.destination,
        protocol: fragment.protocol,
        identification: fragment.identification,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::packet::Content;

    const A: PeerId = PeerId::for_test(1);
    const B: PeerId = PeerId::for_test(2);

    fn piece(identification: u32, offset: usize) -> (IpPacket, Fragment) {
        let fragment = Fragment {
            protocol: 17,
            identification,
            offset,
            length: 1352,
        };
        let packet = IpPacket {
            source: IpAddr::from([10, 64, 0, 1]),
            destination: IpAddr::from([10, 64, 0, 2]),
            fragment: Some(fragment),
            content: Content::Later,
        };
        (packet, fragment)
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn later_fragments_follow_the_first_for_five_seconds() {
        let mut pieces = Pieces::default();
        let (packet, first) = piece(7, 0);
        let (_, later) = piece(7, 1352);
        assert!(!pieces.follows(at(0), A, &packet, &later));
        pieces.first(at(0), A, &packet, &first);
        assert!(pieces.follows(at(4), A, &packet, &later));
        assert!(!pieces.follows(at(4), B, &packet, &later), "of another sender");
        assert!(
            !pieces.follows(at(4), A, &packet, &piece(8, 1352).1),
            "of another packet"
        );
        assert!(!pieces.follows(at(5), A, &packet, &later));
    }

    #[test]
    fn a_fragment_that_overlaps_the_first_does_not_follow_it() {
        let mut pieces = Pieces::default();
        let (packet, first) = piece(7, 0);
        pieces.first(at(0), A, &packet, &first);
        for offset in [8, 16, 1344] {
            assert!(!pieces.follows(at(0), A, &packet, &piece(7, offset).1), "{offset}");
        }
    }

    #[test]
    fn a_sender_displaces_its_own_packets_only() {
        let mut pieces = Pieces::default();
        let (packet, first) = piece(0, 0);
        pieces.first(at(0), B, &packet, &first);
        for identification in 0..1000 {
            let (packet, first) = piece(identification, 0);
            pieces.first(at(0), A, &packet, &first);
        }
        assert_eq!(pieces.0.len(), 1 + MAX_PIECES_OF_ONE);
        assert!(pieces.follows(at(0), B, &packet, &piece(0, 1352).1));
        for sender in 3..100 {
            for identification in 0..MAX_PIECES_OF_ONE as u32 {
                let (packet, first) = piece(identification, 0);
                pieces.first(at(1), PeerId::for_test(sender), &packet, &first);
            }
        }
        assert_eq!(pieces.0.len(), MAX_PIECES);
    }
}
