//! Rounds by a fresh socket, for where a way that worked broke and is not found again.
//!
//! When this end's NAT begins to give other ports or gets another address, what it sends to the peer arrives unasked. Some
//! routers keep an entry for what they refuse ([`crate::direct::OPENING`]), and send their own side's datagrams to where that
//! came from by another port than the one this end knows, for as long as anything comes. A socket from which nothing has
//! gone anywhere has no such past: where a supernode sees it becomes one more candidate, and the peer's are tried by it.
//!
//! Nothing here is needed where a round finds a way by itself, so it has the first word.
//!
//! A search may come to such a grudge, too: the hard end's main socket tries the easy end's endpoint, is refused, and one of the
//! ports that the easy end then tries is that socket's. From there on its router sends by another port to wherever it tries,
//! while the hard end has opened its ports towards the one it knows. So the search after one that found nothing goes by a fresh
//! socket of the easy end.

use std::{net::SocketAddr, time::Duration};

use tracing::debug;

use crate::{
    Engine, Leg, Outbox, Socket, Time,
    content::Content,
    peers::{Path, Peer, PeerId},
    retry::{Retry, Schedule},
    sockets::Purpose,
    wire::control::Control,
};

/// A round has so long before a socket is opened; the end with the higher node id waits longer, since one socket will do.
const FIRST: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_millis(2500);

/// A socket by which no way was found is closed after this time, or so long after a search by it.
const KEPT: Duration = Duration::from_secs(6);
const KEPT_AFTER: Duration = Duration::from_secs(1);

/// One is opened for the next search with a peer if that may begin within this time.
const SEARCHED_SOON: Duration = Duration::from_secs(3);

/// How a supernode is asked where it sees the socket, and how often.
const LOOK: Schedule = Schedule {
    first: Duration::from_millis(400),
    steady: 3,
    longest: Duration::from_millis(400),
};
const LOOKS: u32 = 3;

/// The fresh socket towards one peer.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// When one is to be opened, unless a way is found before; and whether that is for a search.
    due: Option<Time>,
    for_search: bool,
    open: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    socket: Socket,
    supernode: PeerId,
    /// The address of it that is asked.
    at: SocketAddr,
    token: u64,
    look: Retry,
    /// Where the supernode sees it, and whether the peer was told.
    seen: Option<SocketAddr>,
    told: bool,
    until: Time,
}

impl Fresh {
    /// A round begins, after a way that worked was lost.
    fn plan(&mut self, at: Time) {
        if self.open.is_none() {
            self.due.get_or_insert(at);
        }
    }

    /// A search found nothing, and the next one is near.
    fn plan_search(&mut self, now: Time) {
        if self.open.is_none() {
            self.due = Some(now);
            self.for_search = true;
        }
    }

    /// The socket and where it is seen from outside, as the peer was told, as long as ways are sought by it.
    pub(crate) fn seen(&self) -> Option<(Socket, SocketAddr)> {
        let open = self.open.as_ref().filter(|open| open.told)?;
        open.seen.map(|seen| (open.socket, seen))
    }

    /// Whether a socket is about to be told.
    pub(crate) fn is_coming(&self) -> bool {
        let coming = |open: &Opened| !open.told && (open.seen.is_some() || open.look.sent() < LOOKS);
        (self.due.is_some() && self.for_search) || self.open.as_ref().is_some_and(coming)
    }

    /// The socket, if one is open.
    pub(crate) fn socket(&self) -> Option<Socket> {
        self.open.as_ref().map(|open| open.socket)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let open = self.open.as_ref().map(|open| match open.seen {
            Some(_) if !open.told => Time::ZERO,
            None if open.look.sent() < LOOKS => open.look.at().min(open.until),
            _ => open.until,
        });
        open.into_iter().chain(self.due).min()
    }
}

impl Engine {
    /// A round with a peer began: a fresh socket follows where a way was lost that worked before.
    pub(crate) fn plan_fresh(&mut self, now: Time, id: PeerId) {
        let own = self.node_id;
        if let Some(peer) = self.peers.get_mut(id)
            && peer.history.lost.is_some()
        {
            let wait = if own < peer.key.node_id() { FIRST } else { SECOND };
            peer.exchange.fresh.plan(now + wait);
        }
    }

    /// This end tried ports of the peer in vain: the next search goes by a fresh socket.
    pub(crate) fn plan_fresh_for_search(&mut self, now: Time, id: PeerId) {
        let soon = self.search_pause(id).is_none_or(|at| at.since(now) <= SEARCHED_SOON);
        if let Some(peer) = self.peers.get_mut(id).filter(|_| soon) {
            peer.exchange.fresh.plan_search(now);
        }
    }

    /// Opens the socket, has it seen, tells the peer and tries its endpoints by it; and gives it up.
    pub(crate) fn tend_fresh(&mut self, now: Time, id: PeerId, used: bool, out: &mut Outbox) {
        let (searched, probed) = (self.searches.is_for(id), self.searches.probes(id));
        let Some(peer) = self.peers.get_mut(id) else { return };
        let found = peer.direct.active();
        let fresh = &mut peer.exchange.fresh;
        if fresh.deadline().is_none() {
            return;
        }
        let mut over = false;
        if let Some(open) = &mut fresh.open {
            if searched && open.told {
                open.until = open.until.max(now + KEPT_AFTER);
            }
            // A search goes by what the other end knew when it began.
            over = open.until <= now || (probed && open.seen.is_some() && !open.told);
        }
        if found.is_some() || over {
            let told = found.is_none() && fresh.open.as_ref().is_some_and(|open| open.told);
            fresh.due = None;
            fresh.for_search = false;
            // As one of a path it lives on as long as that.
            if let Some(Opened { socket, .. }) = fresh.open.take() {
                peer.direct.forget_tried_by(socket);
                if !peer.direct.sockets().any(|used| used == socket) {
                    self.sockets.close(socket);
                }
            }
            // The other end is not to open towards a socket that is no more.
            if told && used {
                self.tell_candidates(now, id, false, out);
            }
            return;
        }
        if fresh.due.take_if(|due| *due <= now).is_some() {
            let for_search = std::mem::take(&mut fresh.for_search);
            if used {
                self.open_fresh(now, id, for_search);
            }
        }
        self.look_at_fresh(now, id, out);
        let fresh = self.peers.get_mut(id).map(|peer| &mut peer.exchange.fresh);
        let open = fresh.and_then(|fresh| fresh.open.as_mut());
        if let Some(open) = open.filter(|open| open.seen.is_some() && !open.told) {
            open.told = true;
            self.tell_candidates(now, id, false, out);
            self.try_candidates(now, id);
        }
    }

    fn open_fresh(&mut self, now: Time, id: PeerId, for_search: bool) {
        let Some(peer) = self.peers.get(id) else { return };
        let theirs = peer.exchange.their_behaviour().unwrap_or_default();
        // Where every far end sees another port, what a supernode sees is of no use to the peer; and where that is so at the
        // other end, to nothing but a search.
        if self.behaviour().mapping.is_dependent() || (theirs.mapping.is_dependent() && !for_search) {
            return;
        }
        let Some((supernode, at)) = self.seeing_supernode(peer) else {
            return;
        };
        let token = self.random_u64();
        let Some(socket) = self.sockets.open(Purpose::Path) else {
            return;
        };
        debug!(peer = %self.name(id), "trying by a fresh socket");
        self.sweep_soon(now);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exchange.fresh.open = Some(Opened {
                socket,
                supernode,
                at,
                token,
                look: Retry::due(LOOK, now),
                seen: None,
                told: false,
                until: now + KEPT,
            });
        }
    }

    /// A supernode that sees this node over UDP as the peer would.
    fn seeing_supernode(&self, peer: &Peer) -> Option<(PeerId, SocketAddr)> {
        let ipv6 = peer.exchange.named_addresses().next()?.is_ipv6();
        let sees = |id: PeerId| Some((id, self.way_of_family(id, ipv6)?));
        self.directory.homes().find_map(sees)
    }

    fn look_at_fresh(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let fresh = self.peers.get_mut(id).map(|peer| &mut peer.exchange.fresh);
        let Some(open) = fresh.and_then(|fresh| fresh.open.as_mut()) else {
            return;
        };
        if open.seen.is_some() || open.look.sent() >= LOOKS || open.look.at() > now {
            return;
        }
        open.look.again(now);
        let (supernode, socket, token) = (open.supernode, open.socket, open.token);
        let endpoint = open.at;
        let look = Content::Control(&[Control::Look { token, flags: 0 }]);
        let leg = Leg { socket, endpoint };
        self.send_along(now, supernode, (Path::Direct(leg), None), look, out);
    }

    /// A supernode says where it sees a socket.
    pub(crate) fn fresh_seen(&mut self, supernode: PeerId, token: u64, endpoint: SocketAddr) {
        for id in self.peers.ids() {
            let fresh = self.peers.get_mut(id).map(|peer| &mut peer.exchange.fresh);
            let open = fresh.and_then(|fresh| fresh.open.as_mut());
            if let Some(open) = open.filter(|open| (open.supernode, open.token) == (supernode, token)) {
                // What is told and tried waits for the timers, like all that is tried.
                open.seen.get_or_insert(endpoint);
                return self.arm(id);
            }
        }
    }
}
