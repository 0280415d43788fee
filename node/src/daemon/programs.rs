//! Looking at what local programs listen to: listed games are open to strangers only while one listens there, and in networks with
//! more members than get a copy each broadcasts reach those who listen.
//!
//! Where neither matters nobody looks, and the daemon sleeps.

use std::{net::IpAddr, sync::Arc, time::Duration};

use farlan_engine::Channel;
use farlan_netconf::AddressPlan;
use tokio::sync::Notify;

use super::{Daemon, networks::Joined};
use crate::{
    local_programs::ListeningCard,
    ports::PortSet,
    shell::{DataPlaneError, Request, Snapshot},
};

/// When it is looked.
#[derive(Debug, Default)]
pub(super) struct Programs {
    changed: Notify,
}

impl Programs {
    /// There may be something new to look at.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }
}

/// What was seen of the programs that can be reached through a network's card.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Ports of listed games at which one listens, on a network of strangers.
    pub(super) games: PortSet,
    /// What they want to hear of what goes to many; none before the first look.
    channels: Option<Vec<Channel>>,
    /// Whether the network is so large that they matter.
    is_of_many: bool,
}

impl Daemon {
    /// Looks again and again, as long as there is something for which it matters.
    pub(super) async fn follow_programs(self: Arc<Self>) {
        // An error means that the data plane has ended, and so does the daemon.
        while let Ok(is_worth_it) = self.look_at_programs().await {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY), if is_worth_it => {}
                () = self.programs.changed.notified() => {}
            }
        }
    }

    /// Looks once, if it matters to somebody. Returns whether it does.
    pub(super) async fn look_at_programs(&self) -> Result<bool, DataPlaneError> {
        let (is_wanted, with_tcp) = {
            let book = self.book.lock().await;
            let with_card = || book.networks.joined().filter(|joined| joined.card_index() > 0);
            let of_strangers = with_card().any(Joined::is_of_strangers);
            let is_wanted = with_card().any(Joined::follows_channels) || self.searches.is_any_going_on();
            // Who accepts connections matters only where ports are to be opened.
            (is_wanted, of_strangers)
        };
        if !is_wanted {
            return Ok(false);
        }
        // It takes a while, in which others may have the book. What is joined meanwhile has it looked again.
        let programs = self.cards.programs(with_tcp);
        let mut book = self.book.lock().await;
        let networks = &mut book.networks;
        let listed = networks.games.clone();
        let list = self.lift.list();
        for joined in networks.joined_mut().filter(|joined| joined.card_index() > 0) {
            let card = self.listening_card(joined);
            if joined.is_of_strangers() {
                let games = programs.reached(&card, &listed);
                if games != joined.listening.games {
                    tracing::debug!(network = %joined.name(), ports = %games, "listed games listen");
                    joined.listening.games = games;
                    self.tell_opened(joined).await?;
                }
            }
            if !joined.follows_channels() {
                // What is told there once and not followed would be wrong when the network has grown.
                continue;
            }
            let channels = programs.channels(&card, &list);
            if joined.listening.channels.as_ref() != Some(&channels) {
                tracing::debug!(network = %joined.name(), channels = channels.len(), "programs listen to other groups or searches");
                joined.listening.channels = Some(channels.clone());
                let network = joined.handle();
                self.data_plane.send(Request::SetChannels { network, channels }).await?;
            }
        }
        Ok(true)
    }

    /// Takes over how many members the networks have; where one grew beyond copies for all it is looked again.
    pub(super) async fn note_sizes(&self, snapshot: &Snapshot) {
        let mut book = self.book.lock().await;
        for joined in book.networks.joined_mut() {
            let handle = joined.handle();
            if let Some(status) = snapshot.networks.iter().find(|status| status.handle == handle) {
                let in_touch = snapshot.peers.iter();
                let in_touch = in_touch.filter(|peer| peer.networks.iter().any(|there| there.network == handle));
                // Without a supernode nobody counts the members.
                let members = in_touch
                    .count()
                    .max(usize::try_from(status.members).unwrap_or(usize::MAX));
                let before = std::mem::replace(&mut joined.listening.is_of_many, members > COPIED_TO_ALL);
                if joined.listening.is_of_many && !before {
                    self.programs.look_again();
                }
            }
        }
    }

    /// Tells the engine what the members of a network of strangers may reach.
    pub(super) async fn tell_opened(&self, joined: &Joined) -> Result<(), DataPlaneError> {
        let ports = joined.listening.games.with(&joined.membership().opened);
        let request = Request::SetOpened {
            network: joined.handle(),
            ports: ports.ranges().to_vec(),
        };
        self.data_plane.send(request).await
    }

    /// A network's card, as a program's socket can be bound to it.
    fn listening_card(&self, joined: &Joined) -> ListeningCard {
        let node = &self.node_id();
        let subnet = joined.membership().link.parameters.subnet;
        let plan = AddressPlan::new(&joined.id(), &subnet);
        let ipv6 = [plan.ipv6(node), plan.link_local(node)].map(IpAddr::V6);
        let ipv4 = self.ipv4_on_card(joined);
        let ipv4 = ipv4.map(|own| [own, subnet.broadcast()].map(IpAddr::V4));
        ListeningCard {
            index: joined.card_index(),
            addresses: ipv6.into_iter().chain(ipv4.into_iter().flatten()).collect(),
        }
    }
}

impl Joined {
    /// Whether it is followed what programs want to hear of what goes to many there.
    fn follows_channels(&self) -> bool {
        self.is_of_strangers() || self.listening.is_of_many
    }
}

/// The most members of a network in which all get copies of what goes to all (PROTOCOL.md §15).
const COPIED_TO_ALL: usize = 128;

/// How often it is looked, where it matters: a server that is started is reached after this long at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(2);
