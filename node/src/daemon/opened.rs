//! What strangers may reach on this machine: ports opened by hand, and those of listed games.

use std::sync::Arc;

use farlan_netconf::{NetworkId, Policy};

use super::{
    Daemon,
    networks::{Membership, Networks},
};
use crate::{
    api::{OpenRequest, OpenedNetwork, SCHEMA},
    failure::Failure,
    games::{self, Games, List},
    ports::PortSet,
    shell::DataPlaneError,
};

impl Networks {
    /// Sets which listed games strangers may reach.
    pub(super) fn set_games(&mut self, games: &Games, list: &List) {
        self.games = games.ports(list);
    }

    fn opened_network(&self, membership: &Membership) -> OpenedNetwork {
        let mut joined = self.joined();
        let joined = joined.find(|joined| joined.id() == membership.id());
        OpenedNetwork {
            schema: SCHEMA,
            name: membership.name().to_owned(),
            network_id: membership.link.parameters.id().to_string(),
            opened: membership.opened.clone(),
            games: self.games.clone(),
            games_open: joined.map(|joined| joined.listening.games.clone()).unwrap_or_default(),
        }
    }

    /// The network whose ports are meant: the one called so, or the only one of strangers.
    fn meant(&self, network: Option<&str>) -> Result<NetworkId, Failure> {
        let called = |membership: &&Membership| network.is_none_or(|name| membership.is_called(name));
        let found: Vec<&Membership> = self.memberships().filter(called).collect();
        if let (true, Some(name)) = (found.is_empty(), network) {
            return Err(Failure::negative(format_args!(
                "this node is in no network called {name:?}; `farlan networks` shows those it is in"
            )));
        }
        let strangers = |membership: &&&Membership| membership.link.parameters.policy() == Policy::Strangers;
        let open: Vec<_> = found.iter().filter(strangers).collect();
        match &open[..] {
            [] => Err(Failure::negative(match (network, found.first()) {
                (Some(_), Some(friends)) => format!(
                    "nothing needs opening in {}: it is a network of friends, whose members reach whatever listens on \
                     its card",
                    friends.name()
                ),
                _ => "nothing needs opening: this node is in no network of strangers, and on networks of friends the \
                      members reach whatever listens on the card"
                    .to_owned(),
            })),
            [only] => Ok(only.link.parameters.id()),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|membership| match network {
                        None => membership.name().to_owned(),
                        Some(_) => membership.link.parameters.id().to_string(),
                    })
                    .collect();
                Err(Failure::negative(format_args!(
                    "several networks can be meant; choose one with --network: {}",
                    names.join(", ")
                )))
            }
        }
    }
}

impl Daemon {
    /// What the members of each network of strangers may reach on this machine.
    pub async fn opened(&self) -> Vec<OpenedNetwork> {
        let book = self.book.lock().await;
        let networks = &book.networks;
        let strangers = networks
            .memberships()
            .filter(|membership| membership.link.parameters.policy() == Policy::Strangers);
        strangers
            .map(|membership| networks.opened_network(membership))
            .collect()
    }

    /// Opens ports to the members of a network of strangers, and remembers that.
    ///
    /// # Errors
    /// They are neither ports nor a listed game; the network is not known, or one of friends.
    pub async fn open(&self, request: &OpenRequest) -> Result<OpenedNetwork, Failure> {
        let ports = games::ports(&self.lift.list(), &request.ports)?;
        self.change_opened(request.network.as_deref(), |membership, _| {
            membership.opened = membership.opened.with(&ports);
            tracing::info!(network = %membership.name(), ports = %ports, "opened to strangers");
            Ok(())
        })
        .await
    }

    /// Closes ports that were opened by hand; connections to them are cut off.
    ///
    /// # Errors
    /// As [`open`](Self::open); none of them is opened by hand.
    pub async fn close(&self, request: &OpenRequest) -> Result<OpenedNetwork, Failure> {
        let ports = games::ports(&self.lift.list(), &request.ports)?;
        self.change_opened(request.network.as_deref(), |membership, games| {
            let left = membership.opened.without(&ports);
            if left == membership.opened {
                let name = membership.name();
                return Err(Failure::negative(if games.without(&ports) == *games {
                    format!("{ports} is not opened in {name}")
                } else {
                    format!(
                        "{ports} is open in {name} for a listed game and not by hand; the key strangers.games of the \
                         configuration says which games are let in"
                    )
                }));
            }
            membership.opened = left;
            tracing::info!(network = %membership.name(), ports = %ports, "closed to strangers");
            Ok(())
        })
        .await
    }

    async fn change_opened(
        &self,
        network: Option<&str>,
        change: impl FnOnce(&mut Membership, &PortSet) -> Result<(), Failure>,
    ) -> Result<OpenedNetwork, Failure> {
        let mut book = self.book.lock().await;
        let book = &mut *book;
        let id = book.networks.meant(network)?;
        let games = book.networks.games.clone();
        let gone = || Failure::negative("the network is gone again");
        change(book.networks.membership_mut(id).ok_or_else(gone)?, &games)?;
        if let Some(joined) = book.networks.joined().find(|joined| joined.id() == id) {
            self.tell_opened(joined).await?;
        }
        self.write_down(book);
        let membership = book.networks.memberships().find(|it| it.link.parameters.id() == id);
        Ok(book.networks.opened_network(membership.ok_or_else(gone)?))
    }

    /// Takes over the list of games, and which of them strangers may reach.
    pub(super) async fn take_games(&self, games: &Games, list: &Arc<List>) -> Result<(), DataPlaneError> {
        self.lift.set_list(Arc::clone(list));
        // The next search knows the games of the new list.
        self.searches.keep(&[]);
        self.book.lock().await.networks.set_games(games, list);
        self.look_at_programs().await.map(|_| ())
    }
}
