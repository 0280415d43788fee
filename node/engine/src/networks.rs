//! The joined networks, and the IPv4 addresses of this node and of others in them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey, defects::planted};
use farlan_netconf::{
    AddressPlan, CANDIDATES, DirectoryKey, DnsLabel, Mac, NetworkId, NetworkSecret, NodePrefix, Parameters, Policy,
    WorldId,
};

use crate::{
    Engine, Event, Join, JoinError, MAX_NETWORKS, NetworkHandle, NetworkStatus, Outbox, Time,
    addresses::ADDRESSES_ACK,
    channels::Channels,
    claimed::ClaimedAddresses,
    filter::Filter,
    injection::InjectedByAll,
    islands::{Met, PROVISIONAL},
    learned::LearnedMacs,
    peers::PeerId,
    private::{Clock, Private},
    retry::{Retry, Schedule},
    spreading::Social,
    threshold::Threshold,
    traversal::CANDIDATES_ACK,
    wire::{
        control::{Control, Place},
        datagram::{RelayIndex, SessionIndex},
    },
};

/// What is not acknowledged inside a session is sent again after these pauses, as long as the session lives: a partition
/// may last longer than any number of tries, and the session goes on behind it.
pub(crate) const RESEND: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: 4,
    longest: Duration::from_secs(5),
};

/// Nodes found by look-ups that a network remembers.
const MAX_LOCATED: usize = 256;

/// Members that left, as a network remembers them: as many as a list has that is pushed.
const MAX_GONE: usize = 128;

/// A joined network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) handle: NetworkHandle,
    pub(crate) id: NetworkId,
    pub(crate) parameters: Parameters,
    pub(crate) policy: Policy,
    pub(crate) world: WorldId,
    pub(crate) secret: NetworkSecret,
    pub(crate) member_key: DirectoryKey,
    pub(crate) plan: AddressPlan,
    pub(crate) mac: Mac,
    pub(crate) ipv6: Ipv6Addr,
    pub(crate) link_local: Ipv6Addr,
    pub(crate) ipv4: Ipv4Claim,
    /// The members as each supernode lists them.
    pub(crate) listings: BTreeMap<PeerId, Listing>,
    /// Nodes found by look-ups. They may turn out to be no members.
    located: BTreeMap<NodeId, Member>,
    /// Members that proved to be some.
    pub(crate) met: Met,
    /// When it was joined.
    pub(crate) joined: Time,
    /// Whether the first candidate is an address that this node held before.
    pub(crate) held_before: bool,
    /// Who was listed before, the latest last.
    gone: VecDeque<NodeId>,
    /// Foreign MACs behind members.
    pub(crate) learned: LearnedMacs,
    /// Addresses set by hand.
    pub(crate) claimed: ClaimedAddresses,
    /// What this node is called there.
    pub(crate) name: Option<DnsLabel>,
    /// What strangers may say to this machine.
    pub(crate) filter: Filter,
    /// What makes it a private one.
    pub(crate) private: Option<Box<Private>>,
    /// What this node and others subscribed to.
    pub(crate) channels: Channels,
    /// Broadcasts, once it is too large for copies to all.
    pub(crate) social: Option<Box<Social>>,
    /// Members whom the user mutes, and whom the user pins.
    pub(crate) muted: BTreeSet<NodeId>,
    pub(crate) pinned: BTreeSet<NodeId>,
    /// What others put on its card of what goes to groups.
    pub(crate) injected: InjectedByAll,
}

/// This node's IPv4 address in a network.
#[derive(Debug)]
pub(crate) enum Ipv4Claim {
    /// None is wanted.
    Off,
    /// One of the candidates is being claimed, or held.
    Candidate {
        candidates: Vec<Ipv4Addr>,
        tried: usize,
        held: Held,
    },
    /// All candidates are taken.
    Exhausted,
    /// The network key gave this one to this node.
    Certified(Ipv4Addr),
}

/// Whether a claimed address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nobody granted it yet.
    Not,
    /// No supernode could be asked: see `islands`.
    Provisionally,
    /// A supernode granted it.
    Granted,
}

/// The members of a network as one supernode lists them.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The supernode's number of the last change taken in; 0 before the first.
    pub(crate) version: u64,
    /// How many members it counts.
    pub(crate) count: u32,
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Those that are kept out.
    pub(crate) kept_out: BTreeMap<NodeId, Member>,
}

/// A listed member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) key: PublicKey,
    /// Where it is reached, as the directory told.
    pub(crate) place: Place,
    pub(crate) ipv4: Option<Ipv4Addr>,
}

impl Network {
    fn new(now: Time, handle: NetworkHandle, join: Join, (own, clock): (&PublicKey, &Clock)) -> Option<Self> {
        let id = join.parameters.id();
        let plan = AddressPlan::new(&id, &join.parameters.subnet);
        let (private, secret) = match join.membership {
            Some(membership) => {
                let (private, secret) = Private::new(&join.parameters, *membership, own, clock)?;
                (Some(Box::new(private)), secret)
            }
            None => (None, join.parameters.secret()?),
        };
        let node = &own.node_id();
        let mut held_before = false;
        let certified = private.as_ref().and_then(|private| private.certified_own());
        let ipv4 = if let Some(certified) = certified.filter(|_| join.ipv4) {
            Ipv4Claim::Certified(certified)
        } else if join.ipv4 {
            let mut candidates = plan.ipv4_candidates(node).to_vec();
            if let Some(preferred) = join
                .preferred
                .and_then(|address| candidates.iter().position(|c| *c == address))
            {
                candidates.swap(0, preferred);
                held_before = true;
            }
            Ipv4Claim::Candidate {
                candidates,
                tried: 0,
                held: Held::Not,
            }
        } else {
            Ipv4Claim::Off
        };
        Some(Self {
            handle,
            policy: join.parameters.policy(),
            world: join.world,
            member_key: secret.member_key(),
            mac: plan.mac(node),
            ipv6: plan.ipv6(node),
            link_local: plan.link_local(node),
            secret,
            plan,
            ipv4,
            id,
            parameters: join.parameters,
            listings: BTreeMap::new(),
            located: BTreeMap::new(),
            met: Met::default(),
            joined: now,
            held_before,
            gone: VecDeque::new(),
            learned: LearnedMacs::default(),
            claimed: ClaimedAddresses::default(),
            name: join.name,
            filter: Filter::default(),
            private,
            channels: Channels::default(),
            social: None,
            muted: BTreeSet::new(),
            pinned: BTreeSet::new(),
            injected: InjectedByAll::default(),
        })
    }

    /// Whether `node` may hold `address` here: on open networks only one of those that follow from its id, on private ones
    /// none that is certified to another, and none but its own if it has such a one.
    pub(crate) fn may_hold(&self, node: &NodeId, address: Ipv4Addr) -> bool {
        let candidate = || self.plan.ipv4_candidates(node).contains(&address);
        match (self.policy, &self.private) {
            (Policy::Strangers, _) => candidate(),
            (Policy::Friends, None) => self.parameters.subnet.is_host(address),
            (Policy::Friends, Some(private)) => match (private.certified(node), private.holder_of(address)) {
                (Some(own), _) => own == address,
                (None, Some(holder)) => holder == *node,
                // Who is known by a list only may have a certificate for it.
                (None, None) => self.parameters.subnet.is_host(address) && (candidate() || !private.is_member(node)),
            },
        }
    }

    /// The secrets under which members may name the network, each with the member key made of it, the one in force first.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (DirectoryKey, &NetworkSecret)> {
        let former = self.private.iter().flat_map(|private| private.former());
        let former = former.map(|former| (former.member_key, &former.secret));
        [(self.member_key, &self.secret)].into_iter().chain(former)
    }

    /// The secret of which a member key is made.
    pub(crate) fn secret_under(&self, key: &DirectoryKey) -> Option<&NetworkSecret> {
        let mut secrets = self.secrets();
        secrets.find(|(under, _)| under == key).map(|(_, secret)| secret)
    }

    /// What supernodes list under a member key of this network.
    pub(crate) fn listings_under(&mut self, key: &DirectoryKey) -> Option<&mut BTreeMap<PeerId, Listing>> {
        if *key == self.member_key {
            return Some(&mut self.listings);
        }
        let private = self.private.as_mut()?;
        (private.latest_former() == Some(*key)).then_some(&mut private.former_listings)
    }

    /// What a supernode lists under a member key of this network.
    pub(crate) fn listed_under(&self, key: &DirectoryKey, supernode: PeerId) -> Option<&Listing> {
        if *key == self.member_key {
            return self.listings.get(&supernode);
        }
        let private = self.private.as_ref()?;
        let former = private.former_listings.get(&supernode);
        former.filter(|_| private.latest_former() == Some(*key))
    }

    /// The member keys under which this node registers.
    pub(crate) fn registered_under(&self) -> impl Iterator<Item = DirectoryKey> {
        let former = self.private.as_ref().and_then(|private| private.latest_former());
        [self.member_key].into_iter().chain(former)
    }

    /// Forgets what a supernode lists.
    pub(crate) fn forget_listings(&mut self, supernode: PeerId) {
        self.listings.remove(&supernode);
        self.channels.forget_supernode(supernode);
        if let Some(private) = &mut self.private {
            private.former_listings.remove(&supernode);
        }
    }

    /// Whether a node is known to have no valid credential: it is not listed, looked for or called.
    pub(crate) fn keeps_out(&self, node: &NodeId) -> bool {
        self.private.as_ref().is_some_and(|private| private.keeps_out(node))
    }

    /// Takes those out of all lists who are kept out, and back in who are not any more.
    pub(crate) fn keep_out(&mut self) {
        let Some(private) = &mut self.private else { return };
        let mut former = std::mem::take(&mut private.former_listings);
        let listings = self.listings.values_mut().chain(former.values_mut());
        for listing in listings.chain(self.channels.listings_mut()) {
            listing.sort_out(private);
        }
        private.former_listings = former;
        self.located.retain(|node, _| !private.keeps_out(node));
    }

    /// Brings the IPv4 address in line with the own certificate; returns what is to be told of that.
    pub(crate) fn take_certified(&mut self) -> Vec<Event> {
        let Some(certified) = self.private.as_ref().and_then(|private| private.certified_own()) else {
            return Vec::new();
        };
        let held = self.ipv4_held();
        if matches!(self.ipv4, Ipv4Claim::Off) || held == Some(certified) && self.is_certified() {
            return Vec::new();
        }
        self.ipv4 = Ipv4Claim::Certified(certified);
        let network = self.handle;
        let withdrawn = held.filter(|held| *held != certified).map(|held| Event::Ipv4Withdrawn {
            network,
            address: Some(held),
        });
        let assigned = (held != Some(certified)).then_some(Event::Ipv4Assigned {
            network,
            address: certified,
        });
        withdrawn.into_iter().chain(assigned).collect()
    }

    /// Whether the network key gave this node its IPv4 address.
    pub(crate) fn is_certified(&self) -> bool {
        matches!(self.ipv4, Ipv4Claim::Certified(_))
    }

    /// The member with that id, as far as the directory told.
    pub(crate) fn member(&self, node: &NodeId) -> Option<&Member> {
        let mut lists = self.lists();
        lists.find_map(|members| members.get(node))
    }

    /// Whether a supernode's list names a node.
    pub(crate) fn is_listed(&self, node: &NodeId) -> bool {
        self.listings.values().any(|listing| listing.members.contains_key(node))
    }

    /// Whether a look-up has found a node.
    pub(crate) fn is_located(&self, node: &NodeId) -> bool {
        self.located.contains_key(node)
    }

    /// The member whose id begins with `prefix`, as far as the directory told.
    pub(crate) fn member_by_prefix(&self, prefix: &NodePrefix) -> Option<&Member> {
        let (low, high) = prefix.bounds();
        let mut lists = self.lists();
        lists.find_map(|members| members.range(low..=high).next().map(|(_, member)| member))
    }

    /// The member that claims `address`, as far as the directory told.
    pub(crate) fn member_by_ipv4(&self, address: Ipv4Addr) -> Option<&Member> {
        if let Some(holder) = self.private.as_ref().and_then(|private| private.holder_of(address)) {
            return self.member(&holder);
        }
        let mut members = self.lists().flat_map(BTreeMap::values);
        members.find(|member| member.ipv4 == Some(address) && self.may_hold(&member.key.node_id(), address))
    }

    /// Whether it is about to be [large](Self::is_large): whom a node deals with is to be known by then.
    pub(crate) fn is_nearly_large(&self) -> bool {
        let mut counts = self.listings.values().map(|listing| listing.count);
        counts.any(|count| self.channels.threshold.is_near(count))
    }

    /// Whether a supernode counts more members than a node sends copies to.
    pub(crate) fn is_large(&self) -> bool {
        let mut counts = self.listings.values().map(|listing| listing.count);
        counts.any(|count| self.channels.threshold.is_passed(count))
    }

    fn lists(&self) -> impl Iterator<Item = &BTreeMap<NodeId, Member>> {
        // What is listed of channels goes before: in a large network that alone is kept up to date. Samples are not.
        let listings = self.channels.whole_listings().chain(self.listings.values());
        let listings = listings.map(|listing| &listing.members);
        // Who was away knows a former secret only, as long as nobody tells the one in force.
        let former = self.private.iter().filter(|_| self.met.members().is_empty());
        let former = former.flat_map(|private| private.former_listings.values());
        let listings = listings.chain(former.map(|listing| &listing.members));
        listings.chain([&self.located, self.met.members()])
    }

    /// Forgets the places of nodes that look-ups found, where they are `stale`. The nodes stay known: a frame for one is
    /// nobody else's.
    pub(crate) fn distrust_located(&mut self, stale: impl Fn(&Place) -> bool) {
        for member in self.located.values_mut().filter(|member| stale(&member.place)) {
            member.place.index = RelayIndex::NONE;
        }
    }

    /// Remembers a node that a look-up found.
    pub(crate) fn note_located(&mut self, member: Member) {
        if self.located.len() >= MAX_LOCATED {
            self.located.pop_first();
        }
        self.located.insert(member.key.node_id(), member);
    }

    /// Remembers somebody who is not listed any more.
    pub(crate) fn note_gone(&mut self, node: NodeId) {
        self.gone.retain(|known| *known != node);
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(node);
    }

    /// Whether a node whose id begins with `prefix` was listed before.
    pub(crate) fn was_member(&self, prefix: &NodePrefix) -> bool {
        self.gone.iter().any(|node| prefix.matches(node))
    }

    /// Whether the user mutes a member.
    pub(crate) fn mutes(&self, node: &NodeId) -> bool {
        self.muted.contains(node)
    }

    /// All listed members, each once, in order of their ids.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Member> {
        let mut members = BTreeMap::new();
        for listing in self.listings.values() {
            for (node, member) in &listing.members {
                members.entry(*node).or_insert(member);
            }
        }
        members.into_values()
    }

    /// Whether some supernode's list is complete: it told how many there are and all of them. A long list is not kept up to
    /// date, so it is never taken for complete.
    pub(crate) fn list_complete(&self) -> bool {
        self.listings.values().any(|listing| {
            let count = usize::try_from(listing.count).unwrap_or(usize::MAX);
            listing.version > 0
                && count <= self.channels.threshold.full_max()
                && listing.members.len() + listing.kept_out.len() >= count
        })
    }

    /// How many members there are, this node among them: as a supernode counts them, or as many as were met if those are
    /// more and no list is complete; 0 as long as neither is known.
    fn count(&self) -> u32 {
        let kept_out = |listing: &Listing| u32::try_from(listing.kept_out.len()).unwrap_or(u32::MAX);
        let listed = self.listings.values();
        let listed = listed.map(|listing| listing.count.saturating_sub(kept_out(listing)));
        let listed = listed.max().unwrap_or(0);
        let met = u32::try_from(self.met.members().len()).unwrap_or(u32::MAX);
        if met == 0 || self.list_complete() {
            listed
        } else {
            listed.max(met + 1)
        }
    }

    /// The address to be registered: claimed or held.
    pub(crate) fn ipv4_claim(&self) -> Option<Ipv4Addr> {
        match &self.ipv4 {
            Ipv4Claim::Candidate { candidates, tried, .. } => candidates.get(*tried).copied(),
            Ipv4Claim::Certified(address) => Some(*address),
            Ipv4Claim::Off | Ipv4Claim::Exhausted => None,
        }
    }

    /// What is said with the address held about whose word that is.
    fn provisional(&self) -> u8 {
        let provisionally = matches!(
            self.ipv4,
            Ipv4Claim::Candidate {
                held: Held::Provisionally,
                ..
            }
        );
        if provisionally { PROVISIONAL } else { 0 }
    }

    /// The address held.
    pub(crate) fn ipv4_held(&self) -> Option<Ipv4Addr> {
        match &self.ipv4 {
            Ipv4Claim::Candidate { held: Held::Not, .. } => None,
            _ => self.ipv4_claim(),
        }
    }

    pub(crate) fn status(&self) -> NetworkStatus {
        NetworkStatus {
            handle: self.handle,
            id: self.id,
            policy: self.policy,
            mac: self.mac,
            ipv6: self.ipv6,
            link_local: self.link_local,
            ipv4: self.ipv4_held(),
            ipv4_pending: matches!(self.ipv4, Ipv4Claim::Candidate { held: Held::Not, .. }),
            members: self.count(),
            membership: self.private.as_ref().and_then(|private| private.own_status()),
        }
    }
}

impl Listing {
    /// Puts everybody in the place that the private network has for it.
    pub(crate) fn sort_out(&mut self, private: &Private) {
        let (kept_out, members) = (&mut self.kept_out, &mut self.members);
        members.extend(kept_out.extract_if(.., |node, _| !private.keeps_out(node)));
        kept_out.extend(members.extract_if(.., |node, _| private.keeps_out(node)));
    }
}

/// All joined networks, each in the place of its handle.
#[derive(Debug, Default)]
pub(crate) struct Networks(Vec<Option<Network>>);

impl Networks {
    /// A test's member ignores that anybody is thrown out.
    #[cfg(test)]
    pub(crate) fn deaf_for_test(&mut self, handle: NetworkHandle) {
        if let Some(private) = self.get_mut(handle).and_then(|network| network.private.as_mut()) {
            private.deaf = true;
        }
    }

    pub(crate) fn add(
        &mut self,
        now: Time,
        join: Join,
        threshold: Threshold,
        (own, clock): (&PublicKey, &Clock),
    ) -> Result<NetworkHandle, JoinError> {
        let id = join.parameters.id();
        if self.iter().any(|network| network.id == id) {
            return Err(JoinError::Already);
        }
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        let handle = u8::try_from(free)
            .ok()
            .filter(|_| free < MAX_NETWORKS)
            .map(NetworkHandle);
        let handle = handle.ok_or(JoinError::TooMany)?;
        let mut network = Network::new(now, handle, join, (own, clock)).ok_or(JoinError::NoMembership)?;
        network.channels.threshold = threshold;
        if free == self.0.len() {
            self.0.push(None);
        }
        if let Some(place) = self.0.get_mut(free) {
            *place = Some(network);
        }
        Ok(handle)
    }

    pub(crate) fn remove(&mut self, handle: NetworkHandle) -> Option<Network> {
        self.0.get_mut(usize::from(handle.0))?.take()
    }

    pub(crate) fn get(&self, handle: NetworkHandle) -> Option<&Network> {
        self.0.get(usize::from(handle.0))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, handle: NetworkHandle) -> Option<&mut Network> {
        self.0.get_mut(usize::from(handle.0))?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Network> {
        self.0.iter_mut().flatten()
    }

    pub(crate) fn handles(&self) -> Vec<NetworkHandle> {
        self.iter().map(|network| network.handle).collect()
    }
}

impl Engine {
    /// Tells the other end this node's IPv4 addresses in the common networks.
    pub(crate) fn tell_claims(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        session.networks.claims_number += 1;
        session.networks.claims_retry = Some(Retry::due(RESEND, now));
        self.resend_claims(now, id, local, out);
    }

    fn resend_claims(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        let shared = self.networks.iter().filter(|network| networks.shared(network.handle));
        let claims: Vec<_> = shared
            .filter_map(|network| {
                Some((
                    networks.position(network.handle)? | network.provisional(),
                    network.ipv4_held(),
                ))
            })
            .collect();
        let Some(retry) = &mut networks.claims_retry else {
            return;
        };
        if claims.is_empty() {
            networks.claims_retry = None;
            return;
        }
        retry.again(now);
        let number = networks.claims_number;
        self.send_control(now, id, Some(local), &[Control::Claims { number, claims }], out);
        self.arm(id);
    }

    /// This node's IPv4 address in a network changed: every peer in it is told.
    pub(crate) fn tell_claims_everywhere(&mut self, now: Time, out: &mut Outbox) {
        for id in self.peers.ids() {
            let session = self
                .peers
                .get(id)
                .filter(|peer| !peer.supernode)
                .and_then(|peer| peer.sessions.current());
            if let Some(local) = session
                .filter(|session| session.networks.known())
                .map(|session| session.local)
            {
                self.tell_claims(now, id, local, out);
            }
        }
    }

    /// The other end's IPv4 addresses.
    pub(crate) fn claims_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, claims): (u32, &[(u8, Option<Ipv4Addr>)]),
        out: &mut Outbox,
    ) {
        let session = self.peers.get(id).and_then(|peer| peer.sessions.get(local));
        let Some(session) = session.filter(|session| session.networks.known()) else {
            // Its list was overtaken; both come again.
            return;
        };
        if session.networks.their_claims_number.is_none_or(|last| number > last) {
            let told = claims.iter().filter_map(|(position, address)| {
                let handle = session.networks.at(*position & !PROVISIONAL)?;
                let address = address.filter(|address| self.may_claim(id, handle, *address));
                Some((handle, address, position & PROVISIONAL != 0))
            });
            let told: Vec<_> = told.collect();
            let Some(peer) = self.peers.get_mut(id) else { return };
            for (handle, address, _) in &told {
                match address {
                    Some(address) => peer.claims.insert(*handle, *address),
                    None => peer.claims.remove(handle),
                };
            }
            if let Some(session) = peer.sessions.by_index(local) {
                session.networks.their_claims_number = Some(number);
            }
            let mut moved = false;
            for (handle, address, provisional) in &told {
                moved |= self.address_told(id, *handle, (*address, *provisional));
                self.try_held_again(now, *handle, out);
            }
            if moved {
                self.tell_claims_everywhere(now, out);
            }
            let early = self.early.take((id, local));
            self.open_early(now, id, local, early, out);
        }
        self.send_control(
            now,
            id,
            Some(local),
            &[Control::Ack {
                number: number | CLAIMS_ACK,
            }],
            out,
        );
    }

    /// Whether an IPv4 address that a peer tells counts as its own. Among strangers nobody gets one by telling that the
    /// directory knows as another's, or that another peer told before: many made-up members find one whose candidates
    /// hold it.
    pub(crate) fn may_claim(&self, id: PeerId, handle: NetworkHandle, address: Ipv4Addr) -> bool {
        let (Some(network), Some(peer)) = (self.networks.get(handle), self.peers.get(id)) else {
            return false;
        };
        let node = peer.key.node_id();
        let is_anothers = || {
            let mut listed = network.listed();
            let listed = listed.find(|member| member.ipv4 == Some(address));
            let listed = listed.or_else(|| network.located.values().find(|member| member.ipv4 == Some(address)));
            let mut others = self.peers.iter().filter(|(other, _)| *other != id);
            listed.is_some_and(|member| member.key.node_id() != node)
                || others.any(|(_, other)| other.claims.get(&handle) == Some(&address))
        };
        let exclusive = network.policy == Policy::Strangers && !planted("anothers-address-claimed");
        network.may_hold(&node, address) && !(exclusive && is_anothers())
    }

    /// The other end has a list or claims of this node. How long that took tells the round trip to whoever began no handshake.
    pub(crate) fn acknowledged(&mut self, now: Time, id: PeerId, local: SessionIndex, number: u32) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local) else {
            return;
        };
        let networks = &mut session.networks;
        let mut places_known = false;
        let answered = if number & ADDRESSES_ACK == CANDIDATES_ACK {
            self.candidates_acknowledged(now, id, number & !CANDIDATES_ACK);
            return;
        } else if number & ADDRESSES_ACK == ADDRESSES_ACK {
            let latest = number & !ADDRESSES_ACK == networks.addresses_number;
            networks.addresses_retry.take_if(|_| latest)
        } else if number & CLAIMS_ACK != 0 {
            let latest = number & !CLAIMS_ACK == networks.claims_number;
            networks.claims_retry.take_if(|_| latest)
        } else {
            let latest = number == networks.offer_number && !networks.tags.is_empty();
            places_known = latest && networks.offer_retry.is_some();
            networks.offer_retry.take_if(|_| latest)
        };
        if let Some(sample) = answered.and_then(|retry| retry.round_trip(now)) {
            peer.measure_rtt(sample);
        }
        if places_known {
            self.places_known(now, id, local);
        }
    }

    /// Sends lists and claims again that were not acknowledged.
    pub(crate) fn tend_networks(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let due = |retry: &Option<Retry>| retry.as_ref().is_some_and(|retry| retry.at() <= now);
        let offers: Vec<_> = peer
            .sessions
            .iter()
            .filter(|session| due(&session.networks.offer_retry))
            .map(|session| (session.local, session.networks.tags.is_empty()))
            .collect();
        let claims: Vec<_> = peer
            .sessions
            .iter()
            .filter(|session| due(&session.networks.claims_retry))
            .map(|session| session.local)
            .collect();
        for (local, stale) in offers {
            if stale {
                self.offer_networks(now, id, local, out);
                self.release_waiting(now, id, out);
            } else {
                self.resend_offer(now, id, local, out);
            }
        }
        for local in claims {
            self.resend_claims(now, id, local, out);
        }
    }

    /// The next candidate after one was refused. Returns the network's world, whose supernodes are to be told; none if
    /// another address is claimed by now.
    pub(crate) fn ipv4_refused(&mut self, handle: NetworkHandle, refused: Ipv4Addr) -> Option<WorldId> {
        let network = self.networks.get_mut(handle)?;
        // What is certified stays, whatever a supernode was told by others.
        if network.ipv4_claim() != Some(refused) || network.is_certified() {
            return None;
        }
        let was_held = network.ipv4_held();
        let Ipv4Claim::Candidate { tried, held, .. } = &mut network.ipv4 else {
            return None;
        };
        *tried += 1;
        *held = Held::Not;
        let exhausted = *tried >= CANDIDATES;
        if exhausted {
            network.ipv4 = Ipv4Claim::Exhausted;
        }
        let world = network.world;
        if was_held.is_some() || exhausted {
            self.events.push(Event::Ipv4Withdrawn {
                network: handle,
                address: was_held,
            });
        }
        Some(world)
    }

    /// A supernode accepted a claim. Returns whether that is new.
    pub(crate) fn ipv4_accepted(&mut self, handle: NetworkHandle, accepted: Ipv4Addr) -> bool {
        let network = self.networks.get_mut(handle);
        let Some(network) = network.filter(|network| network.ipv4_claim() == Some(accepted)) else {
            return false;
        };
        let Ipv4Claim::Candidate { held, .. } = &mut network.ipv4 else {
            return false;
        };
        let before = *held;
        if before == Held::Granted {
            return false;
        }
        *held = Held::Granted;
        if before == Held::Provisionally {
            return true;
        }
        self.events.push(Event::Ipv4Assigned {
            network: handle,
            address: accepted,
        });
        true
    }
}

/// Set in the number of an acknowledgement that is for claims, not for a list of networks.
const CLAIMS_ACK: u32 = 1 << 31;
