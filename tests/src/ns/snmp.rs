//! What the kernel of a namespace counts about TCP and UDP (`/proc/net/snmp`, `/proc/net/netstat`).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::namespace::Namespace;

/// All counters of a namespace at one moment, by names such as `Tcp.RetransSegs`.
#[derive(Clone, Debug)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Reads them.
    ///
    /// # Errors
    /// They cannot be read or understood.
    pub fn of(namespace: &Namespace) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for file in ["snmp", "netstat"] {
            // Not /proc/net, which is that of the program's first thread.
            let text = namespace.inside(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")))??;
            let lines: Vec<_> = text.lines().collect();
            for pair in lines.chunks_exact(2) {
                let (names, values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
                let group = pair[0].split(':').next().unwrap_or_default();
                for (name, value) in names.zip(values).skip(1) {
                    // A single value (MaxConn) can be -1.
                    if let Ok(value) = value.parse() {
                        counts.insert(format!("{group}.{name}"), value);
                    }
                }
            }
        }
        Ok(Self(counts))
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0
            .get(name)
            .copied()
            .with_context(|| format!("the kernel counts no {name}"))
    }

    /// How much one of them has grown since.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn since(&self, earlier: &Self, name: &str) -> Result<u64> {
        Ok(self.get(name)? - earlier.get(name)?)
    }
}
