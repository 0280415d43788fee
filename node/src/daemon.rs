//! The control side of a node: it knows worlds, networks and contacts, keeps them on disk, makes the cards, and answers
//! the API. Packets never come here.

mod beside;
mod cards;
mod changes;
mod circle;
mod contacts;
mod diagnosis;
mod endpoints;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hosting;
mod lift;
mod mappings;
mod names;
mod networks;
mod opened;
mod pending;
mod ping;
mod private;
mod programs;
mod reload;
mod resolver;
mod searching;
mod troubles;
mod views;
mod worlds;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use farlan_crypto::{NodeId, PublicKey, Work};
use farlan_engine::{Config as EngineConfig, Event, Limits, Role};
use farlan_netconf::World;
use farlan_tap::{LanListener, TapError};
use tokio::{
    net::unix::pipe,
    sync::{Mutex, Notify, mpsc},
    task::JoinHandle,
};

pub use crate::diagnosis::speaks_version;
pub use beside::{Beside, Neighbour};
pub use cards::{Cards, KernelCards, NewCard};
pub use lift::LiftCounters;
pub use names::NameSettings;
pub use reload::Configuration;
pub use resolver::{Resolver, hand_over};

use crate::{
    api::{DownReply, LoopbackAddress, SCHEMA, Server, Sockets, daemon_router},
    config::Offloads,
    failure::Failure,
    games::{Games, LanGames, List},
    notify::Notifier,
    privileges::Holdings,
    secret_text::SecretText,
    shell::{DataPlane, Request, Snapshot, Underlay},
    signals::{Asked, Signals},
    state::{IDENTITY, LOCK, StateDir},
};
use contacts::Contacts;
use diagnosis::Examinations;
use hosting::Hosting;
use lift::Lift;
use mappings::Mappings;
use names::Names;
use networks::Networks;
use ping::Pings;
use private::Office;
use programs::Programs;
use searching::Searches;
use troubles::Troubles;
use worlds::Worlds;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The Unix socket of the API.
    pub socket: PathBuf,
    /// The loopback address at which the API is served over TCP, too.
    pub api_tcp: Option<LoopbackAddress>,
    /// The UDP port of the underlay; 0 lets the system pick one.
    pub port: u16,
    /// Who the daemon becomes when root starts it, if somebody else.
    pub user: Option<String>,
    /// Supernodes from the configuration and the command line, the one of bare names first.
    pub supernodes: Vec<World>,
    /// Whether the home's router is asked to let others in.
    pub port_mapping: bool,
    /// Whether strangers do not learn where this node is.
    pub hide_address: bool,
    /// Whether members of its networks find this node by beacons on its own links.
    pub beacon: bool,
    /// Which listed games strangers may reach.
    pub games: Games,
    /// The list of games.
    pub list: Arc<List>,
    /// What becomes of searches of games on the real LAN, in networks of which nothing else was said.
    pub lan_games: LanGames,
    /// Which offloads may be used.
    pub offloads: Offloads,
    /// What this machine is called, and who resolves names of members.
    pub names: NameSettings,
    /// Where the controller of private networks keeps them, unless it is a file in the state directory.
    pub controller: Option<SecretText>,
    /// What the program that runs has otherwise than the released one.
    pub tuning: Tuning,
}

/// What a program of the tests may have otherwise than the released one, of which no option and no key of the configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Up to how many members of a network each gets a copy of a broadcast, as in [`Limits::full_max`].
    pub full_max: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            full_max: Limits::FULL_MAX,
        }
    }
}

impl Tuning {
    fn limits(self) -> Limits {
        Limits {
            full_max: self.full_max,
            ..Limits::default()
        }
    }
}

/// A node's control side.
#[derive(Debug)]
pub struct Daemon {
    key: PublicKey,
    port: u16,
    started: Instant,
    work: Work,
    state: StateDir,
    data_plane: DataPlane,
    cards: Box<dyn Cards>,
    pings: Pings,
    examinations: Examinations,
    troubles: Troubles,
    mappings: Mappings,
    hosting: Hosting,
    names: Names,
    programs: Programs,
    searches: Searches,
    lift: Lift,
    office: Office,
    /// The supernode in whose process this is, if it is in one.
    neighbour: OnceLock<Neighbour>,
    /// Told when somebody asks over the API that the daemon ends.
    down: Notify,
    book: Mutex<Book>,
}

/// What changes, and is kept on disk.
#[derive(Debug)]
struct Book {
    worlds: Worlds,
    networks: Networks,
    contacts: Contacts,
}

impl Book {
    /// What the last run wrote down.
    fn load(state: &StateDir, work: Work) -> Result<Self, Failure> {
        Ok(Self {
            worlds: Worlds::load(state, work)?,
            networks: Networks::load(state, work)?,
            contacts: Contacts::load(state, work),
        })
    }
}

/// A daemon that runs and answers at its socket.
#[derive(Debug)]
pub struct Running {
    daemon: Arc<Daemon>,
    server: Server,
    events: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    endpoints: JoinHandle<()>,
    mappings: JoinHandle<()>,
    hosting: JoinHandle<()>,
    names: JoinHandle<()>,
    programs: JoinHandle<()>,
    controllers: JoinHandle<()>,
    lan: JoinHandle<()>,
    watch: JoinHandle<()>,
    /// Ends with the card helper.
    helper: Option<pipe::Receiver>,
}

impl Running {
    /// Starts a daemon: when this returns, it answers at its socket and is in the networks it was in before.
    ///
    /// # Errors
    /// A file of the state is damaged.
    pub async fn start(settings: Settings, holdings: Holdings) -> Result<Self, Failure> {
        let Holdings {
            state,
            underlay,
            sockets,
            helper,
            helper_ended,
            listener,
        } = holdings;
        let (identity, made) = state.identity(Work::REQUIRED)?;
        let key = identity.public();
        if made {
            tracing::info!(node = %key.node_id(), "made a new identity");
        }
        let port = underlay.port().map_err(Failure::negative)?;
        let config = EngineConfig {
            identity,
            work: Work::REQUIRED,
            role: Role::Node,
            limits: settings.tuning.limits(),
        };
        let book = Book::load(&state, Work::REQUIRED)?;
        // The helper knows whose cards it makes before anything of the network is read.
        let names = book.networks.card_names();
        let cards = KernelCards::new(key.node_id(), settings.offloads.card, helper, names)?;
        let (data_plane, events) = DataPlane::start(config, underlay)?;
        let daemon = Daemon::new(key, port, state, book, data_plane, Box::new(cards), settings.offloads);
        let mut running = Self::take_up(Arc::new(daemon), events, sockets, settings, listener).await?;
        let helper = pipe::Receiver::from_owned_fd(helper_ended.into());
        running.helper = Some(helper.map_err(Failure::negative)?);
        Ok(running)
    }

    async fn take_up(
        daemon: Arc<Daemon>,
        events: mpsc::Receiver<Event>,
        sockets: Sockets,
        settings: Settings,
        listener: Result<LanListener, String>,
    ) -> Result<Self, Failure> {
        let hide = settings.hide_address;
        daemon.data_plane.send(Request::SetHideAddress { hide }).await?;
        daemon
            .book
            .lock()
            .await
            .networks
            .set_games(&settings.games, &settings.list);
        let (listener, trouble) = match listener {
            Ok(listener) => (Some(listener), None),
            Err(trouble) => (None, Some(trouble)),
        };
        daemon.lift.start(settings.list, settings.lan_games, trouble);
        daemon.names.start(settings.names, &daemon.state).await;
        let (key, work) = (daemon.key, daemon.work);
        daemon.office.start(settings.controller, &daemon.state, key, work).await;
        daemon.tell_clock().await?;
        daemon.restore(settings.supernodes).await?;
        daemon.take_up_networks().await;
        let server = Server::serve(sockets, daemon_router(Arc::clone(&daemon)))?;
        let events = tokio::spawn(Arc::clone(&daemon).follow(events));
        let upkeep = tokio::spawn(Arc::clone(&daemon).keep_up());
        let told = Arc::clone(&daemon);
        let changed = move || {
            told.mappings.look_again();
            told.hosting.moved();
        };
        let endpoints = tokio::spawn(endpoints::follow(
            daemon.data_plane.clone(),
            daemon.port,
            settings.beacon,
            changed,
        ));
        daemon.mappings.switch(settings.port_mapping);
        let mappings = tokio::spawn(Arc::clone(&daemon).follow_mappings());
        let hosting = tokio::spawn(Arc::clone(&daemon).follow_hosting());
        let watch = tokio::spawn(Arc::clone(&daemon).watch_cards());
        let names = tokio::spawn(Arc::clone(&daemon).follow_names());
        let programs = tokio::spawn(Arc::clone(&daemon).follow_programs());
        let controllers = tokio::spawn(Arc::clone(&daemon).follow_controllers());
        let lan = tokio::spawn(Arc::clone(&daemon).follow_lan(listener));
        tracing::info!(node = %daemon.node_id(), "farlan is up");
        Ok(Self {
            daemon,
            server,
            events,
            upkeep,
            endpoints,
            mappings,
            hosting,
            names,
            programs,
            controllers,
            lan,
            watch,
            helper: None,
        })
    }

    /// Runs until SIGTERM, SIGINT, a request over the API or the end of the data plane, then stops. At SIGHUP it reads
    /// the configuration again.
    ///
    /// # Errors
    /// The data plane or the card helper ended by itself.
    pub async fn until_stopped(
        mut self,
        mut signals: Signals,
        mut configuration: Configuration,
        notifier: &Notifier,
    ) -> Result<(), Failure> {
        notifier.ready();
        let ended = loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break Ok(()),
                    Asked::Reload => {
                        notifier.reloading();
                        self.daemon.reload(&mut configuration).await;
                        notifier.ready();
                    }
                },
                () = self.daemon.down.notified() => break Ok(()),
                _ = &mut self.events => break Err(Failure::negative("the data plane has ended")),
                // Nobody else here can make cards or start a helper that can; the service manager starts farlan anew.
                () = end_of(self.helper.as_ref()) => break Err(TapError::NoHelper.into()),
            }
        };
        notifier.stopping();
        self.stop().await;
        ended
    }

    /// Waits for its end, which comes by itself only when its data plane fails.
    pub async fn ended(&mut self) {
        // An error means the same.
        let _ = (&mut self.events).await;
    }

    /// Stops: says goodbye to everybody, and the cards and the socket vanish.
    pub async fn stop(self) {
        self.events.abort();
        self.upkeep.abort();
        self.endpoints.abort();
        self.mappings.abort();
        self.hosting.abort();
        self.watch.abort();
        self.names.abort();
        self.programs.abort();
        self.controllers.abort();
        self.lan.abort();
        drop(self.server);
        // Whatever hangs must not keep the program: the kernel removes its cards and sockets with it.
        let stop = async { tokio::join!(self.daemon.stop(), self.daemon.mappings.end()) };
        if tokio::time::timeout(STOPPING, stop).await.is_err() {
            tracing::warn!("stopping took too long; ending at once");
        }
    }
}

/// Waits for the end of the card helper, if there is one.
async fn end_of(helper: Option<&pipe::Receiver>) {
    let Some(helper) = helper else {
        return std::future::pending().await;
    };
    // It writes nothing, so what there is to read is the end.
    while helper.readable().await.is_ok() {
        match helper.try_read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Binds the underlay, or says what to do about a port that cannot be had.
///
/// # Errors
/// The port is taken or not permitted.
pub fn bind(port: u16) -> Result<Underlay, Failure> {
    Underlay::bind(port).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::negative(format_args!(
            "UDP port {port} is in use; choose another with --port, or stop the program that has it (ss -lunp)"
        )),
        std::io::ErrorKind::PermissionDenied => Failure::permission(format_args!(
            "UDP port {port} is not permitted to this user; choose one above 1023 with --port, or run as root"
        )),
        _ => Failure::negative(format_args!("cannot open UDP port {port}: {error}")),
    })
}

impl Daemon {
    fn new(
        key: PublicKey,
        port: u16,
        state: StateDir,
        book: Book,
        data_plane: DataPlane,
        cards: Box<dyn Cards>,
        offloads: Offloads,
    ) -> Self {
        Self {
            key,
            port,
            started: Instant::now(),
            work: Work::REQUIRED,
            state,
            data_plane,
            cards,
            pings: Pings::default(),
            examinations: Examinations::default(),
            troubles: Troubles::default(),
            mappings: Mappings::new(port),
            hosting: Hosting::new(offloads),
            names: Names::default(),
            programs: Programs::default(),
            searches: Searches::default(),
            lift: Lift::default(),
            office: Office::default(),
            neighbour: OnceLock::new(),
            down: Notify::new(),
            book: Mutex::new(book),
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.key.node_id()
    }

    /// Takes up where the last run ended: worlds, networks, contacts.
    async fn restore(&self, supernodes: Vec<World>) -> Result<(), Failure> {
        self.cards.remove_stale();
        self.resume_hosting().await?;
        let mut book = self.book.lock().await;
        let book = &mut *book;
        if let Some(neighbour) = self.neighbour.get() {
            book.worlds.set_own(&self.data_plane, Some(neighbour.own())).await?;
        }
        book.worlds.start(&self.data_plane).await?;
        let first: Vec<_> = supernodes.iter().map(World::id).collect();
        for world in supernodes {
            book.worlds.add(&self.data_plane, world, true).await?;
        }
        book.worlds.put_first(&first);
        self.rejoin(book).await?;
        self.write_down(book);
        for (world, contacts) in book.contacts.by_world() {
            if book.worlds.find(world).is_some() {
                let lately = contacts.iter().filter(|contact| contact.lately);
                let peers = lately.map(|contact| contact.key).collect();
                self.data_plane.send(Request::Greet { world, peers }).await?;
                self.data_plane.send(Request::Remember { world, contacts }).await?;
            }
        }
        Ok(())
    }

    /// Acts on what the engine reports, until the data plane ends.
    async fn follow(self: Arc<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                // A database takes its time, and the others need not wait.
                Event::Application { .. } => Arc::clone(&self).answer_later(event),
                Event::MemberMet { network, node, issue } => Arc::clone(&self).hand_over_later(network, node, issue),
                Event::DocumentStale { network, version } => Arc::clone(&self).publish_above_later(network, version),
                Event::DocumentsChanged {
                    network,
                    config,
                    revocations,
                } => {
                    if let Some(id) = self.documents_changed(network, config.as_deref(), &revocations).await {
                        Arc::clone(&self).learn_later(id, config, revocations);
                    }
                }
                event => self.act_on(event).await,
            }
        }
    }

    async fn act_on(&self, event: Event) {
        match event {
            // The engine logs both itself.
            Event::Registered {
                observed, supernode, ..
            } => {
                self.troubles.version_fits(supernode);
                tracing::debug!(%observed, "seen by the supernode");
                self.hosting.seen(observed);
                // It may be a router that started anew, or whose address outside is another one now.
                self.mappings.look_again();
            }
            Event::RegistrationLost { .. } => {}
            Event::MemberOut { network, node } => self.member_out(network, node).await,
            Event::ConfigForked { network, counter } => self.config_forked(network, counter).await,
            Event::CredentialIssued { network, credential } => self.credential_issued(network, *credential).await,
            Event::ApplicationRefused { network, node, refusal } => {
                self.application_refused(network, node, refusal).await
            }
            Event::DelegationIssued { network, delegation } => self.delegation_issued(network, *delegation).await,
            // Those of the controller have tasks of their own.
            Event::Application { .. }
            | Event::MemberMet { .. }
            | Event::DocumentsChanged { .. }
            | Event::DocumentStale { .. } => {}
            Event::WorldChanged { world } => self.world_changed(*world).await,
            Event::Ipv4Assigned { network, address } => {
                self.ipv4_assigned(network, address).await;
                self.names.look_again();
            }
            Event::Ipv4Withdrawn { network, .. } => {
                self.ipv4_withdrawn(network).await;
                self.names.look_again();
            }
            Event::NameTold { network, node } => {
                tracing::debug!(peer = %node.short(), network = network.as_u8(), "told its name");
                self.names.look_again();
            }
            Event::AddressConflict { network, address, node } => {
                let book = self.book.lock().await;
                let name = book.networks.by_handle(network).map_or("", networks::Joined::name);
                tracing::info!(network = %name, %address, peer = %node.short(), "an address of this machine is also another member's");
            }
            Event::PeerUp { network, node } => {
                self.troubles.version_fits(node);
                let book = self.book.lock().await;
                let name = book.networks.by_handle(network).map_or("", networks::Joined::name);
                tracing::info!(peer = %node.short(), network = %name, "peer is here");
                self.names.look_again();
            }
            // Supernodes have events of their own.
            Event::PeerDown { node } if self.book.lock().await.worlds.has_supernode(node) => {}
            Event::PeerDown { node } => tracing::info!(peer = %node.short(), "peer is gone"),
            Event::PathChanged { address, .. } => tracing::debug!(?address, "the path's endpoint"),
            Event::Pong { .. } => {
                if let Some((token, reply)) = ping::pong(event) {
                    self.pings.end(token, Ok(reply));
                }
            }
            Event::PingFailed { token, reason } => self.pings.end(token, Err(Failure::negative(reason))),
            Event::Examined { token, examination } => self.examinations.end(token, examination),
            // Asked for a supernode in this daemon, by a data plane of its own.
            Event::Reached { .. } => {}
            Event::Twin { supernode, other } => self.troubles.twin(&self.state, supernode, other),
            Event::OtherVersion { node, address, version } => self.other_version_seen(node, address, version),
        }
    }

    /// Sees now and then to what nobody reports.
    async fn keep_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            self.upkeep().await;
        }
    }

    /// Writes down who was heard lately, and makes the cards what they should be.
    async fn upkeep(&self) {
        let Ok(snapshot) = self.data_plane.snapshot().await else {
            return;
        };
        self.save_contacts(&snapshot).await;
        self.restore_cards(&snapshot.networks).await;
        // A report that was lost must not leave a card without its address, nor a world with its old list.
        self.reconcile_ipv4(&snapshot.networks).await;
        if self.tell_clock().await.is_err() {
            return;
        }
        self.note_sizes(&snapshot).await;
        self.note_seen(&snapshot).await;
        let mut book = self.book.lock().await;
        if book.worlds.compare(&self.data_plane).await.is_err() {
            // It has ended, and so does the daemon.
            return;
        }
        self.join_dormant(&mut book).await;
        if let Err(failure) = self.claim_freed_ipv4(&mut book).await {
            tracing::warn!(%failure, "cannot claim IPv4 addresses that are free now");
        }
        self.write_down_again(&book);
        // What follows takes the book itself.
        drop(book);
        self.tell_hand_set().await;
        self.lift.look_again();
        self.tend_hosting().await;
    }

    async fn save_contacts(&self, snapshot: &Snapshot) {
        let mut book = self.book.lock().await;
        let Book { networks, contacts, .. } = &mut *book;
        let world_of = |handle| networks.by_handle(handle).map(networks::Joined::world);
        self.contacts_written(contacts.update(&self.state, &snapshot.peers, world_of));
    }

    /// Ends the daemon soon; its networks are remembered.
    ///
    /// # Errors
    /// It is part of a supernode, which ends with its controller.
    pub fn down(&self) -> Result<DownReply, Failure> {
        if self.neighbour.get().is_some() {
            return Err(Failure::negative(
                "this controller is part of a supernode and ends with it: systemctl stop farlan-supernode; to run that without \
                 it, take `controller` out of supernode.toml",
            ));
        }
        tracing::info!("asked to end");
        self.down.notify_one();
        Ok(DownReply { schema: SCHEMA })
    }

    async fn stop(&self) {
        tracing::info!("stopping");
        let snapshot = self.data_plane.snapshot().await;
        // The goodbye waits neither for the disk nor for whoever has the book. An error means that it has ended already.
        let _ = self.data_plane.ask(|reply| Request::Shutdown { reply }).await;
        if let Ok(snapshot) = snapshot {
            self.save_contacts(&snapshot).await;
        }
        self.hosting.stop().await;
        self.office.close().await;
        self.take_names_back();
        // Whatever still holds the daemon must not keep the next one from the directory.
        self.state.release();
    }
}

/// How often the cards are looked at, and the contacts written down if they changed: somebody who deletes a card or an
/// address waits this long at most.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// How long stopping may take; whoever sent the signal expects the end within 2 s.
const STOPPING: Duration = Duration::from_millis(1500);

/// The names of all files in a node's state directory, but for those that are being written.
pub(crate) const STATE_FILES: [&str; 12] = [
    LOCK,
    IDENTITY,
    networks::FILE,
    worlds::FILE,
    contacts::FILE,
    names::FILE,
    hosting::FILES[0],
    hosting::FILES[1],
    hosting::FILES[2],
    private::FILES[0],
    private::FILES[1],
    private::FILES[2],
];

#[cfg(test)]
mod tests;
