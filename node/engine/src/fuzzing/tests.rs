//! The committed inputs of the fuzz targets, and bytes at random.

use proptest::{collection::vec, prelude::*};

use super::*;

#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;
#[path = "../../../../fuzz/bodies/engine.rs"]
mod engine;

#[test]
fn the_corpus_of_wire_datagram() {
    corpus::replay("wire_datagram", datagram);
}

#[test]
fn the_corpus_of_wire_beacon() {
    corpus::replay("wire_beacon", beacon);
}

#[test]
fn the_corpus_of_wire_sealed() {
    corpus::replay("wire_sealed", sealed);
}

#[test]
fn the_corpus_of_wire_control() {
    corpus::replay("wire_control", control);
}

#[test]
fn the_corpus_of_wire_frame() {
    corpus::replay("wire_frame", frame);
}

#[test]
fn the_corpus_of_wire_fragments() {
    corpus::replay("wire_fragments", fragments);
}

#[test]
fn the_corpus_of_engine_session() {
    most_get_past("engine_session", engine::session);
}

#[test]
fn the_corpus_of_engine_supernode() {
    most_get_past("engine_supernode", engine::supernode);
}

#[test]
fn the_corpus_of_engine_card() {
    corpus::replay("engine_card", |input| _ = engine::card(input));
}

#[test]
fn the_corpus_of_engine_handshake() {
    corpus::replay("engine_handshake", |input| _ = engine::handshake(input));
}

#[test]
fn what_comes_over_the_wire_stands_a_quarter_of_a_million_mutations() {
    let made = corpus::mutate("wire_datagram", 50_000, datagram)
        + corpus::mutate("wire_sealed", 50_000, sealed)
        + corpus::mutate("wire_control", 50_000, control)
        + corpus::mutate("wire_frame", 50_000, frame)
        + corpus::mutate("wire_fragments", 50_000, fragments)
        + corpus::mutate("wire_beacon", 20_000, beacon);
    assert_eq!(made, 270_000);
}

/// Replays a corpus of which half and more gets past authentication: what is refused there shows little.
fn most_get_past(target: &str, body: fn(&[u8]) -> bool) {
    let past = std::cell::Cell::new(0);
    let count = corpus::replay(target, |input| past.set(past.get() + usize::from(body(input))));
    let past = past.get();
    assert!(
        2 * past >= count,
        "{past} of {count} inputs of {target} get past authentication"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_parsed_or_refused(input in vec(any::<u8>(), 0..300), kind in 0..11u8) {
        datagram(&input);
        beacon(&input);
        sealed(&input);
        control(&input);
        frame(&input);
        fragments(&input);
        let known = [&[kind, 0, 0, 0][..], &input].concat();
        datagram(&known);
        sealed(&known);
        control(&known);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_plan_keeps_what_must_hold(input in vec(any::<u8>(), 0..200)) {
        engine::session(&input);
        engine::supernode(&input);
        engine::card(&input);
        engine::handshake(&input);
    }
}
