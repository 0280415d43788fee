//! The committed inputs of the fuzz target, and others made of them.

#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

use super::stream;

#[test]
fn the_corpus_of_node_streams() {
    corpus::replay("node_streams", stream);
}

#[test]
fn what_comes_by_streams_stands_a_quarter_of_a_million_mutations() {
    assert_eq!(corpus::mutate("node_streams", 250_000, stream), 250_000);
}
