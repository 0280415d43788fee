//! `farlan games`: what is announced or answers on the joined networks.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    client::Client,
    output::{CLEAR, Output, WATCHED_EVERY},
    show,
};
use crate::{
    api::{FoundServer, GamesReply, NetworkGames, OfNetwork},
    failure::Failure,
};

/// What is listed.
#[derive(Debug, Args)]
pub(super) struct Games {
    /// Of which network alone: its name, id or interface [default: all joined ones]
    network: Option<String>,
    /// Go on, and show what changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) async fn games(client: &Client, output: &mut Output, games: Games) -> Result<(), Failure> {
    let network = games.network.as_deref();
    let reply = first(client, network).await?;
    if games.watch {
        return watch(client, output, network, reply).await;
    }
    if output.json() {
        output.document(&reply)?;
    } else {
        table(output, &reply)?;
    }
    if reply.networks.iter().all(|network| network.found.is_empty()) {
        return Err(nothing(&reply));
    }
    Ok(())
}

/// Asks until it was listened long enough: where nobody asked before, the search begins with this.
async fn first(client: &Client, network: Option<&str>) -> Result<GamesReply, Failure> {
    let begun = Instant::now();
    loop {
        let reply = ask(client, network).await?;
        if reply.networks.iter().all(was_listened) || begun.elapsed() >= LONGEST {
            return Ok(reply);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where it cannot be searched there is nothing to wait for.
fn was_listened(network: &NetworkGames) -> bool {
    network.searching_s.is_none_or(|seconds| seconds >= LISTENED)
}

async fn ask(client: &Client, network: Option<&str>) -> Result<GamesReply, Failure> {
    let reply: GamesReply = match network {
        Some(name) => {
            let network = name.to_owned();
            client.post("/v1/games", &OfNetwork { network }, Duration::ZERO).await?
        }
        None => client.get("/v1/games").await?,
    };
    if reply.networks.is_empty() {
        return Err(Failure::negative(
            "no network is joined; join one with: farlan join LINK, or make one with: farlan host",
        ));
    }
    Ok(reply)
}

/// Shows what changes, for ever, or until nobody reads it.
async fn watch(
    client: &Client,
    output: &mut Output,
    network: Option<&str>,
    mut reply: GamesReply,
) -> Result<(), Failure> {
    let redraws = stdout().is_terminal();
    let mut shown: Option<GamesReply> = None;
    loop {
        let lasting = reply.lasting();
        if shown.as_ref() != Some(&lasting) {
            if output.json() {
                output.document(&reply)?;
            } else if redraws {
                output.line(format_args!("{CLEAR}{}", head(&reply)))?;
                table(output, &reply)?;
            } else {
                changes(output, shown.as_ref(), &lasting)?;
            }
            shown = Some(lasting);
        }
        if output.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(WATCHED_EVERY).await;
        reply = ask(client, network).await?;
    }
}

/// Said above a table that is drawn again and again.
fn head(reply: &GamesReply) -> String {
    match reply.networks.iter().map(|network| network.found.len()).sum() {
        0 => "nothing yet; Ctrl-C ends this".to_owned(),
        1 => "1 found; Ctrl-C ends this".to_owned(),
        found => format!("{found} found; Ctrl-C ends this"),
    }
}

/// What came (`+`) and what is gone (`-`); what is another now is both.
fn changes(output: &mut Output, before: Option<&GamesReply>, now: &GamesReply) -> Result<(), Failure> {
    let lines = |reply: &GamesReply| -> BTreeSet<String> {
        let networks = reply.networks.iter();
        networks
            .flat_map(|network| network.found.iter().map(|found| line(network, found)))
            .collect()
    };
    let before = before.map(&lines).unwrap_or_default();
    let now = lines(now);
    for gone in before.difference(&now) {
        output.line(format_args!("- {gone}"))?;
    }
    now.difference(&before)
        .try_for_each(|come| output.line(format_args!("+ {come}")))
}

fn line(network: &NetworkGames, found: &FoundServer) -> String {
    let [name, address, host, players, _, title] = row(found);
    format!("{}: {name}  {address}  {host}  {players}  {title}", network.name)
}

fn table(output: &mut Output, reply: &GamesReply) -> Result<(), Failure> {
    let several = reply.networks.len() > 1;
    for network in reply.networks.iter().filter(|network| !network.found.is_empty()) {
        if several {
            output.line(format_args!("{}:", network.name))?;
        }
        let rows: Vec<_> = network.found.iter().map(row).collect();
        output.table(["NAME", "ADDRESS", "HOST", "PLAYERS", "RTT", "GAME"], &rows)?;
        if several {
            output.line("")?;
        }
    }
    let notes: Vec<_> = reply
        .networks
        .iter()
        .flat_map(|network| network.notes.iter().map(|note| format!("{}: {note}", network.name)))
        .collect();
    show::notes(output, &notes)
}

fn row(found: &FoundServer) -> [String; 6] {
    let host = found.host.as_deref().map_or_else(show::nothing, show::short_name);
    [
        Some(found.name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(show::nothing),
        std::net::SocketAddr::new(found.address, found.port).to_string(),
        if found.own {
            format!("{host} (this machine)")
        } else {
            host
        },
        match (found.players, found.max_players) {
            (Some(players), Some(most)) => format!("{players}/{most}"),
            (Some(players), None) => players.to_string(),
            (None, _) => show::nothing(),
        },
        show::rtt(found.rtt_ms),
        found.title.clone(),
    ]
}

/// Nothing was found, which is no failure of anybody's.
fn nothing(reply: &GamesReply) -> Failure {
    let searched = reply.networks.iter().filter(|network| network.searching_s.is_some());
    let names: Vec<_> = searched.map(|network| network.name.as_str()).collect();
    if names.is_empty() {
        return Failure::negative("nothing could be searched");
    }
    Failure::negative(format_args!(
        "no game, service or device is announced or answers on {}; a game may have to be opened to the LAN first",
        names.join(", ")
    ))
}

/// How long it is listened before the first answer, in seconds: announcements come every 1.5 s, and an answer takes a round trip or two.
const LISTENED: f64 = 3.0;

/// How long the first answer may take in all.
const LONGEST: Duration = Duration::from_secs(6);

/// Between two questions until then.
const PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, players: u32) -> FoundServer {
        FoundServer {
            kind: "game".to_owned(),
            game: Some("teeworlds".to_owned()),
            title: "Teeworlds, DDNet".to_owned(),
            name: name.to_owned(),
            host: Some("ann.lan.farlan.internal".to_owned()),
            own: false,
            address: [10, 128, 0, 2].into(),
            port: 8303,
            players: Some(players),
            max_players: Some(16),
            map: None,
            mode: None,
            version: None,
            rtt_ms: Some(12.34),
        }
    }

    fn reply(found: Vec<FoundServer>, searching_s: Option<f64>) -> GamesReply {
        let network = NetworkGames {
            name: "lan".to_owned(),
            network_id: "abcdefghijkl".to_owned(),
            interface: "fl-lan".to_owned(),
            searching_s,
            found,
            notes: Vec::new(),
        };
        GamesReply {
            schema: 1,
            networks: vec![network],
        }
    }

    #[test]
    fn a_row_tells_who_has_what_where() {
        let expected = [
            "tees",
            "10.128.0.2:8303",
            "ann.lan",
            "3/16",
            "12.3 ms",
            "Teeworlds, DDNet",
        ];
        assert_eq!(row(&found("tees", 3)), expected);
        let bare = FoundServer {
            host: None,
            own: true,
            max_players: None,
            rtt_ms: None,
            address: "fd00::1".parse().unwrap(),
            ..found("", 3)
        };
        let expected = ["-", "[fd00::1]:8303", "- (this machine)", "3", "-", "Teeworlds, DDNet"];
        assert_eq!(row(&bare), expected);
    }

    #[test]
    fn it_is_waited_where_the_search_has_just_begun() {
        for (searching, listened) in [(None, true), (Some(0.0), false), (Some(2.9), false), (Some(3.0), true)] {
            assert_eq!(was_listened(&reply(Vec::new(), searching).networks[0]), listened);
        }
    }

    #[test]
    fn round_trips_and_time_are_no_change() {
        let one = reply(vec![found("tees", 3)], Some(3.0));
        let mut later = reply(vec![found("tees", 3)], Some(9.0));
        later.networks[0].found[0].rtt_ms = None;
        assert_eq!(one.lasting(), later.lasting());
        let more = reply(vec![found("tees", 4)], Some(9.0));
        assert_ne!(one.lasting(), more.lasting());
        assert_ne!(one.lasting(), reply(vec![found("tees", 3)], None).lasting());
    }

    #[test]
    fn what_was_not_found_is_said() {
        let said = nothing(&reply(Vec::new(), Some(3.0)));
        assert!(said.message.contains("answers on lan"), "{said}");
        assert_eq!(nothing(&reply(Vec::new(), None)).message, "nothing could be searched");
    }
}
