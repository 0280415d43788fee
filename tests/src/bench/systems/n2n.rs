//! n2n, peer to peer with its supernode on the third machine.

use anyhow::Result;

use super::{ADDRESSES, CARD, MTU, System, Tunnel, set_card, spawn, version_of};
use crate::bench::lab::Rig;
use crate::ns::program::Process;

/// n2n 1.3 as Debian has it, which knows Twofish alone.
#[derive(Debug)]
pub(super) struct N2n;

/// The supernode's UDP port.
const PORT: u16 = 7654;

impl System for N2n {
    fn name(&self) -> &'static str {
        "n2n"
    }

    fn settings(&self) -> String {
        format!("edge -k KEY (Twofish, the only cipher of 1.3) -M {MTU}, one supernode, peer to peer")
    }

    fn version(&self) -> Result<String> {
        let line = version_of("edge", &["-h"], "n2n v", "Debian package n2n")?;
        Ok(line.trim_start_matches("Welcome to ").to_owned())
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let mut supernode = rig.third.namespace.command("supernode");
        supernode.args(["-l", &PORT.to_string()]);
        let supernode = Process::spawn(supernode, "n2n-supernode", rig.lab.directory())?;
        let meeting = format!("{}:{PORT}", rig.third.address);
        let mut processes = Vec::new();
        for (index, address) in ADDRESSES.iter().enumerate() {
            let (address, mtu) = (address.to_string(), MTU.to_string());
            let mac = format!("02:00:00:00:00:0{}", index + 1);
            let words = [
                "-d",
                CARD,
                "-a",
                &address,
                "-s",
                "255.255.255.0",
                "-c",
                "bench",
                "-k",
                "bench-key",
            ];
            let words = [&words[..], &["-l", &meeting, "-m", &mac, "-M", &mtu]].concat();
            let mut process = spawn(rig, index, "edge", &words)?;
            set_card(rig, index, &mut process, MTU)?;
            processes.push(process);
        }
        processes.push(supernode);
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}
