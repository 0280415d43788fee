//! The networks this node is in: joining, leaving, and their cards.

mod card;
mod file;
mod hand_set;
mod marks;
mod subnets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use farlan_crypto::PublicKey;
use farlan_engine::{Join, JoinError, NetworkHandle, NetworkStatus};
use farlan_netconf::{
    AddressPlan, DnsLabel, Kind, Label, Link, NetworkId, NetworkLink, NetworkName, Parameters, Policy, World, WorldId,
};

use super::{Book, Daemon, private::Kept, programs::Listening, worlds::SHORTEST_PREFIX};
use crate::{
    api::{JoinReply, JoinRequest, LeaveReply, LeaveRequest, Network, SCHEMA},
    failure::Failure,
    games::LanGames,
    ports::PortSet,
    shell::Request,
};
use card::AttachedCard;

pub(super) use file::FILE;
pub(super) use marks::{Mark, Marked};

/// The networks of this node.
#[derive(Debug, Default)]
pub(super) struct Networks {
    joined: Vec<Joined>,
    /// Networks that could not be joined again at the start; they are kept until somebody leaves them.
    dormant: Vec<Dormant>,
    /// Ports of listed games, which the members of all networks of strangers may reach.
    pub(super) games: PortSet,
}

#[derive(Debug)]
struct Dormant {
    membership: Membership,
    reason: String,
}

/// What is kept of a network between runs.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) link: NetworkLink,
    interface: Option<String>,
    ipv4: Option<Ipv4Addr>,
    /// Ports opened to strangers by hand.
    pub(super) opened: PortSet,
    /// What becomes of searches of games on the real LAN, if that was said.
    pub(super) lan_games: Option<LanGames>,
    /// Members whose broadcasts are not heard, and who get none.
    muted: Marked,
    /// Members who are the first to get broadcasts.
    pinned: Marked,
    /// What this machine is called there, if that was said when it joined.
    pub(super) name: Option<DnsLabel>,
    /// The documents of a private network; none of others.
    pub(super) private: Option<Box<Kept>>,
}

/// A joined network.
#[derive(Debug)]
pub(super) struct Joined {
    handle: NetworkHandle,
    id: NetworkId,
    membership: Membership,
    card: AttachedCard,
    /// The IPv4 address on the card.
    on_card: Option<Ipv4Addr>,
    /// What others put on the card, as the engine was told last.
    hand_set: Vec<IpAddr>,
    /// What local programs listen to there.
    pub(super) listening: Listening,
    /// Why no IPv4 address is claimed here, if none is.
    ipv4_obstacle: Option<String>,
    /// What could not be mended about the card when it was looked at last.
    card_trouble: Option<String>,
}

impl Networks {
    /// What the cards of the last run were called.
    pub(super) fn card_names(&self) -> impl Iterator<Item = &str> {
        self.dormant
            .iter()
            .filter_map(|dormant| dormant.membership.interface.as_deref())
    }

    /// All networks this node is in, those that could not be joined too.
    pub(super) fn memberships(&self) -> impl Iterator<Item = &Membership> {
        let joined = self.joined.iter().map(|joined| &joined.membership);
        joined.chain(self.dormant.iter().map(|dormant| &dormant.membership))
    }

    pub(super) fn membership(&self, id: NetworkId) -> Option<&Membership> {
        self.memberships().find(|membership| membership.id() == id)
    }

    pub(super) fn membership_mut(&mut self, id: NetworkId) -> Option<&mut Membership> {
        let joined = self.joined.iter_mut().map(|joined| &mut joined.membership);
        let mut all = joined.chain(self.dormant.iter_mut().map(|dormant| &mut dormant.membership));
        all.find(|membership| membership.link.parameters.id() == id)
    }

    /// The one network that a user means by `text`.
    ///
    /// # Errors
    /// None or several are called that.
    pub(super) fn called(&self, text: &str) -> Result<NetworkId, Failure> {
        let meant: Vec<_> = self
            .memberships()
            .filter(|it| it.is_called(text))
            .map(Membership::id)
            .collect();
        match &meant[..] {
            [only] => Ok(*only),
            [] => Err(Failure::negative(format_args!(
                "this node is in no network called {text:?}; `farlan networks` shows those it is in"
            ))),
            several => {
                let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(Failure::negative(format_args!(
                    "several networks are called {text:?}; name one by its id: {}",
                    ids.join(", ")
                )))
            }
        }
    }

    pub(super) fn joined(&self) -> impl Iterator<Item = &Joined> {
        self.joined.iter()
    }

    pub(super) fn joined_mut(&mut self) -> impl Iterator<Item = &mut Joined> {
        self.joined.iter_mut()
    }

    /// The networks that could not be joined.
    pub(super) fn asleep(&self) -> impl Iterator<Item = &Membership> {
        self.dormant.iter().map(|dormant| &dormant.membership)
    }

    /// Name and reason of the networks that could not be joined.
    pub(super) fn dormant(&self) -> impl Iterator<Item = (&str, &str)> {
        self.dormant
            .iter()
            .map(|dormant| (dormant.membership.name(), dormant.reason.as_str()))
    }

    pub(super) fn by_handle(&self, handle: NetworkHandle) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.handle == handle)
    }

    fn by_handle_mut(&mut self, handle: NetworkHandle) -> Option<&mut Joined> {
        self.joined.iter_mut().find(|joined| joined.handle == handle)
    }

    fn set_dormant(&mut self, membership: Membership, before: Option<&str>, failure: Failure) {
        if before != Some(failure.message.as_str()) {
            tracing::error!(network = %membership.name(), %failure, "cannot join again");
        }
        self.dormant.push(Dormant {
            membership,
            reason: failure.message,
        });
    }

    /// The name of a network that meets in `world`, if there is one.
    pub(super) fn in_world(&self, world: WorldId) -> Option<&str> {
        self.memberships()
            .find(|membership| membership.link.world.id() == world)
            .map(Membership::name)
    }

    /// A label that no network here has.
    pub(super) fn free_label(&self) -> Label {
        let taken = |text: &str| self.joined.iter().any(|joined| joined.name() == text);
        let numbered = (2..).map(|n| format!("lan{n}"));
        let text = std::iter::once("lan".to_owned())
            .chain(numbered)
            .find(|text| !taken(text));
        // Short and plain as it is, it is a label.
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl Membership {
    /// Nothing but what the link says is known.
    fn of(link: NetworkLink) -> Self {
        Self {
            link,
            interface: None,
            ipv4: None,
            opened: PortSet::default(),
            lan_games: None,
            muted: Marked::default(),
            pinned: Marked::default(),
            name: None,
            private: None,
        }
    }

    /// That of a private network whose members meet in `world`.
    pub(super) fn private(kept: Kept, world: World) -> Self {
        let mut membership = Self::of(kept.link(world));
        membership.private = Some(Box::new(kept));
        membership
    }

    /// Those whom the user muted, or pinned.
    pub(super) fn marked(&self, mark: Mark) -> &Marked {
        match mark {
            Mark::Muted => &self.muted,
            Mark::Pinned => &self.pinned,
        }
    }

    pub(super) fn marked_mut(&mut self, mark: Mark) -> &mut Marked {
        match mark {
            Mark::Muted => &mut self.muted,
            Mark::Pinned => &mut self.pinned,
        }
    }

    pub(super) fn id(&self) -> NetworkId {
        self.link.parameters.id()
    }

    /// The IPv4 address that this node had there last.
    pub(super) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4
    }

    /// How people call it: its name, else its label, else the first letters of its id.
    pub(super) fn name(&self) -> &str {
        match &self.link.parameters.kind {
            Kind::Name { name, .. } => name.as_str(),
            Kind::Link { .. } | Kind::Private { .. } if self.link.label.as_str().is_empty() => "(no name)",
            Kind::Link { .. } | Kind::Private { .. } => self.link.label.as_str(),
        }
    }

    /// What its card is called after; empty if it has neither name nor label.
    fn card_label(&self) -> &str {
        match &self.link.parameters.kind {
            Kind::Name { name, .. } => name.as_str(),
            Kind::Link { .. } | Kind::Private { .. } => self.link.label.as_str(),
        }
    }

    /// Whether a user means it by `text`.
    pub(super) fn is_called(&self, text: &str) -> bool {
        let id = self.link.parameters.id().to_string();
        let by_id = text.len() >= SHORTEST_PREFIX && id.starts_with(&text.to_ascii_lowercase());
        let by_name = self.name() == text || format!("{}@{}", self.name(), self.link.world.id()) == text;
        let domain = self.private.as_ref().and_then(|kept| kept.domain());
        let by_domain = domain.is_some_and(|domain| domain.as_str() == text);
        by_id || by_name || by_domain || self.interface.as_deref() == Some(text)
    }
}

impl Joined {
    pub(super) fn handle(&self) -> NetworkHandle {
        self.handle
    }

    pub(super) fn id(&self) -> NetworkId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        self.membership.name()
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn is_of_strangers(&self) -> bool {
        self.parameters().policy() == Policy::Strangers
    }

    /// Said of every network of strangers.
    fn filter_note(&self) -> String {
        let opened = match &self.membership.opened {
            none if none.is_empty() => "nothing is opened by hand (farlan open)".to_owned(),
            opened => format!("opened by hand: {opened}"),
        };
        let games = match &self.listening.games {
            none if none.is_empty() => "no listed game runs here".to_owned(),
            games => format!("open for listed games that run here: {games}"),
        };
        format!(
            "anybody who knows the name can join; a filter lets answers, pings, listed games that run here and opened ports \
             in; {games}, and {opened}"
        )
    }

    /// Bytes of its longest packet.
    pub(super) fn mtu(&self) -> u16 {
        self.parameters().mtu.bytes()
    }

    /// The IPv4 address on its card.
    pub(super) fn on_card(&self) -> Option<Ipv4Addr> {
        self.on_card
    }

    /// The subnets of its card, where this node's IPv6 address is this.
    pub(super) fn subnets(&self, ipv6: Ipv6Addr) -> Vec<(IpAddr, u8)> {
        let subnet = self.parameters().subnet;
        let ipv4 = self.claims_ipv4().then(|| (subnet.address().into(), subnet.prefix()));
        ipv4.into_iter().chain([(ipv6.into(), IPV6_PREFIX)]).collect()
    }

    pub(super) fn card_index(&self) -> u32 {
        self.card.index
    }

    /// The name of its card; empty where it has none.
    pub(super) fn interface(&self) -> &str {
        &self.card.interface
    }

    pub(super) fn world(&self) -> WorldId {
        self.membership.link.world.id()
    }

    /// Whether an IPv4 address is claimed here at all.
    fn claims_ipv4(&self) -> bool {
        self.ipv4_obstacle.is_none()
    }

    /// What the user should know about it.
    pub(super) fn notes(&self) -> Vec<String> {
        let (policy, subnet) = (self.parameters().policy(), self.parameters().subnet);
        let mut notes = Vec::new();
        if policy == Policy::Strangers {
            notes.push(self.filter_note());
        }
        if policy == Policy::Friends && !subnet.is_private() {
            notes.push(format!(
                "its subnet {subnet} hides that part of the Internet from this machine"
            ));
        }
        if let Some(obstacle) = &self.ipv4_obstacle {
            notes.push(format!(
                "IPv6 only on this machine: {obstacle}; when that is gone, it gets an IPv4 address too"
            ));
        }
        if !self.card.ipv6 {
            notes.push("IPv6 is switched off on this machine, so it has no IPv6 address there".to_owned());
        }
        if let Some(trouble) = &self.card_trouble {
            notes.push(format!("its network card is not as it should be: {trouble}"));
        }
        notes
    }

    fn parameters(&self) -> &Parameters {
        &self.membership.link.parameters
    }

    /// Whether `address` can be one of this network.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let subnet = self.parameters().subnet;
        let plan = AddressPlan::new(&self.id, &subnet);
        match address {
            IpAddr::V4(v4) => self.claims_ipv4() && subnet.contains(v4),
            IpAddr::V6(v6) => plan
                .prefix_of_ipv6(v6)
                .or_else(|| plan.prefix_of_link_local(v6))
                .is_some(),
        }
    }

    pub(super) fn view(&self, status: &NetworkStatus) -> Network {
        Network {
            name: self.name().to_owned(),
            network_id: self.id.to_string(),
            interface: self.card.interface.clone(),
            ipv4: self.on_card,
            ipv6: self.card.ipv6.then_some(status.ipv6),
            policy: self.parameters().policy().to_string(),
            mac: status.mac.to_string(),
            mtu: self.parameters().mtu.bytes(),
            subnet: self.parameters().subnet.to_string(),
            world: self.world().to_string(),
            members: status.members,
            ipv4_pending: self.claims_ipv4() && (status.ipv4_pending || status.ipv4 != self.on_card),
            opened: self.membership.opened.clone(),
            // Of one of which nothing was said the daemon knows.
            lan_games: self.membership.lan_games.unwrap_or_default(),
            private: None,
            notes: self.notes(),
        }
    }
}

impl Daemon {
    /// Joins a network by name or link.
    ///
    /// # Errors
    /// The target is no name and no usable link; no supernode is known; the card cannot be made.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinReply, Failure> {
        let (already, id) = self.join_asked(request).await?;
        let mut book = self.book.lock().await;
        let is_private = book
            .networks
            .membership(id)
            .is_some_and(|membership| membership.private.is_some());
        if !already && is_private && self.office.controller().is_some() {
            // Its key may be in the store: it was left, or another controller shares the store.
            drop(book);
            self.take_up_networks().await;
            book = self.book.lock().await;
        }
        Ok(JoinReply {
            schema: SCHEMA,
            already,
            network: self.view_of(&book, id).await?,
        })
    }

    /// Says whether this node was in it already.
    async fn join_asked(&self, request: &JoinRequest) -> Result<(bool, NetworkId), Failure> {
        let mut book = self.book.lock().await;
        let book = &mut *book;
        let mut membership = self.membership_of(book, request.target.trim())?;
        let name = request.name.as_deref().map(DnsLabel::parse).transpose();
        membership.name = name.map_err(Failure::usage)?;
        let id = membership.link.parameters.id();
        let already = book.networks.joined.iter().any(|joined| joined.id == id);
        if let Some(again) = self.again_by_link(book, &membership).await? {
            // Whoever was kicked, or never let in, comes by another invite.
            let world = membership.link.world.clone();
            book.worlds.add(&self.data_plane, world, false).await?;
            let name = membership.name.or_else(|| again.name.clone());
            self.enter(book, Membership { name, ..again }).await?;
        } else if already {
            // The link may have come with a newer list of supernodes, and the card may be gone.
            book.worlds.add(&self.data_plane, membership.link.world, false).await?;
            self.restore_card_of(book, id).await?;
            if membership.name.is_some()
                && let Some(joined) = book.networks.joined.iter_mut().find(|joined| joined.id == id)
            {
                joined.membership.name = membership.name;
                self.tell_own_name(joined).await?;
            }
        } else {
            self.enter(book, membership).await?;
        }
        self.write_down(book);
        self.names.look_again();
        Ok((already, id))
    }

    /// What is kept of a private network that this node is in, with another link; it has left for the moment. Nothing if
    /// another link changes nothing.
    async fn again_by_link(&self, book: &mut Book, fresh: &Membership) -> Result<Option<Membership>, Failure> {
        let Some(link) = fresh.private.as_ref().and_then(|kept| kept.invite.clone()) else {
            return Ok(None);
        };
        let meant = |joined: &Joined| joined.id == fresh.id();
        let Some(at) = book.networks.joined.iter().position(meant) else {
            return Ok(None);
        };
        let kept = book.networks.joined[at].membership.private.as_ref();
        if kept.is_none_or(|kept| kept.needs_no_link(&link)) {
            return Ok(None);
        }
        let network = book.networks.joined[at].handle;
        self.leave_engine(network).await?;
        let mut membership = book.networks.joined.remove(at).membership;
        if let Some(kept) = &mut membership.private {
            kept.take_link(link);
        }
        Ok(Some(membership))
    }

    /// Leaves a network and removes its card. Networks that had no IPv4 because of this one get it now.
    ///
    /// # Errors
    /// None or several networks are called that.
    pub async fn leave(&self, request: &LeaveRequest) -> Result<LeaveReply, Failure> {
        let (mut reply, world) = self.leave_network(request).await?;
        self.names.look_again();
        reply.notes.extend(self.hosting_left(world).await);
        Ok(reply)
    }

    async fn leave_network(&self, request: &LeaveRequest) -> Result<(LeaveReply, WorldId), Failure> {
        let mut book = self.book.lock().await;
        let book = &mut *book;
        let Book { worlds, networks, .. } = book;
        let meant: Vec<_> = networks
            .memberships()
            .filter(|membership| membership.is_called(&request.network))
            .cloned()
            .collect();
        let [membership] = &meant[..] else {
            return Err(Failure::negative(if meant.is_empty() {
                format!(
                    "this node is in no network called {:?}; `farlan networks` shows those it is in",
                    request.network
                )
            } else {
                let ids: Vec<_> = meant
                    .iter()
                    .map(|membership| membership.link.parameters.id().to_string())
                    .collect();
                format!(
                    "several networks are called {:?}; leave one by its id: {}",
                    request.network,
                    ids.join(", ")
                )
            }));
        };
        let id = membership.link.parameters.id();
        if let Some(joined) = networks.joined.iter().find(|joined| joined.id == id) {
            self.leave_engine(joined.handle).await?;
        }
        networks.joined.retain(|joined| joined.id != id);
        networks
            .dormant
            .retain(|dormant| dormant.membership.link.parameters.id() != id);
        let world = membership.link.world.id();
        if networks.in_world(world).is_none() {
            worlds.drop_unused(&self.data_plane, world).await?;
        }
        tracing::info!(network = %membership.name(), "left");
        self.claim_freed_ipv4(book).await?;
        self.write_down(book);
        let reply = LeaveReply {
            schema: SCHEMA,
            name: membership.name().to_owned(),
            network_id: id.to_string(),
            notes: self
                .key_note(&id)
                .into_iter()
                .chain(self.troubles.unwritten_notes())
                .collect(),
        };
        Ok((reply, world))
    }

    /// Has the engine leave a network, to which nothing is lifted from now on.
    async fn leave_engine(&self, network: NetworkHandle) -> Result<(), Failure> {
        self.lift.forget(network).await;
        self.data_plane.ask(|reply| Request::Leave { network, reply }).await?;
        Ok(())
    }

    /// Joins a network; one that cannot be joined is kept for the next time, and reported.
    async fn enter_or_keep(&self, book: &mut Book, membership: Membership) {
        if let Err(failure) = self.enter(book, membership.clone()).await {
            book.networks.set_dormant(membership, None, failure);
        }
    }

    /// Joins again what was joined when the last run ended. What cannot be joined is kept and reported.
    pub(super) async fn rejoin(&self, book: &mut Book) -> Result<(), Failure> {
        for dormant in std::mem::take(&mut book.networks.dormant) {
            let membership = dormant.membership;
            if let Err(failure) = self.enter(book, membership.clone()).await {
                if failure.kind == crate::failure::FailureKind::Permission {
                    return Err(failure);
                }
                book.networks.set_dormant(membership, None, failure);
            }
        }
        Ok(())
    }

    /// Tries again what could not be joined before.
    pub(super) async fn join_dormant(&self, book: &mut Book) {
        let mut joined = false;
        for Dormant { membership, reason } in std::mem::take(&mut book.networks.dormant) {
            match self.enter(book, membership.clone()).await {
                Ok(()) => joined = true,
                Err(failure) => book.networks.set_dormant(membership, Some(&reason), failure),
            }
        }
        // Not before all are back in the book: what is missing there would be forgotten.
        if joined {
            self.write_down(book);
        }
    }

    /// The network that the user's words mean.
    fn membership_of(&self, book: &Book, target: &str) -> Result<Membership, Failure> {
        if target.starts_with("farlan:") {
            return match Link::parse(target, self.work).map_err(Failure::usage)? {
                Link::Network(link) => Ok(Membership::of(link)),
                Link::Private(link) => {
                    let world = link.world.clone();
                    Ok(Membership::private(Kept::invited(*link), world))
                }
                Link::Supernode(_) => Err(Failure::usage(
                    "this is the link of a supernode; make it known with: farlan supernode add LINK\nand then join a \
                     network by its name or link",
                )),
            };
        }
        let (name, world) = match target.split_once('@') {
            Some((name, world)) => {
                let id: WorldId = world
                    .parse()
                    .map_err(|error| Failure::usage(format_args!("{world:?} is no world: {error}")))?;
                let known = book.worlds.find(id).ok_or_else(|| {
                    Failure::negative(format_args!(
                        "no supernode of world {id} is known here; add one with: farlan supernode add LINK"
                    ))
                })?;
                (name, known)
            }
            None => {
                // A mistyped name is found before a missing supernode is.
                NetworkName::parse(target).map_err(Failure::usage)?;
                (target, book.worlds.first_configured()?)
            }
        };
        let name = NetworkName::parse(name).map_err(Failure::usage)?;
        let label = name.as_str().parse().map_err(Failure::usage)?;
        let parameters = Parameters::open_name(world.id(), name);
        Ok(Membership::of(NetworkLink {
            parameters,
            label,
            world: world.clone(),
            peers: Vec::new(),
        }))
    }

    /// Joins a network: makes its world known, joins in the engine, makes the card.
    pub(super) async fn enter(&self, book: &mut Book, mut membership: Membership) -> Result<(), Failure> {
        let parameters = membership.link.parameters.clone();
        let world = membership.link.world.id();
        book.worlds
            .add(&self.data_plane, membership.link.world.clone(), false)
            .await?;
        let ipv4_obstacle = self.ipv4_obstacle(book, parameters.subnet);
        let greet = membership
            .link
            .peers
            .iter()
            .copied()
            .filter(|key: &PublicKey| *key != self.key)
            .collect();
        let join = Join {
            parameters: parameters.clone(),
            world,
            ipv4: ipv4_obstacle.is_none(),
            preferred: membership.ipv4,
            greet,
            membership: membership
                .private
                .as_ref()
                .map(|kept| Box::new(kept.membership(self.name_in(&membership)))),
            name: self.name_in(&membership),
        };
        let joined = self.data_plane.ask(|reply| Request::Join { join, reply }).await?;
        let status = joined.map_err(|error: JoinError| Failure::negative(error))?;
        let handle = status.handle;
        if parameters.policy() == Policy::Strangers {
            // Listed games follow, if one listens.
            let ports = membership.opened.ranges().to_vec();
            self.data_plane
                .send(Request::SetOpened { network: handle, ports })
                .await?;
        }
        for mark in [Mark::Muted, Mark::Pinned] {
            let nodes: Vec<_> = membership.marked(mark).iter().copied().collect();
            if !nodes.is_empty() {
                self.data_plane.send(mark.request(handle, nodes, true)).await?;
            }
        }
        let card = match self.new_card(&membership, &status).await {
            Ok(card) => card,
            Err(failure) => {
                self.data_plane
                    .ask(|reply| Request::Leave { network: handle, reply })
                    .await?;
                return Err(failure);
            }
        };
        membership.interface = Some(card.interface.clone()).filter(|name| !name.is_empty());
        let id = parameters.id();
        book.networks
            .dormant
            .retain(|dormant| dormant.membership.link.parameters.id() != id);
        tracing::info!(network = %membership.name(), interface = %card.interface, "joined");
        // One that a certificate gives is there from the beginning, and nothing reports it.
        let certified = status.ipv4.filter(|_| ipv4_obstacle.is_none());
        let on_card = certified.filter(|address| {
            let added = self.cards.add_address(card.index, *address, parameters.subnet.prefix());
            if let Err(error) = &added {
                tracing::warn!(interface = %card.interface, %error, "cannot put the IPv4 address on");
            }
            added.is_ok()
        });
        membership.ipv4 = on_card.or(membership.ipv4);
        book.networks.joined.push(Joined {
            handle,
            id,
            membership,
            card,
            on_card,
            hand_set: Vec::new(),
            listening: Listening::default(),
            ipv4_obstacle,
            card_trouble: None,
        });
        self.programs.look_again();
        Ok(())
    }

    pub(super) async fn view_of(&self, book: &Book, id: NetworkId) -> Result<Network, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let joined = book.networks.joined.iter().find(|joined| joined.id == id);
        let view = joined.and_then(|joined| self.network_view(joined, &snapshot));
        view.ok_or_else(|| Failure::negative("the network is gone again"))
    }
}

/// The prefix of networks' IPv6 subnets, in bits.
const IPV6_PREFIX: u8 = 48;
