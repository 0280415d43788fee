//! The committed corpus of the fuzz targets, without a fuzzer.

use std::fs;
use std::path::Path;

use crate::bodies;

fn replay(target: &str, body: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("there is a corpus") {
        let path = entry.expect("it can be listed").path();
        println!("{}", path.display());
        body(&fs::read(&path).expect("it can be read"));
        count += 1;
    }
    assert!(count > 10, "{} has only {count} inputs", directory.display());
}

#[test]
fn offload_segments() {
    replay("offload_segments", bodies::segments);
}

#[test]
fn offload_run() {
    replay("offload_run", bodies::run);
}
