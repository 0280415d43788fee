//! One who plays, one who serves, and a neighbour of the first on the real LAN.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::{DEFAULT_LIMIT, wait_for};
use super::games::Game;
use super::namespace::Namespace;
use super::ping::PingReport;
use super::program::{Node, Process, Supernode};
use super::topology::{Home, Lab, Nat, Wire};
use super::trio::{JOIN_LIMIT, Member};

/// How long what happens by itself may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Two members of one network in homes of their own. Each has a card on its real LAN, by which its default route leads, and
/// farlan's.
#[derive(Debug)]
pub struct Party {
    /// The one who plays.
    pub player: Member,
    /// The one who serves.
    pub server: Member,
    /// A machine on the player's real LAN that has no farlan.
    pub neighbour: Home,
    _supernode: Supernode,
}

impl Party {
    /// Builds it on the network of that name, or on a new one of friends, and waits until a ping passes.
    ///
    /// # Errors
    /// Anything on the way fails or takes too long.
    pub fn start(lab: &mut Lab, network: Option<&str>) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let homes = lab.shared_home(&["player", "neighbour"], Nat::Port, Wire::PLAIN)?;
        let [player, neighbour] = homes.try_into().ok().context("two hosts")?;
        let server = lab.home("server", Nat::Port, Wire::PLAIN)?;
        let node = |name: &str, home: &Home| -> Result<Node> {
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            Ok(node)
        };
        let (one, other) = (node("player", &player)?, node("server", &server)?);
        let link = match network {
            None => other.host()?,
            Some(name) => {
                other.join(name)?;
                name.to_owned()
            }
        };
        one.join(&link)?;
        let member = |home: Home, node: Node| -> Result<Member> {
            let network = node.wait_addressed(JOIN_LIMIT)?;
            Ok(Member { home, node, network })
        };
        let party = Self {
            player: member(player, one)?,
            server: member(server, other)?,
            neighbour,
            _supernode: supernode,
        };
        party.reaches()?;
        Ok(party)
    }

    /// Waits until the server answers the player's ping.
    ///
    /// # Errors
    /// It does not.
    pub fn reaches(&self) -> Result<()> {
        let target = self.server.ipv4()?.to_string();
        wait_for(&format!("{target} to answer"), SOON, || {
            let report = PingReport::run(self.player.host(), &["-c", "1", "-W", "1", &target], DEFAULT_LIMIT)?;
            Ok((report.answered() == 1).then_some(()))
        })
    }

    /// Where the server is on farlan.
    ///
    /// # Errors
    /// It has no address.
    pub fn server_address(&self) -> Result<IpAddr> {
        Ok(self.server.ipv4()?.into())
    }
}

/// Starts servers, and waits for all of them.
///
/// # Errors
/// One does not come up.
pub fn serve(host: &Namespace, directory: &Path, games: &[Game]) -> Result<Vec<Process>> {
    // They come up side by side, but belong to this thread: a program ends with the thread that started it.
    let start = |game: &Game| game.launch(host, directory);
    let mut servers = games.iter().map(start).collect::<Result<Vec<_>>>()?;
    for (game, server) in games.iter().zip(&mut servers) {
        game.wait_listening(host, server)?;
    }
    Ok(servers)
}
