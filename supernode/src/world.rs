//! The world of a supernode: showing and changing its list, and following newer versions while it runs.

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use farlan::{
    daemon::hand_over,
    failure::Failure,
    shell::{DataPlane, DataPlaneError, Request},
    state::IDENTITY,
};
use farlan_crypto::{NodeId, Work, secret_file};
use farlan_engine::Event;
use farlan_netconf::{Endpoint, Link, Supernode, World};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::directory::{self, OPERATOR};

/// What a change of the list made.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The new version.
    pub(crate) world: World,
    /// How many supernodes came or went.
    pub(crate) count: usize,
}

/// Adds the supernodes of a link to the list of the world that the operator's key in `path` signs.
///
/// # Errors
/// The key is not here; the link is none of a supernode, or all of its supernodes are listed already, as they are.
pub(crate) fn add(path: &Path, link: &str) -> Result<Changed, Failure> {
    let added = of_link(link)?;
    let (_lock, world) = directory::locked(path)?;
    let mut supernodes = world.supernodes().to_vec();
    let mut count = 0;
    for supernode in added.supernodes() {
        match supernodes.iter_mut().find(|listed| listed.key == supernode.key) {
            Some(listed) if listed == supernode => {}
            // Its addresses are others now.
            Some(listed) => {
                listed.clone_from(supernode);
                count += 1;
            }
            None => {
                supernodes.push(supernode.clone());
                count += 1;
            }
        }
    }
    if count == 0 {
        return Err(Failure::negative("the world lists these supernodes already"));
    }
    sign(path, &world, supernodes, count)
}

/// Takes a supernode out of the list.
///
/// # Errors
/// The operator's key is not here; none or several supernodes have an id that begins so; it is the last one.
pub(crate) fn remove(path: &Path, prefix: &str) -> Result<Changed, Failure> {
    let (_lock, world) = directory::locked(path)?;
    let prefix = prefix.to_ascii_lowercase();
    let named = |supernode: &&Supernode| supernode.key.node_id().to_string().starts_with(&prefix);
    let matching = world.supernodes().iter().filter(named).count();
    if matching != 1 || prefix.len() < SHORTEST_PREFIX {
        return Err(Failure::negative(format_args!(
            "{matching} supernodes match {prefix:?}; give at least {SHORTEST_PREFIX} letters of the id of one of: {}",
            Listed(&world)
        )));
    }
    let others: Vec<_> = world
        .supernodes()
        .iter()
        .filter(|supernode| !named(supernode))
        .cloned()
        .collect();
    if others.is_empty() {
        return Err(Failure::negative(
            "this is the only supernode of the world, which needs one",
        ));
    }
    sign(path, &world, others, 1)
}

/// Says anew where this supernode is reached, in the list of the world that the operator's key in `path` signs.
///
/// # Errors
/// The key is not here; it is reached there already; there are more addresses than a world takes, or none over UDP.
pub(crate) fn readdress(path: &Path, addresses: Vec<Endpoint>) -> Result<Changed, Failure> {
    let (_lock, world) = directory::locked(path)?;
    let identity = secret_file::load(&path.join(IDENTITY), Work::REQUIRED)?;
    let mut supernodes = world.supernodes().to_vec();
    let own = supernodes
        .iter_mut()
        .find(|listed| listed.key == identity.public() && listed.endpoints != addresses);
    let Some(own) = own else {
        return Err(Failure::negative(
            "the world lists these addresses of this supernode already",
        ));
    };
    own.endpoints = addresses;
    sign(path, &world, supernodes, 1)
}

/// Serves the world of a link from now on. Its operator must have listed this supernode.
///
/// # Errors
/// The link is none of a supernode, its world does not list this one, or it is older than what is served.
pub(crate) fn serve(path: &Path, link: &str) -> Result<World, Failure> {
    let world = of_link(link)?;
    let (_lock, own) = directory::locked(path)?;
    let identity = secret_file::load(&path.join(IDENTITY), Work::REQUIRED)?;
    if !directory::lists(&world, &identity) {
        return Err(Failure::negative(format_args!(
            "the world {} does not list this supernode. Its operator adds it with the link that\n  \
             farlan-supernode link --state-dir {}\nprints here:  farlan-supernode world add LINK",
            world.id(),
            path.display()
        )));
    }
    if own.id() == world.id() && own.version() > world.version() {
        return Err(Failure::negative(format_args!(
            "version {} of this world is served already, which is newer than version {} in the link",
            own.version(),
            world.version()
        )));
    }
    directory::store(path, &world)?;
    Ok(world)
}

fn of_link(link: &str) -> Result<World, Failure> {
    match Link::parse(link, Work::REQUIRED) {
        Ok(Link::Supernode(world)) => Ok(world),
        Ok(Link::Network(_) | Link::Private(_)) => Err(Failure::usage(
            "this link is an invitation to a network, not a supernode's",
        )),
        Err(error) => Err(Failure::usage(error)),
    }
}

fn sign(path: &Path, world: &World, supernodes: Vec<Supernode>, count: usize) -> Result<Changed, Failure> {
    let file = path.join(OPERATOR);
    let operator = secret_file::load(&file, Work::NONE)?;
    if operator.public() != *world.operator() {
        return Err(Failure::negative(format_args!(
            "{} is not the key of this world's operator; change the list where the world was made",
            file.display()
        )));
    }
    if let Some(twin) = same_tag(&supernodes) {
        return Err(Failure::negative(format_args!(
            "the id {twin} begins like that of another supernode of the world, from which datagrams would not tell it; make \
             that supernode anew"
        )));
    }
    let version = world.version().checked_add(1);
    let version = version.ok_or_else(|| Failure::negative("the world has its last version"))?;
    let world = World::sign(&operator, version, supernodes).map_err(Failure::usage)?;
    directory::store(path, &world)?;
    Ok(Changed { world, count })
}

/// A supernode whose id has the first 3 bytes in common with that of one before it: those name it in datagrams.
fn same_tag(supernodes: &[Supernode]) -> Option<NodeId> {
    let mut tags = BTreeSet::new();
    let mut ids = supernodes.iter().map(|supernode| supernode.key.node_id());
    ids.find(|id| !tags.insert(id.as_bytes().first_chunk::<3>().copied()))
}

/// The ids of a world's supernodes.
struct Listed<'a>(&'a World);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self
            .0
            .supernodes()
            .iter()
            .map(|supernode| supernode.key.node_id().to_string())
            .collect();
        f.write_str(&ids.join(", "))
    }
}

/// Keeps the data plane, the file and whoever asks up to date about the world that is served, until the data plane ends.
pub(crate) async fn follow(
    path: &Path,
    data_plane: &DataPlane,
    events: &mut mpsc::Receiver<Event>,
    served: &watch::Sender<World>,
    mut other: impl FnMut(&Event),
) -> Result<(), DataPlaneError> {
    let current = || served.borrow().clone();
    let mut resolver = hand_over(data_plane, &current()).await?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut comparisons = tokio::time::interval_at(Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
    loop {
        let newer = tokio::select! {
            event = events.recv() => match event {
                // A report of the world that was served before is late.
                Some(Event::WorldChanged { world }) if world.id() == current().id() => {
                    let kept = keep(path, &world);
                    Some(kept.unwrap_or_else(|failure| {
                        tracing::warn!(%failure, "cannot keep the newer list");
                        *world
                    }))
                }
                Some(event) => {
                    other(&event);
                    None
                }
                None => return Err(DataPlaneError::Ended),
            },
            _ = looks.tick() => directory::world(path).ok(),
            _ = comparisons.tick() => {
                let world = Box::new(current());
                data_plane.send(Request::HoldWorld { world }).await?;
                None
            }
        };
        let current = current();
        let Some(world) = newer.filter(|newer| replaces(newer, &current)) else {
            continue;
        };
        tracing::info!(world = %world.id(), version = world.version(), "serving");
        if current.id() != world.id() {
            data_plane.send(Request::RemoveWorld { world: current.id() }).await?;
        }
        drop(resolver);
        resolver = hand_over(data_plane, &world).await?;
        served.send_replace(world);
    }
}

/// Writes a newer list that somebody handed over into the file, unless that holds something better by now: another world
/// or a newer version, put there by the operator. Returns what is in the file then.
fn keep(path: &Path, newer: &World) -> Result<World, Failure> {
    let (_lock, filed) = directory::locked(path)?;
    if !(newer.id() == filed.id() && newer.version() > filed.version()) {
        return Ok(filed);
    }
    directory::store(path, newer)?;
    Ok(newer.clone())
}

/// A newer version of the same world, or another one that the operator of this supernode put into its file.
fn replaces(newer: &World, current: &World) -> bool {
    newer.id() != current.id() || newer.version() > current.version()
}

/// How often the file is looked at, so that `world add` and `world use` work while the supernode runs.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the data plane is shown the list that is served: where it knows a newer one, whose report was lost, it reports
/// that again.
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// Fewest letters of an id that stand for it: 50 bits, which do not collide by chance.
const SHORTEST_PREFIX: usize = 10;

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed};

    use super::*;

    /// A supernode in a directory of its own, and its link.
    fn made(directory: &tempfile::TempDir, name: &str, address: &str) -> (std::path::PathBuf, String) {
        let path = directory.path().join(name);
        directory::init(&path, 9600, Some(443), vec![address.parse().unwrap()]).unwrap();
        let link = directory::link(&path).unwrap().to_string();
        (path, link)
    }

    #[test]
    fn a_world_grows_and_shrinks_by_its_operator() {
        let directory = tempfile::tempdir().unwrap();
        let (first, first_link) = made(&directory, "first", "192.0.2.1:9600");
        let (second, second_link) = made(&directory, "second", "192.0.2.2:9600");

        let refused = serve(&second, &first_link).unwrap_err();
        assert!(refused.message.contains("does not list this supernode"), "{refused}");
        let changed = add(&first, &second_link).unwrap();
        assert_eq!(
            (changed.world.version(), changed.world.supernodes().len(), changed.count),
            (2, 2, 1)
        );
        assert_eq!(directory::world(&first).unwrap(), changed.world);
        let again = add(&first, &second_link).unwrap_err();
        assert!(again.message.contains("already"), "{again}");

        let newer = directory::link(&first).unwrap().to_string();
        let served = serve(&second, &newer).unwrap();
        assert_eq!(served, changed.world);
        assert_eq!(directory::world(&second).unwrap(), changed.world);
        directory::Directory::open(&second).unwrap();
        let old = serve(&first, &first_link).unwrap_err();
        assert!(old.message.contains("newer than version 1"), "{old}");

        // The second holds no key for this world.
        let not_here = remove(&second, &served.supernodes()[0].key.node_id().to_string()).unwrap_err();
        assert!(not_here.message.contains("where the world was made"), "{not_here}");
        let id = served.supernodes()[1].key.node_id().to_string();
        assert!(remove(&first, &id[..9]).is_err());
        let changed = remove(&first, &id[..10].to_uppercase()).unwrap();
        assert_eq!((changed.world.version(), changed.world.supernodes().len()), (3, 1));
        let id = changed.world.supernodes()[0].key.node_id().to_string();
        assert!(remove(&first, &id).unwrap_err().message.contains("needs one"));
    }

    #[test]
    fn a_supernode_is_reached_elsewhere_once_its_operator_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = made(&directory, "first", "192.0.2.1:9600");
        let addresses = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<Endpoint>>()
        };
        let elsewhere = addresses(&["192.0.2.9:9600", "tcp/192.0.2.9:8443"]);
        let changed = readdress(&path, elsewhere.clone()).unwrap();
        assert_eq!((changed.world.version(), changed.count), (2, 1));
        assert_eq!(directory::world(&path).unwrap().supernodes()[0].endpoints, elsewhere);
        assert!(readdress(&path, elsewhere).unwrap_err().message.contains("already"));
        let refused = readdress(&path, addresses(&["tcp/192.0.2.9:443"])).unwrap_err();
        assert!(refused.message.contains("over UDP"), "{refused}");
        assert_eq!(directory::world(&path).unwrap(), changed.world);
    }

    #[test]
    fn ids_that_begin_alike_are_told() {
        let supernode = |number: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            let identity = Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap();
            Supernode {
                key: identity.public(),
                endpoints: vec!["192.0.2.1:9600".parse().unwrap()],
            }
        };
        let two = [supernode(1), supernode(2)];
        assert_eq!(same_tag(&two), None);
        let twice = [supernode(1), supernode(2), supernode(1)];
        assert_eq!(same_tag(&twice), Some(two[0].key.node_id()));
    }

    #[test]
    fn new_addresses_of_a_listed_supernode_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = made(&directory, "first", "192.0.2.1:9600");
        let (second, link) = made(&directory, "second", "192.0.2.2:9600");
        add(&first, &link).unwrap();
        let mut moved = directory::world(&second).unwrap().supernodes().to_vec();
        moved[0].endpoints = vec!["192.0.2.3:9600".parse().unwrap()];
        let link = Link::Supernode(
            sign(&second, &directory::world(&second).unwrap(), moved.clone(), 1)
                .unwrap()
                .world,
        );
        let changed = add(&first, &link.to_string()).unwrap();
        assert_eq!(changed.world.supernodes()[1], moved[0]);
    }

    #[tokio::test]
    async fn a_newer_list_does_not_undo_what_the_operator_put_into_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = made(&directory, "first", "192.0.2.1:9600");
        let (second, link) = made(&directory, "second", "192.0.2.2:9600");
        let old = directory::world(&second).unwrap();
        let supernodes = old.supernodes().to_vec();
        let operator = secret_file::load(&second.join(OPERATOR), Work::NONE).unwrap();
        let version = |version| World::sign(&operator, version, supernodes.clone()).unwrap();

        assert_eq!(keep(&second, &version(3)).unwrap(), version(3));
        assert_eq!(directory::world(&second).unwrap(), version(3));
        assert_eq!(keep(&second, &version(2)).unwrap(), version(3));
        assert_eq!(directory::world(&second).unwrap(), version(3));

        // It is told of a newer version of the old world before it has looked at the file.
        add(&first, &link).unwrap();
        let other = serve(&second, &directory::link(&first).unwrap().to_string()).unwrap();
        let (data_plane, mut requests) = DataPlane::channel();
        let (events, mut received) = mpsc::channel(2);
        for world in [version(4), version(5)] {
            let world = Box::new(world);
            events.send(Event::WorldChanged { world }).await.unwrap();
        }
        let (served, _) = watch::channel(version(3));
        let followed = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                ended = follow(&second, &data_plane, &mut received, &served, |_| {}) => panic!("{ended:?}"),
                () = async {
                    for expected in [version(3), other.clone()] {
                        loop {
                            if let Some(Request::HoldWorld { world }) = requests.recv().await {
                                assert_eq!(*world, expected);
                                break;
                            }
                        }
                    }
                    // Both reports are taken in.
                    while events.capacity() < 2 {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
        });
        followed.await.unwrap();
        assert_eq!(directory::world(&second).unwrap(), other);
        assert_eq!(*served.borrow(), other);
    }

    #[tokio::test]
    async fn a_list_changed_in_the_file_is_served_without_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = made(&directory, "first", "192.0.2.1:9600");
        let (_, link) = made(&directory, "second", "192.0.2.2:9600");
        let (data_plane, mut requests) = DataPlane::channel();
        let (_events, mut received) = mpsc::channel(1);
        let (served, _) = watch::channel(directory::world(&first).unwrap());
        add(&first, &link).unwrap();
        let followed = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                ended = follow(&first, &data_plane, &mut received, &served, |_| {}) => panic!("{ended:?}"),
                () = async {
                    for version in [1, 2] {
                        let Some(Request::HoldWorld { world }) = requests.recv().await else { panic!("a list") };
                        assert_eq!(world.version(), version);
                        let Some(Request::SetWorld { anchors, .. }) = requests.recv().await else { panic!("addresses") };
                        assert_eq!(anchors.len(), usize::try_from(version).unwrap());
                    }
                } => {}
            }
        });
        followed.await.unwrap();
    }
}
