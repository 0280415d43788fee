//! Whether the supernodes at which this node is registered live: signs of life and their answers, and hints.
//!
//! Only an answer to something of this node shows that both directions of the way work. What a supernode sends unasked, and
//! what others send over it, comes as well where nothing gets out any more.

use std::time::Duration;

use farlan_crypto::defects::planted;

use crate::{
    Engine, Outbox, Role, Time,
    directory::Registration,
    handshakes::Via,
    peers::PeerId,
    wire::{
        control::{Control, messages},
        datagram::Unknown,
        sealed::Sealed,
    },
};

/// An unanswered sign of life is repeated after this time.
const KEEPALIVE_RETRY: Duration = Duration::from_secs(1);

/// After so many unanswered ones the registration is taken for lost.
const KEEPALIVES_MISSED: u32 = 3;

/// A supernode over which something was sent that stays unanswered is asked for a sign of life after this time, and then
/// with these pauses, or half a round trip more than it takes, as often as said. So a dead one is left within 2.5 s, and
/// one on a line that loses a tenth is left by mistake once in 4,000 times.
const WATCHED: Duration = Duration::from_millis(500);
const URGENT_RETRY: Duration = Duration::from_millis(350);
const URGENT_MISSED: u32 = 5;

/// While something comes over a supernode, it is asked so long after its last answer: the other direction may be blocked.
const PROVED_EVERY: Duration = Duration::from_secs(1);

/// Where something comes over a supernode that does not answer, so many signs of life more may stay unanswered before its
/// registration is taken for lost: it is there, and asked so often that on a line that loses a tenth the others would all be
/// lost within the hour.
const URGENT_MORE: u32 = 5;

/// Signs of life that wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    /// When the last one was sent.
    pub(super) sent: Time,
    pub(crate) count: u32,
    /// When the next one follows, and how many are sent.
    pub(super) pause: Duration,
    pub(super) limit: u32,
    /// Whether something came over the supernode meanwhile: it is there, and what is sent to it may get lost.
    pub(crate) alive: bool,
}

/// What shows whether a supernode hears this node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Over {
    /// When the supernode last answered something of this node.
    answered: Option<Time>,
    /// When something of a peer first came over it after that.
    came: Option<Time>,
    /// When a peer last said over it that it hears nothing of this node straight.
    doubted: Option<Time>,
    /// A hint says that the supernode does not know this node.
    pub(super) denied: bool,
}

impl Over {
    /// When the supernode is to be asked, because what came over it since its last answer does not show that it hears this
    /// node.
    pub(super) fn due(&self) -> Option<Time> {
        let answered = self.answered.unwrap_or_default();
        let later = |at: &Time| *at > answered;
        // Not at once where the last answer was long ago: whether one comes in this moment hangs on the order of what comes.
        let came = self.came.filter(later).map(|came| came + PROVED_EVERY);
        let doubted = self.doubted.filter(later).map(|_| answered + WATCHED);
        let due = [came, doubted];
        due.into_iter().flatten().min()
    }
}

impl Unanswered {
    /// Whether so many are too many to be lost by chance; where the supernode is known to be there, one more.
    pub(crate) fn misses(self, most: u32) -> bool {
        self.count >= most + u32::from(self.alive)
    }

    /// How many are sent.
    pub(super) fn limit(self) -> u32 {
        self.limit + if self.alive { URGENT_MORE } else { 0 }
    }
}

impl Registration {
    /// Something came over the supernode: what was sent over it before needs no watching any more. What comes in the moment in
    /// which something is sent is no answer to that.
    fn answered_watch(&mut self, now: Time) {
        self.watched.take_if(|watched| *watched < now + WATCHED);
    }
}

impl Engine {
    /// Shows a supernode at once that this node is still there, and from where, with short pauses: nothing goes over the
    /// supernode before it knows.
    pub(crate) fn prove_urgently(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let urgent = self.urgent(now, id);
        self.send_keepalive(now, id, Some(urgent), true, out);
    }

    /// Something was sent over a supernode that should be answered: whether the supernode lives is looked at soon.
    pub(crate) fn watch_relay(&mut self, now: Time, supernode: PeerId) {
        if let Some(registration) = self.directory.registrations.get_mut(&supernode) {
            registration.watched.get_or_insert(now + WATCHED);
            self.arm(supernode);
        }
    }

    /// Something that a peer sealed came over a supernode: that one is there, and is asked now and then whether it hears this
    /// node, too. When hangs on no answer that may come in the same moment: the order of what comes at once says nothing.
    pub(crate) fn relay_works(&mut self, now: Time, supernode: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&supernode) else {
            return;
        };
        registration.answered_watch(now);
        let over = &mut registration.over;
        let first = over.came.is_none_or(|came| came <= over.answered.unwrap_or_default());
        if first {
            over.came = Some(now);
        }
        if let Some(unanswered) = &mut registration.unanswered {
            unanswered.alive = true;
        }
        if first {
            self.look_at(now + PROVED_EVERY, supernode);
        }
    }

    /// A peer says over a supernode that it hears nothing of this node straight, as it is where nothing gets out here: unless
    /// the supernode has answered lately, it is asked at once.
    pub(crate) fn relay_doubted(&mut self, now: Time, supernode: PeerId) {
        if let Some(registration) = self.directory.registrations.get_mut(&supernode) {
            registration.over.doubted = Some(now);
            self.look_at(now, supernode);
        }
    }

    /// Asks a supernode in use for a sign of life, with short pauses.
    pub(super) fn ask_urgently(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let urgent = self.urgent(now, id);
        self.send_keepalive(now, id, Some(urgent), false, out);
    }

    /// Signs of life with short pauses.
    fn urgent(&self, now: Time, id: PeerId) -> Unanswered {
        let rtt = self.peers.get(id).and_then(|peer| peer.rtt).unwrap_or_default();
        Unanswered {
            sent: now,
            count: 0,
            pause: (rtt * 3 / 2).clamp(URGENT_RETRY, KEEPALIVE_RETRY),
            limit: URGENT_MISSED,
            alive: false,
        }
    }

    /// Sends a sign of life: one more of those that wait for an answer, or the first. Where `long`, and where one was not
    /// answered, it is as long as a challenge: the supernode may see this node at a new address, and sends nothing there that
    /// is longer than what came.
    pub(crate) fn send_keepalive(
        &mut self,
        now: Time,
        id: PeerId,
        unanswered: Option<Unanswered>,
        long: bool,
        out: &mut Outbox,
    ) {
        let long = long || unanswered.is_some_and(|unanswered| unanswered.count > 0);
        let heard = self.peers.get(id).and_then(|peer| peer.heard);
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            let unanswered = unanswered.unwrap_or(Unanswered {
                sent: now,
                count: 0,
                pause: KEEPALIVE_RETRY,
                limit: KEEPALIVES_MISSED,
                alive: false,
            });
            registration.unanswered = Some(Unanswered {
                sent: now,
                count: unanswered.count + 1,
                ..unanswered
            });
            if unanswered.count == 0 {
                registration.idle = heard.map_or(Duration::ZERO, |heard| now.since(heard));
            }
            registration.watched = None;
            registration.keepalive = now + registration.keepalive(now);
        }
        let rekey = self
            .peers
            .get(id)
            .and_then(|peer| peer.sessions.current())
            .is_some_and(|session| session.wants_rekey(now));
        if rekey {
            self.begin_handshake(id, true);
        }
        if long {
            let token = self.random_u64();
            self.send_control(now, id, None, &[Control::Ping { token }], out);
        } else {
            self.send_empty(now, id, out);
        }
        self.arm(id);
    }

    /// Something sealed came from a supernode.
    pub(crate) fn anchor_heard(&mut self, now: Time, id: PeerId, via: Via, message: &[u8]) {
        let other_family = self.came_by_other_family(id, via);
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if other_family {
            return;
        }
        if let Via::Direct(leg) = via
            && leg.is_stream() != registration.stream.is_in_use()
            && !registration.way.through
        {
            // It says nothing of the way that data takes.
            return;
        }
        self.directory.changed |= registration.way.heard(matches!(via, Via::Direct(_)));
        if is_unasked(message) {
            return;
        }
        registration.over.answered = Some(now);
        // Whoever said that it forgot this node was somebody else.
        registration.comes_back.at = None;
        registration.answered_watch(now);
        if let Some(unanswered) = registration.unanswered.take()
            && unanswered.count == 1
            && let Some(peer) = self.peers.get_mut(id)
        {
            peer.measure_rtt(now.since(unanswered.sent));
            self.directory.changed = true;
        }
    }

    /// A supernode asks, where it should have answered a sign of life: this node's session was replaced by a twin's. The
    /// sign of life is repeated like one without an answer, and the registration is lost after as many.
    pub(crate) fn sign_of_life_questioned(&mut self, now: Time, id: PeerId) {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        if registration.unanswered.is_none() && registration.request.is_none() {
            // The supernode asked by itself.
            return;
        }
        registration.twin_questions += 1;
        registration.unanswered = Some(Unanswered {
            sent: now,
            count: registration.twin_questions,
            pause: KEEPALIVE_RETRY,
            limit: KEEPALIVES_MISSED,
            alive: false,
        });
        self.arm(id);
    }

    /// A supernode sees this node at another port than before, at the same address: its NAT has forgotten the mapping while it
    /// was idle.
    pub(crate) fn mapping_forgotten(&mut self, now: Time, supernode: PeerId) {
        if let Some(registration) = self.directory.registrations.get_mut(&supernode) {
            let idle = std::mem::take(&mut registration.idle);
            registration.kept.gone_after(now, idle);
        }
    }

    /// The supernode at which this node is registered and from which something came that way.
    fn registered_by(&self, via: Via) -> Option<PeerId> {
        let mut homes = self.directory.homes();
        homes.find(|id| self.peers.get(*id).is_some_and(|peer| peer.path == Some(via.path())))
    }

    /// A supernode says that it does not know this node's registration or session. Anybody could say so: it is asked,
    /// sealed, or a new session is made beside the old one, at most once a second.
    pub(crate) fn hinted(&mut self, now: Time, via: Via, unknown: Unknown, out: &mut Outbox) {
        if let (Role::Supernode, Via::Direct(leg), Unknown::Registration(index)) = (self.role, via, unknown) {
            return self.doubted(now, leg, index, out);
        }
        if let Unknown::Destination(index) = unknown {
            if let Some(supernode) = self.registered_by(via) {
                self.distrust_indexes(supernode, Some(index));
            }
            return;
        }
        let hinted = self.directory.registrations.iter_mut().find(|(id, registration)| {
            let Some(peer) = self.peers.get(**id) else { return false };
            let ours = match unknown {
                Unknown::Registration(index) => registration.index == Some(index),
                Unknown::Destination(_) => false,
                Unknown::Session(index) => peer.sessions.current().is_some_and(|session| session.remote == index),
            };
            ours && peer.path == Some(via.path())
        });
        let Some((id, registration)) = hinted else { return };
        let id = *id;
        if registration
            .hinted
            .is_some_and(|last| now.since(last) < KEEPALIVE_RETRY)
        {
            return;
        }
        match unknown {
            Unknown::Destination(_) => {}
            // Whether one waits for an answer already is seen once all that comes in this moment is there.
            Unknown::Registration(_) => {
                registration.over.denied = true;
                self.look_at(now, id);
            }
            Unknown::Session(_) => {
                registration.hinted = Some(now);
                if planted("hint-believed") {
                    self.end_sessions(id, out);
                }
                if self.waits_to_return(now, id) {
                    // It said why it does not answer; the next sign of life shows whether it was that who said so.
                    if let Some(registration) = self.directory.registrations.get_mut(&id) {
                        registration.unanswered = None;
                    }
                } else {
                    self.begin_handshake(id, false);
                }
            }
        }
    }
}

/// Whether a supernode says this by itself, and not in answer to something of this node.
fn is_unasked(message: &[u8]) -> bool {
    let Ok(Sealed::Control(body)) = Sealed::parse(message) else {
        return false;
    };
    messages(body).all(|message| {
        matches!(
            message,
            Ok(Some(
                Control::Members { .. }
                    | Control::Introduce { .. }
                    | Control::Ping { .. }
                    | Control::SearchGranted { .. }
                    | Control::TwinQuestion { .. }
                    | Control::Twin { .. }
                    | Control::Bye
            ))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sealed::CONTROL;
    #[test]
    fn what_a_supernode_says_by_itself_is_no_answer() {
        let of = |messages: &[Control]| {
            let mut bytes = vec![CONTROL];
            messages.iter().for_each(|message| message.encode(&mut bytes));
            is_unasked(&bytes)
        };
        let (ping, pong) = (Control::Ping { token: 1 }, Control::Pong { token: 1 });
        assert!(of(std::slice::from_ref(&ping)));
        assert!(of(&[Control::Bye]));
        assert!(!of(std::slice::from_ref(&pong)));
        assert!(!of(&[ping, pong]));
        assert!(!is_unasked(&[]));
    }
}
