//! A table by growing numbers that neither copies nor looks through itself as it grows.
//!
//! Entries stand in blocks of neighbours, and the blocks in runs. As a rule no run is missing, so that the one of a number is found by
//! its distance from the first, without a branch that the processor could guess wrongly, as those of a tree are: what is looked up of
//! many is fetched from memory for several of them at one time.
//! They are gone through in the order of their numbers.

/// Entries of a block.
const BLOCK: u64 = 16;

/// Numbers of a run. It takes 128 bytes, which an entry may have to itself when all others of its run are gone; a million stand
/// in 3,907 runs.
const RUN: u64 = 256;

#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The lowest numbers first. Those without entries go together, once they are half of all: not one by one, since all behind
    /// one that goes are moved.
    runs: Vec<Run<T>>,
    /// How many of them have no entries.
    emptied: usize,
    length: usize,
}

#[derive(Debug)]
struct Run<T> {
    /// Its first number by [`RUN`].
    number: u64,
    blocks: Box<[Option<Box<Block<T>>>; (RUN / BLOCK) as usize]>,
    taken: usize,
}

#[derive(Debug)]
struct Block<T> {
    entries: [Option<Box<T>>; BLOCK as usize],
    taken: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            emptied: 0,
            length: 0,
        }
    }
}

impl<T> Run<T> {
    fn new(number: u64) -> Self {
        Self {
            number,
            blocks: Box::new([const { None }; (RUN / BLOCK) as usize]),
            taken: 0,
        }
    }
}

impl<T> Block<T> {
    fn new() -> Self {
        Self {
            entries: [const { None }; BLOCK as usize],
            taken: 0,
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let run = self.runs.get(self.run(number)?)?;
        let block = run.blocks.get(block(number))?.as_deref()?;
        block.entries.get(place(number))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let run = self.run(number)?;
        let block = self.runs.get_mut(run)?.blocks.get_mut(block(number))?.as_deref_mut()?;
        block.entries.get_mut(place(number))?.as_deref_mut()
    }

    /// Puts an entry in the place of the one that was there.
    pub(crate) fn insert(&mut self, number: u64, entry: T) -> Option<Box<T>> {
        let at = self.run(number).unwrap_or_else(|| {
            let at = self.runs.partition_point(|run| run.number < number / RUN);
            self.runs.insert(at, Run::new(number / RUN));
            self.emptied += 1;
            at
        });
        let run = self.runs.get_mut(at)?;
        let block = run.blocks.get_mut(block(number))?;
        self.emptied -= usize::from(run.taken == 0);
        run.taken += usize::from(block.is_none());
        let block = block.get_or_insert_with(|| Box::new(Block::new()));
        let before = block.entries.get_mut(place(number))?.replace(Box::new(entry));
        if before.is_none() {
            block.taken += 1;
            self.length += 1;
        }
        before
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Box<T>> {
        let run = self.run(number)?;
        let run = self.runs.get_mut(run)?;
        let kept = run.blocks.get_mut(block(number))?;
        let block = kept.as_deref_mut()?;
        let entry = block.entries.get_mut(place(number))?.take()?;
        self.length -= 1;
        block.taken -= 1;
        if block.taken == 0 {
            *kept = None;
            run.taken -= 1;
        }
        if run.taken == 0 {
            self.emptied += 1;
        }
        if self.emptied > self.runs.len() / 2 {
            self.runs.retain(|run| run.taken > 0);
            self.emptied = 0;
        }
        Some(entry)
    }

    /// All entries, the lowest number first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let blocks = self.runs.iter().flat_map(|run| {
            let numbered = (run.number * RUN..).step_by(BLOCK as usize).zip(run.blocks.iter());
            numbered.filter_map(|(number, block)| Some((number, block.as_deref()?)))
        });
        blocks.flat_map(|(first, block)| {
            let numbered = (first..).zip(&block.entries);
            numbered.filter_map(|(number, entry)| Some((number, entry.as_deref()?)))
        })
    }

    /// Where the run of a number is.
    #[inline]
    fn run(&self, number: u64) -> Option<usize> {
        let wanted = number / RUN;
        // As a rule none is missing between the first and it.
        let at = usize::try_from(wanted.wrapping_sub(self.runs.first()?.number)).unwrap_or(usize::MAX);
        match self.runs.get(at) {
            Some(run) if run.number == wanted => Some(at),
            _ => self.search(wanted),
        }
    }

    #[cold]
    fn search(&self, wanted: u64) -> Option<usize> {
        self.runs.binary_search_by_key(&wanted, |run| run.number).ok()
    }
}

fn block(number: u64) -> usize {
    usize::try_from(number % RUN / BLOCK).unwrap_or_default()
}

fn place(number: u64) -> usize {
    usize::try_from(number % BLOCK).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Some that are neighbours, at both ends of runs that are neighbours and of others.
    fn numbers() -> impl Strategy<Value = u64> {
        let run = prop_oneof![0_u64..3, Just(u64::from(u32::MAX))];
        (run, prop_oneof![0_u64..40, RUN - 40..RUN]).prop_map(|(run, within)| run * RUN + within)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_tree_would_hold(steps in proptest::collection::vec((numbers(), any::<Option<u8>>()), 0..300)) {
            let (mut table, mut tree) = (Table::default(), BTreeMap::new());
            for (number, entry) in steps {
                match entry {
                    Some(entry) => {
                        let before = table.insert(number, entry).map(|before| *before);
                        prop_assert_eq!(before, tree.insert(number, entry));
                    }
                    None => prop_assert_eq!(table.remove(number).map(|entry| *entry), tree.remove(&number)),
                }
                prop_assert_eq!(table.len(), tree.len());
                prop_assert_eq!(table.get(number), tree.get(&number));
            }
            prop_assert!(table.iter().eq(tree.iter().map(|(number, entry)| (*number, entry))));
            let blocks = table.runs.iter().flat_map(|run| run.blocks.iter().flatten());
            prop_assert!(blocks.into_iter().all(|block| block.taken > 0));
            let empty = table.runs.iter().filter(|run| run.taken == 0).count();
            prop_assert_eq!(table.emptied, empty);
            prop_assert!(2 * empty <= table.runs.len());
            prop_assert!(table.runs.is_sorted_by(|one, next| one.number < next.number));
        }
    }
}
