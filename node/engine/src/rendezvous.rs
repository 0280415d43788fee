//! Which supernodes of a world keep the records of a network.
//!
//! In a world of [`HOLDERS`] supernodes or fewer all of them do. In a larger one rendezvous hashing picks as many for each
//! directory key: every supernode gets a score from its id and the key, and the highest ones win. So whoever knows the
//! list knows the places, a change of the list moves only what the supernode that came or went holds, and whether a
//! supernode answers at the moment changes nothing.

use farlan_crypto::{NodeId, sha512};
use farlan_netconf::DirectoryKey;

/// Supernodes that keep the records of one key.
pub(crate) const HOLDERS: usize = 3;

/// The supernodes, of those in `list`, that keep what belongs to `key`; the highest score first where the list is longer
/// than the places.
pub(crate) fn holders<T: Copy>(key: &DirectoryKey, list: &[(NodeId, T)]) -> Vec<T> {
    if list.len() <= HOLDERS {
        return list.iter().map(|(_, supernode)| *supernode).collect();
    }
    let mut scored: Vec<_> = list
        .iter()
        .map(|(node, supernode)| (score(key, node), *node, *supernode))
        .collect();
    scored.sort_by_key(|(score, node, _)| std::cmp::Reverse((*score, *node)));
    let places = scored.into_iter().take(HOLDERS);
    places.map(|(_, _, supernode)| supernode).collect()
}

/// The first 8 bytes of SHA-512(`"farlan holder 1"` ‖ key ‖ node id), big-endian.
fn score(key: &DirectoryKey, node: &NodeId) -> u64 {
    let hash = sha512(&[b"farlan holder 1", key.as_bytes(), node.as_bytes()]);
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(numbers: &[u8]) -> Vec<(NodeId, u8)> {
        let node = |number: &u8| (NodeId::from_bytes([*number; 16]), *number);
        numbers.iter().map(node).collect()
    }

    #[test]
    fn a_small_world_keeps_everything_everywhere() {
        let key = DirectoryKey::from_bytes([9; 16]);
        assert_eq!(holders(&key, &list(&[3, 1, 2])), [3, 1, 2]);
        assert_eq!(holders(&key, &list(&[])), [] as [u8; 0]);
    }

    #[test]
    fn a_fixed_choice() {
        let key = DirectoryKey::from_bytes([9; 16]);
        assert_eq!(holders(&key, &list(&[1, 2, 3, 4, 5])), FIXED);
    }

    /// Computed apart from this code (Python's hashlib).
    const FIXED: [u8; 3] = [3, 1, 2];

    proptest! {
        #[test]
        fn the_order_of_the_list_does_not_matter_and_a_change_moves_one_place(
            key in any::<[u8; 16]>(), count in 4u8..=64, gone in any::<prop::sample::Index>()
        ) {
            let key = DirectoryKey::from_bytes(key);
            let numbers: Vec<u8> = (1..=count).collect();
            let chosen = holders(&key, &list(&numbers));
            prop_assert_eq!(chosen.len(), HOLDERS);
            let reversed: Vec<u8> = numbers.iter().rev().copied().collect();
            prop_assert_eq!(&holders(&key, &list(&reversed)), &chosen);
            let gone = *gone.get(&numbers);
            let fewer: Vec<u8> = numbers.into_iter().filter(|number| *number != gone).collect();
            if fewer.len() > HOLDERS {
                let after = holders(&key, &list(&fewer));
                let kept = after.iter().filter(|number| chosen.contains(number)).count();
                prop_assert_eq!(kept, if chosen.contains(&gone) { HOLDERS - 1 } else { HOLDERS });
            }
        }

        #[test]
        fn places_are_spread(first in any::<[u8; 12]>()) {
            let supernodes = list(&(1..=16).collect::<Vec<_>>());
            let mut load = [0u32; 17];
            for number in 0u32..400 {
                let mut key = [0; 16];
                key[..12].copy_from_slice(&first);
                key[12..].copy_from_slice(&number.to_be_bytes());
                for place in holders(&DirectoryKey::from_bytes(key), &supernodes) {
                    load[usize::from(place)] += 1;
                }
            }
            // 75 each are expected; the standard deviation is 8.
            prop_assert!(load[1..].iter().all(|held| (30..130).contains(held)), "{:?}", load);
        }
    }
}
