//! The command line.

mod circle;
pub mod client;
mod commands;
pub mod config_check;
mod diagnosing;
mod foreground;
mod games;
mod opening;
pub mod output;
mod pinging;
pub mod presence;
mod private;
mod qr;
mod show;
mod waiting;
mod words;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand};
use farlan_crypto::PLAINTEXT;
use farlan_netconf::{DnsLabel, Endpoint, Label};

use crate::{
    api::{self, LoopbackAddress},
    config::{Config, SupernodeLink},
    daemon::{Configuration, NameSettings, Settings, Tuning},
    failure::Failure,
    games::{LanGames, List},
    logs::{self, LogFilter},
    privileges::{self, Holdings},
    secret_text::SecretText,
};
use client::Client;
use output::Output;

/// What `--version` shows: that of the package, and a warning where the build encrypts nothing.
pub const VERSION: &str = if PLAINTEXT {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " PLAINTEXT (for benchmarks: nothing is encrypted)"
    )
} else {
    env!("CARGO_PKG_VERSION")
};

/// One LAN, any distance: machines anywhere, on one virtual Ethernet.
#[derive(Debug, Parser)]
#[command(name = "farlan", version = VERSION, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Where identity, supernodes and networks are kept [default: /var/lib/farlan]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The Unix socket of the daemon [default: /run/farlan/farlan.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Ask the daemon over TCP at this address, where its configuration has it served (api.tcp): http://127.0.0.1:9601
    #[arg(long, global = true, value_name = "URL")]
    api: Option<ApiUrl>,
    /// The file with the token that is shown there [default: /run/farlan/farlan.token, beside the socket]
    #[arg(long, global = true, value_name = "FILE", requires = "api")]
    token_file: Option<PathBuf>,
    /// The configuration file [default: /etc/farlan/farlan.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The UDP port of the daemon; 0 lets the system pick one [default: 9600]
    #[arg(long, global = true)]
    port: Option<u16>,
    /// What is logged: off, error, warn, info, debug, trace, or MODULE=LEVEL,… [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<LogFilter>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

/// The URL of an API that is served over TCP.
#[derive(Clone, Copy, Debug)]
struct ApiUrl(LoopbackAddress);

impl std::str::FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text
            .strip_prefix("http://")
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let address = address.map(|address| match address.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        });
        address
            .and_then(|address| LoopbackAddress::try_from(address).ok())
            .map(Self)
            .ok_or_else(|| "it must be http:// with a loopback address and a port, like http://127.0.0.1:9601".into())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    ///
    /// It is in the networks again that it was in when it ended. SIGTERM and Ctrl-C end it, SIGHUP makes it read the
    /// configuration again.
    Up(Up),
    /// Make a new network and print the link that lets others in
    ///
    /// The others meet at this machine, which becomes their supernode, if it can be reached from outside: at --address, or as
    /// a configured supernode proves. Else they meet at the configured supernodes. Without any, the router is asked to let
    /// them in; if it does not, only this LAN can join.
    Host(Host),
    /// Join a network by its link or name
    Join {
        /// A link, the name of an open network, NAME@WORLDID, or - to read one from standard input
        #[arg(value_name = "LINK|NAME")]
        target: SecretText,
        /// What this machine is called there, a DNS label [default: its host name; on open networks nothing]
        #[arg(long, value_name = "NAME")]
        name: Option<DnsLabel>,
    },
    /// Make a private network, into which only invited machines come
    ///
    /// Its key is kept here, so this machine is its controller: it invites, names, and throws out. The members go on without
    /// it until their certificates expire.
    Create(private::Create),
    /// Make an invite into a private network and print its link
    ///
    /// Whoever holds the link is let in. Unless --uses counts, it works while this machine is off, too.
    Invite(private::NewInvite),
    /// Show the invites of a private network: uses, expiry, and who came in by each
    Invites {
        /// Which network: its name, domain or id
        network: String,
    },
    /// Withdraw an invite, so that nobody comes in by it any more
    ///
    /// Who came in by it stays, if a controller has given it a certificate.
    Uninvite {
        /// Its id, at least the first 10 digits, or what it was called
        invite: String,
        /// Into which network [default: any whose key is here]
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
    },
    /// Show the members of a private network
    Members {
        /// Which network: its name, domain or id
        network: String,
    },
    /// Throw a member out of a private network
    ///
    /// The others are told at once. The invite by which it came in is withdrawn, too, if it is known here: after `farlan import`
    /// it is not, and older links work until they expire.
    Kick(private::Kick),
    /// Call a member of a private network otherwise
    Rename(private::Rename),
    /// Let a member renew certificates while this machine is away
    ///
    /// It can neither let anybody in nor give rights. That machine hears of it as soon as it is met; where it cannot be, what is printed can be
    /// taken there with `farlan renew`.
    Delegate(private::Delegate),
    /// Renew certificates of a private network here: takes what `farlan delegate` printed
    Renew {
        /// The text, or - to read it from standard input
        delegation: SecretText,
    },
    /// Print the key of a private network, for a safe place or another machine
    ///
    /// Whoever has it controls the network.
    Export(private::Export),
    /// Become the controller of a private network by its exported key
    Import {
        /// The file that `farlan export --to` wrote, or - for standard input
        file: PathBuf,
    },
    /// Change a private network
    #[command(subcommand)]
    Network(private::Network),
    /// Leave a network and forget it
    Leave {
        /// Its name, label, id or interface
        network: String,
    },
    /// List the game servers, services and devices on the joined networks
    ///
    /// The daemon asks and listens for them while this is asked, which takes up to 3 s the first time. The exit code is 1 where
    /// nothing is found.
    Games(games::Games),
    /// Show who hears this machine's broadcasts, why, and how far they go; mute or pin members
    ///
    /// In a network of up to 128 members each gets a copy. In a larger one a broadcast goes to those whom this machine deals with, to
    /// those they deal with, and a few beyond: 192 deliveries at the most.
    Circle(circle::Circle),
    /// Let strangers reach ports of this machine, or show what they may reach
    ///
    /// On open networks (policy strangers) a filter lets in answers to what this machine began, pings, listed games while
    /// they run here, and what is opened here; it stays open over restarts. Networks of friends have no filter.
    Open {
        /// PORT, PORT/tcp, PORT/udp, PORT-PORT/…, or the name of a listed game; without it, what is open is shown
        ports: Option<String>,
        /// In which network [default: the only one of strangers]
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
    },
    /// Close ports that were opened to strangers
    ///
    /// Whoever is connected to them is cut off.
    Close {
        /// PORT, PORT/tcp, PORT/udp, PORT-PORT/…, or the name of a listed game
        ports: String,
        /// In which network [default: the only one of strangers]
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
    },
    /// Say whether searches of games on the real LAN reach a network, or show it
    ///
    /// A game that looks for servers asks by the machine's other cards, so nobody on the network hears it. It stays so over restarts.
    LanGames {
        /// Which network: its name, label, id or interface
        network: String,
        /// lift: copy them to the network; route: this machine's broadcasts go there alone; off: nothing
        #[arg(value_name = "lift|route|off")]
        way: Option<LanGames>,
    },
    /// Print what the daemon counts, in the text format of Prometheus
    Metrics,
    /// Stop the daemon; its networks are remembered
    ///
    /// The peers are told, the cards vanish, and the daemon ends. It is in the same networks again when it is started the
    /// next time, by `farlan up` or by the service manager. To be in a network no longer, use `farlan leave`.
    Down,
    /// Check the configuration without using it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show this node and its supernodes
    #[command(visible_alias = "info")]
    Status,
    /// Show the networks this node is in
    #[command(visible_alias = "listnetworks")]
    Networks,
    /// Show the peers
    #[command(visible_alias = "listpeers")]
    Peers,
    /// Measure the round trip to a peer
    Ping(Ping),
    /// Say why a peer is, or is not, in direct touch
    ///
    /// Both ends are asked what they have found out. The exit code is 0 where nothing is wrong, 1 where something is.
    Why {
        /// A name, a node id, at least its first 10 letters, or an address in one of the networks
        peer: String,
    },
    /// Say whose name something is
    ///
    /// The addresses alone stand on standard output, for scripts. The exit code is 1 where nobody is called so.
    Resolve {
        /// NAME, NAME.NETWORK, NAME.NETWORK.farlan.internal, or an address, whose name is printed
        name: String,
    },
    /// Check this machine's network: UDP, NAT, MTU, supernodes
    ///
    /// The exit code is 0 where nothing is in the way of direct paths, 1 where something is.
    Netcheck,
    /// Print this node's id and public key
    Id {
        #[command(subcommand)]
        action: Option<IdCommand>,
    },
    /// Add, list or remove supernodes
    #[command(subcommand)]
    Supernode(Supernode),
    /// Be the helper that a daemon without privileges starts for its cards
    #[command(name = privileges::HELPER, hide = true)]
    CardHelper,
    /// Be the listener that such a daemon starts, to hear searches of games on other cards
    #[command(name = privileges::LISTENER, hide = true)]
    LanListener,
}

/// What can be done with this node's identity.
#[derive(Debug, Subcommand)]
enum IdCommand {
    /// Print the identity as 24 words, for paper
    ///
    /// Whoever has them is this node.
    Words,
    /// Make the 24 words on standard input the identity of a machine that has none
    Restore,
}

#[derive(Debug, Args)]
struct Up {
    /// A supernode to meet at: the link that `farlan-supernode link` prints; can be repeated
    #[arg(long = "supernode", value_name = "LINK")]
    supernodes: Vec<SupernodeLink>,
}

#[derive(Debug, Args)]
struct Host {
    /// What to call the network [default: lan]
    #[arg(long, value_parser = label)]
    name: Option<String>,
    /// What this machine is called there, a DNS label [default: its host name]
    #[arg(long, value_name = "NAME")]
    my_name: Option<DnsLabel>,
    /// Its IPv4 subnet, like 10.128.16.0/20 [default: a free one]
    #[arg(long)]
    subnet: Option<String>,
    /// The MTU of its card in bytes, 1280 to 9000 [default: 1372]
    #[arg(long)]
    mtu: Option<u16>,
    /// Where others reach this machine, HOST:PORT, an IPv6 address in brackets; can be repeated [default: found out]
    ///
    /// The port is that of the supernode in this daemon, 9601 unless another was free (`farlan status`), or whatever port a
    /// router forwards to it.
    #[arg(long = "address", value_name = "HOST:PORT")]
    addresses: Vec<Endpoint>,
    /// Meet at the configured supernodes even if others can reach this machine
    #[arg(long, conflicts_with = "addresses")]
    no_serve: bool,
}

#[derive(Debug, Args)]
struct Ping {
    /// A name, a node id, at least its first 10 letters, or an address in one of the networks
    peer: String,
    /// How often, one second apart
    #[arg(short = 'c', long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How many seconds to wait for each answer
    #[arg(short = 'W', long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and say what is wrong with it, with file and line
    ///
    /// A running daemon reads it again at SIGHUP: `systemctl reload`, or `kill -HUP` with its process id.
    Check,
}

#[derive(Debug, Subcommand)]
enum Supernode {
    /// Meet at this supernode
    Add {
        /// The link that `farlan-supernode link` prints, or - to read it from standard input
        link: SecretText,
    },
    /// Show the supernodes known here
    List,
    /// Forget a supernode
    Remove {
        /// Its id or its world's, or the first 10 letters of one
        id: String,
    },
}

/// Runs the program with the arguments it was called with.
pub fn main() -> ExitCode {
    main_with(Tuning::default())
}

/// As [`main`], for a program of the tests that has something otherwise than the released one.
pub fn main_with(tuning: Tuning) -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => output::finish("farlan", run(cli, tuning)),
        Err(error) => usage(&error),
    }
}

/// Prints what clap has to say: help to standard output, mistakes to standard error with exit code 2.
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Does asynchronous work on the calling thread, and then waits for nothing else: not for a look-up of a name that
/// hangs on a thread of its own.
///
/// # Errors
/// What `work` fails with; the system refuses what a runtime needs.
pub fn complete<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::negative(format_args!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn run(cli: Cli, tuning: Tuning) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let json = global.json;
    let (api, token_file) = (global.api, global.token_file.clone());
    match command {
        Command::CardHelper => return farlan_tap::run_helper().map_err(Failure::usage),
        Command::LanListener => return farlan_tap::run_listener().map_err(Failure::usage),
        Command::Config(ConfigCommand::Check) => return config_check::node(global.config.as_deref(), json),
        _ => {}
    }
    let added = match &command {
        Command::Up(up) => up.supernodes.clone(),
        _ => Vec::new(),
    };
    let configuration = Configuration::new(move || {
        let list = crate::games::load(global.config.as_deref())?;
        let config = Config::load(global.config.as_deref(), &list)?;
        let log = global.log.clone().unwrap_or_else(|| config.log.clone());
        let settings = Settings {
            tuning,
            ..settings(global.clone(), config, list, added.clone())
        };
        Ok((settings, log))
    })?;
    logs::start(configuration.log());
    let settings = configuration.settings().clone();
    client::check_socket(&settings.socket)?;
    let client = match api {
        Some(ApiUrl(address)) => {
            Client::over_tcp(address, token_file.unwrap_or_else(|| api::token_path(&settings.socket)))
        }
        None => Client::new(&settings.socket),
    };
    let mut output = Output::new(json);
    match &command {
        Command::Id {
            action: Some(IdCommand::Words),
        } => return words::show(&settings, &mut output),
        Command::Id {
            action: Some(IdCommand::Restore),
        } => return words::restore(&settings, &mut output),
        _ => {}
    }
    // Privileges are given up before the first thread, and so before the runtime that is to last.
    let holdings = match &command {
        Command::Up(_) => Some(Holdings::take(&settings)?),
        Command::Host(_) | Command::Create(_) | Command::Join { .. } => foreground::hold_if_alone(&client, &settings)?,
        _ => None,
    };
    complete(async {
        match (command, holdings) {
            (Command::Up(_), Some(holdings)) => foreground::up(configuration, holdings).await,
            (command, holdings) => ask(command, configuration, holdings, &client, &mut output).await,
        }
    })
}

/// Does what a command asks of a daemon: of the one that runs, or of that which this program becomes with `holdings`.
async fn ask(
    command: Command,
    configuration: Configuration,
    holdings: Option<Holdings>,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Down => commands::down(client, output).await,
        Command::Host(host) => commands::host(configuration, holdings, client, output, host).await,
        Command::Join { target, name } => commands::join(configuration, holdings, client, output, target, name).await,
        Command::Create(create) => private::create(configuration, holdings, client, output, create).await,
        Command::Invite(invite) => private::invite(client, output, invite).await,
        Command::Invites { network } => private::invites(client, output, network).await,
        Command::Uninvite { invite, network } => private::uninvite(client, output, invite, network).await,
        Command::Members { network } => private::members(client, output, network).await,
        Command::Kick(kick) => private::kick(client, output, kick).await,
        Command::Rename(rename) => private::rename(client, output, rename).await,
        Command::Delegate(delegate) => private::delegate(client, output, delegate).await,
        Command::Renew { delegation } => private::renew(client, output, delegation).await,
        Command::Export(export) => private::export(client, output, export).await,
        Command::Import { file } => private::import(client, output, &file).await,
        Command::Network(private::Network::Set(set)) => private::set(client, output, set).await,
        Command::Leave { network } => commands::leave(client, output, network).await,
        Command::Games(asked) => games::games(client, output, asked).await,
        Command::Circle(asked) => circle::circle(client, output, asked).await,
        Command::Open { ports: None, network } => {
            opening::show(client, output, &configuration.settings().list, network).await
        }
        Command::Open {
            ports: Some(ports),
            network,
        } => opening::change(client, output, "open", &configuration.settings().list, ports, network).await,
        Command::Close { ports, network } => {
            opening::change(client, output, "close", &configuration.settings().list, ports, network).await
        }
        Command::LanGames { network, way } => commands::lan_games(client, output, network, way).await,
        Command::Metrics => commands::metrics(client, output).await,
        Command::Status => commands::status(client, output).await,
        Command::Networks => commands::networks(client, output).await,
        Command::Peers => commands::peers(client, output).await,
        Command::Ping(ping) => pinging::ping(client, output, ping).await,
        Command::Why { peer } => diagnosing::why(client, output, peer).await,
        Command::Resolve { name } => commands::resolve(client, output, name).await,
        Command::Netcheck => diagnosing::netcheck(client, output).await,
        Command::Id { .. } => commands::id(configuration.settings(), client, output).await,
        Command::Supernode(Supernode::Add { link }) => commands::add_supernode(client, output, link).await,
        Command::Supernode(Supernode::List) => commands::list_supernodes(client, output).await,
        Command::Supernode(Supernode::Remove { id }) => commands::remove_supernode(client, output, id).await,
        // Answered before.
        Command::Up(_) | Command::CardHelper | Command::LanListener | Command::Config(ConfigCommand::Check) => Ok(()),
    }
}

/// Whether these arguments, the program's name before them, are a command line of the program.
#[cfg(any(test, feature = "fuzzing"))]
pub fn takes(arguments: &[&str]) -> bool {
    Cli::try_parse_from(arguments).is_ok()
}

/// Where the URL of an API leads, for the fuzz targets: an address that is written in one way.
///
/// # Panics
/// It is read otherwise when it is written anew.
#[cfg(any(test, feature = "fuzzing"))]
pub fn api_url(text: &str) {
    let Ok(ApiUrl(address)) = text.parse() else { return };
    assert!(address.address().ip().is_loopback());
    let again = format!("http://{address}/").parse();
    assert!(again.is_ok_and(|ApiUrl(again)| again == address));
}

/// The configuration, where the command line does not say otherwise; its supernodes come first.
fn settings(global: Global, config: Config, list: List, added: Vec<SupernodeLink>) -> Settings {
    Settings {
        state_dir: global.state_dir.unwrap_or(config.state_dir),
        socket: global.socket.unwrap_or(config.socket),
        api_tcp: config.api.tcp,
        port: global.port.unwrap_or(config.port),
        user: Some(config.user).filter(|user| !user.is_empty()),
        port_mapping: config.port_mapping,
        hide_address: config.hide_address,
        beacon: config.beacon,
        games: config.strangers.games,
        list: Arc::new(list),
        lan_games: config.games.lan_games,
        offloads: config.offloads,
        names: NameSettings {
            name: config.name,
            dns: config.dns,
        },
        controller: config.controller.store,
        tuning: Tuning::default(),
        supernodes: added.into_iter().chain(config.supernodes).map(|link| link.0).collect(),
    }
}

/// A label that shows what it names.
fn label(text: &str) -> Result<String, String> {
    let label = text.parse::<Label>().map_err(|error| error.to_string())?;
    if label.as_str().is_empty() {
        return Err("a network's name cannot be blank; leave --name out to let farlan choose one".into());
    }
    Ok(label.as_str().to_owned())
}

/// Shown below the help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 the daemon is not running, \
4 not permitted, 5 no answer in time";

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::mpsc,
        time::{Duration, Instant},
    };

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_tells_a_build_that_encrypts_nothing() {
        let shown = Cli::command().render_version();
        assert_eq!(shown.contains("PLAINTEXT"), PLAINTEXT, "{shown}");
        assert_eq!(VERSION == env!("CARGO_PKG_VERSION"), !PLAINTEXT);
    }

    #[test]
    fn the_fixed_invocations_parse() {
        for line in [
            "farlan up --state-dir D --socket S --port 9601",
            "farlan --socket S join earth",
            "farlan --socket S join -",
            "farlan --socket S host",
            "farlan --socket S host --name lan --subnet 10.128.16.0/20 --mtu 1400",
            "farlan host --address host.example:9601 --address [2001:db8::1]:9601",
            "farlan host --no-serve",
            "farlan --socket S status --json",
            "farlan --socket S networks",
            "farlan --socket S peers --json",
            "farlan --socket S ping abcdefghij",
            "farlan --socket S ping 10.64.0.1 -c 1",
            "farlan --socket S why abcdefghij",
            "farlan --socket S why 10.64.0.1 --json",
            "farlan --socket S netcheck --json",
            "farlan join earth --name foo",
            "farlan host --name lan --my-name ann",
            "farlan resolve ann",
            "farlan resolve ann.lan.farlan.internal --json",
            "farlan ping ann",
            "farlan --socket S leave lan",
            "farlan info",
            "farlan listnetworks",
            "farlan listpeers",
            "farlan id",
            "farlan id words",
            "farlan id restore",
            "farlan create home",
            "farlan create home --domain h --subnet 10.128.16.0/20 --mtu 1400 --my-name ann",
            "farlan invite home",
            "farlan invite home --uses 1 --expires 12h --name ben",
            "farlan invites home --json",
            "farlan uninvite abcdef0123",
            "farlan members home",
            "farlan kick ben --keep-invite",
            "farlan rename ben benjamin --network home",
            "farlan delegate ben --renew --for 52w",
            "farlan delegate ben --withdraw",
            "farlan renew -",
            "farlan export home --to F",
            "farlan import F",
            "farlan network set home --reserve 10.128.16.7=printer --life 30d",
            "farlan supernode add farlan:abc",
            "farlan supernode list",
            "farlan supernode remove abcdefghij",
            "farlan down",
            "farlan games",
            "farlan games lan --json",
            "farlan games --watch",
            "farlan circle",
            "farlan circle lan --json",
            "farlan circle --watch",
            "farlan circle lan --game minecraft",
            "farlan circle --udp 27015",
            "farlan circle mute ann",
            "farlan circle unmute abcdefghij lan --json",
            "farlan circle pin 10.64.0.1 earth",
            "farlan circle unpin ann lan",
            "farlan open",
            "farlan open 25565/tcp",
            "farlan open 27015-27030/udp --network earth --json",
            "farlan open minecraft",
            "farlan close 25565",
            "farlan lan-games lan",
            "farlan lan-games lan off --json",
            "farlan metrics",
            "farlan config check --config F --json",
            "farlan --api http://127.0.0.1:9601 status",
            "farlan status --api http://localhost:9601/ --token-file F",
            "farlan peers --api http://[::1]:9601",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for line in [
            "farlan",
            "farlan fly",
            "farlan join",
            "farlan close",
            "farlan lan-games",
            "farlan lan-games lan up",
            "farlan why",
            "farlan netcheck x",
            "farlan open 1 2",
            "farlan games a b",
            "farlan circle a b",
            "farlan circle lan mute ann",
            "farlan circle mute",
            "farlan circle --udp 0",
            "farlan circle --game doom --udp 27015",
            "farlan resolve",
            "farlan create",
            "farlan invite home --uses 0",
            "farlan invite home --expires 1y",
            "farlan delegate ben",
            "farlan network set home --reserve x",
            "farlan join earth --name Foo!",
            "farlan up --port 70000",
            "farlan up --supernode nonsense",
            "farlan up --log farlan=loud",
            "farlan up --log loud",
            "farlan host --name \u{7}",
            "farlan host --address 192.0.2.1",
            "farlan host --address 2001:db8::1:9601",
            "farlan host --no-serve --address 192.0.2.1:9601",
            "farlan ping x -c 0",
            "farlan status --jason",
            "farlan status --token-file F",
            "farlan status --api 127.0.0.1:9601",
            "farlan status --api https://127.0.0.1:9601",
            "farlan status --api http://192.0.2.1:9601",
            "farlan status --api http://example.org:9601",
            "farlan status --api http://127.0.0.1",
            "farlan status --api http://127.0.0.1:9601/v1",
            "farlan status --api http://user@127.0.0.1:9601",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        for blank in ["", "  "] {
            let error = Cli::try_parse_from(["farlan", "host", "--name", blank]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{blank:?}");
        }
        assert_eq!(parse("farlan --help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn what_hangs_on_another_thread_is_not_waited_for() {
        let begun = Instant::now();
        let (end, ended) = mpsc::channel::<()>();
        let result = complete(async {
            tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(20)));
            tokio::task::yield_now().await;
            Ok(7)
        });
        assert_eq!(result, Ok(7));
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop(end);
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let cli = parse("farlan --socket /s status --port 7").unwrap();
        let config = Config {
            port: 8,
            state_dir: "/d".into(),
            ..Config::default()
        };
        let settings = settings(cli.global, config, List::shipped(), Vec::new());
        assert_eq!(settings.socket, Path::new("/s"));
        assert_eq!(settings.state_dir, Path::new("/d"));
        assert_eq!(settings.port, 7);
    }
}
