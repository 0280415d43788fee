//! The committed corpora, run without a fuzzer: one file a target, one input a line, in hexadecimal.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Runs `body` on every committed input of `target` and returns how many there were.
///
/// # Panics
/// There are fewer than ten, or one cannot be read. Where the body panics, the input has been printed.
pub(crate) fn replay(target: &str, body: impl Fn(&[u8])) -> usize {
    let path = directory().join(format!("{target}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut count = 0;
    for (number, line) in text.lines().enumerate() {
        println!("{}:{}", path.display(), number + 1);
        body(&bytes(line).unwrap_or_else(|| panic!("{}:{}: no hexadecimal", path.display(), number + 1)));
        count += 1;
    }
    assert!(count >= 10, "{} has only {count} inputs", path.display());
    count
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = line.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |[high, low]: &[u8; 2]| u8::try_from(16 * digit(*high)? + digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

/// `fuzz/corpus` above the crate that is tested.
fn directory() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = crates.map(|path| path.join("fuzz/corpus")).find(|path| path.is_dir());
    found.expect("the crates lie below the directory that holds fuzz/corpus")
}
