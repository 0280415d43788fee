//! The way to a supernode: directly, or through the home of this node.
//!
//! Home and second are reached directly, since others reach this node over them. A supernode that only keeps records is
//! reached through the home, which costs no mapping in a NAT and works where the supernode itself is out of reach. A
//! session goes on when the way changes; a way that stays silent is left for the one before.

use std::time::Duration;

use crate::{
    Engine, Leg, Outbox, Time,
    handshakes::Via,
    peers::{Path, PeerId},
    wire::datagram::{RelayIndex, RelayTarget, SupernodeTag},
};

/// Where the way through the home failed, it is not tried again for so long.
const FAILED_FOR: Duration = Duration::from_secs(600);

/// The way to a supernode.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Whether it leads through the home.
    pub(crate) through: bool,
    /// Whether something sealed came directly since it leads directly.
    pub(crate) direct: bool,
    /// Whether that has yet to be acted on.
    pub(crate) fresh: bool,
    /// Whether nothing has come this way yet.
    pub(crate) trial: bool,
    /// Until when the way through the home is not tried.
    pub(crate) failed: Option<Time>,
}

impl Way {
    /// Something sealed came, directly or not; returns whether that shows a direct way for the first time.
    pub(crate) fn heard(&mut self, directly: bool) -> bool {
        let this_way = directly != self.through;
        self.trial &= !this_way;
        let first = this_way && directly && !self.direct;
        self.direct |= first;
        self.fresh |= first;
        first
    }
}

impl Engine {
    /// Sets the path to a supernode as its way says.
    pub(crate) fn point(&mut self, id: PeerId) {
        let Some(registration) = self.directory.registrations.get(&id) else {
            return;
        };
        let path = if registration.way.through {
            self.way_through(id)
        } else {
            let stream = registration.stream.leg_in_use();
            let leg = stream.or_else(|| registration.in_use().map(Leg::from));
            leg.map(Path::Direct)
        };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = path;
        }
        self.review_sights_of(id);
    }

    /// The path to a supernode through the home of one of its worlds.
    pub(crate) fn way_through(&self, id: PeerId) -> Option<Path> {
        let worlds = self.directory.worlds.values().filter(|known| known.lists(id));
        let supernode = worlds.filter_map(|known| known.homes.home()).find(|home| *home != id)?;
        let target = RelayTarget::Remote {
            supernode: SupernodeTag::of(&self.peers.get(id)?.key.node_id()),
            index: RelayIndex::SUPERNODE,
        };
        Some(Path::Relay { supernode, target })
    }

    /// Reaches a supernode directly, or through the home, from now on; the session that stands is tried that way.
    pub(crate) fn take_way(&mut self, now: Time, id: PeerId, through: bool, out: &mut Outbox) {
        let stands = self.peers.get(id).is_some_and(|peer| peer.sessions.current().is_some());
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return;
        };
        registration.way.through = through;
        registration.way.direct = false;
        registration.way.trial = stands;
        registration.unanswered = None;
        if let Some(peer) = self.peers.get_mut(id) {
            // That of the other way.
            peer.rtt = None;
        }
        self.point(id);
        if stands {
            self.send_keepalive(now, id, None, true, out);
        }
    }

    /// Goes back to the way before, if nothing has come the new one. Returns whether it did.
    pub(crate) fn way_back(&mut self, now: Time, id: PeerId, out: &mut Outbox) -> bool {
        let Some(registration) = self.directory.registrations.get_mut(&id) else {
            return false;
        };
        if !registration.way.trial {
            return false;
        }
        let through = registration.way.through;
        if through {
            registration.way.failed = Some(now + FAILED_FOR);
        }
        self.take_way(now, id, !through, out);
        // If that one is silent too, the supernode is.
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.way.trial = false;
        }
        true
    }

    /// Message 2 of a supernode came: that way works, whichever message 1 it answers.
    pub(crate) fn way_answered(&mut self, now: Time, id: PeerId, via: Via) {
        let through = Some(via.path()) == self.way_through(id);
        match via {
            Via::Direct(leg) => self.leg_proved(now, id, leg),
            _ => {
                if let Some(registration) = self.directory.registrations.get_mut(&id) {
                    registration.way.through |= through;
                }
            }
        }
        self.point(id);
    }

    /// Whether a supernode that is wanted for its records only is better reached through the home.
    pub(crate) fn should_go_through(&self, now: Time, id: PeerId) -> bool {
        let way = self
            .directory
            .registrations
            .get(&id)
            .map(|registration| &registration.way);
        let failed = way.is_some_and(|way| way.failed.is_some_and(|until| now < until));
        !failed && self.way_through(id).is_some_and(|path| self.envelope(path).is_some())
    }
}
