//! From supernode to supernode: a supernode passes on, to another one of its worlds, what its nodes cannot bring there
//! themselves, one hop far.
//!
//! ```text
//! node ── forward ──▶ its supernode ── passed ──▶ the other supernode ── passed ──▶ node there
//! ```
//! The two kinds differ, so that nothing is passed on twice. Supernodes have no sessions with each other and keep nothing
//! for each other: a node that cannot reach a supernode has its own session with it through another one, and registers
//! there by itself. So nobody has to believe what a supernode says of a node.

use std::{collections::BTreeMap, net::SocketAddr};

use farlan_netconf::{World, WorldId};

use crate::{
    Anchor, Engine, Leg, Outbox, Role, Socket, Time,
    handshakes::Via,
    peers::Path,
    relay_limits::{Far, Grant},
    wire::datagram::{Datagram, RELAY_HEADER, RelayIndex, RelayTarget, SupernodeTag, Unknown, passed_header, put_hint},
};

/// A datagram that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Onward {
    pub(crate) to: Leg,
    /// What stands before the inner datagram from here on.
    pub(crate) header: [u8; RELAY_HEADER],
}

/// What became of a datagram that is forwarded or was passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PassedOn {
    /// What is inside is for this engine, and came so.
    Here(Via),
    /// It goes on, and so much of the same kind may follow it in this batch.
    Onward(Onward, Option<Grant>),
    Nowhere,
}

/// The other supernodes of the worlds that this one serves.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    worlds: BTreeMap<WorldId, Vec<Anchor>>,
    addresses: BTreeMap<SupernodeTag, Vec<SocketAddr>>,
}

impl Siblings {
    /// Takes note of a world's supernodes; of their addresses those come first that are of a kind that this supernode has.
    pub(crate) fn set(&mut self, world: WorldId, own: &[Anchor], mut anchors: Vec<Anchor>) {
        let own = || own.iter().flat_map(|anchor| &anchor.addresses);
        let kind = |address: &SocketAddr| !own().any(|own| own.is_ipv4() == address.is_ipv4());
        for anchor in &mut anchors {
            anchor.addresses.sort_by_key(kind);
        }
        anchors.truncate(World::MAX_SUPERNODES);
        self.worlds.insert(world, anchors);
        self.read_addresses();
    }

    pub(crate) fn forget(&mut self, world: &WorldId) {
        self.worlds.remove(world);
        self.read_addresses();
    }

    fn read_addresses(&mut self) {
        let before = std::mem::take(&mut self.addresses);
        for anchor in self.worlds.values().flatten() {
            let tag = SupernodeTag::of(&anchor.key.node_id());
            // Names that are not looked up yet: the addresses known so far stay.
            let known = before.get(&tag).filter(|_| anchor.addresses.is_empty());
            let addresses = known.unwrap_or(&anchor.addresses);
            if !addresses.is_empty() {
                self.addresses.entry(tag).or_insert_with(|| addresses.clone());
            }
        }
    }

    /// The way to a supernode.
    pub(crate) fn leg(&self, supernode: SupernodeTag) -> Option<Leg> {
        self.addresses
            .get(&supernode)?
            .first()
            .map(|address| Leg::from(*address))
    }

    /// Whether what came by a leg came from a supernode.
    fn is_at(&self, supernode: SupernodeTag, leg: Leg) -> bool {
        let addresses = self.addresses.get(&supernode).filter(|_| leg.socket == Socket::Main);
        addresses.is_some_and(|addresses| addresses.contains(&leg.endpoint))
    }

    /// The supernode from which comes what comes by a leg.
    pub(crate) fn at(&self, leg: Leg) -> Option<SupernodeTag> {
        self.addresses.keys().copied().find(|tag| self.is_at(*tag, leg))
    }
}

impl Engine {
    /// Takes what is forwarded or was passed on.
    pub(crate) fn passed_on(
        &mut self,
        now: Time,
        via: Via,
        (bytes, datagram): (usize, Datagram<'_>),
        out: &mut Outbox,
    ) -> PassedOn {
        let Via::Direct(leg) = via else {
            self.counters.malformed_datagrams += 1;
            return PassedOn::Nowhere;
        };
        match (self.role, datagram) {
            (
                Role::Supernode,
                Datagram::Forward {
                    supernode,
                    destination,
                    source,
                    inner,
                },
            ) => {
                let onward = self.forward(now, leg, ((supernode, destination), source), (bytes, inner), out);
                onward.map_or(PassedOn::Nowhere, |(onward, grant)| {
                    PassedOn::Onward(onward, Some(grant))
                })
            }
            (
                Role::Supernode,
                Datagram::Passed {
                    supernode,
                    destination,
                    source,
                    inner,
                },
            ) => {
                if !self.siblings.is_at(supernode, leg) {
                    self.counters.foreign_relay += 1;
                    return PassedOn::Nowhere;
                }
                if destination == RelayIndex::SUPERNODE {
                    return PassedOn::Here(Via::Passed {
                        sibling: supernode,
                        source,
                    });
                }
                let onward = self.deliver_passed(now, leg, (supernode, source), destination, inner, out);
                onward.map_or(PassedOn::Nowhere, |onward| PassedOn::Onward(onward, Grant::UNLIMITED))
            }
            (
                Role::Node,
                Datagram::Passed {
                    supernode: origin,
                    source: index,
                    ..
                },
            ) => {
                let Some(supernode) = self.supernode_at(leg) else {
                    self.counters.foreign_relay += 1;
                    return PassedOn::Nowhere;
                };
                let source = RelayTarget::Remote {
                    supernode: origin,
                    index,
                };
                PassedOn::Here(Via::Relay { supernode, source })
            }
            _ => {
                self.counters.foreign_relay += 1;
                PassedOn::Nowhere
            }
        }
    }

    /// A node of this supernode has something for another supernode, or for a node there.
    fn forward(
        &mut self,
        now: Time,
        leg: Leg,
        (destination, source): (Far, RelayIndex),
        (bytes, inner): (usize, &[u8]),
        out: &mut Outbox,
    ) -> Option<(Onward, Grant)> {
        let from = self.source_of(now, leg, source, out)?;
        let Some(sibling) = self.siblings.leg(destination.0) else {
            self.counters.relay_unknown_destination += 1;
            return None;
        };
        // Whether anything but a handshake passes the other supernode knows.
        let handshake = Datagram::parse(inner).is_ok_and(|inner| inner.is_handshake());
        let (relations, _) = self.anchor.relations(from)?;
        if handshake
            && !relations.was_answered(&destination)
            && !self.may_begin(now, (from, leg), (None, destination), inner)
        {
            return None;
        }
        let grant = self.grant(now, from, destination, bytes)?;
        let own = SupernodeTag::of(&self.node_id);
        let onward = Onward {
            to: sibling,
            header: passed_header(own, destination.1, source),
        };
        Some((onward, grant))
    }

    /// Another supernode has something for a node of this one. The same rule holds as for what is relayed.
    fn deliver_passed(
        &mut self,
        now: Time,
        sibling: Leg,
        source: Far,
        destination: RelayIndex,
        inner: &[u8],
        out: &mut Outbox,
    ) -> Option<Onward> {
        let to = self.anchor.by_index(destination);
        let path = to.and_then(|to| self.peers.get(to)?.path);
        let (Some(to), Some(Path::Direct(leg))) = (to, path) else {
            self.counters.relay_unknown_destination += 1;
            // Its records there are of another time.
            if source.1 == RelayIndex::SUPERNODE {
                self.hint(now, Via::Direct(sibling), Unknown::Registration(destination), out);
            }
            return None;
        };
        let (relations, limits) = self.anchor.relations(to)?;
        relations.note_answered(&source);
        if !relations.has_sent(&source) {
            if !Datagram::parse(inner).is_ok_and(|inner| inner.is_handshake()) {
                self.counters.relay_unanswered += 1;
                return None;
            }
            if let Err(refused) = limits.arrive_from_afar(now, source, to) {
                self.count_refused(refused);
                return None;
            }
        }
        Some(Onward {
            to: leg,
            header: passed_header(source.0, destination, source.1),
        })
    }

    /// Tells the supernodes at which a node has records through this one that it is not registered any more.
    pub(crate) fn tell_gone(&self, index: RelayIndex, records_at: &[SupernodeTag], out: &mut Outbox) {
        for leg in records_at.iter().filter_map(|tag| self.siblings.leg(*tag)) {
            self.transmit(Path::Direct(leg), out, |bytes| {
                put_hint(bytes, Unknown::Registration(index));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed, Work};

    use super::*;

    fn anchor(number: u8, addresses: &[&str]) -> Anchor {
        let identity = Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap();
        Anchor {
            key: identity.public(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            streams: Vec::new(),
        }
    }

    #[test]
    fn siblings_are_known_by_their_addresses_and_reached_at_one_of_the_own_kind() {
        let world = WorldId::from_bytes([1; 16]);
        let other = anchor(2, &["[2001:db8::2]:9600", "192.0.2.2:9600"]);
        let tag = SupernodeTag::of(&other.key.node_id());
        let at = |text: &str| Leg::from(text.parse::<SocketAddr>().unwrap());
        let mut siblings = Siblings::default();
        siblings.set(world, &[anchor(1, &["192.0.2.1:9600"])], vec![other.clone()]);
        assert_eq!(siblings.leg(tag), Some(at("192.0.2.2:9600")));
        assert!(siblings.is_at(tag, at("[2001:db8::2]:9600")));
        assert_eq!(siblings.at(at("[2001:db8::2]:9600")), Some(tag));
        assert!(!siblings.is_at(tag, at("192.0.2.2:9601")));
        // A name that is not looked up (again) yet changes nothing.
        siblings.set(world, &[], vec![anchor(2, &[])]);
        assert_eq!(siblings.leg(tag), Some(at("192.0.2.2:9600")));
        siblings.set(world, &[], vec![other]);
        assert_eq!(siblings.leg(tag), Some(at("[2001:db8::2]:9600")));
        siblings.forget(&world);
        assert_eq!(siblings.leg(tag), None);
    }
}
