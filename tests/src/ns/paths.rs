//! What the tests and measurements of direct paths judge: when they come, what a change costs, and what they survive.
//!
//! A ping over the supernode takes twice the round trip of a direct one, since every wire has the same delay; by that the
//! judges tell paths, whatever the nodes say.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::capture::Datagram;
use super::echo::EchoRecord;
use super::pair::Pair;
use super::rsync::RsyncDaemon;
use super::topology::{Lab, Wire};
use super::transfer::SteadyTransfer;

/// Pace of the pings: 100 a second.
pub const PACE: Duration = Duration::from_millis(10);

/// How many answers in a row show which path is in use.
const SOME: usize = 20;

/// How long a path may take to come or to come back, before a run counts as failed. A node that has failed to get through
/// tries again less and less often.
pub const PATH_LIMIT: Duration = Duration::from_secs(90);

/// How long after the first quick answer slower ones may still arrive: the two directions change one after the other.
const CHANGE: Duration = Duration::from_secs(1);

/// Until when, from the first datagram to an outside endpoint on, only short-lived datagrams may go there.
pub const QUIET: Duration = Duration::from_millis(200);

/// The TTL of the datagrams in that time.
pub const SHORT_TTL: u8 = 5;

/// The round trip between two homes, by the direct path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip(Duration);

impl RoundTrip {
    /// Between two machines that are both on such wires; none where the wires have no delay.
    pub fn of(wire: Wire) -> Option<Self> {
        (!wire.delay.is_zero()).then_some(Self(wire.delay * 4))
    }

    /// Whether a ping took the direct path in both directions.
    pub fn is_direct(self, took: Duration) -> bool {
        took < self.0 + self.0 / 4
    }

    /// Whether a ping went over the supernode in both directions.
    pub fn is_relayed(self, took: Duration) -> bool {
        took > self.0 * 2 - self.0 / 4
    }
}

/// A change from the relay to the direct path under pings.
#[derive(Clone, Debug)]
pub struct Change {
    /// The pings.
    pub record: EchoRecord,
    /// From the moment at which direct datagrams could get through until the first direct answer.
    pub took: Duration,
}

impl Change {
    /// Lets two homes ping each other over the supernode only, then lets direct datagrams through, and goes on until the
    /// path has been direct for a while and `count` pings have been sent. The pair must have been [blocked](Lab::block)
    /// before its daemons started.
    ///
    /// # Errors
    /// The path does not become direct.
    pub fn under_pings(lab: &Lab, pair: &Pair, trip: RoundTrip, count: usize) -> Result<Self> {
        let pings = pair.pings(PACE)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_relayed(took))?;
        pings.wait_sent(count / 4, PATH_LIMIT)?;
        pair.wait_path("relay", Duration::from_secs(1))?;
        lab.unblock(&pair.a.home, &pair.b.home)?;
        let unblocked = Instant::now();
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_direct(took))?;
        pair.wait_path("direct", Duration::from_secs(1))?;
        let rest = count.saturating_sub(pings.record().sent.len());
        pings.wait_sent(rest.max(count / 4), PATH_LIMIT)?;
        let record = pings.stop()?;
        let first = record.first(|took| trip.is_direct(took)).context("no direct answer")?;
        let took = first.at - unblocked;
        Ok(Self { record, took })
    }

    /// Checks that nothing was lost or doubled, and that answers overtook others only at the change.
    ///
    /// # Errors
    /// Something was, or some did.
    pub fn check(&self, trip: RoundTrip) -> Result<()> {
        let record = &self.record;
        ensure!(record.lost().is_empty(), "lost {:?}: {record}", record.lost());
        ensure!(record.doubled() == 0, "{record}");
        let change = record
            .first(|took| !trip.is_relayed(took))
            .context("no quick answer")?
            .at;
        let late = |at: Instant| at < change || at > change + CHANGE;
        let wrong: Vec<_> = record.overtaken().into_iter().filter(|echo| late(echo.at)).collect();
        ensure!(wrong.is_empty(), "overtaken before or long after the change: {wrong:?}");
        Ok(())
    }
}

/// What a direct path that stops working costs.
#[derive(Clone, Debug)]
pub struct Outage {
    /// The longest time without an answer.
    pub gap: Duration,
    /// Pings lost.
    pub lost: usize,
    /// Until the path was direct again: from the moment at which it could be, or at which the router used other ports.
    pub back: Duration,
}

impl Outage {
    /// Blocks the direct path of two homes under pings until the supernode relays again, and lets it through after a while.
    ///
    /// # Errors
    /// The path is not direct before and after, or not relayed meanwhile.
    pub fn of_direct_path(lab: &Lab, pair: &Pair, trip: RoundTrip, time: Duration) -> Result<Self> {
        let pings = pair.pings(PACE)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_direct(took))?;
        let start = Instant::now();
        lab.block(&pair.a.home, &pair.b.home)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_relayed(took))?;
        thread::sleep(time);
        let gap = pings.record().longest_gap_after(start).context("no answers")?.0;
        pair.wait_path("relay", Duration::from_secs(1))?;
        let healed = Instant::now();
        lab.unblock(&pair.a.home, &pair.b.home)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_direct(took))?;
        pair.wait_path("direct", Duration::from_secs(5))?;
        let record = pings.stop()?;
        let after = record.since(healed);
        ensure!(after.lost().is_empty() && after.doubled() == 0, "coming back: {after}");
        let first = after.first(|took| trip.is_direct(took)).context("no direct answer")?;
        Ok(Self {
            gap,
            lost: record.lost().len(),
            back: first.at - healed,
        })
    }

    /// Makes the router of the second home use other ports under pings, as after a reboot.
    ///
    /// # Errors
    /// The path is not direct before and after.
    pub fn of_rebinding(pair: &Pair, trip: RoundTrip) -> Result<Self> {
        let pings = pair.pings(PACE)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_direct(took))?;
        let start = Instant::now();
        pair.b.home.rebind_router(40_000..=49_999)?;
        pings.wait_until(SOME, PATH_LIMIT, |took| trip.is_direct(took))?;
        let record = pings.stop()?;
        let (gap, end) = record.longest_gap_after(start).context("no answers")?;
        let mut resumed = record.answers.iter().filter(|echo| echo.at >= end);
        let first = resumed
            .find(|echo| trip.is_direct(echo.took))
            .context("no direct answer")?;
        Ok(Self {
            gap,
            lost: record.lost().len(),
            back: first.at - start,
        })
    }
}

/// What went between two members while no supernode lived.
#[derive(Clone, Debug)]
pub struct Orphaned {
    /// The pings.
    pub record: EchoRecord,
    /// Bytes that came through one TCP connection, all as they were sent.
    pub bytes: usize,
    /// Handshakes that the two have begun in that time.
    pub handshakes: u64,
}

impl Orphaned {
    /// Kills the supernode of two members that are direct, and lets them ping and transfer for a while. The supernode stays
    /// dead.
    ///
    /// # Errors
    /// They are not direct before, or the connection breaks.
    pub fn of_supernode(pair: &mut Pair, time: Duration) -> Result<Self> {
        let pings = pair.pings(PACE)?;
        pair.wait_path("direct", PATH_LIMIT)?;
        let transfer = SteadyTransfer::start(pair.a.host(), pair.b.host(), IpAddr::from(pair.b.ipv4()?))?;
        pings.wait_sent(SOME, PATH_LIMIT)?;
        let before = pair.handshakes_begun()?;
        pair.supernode.process().kill()?;
        thread::sleep(time);
        pair.wait_path("direct", Duration::from_secs(1))?;
        let handshakes = pair.handshakes_begun()? - before;
        let bytes = transfer.stop()?;
        let record = pings.stop()?;
        Ok(Self {
            record,
            bytes,
            handshakes,
        })
    }
}

/// A file that went from one member to the other.
#[derive(Clone, Debug)]
pub struct Fetched {
    path: String,
    bytes: usize,
    took: Duration,
    /// Handshakes that the two have begun meanwhile.
    pub handshakes: u64,
}

impl Fetched {
    /// Fetches a file of noise from `a` to `b` by rsync once the path is of that kind, under slow pings.
    ///
    /// # Errors
    /// The path does not become such or does not stay it, or the file does not arrive whole within ten minutes.
    pub fn once(lab: &Lab, pair: &Pair, path: &str, bytes: usize) -> Result<Self> {
        let address = IpAddr::from(pair.a.ipv4()?);
        let name = format!("files-{path}-{bytes}");
        let daemon = RsyncDaemon::start(pair.a.host(), address, &name, lab.directory())?;
        let pings = pair.pings(PACE * 10)?;
        pair.wait_path(path, PATH_LIMIT)?;
        let before = pair.handshakes_begun()?;
        let took = daemon.fetch(pair.b.host(), bytes, Duration::from_secs(600))?;
        let handshakes = pair.handshakes_begun()? - before;
        pair.wait_path(path, Duration::from_secs(1))?;
        drop(pings.stop()?);
        Ok(Self {
            path: path.to_owned(),
            bytes,
            took,
            handshakes,
        })
    }
}

impl std::fmt::Display for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, megabytes) = (self.took.as_secs_f64(), self.bytes as f64 / 1e6);
        let (path, rate, handshakes) = (&self.path, megabytes / seconds, self.handshakes);
        write!(
            f,
            "{path}: {megabytes:.0} MB in {seconds:.1} s, {rate:.1} MB/s, {handshakes} handshakes"
        )
    }
}

/// Checks what a node sent while it looked for direct paths, as captured at its router, and returns the outside endpoints
/// that got both short-lived and ordinary datagrams: to each endpoint but those in `exempt`, only datagrams of
/// [`SHORT_TTL`] in the first [`QUIET`], later ones of that or of the system's TTL.
///
/// # Errors
/// A datagram had another TTL, or was too early; or went to a private address.
pub fn check_ttls(datagrams: &[Datagram], exempt: &[SocketAddr], system: u8) -> Result<Vec<SocketAddr>> {
    // The clock of the node and that of the capture look at different moments of the same datagram.
    const INACCURACY: Duration = Duration::from_millis(5);
    let mut endpoints: BTreeMap<SocketAddr, Vec<&Datagram>> = BTreeMap::new();
    for datagram in datagrams {
        let to = datagram.destination;
        if is_local(to.ip(), datagram.source.ip()) || exempt.contains(&to) {
            continue;
        }
        let is_private = matches!(to.ip(), IpAddr::V4(v4) if v4.is_private());
        ensure!(!is_private, "to a private address elsewhere: {datagram:?}");
        endpoints.entry(to).or_default().push(datagram);
    }
    let mut both = Vec::new();
    for (endpoint, sent) in endpoints {
        let first = sent[0].at;
        let mut full = 0;
        for datagram in &sent {
            let after = datagram.at - first;
            let shown = || format!("to {endpoint} after {after:?}: {datagram:?}");
            ensure!([SHORT_TTL, system].contains(&datagram.ttl), "an odd TTL {}", shown());
            if datagram.ttl == system {
                ensure!(after + INACCURACY >= QUIET, "too early {}", shown());
                full += 1;
            }
        }
        if full > 0 && full < sent.len() {
            both.push(endpoint);
        }
    }
    Ok(both)
}

/// Whether an address is of the sender's own link: multicast and the home's LAN.
fn is_local(address: IpAddr, own: IpAddr) -> bool {
    match (address, own) {
        (IpAddr::V4(address), IpAddr::V4(own)) => {
            address.is_multicast() || address.is_broadcast() || address.octets()[..3] == own.octets()[..3]
        }
        (IpAddr::V6(address), IpAddr::V6(own)) => {
            address.is_multicast() || address.is_unicast_link_local() || address.segments()[..4] == own.segments()[..4]
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(after_ms: u64, to: &str, ttl: u8) -> Datagram {
        Datagram {
            at: Duration::from_millis(1000 + after_ms),
            source: "192.168.1.2:9600".parse().unwrap(),
            destination: to.parse().unwrap(),
            ttl,
            length: 100,
            fragment: false,
        }
    }

    #[test]
    fn early_or_odd_ttls_are_found() {
        let (peer, supernode) = ("198.51.100.6:9600", "198.51.100.2:9600");
        let exempt = [supernode.parse().unwrap()];
        let good = [
            datagram(0, supernode, 64),
            datagram(1, peer, 5),
            datagram(100, peer, 5),
            datagram(201, peer, 64),
            datagram(300, "198.51.100.10:9600", 5),
        ];
        assert_eq!(check_ttls(&good, &exempt, 64).unwrap(), [peer.parse().unwrap()]);
        assert!(check_ttls(&good, &[], 64).is_err(), "the supernode is outside too");
        for bad in [datagram(150, peer, 64), datagram(150, peer, 6)] {
            let mut datagrams = good.to_vec();
            datagrams.push(bad);
            datagrams.sort_by_key(|datagram| datagram.at);
            assert!(check_ttls(&datagrams, &exempt, 64).is_err());
        }
    }

    #[test]
    fn the_round_trip_tells_the_path() {
        let trip = RoundTrip::of(Wire::for_round_trip(Duration::from_millis(150))).unwrap();
        let paths = [150, 225, 300].map(|ms| {
            let took = Duration::from_millis(ms);
            (trip.is_direct(took), trip.is_relayed(took))
        });
        assert_eq!(paths, [(true, false), (false, false), (false, true)]);
        assert_eq!(RoundTrip::of(Wire::PLAIN), None);
    }
}
