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

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{NodeId, defects::planted};
use tracing::debug;

use self::trying::{Opening, Probing};
use crate::{
    Engine, Leg, Mapping, Outbox, Role, Socket, Time,
    direct::AGAIN,
    peers::{Path, Peer, PeerId},
    prediction::{Plan, Start, Technique, plan},
    ranges::is_global,
    rates::{Meter, Rate},
    retry::{Retry, Schedule},
    sockets::Purpose,
    wire::{
        control::{Control, Step},
        datagram::RelayTarget,
    },
};

mod trying;

#[cfg(test)]
pub(crate) use self::trying::MOST_PROBES;

/// A search that both did not want by then is over.
const WANTED_FOR: Duration = Duration::from_secs(3);

/// What both did is over so long after the last probe, and two round trips.
const LAST_ANSWER: Duration = Duration::from_millis(700);

/// A search lasts no longer than this, whatever it waits for.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses after a peer said no, in milliseconds; the last is repeated. One may be busy twice. `aims` says how long an
/// address is left alone where a search found nothing.
const PAUSES: [u64; 6] = [400, 400, 1000, 3000, 10_000, 60_000];

/// A search that failed counts at least as so many times no, and once more.
const FAILED_AFTER: usize = 2;

/// The two ends do not see a failure at the same time: so much earlier than the pause is over the other one may offer.
const SLACK: Duration = Duration::from_millis(500);

/// Searches of a node that may find nothing, whoever they were for.
const FRUITLESS: Rate = Rate {
    count: 10,
    within: Duration::from_secs(60),
    burst: Duration::from_secs(60),
};

/// While another search goes on, or no supernode is common to both, this one waits.
const LATER: Duration = Duration::from_millis(400);

/// Other candidates have so long before a search begins that may not be needed, and a round trip.
const OTHERS_FIRST: Duration = Duration::from_millis(450);

/// What an end is about to find out of its own NAT has so long, and a round trip: one run with a few answers lost.
const TOLD_FIRST: Duration = Duration::from_secs(2);

/// What was tried for so long is tried in vain: what is not known may be the worst.
const IN_VAIN: Duration = Duration::from_secs(8);

/// And after so long that counts as a first try again.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Sockets that no path uses any more are looked for this often.
const SWEEP: Duration = Duration::from_secs(10);

/// The search under way, if there is one, and the sockets that earlier ones left.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    current: Option<Search>,
    sweep: Option<Time>,
    /// Those that found nothing lately.
    fruitless: Meter,
    /// Something came that may carry the search on. That waits for the timers, so that what a batch brings is drawn
    /// from in one order, whatever else came in between.
    wake: bool,
}

/// What became of the searches with one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SearchHistory {
    /// How often the other end said no, and how often a search failed; whether one did.
    setbacks: usize,
    failed: bool,
    not_before: Option<Time>,
    /// When to look whether a search is needed.
    consider: Option<Time>,
    /// When its candidates began to be tried, and since when they are.
    tried: Option<Time>,
    since: Option<Time>,
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
    /// Where the other end is, as the supernode says; and the same once the other end has named that address, too.
    told: Option<IpAddr>,
    granted: Option<IpAddr>,
    /// What the other end said of its ports.
    theirs: Option<Step>,
    /// The port that this end's NAT picked last.
    look: Option<(Socket, u64, Retry)>,
    picked: Option<(u16, i16)>,
    opening: Option<Opening>,
    telling: Option<Retry>,
    told_open: bool,
    probing: Option<Probing>,
    /// What was sent so that it arrives, and by which socket, where both ends are predicted.
    aimed: Vec<(Socket, u64)>,
    aims: usize,
}

impl Searches {
    /// Something came that may carry the search on.
    pub(crate) fn wake(&mut self) {
        self.wake = self.current.is_some();
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.wake {
            return Some(Time::ZERO);
        }
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

impl Search {
    /// Where it sent anything to.
    fn aimed_at(&self) -> Option<IpAddr> {
        let sent = self.opening.is_some() || self.probing.as_ref().is_some_and(|probing| probing.sent > 0);
        self.granted.filter(|_| sent)
    }
}

impl Searches {
    /// Whether the search under way is for a peer.
    pub(crate) fn is_for(&self, peer: PeerId) -> bool {
        self.current.as_ref().is_some_and(|search| search.peer == peer)
    }

    /// Whether this end is the one that tries ports of a peer.
    pub(crate) fn probes(&self, peer: PeerId) -> bool {
        self.current
            .as_ref()
            .is_some_and(|search| search.peer == peer && !search.hard)
    }
}

impl SearchHistory {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.consider
    }

    /// Whether one was made, and found nothing.
    pub(crate) fn found_nothing(&self) -> bool {
        self.failed
    }

    #[cfg(test)]
    pub(crate) fn setbacks(&self) -> usize {
        self.setbacks
    }

    /// The other end's candidates came, and are tried: `elsewhere` if they are others than before. Whatever they are, that
    /// shortens no pause: it is the word of a peer.
    pub(crate) fn candidates_came(&mut self, now: Time, elsewhere: bool) {
        if elsewhere || self.tried.is_none_or(|tried| now.since(tried) >= AGAIN) {
            self.tried = Some(now);
        }
        if self.since.is_none_or(|since| now.since(since) >= FORGOTTEN) {
            self.since = Some(now);
        }
        self.consider = Some(now);
    }

    /// A way was found.
    pub(crate) fn found(&mut self) {
        *self = Self::default();
    }

    /// What this end is like has changed.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self {
            tried: self.tried,
            since: self.since,
            consider: self.consider,
            ..Self::default()
        };
    }

    /// More is known of this end's NAT: a search may help that seemed not to, or needs no waiting any more. The other end need
    /// not answer what it is told of that, so this does not wait for its candidates. No pause is shortened.
    pub(crate) fn reconsider(&mut self, now: Time) {
        self.consider = self.tried.map(|_| now);
    }

    fn is_due(&self, now: Time) -> bool {
        self.consider.is_some_and(|at| at <= now)
    }

    /// The other end has another search under way, sees no need, or cannot: later.
    fn refused(&mut self, now: Time) {
        let pause = PAUSES.get(self.setbacks).or(PAUSES.last());
        self.not_before = Some(now + Duration::from_millis(pause.copied().unwrap_or_default()));
        self.setbacks += 1;
        self.consider = self.not_before;
    }

    fn failed(&mut self, now: Time) {
        self.setbacks = self.setbacks.max(FAILED_AFTER);
        self.failed = true;
        self.refused(now);
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
    pub(crate) fn consider_search(&mut self, now: Time, id: PeerId, wanted: bool) {
        let due = |peer: &Peer| peer.exchange.searches.is_due(now);
        if !self.peers.get(id).is_some_and(due) {
            return;
        }
        let own = self.behaviour();
        let finding_out = own.mapping == Mapping::Unknown && self.detection.asks_mapping();
        let ipv6 = self
            .traversal
            .local()
            .iter()
            .any(|own| own.is_ipv6() && is_global(own.ip()));
        let mispredicted = self.is_mispredicted(id);
        let pause = self.search_pause(id);
        let spent = self.searches.fruitless.is_spent(now, &FRUITLESS);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let others = peer.exchange.has_other_ways(ipv6);
        let theirs = peer.exchange.their_behaviour();
        let (common, rtt, settled) = (peer.common_supernode(), peer.rtt, peer.direct.active().is_some());
        let node = peer.key.node_id();
        let history = &mut peer.exchange.searches;
        history.consider = None;
        if !wanted || settled {
            return;
        }
        let Some(theirs) = theirs else { return };
        let vain_at = history.since.map(|since| since + IN_VAIN);
        let in_vain = vain_at.is_some_and(|at| at <= now);
        let plan = plan(&own, &theirs, in_vain, mispredicted);
        let Plan::Search {
            technique,
            hard: true,
            start,
        } = plan
        else {
            history.consider = vain_at.filter(|_| !in_vain);
            return;
        };
        let tried = history.tried.unwrap_or(now);
        let after = |patience: Duration| Some(tried + patience + rtt.unwrap_or_default());
        let first = match start {
            Start::WhenTold => after(TOLD_FIRST),
            _ if finding_out && !in_vain => after(TOLD_FIRST),
            // Whatever else there is may do as well, and costs less.
            Start::AtOnce if !others => None,
            Start::AtOnce | Start::AfterOthers => after(OTHERS_FIRST),
        };
        let mut first = first.max(pause);
        if technique.is_alike() && self.node_id > node {
            // The other end's turn first, as far as it sees the same.
            first = first.max(Some(tried + IN_VAIN / 2));
        }
        if first.is_some_and(|first| first > now) {
            history.consider = first;
        } else if let (Some(supernode), None, false) = (common, &self.searches.current, spent) {
            let number = u32::try_from(self.random_u64() >> 32).unwrap_or_default();
            self.begin_search(now, id, (number, supernode), (technique, true, true));
        } else {
            history.consider = Some(now + LATER);
        }
    }

    /// When a search with a peer may begin, after others with it or at the addresses that it names.
    pub(crate) fn search_pause(&self, id: PeerId) -> Option<Time> {
        let exchange = &self.peers.get(id)?.exchange;
        let addresses = exchange.named_addresses();
        let at_addresses = addresses.filter_map(|named| self.traversal.aims.search_not_before(named.ip()));
        at_addresses.max().max(exchange.searches.not_before)
    }

    fn is_mispredicted(&self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let mut addresses = peer.exchange.named_addresses();
        addresses.any(|named| self.traversal.aims.is_mispredicted(named.ip()))
    }

    fn begin_search(
        &mut self,
        now: Time,
        id: PeerId,
        (number, supernode): (u32, PeerId),
        (technique, hard, offering): (Technique, bool, bool),
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
            told: None,
            granted: None,
            theirs: None,
            look: None,
            picked: None,
            opening: None,
            telling: None,
            told_open: false,
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
                self.search_granted(supernode, (number, &node, named.ip()));
            }
        }
        self.searches.wake();
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
        let telling = |peer: &Peer| peer.exchange.is_telling_fresh();
        if !technique.is_alike() && self.peers.get(id).is_some_and(telling) {
            // It would open towards another port than this end tries from. The offer comes again.
            return;
        }
        // Both may offer at once, again and again at the same moments: the lower node id's offer stands.
        let theirs_first = self.peers.get(id).is_some_and(|peer| peer.key.node_id() < self.node_id);
        let crossed = |search: &Search| search.peer == id && search.offering && technique.is_alike();
        if theirs_first && self.searches.current.as_ref().is_some_and(crossed) {
            self.end_search(now);
        }
        let own = self.behaviour();
        let supernode = self
            .peers
            .by_node(supernode)
            .filter(|id| self.directory.is_registered_directly(*id));
        let busy = self.searches.current.is_some();
        let takes = !busy && self.accepts(now, id);
        let spent = self.searches.fruitless.is_spent(now, &FRUITLESS);
        let early = spent || self.search_pause(id).is_some_and(|at| at > now + SLACK);
        let Some(peer) = self.peers.get(id) else { return };
        let fits = match technique {
            Technique::BothPredicted => matches!(own.ports, crate::Ports::Sequential { .. }),
            Technique::Birthday | Technique::Predicted | Technique::Either => !own.mapping.is_dependent(),
        };
        let settled = peer.direct.active().is_some();
        let step = match supernode {
            Some(supernode) if takes && fits && !early && !settled => {
                let hard = technique.is_alike();
                self.begin_search(now, id, (number, supernode), (technique, hard, false));
                Step::Yes
            }
            _ => Step::No,
        };
        self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
    }

    /// A peer says how it goes on.
    pub(crate) fn search_stepped(&mut self, now: Time, id: PeerId, number: u32, step: Step) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        if (search.peer, search.number) != (id, number) {
            return;
        }
        match step {
            Step::No if search.theirs.is_none() => {
                let opened = search.opening.is_some();
                self.end_search(now);
                if let Some(peer) = self.peers.get_mut(id) {
                    let history = &mut peer.exchange.searches;
                    if opened {
                        history.failed(now)
                    } else {
                        history.refused(now)
                    }
                    self.arm(id);
                }
            }
            Step::No => {}
            Step::Yes if search.offering => {
                // Only now is it worth a question to the supernode.
                search.offering = false;
                let rtt = self.peers.get(id).and_then(|peer| peer.rtt);
                search.asking = Retry::due(again_within(rtt), now);
                self.searches.wake();
            }
            Step::Yes => {}
            Step::Open | Step::OpenFrom { .. } => {
                search.theirs.get_or_insert(step);
                self.searches.wake();
            }
        }
    }

    /// A supernode says where the other end is.
    pub(crate) fn search_granted(&mut self, from: PeerId, (number, node, address): (u32, &NodeId, IpAddr)) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(peer) = self.peers.get(search.peer) else {
            return;
        };
        if (search.supernode, search.number, &peer.key.node_id()) == (from, number, node) {
            search.told.get_or_insert(address);
            self.searches.wake();
        }
    }

    /// Takes what the supernode said, if the other end says the same. So the supernode cannot send this end's probes to
    /// somebody whom the peer did not name, nor the peer to where it is not. Both together can; that ends soon, for it is
    /// counted by the address. Returns whether nothing is to be sent there.
    fn take_grant(&mut self, now: Time) -> bool {
        let Some(search) = &self.searches.current else {
            return false;
        };
        let Some(peer) = self.peers.get(search.peer) else {
            return false;
        };
        let named = |address: &IpAddr| {
            peer.exchange.named_addresses().any(|named| named.ip() == *address) || planted("search-by-grant-alone")
        };
        let reachable = |address: &IpAddr| self.may_aim(peer, *address);
        let Some(address) = search.told.filter(|address| named(address) && reachable(address)) else {
            return false;
        };
        if !self.traversal.aims.may_search(now, address) {
            return true;
        }
        if let Some(search) = &mut self.searches.current {
            search.granted = Some(address);
            search.ends = now + LONGEST;
            self.counters.searches_begun += 1;
        }
        false
    }

    /// A supernode says from which port it saw this end last.
    pub(crate) fn search_seen(&mut self, id: PeerId, (token, observed): (u64, SocketAddr)) {
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
            self.searches.wake();
        }
    }

    /// Goes on with the search under way, and gives back sockets of earlier ones that are of no use any more.
    pub(crate) fn tend_search(&mut self, now: Time, out: &mut Outbox) {
        self.searches.wake = false;
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
            return self.fail_search(now, out);
        }
        if search.granted.is_none() && self.take_grant(now) {
            return self.fail_search(now, out);
        }
        let Some(search) = &self.searches.current else { return };
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
        } else {
            self.send_control(now, supernode, None, &[Control::SearchWanted { number, node }], out);
        }
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
            leg.socket == probing.socket && leg.ip() == probing.address && probing.tokens.contains(&(port, token))
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

    fn fail_search(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &self.searches.current else { return };
        let (id, technique) = (search.peer, search.technique);
        let probed = !search.hard && search.probing.is_some();
        if search.opening.is_none() {
            // The other end need not wait for what will not come: who has tried all ports knows first.
            let (number, step) = (search.number, Step::No);
            self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
        }
        debug!(peer = %self.name(id), ?technique, "the search found nothing");
        if let Some(peer) = self.peers.get_mut(id) {
            peer.exchange.searches.failed(now);
        }
        self.end_search(now);
        if probed {
            self.plan_fresh_for_search(now, id);
        }
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
        // However it ended, and whatever ways there are elsewhere: what was sent there counts.
        let what = (search.begun, search.technique == Technique::Predicted);
        if let Some(address) = search.aimed_at()
            && self.traversal.aims.search_ended(now, address, what)
        {
            self.searches.fruitless.owe(now, &FRUITLESS);
        }
        if self.sockets.count(Purpose::Path) > 0 {
            self.sweep_soon(now);
        }
        if let Some(peer) = self.peers.get_mut(search.peer)
            && peer.direct.active().is_some()
        {
            peer.exchange.searches.found();
        }
    }

    fn sockets_of_paths(&self) -> Vec<Socket> {
        let of_peer =
            |(_, peer): (PeerId, &'_ Peer)| peer.direct.sockets().chain(peer.exchange.fresh.socket()).collect();
        self.peers.iter().flat_map::<Vec<Socket>, _>(of_peer).collect()
    }

    /// Has sockets of paths closed when no path uses them any more.
    pub(crate) fn sweep_soon(&mut self, now: Time) {
        self.searches.sweep.get_or_insert(now + SWEEP);
    }

    fn sweep_sockets(&mut self, now: Time) {
        let used = self.sockets_of_paths();
        self.sockets.close_all(Purpose::Path, |socket| used.contains(&socket));
        self.searches.sweep = (self.sockets.count(Purpose::Path) > 0).then(|| now + SWEEP);
    }
}
