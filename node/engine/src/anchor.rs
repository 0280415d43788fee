//! A supernode's side: registrations, relaying, and below look-ups. The lists of members are in `subscriptions`.

mod indexes;
mod locating;
mod registration;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use farlan_crypto::{NodeId, defects::planted};
use farlan_netconf::{DirectoryKey, WorldId};
use tracing::debug;

use self::indexes::Indexes;
pub(crate) use self::registration::Registration;
use crate::{
    AnchorStatus, Engine, Leg, Limits, Outbox, Time,
    behaviour::MAX_PACKETS,
    channels::Subscribed,
    content::Content,
    directory::REFRESH,
    documents::Asked,
    forwarding::Onward,
    grants::{ASKED, Grants},
    handshakes::Via,
    peers::{Path, PeerId},
    places::Places,
    rates::{Prefix, Rate},
    relay_limits::{Far, Grant, Refused, Relations, RelayLimits},
    streams::{observed_by, probe_in},
    subscriptions::Subscriptions,
    table::Table,
    wire::{
        control::{Control, Membership, PADDING, messages},
        datagram::{
            Datagram, RelayIndex, RelayTarget, SessionIndex, SupernodeTag, Unknown, passed_header, put_hint,
            relay_header,
        },
        sealed::Sealed,
    },
};

/// A registration ends so long after the last sealed datagram: three lost signs of life.
const REGISTRATION_KEPT: Duration = Duration::from_secs(75);

/// The registration of a node that is reached through another supernode holds records only, and is refreshed every
/// [`REFRESH`]: three of those lost.
const RECORDS_KEPT: Duration = Duration::from_secs(3 * REFRESH.as_secs() + 25);

/// Such a registration ends after this time when the other supernode says that it does not know the node, unless the node
/// shows itself: it may be on its way to another home.
const DOUBTED_KEPT: Duration = Duration::from_secs(20);

/// An IPv4 claim outlives its registration for so long, so that a node that comes back finds its address free.
const CLAIM_KEPT: Duration = Duration::from_secs(600);

/// IPv4 claims there is room for, in times of the registrations: twice as many as there are memberships.
const CLAIMS: usize = 4;

/// Memberships of one node; more are ignored.
const MAX_MEMBERSHIPS: usize = 16;

/// Bytes that one batch may bring, which are drawn from a quota at once.
const BATCH: u64 = 256 << 10;

/// New addresses that are challenged at one time; those that did not answer within [`ANSWER_WITHIN`] make room.
const MAX_CHALLENGES: usize = 4096;

/// See [`MAX_CHALLENGES`].
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A new address is challenged at most this often.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(1);

/// Questions where they are seen that one node may ask: two runs of them at once.
const LOOKS: Rate = Rate {
    count: 2 * MAX_PACKETS as u64,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(60),
};

/// Way probes of one node that are answered: it sends two each 15 s to an endpoint, and ten where one was answered.
const WAY_PROBES: Rate = Rate {
    count: 40,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(60),
};

/// What a supernode keeps.
#[derive(Debug)]
pub(crate) struct Anchor {
    registrations: Table<Registration>,
    /// Peers that are not registered, or not any more.
    pub(crate) unregistered: BTreeSet<PeerId>,
    /// Who is registered through another supernode, by its index there.
    passed: BTreeMap<(SupernodeTag, RelayIndex), PeerId>,
    indexes: Indexes,
    claims: BTreeMap<DirectoryKey, Claim>,
    /// When claims without a registration end.
    claim_ends: BTreeSet<(Time, DirectoryKey)>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) relaying: RelayLimits,
    pub(crate) places: Places,
    /// New addresses of nodes, registered or about to be, that have to prove themselves.
    challenges: BTreeMap<PeerId, Challenge>,
    /// The port of the second socket, if there is one.
    pub(crate) second_port: Option<u16>,
    pub(crate) grants: Grants,
}

/// A new address of a node that has to prove itself.
#[derive(Debug)]
struct Challenge {
    path: Path,
    nonce: u64,
    sent: Time,
}

/// An IPv4 address taken in a network.
#[derive(Debug)]
struct Claim {
    holder: NodeId,
    /// When it ends; unset while its holder is registered.
    ends: Option<Time>,
}

impl Anchor {
    pub(crate) fn new(random: u64, limits: Limits) -> Self {
        Self {
            registrations: Table::default(),
            unregistered: BTreeSet::new(),
            passed: BTreeMap::new(),
            indexes: Indexes::new(random),
            claims: BTreeMap::new(),
            claim_ends: BTreeSet::new(),
            subscriptions: Subscriptions::default(),
            relaying: RelayLimits::new(&limits),
            places: Places::new(limits.registrations.clamp(1, Limits::MOST_REGISTRATIONS)),
            challenges: BTreeMap::new(),
            second_port: None,
            grants: Grants::default(),
        }
    }

    pub(crate) fn status(&self) -> AnchorStatus {
        AnchorStatus {
            registrations: self.registrations.len(),
            subscriptions: self.subscriptions.len(),
            claims: self.claims.len(),
            documents: 0,
            document_bytes: 0,
        }
    }

    pub(crate) fn registration(&self, id: PeerId) -> Option<&Registration> {
        self.registrations.get(id.number())
    }

    pub(crate) fn registration_mut(&mut self, id: PeerId) -> Option<&mut Registration> {
        self.registrations.get_mut(id.number())
    }

    pub(crate) fn has_registration(&self, id: PeerId) -> bool {
        self.registration(id).is_some()
    }

    /// Whether a node may ask once more where it is seen.
    pub(crate) fn may_look(&mut self, now: Time, id: PeerId) -> bool {
        let registration = self.registration_mut(id);
        registration.is_some_and(|registration| registration.dealings.looks.take(now, &LOOKS, 1))
    }

    /// A node is asked to show that it is where a look of it came from.
    pub(crate) fn ask_aside(&mut self, now: Time, id: PeerId, leg: Leg, nonce: u64) {
        if let Some(registration) = self.registration_mut(id) {
            registration.dealings.aside.ask(now, leg, nonce);
        }
    }

    /// A node answers that from `leg`.
    pub(crate) fn shown_aside(&mut self, now: Time, id: PeerId, leg: Leg, nonce: u64) {
        if let Some(registration) = self.registration_mut(id) {
            registration.dealings.aside.answered(now, leg, nonce);
        }
    }

    /// The address at which a node has shown to be beside the one that it is registered from.
    pub(crate) fn address_aside(&self, now: Time, id: PeerId) -> Option<IpAddr> {
        self.registration(id)?.dealings.aside.shown(now)
    }

    /// Whether one more way probe of a node is answered.
    pub(crate) fn may_probe(&mut self, now: Time, id: PeerId) -> bool {
        let registration = self.registration_mut(id);
        registration.is_some_and(|registration| registration.dealings.way_probes.take(now, &WAY_PROBES, 1))
    }

    /// Whether a node may ask once more for a search.
    pub(crate) fn may_ask_for_search(&mut self, now: Time, id: PeerId) -> bool {
        let registration = self.registration_mut(id);
        registration.is_some_and(|registration| registration.dealings.searches.take(now, &ASKED, 1))
    }

    /// What a registered node asked of documents, and whose places it takes.
    pub(crate) fn documents_of(&mut self, id: PeerId) -> Option<(&mut Asked, Option<Prefix>)> {
        let registration = self.registration_mut(id)?;
        Some((&mut registration.dealings.documents, registration.prefix))
    }

    /// The memberships of a registered node, the channels it subscribed to, and whose places it takes.
    pub(crate) fn channels_of(&mut self, id: PeerId) -> Option<(&[Membership], &mut Subscribed, Option<Prefix>)> {
        let registration = self.registration_mut(id)?;
        Some((
            &registration.memberships,
            &mut *registration.channels,
            registration.prefix,
        ))
    }

    /// How many subscriptions to channels a node has, and whose places they take, if it ever had any.
    pub(crate) fn subscriptions_held(&self, id: PeerId) -> Option<(usize, Option<Prefix>)> {
        let registration = self.registration(id)?;
        Some((registration.channels.get()?.len(), registration.prefix))
    }

    pub(crate) fn registration_deadline(&self, id: PeerId) -> Option<Time> {
        let registration = self.registration(id)?;
        let kept = if registration.dealings.through.is_some() {
            RECORDS_KEPT
        } else {
            REGISTRATION_KEPT
        };
        let end = registration.heard + kept;
        Some(registration.dealings.doubted.map_or(end, |doubted| doubted.min(end)))
    }

    /// What a registered node has to do with others, and the limits of what is relayed for it.
    pub(crate) fn relations(&mut self, id: PeerId) -> Option<(&mut Relations, &mut RelayLimits)> {
        let registration = self.registrations.get_mut(id.number())?;
        Some((&mut registration.relations, &mut self.relaying))
    }

    /// Whether a node has relayed something there.
    fn has_sent(&self, from: PeerId, to: &Far) -> bool {
        let registration = self.registration(from);
        registration.is_some_and(|registration| registration.relations.has_sent(to))
    }

    /// Takes back what a run of datagrams did not use.
    pub(crate) fn give_back(&mut self, grant: &Grant) {
        if let Some((relations, limits)) = self.relations(grant.from()) {
            limits.give_back(relations, grant);
        }
    }

    pub(crate) fn by_index(&self, index: RelayIndex) -> Option<PeerId> {
        self.indexes.holder(index)
    }

    /// Where a registered node is reached, as seen from the supernode `own`.
    fn far(&self, id: PeerId, own: SupernodeTag) -> Option<Far> {
        let registration = self.registration(id)?;
        Some(registration.dealings.through.unwrap_or((own, registration.index)))
    }

    /// Takes note of the way to a registered node.
    fn note_way(&mut self, id: PeerId, path: Option<Path>) {
        let Some(registration) = self.registration_mut(id) else {
            return;
        };
        let before = registration
            .dealings
            .made()
            .and_then(|dealings| dealings.through.take());
        if let Some(Path::Passed { sibling, index }) = path {
            registration.dealings.through = Some((sibling, index));
        }
        if let Some(before) = before.filter(|before| self.passed.get(before) == Some(&id)) {
            self.passed.remove(&before);
        }
        if let Some(Path::Passed { sibling, index }) = path {
            self.passed.insert((sibling, index), id);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let claim = self.claim_ends.first().map(|(at, _)| *at);
        [claim, self.subscriptions.deadline()].into_iter().flatten().min()
    }

    /// A relay index for a node whose place is of a prefix, if there is one for it.
    fn take_index(&mut self, now: Time, id: PeerId, prefix: Option<Prefix>) -> Option<RelayIndex> {
        if !self.places.take(prefix) {
            return None;
        }
        let Some((index, rested)) = self.indexes.take(now, self.places.numbers(), id) else {
            self.places.untake(prefix);
            return None;
        };
        if let Some(of) = rested {
            self.places.rested(of);
        }
        Some(index)
    }

    /// Those kept for nodes that are gone make room when there are too many, those that end first before all.
    fn drop_claims(&mut self) {
        while self.claims.len() > self.places.most() * CLAIMS
            && let Some((_, key)) = self.claim_ends.pop_first()
        {
            self.claims.remove(&key);
        }
    }

    /// Nothing is expected of a node any more.
    pub(crate) fn forget_challenge(&mut self, id: PeerId) {
        self.challenges.remove(&id);
    }

    /// Notes which version of a world a node holds.
    pub(crate) fn world_told(&mut self, id: PeerId, world: WorldId, version: u32) {
        if let Some(registration) = self.registration_mut(id) {
            registration.version = Some((world, version));
        }
    }

    /// Whether two nodes are members of one network. What a list of members named before it grew too long stays known to them,
    /// and a broadcast to all of these must not use up what first contacts may cost.
    fn share_a_network(&self, one: PeerId, other: PeerId) -> bool {
        let (Some(one), Some(other)) = (self.registration(one), self.registration(other)) else {
            return false;
        };
        let both = |key: &DirectoryKey| other.memberships.iter().any(|membership| membership.member_key == *key);
        let mut keys = one.memberships.iter().map(|membership| membership.member_key);
        keys.any(|key| both(&key))
    }
}

impl Engine {
    /// A node registers, or changes its memberships.
    pub(crate) fn register_asked(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (request, memberships): (u32, &[Membership]),
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        let node = peer.key.node_id();
        let path = peer.path;
        let observed = match path {
            Some(path @ (Path::Direct(_) | Path::Passed { .. })) => observed_by(path),
            Some(Path::Relay { .. }) | None => return,
        };
        let before = match self.anchor.registration_mut(id) {
            // An older request that was overtaken must not undo a newer one.
            Some(registration) if registration.latest.0 == local && request < registration.latest.1 => return,
            Some(registration) => {
                registration.latest = (local, request);
                std::mem::take(&mut registration.memberships)
            }
            None => {
                let prefix = match path {
                    Some(Path::Direct(leg)) => Some(Prefix::of(leg)),
                    _ => None,
                };
                let Some(index) = self.anchor.take_index(now, id, prefix) else {
                    self.counters.registrations_refused += 1;
                    return;
                };
                debug!(node = %node.short(), "registered");
                let registration = Registration::new(index, now, (local, request), prefix);
                self.anchor.registrations.insert(id.number(), registration);
                self.anchor.unregistered.remove(&id);
                Box::default()
            }
        };
        // Claims first: who comes first holds an address.
        let mut refused = Vec::new();
        let mut memberships: Vec<Membership> = memberships.iter().copied().take(MAX_MEMBERSHIPS).collect();
        let prefix = self
            .anchor
            .registration(id)
            .and_then(|registration| registration.prefix);
        let room = self
            .anchor
            .places
            .take_memberships(prefix, before.len(), memberships.len());
        if room < memberships.len() {
            self.counters.registrations_refused += 1;
            memberships.truncate(room);
        }
        for (position, membership) in memberships.iter_mut().enumerate() {
            if membership.ipv4.is_some() && !self.claim(membership.address_key, node) {
                membership.ipv4 = None;
                refused.extend(u8::try_from(position));
            }
        }
        for old in &before {
            if old.ipv4.is_some()
                && !memberships
                    .iter()
                    .any(|new| new.ipv4.is_some() && new.address_key == old.address_key)
            {
                self.release(old.address_key, &node);
            }
        }
        let Some(registration) = self.anchor.registration_mut(id) else {
            return;
        };
        registration.heard = now;
        registration.memberships = memberships.clone().into_boxed_slice();
        let index = registration.index;
        self.anchor.note_way(id, path);
        let message = Control::Registered {
            request,
            index,
            observed,
            refused,
        };
        let count = self.anchor.registrations.len();
        let registration = self.anchor.registration_mut(id);
        let window = registration.map(|registration| registration.window.anew(count));
        let clock = self.clock_untold(now, id);
        let messages: Vec<Control> = [message].into_iter().chain(window).chain(clock).collect();
        self.send_control(now, id, None, &messages, out);
        self.subscribe(now, id, &before, &memberships, out);
        self.review_subscriptions(now, id, out);
        self.arm(id);
    }

    /// Takes an address for `holder`, unless another holds it.
    fn claim(&mut self, key: DirectoryKey, holder: NodeId) -> bool {
        let claim = self.anchor.claims.entry(key).or_insert(Claim { holder, ends: None });
        if claim.holder != holder {
            return false;
        }
        if let Some(ends) = claim.ends.take() {
            self.anchor.claim_ends.remove(&(ends, key));
        }
        true
    }

    fn release(&mut self, key: DirectoryKey, holder: &NodeId) {
        if let Some(claim) = self.anchor.claims.get(&key).filter(|claim| claim.holder == *holder) {
            if let Some(ends) = claim.ends {
                self.anchor.claim_ends.remove(&(ends, key));
            }
            self.anchor.claims.remove(&key);
        }
    }

    /// Ends a registration; its addresses stay reserved for a while, or are free at once if the node said goodbye.
    pub(crate) fn end_registration(&mut self, now: Time, id: PeerId, goodbye: bool, out: &mut Outbox) {
        self.anchor.note_way(id, None);
        if !self.anchor.has_registration(id) {
            return;
        }
        self.end_subscriptions(id);
        self.leave_lists(now, id, out);
        let Some(registration) = self.anchor.registrations.remove(id.number()) else {
            return;
        };
        self.anchor.unregistered.insert(id);
        self.documents.kept.forget(id);
        self.anchor.relaying.forget(&registration.relations);
        self.anchor
            .places
            .leave(registration.prefix, registration.memberships.len());
        let records_at: Vec<_> = registration.relations.records_at().collect();
        self.tell_gone(registration.index, &records_at, out);
        self.anchor
            .indexes
            .give_back(now, registration.index, registration.prefix);
        let node = self.peers.get(id).map(|peer| peer.key.node_id());
        for membership in registration
            .memberships
            .iter()
            .filter(|membership| membership.ipv4.is_some())
        {
            let key = membership.address_key;
            match (goodbye, self.anchor.claims.get_mut(&key)) {
                (false, Some(claim)) if Some(claim.holder) == node => {
                    let ends = now + CLAIM_KEPT;
                    claim.ends = Some(ends);
                    self.anchor.claim_ends.insert((ends, key));
                    self.anchor.drop_claims();
                }
                (true, _) => {
                    if let Some(node) = node {
                        self.release(key, &node);
                    }
                }
                _ => {}
            }
        }
        if let Some(node) = node {
            debug!(node = %node.short(), "gone");
        }
    }

    /// Ends a registration that was not heard for too long.
    pub(crate) fn tend_anchored(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let over = self
            .anchor
            .registration_deadline(id)
            .is_some_and(|deadline| deadline <= now);
        if over {
            self.end_registration(now, id, false, out);
            self.end_sessions(id, out);
        }
    }

    /// Frees addresses whose holders did not come back, and sends lists again.
    pub(crate) fn tend_anchor(&mut self, now: Time, out: &mut Outbox) {
        while let Some((_, key)) = self.anchor.claim_ends.first().copied().filter(|(at, _)| *at <= now) {
            self.anchor.claim_ends.pop_first();
            self.anchor.claims.remove(&key);
        }
        self.tend_subscriptions(now, out);
    }

    /// Something sealed came from a node: its registration lives on, and a sign of life is answered alike. From a new
    /// address it is challenged first.
    pub(crate) fn anchored_heard(&mut self, now: Time, id: PeerId, via: Via, message: &[u8], out: &mut Outbox) {
        let registration = self.anchor.registration_mut(id);
        if let Some(registration) = registration {
            registration.heard = now;
            if let Some(dealings) = registration.dealings.made() {
                dealings.doubted = None;
            }
        }
        if !self.is_proved(id, via) {
            // Nothing that is larger than what came.
            // A probe is answered as such.
            let probe = probe_in(message).is_some();
            if (message.len() >= PADDING && !probe) || planted("amplified-challenge") {
                self.challenge_way(now, id, via.path(), out);
            }
        } else if message.is_empty() {
            // Whoever holds an old list is told so with the answer.
            let count = self.anchor.registrations.len();
            let Some(registration) = self.anchor.registration_mut(id) else {
                return self.arm(id);
            };
            let window = registration.window.renewed(count);
            let older = registration
                .version
                .filter(|(world, version)| self.worlds.version(world) > Some(*version));
            let newer = older.and_then(|(world, _)| self.worlds.told(&world));
            let told: Vec<Control> = newer.into_iter().chain(window).collect();
            if told.is_empty() {
                self.send_empty(now, id, out);
            } else {
                self.send_control(now, id, None, &told, out);
            }
        }
        self.arm(id);
    }

    /// Whether a node has shown that it is where something of it came from.
    pub(crate) fn is_proved(&self, id: PeerId, via: Via) -> bool {
        let path = self.peers.get(id).and_then(|peer| peer.path);
        path == Some(via.path())
    }

    /// Asks a node to show that it is at the end of a way from which something of it came.
    fn challenge_way(&mut self, now: Time, id: PeerId, came: Path, out: &mut Outbox) {
        let nonce = self.random_u64();
        let challenges = &mut self.anchor.challenges;
        let lately = |challenge: &Challenge| challenge.path == came && now.since(challenge.sent) < CHALLENGE_PAUSE;
        if challenges.get(&id).is_some_and(lately) {
            return;
        }
        if challenges.len() >= MAX_CHALLENGES && !challenges.contains_key(&id) {
            challenges.retain(|_, challenge| now.since(challenge.sent) < ANSWER_WITHIN);
            if challenges.len() >= MAX_CHALLENGES {
                return;
            }
        }
        let challenge = Challenge {
            path: came,
            nonce,
            sent: now,
        };
        challenges.insert(id, challenge);
        let mut messages = vec![Control::Challenge { nonce }];
        if let Path::Direct(leg) = came
            && !leg.is_stream()
        {
            messages.push(Control::Observed { endpoint: leg.endpoint });
        }
        self.send_along(now, id, (came, None), Content::Control(&messages), out);
        if planted("registration-moves-without-challenge") {
            self.way_proved(id, came);
        }
    }

    /// Something came from where a node was challenged: its answer may be in it.
    pub(crate) fn challenge_answered_in(&mut self, id: PeerId, via: Via, message: &[u8]) {
        let Ok(Sealed::Control(body)) = Sealed::parse(message) else {
            return;
        };
        for message in messages(body) {
            if let Ok(Some(Control::Answer { nonce })) = message {
                let answers = |challenge: &mut Challenge| challenge.nonce == nonce && challenge.path == via.path();
                if let Some(entry) = self.anchor.challenges.get_mut(&id)
                    && answers(entry)
                {
                    self.anchor.challenges.remove(&id);
                    self.way_proved(id, via.path());
                }
            }
        }
    }

    fn way_proved(&mut self, id: PeerId, path: Path) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path = Some(path);
            if self.anchor.has_registration(id) {
                self.anchor.note_way(id, Some(path));
            }
        }
    }

    /// The registered node that sends from `leg` under a relay index; an unknown one is told so.
    pub(crate) fn source_of(&mut self, now: Time, leg: Leg, source: RelayIndex, out: &mut Outbox) -> Option<PeerId> {
        let from = self.anchor.by_index(source).filter(|id| {
            let peer = self.peers.get(*id);
            peer.is_some_and(|peer| peer.path == Some(Path::Direct(leg)))
        });
        if from.is_none() {
            self.counters.relay_unknown_source += 1;
            self.hint(now, Via::Direct(leg), Unknown::Registration(source), out);
        }
        from
    }

    /// Another supernode does not know a node that is registered here through it. Anybody could say so: the node is asked.
    pub(crate) fn doubted(&mut self, now: Time, leg: Leg, index: RelayIndex, out: &mut Outbox) {
        let sibling = self.siblings.at(leg);
        let id = sibling.and_then(|sibling| self.anchor.passed.get(&(sibling, index)).copied());
        let nonce = self.random_u64();
        let Some((id, registration)) = id.and_then(|id| Some((id, self.anchor.registration_mut(id)?))) else {
            return;
        };
        // As seldom as its answer is waited for, however often somebody says so.
        let lately = registration
            .dealings
            .doubted_at
            .is_some_and(|at| now.since(at) < DOUBTED_KEPT);
        if registration.dealings.doubted.is_none() && !lately {
            registration.dealings.doubted = Some(now + DOUBTED_KEPT);
            registration.dealings.doubted_at = Some(now);
            // Whatever it answers shows that it lives.
            self.send_control(now, id, None, &[Control::Ping { token: nonce }], out);
            self.arm(id);
        }
    }

    /// Whither a datagram goes on, for another registered node, and what stands before it then.
    ///
    /// Until the destination has sent something to the source, only handshakes pass, unless both are in one list. Returns
    /// also how much more may go there in this batch.
    pub(crate) fn relay(
        &mut self,
        now: Time,
        leg: Leg,
        (destination, source): (RelayTarget, RelayIndex),
        datagram: &[u8],
        inner: &[u8],
        out: &mut Outbox,
    ) -> Option<(Onward, Grant)> {
        let from = self.source_of(now, leg, source, out)?;
        let own = SupernodeTag::of(&self.node_id);
        let to = match destination {
            RelayTarget::Remote { .. } => None,
            RelayTarget::Index(index) => self.anchor.by_index(index),
            RelayTarget::Node(node) => self.peers.by_node(&node),
        };
        let registration = to.and_then(|to| Some((to, self.anchor.registration(to)?)));
        let Some((to, registration)) = registration else {
            self.counters.relay_unknown_destination += 1;
            if let RelayTarget::Index(index) = destination {
                self.hint(now, Via::Direct(leg), Unknown::Destination(index), out);
            }
            return None;
        };
        // A node that is registered through another supernode is reached there.
        let (sibling, index) = registration.dealings.through.unwrap_or((own, registration.index));
        let far = (sibling, index);
        let asked_for = self.anchor.has_sent(to, &(own, source)) || self.anchor.share_a_network(from, to);
        if !asked_for && !self.may_begin(now, (from, leg), (Some(to), far), inner) {
            return None;
        }
        let grant = self.grant(now, from, far, datagram.len())?;
        let way = match self.peers.get(to).and_then(|peer| peer.path) {
            Some(Path::Direct(leg)) => Some(leg),
            Some(Path::Passed { sibling, .. }) => self.siblings.leg(sibling),
            Some(Path::Relay { .. }) | None => None,
        };
        let header = if sibling == own {
            relay_header(index, source)
        } else {
            passed_header(own, index, source)
        };
        Some((Onward { to: way?, header }, grant))
    }

    /// Whether something may go to a destination that has not answered its source: a handshake, if it is not one too many,
    /// and nothing else. `to` is the destination if it is registered here.
    pub(crate) fn may_begin(
        &mut self,
        now: Time,
        (from, leg): (PeerId, Leg),
        (to, far): (Option<PeerId>, Far),
        inner: &[u8],
    ) -> bool {
        let handshake = Datagram::parse(inner).is_ok_and(|inner| inner.is_handshake());
        let prefix = Prefix::of(leg);
        let Some((relations, limits)) = self.anchor.relations(from) else {
            return false;
        };
        let introduced = relations.was_introduced(&far);
        if !handshake && !planted("relay-to-unanswered") {
            // Even what is refused shows that its source takes an answer.
            if introduced || relations.may_meet(now, far) {
                limits.note_sent(now, relations, far);
            }
            self.counters.relay_unanswered += 1;
            return false;
        }
        let allowed = match to {
            _ if introduced || planted("relay-limit-off") => Ok(()),
            Some(to) => limits.handshake(now, (relations, prefix), (to, far)),
            None => limits.begin(now, (relations, prefix), far),
        };
        match allowed {
            Ok(()) => return true,
            Err(refused) => self.count_refused(refused),
        }
        false
    }

    pub(crate) fn count_refused(&mut self, refused: Refused) {
        let counter = match refused {
            Refused::Source => &mut self.counters.relay_limited_source,
            Refused::Prefix => &mut self.counters.relay_limited_prefix,
            Refused::Destination => &mut self.counters.relay_limited_destination,
        };
        *counter += 1;
    }

    /// Takes note that a registered node relays something, and takes its bytes from its quotas, with what may follow in the
    /// same batch.
    pub(crate) fn grant(&mut self, now: Time, from: PeerId, far: Far, bytes: usize) -> Option<Grant> {
        let (relations, limits) = self.anchor.relations(from)?;
        limits.note_sent(now, relations, far);
        let grant = limits.draw(now, (from, relations), far, (bytes, BATCH));
        if grant.is_none() {
            self.counters.relay_over_quota += 1;
        }
        grant
    }

    /// Says that something is not known here, in less than caused it and not to anybody as often as he likes.
    pub(crate) fn hint(&mut self, now: Time, to: Via, unknown: Unknown, out: &mut Outbox) {
        if self.hints.allow(now, to) {
            self.transmit(to.path(), out, |bytes| put_hint(bytes, unknown));
        } else {
            self.counters.hints_limited += 1;
        }
    }
}
