//! Something that is fetched in pieces.
//!
//! The fetching end keeps all state. It knows the length once the first piece has come, and asks for a few pieces at one time from
//! then on; what is lost is asked for again.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Time,
    retry::{Retry, Schedule},
};

/// Bytes of a piece but the last one: it fits an underlay MTU of 1280.
pub(crate) const PIECE: usize = 1000;

/// Pieces that are asked for at one time.
const AT_ONCE: usize = 8;

/// Pieces that do not come are asked for again.
const FETCH: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: 4,
    longest: Duration::from_secs(4),
};

/// After so many askings without a piece there is nobody who answers.
const ASKINGS: u32 = 10;

/// Whoever takes longer for the whole may do so for ever.
const LONGEST: Duration = Duration::from_secs(120);

/// What comes in pieces.
#[derive(Debug)]
pub(crate) struct Assembly {
    most: usize,
    length: Option<usize>,
    bytes: Vec<u8>,
    /// Offsets that are asked for.
    asked: BTreeSet<usize>,
    retry: Retry,
    begun: Time,
}

/// What a piece was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nobody asked for it, or others are still to come.
    Nothing,
    /// Others are to be asked for.
    Ask,
    /// It cannot be a piece of anything that is fetched here.
    Wrong,
    /// The last one.
    Whole(Vec<u8>),
}

impl Assembly {
    /// Something of `most` bytes at the most, to be asked for at once.
    pub(crate) fn new(now: Time, most: usize) -> Self {
        Self {
            most,
            length: None,
            bytes: Vec::new(),
            asked: BTreeSet::from([0]),
            retry: Retry::due(FETCH, now),
            begun: now,
        }
    }

    /// Begins anew, since what is fetched has changed.
    pub(crate) fn restart(&mut self, now: Time) {
        *self = Self {
            begun: self.begun,
            ..Self::new(now, self.most)
        };
    }

    /// When pieces are to be asked for.
    pub(crate) fn at(&self) -> Time {
        self.retry.at()
    }

    /// Whether it is not worth while to go on.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.retry.sent() >= ASKINGS || now.since(self.begun) >= LONGEST
    }

    /// The offsets to ask for now.
    pub(crate) fn ask(&mut self, now: Time) -> Vec<u32> {
        self.retry.again(now);
        let offsets = self.asked.iter().filter_map(|offset| u32::try_from(*offset).ok());
        offsets.collect()
    }

    /// Takes a piece of something that is `length` bytes long.
    pub(crate) fn take(&mut self, now: Time, length: u32, offset: u32, piece: &[u8]) -> Taken {
        let (Ok(length), Ok(offset)) = (usize::try_from(length), usize::try_from(offset)) else {
            return Taken::Wrong;
        };
        if length == 0 || length > self.most || self.length.is_some_and(|known| known != length) {
            return Taken::Wrong;
        }
        if !self.asked.contains(&offset) {
            return Taken::Nothing;
        }
        if piece.len() != PIECE.min(length.saturating_sub(offset)) || piece.is_empty() {
            return Taken::Wrong;
        }
        if self.length.is_none() {
            self.length = Some(length);
        }
        self.asked.remove(&offset);
        // What was not asked for has no room yet, so that a length alone costs none.
        let end = offset + piece.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(piece);
        }
        if !self.asked.is_empty() {
            return Taken::Nothing;
        }
        let next = self.bytes.len();
        if next >= length {
            return Taken::Whole(std::mem::take(&mut self.bytes));
        }
        self.asked = (next..length).step_by(PIECE).take(AT_ONCE).collect();
        self.retry = Retry::due(FETCH, now);
        Taken::Ask
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The piece of `whole` at an offset, if there is one.
pub(crate) fn piece_at(whole: &[u8], offset: u32) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?;
    let rest = whole.get(offset..)?;
    let piece = rest.get(..PIECE).unwrap_or(rest);
    (!piece.is_empty() && offset.is_multiple_of(PIECE)).then_some(piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks until all has come; of the pieces those arrive that `arrives` says, in reverse.
    fn fetch(whole: &[u8], mut arrives: impl FnMut() -> bool) -> Option<Vec<u8>> {
        let mut now = Time::ZERO;
        let mut assembly = Assembly::new(now, 500_000);
        while !assembly.is_over(now) {
            let asked = assembly.ask(now);
            assert!(asked.len() <= AT_ONCE);
            for offset in asked.into_iter().rev() {
                let piece = piece_at(whole, offset)?;
                if !arrives() {
                    continue;
                }
                let length = u32::try_from(whole.len()).unwrap();
                if let Taken::Whole(bytes) = assembly.take(now, length, offset, piece) {
                    return Some(bytes);
                }
            }
            now = now.max(assembly.at());
        }
        None
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole_whatever_is_lost(length in 1_usize..20_000, lost in any::<u64>()) {
            let whole: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut turn = 0;
            let fetched = fetch(&whole, || { turn += 1; (lost >> (turn % 64)) & 1 == 0 || turn % 3 == 0 });
            prop_assert_eq!(fetched, Some(whole));
        }
    }

    #[test]
    fn what_never_comes_ends() {
        assert_eq!(fetch(&[1; 3000], || false), None);
    }

    #[test]
    fn what_does_not_fit_is_wrong_and_what_nobody_asked_for_nothing() {
        let now = Time::ZERO;
        let new = || Assembly::new(now, 5000);
        assert_eq!(new().take(now, 5001, 0, &[0; 1000]), Taken::Wrong);
        assert_eq!(new().take(now, 0, 0, &[]), Taken::Wrong);
        assert_eq!(new().take(now, 5000, 0, &[0; 999]), Taken::Wrong);
        assert_eq!(new().take(now, 5000, 1000, &[0; 1000]), Taken::Nothing);
        let mut begun = new();
        assert_eq!(begun.take(now, 4500, 0, &[0; 1000]), Taken::Ask);
        assert_eq!(begun.take(now, 5000, 1000, &[0; 1000]), Taken::Wrong);
        assert_eq!(begun.take(now, 4500, 0, &[0; 1000]), Taken::Nothing);
        assert_eq!(begun.len(), 1000, "a length takes no room");
    }
}
