//! The commands that ask the daemon once.

use std::{io::Read, net::IpAddr, time::Duration};

use data_encoding::HEXLOWER;
use farlan_crypto::{
    Work,
    secret_file::{self, SecretFileError},
};
use farlan_netconf::DnsLabel;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Host,
    client::Client,
    foreground,
    output::{Output, say},
    private, show,
    waiting::{self, Arrived},
};
use crate::{
    api::{
        AddRequest, ConfiguredWorld, DownReply, HostReply, HostRequest, JoinReply, JoinRequest, LanGamesReply,
        LanGamesRequest, LeaveReply, LeaveRequest, Network, Peer, RemoveRequest, ResolveReply, ResolveRequest, SCHEMA,
        Status, exposition,
    },
    daemon::{Configuration, Settings},
    failure::{Failure, FailureKind},
    games::LanGames,
    privileges::Holdings,
    secret_text::SecretText,
    state::IDENTITY,
};

pub(super) async fn status(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status").await?;
    if output.json() {
        output.document(&status)
    } else {
        show::status(output, &status)
    }
}

/// `farlan metrics`: what `GET /metrics` answers; with `--json` the counters alone.
pub(super) async fn metrics(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status").await?;
    if output.json() {
        output.document(&status.counters)
    } else {
        output.line(exposition(&status).trim_end())
    }
}

pub(super) async fn networks(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let networks: Vec<Network> = client.get("/v1/networks").await?;
    if output.json() {
        output.document(&networks)
    } else {
        show::networks(output, &networks)
    }
}

pub(super) async fn peers(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let peers: Vec<Peer> = client.get("/v1/peers").await?;
    if output.json() {
        output.document(&peers)
    } else {
        show::peers(output, &peers)
    }
}

/// `farlan host`: the link alone on standard output, so that it can be piped.
pub(super) async fn host(
    configuration: Configuration,
    holdings: Option<Holdings>,
    client: &Client,
    output: &mut Output,
    host: Host,
) -> Result<(), Failure> {
    let request = HostRequest {
        name: host.name,
        my_name: host.my_name.map(|name| name.to_string()),
        subnet: host.subnet,
        mtu: host.mtu,
        addresses: host.addresses.iter().map(ToString::to_string).collect(),
        no_serve: host.no_serve,
    };
    let mut action = async || {
        let reply: HostReply = client.post("/v1/host", &request, PROVING).await?;
        say(format_args!(
            "made the network {} ({}) with the card {}; whoever holds this link is in:",
            reply.network.name, reply.network.subnet, reply.network.interface
        ));
        if output.json() {
            output.document(&reply)?;
        } else {
            output.line(&*reply.link)?;
        }
        say(&reply.reach.text);
        for note in &reply.network.notes {
            say(format_args!("note: {note}"));
        }
        if let Some(invite) = &reply.invite {
            private::say_hosted(&reply.network.name, invite);
        }
        // The network is made and its link is out, whatever becomes of these questions.
        if let Ok(Some(note)) = waiting::until_announced(client, &reply.network).await {
            say(format_args!("note: {note}"));
        }
        Ok(())
    };
    match holdings {
        None => action().await,
        Some(holdings) => foreground::up_and(configuration, holdings, action).await,
    }
}

/// What `farlan join --json` prints.
#[derive(Debug, Serialize)]
struct Joined<'a> {
    schema: u32,
    already: bool,
    network: &'a Network,
    peers: &'a [Peer],
}

pub(super) async fn join(
    configuration: Configuration,
    holdings: Option<Holdings>,
    client: &Client,
    output: &mut Output,
    target: SecretText,
    name: Option<DnsLabel>,
) -> Result<(), Failure> {
    let request = JoinRequest {
        target: argument(target)?,
        name: name.map(|name| name.to_string()),
    };
    let mut action = async || {
        let reply: JoinReply = client.post("/v1/join", &request, Duration::ZERO).await?;
        let already = reply.already;
        let Arrived { network, peers, note } = match waiting::until_useful(client, &reply.network).await {
            Ok(arrived) => arrived,
            // An invite that lets nobody in is not kept, for nothing would come of it.
            Err(failure) if failure.kind == FailureKind::Negative && reply.network.private.is_some() && !already => {
                let network = reply.network.network_id.clone();
                // What is said is why it could not be joined.
                let _: Result<LeaveReply, _> = client
                    .post("/v1/leave", &LeaveRequest { network }, Duration::ZERO)
                    .await;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        if output.json() {
            return output.document(&Joined {
                schema: SCHEMA,
                already,
                network: &network,
                peers: &peers,
            });
        }
        let joined = if already { "already in" } else { "joined" };
        output.line(format_args!(
            "{joined} {} ({}) with the card {}",
            network.name, network.policy, network.interface
        ))?;
        match network.ipv4 {
            Some(address) => output.line(format_args!("IPv4  {address}"))?,
            None if network.ipv4_pending => output.line("IPv4  is still being claimed")?,
            None => {}
        }
        if let Some(address) = network.ipv6 {
            output.line(format_args!("IPv6  {address}"))?;
        }
        for note in network.notes.iter().chain(&note) {
            output.line(format_args!("note: {note}"))?;
        }
        match network.members {
            0 => output.line("the supernode has not told yet who else is here"),
            1 => output.line("nobody else is here yet"),
            _ if peers.is_empty() => output.line("others are here, and none of them has answered yet"),
            _ => show::peers(output, &peers),
        }
    };
    match holdings {
        None => action().await,
        Some(holdings) => foreground::up_and(configuration, holdings, action).await,
    }
}

pub(super) async fn leave(client: &Client, output: &mut Output, network: String) -> Result<(), Failure> {
    let reply: LeaveReply = client
        .post("/v1/leave", &LeaveRequest { network }, Duration::ZERO)
        .await?;
    if output.json() {
        output.document(&reply)
    } else {
        output.line(format_args!("left {}", reply.name))?;
        reply
            .notes
            .iter()
            .try_for_each(|note| output.line(format_args!("note: {note}")))
    }
}

pub(super) async fn lan_games(
    client: &Client,
    output: &mut Output,
    network: String,
    lan_games: Option<LanGames>,
) -> Result<(), Failure> {
    let request = LanGamesRequest { network, lan_games };
    let reply: LanGamesReply = client.post("/v1/lan_games", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    show::lan_games(output, &reply)
}

/// `farlan resolve`: the addresses of a name, or the name of an address.
pub(super) async fn resolve(client: &Client, output: &mut Output, name: String) -> Result<(), Failure> {
    let is_address = name.parse::<IpAddr>().is_ok();
    let reply: ResolveReply = client
        .post("/v1/resolve", &ResolveRequest { name }, Duration::ZERO)
        .await?;
    if output.json() {
        return output.document(&reply);
    }
    if is_address {
        return output.line(&reply.name);
    }
    if let Some(ipv4) = reply.ipv4 {
        output.line(ipv4)?;
    }
    reply.ipv6.map_or(Ok(()), |ipv6| output.line(ipv6))
}

/// `farlan down`: returns when the daemon has ended.
pub(super) async fn down(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let reply: DownReply = client.post_until_closed("/v1/down", ENDING).await?;
    if output.json() {
        output.document(&reply)
    } else {
        output.line("farlan is stopped; its networks are remembered, and joined again when it is started")
    }
}

/// What `farlan id --json` prints.
#[derive(Debug, Serialize)]
struct Id {
    schema: u32,
    node_id: String,
    public_key: String,
}

/// `farlan id`: from the daemon, or from the state directory if none runs.
pub(super) async fn id(settings: &Settings, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let id = match client.get::<Status>("/v1/status").await {
        Ok(status) => Id {
            schema: SCHEMA,
            node_id: status.node_id,
            public_key: status.public_key,
        },
        Err(failure) if failure.kind == FailureKind::DaemonDown && client.is_local() => {
            match secret_file::load(&settings.state_dir.join(IDENTITY), Work::REQUIRED) {
                Ok(identity) => Id {
                    schema: SCHEMA,
                    node_id: identity.node_id().to_string(),
                    public_key: HEXLOWER.encode(identity.public().as_bytes()),
                },
                Err(SecretFileError::Missing { .. }) => return Err(failure),
                Err(error) => return Err(error.into()),
            }
        }
        Err(failure) => return Err(failure),
    };
    if output.json() {
        return output.document(&id);
    }
    output.line(format_args!("node id     {}", id.node_id))?;
    output.line(format_args!("public key  {}", id.public_key))
}

pub(super) async fn add_supernode(client: &Client, output: &mut Output, link: SecretText) -> Result<(), Failure> {
    let request = AddRequest { link: argument(link)? };
    let world: ConfiguredWorld = client.post("/v1/supernodes/add", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&world);
    }
    output.line(format_args!("added world {}", world.world))?;
    show::worlds(output, std::slice::from_ref(&world))
}

pub(super) async fn list_supernodes(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let worlds: Vec<ConfiguredWorld> = client.get("/v1/supernodes").await?;
    if output.json() {
        output.document(&worlds)
    } else {
        show::worlds(output, &worlds)
    }
}

pub(super) async fn remove_supernode(client: &Client, output: &mut Output, id: String) -> Result<(), Failure> {
    let world: ConfiguredWorld = client
        .post("/v1/supernodes/remove", &RemoveRequest { id }, Duration::ZERO)
        .await?;
    if output.json() {
        output.document(&world)
    } else {
        output.line(format_args!("removed world {}", world.world))
    }
}

/// An argument, or for `-` what standard input holds.
pub(super) fn argument(argument: SecretText) -> Result<SecretText, Failure> {
    if &*argument != "-" {
        return Ok(argument);
    }
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(LONGEST_INPUT).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format_args!("cannot read standard input: {error}")))?;
    match text.trim() {
        "" => Err(Failure::usage(
            "standard input is empty; it should hold a link or a name",
        )),
        text => Ok(text.to_owned().into()),
    }
}

/// How long finding out whether others reach this machine may take: a router's answers, and two registrations and their
/// proofs.
const PROVING: Duration = Duration::from_secs(45);

/// How long the daemon may take to end once it has answered: it gives itself 1.5 s.
const ENDING: Duration = Duration::from_secs(5);

/// Bytes read of standard input: more than the longest link.
const LONGEST_INPUT: u64 = 64 * 1024;
