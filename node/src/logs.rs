//! Logging to standard error.
//!
//! Levels are an interface: per packet TRACE, decisions DEBUG, what a user would notice INFO, what should wake somebody
//! WARN. Underlay addresses never appear above DEBUG.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use farlan_crypto::PLAINTEXT;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Which messages are logged: a level (`info`), or levels by module (`info,farlan_engine=debug`), in the syntax of
/// `tracing-subscriber`'s `EnvFilter`, without spans.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".into())
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The filter takes a bare word that is no level for the name of a module, and then logs nothing else.
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        let known = parts.iter().all(|part| part.contains('=') || is_level(part));
        // It would take what stands in brackets for spans, of which there are none here, and their fields for regular
        // expressions, over which it can ponder for minutes.
        if text.contains('[') {
            return Err(wrong(&text));
        }
        let filter = parts.join(",");
        match EnvFilter::try_new(&filter) {
            Ok(_) if known => Ok(Self(filter)),
            _ => Err(wrong(&text)),
        }
    }
}

fn wrong(text: &str) -> String {
    format!("{text:?} is no log level: use off, error, warn, info, debug, trace or MODULE=LEVEL,…")
}

fn is_level(word: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

impl std::str::FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

/// Starts logging for the whole program; a second call changes nothing.
pub fn start(filter: &LogFilter) {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&filter.0));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The only failure is that a logger exists already.
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok()
    {
        let _ = IN_FORCE.set(handle);
    }
    if PLAINTEXT {
        tracing::warn!("this build is for benchmarks: it encrypts nothing and accepts forgeries");
    }
}

/// Logs by another filter from now on, if [`start`] was called.
pub fn change(filter: &LogFilter) {
    if let Some(handle) = IN_FORCE.get() {
        // It fails only when the logger is gone, which lives as long as the program.
        let _ = handle.reload(EnvFilter::new(&filter.0));
    }
}

/// The filter of the program's logger.
static IN_FORCE: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for good in ["info", "off", "warn,farlan_engine=trace", "info, farlan=debug", "DEBUG"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ",",
            "loud",
            "inof",
            "info,loud",
            "info,",
            "farlan=loud",
            "a=b=c",
            "[span{field=1}]=info",
        ] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }
}
