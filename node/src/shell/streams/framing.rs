//! The bytes of a stream: a preface, then datagrams behind their lengths. See PROTOCOL.md, "Streams".
//!
//! ```text
//! preface      66 61 72 6c 61 6e 00 01, sent once, by the end that opened it
//! datagram     length 2 | datagram, 1 to 9,216 bytes; both ways
//! ```

use thiserror::Error;

/// What a stream begins with: "farlan", 0, and the version of this layout.
pub(super) const PREFACE: [u8; 8] = *b"farlan\0\x01";

/// Bytes of the largest datagram, as over UDP.
pub(super) const LARGEST: usize = 9216;

/// Bytes before a datagram.
const LENGTH: usize = 2;

/// Bytes that a datagram takes at the most.
pub(super) const MOST_OF_ONE: usize = LENGTH + LARGEST;

/// Bytes that a datagram takes in a stream.
pub(super) fn of(datagram: &[u8]) -> usize {
    LENGTH + datagram.len()
}

/// Bytes that may wait to be sent, and above which only short datagrams may: they are what keeps things alive.
const MOST_WAITING: usize = 256 << 10;
const MOST_WAITING_LONG: usize = 192 << 10;
const SHORT: usize = 256;

/// What is received is no stream of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a stream of datagrams")]
pub(crate) struct Malformed;

/// The first datagram of `bytes`, if it is there whole, and how many of them it takes.
///
/// # Errors
/// A length of 0 or beyond [`LARGEST`].
fn decode(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > LARGEST {
        return Err(Malformed);
    }
    Ok(rest.get(..length).map(|datagram| (datagram, LENGTH + length)))
}

/// What came and is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    partial: Vec<u8>,
    /// Whether a preface has to come first.
    preface: bool,
}

impl Incoming {
    /// Of a stream that the other end opened.
    pub(crate) fn with_preface() -> Self {
        Self {
            partial: Vec::new(),
            preface: true,
        }
    }

    /// Whether the preface has yet to come.
    pub(crate) fn awaits_preface(&self) -> bool {
        self.preface
    }

    /// Takes what came, and hands over each datagram that is whole now.
    ///
    /// # Errors
    /// It is no stream of datagrams; those before the fault were handed over.
    pub(crate) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Malformed> {
        if self.partial.is_empty() {
            let rest = split(&mut self.preface, bytes, &mut each)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(bytes);
        let rest = split(&mut self.preface, &self.partial, &mut each)?.len();
        self.partial.drain(..self.partial.len() - rest);
        Ok(())
    }
}

/// Hands over each whole datagram; returns what is left.
fn split<'a>(preface: &mut bool, mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> Result<&'a [u8], Malformed> {
    if *preface {
        // A byte that is none of it is not waited out.
        let (begin, rest) = bytes.split_at(bytes.len().min(PREFACE.len()));
        if !PREFACE.starts_with(begin) {
            return Err(Malformed);
        }
        if begin.len() < PREFACE.len() {
            return Ok(bytes);
        }
        (*preface, bytes) = (false, rest);
    }
    while let Some((datagram, taken)) = decode(bytes)? {
        each(datagram);
        bytes = bytes.get(taken..).unwrap_or_default();
    }
    Ok(bytes)
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Of a stream that this end opens.
    pub(crate) fn with_preface() -> Self {
        Self {
            bytes: PREFACE.to_vec(),
            sent: 0,
        }
    }

    /// Adds a datagram. Returns whether there was room for it; it is lost otherwise, and so is one that no stream carries.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> bool {
        let most = if datagram.len() > SHORT {
            MOST_WAITING_LONG
        } else {
            MOST_WAITING
        };
        let fits = self.waiting().len() + LENGTH + datagram.len() <= most;
        let length = u16::try_from(datagram.len()).ok();
        let length = length.filter(|_| fits && (1..=LARGEST).contains(&datagram.len()));
        if let Some(length) = length {
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(datagram);
        }
        length.is_some()
    }

    /// What is to be sent next.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of it were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            // What one burst took is not kept for as long as the stream lives.
            self.bytes.shrink_to(4 * LARGEST);
        } else if self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
#[path = "../../../../crypto/tests/page/mod.rs"]
mod page;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn taken(incoming: &mut Incoming, bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), Malformed>) {
        let mut datagrams = Vec::new();
        let result = incoming.take(bytes, |datagram| datagrams.push(datagram.to_vec()));
        (datagrams, result)
    }

    #[test]
    fn what_is_no_preface_is_refused_at_its_first_byte() {
        for wrong in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01",
            b"farlan\0\x02",
            b"farm",
        ] {
            let mut incoming = Incoming::with_preface();
            assert_eq!(taken(&mut incoming, wrong), (vec![], Err(Malformed)), "{wrong:?}");
        }
        let mut incoming = Incoming::with_preface();
        assert_eq!(taken(&mut incoming, b"far"), (vec![], Ok(())));
        assert!(incoming.awaits_preface());
        assert_eq!(
            taken(&mut incoming, b"lan\0\x01\0\x01x\0"),
            (vec![b"x".to_vec()], Ok(()))
        );
        assert!(!incoming.awaits_preface());
        assert_eq!(taken(&mut incoming, b"\x02yz"), (vec![b"yz".to_vec()], Ok(())));
    }

    #[test]
    fn the_stream_of_the_page_is_made_and_read() {
        let page = page::Block::of("A.9", 0);
        let hints = page.bytes("hints");
        let mut outgoing = Outgoing::with_preface();
        assert!(hints.chunks(8).all(|hint| outgoing.push(hint)));
        assert_eq!(outgoing.waiting(), page.bytes("stream"));
        let (came, result) = taken(&mut Incoming::with_preface(), outgoing.waiting());
        assert_eq!((came.concat(), result), (hints, Ok(())));
    }

    #[test]
    fn answers_of_other_programs_are_no_datagrams() {
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\0\0",
            b"\x24\x01",
        ] {
            assert_eq!(taken(&mut Incoming::default(), other).1, Err(Malformed), "{other:?}");
        }
    }

    #[test]
    fn what_the_other_end_does_not_take_is_bounded_and_short_datagrams_go_on_longer() {
        let mut outgoing = Outgoing::default();
        let long = (0..1000).filter(|_| outgoing.push(&[1; 1400])).count();
        let short = (0..10_000).filter(|_| outgoing.push(&[2; 80])).count();
        assert!((130..=MOST_WAITING_LONG / 1400).contains(&long), "{long}");
        assert!((700..=900).contains(&short), "{short}");
        assert!(outgoing.waiting().len() <= MOST_WAITING);
        outgoing.sent(100_000);
        assert!(outgoing.push(&[1; 1400]));
        outgoing.sent(usize::MAX);
        assert!(outgoing.waiting().is_empty());
        assert!(!outgoing.push(&[]) && !outgoing.push(&[0; LARGEST + 1]) && outgoing.push(&[0; LARGEST]));
    }

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_they_are_cut(
            datagrams in vec(vec(any::<u8>(), 1..400), 0..12),
            cuts in vec(1usize..600, 1..40),
        ) {
            let mut outgoing = Outgoing::with_preface();
            prop_assert!(datagrams.iter().all(|datagram| outgoing.push(datagram)));
            let mut incoming = Incoming::with_preface();
            let mut came = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !outgoing.waiting().is_empty() {
                let count = outgoing.waiting().len().min(*cuts.next().unwrap());
                let part = outgoing.waiting()[..count].to_vec();
                outgoing.sent(count);
                let (more, result) = taken(&mut incoming, &part);
                prop_assert_eq!(result, Ok(()));
                came.extend(more);
            }
            prop_assert_eq!(came, datagrams);
            prop_assert!(incoming.partial.is_empty());
        }
    }
}
