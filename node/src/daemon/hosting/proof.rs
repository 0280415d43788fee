//! Proving that strangers get through to a port: as a node for a moment, this machine registers from there at a configured
//! supernode and has it send something from a socket that nothing was ever sent to.
//!
//! That is enough where the port is on an own card or mapped. A NAT may go by the address alone, though, and that supernode's
//! address is one to which something went. So anything else takes a *witness*: a supernode at another address, which is asked
//! from another port, and nothing ever goes to it from the port in question.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use farlan_crypto::{Work, defects::planted};
use farlan_engine::{Anchor, Config as EngineConfig, Event, Limits, Role};
use farlan_netconf::{World, WorldId};
use thiserror::Error;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    is_public,
    serving::{PAUSE, TRIES, bind_soon, end},
    store,
};
use crate::{
    config::Offloads,
    daemon::resolver::resolve,
    failure::Failure,
    shell::{DataPlane, Request},
    state::StateDir,
};

/// The port in question.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) state: &'a StateDir,
    pub(super) offloads: Offloads,
    /// Its number at this machine.
    pub(super) port: u16,
    /// Where the router lets others in to it, if that is a public address.
    pub(super) mapped: Option<SocketAddr>,
    /// The addresses of this machine's cards.
    pub(super) own: BTreeSet<IpAddr>,
}

/// Where strangers get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// With the supernode's endpoint that was spoken to: IPv4, IPv6, or both.
    pub(super) endpoints: Vec<(SocketAddr, SocketAddr)>,
}

/// Why nothing is proved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Unproved {
    #[error("UDP {0} is closed to strangers, as the configured supernode has found out")]
    Closed(u16),
    #[error("UDP {0} is open to the configured supernode, and none at another address has got in as well")]
    NoWitness(u16),
    #[error("no configured supernode outside the local network answers to UDP {0}")]
    Nobody(u16),
    #[error("no router maps UDP {0}, no card has a public address, and it takes two supernodes to tell more")]
    Hopeless(u16),
    /// It could not be tried.
    #[error("{0}")]
    Failed(String),
}

impl From<Failure> for Unproved {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.message)
    }
}

impl Place<'_> {
    /// Whether an endpoint is this port wherever datagrams come from: a card has it, or a router keeps it mapped.
    pub(super) fn is_firm(&self, endpoint: &SocketAddr) -> bool {
        self.own.contains(&endpoint.ip()) || self.mapped == Some(*endpoint)
    }

    /// Whether a proof is possible at all.
    ///
    /// # Errors
    /// It is not: nothing is firm, and there is no witness.
    pub(super) async fn is_worth_trying(&self, world: &World) -> Result<(), Unproved> {
        if self.mapped.is_some() || self.own.iter().any(|ip| is_public(*ip)) {
            return Ok(());
        }
        let (anchors, _) = resolve(world).await;
        let addresses = |ipv6| {
            let anchors = outside(&anchors, ipv6);
            let found: BTreeSet<_> = anchors.iter().map(addresses).collect();
            found.len()
        };
        if addresses(false) < 2 && addresses(true) < 2 {
            return Err(Unproved::Hopeless(self.port));
        }
        Ok(())
    }

    /// Tries it by IPv4 and IPv6. Nothing else may have the port meanwhile.
    ///
    /// # Errors
    /// Strangers do not get through, or nobody can tell.
    pub(super) async fn prove(&self, world: &World) -> Result<Proof, Unproved> {
        let (anchors, _) = resolve(world).await;
        let mut asker = Asker::start(self, self.port, world.id()).await?;
        let mut tried = Vec::new();
        for ipv6 in [false, true] {
            tried.push(asker.by_family(self, &outside(&anchors, ipv6)).await);
        }
        end(&asker.data_plane).await;
        let (mut endpoints, mut unproved) = (Vec::new(), Unproved::Nobody(self.port));
        for tried in tried {
            match tried {
                Tried::Proved(endpoint, supernode) => endpoints.push((endpoint, supernode)),
                Tried::Seen(seen) => {
                    if self.is_witnessed(&seen, world.id()).await? {
                        endpoints.push((seen.endpoint, seen.supernode));
                    } else {
                        unproved = Unproved::NoWitness(self.port);
                    }
                }
                Tried::Closed => unproved = Unproved::Closed(self.port),
                Tried::Nobody => {}
            }
        }
        if endpoints.is_empty() {
            return Err(unproved);
        }
        Ok(Proof { endpoints })
    }

    /// Whether somebody gets in to whose address nothing went from this port. The question is asked from another port; what
    /// comes in to this one is handed over to whoever asked, who alone can tell that it is the answer.
    async fn is_witnessed(&self, seen: &Seen, world: WorldId) -> Result<bool, Failure> {
        if seen.witnesses.is_empty() {
            return Ok(false);
        }
        let ears = Arc::new(listen_soon(self.port, seen.endpoint.is_ipv6()).await?);
        let mut asker = Asker::start(self, 0, world).await?;
        let inside: IpAddr = if seen.endpoint.is_ipv6() {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let asking = SocketAddr::new(inside, asker.port);
        let witnesses: BTreeSet<IpAddr> = seen.witnesses.iter().flat_map(addresses).collect();
        let hand_over = async {
            let mut datagram = vec![0; LONGEST];
            loop {
                let Ok((length, from)) = ears.recv_from(&mut datagram).await else {
                    continue;
                };
                if witnesses.contains(&from.ip().to_canonical()) {
                    // What does not arrive is asked for again.
                    let _ = ears.send_to(datagram.get(..length).unwrap_or_default(), asking).await;
                }
            }
        };
        let ask = async {
            for witness in seen.witnesses.iter().take(MOST_ASKED) {
                let observed = asker.register(witness).await;
                let reached = match observed.filter(|observed| observed.ip() == seen.endpoint.ip()) {
                    Some(_) => asker.reached(witness, seen.endpoint.port()).await,
                    None => None,
                };
                asker.leave().await;
                if reached == Some(seen.endpoint) {
                    return true;
                }
            }
            false
        };
        let witnessed = tokio::select! {
            witnessed = ask => witnessed,
            () = hand_over => false,
        };
        end(&asker.data_plane).await;
        Ok(witnessed)
    }
}

/// What came of one family.
enum Tried {
    Proved(SocketAddr, SocketAddr),
    /// A supernode got in that may not be a stranger to the NAT.
    Seen(Seen),
    Closed,
    Nobody,
}

struct Seen {
    endpoint: SocketAddr,
    /// The supernode's endpoint that was spoken to.
    supernode: SocketAddr,
    /// Those at addresses to which nothing went.
    witnesses: Vec<Anchor>,
}

/// A node for a moment.
struct Asker {
    data_plane: DataPlane,
    events: mpsc::Receiver<Event>,
    port: u16,
    world: WorldId,
    tokens: u64,
}

impl Asker {
    async fn start(place: &Place<'_>, port: u16, world: WorldId) -> Result<Self, Failure> {
        let underlay = bind_soon(port, place.offloads).await?;
        let port = underlay.port().map_err(Failure::negative)?;
        let config = EngineConfig {
            identity: store::supernode_identity(place.state)?,
            work: Work::REQUIRED,
            role: Role::Node,
            limits: Limits::default(),
        };
        let (data_plane, events) = DataPlane::start(config, underlay)?;
        Ok(Self {
            data_plane,
            events,
            port,
            world,
            tokens: 0,
        })
    }

    /// Asks one supernode after the other until one answers, so that nothing goes to the rest.
    async fn by_family(&mut self, place: &Place<'_>, anchors: &[Anchor]) -> Tried {
        let mut told = BTreeSet::new();
        for anchor in anchors.iter().take(MOST_ASKED) {
            told.extend(addresses(anchor));
            let observed = self.register(anchor).await;
            let spoken_to = anchor.addresses.first().copied();
            let tried = match observed.zip(spoken_to) {
                Some((observed, supernode)) => self.try_registered(place, anchor, observed, supernode).await,
                None => Tried::Nobody,
            };
            self.leave().await;
            match tried {
                Tried::Nobody => {}
                Tried::Seen(seen) => {
                    let stranger = |anchor: &&Anchor| addresses(anchor).is_disjoint(&told);
                    return Tried::Seen(Seen {
                        witnesses: anchors.iter().filter(stranger).cloned().collect(),
                        ..seen
                    });
                }
                tried => return tried,
            }
        }
        Tried::Nobody
    }

    async fn try_registered(
        &mut self,
        place: &Place<'_>,
        anchor: &Anchor,
        observed: SocketAddr,
        supernode: SocketAddr,
    ) -> Tried {
        // Where the router maps the port is what stays; what the supernode sees may be that, too, or the port itself.
        let mapped = place.mapped.filter(|mapped| mapped.ip() == observed.ip());
        for port in mapped.map(|mapped| mapped.port()).into_iter().chain([0]) {
            if let Some(endpoint) = self.reached(anchor, port).await {
                if place.is_firm(&endpoint) {
                    return Tried::Proved(endpoint, supernode);
                }
                return Tried::Seen(Seen {
                    endpoint,
                    supernode,
                    witnesses: Vec::new(),
                });
            }
        }
        Tried::Closed
    }

    /// Registers at this supernode alone; where it sees this machine, if that is at a public address.
    async fn register(&mut self, anchor: &Anchor) -> Option<SocketAddr> {
        let node = anchor.key.node_id();
        let set = Request::SetWorld {
            world: self.world,
            anchors: vec![anchor.clone()],
        };
        self.data_plane.send(set).await.ok()?;
        let registered = self.wait(REGISTERED_WITHIN, |event| match event {
            Event::Registered {
                supernode, observed, ..
            } if *supernode == node => Some(*observed),
            _ => None,
        });
        let observed = registered.await?;
        // Of one in the local network, or in the carrier's, nobody learns who gets in from outside.
        is_public(observed.ip()).then_some(observed)
    }

    async fn leave(&self) {
        // An error means that it has ended.
        let _ = self.data_plane.send(Request::RemoveWorld { world: self.world }).await;
    }

    /// Whether the supernode gets in as a stranger, and where.
    async fn reached(&mut self, anchor: &Anchor, port: u16) -> Option<SocketAddr> {
        self.tokens += 1;
        let (supernode, token) = (anchor.key.node_id(), self.tokens);
        let ask = Request::ProveReach { supernode, port, token };
        self.data_plane.send(ask).await.ok()?;
        let answer = self.wait(ANSWERED_WITHIN, |event| match event {
            Event::Reached { token: of, endpoint } if *of == token => Some(*endpoint),
            _ => None,
        });
        answer.await?
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

fn addresses(anchor: &Anchor) -> BTreeSet<IpAddr> {
    anchor.addresses.iter().map(SocketAddr::ip).collect()
}

/// The supernodes with those of their UDP addresses of one family that are outside of any local network.
fn outside(anchors: &[Anchor], ipv6: bool) -> Vec<Anchor> {
    let outside = |anchor: &Anchor| Anchor {
        key: anchor.key,
        addresses: anchor
            .addresses
            .iter()
            .copied()
            .filter(|address| address.is_ipv6() == ipv6)
            .filter(|address| is_public(address.ip()) || planted("proof-from-inside"))
            .collect(),
        // What is to be proved is of UDP.
        streams: Vec::new(),
    };
    let anchors = anchors.iter().map(outside);
    anchors.filter(|anchor| !anchor.addresses.is_empty()).collect()
}

/// Listens at a port that a data plane which has just ended may still have for a moment.
async fn listen_soon(port: u16, ipv6: bool) -> Result<UdpSocket, Failure> {
    let ip: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let mut tries = 0;
    loop {
        match UdpSocket::bind((ip, port)).await {
            Err(_) if tries < TRIES => {
                tries += 1;
                sleep(PAUSE).await;
            }
            result => return result.map_err(Failure::negative),
        }
    }
}

/// How many supernodes are asked in turn.
const MOST_ASKED: usize = 2;

/// How long registering may take: the node's own registration stands, so a supernode is there.
const REGISTERED_WITHIN: Duration = Duration::from_secs(4);

/// How long the engine may take to give up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The answer is far shorter.
const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed};

    use super::*;

    #[test]
    fn supernodes_of_the_local_network_or_the_carriers_are_not_asked() {
        let key = Identity::from_seed(Seed::from_bytes([1; 32]), Work::NONE)
            .unwrap()
            .public();
        let anchor = |texts: &[&str]| Anchor {
            key,
            addresses: texts.iter().map(|text| text.parse().unwrap()).collect(),
            streams: Vec::new(),
        };
        let all = [
            anchor(&[
                "192.168.1.2:9600",
                "169.254.1.1:9600",
                "[fd00::1]:9600",
                "[fe80::1]:9600",
            ]),
            anchor(&[
                "100.64.0.1:9600",
                "10.0.0.1:9600",
                "198.51.100.1:9600",
                "[2001:db8::1]:9600",
            ]),
        ];
        assert_eq!(outside(&all, false), [anchor(&["198.51.100.1:9600"])]);
        assert_eq!(outside(&all, true), [anchor(&["[2001:db8::1]:9600"])]);
    }
}
