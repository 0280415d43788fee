//! The committed inputs of the fuzz targets, and bytes at random.

use proptest::{collection::vec, prelude::*};

use crate::recorded::{FILES, packets};

#[path = "../../../fuzz/bodies/games.rs"]
mod bodies;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_games_packets() {
    corpus::replay("games_packets", bodies::packets);
}

#[test]
fn the_corpus_of_games_lists() {
    corpus::replay("games_lists", bodies::lists);
}

#[test]
fn the_corpus_of_games_frames() {
    corpus::replay("games_frames", bodies::frames);
}

#[test]
fn what_games_say_stands_fifty_thousand_mutations() {
    let made = corpus::mutate("games_packets", 30_000, bodies::packets)
        + corpus::mutate("games_lists", 5_000, bodies::lists)
        + corpus::mutate("games_frames", 15_000, bodies::frames);
    assert_eq!(made, 50_000);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(input in vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        bodies::packets(&input);
        bodies::lists(text.as_bytes());
        bodies::frames(&input);
    }

    /// Real packets with some bytes replaced.
    #[test]
    fn bent_packets_are_read_or_refused(
        file in 0..FILES.len(),
        which: prop::sample::Index,
        ports in 0_u8..16,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let packets = packets(FILES[file].0);
        let mut input = which.get(&packets).payload.clone();
        input.insert(0, ports);
        for (place, value) in changes {
            let place = place.index(input.len());
            input[place] = value;
        }
        bodies::packets(&input);
    }
}
