//! The ways on which an initiation went, and the cookies that came back on them.
//!
//! A responder under load sees where an initiation comes from and gives a cookie for that; the same node is seen elsewhere on
//! another way, and gets another cookie there.

use std::collections::VecDeque;

use crate::{
    Engine, Leg, Outbox, Time,
    gate::{COOKIE_DATAGRAM, COOKIE_USED, Cookie, open_cookie, put_second_mac},
    handshakes::Via,
    peers::{Path, PeerId},
    wire::datagram::{RelayIndex, RelayTarget, SessionIndex, SupernodeTag},
};

/// A way to a peer, as far as it decides where the peer sees this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Direct(Leg),
    /// Over a supernode of this node at which the peer is registered, too.
    Relay(PeerId),
    /// Over a supernode of this node and another one.
    Relays(PeerId, SupernodeTag),
    Passed(SupernodeTag, RelayIndex),
}

impl From<Path> for Route {
    fn from(path: Path) -> Self {
        match path {
            Path::Direct(address) => Self::Direct(address),
            Path::Relay {
                supernode,
                target: RelayTarget::Remote { supernode: second, .. },
            } => Self::Relays(supernode, second),
            Path::Relay { supernode, .. } => Self::Relay(supernode),
            Path::Passed { sibling, index } => Self::Passed(sibling, index),
        }
    }
}

impl From<Via> for Route {
    fn from(via: Via) -> Self {
        via.path().into()
    }
}

/// The routes of one handshake's initiation. A cookie outlives the handshake, for the one that takes its place.
#[derive(Debug, Default)]
pub(crate) struct Routes(VecDeque<Taken>);

#[derive(Debug)]
struct Taken {
    route: Route,
    /// Whether this handshake's initiation went there.
    went: bool,
    /// Whether it was sent again for a cookie since it was last sent by its schedule.
    hastened: bool,
    cookie: Option<(Time, Cookie)>,
}

/// Routes that are remembered: two straight ones and the relays that were tried meanwhile.
const MAX_ROUTES: usize = 12;

impl Routes {
    /// The initiation goes there.
    pub(crate) fn go(&mut self, route: Route) {
        match self.0.iter_mut().find(|taken| taken.route == route) {
            Some(taken) => {
                taken.went = true;
                taken.hastened = false;
            }
            None => {
                if self.0.len() >= MAX_ROUTES {
                    self.0.pop_front();
                }
                self.0.push_back(Taken {
                    route,
                    went: true,
                    hastened: false,
                    cookie: None,
                });
            }
        }
    }

    /// Whether it went there.
    pub(crate) fn went(&self, route: Route) -> bool {
        self.0.iter().any(|taken| taken.route == route && taken.went)
    }

    /// The cookie for a route.
    pub(crate) fn cookie(&self, now: Time, route: Route) -> Option<Cookie> {
        let taken = self.0.iter().find(|taken| taken.route == route)?;
        let (since, cookie) = taken.cookie?;
        (now.since(since) < COOKIE_USED).then_some(cookie)
    }

    /// A cookie came back from there; returns whether the initiation is to be sent there again at once.
    fn keep(&mut self, now: Time, route: Route, cookie: Cookie) -> bool {
        let taken = self.0.iter_mut().find(|taken| taken.route == route && taken.went);
        let Some(taken) = taken else { return false };
        taken.cookie = Some((now, cookie));
        !std::mem::replace(&mut taken.hastened, true)
    }

    /// For the handshake that takes this one's place.
    pub(crate) fn for_the_next(mut self) -> Self {
        self.0.retain(|taken| taken.cookie.is_some());
        for taken in &mut self.0 {
            taken.went = false;
            taken.hastened = false;
        }
        self
    }
}

impl Engine {
    /// A responder under load asks for proof of where this node is.
    pub(crate) fn cookie_received(
        &mut self,
        now: Time,
        via: Via,
        receiver: SessionIndex,
        datagram: &[u8],
        out: &mut Outbox,
    ) {
        if datagram.len() != COOKIE_DATAGRAM {
            self.counters.malformed_datagrams += 1;
            return;
        }
        let id = self.peers.by_session(receiver);
        let peer = id.and_then(|id| self.peers.get_mut(id));
        let key = peer.as_ref().map(|peer| peer.key);
        let outgoing = peer.and_then(|peer| peer.outgoing.as_mut());
        let (Some(outgoing), Some(key)) = (outgoing.filter(|outgoing| outgoing.local() == receiver), key) else {
            self.counters.unknown_session += 1;
            return;
        };
        let route = Route::from(via);
        let cookie = Some(outgoing.datagram())
            .filter(|_| outgoing.routes.went(route))
            .and_then(|initiation| open_cookie(&key, datagram, initiation));
        let Some(cookie) = cookie else {
            self.counters.forged += 1;
            return;
        };
        self.counters.cookies_received += 1;
        if outgoing.routes.keep(now, route, cookie) {
            let mut again = Vec::new();
            put_second_mac(Some(cookie), outgoing.datagram(), &mut again);
            self.transmit(via.path(), out, |bytes| bytes.extend_from_slice(&again));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use farlan_crypto::NodeId;

    use super::*;

    #[test]
    fn routes_are_what_the_other_end_can_tell_apart() {
        let supernode = PeerId::for_test(1);
        let relay = |target| Route::from(Path::Relay { supernode, target });
        let node = relay(RelayTarget::Node(NodeId::from_bytes([1; 16])));
        assert_eq!(node, relay(RelayTarget::Index(RelayIndex(7))));
        let remote = |tag| RelayTarget::Remote {
            supernode: SupernodeTag([tag; 3]),
            index: RelayIndex(7),
        };
        assert_ne!(node, relay(remote(1)));
        assert_ne!(relay(remote(1)), relay(remote(2)));
    }

    #[test]
    fn only_where_it_went_a_handshake_takes_cookies() {
        let route = |port| Route::Direct(std::net::SocketAddr::from(([192, 0, 2, 1], port)).into());
        let mut routes = Routes::default();
        let cookie = Cookie::for_test(1);
        let now = Time::ZERO + Duration::from_secs(1);
        assert!(!routes.keep(now, route(1), cookie));
        routes.go(route(1));
        assert!(routes.went(route(1)) && !routes.went(route(2)));
        assert!(routes.keep(now, route(1), cookie));
        assert!(!routes.keep(now, route(1), cookie), "once between two sendings");
        assert!(!routes.keep(now, route(2), cookie));
        routes.go(route(1));
        assert!(routes.keep(now, route(1), cookie));
        assert_eq!(routes.cookie(now, route(1)), Some(cookie));
        assert_eq!(routes.cookie(now, route(2)), None);
        assert_eq!(routes.cookie(now + Duration::from_secs(120), route(1)), None);
        // The next handshake has the cookie, and takes none before it went there itself.
        let mut next = routes.for_the_next();
        assert!(!next.went(route(1)));
        assert_eq!(next.cookie(now, route(1)), Some(cookie));
        assert!(!next.keep(now, route(1), cookie));
        for port in 0..1000 {
            next.go(route(port));
        }
        assert_eq!(next.0.len(), MAX_ROUTES);
    }
}
