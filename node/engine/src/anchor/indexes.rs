//! Relay indexes: which are given out, to whom, and which rest.

use std::{collections::VecDeque, time::Duration};

use farlan_crypto::defects::planted;

use crate::{Time, peers::PeerId, rates::Prefix, wire::datagram::RelayIndex};

/// A relay index is not given to another node for so long, so that late datagrams meet nobody.
pub(super) const INDEX_RESTS: Duration = Duration::from_secs(600);

/// Low bits of a relay index: the slot. The others count its uses. A million nodes have one each, and three times as many rest.
const SLOT_BITS: u32 = 22;

/// Gives out relay indexes, and knows whose they are.
#[derive(Debug)]
pub(super) struct Indexes {
    /// How often each slot was used, starting at random so that the indexes of an earlier run mean nothing.
    uses: Vec<u32>,
    holders: Vec<Option<PeerId>>,
    first_use: u64,
    /// Since when which rests, and whose place it was.
    resting: VecDeque<(Time, u32, Option<Prefix>)>,
}

impl Indexes {
    pub(super) fn new(random: u64) -> Self {
        Self {
            uses: Vec::new(),
            holders: Vec::new(),
            first_use: random,
            resting: VecDeque::new(),
        }
    }

    /// Whose an index is.
    pub(super) fn holder(&self, index: RelayIndex) -> Option<PeerId> {
        let slot = slot(index);
        let is_latest = *self.uses.get(slot)? == index.0 >> SLOT_BITS;
        self.holders.get(slot).copied().flatten().filter(|_| is_latest)
    }

    /// Gives out one of `most`; says also whose it was, if it has rested.
    pub(super) fn take(
        &mut self,
        now: Time,
        most: usize,
        holder: PeerId,
    ) -> Option<(RelayIndex, Option<Option<Prefix>>)> {
        let rested = self
            .resting
            .pop_front_if(|(since, ..)| now.since(*since) >= INDEX_RESTS || planted("index-reused"));
        let number = match rested {
            Some((_, slot, _)) => slot,
            None => {
                let slot = u32::try_from(self.uses.len())
                    .ok()
                    .filter(|_| self.uses.len() < most.min(1 << SLOT_BITS))?;
                // Slots of an earlier run began elsewhere.
                let first = self.first_use.wrapping_mul(u64::from(slot) | 1) >> 40;
                self.uses.push(u32::try_from(first).unwrap_or_default() & USES);
                self.holders.push(None);
                slot
            }
        };
        let at = usize::try_from(number).ok()?;
        let uses = self.uses.get_mut(at)?;
        *uses = (*uses + 1) & USES;
        if (*uses << SLOT_BITS) | number == 0 {
            *uses += 1;
        }
        *self.holders.get_mut(at)? = Some(holder);
        Some((RelayIndex((*uses << SLOT_BITS) | number), rested.map(|(.., of)| of)))
    }

    pub(super) fn give_back(&mut self, now: Time, index: RelayIndex, of: Option<Prefix>) {
        if let Some(holder) = self.holders.get_mut(slot(index)) {
            *holder = None;
        }
        self.resting.push_back((now, index.0 & ((1 << SLOT_BITS) - 1), of));
    }
}

/// The bits that count uses.
const USES: u32 = u32::MAX >> SLOT_BITS;

fn slot(index: RelayIndex) -> usize {
    usize::try_from(index.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: PeerId = PeerId::for_test(1);

    #[test]
    fn an_index_rests_before_it_is_given_out_again() {
        let mut indexes = Indexes::new(0x1234_5678_9abc_def0);
        let first = indexes.take(Time::ZERO, 100, HOLDER).unwrap().0;
        assert_eq!(indexes.holder(first), Some(HOLDER));
        indexes.give_back(Time::ZERO, first, None);
        assert_eq!(indexes.holder(first), None);
        let second = indexes.take(Time::ZERO, 100, HOLDER).unwrap().0;
        assert_ne!(slot(first), slot(second));
        let third = indexes.take(Time::ZERO + INDEX_RESTS, 100, HOLDER).unwrap().0;
        assert_eq!(slot(third), slot(first));
        assert_ne!(third, first);
        assert_eq!((indexes.holder(first), indexes.holder(third)), (None, Some(HOLDER)));
    }

    #[test]
    fn no_index_is_zero() {
        let mut indexes = Indexes::new(0);
        indexes.uses.push(USES);
        indexes.holders.push(None);
        indexes.resting.push_back((Time::ZERO, 0, None));
        let (index, _) = indexes.take(Time::ZERO + INDEX_RESTS, 100, HOLDER).unwrap();
        assert_ne!(index, RelayIndex(0));
        assert_eq!(indexes.holder(index), Some(HOLDER));
    }
}
