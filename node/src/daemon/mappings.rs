//! Which of this machine's ports the home's router is asked to let in, and what the engine and the API are told of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use super::Daemon;
use crate::{
    api::{MappedPort, PortMapping},
    portmap::{Keeper, Port, Protocol, Report, Transport, is_behind_another_nat},
    shell::Request,
};

/// The ports that are to be mapped, and who keeps the mappings.
#[derive(Debug)]
pub(super) struct Mappings {
    keeper: Keeper,
    /// Whether the configuration wants mappings at all.
    on: AtomicBool,
    ports: Mutex<BTreeSet<Port>>,
    own: Option<Port>,
}

impl Mappings {
    /// None yet; `port` is the underlay's.
    pub(super) fn new(port: u16) -> Self {
        let own = Port::udp(port);
        Self {
            keeper: Keeper::start(BTreeSet::new()),
            on: AtomicBool::new(false),
            ports: Mutex::new(own.into_iter().collect()),
            own,
        }
    }

    /// Asks for the ports from now on, or gives them back.
    pub(super) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
        self.tell();
    }

    /// Asks for one more port; returns whether the configuration lets anything be asked.
    pub(super) fn add(&self, port: Port) -> bool {
        self.ports().insert(port);
        self.tell();
        self.on.load(Ordering::Relaxed)
    }

    /// Asks for a port no more.
    pub(super) fn remove(&self, port: Port) {
        self.ports().remove(&port);
        self.tell();
    }

    /// Looks again which gateways there are.
    pub(super) fn look_again(&self) {
        self.keeper.look_again();
    }

    /// How they are, now and after each change.
    pub(super) fn reports(&self) -> watch::Receiver<Report> {
        self.keeper.reports()
    }

    /// Gives all back.
    pub(super) async fn end(&self) {
        self.keeper.end().await;
    }

    fn ports(&self) -> MutexGuard<'_, BTreeSet<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let on = self.on.load(Ordering::Relaxed);
        let ports = if on { self.ports().clone() } else { BTreeSet::new() };
        self.keeper.want(ports);
    }

    /// As the API shows them.
    pub(super) fn view(&self) -> PortMapping {
        let report = self.reports().borrow().clone();
        let ports = report.routers.iter().flat_map(|router| {
            router.ports.iter().map(|mapped| {
                let lease = mapped.lease.as_ref();
                MappedPort {
                    gateway: router.gateway,
                    transport: match mapped.port.transport {
                        Transport::Udp => "udp".into(),
                        Transport::Tcp => "tcp".into(),
                    },
                    port: mapped.port.number.get(),
                    protocol: lease.map(|(protocol, ..)| word(*protocol).into()),
                    external: lease.map(|(_, external, _)| *external),
                    behind_another_nat: lease.is_some_and(|(_, external, _)| is_behind_another_nat(*external)),
                    expires_s: lease.map(|(.., expiry)| expiry.saturating_duration_since(Instant::now()).as_secs()),
                    trouble: mapped.trouble.clone(),
                }
            })
        });
        PortMapping {
            on: self.on.load(Ordering::Relaxed),
            ports: ports.collect(),
        }
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Pcp => "pcp",
        Protocol::NatPmp => "nat-pmp",
        Protocol::Upnp => "upnp",
    }
}

impl Daemon {
    /// Tells the engine where the router lets in what comes for the node's own port, as long as it lives.
    pub(super) async fn follow_mappings(self: Arc<Self>) {
        let mut reports = self.mappings.reports();
        let mut told = Vec::new();
        loop {
            let report = reports.borrow_and_update().clone();
            let own = self.mappings.own;
            let endpoints: Vec<_> = own.into_iter().flat_map(|own| report.endpoints(own)).collect();
            if endpoints != told {
                told.clone_from(&endpoints);
                let request = Request::SetMappedEndpoints { endpoints };
                if self.data_plane.send(request).await.is_err() {
                    return;
                }
            }
            if reports.changed().await.is_err() {
                return;
            }
        }
    }
}
