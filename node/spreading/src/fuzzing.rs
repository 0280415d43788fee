//! The committed inputs of the fuzz target, and others made of them.

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
