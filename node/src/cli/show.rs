//! Documents of the API as tables for people.

use super::output::Output;
use crate::{
    api::{
        ConfiguredWorld, LanGamesReply, Lifting, Naming, Network, Peer, PeerNetwork, PortMapping, Status, Supernode,
    },
    failure::Failure,
    games::LanGames,
    names::DOMAIN,
};

/// Letters of an id in a table: enough for every command that takes an id.
const SHORT: usize = 10;

pub(super) fn status(output: &mut Output, status: &Status) -> Result<(), Failure> {
    output.line(format_args!(
        "node {} is up on UDP port {}, for {}",
        status.node_id,
        status.port,
        age(status.uptime_s)
    ))?;
    let peers = if status.peers == 1 { "peer" } else { "peers" };
    let networks = if status.networks == 1 { "network" } else { "networks" };
    output.line(format_args!(
        "{} {networks}, {} {peers} in touch",
        status.networks, status.peers
    ))?;
    mapped(output, &status.port_mapping)?;
    named(output, &status.names)?;
    lifted(output, &status.lan_games)?;
    if let Some(hosting) = &status.hosting {
        output.line(format_args!(
            "a supernode for its own networks at UDP port {} ({}): {}; {} registered",
            hosting.port,
            hosting.reach,
            hosting.addresses.join(" "),
            hosting.registrations
        ))?;
    }
    if status.supernodes.is_empty() {
        output.line("no supernode is configured; add one with: farlan supernode add LINK")?;
    } else {
        output.line("")?;
        supernodes(output, &status.supernodes)?;
    }
    notes(output, &status.notes)
}

/// Who resolves names of members.
fn named(output: &mut Output, names: &Naming) -> Result<(), Failure> {
    let port = match names.port {
        Some(port) => format!("; the daemon answers at 127.0.0.1 port {port}"),
        None => String::new(),
    };
    match (names.way.as_str(), &names.trouble) {
        ("resolved", _) => output.line(format_args!("systemd-resolved resolves names of members{port}")),
        ("hosts", _) => output.line(format_args!("names of members stand in /etc/hosts{port}")),
        (_, Some(trouble)) => output.line(format_args!(
            "programs do not resolve names of members: {trouble}{port}"
        )),
        _ => Ok(()),
    }
}

/// What becomes of searches of games on the real LAN; what is wrong with it stands in the notes.
fn lifted(output: &mut Output, lifting: &Lifting) -> Result<(), Failure> {
    if lifting.cards > 0 && !lifting.networks.is_empty() {
        let cards = if lifting.cards == 1 { "card" } else { "cards" };
        output.line(format_args!(
            "searches of games that leave {} other {cards} are copied to {}",
            lifting.cards,
            lifting.networks.join(", ")
        ))?;
    }
    match &lifting.groups {
        Some(network) => output.line(format_args!("groups of games lead to {network}")),
        None => Ok(()),
    }
}

/// What the router lets in, or why it does not.
fn mapped(output: &mut Output, mapping: &PortMapping) -> Result<(), Failure> {
    for port in &mapping.ports {
        let (transport, gateway) = (port.transport.to_uppercase(), port.gateway);
        match (&port.protocol, port.external, &port.trouble) {
            (Some(protocol), Some(external), _) => {
                let other = if port.behind_another_nat {
                    ", which is no public address: there is another NAT behind it"
                } else {
                    ""
                };
                let protocol = protocol.to_uppercase().replace("UPNP", "UPnP");
                output.line(format_args!(
                    "the router {gateway} lets {transport} {} in at {external} ({protocol}){other}",
                    port.port
                ))?;
            }
            (_, _, Some(trouble)) => output.line(format_args!(
                "{transport} {} is not let in by the router {gateway}: {trouble}",
                port.port
            ))?,
            _ => {}
        }
    }
    Ok(())
}

fn supernodes(output: &mut Output, supernodes: &[Supernode]) -> Result<(), Failure> {
    let rows: Vec<_> = supernodes
        .iter()
        .map(|supernode| {
            [
                short(&supernode.node_id),
                supernode.address.clone().unwrap_or_else(nothing),
                match supernode.other_version {
                    Some(version) if !supernode.registered => format!("no: it speaks version {version}"),
                    _ => registration(supernode, supernodes).into(),
                },
                rtt(supernode.rtt_ms),
                short(&supernode.world),
            ]
        })
        .collect();
    output.table(["SUPERNODE", "ADDRESS", "REGISTERED", "RTT", "WORLD"], &rows)
}

/// Where nothing is wrong, a supernode at which this node is not registered is a spare one.
fn registration(supernode: &Supernode, all: &[Supernode]) -> &'static str {
    let served = all.iter().any(|other| other.world == supernode.world && other.home);
    match (supernode.registered, supernode.home, served) {
        (true, true, _) => "home",
        (true, false, _) => "yes",
        (false, _, true) => "spare",
        (false, _, false) => "no",
    }
}

pub(super) fn networks(output: &mut Output, networks: &[Network]) -> Result<(), Failure> {
    if networks.is_empty() {
        return output.line("no network is joined; join one with: farlan join LINK, or make one with: farlan host");
    }
    let rows: Vec<_> = networks
        .iter()
        .map(|network| {
            [
                network.name.clone(),
                short(&network.network_id),
                network.interface.clone(),
                network.ipv4.map_or_else(nothing, |address| address.to_string()),
                network.ipv6.map_or_else(nothing, |address| address.to_string()),
                network.policy.clone(),
                if network.members == 0 {
                    nothing()
                } else {
                    network.members.to_string()
                },
            ]
        })
        .collect();
    output.table(["NAME", "ID", "INTERFACE", "IPV4", "IPV6", "POLICY", "MEMBERS"], &rows)?;
    let all: Vec<_> = networks
        .iter()
        .flat_map(|network| network.notes.iter().map(|note| format!("{}: {note}", network.name)))
        .collect();
    notes(output, &all)
}

pub(super) fn lan_games(output: &mut Output, reply: &LanGamesReply) -> Result<(), Failure> {
    let name = &reply.name;
    output.line(match reply.lan_games {
        LanGames::Lift => format!("searches of games on the real LAN are copied to {name}"),
        LanGames::Route => format!("broadcasts of this machine that name no card go to {name} alone"),
        LanGames::Off => format!("searches of games on the real LAN do not reach {name}"),
    })?;
    notes(output, &reply.notes)
}

pub(super) fn peers(output: &mut Output, peers: &[Peer]) -> Result<(), Failure> {
    if peers.is_empty() {
        return output.line("no peer is known (yet)");
    }
    let rows: Vec<_> = peers
        .iter()
        .map(|peer| {
            let networks: Vec<_> = peer.networks.iter().map(network_of).collect();
            [
                short(&peer.node_id),
                peer.name.as_deref().map_or_else(nothing, short_name),
                match &peer.path {
                    Some(path) if peer.tcp => format!("{path}, tcp"),
                    path => path.clone().unwrap_or_else(nothing),
                },
                peer.address.map_or_else(nothing, |address| address.to_string()),
                rtt(peer.rtt_ms),
                peer.ipv4.map_or_else(nothing, |address| address.to_string()),
                peer.ipv6.map_or_else(nothing, |address| address.to_string()),
                networks.join(","),
            ]
        })
        .collect();
    output.table(
        ["PEER", "NAME", "PATH", "ADDRESS", "RTT", "IPV4", "IPV6", "NETWORKS"],
        &rows,
    )
}

/// The name of a common network, and what the user made of the peer there.
fn network_of(network: &PeerNetwork) -> String {
    let name = &network.name;
    match (network.muted, network.pinned) {
        (true, _) => format!("{name} (muted)"),
        (false, true) => format!("{name} (pinned)"),
        (false, false) => name.clone(),
    }
}

pub(super) fn worlds(output: &mut Output, worlds: &[ConfiguredWorld]) -> Result<(), Failure> {
    if worlds.is_empty() {
        return output.line("no supernode is known; add one with: farlan supernode add LINK");
    }
    let rows: Vec<_> = worlds
        .iter()
        .flat_map(|world| {
            world.supernodes.iter().map(|supernode| {
                [
                    supernode.node_id.clone(),
                    supernode.addresses.join(","),
                    world.world.clone(),
                    if world.configured {
                        "configured".into()
                    } else {
                        "from a network".into()
                    },
                ]
            })
        })
        .collect();
    output.table(["SUPERNODE", "ADDRESSES", "WORLD", "ORIGIN"], &rows)
}

/// Prints remarks below a table.
pub(super) fn notes(output: &mut Output, notes: &[String]) -> Result<(), Failure> {
    notes
        .iter()
        .try_for_each(|note| output.line(format_args!("note: {note}")))
}

pub(super) fn rtt(rtt_ms: Option<f64>) -> String {
    rtt_ms.map_or_else(nothing, |rtt| format!("{rtt:.1} ms"))
}

pub(super) fn short(id: &str) -> String {
    id.get(..SHORT).unwrap_or(id).to_owned()
}

/// `ann.lan` of `ann.lan.farlan.internal`.
pub(super) fn short_name(name: &str) -> String {
    name.strip_suffix(DOMAIN)
        .map_or(name, |name| name.trim_end_matches('.'))
        .to_owned()
}

pub(super) fn nothing() -> String {
    "-".into()
}

pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
