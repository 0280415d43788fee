//! Looking at what local programs listen to: listed games are open to strangers only while one listens there.

use std::{net::IpAddr, sync::Arc, time::Duration};

use farlan_crypto::NodeId;
use farlan_engine::Channel;
use farlan_netconf::AddressPlan;
use tokio::sync::Notify;

use super::{Daemon, networks::Joined};
use crate::{
    local_programs::ListeningCard,
    ports::PortSet,
    shell::{DataPlaneError, Request},
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
}

impl Daemon {
    /// Looks again and again, as long as there is a network with a card.
    pub(super) async fn follow_programs(self: Arc<Self>) {
        // An error means that the data plane has ended, and so does the daemon.
        while let Ok(is_worth_it) = self.look_at_programs().await {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY), if is_worth_it => {}
                () = self.programs.changed.notified() => {}
            }
        }
    }

    /// Looks once. Returns whether there is a network for which it matters.
    pub(super) async fn look_at_programs(&self) -> Result<bool, DataPlaneError> {
        let mut book = self.book.lock().await;
        let networks = &mut book.networks;
        if !networks.joined().any(|joined| joined.card_index() > 0) {
            return Ok(false);
        }
        // Who accepts connections matters only where ports are to be opened.
        let with_tcp = networks.joined().any(Joined::is_of_strangers);
        let programs = self.cards.programs(with_tcp);
        let listed = networks.games.clone();
        let list = self.lift.list();
        for joined in networks.joined_mut().filter(|joined| joined.card_index() > 0) {
            let card = joined.listening_card(&self.node_id());
            if joined.is_of_strangers() {
                let games = programs.reached(&card, &listed);
                if games != joined.listening.games {
                    tracing::debug!(network = %joined.name(), ports = %games, "listed games listen");
                    joined.listening.games = games;
                    self.tell_opened(joined).await?;
                }
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

    /// Tells the engine what the members of a network of strangers may reach.
    pub(super) async fn tell_opened(&self, joined: &Joined) -> Result<(), DataPlaneError> {
        let ports = joined.listening.games.with(&joined.membership().opened);
        let request = Request::SetOpened {
            network: joined.handle(),
            ports: ports.ranges().to_vec(),
        };
        self.data_plane.send(request).await
    }
}

impl Joined {
    /// Its card, as a program's socket can be bound to it.
    fn listening_card(&self, node: &NodeId) -> ListeningCard {
        let subnet = self.membership().link.parameters.subnet;
        let plan = AddressPlan::new(&self.id(), &subnet);
        let ipv6 = [plan.ipv6(node), plan.link_local(node)].map(IpAddr::V6);
        let ipv4 = self.on_card().map(|own| [own, subnet.broadcast()].map(IpAddr::V4));
        ListeningCard {
            index: self.card_index(),
            addresses: ipv6.into_iter().chain(ipv4.into_iter().flatten()).collect(),
        }
    }
}

/// How often it is looked: a server that is started is reached after this long at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(2);
