//! Checking a configuration without using it.

use std::path::Path;

use serde::Serialize;

use super::{client::check_socket, output::Output};
use crate::{
    api::SCHEMA,
    config::{Config, DEFAULT_PATH},
    failure::Failure,
    games,
};

/// What `config check --json` prints of a configuration that is fine.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    schema: u32,
    /// The file that was read; none where every key has its default.
    file: Option<&'a Path>,
}

/// Checks the configuration of a node: the file at `path`, or at the usual place.
///
/// # Errors
/// What is wrong with it, with file and line, as [`Usage`](crate::failure::FailureKind::Usage).
pub(super) fn node(path: Option<&Path>, json: bool) -> Result<(), Failure> {
    let config = Config::load(path, &games::load(path)?)?;
    let usual = Path::new(DEFAULT_PATH);
    let file = path.or_else(|| usual.exists().then_some(usual));
    check_socket(&config.socket).map_err(|failure| match file {
        Some(file) => Failure::usage(format_args!("{}: {failure}", file.display())),
        None => failure,
    })?;
    fine(file, json)
}

/// Says that a configuration is fine.
///
/// # Errors
/// Standard output cannot be written.
pub fn fine(file: Option<&Path>, json: bool) -> Result<(), Failure> {
    let mut output = Output::new(json);
    if json {
        return output.document(&Checked { schema: SCHEMA, file });
    }
    match file {
        Some(file) => output.line(format_args!("{} is fine", file.display())),
        None => output.line(format_args!("there is no {DEFAULT_PATH}, so every key has its default")),
    }
}
