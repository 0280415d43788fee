//! fastd in TAP mode.

use std::process::Command;

use anyhow::{Context, Result};

use super::{CARD, MTU, System, Tunnel, set_card, spawn, version_of, write};
use crate::bench::lab::Rig;
use crate::ns::command::{self, DEFAULT_LIMIT};

/// fastd with Salsa20/12 and UMAC; AES-128-CTR with UMAC, the other quick pair that encrypts, costs the same within the
/// noise.
#[derive(Debug)]
pub(super) struct Fastd;

/// The method.
const METHOD: &str = "salsa2012+umac";

/// The UDP port.
const PORT: u16 = 10_000;

impl System for Fastd {
    fn name(&self) -> &'static str {
        "fastd"
    }

    fn settings(&self) -> String {
        format!("mode tap; method \"{METHOD}\"; mtu {MTU}")
    }

    fn version(&self) -> Result<String> {
        version_of("fastd", &["--version"], "fastd", "Debian package fastd")
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let keys = [key()?, key()?];
        let mut processes = Vec::new();
        for (index, other) in [(0, 1), (1, 0)] {
            let ((secret, _), (_, public)) = (&keys[index], &keys[other]);
            let (local, remote) = (rig.underlay[index], rig.underlay[other]);
            let text = format!(
                "mode tap;\ninterface \"{CARD}\";\nmtu {MTU};\nmethod \"{METHOD}\";\nbind {local}:{PORT};\n\
                 secret \"{secret}\";\nlog level info;\n\
                 peer \"other\" {{ key \"{public}\"; remote {remote}:{PORT}; }}\n"
            );
            let file = write(rig.lab.directory(), &format!("fastd-{index}.conf"), &text)?;
            let mut process = spawn(rig, index, "fastd", &["--config", &file.to_string_lossy()])?;
            set_card(rig, index, &mut process, MTU)?;
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}

/// A new secret and public key.
fn key() -> Result<(String, String)> {
    let mut command = Command::new("fastd");
    command.arg("--generate-key");
    let printed = command::finish(command, DEFAULT_LIMIT, None)?.success()?.stdout;
    let of = |label: &str| -> Result<String> {
        let line = printed.lines().find_map(|line| line.strip_prefix(label));
        Ok(line
            .with_context(|| format!("no {label} in {printed}"))?
            .trim()
            .to_owned())
    };
    Ok((of("Secret:")?, of("Public:")?))
}
