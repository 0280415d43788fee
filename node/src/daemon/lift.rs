//! Searches of games on the real LAN: what leaves this machine by other cards is copied to the networks, and groups of listed games
//! lead to one of them.
//!
//! The listener, a process of its own, hands over what leaves a watched card for a listed port. [`farlan_games::lift`] says what of it
//! is a search and makes the copies, which go to the engine as if the network's card had sent them.
//!
//! * **Which cards are watched**: all that are up, are Ethernet and have an IPv4 address, but farlan's own, those of other farlans on this machine,
//!   and what is built on them.
//! * **Which networks get copies**: those with [`LanGames::Lift`] whose card is up, has an IPv4 address and is no port of a bridge. On a bridge
//!   the LAN's searches come to the card anyway, and a copy could come back to it.
//! * **One way only**: nothing of a network goes to the real LAN.
//! * **Groups** have one route on a machine, so one network gets those of all listed games: one with [`LanGames::Route`], else one of friends,
//!   of several the one joined first. Strangers take nothing away from the real LAN unless that is said: without any of those, groups stay there
//!   and are copied as broadcasts are. Memberships are held at the cards of all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farlan_engine::{NetworkHandle, Time};
use farlan_games::lift::{Left, Limiter, Overlay, Watched, read};
use farlan_netconf::{Mac, NetworkId};
use farlan_tap::{
    LanListener, MOST_CARDS, Report, TapError, Told, UnderlayCard, Watch, is_game_group, requests::MOST_GROUPS,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use super::{Book, Daemon, changes::Changed, networks::Joined};
use crate::{
    api::{LanGamesReply, LanGamesRequest, Lifting, SCHEMA},
    failure::Failure,
    games::{LanGames, List},
    shell::Request,
};

/// What is lifted, and what was.
#[derive(Debug, Default)]
pub(super) struct Lift {
    state: Mutex<State>,
    /// Told when something is to be looked at again.
    moved: Notify,
    /// Held while copies are on their way to the engine.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    list: Arc<List>,
    /// What becomes of searches where nothing else is said of a network.
    usual: LanGames,
    /// Why nothing is heard, if nothing is.
    trouble: Option<String>,
    /// Why groups do not lead where they should.
    route_trouble: Option<String>,
    /// The cards that are listened to, or should be.
    watched: BTreeMap<u32, Watched>,
    /// Those that the listener cannot listen to.
    refused: BTreeMap<u32, Refusal>,
    /// What the listener was told last, unless it has to be told again.
    told: Option<Watch>,
    /// The card by which broadcasts leave, if it is none that can be listened to.
    deaf_card: Option<String>,
    overlays: Vec<Target>,
    /// The network that groups lead to, by name.
    routed: Option<String>,
    /// The cards that had routes last.
    with_routes: BTreeSet<u32>,
    counters: LiftCounters,
}

/// Why a card cannot be listened to.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// The kernel's error number.
    errno: i32,
    /// Whether the listener was told again since then; if it does not refuse again, it listens.
    is_asked_again: bool,
}

/// A network that copies go to.
#[derive(Debug)]
struct Target {
    network: NetworkHandle,
    id: NetworkId,
    name: String,
    overlay: Overlay,
    limiter: Limiter,
}

/// A network whose card can take part.
struct Candidate {
    target: Target,
    card: u32,
    way: LanGames,
    is_of_strangers: bool,
}

impl Candidate {
    /// Whether groups may be led to it: to strangers only where that was said, as what is led to them the real LAN does not get.
    fn may_be_led_to(&self) -> bool {
        self.way == LanGames::Route || !self.is_of_strangers
    }
}

macro_rules! lift_counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What became of frames that left other cards, since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LiftCounters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl LiftCounters {
            /// Names and values, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// What a counter counts, in a sentence; nothing if there is none of that name.
            pub fn meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),*).trim_ascii()),)*
                    _ => None,
                }
            }
        }
    };
}

lift_counters! {
    /// Searches of games on other cards that were copied to a network.
    lifted,
    /// Frames of other cards that were not copied because no listed game searches there.
    lift_not_listed,
    /// Frames of other cards that were not copied because they were copies already.
    lift_copies,
    /// Frames of other cards that were not copied because another machine sent them through this one.
    lift_foreign,
    /// Frames of other cards that were not copied because they were damaged, fragments or no searches.
    lift_unfit,
    /// Searches that were not copied to a network because they were longer than its packets.
    lift_too_long,
    /// Searches that were not copied to a network because there were too many.
    lift_too_many,
}

impl LiftCounters {
    fn count(&mut self, left: Left) {
        *match left {
            Left::NotListed => &mut self.lift_not_listed,
            Left::Copy => &mut self.lift_copies,
            Left::Foreign => &mut self.lift_foreign,
            Left::TooLong => &mut self.lift_too_long,
            Left::Rate => &mut self.lift_too_many,
            Left::OtherProtocol | Left::NoUdp | Left::Unicast | Left::Fragment | Left::Malformed => {
                &mut self.lift_unfit
            }
        } += 1;
    }
}

impl Lift {
    /// Begins with this list, and this way for networks of which nothing else is said.
    pub(super) fn start(&self, list: Arc<List>, usual: LanGames, trouble: Option<String>) {
        if let Some(trouble) = trouble.as_ref().filter(|_| usual != LanGames::Off) {
            tracing::warn!(%trouble, "searches of games on the real LAN are not copied to the networks");
        }
        let mut state = self.lock();
        state.list = list;
        state.usual = usual;
        state.trouble = trouble;
    }

    /// The list of games in use.
    pub(super) fn list(&self) -> Arc<List> {
        Arc::clone(&self.lock().list)
    }

    /// Takes another list.
    pub(super) fn set_list(&self, list: Arc<List>) {
        self.lock().list = list;
        self.look_again();
    }

    /// Has cards and networks looked at again.
    pub(super) fn look_again(&self) {
        self.moved.notify_one();
    }

    /// What becomes of searches in a network of which this was said.
    pub(super) fn way(&self, said: Option<LanGames>) -> LanGames {
        said.unwrap_or(self.lock().usual)
    }

    /// As the status shows it.
    pub(super) fn view(&self) -> Lifting {
        let state = self.lock();
        Lifting {
            cards: state.heard().count(),
            networks: state.overlays.iter().map(|target| target.name.clone()).collect(),
            groups: state.routed.clone(),
            trouble: state.trouble.clone().filter(|_| !state.overlays.is_empty()),
        }
    }

    /// What the user should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let state = self.lock();
        let routes = state.route_trouble.iter();
        let routes = routes.map(|trouble| format!("groups of games do not all lead to a network: {trouble}"));
        state.hearing_notes().into_iter().chain(routes).collect()
    }

    /// Has nothing go to a network any more, and waits until all that does has gone to the engine: its handle may be another's soon.
    pub(super) async fn forget(&self, network: NetworkHandle) {
        let _sending = self.sending.lock().await;
        self.lock().overlays.retain(|target| target.network != network);
    }

    pub(super) fn counters(&self) -> LiftCounters {
        self.lock().counters
    }

    /// Nothing is heard any more.
    fn fail(&self, trouble: String) {
        let mut state = self.lock();
        if state.trouble.is_none() {
            tracing::warn!(%trouble, "searches of games on the real LAN are no longer copied to the networks");
            state.trouble = Some(trouble);
        }
        state.watched.clear();
        state.refused.clear();
        state.deaf_card = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever a panic left is replaced at the next look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The cards that are listened to.
    fn heard(&self) -> impl Iterator<Item = u32> {
        self.watched
            .keys()
            .copied()
            .filter(|card| !self.refused.contains_key(card))
    }

    /// Why searches are not copied to networks, as far as they are not.
    fn hearing_notes(&self) -> Vec<String> {
        if self.overlays.is_empty() {
            return Vec::new();
        }
        let refused = self.refused.iter().filter(|(card, _)| self.watched.contains_key(card));
        let mut errors: BTreeMap<i32, usize> = BTreeMap::new();
        for (_, refusal) in refused {
            *errors.entry(refusal.errno).or_default() += 1;
        }
        let refused = errors.into_iter().map(|(errno, count)| {
            let error = io::Error::from_raw_os_error(errno);
            not_copied(&format!(
                "{count} of this machine's cards cannot be listened to: {error}"
            ))
        });
        let deaf = self.deaf_card.iter().map(|name| {
            not_copied(&format!(
                "they leave by {name}, which is no Ethernet card of its own with an IPv4 address"
            ))
        });
        let trouble = self.trouble.iter().map(|trouble| not_copied(trouble));
        trouble.chain(refused).chain(deaf).collect()
    }

    /// Takes note of a card that the listener cannot listen to, and has it told again at the next look.
    fn refuse(&mut self, card: u32, errno: i32) {
        self.told = None;
        let refusal = Refusal {
            errno,
            is_asked_again: false,
        };
        let before = self.refused.insert(card, refusal);
        let is_new = before.is_none_or(|before| before.errno != errno);
        let error = io::Error::from_raw_os_error(errno);
        match errno {
            // It went, or was brought down.
            libc::ENODEV | libc::ENXIO | libc::ENETDOWN => tracing::debug!(card, %error, "a card is not listened to"),
            _ if is_new => tracing::warn!(card, %error, "a card cannot be listened to for searches of games"),
            _ => {}
        }
    }

    /// What the listener is to be told now, if something. Who has not refused again since it was told last is listened to.
    fn next_watch(&mut self) -> Option<Watch> {
        let watched = &self.watched;
        self.refused
            .retain(|card, refusal| watched.contains_key(card) && !refusal.is_asked_again);
        let watch = Watch::new(self.watched.keys().copied(), self.ports());
        (self.told.as_ref() != Some(&watch)).then_some(watch)
    }

    /// The listener was told this.
    fn set_told(&mut self, watch: Watch) {
        self.told = Some(watch);
        for refusal in self.refused.values_mut() {
            refusal.is_asked_again = true;
        }
    }

    /// The copies of a frame that left a card, each with its network.
    fn copies(&mut self, card: u32, frame: &[u8], now: Time) -> Vec<(NetworkHandle, Vec<u8>)> {
        // What was on its way when the card came off the list.
        let Some(watched) = self.watched.get(&card) else {
            return Vec::new();
        };
        let lifted = match read(frame, watched, &self.list) {
            Ok(lifted) => lifted,
            Err(left) => {
                self.counters.count(left);
                return Vec::new();
            }
        };
        let mut copies = Vec::new();
        for target in &mut self.overlays {
            let mut copy = Vec::new();
            let written = target
                .limiter
                .take(now, lifted.destination)
                .and_then(|()| lifted.write(&target.overlay, &mut copy));
            match written {
                Ok(()) => copies.push((target.network, copy)),
                Err(left) => self.counters.count(left),
            }
        }
        tracing::debug!(game = lifted.game, networks = copies.len(), "a search on another card");
        self.counters.lifted += copies.len() as u64;
        copies
    }

    /// Takes these networks in place of those before; what one had used up of its rate it still has.
    fn set_overlays(&mut self, targets: impl Iterator<Item = Target>) {
        let mut before = std::mem::take(&mut self.overlays);
        self.overlays = targets
            .map(|mut target| {
                if let Some(old) = before.iter_mut().find(|old| old.id == target.id) {
                    target.limiter = std::mem::take(&mut old.limiter);
                }
                target
            })
            .collect();
    }

    /// The UDP ports to which listed games search and announce.
    fn ports(&self) -> BTreeSet<u16> {
        let searched = self.list.games().iter().flat_map(|game| game.searched());
        let groups = self.list.groups().into_iter().map(|group| group.address().port());
        searched.chain(groups).collect()
    }

    /// The groups of listed games, and how many more there are than can be led.
    fn groups(&self) -> (Vec<Ipv4Addr>, usize) {
        let groups = self.list.groups().into_iter().map(|group| *group.address().ip());
        let mut groups: Vec<_> = groups.filter(|group| is_game_group(*group)).collect();
        groups.sort_unstable();
        groups.dedup();
        let beyond = groups.len().saturating_sub(MOST_GROUPS);
        groups.truncate(MOST_GROUPS);
        (groups, beyond)
    }
}

/// The way to the listener, as something that can be waited for.
type Listener = AsyncFd<LanListener>;

impl Daemon {
    /// Watches cards and networks, and copies what is heard, for as long as the daemon lives; without a listener groups lead to their
    /// network all the same.
    pub(super) async fn follow_lan(self: Arc<Self>, listener: Option<LanListener>) {
        if !self.cards.are_made() {
            return;
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a listener keeps its descriptor, which is all that asks"
        )]
        let listener = listener.map(|listener| AsyncFd::with_interest(listener, Interest::READABLE));
        match listener {
            Some(Ok(listener)) => {
                let error = tokio::select! {
                    error = self.hear(&listener) => error,
                    () = self.keep_looking(Some(&listener)) => return,
                };
                tracing::debug!(%error, "the listener is gone");
                listener.get_ref().end();
                let reason = "the process that listens to other cards has ended; start farlan again";
                self.lift.fail(reason.to_owned());
            }
            Some(Err(error)) => self.lift.fail(format!("cannot wait for the listener: {error}")),
            None => {}
        }
        self.keep_looking(None).await;
    }

    /// Looks at the cards at the beginning and after each change, and never ends.
    async fn keep_looking(&self, listener: Option<&Listener>) {
        let monitor = self.cards.watch_addresses().map_err(io::Error::other);
        let mut changed = monitor.and_then(Changed::new);
        loop {
            self.look_at_lan(listener.map(AsyncFd::get_ref)).await;
            let next = async {
                match &changed {
                    Ok(changed) => changed.next(GATHER).await,
                    Err(_) => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                result = next => result,
                () = self.lift.moved.notified() => Ok(()),
            };
            if let Err(error) = result {
                tracing::warn!(%error, "changes of this machine's cards are found late");
                changed = Err(error);
            }
        }
    }

    /// Finds out what is to be watched, and where copies and groups go, and sees to both.
    async fn look_at_lan(&self, listener: Option<&LanListener>) {
        // Nothing is joined or left meanwhile.
        let book = self.book.lock().await;
        let Ok(candidates) = self.candidates(&book).await else {
            return;
        };
        self.lead_groups(&candidates);
        let mut state = self.lift.lock();
        let lifting = candidates
            .into_iter()
            .filter(|candidate| candidate.way == LanGames::Lift);
        state.set_overlays(lifting.map(|candidate| candidate.target));
        let Some(listener) = listener.filter(|_| state.trouble.is_none()) else {
            return;
        };
        state.watched = match self.cards.underlay() {
            Ok(cards) if !state.overlays.is_empty() => cards.iter().filter_map(watched).collect(),
            Ok(_) => BTreeMap::new(),
            Err(error) => {
                tracing::debug!(%error, "this machine's cards are not known");
                return;
            }
        };
        // The listener takes no more.
        if let Some(&beyond) = state.watched.keys().nth(MOST_CARDS) {
            state.watched.split_off(&beyond);
        }
        let own: BTreeSet<u32> = book.networks.joined().map(Joined::card_index).collect();
        let leaves_by = match self.cards.broadcast_card() {
            Ok(card) => card.filter(|_| !state.overlays.is_empty()),
            Err(error) => {
                tracing::debug!(%error, "where broadcasts leave is not known");
                None
            }
        };
        let is_deaf = |(card, _): &(u32, String)| !state.watched.contains_key(card) && !own.contains(card);
        state.deaf_card = leaves_by.filter(is_deaf).map(|(_, name)| name);
        if let Some(watch) = state.next_watch()
            && listener.watch(&watch).is_ok()
        {
            // One that takes nothing at present is told at the next look; of one that has ended `hear` knows.
            state.set_told(watch);
        }
    }

    /// The networks in which something becomes of searches, those that groups would rather lead to first.
    async fn candidates(&self, book: &Book) -> Result<Vec<Candidate>, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let candidate = |joined: &Joined| {
            let way = self.lift.way(joined.membership().lan_games);
            let status = snapshot
                .networks
                .iter()
                .find(|status| status.handle == joined.handle())?;
            let state = self.cards.state(joined.card_index()).ok()??;
            if way == LanGames::Off || !state.up || state.is_port {
                return None;
            }
            let address = self.ipv4_on_card(joined)?;
            Some(Candidate {
                target: Target {
                    network: joined.handle(),
                    id: joined.id(),
                    name: joined.name().to_owned(),
                    overlay: Overlay {
                        mac: status.mac,
                        address,
                        mtu: joined.mtu(),
                    },
                    limiter: Limiter::default(),
                },
                card: joined.card_index(),
                way,
                is_of_strangers: joined.is_of_strangers(),
            })
        };
        let mut candidates: Vec<_> = book.networks.joined().filter_map(candidate).collect();
        // Those that are alike stay in the order in which they were joined.
        candidates.sort_by_key(|candidate| (candidate.way != LanGames::Route, candidate.is_of_strangers));
        Ok(candidates)
    }

    /// Has groups of listed games lead to the first network, unless that is one of strangers of which it was not said, and all
    /// broadcasts too if that is its way.
    fn lead_groups(&self, candidates: &[Candidate]) {
        let mut state = self.lift.lock();
        let (groups, beyond) = state.groups();
        let chosen = candidates.first().filter(|candidate| candidate.may_be_led_to());
        let card = chosen.map(|candidate| candidate.card);
        let mut trouble = None;
        // Whether it was done; where nothing is to lead to any more, it is tried again else.
        let mut set = |card: u32, groups: &[Ipv4Addr], broadcast: bool| {
            match self.cards.set_group_routes(card, groups, broadcast) {
                Ok(()) | Err(TapError::NoHelper) => true,
                // They went with their card.
                Err(_) if matches!(self.cards.state(card), Ok(None)) => true,
                Err(error) => {
                    trouble.get_or_insert_with(|| error.to_string());
                    false
                }
            }
        };
        // An address has one route, so those of other cards make room first.
        let mut with_routes = std::mem::take(&mut state.with_routes);
        with_routes.retain(|other| Some(*other) == card || !set(*other, &[], false));
        if let Some(chosen) = chosen {
            let broadcast = chosen.way == LanGames::Route;
            let is_led_to = broadcast || !groups.is_empty();
            if is_led_to || with_routes.contains(&chosen.card) {
                let done = set(chosen.card, &groups, broadcast);
                if is_led_to || !done {
                    with_routes.insert(chosen.card);
                } else {
                    with_routes.remove(&chosen.card);
                }
            }
        }
        state.with_routes = with_routes;
        if trouble.is_none() && beyond > 0 && chosen.is_some() {
            trouble = Some(format!(
                "the list has {beyond} groups more than the {MOST_GROUPS} that can be led"
            ));
        }
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != state.route_trouble) {
            tracing::warn!(%trouble, "groups of games do not all lead to a network");
        }
        state.route_trouble = trouble;
        state.routed = chosen.map(|chosen| chosen.target.name.clone());
        let cards = candidates.iter().map(|candidate| candidate.card);
        let members = cards.flat_map(|card| groups.iter().map(move |group| (card, *group)));
        if let Err(error) = self.cards.set_memberships(&members.collect()) {
            tracing::debug!(%error, "cannot be a member of a group");
        }
    }

    /// Copies what the listener hears, until it has ended.
    async fn hear(&self, listener: &Listener) -> io::Error {
        let mut room = Vec::new();
        loop {
            let mut ready = match listener.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            match listener.get_ref().receive(&mut room) {
                Ok(Told::Nothing) => ready.clear_ready(),
                Ok(Told::Report(Report::Left { card, frame })) => {
                    let now = Time::ZERO + self.started.elapsed();
                    let _sending = self.lift.sending.lock().await;
                    let copies = self.lift.lock().copies(card, frame, now);
                    for (network, frame) in copies {
                        if let Err(error) = self.data_plane.send(Request::SendFrame { network, frame }).await {
                            return io::Error::other(error);
                        }
                    }
                }
                // What the system refuses to the listener altogether it refuses of each card, and until the next start.
                Ok(Told::Report(Report::Refused { card: _, errno }))
                    if errno == libc::EPERM || errno == libc::EACCES =>
                {
                    self.lift.fail(NOT_PERMITTED.to_owned());
                }
                Ok(Told::Report(Report::Refused { card: _, errno })) if errno == libc::EAFNOSUPPORT => {
                    self.lift.fail(NO_PACKET_SOCKETS.to_owned());
                }
                Ok(Told::Report(Report::Refused { card, errno })) => self.lift.lock().refuse(card, errno),
                Ok(Told::Report(Report::Dropped { limited, untaken })) => {
                    tracing::debug!(limited, untaken, "frames of other cards were too many");
                }
                Err(error) => return error,
            }
        }
    }

    /// Takes over what becomes of searches where nothing else is said of a network.
    pub(super) fn take_lan_games(&self, usual: LanGames) {
        self.lift.lock().usual = usual;
        self.lift.look_again();
    }

    /// Says what becomes of searches on the real LAN in a network, and remembers it; or tells it.
    ///
    /// # Errors
    /// None or several networks are called that.
    pub async fn lan_games(&self, request: &LanGamesRequest) -> Result<LanGamesReply, Failure> {
        let mut book = self.book.lock().await;
        let id = book.networks.called(&request.network)?;
        let gone = || Failure::negative("the network is gone again");
        let membership = book.networks.membership_mut(id).ok_or_else(gone)?;
        let name = membership.name().to_owned();
        if let Some(way) = request.lan_games {
            membership.lan_games = Some(way);
            tracing::info!(network = %name, %way, "searches of games on the real LAN");
            self.write_down(&book);
            self.lift.look_again();
        }
        let said = book.networks.membership(id).ok_or_else(gone)?.lan_games;
        let way = self.lift.way(said);
        let mut notes = self.troubles.unwritten_notes();
        if way == LanGames::Lift {
            notes.extend(self.lift.lock().trouble.as_ref().map(|trouble| not_copied(trouble)));
        }
        Ok(LanGamesReply {
            schema: SCHEMA,
            name,
            network_id: id.to_string(),
            lan_games: way,
            notes,
        })
    }
}

fn not_copied(trouble: &str) -> String {
    format!("searches of games on the real LAN are not copied: {trouble}")
}

/// A card of this machine whose frames are looked at, if it is such.
fn watched(card: &UnderlayCard) -> Option<(u32, Watched)> {
    let addresses: Vec<_> = card
        .addresses
        .iter()
        .filter_map(|address| match address.ip {
            IpAddr::V4(ip) => Some((ip, address.prefix)),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mac = Mac::from_bytes(card.mac?);
    (!addresses.is_empty()).then_some((card.index, Watched { mac, addresses }))
}

/// Why nothing is heard where CAP_NET_RAW is missing.
const NOT_PERMITTED: &str = "this needs CAP_NET_RAW: run farlan as root, or give the program the capability (in a container: --cap-add \
                             NET_RAW; in a unit of systemd: AmbientCapabilities and CapabilityBoundingSet)";

/// Why nothing is heard where sockets of the family AF_PACKET are forbidden.
const NO_PACKET_SOCKETS: &str = "the system refuses packet sockets: the unit of systemd is older than this program and its \
                                 RestrictAddressFamilies lacks AF_PACKET; install the new unit, then run `systemctl daemon-reload` and start \
                                 farlan again";

/// How long changes are gathered before the cards are looked at.
const GATHER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
