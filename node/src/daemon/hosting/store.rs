//! The keys, the world and the port of the supernode in this daemon, on disk.

use std::net::SocketAddr;

use farlan_crypto::{Identity, Work, random::SystemRandom, secret_file};
use farlan_netconf::{Endpoint, Link, Supernode, World};
use serde::{Deserialize, Serialize};

use super::Reach;
use crate::{failure::Failure, state::StateDir};

/// The names of its files in the state directory.
pub(in crate::daemon) const FILES: [&str; 3] = [SUPERNODE, OPERATOR, FILE];

/// The supernode's identity.
const SUPERNODE: &str = "host-supernode.secret";

/// The key of its world's operator, who is this machine.
const OPERATOR: &str = "host-operator.secret";

/// Everything else.
const FILE: &str = "host.toml";

/// What is kept of it between runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) port: u16,
    pub(super) world: World,
    pub(super) reach: Reach,
    /// Where it is reached from outside; the world lists places of the local network besides.
    pub(super) outside: Vec<Endpoint>,
    /// Whither something is sent to keep the NAT's port open, where that is what lets others in.
    pub(super) kept_open: Option<SocketAddr>,
}

/// `host.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its UDP port.
    port: u16,
    reach: Reach,
    outside: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_open: Option<SocketAddr>,
    /// The signed list, as a supernode's link.
    world: String,
}

impl Stored {
    pub(super) fn load(state: &StateDir, work: Work) -> Result<Option<Self>, Failure> {
        let Some(file) = state.load::<File>(FILE)? else {
            return Ok(None);
        };
        Self::of(file, work)
            .map(Some)
            .map_err(|reason| state.damaged(FILE, reason))
    }

    fn of(file: File, work: Work) -> Result<Self, String> {
        let world = match Link::parse(&file.world, work) {
            Ok(Link::Supernode(world)) => world,
            Ok(Link::Network(_) | Link::Private(_)) => return Err("this is the link of a network".into()),
            Err(error) => return Err(error.to_string()),
        };
        if file.port == 0 {
            return Err("there is no port 0".into());
        }
        let outside = file.outside.iter().map(|text| text.parse::<Endpoint>());
        Ok(Self {
            port: file.port,
            world,
            reach: file.reach,
            outside: outside.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
            kept_open: file.kept_open,
        })
    }

    fn file(&self) -> File {
        File {
            port: self.port,
            reach: self.reach,
            outside: self.outside.iter().map(ToString::to_string).collect(),
            kept_open: self.kept_open,
            world: Link::Supernode(self.world.clone()).to_string(),
        }
    }
}

/// Makes the keys, unless they are there.
pub(super) async fn make_keys(state: &StateDir) -> Result<(), Failure> {
    let (supernode, operator) = (state.path().join(SUPERNODE), state.path().join(OPERATOR));
    let made = tokio::task::spawn_blocking(move || {
        let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
        secret_file::load_or_create(&supernode, &mut random, Work::REQUIRED)?;
        // The operator's key is no node and carries no work.
        secret_file::load_or_create(&operator, &mut random, Work::NONE)?;
        Ok(())
    });
    made.await.unwrap_or_else(|error| Err(Failure::negative(error)))
}

/// The supernode's identity.
pub(super) fn supernode_identity(state: &StateDir) -> Result<Identity, Failure> {
    Ok(secret_file::load(&state.path().join(SUPERNODE), Work::REQUIRED)?)
}

/// The places of the world's list: outside first, for whoever is far away, then in the local network.
fn places(outside: &[Endpoint], lan: &[Endpoint]) -> Vec<Endpoint> {
    let mut places: Vec<Endpoint> = Vec::new();
    for endpoint in outside.iter().chain(lan) {
        if places.len() < World::MAX_ENDPOINTS && !places.contains(endpoint) {
            places.push(endpoint.clone());
        }
    }
    places
}

/// Whether a world with these places would be another one. Without any there is nothing to list.
pub(super) fn differs(stored: &Stored, outside: &[Endpoint], lan: &[Endpoint]) -> bool {
    let places = places(outside, lan);
    let listed = stored.world.supernodes().first().map(|supernode| &supernode.endpoints);
    !places.is_empty() && listed != Some(&places)
}

/// Signs the world with these places, if it lists others, and writes everything down.
pub(super) fn sign(
    state: &StateDir,
    before: Option<Stored>,
    port: u16,
    outside: Vec<Endpoint>,
    lan: &[Endpoint],
    reach: Reach,
    kept_open: Option<SocketAddr>,
) -> Result<Stored, Failure> {
    let world = match before {
        Some(before) if !differs(&before, &outside, lan) => before.world,
        before => {
            let operator = secret_file::load(&state.path().join(OPERATOR), Work::NONE)?;
            let version = before.map_or(0, |before| before.world.version());
            let version = version.checked_add(1);
            let version = version.ok_or_else(|| Failure::negative("the world has its last version"))?;
            let supernode = Supernode {
                key: supernode_identity(state)?.public(),
                endpoints: places(&outside, lan),
            };
            World::sign(&operator, version, vec![supernode]).map_err(Failure::usage)?
        }
    };
    let stored = Stored {
        port,
        world,
        reach,
        outside,
        kept_open,
    };
    state.save(FILE, &stored.file())?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn the_world_keeps_its_id_and_gets_a_version_with_each_change_of_places() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert_eq!(Stored::load(&state, Work::REQUIRED).unwrap(), None);
        make_keys(&state).await.unwrap();
        let key = supernode_identity(&state).unwrap().public();
        let lan = endpoints(&["192.168.1.2:9601"]);
        let first = sign(&state, None, 9601, Vec::new(), &lan, Reach::Lan, None).unwrap();
        assert_eq!(
            (first.world.version(), &first.world.supernodes()[0].endpoints),
            (1, &lan)
        );
        assert_eq!(Stored::load(&state, Work::REQUIRED).unwrap().as_ref(), Some(&first));

        let same = sign(&state, Some(first.clone()), 9601, Vec::new(), &lan, Reach::Lan, None).unwrap();
        assert_eq!(same, first);
        // The keys stay what they are.
        make_keys(&state).await.unwrap();
        let outside = endpoints(&["[2001:db8::1]:9601", "host.example:9601"]);
        let kept_open = Some("198.51.100.1:9600".parse().unwrap());
        let second = sign(
            &state,
            Some(first.clone()),
            9601,
            outside.clone(),
            &lan,
            Reach::Proved,
            kept_open,
        )
        .unwrap();
        assert_eq!((second.world.id(), second.world.version()), (first.world.id(), 2));
        let supernode = &second.world.supernodes()[0];
        assert_eq!(supernode.key, key);
        assert_eq!(supernode.endpoints, [outside, lan].concat());
        assert_eq!(Stored::load(&state, Work::REQUIRED).unwrap(), Some(second.clone()));
        // Without a place nothing is signed: the cable is out, and will be in again.
        assert!(!differs(&second, &[], &[]));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        std::fs::write(
            directory.path().join(FILE),
            "port = 9601\nreach = \"lan\"\noutside = []\nworld = \"farlan:xx\"\n",
        )
        .unwrap();
        let failure = Stored::load(&state, Work::REQUIRED).unwrap_err();
        assert!(failure.message.contains("host.toml: "), "{failure}");
        assert!(failure.message.contains("move it away"), "{failure}");
    }
}
