//! The documents of `farlan games`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What is there on the joined networks. Asking has the daemon search, for 15 s after the last time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GamesReply {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The networks.
    pub networks: Vec<NetworkGames>,
}

/// What is there on a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkGames {
    /// The network's name or label.
    pub name: String,
    /// Its id.
    pub network_id: String,
    /// The name of its card.
    pub interface: String,
    /// Seconds since the search there began; most of what is there answers within 3. Nothing if it cannot be searched.
    pub searching_s: Option<f64>,
    /// What is announced or answered: games before services before devices.
    pub found: Vec<FoundServer>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A game's server, a service or a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundServer {
    /// `game`, `service` or `device`.
    pub kind: String,
    /// The name of the listed game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<String>,
    /// What people call the game, service or device.
    pub title: String,
    /// Its name, as it says; may be empty.
    pub name: String,
    /// The whole name of the member it is at: `ann.lan.farlan.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether it is on this machine.
    pub own: bool,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How many play, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub players: Option<u32>,
    /// For how many there is room, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_players: Option<u32>,
    /// The map or world, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The rules that are played by, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its version, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long its answer takes, in milliseconds; nothing for what is announced.
    pub rtt_ms: Option<f64>,
}

impl GamesReply {
    /// Without what is another every time: round trips, and for how long it has been searched.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        for network in &mut lasting.networks {
            network.searching_s = network.searching_s.map(|_| 0.0);
            for found in &mut network.found {
                found.rtt_ms = None;
            }
        }
        lasting
    }
}
