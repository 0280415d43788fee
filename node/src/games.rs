//! Listed games: the list in use, the ports that strangers may reach of it, and what becomes of searches on the real LAN.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

pub use farlan_games::list::{Game, List};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use toml::Spanned;

use crate::{
    config::{DEFAULT_PATH, located_at},
    failure::Failure,
    ports::PortSet,
};

/// Which listed games strangers may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Games {
    /// The usual ones, or none.
    Usual(bool),
    /// These, by name, as they stand in the configuration; [`check`](Self::check) says whether there are such.
    Named(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Games {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = Games;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of names of games")
            }

            fn visit_bool<E>(self, usual: bool) -> Result<Games, E> {
                Ok(Games::Usual(usual))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Games, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Games::Named(names))
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// What becomes of the searches and announcements of games that leave this machine by other cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanGames {
    /// A copy goes to the network, and groups of listed games lead there.
    #[default]
    Lift,
    /// All broadcasts of this machine that name no card go to the network alone, and so do groups of listed games.
    Route,
    /// Nothing.
    Off,
}

impl fmt::Display for LanGames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lift => "lift",
            Self::Route => "route",
            Self::Off => "off",
        })
    }
}

impl FromStr for LanGames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Lift, Self::Route, Self::Off]
            .into_iter()
            .find(|way| way.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of lift, route and off"))
    }
}

impl Default for Games {
    fn default() -> Self {
        Self::Usual(true)
    }
}

impl Games {
    /// Whether all names are those of listed games; `text` is the file at `path` in which they stand.
    ///
    /// # Errors
    /// One is not, with the line.
    pub fn check(&self, list: &List, path: &Path, text: &str) -> Result<(), Failure> {
        let Self::Named(names) = self else { return Ok(()) };
        match names.iter().find(|name| list.find(name.get_ref()).is_none()) {
            Some(name) => Err(Failure::usage(located_at(
                path,
                text,
                Some(name.span().start),
                &unknown(list, name.get_ref()).message,
            ))),
            None => Ok(()),
        }
    }

    /// The ports of these games.
    pub fn ports(&self, list: &List) -> PortSet {
        let chosen = |game: &&Game| match self {
            Self::Usual(usual) => *usual && game.default,
            Self::Named(names) => names.iter().any(|name| *name.get_ref() == game.name),
        };
        let games = list.games().iter().filter(chosen);
        games.fold(PortSet::default(), |ports, game| ports.with(&game.ports))
    }
}

/// The list in use: the shipped one with that of the user laid over it, which stands beside the configuration at `config`, or at
/// the usual place of that.
///
/// # Errors
/// It cannot be read, or is wrong somewhere, with the line.
pub fn load(config: Option<&Path>) -> Result<List, Failure> {
    let path = user_list(config);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(List::shipped()),
        Err(error) => return Err(Failure::file("read", &path, &error)),
    };
    let own = List::parse(&text).map_err(|error| match error.line {
        Some(line) => Failure::usage(format_args!("{}:{line}: {}", path.display(), error.message)),
        None => Failure::usage(format_args!("{}: {}", path.display(), error.message)),
    })?;
    Ok(List::shipped().with(own))
}

/// Where the user's list stands.
pub fn user_list(config: Option<&Path>) -> PathBuf {
    config
        .unwrap_or_else(|| Path::new(DEFAULT_PATH))
        .with_file_name(USER_LIST)
}

/// Ports as people write them, or those of a listed game.
///
/// # Errors
/// Neither; as [`crate::failure::FailureKind::Usage`].
pub fn ports(list: &List, text: &str) -> Result<PortSet, Failure> {
    let game = list.find(text);
    if text.starts_with(|first: char| first.is_ascii_digit()) && game.is_none() {
        return Ok(text.parse()?);
    }
    game.map(|game| game.ports.clone()).ok_or_else(|| unknown(list, text))
}

fn unknown(list: &List, name: &str) -> Failure {
    let names: Vec<_> = list.games().iter().map(|game| game.name.as_str()).collect();
    Failure::usage(format_args!(
        "{name:?} is neither a port, like 25565/tcp, nor a listed game; listed are: {}",
        names.join(", ")
    ))
}

/// The user's list, beside the configuration.
const USER_LIST: &str = "games.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_by_default_leaves_other_services_alone() {
        let usual = Games::default().ports(&List::shipped());
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
        let list = List::shipped();
        let ports = |text| read(text).unwrap().ports(&list).to_string();
        assert_eq!(ports("games = false"), "");
        assert_eq!(ports("games = []"), "");
        assert_eq!(
            ports(r#"games = ["minecraft", "wesnoth"]"#),
            "15000/tcp, 25565/tcp, 4445/udp"
        );
        assert!(ports("games = true").contains("27015-27030/udp"));
        assert!(!ports("games = true").contains("2300"), "only by name");
        assert!(ports(r#"games = ["directplay"]"#).contains("2300-2400/tcp"));
        let text = "\n games = [\"wesnoth\",\n \"chess\"]";
        let unknown = read(text).unwrap().check(&list, Path::new("c.toml"), text);
        let unknown = unknown.unwrap_err().message;
        assert!(unknown.starts_with("c.toml:3: "), "{unknown}");
        assert!(
            unknown.contains("\"chess\"") && unknown.contains("wesnoth"),
            "{unknown}"
        );
        assert!(read("games = 1").is_err() && read("games = [1]").is_err());
    }

    #[test]
    fn a_word_is_a_game_or_ports() {
        let list = List::shipped();
        let ports = |text| ports(&list, text);
        assert_eq!(ports("minecraft").unwrap().to_string(), "25565/tcp, 4445/udp");
        assert_eq!(ports("0ad").unwrap().to_string(), "20595/udp");
        assert_eq!(ports("80/tcp").unwrap().to_string(), "80/tcp");
        for wrong in ["chess", "80/sctp", "", "Minecraft"] {
            assert!(ports(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_users_list_stands_beside_the_configuration_and_goes_before_the_shipped_one() {
        assert_eq!(user_list(None), Path::new("/etc/farlan/games.toml"));
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("other.toml");
        assert_eq!(load(Some(&config)).unwrap(), List::shipped());
        let file = directory.path().join("games.toml");
        let own = "[[game]]\nname = \"warsow\"\ntitle = \"Warsow\"\nports = [\"44400/udp\"]\nsearch = [\"44400/udp\"]\n\
                   [[game]]\nname = \"minecraft\"\ntitle = \"Ours\"\nports = [\"7/tcp\"]\n";
        std::fs::write(&file, own).unwrap();
        let list = load(Some(&config)).unwrap();
        assert_eq!(ports(&list, "warsow").unwrap().to_string(), "44400/udp");
        assert_eq!(ports(&list, "minecraft").unwrap().to_string(), "7/tcp");
        assert!(list.searching(44400).is_some() && list.find("openttd").is_some());
        std::fs::write(&file, own.replace("44400/udp", "99/udp")).unwrap();
        let failure = load(Some(&config)).unwrap_err();
        assert!(failure.message.contains("games.toml:5: "), "{failure}");
    }

    #[test]
    fn the_ways_have_one_name_each() {
        for (way, text) in [
            (LanGames::Lift, "lift"),
            (LanGames::Route, "route"),
            (LanGames::Off, "off"),
        ] {
            assert_eq!(text.parse(), Ok(way));
            assert_eq!(serde_json::to_value(way).unwrap(), text);
        }
        assert!("Lift".parse::<LanGames>().is_err());
    }
}
