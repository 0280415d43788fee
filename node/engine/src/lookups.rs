//! Look-ups: asking a supernode who holds an address, or whose id begins so.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use farlan_crypto::{NodeId, PublicKey};

use crate::{
    Engine, NetworkHandle, Outbox, Time,
    directory::REQUEST,
    networks::Member,
    peers::PeerId,
    retry::Retry,
    wire::control::{Control, NodeRecord, Query},
};

/// A look-up without an answer is given up after this time.
const LOOKUP_KEPT: Duration = Duration::from_secs(3);

/// A negative answer is not asked for again for so long.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// So long after one supernode that keeps a network's records the next one is asked too.
const STAGGER: Duration = Duration::from_millis(200);

/// Look-ups under way at one time.
const MAX_LOOKUPS: usize = 128;

/// Denied ones that are remembered.
const MAX_DENIED: usize = 1024;

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
    /// When those that were asked and did not answer are asked again.
    retry: Retry,
    /// When the next supernode is asked; none if all were.
    next: Option<Time>,
    /// The supernodes asked, and whether they know nothing.
    asked: BTreeMap<PeerId, bool>,
}

impl Lookup {
    fn deadline(&self) -> Time {
        let end = self.since + LOOKUP_KEPT;
        [self.next.unwrap_or(end), self.retry.at()]
            .into_iter()
            .fold(end, Time::min)
    }
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
        self.under_way.values().map(Lookup::deadline).min()
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
            retry: Retry::begin(REQUEST, now),
            next: Some(now),
            asked: BTreeMap::new(),
        };
        self.lookups.under_way.insert(request, lookup);
    }

    /// Sends look-ups that are new or unanswered, and gives up old ones.
    pub(crate) fn tend_lookups(&mut self, now: Time, out: &mut Outbox) {
        self.lookups
            .under_way
            .retain(|_, lookup| now.since(lookup.since) < LOOKUP_KEPT);
        let mut due: Vec<u32> = Vec::new();
        for (request, lookup) in &mut self.lookups.under_way {
            if lookup.deadline() <= now {
                due.push(*request);
            }
        }
        for request in due {
            self.ask(now, request, out);
        }
    }

    /// Asks the next supernode that keeps the network's records, and those again that did not answer in time.
    fn ask(&mut self, now: Time, request: u32, out: &mut Outbox) {
        let Some(lookup) = self.lookups.under_way.get_mut(&request) else {
            return;
        };
        let Some(network) = self.networks.get(lookup.key.0) else {
            return;
        };
        let mut asked = Vec::new();
        if lookup.retry.at() <= now {
            lookup.retry.again(now);
            let silent = lookup.asked.iter().filter(|(_, knows_nothing)| !**knows_nothing);
            asked.extend(silent.map(|(id, _)| *id));
        }
        if lookup.next.is_some_and(|at| at <= now) {
            let readers = self.directory.holders(&network.world, &network.member_key);
            let mut readers = readers
                .into_iter()
                .filter(|id| self.directory.relay_index(*id).is_some());
            let next = readers.find(|id| !lookup.asked.contains_key(id));
            // Nobody yet: one may register meanwhile.
            let wait = next.is_some() || lookup.asked.is_empty();
            lookup.next = wait.then(|| now + STAGGER);
            if let Some(id) = next {
                lookup.asked.insert(id, false);
                asked.push(id);
            }
        }
        let mut messages = vec![Control::Locate {
            request,
            query: lookup.query,
        }];
        messages.extend(self.worlds.told(&network.world));
        for id in asked {
            self.send_control(now, id, None, &messages, out);
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
        let Some(lookup) = self.lookups.under_way.get_mut(&request) else {
            return;
        };
        let Some(knows_nothing) = lookup.asked.get_mut(&id) else {
            return;
        };
        *knows_nothing = true;
        if found.is_none() {
            // Others may know more: the next one is asked at once.
            if lookup.next.is_some() {
                lookup.next = Some(now);
                self.ask(now, request, out);
            }
            let waits =
                |lookup: &Lookup| lookup.next.is_some() || lookup.asked.values().any(|knows_nothing| !knows_nothing);
            if self.lookups.under_way.get(&request).is_some_and(waits) {
                return;
            }
        }
        let Some(lookup) = self.lookups.under_way.remove(&request) else {
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
        let key = key
            .filter(fits)
            .filter(|key| *key != self.public && !network.keeps_out(&key.node_id()));
        let (Some(key), Some(record)) = (key, found) else {
            if self.lookups.recent.len() < MAX_DENIED {
                self.lookups.recent.insert(lookup.key, now);
            }
            self.not_located(now, handle, target, out);
            return;
        };
        network.note_located(Member {
            key,
            place: record.place(),
            ipv4,
        });
        let found = self.pin(now, key);
        self.place_told(&key, record.place());
        if let Some(id) = found.filter(|id| self.spread_waits_for(*id)) {
            self.want(now, id);
        }
        self.try_held_again(now, handle, out);
    }
}
