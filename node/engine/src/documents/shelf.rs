//! What a node tells and hands out of the documents of one network, ready to be sent.

use std::collections::{BTreeMap, VecDeque};

use farlan_netconf::{
    DirectoryKey, NetworkSecret, PrivateNetwork,
    private::{Config, Revocations, document_key},
};

use super::assembly::piece_at;
use crate::wire::control::{Holding, Part};

/// Revocations that are handed out as news.
const NEWS: usize = 8;

/// Own digests that are remembered: who tells one of them is behind.
const MAX_HAD: usize = 32;

/// Configs of one number beside the one in force that are remembered.
const MAX_FORKS: usize = 8;

/// The documents of one network.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) holding: Holding,
    /// All revocations, and the newest of them, encoded.
    revocations: Vec<u8>,
    news: Vec<u8>,
    news_digest: [u8; 16],
    had: VecDeque<[u8; 16]>,
    forks: Vec<(u64, [u8; 8])>,
    /// The newest sealed document seen under each secret, by its key.
    sealed: BTreeMap<DirectoryKey, Sealed>,
}

/// A sealed document, or the place for one.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The member key made of the same secret.
    pub(crate) member_key: DirectoryKey,
    /// Whether this node registers under that secret, and so watches the document.
    pub(crate) watched: bool,
    /// 0 as long as none was seen.
    pub(crate) version: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self {
            holding: Holding {
                counter: 0,
                hash: [0; 8],
                digest: [0; 16],
            },
            revocations: Vec::new(),
            news: Vec::new(),
            news_digest: [0; 16],
            had: VecDeque::new(),
            forks: Vec::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// Puts in what is held now. The secrets come with their member keys, the one in force first.
    pub(crate) fn fill(
        &mut self,
        network: &PrivateNetwork,
        config: Option<&Config>,
        revocations: &Revocations,
        secrets: &[(DirectoryKey, &NetworkSecret)],
    ) {
        if let Some(order) = config.map(Config::order) {
            self.holding.counter = order.counter;
            self.holding.hash = first(&order.hash);
        }
        let encoded = revocations.encode();
        if encoded != self.revocations {
            if !self.revocations.is_empty() {
                if self.had.len() >= MAX_HAD {
                    self.had.pop_front();
                }
                self.had.push_back(self.holding.digest);
            }
            self.revocations = encoded;
            self.holding.digest = revocations.digest();
            let news = revocations.newest(NEWS);
            self.news = news.encode();
            self.news_digest = news.digest();
        }
        let kept = |member_key: &DirectoryKey| self.sealed.values().any(|sealed| sealed.member_key == *member_key);
        let new: Vec<_> = secrets.iter().filter(|(key, _)| !kept(key)).collect();
        for (member_key, secret) in new {
            let place = Sealed {
                member_key: *member_key,
                watched: false,
                version: 0,
                bytes: Vec::new(),
            };
            self.sealed.insert(document_key(network.key(), secret), place);
        }
        self.sealed
            .retain(|_, sealed| secrets.iter().any(|(key, _)| *key == sealed.member_key));
        for sealed in self.sealed.values_mut() {
            let mut latest = secrets.iter().take(2);
            sealed.watched = latest.any(|(key, _)| *key == sealed.member_key);
        }
    }

    /// Whether somebody with this digest has nothing that this node lacks.
    pub(crate) fn covers(&self, digest: &[u8; 16]) -> bool {
        self.holding.digest == *digest || self.had.contains(digest)
    }

    /// Whether a config that somebody tells of is to be fetched: a higher one, or another of the same number.
    pub(crate) fn wants_config(&self, told: &Holding) -> bool {
        let own = (self.holding.counter, self.holding.hash);
        let theirs = (told.counter, told.hash);
        let fork = told.counter > 0 && told.counter == self.holding.counter && theirs != own;
        theirs > own || (fork && !self.forks.contains(&theirs))
    }

    /// Notes a config of the same number as the one in force; whether that is new.
    pub(crate) fn note_fork(&mut self, config: &Config) -> bool {
        let order = config.order();
        let fork = (order.counter, first(&order.hash));
        if self.forks.contains(&fork) {
            return false;
        }
        if self.forks.len() >= MAX_FORKS {
            self.forks.remove(0);
        }
        self.forks.push(fork);
        true
    }

    /// A piece of the revocations: the hash of the whole, its length and the bytes.
    pub(crate) fn piece(&self, part: Part, offset: u32) -> Option<([u8; 8], u32, &[u8])> {
        let (digest, whole) = match part {
            Part::Revocations => (&self.holding.digest, &self.revocations),
            Part::News => (&self.news_digest, &self.news),
            Part::Config => return None,
        };
        let length = u32::try_from(whole.len()).ok()?;
        Some((first(digest), length, piece_at(whole, offset)?))
    }

    /// Whether the newest revocations are fewer than all.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (&DirectoryKey, &Sealed)> {
        self.sealed.iter()
    }

    pub(crate) fn sealed_at(&self, key: &DirectoryKey) -> Option<&Sealed> {
        self.sealed.get(key)
    }

    /// Keeps a document, if it is newer than the one there is.
    pub(crate) fn keep_sealed(&mut self, key: &DirectoryKey, version: u64, bytes: Vec<u8>) -> bool {
        match self.sealed.get_mut(key) {
            Some(sealed) if sealed.version < version => {
                sealed.version = version;
                sealed.bytes = bytes;
                true
            }
            _ => false,
        }
    }
}

/// The first bytes of a hash.
pub(crate) fn first(hash: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(hash) {
        *to = *from;
    }
    first
}
