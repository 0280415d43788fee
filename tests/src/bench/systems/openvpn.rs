//! OpenVPN, TAP, peer to peer over UDP with TLS.

use std::path::Path;

use anyhow::{Context, Result};

use super::{CARD, MTU, System, Tunnel, need_openssl, set_card, spawn, version_of};
use crate::bench::lab::Rig;
use crate::ns::command::run;

/// OpenVPN with one MTU.
#[derive(Debug)]
pub(super) struct OpenVpn {
    name: &'static str,
    mtu: u16,
}

/// The cipher: of the two it recommends, the quicker one where the processor has instructions for AES.
const CIPHER: &str = "AES-128-GCM";

/// What is said to make it quick, besides the cipher.
const QUICK: [&str; 9] = [
    "--fast-io",
    "--sndbuf",
    "4194304",
    "--rcvbuf",
    "4194304",
    "--txqueuelen",
    "1000",
    "--mssfix",
    "0",
];

impl OpenVpn {
    /// Each frame fits a packet of the wire.
    pub(super) const ORDINARY: Self = Self {
        name: "openvpn",
        mtu: MTU,
    };

    /// Large frames, cut by IP, as its guide for fast networks has it.
    pub(super) const LARGE: Self = Self {
        name: "openvpn-9000",
        mtu: 9000,
    };
}

impl System for OpenVpn {
    fn name(&self) -> &'static str {
        self.name
    }

    fn settings(&self) -> String {
        let mtu = self.mtu;
        format!(
            "--dev-type tap --proto udp --data-ciphers {CIPHER} --tun-mtu {mtu} {}, TLS with --peer-fingerprint",
            QUICK.join(" ")
        )
    }

    fn version(&self) -> Result<String> {
        need_openssl()?;
        let line = version_of("openvpn", &["--version"], "OpenVPN ", "Debian package openvpn")?;
        Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let keys = [
            Key::make(rig.lab.directory(), "a")?,
            Key::make(rig.lab.directory(), "b")?,
        ];
        let mut processes = Vec::new();
        for (index, other) in [(0, 1), (1, 0)] {
            let (local, remote) = (rig.underlay[index].to_string(), rig.underlay[other].to_string());
            let mtu = self.mtu.to_string();
            let key = &keys[index];
            let role: &[&str] = if index == 0 {
                &["--tls-server", "--dh", "none"]
            } else {
                &["--tls-client"]
            };
            let words = ["--dev", CARD, "--dev-type", "tap", "--proto", "udp4", "--port", "1194"];
            let ends = ["--local", &local, "--remote", &remote, "--tun-mtu", &mtu];
            let ciphers = ["--data-ciphers", CIPHER, "--cipher", CIPHER, "--disable-dco"];
            let own = ["--cert", &key.certificate, "--key", &key.file];
            let others = ["--peer-fingerprint", &keys[other].fingerprint];
            let words = [&words[..], &ends, &ciphers, &own, &others, &QUICK, role].concat();
            let mut process = spawn(rig, index, "openvpn", &words)?;
            set_card(rig, index, &mut process, self.mtu)?;
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}

/// A key with its certificate, both files, and the certificate's fingerprint.
struct Key {
    file: String,
    certificate: String,
    fingerprint: String,
}

impl Key {
    fn make(directory: &Path, name: &str) -> Result<Self> {
        let path = |end: &str| {
            directory
                .join(format!("openvpn-{name}.{end}"))
                .to_string_lossy()
                .into_owned()
        };
        let (file, certificate) = (path("key"), path("crt"));
        let subject = format!("/CN={name}");
        let curve = "ec_paramgen_curve:prime256v1";
        let new = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "2",
        ];
        run(&[&new[..], &["-subj", &subject, "-keyout", &file, "-out", &certificate]].concat())?;
        let printed = run(&[
            "openssl",
            "x509",
            "-in",
            &certificate,
            "-noout",
            "-fingerprint",
            "-sha256",
        ])?;
        let (_, fingerprint) = printed.trim().split_once('=').context("no fingerprint")?;
        Ok(Self {
            file,
            certificate,
            fingerprint: fingerprint.to_owned(),
        })
    }
}
