//! The search for a way where simultaneous opening cannot make one: one end's NAT, the *hard* end's, gives every far end
//! another port, and the other one's lets in only what comes from where something went.
//!
//! The hard end opens many ports towards the other end; what it sends there dies on the way. The *easy* end then tries
//! ports of the hard end's address until one of them is one of those: random ones (*birthday search*), or those that
//! a NAT which counts up is about to pick (*prediction*). Two ends that both count up aim at each other's next port.
//!
//! So many datagrams to ports that nobody named are sent only if a supernode has said where the other end is
//! (`grants`), the other end itself names that address, and both wanted it; one search at a time, and less and less often
//! where it finds nothing. A search disturbs nothing else: frames go over the relay meanwhile.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use farlan_crypto::{NodeId, defects::planted};
use tracing::debug;

use crate::{
    Engine, Leg, Outbox, Role, Socket, Time,
    content::Content,
    direct::{OPENING, OPENING_MAX, OPENING_TTL, is_global, is_private},
    peers::{Path, Peer, PeerId},
    prediction::{PREDICTED_SOCKETS, Plan, PortOrder, Technique, aim, likely, plan},
    retry::{Retry, Schedule},
    sockets::Purpose,
    wire::{
        control::{Control, Step},
        datagram::RelayTarget,
    },
};

/// Sockets that the hard end opens for a birthday search: with them 1,160 random probes of 64,512 ports hit in 99 of 100.
const BIRTHDAY_SOCKETS: usize = 256;

/// Probes of one birthday search at the most: 99.96 of 100 hit.
pub(crate) const MOST_PROBES: u32 = 2000;

/// Probes a second, sent in slices of [`SLICE`].
const PROBE_RATE: u32 = 1000;

/// How far apart slices of probes and of openings are.
const SLICE: Duration = Duration::from_millis(10);

/// Probes in one slice at the most: what a late timer left out is made up for slowly.
const SLICE_PROBES: u32 = 20;

/// Openings in one slice.
const SLICE_OPENINGS: usize = 32;

/// How often each predicted port is tried, and how far apart.
const LIKELY_TRIES: u32 = 4;

/// Openings are sent once more after this time: one may have been lost before it came to the NAT.
const OPEN_AGAIN: Duration = Duration::from_millis(600);

/// When two predicted ends send what arrives, counted from the end of the opening.
const AIMED: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
];

/// A search that both did not want by then is over.
const WANTED_FOR: Duration = Duration::from_secs(3);

/// What both did is over so long after the last probe, and two round trips.
const LAST_ANSWER: Duration = Duration::from_millis(700);

/// A search lasts no longer than this, whatever it waits for.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses after searches that found nothing; the last is repeated.
const PAUSES: [u64; 3] = [10, 60, 600];

/// A wrong prediction is followed by another technique after this time.
const OTHER_TECHNIQUE: Duration = Duration::from_secs(1);

/// While another search goes on, or no supernode is common to both, this one waits.
const LATER: Duration = Duration::from_millis(400);

/// Other candidates have so long before a search begins that may not be needed, and a round trip.
const OTHERS_FIRST: Duration = Duration::from_millis(450);

/// Sockets that no path uses any more are looked for this often.
const SWEEP: Duration = Duration::from_secs(10);

/// The search under way, if there is one, and the sockets that earlier ones left.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    current: Option<Search>,
    sweep: Option<Time>,
}

/// What became of the searches with one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SearchHistory {
    failures: usize,
    not_before: Option<Time>,
    mispredicted: bool,
    /// When to look whether a search is needed.
    consider: Option<Time>,
    /// When its candidates came.
    tried: Time,
}

#[derive(Debug)]
struct Search {
    peer: PeerId,
    number: u32,
    supernode: PeerId,
    technique: Technique,
    hard: bool,
    /// Whether this end began it, and the other one has not answered yet.
    offering: bool,
    asking: Retry,
    begun: Time,
    ends: Time,
    /// Where the other end is, as the supernode says.
    granted: Option<IpAddr>,
    /// What the other end said of its ports.
    theirs: Option<Step>,
    /// The port that this end's NAT picked last.
    look: Option<(Socket, u64, Retry)>,
    picked: Option<(u16, i16)>,
    opening: Option<Opening>,
    telling: Option<Retry>,
    probing: Option<Probing>,
    /// What was sent so that it arrives, and by which socket, where both ends are predicted.
    aimed: Vec<(Socket, u64)>,
    aims: usize,
}

/// The ports that this end opens.
#[derive(Debug)]
struct Opening {
    towards: SocketAddr,
    sockets: Vec<Socket>,
    /// How many were opened, twice each in the end.
    done: usize,
    next: Time,
    /// When the last was opened for the first time.
    open: Option<Time>,
}

/// The ports that this end tries.
#[derive(Debug)]
struct Probing {
    address: IpAddr,
    ports: Ports,
    since: Time,
    sent: u32,
    most: u32,
    next: Time,
    tokens: Vec<(u16, u64)>,
}

#[derive(Debug)]
enum Ports {
    Any(PortOrder),
    These(Vec<u16>),
}

impl Searches {
    pub(crate) fn deadline(&self) -> Option<Time> {
        let of_search = |search: &Search| {
            let asking = Some(search.asking.at()).filter(|_| search.granted.is_none());
            let look = search.look.as_ref().map(|(.., retry)| retry.at());
            let opening = search.opening.as_ref().filter(|opening| !opening.is_over());
            let opening = opening.map(|opening| opening.next);
            let telling = search.telling.as_ref().map(Retry::at);
            let probing = search.probing.as_ref().filter(|probing| probing.sent < probing.most);
            let probing = probing.map(|probing| probing.next);
            let all = [
                asking,
                look,
                opening,
                telling,
                probing,
                search.aim_at(),
                Some(search.ends),
            ];
            all.into_iter().flatten().min()
        };
        let current = self.current.as_ref().and_then(of_search);
        [current, self.sweep].into_iter().flatten().min()
    }
}

impl Searches {
    /// Whether the search under way is for a peer.
    pub(crate) fn is_for(&self, peer: PeerId) -> bool {
        self.current.as_ref().is_some_and(|search| search.peer == peer)
    }
}

impl SearchHistory {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.consider
    }

    /// Whether one was made, and found nothing.
    pub(crate) fn found_nothing(&self) -> bool {
        self.failures > 0
    }

    /// The other end's candidates came, and are tried; `changed` if they are others than before.
    pub(crate) fn candidates_came(&mut self, now: Time, changed: bool) {
        if changed {
            *self = Self::default();
        }
        self.tried = now;
        self.consider = Some(now);
    }

    /// What this end is like has changed.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self {
            tried: self.tried,
            consider: self.consider,
            ..Self::default()
        };
    }

    fn failed(&mut self, now: Time, technique: Technique) {
        if technique.predicts() && !self.mispredicted {
            self.mispredicted = true;
            self.not_before = Some(now + OTHER_TECHNIQUE);
        } else {
            let pause = PAUSES.get(self.failures).or(PAUSES.last());
            self.not_before = Some(now + Duration::from_secs(pause.copied().unwrap_or_default()));
            self.failures += 1;
        }
        self.consider = self.not_before;
    }
}

impl Opening {
    fn is_over(&self) -> bool {
        self.done >= 2 * self.sockets.len()
    }
}

impl Search {
    fn aim_at(&self) -> Option<Time> {
        let open = self.opening.as_ref()?.open?;
        let after = AIMED
            .get(self.aims)
            .filter(|_| self.technique == Technique::BothPredicted)?;
        Some(open + OPENING + *after)
    }

    /// Whether a leg is one of those that this search tries.
    fn tries(&self, leg: Leg) -> bool {
        match leg.socket {
            Socket::Extra(_) => self
                .opening
                .as_ref()
                .is_some_and(|opening| opening.sockets.contains(&leg.socket)),
            _ => {
                let probing = self.probing.as_ref().filter(|probing| probing.address == leg.ip());
                let port = leg.endpoint.port();
                probing.is_some_and(|probing| probing.tokens.iter().any(|(tried, _)| *tried == port))
            }
        }
    }
}

/// How often something is sent again over the relay, where a round trip is so long.
pub(crate) fn again_within(rtt: Option<Duration>) -> Schedule {
    let first = rtt.map_or(Duration::from_millis(400), |rtt| {
        (rtt * 3 / 2).clamp(Duration::from_millis(100), Duration::from_millis(600))
    });
    Schedule {
        first,
        steady: 4,
        longest: Duration::from_secs(5),
    }
}

impl Peer {
    /// The supernode over which it is reached and where it is registered itself.
    fn common_supernode(&self) -> Option<PeerId> {
        match self.path {
            Some(Path::Relay {
                supernode,
                target: RelayTarget::Index(_) | RelayTarget::Node(_),
            }) => Some(supernode),
            _ => None,
        }
    }
}

impl Engine {
    /// Begins a search with a peer if nothing else will do, and it is this end's turn to.
    pub(crate) fn consider_search(&mut self, now: Time, id: PeerId, wanted: bool, out: &mut Outbox) {
        let own = self.behaviour();
        let ipv6 = self
            .traversal
            .local()
            .iter()
            .any(|own| own.is_ipv6() && is_global(own.ip()));
        let Some(peer) = self.peers.get_mut(id) else { return };
        let others = peer.exchange.has_other_ways(ipv6);
        let fruitless = peer.exchange.fruitless();
        let theirs = peer.exchange.their_behaviour();
        let (common, rtt, settled) = (peer.common_supernode(), peer.rtt, peer.direct.active().is_some());
        let node = peer.key.node_id();
        let history = &mut peer.exchange.searches;
        if history.consider.take_if(|at| *at <= now).is_none() || !wanted || settled {
            return;
        }
        let Some(theirs) = theirs else { return };
        let plan = plan(&own, &theirs, fruitless, history.mispredicted);
        let Plan::Search {
            technique,
            hard: true,
            at_once,
        } = plan
        else {
            return;
        };
        if technique.is_alike() && self.node_id > node {
            return;
        }
        // Whatever else there is may do as well, and costs less.
        let first = history.tried + OTHERS_FIRST + rtt.unwrap_or_default();
        let first = Some(first).filter(|_| others || !at_once).max(history.not_before);
        if first.is_some_and(|first| first > now) {
            history.consider = first;
        } else if let (Some(supernode), None) = (common, &self.searches.current) {
            let number = u32::try_from(self.random_u64() >> 32).unwrap_or_default();
            self.begin_search(now, id, (number, supernode), (technique, true, true), out);
        } else {
            history.consider = Some(now + LATER);
        }
    }

    fn begin_search(
        &mut self,
        now: Time,
        id: PeerId,
        (number, supernode): (u32, PeerId),
        (technique, hard, offering): (Technique, bool, bool),
        out: &mut Outbox,
    ) {
        debug!(peer = %self.name(id), ?technique, hard, "search");
        let rtt = self.peers.get(id).and_then(|peer| peer.rtt);
        self.searches.current = Some(Search {
            peer: id,
            number,
            supernode,
            technique,
            hard,
            offering,
            asking: Retry::due(again_within(rtt), now),
            begun: now,
            ends: now + WANTED_FOR,
            granted: None,
            theirs: None,
            look: None,
            picked: None,
            opening: None,
            telling: None,
            probing: None,
            aimed: Vec::new(),
            aims: 0,
        });
        if planted("search-without-grant")
            && let Some(named) = self
                .peers
                .get(id)
                .and_then(|peer| peer.exchange.named_addresses().next())
        {
            let (node, supernode) = (self.peers.get(id).map(|peer| peer.key.node_id()), supernode);
            if let Some(node) = node {
                self.search_granted(now, supernode, (number, &node, named.ip()), out);
            }
        }
        self.tend_search(now, out);
    }

    /// A peer wants to search.
    pub(crate) fn search_offered(
        &mut self,
        now: Time,
        id: PeerId,
        (number, supernode): (u32, &NodeId),
        technique: Technique,
        out: &mut Outbox,
    ) {
        if let Some(search) = &mut self.searches.current
            && (search.peer, search.number) == (id, number)
        {
            // Its answer was lost, or the question came twice.
            let step = Step::Yes;
            self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
            return;
        }
        let own = self.behaviour();
        let supernode = self
            .peers
            .by_node(supernode)
            .filter(|id| self.directory.is_registered_directly(*id));
        let busy = self.searches.current.is_some();
        let takes = !busy && self.accepts(now, id);
        let Some(peer) = self.peers.get(id) else { return };
        let history = &peer.exchange.searches;
        let early = history.not_before.is_some_and(|at| at > now);
        let fits = match technique {
            Technique::BothPredicted => matches!(own.ports, crate::Ports::Sequential { .. }),
            Technique::Birthday | Technique::Predicted | Technique::Either => !own.mapping.is_dependent(),
        };
        let settled = peer.direct.active().is_some();
        let step = match supernode {
            Some(supernode) if takes && fits && !early && !settled => {
                let hard = technique.is_alike();
                self.begin_search(now, id, (number, supernode), (technique, hard, false), out);
                Step::Yes
            }
            _ => Step::No,
        };
        self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
    }

    /// A peer says how it goes on.
    pub(crate) fn search_stepped(&mut self, now: Time, id: PeerId, number: u32, step: Step, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        if (search.peer, search.number) != (id, number) {
            return;
        }
        match step {
            Step::No if search.offering && search.granted.is_none() => {
                // It has another search under way, or sees no need: later.
                self.end_search(now);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.exchange.searches.consider = Some(now + LATER);
                    self.arm(id);
                }
            }
            Step::No => {}
            Step::Yes => search.offering = false,
            Step::Open | Step::OpenFrom { .. } => {
                search.theirs.get_or_insert(step);
                self.tend_search(now, out);
            }
        }
    }

    /// A supernode says where the other end is.
    pub(crate) fn search_granted(
        &mut self,
        now: Time,
        from: PeerId,
        (number, node, address): (u32, &NodeId, IpAddr),
        out: &mut Outbox,
    ) {
        let Some(search) = &self.searches.current else { return };
        let Some(peer) = self.peers.get(search.peer) else {
            return;
        };
        let is = (search.supernode, search.number, &peer.key.node_id()) == (from, number, node);
        if !is || search.granted.is_some() {
            return;
        }
        // The supernode cannot send this end's probes to somebody whom the peer did not name, nor the peer to where it is not.
        let named = peer.exchange.named_addresses().any(|named| named.ip() == address);
        let reachable = !is_private(address) || self.may_be_near(peer.exchange.theirs());
        if !named || !reachable {
            return self.fail_search(now);
        }
        if let Some(search) = &mut self.searches.current {
            search.granted = Some(address);
            search.ends = now + LONGEST;
        }
        self.counters.searches_begun += 1;
        self.tend_search(now, out);
    }

    /// A supernode says from which port it saw this end last.
    pub(crate) fn search_seen(
        &mut self,
        now: Time,
        id: PeerId,
        (token, observed): (u64, SocketAddr),
        out: &mut Outbox,
    ) {
        let stride = match self.behaviour().ports {
            crate::Ports::Sequential { stride } => i16::from(stride),
            _ => return,
        };
        let Some(search) = self.searches.current.as_mut().filter(|search| search.supernode == id) else {
            return;
        };
        if let Some((socket, ..)) = search.look.take_if(|(_, asked, _)| *asked == token) {
            self.sockets.close(socket);
            search.picked = Some((observed.port(), stride));
            self.tend_search(now, out);
        }
    }

    /// Goes on with the search under way, and gives back sockets of earlier ones that are of no use any more.
    pub(crate) fn tend_search(&mut self, now: Time, out: &mut Outbox) {
        if self.searches.sweep.is_some_and(|at| at <= now) {
            self.sweep_sockets(now);
        }
        let Some(search) = &self.searches.current else { return };
        if self.role != Role::Node {
            return;
        }
        let peer = self.peers.get(search.peer);
        let stands = peer.is_some_and(|peer| peer.sessions.current().is_some() && !peer.up.is_empty());
        let settled = peer.is_some_and(|peer| peer.direct.active().is_some());
        if !stands || settled {
            return self.end_search(now);
        }
        if search.ends <= now {
            return self.fail_search(now);
        }
        if search.granted.is_none() {
            return self.ask_for_search(now, out);
        }
        let (hard, either) = (search.hard, search.technique == Technique::Either);
        if hard {
            self.open_ports(now, out);
        }
        if !hard || either {
            self.probe_ports(now, out);
        }
    }

    fn ask_for_search(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = self
            .searches
            .current
            .as_mut()
            .filter(|search| search.asking.at() <= now)
        else {
            return;
        };
        search.asking.again(now);
        let (peer, supernode, number) = (search.peer, search.supernode, search.number);
        let (technique, offering) = (search.technique, search.offering);
        let node = |id: PeerId| self.peers.get(id).map(|peer| peer.key.node_id());
        let (Some(node), Some(of)) = (node(peer), node(supernode)) else {
            return;
        };
        if offering {
            let offer = Control::SearchOffer {
                number,
                supernode: of,
                technique,
            };
            self.send_control(now, peer, None, &[offer], out);
        }
        self.send_control(now, supernode, None, &[Control::SearchWanted { number, node }], out);
    }

    /// The hard end: finds out what port is next, opens ports, and says so.
    fn open_ports(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &self.searches.current else { return };
        if search.technique.predicts() && search.picked.is_none() {
            return self.look_for_port(now, out);
        }
        if search.technique == Technique::BothPredicted {
            self.tell_open(now, out);
        }
        if self.begin_opening(now) {
            self.open_on(now, out);
        }
        let Some(search) = &self.searches.current else { return };
        let open = search.opening.as_ref().is_some_and(|opening| opening.open.is_some());
        if search.technique != Technique::BothPredicted && open {
            self.tell_open(now, out);
        } else if search.aim_at().is_some_and(|at| at <= now) {
            self.aim_on(now, out);
        }
    }

    /// Asks the supernode from which port it sees a socket that is new.
    fn look_for_port(&mut self, now: Time, out: &mut Outbox) {
        let token = self.random_u64();
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let supernode = search.supernode;
        let Some(Path::Direct(way)) = self.peers.get(supernode).and_then(|peer| peer.path) else {
            return;
        };
        let rtt = self.peers.get(supernode).and_then(|peer| peer.rtt);
        if search.look.is_none() {
            let Some(socket) = self.sockets.open(Purpose::Search) else {
                return;
            };
            search.look = Some((socket, token, Retry::due(again_within(rtt), now)));
        }
        let Some((socket, token, retry)) = search.look.as_mut().filter(|(.., retry)| retry.at() <= now) else {
            return;
        };
        retry.again(now);
        let leg = Leg {
            socket: *socket,
            endpoint: way.endpoint,
        };
        let look = Control::Look {
            token: *token,
            flags: 0,
        };
        self.send_along(
            now,
            supernode,
            (Path::Direct(leg), None),
            Content::Control(&[look]),
            out,
        );
    }

    /// Chooses the sockets and the endpoint that they open towards, once all is known. Whether there are any.
    fn begin_opening(&mut self, now: Time) -> bool {
        let Some(search) = &mut self.searches.current else {
            return false;
        };
        if search.opening.is_some() {
            return true;
        }
        let (Some(address), Some(peer)) = (search.granted, self.peers.get(search.peer)) else {
            return false;
        };
        let towards = match (search.technique, search.theirs) {
            (Technique::BothPredicted, Some(Step::OpenFrom { port, stride })) => {
                aim(port, stride).map(|port| SocketAddr::new(address, port))
            }
            (Technique::BothPredicted, _) => None,
            _ => peer.exchange.named_addresses().find(|named| named.ip() == address),
        };
        let Some(towards) = towards else { return false };
        let count = if search.technique.predicts() {
            PREDICTED_SOCKETS
        } else {
            BIRTHDAY_SOCKETS
        };
        let sockets = (0..count).map_while(|_| self.sockets.open(Purpose::Search)).collect();
        search.opening = Some(Opening {
            towards,
            sockets,
            done: 0,
            next: now,
            open: None,
        });
        true
    }

    /// Opens some more ports. What is sent for that dies on the way, so that the other end's NAT does not see it.
    fn open_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(opening) = search
            .opening
            .as_mut()
            .filter(|opening| !opening.is_over() && opening.next <= now)
        else {
            return;
        };
        let count = opening.sockets.len();
        let first = opening.done % count.max(1);
        let some: Vec<Socket> = opening
            .sockets
            .iter()
            .skip(first)
            .take(SLICE_OPENINGS)
            .copied()
            .collect();
        opening.done += some.len();
        opening.next = now + SLICE;
        if opening.done == count {
            opening.open = Some(now);
            opening.next = now + OPEN_AGAIN;
        }
        let (peer, towards) = (search.peer, opening.towards);
        let ttl = Some(OPENING_TTL).filter(|_| !planted("search-early-full-ttl"));
        for socket in some {
            let token = self.random_u64();
            let leg = Leg {
                socket,
                endpoint: towards,
            };
            self.probe(now, peer, (leg, ttl), token, out);
        }
    }

    /// Tells the other end that the ports are open, or which will be, until something comes from it.
    fn tell_open(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(peer) = self.peers.get(search.peer) else {
            return;
        };
        // What it answers to probes must arrive.
        let predicted = search.technique == Technique::BothPredicted;
        let opening_ends = peer.direct.opening_ends().filter(|_| !predicted);
        let both =
            predicted && search.theirs.is_some() && search.telling.as_ref().is_some_and(|retry| retry.sent() > 2);
        if both {
            search.telling = None;
            return;
        }
        let rtt = peer.rtt;
        let retry = search.telling.get_or_insert_with(|| {
            let at = opening_ends.map_or(now, |ends| ends.max(now));
            Retry::due(again_within(rtt), at)
        });
        if retry.at() > now {
            return;
        }
        retry.again(now);
        let (id, number) = (search.peer, search.number);
        let step = match search.picked {
            Some((port, stride)) => Step::OpenFrom { port, stride },
            None => Step::Open,
        };
        self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
        self.end_in_time(now);
    }

    /// Sets when this search is over at the latest, now that the other end can begin.
    fn end_in_time(&mut self, now: Time) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let rtt = self
            .peers
            .get(search.peer)
            .and_then(|peer| peer.rtt)
            .unwrap_or(OPENING_MAX);
        let probes = Duration::from_secs(1) * MOST_PROBES / PROBE_RATE;
        let rest = match search.technique {
            Technique::Birthday | Technique::Either => probes,
            Technique::Predicted => OPENING_MAX,
            Technique::BothPredicted => Duration::from_secs(2),
        };
        let latest = search.begun + WANTED_FOR + LONGEST;
        search.ends = (now + rest + LAST_ANSWER + 2 * rtt).min(latest);
    }

    /// Both ends are predicted, and both have opened: what is sent now arrives, if both have picked what was expected.
    fn aim_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(opening) = &search.opening else { return };
        search.aims += 1;
        let (peer, towards, sockets) = (search.peer, opening.towards, opening.sockets.clone());
        for socket in sockets {
            let token = self.random_u64();
            if let Some(search) = &mut self.searches.current {
                search.aimed.push((socket, token));
            }
            let leg = Leg {
                socket,
                endpoint: towards,
            };
            self.counters.search_probes += 1;
            self.probe(now, peer, (leg, None), token, out);
        }
    }

    /// The easy end: tries ports, once the other end's are open.
    fn probe_ports(&mut self, now: Time, out: &mut Outbox) {
        let random = self.random_u64();
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let (Some(address), Some(theirs), Some(peer)) = (search.granted, search.theirs, self.peers.get(search.peer))
        else {
            return;
        };
        if search.probing.is_none() {
            let ports = match theirs {
                Step::OpenFrom { port, stride } => Ports::These(likely(port, stride)),
                _ => Ports::Any(PortOrder::new(random)),
            };
            let most = match &ports {
                Ports::Any(_) => MOST_PROBES,
                Ports::These(ports) => LIKELY_TRIES * u32::try_from(ports.len()).unwrap_or_default(),
            };
            // Everything of this end arrives only from then on.
            let since = peer.direct.opening_ends().map_or(now, |ends| ends.max(now));
            search.probing = Some(Probing {
                address,
                ports,
                since,
                sent: 0,
                most,
                next: since,
                tokens: Vec::with_capacity(usize::try_from(most).unwrap_or_default()),
            });
            self.end_in_time(now);
        }
        self.probe_on(now, out);
    }

    fn probe_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(probing) = search.probing.as_mut().filter(|probing| probing.next <= now) else {
            return;
        };
        let elapsed = u32::try_from((now + SLICE).since(probing.since).as_millis()).unwrap_or(u32::MAX);
        let due = (elapsed.saturating_mul(PROBE_RATE) / 1000).min(probing.most);
        let count = due.saturating_sub(probing.sent).min(SLICE_PROBES);
        let (peer, address) = (search.peer, probing.address);
        let ports: Vec<u16> = (probing.sent..probing.sent + count)
            .filter_map(|position| match &probing.ports {
                Ports::Any(order) => Some(order.port(position)),
                Ports::These(ports) => ports.get(usize::try_from(position).ok()? % ports.len().max(1)).copied(),
            })
            .collect();
        probing.sent += count;
        probing.next = now + SLICE;
        for port in ports {
            let token = self.random_u64();
            if let Some(probing) = self
                .searches
                .current
                .as_mut()
                .and_then(|search| search.probing.as_mut())
            {
                probing.tokens.push((port, token));
            }
            self.counters.search_probes += 1;
            let leg = Leg::from(SocketAddr::new(address, port));
            self.probe(now, peer, (leg, None), token, out);
        }
    }

    fn probe(&mut self, now: Time, id: PeerId, (leg, ttl): (Leg, Option<u8>), token: u64, out: &mut Outbox) {
        let content = Content::Control(&[Control::PathChallenge { token }]);
        self.send_along(now, id, (Path::Direct(leg), ttl), content, out);
    }

    /// Whether a response answers a probe of the search that went to where it comes from.
    pub(crate) fn is_probe_answered(&self, id: PeerId, leg: Leg, token: u64) -> bool {
        let Some(search) = self.searches.current.as_ref().filter(|search| search.peer == id) else {
            return false;
        };
        let aimed_at = search.opening.as_ref().map(|opening| opening.towards);
        let aimed = aimed_at == Some(leg.endpoint) && search.aimed.contains(&(leg.socket, token));
        let probed = search.probing.as_ref().is_some_and(|probing| {
            let port = leg.endpoint.port();
            leg.socket == Socket::Main && leg.ip() == probing.address && probing.tokens.contains(&(port, token))
        });
        aimed || probed
    }

    /// By what technique a path that works now was found, if it was searched.
    pub(crate) fn found_by(&mut self, id: PeerId, leg: Leg) -> Option<&'static str> {
        let search = self.searches.current.as_ref()?;
        if search.peer != id || !search.tries(leg) {
            return None;
        }
        Some(match search.technique {
            Technique::Birthday | Technique::Either => {
                self.counters.searches_found += 1;
                "found by search"
            }
            Technique::Predicted | Technique::BothPredicted => {
                self.counters.ports_predicted += 1;
                "port predicted"
            }
        })
    }

    fn fail_search(&mut self, now: Time) {
        let Some(search) = &self.searches.current else { return };
        let (id, technique) = (search.peer, search.technique);
        debug!(peer = %self.name(id), ?technique, "the search found nothing");
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exchange.searches.failed(now, technique);
        }
        self.end_search(now);
        self.arm(id);
    }

    /// Ends the search, and gives its sockets back but for those that something came by.
    pub(crate) fn end_search(&mut self, now: Time) {
        let Some(search) = self.searches.current.take() else {
            return;
        };
        let used = self.sockets_of_paths();
        for socket in &used {
            self.sockets.keep_for(*socket, Purpose::Path);
        }
        self.sockets.close_all(Purpose::Search, |_| false);
        if self.sockets.count(Purpose::Path) > 0 {
            self.searches.sweep.get_or_insert(now + SWEEP);
        }
        if let Some(peer) = self.peers.get_mut(search.peer)
            && peer.direct.active().is_some()
        {
            peer.exchange.searches.begin_anew();
        }
    }

    fn sockets_of_paths(&self) -> Vec<Socket> {
        self.peers.iter().flat_map(|(_, peer)| peer.direct.sockets()).collect()
    }

    fn sweep_sockets(&mut self, now: Time) {
        let used = self.sockets_of_paths();
        self.sockets.close_all(Purpose::Path, |socket| used.contains(&socket));
        self.searches.sweep = (self.sockets.count(Purpose::Path) > 0).then(|| now + SWEEP);
    }
}
