//! Other versions of the protocol: whoever is spoken to in another one says which it speaks, and both report it.

use std::time::Duration;

use crate::{
    Engine, Event, Outbox, Role, Time,
    handshakes::Via,
    wire::datagram::{Datagram, SessionIndex, VERSION, put_other_version},
};

/// Initiations of another version that are answered and reported within [`WINDOW`]; nothing shows who sent them.
const MAX_ANSWERS: u32 = 16;

/// See [`MAX_ANSWERS`].
const WINDOW: Duration = Duration::from_secs(1);

/// How many answers this engine gave lately.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    since: Option<Time>,
    answered: u32,
}

impl Versions {
    fn may_answer(&mut self, now: Time) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            self.since = Some(now);
            self.answered = 0;
        }
        self.answered += 1;
        self.answered <= MAX_ANSWERS
    }
}

impl Engine {
    /// A handshake message of another version: an initiation is answered with this one, in less than it takes itself.
    pub(crate) fn other_version_received(&mut self, now: Time, via: Via, datagram: &Datagram<'_>, out: &mut Outbox) {
        self.counters.other_version += 1;
        let Datagram::Initiation { version, sender, .. } = datagram else {
            return;
        };
        if !self.versions.may_answer(now) {
            return;
        }
        // Who hides is not found by trying all addresses.
        if !(self.hides() && matches!(via, Via::Direct(_))) {
            self.transmit(via.path(), out, |bytes| put_other_version(bytes, *sender));
        }
        out.events.push(Event::OtherVersion {
            node: None,
            address: self
                .envelope(via.path())
                .map(|envelope| envelope.destination().endpoint),
            version: *version,
        });
    }

    /// Somebody answers a handshake with a version. Whoever saw the handshake could say so, so it is reported and nothing
    /// else: the handshake goes on.
    pub(crate) fn other_version_told(&self, via: Via, version: u8, index: SessionIndex, out: &mut Outbox) {
        let Some(peer) = self.peers.by_session(index).and_then(|id| self.peers.get(id)) else {
            return;
        };
        let asked = peer
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.local() == index && outgoing.routes.went(via.into()));
        if version == VERSION || self.role != Role::Node || !asked {
            return;
        }
        out.events.push(Event::OtherVersion {
            node: Some(peer.key.node_id()),
            address: self
                .envelope(via.path())
                .map(|envelope| envelope.destination().endpoint),
            version,
        });
    }
}
