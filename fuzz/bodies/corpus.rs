//! The committed corpora, run without a fuzzer: one file a target, one input a line, in hexadecimal.
#![allow(dead_code, reason = "each crate uses a part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[path = "mutations.rs"]
mod mutations;

pub(crate) use mutations::mutate;

/// Runs `body` on every committed input of `target` and returns how many there were.
///
/// # Panics
/// There are fewer than ten, or one cannot be read. Where the body panics, the input has been printed.
pub(crate) fn replay(target: &str, body: impl Fn(&[u8])) -> usize {
    let path = file_of(target);
    let inputs = corpus_of(&path);
    for (number, input) in inputs.iter().enumerate() {
        println!("{}:{}", path.display(), number + 1);
        body(input);
    }
    inputs.len()
}

/// The inputs of a file.
fn corpus_of(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().enumerate();
    let inputs: Vec<_> = lines
        .map(|(number, line)| {
            bytes(line).unwrap_or_else(|| panic!("{}:{}: no hexadecimal", path.display(), number + 1))
        })
        .collect();
    assert!(
        inputs.len() >= 10,
        "{} has only {} inputs",
        path.display(),
        inputs.len()
    );
    inputs
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = line.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |[high, low]: &[u8; 2]| u8::try_from(16 * digit(*high)? + digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

/// The file of a target in `fuzz/corpus`, above the crate that is tested.
fn file_of(target: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = crates.map(|path| path.join("fuzz/corpus")).find(|path| path.is_dir());
    let directory = found.expect("the crates lie below the directory that holds fuzz/corpus");
    directory.join(format!("{target}.hex"))
}
