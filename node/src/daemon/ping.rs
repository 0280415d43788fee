//! One round trip to a peer, asked for by the API and answered by an event.

use std::{net::IpAddr, time::Duration};

use farlan_crypto::NodeId;
use farlan_engine::{Event, Target};

use super::{Book, Daemon, names::unresolved, pending::Pending, worlds::SHORTEST_PREFIX};
use crate::{
    api::{PingReply, PingRequest, SCHEMA, milliseconds},
    failure::Failure,
    names::Unresolved,
    shell::{Request, Snapshot},
};

/// The pings under way.
pub(super) type Pings = Pending<Result<PingReply, Failure>>;

/// What the daemon answers when a pong has come.
pub(super) fn pong(event: Event) -> Option<(u64, PingReply)> {
    let Event::Pong {
        token,
        node,
        rtt,
        path,
        address,
        supernode,
        tcp,
    } = event
    else {
        return None;
    };
    let reply = PingReply {
        schema: SCHEMA,
        node_id: node.to_string(),
        path: path.to_string(),
        address,
        supernode: supernode.map(|supernode| supernode.to_string()),
        tcp,
        rtt_ms: milliseconds(rtt),
    };
    Some((token, reply))
}

impl Daemon {
    /// Measures one round trip to a peer.
    ///
    /// # Errors
    /// Nobody is called that; nobody is known to the supernode by that id or address; no answer came in time.
    pub async fn ping(&self, request: &PingRequest) -> Result<PingReply, Failure> {
        let timeout = Duration::from_millis(request.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS).min(LONGEST_TIMEOUT_MS));
        let snapshot = self.data_plane.snapshot().await?;
        let target = {
            let book = self.book.lock().await;
            self.take_names(&book, &snapshot);
            self.target(&book, &snapshot, &request.peer)?
        };
        let target = target.ok_or_else(|| {
            Failure::negative(format_args!(
                "no peer is known whose id begins with {:?}; `farlan peers` shows those that are",
                request.peer
            ))
        })?;
        let (token, answer) = self.pings.begin();
        self.data_plane.send(Request::Ping { target, token }).await?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::negative("the ping was lost")),
            Err(_) => {
                self.pings.forget(token);
                Err(Failure::timeout(format_args!(
                    "no answer from {} within {timeout:?}",
                    request.peer
                )))
            }
        }
    }

    /// Whom `peer` means; nobody, if no known peer's id begins so.
    pub(super) fn target(&self, book: &Book, snapshot: &Snapshot, peer: &str) -> Result<Option<Target>, Failure> {
        if let Ok(address) = peer.parse::<IpAddr>() {
            return Self::target_at(book, snapshot, address).map(Some);
        }
        // Anybody may call himself as somebody else's id begins, so ids go first.
        match (self.target_by_id(snapshot, peer), self.names.directory().resolve(peer)) {
            (Ok(Some(target)), _) => Ok(Some(target)),
            (_, Ok(found)) if found.own => Err(Failure::negative("that is this node itself")),
            (_, Ok(found)) => Ok(Some(Target::Node(found.node))),
            (_, Err(several @ Unresolved::Several(_))) => Err(unresolved(peer, several)),
            (by_id, Err(Unresolved::Unknown)) => by_id,
        }
    }

    fn target_by_id(&self, snapshot: &Snapshot, peer: &str) -> Result<Option<Target>, Failure> {
        let prefix = peer.to_ascii_lowercase();
        if prefix.len() < SHORTEST_PREFIX || prefix.len() > NodeId::TEXT {
            return Err(Failure::usage(format_args!(
                "{peer:?} is no peer: give its name, a node id, at least {SHORTEST_PREFIX} letters of one, or an \
                 address in one of the networks; `farlan peers` shows them"
            )));
        }
        if self.node_id().to_string().starts_with(&prefix) {
            return Err(Failure::negative("that is this node itself"));
        }
        if let Ok(node) = prefix.parse::<NodeId>() {
            return Ok(Some(Target::Node(node)));
        }
        let mut matching = snapshot
            .peers
            .iter()
            .filter(|known| known.node.to_string().starts_with(&prefix));
        match (matching.next(), matching.next()) {
            (Some(known), None) => Ok(Some(Target::Node(known.node))),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Failure::negative(format_args!(
                "several peers' ids begin with {prefix:?}"
            ))),
        }
    }

    fn target_at(book: &Book, snapshot: &Snapshot, address: IpAddr) -> Result<Target, Failure> {
        if snapshot.networks.iter().any(|network| match address {
            IpAddr::V4(v4) => network.ipv4 == Some(v4),
            IpAddr::V6(v6) => network.ipv6 == v6 || network.link_local == v6,
        }) {
            return Err(Failure::negative("that is this node itself"));
        }
        let joined = book.networks.joined().find(|joined| joined.contains(address));
        joined
            .map(|joined| Target::Address(joined.handle(), address))
            .ok_or_else(|| {
                Failure::negative(format_args!(
                    "{address} is in none of the networks joined here; `farlan networks` shows their addresses"
                ))
            })
    }
}

/// How long a ping waits if not told otherwise: the first contact over a relay on the far side of the earth, with a lost
/// packet or two.
const DEFAULT_TIMEOUT_MS: u64 = 5_000;

/// How long a ping may wait at most.
const LONGEST_TIMEOUT_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Work, random::SystemRandom};
    use farlan_engine::PathKind;

    use super::*;

    #[tokio::test]
    async fn answers_find_who_waits_for_them() {
        let pings = Pings::default();
        let node = Identity::generate(&mut SystemRandom::from_os().unwrap(), Work::NONE).node_id();
        let (first, first_answer) = pings.begin();
        let (second, second_answer) = pings.begin();
        let (third, _) = pings.begin();
        pings.end(second, Err(Failure::negative("nobody has that address")));
        let address = "192.0.2.1:9600".parse().unwrap();
        let event = Event::Pong {
            token: first,
            node,
            rtt: Duration::from_micros(1500),
            path: PathKind::Relay,
            address,
            supernode: Some(node),
            tcp: false,
        };
        let (token, reply) = pong(event).unwrap();
        pings.end(token, Ok(reply));
        let reply = first_answer.await.unwrap().unwrap();
        assert_eq!(
            (reply.path.as_str(), reply.rtt_ms, reply.address, reply.supernode),
            ("relay", 1.5, address, Some(node.to_string()))
        );
        assert_eq!(
            second_answer.await.unwrap().unwrap_err(),
            Failure::negative("nobody has that address")
        );
        pings.forget(third);
        pings.end(third, Err(Failure::negative("too late")));
        assert!(pings.is_empty());
    }
}
