//! What the kernel does by itself: the bare wire, and VXLAN over it.

use std::sync::Arc;

use anyhow::Result;

use super::{ADDRESSES, CARD, End, Programs, System, Tunnel};
use crate::bench::lab::{Rig, UNDERLAY_CARD};
use crate::ns::command::run;

/// The veth between the hosts.
#[derive(Debug)]
pub(super) struct Underlay;

/// The kernel's VXLAN, which encrypts nothing.
#[derive(Debug)]
pub(super) struct Vxlan;

impl System for Underlay {
    fn name(&self) -> &'static str {
        "underlay"
    }

    fn settings(&self) -> String {
        "veth, MTU 1500, default offloads; no encryption".to_owned()
    }

    fn version(&self) -> Result<String> {
        kernel_version()
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let [a, b] = rig.underlay;
        Ok(of_cards(rig, UNDERLAY_CARD, [a, b]))
    }
}

impl System for Vxlan {
    fn name(&self) -> &'static str {
        "vxlan"
    }

    fn settings(&self) -> String {
        "ip link add type vxlan id 77 dstport 4789 with local and remote, MTU 1450; no encryption".to_owned()
    }

    fn version(&self) -> Result<String> {
        kernel_version()
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        for (index, other) in [(0, 1), (1, 0)] {
            let (host, local, remote) = (&rig.hosts[index], rig.underlay[index], rig.underlay[other]);
            host.ip(&format!(
                "link add {CARD} type vxlan id 77 dstport 4789 local {local} remote {remote} dev {UNDERLAY_CARD}"
            ))?;
            host.ip(&format!("link set {CARD} up"))?;
            host.ip(&format!("address add {}/24 dev {CARD}", ADDRESSES[index]))?;
        }
        Ok(of_cards(rig, CARD, ADDRESSES))
    }
}

fn of_cards(rig: &Rig<'_>, card: &str, addresses: [std::net::Ipv4Addr; 2]) -> Tunnel {
    let end = |index: usize| End {
        host: Arc::clone(&rig.hosts[index]),
        address: addresses[index],
        card: card.to_owned(),
        daemon: None,
    };
    let none = Programs::Others { _processes: Vec::new() };
    Tunnel::new(rig, [end(0), end(1)], None, none)
}

fn kernel_version() -> Result<String> {
    Ok(format!("Linux {}", run(&["uname", "-r"])?.trim()))
}
