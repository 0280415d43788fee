//! What stands in the way at this node, whoever the peer is.

use farlan_engine::{Filtering, Finding, PortMapping, Surroundings};

use super::{codes, speaks_version};

codes! {
    /// What can stand in the way.
    ObstacleCode {
        /// No supernode is configured.
        NoSupernodeKnown = "no-supernode-known",
        /// None answers.
        NoSupernode = "no-supernode",
        /// One speaks another version of the protocol.
        SupernodeVersion = "supernode-version",
        /// UDP does not reach the supernodes.
        UdpBlocked = "udp-blocked",
        /// Another running machine has the identity of this node.
        Twin = "twin",
        /// Large packets vanish on the way to the supernodes.
        SmallMtu = "small-mtu",
        /// The carrier's NAT gives each destination another port.
        HardCarrierNat = "hard-carrier-nat",
        /// The router gives each destination another port.
        HardNat = "hard-nat",
        /// There is no NAT, and a firewall lets in answers only.
        Firewall = "firewall",
        /// The address is hidden from members of open networks.
        HiddenAddress = "hidden-address",
    }
}

/// What a check of the own network brought.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// What the engine knows.
    pub surroundings: &'a Surroundings,
    /// How many supernodes are known.
    pub known: usize,
    /// How many of them have registered this node.
    pub registered: usize,
    /// A supernode that speaks another version of the protocol, and which.
    pub other_version: Option<(&'a str, u8)>,
    /// Whether a supernode saw another machine with this identity lately.
    pub twin: bool,
}

/// Something that stands in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub code: ObstacleCode,
    /// The same for people.
    pub sentence: String,
    /// What to do, for people.
    pub advice: String,
}

/// An IP packet of so many bytes passes practically everywhere.
const USUAL: usize = 1400;

/// What stands in the way, the worst first.
pub fn obstacles(checked: &Checked<'_>) -> Vec<Found> {
    let around = checked.surroundings;
    let mut found = Vec::new();
    let mut add = |code, sentence: String, advice: &str| {
        found.push(Found {
            code,
            sentence,
            advice: advice.to_owned(),
        });
    };
    if checked.known == 0 {
        add(
            ObstacleCode::NoSupernodeKnown,
            "no supernode is known here, so nobody can be found beyond this machine's own network".into(),
            "add one: farlan supernode add LINK",
        );
    } else if checked.registered == 0 {
        let version = checked.other_version;
        match version {
            Some((node, version)) => add(
                ObstacleCode::SupernodeVersion,
                speaks_version(&format!("the supernode {node}"), version),
                "update the older of the two",
            ),
            None => add(
                ObstacleCode::NoSupernode,
                "no supernode answers, by UDP or TCP".into(),
                "check this machine's connection and firewall; if both are in order, the supernode may be down: ask its \
                 operator",
            ),
        }
    }
    if around.udp == Finding::No {
        add(
            ObstacleCode::UdpBlocked,
            "UDP does not reach the supernodes, so everything goes over TCP and nothing directly".into(),
            "let UDP out at this network's firewall (farlan's port to any), or use another network",
        );
    }
    if checked.twin {
        add(
            ObstacleCode::Twin,
            "another running machine uses the identity of this node".into(),
            "stop farlan on one of the two, and give a clone an identity of its own; farlan status says how",
        );
    }
    let too_large = around
        .supernodes
        .iter()
        .filter_map(|supernode| supernode.too_large)
        .min();
    if let Some(too_large) = too_large.filter(|size| *size <= USUAL) {
        add(
            ObstacleCode::SmallMtu,
            format!("IP packets of {too_large} bytes vanish on the way to a supernode, so full frames are cut"),
            "find the link with the small MTU (a tunnel, PPPoE, a VPN) and give its ends the right one; farlan goes on \
             meanwhile, somewhat slower",
        );
    }
    let hard = around.behaviour.mapping.is_dependent();
    let opened = around.port_mapping == PortMapping::Held;
    if hard && !opened {
        let sentence = |who: &str| {
            format!("{who} gives each destination another port: peers behind a router that does the same are relayed")
        };
        if around.carrier == Finding::Yes {
            add(
                ObstacleCode::HardCarrierNat,
                sentence("the carrier's NAT"),
                "use IPv6, or order a public IPv4 address from the carrier",
            );
        } else {
            add(
                ObstacleCode::HardNat,
                sentence("the router"),
                "switch on UPnP or NAT-PMP in the router, or forward farlan's UDP port by hand",
            );
        }
    }
    if around.behaviour.translated == Some(false) && around.behaviour.filtering == Filtering::ByPort {
        add(
            ObstacleCode::Firewall,
            "this machine has a public address, but a firewall lets in answers only".into(),
            "let UDP in to farlan's port, if peers behind difficult routers are to reach it",
        );
    }
    if around.hidden {
        add(
            ObstacleCode::HiddenAddress,
            "the address is hidden from members of open networks (hide_address), so they are relayed".into(),
            "remove hide_address from the configuration, if that is not wanted",
        );
    }
    found
}
