//! From the `HOST:PORT` of an operator to addresses, and keeping them fresh.

use std::{net::SocketAddr, time::Duration};

use farlan_crypto::PublicKey;
use farlan_engine::Anchor;
use farlan_netconf::{Endpoint, Supernode, World};
use tokio::task::JoinHandle;

use crate::shell::{DataPlane, DataPlaneError, Request};

/// A supernode in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) key: PublicKey,
    /// Where this node reaches it, inside the machine: what the others use may not lead back into it.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Own {
    pub(super) fn is_in(&self, world: &World) -> bool {
        world.supernodes().iter().any(|supernode| supernode.key == self.key)
    }

    fn anchor(&self) -> Anchor {
        Anchor {
            key: self.key,
            addresses: self.addresses.clone(),
            streams: Vec::new(),
        }
    }
}

/// The supernodes of `world` with those of their addresses that are written as numbers.
fn literal(world: &World, own: Option<&Own>) -> Vec<Anchor> {
    let anchor = |supernode: &Supernode| match own.filter(|own| own.key == supernode.key) {
        Some(own) => own.anchor(),
        None => Anchor {
            key: supernode.key,
            addresses: written(supernode, false),
            streams: written(supernode, true),
        },
    };
    world.supernodes().iter().map(anchor).collect()
}

/// The addresses of a supernode that are written as numbers: those for streams, or the others.
fn written(supernode: &Supernode, tcp: bool) -> Vec<SocketAddr> {
    let endpoints = supernode.endpoints.iter().filter(|endpoint| endpoint.is_tcp() == tcp);
    endpoints.filter_map(Endpoint::address).collect()
}

/// The supernodes of `world` with all their addresses, names looked up; and whether every name was found.
pub(super) async fn resolve(world: &World) -> (Vec<Anchor>, bool) {
    resolve_beside(world, None).await
}

/// The same where one of them may be in this process.
async fn resolve_beside(world: &World, own: Option<&Own>) -> (Vec<Anchor>, bool) {
    let mut anchors = Vec::new();
    let mut complete = true;
    for supernode in world.supernodes() {
        if let Some(own) = own.filter(|own| own.key == supernode.key) {
            anchors.push(own.anchor());
            continue;
        }
        let (mut addresses, mut streams) = (Vec::new(), Vec::new());
        for endpoint in &supernode.endpoints {
            let found = look_up(endpoint).await;
            complete &= !found.is_empty();
            let kind = if endpoint.is_tcp() {
                &mut streams
            } else {
                &mut addresses
            };
            kind.extend(found);
        }
        addresses.dedup();
        streams.dedup();
        anchors.push(Anchor {
            key: supernode.key,
            addresses,
            streams,
        });
    }
    (anchors, complete)
}

async fn look_up(endpoint: &Endpoint) -> Vec<SocketAddr> {
    if let Some(address) = endpoint.address() {
        return vec![address];
    }
    match tokio::net::lookup_host((endpoint.host(), endpoint.port())).await {
        // Sorted, since servers rotate their answers and a new order is no news.
        Ok(found) => {
            let mut found: Vec<_> = found.take(MOST_ADDRESSES).collect();
            found.sort();
            found
        }
        Err(error) => {
            tracing::debug!(%endpoint, %error, "cannot look up a supernode");
            Vec::new()
        }
    }
}

/// Makes a world known to the data plane: at once what needs no looking up, so that it can be used, and then the rest, as
/// long as the result lives.
///
/// # Errors
/// The data plane has ended.
pub async fn hand_over(data_plane: &DataPlane, world: &World) -> Result<Resolver, DataPlaneError> {
    hand_over_beside(data_plane, world, None).await
}

/// The same where one of its supernodes may be in this process.
pub(super) async fn hand_over_beside(
    data_plane: &DataPlane,
    world: &World,
    own: Option<&Own>,
) -> Result<Resolver, DataPlaneError> {
    let list = Box::new(world.clone());
    data_plane.send(Request::HoldWorld { world: list }).await?;
    let (id, anchors) = (world.id(), literal(world, own));
    data_plane.send(Request::SetWorld { world: id, anchors }).await?;
    let kept = keep_resolved(data_plane.clone(), world.clone(), own.cloned());
    Ok(Resolver(tokio::spawn(kept)))
}

/// Keeps the addresses of a world's supernodes fresh until it is dropped.
#[derive(Debug)]
pub struct Resolver(JoinHandle<()>);

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the data plane the addresses of a world's supernodes whenever they change, for ever.
async fn keep_resolved(data_plane: DataPlane, world: World, own: Option<Own>) {
    let mut told = literal(&world, own.as_ref());
    let mut pause = FIRST_PAUSE;
    loop {
        let (mut anchors, complete) = resolve_beside(&world, own.as_ref()).await;
        if !complete {
            keep_known(&mut anchors, &told);
        }
        if anchors != told {
            told.clone_from(&anchors);
            if data_plane
                .send(Request::SetWorld {
                    world: world.id(),
                    anchors,
                })
                .await
                .is_err()
            {
                return;
            }
        }
        if complete {
            pause = FIRST_PAUSE;
            tokio::time::sleep(REFRESH).await;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// While a name cannot be looked up, a supernode keeps the addresses it had.
fn keep_known(anchors: &mut [Anchor], told: &[Anchor]) {
    let keep = |known: &mut Vec<SocketAddr>, before: &[SocketAddr]| {
        let missing: Vec<_> = before
            .iter()
            .copied()
            .filter(|address| !known.contains(address))
            .collect();
        known.extend(missing);
        known.truncate(MOST_KEPT);
    };
    for (anchor, before) in anchors.iter_mut().zip(told) {
        keep(&mut anchor.addresses, &before.addresses);
        keep(&mut anchor.streams, &before.streams);
    }
}

/// Most addresses taken of one name.
const MOST_ADDRESSES: usize = 8;

/// Most addresses kept of a supernode: those of 8 endpoints, and as many that were known before.
const MOST_KEPT: usize = 16;

/// How often names that are known are looked up again.
const REFRESH: Duration = Duration::from_secs(300);

/// How soon a name that was not found is looked up again; doubled at each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How seldom that becomes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Work, random::SystemRandom};

    use super::*;

    fn world(endpoints: &[&str]) -> World {
        world_of(&[endpoints])
    }

    /// A world of supernodes with these endpoints.
    fn world_of(all: &[&[&str]]) -> World {
        let mut random = SystemRandom::from_os().unwrap();
        let supernodes = all.iter().map(|endpoints| Supernode {
            key: Identity::generate(&mut random, Work::NONE).public(),
            endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
        });
        let supernodes = supernodes.collect();
        let operator = Identity::generate(&mut random, Work::NONE);
        World::sign(&operator, 1, supernodes).unwrap()
    }

    #[tokio::test]
    async fn of_several_supernodes_only_the_one_in_this_process_is_reached_inside_the_machine() {
        let world = world_of(&[&["name.invalid:9600", "tcp/192.0.2.1:443"], &["192.0.2.2:9600"]]);
        let own = Own {
            key: world.supernodes()[0].key,
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9600))],
        };
        assert!(own.is_in(&world));
        let (anchors, complete) = resolve_beside(&world, Some(&own)).await;
        // The own one's name is not looked up.
        assert!(complete);
        assert_eq!(anchors, literal(&world, Some(&own)));
        assert_eq!((&anchors[0].addresses, &anchors[0].streams), (&own.addresses, &vec![]));
        assert_eq!(anchors[1].addresses, [SocketAddr::from(([192, 0, 2, 2], 9600))]);
    }

    #[tokio::test]
    async fn numbers_need_no_looking_up_and_unknown_names_are_told() {
        let world = world(&[
            "192.0.2.1:9600",
            "name.invalid:9600",
            "[2001:db8::1]:9601",
            "tcp/192.0.2.1:443",
            "tcp/name.invalid:443",
        ]);
        let literal = literal(&world, None);
        assert_eq!((literal[0].addresses.len(), literal[0].streams.len()), (2, 1));
        let (anchors, complete) = resolve(&world).await;
        assert!(!complete);
        assert_eq!(anchors, literal);
    }

    #[test]
    fn a_lost_answer_does_not_lose_addresses() {
        let key = world(&["192.0.2.1:1"]).supernodes()[0].key;
        let anchor = |ports: &[u16]| Anchor {
            key,
            addresses: ports
                .iter()
                .map(|port| SocketAddr::new([192, 0, 2, 1].into(), *port))
                .collect(),
            streams: Vec::new(),
        };
        let mut now = [anchor(&[])];
        keep_known(&mut now, &[anchor(&[1, 2])]);
        assert_eq!(now, [anchor(&[1, 2])]);
        let mut now = [anchor(&[3, 4])];
        keep_known(&mut now, &[anchor(&[1, 4])]);
        assert_eq!(now, [anchor(&[3, 4, 1])]);
    }
}
