//! A forwarder that does nothing but carry frames, to tell what user space costs at least on a machine.

use std::process::Command;

use anyhow::{Context, Result};

use super::{CARD, MTU, System, Tunnel, set_card};
use crate::bench::lab::Rig;
use crate::ns::program::Process;

/// `farlan-bench forward`: no encryption, no protocol.
#[derive(Debug)]
pub(super) enum Bare {
    /// No offloads either: one frame by one system call.
    Frames,
    /// Super-frames as they are: what of a virtual network card is the kernel's alone.
    Whole,
}

/// Its UDP port.
const PORT: u16 = 7777;

/// Most bytes of a super-frame, so that it fits one call of UDP with the kernel's header.
const LONGEST: u32 = 60_000;

impl System for Bare {
    fn name(&self) -> &'static str {
        match self {
            Self::Frames => "bare",
            Self::Whole => "bare-whole",
        }
    }

    fn settings(&self) -> String {
        match self {
            Self::Frames => {
                format!("two threads that read and write, MTU {MTU}; no encryption, no protocol, no offloads")
            }
            Self::Whole => format!(
                "one thread that hands super-frames of {LONGEST} bytes as they are from card to socket and back, MTU {MTU}; no encryption, no protocol"
            ),
        }
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
            if matches!(self, Self::Whole) {
                command.arg("--whole");
            }
            command.arg(format!("{}:{PORT}", rig.underlay[local]));
            command.arg(format!("{}:{PORT}", rig.underlay[peer]));
            let mut process = Process::spawn(command, &format!("bare-{index}"), rig.lab.directory())?;
            set_card(rig, index, &mut process, MTU)?;
            if matches!(self, Self::Whole) {
                rig.hosts[index].ip(&format!("link set {CARD} gso_max_size {LONGEST}"))?;
            }
            processes.push(process);
        }
        Ok(Tunnel::of_daemons(rig, CARD, processes))
    }
}
