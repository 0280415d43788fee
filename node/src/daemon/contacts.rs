//! The peers known, and where they answered: a restarted daemon greets those heard lately before they notice, and finds the
//! others where no supernode answers.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use data_encoding::HEXLOWER_PERMISSIVE;
use farlan_crypto::{PublicKey, Work};
use farlan_engine::{Contact, NetworkHandle, PeerStatus};
use farlan_netconf::WorldId;
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, state::StateDir};

/// Who was met, as it stands on disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contacts {
    contacts: BTreeMap<PublicKey, Known>,
}

/// What is known of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    world: WorldId,
    /// Where it answered straight, the latest first.
    endpoints: Vec<SocketAddr>,
    /// Whether it was heard in the last minutes.
    lately: bool,
}

/// `contacts.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(default, rename = "contact")]
    contacts: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// The key, 64 hexadecimal digits.
    key: String,
    /// The world at which to meet it.
    world: String,
    /// Where it answered straight, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<SocketAddr>,
    /// Whether it was not heard in the last minutes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    idle: bool,
}

impl Contacts {
    /// Reads the file. It is a cache: one that cannot be read counts as empty.
    pub(super) fn load(state: &StateDir, work: Work) -> Self {
        let file = match state.load::<File>(FILE) {
            Ok(file) => file.unwrap_or_default(),
            Err(failure) => {
                tracing::warn!(%failure, "the cached contacts are lost");
                File::default()
            }
        };
        let contacts = Self::of(&file, work);
        if contacts.contacts.len() < file.contacts.len() {
            tracing::warn!(file = FILE, "left out cached contacts that are damaged");
        }
        contacts
    }

    /// The contacts of a file, without those that are damaged.
    fn of(file: &File, work: Work) -> Self {
        Self {
            contacts: file.contacts.iter().filter_map(|entry| entry.read(work)).collect(),
        }
    }

    /// A text taken for the file, as it would be written again.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn rewritten(text: &str) -> Option<String> {
        let contacts = Self::of(&toml::from_str(text).ok()?, Work::NONE).contacts;
        toml::to_string(&File::of(&contacts)).ok()
    }

    /// The key of the only contact whose id begins with `prefix`.
    pub(super) fn by_prefix(&self, prefix: &str) -> Option<PublicKey> {
        let begins = |key: &&PublicKey| key.node_id().to_string().starts_with(prefix);
        let mut found = self.contacts.keys().filter(begins);
        found.next().filter(|_| found.next().is_none()).copied()
    }

    /// The contacts of each world.
    pub(super) fn by_world(&self) -> BTreeMap<WorldId, Vec<Contact>> {
        let mut worlds: BTreeMap<WorldId, Vec<Contact>> = BTreeMap::new();
        for (key, known) in &self.contacts {
            worlds.entry(known.world).or_default().push(Contact {
                key: *key,
                endpoints: known.endpoints.clone(),
                lately: known.lately,
            });
        }
        worlds
    }

    /// Takes over who was heard lately, and writes it down if it changed.
    pub(super) fn update(
        &mut self,
        state: &StateDir,
        peers: &[PeerStatus],
        world_of: impl Fn(NetworkHandle) -> Option<WorldId>,
    ) -> Result<(), Failure> {
        let mut recent: Vec<_> = peers
            .iter()
            .filter_map(|peer| {
                let heard = peer.heard.filter(|heard| *heard <= RECENT)?;
                let world = peer.networks.iter().find_map(|network| world_of(network.network))?;
                Some((heard, peer.key, world, &peer.endpoints))
            })
            .collect();
        recent.sort();
        recent.truncate(MOST);
        let mut contacts: BTreeMap<_, _> = recent
            .into_iter()
            .map(|(_, key, world, endpoints)| {
                let before = self.contacts.get(&key).map(|known| &known.endpoints);
                // Who is relayed now may be where it was when the relay is gone.
                let endpoints = Some(endpoints).filter(|endpoints| !endpoints.is_empty()).or(before);
                let known = Known {
                    world,
                    endpoints: endpoints.cloned().unwrap_or_default(),
                    lately: true,
                };
                (key, known)
            })
            .collect();
        for (key, known) in &self.contacts {
            if contacts.len() < MOST && !contacts.contains_key(key) && !known.endpoints.is_empty() {
                let known = Known {
                    lately: false,
                    ..known.clone()
                };
                contacts.insert(*key, known);
            }
        }
        if contacts == self.contacts {
            return Ok(());
        }
        // What could not be written is tried again.
        state.save(FILE, &File::of(&contacts))?;
        self.contacts = contacts;
        Ok(())
    }
}

impl File {
    fn of(contacts: &BTreeMap<PublicKey, Known>) -> Self {
        let entry = |(key, known): (&PublicKey, &Known)| Entry::write(key, known);
        Self {
            contacts: contacts.iter().map(entry).collect(),
        }
    }
}

impl Entry {
    fn read(&self, work: Work) -> Option<(PublicKey, Known)> {
        let bytes = HEXLOWER_PERMISSIVE.decode(self.key.as_bytes()).ok()?;
        let key = PublicKey::from_bytes(&bytes.try_into().ok()?, work).ok()?;
        let known = Known {
            world: self.world.parse().ok()?,
            endpoints: self.endpoints.iter().copied().take(ENDPOINTS).collect(),
            lately: !self.idle,
        };
        Some((key, known))
    }

    fn write(key: &PublicKey, known: &Known) -> Self {
        Self {
            key: HEXLOWER_PERMISSIVE.encode(key.as_bytes()),
            world: known.world.to_string(),
            endpoints: known.endpoints.clone(),
            idle: !known.lately,
        }
    }
}

/// The file in the state directory.
pub(super) const FILE: &str = "contacts.toml";

/// Peers heard within this time are contacts: as long as their sessions with the last run can live.
const RECENT: Duration = Duration::from_secs(180);

/// Most contacts kept, the last heard ones first: as many as a network has members that all know each other.
const MOST: usize = 128;

/// Endpoints of one.
const ENDPOINTS: usize = 2;

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, random::SystemRandom};

    use super::*;

    fn key() -> PublicKey {
        Identity::generate(&mut SystemRandom::from_os().unwrap(), Work::NONE).public()
    }

    #[test]
    fn entries_round_trip_and_damage_costs_one_entry_or_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert_eq!(Contacts::load(&state, Work::NONE), Contacts::default());
        let (first, second) = (key(), key());
        let world = WorldId::of(&first);
        let known = Known {
            world,
            endpoints: vec!["192.0.2.1:9600".parse().unwrap()],
            lately: true,
        };
        let other = Known {
            world,
            endpoints: Vec::new(),
            lately: false,
        };
        let mut entries = vec![Entry::write(&first, &known), Entry::write(&second, &other)];
        state
            .save(
                FILE,
                &File {
                    contacts: std::mem::take(&mut entries),
                },
            )
            .unwrap();
        let contacts = Contacts::load(&state, Work::NONE);
        let both = BTreeMap::from([(first, known.clone()), (second, other)]);
        assert_eq!(contacts, Contacts { contacts: both });
        assert_eq!(contacts.by_world()[&world].len(), 2);
        let damaged = Entry {
            key: "zz".into(),
            ..Entry::write(&first, &known)
        };
        state
            .save(
                FILE,
                &File {
                    contacts: vec![damaged, Entry::write(&first, &known)],
                },
            )
            .unwrap();
        assert_eq!(Contacts::load(&state, Work::NONE).contacts.len(), 1);
        std::fs::write(directory.path().join(FILE), "[[contact").unwrap();
        assert_eq!(Contacts::load(&state, Work::NONE), Contacts::default());
    }

    #[test]
    fn an_unheard_peer_is_no_contact() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let key = key();
        let peer = PeerStatus {
            supernode: None,
            tcp: false,
            node: key.node_id(),
            key,
            path: None,
            address: None,
            rtt: None,
            heard: Some(Duration::from_secs(181)),
            endpoints: Vec::new(),
            networks: Vec::new(),
        };
        let mut contacts = Contacts::default();
        contacts.update(&state, &[peer], |_| None).unwrap();
        assert_eq!(contacts, Contacts::default());
        assert!(!directory.path().join(FILE).exists());
    }
}
