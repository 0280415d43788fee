//! A pair's encryption state, and which session a node sends under.

use std::time::Duration;

use farlan_crypto::defects::planted;
use farlan_crypto::{
    noise::SessionKeys,
    session::{Opener, Sealer, Window},
};
use farlan_netconf::{DirectoryKey, Role};

use crate::{
    MAX_NETWORKS, NetworkHandle, Time,
    channels::Exchanged,
    documents::Spoken,
    rare::{Rare, blank},
    retry::Retry,
    wire::{control::TAG, datagram::SessionIndex},
};

/// How long the keys of a session are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// The initiator makes new keys at this age, if it has something to send.
    pub(crate) rekey: Duration,
    /// The responder does, where the initiator did not.
    pub(crate) takeover: Duration,
    /// Keys of this age are refused and wiped.
    pub(crate) end: Duration,
}

impl Lifetime {
    /// Between nodes: the times of WireGuard (whitepaper §6.1), which bound what a stolen session key reveals.
    pub(crate) const PEER: &Self = &Self {
        rekey: Duration::from_secs(120),
        takeover: Duration::from_secs(135),
        end: Duration::from_secs(180),
    };

    /// Towards a supernode, which carries no frames for itself: fewer handshakes for the many.
    pub(crate) const SUPERNODE: &Self = &Self {
        rekey: Duration::from_secs(3600),
        takeover: Duration::from_secs(3660),
        end: Duration::from_secs(3660),
    };
}

/// The previous keys only open, and no longer than this after newer ones are in use.
pub(crate) const PREVIOUS_KEPT: Duration = Duration::from_secs(60);

/// One set of keys with a peer.
#[derive(Debug)]
pub(crate) struct Session {
    /// The index under which this end receives.
    pub(crate) local: SessionIndex,
    /// The index under which the other end receives.
    pub(crate) remote: SessionIndex,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    /// See [`Session::handshake_hash`].
    handshake_hash: Option<Box<[u8; 64]>>,
    /// This end's part in the handshake.
    pub(crate) role: Role,
    pub(crate) lifetime: &'static Lifetime,
    pub(crate) established: Time,
    /// Whether the other end has shown that it holds the keys: the responder sends nothing before.
    pub(crate) confirmed: bool,
    /// Whether this session may be sent under although an older one is known to work: the other end's networks are known,
    /// or nothing was heard under the older one.
    pub(crate) preferred: bool,
    /// Whether anything came under it. Message 2 alone does not show that the other end still holds the keys.
    pub(crate) answered: bool,
    /// Whether the other end was told the time.
    pub(crate) clock_told: bool,
    /// When newer keys took over.
    pub(crate) superseded: Option<Time>,
    /// When the other end used it last.
    pub(crate) heard: Time,
    pub(crate) networks: Rare<Networks>,
}

/// Which networks the two ends of a session have in common.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    /// This end's list: position → network.
    pub(crate) offered: Vec<Option<NetworkHandle>>,
    /// The tags last sent, random ones included.
    pub(crate) tags: Vec<[u8; TAG]>,
    /// Number of the last `networks` message sent, and whether it must be sent again.
    pub(crate) offer_number: u32,
    pub(crate) offer_retry: Option<Retry>,
    /// The other end's tags, kept for networks joined later.
    pub(crate) their_tags: Vec<[u8; TAG]>,
    /// The other end's list: position → network, where this node is in it too.
    pub(crate) theirs: Vec<Option<NetworkHandle>>,
    /// Number of the last `networks` message received.
    pub(crate) their_number: Option<u32>,
    /// Number of the last `claims` message sent, and whether it must be sent again.
    pub(crate) claims_number: u32,
    pub(crate) claims_retry: Option<Retry>,
    pub(crate) their_claims_number: Option<u32>,
    /// The same for `addresses`.
    pub(crate) addresses_number: u32,
    pub(crate) addresses_retry: Option<Retry>,
    pub(crate) their_addresses_number: Option<u32>,
    /// The same for `names`.
    pub(crate) names_number: u32,
    pub(crate) names_retry: Option<Retry>,
    /// Whether any were told, which an empty list would take back.
    pub(crate) names_told: bool,
    pub(crate) their_names_number: Option<u32>,
    /// What the two ends told each other of their channels.
    pub(crate) channels: Exchanged,
    /// What was shown of private networks: one entry for each that has a place.
    pub(crate) shown: Vec<Shown>,
    /// The places of the other end's list that name a private network, and under which secret.
    pub(crate) named: Vec<Named>,
    /// Number of the last `credentials` message sent.
    pub(crate) credentials_number: u32,
    /// Number of the last `documents` message sent.
    pub(crate) documents_number: u32,
    /// Until when this session may wait for credentials before it takes over from one in which private networks are shared.
    pub(crate) settling: Option<Time>,
}

blank!(Networks);

/// What the two ends of a session showed of one private network. A secret is named by the member key made of it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) network: NetworkHandle,
    /// Under which secret this end shows it; none as long as it does not.
    pub(crate) under: Option<DirectoryKey>,
    /// Number of the `credentials` message sent, and whether it must be sent again.
    pub(crate) number: u32,
    pub(crate) retry: Option<Retry>,
    pub(crate) acknowledged: bool,
    /// Under which secret the other end showed a credential that was found valid.
    pub(crate) valid: Option<DirectoryKey>,
    /// Number of the other end's last `credentials` message that was looked at.
    pub(crate) their_number: Option<u32>,
    /// What both told of the documents.
    pub(crate) spoken: Spoken,
}

/// A place of the other end's list that names a private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) place: u8,
    pub(crate) network: NetworkHandle,
    pub(crate) under: DirectoryKey,
}

impl Shown {
    /// Nothing yet.
    pub(crate) fn of(network: NetworkHandle) -> Self {
        Self {
            network,
            under: None,
            number: 0,
            retry: None,
            acknowledged: false,
            valid: None,
            their_number: None,
            spoken: Spoken::default(),
        }
    }
}

impl Networks {
    /// The position of `network` in this end's list, where frames may name it: a private network's says nothing to the other
    /// end before it is shared.
    pub(crate) fn position(&self, network: NetworkHandle) -> Option<u8> {
        let hidden = self.shown.iter().any(|shown| shown.network == network) && !self.shared(network);
        self.place(network).filter(|_| !hidden)
    }

    /// The position that `network` has in this end's list, whatever stands there.
    pub(crate) fn place(&self, network: NetworkHandle) -> Option<u8> {
        let position = self.offered.iter().position(|offered| *offered == Some(network))?;
        u8::try_from(position).ok()
    }

    /// What was shown of a private network.
    pub(crate) fn shown_of(&mut self, network: NetworkHandle) -> Option<&mut Shown> {
        self.shown.iter_mut().find(|shown| shown.network == network)
    }

    /// Whether both ends have shown a private network with valid credentials.
    pub(crate) fn is_shown(&self, network: NetworkHandle) -> bool {
        let mut shown = self.shown.iter();
        shown.any(|shown| shown.network == network && shown.under.is_some() && shown.valid.is_some())
    }

    /// Whether a private network waits to be shared: both ends have shown it, and frames of it may pass.
    pub(crate) fn is_unsettled(&self) -> bool {
        let mut shown = self.shown.iter();
        shown.any(|shown| self.is_shown(shown.network) && !self.shared(shown.network))
    }

    /// Whether `position` of the other end's list may come to mean a private network: it names one, or the list that will is
    /// late.
    pub(crate) fn is_pending(&self, position: u8) -> bool {
        let shown = |shown: &Shown| shown.under.is_some() && !self.shared(shown.network);
        let named = self.named.iter().any(|named| named.place == position);
        self.at(position).is_none() && (named || self.shown.iter().any(shown))
    }

    /// The network at `position` of the other end's list.
    pub(crate) fn at(&self, position: u8) -> Option<NetworkHandle> {
        self.theirs.get(usize::from(position)).copied().flatten()
    }

    /// Whether the other end's list is known.
    pub(crate) fn known(&self) -> bool {
        self.their_number.is_some()
    }

    /// Whether the other end proved to be in `network`.
    pub(crate) fn shared(&self, network: NetworkHandle) -> bool {
        self.theirs.contains(&Some(network))
    }

    /// Brings the list up to the joined networks: one left gives up its place, a new one takes a place never used in this
    /// session. Returns whether something changed.
    pub(crate) fn offer(&mut self, joined: &[NetworkHandle]) -> bool {
        let mut changed = false;
        for place in &mut self.offered {
            if place.is_some_and(|network| !joined.contains(&network)) {
                *place = None;
                changed = true;
            }
        }
        self.shown.retain(|shown| joined.contains(&shown.network));
        for network in joined {
            if self.place(*network).is_none() && self.offered.len() < MAX_PLACES {
                self.offered.push(Some(*network));
                changed = true;
            }
        }
        changed
    }
}

/// Places in a session's list of networks, used ones included; a session lives too short to need more.
const MAX_PLACES: usize = 4 * MAX_NETWORKS;

impl Session {
    pub(crate) fn new(
        keys: SessionKeys,
        (local, remote): (SessionIndex, SessionIndex),
        role: Role,
        lifetime: &'static Lifetime,
        window: Window,
        now: Time,
    ) -> Self {
        Self {
            local,
            remote,
            sealer: Sealer::new(keys.send),
            opener: Opener::new(keys.receive, window),
            handshake_hash: (window == Window::Node).then(|| Box::new(keys.handshake_hash)),
            role,
            lifetime,
            established: now,
            confirmed: role == Role::Initiator,
            preferred: false,
            answered: false,
            clock_told: false,
            superseded: None,
            heard: now,
            networks: Rare::default(),
        }
    }

    /// What proofs inside the session are bound to. A supernode makes none, asks for none, and keeps nothing for them.
    pub(crate) fn handshake_hash(&self) -> [u8; 64] {
        self.handshake_hash.as_deref().copied().unwrap_or([0; 64])
    }

    /// When the keys are wiped. After handshakes that crossed each end may send under the session that it began itself:
    /// one that is superseded here stays as long as the other end uses it.
    pub(crate) fn ends(&self) -> Time {
        let end = self.established + self.lifetime.end;
        if planted("keys-kept") {
            return self.established + 2 * self.lifetime.end;
        }
        self.superseded
            .map_or(end, |since| end.min(since.max(self.heard) + PREVIOUS_KEPT))
    }

    /// Whether this end should make newer keys, now that it has something to send.
    pub(crate) fn wants_rekey(&self, now: Time) -> bool {
        let age = now.since(self.established);
        match self.role {
            Role::Initiator => age >= self.lifetime.rekey,
            Role::Responder => age >= self.lifetime.takeover,
        }
    }
}

/// The sessions with one peer, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Vec<Session>);

/// Previous, current and next, of those that the other end has shown to hold. Those that it has not are few by what `handshakes`
/// keeps half-open.
pub(crate) const MAX_SESSIONS: usize = 3;

impl Sessions {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Session> {
        self.0.iter()
    }

    pub(crate) fn by_index(&mut self, local: SessionIndex) -> Option<&mut Session> {
        self.0.iter_mut().find(|session| session.local == local)
    }

    pub(crate) fn get(&self, local: SessionIndex) -> Option<&Session> {
        self.0.iter().find(|session| session.local == local)
    }

    /// Adds newer keys.
    pub(crate) fn add(&mut self, session: Session) {
        // Most peers have one, and there may be many peers.
        self.0.reserve_exact(1);
        self.0.push(session);
    }

    /// Ends the oldest session where there are too many; returns its index.
    pub(crate) fn make_room(&mut self) -> Option<SessionIndex> {
        let confirmed = self.0.iter().filter(|session| session.confirmed).count();
        let oldest = self.0.iter().position(|session| session.confirmed)?;
        (confirmed > MAX_SESSIONS).then(|| self.0.remove(oldest).local)
    }

    /// Gives up the places of a network that was left, before its handle can name another.
    pub(crate) fn withdraw(&mut self, network: NetworkHandle) {
        for networks in self.0.iter_mut().filter_map(|session| session.networks.made()) {
            for place in networks.offered.iter_mut().filter(|place| **place == Some(network)) {
                *place = None;
            }
            networks.shown.retain(|shown| shown.network != network);
            networks.named.retain(|named| named.network != network);
            networks.channels.withdraw(network);
        }
    }

    /// All sessions both ends hold: after crossing handshakes each end may prefer another.
    pub(crate) fn usable_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut().filter(|session| session.confirmed)
    }

    /// Whether newer keys are due; not while the newest wait for the other end's networks.
    pub(crate) fn wants_rekey(&self, now: Time) -> bool {
        let newest = self.0.iter().rfind(|session| session.confirmed);
        newest.is_some_and(|session| session.wants_rekey(now))
    }

    pub(crate) fn remove(&mut self, local: SessionIndex) {
        self.0.retain(|session| session.local != local);
        self.0.shrink_to_fit();
    }

    pub(crate) fn clear(&mut self) -> Vec<SessionIndex> {
        self.0.drain(..).map(|session| session.local).collect()
    }

    /// The session to send under: the newest that is preferred, else the newest that is confirmed.
    pub(crate) fn sending(&mut self) -> Option<&mut Session> {
        let position = self.in_use()?;
        self.0.get_mut(position)
    }

    /// Like [`Self::sending`], to look at.
    pub(crate) fn current(&self) -> Option<&Session> {
        self.0.get(self.in_use()?)
    }

    fn in_use(&self) -> Option<usize> {
        if planted("unconfirmed-used") {
            return self.0.len().checked_sub(1);
        }
        let preferred = self
            .0
            .iter()
            .rposition(|session| session.confirmed && session.preferred);
        preferred.or_else(|| self.0.iter().rposition(|session| session.confirmed))
    }

    /// Whether what came under the session `local` shows that the other end holds the one to send under: that one itself
    /// and newer ones do, an older one only where something came under that one, too. After handshakes that crossed each
    /// end may send under its own.
    pub(crate) fn answers_for_use(&self, local: SessionIndex) -> bool {
        let used = self
            .in_use()
            .map_or(&[][..], |used| self.0.get(used..).unwrap_or_default());
        used.first().is_none_or(|session| session.answered)
            || used.iter().any(|session| session.local == local)
            || planted("older-keys-suffice")
    }

    /// Marks the session `local` as the one to send under and all before it as previous.
    pub(crate) fn prefer(&mut self, local: SessionIndex, now: Time) {
        let Some(position) = self.0.iter().position(|session| session.local == local) else {
            return;
        };
        for session in self.0.iter_mut().take(position) {
            session.superseded.get_or_insert(now);
        }
        if let Some(session) = self.0.get_mut(position) {
            session.preferred = true;
        }
    }

    /// Wipes keys that are too old; returns their indexes.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<SessionIndex> {
        let ended: Vec<SessionIndex> = self
            .0
            .iter()
            .filter(|session| session.ends() <= now)
            .map(|session| session.local)
            .collect();
        if !ended.is_empty() {
            self.0.retain(|session| session.ends() > now);
            self.0.shrink_to_fit();
        }
        ended
    }
}
