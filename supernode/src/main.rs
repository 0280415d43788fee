//! The `farlan-supernode` program: an always-on anchor at which nodes find each other.
//!
//! It is the node's data plane with the engine's role switched, without cards and without privileges.

#![forbid(unsafe_code)]

mod clock;
mod controller;
mod directory;
mod serving;
mod world;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use farlan::{
    cli::{
        self,
        client::{self, Client},
        config_check,
        output::{self, Output, say},
    },
    failure::Failure,
    logs::{self, LogFilter},
    privileges,
};
use farlan_netconf::{Endpoint, Link, World};

use directory::{Directory, NO_TCP};
use serving::Status;

/// An always-on anchor at which farlan nodes find each other.
#[derive(Debug, Parser)]
#[command(name = "farlan-supernode", version = cli::VERSION, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new supernode: its identity, its operator's key and its world
    Init(Init),
    /// Run the supernode in the foreground
    ///
    /// SIGTERM and Ctrl-C end it, SIGHUP makes it read its configuration again.
    Run {
        #[command(flatten)]
        place: Place,
        /// What is logged: off, error, warn, info, debug, trace, or MODULE=LEVEL,… [default: info]
        #[arg(long, value_name = "LEVEL")]
        log: Option<LogFilter>,
    },
    /// Print the link with which nodes find this supernode
    Link {
        #[command(flatten)]
        place: Place,
    },
    /// Check the configuration without using it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show or change the list of supernodes of the world
    World {
        #[command(subcommand)]
        command: WorldCommand,
    },
    /// Show what the running supernode serves
    Status {
        #[command(flatten)]
        place: Place,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the configuration and say what is wrong with it, with file and line
    ///
    /// A running supernode reads it again at SIGHUP: `systemctl reload`, or `kill -HUP` with its process id.
    Check {
        #[command(flatten)]
        place: Place,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum WorldCommand {
    /// Show the list
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Add the supernode of a link, or take over its new addresses; where the world was made
    Add {
        /// What `farlan-supernode link` prints there
        link: String,
        #[command(flatten)]
        place: Place,
    },
    /// Say anew where this supernode is reached; where the world was made
    Address {
        /// HOST:PORT of UDP, and tcp/HOST:PORT for nodes whose UDP is blocked; the preferred ones first
        #[arg(value_name = "ADDRESS", required = true)]
        addresses: Vec<Endpoint>,
        #[command(flatten)]
        place: Place,
    },
    /// Take a supernode out; where the world was made
    Remove {
        /// The first letters of its id, ten at least
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Serve the world of a link, whose operator has added this supernode
    Use {
        /// What `farlan-supernode world add` printed
        link: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where the supernode's files are
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Init {
    #[command(flatten)]
    place: Place,
    /// The UDP port to listen on
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The TCP port at which nodes are taken whose UDP is blocked, or none
    #[arg(long, value_name = "PORT|none", default_value = "443", value_parser = tcp_port)]
    tcp: TcpPort,
    /// Where nodes reach it, HOST:PORT, an IPv6 address in brackets; can be repeated, the preferred one first. With tcp/ in
    /// front it is one of TCP; without such a one, nodes try the TCP port of each host
    #[arg(long = "address", value_name = "HOST:PORT", required = true)]
    addresses: Vec<Endpoint>,
}

/// A TCP port, or none.
#[derive(Clone, Copy, Debug)]
struct TcpPort(Option<u16>);

fn tcp_port(text: &str) -> Result<TcpPort, String> {
    match text.parse() {
        _ if text == NO_TCP => Ok(TcpPort(None)),
        Ok(port @ 1..) => Ok(TcpPort(Some(port))),
        _ => Err(format!("a port from 1 to 65535, or {NO_TCP}")),
    }
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => output::finish("farlan-supernode", run(cli.command)),
        Err(error) => cli::usage(&error),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // No core file of these gets a world's key.
    if matches!(command, Command::Init(_) | Command::World { .. }) {
        privileges::close_to_others()?;
    }
    match command {
        Command::Init(Init {
            place,
            port,
            tcp: TcpPort(tcp),
            addresses,
        }) => init(&place, (port, tcp), addresses),
        Command::Run { place, log } => {
            let directory = Directory::open(&place.state_dir)?;
            logs::start(log.as_ref().unwrap_or_else(|| &directory.config().log));
            // A port below 1024 and large buffers take privileges, and nothing else does.
            let underlay = serving::underlay(&directory)?;
            let controller = controller::Held::take(&directory)?;
            privileges::give_up(directory.path(), None)?;
            cli::complete(serving::run(directory, underlay, controller, log))
        }
        Command::Config(ConfigCommand::Check { place, json }) => {
            directory::config(&place.state_dir)?;
            config_check::fine(Some(&directory::config_file(&place.state_dir)), json)
        }
        Command::Link { place } => Output::new(false).line(directory::link(&place.state_dir)?),
        Command::World { command } => change_world(command),
        Command::Status { place, json } => cli::complete(status(&place, json)),
    }
}

fn init(place: &Place, (port, tcp): (u16, Option<u16>), addresses: Vec<Endpoint>) -> Result<(), Failure> {
    let made = directory::init(&place.state_dir, port, tcp, addresses)?;
    let shown = place.state_dir.display();
    say(format_args!(
        "made the supernode {} of world {} in {shown}\nrun it with:         farlan-supernode run --state-dir {shown}\n\
         its link for nodes:  farlan-supernode link --state-dir {shown}\n\
         keep a copy of {} in a safe place: only its holder can change the world",
        made.node,
        made.world,
        place.state_dir.join(directory::OPERATOR).display(),
    ));
    Ok(())
}

fn change_world(command: WorldCommand) -> Result<(), Failure> {
    match command {
        WorldCommand::Show { place } => show_world(&directory::world(&place.state_dir)?),
        WorldCommand::Add { link, place } => changed_world(&world::add(&place.state_dir, &link)?),
        WorldCommand::Address { addresses, place } => changed_world(&world::readdress(&place.state_dir, addresses)?),
        WorldCommand::Remove { id, place } => changed_world(&world::remove(&place.state_dir, &id)?),
        WorldCommand::Use { link, place } => show_world(&world::serve(&place.state_dir, &link)?),
    }
}

/// The link goes to standard output alone, so that it can be handed on by a script.
fn changed_world(changed: &world::Changed) -> Result<(), Failure> {
    say(format_args!(
        "version {} of world {} lists {} supernodes ({} changed); nodes and supernodes learn of it by themselves.\n\
         On a supernode that came, once:  farlan-supernode world use LINK --state-dir DIR",
        changed.world.version(),
        changed.world.id(),
        changed.world.supernodes().len(),
        changed.count,
    ));
    Output::new(false).line(Link::Supernode(changed.world.clone()))
}

fn show_world(world: &World) -> Result<(), Failure> {
    let mut output = Output::new(false);
    output.line(format_args!("world {} (version {})", world.id(), world.version()))?;
    let rows: Vec<_> = world
        .supernodes()
        .iter()
        .map(|supernode| {
            let addresses: Vec<_> = supernode.endpoints.iter().map(ToString::to_string).collect();
            [supernode.key.node_id().to_string(), addresses.join(" ")]
        })
        .collect();
    output.table(["SUPERNODE", "ADDRESSES"], &rows)
}

async fn status(place: &Place, json: bool) -> Result<(), Failure> {
    let hint = format!(
        "the supernode is not running here; start it with: farlan-supernode run --state-dir {}",
        place.state_dir.display()
    );
    let socket = place.state_dir.join(serving::SOCKET);
    client::check_socket(&socket)?;
    let client = Client::with_hint(&socket, hint);
    let status: Status = client.get("/v1/status").await?;
    let mut output = Output::new(json);
    if json {
        return output.document(&status);
    }
    output.line(format_args!(
        "supernode {} is up on UDP port {}",
        status.node_id, status.port
    ))?;
    match status.tcp.as_slice() {
        [] => output.line("streams       none: no TCP port is open to nodes whose UDP is blocked")?,
        open => output.line(format_args!("streams       at TCP {}", open.join(", ")))?,
    }
    output.line(format_args!(
        "world         {} (version {})",
        status.world, status.version
    ))?;
    output.line(format_args!("registered    {}", status.registrations))?;
    output.line(format_args!("subscriptions {}", status.subscriptions))?;
    output.line(format_args!("IPv4 claims   {}", status.claims))?;
    output.line(format_args!(
        "documents     {} of private networks, {} KiB",
        status.documents,
        status.document_bytes.div_ceil(1024)
    ))?;
    if let Some(socket) = &status.controller {
        match &status.controller_trouble {
            None => output.line(format_args!("controller    asked with: farlan --socket {socket}"))?,
            Some(trouble) => output.line(format_args!("controller    does not work: {trouble}"))?,
        }
    }
    let counted: Vec<_> = status
        .counters
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| [name, value.to_string()])
        .collect();
    if counted.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(["COUNTER", "VALUE"], &counted)
}

/// Shown below the help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 the supernode is not running, \
4 not permitted, 5 no answer in time";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_fixed_invocations_parse() {
        Cli::command().debug_assert();
        for line in [
            "farlan-supernode init --state-dir D --port 9600 --address 192.0.2.1:9600",
            "farlan-supernode init --state-dir D --port 9600 --address a.example:9600 --address [2001:db8::1]:9600",
            "farlan-supernode init --state-dir D --port 9600 --tcp none --address 192.0.2.1:9600",
            "farlan-supernode init --state-dir D --tcp 8443 --address a.example:9600 --address tcp/a.example:443",
            "farlan-supernode world address a.example:9600 tcp/a.example:443 --state-dir D",
            "farlan-supernode run --state-dir D",
            "farlan-supernode link --state-dir D",
            "farlan-supernode config check --state-dir D",
            "farlan-supernode world show --state-dir D",
            "farlan-supernode world add farlan:x --state-dir D",
            "farlan-supernode world remove abcdefghij --state-dir D",
            "farlan-supernode world use farlan:x --state-dir D",
            "farlan-supernode status --state-dir D --json",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for line in [
            "farlan-supernode",
            "farlan-supernode init --state-dir D --port 9600",
            "farlan-supernode init --state-dir D --port 0 --address 192.0.2.1:9600",
            "farlan-supernode init --state-dir D --address 192.0.2.1",
            "farlan-supernode init --state-dir D --tcp 0 --address 192.0.2.1:9600",
            "farlan-supernode world address --state-dir D",
            "farlan-supernode init --state-dir D --address 0.0.0.0:9600",
            "farlan-supernode run",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
