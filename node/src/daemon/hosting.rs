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
    time::Duration,
};

use farlan_netconf::{Endpoint, World, WorldId};
use farlan_tap::underlay_addresses;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};

use super::{Daemon, worlds::Own};
use crate::{
    api::{HostReach, HostRequest, Hosting as HostingStatus},
    config::Offloads,
    failure::Failure,
    portmap::{Port, is_behind_another_nat},
};
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
}

#[derive(Debug, Default)]
struct Inner {
    stored: Option<Stored>,
    serving: Option<Serving>,
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
        }
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
        let mut inner = self.hosting.inner.lock().await;
        let configured = self.book.lock().await.worlds.first_configured().ok().cloned();
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
            && matches!(stored.reach, Reach::Address | Reach::Proved)
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
        // It cannot be tried while it serves.
        if let Some(serving) = inner.serving.take() {
            serving.stop().await;
        }
        let mapped = self.mapped(port).await;
        let identity = store::supernode_identity(&self.state)?;
        let external = mapped.as_ref().map(|(external, _)| *external);
        let proof = proof::prove(identity, port, self.hosting.offloads, world, external).await;
        match proof {
            Ok(proof) => {
                let own = own_addresses();
                let endpoints: Vec<SocketAddr> = proof.endpoints.iter().map(|(endpoint, _)| *endpoint).collect();
                // What neither a card of this machine has nor a router keeps open closes when nothing is sent.
                let open = |endpoint: &SocketAddr| own.contains(&endpoint.ip()) || external == Some(*endpoint);
                let closing = proof.endpoints.iter().find(|(endpoint, _)| !open(endpoint));
                let kept_open = closing.map(|(_, supernode)| *supernode);
                let outside = listed(&endpoints);
                let text = words::proved(&outside);
                self.serve_at(inner, port, outside, Reach::Proved, kept_open, text)
                    .await
            }
            Err(reason) => {
                tracing::info!(%reason, port, "not reachable from outside");
                self.give_up_place(inner, port).await?;
                Ok(Meeting::Configured(words::not_proved(port, &reason)))
            }
        }
    }

    /// Nobody can be asked: a mapping or a public address may do, else it is for the local network.
    async fn without_help(&self, inner: &mut Inner) -> Result<Meeting, Failure> {
        let port = self.make_place(inner).await?;
        let mapped = self.mapped(port).await;
        if let Some((external, router)) = mapped.filter(|(external, _)| !is_behind_another_nat(*external)) {
            let outside = listed(&[external]);
            let text = words::mapped(&outside, port, &router);
            return self.serve_at(inner, port, outside, Reach::Perhaps, None, text).await;
        }
        let public = public_addresses().into_iter().map(|ip| SocketAddr::new(ip, port));
        let outside = listed(&public.collect::<Vec<_>>());
        if !outside.is_empty() {
            let text = words::public(&outside, port);
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

    /// The router is asked to let others in to the supernode, if the configuration wants that: where, and by which one.
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
        let mut routers = report.routers.iter().flat_map(|router| {
            let mapped = router.ports.iter().filter(|mapped| mapped.port == port);
            mapped.filter_map(|mapped| Some((mapped.lease?, router.gateway)))
        });
        let ((protocol, external, _), gateway) = routers.next()?;
        Some((external, format!("{gateway} ({protocol})")))
    }

    /// The port is wanted no more, if nothing serves there.
    async fn give_up_place(&self, inner: &mut Inner, port: u16) -> Result<(), Failure> {
        let in_use = match &inner.stored {
            Some(stored) => self.book.lock().await.networks.in_world(stored.world.id()).is_some(),
            None => false,
        };
        if in_use {
            // It served before, in whatever way it was reached, and networks need it.
            return self.start_serving(inner).await;
        }
        if let Some(port) = Port::udp(port) {
            self.mappings.remove(port);
        }
        Ok(())
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
        let own = Own {
            world: stored.world.id(),
            addresses: local_endpoints(stored.port),
        };
        let mut book = self.book.lock().await;
        book.worlds.set_own(&self.data_plane, Some(own)).await?;
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
        let mut inner = self.hosting.inner.lock().await;
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
                let own = Own {
                    world: stored.world.id(),
                    addresses: local_endpoints(stored.port),
                };
                self.book
                    .lock()
                    .await
                    .worlds
                    .set_own(&self.data_plane, Some(own))
                    .await?;
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
        if !matches!(stored.reach, Reach::Perhaps) {
            return stored.outside.clone();
        }
        let mapped: Vec<SocketAddr> = match Port::udp(stored.port) {
            Some(port) => self.mappings.reports().borrow().endpoints(port).collect(),
            None => Vec::new(),
        };
        let mapped = mapped.into_iter().filter(|external| !is_behind_another_nat(*external));
        let public = public_addresses()
            .into_iter()
            .map(|ip| SocketAddr::new(ip, stored.port));
        let now = listed(&mapped.chain(public).collect::<Vec<_>>());
        if now.is_empty() { stored.outside.clone() } else { now }
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
    let public = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !is_behind_another_nat(SocketAddr::new((*v4).into(), 0)) && !v4.is_loopback(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    };
    own_addresses().into_iter().filter(public).collect()
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

/// Where this node itself reaches it: by an address that others can be told they have in common, else inside the machine.
fn local_endpoints(port: u16) -> Vec<SocketAddr> {
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
