//! What a node holds of a private network: its documents, the secrets made from them, and whose credentials it found valid.
//!
//! A credential is checked once, signatures and all. What changes after that, revocations and the time, is looked at for all of
//! them together ([`Private::judge`]), which costs no signatures.
//!
//! The engine has no clock: see [`Clock`].

mod clock;
mod greeting;
mod renewing;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use farlan_crypto::{NodeId, PublicKey, Work};
use farlan_netconf::{
    DirectoryKey, NetworkSecret, Parameters, PrivateNetwork, Seconds,
    private::{
        self, Application, Config, Credential, Delegation, DnsLabel, Invalid, Revocations, Revoked, Rights, Standing,
    },
};

pub(crate) use clock::{Clock, WallClock};

use crate::{
    CredentialStatus, Engine, Event, Invite, Membership, NetworkHandle, Outbox, Time,
    documents::{STARTING, Shelf, starts_at_once},
    networks::Listing,
    peers::PeerId,
};
use clock::JUDGED_EVERY;

/// Members whose credentials are kept, as many as there are peers by default. Any gives way, and is asked for it in the next session.
const MAX_KNOWN: usize = 8192;

/// A former secret of a network.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) secret: NetworkSecret,
    pub(crate) member_key: DirectoryKey,
}

/// A member's credential, whose signatures are good.
#[derive(Debug)]
struct Known {
    key: PublicKey,
    credential: Credential,
    bytes: Vec<u8>,
    valid: bool,
}

/// What a node holds of a private network.
#[derive(Debug)]
pub(crate) struct Private {
    network: PrivateNetwork,
    own: PublicKey,
    config: Option<Config>,
    credential: Option<Credential>,
    invite: Option<Invite>,
    revocations: Revocations,
    former: Vec<Former>,
    /// The members as each supernode lists them under the latest former secret.
    pub(crate) former_listings: BTreeMap<PeerId, Listing>,
    /// Members whom the link names.
    peers: Vec<PublicKey>,
    pub(crate) name: Option<DnsLabel>,
    /// What lets this node extend certificates, as far as it was given.
    delegation: Option<Delegation>,
    /// What the holders have may be another certificate than the own one, though that is good.
    unsure: bool,
    known: BTreeMap<NodeId, Known>,
    /// Whose certificates a revocation voids, whatever they are up to a number.
    revoked: BTreeSet<NodeId>,
    /// Listed members to be greeted.
    pub(crate) greetings: BTreeMap<NodeId, (Time, PublicKey)>,
    /// The newest time in anything that the network key signed, as far as it was seen.
    newest_signed: Seconds,
    /// When credentials are to be looked at again.
    due: Time,
    shelf: Shelf,
    /// Lets a test ignore that somebody was thrown out.
    #[cfg(test)]
    pub(crate) deaf: bool,
    /// Until when the network is shared with nobody, unless a supernode has answered before.
    pub(crate) starting: Option<Time>,
}

impl Private {
    /// What follows from a membership, and the secret in force; nothing if it is none of the network.
    pub(crate) fn new(
        parameters: &Parameters,
        membership: Membership,
        own: &PublicKey,
        clock: &Clock,
    ) -> Option<(Self, NetworkSecret)> {
        let network = PrivateNetwork::of(parameters)?;
        let config = membership.config.filter(|config| config.network() == &network);
        let mut secrets = match (&config, &membership.seed) {
            (Some(config), _) => config.secrets(),
            (None, Some(seed)) => vec![seed.secret(&network.id())],
            (None, None) => return None,
        };
        if secrets.is_empty() {
            return None;
        }
        let secret = secrets.remove(0);
        let mut private = Self {
            network,
            own: *own,
            config,
            credential: membership
                .credential
                .filter(|credential| is_of(credential, &network, own)),
            invite: membership
                .invite
                .filter(|invite| invite.delegation.network() == network.id()),
            revocations: Revocations::new(network),
            former: secrets.into_iter().map(Former::of).collect(),
            former_listings: BTreeMap::new(),
            peers: membership.peers,
            name: membership.name,
            delegation: membership.delegation,
            unsure: false,
            known: BTreeMap::new(),
            revoked: BTreeSet::new(),
            greetings: BTreeMap::new(),
            newest_signed: Seconds::default(),
            due: Time::ZERO,
            shelf: Shelf::new(),
            #[cfg(test)]
            deaf: false,
            starting: (!starts_at_once()).then(|| clock.at + STARTING),
        };
        let delegation = private.delegation.take();
        private.delegation = delegation.filter(|delegation| private.is_for_us(delegation));
        private.revocations.merge(&membership.revocations);
        private.find_revoked();
        let config = private.config.iter().map(|config| config.fields().time);
        let own = private.credential.iter().map(Credential::newest_signed);
        let invite = private.invite.iter().map(|invite| invite.delegation.fields().time);
        let delegation = private.delegation.iter().map(|delegation| delegation.fields().time);
        let signed = config.chain(own).chain(invite).chain(delegation).max();
        private.note_signed(signed.unwrap_or_default());
        private.make_provisional(clock);
        Some((private, secret))
    }

    /// The time at which documents are judged.
    fn time(&self, clock: &Clock) -> Seconds {
        let own = self.credential.as_ref().map(Credential::expiry);
        private::now(clock.seconds, clock.build, self.newest_signed, own)
    }

    /// Something came that the network key signed at this time.
    fn note_signed(&mut self, time: Seconds) {
        self.newest_signed = self.newest_signed.max(time);
    }

    /// Makes a credential by the invite, if that signs and there is none that is worth more; whether it did.
    pub(crate) fn make_provisional(&mut self, clock: &Clock) -> bool {
        let Some(invite) = self
            .invite
            .as_ref()
            .filter(|invite| invite.delegation.signs_certificates())
        else {
            return false;
        };
        let delegation = &invite.delegation;
        let time = delegation.start(clock.seconds, clock.build);
        let good = |credential: &Credential| {
            let fresh = !credential.is_provisional() || !is_past_half(credential, time);
            fresh && self.judged(clock, credential).is_ok()
        };
        if self.credential.as_ref().is_some_and(good) || self.revocations.voids_delegation(delegation) {
            return false;
        }
        let (key, name) = (&invite.key, self.name.clone());
        let made = Credential::by_invite(&self.network, key, delegation.clone(), self.own, name, time);
        let made = made.ok().filter(|made| self.credential.as_ref() != Some(made));
        let is_made = made.is_some();
        self.credential = made.or_else(|| self.credential.take());
        is_made
    }

    /// What a credential of this node is worth.
    fn judged(&self, clock: &Clock, credential: &Credential) -> Result<Standing, Invalid> {
        credential.check(&self.network, &self.own, self.time(clock), &self.revocations)
    }

    /// What this node asks a holder for, in the session with this handshake hash. A certificate of the network key goes with it: it may
    /// have expired, or the holder may not have been shown it yet.
    pub(crate) fn application(&self, ipv4: Option<Ipv4Addr>, handshake_hash: &[u8; 64]) -> Option<Application> {
        let application = Application::new(self.name.clone(), ipv4);
        let certified = self.credential.as_ref().filter(|own| !own.is_provisional());
        match (certified, &self.invite) {
            // Who has a credential of the network key needs no invite, unless it was thrown out since.
            (Some(own), invite) if invite.is_none() || !self.is_revoked(own) => application.certified(own.clone()).ok(),
            (_, Some(invite)) => {
                let delegation = invite.delegation.clone();
                application
                    .invited(&invite.key, delegation, &self.own, handshake_hash)
                    .ok()
            }
            _ => Some(application),
        }
    }

    /// Whether a node was thrown out since it was given this certificate.
    pub(crate) fn is_revoked(&self, credential: &Credential) -> bool {
        let fields = credential.certificate().fields();
        self.revocations.voids_member(fields.node.as_bytes(), fields.issue)
    }

    /// Whether a credential is valid for the node that it names.
    pub(crate) fn is_valid(&self, clock: &Clock, credential: &Credential) -> bool {
        let node = credential.certificate().fields().node;
        let judged = credential.check(&self.network, &node, self.time(clock), &self.revocations);
        judged.is_ok()
    }

    /// The own credential.
    pub(crate) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Whether there is anything to show.
    pub(crate) fn can_show(&self) -> bool {
        let good = |credential: &Credential| self.revocations.check(credential).is_ok();
        self.credential.as_ref().is_some_and(good)
    }

    pub(crate) fn network(&self) -> &PrivateNetwork {
        &self.network
    }

    pub(crate) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Lets a test show what is not this node's.
    #[cfg(test)]
    pub(crate) fn force_for_test(&mut self, credential: Credential) {
        self.credential = Some(credential);
    }

    /// The former secrets, the latest first.
    pub(crate) fn former(&self) -> &[Former] {
        &self.former
    }

    /// The member key made of the latest former secret.
    pub(crate) fn latest_former(&self) -> Option<DirectoryKey> {
        self.former.first().map(|former| former.member_key)
    }

    /// Whether the config or the link names a node.
    pub(crate) fn expects(&self, key: &PublicKey) -> bool {
        self.peers.contains(key) || self.holders().contains(key)
    }

    fn holders(&self) -> &[PublicKey] {
        self.config.as_ref().map_or(&[], |config| &config.fields().holders)
    }

    /// Whether this node is one to turn to for certificates.
    pub(crate) fn is_holder(&self) -> bool {
        self.holders().contains(&self.own)
    }

    /// Who is to be asked for a certificate: the holders, the link's peers where none is known.
    pub(crate) fn whom_to_ask(&self) -> Vec<PublicKey> {
        let holders = self.holders();
        let whom = if holders.is_empty() { &self.peers } else { holders };
        whom.iter().copied().filter(|key| *key != self.own).collect()
    }

    /// Whether a certificate of the network key, or a longer one, is to be asked for.
    pub(crate) fn wants_certificate(&self, clock: &Clock) -> bool {
        let enough = |credential: &Credential| {
            !credential.needs_renewal(clock.seconds.max(self.time(clock))) && self.judged(clock, credential).is_ok()
        };
        self.unsure || !self.credential.as_ref().is_some_and(enough)
    }

    /// Whether a holder is to be asked though the own certificate is good.
    pub(crate) fn set_unsure(&mut self, unsure: bool) {
        self.unsure = unsure;
    }

    /// Takes a credential for this node, if it is worth more than the one there is; whether it did.
    pub(crate) fn adopt(&mut self, clock: &Clock, credential: Credential) -> bool {
        let worth = |credential: &Credential| {
            let (valid, issue) = (self.judged(clock, credential).is_ok(), issue(credential));
            (valid, !credential.is_provisional(), issue, credential.expiry())
        };
        let better = self
            .credential
            .as_ref()
            .is_none_or(|own| worth(own) < worth(&credential));
        if better {
            self.note_signed(credential.newest_signed());
            self.credential = Some(credential);
        }
        better
    }

    /// Whether this credential of a node was found valid before, and is so still.
    pub(crate) fn is_known(&self, node: &NodeId, bytes: &[u8]) -> bool {
        let known = self.known.get(node);
        known.is_some_and(|known| known.valid && known.bytes == bytes)
    }

    /// Checks a credential that a peer showed, and keeps it if it is valid.
    pub(crate) fn check(&mut self, clock: &Clock, key: &PublicKey, bytes: &[u8], work: Work) -> Result<(), Refused> {
        let credential = Credential::decode(bytes, &self.network, work)?;
        self.note_signed(credential.newest_signed());
        let now = self.time(clock);
        credential.check(&self.network, key, now, &self.revocations)?;
        let node = key.node_id();
        // One that was shown before by another session, or to this one before it was renewed, says no more.
        if let Some(before) = self.known.get(&node).filter(|before| before.valid)
            && issue(&before.credential) > issue(&credential)
        {
            return Ok(());
        }
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&node) {
            self.known.pop_first();
        }
        let expiry = credential.expiry();
        self.known.insert(
            node,
            Known {
                key: *key,
                credential,
                bytes: bytes.to_vec(),
                valid: true,
            },
        );
        if expiry > clock.seconds {
            self.due = self.due.min(clock.when(expiry));
        }
        Ok(())
    }

    /// Whether a node showed a valid credential, which is so still.
    pub(crate) fn is_member(&self, node: &NodeId) -> bool {
        self.known.get(node).is_some_and(|known| known.valid)
    }

    /// Whether a node is known to have no valid credential. One that expired before the own one was made says no more: the holder who
    /// renewed this node's may have renewed that one's, too, and of two that wait for each other neither would ever show itself.
    pub(crate) fn keeps_out(&self, node: &NodeId) -> bool {
        let may_be_back = |known: &Known| {
            let own = self.credential.as_ref();
            own.is_some_and(|own| own.time() >= known.credential.expiry())
                && self.revocations.check(&known.credential).is_ok()
        };
        match self.known.get(node) {
            Some(known) => !known.valid && !may_be_back(known),
            None => self.revoked.contains(node),
        }
    }

    /// Whether a node has shown a credential whose signatures are good, and that is kept.
    pub(crate) fn was_member(&self, node: &NodeId) -> bool {
        self.known.contains_key(node)
    }

    /// Looks at all credentials again.
    pub(crate) fn judge(&mut self, clock: &Clock) {
        let now = self.time(clock);
        self.due = clock.at + JUDGED_EVERY;
        for known in self.known.values_mut() {
            let judged = known
                .credential
                .check(&self.network, &known.key, now, &self.revocations);
            known.valid = judged.is_ok();
            let expiry = known.credential.expiry();
            if known.valid && expiry > clock.seconds {
                self.due = self.due.min(clock.when(expiry));
            }
        }
        if let Some(own) = &self.credential {
            let life = own.expiry().since(own.time());
            let [half, own_extension] = [life / 2, Self::own_extension(life)].map(|part| own.time().plus(part));
            let moments = [half.plus(1), own_extension.plus(1), own.expiry()]
                .into_iter()
                .filter(|moment| *moment > clock.seconds);
            self.due = moments.map(|moment| clock.when(moment)).fold(self.due, Time::min);
        }
    }

    /// When credentials are to be looked at again.
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// Finds out whom the revocations name.
    fn find_revoked(&mut self) {
        let named = |revoked: Revoked| match revoked {
            Revoked::Member { node, .. } => PublicKey::from_bytes(&node, Work::NONE).ok(),
            Revoked::Delegation { .. } => None,
        };
        let revoked = self
            .revocations
            .iter()
            .filter_map(|revocation| named(revocation.revoked()));
        self.revoked = revoked.map(|key| key.node_id()).collect();
        self.note_signed(self.revocations.newest_signed());
    }

    /// Takes a config, if it goes before the one there is. Returns the secret in force by it.
    pub(crate) fn take_config(&mut self, config: Config) -> Option<NetworkSecret> {
        let newer = self.config.as_ref().is_none_or(|own| own.order() < config.order());
        if config.network() != &self.network || !newer {
            return None;
        }
        let mut secrets = config.secrets();
        if secrets.is_empty() {
            return None;
        }
        let secret = secrets.remove(0);
        self.former = secrets.into_iter().map(Former::of).collect();
        self.note_signed(config.fields().time);
        self.config = Some(config);
        Some(secret)
    }

    /// Adds revocations that were checked one by one, of which these nodes are named; whether some are new.
    pub(crate) fn take_checked(&mut self, good: &Revocations, named: &[NodeId]) -> bool {
        #[cfg(test)]
        if self.deaf {
            return false;
        }
        self.note_signed(good.newest_signed());
        self.revoked.extend(named);
        self.revocations.merge(good)
    }

    /// What is told and handed out of the documents.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(crate) fn shelf_mut(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    /// Takes it out, to be filled.
    pub(crate) fn take_shelf(&mut self) -> Shelf {
        std::mem::replace(&mut self.shelf, Shelf::new())
    }

    /// Adds revocations; whether some are new.
    pub(crate) fn take_revocations(&mut self, revocations: &Revocations) -> bool {
        let grown = self.revocations.merge(revocations);
        self.find_revoked();
        grown
    }

    /// The IPv4 address that the own certificate gives.
    pub(crate) fn certified_own(&self) -> Option<Ipv4Addr> {
        self.credential.as_ref().and_then(ipv4)
    }

    /// The IPv4 address that a member's certificate gives.
    pub(crate) fn certified(&self, node: &NodeId) -> Option<Ipv4Addr> {
        let known = self.known.get(node).filter(|known| known.valid)?;
        ipv4(&known.credential)
    }

    /// The member to which an IPv4 address is certified; of several the one with the latest certificate.
    pub(crate) fn holder_of(&self, address: Ipv4Addr) -> Option<NodeId> {
        let known = self.known.iter().filter(|(_, known)| known.valid);
        let holders = known.filter(|(_, known)| ipv4(&known.credential) == Some(address));
        holders
            .max_by_key(|(_, known)| issue(&known.credential))
            .map(|(node, _)| *node)
    }

    /// What the own credential says.
    pub(crate) fn own_status(&self) -> Option<CredentialStatus> {
        self.credential.as_ref().map(CredentialStatus::of)
    }

    /// What a member's credential says, as far as it was shown.
    pub(crate) fn status_of(&self, node: &NodeId) -> Option<CredentialStatus> {
        let known = self.known.get(node).filter(|known| known.valid);
        known.map(|known| CredentialStatus::of(&known.credential))
    }

    /// Whether the valid credential that a member has shown gives it a right.
    pub(crate) fn has_right(&self, node: &NodeId, right: Rights) -> bool {
        let shown = self.shown_by(node);
        shown.is_some_and(|credential| credential.certificate().fields().rights.include(right))
    }

    /// A member's credential.
    pub(crate) fn shown_by(&self, node: &NodeId) -> Option<&Credential> {
        let known = self.known.get(node).filter(|known| known.valid);
        known.map(|known| &known.credential)
    }
}

/// Why a credential does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Document(#[from] private::DocumentError),
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Whether a credential is for a network and node.
fn is_of(credential: &Credential, network: &PrivateNetwork, node: &PublicKey) -> bool {
    let certificate = credential.certificate();
    certificate.network() == network.id() && certificate.fields().node == *node
}

/// The number of the certificate in it.
pub(crate) fn issue(credential: &Credential) -> u64 {
    credential.certificate().fields().issue
}

fn ipv4(credential: &Credential) -> Option<Ipv4Addr> {
    credential.certificate().fields().ipv4
}

/// Whether half of its life is over at `time`.
fn is_past_half(credential: &Credential, time: Seconds) -> bool {
    credential.life_left(time) <= credential.expiry().since(credential.time()) / 2
}

impl Former {
    fn of(secret: NetworkSecret) -> Self {
        Self {
            member_key: secret.member_key(),
            secret,
        }
    }
}

impl Engine {
    /// Judges all credentials of a network again, and makes, extends or asks for what the own one lacks.
    fn look_at_membership(&mut self, now: Time, handle: NetworkHandle) {
        let clock = self.clock(now);
        let network = self.networks.get_mut(handle);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return;
        };
        if private.make_provisional(&clock) {
            let credential = private.credential().cloned().map(Box::new);
            self.events.extend(credential.map(|credential| Event::CredentialIssued {
                network: handle,
                credential,
            }));
            self.show_anew(now, handle);
        }
        self.judge_all(now, handle);
        self.extend_own(now, handle);
        self.ask_anew(now, handle);
    }

    /// A private network was joined.
    pub(crate) fn begin_membership(&mut self, now: Time, handle: NetworkHandle) {
        self.refresh_shelf(handle);
        self.judge_all(now, handle);
        self.extend_own(now, handle);
        self.ask_anew(now, handle);
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        // One that was just made.
        if let Some(credential) = private.credential().filter(|credential| credential.is_provisional()) {
            self.events.push(Event::CredentialIssued {
                network: handle,
                credential: Box::new(credential.clone()),
            });
        }
    }

    /// A config of a private network came, whose signature is good. All credentials are judged again; returns whether it is newer
    /// than the one there was.
    pub fn config_known(&mut self, now: Time, handle: NetworkHandle, config: Config) -> bool {
        let Some(network) = self.networks.get_mut(handle) else {
            return false;
        };
        let Some(private) = &mut network.private else {
            return false;
        };
        let Some(secret) = private.take_config(config) else {
            return false;
        };
        let member_key = secret.member_key();
        if member_key != network.member_key {
            // What was listed under the secret before is of use until somebody was met under this one.
            let listings = std::mem::take(&mut network.listings);
            private.former_listings.clear();
            if private.latest_former() == Some(network.member_key) {
                private.former_listings = listings;
            }
            network.secret = secret;
            network.member_key = member_key;
            let world = network.world;
            self.memberships_changed(&world);
            self.begin_beacons(now);
        }
        self.judge_all(now, handle);
        self.documents_changed(now, handle, false);
        self.ask_anew(now, handle);
        true
    }

    /// Revocations of a private network came, whose signatures are good. All credentials are judged again, and from now on nothing
    /// passes of those that are void; returns whether some are new.
    pub fn revocations_known(&mut self, now: Time, handle: NetworkHandle, revocations: &Revocations) -> bool {
        let private = self
            .networks
            .get_mut(handle)
            .and_then(|network| network.private.as_mut());
        let grown = private.is_some_and(|private| private.take_revocations(revocations));
        if grown {
            self.judge_all(now, handle);
            self.documents_changed(now, handle, true);
        }
        grown
    }

    /// The config of a private network, if it is known.
    pub fn config(&self, handle: NetworkHandle) -> Option<&Config> {
        self.networks.get(handle)?.private.as_ref()?.config()
    }

    /// The revocations of a private network.
    pub fn revocations(&self, handle: NetworkHandle) -> Option<&Revocations> {
        Some(self.networks.get(handle)?.private.as_ref()?.revocations())
    }

    /// The valid credential that a member of a private network has shown, as long as it is kept.
    pub fn credential_of(&self, handle: NetworkHandle, node: &NodeId) -> Option<&Credential> {
        self.networks.get(handle)?.private.as_ref()?.shown_by(node)
    }

    /// A credential for this node came from its controller or from a file: it is shown from now on, if it is valid and worth more
    /// than the one before. Returns whether it is.
    pub fn credential_issued(&mut self, now: Time, handle: NetworkHandle, credential: Credential) -> bool {
        let clock = self.clock(now);
        let own = self.public;
        let Some(network) = self.networks.get_mut(handle) else {
            return false;
        };
        let Some(private) = &mut network.private else {
            return false;
        };
        let before = private.credential().map(Credential::expiry);
        if !is_of(&credential, private.network(), &own) || !private.adopt(&clock, credential.clone()) {
            return false;
        }
        // The others let it in no more, and call it no more.
        let came_back = before.is_some_and(|expiry| expiry <= clock.seconds);
        let changes = network.take_certified();
        let world = network.world;
        if !changes.is_empty() {
            self.memberships_changed(&world);
            self.claims_changed = true;
        }
        self.events.extend(changes);
        self.events.push(Event::CredentialIssued {
            network: handle,
            credential: Box::new(credential),
        });
        self.judge_all(now, handle);
        self.ask_anew(now, handle);
        self.show_anew(now, handle);
        if came_back {
            self.greet_all(now, handle);
        }
        true
    }

    /// A member showed a valid credential: what it says goes before what was believed without.
    pub(crate) fn member_showed(&mut self, now: Time, id: PeerId, handle: NetworkHandle, out: &mut Outbox) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        network.keep_out();
        self.applications.met(now, handle, &node);
        let Some(private) = &mut network.private else { return };
        private.greetings.remove(&node);
        if let Some(address) = private.certified(&node) {
            let held = network.ipv4_claim() == Some(address);
            if let Some(world) = self.ipv4_refused(handle, address).filter(|_| held) {
                self.memberships_changed(&world);
                self.tell_claims_everywhere(now, out);
            }
            for other in self.peers.ids().into_iter().filter(|other| *other != id) {
                if let Some(peer) = self.peers.get_mut(other)
                    && peer.claims.get(&handle) == Some(&address)
                {
                    peer.claims.remove(&handle);
                }
            }
        }
        self.try_held_again(now, handle, out);
    }

    /// When something is to be done for private networks.
    pub(crate) fn memberships_deadline(&self) -> Option<Time> {
        let private = self.networks.iter().filter_map(|network| network.private.as_ref());
        let each = private.flat_map(|private| {
            let greeting = private.greetings.values().map(|(at, _)| *at).min();
            [Some(private.due()), greeting, private.starting]
        });
        let told = self.claims_changed.then_some(Time::ZERO);
        let asked = self.applications.deadline().into_iter().chain(self.handing.deadline());
        each.flatten().chain(told).chain(asked).min()
    }

    /// Greets listed members, judges credentials again, and asks for certificates.
    pub(crate) fn tend_memberships(&mut self, now: Time, out: &mut Outbox) {
        if self.memberships_deadline().is_none_or(|at| at > now) {
            return;
        }
        if std::mem::take(&mut self.claims_changed) {
            self.tell_claims_everywhere(now, out);
        }
        for handle in self.networks.handles() {
            let network = self.networks.get_mut(handle);
            let Some(private) = network.and_then(|network| network.private.as_mut()) else {
                continue;
            };
            let greeted: Vec<PublicKey> = private
                .greetings
                .extract_if(.., |_, (at, _)| *at <= now)
                .map(|(_, (_, key))| key)
                .collect();
            if private.due() <= now {
                self.look_at_membership(now, handle);
            }
            for key in greeted {
                if let Some(id) = self.pin(now, key) {
                    self.want(now, id);
                }
            }
            let network = self.networks.get(handle);
            let starting = network.and_then(|network| network.private.as_ref()?.starting);
            if starting.is_some_and(|until| until <= now) {
                self.start_sharing(now, handle, out);
            }
        }
        self.tend_applications(now, out);
        self.tend_handing(now, out);
    }
}
