//! The controller of private networks beside this supernode, where the configuration wants one: a node without network cards in
//! the same process, which lets others in to the networks whose keys were imported there.
//!
//! It has a state directory of its own below the supernode's, and a socket at which `farlan --socket` asks it what it asks any
//! node: `import`, `invite`, `kick`, …

use std::path::{Path, PathBuf};

use farlan::{
    api::Sockets,
    config::{self, MachineName},
    daemon::{Beside, Neighbour, Running},
    failure::Failure,
    secret_text::SecretText,
    shell::Underlay,
    state::StateDir,
};
use farlan_crypto::PublicKey;
use farlan_netconf::World;
use serde::Deserialize;

use crate::directory::Directory;

/// Name of its socket in the supernode's state directory.
const SOCKET: &str = "controller.sock";

/// Name of its state directory in the supernode's.
const DIRECTORY: &str = "controller";

/// The keys of `[controller]` in `supernode.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where it keeps its networks: `postgres://…`, or a file; empty for `controller.sqlite` in its state directory.
    #[serde(deserialize_with = "config::store")]
    pub(crate) store: Option<SecretText>,
    /// What it is called in its networks.
    pub(crate) name: MachineName,
    /// Its UDP port; 0 lets the system pick one. Where nobody gets through to it, the supernode relays.
    pub(crate) port: u16,
}

/// What it takes hold of before the supernode gives its privileges up.
#[derive(Debug)]
pub(crate) struct Held {
    config: Config,
    state: StateDir,
    underlay: Underlay,
    sockets: Sockets,
}

/// Where it is asked.
pub(crate) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

impl Held {
    /// Takes port, directory and socket, if there is to be one at all.
    ///
    /// # Errors
    /// One of these is in use or cannot be had.
    pub(crate) fn take(directory: &Directory) -> Result<Option<Self>, Failure> {
        let Some(config) = directory.config().controller.clone() else {
            return Ok(None);
        };
        let underlay = Underlay::bind(config.port).map_err(|error| {
            Failure::negative(format_args!(
                "UDP port {} of the controller cannot be opened ({error}); name another one in supernode.toml: \
                 controller.port",
                config.port
            ))
        })?;
        Ok(Some(Self {
            state: StateDir::open(&directory.path().join(DIRECTORY))?,
            sockets: Sockets::open(&socket(directory.path()), None)?,
            underlay,
            config,
        }))
    }

    /// Starts it beside the supernode with this key, which serves `world` at `port`.
    ///
    /// # Errors
    /// One of its files is damaged.
    pub(crate) async fn start(self, world: World, key: PublicKey, port: u16) -> Result<Running, Failure> {
        let beside = Beside {
            state: self.state,
            underlay: self.underlay,
            sockets: self.sockets,
            store: self.config.store,
            name: self.config.name,
            world,
            neighbour: Neighbour { key, port },
        };
        Running::start_beside(beside).await
    }
}
