//! Where a node registers: at its home and its second of every world, at those that keep its networks' records, at those
//! that are tried or measured, and for a while at those it left.

use std::time::Duration;

use farlan_netconf::WorldId;
use tracing::{debug, info};

use crate::{
    Engine, Outbox, Time,
    directory::{Directory, Registration},
    homes::Candidate,
    peers::PeerId,
    retry::Schedule,
};

/// A home that was left stays registered for so long: others know the old one still.
pub(crate) const LEFT_KEPT: Duration = Duration::from_secs(60);

/// A supernode that is measured has so long to answer.
const MEASURED_FOR: Duration = Duration::from_secs(5);

/// The round trip over a stream counts for so much more.
const STREAM_DETOUR: Duration = Duration::from_millis(100);

/// The pauses between handshakes towards a supernode without which a world has no home: one that comes back is found
/// within 3 s.
const NEEDED: Schedule = Schedule {
    first: Duration::from_millis(400),
    steady: 8,
    longest: Duration::from_secs(3),
};

/// The same towards one that keeps this node's records, while it has not been away for long: it will be back.
const MISSED: Schedule = Schedule {
    longest: Duration::from_secs(4),
    ..NEEDED
};
const MISSED_FOR: Duration = Duration::from_secs(600);

/// The same towards any other.
const SPARE: Schedule = Schedule {
    first: Duration::from_millis(600),
    steady: 3,
    longest: Duration::from_secs(30),
};

impl Directory {
    /// When the choice of supernodes is to be looked at again.
    pub(crate) fn review_deadline(&self) -> Option<Time> {
        if self.changed {
            return Some(Time::ZERO);
        }
        let homes = self.worlds.values().filter_map(|known| known.homes.deadline());
        let until = self
            .registrations
            .values()
            .filter_map(|registration| registration.until);
        let former = self.worlds.values().filter_map(|known| known.former.as_ref());
        let homes = homes.chain(former.map(|(_, until)| *until));
        homes.chain(until).chain(self.telling.deadline()).min()
    }

    /// The supernodes that are known to be reached directly since this was last asked.
    fn fresh(&mut self) -> impl Iterator<Item = PeerId> {
        let registered = self
            .registrations
            .iter_mut()
            .filter(|(_, registration)| registration.index.is_some());
        registered.filter_map(|(id, registration)| std::mem::take(&mut registration.way.fresh).then_some(*id))
    }

    /// How a handshake with a supernode is sent again.
    pub(crate) fn schedule(&self, now: Time, supernode: PeerId, random: u64) -> Schedule {
        let registration = self.registrations.get(&supernode);
        let seldom = registration.and_then(|registration| {
            let missed = now.since(registration.missed.unwrap_or(now));
            registration.comes_back.schedule(missed, random)
        });
        if let Some(seldom) = seldom {
            return seldom;
        }
        let missed = self.registrations.get(&supernode).is_some_and(|registration| {
            let since = registration.missed.unwrap_or(now);
            registration.records && now.since(since) < MISSED_FOR
        });
        match (self.needs(supernode), missed) {
            (true, _) => NEEDED,
            (false, true) => MISSED,
            (false, false) => SPARE,
        }
    }
}

impl Engine {
    /// Decides where to register, if something changed or the time has come.
    pub(crate) fn review_supernodes(&mut self, now: Time, out: &mut Outbox) {
        if self.directory.review_deadline().is_none_or(|at| at > now) {
            return;
        }
        self.directory.changed = false;
        self.drop_former(now);
        self.renew_guests(now);
        for registration in self.directory.registrations.values_mut() {
            registration.until.take_if(|until| *until <= now);
        }
        let worlds: Vec<_> = self.directory.worlds.keys().copied().collect();
        for world in worlds {
            let Some(known) = self.directory.worlds.get(&world) else {
                continue;
            };
            let candidate = |id: PeerId| Candidate {
                id,
                registered: self.directory.is_registered_directly(id),
                rtt: self.rtt_of(id),
            };
            let candidates: Vec<_> = known.list.iter().map(|(_, id)| candidate(*id)).collect();
            let Some(known) = self.directory.worlds.get_mut(&world) else {
                continue;
            };
            let before = known.homes.home();
            let decision = known.homes.decide(now, &candidates);
            let home = known.homes.home();
            for (id, time) in [(decision.left, LEFT_KEPT), (decision.measure, MEASURED_FOR)] {
                let registration = id.and_then(|id| self.directory.registrations.get_mut(&id));
                if let Some(registration) = registration {
                    registration.until = registration.until.max(Some(now + time));
                }
            }
            if home != before {
                self.home_changed(now, before, home, out);
            }
            self.place_changed(&world, before);
        }
        self.register_where_wanted(now, out);
        let fresh: Vec<PeerId> = self.directory.fresh().collect();
        for id in fresh {
            self.guest_registered(now, id, out);
        }
        self.tell_homes_everywhere(now, out);
    }

    /// The round trip by which a supernode is chosen: over a stream it counts for more, since what is lost on the way holds up
    /// what comes behind.
    fn rtt_of(&self, id: PeerId) -> Option<Duration> {
        let rtt = self.peers.get(id)?.rtt?;
        let stream = self.directory.registrations.get(&id)?.stream.leg_in_use();
        Some(rtt + stream.map_or(Duration::ZERO, |_| STREAM_DETOUR))
    }

    fn home_changed(&mut self, now: Time, before: Option<PeerId>, home: Option<PeerId>, out: &mut Outbox) {
        match home {
            Some(home) => info!(supernode = %self.name(home), "home"),
            None => info!("no supernode answers"),
        }
        // Who is reached through the home is reached through the new one; and the new one, if it was so itself, directly.
        let through = |(id, registration): (&PeerId, &Registration)| registration.way.through.then_some(*id);
        let through: Vec<PeerId> = self.directory.registrations.iter().filter_map(through).collect();
        for id in through.into_iter().filter(|_| home.is_some()) {
            let before = self.peers.get(id).and_then(|peer| peer.path);
            self.point(id);
            if self
                .peers
                .get(id)
                .is_some_and(|peer| peer.path != before && peer.sessions.current().is_some())
            {
                self.send_keepalive(now, id, None, false, out);
            }
        }
        // Whoever was a spare may be needed now: pauses that have grown begin anew.
        if home.is_none() || before.is_none() {
            let trying: Vec<PeerId> = self.directory.registrations.keys().copied().collect();
            for id in trying {
                let waits = self
                    .peers
                    .get(id)
                    .is_some_and(|peer| peer.outgoing.is_some() && peer.sessions.is_empty());
                if waits && self.directory.needs(id) {
                    self.drop_outgoing(id);
                    self.begin_handshake(id, false);
                }
            }
        }
    }

    /// Has the records of a world brought up to date if they name another place than that of the home.
    fn place_changed(&mut self, world: &WorldId, before: Option<PeerId>) {
        let home = self.directory.worlds.get(world).and_then(|known| known.homes.home());
        let place = home.and_then(|home| self.own_place(home));
        let Some(known) = self.directory.worlds.get_mut(world) else {
            return;
        };
        if std::mem::replace(&mut known.place, place) == place {
            return;
        }
        // The home itself needs no telling, unless it was told of another one.
        let list = known.list.iter().map(|(_, id)| *id);
        let told = list.filter(|id| Some(*id) != home || before.is_some_and(|before| before != *id));
        self.directory.dirty.extend(told);
    }

    /// Begins the registrations that are wanted now, and ends those that are not any more.
    fn register_where_wanted(&mut self, now: Time, out: &mut Outbox) {
        let mut wanted: Vec<PeerId> = Vec::new();
        for network in self.networks.iter() {
            // Whoever knows an old secret only looks for documents where its holders are.
            let sealed = network.private.iter().flat_map(|private| private.shelf().sealed());
            let published = sealed.filter(|(_, sealed)| sealed.version > 0);
            let published = published.map(|(_, sealed)| sealed.member_key);
            for key in network.registered_under().chain(published) {
                wanted.extend(self.directory.holders(&network.world, &key));
            }
        }
        let all: Vec<PeerId> = self.directory.registrations.keys().copied().collect();
        for id in all {
            let homes = self.directory.worlds.values().any(|known| known.homes.wants(id));
            let kept = !homes && self.directory.is_registered_directly(id) && self.keep_in_use(now, id);
            let Some(registration) = self.directory.registrations.get_mut(&id) else {
                continue;
            };
            let near = homes || kept || registration.until.is_some();
            registration.records = wanted.contains(&id);
            let wants = near || registration.records;
            let was_near = std::mem::replace(&mut registration.near, near);
            let was_wanted = std::mem::replace(&mut registration.wanted, wants);
            let through = registration.way.through;
            match (was_wanted, wants) {
                (false, true) => {
                    registration.missed = Some(now);
                    let through = !near && self.should_go_through(now, id);
                    self.take_way(now, id, through, out);
                    self.begin_handshake(id, false);
                }
                (true, false) => self.let_go(now, id, out),
                (true, true) if near && !was_near && through => self.take_way(now, id, false, out),
                (true, true) if !near && !through && self.should_go_through(now, id) => {
                    self.take_way(now, id, true, out);
                }
                _ => {}
            }
        }
    }

    /// Ends a registration that is not wanted any more.
    fn let_go(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        debug!(supernode = %self.name(id), "not needed any more");
        self.send_bye(now, id, out);
        self.drop_outgoing(id);
        self.end_stream(id);
        self.forget_watches(id);
        if let Some(registration) = self.directory.registrations.get_mut(&id) {
            registration.forget();
        }
        for network in self.networks.iter_mut() {
            network.forget_listings(id);
        }
    }
}
