//! The worlds this node knows: those it was told of, and those that came with a network's link.

use farlan_crypto::{NodeId, Work};
use farlan_netconf::{Link, World, WorldId};
use serde::{Deserialize, Serialize};

use super::{
    Daemon,
    resolver::{Own, Resolver, hand_over_beside},
};
use crate::{
    api::{AddRequest, ConfiguredWorld, RemoveRequest, SCHEMA, WorldSupernode},
    failure::Failure,
    shell::{DataPlane, DataPlaneError, Request},
    state::StateDir,
};

/// The known worlds, in the order in which they came; bare names belong to the first configured one.
#[derive(Debug, Default)]
pub(super) struct Worlds {
    worlds: Vec<Known>,
    /// The supernode in this process, if there is one.
    own: Option<Own>,
}

#[derive(Debug)]
struct Known {
    world: World,
    configured: bool,
    /// Keeps its addresses fresh.
    resolver: Option<Resolver>,
}

/// `worlds.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "world")]
    worlds: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The signed list, as a supernode's link.
    link: String,
    /// Whether the user named it, and not only a network's link.
    configured: bool,
}

impl Worlds {
    pub(super) fn load(state: &StateDir, work: Work) -> Result<Self, Failure> {
        let file = state.load::<File>(FILE)?.unwrap_or_default();
        Self::of(&file, work).map_err(|reason| state.damaged(FILE, reason))
    }

    /// The worlds of a file, or what is wrong with it.
    fn of(file: &File, work: Work) -> Result<Self, String> {
        let mut worlds = Self::default();
        for (i, entry) in file.worlds.iter().enumerate() {
            let damaged = |reason: &dyn std::fmt::Display| format!("world {}: {reason}", i + 1);
            match Link::parse(&entry.link, work) {
                Ok(Link::Supernode(world)) => {
                    worlds.worlds.push(Known {
                        world,
                        configured: entry.configured,
                        resolver: None,
                    });
                }
                Ok(Link::Network(_) | Link::Private(_)) => return Err(damaged(&"this is the link of a network")),
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(worlds)
    }

    pub(super) fn save(&self, state: &StateDir) -> Result<(), Failure> {
        state.save(FILE, &self.file())
    }

    fn file(&self) -> File {
        let entry = |known: &Known| Entry {
            link: Link::Supernode(known.world.clone()).to_string(),
            configured: known.configured,
        };
        File {
            worlds: self.worlds.iter().map(entry).collect(),
        }
    }

    /// A text taken for the file, as it would be written again.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn rewritten(text: &str) -> Option<String> {
        let worlds = Self::of(&toml::from_str(text).ok()?, Work::NONE).ok()?;
        toml::to_string(&worlds.file()).ok()
    }

    /// Makes all worlds known to the data plane.
    pub(super) async fn start(&mut self, data_plane: &DataPlane) -> Result<(), DataPlaneError> {
        for known in &mut self.worlds {
            known.start(data_plane, self.own.as_ref()).await?;
        }
        Ok(())
    }

    /// Reaches the supernode in this daemon inside the machine from now on.
    pub(super) async fn set_own(&mut self, data_plane: &DataPlane, own: Option<Own>) -> Result<(), DataPlaneError> {
        if self.own == own {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.own, own);
        for known in &mut self.worlds {
            let mut changed = [before.as_ref(), self.own.as_ref()].into_iter().flatten();
            if changed.any(|own| own.is_in(&known.world)) {
                known.start(data_plane, self.own.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// Adds a world, or takes over a newer version of one that is known.
    pub(super) async fn add(&mut self, data_plane: &DataPlane, world: World, configured: bool) -> Result<(), Failure> {
        let id = world.id();
        let Some(known) = self.worlds.iter_mut().find(|known| known.world.id() == id) else {
            let mut known = Known {
                world,
                configured,
                resolver: None,
            };
            known.start(data_plane, self.own.as_ref()).await?;
            self.worlds.push(known);
            return Ok(());
        };
        known.configured |= configured;
        if world.version() > known.world.version() {
            known.world = world;
            known.start(data_plane, self.own.as_ref()).await?;
        }
        Ok(())
    }

    /// Shows the data plane what is known here: where it knows better, it reports that again.
    pub(super) async fn compare(&self, data_plane: &DataPlane) -> Result<(), DataPlaneError> {
        for world in self.iter() {
            let world = Box::new(world.clone());
            data_plane.send(Request::HoldWorld { world }).await?;
        }
        Ok(())
    }

    /// Moves these worlds to the front, in this order; the others keep theirs.
    pub(super) fn put_first(&mut self, ids: &[WorldId]) {
        let rank = |known: &Known| ids.iter().position(|id| *id == known.world.id()).unwrap_or(ids.len());
        self.worlds.sort_by_key(rank);
    }

    /// Forgets a world.
    async fn remove(&mut self, data_plane: &DataPlane, id: WorldId) -> Result<(), DataPlaneError> {
        self.worlds.retain(|known| known.world.id() != id);
        data_plane.send(Request::RemoveWorld { world: id }).await
    }

    /// Forgets a world that only came with the link of a network which was left.
    pub(super) async fn drop_unused(&mut self, data_plane: &DataPlane, id: WorldId) -> Result<(), DataPlaneError> {
        if self
            .worlds
            .iter()
            .any(|known| known.world.id() == id && !known.configured)
        {
            self.remove(data_plane, id).await?;
        }
        Ok(())
    }

    pub(super) fn find(&self, id: WorldId) -> Option<&World> {
        self.iter().find(|world| world.id() == id)
    }

    pub(super) fn has_supernode(&self, node: NodeId) -> bool {
        self.iter().any(|world| {
            world
                .supernodes()
                .iter()
                .any(|supernode| supernode.key.node_id() == node)
        })
    }

    /// The world of bare names and new networks.
    pub(super) fn first_configured(&self) -> Result<&World, Failure> {
        let configured = self.worlds.iter().find(|known| known.configured);
        configured
            .map(|known| &known.world)
            .ok_or_else(|| Failure::negative(NO_SUPERNODE))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &World> {
        self.worlds.iter().map(|known| &known.world)
    }
}

impl Known {
    async fn start(&mut self, data_plane: &DataPlane, own: Option<&Own>) -> Result<(), DataPlaneError> {
        // The one for the list before must not speak after it.
        self.resolver = None;
        self.resolver = Some(hand_over_beside(data_plane, &self.world, own).await?);
        Ok(())
    }

    fn view(&self) -> ConfiguredWorld {
        let supernode = |supernode: &farlan_netconf::Supernode| WorldSupernode {
            node_id: supernode.key.node_id().to_string(),
            addresses: supernode.endpoints.iter().map(ToString::to_string).collect(),
        };
        ConfiguredWorld {
            schema: SCHEMA,
            world: self.world.id().to_string(),
            version: self.world.version(),
            configured: self.configured,
            supernodes: self.world.supernodes().iter().map(supernode).collect(),
        }
    }

    fn is_named(&self, prefix: &str) -> bool {
        let ids = self
            .world
            .supernodes()
            .iter()
            .map(|supernode| supernode.key.node_id().to_string());
        std::iter::once(self.world.id().to_string())
            .chain(ids)
            .any(|id| id.starts_with(prefix))
    }
}

impl Daemon {
    /// The known worlds.
    pub async fn worlds(&self) -> Vec<ConfiguredWorld> {
        self.book.lock().await.worlds.worlds.iter().map(Known::view).collect()
    }

    /// Keeps a newer version of a world in use, which somebody handed over.
    pub(super) async fn world_changed(&self, world: World) {
        let (id, version) = (world.id(), world.version());
        let mut book = self.book.lock().await;
        if book.worlds.find(id).is_none_or(|known| known.version() >= version) {
            return;
        }
        match book.worlds.add(&self.data_plane, world, false).await {
            Ok(()) => {
                self.write_down(&book);
                tracing::info!(world = %id, version, "a newer list of supernodes is in use");
            }
            Err(failure) => tracing::warn!(world = %id, version, %failure, "cannot use a newer list of supernodes"),
        }
    }

    /// Makes the supernodes of a link known.
    ///
    /// # Errors
    /// The text is no link of a supernode.
    pub async fn add_supernode(&self, request: &AddRequest) -> Result<ConfiguredWorld, Failure> {
        let world = match Link::parse(&request.link, self.work) {
            Ok(Link::Supernode(world)) => world,
            Ok(Link::Network(_) | Link::Private(_)) => {
                return Err(Failure::usage(
                    "this link is an invitation to a network; use it with: farlan join LINK",
                ));
            }
            Err(error) => return Err(Failure::usage(error)),
        };
        let id = world.id();
        let mut book = self.book.lock().await;
        book.worlds.add(&self.data_plane, world, true).await?;
        self.write_down(&book);
        let added = book.worlds.worlds.iter().find(|known| known.world.id() == id);
        added
            .map(Known::view)
            .ok_or_else(|| Failure::negative("the supernode was not kept"))
    }

    /// Forgets a world.
    ///
    /// # Errors
    /// None or several match; a network needs it.
    pub async fn remove_supernode(&self, request: &RemoveRequest) -> Result<ConfiguredWorld, Failure> {
        let prefix = request.id.to_ascii_lowercase();
        if prefix.len() < SHORTEST_PREFIX {
            return Err(Failure::usage(format_args!(
                "give at least {SHORTEST_PREFIX} letters of the id; `farlan supernode list` shows them"
            )));
        }
        let mut book = self.book.lock().await;
        let matching: Vec<_> = book
            .worlds
            .worlds
            .iter()
            .filter(|known| known.is_named(&prefix))
            .collect();
        let [known] = matching[..] else {
            return Err(Failure::negative(format_args!(
                "{} supernodes match {prefix:?}; `farlan supernode list` shows those known here",
                if matching.is_empty() { "no" } else { "several" }
            )));
        };
        let (id, view) = (known.world.id(), known.view());
        if let Some(network) = book.networks.in_world(id) {
            return Err(Failure::negative(format_args!(
                "the network {network} meets at this supernode; leave it first: farlan leave {network}"
            )));
        }
        book.worlds.remove(&self.data_plane, id).await?;
        self.write_down(&book);
        Ok(view)
    }
}

/// What to say to somebody who has no supernode, with the next commands.
pub(super) const NO_SUPERNODE: &str = "no supernode is configured, so there is nowhere to meet. \
If somebody gave you the link of one:\n  farlan supernode add LINK        (while farlan runs), or\n  \
farlan up --supernode LINK\nOtherwise, on a machine that others can reach, make one and take its link from there:\n  \
farlan-supernode init --state-dir /var/lib/farlan-supernode --port 9600 --address HOST:9600\n  \
farlan-supernode run --state-dir /var/lib/farlan-supernode\n  \
farlan-supernode link --state-dir /var/lib/farlan-supernode";

/// The file in the state directory.
pub(super) const FILE: &str = "worlds.toml";

/// Fewest letters of an id that stand for it: 50 bits, which do not collide by chance.
pub(super) const SHORTEST_PREFIX: usize = 10;

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, random::SystemRandom};
    use farlan_netconf::Supernode;

    use super::*;

    fn version(operator: &Identity, version: u32) -> World {
        let endpoints = vec!["192.0.2.1:9600".parse().unwrap()];
        World::sign(
            operator,
            version,
            vec![Supernode {
                key: operator.public(),
                endpoints,
            }],
        )
        .unwrap()
    }

    #[tokio::test]
    async fn worlds_round_trip_and_only_newer_versions_count() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (data_plane, mut requests) = DataPlane::channel();
        let operator = Identity::generate(&mut SystemRandom::from_os().unwrap(), Work::NONE);
        let mut worlds = Worlds::load(&state, Work::NONE).unwrap();
        assert!(
            worlds
                .first_configured()
                .unwrap_err()
                .message
                .contains("farlan supernode add LINK")
        );
        worlds.add(&data_plane, version(&operator, 2), false).await.unwrap();
        assert!(
            worlds.first_configured().is_err(),
            "a world that came with a network is not for bare names"
        );
        worlds.add(&data_plane, version(&operator, 1), true).await.unwrap();
        assert_eq!(worlds.first_configured().unwrap().version(), 2);
        worlds.add(&data_plane, version(&operator, 3), false).await.unwrap();
        worlds.save(&state).unwrap();
        let loaded = Worlds::load(&state, Work::NONE).unwrap();
        assert_eq!(loaded.first_configured().unwrap(), &version(&operator, 3));
        for expected in [2, 3] {
            let Ok(Request::HoldWorld { world }) = requests.try_recv() else {
                panic!("the list comes first");
            };
            assert_eq!(world.version(), expected);
            assert!(matches!(requests.try_recv(), Ok(Request::SetWorld { .. })));
        }
        assert!(requests.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_settings_decide_which_world_is_first() {
        let (data_plane, _requests) = DataPlane::channel();
        let mut random = SystemRandom::from_os().unwrap();
        let worlds_made = [(); 4].map(|()| version(&Identity::generate(&mut random, Work::NONE), 1));
        let ids = worlds_made.each_ref().map(World::id);
        let mut worlds = Worlds::default();
        for world in worlds_made {
            worlds.add(&data_plane, world, true).await.unwrap();
        }
        worlds.put_first(&[ids[3], ids[1]]);
        let order: Vec<_> = worlds.iter().map(World::id).collect();
        assert_eq!(order, [ids[3], ids[1], ids[0], ids[2]]);
        worlds.put_first(&[]);
        assert_eq!(worlds.first_configured().unwrap().id(), ids[3]);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        std::fs::write(
            directory.path().join(FILE),
            "[[world]]\nlink = \"farlan:xx\"\nconfigured = true\n",
        )
        .unwrap();
        let failure = Worlds::load(&state, Work::NONE).unwrap_err();
        assert!(failure.message.contains("worlds.toml: world 1: "), "{failure}");
        assert!(failure.message.contains("move it away"), "{failure}");
        for unknown in [
            "[[worlds]]\n",
            "[[world]]\nlink = \"\"\nconfigured = true\ncolour = 1\n",
        ] {
            std::fs::write(directory.path().join(FILE), unknown).unwrap();
            let failure = Worlds::load(&state, Work::NONE).unwrap_err();
            assert!(failure.message.contains("unknown field"), "{failure}");
        }
    }
}
