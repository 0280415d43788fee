//! Documents of private networks, config and revocations: how they get to whoever does not have them.
//!
//! Members tell each other in every session what they hold, and whoever is behind fetches it ([`exchange`]). Supernodes keep what
//! they cannot read ([`kept`]), for members that meet nobody ([`watching`]). Whatever comes is worth what the network key's
//! signature says, not what the one says who hands it over.

mod assembly;
mod checking;
mod exchange;
mod kept;
mod shelf;
mod watching;

use std::time::Duration;

use farlan_netconf::private::{Config, Revocations};

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    peers::{Peer, PeerId},
    retry::Retry,
    sessions::Shown,
};

pub(crate) use checking::Check;
pub(crate) use exchange::{ConfigFetched, Spoken};
pub(crate) use kept::{Asked, SealedPut};
pub(crate) use shelf::Shelf;
pub(crate) use watching::{STARTING, SealedFetched, starts_at_once};

/// Nothing is fetched for so long from somebody who sent what is no document.
const DISTRUSTED: Duration = Duration::from_secs(600);

/// Nothing is fetched for so long from somebody whose pieces did not come.
const SILENT: Duration = Duration::from_secs(30);

/// How many of both are remembered; the oldest gives way.
const MAX_SHUNNED: usize = 256;

/// What could not be fetched at one moment is looked at again.
const LATER: Duration = Duration::from_secs(1);

/// Members that are greeted, so that news reach them: as many as are pushed.
const GREETED: usize = crate::multicast::ALL;

/// Greetings of one node are so far apart, and those of several to one member are spread over 256 times as much.
const GREETING: Duration = Duration::from_millis(30);

/// What the engine does with documents.
#[derive(Debug)]
pub(crate) struct Documents {
    exchange: exchange::Exchange,
    watching: watching::Watching,
    pub(crate) kept: kept::Kept,
    /// From whom nothing is fetched until when.
    shunned: Vec<(PeerId, Time)>,
}

impl Documents {
    /// A supernode keeps `most` bytes of documents.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            exchange: exchange::Exchange::default(),
            watching: watching::Watching::default(),
            kept: kept::Kept::new(most),
            shunned: Vec::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let deadlines = [self.exchange.deadline(), self.watching.deadline(), self.kept.deadline()];
        deadlines.into_iter().flatten().min()
    }

    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.exchange.drop_network(network);
        self.watching.drop_network(network);
    }

    fn is_shunned(&self, now: Time, id: PeerId) -> bool {
        self.shunned
            .iter()
            .any(|(shunned, until)| *shunned == id && now < *until)
    }

    fn shun(&mut self, now: Time, id: PeerId, pause: Duration) {
        self.shunned.retain(|(shunned, until)| now < *until && *shunned != id);
        if self.shunned.len() >= MAX_SHUNNED {
            self.shunned.remove(0);
        }
        self.shunned.push((id, now + pause));
    }
}

impl Engine {
    /// Hands over what the controller of a private network signed, or what this node had before it was started. Revocations and
    /// a config that are new are told to all members at once, and change who is one; a config that is not above the one there is,
    /// and revocations that are known, change nothing. Returns whether something was new.
    ///
    /// Whoever kicks somebody and gives the others a new seed hands over both at once, so that nobody has the one without the other.
    pub fn set_documents(
        &mut self,
        now: Time,
        network: NetworkHandle,
        config: Option<Config>,
        revocations: &Revocations,
    ) -> bool {
        let grown = self.revocations_known(now, network, revocations);
        let newer = config.is_some_and(|config| self.config_known(now, network, config));
        grown || newer
    }

    /// The documents of a network changed: all who share it are told, and others are greeted so that they hear of it.
    pub(crate) fn documents_changed(&mut self, now: Time, handle: NetworkHandle, revoked: bool) {
        self.refresh_shelf(handle);
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            let mut told = false;
            for session in peer.sessions.usable_mut() {
                let networks = &mut session.networks;
                if !networks.shared(handle) {
                    continue;
                }
                let number = networks.documents_number + 1;
                if let Some(shown) = networks.shown_of(handle) {
                    shown.spoken.tell(now, number);
                    networks.documents_number = number;
                    told = true;
                }
            }
            if told {
                self.arm(id);
            }
        }
        self.watch_anew(now, handle);
        if revoked {
            self.greet_unmet(now, handle);
        }
    }

    /// What others handed over was taken.
    fn documents_taken(&mut self, now: Time, handle: NetworkHandle) {
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        self.events.push(Event::DocumentsChanged {
            network: handle,
            config: private.config().cloned().map(Box::new),
            revocations: Box::new(private.revocations().clone()),
        });
        self.documents.exchange.again(handle, now);
    }

    /// Brings what is told of a network's documents up to date.
    pub(crate) fn refresh_shelf(&mut self, handle: NetworkHandle) {
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let Some(private) = &mut network.private else { return };
        let mut shelf = private.take_shelf();
        let secrets: Vec<_> = network.secrets().collect();
        if let Some(private) = &network.private {
            shelf.fill(private.network(), private.config(), private.revocations(), &secrets);
        }
        if let Some(private) = &mut network.private {
            *private.shelf_mut() = shelf;
        }
    }

    /// Members that are listed or were met, and with whom no session stands, are greeted.
    fn greet_unmet(&mut self, now: Time, handle: NetworkHandle) {
        let own = self.public;
        let Some(network) = self.networks.get(handle) else {
            return;
        };
        let known = network.listed().chain(network.met.members().values());
        let mut unmet = Vec::new();
        for member in known {
            let node = member.key.node_id();
            let stands = |peer: &Peer| peer.sessions.current().is_some();
            let id = self.peers.by_node(&node).and_then(|id| self.peers.get(id));
            if member.key == own || network.keeps_out(&node) || id.is_some_and(stands) {
                continue;
            }
            if !unmet.contains(&member.key) && unmet.len() < GREETED {
                unmet.push(member.key);
            }
        }
        let network = self.networks.get_mut(handle);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return;
        };
        for key in unmet {
            let node = key.node_id();
            // Everybody greets, so nobody does it at once with others.
            let own = own.node_id();
            let apart = own.as_bytes().first().zip(node.as_bytes().first());
            let apart = apart.map_or(0, |(own, theirs)| own ^ theirs);
            private
                .greetings
                .entry(node)
                .or_insert_with(|| (now + GREETING * u32::from(apart), key));
        }
    }

    /// Whether a network is told of in a session: what is held here is sent until it is acknowledged.
    pub(crate) fn begin_documents(
        &mut self,
        now: Time,
        id: PeerId,
        local: crate::wire::datagram::SessionIndex,
        out: &mut Outbox,
    ) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let networks = &mut session.networks;
        let silent = |shown: &Shown| shown.spoken.number == 0;
        let new: Vec<NetworkHandle> = networks
            .shown
            .iter()
            .filter(|shown| silent(shown) && networks.shared(shown.network))
            .map(|shown| shown.network)
            .collect();
        for handle in &new {
            let number = networks.documents_number + 1;
            if let Some(shown) = networks.shown_of(*handle) {
                shown.spoken.tell(now, number);
                networks.documents_number = number;
            }
        }
        if !new.is_empty() {
            self.tend_telling(now, id, out);
        }
    }

    /// Does what is due for documents.
    pub(crate) fn tend_documents(&mut self, now: Time, out: &mut Outbox) {
        if self.documents.deadline().is_none_or(|at| at > now) {
            return;
        }
        self.tend_exchange(now, out);
        self.tend_watching(now, out);
        self.tend_kept(now, out);
    }
}

/// When something that is told is told again.
fn due(retry: Option<&Retry>) -> Option<Time> {
    retry.map(Retry::at)
}
