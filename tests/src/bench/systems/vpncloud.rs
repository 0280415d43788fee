//! VpnCloud in switch mode.

use anyhow::Result;

use super::{CARD, MTU, System, Tunnel, set_card, spawn, version_of};
use crate::bench::lab::Rig;

/// VpnCloud with AES-128-GCM, its quickest cipher where the processor has instructions for AES.
#[derive(Debug)]
pub(super) struct VpnCloud;

/// The UDP port.
const PORT: u16 = 3210;

impl System for VpnCloud {
    fn name(&self) -> &'static str {
        "vpncloud"
    }

    fn settings(&self) -> String {
        format!("--type tap --mode switch --algorithm aes128, shared password, MTU {MTU}")
    }

    fn version(&self) -> Result<String> {
        version_of(
            "vpncloud",
            &["--version"],
            "VpnCloud",
            "no Debian package: cargo install vpncloud",
        )
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let mut processes = Vec::new();
        for (index, other) in [(0, 1), (1, 0)] {
            let (listen, peer) = (
                format!("{}:{PORT}", rig.underlay[index]),
                format!("{}:{PORT}", rig.underlay[other]),
            );
            let words = [
                "--type",
                "tap",
                "--mode",
                "switch",
                "--algorithm",
                "aes128",
                "--device",
                CARD,
            ];
            let ends = [
                "--no-port-forwarding",
                "--password",
                "bench",
                "--listen",
                &listen,
                "--peer",
                &peer,
            ];
            let mut process = spawn(rig, index, "vpncloud", &[&words[..], &ends].concat())?;
            set_card(rig, index, &mut process, MTU)?;
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}
