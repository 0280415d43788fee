//! What the two ends of a search send: the hard one opens ports, the easy one tries them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::defects::planted;

use super::{LAST_ANSWER, LONGEST, Search, WANTED_FOR, again_within};
use crate::{
    Engine, Leg, Outbox, Socket, Time,
    content::Content,
    direct::{OPENING, OPENING_MAX, OPENING_TTL},
    peers::{Path, PeerId},
    prediction::{PREDICTED_SOCKETS, PortOrder, Technique, aim, likely},
    retry::Retry,
    sockets::Purpose,
    wire::control::{Control, Step},
};

/// Sockets that the hard end opens for a birthday search: with them 1,160 random probes of 64,512 ports hit in 99 of 100.
const BIRTHDAY_SOCKETS: usize = 256;

/// Probes of one birthday search at the most: 99.96 of 100 hit.
pub(crate) const MOST_PROBES: u32 = 2000;

/// Probes a second, sent in slices of [`SLICE`].
const PROBE_RATE: u32 = 1000;

/// How far apart slices of probes and of openings are.
const SLICE: Duration = Duration::from_millis(10);

/// Probes in one slice at the most: what a late timer left out is made up for slowly.
const SLICE_PROBES: u32 = 20;

/// How often the other end is told that ports are open.
const TOLD_OPEN: u32 = 4;

/// Openings in one slice.
const SLICE_OPENINGS: usize = 32;

/// How often each predicted port is tried, and how far apart.
const LIKELY_TRIES: u32 = 4;

/// Openings are sent once more after this time: one may have been lost before it came to the NAT.
const OPEN_AGAIN: Duration = Duration::from_millis(600);

/// When two predicted ends send what arrives, counted from the end of the opening.
const AIMED: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
];

/// The ports that this end opens.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) towards: SocketAddr,
    pub(super) sockets: Vec<Socket>,
    /// How many were opened, twice each in the end.
    pub(super) done: usize,
    pub(super) next: Time,
    /// When the last was opened for the first time.
    pub(super) open: Option<Time>,
}

/// The ports that this end tries.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) socket: Socket,
    pub(super) address: IpAddr,
    pub(super) ports: Ports,
    pub(super) since: Time,
    pub(super) sent: u32,
    pub(super) most: u32,
    pub(super) next: Time,
    pub(super) tokens: Vec<(u16, u64)>,
}

#[derive(Debug)]
pub(super) enum Ports {
    Any(PortOrder),
    These(Vec<u16>),
}

impl Opening {
    pub(super) fn is_over(&self) -> bool {
        self.done >= 2 * self.sockets.len()
    }
}

impl Search {
    pub(super) fn aim_at(&self) -> Option<Time> {
        let open = self.opening.as_ref()?.open?;
        let after = AIMED
            .get(self.aims)
            .filter(|_| self.technique == Technique::BothPredicted)?;
        Some(open + OPENING + *after)
    }

    /// Whether a leg is one of those that this search tries.
    pub(super) fn tries(&self, leg: Leg) -> bool {
        let opens = |opening: &Opening| opening.sockets.contains(&leg.socket);
        let probes = |probing: &Probing| {
            let port = leg.endpoint.port();
            let mut tried = probing.tokens.iter();
            (probing.socket, probing.address) == (leg.socket, leg.ip()) && tried.any(|(tried, _)| *tried == port)
        };
        self.opening.as_ref().is_some_and(opens) || self.probing.as_ref().is_some_and(probes)
    }
}

impl Engine {
    /// The hard end: finds out what port is next, opens ports, and says so.
    pub(super) fn open_ports(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &self.searches.current else { return };
        if search.technique.predicts() && search.picked.is_none() {
            return self.look_for_port(now, out);
        }
        if search.technique == Technique::BothPredicted {
            self.tell_open(now, out);
        }
        if self.begin_opening(now) {
            self.open_on(now, out);
        }
        let Some(search) = &self.searches.current else { return };
        let open = search.opening.as_ref().is_some_and(|opening| opening.open.is_some());
        if search.technique != Technique::BothPredicted && open {
            self.tell_open(now, out);
        } else if search.aim_at().is_some_and(|at| at <= now) {
            self.aim_on(now, out);
        }
    }

    /// Asks the supernode from which port it sees a socket that is new.
    fn look_for_port(&mut self, now: Time, out: &mut Outbox) {
        let token = self.random_u64();
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let supernode = search.supernode;
        let granted = search.granted;
        let way = granted.and_then(|granted| self.way_of_family(supernode, granted.is_ipv6()));
        let (Some(endpoint), Some(search)) = (way, &mut self.searches.current) else {
            return self.fail_search(now, out);
        };
        let rtt = self.peers.get(supernode).and_then(|peer| peer.rtt);
        if search.look.is_none() {
            let Some(socket) = self.sockets.open(Purpose::Search) else {
                return self.fail_search(now, out);
            };
            search.look = Some((socket, token, Retry::due(again_within(rtt), now)));
        }
        let Some((socket, token, retry)) = search.look.as_mut().filter(|(.., retry)| retry.at() <= now) else {
            return;
        };
        retry.again(now);
        let leg = Leg {
            socket: *socket,
            endpoint,
        };
        let look = Control::Look {
            token: *token,
            flags: 0,
        };
        self.send_along(
            now,
            supernode,
            (Path::Direct(leg), None),
            Content::Control(&[look]),
            out,
        );
    }

    /// Chooses the sockets and the endpoint that they open towards, once all is known. Whether there are any.
    fn begin_opening(&mut self, now: Time) -> bool {
        let Some(search) = &mut self.searches.current else {
            return false;
        };
        if search.opening.is_some() {
            return true;
        }
        let (Some(address), Some(peer)) = (search.granted, self.peers.get(search.peer)) else {
            return false;
        };
        let towards = match (search.technique, search.theirs) {
            (Technique::BothPredicted, Some(Step::OpenFrom { port, stride })) => {
                aim(port, stride).map(|port| SocketAddr::new(address, port))
            }
            (Technique::BothPredicted, _) => None,
            _ => peer.exchange.named_addresses().find(|named| named.ip() == address),
        };
        let Some(towards) = towards else { return false };
        let count = if search.technique.predicts() {
            PREDICTED_SOCKETS
        } else {
            BIRTHDAY_SOCKETS
        };
        let sockets = (0..count).map_while(|_| self.sockets.open(Purpose::Search)).collect();
        search.opening = Some(Opening {
            towards,
            sockets,
            done: 0,
            next: now,
            open: None,
        });
        true
    }

    /// Opens some more ports. What is sent for that dies on the way, so that the other end's NAT does not see it.
    fn open_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(opening) = search
            .opening
            .as_mut()
            .filter(|opening| !opening.is_over() && opening.next <= now)
        else {
            return;
        };
        let count = opening.sockets.len();
        let first = opening.done % count.max(1);
        let some: Vec<Socket> = opening
            .sockets
            .iter()
            .skip(first)
            .take(SLICE_OPENINGS)
            .copied()
            .collect();
        opening.done += some.len();
        opening.next = now + SLICE;
        if opening.done == count {
            opening.open = Some(now);
            opening.next = now + OPEN_AGAIN;
        }
        let (peer, towards) = (search.peer, opening.towards);
        let ttl = Some(OPENING_TTL).filter(|_| !planted("search-early-full-ttl"));
        for socket in some {
            let token = self.random_u64();
            let leg = Leg {
                socket,
                endpoint: towards,
            };
            self.probe(now, peer, (leg, ttl), token, out);
        }
    }

    /// Tells the other end that the ports are open, or which will be, until something comes from it.
    fn tell_open(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(peer) = self.peers.get(search.peer) else {
            return;
        };
        // What it answers to probes must arrive.
        let predicted = search.technique == Technique::BothPredicted;
        let opening_ends = peer.direct.opening_ends().filter(|_| !predicted);
        if search.told_open {
            return;
        }
        let rtt = peer.rtt;
        let retry = search.telling.get_or_insert_with(|| {
            // It takes nearly half a round trip until it is heard.
            let early = rtt.unwrap_or_default() * 2 / 5;
            let wait = opening_ends.map_or(Duration::ZERO, |ends| ends.since(now));
            Retry::due(again_within(rtt), now + wait.saturating_sub(early))
        });
        if retry.at() > now {
            return;
        }
        if retry.sent() >= TOLD_OPEN {
            search.telling = None;
            search.told_open = true;
            return;
        }
        retry.again(now);
        let (id, number) = (search.peer, search.number);
        let step = match search.picked {
            Some((port, stride)) => Step::OpenFrom { port, stride },
            None => Step::Open,
        };
        self.send_control(now, id, None, &[Control::SearchStep { number, step }], out);
        self.end_in_time(now);
    }

    /// Sets when this search is over at the latest, now that the other end can begin.
    fn end_in_time(&mut self, now: Time) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let rtt = self
            .peers
            .get(search.peer)
            .and_then(|peer| peer.rtt)
            .unwrap_or(OPENING_MAX);
        let probes = Duration::from_secs(1) * MOST_PROBES / PROBE_RATE;
        let rest = match search.technique {
            Technique::Birthday | Technique::Either => probes,
            Technique::Predicted => OPENING_MAX,
            Technique::BothPredicted => Duration::from_secs(2),
        };
        let latest = search.begun + WANTED_FOR + LONGEST;
        search.ends = (now + rest + LAST_ANSWER + 2 * rtt).min(latest);
    }

    /// Both ends are predicted, and both have opened: what is sent now arrives, if both have picked what was expected.
    fn aim_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(opening) = &search.opening else { return };
        search.aims += 1;
        let (peer, towards, sockets) = (search.peer, opening.towards, opening.sockets.clone());
        for socket in sockets {
            let token = self.random_u64();
            if let Some(search) = &mut self.searches.current {
                search.aimed.push((socket, token));
            }
            let leg = Leg {
                socket,
                endpoint: towards,
            };
            self.counters.search_probes += 1;
            self.probe(now, peer, (leg, None), token, out);
        }
    }

    /// The easy end: tries ports, once the other end's are open.
    pub(super) fn probe_ports(&mut self, now: Time, out: &mut Outbox) {
        let random = self.random_u64();
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let (Some(address), Some(theirs), Some(peer)) = (search.granted, search.theirs, self.peers.get(search.peer))
        else {
            return;
        };
        if search.probing.is_none() {
            let seen_at = self.traversal.observed_by(search.supernode, address.is_ipv6());
            let ports = match theirs {
                Step::OpenFrom { port, stride } => Ports::These(likely(port, stride)),
                _ => Ports::Any(PortOrder::new(random)),
            };
            let most = match &ports {
                Ports::Any(_) => MOST_PROBES,
                Ports::These(ports) => LIKELY_TRIES * u32::try_from(ports.len()).unwrap_or_default(),
            };
            // Everything of this end arrives only from then on.
            let since = peer.direct.opening_ends().map_or(now, |ends| ends.max(now));
            let socket = seen_at.map_or(Socket::Main, |seen| peer.exchange.socket_told(seen.ip()));
            search.probing = Some(Probing {
                socket,
                address,
                ports,
                since,
                sent: 0,
                most,
                next: since,
                tokens: Vec::with_capacity(usize::try_from(most).unwrap_or_default()),
            });
            self.end_in_time(now);
        }
        self.probe_on(now, out);
    }

    fn probe_on(&mut self, now: Time, out: &mut Outbox) {
        let Some(search) = &mut self.searches.current else {
            return;
        };
        let Some(probing) = search.probing.as_mut().filter(|probing| probing.next <= now) else {
            return;
        };
        let elapsed = u32::try_from((now + SLICE).since(probing.since).as_millis()).unwrap_or(u32::MAX);
        let due = (elapsed.saturating_mul(PROBE_RATE) / 1000).min(probing.most);
        let count = due.saturating_sub(probing.sent).min(SLICE_PROBES);
        let (peer, address, socket) = (search.peer, probing.address, probing.socket);
        let ports: Vec<u16> = (probing.sent..probing.sent + count)
            .filter_map(|position| match &probing.ports {
                Ports::Any(order) => Some(order.port(position)),
                Ports::These(ports) => ports.get(usize::try_from(position).ok()? % ports.len().max(1)).copied(),
            })
            .collect();
        probing.sent += count;
        probing.next = now + SLICE;
        for port in ports {
            let token = self.random_u64();
            if let Some(probing) = self
                .searches
                .current
                .as_mut()
                .and_then(|search| search.probing.as_mut())
            {
                probing.tokens.push((port, token));
            }
            self.counters.search_probes += 1;
            let leg = Leg {
                socket,
                endpoint: SocketAddr::new(address, port),
            };
            self.probe(now, peer, (leg, None), token, out);
        }
    }

    fn probe(&mut self, now: Time, id: PeerId, (leg, ttl): (Leg, Option<u8>), token: u64, out: &mut Outbox) {
        let content = Content::Control(&[Control::PathChallenge { token }]);
        self.send_along(now, id, (Path::Direct(leg), ttl), content, out);
    }
}
