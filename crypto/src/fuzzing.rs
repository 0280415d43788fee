//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use crate::secret_file;

/// Input: the text of a secret file. What is read from it and written again is read as the same.
///
/// # Panics
/// It is not.
pub fn secret_file(text: &[u8]) {
    let Some(seed) = secret_file::parse(text) else { return };
    let line = secret_file::line(&seed);
    let again = secret_file::parse(line.as_bytes()).expect("what is written can be read");
    assert_eq!(again.as_bytes(), seed.as_bytes());
    assert!(
        line.trim_end()
            .eq_ignore_ascii_case(String::from_utf8_lossy(text).trim_end_matches('\n'))
    );
}

#[cfg(test)]
mod tests;
