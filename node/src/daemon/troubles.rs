//! What goes wrong while the daemon goes on: reported once in the log, and shown in the status until it is over.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use farlan_crypto::NodeId;

use super::{Book, Daemon};
use crate::{
    api::Twin,
    diagnosis::speaks_version,
    failure::Failure,
    state::{IDENTITY, StateDir},
};

/// The troubles of this daemon.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    twin: Option<SeenTwin>,
    /// The other version that a node speaks, and when it last said so.
    versions: BTreeMap<NodeId, (u8, Instant)>,
    /// The other versions in which this node was called, and when last.
    callers: BTreeMap<u8, Instant>,
    /// What could not be written of the state, and why.
    unwritten: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct SeenTwin {
    supernode: NodeId,
    address: Option<SocketAddr>,
    last: Instant,
}

/// What is not heard of again for so long is over. A supernode that sees twins says so every half minute.
const SHOWN: Duration = Duration::from_secs(180);

/// Nodes of other versions that are remembered: more than there are supernodes and peers one calls at a time.
const MAX_VERSIONS: usize = 256;

impl Troubles {
    /// A supernode sees another machine with this identity.
    pub(super) fn twin(&self, state: &StateDir, supernode: NodeId, address: Option<SocketAddr>) {
        let last = Instant::now();
        let mut known = self.lock();
        let before = known.twin.take().filter(|before| before.last.elapsed() < SHOWN);
        let is_news = before.is_none();
        known.twin = Some(match before {
            // Another supernode knows more.
            Some(before) if address.is_none() => SeenTwin { last, ..before },
            _ => SeenTwin {
                supernode,
                address,
                last,
            },
        });
        if is_news {
            drop(known);
            tracing::error!(supernode = %supernode.short(), "{}", twin_remedy(state));
        }
    }

    /// A node that was called, or nobody known where this one was called, speaks another version. Returns whether it is a
    /// new finding.
    pub(super) fn other_version(&self, node: Option<NodeId>, version: u8) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        match node {
            None => known.callers.insert(version, now).is_none(),
            Some(node) => {
                if known.versions.len() >= MAX_VERSIONS && !known.versions.contains_key(&node) {
                    known.versions.retain(|_, (_, last)| last.elapsed() < SHOWN);
                }
                if known.versions.len() >= MAX_VERSIONS {
                    return false;
                }
                let before = known.versions.insert(node, (version, now));
                before.is_none_or(|(before, _)| before != version)
            }
        }
    }

    /// A node was reached in the version of this one.
    pub(super) fn version_fits(&self, node: NodeId) {
        self.lock().versions.remove(&node);
    }

    /// The other version that a node says it speaks.
    pub(super) fn version_of(&self, node: NodeId) -> Option<u8> {
        let known = self.lock();
        let (version, last) = known.versions.get(&node)?;
        (last.elapsed() < SHOWN).then_some(*version)
    }

    /// Notes whether a part of the state could be written.
    fn written(&self, what: &'static str, written: Result<(), Failure>) {
        let mut known = self.lock();
        match written {
            Ok(()) => {
                if known.unwritten.remove(what).is_some() {
                    tracing::info!("the {what} are written down again");
                }
            }
            Err(failure) => {
                let before = known.unwritten.insert(what, failure.message.clone());
                if before.as_ref() != Some(&failure.message) {
                    tracing::error!("the {what} are not written down: {failure}; farlan goes on and tries again");
                }
            }
        }
    }

    fn is_unwritten(&self) -> bool {
        !self.lock().unwritten.is_empty()
    }

    /// What the user should know about the state on disk.
    pub(super) fn unwritten_notes(&self) -> Vec<String> {
        let known = self.lock();
        let note = |(what, reason): (&&str, &String)| {
            format!(
                "what changed in the {what} is not written down, and would be lost at a restart: {reason}; farlan tries \
                 again every {} s",
                super::UPKEEP_EVERY.as_secs()
            )
        };
        known.unwritten.iter().map(note).collect()
    }

    /// What the user should know.
    pub(super) fn notes(&self, state: &StateDir) -> Vec<String> {
        let mut notes = self.unwritten_notes();
        let known = self.lock();
        if let Some(twin) = known.twin.as_ref().filter(|twin| twin.last.elapsed() < SHOWN) {
            let seen = twin.address.map(|address| format!(" It was seen at {address}."));
            notes.push(twin_remedy(state) + &seen.unwrap_or_default());
        }
        for (node, (version, last)) in &known.versions {
            if last.elapsed() < SHOWN {
                notes.push(speaks_version(&format!("the node {}", node.short()), *version));
            }
        }
        for (version, last) in &known.callers {
            if last.elapsed() < SHOWN {
                notes.push(speaks_version("a node that calls this one", *version));
            }
        }
        notes
    }

    /// The other machine with this identity, if there is one.
    pub(super) fn seen_twin(&self) -> Option<Twin> {
        let known = self.lock();
        let twin = known.twin.as_ref().filter(|twin| twin.last.elapsed() < SHOWN)?;
        Some(Twin {
            address: twin.address,
            supernode: twin.supernode.to_string(),
            seen_s: twin.last.elapsed().as_secs(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Writes worlds and networks down. What cannot be written, as on a full disk, is reported and tried again: the daemon
    /// goes on with what it has in memory.
    pub(super) fn write_down(&self, book: &Book) {
        self.troubles.written("supernodes", book.worlds.save(&self.state));
        self.troubles.written("networks", book.networks.save(&self.state));
    }

    /// Notes whether the contacts could be written.
    pub(super) fn contacts_written(&self, written: Result<(), Failure>) {
        self.troubles.written("contacts", written);
    }

    /// Writes down what could not be written before.
    pub(super) fn write_down_again(&self, book: &Book) {
        if self.troubles.is_unwritten() {
            self.write_down(book);
        }
    }

    /// Another version of the protocol is spoken somewhere.
    pub(super) fn other_version_seen(&self, node: Option<NodeId>, address: Option<SocketAddr>, version: u8) {
        tracing::debug!(?address, version, "another version of the protocol");
        if self.troubles.other_version(node, version) {
            let who = node.map_or_else(
                || "a node that calls this one".to_owned(),
                |node| format!("the node {}", node.short()),
            );
            tracing::warn!("{}", speaks_version(&who, version));
        }
    }
}

fn twin_remedy(state: &StateDir) -> String {
    format!(
        "another running machine uses the identity of this node, and the two push each other off the network. Stop farlan \
         on one of them. If that one was cloned, give it an identity of its own: remove {} there and start farlan again.",
        state.path().join(IDENTITY).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    #[test]
    fn other_versions_are_news_once_and_over_when_the_node_answers() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let troubles = Troubles::default();
        assert!(troubles.other_version(Some(node(1)), 2));
        assert!(!troubles.other_version(Some(node(1)), 2));
        assert!(troubles.other_version(Some(node(1)), 3));
        assert!(troubles.other_version(None, 2));
        assert!(!troubles.other_version(None, 2));
        assert_eq!(troubles.version_of(node(1)), Some(3));
        let notes = troubles.notes(&state);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("speaks version 3 of the farlan protocol, this farlan version 1: update this one"));
        troubles.version_fits(node(1));
        assert_eq!(troubles.version_of(node(1)), None);
        assert_eq!(troubles.notes(&state).len(), 1);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let troubles = Troubles::default();
        for i in 0..=255 {
            assert!(troubles.other_version(Some(node(i)), 2));
        }
        assert!(!troubles.other_version(Some(NodeId::from_bytes([7; 16])), 2), "known");
        let mut fresh = [0; 16];
        fresh[0] = 1;
        assert!(!troubles.other_version(Some(NodeId::from_bytes(fresh)), 2), "no room");
    }

    #[test]
    fn a_twin_is_shown_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let troubles = Troubles::default();
        assert_eq!(troubles.seen_twin(), None);
        troubles.twin(&state, node(1), None);
        assert_eq!(troubles.seen_twin().unwrap().address, None);
        assert!(!troubles.notes(&state)[0].contains("seen at"));
        let address = Some("192.0.2.1:9600".parse().unwrap());
        for seen in [address, None] {
            troubles.twin(&state, node(1), seen);
            assert_eq!(troubles.seen_twin().unwrap().address, address);
        }
        let [note] = &troubles.notes(&state)[..] else {
            panic!("one note is wanted");
        };
        let file = directory.path().join(IDENTITY);
        assert!(
            note.contains("192.0.2.1:9600") && note.contains(&file.display().to_string()),
            "{note}"
        );
    }

    #[test]
    fn what_is_not_written_is_shown_until_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let troubles = Troubles::default();
        troubles.written("networks", Err(Failure::negative("no room")));
        assert!(troubles.is_unwritten());
        let notes = troubles.notes(&state);
        assert!(
            notes[0].contains("networks") && notes[0].contains("no room"),
            "{notes:?}"
        );
        troubles.written("networks", Ok(()));
        assert!(!troubles.is_unwritten());
        assert_eq!(troubles.notes(&state), Vec::<String>::new());
    }
}
