//! Who shows whom a private network, and what happens once both have.
//!
//! A place of a private network holds a random tag until the network is shown there: the list is sent anew with the true tag,
//! and behind it the own credential, sealed so that only members can read it. A node does so unasked to those that it has
//! reason to take for members, and else only in answer to a valid credential. What is not valid changes nothing that anybody
//! could see.

use std::time::Duration;

use farlan_crypto::defects::planted;
use farlan_netconf::{DirectoryKey, NetworkSecret, Role as Side, private::Purpose};
use tracing::debug;

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    handshakes::Via,
    networks::{Network, RESEND},
    peers::{Peer, PeerId},
    retry::Retry,
    sessions::{Session, Shown},
    wire::{control::Control, datagram::SessionIndex, sealed::CONTROL},
    work::Paper,
};

/// A credential is sent so often at the most; whoever does not answer then has none that is valid here, or is gone.
const TRIES: u32 = 8;

/// A new session waits no longer than this for the credentials of networks that the one before it shares.
const SETTLES: Duration = Duration::from_secs(3);

/// Where a credential was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) peer: PeerId,
    pub(crate) session: SessionIndex,
    pub(crate) network: NetworkHandle,
    /// The secret that it was sealed under.
    pub(crate) under: DirectoryKey,
    pub(crate) number: u32,
}

impl Engine {
    /// Whether this node shows a network to a peer without having seen its credential.
    fn shows_first(&self, network: &Network, peer: &Peer) -> bool {
        let node = peer.key.node_id();
        let Some(private) = network.private.as_ref().filter(|private| !private.keeps_out(&node)) else {
            return false;
        };
        let expected = private.expects(&peer.key) || private.was_member(&node);
        expected
            || network.is_listed(&node)
            || network.is_located(&node)
            || network.has_met(&node)
            || self.is_on_our_link(peer)
            || planted("shown-to-anybody")
    }

    /// Whether a peer came straight from an address of a link on which this node sends beacons.
    fn is_on_our_link(&self, peer: &Peer) -> bool {
        let mut legs = peer.direct.known().into_iter();
        peer.near.is_some()
            || legs.any(|leg| !leg.is_stream() && peer.direct.is_proven(leg) && self.beacons.is_on_link(leg.ip()))
    }

    /// Decides under which secrets a session's list shows private networks from now on.
    pub(crate) fn decide_showing(&mut self, now: Time, id: PeerId, local: SessionIndex) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(session) = peer.sessions.get(local) else {
            return;
        };
        let mut decided: Vec<(NetworkHandle, Option<DirectoryKey>)> = Vec::new();
        for network in session.networks.offered.iter().flatten() {
            let Some(network) = self.networks.get(*network) else {
                continue;
            };
            let Some(private) = &network.private else { continue };
            let shown = session
                .networks
                .shown
                .iter()
                .find(|shown| shown.network == network.handle);
            let under = match shown.and_then(|shown| shown.valid.or(shown.under)) {
                // What they showed it under they can read.
                Some(under) if network.secret_under(&under).is_some() => Some(under),
                _ if private.can_show() && self.shows_first(network, peer) => Some(network.member_key),
                _ => None,
            };
            decided.push((network.handle, under.filter(|_| private.can_show())));
        }
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        for (network, under) in decided {
            if networks.shown_of(network).is_none() {
                networks.shown.push(Shown::of(network));
            }
            let next = networks.credentials_number + 1;
            let Some(shown) = networks.shown_of(network) else {
                continue;
            };
            if shown.under != under {
                shown.under = under;
                shown.retry = under.map(|_| Retry::due(RESEND, now));
                shown.acknowledged = false;
                shown.number = next;
                networks.credentials_number = next;
            }
        }
    }

    /// What this node knows of a peer changed: networks are shown that there was no reason to show before.
    pub(crate) fn consider_showing(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id).filter(|peer| !peer.supernode) else {
            return;
        };
        let mut due = Vec::new();
        for session in peer.sessions.iter().filter(|session| session.confirmed) {
            let hidden = |shown: &&Shown| shown.under.is_none();
            let mut hidden = session.networks.shown.iter().filter(hidden);
            let shows = hidden.any(|shown| {
                let network = self.networks.get(shown.network);
                network.is_some_and(|network| {
                    let can = network.private.as_ref().is_some_and(|private| private.can_show());
                    can && (shown.valid.is_some() || self.shows_first(network, peer))
                })
            });
            if shows {
                due.push(session.local);
            }
        }
        for local in due {
            self.offer_anew(now, id, local);
        }
    }

    /// A session's list is made anew in the next turn.
    fn offer_anew(&mut self, now: Time, id: PeerId, local: SessionIndex) {
        if let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) {
            session.networks.offer_retry = Some(Retry::due(RESEND, now));
            session.networks.tags.clear();
        }
        self.arm(id);
    }

    /// The own credential changed: it is shown anew wherever the network is.
    pub(crate) fn show_anew(&mut self, now: Time, handle: NetworkHandle) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            for session in peer.sessions.usable_mut() {
                let networks = &mut session.networks;
                let next = networks.credentials_number + 1;
                let Some(shown) = networks.shown_of(handle).filter(|shown| shown.under.is_some()) else {
                    continue;
                };
                shown.number = next;
                shown.retry = Some(Retry::due(RESEND, now));
                shown.acknowledged = false;
                networks.credentials_number = next;
            }
            self.consider_showing(now, id);
            self.arm(id);
        }
    }

    /// Sends credentials that are new or were not acknowledged.
    pub(crate) fn tend_credentials(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let is_due = |shown: &&Shown| shown.retry.as_ref().is_some_and(|retry| retry.at() <= now);
        let mut due: Vec<(SessionIndex, NetworkHandle)> = Vec::new();
        for session in peer.sessions.iter() {
            let shown = session.networks.shown.iter().filter(is_due);
            due.extend(shown.map(|shown| (session.local, shown.network)));
        }
        for (local, network) in due {
            self.send_credentials(now, id, local, network, out);
        }
    }

    fn send_credentials(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        handle: NetworkHandle,
        out: &mut Outbox,
    ) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        // The list that gives the place its meaning goes before.
        if session.networks.tags.is_empty() {
            return;
        }
        let (hash, role) = (session.handshake_hash(), session.role);
        let place = session.networks.place(handle);
        let Some(shown) = session.networks.shown_of(handle) else {
            return;
        };
        let network = self.networks.get(handle);
        let secret = network
            .zip(shown.under)
            .and_then(|(network, under)| network.secret_under(&under));
        let credential = network.and_then(|network| network.private.as_ref()?.credential());
        let (Some(secret), Some(credential), Some(place)) = (secret, credential, place) else {
            shown.retry = None;
            return;
        };
        let Some(retry) = shown.retry.as_mut().filter(|retry| retry.sent() < TRIES) else {
            shown.retry = None;
            return;
        };
        retry.again(now);
        let number = shown.number;
        let sealed = secret.seal_in_session(Purpose::Credentials, &hash, role, number, place, &credential.encode());
        let message = Control::Credentials { number, place, sealed };
        self.send_control(now, id, Some(local), &[message], out);
        self.arm(id);
    }

    /// The other end's credential in a network.
    pub(crate) fn credentials_told(
        &mut self,
        now: Time,
        id: PeerId,
        way: (SessionIndex, Via),
        (number, place, sealed): (u32, u8, &[u8]),
        out: &mut Outbox,
    ) {
        let (local, via) = way;
        let Some(peer) = self.peers.get_mut(id) else { return };
        let node = peer.key.node_id();
        let Some(session) = peer.sessions.by_index(local) else {
            return;
        };
        let named = session
            .networks
            .named
            .iter()
            .find(|named| named.place == place)
            .copied();
        let (hash, side) = (session.handshake_hash(), other_side(session.role));
        let known = session.networks.known();
        let Some(named) = named else {
            if !known {
                // Its list was overtaken.
                let sealed = sealed.to_vec();
                let mut message = vec![CONTROL];
                Control::Credentials { number, place, sealed }.encode(&mut message);
                self.early.push(now, (id, local), via, &message);
            }
            return;
        };
        let Some(shown) = session.networks.shown_of(named.network) else {
            return;
        };
        let (before, valid) = (shown.their_number, shown.valid);
        if before.is_some_and(|last| number < last) {
            return;
        }
        if before == Some(number) {
            // It comes again, as long as the acknowledgement does not arrive.
            if valid == Some(named.under) {
                self.send_control(now, id, Some(local), &[Control::CredentialsAck { number }], out);
            }
            return;
        }
        let network = self.networks.get(named.network);
        let secret = network.and_then(|network| network.secret_under(&named.under));
        let open = |secret: &NetworkSecret| {
            let opened = secret.open_in_session(Purpose::Credentials, &hash, side, number, place, sealed);
            opened.ok()
        };
        let opened = secret.and_then(open);
        let (Some(credential), Some(network)) = (opened, network) else {
            self.counters.credentials_refused += 1;
            return;
        };
        let proof = Proof {
            peer: id,
            session: local,
            network: named.network,
            under: named.under,
            number,
        };
        let private = network.private.as_ref();
        if private.is_some_and(|private| private.is_known(&node, &credential)) {
            return self.credential_valid(now, &proof, out);
        }
        // The number is taken when it is looked at: what is dropped here comes again.
        let paper = Paper::Credential(proof, credential);
        if !self.handshakes.queue.add_paper(now, id, paper) {
            self.counters.credentials_limited += 1;
        }
    }

    /// A credential waited for its turn to be checked.
    pub(crate) fn check_credential(&mut self, now: Time, proof: &Proof, credential: &[u8], out: &mut Outbox) {
        let Some(key) = self.peers.get(proof.peer).map(|peer| peer.key) else {
            return;
        };
        let (clock, work) = (self.clock(now), self.work);
        let network = self.networks.get_mut(proof.network);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return;
        };
        match private.check(&clock, &key, credential, work) {
            Ok(()) => self.credential_valid(now, proof, out),
            Err(reason) => {
                debug!(peer = %self.name(proof.peer), %reason, "credential refused");
                self.counters.credentials_refused += 1;
                let session = self
                    .peers
                    .get_mut(proof.peer)
                    .and_then(|peer| peer.sessions.by_index(proof.session));
                if let Some(shown) = session.and_then(|session| session.networks.shown_of(proof.network)) {
                    shown.their_number = shown.their_number.max(Some(proof.number));
                }
            }
        }
    }

    /// The other end showed a network with a valid credential: it is shown this node's.
    fn credential_valid(&mut self, now: Time, proof: &Proof, out: &mut Outbox) {
        let (id, local) = (proof.peer, proof.session);
        let session = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local));
        let Some(shown) = session.and_then(|session| session.networks.shown_of(proof.network)) else {
            return;
        };
        if shown.their_number.is_some_and(|last| proof.number < last) {
            return;
        }
        let anew = shown.their_number.is_some_and(|last| proof.number > last);
        shown.their_number = Some(proof.number);
        shown.valid = Some(proof.under);
        let answers = shown.under != Some(proof.under);
        // It may have joined after this end gave up, or left and joined again: then it has forgotten what it acknowledged.
        if !answers && (anew || !shown.acknowledged) && shown.retry.is_none() {
            shown.retry = Some(Retry::due(RESEND, now));
            shown.acknowledged = false;
        }
        let number = proof.number;
        self.send_control(now, id, Some(local), &[Control::CredentialsAck { number }], out);
        if answers {
            self.offer_anew(now, id, local);
        }
        self.share(now, id, local, out);
        self.arm(id);
        self.member_showed(now, id, proof.network, out);
    }

    /// The other end has this node's credentials and found them valid.
    pub(crate) fn credentials_acknowledged(&mut self, id: PeerId, local: SessionIndex, number: u32) {
        let session = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local));
        let shown = session.into_iter().flat_map(|session| &mut session.networks.shown);
        for shown in shown.filter(|shown| shown.number == number && shown.under.is_some()) {
            shown.retry = None;
            shown.acknowledged = true;
        }
    }

    /// What both ends have shown by now is shared, and what waited for that goes on.
    pub(crate) fn share(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let shown = |peer: &Peer| {
            peer.sessions
                .get(local)
                .is_some_and(|session| session.networks.is_unsettled())
        };
        if !self.peers.get(id).is_some_and(shown) || !self.match_networks(now, id, local) {
            return;
        }
        self.settle_session(now, id, local);
        self.tell_claims(now, id, local, out);
        self.tell_addresses(now, id, local, out);
        self.tell_names(now, id, local, out);
        self.tell_channels(now, id, local, out);
        self.begin_documents(now, id, local, out);
        self.tell_homes(now, id, out);
        let early = self.early.take((id, local));
        self.open_early(now, id, local, early, out);
        self.release_waiting(now, id, out);
        self.consider_round(now, id, out);
    }

    /// The first list of a session came: before it takes over from the one before it, the private networks of that one are to be
    /// shared in it, too.
    pub(crate) fn begin_settling(&mut self, now: Time, id: PeerId, local: SessionIndex) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let private = |handle: &NetworkHandle| {
            self.networks
                .get(*handle)
                .is_some_and(|network| network.private.is_some())
        };
        let waits = peer.up.iter().any(private) && !planted("private-network-unsettled");
        if let Some(session) = peer.sessions.by_index(local).filter(|_| waits) {
            session.networks.settling = Some(now + SETTLES);
        }
    }

    /// Lets a session take over as soon as nothing is lost by that.
    pub(crate) fn settle_session(&mut self, now: Time, id: PeerId, local: SessionIndex) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(session) = peer.sessions.get(local).filter(|session| session.networks.known()) else {
            return;
        };
        let until = session.networks.settling;
        let waits = |handle: &NetworkHandle| {
            let network = self.networks.get(*handle);
            network.is_some_and(|network| network.private.is_some()) && !session.networks.shared(*handle)
        };
        if until.is_some_and(|until| now < until) && peer.up.iter().any(waits) {
            return self.arm(id);
        }
        if let Some(peer) = self.peers.get_mut(id) {
            if let Some(session) = peer.sessions.by_index(local) {
                session.networks.settling = None;
            }
            peer.sessions.prefer(local, now);
        }
        if until.is_some() {
            self.match_networks(now, id, local);
        }
    }

    /// Sessions that waited long enough for credentials take over.
    pub(crate) fn tend_settling(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let over = |session: &&Session| session.networks.settling.is_some_and(|until| until <= now);
        let over: Vec<_> = peer.sessions.iter().filter(over).map(|session| session.local).collect();
        for local in over {
            self.settle_session(now, id, local);
            self.release_waiting(now, id, out);
        }
    }

    /// A peer is in a private network no more: what it was there is forgotten, and nothing that waits for it leaves.
    pub(crate) fn forget_member(&mut self, id: PeerId, handle: NetworkHandle) {
        let Some(network) = self
            .networks
            .get_mut(handle)
            .filter(|network| network.private.is_some())
        else {
            return;
        };
        network.learned.forget_peer(id);
        self.groups.drop_copies(id, handle);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.waiting.retain(|waiting| waiting.network != handle);
        let node = peer.key.node_id();
        self.events.push(Event::MemberOut { network: handle, node });
    }

    /// Looks at all credentials of a network again, after something changed that decides about them. Who has none that is valid any
    /// more shares it no more from now on.
    pub(crate) fn judge_all(&mut self, now: Time, handle: NetworkHandle) {
        let clock = self.clock(now);
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let Some(private) = network.private.as_mut() else {
            return;
        };
        private.judge(&clock);
        network.keep_out();
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let (node, mut touched) = (peer.key.node_id(), Vec::new());
            let network = self.networks.get(handle);
            let private = network.and_then(|network| network.private.as_ref());
            let Some(private) = private else { return };
            for session in peer.sessions.usable_mut() {
                let shared = session.networks.shared(handle);
                let Some(shown) = session.networks.shown_of(handle) else {
                    continue;
                };
                let member = private.is_member(&node);
                if !member {
                    shown.valid = None;
                    if private.keeps_out(&node) {
                        shown.under = None;
                        shown.retry = None;
                    }
                }
                if shown.valid.is_none() {
                    // What was refused may be good now.
                    shown.their_number = None;
                }
                if shared && !member {
                    touched.push(session.local);
                }
            }
            for local in touched {
                self.match_networks(now, id, local);
            }
            self.consider_showing(now, id);
        }
    }
}

/// The other end's part in a handshake.
pub(crate) fn other_side(side: Side) -> Side {
    match side {
        Side::Initiator => Side::Responder,
        Side::Responder => Side::Initiator,
    }
}
