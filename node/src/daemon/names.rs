//! Names of members: the directory filled from what the engine and the book know, and others told of it.
//!
//! What fills it is `networks_known`. In private networks the names are those of the certificates, with `certified`, and who was
//! thrown out is in `out`.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use farlan_crypto::NodeId;
use farlan_engine::CredentialStatus;
use farlan_netconf::{DnsLabel, NetworkId, Policy, private::Revoked};
use farlan_tap::{TapError, requests::HostName};
use tokio::sync::Notify;

use super::{Book, Daemon, networks::Joined, private::Kept};
use crate::{
    api::{Naming, ResolveReply, ResolveRequest, SCHEMA},
    config::{Dns, MachineName},
    failure::Failure,
    names::{self, Directory, Member, Network, Pins, Resolved, Responder, Unresolved},
    shell::{Request, Snapshot},
    state::StateDir,
};

/// What the daemon keeps about names.
#[derive(Debug, Default)]
pub(super) struct Names {
    directory: Arc<RwLock<Directory>>,
    settings: OnceLock<NameSettings>,
    responder: OnceLock<Responder>,
    /// Told when there may be something new.
    changed: Notify,
    outlet: Mutex<Outlet>,
}

/// What the configuration says about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSettings {
    /// What this machine is called in networks of friends.
    pub name: MachineName,
    /// Who resolves names of members.
    pub dns: Dns,
}

impl NameSettings {
    /// What this machine is called in networks of friends, if anything.
    fn own(&self) -> Option<DnsLabel> {
        match &self.name {
            MachineName::HostName => names::host_name(),
            MachineName::Nothing => None,
            MachineName::Label(label) => Some(label.clone()),
        }
    }
}

/// What others were told last.
#[derive(Debug, Default)]
struct Outlet {
    /// The cards whose names systemd-resolved asks for here, with the addresses they had.
    directed: BTreeMap<u32, Vec<IpAddr>>,
    /// Whether systemd-resolved does so, once it was tried.
    resolved: Option<bool>,
    /// What stands in the hosts file, once that is known.
    hosts: Option<Vec<HostName>>,
    /// When all of it was told anew.
    told: Option<Instant>,
    /// Why programs do not resolve names, if that is so.
    trouble: Option<String>,
    /// What was written down last.
    written: Pins,
}

/// A card whose names others may ask for.
struct Card {
    index: u32,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Begins with what the last run wrote down.
    pub(super) async fn start(&self, settings: NameSettings, state: &StateDir) {
        let port = settings.dns.port;
        let _ = self.settings.set(settings);
        let pins = match state.load::<Pins>(FILE) {
            Ok(pins) => pins.unwrap_or_default(),
            Err(failure) => {
                tracing::warn!(%failure, "what members were called is lost");
                Pins::default()
            }
        };
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Directory::restore(&pins);
        match Responder::start(Arc::clone(&self.directory), port).await {
            Ok(responder) => {
                let _ = self.responder.set(responder);
            }
            Err(error) => {
                tracing::warn!(%error, port, "names of members are not answered for over DNS");
            }
        }
    }

    /// There may be something new.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }

    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this machine is called in networks of friends if nothing else was said when it joined.
    pub(super) fn own(&self) -> Option<DnsLabel> {
        self.settings.get().and_then(NameSettings::own)
    }

    fn outlet(&self) -> std::sync::MutexGuard<'_, Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the documents of the API.
    pub(super) fn view(&self) -> Naming {
        let outlet = self.outlet();
        let way = match (outlet.resolved, &outlet.hosts) {
            (Some(true), _) => "resolved",
            (_, Some(names)) if !names.is_empty() => "hosts",
            _ => "none",
        };
        Naming {
            port: self.responder.get().map(Responder::port),
            way: way.to_owned(),
            trouble: outlet.trouble.clone(),
        }
    }
}

impl Daemon {
    /// Keeps the directory, and those who resolve names by it, up to date.
    pub(super) async fn follow_names(self: Arc<Self>) {
        let mut looks = LOOKS.iter();
        loop {
            if self.renew_names().await.is_err() {
                // The data plane has ended, and so does the daemon.
                return;
            }
            let cards = self.named_cards().await;
            let told = Arc::clone(&self);
            // The bus, or a disk, may take its time.
            let _ = tokio::task::spawn_blocking(move || told.tell_names(&cards)).await;
            let pause = looks.next().copied().unwrap_or(REFRESH);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.names.changed.notified() => {
                    tokio::time::sleep(SETTLING).await;
                    looks = LOOKS.iter();
                }
            }
        }
    }

    /// Brings the directory up to what is known now.
    pub(super) async fn renew_names(&self) -> Result<(), Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        self.take_names(&*self.book.lock().await, &snapshot);
        Ok(())
    }

    pub(super) fn take_names(&self, book: &Book, snapshot: &Snapshot) {
        let known = self.networks_known(book, snapshot);
        let pins = {
            let mut directory = self.names.directory.write().unwrap_or_else(PoisonError::into_inner);
            directory.update(&known);
            directory.pins()
        };
        let mut outlet = self.names.outlet();
        // Who was seen last changes all the time, and is not worth a write.
        if pins.in_order() == outlet.written.in_order() {
            return;
        }
        match self.state.save(FILE, &pins) {
            Ok(()) => outlet.written = pins,
            Err(failure) => tracing::warn!(%failure, "what members are called is not written down"),
        }
    }

    fn networks_known(&self, book: &Book, snapshot: &Snapshot) -> Vec<Network> {
        let joined = book
            .networks
            .joined()
            .filter_map(|joined| self.network_known(joined, snapshot));
        let asleep = book.networks.asleep().map(|membership| Network {
            id: membership.link.parameters.id(),
            label: membership.name().to_owned(),
            strangers: membership.link.parameters.policy() == Policy::Strangers,
            out: thrown_out(membership.private.as_deref()),
            subnets: Vec::new(),
            members: Vec::new(),
        });
        joined.chain(asleep).collect()
    }

    fn network_known(&self, joined: &Joined, snapshot: &Snapshot) -> Option<Network> {
        let mut statuses = snapshot.networks.iter();
        let status = statuses.find(|status| status.handle == joined.handle())?;
        let certified = |membership: Option<&CredentialStatus>| {
            let certified = membership.filter(|membership| !membership.provisional);
            certified.and_then(|membership| membership.name.clone())
        };
        let kept = joined.membership().private.as_deref();
        let own_name = certified(status.membership.as_ref());
        let own = Member {
            node: self.node_id(),
            certified: own_name.is_some(),
            name: own_name.or_else(|| self.name_in(joined.membership())),
            issue: issue(status.membership.as_ref()),
            own: true,
            ipv4: status.ipv4,
            ipv6: status.ipv6,
        };
        let others = snapshot.peers.iter().flat_map(|peer| {
            let there = peer.networks.iter().filter(|there| there.network == joined.handle());
            there.map(|there| {
                let membership = there.membership.as_ref();
                let name = certified(membership);
                // In a private network only members are believed what they say.
                let told = there.name.as_ref().filter(|_| kept.is_none() || membership.is_some());
                Member {
                    node: peer.node,
                    certified: name.is_some(),
                    issue: issue(membership),
                    // What an invite certified is what its holder says.
                    name: name
                        .or_else(|| told.cloned())
                        .or_else(|| membership.and_then(|membership| membership.name.clone())),
                    own: false,
                    ipv4: there.ipv4,
                    ipv6: there.ipv6,
                }
            })
        });
        Some(Network {
            id: joined.id(),
            label: match kept.and_then(|kept| kept.domain()) {
                Some(domain) => domain.to_string(),
                None => joined.membership().name().to_owned(),
            },
            strangers: joined.is_of_strangers(),
            out: thrown_out(kept),
            subnets: joined.subnets(status.ipv6),
            members: std::iter::once(own).chain(others).collect(),
        })
    }

    /// Somebody is no member of a network any more, and has no name there.
    pub(super) fn forget_name(&self, network: &NetworkId, node: &NodeId) {
        let mut directory = self.names.directory.write().unwrap_or_else(PoisonError::into_inner);
        directory.forget(network, node);
        drop(directory);
        self.names.look_again();
    }

    async fn named_cards(&self) -> Vec<Card> {
        let book = self.book.lock().await;
        let card = |joined: &Joined| Card {
            index: joined.card_index(),
            addresses: joined.on_card().into_iter().map(IpAddr::V4).collect(),
        };
        book.networks.joined().map(card).collect()
    }

    /// Tells the system's resolver, or else the hosts file, what changed; and everything once a minute, as others may change it.
    fn tell_names(&self, cards: &[Card]) {
        let Some(settings) = self.names.settings.get() else {
            return;
        };
        let mut outlet = self.names.outlet();
        let fresh = outlet.told.is_none_or(|told| told.elapsed() >= AGAIN);
        if fresh {
            outlet.told = Some(Instant::now());
        }
        outlet
            .directed
            .retain(|index, _| cards.iter().any(|card| card.index == *index));
        let mut trouble = None;
        if settings.dns.resolved {
            trouble = self.tell_resolved(&mut outlet, cards, fresh);
        }
        let by_file = settings.dns.hosts && outlet.resolved != Some(true);
        let wanted = if by_file { self.host_names(cards) } else { Vec::new() };
        if fresh && by_file || outlet.hosts.as_ref() != Some(&wanted) {
            match self.cards.set_hosts(&wanted) {
                Ok(()) => {
                    outlet.hosts = Some(wanted);
                    if by_file {
                        trouble = None;
                    }
                }
                Err(error) => {
                    outlet.hosts = None;
                    if by_file {
                        trouble = Some(error.to_string());
                    }
                }
            }
        } else if by_file {
            trouble = None;
        }
        if trouble != outlet.trouble {
            if let Some(reason) = &trouble {
                tracing::info!(%reason, "programs do not resolve names of members; `farlan resolve` does");
            }
            outlet.trouble = trouble;
        }
    }

    /// Returns why systemd-resolved does not ask here, if so.
    fn tell_resolved(&self, outlet: &mut Outlet, cards: &[Card], fresh: bool) -> Option<String> {
        let port = self.names.responder.get()?.port();
        if outlet.resolved == Some(false) && !fresh {
            return outlet.trouble.clone();
        }
        for card in cards {
            if !fresh && outlet.directed.get(&card.index) == Some(&card.addresses) {
                continue;
            }
            match self.cards.direct_names(card.index, port) {
                Ok(()) => {
                    if outlet.resolved != Some(true) {
                        tracing::info!("systemd-resolved asks here for names of members");
                    }
                    outlet.resolved = Some(true);
                    outlet.directed.insert(card.index, card.addresses.clone());
                }
                // It goes this moment.
                Err(TapError::NoSuchDevice { .. }) => {}
                Err(error) => {
                    outlet.resolved = Some(false);
                    outlet.directed.clear();
                    return Some(error.to_string());
                }
            }
        }
        None
    }

    /// What stands in the hosts file: all names in networks with a card. Each has all its addresses there: whoever asks for one
    /// kind and does not find it would ask elsewhere.
    fn host_names(&self, cards: &[Card]) -> Vec<HostName> {
        if cards.is_empty() {
            return Vec::new();
        }
        let directory = self.names.directory();
        let mut names: Vec<_> = directory
            .all_with_card()
            .map(|found| HostName {
                ipv4: found.ipv4,
                ipv6: found.ipv6,
                name: found.name,
            })
            .collect();
        names.sort_by(|one, other| one.name.cmp(&other.name));
        names
    }

    /// What was told is taken back.
    pub(super) fn take_names_back(&self) {
        let mut outlet = self.names.outlet();
        for index in std::mem::take(&mut outlet.directed).into_keys() {
            // With the card it goes anyway.
            let _ = self.cards.revert_names(index);
        }
        if outlet.hosts.as_ref().is_some_and(|names| !names.is_empty())
            && let Err(error) = self.cards.set_hosts(&[])
        {
            tracing::warn!(%error, "names of members may be left in the hosts file");
        }
    }

    /// What this machine is called in a network, if anything.
    pub(super) fn name_in(&self, membership: &super::networks::Membership) -> Option<DnsLabel> {
        let friends = membership.link.parameters.policy() == Policy::Friends;
        let asked_for = membership.name.clone();
        asked_for.or_else(|| self.names.own().filter(|_| friends))
    }

    /// Tells a network's members what this machine is called there.
    pub(super) async fn tell_own_name(&self, joined: &Joined) -> Result<(), Failure> {
        let (network, name) = (joined.handle(), self.name_in(joined.membership()));
        Ok(self.data_plane.send(Request::SetName { network, name }).await?)
    }

    /// Whose name it is, or what the holder of an address is called.
    ///
    /// # Errors
    /// Nobody is called that, or several are.
    pub async fn resolve(&self, request: &ResolveRequest) -> Result<ResolveReply, Failure> {
        self.renew_names().await?;
        let directory = self.names.directory();
        let found = match request.name.parse::<IpAddr>() {
            Ok(address) => directory.reverse(address).ok_or(Unresolved::Unknown),
            Err(_) => directory.resolve(&request.name),
        };
        let Resolved {
            name,
            node,
            network,
            own,
            ipv4,
            ipv6,
        } = found.map_err(|error| unresolved(&request.name, error))?;
        Ok(ResolveReply {
            schema: SCHEMA,
            name,
            node_id: node.to_string(),
            network_id: network.to_string(),
            own,
            ipv4,
            ipv6,
        })
    }
}

/// Who was thrown out of a private network, with the highest number of a certificate that does not count any more.
fn thrown_out(kept: Option<&Kept>) -> BTreeMap<NodeId, u64> {
    let mut out = BTreeMap::new();
    for revocation in kept.iter().flat_map(|kept| kept.revocations.iter()) {
        if let Revoked::Member { node, issue } = revocation.revoked() {
            let highest = out.entry(NodeId::of_key(&node)).or_insert(issue);
            *highest = issue.max(*highest);
        }
    }
    out
}

/// The number of a member's certificate; 0 without one.
fn issue(membership: Option<&CredentialStatus>) -> u64 {
    membership.map_or(0, |membership| membership.issue)
}

/// Why a name means nobody, for people.
pub(super) fn unresolved(text: &str, error: Unresolved) -> Failure {
    match error {
        Unresolved::Unknown => Failure::negative(format_args!(
            "nobody is called {text:?} in the networks joined here; `farlan peers` shows who is"
        )),
        Unresolved::Several(names) => {
            Failure::negative(format_args!("several are called {text:?}: {}", names.join(", ")))
        }
    }
}

/// The file in the state directory.
pub(super) const FILE: &str = "names.toml";

/// When it is looked again after something happened: addresses come a little later than who has them.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// How long what happens together is waited for.
const SETTLING: Duration = Duration::from_millis(100);

/// How often it is looked without a reason.
const REFRESH: Duration = Duration::from_secs(10);

/// How often others are told anew: somebody may have changed what they were told, or start systemd-resolved.
const AGAIN: Duration = Duration::from_secs(60);
