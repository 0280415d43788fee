//! Ties it together: a broadcast leaves, arrives, is found genuine, goes on.

use std::{sync::Arc, time::Duration};

use farlan_crypto::NodeId;
use farlan_netconf::Mac;

use crate::{
    Accepted, Allowances, Arrival, ChannelOf, Contacts, Copies, CopyTo, Counts, Delivery, MAX_TAGS, Message,
    Neighbours, Origination, Outgoing, Pending, Plan, Planned, Reach, Refusal, Signer, Time, Tries, Verifier, Why,
    anchor_of,
    copy::Body,
    limits::{Limits, Onward, Own},
    message::{Header, Sealed},
    nearest::{MAX_ACTIVE, sampled},
    origins::{Origins, TOLERANCE_MS},
    plan::{Candidate, MAX_SHARES, divide},
    salt_of,
    seen::Seen,
    tag_of,
};

/// The most deliveries that one broadcast may cause.
pub const MAX_CEILING: u8 = 192;

/// Active contacts to which a broadcast is sent on that came by none of them.
const MAX_ACTIVE_OF_OTHERS: usize = 16;

/// Broadcasts that are remembered; and direct copies.
const MAX_SEEN: usize = 12_288;
const MAX_SEEN_DIRECT: usize = 4096;

/// Bytes of what is under way.
pub(crate) const MAX_UNDER_WAY: usize = 144 * 1024;

/// Four tries: where one packet in ten is lost on each of two links, three of them fail for one member in 150, and with that for one lobby in
/// fourteen. A copy is sent again after 7/4 of a round trip, 50 ms, and what its receiver is late: with 6/4, and without the latter, the
/// busiest nodes are sent so much again that they answer later still. The rest bounds the memory; it is more than the rates let be under way
/// as long as those who get copies answer.
const TRIES: Tries = Tries {
    tries: 4,
    quarters: 7,
    messages: 512,
    bytes: MAX_UNDER_WAY,
};

/// Of those who were heard, so many that are reached by supernodes, or not yet.
const MAX_HEARD_FAR: usize = 8;

/// Half of what a copy that waits before another in the uplink's queue makes that one later: at 2 Mbit/s a copy takes 2 ms. With less than that
/// busy nodes send so much again that their queues only grow.
const QUEUED: Duration = Duration::from_millis(1);

/// Of what is under way, so many copies are taken to stand in the uplink's queue at the most: some of it may never be acknowledged.
const MAX_QUEUED: u32 = 512;

/// The broadcasts of one node in one network.
#[derive(Debug)]
pub struct Spreading {
    network: [u8; 8],
    own: NodeId,
    contacts: Contacts,
    limits: Limits,
    origins: Origins,
    /// The ids of broadcasts whose signatures were good, and of the own ones.
    seen: Seen<u64>,
    /// Direct copies. Their numbers are what their senders like, so that they count as those senders' only.
    seen_direct: Seen<(u64, NodeId)>,
    under_way: Copies<NodeId, Arc<Body>, u8>,
    /// The time of the latest own broadcast.
    latest: u64,
    counts: Counts,
    /// The id of the latest own broadcast.
    originated: u64,
    forwards: bool,
}

impl Spreading {
    /// Of the node `own` in the network whose id begins with `network`.
    #[must_use]
    pub fn new(network: [u8; 8], own: NodeId) -> Self {
        Self {
            network,
            own,
            contacts: Contacts::new(own),
            limits: Limits::new(),
            origins: Origins::default(),
            seen: Seen::new(MAX_SEEN),
            seen_direct: Seen::new(MAX_SEEN_DIRECT),
            under_way: Copies::new(TRIES),
            latest: 0,
            originated: 0,
            forwards: true,
            counts: Counts::default(),
        }
    }

    /// Whom the node has to do with.
    #[must_use]
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Whom the node has to do with.
    pub fn contacts_mut(&mut self) -> &mut Contacts {
        &mut self.contacts
    }

    /// The id of the broadcast that was originated last: what copies of it bear that the node sends beside those it is given.
    #[must_use]
    pub const fn originated(&self) -> u64 {
        self.originated
    }

    /// Whether others' broadcasts are sent on, which a network needs that is too large for copies to all. At first they are.
    pub const fn set_forwards(&mut self, forwards: bool) {
        self.forwards = forwards;
    }

    /// How often what happened.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Who would get a copy of a broadcast now, why, and with which share. [`originate`](Self::originate) goes by the same plan.
    #[must_use]
    pub fn plan(&self, now: Time, what: &Reach<'_>, neighbours: &dyn Neighbours) -> Plan {
        let ceiling = what.ceiling.min(MAX_CEILING);
        let may = |node: &NodeId| self.may_go_to(node) && !what.already.contains(node);
        let (active, recent) = self.contacts.nearest(now, MAX_ACTIVE, may);
        let mut chosen = Chosen::new(usize::from(ceiling), what.channel, neighbours);
        let candidates = active
            .into_iter()
            .chain(self.contacts.heard(now))
            .chain(what.sample.iter().copied().map(sampled))
            .chain(recent)
            .chain(self.contacts.links(now));
        let mut far = 0;
        for candidate in candidates.filter(|candidate| may(&candidate.node)) {
            // Most of those who were heard have no session with this node: what they get goes by supernodes.
            let is_far = candidate.why == Why::Heard && neighbours.is_relayed(&candidate.node);
            far += usize::from(is_far);
            if !is_far || far <= MAX_HEARD_FAR {
                chosen.add(candidate);
            }
        }
        divide(ceiling, MAX_SHARES[0], chosen.candidates)
    }

    /// Sends a broadcast. None above the rates of the own broadcasts, and if the frame goes to no group.
    ///
    /// Up to 10 a second (60 at once) are sent by the [`plan`](Self::plan), beyond that up to 50 in all (100 at once) to active
    /// contacts only, with no share.
    pub fn originate(
        &mut self,
        now: Time,
        what: &Origination<'_>,
        neighbours: &dyn Neighbours,
        signer: &dyn Signer,
    ) -> Option<Vec<CopyTo>> {
        let reach = what.reach()?;
        let own = self.limits.own(now);
        if own == Own::Nowhere {
            self.counts.suppressed += 1;
            return None;
        }
        let mut plan = self.plan(now, &reach, neighbours);
        if own == Own::Thin {
            plan.copies.retain(|copy| matches!(copy.why, Why::Active | Why::Pinned));
            for copy in &mut plan.copies {
                copy.share = 0;
            }
            self.counts.thinned += 1;
        }
        // Never the same twice, but it follows a clock that was set back.
        self.latest = if self.latest.saturating_sub(what.unix_ms) > TOLERANCE_MS {
            what.unix_ms
        } else {
            what.unix_ms.max(self.latest.saturating_add(1))
        };
        let key = signer.key();
        let salt = salt_of(&key, self.latest);
        // Those who may send it on stand before all others.
        let (forwarders, others): (Vec<&Planned>, Vec<&Planned>) = plan.copies.iter().partition(|copy| copy.share > 0);
        let goes_on = !forwarders.is_empty();
        let mut tags: Vec<u16> = forwarders.iter().map(|copy| tag_of(salt, &copy.node)).collect();
        let anchor = anchor_of(&what.token, &tags);
        if goes_on {
            let others = others.iter().map(|copy| &copy.node).chain(what.already);
            tags.extend(others.map(|node| tag_of(salt, node)));
            tags.truncate(MAX_TAGS);
        }
        let header = Header {
            network: self.network,
            key,
            time: self.latest,
            anchor,
            ceiling: reach.ceiling.clamp(1, MAX_CEILING),
            port: what.port,
        };
        // Direct copies do without.
        let sign = |signed: &[u8]| if goes_on { signer.sign(signed) } else { [0; 64] };
        let (sealed, id) = Sealed::make(&header, what.frame, sign)?;
        self.seen.insert(now, id);
        self.originated = id;
        self.counts.originated += 1;
        let body = Body {
            id,
            level: 1,
            tags,
            forwarders: u8::try_from(forwarders.len()).unwrap_or(0),
            token: what.token,
            sealed: sealed.share(),
        };
        Some(self.send(now, body, &plan.copies, neighbours))
    }

    fn send(&mut self, now: Time, body: Body, plan: &[Planned], neighbours: &dyn Neighbours) -> Vec<CopyTo> {
        let (id, bytes, body) = (body.id, body.bytes(), Arc::new(body));
        let copies = plan.iter().map(|copy| body.copy(copy.node, copy.share)).collect();
        // What stands before a copy in the uplink's queue takes its time.
        let before = self.under_way.under_way().1;
        let places = u32::try_from(before).unwrap_or(MAX_QUEUED)..;
        let outgoing = places.zip(plan).map(|(place, copy)| Outgoing {
            node: copy.node,
            own: copy.share,
            sent: true,
            rtt: neighbours.rtt(&copy.node),
            queued: QUEUED * place.min(MAX_QUEUED),
            late: self.contacts.late(now, &copy.node),
        });
        let lost = self.under_way.add(now, id, Arc::clone(&body), bytes, outgoing);
        self.counts.lost += number(lost);
        copies
    }

    /// Takes a copy with a signature that came from `from` in a session; `clock` is the median time of others in milliseconds since
    /// 1970, if there is one. Everything but the signature is looked at.
    #[expect(clippy::too_many_arguments, reason = "each is another's")]
    pub fn arrive(
        &mut self,
        now: Time,
        from: &NodeId,
        bytes: &[u8],
        clock: Option<u64>,
        neighbours: &dyn Neighbours,
        verifier: &dyn Verifier,
        allowances: &mut Allowances,
    ) -> Arrival {
        let refused = |why, ack| Arrival::Refused { why, ack };
        let Ok(message) = Message::parse(bytes) else {
            self.counts.refused += 1;
            return refused(Refusal::Malformed, None);
        };
        let sealed = message.sealed();
        if *sealed.network() != self.network {
            self.counts.refused += 1;
            return refused(Refusal::OtherNetwork, None);
        }
        let id = sealed.id();
        if self.seen.contains(&id) {
            self.counts.duplicates += 1;
            return Arrival::Known { id };
        }
        match self.look(now, from, id, sealed, clock, neighbours, verifier, allowances) {
            Ok(origin) => Arrival::Check(Pending {
                id,
                from: *from,
                origin,
                level: message.level(),
                budget: message.budget(),
                tags: message.tags().collect(),
                forwarders: message.right().unwrap_or_default().0,
                token: message.right().unwrap_or_default().1,
                sealed: sealed.keep(),
            }),
            Err(None) => {
                self.counts.duplicates += 1;
                Arrival::Known { id }
            }
            Err(Some(why)) => {
                self.counts.refused += 1;
                let ack = Some(id).filter(|_| why.is_final());
                refused(why, ack)
            }
        }
    }

    /// The origin of a copy whose signature is worth a check; otherwise why not, or nothing if it is here already.
    #[expect(clippy::too_many_arguments, reason = "each is another's")]
    fn look(
        &self,
        now: Time,
        from: &NodeId,
        id: u64,
        sealed: Sealed<&[u8]>,
        clock: Option<u64>,
        neighbours: &dyn Neighbours,
        verifier: &dyn Verifier,
        allowances: &mut Allowances,
    ) -> Result<NodeId, Option<Refusal>> {
        let key = sealed.key();
        let known = self.origins.node(key);
        // Looking at a key takes a while itself.
        if known.is_none() && !allowances.may_check(now, from) {
            return Err(Some(Refusal::Overload));
        }
        let origin = known.or_else(|| verifier.node_id(key)).ok_or(Some(Refusal::BadKey))?;
        if origin == self.own || self.seen_direct.contains(&(id, origin)) {
            return Err(None);
        }
        if self.contacts.is_muted(&origin) {
            return Err(Some(Refusal::Muted));
        }
        // What comes from its origin is as new as the session.
        if origin != *from && !self.origins.is_fresh(now, key, sealed.time(), clock) {
            return Err(Some(Refusal::Stale));
        }
        if !neighbours.admits(&origin, key, sealed.frame()) {
            return Err(Some(Refusal::NotAdmitted));
        }
        if known.is_some() && !allowances.may_check(now, from) {
            return Err(Some(Refusal::Overload));
        }
        Ok(origin)
    }

    /// Goes on with a copy whose signature is `genuine` or not.
    pub fn verified(
        &mut self,
        now: Time,
        pending: Pending,
        genuine: bool,
        neighbours: &dyn Neighbours,
        allowances: &mut Allowances,
    ) -> Accepted {
        if !genuine {
            self.counts.forged += 1;
            allowances.forged(now, &pending.from);
            return Accepted::default();
        }
        let ack = Some(pending.id);
        // Another copy of it may have been checked meanwhile.
        let is_known = self.seen_direct.contains(&(pending.id, pending.origin));
        if is_known || !self.seen.insert(now, pending.id) {
            self.counts.duplicates += 1;
            return Accepted {
                ack,
                ..Accepted::default()
            };
        }
        self.counts.taken += 1;
        let straight = pending.from == pending.origin;
        let (key, time) = (pending.sealed.key(), pending.sealed.time());
        self.origins.note(now, key, pending.origin, time, straight);
        // The level of a copy that came by another is only claimed. By those whom the node deals with nobody is made the target of
        // all who were handed a broadcast of his, nor is the list filled with made-up ones.
        if straight {
            self.contacts.revive(&pending.origin);
        }
        if straight || pending.level <= 2 && self.contacts.is_active(now, &pending.from) {
            self.contacts.heard.note(now, pending.origin);
        }
        let deliver = Some(Delivery {
            origin: pending.origin,
            channel: pending.sealed.channel(),
            sealed: pending.sealed.clone(),
        });
        let copies = self.pass_on(now, pending, neighbours, allowances);
        Accepted { ack, deliver, copies }
    }

    /// Sends a broadcast on, as far as it may go and the limits let it.
    fn pass_on(
        &mut self,
        now: Time,
        pending: Pending,
        neighbours: &dyn Neighbours,
        allowances: &mut Allowances,
    ) -> Vec<CopyTo> {
        let (budget, level) = pending.grant();
        if budget == 0 || !self.forwards {
            return Vec::new();
        }
        let mut plan = self.onward(now, budget, level, &pending, neighbours);
        let wanted = number(plan.copies.len());
        let onward = Onward {
            from: pending.from,
            channel: (level == 3).then(|| pending.sealed.channel()),
            near: self.contacts.is_active(now, &pending.origin),
            origin: self.origins.find_mut(pending.key()),
        };
        let sent = self.limits.onward(now, onward, allowances, wanted);
        plan.copies.truncate(usize::try_from(sent).unwrap_or(0));
        self.counts.limited += wanted - sent;
        self.counts.forwarded += sent;
        if plan.copies.is_empty() {
            return Vec::new();
        }
        let mut tags = Vec::new();
        let mut forwarders = 0;
        if plan.copies.iter().any(|copy| copy.share > 0) {
            let (salt, (those, others)) = (pending.sealed.salt(), pending.split_tags());
            tags.extend(those);
            tags.extend(plan.copies.iter().map(|copy| tag_of(salt, &copy.node)));
            tags.extend(others);
            tags.truncate(MAX_TAGS);
            forwarders = pending.forwarders;
        }
        let body = Body {
            id: pending.id,
            level,
            tags,
            forwarders,
            token: pending.token,
            sealed: pending.sealed,
        };
        self.send(now, body, &plan.copies, neighbours)
    }

    /// Who gets a copy of another's broadcast.
    fn onward(&self, now: Time, budget: u8, level: u8, pending: &Pending, neighbours: &dyn Neighbours) -> Plan {
        let mut tags = pending.tags.clone();
        tags.sort_unstable();
        let salt = pending.sealed.salt();
        let may = |node: &NodeId| {
            let is_new = *node != pending.origin && *node != pending.from;
            is_new && self.may_go_to(node) && tags.binary_search(&tag_of(salt, node)).is_err()
        };
        let is_near = self.contacts.is_active(now, &pending.from);
        let active = if is_near { MAX_ACTIVE } else { MAX_ACTIVE_OF_OTHERS };
        let (active, recent) = self.contacts.nearest(now, active, may);
        let mut chosen = Chosen::new(usize::from(budget), pending.sealed.channel(), neighbours);
        let others = recent.into_iter().chain(self.contacts.links(now));
        let others = others.filter(|candidate| may(&candidate.node) && !neighbours.is_relayed(&candidate.node));
        for candidate in active.into_iter().chain(others) {
            chosen.add(candidate);
        }
        let most = if level == 2 { MAX_SHARES[1] } else { 0 };
        if most == 0 {
            chosen.candidates.retain(|candidate| candidate.wants);
        }
        divide(budget, most, chosen.candidates)
    }

    fn may_go_to(&self, node: &NodeId) -> bool {
        *node != self.own && !self.contacts.is_muted(node) && !self.contacts.is_dead(node)
    }

    /// Takes a direct copy: its origin is whom the session is with. Returns whether it is new and to be delivered. It is acknowledged
    /// in any case.
    pub fn direct(&mut self, now: Time, origin: &NodeId, number: u64) -> bool {
        if self.seen.contains(&number) || self.seen_direct.contains(&(number, *origin)) {
            self.counts.duplicates += 1;
            return false;
        }
        if self.contacts.is_muted(origin) || !self.limits.direct(now, origin) {
            self.counts.refused += 1;
            return false;
        }
        self.seen_direct.insert(now, (number, *origin));
        self.contacts.revive(origin);
        self.contacts.heard.note(now, *origin);
        self.counts.taken += 1;
        true
    }

    /// A node has received copies; `need` is what it said of itself, if it did.
    pub fn acknowledged(&mut self, now: Time, from: &NodeId, ids: &[u64], need: Option<u8>) {
        let acknowledged = self.under_way.acknowledged(now, from, ids);
        self.contacts.answered(now, from, acknowledged);
        if let Some(need) = need {
            self.contacts.set_need(from, need);
        }
    }

    /// The copies to be sent again now. Whoever acknowledged none in four tries of one is no longer
    /// counted on.
    pub fn due(&mut self, now: Time) -> Vec<CopyTo> {
        let mut copies = Vec::new();
        let tended = self.under_way.due(now, |to, _, body, budget| {
            copies.push(body.copy(*to, *budget));
            true
        });
        self.counts.resent += number(tended.resent);
        self.counts.lost += number(tended.missed.len() + tended.unmet.len());
        for (node, doubled) in tended.waited {
            self.contacts.waited(now, &node, doubled);
        }
        for (node, since) in tended.missed {
            self.contacts.missed(&node, since);
        }
        for node in tended.unmet {
            self.contacts.dead(&node);
        }
        copies
    }

    /// When [`due`](Self::due) is to be called, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.under_way.deadline()
    }

    /// A copy could not be sent, since no session stands: it waits up to 5 s.
    pub fn unsent(&mut self, to: &NodeId, id: u64) {
        self.under_way.unsent(to, id);
    }

    /// The nodes for a session with which copies wait.
    pub fn waiting(&self) -> impl Iterator<Item = NodeId> {
        self.under_way.waiting().copied()
    }

    /// Whether a copy waits for a session with a node.
    #[must_use]
    pub fn waiting_for(&self, node: &NodeId) -> bool {
        self.under_way.waits_for(node)
    }

    /// The copies that waited for a session with a node, to be sent now.
    pub fn release(&mut self, now: Time, node: &NodeId, neighbours: &dyn Neighbours) -> Vec<CopyTo> {
        let mut copies = Vec::new();
        self.under_way
            .release(now, node, neighbours.rtt(node), |_, body, budget| {
                copies.push(body.copy(*node, *budget));
                true
            });
        copies
    }

    /// A node is no member any more: nothing that is under way goes to it.
    pub fn forget(&mut self, node: &NodeId) {
        self.contacts.forget(node);
        self.under_way.drop_copies(node, |_| true);
    }
}

#[cfg(test)]
impl Spreading {
    /// The memory behind it, by its parts.
    pub(crate) fn parts(&self) -> [usize; 6] {
        [
            self.contacts.bytes(),
            self.limits.bytes(),
            self.origins.bytes(),
            self.seen.bytes(),
            self.seen_direct.bytes(),
            self.under_way.bytes(),
        ]
    }

    /// The most that it may be, with itself.
    pub(crate) fn most_bytes(&self) -> usize {
        let seen = (MAX_SEEN + 64) * size_of::<u64>() + (MAX_SEEN_DIRECT + 64) * size_of::<(u64, NodeId)>();
        size_of::<Self>()
            + Contacts::most_bytes()
            + self.limits.most_bytes()
            + Origins::most_bytes()
            + seen
            + MAX_UNDER_WAY
            + 512 * 8
    }
}

/// Those who were chosen to get a copy, each once.
struct Chosen<'a> {
    candidates: Vec<Candidate>,
    /// They, in the order of their ids.
    known: Vec<NodeId>,
    most: usize,
    channel: ChannelOf,
    neighbours: &'a dyn Neighbours,
}

impl<'a> Chosen<'a> {
    fn new(most: usize, channel: ChannelOf, neighbours: &'a dyn Neighbours) -> Self {
        Self {
            candidates: Vec::new(),
            known: Vec::new(),
            most,
            channel,
            neighbours,
        }
    }

    fn add(&mut self, mut candidate: Candidate) {
        if self.candidates.len() >= self.most {
            return;
        }
        if let Err(place) = self.known.binary_search(&candidate.node) {
            self.known.insert(place, candidate.node);
            candidate.wants =
                self.channel.group == Mac::BROADCAST || self.neighbours.wants(&candidate.node, &self.channel);
            self.candidates.push(candidate);
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
