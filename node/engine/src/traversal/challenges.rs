//! What goes out on the paths to a peer: challenges and their answers, and which path carries data after them.

use std::net::SocketAddr;

use tracing::trace;

use super::TRIED;
use crate::{
    Engine, Leg, Outbox, Time, beacons,
    content::Content,
    direct::{Answered, Use},
    handshakes::Via,
    peers::{Path, PeerId},
    wire::control::Control,
};

impl Engine {
    /// Sends the challenges that are due, notices paths that died, and begins the next round where it is time.
    pub(crate) fn tend_direct(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
            return;
        };
        if peer.direct.judge(now) {
            self.choose_path(now, id, "no answer", out);
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.usage = peer.use_at(now);
        let used = peer.usage;
        let due = peer.direct.due(now, used);
        let rekey = !due.is_empty() && used != Use::Idle && peer.sessions.wants_rekey(now);
        let doubted = peer.direct.active().filter(|active| due.contains(active));
        for address in due {
            self.challenge(now, id, address, out);
        }
        if doubted.is_some() && self.peers.get(id).is_some_and(|peer| peer.direct.is_doubted(now)) {
            self.challenge_over_relay(now, id, out);
        }
        // A peer used lately keeps its session, and with it its paths. The way data goes may be dead by now, so that it takes
        // more than one try.
        if rekey {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.wanted = Some(now);
            }
            self.begin_handshake(id, true);
        }
        let under_way = self.peers.get(id).and_then(|peer| peer.exchange.resend_at());
        if under_way.is_some_and(|at| at <= now) {
            self.resend_candidates(now, id, out);
        }
        self.consider_round(now, id, out);
        let used = self.peers.get(id).and_then(|peer| peer.used);
        let used = used.is_some_and(|used| now.since(used) < TRIED);
        self.tend_fresh(now, id, used, out);
        self.consider_search(now, id, used);
    }

    pub(crate) fn challenge(&mut self, now: Time, id: PeerId, leg: Leg, out: &mut Outbox) {
        let token = self.random_u64();
        let Some(peer) = self.peers.get_mut(id) else { return };
        let ttl =
            beacons::time_to_live(now, peer, leg).or_else(|| peer.direct.ttl(now, leg, peer.exchange.is_unheard(now)));
        let allowed = if peer.direct.is_only_told(leg) {
            self.traversal.aims.may_send(now, leg.ip(), ttl.is_some())
        } else {
            peer.direct.is_proven(leg) || peer.direct.spend(leg)
        };
        if !allowed {
            self.counters.candidates_limited += 1;
            peer.history.limited = true;
            return;
        }
        peer.history.sent += 1;
        peer.direct.challenged(now, leg, token);
        trace!(%leg, ?ttl, "challenge");
        self.send_along(
            now,
            id,
            (Path::Direct(leg), ttl),
            Content::Control(&[Control::PathChallenge { token }]),
            out,
        );
    }

    /// The path in use is in doubt: whether the peer is there is asked over the relay, and the supernode is shown from where
    /// this end speaks now, since it may be this end that is seen elsewhere.
    fn challenge_over_relay(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        self.find_relay(now, id);
        let Some(path @ Path::Relay { supernode, .. }) = self.peers.get(id).and_then(|peer| peer.path) else {
            return;
        };
        if self.directory.may_ask(supernode) {
            self.prove_urgently(now, supernode, out);
        }
        self.sights.doubt();
        let token = self.random_u64();
        let challenge = Content::Control(&[Control::PathChallenge { token }]);
        self.send_along(now, id, (path, None), challenge, out);
    }

    /// The other end asks whether a path works: it is answered to where it came from. What it asks over the relay shows that it
    /// hears nothing straight.
    pub(crate) fn path_challenged(&mut self, now: Time, id: PeerId, via: Via, token: u64, out: &mut Outbox) {
        if let Via::Relay { supernode, .. } = via {
            self.relay_doubted(now, supernode);
            if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) {
                if peer.direct.active().is_some() {
                    self.sights.doubt_by_peer(now);
                }
                peer.direct.doubt(now);
                let observed = SocketAddr::from(([0; 4], 0));
                let answer = Content::Control(&[Control::PathResponse { token, observed }]);
                self.send_along(now, id, (via.path(), None), answer, out);
                self.arm(id);
            }
            return;
        }
        let (Via::Direct(leg), Some(peer)) = (via, self.peers.get(id)) else {
            return;
        };
        // Who is not to know where this node is gets no answer from there. Where the handshake went and came this way the
        // other end knows, and it may have no other way to tell the networks that it is in.
        let known = peer.direct.is_proven(leg);
        if !known && (peer.up.is_empty() || !self.accepts(now, id)) {
            return;
        }
        let back = self.random_u64();
        let Some(peer) = self.peers.get_mut(id) else { return };
        // One datagram there for one that came from there, however many challenges are in it.
        if !known && !peer.direct.spend(leg) {
            return;
        }
        let ttl =
            beacons::time_to_live(now, peer, leg).or_else(|| peer.direct.ttl(now, leg, peer.exchange.is_unheard(now)));
        let mut messages = vec![Control::PathResponse {
            token,
            observed: leg.endpoint,
        }];
        if !known {
            peer.direct.challenged(now, leg, back);
            messages.push(Control::PathChallenge { token: back });
        }
        self.send_along(now, id, (Path::Direct(leg), ttl), Content::Control(&messages), out);
    }

    /// A challenge was answered.
    pub(crate) fn path_answered(&mut self, now: Time, id: PeerId, via: Via, token: u64, out: &mut Outbox) {
        let (Via::Direct(leg), Some(peer)) = (via, self.peers.get_mut(id)) else {
            return;
        };
        let works = match peer.direct.answered(now, leg, token) {
            Answered::Works(_) => true,
            // From elsewhere: `heard` has made a candidate of it.
            Answered::Elsewhere => false,
            Answered::Unasked => {
                let works = self.is_probe_answered(id, leg, token);
                if let Some(peer) = self.peers.get_mut(id).filter(|_| works) {
                    peer.direct.proved(now, leg);
                }
                works
            }
        };
        if works {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.history.answered += 1;
            }
            self.traversal.aims.answered(now, leg.ip());
            let reason = self.found_by(id, leg).unwrap_or("it answered");
            self.choose_path(now, id, reason, out);
            self.searches.wake();
        }
    }

    /// Something sealed came straight from `leg`; `shows` is whether that speaks for the way there, too.
    pub(crate) fn direct_heard(&mut self, now: Time, id: PeerId, (leg, bytes): (Leg, usize), shows: bool) {
        let Some(peer) = self.peers.get(id).filter(|peer| !peer.up.is_empty()) else {
            return;
        };
        // A challenge to an leg that is new tells who is there where this node is.
        if self.is_hidden_from(peer) || (!peer.direct.has(leg) && !self.accepts(now, id)) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.history.came += 1;
            if !peer.direct.heard(now, leg, shows, bytes) {
                self.arm(id);
            }
        }
    }

    /// A handshake went and came straight: that shows what a challenge shows.
    pub(crate) fn direct_proved(&mut self, now: Time, id: PeerId, leg: Leg, out: &mut Outbox) {
        let hidden = self.peers.get(id).is_none_or(|peer| self.is_hidden_from(peer));
        if let Some(peer) = self.peers.get_mut(id).filter(|_| !hidden) {
            peer.direct.proved(now, leg);
            self.traversal.aims.answered(now, leg.ip());
            self.choose_path(now, id, "a handshake came over it", out);
        }
    }

    /// Lets the best path carry data, and tells if it is another than before.
    pub(crate) fn choose_path(&mut self, now: Time, id: PeerId, reason: &'static str, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(choice) = peer.direct.choose() else { return };
        peer.history.path_changed(now, choice.is_some());
        match choice {
            Some(_) => {
                peer.exchange.rounds = 0;
                peer.exchange.searches.found();
            }
            // The endpoints may have changed with whatever broke the path: they are exchanged anew.
            None => {
                peer.exchange.next_round = now;
                peer.exchange.rounds = 0;
                self.sights.doubt();
            }
        }
        if let Some(rtt) = peer.direct.active_rtt() {
            peer.rtt = Some(rtt);
        }
        if choice.is_none() {
            self.find_relay(now, id);
        }
        self.report_path(id, reason);
        // In order with what else this turn brought.
        out.events.append(&mut self.events);
        self.arm(id);
    }

    /// The path in use brought nothing while data was sent over it: the relay takes over, if there is one.
    /// Returns whether it did.
    pub(crate) fn leave_silent_path(&mut self, now: Time, id: PeerId, out: &mut Outbox) -> bool {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.direct.active().is_some()) else {
            return false;
        };
        peer.direct.active_fell_silent(now);
        self.choose_path(now, id, "silent", out);
        self.find_path(now, id);
        let peer = self.peers.get(id);
        peer.is_some_and(|peer| {
            peer.direct.active().is_some() || peer.path.is_some_and(|path| self.envelope(path).is_some())
        })
    }
}
