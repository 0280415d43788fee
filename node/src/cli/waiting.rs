//! After joining: until the network is of use, or it is clear what stands in the way.

use std::time::{Duration, Instant};

use super::client::Client;
use crate::{
    api::{Membership, Network, Peer, Status, Supernode},
    daemon::speaks_version,
    failure::Failure,
    shell::time_of_day,
};

/// A network some time after it was joined.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) network: Network,
    /// The peers in it.
    pub(super) peers: Vec<Peer>,
    /// What the user should know about that: no supernode answers, and a member was found all the same.
    pub(super) note: Option<String>,
}

/// Waits until the supernode has told the members, this node holds its addresses and has met a peer if there is one, at
/// most 10 s. Where no supernode answers, a member that was found on the own link does as well.
///
/// # Errors
/// No supernode of the network's world answers, nor does a member; the network was left meanwhile.
pub(super) async fn until_useful(client: &Client, network: &Network) -> Result<Arrived, Failure> {
    let begun = Instant::now();
    let mut listed_since = None;
    loop {
        let status: Status = client.get("/v1/status").await?;
        let networks: Vec<Network> = client.get("/v1/networks").await?;
        let peers: Vec<Peer> = client.get("/v1/peers").await?;
        let now = networks
            .into_iter()
            .find(|candidate| candidate.network_id == network.network_id)
            .ok_or_else(|| Failure::negative(format_args!("the network {} was left again", network.name)))?;
        let peers = members(peers, &now);
        if let Some(membership) = &now.private
            && membership.refused_for_good
            && membership.state != "certified"
        {
            let reason = membership.refused.as_deref().unwrap_or_default();
            return Err(Failure::negative(format_args!(
                "{} does not let this machine in: {reason}; ask its owner for a new invite",
                now.name
            )));
        }
        // A counted invite lets nobody in before a controller was reached, nor does one that has expired.
        if now.private.as_ref().is_some_and(needs_controller) {
            if begun.elapsed() < LONGEST {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            return Err(unadmitted(&status, &now));
        }
        let obstacle = obstacle(&status, &now);
        let met = peers.iter().any(|peer| peer.path.is_some() && is_member(peer, &now));
        if let Some(found) = obstacle.filter(|_| met && !now.ipv4_pending) {
            let note = Some(without_supernode(found, &status, &now));
            return Ok(Arrived {
                network: now,
                peers,
                note,
            });
        }
        if obstacle.is_none() && !now.ipv4_pending {
            // Others take a moment to be met; one is enough to be of use. In a private network they may be about to say no.
            // Where nobody else is listed, this may be the list of a secret that the others have given up, and a holder about to say no.
            let alone = now.members == 1;
            let patience = match &now.private {
                Some(_) if !alone => LONGEST,
                Some(membership) if is_settled(membership) => Duration::ZERO,
                None if alone => Duration::ZERO,
                _ => MEETING,
            };
            let begun = *listed_since.get_or_insert_with(Instant::now);
            if met || begun.elapsed() >= patience {
                return Ok(Arrived {
                    network: now,
                    peers,
                    note: None,
                });
            }
        }
        if begun.elapsed() >= LONGEST {
            return match obstacle {
                None => Ok(Arrived {
                    network: now,
                    peers,
                    note: None,
                }),
                Some(obstacle) if met => {
                    let note = Some(without_supernode(obstacle, &status, &now));
                    Ok(Arrived {
                        network: now,
                        peers,
                        note,
                    })
                }
                Some(obstacle) => Err(unanswered(obstacle, &status, &now)),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a supernode has told the members of a new network, at most 3 s; what stands in the way if none did.
pub(super) async fn until_announced(client: &Client, network: &Network) -> Result<Option<String>, Failure> {
    let begun = Instant::now();
    loop {
        let status: Status = client.get("/v1/status").await?;
        let networks: Vec<Network> = client.get("/v1/networks").await?;
        let now = networks
            .into_iter()
            .find(|candidate| candidate.network_id == network.network_id);
        let Some(now) = now else {
            return Ok(None);
        };
        if obstacle(&status, &now).is_none() {
            return Ok(None);
        }
        if begun.elapsed() >= ANNOUNCING {
            return Ok(Some(format!(
                "the supernode ({}) does not answer at the moment; others can join once it does",
                supernodes(&status, &now)
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What keeps a network from being of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// No supernode of its world has registered this node.
    Unregistered,
    /// One has, some time ago, and does not say now who is in the network.
    Silent,
}

/// A supernode that died counts as registered until that runs out; only a list of members shows that it is alive.
fn obstacle(status: &Status, network: &Network) -> Option<Obstacle> {
    match (is_registered(status, network), network.members) {
        (false, _) => Some(Obstacle::Unregistered),
        (true, 0) => Some(Obstacle::Silent),
        (true, _) => None,
    }
}

fn members(peers: Vec<Peer>, network: &Network) -> Vec<Peer> {
    let is_member = |peer: &Peer| peer.networks.iter().any(|there| there.network_id == network.network_id);
    peers.into_iter().filter(is_member).collect()
}

/// Whether a peer has shown that it is in a network, where that is a private one.
fn is_member(peer: &Peer, network: &Network) -> bool {
    let mut there = peer.networks.iter();
    there.any(|there| there.network_id == network.network_id && there.member != Some(false))
}

/// Whether nobody but a controller lets this machine in.
fn needs_controller(membership: &Membership) -> bool {
    match membership.state.as_str() {
        "none" | "revoked" => true,
        "provisional" => has_expired(membership),
        _ => false,
    }
}

/// Whether nobody is to be asked any more whether this machine may come in.
fn is_settled(membership: &Membership) -> bool {
    membership.state == "certified" || membership.controller
}

/// Whether what this machine has to show has expired by its clock, which may be wrong.
fn has_expired(membership: &Membership) -> bool {
    let now = time_of_day().get();
    membership.expires.is_some_and(|expires| expires <= now)
}

fn is_registered(status: &Status, network: &Network) -> bool {
    status
        .supernodes
        .iter()
        .any(|supernode| supernode.world == network.world && supernode.registered)
}

/// Nobody has let this machine into a private network.
fn unadmitted(status: &Status, network: &Network) -> Failure {
    let membership = network.private.as_ref();
    let refused = membership.and_then(|membership| membership.refused.as_deref());
    // Who was let in by nobody is told of no members either, so that says nothing about the supernode.
    let cause = match (obstacle(status, network), refused) {
        (_, Some(refused)) => format!("{refused}."),
        (Some(found @ Obstacle::Unregistered), None) => reason(found, status, network),
        (Some(Obstacle::Silent) | None, None) => {
            "the controller of the network does not answer; is its machine on?".to_owned()
        }
    };
    if membership.is_some_and(|membership| membership.state == "revoked") {
        return Failure::timeout(format_args!(
            "this machine, or the invite by which it came, was removed from {}, and no controller has let it in again: {cause} The \
             network stays joined, and farlan keeps asking; see: farlan status",
            network.name
        ));
    }
    if membership.is_some_and(has_expired) {
        return Failure::timeout(format_args!(
            "by this machine's clock the invite has expired, and no controller of {} has let this machine in all the same: {cause} If \
             the clock is right, ask the owner for a new invite. The network stays joined, and farlan keeps asking; see: farlan \
             status",
            network.name
        ));
    }
    Failure::timeout(format_args!(
        "the invite is counted, so a controller of {} has to let this machine in, and none has yet: {cause} The network stays \
         joined, and farlan keeps asking; see: farlan status",
        network.name
    ))
}

/// Said where members were found, and no supernode.
fn without_supernode(obstacle: Obstacle, status: &Status, network: &Network) -> String {
    let reason = reason(obstacle, status, network);
    format!("members were found, but {reason}")
}

fn unanswered(obstacle: Obstacle, status: &Status, network: &Network) -> Failure {
    let reason = reason(obstacle, status, network);
    Failure::timeout(format_args!(
        "{reason} The network {} stays joined: as long as farlan runs it keeps trying; see: farlan status",
        network.name
    ))
}

/// Why no supernode helps.
fn reason(obstacle: Obstacle, status: &Status, network: &Network) -> String {
    let tried = supernodes(status, network);
    match obstacle {
        Obstacle::Unregistered => match other_version(status, network) {
            Some(version) => format!("{}.", speaks_version(&format!("the supernode ({tried})"), version)),
            None => format!("the supernode does not answer ({tried}): is it running, and may UDP reach it?"),
        },
        Obstacle::Silent => format!("the supernode ({tried}) was reached before but does not answer now."),
    }
}

/// The other version of the protocol that a supernode of the network's world speaks, if one does.
fn other_version(status: &Status, network: &Network) -> Option<u8> {
    let in_world = |supernode: &&Supernode| supernode.world == network.world;
    status
        .supernodes
        .iter()
        .filter(in_world)
        .find_map(|supernode| supernode.other_version)
}

/// The supernodes of the network's world, for people.
fn supernodes(status: &Status, network: &Network) -> String {
    let in_world = |supernode: &&Supernode| supernode.world == network.world;
    let tried: Vec<_> = status
        .supernodes
        .iter()
        .filter(in_world)
        .map(|supernode| {
            let address = supernode
                .address
                .as_deref()
                .unwrap_or("an address that cannot be looked up");
            format!(
                "{} at {address}",
                supernode.node_id.get(..10).unwrap_or(&supernode.node_id)
            )
        })
        .collect();
    tried.join(", ")
}

/// How long joining may take.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a supernode may take to hear of a new network before its maker is told that it does not answer.
const ANNOUNCING: Duration = Duration::from_secs(3);

/// How long a first peer may take once this node is in.
const MEETING: Duration = Duration::from_secs(3);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{api::SCHEMA, failure::FailureKind};

    fn status(registered: bool) -> Status {
        let supernode = |world: &str, registered| Supernode {
            tcp: false,
            node_id: "abcdefghijklmnop".into(),
            world: world.into(),
            address: Some("192.0.2.1:9600".into()),
            registered,
            home: registered,
            rtt_ms: None,
            other_version: None,
        };
        Status {
            schema: SCHEMA,
            version: "0".into(),
            node_id: "n".into(),
            public_key: "k".into(),
            port: 9600,
            uptime_s: 1,
            supernodes: vec![supernode("w", registered), supernode("other", true)],
            port_mapping: Default::default(),
            names: Default::default(),
            lan_games: Default::default(),
            hosting: None,
            networks: 1,
            peers: 0,
            twin: None,
            notes: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    fn network(members: u32) -> Network {
        Network {
            name: "lan".into(),
            network_id: "i".into(),
            interface: "fl-lan".into(),
            ipv4: None,
            ipv6: None,
            policy: "friends".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1372,
            subnet: "10.128.0.0/20".into(),
            world: "w".into(),
            members,
            ipv4_pending: true,
            opened: Default::default(),
            lan_games: Default::default(),
            private: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn only_a_supernode_that_tells_the_members_is_alive() {
        assert_eq!(obstacle(&status(true), &network(1)), None);
        assert_eq!(obstacle(&status(true), &network(0)), Some(Obstacle::Silent));
        assert_eq!(obstacle(&status(false), &network(2)), Some(Obstacle::Unregistered));
    }

    #[test]
    fn a_silent_supernode_is_named_with_its_address() {
        for (obstacle, words) in [
            (Obstacle::Silent, "was reached before but does not answer now"),
            (Obstacle::Unregistered, "is it running"),
        ] {
            let failure = unanswered(obstacle, &status(true), &network(0));
            assert_eq!(failure.kind, FailureKind::Timeout);
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.message.contains("abcdefghij at 192.0.2.1:9600"), "{failure}");
            assert_eq!(failure.message.matches("192.0.2.1").count(), 1, "{failure}");
        }
    }

    #[test]
    fn a_supernode_of_another_version_is_named_with_both_versions() {
        let mut status = status(false);
        status.supernodes[0].other_version = Some(2);
        let failure = unanswered(Obstacle::Unregistered, &status, &network(0));
        let words = "the supernode (abcdefghij at 192.0.2.1:9600) speaks version 2 of the farlan protocol, this farlan \
                     version 1: update this one. The network lan stays joined";
        assert!(failure.message.starts_with(words), "{failure}");
    }
}
