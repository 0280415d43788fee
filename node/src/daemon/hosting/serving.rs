//! The data plane of the supernode in this daemon.

use std::{io, time::Duration};

use farlan_crypto::{Identity, Work};
use farlan_engine::{Anchor, Config as EngineConfig, Limits, Role};
use farlan_netconf::{Endpoint, World};
use tokio::task::JoinHandle;

use super::store::Stored;
use crate::{
    config::Offloads,
    daemon::bind,
    failure::Failure,
    shell::{DataPlane, DataPlaneError, Request, Underlay, UnderlayOffloads},
};

/// A data plane that serves.
#[derive(Debug)]
pub(super) struct Serving {
    data_plane: DataPlane,
    /// Takes its events, of which nothing follows here.
    events: JoinHandle<()>,
}

impl Serving {
    /// `is_public` says whether others reach it at an address of this machine's own, without a NAT between.
    pub(super) async fn start(
        identity: Identity,
        stored: &Stored,
        offloads: Offloads,
        is_public: bool,
    ) -> Result<Self, Failure> {
        let config = EngineConfig {
            identity,
            work: Work::REQUIRED,
            role: Role::Supernode,
            limits: Limits::default(),
        };
        let mut underlay = bind_soon(stored.port, offloads).await?;
        // Behind a NAT nobody would get through to it.
        let second = stored.port.checked_add(1).unwrap_or(0);
        if is_public && let Err(error) = underlay.bind_second(second).or_else(|_| underlay.bind_second(0)) {
            tracing::warn!(%error, "no second UDP port: nodes learn less of how their NATs behave");
        }
        let (data_plane, mut events) = DataPlane::start(config, underlay)?;
        let events = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                tracing::trace!(?event, "the supernode in this daemon");
            }
        });
        let serving = Self { data_plane, events };
        serving.tell(stored).await?;
        Ok(serving)
    }

    pub(super) fn data_plane(&self) -> &DataPlane {
        &self.data_plane
    }

    /// Tells it which world it serves, and what it keeps open.
    pub(super) async fn tell(&self, stored: &Stored) -> Result<(), DataPlaneError> {
        let world = Box::new(stored.world.clone());
        self.data_plane.send(Request::HoldWorld { world }).await?;
        let (world, anchors) = (stored.world.id(), literal(&stored.world));
        self.data_plane.send(Request::SetWorld { world, anchors }).await?;
        let endpoint = stored.kept_open;
        self.data_plane.send(Request::KeepOpen { endpoint }).await
    }

    /// Says goodbye and ends.
    pub(super) async fn stop(self) {
        end(&self.data_plane).await;
        self.events.abort();
    }
}

/// Ends a data plane. An error means that it has ended already.
pub(super) async fn end(data_plane: &DataPlane) {
    let goodbye = data_plane.ask(|reply| Request::Shutdown { reply });
    let _ = tokio::time::timeout(ENDING, goodbye).await;
}

fn literal(world: &World) -> Vec<Anchor> {
    let anchor = |supernode: &farlan_netconf::Supernode| Anchor {
        key: supernode.key,
        addresses: supernode
            .endpoints
            .iter()
            .filter(|endpoint| !endpoint.is_tcp())
            .filter_map(Endpoint::address)
            .collect(),
        streams: Vec::new(),
    };
    world.supernodes().iter().map(anchor).collect()
}

/// Binds a port that a data plane which has just ended may still have for a moment.
pub(super) async fn bind_soon(port: u16, offloads: Offloads) -> Result<Underlay, Failure> {
    let mut tries = 0;
    loop {
        match Underlay::bind(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            // Says what to do.
            Err(_) => return bind(port).map_err(|failure| taken(port, &failure)),
            Ok(underlay) => {
                return Ok(underlay.with_offloads(UnderlayOffloads {
                    segment: offloads.send,
                    coalesce: offloads.receive,
                }));
            }
        }
    }
}

fn taken(port: u16, failure: &Failure) -> Failure {
    Failure::negative(format_args!(
        "the supernode in this daemon has UDP port {port}, which others have in their links, and cannot get it: {failure}"
    ))
}

/// The port of a new one: the next free one after the daemon's own.
pub(super) fn free_port(own: u16) -> Result<u16, Failure> {
    let own = if own < 1023 { DEFAULT } else { own };
    let ports = (1..=PORTS).filter_map(|step| own.checked_add(step));
    let mut free = ports.filter(|port| Underlay::bind(*port).is_ok());
    free.next().ok_or_else(|| {
        Failure::negative(format_args!(
            "none of the {PORTS} UDP ports after {own} is free for the supernode in this daemon"
        ))
    })
}

/// Where the daemon's own port is one that takes privileges, or none, those after this one are tried.
const DEFAULT: u16 = 9600;

/// How many ports are tried.
const PORTS: u16 = 20;

/// How long a data plane may take to say goodbye.
const ENDING: Duration = Duration::from_millis(500);

/// How often a port is tried again that is in use, and after which pause.
pub(super) const TRIES: u32 = 20;
pub(super) const PAUSE: Duration = Duration::from_millis(50);
