//! The configuration: one TOML file, every key optional.

use std::{
    io,
    path::{Path, PathBuf},
};

use farlan_crypto::Work;
use farlan_netconf::{DnsLabel, Link, World};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use crate::{
    api::LoopbackAddress,
    failure::Failure,
    games::{Games, LanGames, List},
    logs::LogFilter,
    secret_text::SecretText,
};

/// Where the configuration is looked for when no other place is named.
pub const DEFAULT_PATH: &str = "/etc/farlan/farlan.toml";

/// The keys of `farlan.toml`. What the command line says goes before what stands here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The UDP port of the underlay; 0 lets the system pick one.
    pub port: u16,
    /// The Unix socket of the API.
    pub socket: PathBuf,
    /// The directory of identity, worlds, networks and contacts.
    pub state_dir: PathBuf,
    /// Who the daemon becomes when root starts it; empty for whoever starts it.
    pub user: String,
    /// Supernodes to meet at, as their links; the first one's world is that of bare network names.
    pub supernodes: Vec<SupernodeLink>,
    /// Whether the home's router is asked to let others in.
    pub port_mapping: bool,
    /// Whether strangers, on open networks, reach this node over supernodes only and do not learn where it is.
    pub hide_address: bool,
    /// Whether members of its networks find this node by beacons on its own links.
    pub beacon: bool,
    /// What strangers, on open networks, may reach.
    pub strangers: Strangers,
    /// What becomes of searches of games on the real LAN.
    pub games: OnLan,
    /// What is logged.
    pub log: LogFilter,
    /// Where the API is served beside its socket.
    pub api: Api,
    /// Which offloads may be used.
    pub offloads: Offloads,
    /// What this machine is called in networks of friends.
    pub name: MachineName,
    /// Who resolves names of members.
    pub dns: Dns,
    /// The controller of private networks.
    pub controller: Controller,
}

/// The controller of private networks, where this node made some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Controller {
    /// Where it keeps them: `postgres://…`, or a file; empty for `controller.sqlite` in the state directory.
    #[serde(deserialize_with = "store")]
    pub store: Option<SecretText>,
}

/// A place for a store, or none for the empty text. What it is is found out when it is opened, but for what it can never be.
///
/// # Errors
/// A URL of another database, or a file that is not named from the root.
pub fn store<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretText>, D::Error> {
    let text = SecretText::deserialize(deserializer)?;
    match text.split_once("://") {
        Some(("postgres" | "postgresql", _)) => Ok(Some(text)),
        Some((other, _)) => Err(D::Error::custom(format!(
            "a controller's store is a file or begins with postgres://, not with {other}://"
        ))),
        None if text.is_empty() => Ok(None),
        None if text.starts_with('/') => Ok(Some(text)),
        None => Err(D::Error::custom(
            "the file of a controller's store is named from the root: /…",
        )),
    }
}

/// What a machine is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MachineName {
    /// As its host name says, as far as that can be a name in the DNS: the empty text.
    #[default]
    HostName,
    /// Nothing, and nobody is told anything: a hyphen.
    Nothing,
    /// So.
    Label(DnsLabel),
}

impl TryFrom<String> for MachineName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" => Ok(Self::HostName),
            "-" => Ok(Self::Nothing),
            text => DnsLabel::parse(text)
                .map(Self::Label)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Who resolves names of members besides `farlan resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The port of 127.0.0.1 at which the daemon answers questions about them; 0 lets the system pick one.
    pub port: u16,
    /// Whether systemd-resolved, where it runs, is told to ask there.
    pub resolved: bool,
    /// Whether they stand in `/etc/hosts` where it does not.
    pub hosts: bool,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            port: 0,
            resolved: true,
            hosts: true,
        }
    }
}

/// What strangers, on open networks, may reach on this machine besides what `farlan open` opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Strangers {
    /// Listed games.
    pub games: Games,
}

/// What becomes of searches of games on the real LAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnLan {
    /// In networks for which nothing else was said.
    pub lan_games: LanGames,
}

/// Where the API is served beside its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// A loopback address and port, for programs that cannot use the socket; empty for none.
    #[serde(deserialize_with = "if_not_empty")]
    pub tcp: Option<LoopbackAddress>,
}

/// An address, or none for the empty text, which can stand in the file as the default.
fn if_not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LoopbackAddress>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    LoopbackAddress::try_from(text).map(Some).map_err(D::Error::custom)
}

/// Offloads that are used where the system has them, and that can be forbidden where a driver misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Offloads {
    /// Super-frames and open checksums between the kernel and the network cards.
    pub card: bool,
    /// Many datagrams in one send (UDP_SEGMENT).
    pub send: bool,
    /// Many datagrams in one receive (UDP_GRO).
    pub receive: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self {
            card: true,
            send: true,
            receive: true,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 9600,
            socket: "/run/farlan/farlan.sock".into(),
            state_dir: "/var/lib/farlan".into(),
            user: String::new(),
            supernodes: Vec::new(),
            port_mapping: true,
            hide_address: false,
            beacon: true,
            strangers: Strangers::default(),
            games: OnLan::default(),
            log: LogFilter::default(),
            api: Api::default(),
            offloads: Offloads::default(),
            name: MachineName::default(),
            dns: Dns::default(),
            controller: Controller::default(),
        }
    }
}

impl Config {
    /// Reads the file at `path`, or at [`DEFAULT_PATH`], where no file means that every key has its default. Games in it are those
    /// of `list`.
    ///
    /// # Errors
    /// An unreadable file, what [`parse`] refuses, and games that are not listed, as [`crate::failure::FailureKind::Usage`].
    pub fn load(path: Option<&Path>, list: &List) -> Result<Self, Failure> {
        let path = match path {
            Some(path) => path,
            None if matches!(std::fs::exists(DEFAULT_PATH), Ok(false)) => return Ok(Self::default()),
            None => Path::new(DEFAULT_PATH),
        };
        Self::read(path, &text(path)?, list)
    }

    /// Reads the text of the file at `path`.
    fn read(path: &Path, text: &str, list: &List) -> Result<Self, Failure> {
        let config: Self = parse(path, text)?;
        config.strangers.games.check(list, path, text)?;
        Ok(config)
    }
}

/// The link of a supernode, as `farlan-supernode link` prints it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct SupernodeLink(pub World);

impl TryFrom<String> for SupernodeLink {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // TOML gives the line of the whole list, so the message shows which link is meant.
        let start: String = text.chars().take(SHOWN).collect();
        match Link::parse(&text, Work::REQUIRED) {
            Ok(Link::Supernode(world)) => Ok(Self(world)),
            Ok(Link::Network(_) | Link::Private(_)) => Err(format!(
                "{start:?}…: this link is an invitation to a network, not to a supernode; use it with `farlan join`"
            )),
            Err(error) => Err(format!("{start:?}…: {error}")),
        }
    }
}

impl std::str::FromStr for SupernodeLink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

/// Characters of a bad link that are shown.
const SHOWN: usize = 24;

/// Reads and parses the TOML file at `path`.
///
/// # Errors
/// An unreadable file, and what [`parse`] refuses, as [`crate::failure::FailureKind::Usage`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    parse(path, &text(path)?)
}

/// The text of the file at `path`.
fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::file("read", path, &error),
        _ => Failure::usage(format_args!("cannot read {}: {error}", path.display())),
    })
}

/// Parses the TOML `text` of the file at `path`.
///
/// # Errors
/// An unknown key, a bad value or a syntax error, as [`crate::failure::FailureKind::Usage`] with file, line and reason.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| Failure::usage(located(path, text, &error)))
}

/// `FILE:LINE: reason`.
pub(crate) fn located(path: &Path, text: &str, error: &toml::de::Error) -> String {
    located_at(path, text, error.span().map(|span| span.start), error.message())
}

/// The same for something that begins at a byte of the text.
pub(crate) fn located_at(path: &Path, text: &str, start: Option<usize>, message: &str) -> String {
    let before = start.and_then(|start| text.get(..start));
    match before.map(|before| before.matches('\n').count() + 1) {
        Some(line) => format!("{}:{line}: {message}", path.display()),
        None => format!("{}: {message}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    const SHIPPED: &str = include_str!("../farlan.toml");

    #[test]
    fn the_shipped_file_is_the_default_commented_out() {
        let path = Path::new("farlan.toml");
        assert_eq!(parse::<Config>(path, SHIPPED).unwrap(), Config::default());
        let keys: Vec<&str> = SHIPPED
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        assert_eq!(keys.len(), 20, "every key stands there once: {keys:?}");
        assert_eq!(parse::<Config>(path, &keys.join("\n")).unwrap(), Config::default());
    }

    #[test]
    fn errors_name_file_line_and_reason() {
        let cases = [
            ("port = 9600\nprot = 1\n", "c.toml:2: unknown field `prot`"),
            ("\n\nport = 70000\n", "c.toml:3: invalid value: integer `70000`"),
            ("port = \"x\"\n", "c.toml:1: invalid type: string \"x\""),
            (
                "port = 1\nport_mapping = \"yes\"\n",
                "c.toml:2: invalid type: string \"yes\", expected a boolean",
            ),
            ("log = \"loud=\"\nlog = 1", "c.toml:2: duplicate key"),
            (
                "port = 1\nlog = \"farlan=loud\"\n",
                "c.toml:2: \"farlan=loud\" is no log level",
            ),
            (
                "port = 1\nsupernodes = [\n  \"farlan:x\",\n]\n",
                "c.toml:2: \"farlan:x\"…: the link is mistyped or cut",
            ),
            ("port 9600", "c.toml:1: "),
            (
                "[strangers]\ngames = [\"chess\"]\n",
                "c.toml:2: \"chess\" is neither a port",
            ),
            (
                "[strangers]\ngames = 7\n",
                "c.toml:2: invalid type: integer `7`, expected true, false or a list of names of games",
            ),
            (
                "[games]\nlan_games = \"up\"\n",
                "c.toml:2: unknown variant `up`, expected one of `lift`, `route`, `off`",
            ),
            (
                "[offloads]\nsend = false\nsent = true\n",
                "c.toml:3: unknown field `sent`, expected one of `card`, `send`, `receive`",
            ),
            (
                "port = 1\n[api]\ntcp = \"0.0.0.0:9601\"\n",
                "c.toml:3: \"0.0.0.0:9601\" is no loopback address with a port",
            ),
            ("api.tcp = \"[::]:9601\"\n", "c.toml:1: \"[::]:9601\" is no loopback"),
            ("api.tcp = true\n", "c.toml:1: invalid type: boolean"),
            (
                "[api]\ntoken = \"x\"\n",
                "c.toml:2: unknown field `token`, expected `tcp`",
            ),
        ];
        for (text, expected) in cases {
            let failure = Config::read(Path::new("c.toml"), text, &List::shipped()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage);
            assert!(failure.message.starts_with(expected), "{text:?}: {failure}");
        }
    }

    #[test]
    fn the_api_is_served_over_tcp_only_where_that_is_said() {
        let tcp = |text: &str| parse::<Config>(Path::new("c.toml"), text).unwrap().api.tcp;
        for off in ["", "[api]", "api.tcp = \"\""] {
            assert_eq!(tcp(off), None, "{off}");
        }
        let address = tcp("api.tcp = \"127.0.0.1:9601\"").unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:9601");
    }

    #[test]
    fn a_machine_is_called_as_its_host_or_as_is_said_or_nothing() {
        let name = |text: &str| parse::<Config>(Path::new("c.toml"), text).map(|config| config.name);
        for (text, expected) in [
            ("", MachineName::HostName),
            ("name = \"\"", MachineName::HostName),
            ("name = \"-\"", MachineName::Nothing),
            ("name = \"ann\"", MachineName::Label(DnsLabel::parse("ann").unwrap())),
        ] {
            assert_eq!(name(text).unwrap(), expected, "{text}");
        }
        let failure = name("port = 1\nname = \"Ann's\"").unwrap_err();
        assert!(failure.message.starts_with("c.toml:2: a name consists of"), "{failure}");
    }

    #[test]
    fn an_offload_left_out_is_allowed() {
        let config = parse::<Config>(Path::new("c.toml"), "[offloads]\ncard = false\n").unwrap();
        let expected = Offloads {
            card: false,
            ..Offloads::default()
        };
        assert_eq!(config.offloads, expected);
        assert!(expected.send && expected.receive);
    }

    #[test]
    fn a_named_file_must_exist() {
        let directory = tempfile::tempdir().unwrap();
        let failure = Config::load(Some(&directory.path().join("none.toml")), &List::shipped()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains("none.toml"), "{failure}");
    }
}
