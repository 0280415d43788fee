//! What the daemon and the listener say to each other: two messages, one in each direction, with numbers in little-endian order.
//!
//! Each is one message of a socket pair that keeps messages apart (`SOCK_SEQPACKET`). Neither is answered.
//!
//! ```text
//! watch  = count u16, at most MOST_CARDS | indices u32 … in ascending order | count u16, at most MOST_RANGES |
//!          ranges …, in ascending order and apart
//! range  = first u16 | last u16
//!
//! report = 0 | index u32 | frame, at most LONGEST_FRAME        left by the card
//!        | 1 | index u32 | errno i32                           the card cannot be watched
//! ```

/// UDP ports, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// What the listener is to listen to from now on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Watch {
    /// The indices of the cards.
    cards: Vec<u32>,
    /// The ports.
    ports: Vec<Ports>,
}

/// What the listener says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Report<'a> {
    /// A frame left a card.
    Left {
        /// The card's interface index.
        card: u32,
        /// The frame, Ethernet header first.
        frame: &'a [u8],
    },
    /// A card cannot be watched.
    Refused {
        /// The card's interface index.
        card: u32,
        /// The kernel's error number.
        errno: i32,
    },
}

/// A message that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoMessage;

impl Watch {
    /// These cards and ports, in any order. Of more cards than [`MOST_CARDS`] the first are watched; of more than [`MOST_RANGES`]
    /// ranges of ports the last ones become one, which lets more through than was asked for.
    pub fn new(cards: impl IntoIterator<Item = u32>, ports: impl IntoIterator<Item = u16>) -> Self {
        let mut cards: Vec<u32> = cards.into_iter().filter(|card| *card != 0).collect();
        cards.sort_unstable();
        cards.dedup();
        cards.truncate(MOST_CARDS);
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        let mut ranges: Vec<Ports> = Vec::new();
        for port in ports {
            let is_full = ranges.len() >= MOST_RANGES;
            match ranges.last_mut() {
                Some(range) if is_full || port.saturating_sub(range.last) <= 1 => range.last = port,
                _ => ranges.push(Ports {
                    first: port,
                    last: port,
                }),
            }
        }
        Self { cards, ports: ranges }
    }

    /// The cards, in ascending order.
    pub fn cards(&self) -> &[u32] {
        &self.cards
    }

    /// The ports, in ascending order; there is one between two ranges at least.
    pub fn ports(&self) -> &[Ports] {
        &self.ports
    }

    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Both are below 65,536.
        bytes.extend((self.cards.len() as u16).to_le_bytes());
        bytes.extend(self.cards.iter().flat_map(|card| card.to_le_bytes()));
        bytes.extend((self.ports.len() as u16).to_le_bytes());
        for range in &self.ports {
            bytes.extend([range.first, range.last].map(u16::to_le_bytes).as_flattened());
        }
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`NoMessage`].
    pub fn parse(message: &[u8]) -> Result<Self, NoMessage> {
        let (cards, rest) = list::<4>(message, MOST_CARDS)?;
        let (ports, rest) = list::<4>(rest, MOST_RANGES)?;
        let cards: Vec<u32> = cards.map(u32::from_le_bytes).collect();
        let ports: Vec<Ports> = ports
            .map(|[a, b, c, d]| Ports {
                first: u16::from_le_bytes([a, b]),
                last: u16::from_le_bytes([c, d]),
            })
            .collect();
        let cards_rise = cards.is_sorted_by(|a, b| a < b) && cards.first() != Some(&0);
        let ports_rise = ports.is_sorted_by(|a, b| b.first.saturating_sub(a.last) > 1);
        if !rest.is_empty() || !cards_rise || !ports_rise || ports.iter().any(|range| range.first > range.last) {
            return Err(NoMessage);
        }
        Ok(Self { cards, ports })
    }
}

/// A list of values of `SIZE` bytes behind their number, and what comes behind it.
fn list<const SIZE: usize>(
    message: &[u8],
    most: usize,
) -> Result<(impl Iterator<Item = [u8; SIZE]> + '_, &[u8]), NoMessage> {
    let (count, rest) = message.split_first_chunk().ok_or(NoMessage)?;
    let count = usize::from(u16::from_le_bytes(*count));
    if count > most {
        return Err(NoMessage);
    }
    let (values, rest) = rest.split_at_checked(count * SIZE).ok_or(NoMessage)?;
    Ok((values.as_chunks::<SIZE>().0.iter().copied(), rest))
}

impl<'a> Report<'a> {
    /// The message.
    pub fn to_bytes(self) -> Vec<u8> {
        let (kind, card, errno, rest) = match self {
            Self::Left { card, frame } => (LEFT, card, None, frame),
            Self::Refused { card, errno } => (REFUSED, card, Some(errno), &[][..]),
        };
        let mut bytes = vec![kind];
        bytes.extend(card.to_le_bytes());
        bytes.extend(errno.map(i32::to_le_bytes).as_slice().as_flattened());
        bytes.extend_from_slice(rest);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`NoMessage`].
    pub fn parse(message: &'a [u8]) -> Result<Self, NoMessage> {
        let (kind, rest) = message.split_first().ok_or(NoMessage)?;
        let (card, rest) = rest.split_first_chunk().ok_or(NoMessage)?;
        let card = u32::from_le_bytes(*card);
        match *kind {
            LEFT if rest.len() <= LONGEST_FRAME => Ok(Self::Left { card, frame: rest }),
            REFUSED => {
                let errno = rest.try_into().map_err(|_| NoMessage)?;
                let errno = i32::from_le_bytes(errno);
                Ok(Self::Refused { card, errno })
            }
            _ => Err(NoMessage),
        }
    }
}

const LEFT: u8 = 0;
const REFUSED: u8 = 1;

/// Bytes of the longest frame: networks have packets of 9,000 bytes at most, and what does not fit into one is not copied.
pub const LONGEST_FRAME: usize = 14 + 9000;

/// Bytes of the longest report.
pub(super) const LONGEST_REPORT: usize = 5 + LONGEST_FRAME;

/// Bytes of the longest message to the listener.
pub(super) const LONGEST_WATCH: usize = 4 + 4 * MOST_CARDS + 4 * MOST_RANGES;

/// Cards that are watched, at most.
pub const MOST_CARDS: usize = 64;

/// Ranges of ports, at most.
pub const MOST_RANGES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_one_range() {
        let watch = Watch::new([7, 0, 3, 7], [27962, 27960, 27961, 4445, 27960, 65535, 1]);
        assert_eq!(watch.cards(), [3, 7]);
        let range = |first, last| Ports { first, last };
        assert_eq!(
            watch.ports(),
            [range(1, 1), range(4445, 4445), range(27960, 27962), range(65535, 65535)]
        );
        assert_eq!(Watch::parse(&watch.to_bytes()), Ok(watch));
    }

    #[test]
    fn more_than_the_message_holds_is_cut() {
        let watch = Watch::new(1..200, (1..5000).map(|port| port * 2));
        assert_eq!((watch.cards().len(), watch.ports().len()), (MOST_CARDS, MOST_RANGES));
        let last = watch.ports().last().copied().unwrap();
        assert_eq!((last.first, last.last), (1024, 9998));
        assert!(watch.to_bytes().len() <= LONGEST_WATCH);
        assert_eq!(Watch::parse(&watch.to_bytes()), Ok(watch));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = Watch::new([3, 7], [4445, 6112]).to_bytes();
        assert!(Watch::parse(&good).is_ok());
        for cut in 0..good.len() {
            assert_eq!(Watch::parse(&good[..cut]), Err(NoMessage), "{cut}");
        }
        let bend = |at: usize, byte: u8| {
            let mut bent = good.clone();
            bent[at] = byte;
            Watch::parse(&bent)
        };
        // The second card like the first, no card at all, more cards than may be, a range that ends before it begins.
        for (at, byte) in [(6, 3), (2, 0), (1, 1), (14, 0)] {
            assert_eq!(bend(at, byte), Err(NoMessage), "{at}");
        }
        assert_eq!(Watch::parse(&[&good[..], &[0]].concat()), Err(NoMessage));
        for bad in [
            &[][..],
            &[0, 1, 2, 3],
            &[2, 1, 0, 0, 0],
            &[1, 1, 0, 0, 0, 1, 0, 0],
            &[0; LONGEST_REPORT + 1],
        ] {
            assert_eq!(Report::parse(bad), Err(NoMessage), "{bad:?}");
        }
        for report in [
            Report::Left {
                card: 7,
                frame: b"frame",
            },
            Report::Left { card: 7, frame: b"" },
            Report::Refused {
                card: 1 << 30,
                errno: 1,
            },
        ] {
            assert_eq!(Report::parse(&report.to_bytes()), Ok(report));
        }
    }
}
