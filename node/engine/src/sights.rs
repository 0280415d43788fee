//! Where supernodes see this node by the family that it does not speak with them.
//!
//! A node is registered by one of a supernode's addresses. Where both have IPv4 and IPv6, the other family has mappings and
//! filters of its own, and a peer may have nothing else: so the supernode is asked (`look`) by an address of that family,
//! too, from the main socket. What it answers is one more endpoint of this node, and its keep-alive keeps the mapping.
//!
//! None of that moves a registration or shows that one lives. As long as no peer is in use nothing is sent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::defects::planted;
use tracing::debug;

use crate::{
    Engine, Leg, Outbox, Role, Socket, Time,
    content::Content,
    direct::Use,
    handshakes::Via,
    keepalive::Kept,
    peers::{Path, PeerId},
    ranges::is_global,
    retry::{Retry, Schedule},
    wire::control::{Control, WITH_SHOW},
};

/// How a look is sent again, and how often it is sent: where a fifth is lost each way, five in vain are six in a thousand. The
/// last has waited 4.5 s then, which is less than whoever looks around waits.
const LOOK: Schedule = Schedule {
    first: Duration::from_millis(500),
    steady: 3,
    longest: Duration::from_secs(2),
};
const TRIES: u32 = 5;

/// After a look in vain there is none for so long, twice as long after each one more: many networks have addresses of a
/// family that lead nowhere.
const VAIN_PAUSE: Duration = Duration::from_secs(50);
const VAIN_DOUBLINGS: u32 = 4;

/// Where this node may be seen elsewhere it is asked sooner, but not more often than this.
const VAIN_AGAIN: Duration = Duration::from_secs(20);

/// As often as this peers may raise that doubt.
const DOUBTED_BY_PEERS: Duration = Duration::from_secs(5);

/// An answer that has come since then says where this node is.
const JUST_NOW: Duration = Duration::from_secs(1);

/// What supernodes are asked by the other family.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    by: BTreeMap<PeerId, Sight>,
    /// The ways to supernodes, or the own addresses, may be others.
    review: bool,
    wanted: Wanted,
    /// When a peer last raised doubt.
    doubted: Option<Time>,
}

/// What somebody wants to know. That waits for the timers, like all that draws random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    #[default]
    Nothing,
    /// Where this node is seen, if the mapping may be gone.
    Kept,
    /// The same, whatever was seen before this moment.
    Now,
    /// The same, and what did not answer before may do so now.
    Anew,
}

/// One supernode by the other family.
#[derive(Debug)]
struct Sight {
    /// The address that is asked.
    at: SocketAddr,
    /// Whether it was asked at all.
    looked: bool,
    /// The look under way.
    asking: Option<(u64, Retry)>,
    /// When an answer last came.
    answered: Option<Time>,
    /// When the next look is due, if anybody needs it then; none where nothing keeps this one.
    next: Option<Time>,
    /// How long the NAT keeps the mapping.
    kept: Kept,
    /// Looks in vain since the last answer, and when the last one was given up.
    vain: u32,
    given_up: Time,
    /// Whether an answer came that has not been shown to have come yet.
    owes_show: bool,
}

impl Sight {
    fn new(at: SocketAddr, now: Time) -> Self {
        Self {
            at,
            looked: false,
            asking: None,
            answered: None,
            next: Some(now),
            kept: Kept::default(),
            vain: 0,
            given_up: now,
            owes_show: false,
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.asking.as_ref().map(|(_, retry)| retry.at()).or(self.next)
    }

    /// Whether the last answer is as old as a mapping may become.
    fn is_stale(&self, now: Time) -> bool {
        let kept = self.kept.interval(now);
        self.vain == 0 && self.answered.is_none_or(|at| now.since(at) >= kept)
    }

    fn is_wanted(&self, now: Time, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Nothing => false,
            // The pause after a look in vain is kept: it ended while nobody needed an answer.
            Wanted::Kept => self.is_stale(now) || (self.vain > 0 && self.next.is_none()),
            Wanted::Now if self.vain > 0 => now.since(self.given_up) >= VAIN_AGAIN,
            Wanted::Now => self.answered.is_none_or(|at| now.since(at) >= JUST_NOW),
            Wanted::Anew => true,
        }
    }
}

impl Sights {
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.review || self.wanted != Wanted::Nothing {
            return Some(Time::ZERO);
        }
        self.by.values().filter_map(Sight::deadline).min()
    }

    /// A peer is used, or sought: the mappings are to be there.
    pub(crate) fn keep(&mut self) {
        self.want(Wanted::Kept);
    }

    /// This node may be seen elsewhere now.
    pub(crate) fn doubt(&mut self) {
        self.want(Wanted::Now);
    }

    /// A peer says that it hears nothing straight of this node, which may be why.
    pub(crate) fn doubt_by_peer(&mut self, now: Time) {
        if self.doubted.is_none_or(|at| now.since(at) >= DOUBTED_BY_PEERS) {
            self.doubted = Some(now);
            self.doubt();
        }
    }

    /// This node is elsewhere, or somebody wants everything found out.
    pub(crate) fn ask_anew(&mut self) {
        self.review = true;
        self.want(Wanted::Anew);
    }

    fn want(&mut self, wanted: Wanted) {
        if !self.by.is_empty() {
            self.wanted = self.wanted.max(wanted);
        }
    }

    /// Whether a supernode is being asked.
    pub(crate) fn is_under_way(&self) -> bool {
        self.wanted == Wanted::Anew || self.by.values().any(|sight| sight.asking.is_some())
    }
}

impl Engine {
    /// The address of a supernode by which it sees this node's sockets in a family.
    pub(crate) fn way_of_family(&self, supernode: PeerId, ipv6: bool) -> Option<SocketAddr> {
        let Some(Path::Direct(leg)) = self.peers.get(supernode)?.path else {
            return None;
        };
        if leg.socket != Socket::Main {
            return None;
        }
        if leg.is_ipv6() == ipv6 {
            return Some(leg.endpoint);
        }
        let sight = self.sights.by.get(&supernode)?;
        self.traversal.observed_by(supernode, ipv6)?;
        (sight.at.is_ipv6() == ipv6).then_some(sight.at)
    }

    /// Whether a datagram came from a supernode by the family that is not in use with it.
    pub(crate) fn came_by_other_family(&self, supernode: PeerId, via: Via) -> bool {
        let (Via::Direct(leg), Some(peer)) = (via, self.peers.get(supernode)) else {
            return false;
        };
        let other = matches!(peer.path, Some(Path::Direct(used)) if used.is_ipv6() != leg.is_ipv6());
        other && leg.socket == Socket::Main && self.sights.by.contains_key(&supernode)
    }

    /// The way to a supernode, or its addresses, may be others: whether it is to be asked by another family is looked at anew.
    pub(crate) fn review_sights_of(&mut self, supernode: PeerId) {
        let registration = self.directory.registrations.get(&supernode);
        let ipv6 = |ipv6: bool| move |at: &SocketAddr| at.is_ipv6() == ipv6;
        let has = |family| registration.is_some_and(|registration| registration.addresses.iter().any(ipv6(family)));
        self.sights.review |= (has(false) && has(true)) || self.sights.by.contains_key(&supernode);
    }

    /// Looks by other families, as far as it is time.
    pub(crate) fn tend_sights(&mut self, now: Time, out: &mut Outbox) {
        if self.sights.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.role != Role::Node {
            self.sights = Sights::default();
            return;
        }
        if std::mem::take(&mut self.sights.review) {
            self.review_sights(now);
        }
        let wanted = std::mem::take(&mut self.sights.wanted);
        for sight in self.sights.by.values_mut() {
            if wanted == Wanted::Anew {
                (sight.vain, sight.asking) = (0, None);
            }
            if sight.is_wanted(now, wanted) && sight.asking.is_none() {
                sight.next = Some(now);
            }
        }
        let due = |(id, sight): (&PeerId, &Sight)| sight.deadline().is_some_and(|at| at <= now).then_some(*id);
        let due: Vec<PeerId> = self.sights.by.iter().filter_map(due).collect();
        for id in due {
            self.look_by_other_family(now, id, wanted, out);
        }
    }

    /// Asks those supernodes by their other family that are reached directly, and no others.
    fn review_sights(&mut self, now: Time) {
        let homes: Vec<PeerId> = self.directory.homes().collect();
        for id in homes.iter().copied() {
            let others = self.others_of(id);
            match (others.first(), self.sights.by.get(&id)) {
                (Some(_), Some(sight)) if others.contains(&sight.at) => {}
                (Some(at), _) => {
                    self.sights.by.insert(id, Sight::new(*at, now));
                }
                (None, _) => self.seen_by_one_family(now, id),
            }
        }
        self.sights.by.retain(|id, _| homes.contains(id));
    }

    /// The addresses of a supernode of the family that is not in use with it, if this machine has addresses of it, too.
    fn others_of(&self, id: PeerId) -> Vec<SocketAddr> {
        let registration = self.directory.registrations.get(&id);
        let path = self.peers.get(id).and_then(|peer| peer.path);
        let (Some(Path::Direct(leg)), Some(registration)) = (path, registration) else {
            return Vec::new();
        };
        let ipv6 = !leg.is_ipv6();
        let has = |own: &SocketAddr| own.is_ipv6() == ipv6 && (own.is_ipv4() || is_global(own.ip()));
        if leg.socket != Socket::Main || !registration.near || !self.traversal.local().iter().any(has) {
            return Vec::new();
        }
        let others = registration.addresses.iter().filter(|at| at.is_ipv6() == ipv6);
        others.copied().collect()
    }

    /// A supernode is not asked by the other family any more.
    fn seen_by_one_family(&mut self, now: Time, id: PeerId) {
        if let Some(sight) = self.sights.by.remove(&id) {
            self.unseen_by_family(now, id, sight.at.is_ipv6());
        }
    }

    /// A supernode does not see this node in a family. Where none does, what was known of how the NAT behaves in it is void.
    fn unseen_by_family(&mut self, now: Time, id: PeerId, ipv6: bool) {
        if self.traversal.forget_family(id, ipv6) {
            self.detection.want_again(now);
        }
    }

    fn look_by_other_family(&mut self, now: Time, id: PeerId, wanted: Wanted, out: &mut Outbox) {
        let useful = wanted != Wanted::Nothing || self.is_any_peer_in_use(now);
        let begins = self.sights.by.get(&id).is_some_and(|sight| sight.asking.is_none());
        let token = if begins { self.random_u64() } else { 0 };
        let Some(sight) = self.sights.by.get_mut(&id) else {
            return;
        };
        if begins && sight.looked && !useful {
            sight.next = None;
            return;
        }
        let (token, retry) = sight.asking.get_or_insert_with(|| (token, Retry::due(LOOK, now)));
        sight.looked = true;
        if retry.sent() >= TRIES {
            return self.looked_in_vain(now, id);
        }
        retry.again(now);
        let look = Control::Look {
            token: *token,
            flags: WITH_SHOW,
        };
        let path = Path::Direct(Leg::from(sight.at));
        self.send_along(now, id, (path, None), Content::Control(&[look]), out);
    }

    /// Frames went to, or came from, a peer lately.
    fn is_any_peer_in_use(&self, now: Time) -> bool {
        let mut peers = self.peers.iter().filter(|(_, peer)| !peer.supernode);
        planted("mapping-kept-for-nobody") || peers.any(|(_, peer)| peer.use_at(now) != Use::Idle)
    }

    /// Nobody answers by the other family: this node is seen nowhere in it, and the next address may do better.
    fn looked_in_vain(&mut self, now: Time, id: PeerId) {
        let others = self.others_of(id);
        let Some(sight) = self.sights.by.get_mut(&id) else {
            return;
        };
        let ipv6 = sight.at.is_ipv6();
        sight.asking = None;
        sight.next = Some(now + VAIN_PAUSE * (1 << sight.vain.min(VAIN_DOUBLINGS)));
        sight.vain += 1;
        sight.given_up = now;
        if let Some(position) = others.iter().position(|at| *at == sight.at) {
            sight.at = *others.get(position + 1).or_else(|| others.first()).unwrap_or(&sight.at);
        }
        debug!(supernode = %self.name(id), ipv6, "not reached by the other family");
        self.unseen_by_family(now, id, ipv6);
    }

    /// A supernode says where it sees this node's main socket by the other family.
    pub(crate) fn other_family_seen(&mut self, now: Time, id: PeerId, (token, observed): (u64, SocketAddr)) {
        let own = self.traversal.local().contains(&observed);
        let Some(sight) = self.sights.by.get_mut(&id) else {
            return;
        };
        let asked = sight.asking.as_ref().is_some_and(|(asked, _)| *asked == token);
        if !asked || observed.is_ipv6() != sight.at.is_ipv6() || observed.ip().is_unspecified() {
            return;
        }
        let idle = sight
            .answered
            .filter(|_| sight.vain == 0)
            .map(|before| now.since(before));
        sight.asking = None;
        sight.answered = Some(now);
        sight.vain = 0;
        sight.owes_show = true;
        // Where nothing translates there is no mapping to keep.
        sight.next = (!own).then(|| now + sight.kept.interval(now));
        let before = self.traversal.observed_by(id, observed.is_ipv6());
        self.note_observed(now, id, observed);
        if before.is_some_and(|before| before != observed && before.ip() == observed.ip())
            && let (Some(sight), Some(idle)) = (self.sights.by.get_mut(&id), idle)
        {
            sight.kept.gone_after(now, idle);
            sight.next = Some(now + sight.kept.interval(now));
        }
    }

    /// A supernode wants it shown that this node is where a look by the other family came from: it is shown once for each answer
    /// that was asked for, to the address that was asked.
    pub(crate) fn show_other_family(&mut self, now: Time, id: PeerId, via: Via, nonce: u64, out: &mut Outbox) {
        let sight = self.sights.by.get_mut(&id);
        let asked = sight.filter(|sight| via == Via::Direct(Leg::from(sight.at)));
        if asked.is_some_and(|sight| std::mem::take(&mut sight.owes_show)) || planted("sight-shown-to-anybody") {
            let shown = [Control::Shown { nonce }];
            self.send_along(now, id, (via.path(), None), Content::Control(&shown), out);
        }
    }
}

/// A registered node's other family, as its supernode knows it.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// Whence a look came, the nonce that went there, and when.
    asked: Option<(Leg, u64, Time)>,
    /// The address that was shown, and when.
    shown: Option<(IpAddr, Time)>,
}

/// An answer counts for so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// And shows where the node is for so long, as long as a registration lives by itself.
const SHOWN_FOR: Duration = Duration::from_secs(75);

impl Aside {
    pub(crate) fn ask(&mut self, now: Time, leg: Leg, nonce: u64) {
        self.asked = Some((leg, nonce, now));
    }

    /// Whether an answer from `leg` shows that the node is there.
    pub(crate) fn answered(&mut self, now: Time, leg: Leg, nonce: u64) -> bool {
        let shows = |(there, known, at): &mut (Leg, u64, Time)| {
            *known == nonce && now.since(*at) < ANSWER_WITHIN && (*there == leg || planted("aside-shown-from-anywhere"))
        };
        let shows = self.asked.take_if(shows).is_some();
        if shows {
            self.shown = Some((leg.ip(), now));
        }
        shows
    }

    /// The address at which the node has shown to be, beside that it is registered from.
    pub(crate) fn shown(&self, now: Time) -> Option<IpAddr> {
        let shown = self.shown.filter(|(_, at)| now.since(*at) < SHOWN_FOR);
        shown.map(|(address, _)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_is_shown_by_an_answer_from_there_within_ten_seconds_and_for_a_while() {
        let [here, elsewhere] = [9, 8].map(|last| Leg::from(SocketAddr::from(([203, 0, 113, last], 9600))));
        let mut aside = Aside::default();
        assert!(!aside.answered(at(0), here, 0), "nobody asked");
        aside.ask(at(0), here, 7);
        assert!(!aside.answered(at(1), elsewhere, 7));
        assert!(!aside.answered(at(1), here, 8));
        assert!(!aside.answered(at(10), here, 7), "too late");
        assert_eq!(aside.shown(at(10)), None);
        aside.ask(at(20), here, 9);
        assert!(aside.answered(at(21), here, 9));
        assert!(!aside.answered(at(21), here, 9), "once");
        assert_eq!(aside.shown(at(95)), Some(here.ip()));
        assert_eq!(aside.shown(at(96)), None);
    }

    #[test]
    fn what_answered_is_asked_again_when_its_mapping_may_be_gone() {
        let mut sight = Sight::new(SocketAddr::from(([203, 0, 113, 9], 9600)), at(0));
        assert!(sight.is_wanted(at(0), Wanted::Kept));
        sight.answered = Some(at(1));
        assert!(!sight.is_wanted(at(25), Wanted::Kept) && sight.is_wanted(at(26), Wanted::Kept));
        assert!(!sight.is_wanted(at(1), Wanted::Now) && sight.is_wanted(at(2), Wanted::Now));
        // Where nobody answered it is for the timer, for whoever says that all is different, and after a while for whoever doubts.
        (sight.vain, sight.given_up, sight.next) = (1, at(99), Some(at(149)));
        let asked = |sight: &Sight, seconds| {
            [Wanted::Nothing, Wanted::Kept, Wanted::Now, Wanted::Anew]
                .map(|wanted| sight.is_wanted(at(seconds), wanted))
        };
        assert_eq!(asked(&sight, 118), [false, false, false, true]);
        assert_eq!(asked(&sight, 119), [false, false, true, true]);
        // Nobody needed it when its time came; somebody does now.
        sight.next = None;
        assert_eq!(asked(&sight, 200), [false, true, true, true]);
    }
}
