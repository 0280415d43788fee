//! Over which supernode a peer is reached: over one at which it is registered, its home before all. Where it is registered
//! it tells in session; before that the directory does.

use std::time::Duration;

use farlan_crypto::PublicKey;
use farlan_netconf::WorldId;

use crate::{
    Engine, Outbox, Time,
    peers::{Path, PeerId},
    wire::{
        control::{Control, Place},
        datagram::{RelayIndex, RelayTarget, SupernodeTag},
    },
};

/// Places that a node tells, and takes note of: home and second of two worlds.
const MAX_PLACES: usize = 4;

/// The pauses with which a change of home is told again, since nobody acknowledges it.
const TOLD_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Own supernodes through which another one is tried: home and second of two worlds.
const MAX_OWN: usize = 4;

/// How long a registration at the home of a peer lasts without use.
const GUEST_FOR: Duration = Duration::from_secs(60);

/// Peers heard within this time are told.
const TOLD_TO: Duration = Duration::from_secs(180);

/// What the peers were told of this node's own places, and what is to be told again.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: Vec<Place>,
    due: Option<Time>,
    times: usize,
}

impl Telling {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Engine {
    /// The relayed ways to a peer, the best first: by an index at a supernode where both are registered; through a
    /// supernode of this node and on to one where the peer is; by its id over the supernodes of this node.
    fn relay_paths(&self, id: PeerId) -> Vec<Path> {
        let Some(peer) = self.peers.get(id) else {
            return Vec::new();
        };
        let node = peer.key.node_id();
        let mut places = peer.homes.clone();
        for listed in self.networks.iter().filter_map(|network| network.member(&node)) {
            let told = places.iter().any(|place| place.home == listed.place.home);
            if !told && listed.place.index != RelayIndex::NONE {
                places.push(listed.place);
            }
        }
        places.truncate(MAX_PLACES);
        let own: Vec<PeerId> = self.directory.homes().collect();
        let mut paths = Vec::new();
        let mut remote = Vec::new();
        for place in &places {
            if let Some(supernode) = self.supernode_of(place).filter(|supernode| own.contains(supernode)) {
                let target = RelayTarget::Index(place.index);
                paths.push(Path::Relay { supernode, target });
            } else {
                let target = RelayTarget::Remote {
                    supernode: SupernodeTag::of(&place.home),
                    index: place.index,
                };
                let through = |supernode: &PeerId| Path::Relay {
                    supernode: *supernode,
                    target,
                };
                remote.extend(own.iter().take(MAX_OWN).map(through));
            }
        }
        paths.append(&mut remote);
        let target = RelayTarget::Node(node);
        paths.extend(own.into_iter().map(|supernode| Path::Relay { supernode, target }));
        paths.retain(|path| self.envelope(*path).is_some());
        paths
    }

    /// The best relayed way to a peer. If it leads through two supernodes, this node becomes a guest at the peer's.
    pub(crate) fn relay_path(&mut self, now: Time, id: PeerId) -> Option<Path> {
        let path = self.relay_paths(id).first().copied();
        self.visit(now, path);
        path
    }

    /// Registers for a while at the supernode to which a way leads through another one.
    pub(crate) fn visit(&mut self, now: Time, path: Option<Path>) {
        let host = path.and_then(|path| self.host_of(path));
        let registration = host.and_then(|host| self.directory.registrations.get_mut(&host));
        if let Some(registration) = registration.filter(|registration| registration.until.is_none()) {
            registration.until = Some(now + GUEST_FOR);
            self.directory.changed = true;
        }
    }

    /// The supernode to which a way leads through another one.
    fn host_of(&self, path: Path) -> Option<PeerId> {
        let Path::Relay {
            target: RelayTarget::Remote { supernode, .. },
            ..
        } = path
        else {
            return None;
        };
        let mut known = self.directory.registrations.keys().copied();
        known.find(|id| {
            let peer = self.peers.get(*id);
            peer.is_some_and(|peer| SupernodeTag::of(&peer.key.node_id()) == supernode)
        })
    }

    /// Guests whose registration is in use stay.
    pub(crate) fn renew_guests(&mut self, now: Time) {
        for host in self.directory.registrations.keys().copied().collect::<Vec<_>>() {
            let registration = self.directory.registrations.get(&host);
            let over = registration.is_some_and(|registration| registration.until.is_some_and(|until| until <= now));
            if over {
                self.keep_in_use(now, host);
            }
        }
    }

    /// Keeps a registration over which peers are reached that were heard lately; returns whether it is one. Whoever let go
    /// of it would be silent to them, since what comes to them another way is refused before they have sent something that way.
    pub(crate) fn keep_in_use(&mut self, now: Time, host: PeerId) -> bool {
        let in_use = self.peers.iter().any(|(_, peer)| {
            let over = matches!(peer.path, Some(Path::Relay { supernode, .. }) if supernode == host);
            over && peer.heard.is_some_and(|heard| now.since(heard) < GUEST_FOR)
        });
        let registration = self.directory.registrations.get_mut(&host);
        if let Some(registration) = registration.filter(|_| in_use) {
            registration.until = Some(now + GUEST_FOR);
        }
        in_use
    }

    /// A supernode has registered this node: peers that were reached there through another one are reached directly now.
    ///
    /// The supernode lets a peer answer to the new index once something was sent from there, be it refused; then the peer
    /// learns the index over the old way, and its answer shows the new one.
    pub(crate) fn guest_registered(&mut self, now: Time, host: PeerId, out: &mut Outbox) {
        for id in self.peers.ids() {
            let Some(path) = self
                .peers
                .get(id)
                .filter(|peer| !peer.supernode)
                .and_then(|peer| peer.path)
            else {
                continue;
            };
            let Path::Relay {
                target: RelayTarget::Remote { index, .. },
                ..
            } = path
            else {
                continue;
            };
            if self.host_of(path) != Some(host) {
                continue;
            }
            let target = RelayTarget::Index(index);
            let new = Path::Relay {
                supernode: host,
                target,
            };
            self.set_path(id, new);
            if self.peers.get(id).is_some_and(|peer| peer.sessions.current().is_some()) {
                self.send_empty(now, id, out);
                self.set_path(id, path);
                self.tell_homes(now, id, out);
            }
        }
    }

    fn set_path(&mut self, id: PeerId, path: Path) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = Some(path);
        }
    }

    /// The supernode of a place, if it is one of a world in use.
    fn supernode_of(&self, place: &Place) -> Option<PeerId> {
        let id = self.peers.by_node(&place.home)?;
        self.peers.get(id).filter(|peer| peer.supernode).map(|_| id)
    }

    /// A peer that does not answer is tried the next way: its index may be of another time, or it may have lost the
    /// supernode used so far.
    pub(crate) fn try_other_relay(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.supernode {
            return self.try_other_address(now, id);
        }
        let used = peer.path;
        let paths = self.relay_paths(id);
        let next = paths
            .iter()
            .position(|path| Some(*path) == used)
            .map_or(0, |used| used + 1);
        let next = paths.get(next).or_else(|| paths.first()).copied();
        self.visit(now, next);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = next;
        }
    }

    /// A relay index at a supernode, or each of them, may be of another time: peers that were reached by it are reached by
    /// their ids, until they show their index.
    pub(crate) fn distrust_indexes(&mut self, supernode: PeerId, index: Option<RelayIndex>) {
        let Some(home) = self.peers.get(supernode).map(|peer| peer.key.node_id()) else {
            return;
        };
        let stale = |known: RelayIndex| index.is_none_or(|index| index == known);
        for network in self.networks.iter_mut() {
            network.distrust_located(|place| place.home == home && stale(place.index));
        }
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.homes.retain(|place| place.home != home || !stale(place.index));
            let node = peer.key.node_id();
            if let Some(Path::Relay {
                supernode: used,
                target,
            }) = &mut peer.path
                && *used == supernode
                && matches!(target, RelayTarget::Index(known) if stale(*known))
            {
                *target = RelayTarget::Node(node);
            }
        }
    }

    /// The directory says where a node is reached now.
    pub(crate) fn place_told(&mut self, key: &PublicKey, place: Place) {
        let Some(id) = self.peers.by_node(&key.node_id()) else {
            return;
        };
        let supernode = self.supernode_of(&place);
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.key == *key) else {
            return;
        };
        for told in peer.homes.iter_mut().filter(|told| told.home == place.home) {
            told.index = place.index;
        }
        match &mut peer.path {
            Some(Path::Relay {
                supernode: used,
                target,
            }) if Some(*used) == supernode => {
                *target = RelayTarget::Index(place.index);
            }
            // Chosen anew when it is used next; a session shows by itself which way works.
            Some(Path::Relay { .. }) if peer.sessions.is_empty() => peer.path = None,
            _ => {}
        }
    }

    /// A peer tells in session where it is registered.
    pub(crate) fn homes_told(&mut self, now: Time, id: PeerId, places: &[Place], out: &mut Outbox) {
        let known: Vec<_> = places
            .iter()
            .take(MAX_PLACES)
            .map(|place| (self.supernode_of(place), *place))
            .collect();
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
            return;
        };
        let two_hops = matches!(
            peer.path,
            Some(Path::Relay {
                target: RelayTarget::Remote { .. },
                ..
            })
        );
        peer.homes = known.iter().map(|(_, place)| *place).collect();
        if let Some(Path::Relay {
            supernode,
            target: target @ RelayTarget::Index(_),
        }) = &mut peer.path
            && let Some((_, place)) = known.iter().find(|(known, _)| *known == Some(*supernode))
        {
            *target = RelayTarget::Index(place.index);
        }
        // A supernode where both are registered is better than the way over two.
        let best = self.relay_paths(id).first().copied().filter(|_| two_hops);
        if let Some(
            best @ Path::Relay {
                target: RelayTarget::Index(_),
                ..
            },
        ) = best
        {
            self.set_path(id, best);
            self.send_empty(now, id, out);
        }
    }

    /// Where this node is reached in a world; none if that is the supernode `told`, which knows it, or nowhere yet.
    pub(crate) fn home_place(&self, world: &WorldId, told: PeerId) -> Option<Place> {
        let known = self.directory.worlds.get(world)?;
        known.place.filter(|_| known.homes.home() != Some(told))
    }

    pub(crate) fn own_place(&self, supernode: PeerId) -> Option<Place> {
        Some(Place {
            home: self.peers.get(supernode)?.key.node_id(),
            index: self.directory.relay_index(supernode)?,
        })
    }

    /// Tells a peer where this node is registered, in the worlds of common networks.
    pub(crate) fn tell_homes(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let mut places: Vec<Place> = Vec::new();
        let mut messages = Vec::new();
        for network in peer.up.iter().filter_map(|handle| self.networks.get(*handle)) {
            let told = self.worlds.told(&network.world);
            messages.extend(told.filter(|told| !messages.contains(told)));
            let known = self.directory.worlds.get(&network.world);
            for supernode in known.iter().flat_map(|known| known.homes.both()) {
                let place = self.own_place(supernode);
                places.extend(place.filter(|place| !places.contains(place)));
            }
        }
        // As a guest where the peer is.
        let visited = peer.homes.iter().filter_map(|place| self.supernode_of(place));
        for supernode in visited.filter(|supernode| self.directory.is_registered_directly(*supernode)) {
            let place = self.own_place(supernode);
            places.extend(place.filter(|place| !places.contains(place)));
        }
        places.truncate(MAX_PLACES);
        if !places.is_empty() {
            messages.push(Control::Homes { places });
        }
        if !messages.is_empty() {
            self.send_control(now, id, None, &messages, out);
        }
    }

    /// Tells all peers with a session when this node's own places have changed, and a few times again.
    pub(crate) fn tell_homes_everywhere(&mut self, now: Time, out: &mut Outbox) {
        let chosen: Vec<PeerId> = self
            .directory
            .worlds
            .values()
            .flat_map(|known| known.homes.both())
            .collect();
        let places: Vec<Place> = chosen.into_iter().filter_map(|id| self.own_place(id)).collect();
        let telling = &mut self.directory.telling;
        if telling.told != places {
            telling.told = places;
            telling.due = Some(now);
            telling.times = 0;
        }
        if telling.due.is_none_or(|due| due > now) {
            return;
        }
        telling.due = TOLD_AGAIN.get(telling.times).map(|pause| now + *pause);
        telling.times += 1;
        for id in self.peers.ids() {
            let told = |peer: &crate::peers::Peer| {
                !peer.up.is_empty() && peer.heard.is_some_and(|heard| now.since(heard) < TOLD_TO)
            };
            if self.peers.get(id).is_some_and(told) {
                self.tell_homes(now, id, out);
            }
        }
    }
}
