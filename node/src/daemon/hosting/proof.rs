//! Proving that strangers get through to a port: as a node for a moment, this machine registers from there at a configured
//! supernode and has it send something from a socket that nothing was ever sent to.

use std::{net::SocketAddr, time::Duration};

use farlan_crypto::{Identity, Work};
use farlan_engine::{Anchor, Config as EngineConfig, Event, Limits, Role};
use farlan_netconf::World;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::serving::{bind_soon, end};
use crate::{
    config::Offloads,
    daemon::resolver::resolve,
    shell::{DataPlane, Request},
};

/// Where strangers get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// With the supernode's endpoint that was spoken to: IPv4, IPv6, or both.
    pub(super) endpoints: Vec<(SocketAddr, SocketAddr)>,
}

/// Tries `port`, by IPv4 and IPv6; `mapped` is where the router lets others in to it. Otherwise says why not, for people.
pub(super) async fn prove(
    identity: Identity,
    port: u16,
    offloads: Offloads,
    world: &World,
    mapped: Option<SocketAddr>,
) -> Result<Proof, String> {
    let underlay = bind_soon(port, offloads).await.map_err(|failure| failure.message)?;
    let config = EngineConfig {
        identity,
        work: Work::REQUIRED,
        role: Role::Node,
        limits: Limits::default(),
    };
    let (data_plane, mut events) = DataPlane::start(config, underlay).map_err(|error| error.to_string())?;
    let (anchors, _) = resolve(world).await;
    let mut prover = Prover {
        data_plane: &data_plane,
        events: &mut events,
        world,
        tokens: 0,
    };
    let mut endpoints = Vec::new();
    let mut seen = false;
    for ipv6 in [false, true] {
        let mapped = mapped.filter(|mapped| mapped.is_ipv6() == ipv6);
        match prover.by_family(&anchors, ipv6, mapped).await {
            Tried::Proved(endpoint, supernode) => endpoints.push((endpoint, supernode)),
            Tried::Closed => seen = true,
            Tried::Nobody => {}
        }
    }
    end(&data_plane).await;
    match (endpoints.is_empty(), seen) {
        (false, _) => Ok(Proof { endpoints }),
        (true, true) => Err(format!(
            "UDP {port} is closed to strangers, as the configured supernode has found out"
        )),
        (true, false) => Err(format!("no configured supernode answers to UDP {port}")),
    }
}

/// What came of one family.
enum Tried {
    Proved(SocketAddr, SocketAddr),
    Closed,
    Nobody,
}

struct Prover<'a> {
    data_plane: &'a DataPlane,
    events: &'a mut mpsc::Receiver<Event>,
    world: &'a World,
    tokens: u64,
}

impl Prover<'_> {
    async fn by_family(&mut self, anchors: &[Anchor], ipv6: bool, mapped: Option<SocketAddr>) -> Tried {
        let of_family = |anchor: &Anchor| Anchor {
            key: anchor.key,
            addresses: anchor
                .addresses
                .iter()
                .copied()
                .filter(|address| address.is_ipv6() == ipv6)
                .collect(),
            // What is to be proved is of UDP.
            streams: Vec::new(),
        };
        let anchors: Vec<Anchor> = anchors
            .iter()
            .map(of_family)
            .filter(|anchor| !anchor.addresses.is_empty())
            .collect();
        let world = self.world.id();
        let set = Request::SetWorld {
            world,
            anchors: anchors.clone(),
        };
        if anchors.is_empty() || self.data_plane.send(set).await.is_err() {
            return Tried::Nobody;
        }
        let tried = self.try_registered(ipv6, &anchors, mapped).await;
        // The other family is another registration.
        let _ = self.data_plane.send(Request::RemoveWorld { world }).await;
        tried
    }

    async fn try_registered(&mut self, ipv6: bool, anchors: &[Anchor], mapped: Option<SocketAddr>) -> Tried {
        let registered = self.wait(REGISTERED_WITHIN, |event| match event {
            Event::Registered {
                supernode, observed, ..
            } if observed.is_ipv6() == ipv6 => Some((*supernode, *observed)),
            _ => None,
        });
        let Some((supernode, observed)) = registered.await else {
            return Tried::Nobody;
        };
        let addresses = anchors.iter().find(|anchor| anchor.key.node_id() == supernode);
        let Some(spoken_to) = addresses.and_then(|anchor| anchor.addresses.first().copied()) else {
            return Tried::Nobody;
        };
        // Where the router maps the port is what stays; what the supernode sees may be that, too, or the port itself.
        let mapped = mapped
            .filter(|mapped| mapped.ip() == observed.ip())
            .map(|mapped| mapped.port());
        for port in mapped.into_iter().chain([0]) {
            self.tokens += 1;
            let token = self.tokens;
            let ask = Request::ProveReach { supernode, port, token };
            if self.data_plane.send(ask).await.is_err() {
                return Tried::Nobody;
            }
            let answer = self.wait(ANSWERED_WITHIN, |event| match event {
                Event::Reached { token: of, endpoint } if *of == token => Some(*endpoint),
                _ => None,
            });
            if let Some(Some(endpoint)) = answer.await {
                return Tried::Proved(endpoint, spoken_to);
            }
        }
        Tried::Closed
    }

    /// Waits for an event.
    async fn wait<T>(&mut self, limit: Duration, is: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        loop {
            let event = timeout_at(end, self.events.recv()).await.ok()??;
            if let Some(found) = is(&event) {
                return Some(found);
            }
        }
    }
}

/// How long registering may take: the node's own registration stands, so the supernode is there.
const REGISTERED_WITHIN: Duration = Duration::from_secs(4);

/// How long the engine may take to give up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
