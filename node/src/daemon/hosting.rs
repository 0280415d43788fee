//! The supernode in this daemon: what `farlan host` makes so that others meet here, without outside help.
//!
//! It is a data plane of its own, with an identity and a UDP port of its own, and serves a world of its own, whose operator's
//! key lies in the state directory. It runs as long as this node is in a network of that world.
//!
//! | module | what it holds |
//! |---|---|
//! | `store` | its keys, world and port on disk |
//! | `proof` | asking a configured supernode whether strangers get through |
//! | `serving` | the data plane |
//! | `words` | what is said about it |

mod proof;
mod serving;
mod store;
mod words;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex as Lock, PoisonError},
    time::Duration,
};

use farlan_netconf::{Endpoint, World, WorldId};
use farlan_tap::underlay_addresses;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};

use super::{Daemon, mappings::Mappings, resolver::Own};
use crate::{
    api::{HostReach, HostRequest, Hosting as HostingStatus},
    config::Offloads,
    failure::Failure,
    portmap::{Port, is_behind_another_nat},
};
use proof::Place;
use serving::Serving;
use store::Stored;

pub(super) use store::FILES;

/// What is known of how others reach the supernode in this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reach {
    /// The user says where.
    Address,
    /// A configured supernode has proved that strangers get through.
    Proved,
    /// There is a public address or a mapping, and nobody has tried.
    Perhaps,
    /// By this machine's addresses in its local network only.
    Lan,
}

/// The supernode in this daemon.
#[derive(Debug)]
pub(super) struct Hosting {
    offloads: Offloads,
    /// Held by whoever starts, alters or stops it.
    inner: Mutex<Inner>,
    /// This machine's addresses changed.
    moved: Notify,
    /// Where a supernode outside sees this machine: by IPv4, by IPv6.
    seen: Lock<[Option<IpAddr>; 2]>,
}

#[derive(Debug, Default)]
struct Inner {
    stored: Option<Stored>,
    serving: Option<Serving>,
}

/// A port that is wanted of the router, until this is dropped: also if whoever asked has gone.
struct Wanted<'a> {
    mappings: &'a Mappings,
    port: Option<Port>,
}

impl Wanted<'_> {
    /// It stays wanted.
    fn keep(mut self) {
        self.port = None;
    }

    fn is_kept(&self) -> bool {
        self.port.is_none()
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if let Some(port) = self.port {
            self.mappings.remove(port);
        }
    }
}

/// At which supernodes the members of a new network meet.
pub(super) enum Meeting {
    /// At the one in this daemon.
    Here(World, HostReach),
    /// At the configured ones.
    Configured(HostReach),
}

impl Hosting {
    pub(super) fn new(offloads: Offloads) -> Self {
        Self {
            offloads,
            inner: Mutex::default(),
            moved: Notify::new(),
            seen: Lock::default(),
        }
    }

    /// A supernode sees this machine there.
    pub(super) fn seen(&self, observed: SocketAddr) {
        if is_public(observed.ip()) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen[usize::from(observed.is_ipv6())] = Some(observed.ip());
        }
    }

    fn is_seen_at(&self, ip: IpAddr) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&Some(ip))
    }

    /// This machine's addresses changed.
    pub(super) fn moved(&self) {
        self.moved.notify_one();
    }

    /// Stops serving, if it does.
    pub(super) async fn stop(&self) {
        // Whoever is finding out about reachability does not hold the end up.
        let Ok(mut inner) = tokio::time::timeout(STOPPING, self.inner.lock()).await else {
            return;
        };
        if let Some(serving) = inner.serving.take() {
            serving.stop().await;
        }
    }
}

impl Daemon {
    /// Decides where the members of a new network meet, and starts the supernode in this daemon if it is there.
    ///
    /// # Errors
    /// An address is none; the port cannot be had; the files cannot be written.
    pub(super) async fn meeting(&self, request: &HostRequest) -> Result<Meeting, Failure> {
        let told: Vec<Endpoint> = request
            .addresses
            .iter()
            .map(|text| text.parse::<Endpoint>())
            .collect::<Result<_, _>>()
            .map_err(Failure::usage)?;
        if told.iter().any(Endpoint::is_tcp) {
            return Err(Failure::usage(words::NO_STREAMS));
        }
        let mut inner = self.hosting.inner.lock().await;
        let configured = self.book.lock().await.worlds.first_configured().ok().cloned();
        if self.neighbour.get().is_some() {
            return Ok(Meeting::Configured(words::by_wish()));
        }
        if !told.is_empty() {
            let port = self.make_place(&mut inner).await?;
            let text = words::told(&told);
            return self.serve_at(&mut inner, port, told, Reach::Address, None, text).await;
        }
        if request.no_serve {
            return match configured {
                Some(_) => Ok(Meeting::Configured(words::by_wish())),
                None => Err(Failure::negative(super::worlds::NO_SUPERNODE)),
            };
        }
        // Where it serves well already, another network changes nothing.
        if let (Some(stored), Some(_)) = (&inner.stored, &inner.serving)
            && self.still_serves_well(stored)
        {
            let text = words::as_before(&stored.outside);
            let reach = words::reach(stored.reach, &stored.outside, text);
            return Ok(Meeting::Here(stored.world.clone(), reach));
        }
        match configured {
            Some(world) => self.proved_or_configured(&mut inner, &world).await,
            None => self.without_help(&mut inner).await,
        }
    }

    /// A configured supernode proves that strangers get through to this machine; else it is where the members meet.
    async fn proved_or_configured(&self, inner: &mut Inner, world: &World) -> Result<Meeting, Failure> {
        if !self.wait_registered(world.id()).await {
            return Ok(Meeting::Configured(words::unasked()));
        }
        let port = self.make_place(inner).await?;
        let wanted = self.wanted(inner, port).await;
        let place = Place {
            state: &self.state,
            offloads: self.hosting.offloads,
            port,
            mapped: self.mapped(port).await.map(|(external, _)| external),
            own: own_addresses(),
        };
        // It cannot be tried while it serves, so who is served is not cut off where nothing can come of it.
        if inner.serving.is_some()
            && let Err(reason) = place.is_worth_trying(world).await
        {
            return Ok(Meeting::Configured(words::not_proved(port, &reason)));
        }
        if let Some(serving) = inner.serving.take() {
            serving.stop().await;
        }
        match place.prove(world).await {
            Ok(proof) => {
                let endpoints: Vec<SocketAddr> = proof.endpoints.iter().map(|(endpoint, _)| *endpoint).collect();
                // What neither a card of this machine has nor a router keeps open closes when nothing is sent.
                let closing = proof.endpoints.iter().find(|(endpoint, _)| !place.is_firm(endpoint));
                let kept_open = closing.map(|(_, supernode)| *supernode);
                let outside = listed(&endpoints);
                let text = words::proved(&outside);
                let meeting = self.serve_at(inner, port, outside, Reach::Proved, kept_open, text);
                let meeting = meeting.await?;
                wanted.keep();
                Ok(meeting)
            }
            Err(reason) => {
                tracing::info!(%reason, port, "not reachable from outside");
                if wanted.is_kept() {
                    // It served before, in whatever way it was reached, and networks need it.
                    self.start_serving(inner).await?;
                }
                Ok(Meeting::Configured(words::not_proved(port, &reason)))
            }
        }
    }

    /// The port is wanted for as long as the result lives, and on if it is kept or networks need it already.
    async fn wanted(&self, inner: &Inner, port: u16) -> Wanted<'_> {
        let in_use = match &inner.stored {
            Some(stored) => self.book.lock().await.networks.in_world(stored.world.id()).is_some(),
            None => false,
        };
        Wanted {
            mappings: &self.mappings,
            port: Port::udp(port).filter(|_| !in_use),
        }
    }

    /// Whether others still reach it where it was told or proved that they do.
    fn still_serves_well(&self, stored: &Stored) -> bool {
        match stored.reach {
            Reach::Address => true,
            Reach::Perhaps | Reach::Lan => false,
            Reach::Proved => {
                let firm = self.firm_now(stored.port);
                let mut outside = stored.outside.iter().filter_map(Endpoint::address);
                // Of a port that is kept open nobody knows more than whether its address is the same.
                outside.any(|endpoint| {
                    firm.contains(&endpoint) || (stored.kept_open.is_some() && self.hosting.is_seen_at(endpoint.ip()))
                })
            }
        }
    }

    /// Nobody can be asked: a mapping or a public address may do, else it is for the local network.
    async fn without_help(&self, inner: &mut Inner) -> Result<Meeting, Failure> {
        let port = self.make_place(inner).await?;
        let wanted = self.wanted(inner, port).await;
        let mapped = self.mapped(port).await;
        // From here on it serves, or fails.
        let meeting = self.perhaps(inner, port, mapped).await?;
        wanted.keep();
        Ok(meeting)
    }

    async fn perhaps(
        &self,
        inner: &mut Inner,
        port: u16,
        mapped: Option<(SocketAddr, String)>,
    ) -> Result<Meeting, Failure> {
        if let Some((external, router)) = mapped {
            let outside = listed(&[external]);
            let text = words::mapped(&outside, port, &router);
            return self.serve_at(inner, port, outside, Reach::Perhaps, None, text).await;
        }
        let public = public_addresses().into_iter().map(|ip| SocketAddr::new(ip, port));
        let outside = listed(&public.collect::<Vec<_>>());
        if !outside.is_empty() {
            let text = if is_behind_ipv4_nat(&own_addresses()) {
                words::public_by_ipv6(&outside, port, mapped_report(self, port).as_deref())
            } else {
                words::public(&outside, port)
            };
            return self.serve_at(inner, port, outside, Reach::Perhaps, None, text).await;
        }
        let text = words::lan(port, mapped_report(self, port).as_deref());
        self.serve_at(inner, port, Vec::new(), Reach::Lan, None, text).await
    }

    /// Makes the files of the supernode, if there are none, and says which port it has.
    async fn make_place(&self, inner: &mut Inner) -> Result<u16, Failure> {
        if inner.stored.is_none() {
            inner.stored = Stored::load(&self.state, self.work)?;
        }
        if let Some(stored) = &inner.stored {
            return Ok(stored.port);
        }
        store::make_keys(&self.state).await?;
        serving::free_port(self.port)
    }

    /// The router is asked to let others in to the supernode, if the configuration wants that: where, and by which one, if
    /// that is a public address.
    async fn mapped(&self, port: u16) -> Option<(SocketAddr, String)> {
        let port = Port::udp(port)?;
        if !self.mappings.add(port) {
            return None;
        }
        let mut reports = self.mappings.reports();
        let said = |report: &crate::portmap::Report| {
            report.endpoints(port).next().is_some() || (report.settled && report.is_about(port))
        };
        let report = tokio::time::timeout(MAPPED_WITHIN, reports.wait_for(said))
            .await
            .ok()?
            .ok()?;
        let routers = report.routers.iter().flat_map(|router| {
            let mapped = router.ports.iter().filter(|mapped| mapped.port == port);
            mapped.filter_map(|mapped| Some((mapped.lease?, router.gateway)))
        });
        let mut routers = routers.filter(|((_, external, _), _)| is_public(external.ip()));
        let ((protocol, external, _), gateway) = routers.next()?;
        Some((external, format!("{gateway} ({protocol})")))
    }

    /// Serves, at these places besides those in the local network.
    async fn serve_at(
        &self,
        inner: &mut Inner,
        port: u16,
        outside: Vec<Endpoint>,
        reach: Reach,
        kept_open: Option<SocketAddr>,
        text: String,
    ) -> Result<Meeting, Failure> {
        let lan = lan_endpoints(port);
        if outside.is_empty() && lan.is_empty() {
            return Err(Failure::negative(
                "this machine has no network address at which others could reach it; connect it to a network, or give \
                 --address",
            ));
        }
        let stored = store::sign(&self.state, inner.stored.take(), port, outside, &lan, reach, kept_open);
        let stored = stored?;
        let (world, outside) = (stored.world.clone(), stored.outside.clone());
        inner.stored = Some(stored);
        self.start_serving(inner).await?;
        let shown = if outside.is_empty() { lan } else { outside };
        Ok(Meeting::Here(world, words::reach(reach, &shown, text)))
    }

    /// Starts the data plane, or tells the one that runs what changed; and this node reaches it inside the machine.
    async fn start_serving(&self, inner: &mut Inner) -> Result<(), Failure> {
        let Some(stored) = &inner.stored else { return Ok(()) };
        if let Some(port) = Port::udp(stored.port) {
            self.mappings.add(port);
        }
        match &inner.serving {
            Some(serving) => serving.tell(stored).await?,
            None => {
                let identity = store::supernode_identity(&self.state)?;
                let own = own_addresses();
                let mut outside = stored.outside.iter().filter_map(Endpoint::address);
                let is_public = outside.any(|endpoint| own.contains(&endpoint.ip()));
                inner.serving = Some(Serving::start(identity, stored, self.hosting.offloads, is_public).await?);
                tracing::info!(port = stored.port, world = %stored.world.id(), "serving as a supernode");
            }
        }
        let own = own_supernode(stored);
        let mut book = self.book.lock().await;
        book.worlds.set_own(&self.data_plane, own).await?;
        if book.worlds.find(stored.world.id()).is_some() {
            book.worlds.add(&self.data_plane, stored.world.clone(), false).await?;
        }
        Ok(())
    }

    /// Serves again what was served when the last run ended.
    pub(super) async fn resume_hosting(&self) -> Result<(), Failure> {
        let mut inner = self.hosting.inner.lock().await;
        inner.stored = Stored::load(&self.state, self.work)?;
        let Some(world) = inner.stored.as_ref().map(|stored| stored.world.id()) else {
            return Ok(());
        };
        if self.book.lock().await.networks.in_world(world).is_none() {
            return Ok(());
        }
        // A port that is taken for the moment must not keep the networks; upkeep tries again.
        if let Err(failure) = self.start_serving(&mut inner).await {
            tracing::error!(%failure, "cannot serve as a supernode");
        }
        Ok(())
    }

    /// Begins to serve where it should and does not, and follows this machine's addresses and the router's mapping.
    pub(super) async fn tend_hosting(&self) {
        if let Some(neighbour) = self.neighbour.get() {
            let own = Some(neighbour.own());
            // An error means that the daemon ends.
            let _ = self.book.lock().await.worlds.set_own(&self.data_plane, own).await;
            return;
        }
        // While somebody finds out how it is reached there is nothing to follow, and upkeep does not wait.
        let Ok(mut inner) = self.hosting.inner.try_lock() else {
            return;
        };
        let Some(stored) = inner.stored.clone() else { return };
        if self.book.lock().await.networks.in_world(stored.world.id()).is_none() {
            return;
        }
        let result = async {
            if inner.serving.is_none() {
                self.start_serving(&mut inner).await?;
            }
            let outside = self.outside_now(&stored);
            let lan = lan_endpoints(stored.port);
            // With the cable out nothing is known of where it will be in again.
            if !own_addresses().is_empty() && store::differs(&stored, &outside, &lan) {
                let before = inner.stored.take();
                let (reach, kept_open) = (stored.reach, stored.kept_open);
                let signed = store::sign(&self.state, before, stored.port, outside, &lan, reach, kept_open)?;
                inner.stored = Some(signed);
                self.start_serving(&mut inner).await?;
            } else {
                let own = own_supernode(&stored);
                self.book.lock().await.worlds.set_own(&self.data_plane, own).await?;
            }
            Ok::<(), Failure>(())
        };
        if let Err(failure) = result.await {
            inner.stored.get_or_insert(stored);
            tracing::warn!(%failure, "cannot serve as a supernode as things are now");
        }
    }

    /// Where it is reached from outside now: a mapping may be another one, and a public address.
    fn outside_now(&self, stored: &Stored) -> Vec<Endpoint> {
        match stored.reach {
            Reach::Address | Reach::Lan => stored.outside.clone(),
            Reach::Perhaps => {
                let now = listed(&self.firm_now(stored.port));
                if now.is_empty() { stored.outside.clone() } else { now }
            }
            Reach::Proved => follow_proved(&stored.outside, &self.firm_now(stored.port)),
        }
    }

    /// Where the routers map the port now, then this machine's public addresses.
    fn firm_now(&self, port: u16) -> Vec<SocketAddr> {
        let mapped: Vec<SocketAddr> = match Port::udp(port) {
            Some(port) => self.mappings.reports().borrow().endpoints(port).collect(),
            None => Vec::new(),
        };
        let mapped = mapped.into_iter().filter(|external| is_public(external.ip()));
        let public = public_addresses().into_iter().map(|ip| SocketAddr::new(ip, port));
        mapped.chain(public).collect()
    }

    /// A network was left: nothing is served for a world in which this node is no more. Returns what to say.
    pub(super) async fn hosting_left(&self, world: WorldId) -> Option<String> {
        let mut inner = self.hosting.inner.lock().await;
        let stored = inner.stored.as_ref().filter(|stored| stored.world.id() == world)?;
        let mut book = self.book.lock().await;
        if book.networks.in_world(world).is_some() {
            return None;
        }
        if let Some(port) = Port::udp(stored.port) {
            self.mappings.remove(port);
        }
        let serving = inner.serving.take()?;
        serving.stop().await;
        // An error means that the daemon ends.
        let _ = book.worlds.set_own(&self.data_plane, None).await;
        Some(words::LEFT.to_owned())
    }

    /// Acts on changes of this machine's addresses and of the router's mappings, as long as it lives.
    pub(super) async fn follow_hosting(self: std::sync::Arc<Self>) {
        let mut reports = self.mappings.reports();
        loop {
            tokio::select! {
                () = self.hosting.moved.notified() => {}
                changed = reports.changed() => if changed.is_err() {
                    return;
                }
            }
            self.tend_hosting().await;
        }
    }

    /// As the API shows it.
    pub(super) async fn hosting_status(&self) -> Option<HostingStatus> {
        let (stored, serving) = {
            let inner = self.hosting.inner.try_lock().ok()?;
            (inner.stored.clone()?, inner.serving.as_ref()?.data_plane().clone())
        };
        let registrations = serving
            .snapshot()
            .await
            .map_or(0, |snapshot| snapshot.anchor.registrations);
        let supernode = stored.world.supernodes().first()?;
        Some(HostingStatus {
            node_id: supernode.key.node_id().to_string(),
            world: stored.world.id().to_string(),
            version: stored.world.version(),
            port: stored.port,
            reach: words::kind(stored.reach).to_owned(),
            addresses: supernode.endpoints.iter().map(ToString::to_string).collect(),
            registrations,
        })
    }

    /// Waits until this node is registered at a supernode of a world; not long after the daemon's start.
    async fn wait_registered(&self, world: WorldId) -> bool {
        loop {
            let Ok(snapshot) = self.data_plane.snapshot().await else {
                return false;
            };
            let mut supernodes = snapshot.supernodes.iter();
            if supernodes.any(|supernode| supernode.world == world && supernode.registered) {
                return true;
            }
            if self.started.elapsed() > REGISTERED_WITHIN {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What the router says of the port, if it says something worth telling.
fn mapped_report(daemon: &Daemon, port: u16) -> Option<String> {
    let port = Port::udp(port)?;
    let reports = daemon.mappings.reports();
    let report = reports.borrow();
    let inner = report.endpoints(port).find(|external| is_behind_another_nat(*external));
    match inner {
        Some(external) => Some(words::double_nat(external)),
        None => report.trouble(port).map(str::to_owned),
    }
}

/// The addresses of this machine's cards.
fn own_addresses() -> BTreeSet<IpAddr> {
    underlay_addresses().unwrap_or_default().into_iter().collect()
}

/// Those of them that mean something to everybody.
fn public_addresses() -> Vec<IpAddr> {
    own_addresses().into_iter().filter(|ip| is_public(*ip)).collect()
}

/// Whether an address means something to everybody: not those of local networks, nor those that carriers' customers share.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            !is_behind_another_nat(SocketAddr::new(v4.into(), 0)) && !v4.is_loopback() && !v4.is_unspecified()
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// Whether a machine with these addresses speaks IPv4 by a NAT.
fn is_behind_ipv4_nat(own: &BTreeSet<IpAddr>) -> bool {
    let mut ipv4 = own.iter().filter(|ip| ip.is_ipv4() && !ip.is_loopback()).peekable();
    ipv4.peek().is_some() && !ipv4.any(|ip| is_public(*ip))
}

/// What was proved goes where it is mapped or a card has it now, family by family; the families that were not proved stay
/// out of it. What is nowhere stays as it was: the router may be starting anew, or a NAT's port is kept open.
fn follow_proved(proved: &[Endpoint], firm: &[SocketAddr]) -> Vec<Endpoint> {
    let mut now = Vec::new();
    for ipv6 in [false, true] {
        let of_family = |endpoint: &SocketAddr| endpoint.is_ipv6() == ipv6;
        let proved = proved.iter().filter_map(Endpoint::address).filter(of_family);
        let proved: Vec<SocketAddr> = proved.collect();
        let firm: Vec<SocketAddr> = firm.iter().copied().filter(of_family).collect();
        let still: Vec<SocketAddr> = proved
            .iter()
            .copied()
            .filter(|endpoint| firm.contains(endpoint))
            .collect();
        now.extend(match (proved.is_empty(), still.is_empty(), firm.is_empty()) {
            (true, ..) => Vec::new(),
            (false, false, _) => still,
            (false, true, false) => firm,
            (false, true, true) => proved,
        });
    }
    listed(&now)
}

/// Where others in the local network reach the supernode: by private addresses, IPv4 first.
fn lan_endpoints(port: u16) -> Vec<Endpoint> {
    let private = |address: &IpAddr| match address {
        IpAddr::V4(v4) => is_behind_another_nat(SocketAddr::new((*v4).into(), 0)) && !v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    let found = own_addresses().into_iter().filter(private);
    let endpoints: Vec<SocketAddr> = found.map(|ip| SocketAddr::new(ip, port)).collect();
    let mut endpoints = listed(&endpoints);
    endpoints.truncate(MOST_LAN);
    endpoints
}

/// The supernode in this daemon, as this node reaches it.
fn own_supernode(stored: &Stored) -> Option<Own> {
    let supernode = stored.world.supernodes().first()?;
    Some(Own {
        key: supernode.key,
        addresses: local_endpoints(stored.port),
    })
}

/// Where this node itself reaches it: by an address that others can be told they have in common, else inside the machine.
pub(super) fn local_endpoints(port: u16) -> Vec<SocketAddr> {
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let own = own_addresses().into_iter().filter(|ip| !link_local(ip));
    let all = own.chain([Ipv4Addr::LOCALHOST.into()]);
    all.map(|ip| SocketAddr::new(ip, port)).collect()
}

fn listed(endpoints: &[SocketAddr]) -> Vec<Endpoint> {
    endpoints
        .iter()
        .filter_map(|endpoint| Endpoint::try_from(*endpoint).ok())
        .collect()
}

/// Of a world's eight places, so many are of the local network, so that there is room for those outside.
const MOST_LAN: usize = 3;

/// How long the router may take to map the port: longer than all three protocols take.
const MAPPED_WITHIN: Duration = Duration::from_secs(8);

/// So long after its start the daemon may not be registered yet.
const REGISTERED_WITHIN: Duration = Duration::from_secs(3);

/// How long stopping may wait for whoever alters something.
const STOPPING: Duration = Duration::from_millis(300);

const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_proved_follows_the_mapping_and_the_cards_in_its_own_family() {
        let proved = ["203.0.113.7:9601", "[2001:db8::1]:9601"];
        let follows = |firm: &[&str], now: &[&str]| {
            let proved = listed(&addresses(&proved));
            assert_eq!(
                follow_proved(&proved, &addresses(firm)),
                listed(&addresses(now)),
                "{firm:?}"
            );
        };
        follows(&proved, &proved);
        // Another address outside, and another one of the card.
        follows(
            &["203.0.113.8:9601", "[2001:db8::2]:9601"],
            &["203.0.113.8:9601", "[2001:db8::2]:9601"],
        );
        // One more says nothing against the one that was proved.
        follows(&["203.0.113.8:9601", "203.0.113.7:9601"], &proved);
        // Nothing is known for the moment.
        follows(&[], &proved);
        let ipv4 = listed(&addresses(&proved[..1]));
        assert_eq!(follow_proved(&ipv4, &addresses(&["[2001:db8::2]:9601"])), ipv4);
    }

    #[test]
    fn what_local_networks_and_carriers_use_is_not_public() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "fd00::1",
            "fe80::1",
            "::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["203.0.113.7", "100.128.0.1", "2001:db8::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        let own = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(is_behind_ipv4_nat(&own(&["192.168.1.2", "2001:db8::1"])));
        assert!(!is_behind_ipv4_nat(&own(&[
            "203.0.113.7",
            "192.168.1.2",
            "2001:db8::1"
        ])));
        assert!(!is_behind_ipv4_nat(&own(&["127.0.0.1", "2001:db8::1"])));
    }
}
