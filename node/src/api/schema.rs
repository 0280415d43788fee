//! The documents of the API.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::private::{Invite, Membership};
use crate::{failure::Failure, games::LanGames, ports::PortSet, secret_text::SecretText};

/// The version of the documents.
pub const SCHEMA: u32 = 1;

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of the program.
    pub version: String,
    /// This node's id.
    pub node_id: String,
    /// Its Ed25519 key, 64 hexadecimal digits.
    pub public_key: String,
    /// The UDP port of the underlay.
    pub port: u16,
    /// Whole seconds since the daemon started.
    pub uptime_s: u64,
    /// The supernodes in use.
    pub supernodes: Vec<Supernode>,
    /// What the home's router lets in.
    #[serde(default)]
    pub port_mapping: PortMapping,
    /// Who resolves names of members.
    #[serde(default)]
    pub names: Naming,
    /// What becomes of searches of games on the real LAN.
    #[serde(default)]
    pub lan_games: Lifting,
    /// The supernode in this daemon, while it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosting: Option<Hosting>,
    /// How many networks are joined.
    pub networks: usize,
    /// How many peers have a session.
    pub peers: usize,
    /// Another running machine with this node's identity, if a supernode saw one in the last minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What happened to packets since the start, by name.
    pub counters: BTreeMap<String, u64>,
}

/// Who resolves names of members on this machine, besides `farlan resolve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// The port of 127.0.0.1 at which the daemon answers DNS questions about them, if it does.
    pub port: Option<u16>,
    /// `resolved` (systemd-resolved, which asks there), `hosts` (they stand in `/etc/hosts`) or `none`.
    pub way: String,
    /// Why it is not as the configuration has it, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What becomes of searches of games that leave this machine by other cards than farlan's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifting {
    /// How many cards are listened to.
    pub cards: usize,
    /// The networks to which what is heard there is copied.
    pub networks: Vec<String>,
    /// The network to which groups of listed games lead, if any.
    pub groups: Option<String>,
    /// Why nothing is heard, where something should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Says what becomes of such searches in a network, or asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanGamesRequest {
    /// Its name, label, id or interface.
    pub network: String,
    /// What is to become of them; nothing to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan_games: Option<LanGames>,
}

/// What becomes of them there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanGamesReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The network's name or label.
    pub name: String,
    /// The network's id.
    pub network_id: String,
    /// `lift`, `route` or `off`.
    pub lan_games: LanGames,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Asks whose name something is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `NAME`, `NAME.NETWORK`, `NAME.NETWORK.farlan.internal`, or an address.
    pub name: String,
}

/// Whose name it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolveReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The whole name.
    pub name: String,
    /// The member's id.
    pub node_id: String,
    /// The network's id.
    pub network_id: String,
    /// Whether it is this node.
    pub own: bool,
    /// Its IPv4 address, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// What the home's router is asked to let in to this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Whether it is asked.
    pub on: bool,
    /// The port mappings, gateway by gateway, the preferred gateway first.
    pub ports: Vec<MappedPort>,
}

/// A port at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedPort {
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// `udp` or `tcp`.
    pub transport: String,
    /// This machine's port.
    pub port: u16,
    /// `pcp`, `nat-pmp` or `upnp`, if it is mapped.
    pub protocol: Option<String>,
    /// Where it is reached from outside, if it is mapped.
    pub external: Option<SocketAddr>,
    /// Whether the address outside is no public one, so that there is another NAT behind the gateway.
    pub behind_another_nat: bool,
    /// Whole seconds until the mapping ends, unless it is renewed.
    pub expires_s: Option<u64>,
    /// Why it is not mapped, if the gateway has been asked.
    pub trouble: Option<String>,
}

/// Another running machine with this node's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// Where the supernode sees it, if it is not reached through another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The supernode's id.
    pub supernode: String,
    /// Whole seconds since it was last seen.
    pub seen_s: u64,
}

/// A supernode in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supernode {
    /// Its id.
    pub node_id: String,
    /// The world it serves.
    pub world: String,
    /// The underlay endpoint in use, with `tcp/` in front where it is one of TCP; before there is one, `HOST:PORT` as its
    /// operator wrote it.
    pub address: Option<String>,
    /// Whether it registered this node.
    pub registered: bool,
    /// Whether it is the one at which others reach this node.
    pub home: bool,
    /// Whether the way to it leads over TCP, because UDP is blocked or loses too much.
    #[serde(default)]
    pub tcp: bool,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
    /// The version of the protocol that it says it speaks, where that is another than this node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_version: Option<u8>,
}

/// A joined network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its name, or its label if it is known by a link.
    pub name: String,
    /// Its id.
    pub network_id: String,
    /// The name of its card.
    pub interface: String,
    /// This node's IPv4 address there, once it holds one.
    pub ipv4: Option<Ipv4Addr>,
    /// This node's IPv6 address there, unless this machine has no IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// `friends` or `strangers`.
    pub policy: String,
    /// The card's hardware address.
    pub mac: String,
    /// The card's MTU in bytes.
    pub mtu: u16,
    /// The network's IPv4 subnet.
    pub subnet: String,
    /// The world at whose supernodes its members meet.
    pub world: String,
    /// How many members the supernode counts, this node among them; 0 until it answered.
    pub members: u32,
    /// Whether an IPv4 address is still being claimed.
    pub ipv4_pending: bool,
    /// Ports of this machine opened to the members by hand, on a network of strangers: `25565/tcp`, `27015-27030/udp`.
    #[serde(default, skip_serializing_if = "PortSet::is_empty")]
    pub opened: PortSet,
    /// What becomes of searches of games on the real LAN: `lift`, `route` or `off`.
    #[serde(default)]
    pub lan_games: LanGames,
    /// What this node is in a private network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<Membership>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub node_id: String,
    /// Its whole name in the first common network where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `direct` or `relay`; nothing without a session.
    pub path: Option<String>,
    /// The underlay endpoint in use; on a relay the supernode's.
    pub address: Option<SocketAddr>,
    /// The id of the supernode that relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supernode: Option<String>,
    /// Whether that is one of TCP: the way to the supernode leads over it, because UDP is blocked or loses too much.
    #[serde(default)]
    pub tcp: bool,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
    /// Seconds since something authentic came from it, if ever.
    pub heard_s: Option<f64>,
    /// Its IPv4 address in the first common network where it has one.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address in the first common network.
    pub ipv6: Option<Ipv6Addr>,
    /// The common networks.
    pub networks: Vec<PeerNetwork>,
}

/// A peer in a common network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerNetwork {
    /// The network's name or label.
    pub name: String,
    /// The network's id.
    pub network_id: String,
    /// The peer's IPv4 address there, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// The peer's IPv6 address there.
    pub ipv6: Ipv6Addr,
    /// The peer's whole name there, as this node calls it: `ann.lan.farlan.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In a private network: whether it has shown that it is a member, as members do to each other alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<bool>,
    /// Whether the user muted it there: nothing of what it says to all is heard, and it gets nothing of what this machine says to all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub muted: bool,
    /// Whether the user pinned it there: it is the first to get what this machine says to all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A world known to the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfiguredWorld {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its id.
    pub world: String,
    /// The version of its list.
    pub version: u32,
    /// Whether it was added by hand or configuration, and not only came with a network's link.
    pub configured: bool,
    /// Its supernodes.
    pub supernodes: Vec<WorldSupernode>,
}

/// A supernode as its world lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorldSupernode {
    /// Its id.
    pub node_id: String,
    /// Where it can be reached, `HOST:PORT` each.
    pub addresses: Vec<String>,
}

/// Asks to join a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// A link, a name, or `NAME@WORLDID`.
    pub target: SecretText,
    /// What this machine is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The network as joined; its supernode may not have answered yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether this node was in it before.
    pub already: bool,
    /// The network.
    pub network: Network,
}

/// Asks for a new network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostRequest {
    /// Its label.
    pub name: Option<String>,
    /// What this machine is called there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub my_name: Option<String>,
    /// Its IPv4 subnet, as `10.128.16.0/20`.
    pub subnet: Option<String>,
    /// Its MTU in bytes, 1280 to 9000.
    pub mtu: Option<u16>,
    /// Where others reach this machine's own supernode, `HOST:PORT` each; it is taken as reachable there.
    pub addresses: Vec<String>,
    /// Whether the others meet at the configured supernodes even if this machine could serve.
    pub no_serve: bool,
}

/// A new network, joined by this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The link; whoever holds it is in, as long as its invite works.
    pub link: SecretText,
    /// The invite in the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<Invite>,
    /// The network.
    pub network: Network,
    /// Where its members meet.
    pub reach: HostReach,
}

/// Where the members of a new network meet, and what is known of how they get there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReach {
    /// `address` (this machine, at the address that was given), `proved` (this machine, as a supernode has proved), `perhaps`
    /// (this machine, if nothing keeps others out), `lan` (this machine, for its local network only), or `supernode` (the
    /// configured supernodes).
    pub kind: String,
    /// Where this machine is reached, `HOST:PORT` each.
    pub addresses: Vec<String>,
    /// The same for people.
    pub text: String,
}

/// The supernode in this daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hosting {
    /// Its id.
    pub node_id: String,
    /// Its world.
    pub world: String,
    /// The version of that world's list.
    pub version: u32,
    /// Its UDP port.
    pub port: u16,
    /// `address`, `proved`, `perhaps` or `lan`, as in [`HostReach`].
    pub reach: String,
    /// Where it is reached, `HOST:PORT` each, as its world lists it.
    pub addresses: Vec<String>,
    /// Registered nodes.
    pub registrations: usize,
}

/// Asks to leave a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Its name, label, id (or the first 10 letters and more) or interface.
    pub network: String,
}

/// The network that was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaveReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its name or label.
    pub name: String,
    /// Its id.
    pub network_id: String,
    /// What the user should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Asks to open ports of this machine to strangers, or to close them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// `PORT[-PORT][/tcp|/udp]`, or the name of a listed game.
    pub ports: String,
    /// The network's name, label, id or interface; may be left out where there is one network of strangers.
    #[serde(default)]
    pub network: Option<String>,
}

/// What the members of a network of strangers may reach on this machine, besides answers and pings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenedNetwork {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The network's name or label.
    pub name: String,
    /// The network's id.
    pub network_id: String,
    /// Ports opened by hand.
    pub opened: PortSet,
    /// Ports of listed games, by the configuration.
    pub games: PortSet,
    /// Those of them that are open now, since a program here listens there.
    #[serde(default)]
    pub games_open: PortSet,
}

/// The daemon ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DownReply {
    /// [`SCHEMA`].
    pub schema: u32,
}

/// Asks for one round trip to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PingRequest {
    /// A name, a node id, its first 10 letters and more, or an overlay address.
    pub peer: String,
    /// How long to wait, in milliseconds; 5,000 if absent, 60,000 at most.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// One round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who answered.
    pub node_id: String,
    /// `direct` or `relay`.
    pub path: String,
    /// The underlay endpoint used; on a relay the supernode's.
    pub address: SocketAddr,
    /// The id of the supernode that relayed the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supernode: Option<String>,
    /// Whether the answer came over TCP.
    #[serde(default)]
    pub tcp: bool,
    /// The round trip in milliseconds.
    pub rtt_ms: f64,
}

/// Asks to make a world's supernodes known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// The supernode's link.
    pub link: SecretText,
}

/// Asks to forget a world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// The id of the world or of one of its supernodes, or its first 10 letters and more.
    pub id: String,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What went wrong.
    pub error: Failure,
}

/// A duration as the documents give it: milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_fields_that_tools_rely_on_keep_their_names() {
        let supernode = Supernode {
            tcp: false,
            node_id: "s".into(),
            world: "w".into(),
            address: Some("192.0.2.1:9600".into()),
            registered: true,
            home: true,
            rtt_ms: Some(milliseconds(Duration::from_nanos(1_234_567))),
            other_version: None,
        };
        let expected = json!({
            "node_id": "s", "world": "w", "address": "192.0.2.1:9600", "registered": true, "home": true,
            "tcp": false, "rtt_ms": 1.235,
        });
        assert_eq!(serde_json::to_value(&supernode).unwrap(), expected);

        let network = Network {
            name: "lan".into(),
            network_id: "n".into(),
            interface: "fl-lan".into(),
            ipv4: None,
            ipv6: Some("fd00::1".parse().unwrap()),
            policy: "friends".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1372,
            subnet: "10.128.0.0/20".into(),
            world: "w".into(),
            members: 1,
            ipv4_pending: true,
            opened: PortSet::default(),
            lan_games: LanGames::Lift,
            private: None,
            notes: Vec::new(),
        };
        let value = serde_json::to_value(&network).unwrap();
        let fixed = ["name", "network_id", "interface", "ipv4", "ipv6", "policy"].map(|key| &value[key]);
        assert_eq!(
            fixed,
            [
                &json!("lan"),
                &json!("n"),
                &json!("fl-lan"),
                &Value::Null,
                &json!("fd00::1"),
                &json!("friends")
            ]
        );

        let peer = Peer {
            tcp: false,
            node_id: "p".into(),
            name: None,
            path: Some("relay".into()),
            address: Some("192.0.2.1:9600".parse().unwrap()),
            supernode: None,
            rtt_ms: None,
            heard_s: None,
            ipv4: None,
            ipv6: None,
            networks: Vec::new(),
        };
        let value = serde_json::to_value(&peer).unwrap();
        let fixed = ["node_id", "path", "address", "rtt_ms"].map(|key| &value[key]);
        assert_eq!(
            fixed,
            [&json!("p"), &json!("relay"), &json!("192.0.2.1:9600"), &Value::Null]
        );
    }

    #[test]
    fn a_failure_keeps_its_kind() {
        let reply = ErrorReply {
            schema: SCHEMA,
            error: Failure::timeout("nobody answered"),
        };
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(
            text,
            r#"{"schema":1,"error":{"kind":"timeout","message":"nobody answered"}}"#
        );
        assert_eq!(serde_json::from_str::<ErrorReply>(&text).unwrap(), reply);
    }
}
