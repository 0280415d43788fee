//! A forwarder that does nothing but carry frames, to tell what user space costs at least on a machine.

use std::process::Command;

use anyhow::{Context, Result};

use super::{CARD, MTU, System, Tunnel, set_card};
use crate::bench::lab::Rig;
use crate::ns::program::Process;

/// `farlan-bench forward`: no encryption, no protocol, no offloads, one frame by one system call.
#[derive(Debug)]
pub(super) struct Bare;

/// Its UDP port.
const PORT: u16 = 7777;

impl System for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn settings(&self) -> String {
        format!("two threads that read and write, MTU {MTU}; no encryption, no protocol, no offloads")
    }

    fn version(&self) -> Result<String> {
        Ok("this benchmark's own".to_owned())
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut processes = Vec::new();
        for (index, (local, peer)) in [(0, 1), (1, 0)].into_iter().enumerate() {
            let mut command: Command = rig.hosts[index].command(program.display().to_string());
            command.args(["forward", "--card", CARD, "--mtu", &MTU.to_string()]);
            command.arg(format!("{}:{PORT}", rig.underlay[local]));
            command.arg(format!("{}:{PORT}", rig.underlay[peer]));
            let mut process = Process::spawn(command, &format!("bare-{index}"), rig.lab.directory())?;
            set_card(rig, index, &mut process, MTU)?;
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}
