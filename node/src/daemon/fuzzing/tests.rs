//! The committed inputs of the fuzz targets, and others made of them.

use std::cell::Cell;

use crate::{api, daemon::networks::Networks, shell::fuzzing::stream};

#[path = "../../../../fuzz/bodies/node.rs"]
mod bodies;
#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_node_files() {
    let private = Cell::new(0);
    corpus::replay("node_files", |input| {
        bodies::files(input);
        let text = std::str::from_utf8(input).ok().and_then(Networks::rewritten);
        private.set(private.get() + usize::from(text.is_some_and(|text| text.contains("[network.private]"))));
    });
    // All that can be kept of a private network is in one of them, and is taken.
    assert_eq!(private.get(), 1);
}

#[test]
fn the_corpus_of_node_options() {
    corpus::replay("node_options", bodies::options);
}

#[test]
fn the_corpus_of_node_names() {
    corpus::replay("node_names", bodies::names);
    assert_eq!(corpus::mutate("node_names", 50_000, bodies::names), 50_000);
}

#[test]
fn the_corpus_of_node_arguments() {
    corpus::replay("node_arguments", bodies::arguments);
}

#[test]
fn the_corpus_of_node_requests() {
    corpus::replay("node_requests", bodies::requests);
}

#[test]
fn the_corpus_of_node_heads() {
    let admitted = Cell::new([0; 2]);
    let count = corpus::replay("node_heads", |input| {
        let [socket, tcp] = admitted.get();
        let [at_socket, over_tcp] = api::fuzzing::head(input).map(usize::from);
        admitted.set([socket + at_socket, tcp + over_tcp]);
    });
    // Both verdicts are among them.
    let [socket, tcp] = admitted.get();
    assert!(
        socket >= 3 && tcp >= 3 && socket + tcp < count,
        "{socket} and {tcp} of {count}"
    );
}

#[test]
fn the_corpus_of_node_streams() {
    corpus::replay("node_streams", stream);
}

#[test]
fn what_comes_by_streams_stands_a_quarter_of_a_million_mutations() {
    assert_eq!(corpus::mutate("node_streams", 250_000, stream), 250_000);
}

#[test]
fn what_users_files_and_programs_say_stands_a_quarter_of_a_million_mutations() {
    let admitted = Cell::new(0);
    let made = corpus::mutate("node_heads", 120_000, |input| {
        let [_, over_tcp] = api::fuzzing::head(input);
        admitted.set(admitted.get() + usize::from(over_tcp));
    }) + corpus::mutate("node_options", 70_000, bodies::options)
        + corpus::mutate("node_requests", 50_000, bodies::requests)
        + corpus::mutate("node_files", 8_000, bodies::files)
        + corpus::mutate("node_arguments", 2_000, bodies::arguments);
    assert_eq!(made, 250_000);
    // Some of the heads are admitted still, so not all is refused for its first line.
    assert!(admitted.get() > 1_000, "{} are admitted", admitted.get());
}
