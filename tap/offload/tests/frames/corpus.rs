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
