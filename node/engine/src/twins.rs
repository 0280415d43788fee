//! One identity on two running machines, as after a disk was cloned: the supernode notices, and both are told.
//!
//! Two machines with one key take each other's registration away, since the newer session is the one that counts. So the
//! supernode asks under a session that a newer one of the same key replaces, and names the newer one: a machine that holds
//! both sessions keeps silent, and a machine that restarted no longer has the old keys. Only one that holds the old session
//! and not the newer one answers, and that is another machine than the one that made the newer.
//!
//! It asks when the newer session comes, and whenever something comes under the older one later. That may also be a late
//! datagram, or one that somebody kept back.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tracing::debug;

use crate::{
    Engine, Event, Outbox, Role, Time,
    handshakes::Via,
    peers::{Path, PeerId},
    wire::{
        control::{Control, PADDING, messages},
        datagram::SessionIndex,
        sealed::Sealed,
    },
};

/// For so long after newer keys took over, datagrams under the old ones are no surprise: they were under way.
const GRACE: Duration = Duration::from_secs(2);

/// A node is asked at most this often.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// An answer that takes longer counts for nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Nodes that are asked at one time; further suspicions wait for the next datagram.
const MAX_ASKED: usize = 1024;

/// The questions of a supernode that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    asked: BTreeMap<PeerId, Question>,
}

#[derive(Debug)]
struct Question {
    /// The replaced session.
    session: SessionIndex,
    nonce: u64,
    since: Time,
}

impl Twins {
    /// Whether there is room for a question to `id`; one that was not answered in time makes some.
    fn may_ask(&mut self, now: Time, id: PeerId) -> bool {
        if let Some(question) = self.asked.get(&id) {
            return now.since(question.since) >= ASK_PAUSE;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked
                .retain(|_, question| now.since(question.since) < ANSWER_WITHIN);
        }
        self.asked.len() < MAX_ASKED
    }

    fn answered(&mut self, now: Time, id: PeerId, session: SessionIndex, nonce: u64) -> bool {
        let fits = self.asked.get(&id).is_some_and(|question| {
            (question.session, question.nonce) == (session, nonce) && now.since(question.since) < ANSWER_WITHIN
        });
        if fits {
            self.asked.remove(&id);
        }
        fits
    }
}

impl Engine {
    /// On a supernode: takes what came under a session that was replaced a while ago, which counts neither as a sign of
    /// life nor as a request. Returns whether it was that.
    pub(crate) fn replaced_session_heard(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        via: Via,
        message: &[u8],
        out: &mut Outbox,
    ) -> bool {
        if self.role != Role::Supernode || matches!(via, Via::Relay { .. }) {
            return false;
        }
        let Some(sessions) = self.peers.get(id).map(|peer| &peer.sessions) else {
            return false;
        };
        let replaced = sessions.get(local).and_then(|session| session.superseded);
        let Some(since) = replaced else { return false };
        let newer = sessions.current().map(|session| session.remote);
        let answer = match Sealed::parse(message) {
            Ok(Sealed::Control(body)) => messages(body).find_map(|message| match message {
                Ok(Some(Control::TwinAnswer { nonce })) => Some(nonce),
                _ => None,
            }),
            _ => None,
        };
        if let Some(nonce) = answer {
            if self.twins.answered(now, id, local, nonce) {
                self.tell_twins(now, id, local, via.path(), out);
            }
            return true;
        }
        if now.since(since) < GRACE {
            return false;
        }
        self.counters.replaced_session += 1;
        // The question is no larger than what it is asked for.
        if let Some(newer) = newer.filter(|_| message.len() >= PADDING) {
            self.ask_for_twin(now, id, (local, via.path()), newer, out);
        }
        true
    }

    /// On a supernode: newer keys, under which the node receives at `newer`, have taken over from those of a session that
    /// went along `path`.
    pub(crate) fn session_replaced(
        &mut self,
        now: Time,
        id: PeerId,
        (local, path): (SessionIndex, Path),
        newer: SessionIndex,
        out: &mut Outbox,
    ) {
        if self.anchor.has_registration(id) {
            self.ask_for_twin(now, id, (local, path), newer, out);
        }
    }

    fn ask_for_twin(
        &mut self,
        now: Time,
        id: PeerId,
        (local, path): (SessionIndex, Path),
        newer: SessionIndex,
        out: &mut Outbox,
    ) {
        if !self.twins.may_ask(now, id) {
            return;
        }
        let nonce = self.random_u64();
        let question = Question {
            session: local,
            nonce,
            since: now,
        };
        self.twins.asked.insert(id, question);
        self.send_aside(now, id, local, path, Control::TwinQuestion { nonce, newer }, out);
    }

    /// Tells the machine behind the replaced session, and the one that is registered, of each other.
    fn tell_twins(&mut self, now: Time, id: PeerId, local: SessionIndex, path: Path, out: &mut Outbox) {
        self.counters.twins_found += 1;
        debug!(node = %self.name(id), "two machines use this node's key");
        if let Some(registered) = self.peers.get(id).and_then(|peer| peer.path) {
            let other = seen_at(registered);
            self.send_aside(now, id, local, path, Control::Twin { other }, out);
        }
        let other = seen_at(path);
        self.send_control(now, id, None, &[Control::Twin { other }], out);
    }

    /// Sends along another way than the registered one.
    fn send_aside(
        &mut self,
        now: Time,
        id: PeerId,
        under: SessionIndex,
        path: Path,
        message: Control,
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let before = peer.path.replace(path);
        self.send_control(now, id, Some(under), &[message], out);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = before;
        }
    }

    /// A supernode asks under a session that was replaced by `newer`: answered only if this machine did not make that one.
    pub(crate) fn twin_asked(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (nonce, newer): (u64, SessionIndex),
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.supernode && peer.sessions.get(newer).is_none() {
            self.send_control(now, id, Some(local), &[Control::TwinAnswer { nonce }], out);
            self.sign_of_life_questioned(now, id);
        }
    }

    /// A supernode says that another machine uses this node's key.
    pub(crate) fn twin_told(&mut self, now: Time, id: PeerId, other: SocketAddr, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.supernode) else {
            return;
        };
        let supernode = peer.key.node_id();
        let other = Some(other).filter(|other| !other.ip().is_unspecified());
        self.examinations.twin_seen(now);
        out.events.push(Event::Twin { supernode, other });
    }
}

/// Where the machine at the end of a way is seen: nowhere, if that leads through another supernode.
fn seen_at(path: Path) -> SocketAddr {
    match path {
        Path::Direct(leg) => leg.endpoint,
        Path::Relay { .. } | Path::Passed { .. } => SocketAddr::from(([0, 0, 0, 0], 0)),
    }
}
