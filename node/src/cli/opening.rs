//! `farlan open` and `farlan close`: what strangers may reach on this machine.

use std::time::Duration;

use super::{client::Client, output::Output};
use crate::{
    api::{OpenRequest, OpenedNetwork},
    failure::Failure,
    games::{self, Game, List},
    ports::PortSet,
};

/// Without ports: what is open, network by network.
pub(super) async fn show(
    client: &Client,
    output: &mut Output,
    list: &List,
    network: Option<String>,
) -> Result<(), Failure> {
    let mut networks: Vec<OpenedNetwork> = client.get("/v1/opened").await?;
    if let Some(name) = &network {
        networks.retain(|network| network.name == *name || network.network_id.starts_with(name.as_str()));
        if networks.is_empty() {
            return Err(Failure::negative(format_args!(
                "this node is in no network of strangers called {name:?}; networks of friends have no filter"
            )));
        }
    }
    if output.json() {
        return output.document(&networks);
    }
    if networks.is_empty() {
        return output.line(
            "this node is in no network of strangers, and on networks of friends the members reach whatever listens on \
             the card",
        );
    }
    for network in &networks {
        let opened = if network.opened.is_empty() {
            "nothing".to_owned()
        } else {
            network.opened.to_string()
        };
        let games = if network.games_open.is_empty() {
            "nothing, as none runs here".to_owned()
        } else {
            network.games_open.to_string()
        };
        let name = &network.name;
        output.line(format_args!(
            "{name}: opened by hand: {opened}; open for listed games: {games}"
        ))?;
    }
    // The configuration is the same for all.
    let games = networks.first().map(|network| &network.games);
    let rows: Vec<_> = list
        .games()
        .iter()
        .map(|game| {
            let state = if networks.iter().any(|network| listens(game, &network.games_open)) {
                "now"
            } else if games.is_some_and(|ports| is_within(game, ports)) {
                "while it runs"
            } else {
                "no"
            };
            [
                game.name.clone(),
                game.ports.to_string(),
                state.to_owned(),
                game.title.clone(),
            ]
        })
        .collect();
    output.line("")?;
    output.table(["LISTED GAME", "PORTS", "LET IN", "TITLE"], &rows)
}

/// Whether one of the ports is the game's.
fn listens(game: &Game, ports: &PortSet) -> bool {
    ports.without(&game.ports) != *ports
}

fn is_within(game: &Game, ports: &PortSet) -> bool {
    game.ports.without(ports).is_empty()
}

/// Opens or closes, as the verb says.
pub(super) async fn change(
    client: &Client,
    output: &mut Output,
    verb: &str,
    list: &List,
    ports: String,
    network: Option<String>,
) -> Result<(), Failure> {
    // A mistyped port is found before a missing daemon is.
    let meant = games::ports(list, &ports)?;
    let request = OpenRequest { ports, network };
    let reply: OpenedNetwork = client.post(&format!("/v1/{verb}"), &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    let rest = match &reply.opened {
        none if none.is_empty() => "nothing is open by hand now".to_owned(),
        opened => format!("open by hand now: {opened}"),
    };
    let done = if verb == "open" { "opened" } else { "closed" };
    output.line(format_args!("{done} {meant} in {}; {rest}", reply.name))
}
