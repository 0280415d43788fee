//! Listed games: the ports of common games, which strangers may reach unless the configuration says otherwise.

pub use farlan_games::list::{Game, List};
use serde::Deserialize;

use crate::{failure::Failure, ports::PortSet};

/// Which listed games strangers may reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, try_from = "Words")]
pub enum Games {
    /// The usual ones, or none.
    Usual(bool),
    /// These, by name.
    Named(Vec<String>),
}

/// As it stands in the configuration.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false or a list of names of games")]
enum Words {
    Usual(bool),
    Named(Vec<String>),
}

impl TryFrom<Words> for Games {
    type Error = Failure;

    fn try_from(words: Words) -> Result<Self, Failure> {
        match words {
            Words::Usual(usual) => Ok(Self::Usual(usual)),
            Words::Named(names) => {
                for name in &names {
                    find(name).ok_or_else(|| unknown(name))?;
                }
                Ok(Self::Named(names))
            }
        }
    }
}

impl Default for Games {
    fn default() -> Self {
        Self::Usual(true)
    }
}

impl Games {
    /// The ports of these games.
    pub fn ports(&self) -> PortSet {
        let chosen = |game: &Game| match self {
            Self::Usual(usual) => *usual && game.default,
            Self::Named(names) => names.contains(&game.name),
        };
        let games = all().into_iter().filter(chosen);
        games.fold(PortSet::default(), |ports, game| ports.with(&game.ports))
    }
}

/// All listed games, in order of their names.
pub fn all() -> Vec<Game> {
    List::shipped().games().to_vec()
}

/// The game of that name.
pub fn find(name: &str) -> Option<Game> {
    all().into_iter().find(|game| game.name == name)
}

/// Ports as people write them, or those of a listed game.
///
/// # Errors
/// Neither; as [`crate::failure::FailureKind::Usage`].
pub fn ports(text: &str) -> Result<PortSet, Failure> {
    if text.starts_with(|first: char| first.is_ascii_digit()) && find(text).is_none() {
        return Ok(text.parse()?);
    }
    find(text).map(|game| game.ports).ok_or_else(|| unknown(text))
}

fn unknown(name: &str) -> Failure {
    let names: Vec<_> = all().into_iter().map(|game| game.name).collect();
    Failure::usage(format_args!(
        "{name:?} is neither a port, like 25565/tcp, nor a listed game; listed are: {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_by_default_leaves_other_services_alone() {
        let usual = Games::default().ports();
        // SSH, DNS, HTTP, SMB, CUPS, Docker, databases, X, VNC, mDNS, UPnP, the port of farlan itself.
        for service in [
            "22",
            "53",
            "80",
            "137-139",
            "443",
            "445",
            "631",
            "2375-2380",
            "3306",
            "5353",
            "5432",
            "5900",
            "6000",
            "6379",
            "8080",
            "1900",
            "9600",
            "1-1023",
        ] {
            assert_eq!(usual.without(&service.parse().unwrap()), usual, "{service}");
        }
    }

    #[test]
    fn games_are_chosen_by_name_or_all_or_none() {
        let read = |text: &str| {
            #[derive(Deserialize)]
            struct Table {
                games: Games,
            }
            toml::from_str::<Table>(text).map(|table| table.games)
        };
        let ports = |text| read(text).unwrap().ports().to_string();
        assert_eq!(ports("games = false"), "");
        assert_eq!(ports("games = []"), "");
        assert_eq!(
            ports(r#"games = ["minecraft", "wesnoth"]"#),
            "15000/tcp, 25565/tcp, 4445/udp"
        );
        assert!(ports("games = true").contains("27015-27030/udp"));
        assert!(!ports("games = true").contains("2300"), "only by name");
        assert!(ports(r#"games = ["directplay"]"#).contains("2300-2400/tcp"));
        let unknown = read(r#"games = ["chess"]"#).unwrap_err().to_string();
        assert!(
            unknown.contains("\"chess\"") && unknown.contains("wesnoth"),
            "{unknown}"
        );
        assert!(read("games = 1").is_err());
    }

    #[test]
    fn a_word_is_a_game_or_ports() {
        assert_eq!(ports("minecraft").unwrap().to_string(), "25565/tcp, 4445/udp");
        assert_eq!(ports("0ad").unwrap().to_string(), "20595/udp");
        assert_eq!(ports("80/tcp").unwrap().to_string(), "80/tcp");
        for wrong in ["chess", "80/sctp", "", "Minecraft"] {
            assert!(ports(wrong).is_err(), "{wrong:?}");
        }
    }
}
