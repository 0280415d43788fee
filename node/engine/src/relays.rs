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
        datagram::RelayTarget,
    },
};

/// Places that a node tells, and takes note of: home and second of two worlds.
const MAX_PLACES: usize = 4;

/// The pauses with which a change of home is told again, since nobody acknowledges it.
const TOLD_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

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
    /// A relayed way to a peer: by an index at a supernode where both are registered, else by its id over the home.
    pub(crate) fn relay_path(&self, id: PeerId) -> Option<Path> {
        let peer = self.peers.get(id)?;
        let node = peer.key.node_id();
        let listed = self.networks.iter().filter_map(|network| network.member(&node));
        let places = peer.homes.iter().copied().chain(listed.map(|member| member.place));
        let mut common = places.filter_map(|place| {
            let supernode = self.supernode_of(&place)?;
            Some(Path::Relay {
                supernode,
                target: RelayTarget::Index(place.index),
            })
        });
        let common = common.find(|path| self.envelope(*path).is_some());
        common.or_else(|| {
            self.directory.homes().next().map(|supernode| Path::Relay {
                supernode,
                target: RelayTarget::Node(node),
            })
        })
    }

    /// The supernode of a place, if it is one of a world in use.
    fn supernode_of(&self, place: &Place) -> Option<PeerId> {
        let id = self.peers.by_node(&place.home)?;
        self.peers.get(id).filter(|peer| peer.supernode).map(|_| id)
    }

    /// A peer that does not answer is tried by its id through the next supernode: its index may be of another time, or it
    /// may have lost the supernode used so far.
    pub(crate) fn try_other_relay(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
            return;
        };
        let target = RelayTarget::Node(peer.key.node_id());
        let homes: Vec<PeerId> = self.directory.homes().collect();
        let used = match peer.path {
            Some(Path::Relay { supernode, .. }) => homes.iter().position(|home| *home == supernode),
            _ => None,
        };
        let next = used.map_or(0, |used| used + 1);
        let next = homes.get(next).or_else(|| homes.first()).copied();
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = next.map(|supernode| Path::Relay { supernode, target });
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
    pub(crate) fn homes_told(&mut self, id: PeerId, places: &[Place]) {
        let known: Vec<_> = places
            .iter()
            .take(MAX_PLACES)
            .map(|place| (self.supernode_of(place), *place))
            .collect();
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
            return;
        };
        peer.homes = known.iter().map(|(_, place)| *place).collect();
        if let Some(Path::Relay {
            supernode,
            target: target @ RelayTarget::Index(_),
        }) = &mut peer.path
            && let Some((_, place)) = known.iter().find(|(known, _)| *known == Some(*supernode))
        {
            *target = RelayTarget::Index(place.index);
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
        for network in peer.up.iter().filter_map(|handle| self.networks.get(*handle)) {
            let known = self.directory.worlds.get(&network.world);
            for supernode in known.iter().flat_map(|known| known.homes.both()) {
                let place = self.own_place(supernode);
                places.extend(place.filter(|place| !places.contains(place)));
            }
        }
        places.truncate(MAX_PLACES);
        if !places.is_empty() {
            self.send_control(now, id, None, &[Control::Homes { places }], out);
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
