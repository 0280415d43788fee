//! Look-ups: asking a supernode who holds an address, or whose id begins so.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use farlan_crypto::{NodeId, PublicKey};

use crate::{
    Engine, NetworkHandle, Outbox, Time,
    directory::REQUEST,
    networks::Member,
    peers::{Path, PeerId},
    retry::Retry,
    wire::{
        control::{Control, NodeRecord, Query},
        datagram::RelayTarget,
    },
};

/// A look-up without an answer is given up after this time.
const LOOKUP_KEPT: Duration = Duration::from_secs(3);

/// A negative answer is not asked for again for so long.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// Look-ups under way at one time.
const MAX_LOOKUPS: usize = 128;

/// The look-ups of a node.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    under_way: BTreeMap<u32, Lookup>,
    /// What was not found lately.
    recent: BTreeMap<LookupKey, Time>,
}

type LookupKey = (NetworkHandle, LookupTarget);

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LookupTarget {
    /// A node by a prefix of its id.
    Node { low: NodeId, bits: u8 },
    /// The holder of an IPv4 address.
    Ipv4(Ipv4Addr),
}

#[derive(Debug)]
struct Lookup {
    key: LookupKey,
    query: Query,
    since: Time,
    retry: Retry,
    /// The supernode asked last: only its answer counts.
    asked: Option<PeerId>,
}

impl Lookups {
    /// Forgets what was asked for a network.
    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.under_way.retain(|_, lookup| lookup.key.0 != network);
        self.recent.retain(|(asked, _), _| *asked != network);
    }

    /// Whether nobody was found for this target within the last second.
    pub(crate) fn is_denied(&self, now: Time, network: NetworkHandle, target: LookupTarget) -> bool {
        let denied = self.recent.get(&(network, target));
        denied.is_some_and(|since| now.since(*since) < LOOKUP_PAUSE)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.under_way
            .values()
            .map(|lookup| lookup.retry.at().min(lookup.since + LOOKUP_KEPT))
            .min()
    }
}

impl Engine {
    /// Asks the supernodes of a network who has an address or the rest of an id.
    pub(crate) fn look_up(&mut self, now: Time, handle: NetworkHandle, target: LookupTarget, query: Query) {
        let key = (handle, target);
        self.lookups.recent.retain(|_, asked| now.since(*asked) < LOOKUP_PAUSE);
        let asked =
            self.lookups.recent.contains_key(&key) || self.lookups.under_way.values().any(|lookup| lookup.key == key);
        if asked || self.lookups.under_way.len() >= MAX_LOOKUPS {
            return;
        }
        let request = self.directory.request_number();
        let lookup = Lookup {
            key,
            query,
            since: now,
            retry: Retry::due(REQUEST, now),
            asked: None,
        };
        self.lookups.under_way.insert(request, lookup);
    }

    /// Sends look-ups that are new or unanswered, and gives up old ones.
    pub(crate) fn tend_lookups(&mut self, now: Time, out: &mut Outbox) {
        self.lookups
            .under_way
            .retain(|_, lookup| now.since(lookup.since) < LOOKUP_KEPT);
        let mut due = Vec::new();
        for (request, lookup) in &mut self.lookups.under_way {
            if lookup.retry.at() <= now {
                lookup.retry.again(now);
                due.push((*request, lookup.key.0, lookup.query));
            }
        }
        for (request, handle, query) in due {
            let Some(world) = self.networks.get(handle).map(|network| network.world) else {
                continue;
            };
            let anchor = self.directory.registered(&world).next();
            if let Some(lookup) = self.lookups.under_way.get_mut(&request) {
                lookup.asked = anchor;
            }
            if let Some(id) = anchor {
                self.send_control(now, id, None, &[Control::Locate { request, query }], out);
            }
        }
    }

    /// The answer to a look-up.
    pub(crate) fn located(
        &mut self,
        now: Time,
        id: PeerId,
        request: u32,
        found: Option<&NodeRecord>,
        out: &mut Outbox,
    ) {
        let asked = self
            .lookups
            .under_way
            .get(&request)
            .is_some_and(|lookup| lookup.asked == Some(id));
        let Some(lookup) = self.lookups.under_way.remove(&request).filter(|_| asked) else {
            return;
        };
        let (handle, target) = lookup.key;
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let key = found.and_then(|record| PublicKey::from_bytes(&record.key, self.work).ok());
        let ipv4 = match target {
            LookupTarget::Ipv4(address) => Some(address),
            LookupTarget::Node { .. } => None,
        };
        let fits = |key: &PublicKey| match &lookup.query {
            Query::Prefix(prefix) => prefix.matches(&key.node_id()),
            Query::Address(_) => ipv4.is_some_and(|address| network.may_hold(&key.node_id(), address)),
        };
        let key = key.filter(fits).filter(|key| *key != self.public);
        let (Some(key), Some(record)) = (key, found) else {
            self.lookups.recent.insert(lookup.key, now);
            self.not_located(now, handle, target, out);
            return;
        };
        network.note_located(Member {
            key,
            index: record.index,
            ipv4,
        });
        if let Some(peer) = self.peers.pin(key).and_then(|peer| self.peers.get_mut(peer))
            && peer.path.is_none()
        {
            peer.path = Some(Path::Relay {
                supernode: id,
                target: RelayTarget::Index(record.index),
            });
        }
        self.try_held_again(now, handle, out);
    }
}
