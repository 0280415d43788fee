//! Printing: results on standard output, everything said about them on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use serde::Serialize;

use crate::failure::Failure;

/// How often `--watch` looks for changes.
pub(super) const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// Has a terminal begin anew at its upper left.
pub(super) const CLEAR: &str = "\x1b[H\x1b[2J";

/// Standard output, which may be closed at any time by whoever reads it; the rest is then not printed.
#[derive(Debug)]
pub struct Output {
    json: bool,
    closed: bool,
}

impl Output {
    /// Standard output, in JSON or for people.
    pub fn new(json: bool) -> Self {
        Self { json, closed: false }
    }

    /// Whether JSON is wanted.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads it any more, as far as was found out by printing.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints one line, at once.
    ///
    /// # Errors
    /// The output is full or broken; not if it was closed.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result.map_err(|error| Failure::negative(format_args!("cannot print: {error}"))),
        }
    }

    /// Prints a document as JSON.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn document(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).map_err(Failure::negative)?;
        self.line(text)
    }

    /// Prints a table with a heading.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn table<const COLUMNS: usize>(
        &mut self,
        heading: [&str; COLUMNS],
        rows: &[[String; COLUMNS]],
    ) -> Result<(), Failure> {
        table(heading, rows).iter().try_for_each(|line| self.line(line))
    }
}

/// Says something on standard error.
pub fn say(line: impl Display) {
    // There is nobody to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Turns the end of a program into its message and exit code.
pub fn finish(program: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("{program}: {failure}"));
            failure.kind.into()
        }
    }
}

/// Lines with aligned columns, two spaces between them.
fn table<const COLUMNS: usize>(heading: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let mut widths = heading.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let line = |cells: [&str; COLUMNS]| {
        let padded: Vec<_> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    std::iter::once(line(heading))
        .chain(rows.iter().map(|row| line(row.each_ref().map(String::as_str))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [
            ["zürich".to_owned(), "-".to_owned()],
            ["x".to_owned(), "long cell".to_owned()],
        ];
        assert_eq!(
            table(["name", "value"], &rows),
            ["name    value", "zürich  -", "x       long cell"]
        );
    }
}
