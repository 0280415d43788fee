//! Whether strangers get through to this node: a supernode is asked to send something from a socket to which nothing was
//! ever sent. And keeping open what a NAT would close, for a supernode that nobody may be speaking to.
//!
//! A NAT that filters by address alone lets such an answer in and strangers not; a supernode with one address cannot tell.

use std::{net::SocketAddr, time::Duration};

use farlan_crypto::{NodeId, defects::planted};

use crate::{
    Engine, Event, Leg, Outbox, Socket, Time,
    content::Content,
    direct::OPENING_TTL,
    handshakes::Via,
    peers::{Path, PeerId},
    rates::{Meter, Meters, Prefix, Rate},
    retry::{Retry, Schedule},
    sockets,
    wire::control::Control,
};

/// The socket from which a supernode answers. Nobody is told of it, so what arrives from there came through a port that is
/// open to strangers. It is not one of those that are given out ([`sockets`](crate::sockets)).
const STRANGER: Socket = Socket::Extra(sockets::NUMBERS + 1);

/// A question is asked again after this pause.
const ASKED_AGAIN: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: u32::MAX,
    longest: Duration::from_millis(500),
};

/// So often in all: one of six comes through where half of all is lost.
const TRIES: u32 = 6;

/// Questions that wait for an answer; the oldest gives way.
const MAX_ASKED: usize = 8;

/// Answers to one /24 or /56, and in all.
const RATE: Rate = Rate::per_second(4, Duration::from_secs(3));
const RATE_IN_ALL: Rate = Rate::per_second(200, Duration::from_secs(1));

/// Of those asking, so many are counted at one time.
const MAX_COUNTED: usize = 4096;

/// How often something is sent through a NAT to keep a port open: they forget after 30 s and more.
const KEPT_OPEN_EVERY: Duration = Duration::from_secs(20);

/// What is sent: a kind of datagram that there is not. With its short time to live it ends before it arrives.
const KEEPING: u8 = 0;

/// Questions of this node, and what is answered to others.
#[derive(Debug)]
pub(crate) struct Reach {
    asked: Vec<Asked>,
    /// Questions were asked since the last turn.
    fresh: bool,
    all: Meter,
    askers: Meters<Prefix>,
    /// Whither something is sent to keep the NAT's port open, and when next.
    kept_open: Option<(SocketAddr, Time)>,
}

#[derive(Debug)]
struct Asked {
    token: u64,
    nonce: u64,
    supernode: PeerId,
    port: u16,
    retry: Retry,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            asked: Vec::new(),
            fresh: false,
            all: Meter::default(),
            askers: Meters::new(RATE, MAX_COUNTED),
            kept_open: None,
        }
    }
}

impl Reach {
    pub(crate) fn deadline(&self) -> Option<Time> {
        let asked = self.asked.iter().map(|asked| asked.retry.at());
        asked.chain(self.kept_open.map(|(_, at)| at)).min()
    }
}

impl Engine {
    /// Asks a supernode at which this node is registered directly whether strangers get through to this node: at the address
    /// from which the supernode sees it, and at `port` there, or at the port from which it is seen if `port` is 0. The
    /// answer is an [`Event::Reached`] with `token`, within 3.5 s.
    pub fn prove_reach(&mut self, now: Time, supernode: NodeId, port: u16, token: u64) {
        let found = self
            .peers
            .by_node(&supernode)
            .filter(|id| self.directory.is_registered_directly(*id));
        let Some(supernode) = found else {
            return self.events.push(Event::Reached { token, endpoint: None });
        };
        if self.reach.asked.len() >= MAX_ASKED {
            let token = self.reach.asked.remove(0).token;
            self.events.push(Event::Reached { token, endpoint: None });
        }
        let nonce = self.random_u64();
        self.reach.asked.push(Asked {
            token,
            nonce,
            supernode,
            port,
            retry: Retry::due(ASKED_AGAIN, now),
        });
        self.reach.fresh = true;
    }

    /// Sends something through the NAT towards `endpoint` every 20 s, which does not arrive there: so that a port stays open
    /// by which others come in, even while nobody does.
    pub fn keep_open(&mut self, now: Time, endpoint: Option<SocketAddr>) {
        self.reach.kept_open = endpoint.map(|endpoint| (endpoint, now));
        self.reach.fresh = true;
    }

    pub(crate) fn is_reach_fresh(&self) -> bool {
        self.reach.fresh
    }

    /// Asks what is due, again or for the first time, gives up what was not answered, and keeps open what is to be.
    pub(crate) fn tend_reach(&mut self, now: Time, out: &mut Outbox) {
        self.reach.fresh = false;
        let mut due = Vec::new();
        let mut given_up = Vec::new();
        self.reach.asked.retain_mut(|asked| {
            if asked.retry.at() > now {
                return true;
            }
            if asked.retry.sent() >= TRIES {
                given_up.push(asked.token);
                return false;
            }
            asked.retry.again(now);
            due.push((asked.supernode, asked.nonce, asked.port));
            true
        });
        let failed = given_up.into_iter();
        self.events
            .extend(failed.map(|token| Event::Reached { token, endpoint: None }));
        for (supernode, nonce, port) in due {
            self.send_control(now, supernode, None, &[Control::Reach { nonce, port }], out);
        }
        if let Some((endpoint, at)) = &mut self.reach.kept_open
            && *at <= now
        {
            *at = now + KEPT_OPEN_EVERY;
            let path = Path::Direct(Leg::from(*endpoint));
            if let Some(envelope) = self.envelope(path) {
                let envelope = envelope.with_ttl(Some(OPENING_TTL));
                envelope.write(&mut out.datagrams, |bytes| bytes.push(KEEPING));
            }
        }
    }

    /// A registered node asks whether strangers get through to it. It has shown that it is at the address, so nobody else
    /// is sent anything; what is sent is as long as what came.
    pub(crate) fn reach_asked(&mut self, now: Time, id: PeerId, via: Via, (nonce, port): (u64, u16), out: &mut Outbox) {
        let Via::Direct(leg) = via else { return };
        if leg.is_stream() {
            return;
        }
        if !(self.reach.askers.take(now, Prefix::of(leg)) && self.reach.all.take(now, &RATE_IN_ALL, 1)) {
            self.counters.reach_limited += 1;
            return;
        }
        let port = if port == 0 { leg.endpoint.port() } else { port };
        let endpoint = SocketAddr::new(leg.ip(), port);
        let socket = if planted("reach-by-known-socket") {
            leg.socket
        } else {
            STRANGER
        };
        let path = Path::Direct(Leg { socket, endpoint });
        let answer = [Control::Reached { nonce, endpoint }];
        self.send_along(now, id, (path, None), Content::Control(&answer), out);
    }

    /// Something came from where this node never sent anything.
    pub(crate) fn reach_answered(&mut self, id: PeerId, via: Via, nonce: u64, endpoint: SocketAddr) {
        if !matches!(via, Via::Direct(_)) {
            self.counters.unknown_messages += 1;
            return;
        }
        let mut asked = self.reach.asked.iter();
        let Some(position) = asked.position(|asked| asked.supernode == id && asked.nonce == nonce) else {
            return;
        };
        let token = self.reach.asked.remove(position).token;
        let endpoint = Some(endpoint);
        self.events.push(Event::Reached { token, endpoint });
    }
}
