//! The wiring that is measured on: two hosts and a third machine, each a network namespace.
//!
//! ```text
//!   Direct:   S --- A ===== B      what A and B send each other takes the wire between them
//!   Relayed:  A ===== S ===== B    S does not forward, so A and B reach each other over a program on S only
//! ```
//! All wires are veth with an MTU of 1500 and the offloads that veth has by itself. Nothing routes on the measured way.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;

use crate::ns::command::DEFAULT_LIMIT;
use crate::ns::topology::PublicHost;
use crate::ns::{Lab, Namespace};

/// Name of the card of `A` and `B` at the measured wire.
pub const UNDERLAY_CARD: &str = "wan";

/// The third machine's address, on its loopback, so that it is the same from both sides.
const THIRD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);

/// How the machines are wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A wire between the hosts; the third machine is reached over `A`.
    Direct,
    /// The third machine is in the middle and does not forward.
    Relayed,
}

/// The machines.
#[derive(Debug)]
pub struct Rig<'a> {
    /// The lab they are in, with the directory for configurations and logs.
    pub lab: &'a Lab,
    /// `A` and `B`.
    pub hosts: [Arc<Namespace>; 2],
    /// The addresses of `A` and `B` on their wires.
    pub underlay: [Ipv4Addr; 2],
    /// The third machine.
    pub third: PublicHost,
}

impl<'a> Rig<'a> {
    /// Makes and wires the machines. Plain cards do not cut UDP themselves and join what they receive, as most physical
    /// cards.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn build(lab: &'a mut Lab, shape: Shape, plain_cards: bool) -> Result<Self> {
        let (a, b, s) = (lab.loose_host("a")?, lab.loose_host("b")?, lab.loose_host("s")?);
        let address = |last| Ipv4Addr::new(198, 51, 100, last);
        let underlay = match shape {
            Shape::Direct => {
                wire((&a, UNDERLAY_CARD, address(1)), (&b, UNDERLAY_CARD, address(2)))?;
                wire((&a, "side", address(5)), (&s, "left", address(6)))?;
                a.ip(&format!("route add {THIRD} via {} src {}", address(6), address(1)))?;
                // Some programs ask the kernel for a way to the Internet when they start.
                a.ip(&format!("route add default via {}", address(6)))?;
                a.set_sysctl("ipv4/ip_forward", "1")?;
                b.ip(&format!("route add default via {}", address(1)))?;
                s.ip(&format!("address add {THIRD}/32 dev lo"))?;
                s.ip(&format!("route add default via {} src {THIRD}", address(5)))?;
                [address(1), address(2)]
            }
            Shape::Relayed => {
                s.set_sysctl("ipv4/ip_forward", "0")?;
                s.ip(&format!("address add {THIRD}/32 dev lo"))?;
                for (host, card, inside, outside) in [(&a, "left", 5, 6), (&b, "right", 9, 10)] {
                    wire((host, UNDERLAY_CARD, address(inside)), (&s, card, address(outside)))?;
                    host.ip(&format!("route add default via {}", address(outside)))?;
                    // What the third machine sends comes from the address that it is known by.
                    s.ip(&format!("route add {} dev {card} src {THIRD}", address(inside)))?;
                }
                [address(5), address(9)]
            }
        };
        if plain_cards {
            let cards: &[(&Namespace, &str)] = match shape {
                Shape::Direct => &[(&a, UNDERLAY_CARD), (&b, UNDERLAY_CARD)],
                Shape::Relayed => &[(&a, UNDERLAY_CARD), (&b, UNDERLAY_CARD), (&s, "left"), (&s, "right")],
            };
            for (host, card) in cards {
                let words = ["ethtool", "-K", card, "tx-udp-segmentation", "off", "gro", "on"];
                host.exec(&words, DEFAULT_LIMIT)?.success()?;
            }
        }
        Ok(Self {
            lab,
            hosts: [a, b],
            underlay,
            third: PublicHost {
                namespace: s,
                address: THIRD,
                ipv6: None,
            },
        })
    }
}

/// Connects two machines, each given with its card's name and address, by a veth pair without IPv6.
fn wire(left: (&Namespace, &str, Ipv4Addr), right: (&Namespace, &str, Ipv4Addr)) -> Result<()> {
    left.0.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        left.1,
        right.1,
        right.0.name()
    ))?;
    for (host, card, address) in [left, right] {
        host.set_sysctl_if_there(&format!("ipv6/conf/{card}/disable_ipv6"), "1")?;
        host.ip(&format!("address add {address}/30 dev {card}"))?;
        host.ip(&format!("link set {card} up"))?;
    }
    Ok(())
}
