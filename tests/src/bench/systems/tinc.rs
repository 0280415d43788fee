//! tinc 1.0 in switch mode.

use anyhow::{Context, Result};

use super::{CARD, MTU, System, Tunnel, need_openssl, set_card, spawn, version_of, write};
use crate::bench::lab::Rig;
use crate::ns::command::run;

/// tinc with the quickest cipher of the kind it wants (cipher block chaining) and the quicker one of its usual digests.
#[derive(Debug)]
pub(super) struct Tinc;

/// What each end says of itself.
const SETTINGS: &str = "Cipher = aes-128-cbc\nDigest = sha1\nCompression = 0\n";

/// Buffers that hold what comes while the daemon has no processor.
const BUFFERS: &str = "UDPRcvBuf = 4194304\nUDPSndBuf = 4194304\n";

const NAMES: [&str; 2] = ["a", "b"];

impl System for Tinc {
    fn name(&self) -> &'static str {
        "tinc"
    }

    fn settings(&self) -> String {
        format!(
            "Mode = switch, {}, MTU {MTU}",
            [SETTINGS, BUFFERS].concat().trim().replace('\n', ", ")
        )
    }

    fn version(&self) -> Result<String> {
        need_openssl()?;
        version_of("tincd", &["--version"], "tinc version", "Debian package tinc")
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let mut hosts = Vec::new();
        let directories = NAMES.map(|name| rig.lab.directory().join(format!("tinc-{name}")));
        for (index, name) in NAMES.iter().enumerate() {
            let directory = &directories[index];
            let key = directory.join("rsa_key.priv");
            write(directory, "rsa_key.priv", "")?;
            let key = key.to_string_lossy();
            run(&["openssl", "genrsa", "-traditional", "-out", &key, "2048"])?;
            let public = run(&["openssl", "rsa", "-in", &key, "-RSAPublicKey_out"])?;
            let connect = if index == 0 { "" } else { "ConnectTo = a\n" };
            write(
                directory,
                "tinc.conf",
                &format!(
                    "Name = {name}\nMode = switch\nDeviceType = tap\nInterface = {CARD}\nAddressFamily = ipv4\n{BUFFERS}{connect}"
                ),
            )?;
            hosts.push(format!("Address = {}\n{SETTINGS}{public}", rig.underlay[index]));
        }
        let mut processes = Vec::new();
        for (index, directory) in directories.iter().enumerate() {
            for (name, host) in NAMES.iter().zip(&hosts) {
                write(directory, &format!("hosts/{name}"), host)?;
            }
            let place = directory.to_str().context("a path that is no text")?;
            let pid_file = format!("{place}/pid");
            let mut process = spawn(rig, index, "tincd", &["-D", "-c", place, "--pidfile", &pid_file])?;
            set_card(rig, index, &mut process, MTU)?;
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}
