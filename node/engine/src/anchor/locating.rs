//! Look-ups at a supernode: who somebody is and how he is reached, and an introduction to the one who was found.

use crate::{
    Engine, Outbox, Time,
    peers::{Path, Peer, PeerId},
    rates::Prefix,
    relay_limits::Origin,
    wire::{
        control::{Control, Membership, NodeRecord, Place, Query},
        datagram::{RelayIndex, SupernodeTag},
    },
};

impl Engine {
    /// A look-up: who is it, and an introduction to the other side.
    pub(crate) fn locate_asked(&mut self, now: Time, id: PeerId, request: u32, query: &Query, out: &mut Outbox) {
        let Some((relations, _)) = self.anchor.relations(id) else {
            return;
        };
        if !relations.may_look_up(now) {
            self.counters.lookups_limited += 1;
            return;
        }
        let found = match query {
            Query::Prefix(prefix) => self.peers.by_prefix(prefix),
            Query::Address(key) => self
                .anchor
                .claims
                .get(key)
                .and_then(|claim| self.peers.by_node(&claim.holder)),
        };
        let found = found.filter(|found| *found != id && self.anchor.has_registration(*found));
        let record = found.and_then(|found| self.node_record(found, Some(id)));
        self.send_control(now, id, None, &[Control::Located { request, found: record }], out);
        let (Some(found), Some(record)) = (found, record) else {
            return;
        };
        // Under its index here, and where it is at home.
        let here = self.anchor.far(found, SupernodeTag::of(&self.node_id));
        let home = (SupernodeTag::of(&record.home), record.index);
        if let Some((relations, limits)) = self.anchor.relations(id) {
            for far in here.into_iter().chain([home]) {
                limits.note_introduced(now, relations, far);
            }
        }
        // Who is looked up is told of it as often as somebody may call.
        let way = self.peers.get(id).and_then(|peer| peer.path);
        let origin = match way {
            Some(Path::Direct(leg)) => Origin::Near(Prefix::of(leg)),
            Some(Path::Passed { sibling, index }) => Origin::Far((sibling, index)),
            Some(Path::Relay { .. }) | None => return,
        };
        if let Err(refused) = self.anchor.relaying.arrive(now, origin, found) {
            self.count_refused(refused);
        } else if let Some(record) = self.node_record(id, Some(found)) {
            self.send_control(now, found, None, &[Control::Introduce { record }], out);
        }
    }

    /// How a registered node is reached, for a reader who may have a network in common with it.
    fn node_record(&self, id: PeerId, reader: Option<PeerId>) -> Option<NodeRecord> {
        let registration = self.anchor.registration(id)?;
        let reader = reader.and_then(|reader| self.anchor.registration(reader));
        let theirs = reader.map(|reader| &*reader.memberships).unwrap_or_default();
        let shared = |one: &&Membership| theirs.iter().any(|other| other.member_key == one.member_key);
        let membership = registration.memberships.iter().find(shared);
        Some(self.member_record(self.peers.get(id)?, registration.index, membership))
    }

    /// How a registered node is reached as a member, or where it has told nothing. `index` is the one it has here.
    pub(crate) fn member_record(&self, peer: &Peer, index: RelayIndex, membership: Option<&Membership>) -> NodeRecord {
        let here = Place {
            home: self.node_id,
            index,
        };
        let place = membership.and_then(|membership| membership.home).unwrap_or(here);
        NodeRecord {
            key: *peer.key.as_bytes(),
            home: place.home,
            index: place.index,
        }
    }
}
