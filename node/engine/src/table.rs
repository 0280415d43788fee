//! A table by growing numbers that neither copies nor looks through itself as it grows.
//!
//! Entries stand in blocks of neighbours, and the blocks in a tree, which is a sixteenth as large as one of the entries
//! would be: of a million it stays in the processor's cache. They are gone through in the order of their numbers.

use std::collections::BTreeMap;

/// Entries of a block.
const BLOCK: u64 = 16;

#[derive(Debug)]
pub(crate) struct Table<T> {
    blocks: BTreeMap<u64, Box<Block<T>>>,
    length: usize,
}

#[derive(Debug)]
struct Block<T> {
    entries: [Option<Box<T>>; BLOCK as usize],
    taken: u8,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            length: 0,
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let block = self.blocks.get(&(number / BLOCK))?;
        block.entries.get(place(number))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let block = self.blocks.get_mut(&(number / BLOCK))?;
        block.entries.get_mut(place(number))?.as_deref_mut()
    }

    /// Puts an entry in the place of the one that was there.
    pub(crate) fn insert(&mut self, number: u64, entry: T) -> Option<Box<T>> {
        let block = self.blocks.entry(number / BLOCK).or_insert_with(|| {
            let entries = [const { None }; BLOCK as usize];
            Box::new(Block { entries, taken: 0 })
        });
        let before = block.entries.get_mut(place(number))?.replace(Box::new(entry));
        if before.is_none() {
            block.taken += 1;
            self.length += 1;
        }
        before
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Box<T>> {
        let block = self.blocks.get_mut(&(number / BLOCK))?;
        let entry = block.entries.get_mut(place(number))?.take()?;
        block.taken -= 1;
        self.length -= 1;
        if block.taken == 0 {
            self.blocks.remove(&(number / BLOCK));
        }
        Some(entry)
    }

    /// All entries, the lowest number first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.blocks.iter().flat_map(|(block, entries)| {
            let numbered = (block * BLOCK..).zip(&entries.entries);
            numbered.filter_map(|(number, entry)| Some((number, entry.as_deref()?)))
        })
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % BLOCK).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_would_hold(steps in proptest::collection::vec((0_u64..100, any::<Option<u8>>()), 0..300)) {
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
            prop_assert!(table.blocks.values().all(|block| block.taken > 0));
        }
    }
}
