//! What the daemon shows: documents of the API made from a snapshot and the book.

use data_encoding::HEXLOWER;
use farlan_crypto::NodeId;
use farlan_engine::{PathKind, PeerStatus};
use farlan_netconf::{Endpoint, NetworkId};

use super::{
    Book, Daemon,
    networks::{Joined, Mark},
};
use crate::{
    api::{Network, Peer, PeerNetwork, SCHEMA, Status, Supernode, milliseconds},
    cli::VERSION,
    failure::Failure,
    names::Directory,
    shell::Snapshot,
};

impl Daemon {
    /// How the daemon is.
    ///
    /// # Errors
    /// The data plane has ended.
    pub async fn status(&self) -> Result<Status, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let hosting = self.hosting_status().await;
        let book = self.book.lock().await;
        let engine = snapshot.counters.iter();
        let counters = engine
            .chain(snapshot.shell.iter())
            .chain([("card_dropped", self.card_dropped(&book))])
            .chain(self.lift.counters().iter())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(Status {
            schema: SCHEMA,
            version: VERSION.into(),
            node_id: self.node_id().to_string(),
            public_key: HEXLOWER.encode(self.key.as_bytes()),
            port: self.port,
            uptime_s: self.started.elapsed().as_secs(),
            supernodes: self.supernodes(&book, &snapshot),
            port_mapping: self.mappings.view(),
            names: self.names.view(),
            lan_games: self.lift.view(),
            hosting,
            networks: book.networks.joined().count(),
            peers: snapshot.peers.iter().filter(|peer| peer.path.is_some()).count(),
            twin: self.troubles.seen_twin(),
            notes: self
                .troubles
                .notes(&self.state)
                .into_iter()
                .chain(self.office.notes())
                .chain(self.lift.notes())
                .chain(self.private_notes(&book))
                .chain(notes(&book))
                .collect(),
            counters,
        })
    }

    /// Frames that the kernel counts as dropped on their way to the daemon, on the present cards. Many mean that queues were
    /// full; one or two can be there before there is any load.
    fn card_dropped(&self, book: &Book) -> u64 {
        let states = book
            .networks
            .joined()
            .map(|joined| self.cards.state(joined.card_index()));
        // A card that is gone or cannot be asked shows itself elsewhere.
        states.filter_map(|state| Some(state.ok()??.dropped)).sum()
    }

    /// The joined networks.
    ///
    /// # Errors
    /// The data plane has ended.
    pub async fn networks(&self) -> Result<Vec<Network>, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let book = self.book.lock().await;
        Ok(book
            .networks
            .joined()
            .filter_map(|joined| self.network_view(joined, &snapshot))
            .collect())
    }

    /// The peers.
    ///
    /// # Errors
    /// The data plane has ended.
    pub async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let book = self.book.lock().await;
        self.take_names(&book, &snapshot);
        let directory = self.names.directory();
        Ok(snapshot
            .peers
            .iter()
            .map(|status| peer(&book, &directory, status))
            .collect())
    }

    /// A joined network, as far as the data plane knows it.
    pub(super) fn network_view(&self, joined: &Joined, snapshot: &Snapshot) -> Option<Network> {
        let status = snapshot
            .networks
            .iter()
            .find(|status| status.handle == joined.handle())?;
        let mut view = joined.view(status);
        view.lan_games = self.lift.way(joined.membership().lan_games);
        view.private = self.membership_view(joined.membership());
        view.notes.extend(self.membership_notes(joined.membership()));
        view.notes.extend(self.troubles.unwritten_notes());
        Some(view)
    }

    /// The supernodes in use, and those of the known worlds that the data plane does not list (yet).
    pub(super) fn supernodes(&self, book: &Book, snapshot: &Snapshot) -> Vec<Supernode> {
        let mut supernodes = Vec::new();
        for world in book.worlds.iter() {
            for listed in world.supernodes() {
                let node = listed.key.node_id();
                let status = snapshot
                    .supernodes
                    .iter()
                    .find(|status| status.node == node && status.world == world.id());
                let tcp = status.is_some_and(|status| status.tcp);
                let address = status.and_then(|status| status.address);
                let address = address.map(|address| match Endpoint::try_from(address) {
                    Ok(endpoint) if tcp => endpoint.over_tcp().to_string(),
                    _ => address.to_string(),
                });
                supernodes.push(Supernode {
                    node_id: node.to_string(),
                    world: world.id().to_string(),
                    address: address.or_else(|| listed.endpoints.first().map(ToString::to_string)),
                    registered: status.is_some_and(|status| status.registered),
                    home: status.is_some_and(|status| status.home),
                    tcp,
                    // Of one that does not answer the last time says nothing.
                    rtt_ms: status
                        .filter(|status| status.registered)
                        .and_then(|status| status.rtt)
                        .map(milliseconds),
                    other_version: self.troubles.version_of(node),
                });
            }
        }
        supernodes
    }
}

fn peer(book: &Book, directory: &Directory, status: &PeerStatus) -> Peer {
    let networks: Vec<_> = status
        .networks
        .iter()
        .filter_map(|there| {
            let joined = book.networks.by_handle(there.network)?;
            Some(PeerNetwork {
                name: joined.name().to_owned(),
                network_id: joined.id().to_string(),
                ipv4: there.ipv4,
                ipv6: there.ipv6,
                host: host(directory, &joined.id(), &status.node),
                member: joined
                    .membership()
                    .private
                    .is_some()
                    .then(|| there.membership.is_some()),
                muted: joined.membership().marked(Mark::Muted).contains(&status.node),
                pinned: joined.membership().marked(Mark::Pinned).contains(&status.node),
            })
        })
        .collect();
    Peer {
        node_id: status.node.to_string(),
        path: status.path.as_ref().map(PathKind::to_string),
        address: status.address,
        supernode: status.supernode.map(|supernode| supernode.to_string()),
        tcp: status.tcp,
        rtt_ms: status.rtt.map(milliseconds),
        heard_s: status.heard.map(|heard| (heard.as_secs_f64() * 10.0).round() / 10.0),
        ipv4: networks.iter().find_map(|network| network.ipv4),
        ipv6: networks.first().map(|network| network.ipv6),
        name: networks.iter().find_map(|network| network.host.clone()),
        networks,
    }
}

/// What a peer is called in a network: the whole name.
pub(super) fn host(directory: &Directory, network: &NetworkId, node: &NodeId) -> Option<String> {
    let (name, domain) = (directory.name(network, node)?, directory.domain(network)?);
    Some(format!("{name}.{domain}"))
}

/// What the user should know, network by network.
fn notes(book: &Book) -> Vec<String> {
    let joined = book.networks.joined();
    let mut notes: Vec<_> = joined
        .flat_map(|joined| {
            joined
                .notes()
                .into_iter()
                .map(move |note| format!("{}: {note}", joined.name()))
        })
        .collect();
    notes.extend(
        book.networks
            .dormant()
            .map(|(name, reason)| format!("{name}: not joined: {reason}")),
    );
    notes
}
