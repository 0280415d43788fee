//! What people are assumed to do: the one table that each run prints.

use std::fmt;

/// The shares and sizes that a world is made of.
///
/// They are assumptions. Goals are judged in [`Proportions::social`]; [`Proportions::adverse`] shows what depends on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Proportions {
    /// What the world is called.
    pub name: &'static str,
    /// Share of nodes that are in a game's lobby.
    pub players: f64,
    /// Players of one lobby, from and to. Lobbies of a size are as many as its square is small.
    pub lobby: (u64, u64),
    /// Share of lobbies in which everybody talks to the host alone; in the others everybody talks to everybody, or to
    /// [`Proportions::mesh_neighbours`].
    pub stars: f64,
    /// With how many others one talks in a lobby that is a mesh; none for all of them.
    pub mesh_neighbours: Option<u64>,
    /// Share of nodes that visited servers ("hubs") in the last 10 minutes.
    pub visitors: f64,
    /// At most so many hubs are visited by one node.
    pub visits: u64,
    /// Nodes for each hub.
    pub nodes_per_hub: u64,
    /// How uneven hubs are in demand: the exponent of Zipf's law.
    pub hub_exponent: f64,
    /// Share of nodes that chat with others anywhere.
    pub chatters: f64,
    /// At most so many chats of one node.
    pub chats: u64,
    /// Share of nodes that came a moment ago and know nobody.
    pub newcomers: f64,
    /// Share of listed contacts that have gone without a word.
    pub gone: f64,
    /// Share of nodes that everybody reaches.
    pub open: f64,
    /// Share of nodes behind a NAT with a port for each destination.
    pub symmetric: f64,
    /// Games, for 1,000 nodes.
    pub games_per_thousand: u64,
    /// How uneven games are in demand: the exponent of Zipf's law.
    pub game_exponent: f64,
    /// Probability that one link loses a packet.
    pub loss: f64,
}

impl Proportions {
    /// The world that goals are judged in.
    pub fn social() -> Self {
        Self {
            name: "social",
            players: 0.40,
            lobby: (4, 64),
            stars: 0.60,
            mesh_neighbours: None,
            visitors: 0.35,
            visits: 5,
            nodes_per_hub: 1000,
            hub_exponent: 1.0,
            chatters: 0.20,
            chats: 4,
            newcomers: 0.15,
            gone: 0.0083,
            open: 0.30,
            symmetric: 0.15,
            games_per_thousand: 10,
            game_exponent: 1.0,
            loss: 0.01,
        }
    }

    /// A world in which everything is half as much again to the worse, and players of a mesh talk to four others only.
    pub fn adverse() -> Self {
        Self {
            name: "adverse",
            players: 0.60,
            stars: 0.40,
            mesh_neighbours: Some(4),
            visitors: 0.175,
            chatters: 0.10,
            newcomers: 0.225,
            gone: 0.0125,
            open: 0.15,
            symmetric: 0.225,
            loss: 0.015,
            ..Self::social()
        }
    }
}

impl fmt::Display for Proportions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let mesh = self
            .mesh_neighbours
            .map_or_else(|| "all others".to_owned(), |neighbours| format!("{neighbours} others"));
        writeln!(out, "the world \"{}\":", self.name)?;
        for (what, value) in [
            ("in a game's lobby", percent(self.players)),
            (
                "players of a lobby",
                format!("{} to {}, as many as 1/size²", self.lobby.0, self.lobby.1),
            ),
            ("lobbies that are stars", percent(self.stars)),
            ("in a mesh one talks to", mesh),
            ("visited hubs", percent(self.visitors)),
            ("hubs visited", format!("1 to {}", self.visits)),
            ("nodes for each hub", self.nodes_per_hub.to_string()),
            (
                "Zipf's exponent of hubs, of games",
                format!("{}, {}", self.hub_exponent, self.game_exponent),
            ),
            ("chat", percent(self.chatters)),
            ("chats", format!("0 to {}", self.chats)),
            ("newcomers, who know nobody", percent(self.newcomers)),
            ("gone without a word", percent(self.gone)),
            (
                "open; behind symmetric NATs",
                format!("{}; {}", percent(self.open), percent(self.symmetric)),
            ),
            ("games for 1,000 nodes", self.games_per_thousand.to_string()),
            ("lost on each link, at each try", percent(self.loss)),
        ] {
            writeln!(out, "  {what:<36}{value}")?;
        }
        Ok(())
    }
}
