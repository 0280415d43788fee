//! Asking what stands between this node and a peer: what this end has found out, what the other end has, and how far the
//! peer is known here. What follows from it is for the caller to say.
//!
//! An examination makes a session if none stands, shows whether the supernodes and the peer live, and lets the way in use be
//! tried for the size of its packets. It is no use of the peer: no round of tries begins because of it.

use std::time::Duration;

use farlan_crypto::{NodeId, PublicKey, defects::planted};
use farlan_netconf::NodePrefix;

use crate::{
    Engine, Event, Outbox, PeerStatus, Role, Target, Time,
    lookups::LookupTarget,
    observations::{Finding, Observations, Openness, Search, Seconds, Way},
    peers::{Path, Peer, PeerId},
    ranges::is_private,
    rates::Rate,
    wire::{
        control::{Control, Query},
        datagram::SessionIndex,
    },
};

/// What an examination brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// The peer; none if nobody is known by that id or address.
    pub peer: Option<PeerStatus>,
    /// How far it is known.
    pub standing: Standing,
    /// What this end has found out.
    pub own: Observations,
    /// What the other end has.
    pub theirs: Theirs,
}

/// How far a peer is known and reached at the end of an examination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// A supernode has registered this node, of a world in which the peer can be met as far as that is known.
    pub registered: bool,
    /// A supernode lists the peer.
    pub listed: bool,
    /// A session stands.
    pub session: bool,
    /// Both proved to be in a common network.
    pub shared: bool,
    /// Something authentic came from it during the examination.
    pub heard: bool,
}

/// What the other end tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theirs {
    /// It was not asked: there is no session, or no common network.
    #[default]
    NotAsked,
    /// It was asked and did not answer.
    Silent,
    /// It answered.
    Told(Observations),
}

/// The examinations under way.
#[derive(Debug, Default)]
pub(crate) struct Examinations {
    waiting: Vec<Waiting>,
    next_request: u32,
    /// When a supernode last saw another machine with this identity.
    twin: Option<Time>,
}

#[derive(Debug)]
struct Waiting {
    token: u64,
    target: Target,
    key: Option<PublicKey>,
    since: Time,
    /// When to look again.
    at: Time,
    peer: Option<PeerId>,
    /// The number of the question, once it was asked.
    request: Option<u32>,
    told: Option<Observations>,
}

/// Examinations at one time; the oldest ends at once.
const MAX_WAITING: usize = 16;

/// How often what came is looked at, and the other end is asked again.
const PAUSE: Duration = Duration::from_millis(400);

/// How long an examination may take: a handshake over the far side of the earth, or five signs of life of a supernode that
/// has died.
const LONGEST: Duration = Duration::from_secs(4);

/// Who shares no network with this node after so long will not show one.
const MATCHING: Duration = Duration::from_millis(2500);

/// Questions of one peer that are answered: a handful at once, and one every two seconds.
const ANSWERED: Rate = Rate {
    count: 30,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(16),
};

/// A twin that was not seen for so long is gone.
const TWIN_SHOWN: Duration = Duration::from_secs(180);

/// The largest packet that the way in use is tried for: what Ethernet carries.
const USUAL: usize = 1500;

impl Examinations {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.iter().map(|waiting| waiting.at).min()
    }

    /// A supernode sees another machine with this identity.
    pub(crate) fn twin_seen(&mut self, now: Time) {
        self.twin = Some(now);
    }
}

impl Engine {
    /// Finds out what stands between this node and a peer; the answer comes as [`Event::Examined`] with `token`, within
    /// about 4 s. `key` is the peer's, where the caller has it from earlier.
    pub fn examine(&mut self, now: Time, target: Target, key: Option<PublicKey>, token: u64) {
        if self.examinations.waiting.len() >= MAX_WAITING {
            let oldest = self.examinations.waiting.remove(0);
            self.end_examination(now, &oldest);
        }
        self.examinations.waiting.push(Waiting {
            token,
            target,
            key,
            since: now,
            at: now,
            peer: None,
            request: None,
            told: None,
        });
        // A dead supernode shows itself meanwhile.
        let homes: Vec<PeerId> = self.directory.homes().collect();
        for home in homes {
            self.watch_relay(now, home);
        }
    }

    /// Goes on with the examinations under way, and ends those that are over.
    pub(crate) fn tend_examinations(&mut self, now: Time, out: &mut Outbox) {
        if self.examinations.deadline().is_none_or(|at| at > now) {
            return;
        }
        for mut waiting in std::mem::take(&mut self.examinations.waiting) {
            if waiting.at > now || !self.goes_on(now, &mut waiting, out) {
                self.examinations.waiting.push(waiting);
            }
        }
    }

    /// The next step of an examination. Returns whether it has ended.
    fn goes_on(&mut self, now: Time, waiting: &mut Waiting, out: &mut Outbox) -> bool {
        let over = now.since(waiting.since) >= LONGEST;
        waiting.at = now + PAUSE;
        let Some(id) = self.examined(now, waiting) else {
            let denied = !self.look_for(now, waiting.target);
            if over || denied {
                self.end_examination(now, waiting);
            }
            return over || denied;
        };
        self.ask_for_observations(now, id, waiting, out);
        let silent = self
            .peers
            .get(id)
            .filter(|peer| peer.heard.is_none_or(|heard| heard <= waiting.since));
        if let Some(node) = silent.map(|peer| peer.key.node_id())
            && !self.networks.iter().any(|network| network.is_listed(&node))
        {
            self.look_for(now, Target::Node(node));
        }
        if over || (waiting.told.is_some() && !self.is_measuring(id)) || self.has_nothing_common(now, id, waiting) {
            self.end_examination(now, waiting);
            return true;
        }
        false
    }

    /// Whom an examination is about, as soon as that is known.
    fn examined(&mut self, now: Time, waiting: &mut Waiting) -> Option<PeerId> {
        if waiting.peer.is_none_or(|id| self.peers.get(id).is_none()) {
            let known = self.ping_target(now, waiting.target);
            waiting.peer = known.or_else(|| waiting.key.and_then(|key| self.pin(now, key)));
        }
        let own = self.public;
        waiting.peer.filter(|id| {
            self.peers
                .get(*id)
                .is_some_and(|peer| peer.key != own && !peer.supernode)
        })
    }

    /// Asks the supernodes for a peer that nobody has named yet. Returns whether an answer may come.
    fn look_for(&mut self, now: Time, target: Target) -> bool {
        let Target::Node(node) = target else { return false };
        let prefix = NodePrefix::of(&node);
        let target = lookup_target(&node);
        let networks: Vec<_> = self.networks.iter().map(|network| network.handle).collect();
        let mut may_come = false;
        for network in networks {
            may_come |= !self.lookups.is_denied(now, network, target);
            self.look_up(now, network, target, Query::Prefix(prefix));
        }
        may_come
    }

    /// Asks the other end, as soon as that is possible and as often as it takes.
    fn ask_for_observations(&mut self, now: Time, id: PeerId, waiting: &mut Waiting, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let begins = waiting.request.is_none();
        if peer.sessions.current().is_none() {
            self.want(now, id);
            return;
        }
        if waiting.told.is_some() {
            return;
        }
        if begins {
            self.measure(now, id);
        }
        let request = *waiting.request.get_or_insert_with(|| {
            self.examinations.next_request = self.examinations.next_request.wrapping_add(1);
            self.examinations.next_request
        });
        // A path that was left alone may be dead, and what comes over the relay meanwhile would hide that.
        if let Some(leg) = self.peers.get(id).and_then(|peer| peer.direct.active()) {
            self.challenge(now, id, leg, out);
            self.arm(id);
        }
        self.send_control(now, id, None, &[Control::ObservationsWanted { request }], out);
        self.expect_answer(now, id);
    }

    /// Lets the way in use be tried for packets of the usual size.
    fn measure(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        match peer.way() {
            Some(Path::Direct(leg)) if !leg.is_stream() => {
                if let Some(mtu) = peer.direct.mtu(leg) {
                    mtu.note(now, USUAL);
                }
            }
            Some(path) => {
                let leg = self.envelope(path).map(|envelope| envelope.destination());
                let peer = self.peers.get_mut(id);
                if let (Some(leg), Some(peer)) = (leg.filter(|leg| !leg.is_stream()), peer) {
                    peer.relay_mtu.lead_to(leg);
                    peer.relay_mtu.note(now, USUAL);
                }
            }
            None => {}
        }
        self.arm(id);
    }

    fn is_measuring(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        match peer.direct.active() {
            Some(leg) => peer.direct.mtu(leg).is_some_and(|mtu| mtu.is_searching()),
            None => peer.relay_mtu.is_searching(),
        }
    }

    fn has_nothing_common(&self, now: Time, id: PeerId, waiting: &Waiting) -> bool {
        self.peers
            .get(id)
            .is_some_and(|peer| peer.sessions.current().is_some() && peer.up.is_empty())
            && now.since(waiting.since) >= MATCHING
    }

    fn end_examination(&mut self, now: Time, waiting: &Waiting) {
        let id = waiting.peer.filter(|id| self.peers.get(*id).is_some());
        let own = id.map(|id| self.observations(now, id)).unwrap_or_default();
        let peer = id.and_then(|id| self.peers.get(id));
        let key = peer.map(|peer| peer.key);
        let standing = Standing {
            registered: self.is_registered_for(key.map(|key| key.node_id())),
            listed: key.is_some_and(|key| self.is_listed(now, &key.node_id())),
            session: peer.is_some_and(|peer| peer.sessions.current().is_some()),
            shared: peer.is_some_and(|peer| !peer.up.is_empty()),
            heard: peer.is_some_and(|peer| peer.heard.is_some_and(|heard| heard > waiting.since)),
        };
        let theirs = match waiting.told {
            Some(told) => Theirs::Told(told),
            None if waiting.request.is_some() && standing.shared => Theirs::Silent,
            None => Theirs::NotAsked,
        };
        let examination = Examination {
            peer: key.map(|key| self.peer_status(now, key)),
            standing,
            own,
            theirs,
        };
        self.events.push(Event::Examined {
            token: waiting.token,
            examination: Box::new(examination),
        });
    }

    /// Whether a supernode knows a node: a list names it, or it was looked up and not denied.
    fn is_listed(&self, now: Time, node: &NodeId) -> bool {
        let target = lookup_target(node);
        self.networks.iter().any(|network| {
            let denied = self.lookups.is_denied(now, network.handle, target);
            network.is_listed(node) || (network.is_located(node) && !denied)
        })
    }

    /// Whether a supernode has registered this node of a world where a node may be met, as far as that is known.
    fn is_registered_for(&self, node: Option<NodeId>) -> bool {
        let common = || {
            self.networks
                .iter()
                .filter(|network| node.is_some_and(|node| network.member(&node).is_some()))
        };
        let mut networks: Vec<_> = common().collect();
        if networks.is_empty() {
            networks = self.networks.iter().collect();
        }
        let mut worlds = networks.iter().map(|network| network.world);
        worlds.any(|world| self.directory.registered(&world).next().is_some())
    }

    /// The other end asks what this one has found out.
    pub(crate) fn observations_wanted(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        request: u32,
        out: &mut Outbox,
    ) {
        if self.role != Role::Node {
            return;
        }
        let Some(peer) = self
            .peers
            .get_mut(id)
            .filter(|peer| !peer.supernode && !peer.up.is_empty())
        else {
            // Its list of networks was overtaken; it asks again.
            return;
        };
        if !peer.history.questions.take(now, &ANSWERED, 1) {
            self.counters.questions_limited += 1;
            return;
        }
        let told = if self.accepts(now, id) || planted("observations-to-anybody") {
            self.observations(now, id)
        } else {
            let openness = self.peers.get(id).map(|peer| self.openness(now, peer));
            Observations::closed(openness.unwrap_or_default())
        };
        let answer = Control::Observations {
            request,
            told: Box::new(told),
        };
        self.send_control(now, id, Some(local), &[answer], out);
    }

    /// The other end tells what it has found out.
    pub(crate) fn observations_told(&mut self, now: Time, id: PeerId, request: u32, told: &Observations) {
        let mut waiting = self.examinations.waiting.iter_mut();
        let asked = waiting.find(|waiting| waiting.peer == Some(id) && waiting.request == Some(request));
        if let Some(waiting) = asked {
            waiting.told = Some(*told);
            waiting.at = now;
        }
    }

    /// What this end has found out of its own side and of the way to a peer.
    pub(crate) fn observations(&mut self, now: Time, id: PeerId) -> Observations {
        let around = self.own_side(now);
        let Some(peer) = self.peers.get_mut(id) else {
            return around;
        };
        let way = peer.way();
        let size = match way {
            Some(Path::Direct(leg)) => peer.direct.mtu(leg).and_then(|mtu| mtu.found()),
            _ => peer.relay_mtu.found(),
        };
        let Some(peer) = self.peers.get(id) else {
            return around;
        };
        let envelope = way.and_then(|path| self.envelope(path));
        let ago = |at: Option<Time>| at.map(|at| Seconds::from(now.since(at)));
        let history = &peer.history;
        let bytes = |size: usize| u16::try_from(size).unwrap_or(u16::MAX);
        Observations {
            openness: self.openness(now, peer),
            way: Self::way_of(peer),
            over_tcp: envelope.map_or(Finding::Unknown, |envelope| envelope.destination().is_stream().into()),
            told: peer.exchange.told(self.traversal.mapped()),
            rounds: history.rounds,
            round: ago(history.round),
            sent: count(history.sent),
            came: count(history.came),
            answered: count(history.answered),
            search: self.search_of(id, peer),
            limited: history.limited.into(),
            lost: ago(history.lost),
            used: ago(peer.used),
            mtu: size.map_or(0, |(limit, _)| bytes(limit)),
            too_large: size.and_then(|(_, too_large)| too_large).map_or(0, bytes),
            ..around
        }
    }

    /// What this end has found out of its own side.
    fn own_side(&self, now: Time) -> Observations {
        let twin = self.examinations.twin.is_some_and(|seen| now.since(seen) < TWIN_SHOWN);
        let (udp, tcp) = self.transports();
        Observations {
            openness: Openness::Unknown,
            version: version(),
            behaviour: self.behaviour(),
            udp,
            tcp,
            carrier: self.carrier(),
            port_mapping: self.port_mapping(),
            twin: twin.into(),
            ..Observations::default()
        }
    }

    fn search_of(&self, id: PeerId, peer: &Peer) -> Search {
        if peer.exchange.searches.found_nothing() {
            Search::Nothing
        } else if self.searches.is_for(id) {
            Search::UnderWay
        } else {
            Search::None
        }
    }

    fn way_of(peer: &Peer) -> Way {
        match peer.way().filter(|_| peer.sessions.current().is_some()) {
            None => Way::None,
            Some(Path::Direct(leg)) if is_private(leg.ip()) => Way::Lan,
            Some(Path::Direct(_)) => Way::Direct,
            Some(Path::Relay { .. } | Path::Passed { .. }) => Way::Relay,
        }
    }
}

fn count(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Whom the directory is asked for, to find a node.
pub(crate) fn lookup_target(node: &NodeId) -> LookupTarget {
    let prefix = NodePrefix::of(node);
    LookupTarget::Node {
        low: prefix.bounds().0,
        bits: prefix.bits(),
    }
}

/// The version of the program.
fn version() -> [u8; 3] {
    let part = |text: &str| text.parse().unwrap_or(u8::MAX);
    [
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    ]
}
