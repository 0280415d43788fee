//! The committed corpus of the fuzz targets, without a fuzzer.

use crate::bodies;

#[path = "../../../../fuzz/bodies/corpus.rs"]
mod inputs;

#[test]
fn offload_segments() {
    inputs::replay("offload_segments", bodies::segments);
}

#[test]
fn offload_run() {
    inputs::replay("offload_run", bodies::run);
}

#[test]
fn frames_with_offloads_stand_fifty_thousand_mutations() {
    let made = inputs::mutate("offload_segments", 25_000, bodies::segments)
        + inputs::mutate("offload_run", 25_000, bodies::run);
    assert_eq!(made, 50_000);
}
