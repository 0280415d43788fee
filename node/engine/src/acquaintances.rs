//! Peers known from before, and where they answered: found again where no supernode helps.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::WorldId;

use crate::{
    Contact, Engine, Leg, Role, Socket, Time,
    peers::{Peer, PeerId},
    ranges::is_private,
};

/// Acquaintances that are remembered.
const MAX_KNOWN: usize = 256;

/// Endpoints of one.
pub(crate) const MAX_ENDPOINTS: usize = 2;

/// As long as their world has no supernode that answers, they are tried after these pauses, the last one repeated. After the
/// first, in which this machine's own addresses become known, those heard lately are tried in any case.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
    Duration::from_secs(60),
];

/// Where peers answered that are not spoken with now.
#[derive(Debug, Default)]
pub(crate) struct Acquaintances {
    known: BTreeMap<NodeId, Acquaintance>,
    /// How many were noted so far.
    noted: u64,
    next: Option<Time>,
    tries: usize,
}

#[derive(Clone, Debug)]
struct Acquaintance {
    key: PublicKey,
    /// The world at whose supernodes it is met; none for one whom this run has forgotten meanwhile.
    world: Option<WorldId>,
    legs: Vec<Leg>,
    /// Whether it is called in any case, once.
    lately: bool,
    /// Its place in the order in which they were noted last.
    order: u64,
}

impl Acquaintances {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Notes one. The one noted the longest ago makes room, of those that are not still to be called in any case.
    fn insert(&mut self, mut acquaintance: Acquaintance) {
        let node = acquaintance.key.node_id();
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&node) {
            let others = self.known.iter().filter(|(_, other)| !other.lately);
            let Some(oldest) = others.min_by_key(|(_, other)| other.order).map(|(node, _)| *node) else {
                return;
            };
            self.known.remove(&oldest);
        }
        self.noted += 1;
        acquaintance.order = self.noted;
        self.known.insert(node, acquaintance);
    }
}

impl Engine {
    /// Takes note of peers of an earlier run and where they answered. Those heard lately are called at once, the others as
    /// long as no supernode of the world answers.
    pub fn remember(&mut self, now: Time, world: WorldId, contacts: &[Contact]) {
        let own = self.public;
        for contact in contacts.iter().filter(|contact| contact.key != own) {
            let legs = contact
                .endpoints
                .iter()
                .copied()
                .filter(|endpoint| worth_keeping(*endpoint));
            let acquaintance = Acquaintance {
                key: contact.key,
                world: Some(world),
                legs: legs.map(Leg::from).take(MAX_ENDPOINTS).collect(),
                lately: contact.lately,
                order: 0,
            };
            if !acquaintance.legs.is_empty() {
                self.acquaintances.insert(acquaintance);
            }
        }
        if !self.acquaintances.known.is_empty() {
            self.acquaintances.tries = 0;
            self.acquaintances.next = Some(now + PAUSES[0]);
        }
    }

    /// Peers that are not spoken with are tried where they answered before.
    pub(crate) fn tend_acquaintances(&mut self, now: Time) {
        if self.acquaintances.next.is_none_or(|next| next > now) {
            return;
        }
        let tries = self.acquaintances.tries;
        self.acquaintances.tries += 1;
        let pause = PAUSES.get(tries + 1).or(PAUSES.last()).copied();
        self.acquaintances.next = pause.map(|pause| now + pause);
        let lost = |world: &WorldId| self.directory.registered(world).next().is_none();
        let due = |acquaintance: &mut Acquaintance| {
            let lately = std::mem::take(&mut acquaintance.lately);
            let due = lately || (tries > 0 && acquaintance.world.as_ref().is_some_and(lost));
            due.then_some(acquaintance.key)
        };
        let due: Vec<PublicKey> = self.acquaintances.known.values_mut().filter_map(due).collect();
        for key in due {
            self.call_acquaintance(now, key);
        }
    }

    fn call_acquaintance(&mut self, now: Time, key: PublicKey) {
        if let Some(id) = self.pin(now, key) {
            self.recall(id);
            let stands = |peer: &Peer| peer.sessions.current().is_some();
            if !self.peers.get(id).is_some_and(stands) {
                self.want(now, id);
            }
        }
    }

    /// Tells a peer that is new where it answered before. What means something in one local network only is left out where
    /// this machine is in another.
    pub(crate) fn recall(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(acquaintance) = self.acquaintances.known.get(&peer.key.node_id()) else {
            return;
        };
        let fits = |leg: &&Leg| !is_private(leg.ip()) || self.traversal.is_like_own(leg.ip());
        let legs: Vec<Leg> = acquaintance.legs.iter().filter(fits).copied().collect();
        if let Some(peer) = self.peers.get_mut(id) {
            peer.direct.recall(&legs);
        }
    }

    /// A peer is forgotten; where it answered is not.
    pub(crate) fn note_parting(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
            return;
        };
        let legs: Vec<Leg> = answered_at(peer).into_iter().map(Leg::from).collect();
        if self.role != Role::Node || legs.is_empty() {
            return;
        }
        let node = peer.key.node_id();
        let world = self.acquaintances.known.get(&node).and_then(|known| known.world);
        let key = peer.key;
        let lately = false;
        self.acquaintances.insert(Acquaintance {
            key,
            world,
            legs,
            lately,
            order: 0,
        });
    }
}

/// Where a peer answered straight, as far as that may be so again later.
pub(crate) fn answered_at(peer: &Peer) -> Vec<SocketAddr> {
    let known = peer.direct.known().into_iter().filter(|leg| leg.socket == Socket::Main);
    known
        .map(|leg| leg.endpoint)
        .filter(|endpoint| worth_keeping(*endpoint))
        .collect()
}

/// Whether an endpoint may be the same peer's later: it is not tied to one of this machine's cards.
fn worth_keeping(endpoint: SocketAddr) -> bool {
    match endpoint.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed, Work};

    use super::*;

    fn acquaintance(number: u16, lately: bool) -> Acquaintance {
        let mut seed = [3; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap();
        let endpoint = SocketAddr::from(([192, 0, 2, 1], number));
        Acquaintance {
            key: identity.public(),
            world: None,
            legs: vec![Leg::from(endpoint)],
            lately,
            order: 0,
        }
    }

    #[test]
    fn the_one_noted_the_longest_ago_and_not_heard_lately_makes_room() {
        let mut acquaintances = Acquaintances::default();
        // The first is heard lately, the second noted again at the end.
        for number in (1..=256).chain([2]) {
            acquaintances.insert(acquaintance(number, number == 1));
        }
        for number in 257..=300 {
            acquaintances.insert(acquaintance(number, false));
        }
        let kept: Vec<u16> = (1..=300)
            .filter(|number| {
                let node = acquaintance(*number, false).key.node_id();
                acquaintances.known.contains_key(&node)
            })
            .collect();
        let expected: Vec<u16> = [1, 2].into_iter().chain(47..=300).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn those_heard_lately_give_way_to_nobody() {
        let mut acquaintances = Acquaintances::default();
        for number in 1..=257 {
            acquaintances.insert(acquaintance(number, number <= 256));
        }
        let node = acquaintance(257, false).key.node_id();
        assert!(acquaintances.known.len() == MAX_KNOWN && !acquaintances.known.contains_key(&node));
    }
}
