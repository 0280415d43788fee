//! A node beside a supernode, in its process: the controller of the private networks whose keys were taken there.
//!
//! It is a whole daemon, with an identity, a state directory, a port and an API of its own, but without network cards: it takes
//! part in its networks to let others in, and answers nothing else. It reaches the supernode inside the machine.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use farlan_crypto::{PublicKey, Work};
use farlan_engine::{Config as EngineConfig, Limits, Role};
use farlan_netconf::{Subnet, World};
use farlan_tap::{
    Card, CardState, ChangeMonitor, Changes, Restored, Route, TapError, UnderlayCard, requests::HostName,
};

use super::{Book, Cards, Daemon, NameSettings, NewCard, Running, Settings, Tuning, hosting, resolver::Own};
use crate::{
    api::Sockets,
    config::{Dns, MachineName, Offloads},
    failure::Failure,
    games::{Games, LanGames, List},
    local_programs::LocalPrograms,
    secret_text::SecretText,
    shell::{DataPlane, Underlay},
    state::StateDir,
};

/// What such a node is made of.
#[derive(Debug)]
pub struct Beside {
    /// Its state directory.
    pub state: StateDir,
    /// Its port.
    pub underlay: Underlay,
    /// Where it is asked what farlan's command line asks.
    pub sockets: Sockets,
    /// Where its networks are kept, unless it is a file in the state directory.
    pub store: Option<SecretText>,
    /// What it is called in its networks.
    pub name: MachineName,
    /// The world that the supernode serves.
    pub world: World,
    /// The supernode.
    pub neighbour: Neighbour,
}

/// The supernode in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its key.
    pub key: PublicKey,
    /// Its UDP port.
    pub port: u16,
}

impl Neighbour {
    /// As it is reached now.
    pub(super) fn own(&self) -> Own {
        Own {
            key: self.key,
            addresses: hosting::local_endpoints(self.port),
        }
    }
}

impl Running {
    /// Starts a node beside a supernode, which runs already.
    ///
    /// # Errors
    /// A file of the state is damaged.
    pub async fn start_beside(beside: Beside) -> Result<Self, Failure> {
        let (identity, made) = beside.state.identity(Work::REQUIRED)?;
        let key = identity.public();
        if made {
            tracing::info!(node = %key.node_id(), "made the identity of the controller beside this supernode");
        }
        let port = beside.underlay.port().map_err(Failure::negative)?;
        let settings = Settings {
            state_dir: beside.state.path().to_owned(),
            socket: beside.state.path().to_owned(),
            api_tcp: None,
            port,
            user: None,
            supernodes: vec![beside.world],
            port_mapping: false,
            hide_address: false,
            beacon: false,
            games: Games::default(),
            list: Arc::new(List::shipped()),
            lan_games: LanGames::Off,
            offloads: Offloads::default(),
            names: NameSettings {
                name: beside.name,
                dns: Dns {
                    port: 0,
                    resolved: false,
                    hosts: false,
                },
            },
            controller: beside.store,
            tuning: Tuning::default(),
        };
        let config = EngineConfig {
            identity,
            work: Work::REQUIRED,
            role: Role::Node,
            limits: Limits::default(),
        };
        let book = Book::load(&beside.state, Work::REQUIRED)?;
        let (data_plane, events) = DataPlane::start(config, beside.underlay)?;
        let offloads = settings.offloads;
        let daemon = Daemon::new(key, port, beside.state, book, data_plane, Box::new(NoCards), offloads);
        // It was made just now.
        let _ = daemon.neighbour.set(beside.neighbour);
        Self::take_up(
            Arc::new(daemon),
            events,
            beside.sockets,
            settings,
            Err("there are no cards here".to_owned()),
        )
        .await
    }
}

/// No cards: what frames there are go nowhere.
#[derive(Debug)]
struct NoCards;

impl Cards for NoCards {
    fn are_made(&self) -> bool {
        false
    }

    fn programs(&self, _: bool) -> LocalPrograms {
        LocalPrograms::default()
    }

    fn create(&self, _: &NewCard) -> Result<Card, TapError> {
        Err(TapError::NoHelper)
    }

    fn add_address(&self, _: u32, _: Ipv4Addr, _: u8) -> Result<(), TapError> {
        Ok(())
    }

    fn remove_address(&self, _: u32, _: Ipv4Addr, _: u8) -> Result<(), TapError> {
        Ok(())
    }

    /// Not up, so that nobody looks for addresses.
    fn state(&self, _: u32) -> Result<Option<CardState>, TapError> {
        Ok(Some(CardState {
            name: String::new(),
            up: false,
            is_port: false,
            dropped: 0,
        }))
    }

    fn restore_addresses(&self, _: u32, _: &[(IpAddr, u8)]) -> Result<Restored, TapError> {
        Ok(Restored {
            added: Vec::new(),
            ipv6: true,
        })
    }

    fn addresses(&self, _: u32) -> Result<Vec<IpAddr>, TapError> {
        Ok(Vec::new())
    }

    fn watch_addresses(&self) -> Result<ChangeMonitor, TapError> {
        ChangeMonitor::open(&[Changes::Links])
    }

    fn clashing_routes(&self, _: Subnet) -> Result<Vec<Route>, TapError> {
        Ok(Vec::new())
    }

    fn remove_stale(&self) {}

    fn underlay(&self) -> Result<Vec<UnderlayCard>, TapError> {
        Ok(Vec::new())
    }

    fn broadcast_card(&self) -> Result<Option<(u32, String)>, TapError> {
        Ok(None)
    }

    fn set_group_routes(&self, _: u32, _: &[Ipv4Addr], _: bool) -> Result<(), TapError> {
        Ok(())
    }

    fn set_memberships(&self, _: &BTreeSet<(u32, Ipv4Addr)>) -> io::Result<()> {
        Ok(())
    }

    fn direct_names(&self, _: u32, _: u16) -> Result<(), TapError> {
        Ok(())
    }

    fn revert_names(&self, _: u32) -> Result<(), TapError> {
        Ok(())
    }

    fn set_hosts(&self, _: &[HostName]) -> Result<(), TapError> {
        Ok(())
    }
}
