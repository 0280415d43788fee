//! Rounds by a fresh socket, for where a way that worked broke and is not found again.
//!
//! When this end's NAT begins to give other ports or gets another address, what it sends to the peer arrives unasked. Some
//! routers keep an entry for what they refuse ([`crate::direct::OPENING`]), and send their own side's datagrams to where that
//! came from by another port than the one this end knows, for as long as anything comes. A socket from which nothing has
//! gone anywhere has no such past: where a supernode sees it becomes one more candidate, and the peer's are tried by it.
//!
//! Nothing here is needed where a round finds a way by itself, so it has the first word.

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

/// A socket by which no way was found is closed after this time.
const KEPT: Duration = Duration::from_secs(6);

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
    /// When one is to be opened, unless a way is found before.
    due: Option<Time>,
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

    /// The socket and where it is seen from outside, as long as ways are sought by it.
    pub(crate) fn seen(&self) -> Option<(Socket, SocketAddr)> {
        let open = self.open.as_ref()?;
        open.seen.map(|seen| (open.socket, seen))
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

    /// Opens the socket, has it seen, tells the peer and tries its endpoints by it; and gives it up.
    pub(crate) fn tend_fresh(&mut self, now: Time, id: PeerId, used: bool, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let found = peer.direct.active();
        let fresh = &mut peer.exchange.fresh;
        if fresh.deadline().is_none() {
            return;
        }
        let over = fresh.open.as_ref().is_some_and(|open| open.until <= now);
        if found.is_some() || over {
            fresh.due = None;
            // As one of a path it lives on as long as that.
            if let Some(open) = fresh.open.take() {
                peer.direct.forget_tried_by(open.socket);
            }
            return;
        }
        if fresh.due.take_if(|due| *due <= now).is_some() && used {
            self.open_fresh(now, id);
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

    fn open_fresh(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let theirs = peer.exchange.their_behaviour().unwrap_or_default();
        // Where every far end sees another port, what a supernode sees is of no use to the peer.
        if self.behaviour().mapping.is_dependent() || theirs.mapping.is_dependent() {
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
