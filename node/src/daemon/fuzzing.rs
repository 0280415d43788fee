//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use super::{contacts::Contacts, networks::Networks, worlds::Worlds};

/// Input: a text in the place of a file of the state directory. What is read from it is written so that it is read as
/// the same.
///
/// # Panics
/// It is not.
pub fn state_files(text: &str) {
    for rewritten in [Contacts::rewritten, Networks::rewritten, Worlds::rewritten] {
        if let Some(text) = rewritten(text) {
            assert_eq!(rewritten(&text), Some(text));
        }
    }
}

#[cfg(test)]
mod tests;
