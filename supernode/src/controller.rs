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
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

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

    /// Starts it, on a task of its own, beside the supernode with this key, which serves `world` at `port`. If it cannot start,
    /// the supernode serves without it, and `trouble` says why.
    pub(crate) fn accompany(
        self,
        world: World,
        key: PublicKey,
        port: u16,
        trouble: watch::Sender<Option<String>>,
    ) -> Company {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let started = tokio::select! {
                started = self.start(world, key, port) => started,
                _ = &mut stopped => return,
            };
            let mut running = match started {
                Ok(running) => running,
                Err(failure) => {
                    let remedy = format!("{failure}; mend that and restart the supernode");
                    tracing::error!("the controller of private networks beside the supernode does not work: {remedy}");
                    trouble.send_replace(Some(remedy));
                    // An error means that nobody is there who could stop it, and so does an answer.
                    let _ = stopped.await;
                    return;
                }
            };
            tokio::select! {
                () = running.ended() => {}
                _ = stopped => {}
            }
            running.stop().await;
        });
        Company { task, stop }
    }

    async fn start(self, world: World, key: PublicKey, port: u16) -> Result<Running, Failure> {
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

/// A controller that starts or runs, or could not start.
#[derive(Debug)]
pub(crate) struct Company {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Company {
    /// Waits for its end, which comes by itself only when it had started and its data plane failed.
    pub(crate) async fn ended(&mut self) {
        // An error means the same.
        let _ = (&mut self.task).await;
    }

    /// Stops it, wherever it is.
    pub(crate) async fn stop(self) {
        // An error of either means that it has ended.
        if self.stop.send(()).is_ok() {
            let _ = self.task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use farlan_crypto::{Identity, Work, random::SystemRandom};
    use farlan_netconf::Supernode;

    use super::*;

    fn held(directory: &Path) -> Held {
        Held {
            config: Config::default(),
            state: StateDir::open(&directory.join(DIRECTORY)).unwrap(),
            underlay: Underlay::bind(0).unwrap(),
            sockets: Sockets::open(&socket(directory), None).unwrap(),
        }
    }

    fn world() -> (World, PublicKey) {
        let operator = Identity::generate(&mut SystemRandom::from_os().unwrap(), Work::NONE);
        let supernode = Supernode {
            key: operator.public(),
            endpoints: vec!["192.0.2.1:9600".parse().unwrap()],
        };
        let key = supernode.key;
        (World::sign(&operator, 1, vec![supernode]).unwrap(), key)
    }

    #[tokio::test]
    async fn a_controller_that_cannot_start_says_why_and_leaves_the_supernode_alone() {
        let directory = tempfile::tempdir().unwrap();
        let held = held(directory.path());
        fs::write(
            directory.path().join(DIRECTORY).join("networks.toml"),
            "nothing [ of use",
        )
        .unwrap();
        let (world, key) = world();
        let (trouble, mut told) = watch::channel(None);
        let mut company = held.accompany(world, key, 9600, trouble);
        let said = tokio::time::timeout(LONG, told.wait_for(Option::is_some)).await;
        let said = said.unwrap().unwrap().clone().unwrap();
        assert!(said.contains("networks.toml") && said.contains("restart"), "{said}");
        let ended = tokio::time::timeout(Duration::from_millis(100), company.ended()).await;
        assert!(ended.is_err(), "the supernode would end with it");
        tokio::time::timeout(LONG, company.stop()).await.unwrap();
    }

    #[tokio::test]
    async fn a_controller_is_stopped_while_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        let held = held(directory.path());
        let (world, key) = world();
        let (trouble, told) = watch::channel(None);
        let company = held.accompany(world, key, 9600, trouble);
        tokio::time::timeout(LONG, company.stop()).await.unwrap();
        assert_eq!(*told.borrow(), None);
    }

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);
}
