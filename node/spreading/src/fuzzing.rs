//! The committed inputs of the fuzz target, and others made of them.

use std::cell::Cell;

#[path = "../../../fuzz/bodies/spreading.rs"]
mod bodies;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_spreading_message() {
    corpus::replay("spreading_message", bodies::message);
}

#[test]
fn what_is_near_to_the_corpora() {
    assert_eq!(corpus::mutate("spreading_message", 30_000, bodies::message), 30_000);
}

/// Of a corpus of another layout nothing would be found out.
#[test]
fn most_of_the_corpus_are_copies_and_some_may_go_on() {
    let (copies, onward) = (Cell::new(0), Cell::new(0));
    corpus::replay("spreading_message", |input| {
        if let Ok(copy) = crate::Message::parse(input) {
            copies.set(copies.get() + 1);
            onward.set(onward.get() + u32::from(copy.right().is_some_and(|(forwarders, _)| forwarders > 0)));
        }
    });
    assert!(copies.get() >= 10 && onward.get() >= 5, "{copies:?}, {onward:?}");
}
