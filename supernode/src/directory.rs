//! The files of a supernode: identity, operator's key, world and configuration.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use farlan::{
    cli::presence,
    config,
    failure::Failure,
    logs::LogFilter,
    state::{IDENTITY, StateDir},
};
use farlan_crypto::{
    Identity, NodeId, PublicKey, Work,
    private_file::{self, Readers},
    random::SystemRandom,
    secret_file,
};
use farlan_engine::Limits;
use farlan_netconf::{Endpoint, Link, Supernode, World, WorldId};
use serde::Deserialize;

use crate::controller;

/// Name of the file with the operator's key.
pub(crate) const OPERATOR: &str = "operator.secret";

/// Name of the file with the signed world, in the form of its link.
const WORLD: &str = "world.link";

/// Name of the configuration.
const CONFIG: &str = "supernode.toml";

/// The keys of `supernode.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The UDP port to listen on.
    pub(crate) port: u16,
    /// Where streams over TCP are taken, from nodes whose UDP is blocked.
    #[serde(default)]
    pub(crate) tcp: Tcp,
    /// The UDP port by which nodes find out how their NATs behave; 0 for none.
    pub(crate) second_port: Option<u16>,
    /// What is logged.
    #[serde(default)]
    pub(crate) log: LogFilter,
    /// Which offloads may be used.
    #[serde(default)]
    pub(crate) offloads: Offloads,
    /// How much is done for others.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// The controller of private networks beside it, if there is to be one.
    pub(crate) controller: Option<controller::Config>,
}

/// The addresses at which streams over TCP are taken: `"none"`, `"ADDRESS:PORT"` or a list of these. `[::]` stands for all
/// addresses, those of IPv4 too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore")]
pub(crate) struct Tcp(pub(crate) Vec<SocketAddr>);

impl Tcp {
    /// The port that firewalls let through most often.
    pub(crate) const PORT: u16 = 443;

    /// A port on all addresses.
    pub(crate) fn port(port: u16) -> Self {
        Self(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)])
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self::port(Self::PORT)
    }
}

/// A text or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "\"none\", an address with a port, or a list of these")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<OneOrMore> for Tcp {
    type Error = String;

    fn try_from(texts: OneOrMore) -> Result<Self, String> {
        let texts = match texts {
            OneOrMore::One(text) if text == NO_TCP => return Ok(Self::none()),
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        if texts.len() > MOST_LISTENERS {
            return Err(format!("at most {MOST_LISTENERS} addresses are listened at"));
        }
        let address = |text: String| match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err(format!(
                "{text:?} is no address with a port to listen at, such as \"[::]:443\" for all addresses; \"none\" is for no TCP"
            )),
        };
        texts.into_iter().map(address).collect::<Result<_, _>>().map(Self)
    }
}

/// What stands for no address.
pub(crate) const NO_TCP: &str = "none";

/// Addresses at which streams are taken.
const MOST_LISTENERS: usize = 16;

/// How much a supernode does for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Nodes registered at one time.
    pub(crate) registrations: NonZeroU32,
    /// Mbit/s relayed for one node; 0 for no limit.
    pub(crate) relay_source_mbit: u32,
    /// Mbit/s relayed from one node to one other; 0 for no limit.
    pub(crate) relay_pair_mbit: u32,
    /// MiB of private networks' documents.
    pub(crate) documents_mib: u32,
}

impl Config {
    /// The second UDP port: what is configured, else the next one.
    pub(crate) fn second_port(&self) -> Option<u16> {
        let next = if self.port == 0 { None } else { self.port.checked_add(1) };
        self.second_port.or(next).filter(|port| *port != 0)
    }
}

impl LimitsConfig {
    /// The same as the engine counts.
    pub(crate) fn limits(&self) -> Limits {
        let most = Limits::MOST_REGISTRATIONS;
        Limits {
            registrations: usize::try_from(self.registrations.get()).unwrap_or(most).min(most),
            relay_source: u64::from(self.relay_source_mbit) * MBIT,
            relay_pair: u64::from(self.relay_pair_mbit) * MBIT,
            documents: usize::try_from(u64::from(self.documents_mib) * MIB).unwrap_or(usize::MAX),
            ..Limits::default()
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        let mbit = |bytes: u64| u32::try_from(bytes / MBIT).unwrap_or(u32::MAX);
        let registrations = u32::try_from(limits.registrations).ok().and_then(NonZeroU32::new);
        Self {
            registrations: registrations.unwrap_or(NonZeroU32::MAX),
            relay_source_mbit: mbit(limits.relay_source),
            relay_pair_mbit: mbit(limits.relay_pair),
            documents_mib: u32::try_from(limits.documents >> 20).unwrap_or(u32::MAX),
        }
    }
}

/// Bytes in a megabit.
const MBIT: u64 = 125_000;

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// Offloads that are used where the system has them, and that can be forbidden where a driver misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Offloads {
    /// Many datagrams in one send (UDP_SEGMENT).
    pub(crate) send: bool,
    /// Many datagrams in one receive (UDP_GRO).
    pub(crate) receive: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self {
            send: true,
            receive: true,
        }
    }
}

/// What `init` made.
#[derive(Debug)]
pub(crate) struct Made {
    /// The supernode's id.
    pub(crate) node: NodeId,
    /// The world's id.
    pub(crate) world: WorldId,
}

/// The files of a supernode that runs in this process.
#[derive(Debug)]
pub(crate) struct Directory {
    state: StateDir,
    config: Config,
    identity: Identity,
    world: World,
}

impl Directory {
    /// Locks and reads the directory at `path`.
    ///
    /// # Errors
    /// It was not initialised, or only half; another supernode runs in it; one of its files is damaged.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let world = world(path)?;
        let state = StateDir::open(path).map_err(|failure| {
            if presence::is_in_use(path) {
                Failure::negative(format_args!(
                    "a supernode runs in {0} already; see: farlan-supernode status --state-dir {0}",
                    path.display()
                ))
            } else {
                failure
            }
        })?;
        let config = config(path)?;
        let identity = secret_file::load(&path.join(IDENTITY), Work::REQUIRED)?;
        if !lists(&world, &identity) {
            return Err(Failure::negative(format_args!(
                "the world in {} does not list the identity in the same directory",
                path.display()
            )));
        }
        Ok(Self {
            state,
            config,
            identity,
            world,
        })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.state.path()
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The key of this supernode.
    pub(crate) fn key(&self) -> PublicKey {
        self.identity.public()
    }

    /// The world this supernode serves.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The lock to be kept, and the identity to be used.
    pub(crate) fn into_parts(self) -> (StateDir, Identity) {
        (self.state, self.identity)
    }
}

/// The addresses with those for streams: where none is named, the TCP port of each host.
pub(crate) fn with_tcp(mut addresses: Vec<Endpoint>, tcp: Option<u16>) -> Vec<Endpoint> {
    if let Some(port) = tcp.filter(|_| !addresses.iter().any(Endpoint::is_tcp)) {
        let hosts = addresses.clone().into_iter();
        let all = hosts.filter_map(|endpoint| Endpoint::new(endpoint.host(), port).ok().map(Endpoint::over_tcp));
        for endpoint in all {
            if !addresses.contains(&endpoint) && addresses.len() < World::MAX_ENDPOINTS {
                addresses.push(endpoint);
            }
        }
    }
    addresses
}

/// Makes the files of a new supernode; `tcp` is the port at which it takes streams. Where no address is one of TCP, each of
/// its hosts is reached there.
///
/// # Errors
/// There is one in `path` already; the directory cannot be written; there are more addresses than a world takes.
pub(crate) fn init(path: &Path, port: u16, tcp: Option<u16>, addresses: Vec<Endpoint>) -> Result<Made, Failure> {
    let addresses = with_tcp(addresses, tcp);
    if let Some(failure) = half_made(path) {
        return Err(failure);
    }
    for name in [IDENTITY, OPERATOR, WORLD, CONFIG] {
        let file = path.join(name);
        if fs::symlink_metadata(&file).is_ok() {
            return Err(Failure::negative(format_args!(
                "{} exists: there is a supernode in this directory already, which is not overwritten",
                file.display()
            )));
        }
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file("make the directory", path, &error))?;
    let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
    let identity = Identity::generate(&mut random, Work::REQUIRED);
    // The operator's key is no node and carries no work.
    let operator = Identity::generate(&mut random, Work::NONE);
    let configuration = configuration(port, tcp, &addresses);
    let supernode = Supernode {
        key: identity.public(),
        endpoints: addresses,
    };
    let world = World::sign(&operator, 1, vec![supernode]).map_err(Failure::usage)?;
    let made = Made {
        node: identity.node_id(),
        world: world.id(),
    };
    secret_file::create(&path.join(IDENTITY), &identity)?;
    secret_file::create(&path.join(OPERATOR), &operator)?;
    write_new(&path.join(CONFIG), &configuration)?;
    // Last, since its presence means that all the rest is there.
    write_new(&path.join(WORLD), &format!("{}\n", Link::Supernode(world)))?;
    Ok(made)
}

/// The link of the supernode in the directory at `path`.
///
/// # Errors
/// It was not initialised, or its world is damaged.
pub(crate) fn link(path: &Path) -> Result<Link, Failure> {
    world(path).map(Link::Supernode)
}

/// The configuration of the supernode in the directory at `path`.
///
/// # Errors
/// An unreadable file, and what is wrong with it, with file and line.
pub(crate) fn config(path: &Path) -> Result<Config, Failure> {
    config::load(&config_file(path))
}

/// Where the configuration of the supernode in `path` is.
pub(crate) fn config_file(path: &Path) -> PathBuf {
    path.join(CONFIG)
}

/// The world that the supernode in the directory at `path` serves.
///
/// # Errors
/// It was not initialised, or its world is damaged.
pub(crate) fn world(path: &Path) -> Result<World, Failure> {
    let file = path.join(WORLD);
    let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => half_made(path).unwrap_or_else(|| {
            Failure::negative(format_args!(
                "there is no supernode in {0}; make one with: farlan-supernode init --state-dir {0} --port 9600 \
                 --address HOST:9600",
                path.display()
            ))
        }),
        _ => Failure::file("read", &file, &error),
    })?;
    match Link::parse(&text, Work::REQUIRED) {
        Ok(Link::Supernode(world)) => Ok(world),
        Ok(Link::Network(_) | Link::Private(_)) => {
            Err(Failure::negative(format_args!("{} is not a world", file.display())))
        }
        Err(error) => Err(Failure::negative(format_args!("{}: {error}", file.display()))),
    }
}

/// Whether a world lists this supernode.
pub(crate) fn lists(world: &World, identity: &Identity) -> bool {
    let key = identity.public();
    world.supernodes().iter().any(|supernode| supernode.key == key)
}

/// The world that the supernode in the directory at `path` serves, which nobody else changes as long as the lock lives: the
/// running supernode and a command may want to at one time.
///
/// # Errors
/// It was not initialised, or its world is damaged; the directory cannot be locked.
pub(crate) fn locked(path: &Path) -> Result<(fs::File, World), Failure> {
    // Says best what is missing.
    world(path)?;
    let lock = fs::File::open(path).and_then(|directory| directory.lock().map(|()| directory));
    let lock = lock.map_err(|error| Failure::file("lock", path, &error))?;
    Ok((lock, world(path)?))
}

/// Writes the world to be served: after a crash either the old or the new one is there, whole.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn store(path: &Path, world: &World) -> Result<(), Failure> {
    let file = path.join(WORLD);
    let text = format!("{}\n", Link::Supernode(world.clone()));
    private_file::replace(&file, text.as_bytes(), Readers::Owner).map_err(|error| Failure::file("write", &file, &error))
}

/// What to say of a directory that holds a supernode's files without its world, which `init` writes last.
fn half_made(path: &Path) -> Option<Failure> {
    let exists = |file: &PathBuf| fs::symlink_metadata(file).is_ok();
    if exists(&path.join(WORLD)) {
        return None;
    }
    let left: Vec<_> = [IDENTITY, OPERATOR, CONFIG]
        .map(|name| path.join(name))
        .into_iter()
        .filter(exists)
        .map(|file| file.display().to_string())
        .collect();
    (!left.is_empty()).then(|| {
        Failure::negative(format_args!(
            "the supernode in {} is incomplete: {WORLD} is missing. If making it was interrupted, remove what is left \
             and make it again: rm {}\nIf it has run before, keep these files and put {WORLD} back: it holds the text \
             of the link that nodes have",
            path.display(),
            left.join(" ")
        ))
    })
}

fn configuration(port: u16, tcp: Option<u16>, addresses: &[Endpoint]) -> String {
    let tcp = match tcp {
        None => format!("tcp = {NO_TCP:?}"),
        Some(Tcp::PORT) => format!("#tcp = \"[::]:{}\"", Tcp::PORT),
        Some(port) => format!("tcp = \"[::]:{port}\""),
    };
    let listed: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let limits = LimitsConfig::default();
    format!(
        "# Configuration of this supernode.\n\
         # Its addresses stand in its signed world, which nodes get with its link:\n\
         #   {}\n\
         \n\
         # The UDP port to listen on. Takes effect at the next start.\n\
         port = {port}\n\
         \n\
         # Where nodes whose UDP is blocked are taken by TCP: an address with a port, a list of these, or \"none\". [::] is all\n\
         # addresses. 443 is what most firewalls let through. If it cannot be had, the log says so and the rest works. What nodes\n\
         # try are the tcp/ addresses in the world. Takes effect at the next start.\n\
         {tcp}\n\
         \n\
         # A second UDP port, by which nodes find out how their NATs behave; 0 for none. Takes effect at the next start.\n\
         #second_port = {}\n\
         \n\
         # What is logged to standard error: off, error, warn, info, debug or trace, or levels by module. A running supernode\n\
         # takes a change over at SIGHUP (`systemctl reload farlan-supernode`).\n\
         #log = \"info\"\n\
         \n\
         # Offloads make relaying several times cheaper and are used where the system has them. Each can be forbidden, for a\n\
         # driver that misbehaves: many datagrams in one send (UDP_SEGMENT), many in one receive (UDP_GRO). Takes effect at\n\
         # the next start.\n\
         #offloads.send = true\n\
         #offloads.receive = true\n\
         \n\
         # How much is done for others. Each registered node takes up to 8 KB of memory; when the places become few, those of\n\
         # one /24 or /56 get none of the last, and nobody who is registered loses its place. What is relayed is counted as\n\
         # UDP payload, in Mbit/s for one node and from one node to one other; 0 is no limit. Of the documents of private\n\
         # networks, which a supernode keeps without being able to read them, so many MiB are kept in memory; with 0 members\n\
         # who come back hear late of who was removed. Takes effect at the next start.\n\
         #limits.registrations = {}\n\
         #limits.relay_source_mbit = {}\n\
         #limits.relay_pair_mbit = {}\n\
         #limits.documents_mib = {}\n\
         \n\
         # A controller of private networks in this process, if one of these keys is here: it lets members in, renews their\n\
         # certificates and hands on who was removed, for networks whose keys were taken here with\n\
         #   farlan --socket STATE_DIR/controller.sock import FILE\n\
         # It keeps them in a file in the state directory, or, several controllers together, in a PostgreSQL database:\n\
         # postgres://USER:PASSWORD@HOST/DATABASE. Its name in the networks is that of the machine unless one is given. Its UDP\n\
         # port is any that is free (0); it need not be open to others, who come by this supernode. Takes effect at the next start.\n\
         #controller.store = \"\"\n\
         #controller.name = \"\"\n\
         #controller.port = 0\n",
        listed.join(", "),
        port.wrapping_add(1),
        limits.registrations,
        limits.relay_source_mbit,
        limits.relay_pair_mbit,
        limits.documents_mib,
    )
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    private_file::create(path, text.as_bytes()).map_err(|error| Failure::file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use farlan::failure::FailureKind;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_new_supernode_is_complete_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supernode");
        let missing = Directory::open(&path).unwrap_err();
        assert!(missing.message.contains("farlan-supernode init"), "{missing}");
        assert!(!path.exists(), "a mistyped directory is not made");

        let made = init(&path, 9601, Some(443), addresses(&["192.0.2.1:9601", "a.example:9601"])).unwrap();
        let Ok(Link::Supernode(world)) = Link::parse(&link(&path).unwrap().to_string(), Work::REQUIRED) else {
            panic!("the link is no supernode's");
        };
        assert_eq!((world.id(), world.version()), (made.world, 1));
        assert_eq!(world.supernodes()[0].key.node_id(), made.node);
        assert_eq!(
            world.supernodes()[0].endpoints,
            addresses(&[
                "192.0.2.1:9601",
                "a.example:9601",
                "tcp/192.0.2.1:443",
                "tcp/a.example:443"
            ])
        );

        let opened = Directory::open(&path).unwrap();
        assert_eq!(
            opened.config(),
            &Config {
                port: 9601,
                tcp: Tcp::default(),
                second_port: None,
                log: LogFilter::default(),
                offloads: Offloads::default(),
                limits: LimitsConfig::default(),
                controller: None,
            }
        );
        assert_eq!(opened.config().second_port(), Some(9602));
        let second = Directory::open(&path).unwrap_err();
        assert_eq!(second.kind, FailureKind::Negative);
        assert!(second.message.contains("a supernode runs in"), "{second}");
        drop(opened);
        Directory::open(&path).unwrap();
        let again = init(&path, 9600, None, addresses(&["192.0.2.1:9600"])).unwrap_err();
        assert_eq!(again.kind, FailureKind::Negative);
        assert!(again.message.contains("not overwritten"), "{again}");
    }

    #[test]
    fn the_second_port_is_the_next_one_another_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(CONFIG);
        let second = |text: &str| {
            fs::write(&file, text).unwrap();
            config(directory.path()).unwrap().second_port()
        };
        assert_eq!(second("port = 443"), Some(444));
        assert_eq!(second("port = 443\nsecond_port = 9600"), Some(9600));
        assert_eq!(second("port = 443\nsecond_port = 0"), None);
        assert_eq!(second("port = 65535"), None);
        assert_eq!(second("port = 0"), None);
    }

    #[test]
    fn a_half_made_supernode_has_a_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        init(path, 9600, None, addresses(&["192.0.2.1:9600"])).unwrap();
        fs::remove_file(path.join(WORLD)).unwrap();
        fs::remove_file(path.join(CONFIG)).unwrap();
        let remedy = format!(
            "rm {} {}\n",
            path.join(IDENTITY).display(),
            path.join(OPERATOR).display()
        );
        let again = init(path, 9600, None, addresses(&["192.0.2.1:9600"])).unwrap_err();
        for failure in [again, Directory::open(path).unwrap_err(), link(path).unwrap_err()] {
            assert!(failure.message.contains(&remedy), "{failure}");
        }
        fs::remove_file(path.join(IDENTITY)).unwrap();
        fs::remove_file(path.join(OPERATOR)).unwrap();
        init(path, 9600, None, addresses(&["192.0.2.1:9600"])).unwrap();
        Directory::open(path).unwrap();
    }

    #[test]
    fn each_host_takes_streams_unless_others_are_named_or_none_are() {
        for (tcp, given, listed) in [
            (
                Some(443),
                &["a.example:9600", "a.example:9601"][..],
                &["tcp/a.example:443"][..],
            ),
            (Some(8443), &["[2001:db8::1]:9600"], &["tcp/[2001:db8::1]:8443"]),
            (Some(443), &["a.example:9600", "tcp/b.example:80"], &[]),
            (None, &["a.example:9600"], &[]),
        ] {
            let expected = addresses(&[given, listed].concat());
            assert_eq!(with_tcp(addresses(given), tcp), expected);
        }
        let eight: Vec<String> = (1..=8).map(|last| format!("192.0.2.{last}:9600")).collect();
        let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
        assert_eq!(with_tcp(addresses(&eight), Some(443)).len(), 8);
    }

    #[test]
    fn where_streams_are_taken_is_an_address_several_or_none() {
        let tcp = |text: &str| {
            let text = format!("port = 9600\n{text}");
            config::parse::<Config>(Path::new("supernode.toml"), &text).map(|config| config.tcp)
        };
        assert_eq!(tcp("").unwrap(), Tcp::port(443));
        assert_eq!(tcp("tcp = \"none\"").unwrap(), Tcp::none());
        assert_eq!(tcp("tcp = \"[::]:8443\"").unwrap(), Tcp::port(8443));
        let two = tcp("tcp = [\"192.0.2.1:443\", \"[2001:db8::1]:443\"]").unwrap();
        assert_eq!(two.0.len(), 2);
        for (wrong, reason) in [
            ("tcp = 443", "\"none\", an address with a port, or a list of these"),
            ("tcp = \"443\"", "\"443\" is no address with a port"),
            ("tcp = \"a.example:443\"", "is no address with a port"),
            ("tcp = \"[::]:0\"", "is no address with a port"),
        ] {
            let failure = tcp(wrong).unwrap_err();
            assert!(failure.message.contains(reason), "{failure}");
            assert!(failure.message.starts_with("supernode.toml:2: "), "{failure}");
        }
        for (port, expected) in [
            (None, Tcp::none()),
            (Some(443), Tcp::port(443)),
            (Some(8443), Tcp::port(8443)),
        ] {
            let written = configuration(9600, port, &[]);
            let written = config::parse::<Config>(Path::new("supernode.toml"), &written).unwrap();
            assert_eq!(written.tcp, expected);
        }
    }

    #[test]
    fn too_many_addresses_make_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supernode");
        let many: Vec<_> = (1..=9).map(|port| Endpoint::new("192.0.2.1", port).unwrap()).collect();
        assert_eq!(init(&path, 9600, None, many).unwrap_err().kind, FailureKind::Usage);
        assert!(!path.join(IDENTITY).exists());
    }

    #[test]
    fn the_limits_can_be_set_and_are_those_of_the_engine_otherwise() {
        let config = |text: &str| {
            let text = format!("port = 9600\n{text}");
            config::parse::<Config>(Path::new("supernode.toml"), &text)
        };
        assert_eq!(config("").unwrap().limits.limits(), Limits::default());
        let limits = config(
            "limits.registrations = 7\nlimits.relay_source_mbit = 8\nlimits.relay_pair_mbit = 0\nlimits.documents_mib = 2\n",
        );
        let limits = limits.unwrap().limits.limits();
        assert_eq!(
            (
                limits.registrations,
                limits.relay_source,
                limits.relay_pair,
                limits.documents
            ),
            (7, 1_000_000, 0, 2 << 20)
        );
        assert!(config("limits.registrations = 0\n").is_err());
        assert!(config("limits.unheard_of = 1\n").is_err());
        let written = configuration(9600, Some(443), &[]).replace("#limits", "limits");
        let written = config::parse::<Config>(Path::new("supernode.toml"), &written).unwrap();
        assert_eq!(written.limits, LimitsConfig::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let before = configuration(9600, Some(443), &[]);
        let text = format!("{before}prot = 1\n");
        let line = before.lines().count() + 1;
        let failure = config::parse::<Config>(Path::new("supernode.toml"), &text).unwrap_err();
        assert!(
            failure
                .message
                .starts_with(&format!("supernode.toml:{line}: unknown field `prot`")),
            "{failure}"
        );
    }
}
