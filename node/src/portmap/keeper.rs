//! Keeping mappings: which are wanted at which gateway, when each is asked for again, and giving them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use farlan_crypto::defects::planted;
use farlan_tap::{Gateway, default_gateways};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};

use super::{Lease, Port, Protocol, Refusal, announcements::Announcements, ask, is_behind_another_nat, may_ask};

/// Keeps mappings of this machine's ports at its gateways as long as it lives. Without [`end`](Self::end) they stay until
/// their time is over.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    reports: watch::Receiver<Report>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Which ports are to be mapped; nothing once it is to end.
    wanted: watch::Sender<Option<BTreeSet<Port>>>,
    look: Notify,
}

/// How the mappings are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The gateways that are asked, the preferred one first.
    pub routers: Vec<RouterReport>,
    /// Whether every gateway has said yes or no, or nothing in time.
    pub settled: bool,
}

/// How the mappings at one gateway are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterReport {
    /// The gateway's address.
    pub gateway: Ipv4Addr,
    /// What it maps, port by port.
    pub ports: Vec<Mapped>,
}

/// A port at a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The port of this machine.
    pub port: Port,
    /// How it was asked for, where it is reached from outside, and how long that holds, if it is mapped.
    pub lease: Option<(Protocol, SocketAddr, Instant)>,
    /// Why it is not, if the gateway has been asked.
    pub trouble: Option<String>,
}

impl Report {
    /// Where a port is reached from outside, by all gateways.
    pub fn endpoints(&self, port: Port) -> impl Iterator<Item = SocketAddr> {
        let ports = self.routers.iter().flat_map(|router| &router.ports);
        ports
            .filter(move |mapped| mapped.port == port)
            .filter_map(|mapped| mapped.lease.map(|(_, external, _)| external))
    }

    /// Whether it says something of a port at every gateway.
    pub fn is_about(&self, port: Port) -> bool {
        let about = |router: &RouterReport| router.ports.iter().any(|mapped| mapped.port == port);
        self.routers.iter().all(about)
    }

    /// Why a port is not mapped, in the words of the first gateway that said something.
    pub fn trouble(&self, port: Port) -> Option<&str> {
        let mut ports = self.routers.iter().flat_map(|router| &router.ports);
        ports.find_map(|mapped| mapped.trouble.as_deref().filter(|_| mapped.port == port))
    }
}

impl Keeper {
    /// Begins. Whatever the machine's default gateways are, they are asked for `ports`.
    pub fn start(ports: BTreeSet<Port>) -> Self {
        Self::at(ports, || match default_gateways() {
            Ok(gateways) => gateways.into_iter().filter(may_ask).take(MOST_GATEWAYS).collect(),
            Err(error) => {
                tracing::debug!(%error, "the gateways are not known");
                Vec::new()
            }
        })
    }

    /// As [`start`](Self::start), with the gateways that `gateways` names.
    pub(crate) fn at(ports: BTreeSet<Port>, gateways: impl Fn() -> Vec<Gateway> + Send + 'static) -> Self {
        let (wanted, changes) = watch::channel(Some(ports));
        let (report, reports) = watch::channel(Report::default());
        let shared = Arc::new(Shared {
            wanted,
            look: Notify::new(),
        });
        let keeping = Keeping {
            routers: BTreeMap::new(),
            order: Vec::new(),
            asked: JoinSet::new(),
            given_back: JoinSet::new(),
            report,
        };
        let task = tokio::spawn(keeping.run(Arc::clone(&shared), changes, gateways));
        Self { shared, reports, task }
    }

    /// Wants these ports mapped and no others.
    pub fn want(&self, ports: BTreeSet<Port>) {
        self.shared.wanted.send_if_modified(|wanted| {
            let differs = wanted.as_ref().is_some_and(|before| *before != ports);
            if differs {
                *wanted = Some(ports);
            }
            differs
        });
    }

    /// The ports that are to be mapped.
    pub fn wanted(&self) -> BTreeSet<Port> {
        self.shared.wanted.borrow().clone().unwrap_or_default()
    }

    /// Looks again which gateways there are: links, addresses or routes changed, or this machine is seen at another address.
    pub fn look_again(&self) {
        self.shared.look.notify_one();
    }

    /// How the mappings are, now and after each change.
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.reports.clone()
    }

    /// Gives all mappings back, within a second, and keeps none any more.
    pub async fn end(&self) {
        self.shared.wanted.send_replace(None);
        let mut reports = self.reports.clone();
        // Nobody reports once all is done.
        let done = async { while reports.changed().await.is_ok() {} };
        if timeout(ENDING, done).await.is_err() {
            tracing::debug!("a gateway does not answer; its mapping ends by itself");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state of the task.
struct Keeping {
    routers: BTreeMap<Ipv4Addr, Router>,
    /// The preferred gateway first.
    order: Vec<Ipv4Addr>,
    asked: JoinSet<Answer>,
    given_back: JoinSet<()>,
    report: watch::Sender<Report>,
}

/// A gateway.
struct Router {
    gateway: Gateway,
    ports: BTreeMap<Port, Slot>,
    /// Its clock, as it was told last.
    clock: Option<Clock>,
    /// How often in a row that clock spoke of another start, and when it did so last.
    starts: u32,
    started: Option<Instant>,
}

/// A port at a gateway.
struct Slot {
    lease: Option<Lease>,
    trouble: Option<String>,
    /// When it is asked for (again).
    due: Instant,
    asked_at: Option<Instant>,
    asking: bool,
    /// How often in a row there was no answer.
    failures: u32,
}

/// What a gateway said of a port.
struct Answer {
    gateway: Gateway,
    port: Port,
    result: Result<Lease, Failed>,
}

/// Why a port is not mapped, or not renewed.
struct Failed {
    reason: String,
    /// The lease may live on: the gateway was silent.
    silent: bool,
}

impl Keeping {
    async fn run(
        mut self,
        shared: Arc<Shared>,
        mut wanted: watch::Receiver<Option<BTreeSet<Port>>>,
        gateways: impl Fn() -> Vec<Gateway>,
    ) {
        let mut announcements = None;
        loop {
            let Some(ports) = wanted.borrow_and_update().clone() else {
                break;
            };
            let gateways = if ports.is_empty() { Vec::new() } else { gateways() };
            if !gateways.is_empty() && announcements.is_none() {
                announcements = Some(Announcements::listen());
            }
            self.arrange(&gateways, &ports);
            // Until something changes which gateways or ports there are.
            loop {
                self.ask_due();
                self.publish();
                let due = self.next_due();
                tokio::select! {
                    _ = wanted.changed() => break,
                    () = shared.look.notified() => {
                        self.hurry(|_| true, SETTLED);
                        break;
                    }
                    Some(answer) = self.asked.join_next() => self.take(answer.ok()),
                    Some(_) = self.given_back.join_next() => {}
                    () = tokio::time::sleep_until(due) => {}
                    from = heard(announcements.as_ref()) => self.hurry(|gateway| from == gateway, AGAIN),
                }
            }
        }
        self.end().await;
    }

    /// Keeps what is at these gateways and wanted; gives back what is not wanted.
    fn arrange(&mut self, gateways: &[Gateway], ports: &BTreeSet<Port>) {
        self.order = gateways.iter().map(|gateway| gateway.address).collect();
        let mut dropped = Vec::new();
        for router in self.routers.values_mut() {
            router.ports.retain(|port, slot| {
                let keep = ports.contains(port);
                if !keep && let Some(lease) = slot.lease.take() {
                    dropped.push((router.gateway, *port, lease));
                }
                keep
            });
        }
        for (gateway, port, lease) in dropped {
            self.give_back(gateway, port, lease);
        }
        // What another gateway has, or this one for another address of this machine, cannot be given back from here.
        self.routers.retain(|_, router| gateways.contains(&router.gateway));
        let now = Instant::now();
        for gateway in gateways {
            let router = self.routers.entry(gateway.address).or_insert_with(|| Router {
                gateway: *gateway,
                ports: BTreeMap::new(),
                clock: None,
                starts: 0,
                started: None,
            });
            for port in ports {
                router.ports.entry(*port).or_insert(Slot {
                    lease: None,
                    trouble: None,
                    due: now,
                    asked_at: None,
                    asking: false,
                    failures: 0,
                });
            }
        }
    }

    fn give_back(&mut self, gateway: Gateway, port: Port, lease: Lease) {
        if planted("mappings-stay") {
            return;
        }
        self.given_back.spawn(async move {
            if let Err(refusal) = lease.remove(gateway, port).await {
                tracing::debug!(gateway = %gateway.address, %port, %refusal, "a mapping is not given back");
            }
        });
    }

    /// Asks for everything that is due.
    fn ask_due(&mut self) {
        let now = Instant::now();
        for router in self.routers.values_mut() {
            for (port, slot) in &mut router.ports {
                if slot.asking || slot.due > now {
                    continue;
                }
                if slot.lease.as_ref().is_some_and(|lease| lease.expiry() <= now) {
                    slot.lease = None;
                }
                (slot.asking, slot.asked_at) = (true, Some(now));
                let (gateway, port, lease) = (router.gateway, *port, slot.lease.clone());
                self.asked.spawn(async move {
                    let result = match lease {
                        Some(lease) => lease.renew(gateway, port).await.map_err(|refusal| Failed {
                            // A device of UPnP may answer elsewhere now; that shows when it is looked for.
                            silent: refusal == Refusal::NoAnswer && lease.protocol() != Protocol::Upnp,
                            reason: refusal.to_string(),
                        }),
                        None => ask(gateway, port).await.map_err(|refusals| Failed {
                            silent: false,
                            reason: refusals.to_string(),
                        }),
                    };
                    Answer { gateway, port, result }
                });
            }
        }
    }

    /// Takes in what a gateway said; nothing if the question failed in itself.
    fn take(&mut self, answer: Option<Answer>) {
        let Some(Answer { gateway, port, result }) = answer else {
            return;
        };
        let now = Instant::now();
        let router = self.routers.get_mut(&gateway.address);
        let Some(router) = router.filter(|router| router.gateway == gateway && router.ports.contains_key(&port)) else {
            // Nobody wants it any more.
            if let Ok(lease) = result {
                self.give_back(gateway, port, lease);
            }
            return;
        };
        let restarted = result.as_ref().ok().and_then(|lease| router.restarted(lease));
        let Some(slot) = router.ports.get_mut(&port) else {
            return;
        };
        slot.asking = false;
        let had = slot.lease.take();
        match result {
            Ok(lease) => {
                if had.as_ref().is_none_or(|had| had.external != lease.external) {
                    let (external, protocol) = (lease.external, lease.protocol());
                    let other_nat = is_behind_another_nat(external.into());
                    tracing::info!(gateway = %gateway.address, %port, protocol = %protocol, other_nat, "the router lets this port in");
                    tracing::debug!(%external, "where it is reached");
                }
                slot.due = lease.renewal();
                (slot.lease, slot.trouble, slot.failures) = (Some(lease), None, 0);
            }
            Err(failed) => {
                let had_one = had.is_some();
                match had.filter(|had| failed.silent && had.expiry() > now) {
                    Some(lease) => {
                        // Sooner and sooner, as RFC 6887 §11.2.1 has it.
                        slot.due = now + ((lease.expiry() - now) / 2).clamp(SOONEST, LATEST);
                        slot.lease = Some(lease);
                    }
                    // It may be had in another way.
                    None if had_one => slot.due = now,
                    None => {
                        if slot.trouble.as_ref() != Some(&failed.reason) {
                            tracing::debug!(gateway = %gateway.address, %port, reason = %failed.reason, "no mapping");
                        }
                        let pause = FIRST_PAUSE.saturating_mul(1 << slot.failures.min(6));
                        slot.failures = slot.failures.saturating_add(1);
                        slot.due = now + pause.min(LONGEST_PAUSE);
                        slot.trouble = Some(failed.reason);
                    }
                }
            }
        }
        if let Some(pause) = restarted {
            if pause == AGAIN {
                tracing::info!(gateway = %gateway.address, "the router started anew; its mappings are asked for again");
            } else {
                tracing::debug!(gateway = %gateway.address, ?pause, "its clock says that it started anew, again");
            }
            self.hurry(|address| address == IpAddr::V4(gateway.address), pause);
        }
    }

    /// Asks the gateways that `meant` names at once, unless they were asked within `lately`.
    fn hurry(&mut self, meant: impl Fn(IpAddr) -> bool, lately: Duration) {
        let now = Instant::now();
        for router in self.routers.values_mut() {
            if !meant(router.gateway.address.into()) {
                continue;
            }
            for slot in router.ports.values_mut() {
                let free = slot.asked_at.map_or(now, |asked| asked + lately);
                slot.due = slot.due.min(free.max(now));
                slot.failures = 0;
            }
        }
    }

    fn next_due(&self) -> Instant {
        let slots = self.routers.values().flat_map(|router| router.ports.values());
        let due = slots.filter(|slot| !slot.asking).map(|slot| slot.due).min();
        due.unwrap_or_else(|| Instant::now() + LONGEST_PAUSE)
    }

    fn publish(&self) {
        let mapped = |(port, slot): (&Port, &Slot)| Mapped {
            port: *port,
            lease: slot
                .lease
                .as_ref()
                .map(|lease| (lease.protocol(), lease.external.into(), lease.expiry())),
            trouble: slot.trouble.clone(),
        };
        let routers = self.order.iter().filter_map(|address| self.routers.get(address));
        let settled = routers
            .clone()
            .flat_map(|router| router.ports.values())
            .all(|slot| slot.lease.is_some() || slot.trouble.is_some());
        let report = Report {
            routers: routers
                .map(|router| RouterReport {
                    gateway: router.gateway.address,
                    ports: router.ports.iter().map(mapped).collect(),
                })
                .collect(),
            settled,
        };
        self.report.send_if_modified(|before| {
            let differs = *before != report;
            *before = report;
            differs
        });
    }

    /// Gives everything back. What a gateway is just being asked for is waited for a moment, since it would stay there.
    async fn end(mut self) {
        let _ = timeout(LAST_ANSWERS, async {
            while let Some(answer) = self.asked.join_next().await {
                self.take(answer.ok());
            }
        })
        .await;
        self.arrange(
            &self.routers.values().map(|router| router.gateway).collect::<Vec<_>>(),
            &BTreeSet::new(),
        );
        while self.given_back.join_next().await.is_some() {}
    }
}

async fn heard(announcements: Option<&Announcements>) -> IpAddr {
    match announcements {
        Some(announcements) => announcements.next().await,
        None => std::future::pending().await,
    }
}

/// What a gateway's clock showed when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    protocol: Protocol,
    at: Instant,
    epoch: u32,
}

impl Router {
    /// Whether the gateway's clock says that it started anew since it was told last; then, how long after a question its
    /// mappings are asked for again. There are clocks that show anything, so the pause doubles unless it is right for once.
    fn restarted(&mut self, lease: &Lease) -> Option<Duration> {
        let clock = Clock {
            protocol: lease.protocol(),
            at: lease.at,
            epoch: lease.epoch?,
        };
        let before = self.clock.replace(clock)?;
        if before.protocol != clock.protocol {
            return None;
        }
        if !clock.is_of_another_start(&before) {
            // Of two questions at one time a wrong clock may be right about the second.
            let pause = pause_of(self.starts);
            if self.started.is_none_or(|started| clock.at > started + 2 * pause) {
                self.starts = 0;
            }
            return None;
        }
        self.starts = self.starts.saturating_add(1);
        self.started = Some(clock.at);
        Some(pause_of(self.starts))
    }
}

/// The pause after so many starts in a row.
fn pause_of(starts: u32) -> Duration {
    let pause = AGAIN.saturating_mul(1 << starts.saturating_sub(1).min(16));
    pause.min(LONGEST_PAUSE)
}

impl Clock {
    /// Whether less or more time passed there than here by an eighth and two seconds (RFC 6887 §8.5): then its state is lost.
    pub(super) fn is_of_another_start(&self, before: &Self) -> bool {
        let here = self.at.saturating_duration_since(before.at).as_secs();
        let Some(there) = self.epoch.checked_sub(before.epoch).map(u64::from) else {
            // A second back is one that was rounded.
            return before.epoch - self.epoch > 1;
        };
        there + 2 < here - here / 8 || here + 2 < there - there / 8
    }

    #[cfg(test)]
    pub(super) fn new(at: Instant, epoch: u32) -> Self {
        Self {
            protocol: Protocol::Pcp,
            at,
            epoch,
        }
    }
}

/// Gateways that are asked. A machine has as many uplinks at the most, hardly ever more than two.
const MOST_GATEWAYS: usize = 4;

/// How long giving mappings back may take in all, and of that what is just being asked.
const ENDING: Duration = Duration::from_secs(1);
const LAST_ANSWERS: Duration = Duration::from_millis(300);

/// The pause after a gateway that mapped nothing, which doubles with each time, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The pauses between questions to a gateway that does not answer while its mapping still holds.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(120);

/// How seldom a change of this machine's links, addresses and routes makes a gateway be asked that stays the same.
const SETTLED: Duration = Duration::from_secs(30);

/// How seldom an announcement does.
const AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::{super::Held, *};

    fn router() -> Router {
        Router {
            gateway: Gateway {
                address: Ipv4Addr::new(192, 168, 1, 1),
                own: Ipv4Addr::new(192, 168, 1, 2),
                prefix: 24,
            },
            ports: BTreeMap::new(),
            clock: None,
            starts: 0,
            started: None,
        }
    }

    fn lease(epoch: u32) -> Lease {
        Lease::new(Held::NatPmp, Ipv4Addr::new(203, 0, 113, 7), 9600, 1200, Some(epoch)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_whose_clock_shows_anything_is_asked_less_and_less() {
        let mut router = router();
        assert_eq!(router.restarted(&lease(0)), None);
        let mut pauses = Vec::new();
        for epoch in [
            900_000,
            7,
            4_000_000,
            12,
            70_000,
            3,
            800_000_000,
            9,
            77_777,
            1,
            123_456,
            0,
            99_999,
        ] {
            let pause = router.restarted(&lease(epoch)).unwrap();
            pauses.push(pause.as_secs());
            tokio::time::advance(pause).await;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_that_starts_anew_now_and_then_is_asked_soon_each_time() {
        let mut router = router();
        assert_eq!(router.restarted(&lease(5000)), None);
        for _ in 0..5 {
            assert_eq!(router.restarted(&lease(3)), Some(AGAIN));
            // The other ports, and the renewal.
            assert_eq!(router.restarted(&lease(3)), None);
            tokio::time::advance(Duration::from_secs(600)).await;
            assert_eq!(router.restarted(&lease(603)), None);
        }
    }
}
