//! Changes of this machine's place in the underlay: its addresses, the card by which it reaches the rest of the world, and the
//! time it slept.
//!
//! What a change makes void is left at once, without waiting for silence: direct paths in a local network that this machine
//! is not in any more, and, where every address of a family is another or another card leads outside, all paths of that family.
//! Supernodes are shown the new source at once, frames go over them meanwhile, and rounds begin anew. Keys are renewed, too, so
//! that nobody sees by index or counter that the two places are one node's.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::defects::planted;
use tracing::{debug, info};

use crate::{Engine, Leg, Outbox, Time, direct::Use, peers::PeerId, ranges::is_private, wire::control::Candidate};

/// Peers used within this time before the machine slept are called when it wakes.
const USED_BEFORE: Duration = Duration::from_secs(600);

/// After this time without a sign a supernode has forgotten a registration (PROTOCOL §10).
const FORGOTTEN: Duration = Duration::from_secs(75);

/// What changed since the last turn.
#[derive(Debug, Default)]
pub(crate) struct OwnChange {
    /// Whether the own addresses were ever told.
    known: bool,
    /// Own addresses that are gone.
    gone: Vec<IpAddr>,
    /// The families in which everything from here looks different: IPv4, IPv6.
    lost: [bool; 2],
    /// The own addresses by which the rest of the world is reached.
    sources: Vec<IpAddr>,
}

impl OwnChange {
    /// The own addresses are others now; returns whether supernodes have to be shown.
    pub(crate) fn note(&mut self, before: &[SocketAddr], after: &[SocketAddr]) -> bool {
        let gone = before.iter().filter(|endpoint| !after.contains(endpoint));
        self.gone.extend(gone.map(SocketAddr::ip));
        for (family, lost) in self.lost.iter_mut().enumerate() {
            let of_family = |endpoint: &&SocketAddr| family_of(endpoint.ip()) == family;
            let had = before.iter().filter(of_family).count();
            let kept = before
                .iter()
                .filter(of_family)
                .filter(|endpoint| after.contains(endpoint))
                .count();
            *lost |= had > 0 && kept == 0;
        }
        std::mem::replace(&mut self.known, true)
    }
}

fn family_of(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Whether an own address may be in the same local network as another address.
fn alike(own: IpAddr, address: IpAddr) -> bool {
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => own.octets()[..2] == address.octets()[..2],
        (IpAddr::V6(own), IpAddr::V6(address)) => own.octets()[..8] == address.octets()[..8],
        _ => false,
    }
}

impl Engine {
    /// The own addresses from which the rest of the world is reached at the moment, one a family at most. Where another one
    /// takes the place of one, another card leads outside, and everything there sees this node elsewhere.
    pub fn set_sources(&mut self, _now: Time, sources: &[IpAddr]) {
        let local = self.traversal.local().to_vec();
        let change = &mut self.traversal.change;
        let mut uplink = false;
        for before in &change.sources {
            let family = family_of(*before);
            let after = sources.iter().find(|source| family_of(**source) == family);
            // One that is gone was told of with the addresses.
            let is_there = local.iter().any(|own| own.ip() == *before);
            if is_there
                && after.is_some_and(|after| after != before)
                && let Some(lost) = change.lost.get_mut(family)
            {
                *lost = true;
                uplink = true;
            }
        }
        for source in sources {
            change.sources.retain(|before| family_of(*before) != family_of(*source));
            change.sources.push(*source);
        }
        if uplink {
            self.traversal.moved();
        }
    }

    /// Acts on a change of the own addresses.
    pub(crate) fn own_change(&mut self, now: Time, out: &mut Outbox) {
        let change = &mut self.traversal.change;
        let gone = std::mem::take(&mut change.gone);
        let lost = std::mem::take(&mut change.lost);
        let is_lost = |address: IpAddr| lost.get(family_of(address)).copied().unwrap_or_default();
        if lost.contains(&true) {
            info!("this machine is elsewhere in the underlay");
        }
        self.traversal.forget_observed(is_lost);
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let near = |leg: Leg| is_private(leg.ip()) && self.traversal.is_like_own(leg.ip());
            let left_lan = |leg: Leg| is_private(leg.ip()) && gone.iter().any(|own| alike(*own, leg.ip()));
            let known = peer.direct.legs();
            let is_void = |leg: &Leg| is_lost(leg.ip()) || (left_lan(*leg) && !near(*leg));
            let void: Vec<Leg> = known.into_iter().filter(is_void).collect();
            let in_use = peer.use_at(now) != Use::Idle && peer.sessions.current().is_some();
            self.leave_paths(now, id, &void, "this machine moved", out);
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.direct.probe_now();
            if lost.contains(&true) && in_use {
                self.begin_handshake(id, true);
            }
            self.tend_direct(now, id, out);
            self.arm(id);
        }
        self.show_supernodes(now, lost.contains(&true), out);
        self.sights.ask_anew();
        self.begin_beacons(now);
    }

    /// Shows all supernodes from where this node speaks now, and begins anew at those that do not answer.
    fn show_supernodes(&mut self, now: Time, anew: bool, out: &mut Outbox) {
        let anchors: Vec<PeerId> = self.directory.anchors().collect();
        for id in anchors {
            if let Some(registration) = self.directory.registrations.get_mut(&id) {
                registration.stream.try_udp_now(now);
            }
            if self.directory.relay_index(id).is_some() {
                self.prove_urgently(now, id, out);
            } else if anew && self.directory.wants(id) {
                // What was tried from where nothing got through has had its pauses for nothing.
                self.drop_outgoing(id);
                self.begin_handshake(id, false);
            }
        }
    }

    /// Paths to a peer that cannot work any more: they are left at once.
    fn leave_paths(&mut self, now: Time, id: PeerId, void: &[Leg], reason: &'static str, out: &mut Outbox) {
        if planted("void-path-kept") {
            return;
        }
        let left = self
            .peers
            .get_mut(id)
            .is_some_and(|peer| peer.direct.leave(now, |leg| void.contains(&leg)));
        if left {
            self.choose_path(now, id, reason, out);
            self.find_path(now, id);
            self.consider_round(now, id, out);
        }
    }

    /// A peer told its endpoints. One that names another outside address in place of the one at which it was is not there any
    /// more. One that only ceases to name it may be seen by nobody who tells: the path is asked at once, and its silence decides.
    pub(crate) fn peer_moved(&mut self, now: Time, id: PeerId, before: &[Candidate], out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(active) = peer.direct.active() else { return };
        let exchange = &mut peer.exchange;
        let is_in =
            |candidates: &[Candidate], address: IpAddr| candidates.iter().any(|told| told.endpoint.ip() == address);
        if is_in(exchange.theirs(), active.ip()) {
            exchange.withdrawn = None;
            return;
        }
        let ceased = is_in(before, active.ip());
        if ceased {
            exchange.withdrawn = Some(active.ip());
        } else if exchange.withdrawn != Some(active.ip()) {
            return;
        }
        let elsewhere = exchange.theirs().iter().any(|told| {
            let address = told.endpoint.ip();
            !told.local && family_of(address) == family_of(active.ip()) && !is_in(before, address)
        });
        if elsewhere || planted("unnamed-path-left") {
            exchange.withdrawn = None;
            debug!(peer = %self.name(id), "it is not there any more");
            self.leave_paths(now, id, &[active], "the peer moved", out);
        } else if ceased {
            peer.direct.probe_now();
        }
    }

    /// The machine slept, or its programs stood still, for `slept`: others have given up this node meanwhile, and NATs have
    /// forgotten it. Call it before anything else that comes after, with the time of now, sleep included.
    pub fn woke(&mut self, now: Time, slept: Duration) {
        info!(seconds = slept.as_secs(), "awake again");
        let mut called = Vec::new();
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            // What happened before is as long past as it was when the sleep began.
            let used = peer.used.filter(|used| now.since(*used) < slept + USED_BEFORE);
            if used.is_none() || peer.sessions.is_empty() {
                continue;
            }
            peer.used = used.map(|used| (used + slept).min(now));
            peer.heard = peer.heard.map(|heard| (heard + slept).min(now));
            peer.unanswered = None;
            peer.owed = None;
            peer.wanted = Some(now);
            peer.direct.probe_now();
            called.push(id);
        }
        for id in called {
            self.drop_outgoing(id);
            self.begin_handshake(id, true);
            self.arm(id);
        }
        let anchors: Vec<PeerId> = self.directory.anchors().collect();
        for id in anchors.into_iter().filter(|_| slept >= FORGOTTEN) {
            if self.directory.wants(id) {
                self.drop_outgoing(id);
                self.begin_handshake(id, false);
            }
        }
        self.traversal.moved();
        self.begin_beacons(now);
    }
}
