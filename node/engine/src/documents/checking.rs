//! Revocations that came, whose signatures are to be checked: a few in each turn, so that data need not wait for thousands.

use farlan_crypto::{PublicKey, Work};
use farlan_netconf::{
    DirectoryKey,
    private::{DocumentError, Revocation, Revocations, Revoked},
};
use tracing::debug;

use super::DISTRUSTED;
use crate::{
    Engine, NetworkHandle, Outbox, Time,
    peers::PeerId,
    wire::{control::Part, datagram::SessionIndex},
};

/// Signatures that are checked in one turn: with the keys that they are about 60 µs each, on the slowest of machines three times
/// that.
const SIGNATURES: usize = 2;

/// Revocations that are looked at in one turn, those that are known included.
const LOOKED_AT: usize = 64;

/// Bytes before the revocations.
const COUNT: usize = 2;

/// A set of revocations that is checked.
#[derive(Debug)]
pub(crate) struct Check {
    pub(super) network: NetworkHandle,
    pub(super) source: Source,
    bytes: Vec<u8>,
    /// How much of it is checked.
    at: usize,
    good: Option<Revocations>,
    members: Vec<farlan_crypto::NodeId>,
}

/// Who brought it.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Member {
        peer: PeerId,
        session: SessionIndex,
        part: Part,
        /// What that member said to hold.
        digest: [u8; 16],
    },
    /// It stood in a document that a supernode keeps.
    Supernode {
        peer: PeerId,
        key: DirectoryKey,
        version: u64,
        document: Vec<u8>,
    },
}

impl Source {
    fn peer(&self) -> PeerId {
        match self {
            Self::Member { peer, .. } | Self::Supernode { peer, .. } => *peer,
        }
    }
}

impl Check {
    pub(super) fn new(network: NetworkHandle, source: Source, bytes: Vec<u8>) -> Self {
        Self {
            network,
            source,
            bytes,
            at: 0,
            good: None,
            members: Vec::new(),
        }
    }

    /// Checks the next ones; whether all are.
    fn go_on(&mut self, known: &Revocations) -> Result<bool, DocumentError> {
        if self.at == 0 {
            let count = self.bytes.first_chunk::<COUNT>();
            let count = usize::from(u16::from_be_bytes(*count.unwrap_or(&[0xff; COUNT])));
            if count > Revocations::MAX_COUNT || self.bytes.len() != COUNT + count * Revocation::LENGTH {
                return Err(DocumentError::Revocations(count));
            }
            self.at = COUNT;
        }
        let mut signatures = 0;
        for _ in 0..LOOKED_AT {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(next) = rest.first_chunk::<{ Revocation::LENGTH }>() else {
                return Ok(true);
            };
            let before = self
                .at
                .checked_sub(Revocation::LENGTH)
                .filter(|before| *before >= COUNT);
            let before = before.and_then(|before| self.bytes.get(before..self.at));
            if before.is_some_and(|before| before >= &next[..]) {
                return Err(DocumentError::Order);
            }
            if !known.contains(next) {
                if signatures == SIGNATURES {
                    return Ok(false);
                }
                signatures += 1;
                let revocation = Revocation::decode(next, known.network())?;
                if let Revoked::Member { node, .. } = revocation.revoked() {
                    let key = PublicKey::from_bytes(&node, Work::NONE).ok();
                    self.members.extend(key.map(|key| key.node_id()));
                }
                self.good
                    .get_or_insert_with(|| Revocations::new(*known.network()))
                    .insert(revocation);
            }
            self.at += Revocation::LENGTH;
        }
        Ok(self.at >= self.bytes.len())
    }
}

impl Engine {
    /// A set that came has its turn to be checked.
    pub(crate) fn check_revocations(&mut self, now: Time, mut check: Check, out: &mut Outbox) {
        let handle = check.network;
        let network = self.networks.get_mut(handle);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return;
        };
        match check.go_on(private.revocations()) {
            Ok(false) => self.handshakes.queue.add_check(check),
            Ok(true) => {
                let grown = check
                    .good
                    .take()
                    .is_some_and(|good| private.take_checked(&good, &check.members));
                if grown {
                    self.judge_all(now, handle);
                    self.documents_changed(now, handle, true);
                    self.documents_taken(now, handle);
                }
                self.note_stale(&check);
                self.check_ended(now, check.network, check.source, true, out);
            }
            Err(reason) => {
                let from = check.source.peer();
                debug!(from = %self.name(from), %reason, "revocations refused");
                self.counters.documents_refused += 1;
                self.documents.shun(now, from, DISTRUSTED);
                self.check_ended(now, check.network, check.source, false, out);
            }
        }
    }

    /// A document that lacks revocations is to be replaced by whoever can.
    fn note_stale(&mut self, check: &Check) {
        let Source::Supernode { version, .. } = &check.source else {
            return;
        };
        let network = self.networks.get(check.network);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        if private.revocations().newest(Revocations::SEALED_COUNT).encode() != check.bytes {
            self.events.push(crate::Event::DocumentStale {
                network: check.network,
                version: *version,
            });
        }
    }

    fn check_ended(&mut self, now: Time, handle: NetworkHandle, source: Source, good: bool, out: &mut Outbox) {
        match source {
            Source::Member {
                peer,
                session,
                part,
                digest,
            } => self.revocations_checked(now, handle, (peer, session), (part, digest), good, out),
            Source::Supernode {
                peer,
                key,
                version,
                document,
            } => self.sealed_checked(now, handle, peer, (key, version), good.then_some(document), out),
        }
    }
}
