//! Floods of bogus initiations, and what they do to those who have business with the flooded program.
//!
//! ```text
//!   flooder ── core ── supernode (flooded) ── core ── caller: new handshakes, one after the other
//!                          │
//!                a ────────┴──────── b     a relayed flow, 1,000 datagrams a second
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use farlan_crypto::{Identity, PublicKey, Work};
use farlan_netconf::Link;

use super::caller::{self, Call, INITIATION};
use super::flows::{self, Account, Load};
use super::namespace::Namespace;
use super::program::{Node, PORT, Supernode};
use super::sys::RawSender;
use super::topology::{Lab, Nat, PublicHost, Wire};
use super::trio::JOIN_LIMIT;
use super::usage::{cpu_seconds, resident_bytes};

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// By somebody who does not know the key, from sources that are not his.
    Keyless,
    /// With the right first MAC, from sources that are not his.
    ForgedSources,
    /// The same, with a second MAC that means nothing.
    ForgedSourcesWithMac,
    /// With the right first MAC, from one source.
    OneSource,
    /// The same, with a second MAC made with a cookie.
    OneProvedSource,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Keyless,
        Self::ForgedSources,
        Self::ForgedSourcesWithMac,
        Self::OneSource,
        Self::OneProvedSource,
    ];
}

/// Different datagrams in a flood; nothing is kept of them, so they may come again.
const POOL: u32 = 1024;

/// Datagrams sent by one system call.
const AT_ONCE: usize = 64;

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// In this time.
    pub time: Duration,
}

impl Sent {
    /// Datagrams a second.
    pub fn rate(&self) -> f64 {
        self.datagrams as f64 / self.time.as_secs_f64()
    }
}

/// Floods `target`, whose key is `key`, at `rate` datagrams a second or as fast as the machine can, until `over`. To be called
/// inside the flooder's namespace.
///
/// # Errors
/// The kernel refuses a socket.
pub fn flood(
    kind: Kind,
    target: SocketAddrV4,
    own: Ipv4Addr,
    key: &PublicKey,
    rate: u32,
    over: &AtomicBool,
) -> Result<Sent> {
    let mut pool: Vec<[u8; INITIATION]> = (0..POOL)
        .map(|number| caller::bogus(number, key, kind != Kind::Keyless))
        .collect();
    if kind == Kind::ForgedSourcesWithMac {
        pool.iter_mut().for_each(|bogus| bogus[INITIATION - 1] = 1);
    }
    // From the port on which its cookies come in.
    let socket = UdpSocket::bind((own, 0))?;
    let port = socket.local_addr()?.port();
    if kind == Kind::OneProvedSource {
        pool = prove(&socket, target, key, &pool)?;
    }
    let sender = RawSender::open()?;
    let forged = !matches!(kind, Kind::OneSource | Kind::OneProvedSource);
    let (begun, mut datagrams) = (Instant::now(), 0_u64);
    let mut packets: Vec<Vec<u8>> = pool
        .iter()
        .map(|bogus| udp_packet(SocketAddrV4::new(own, port), target, bogus))
        .collect();
    while !over.load(Ordering::Relaxed) {
        let first = usize::try_from(datagrams)? % packets.len();
        let batch = &mut packets[first..(first + AT_ONCE).min(POOL as usize)];
        if forged {
            for (number, packet) in (datagrams..).zip(batch.iter_mut()) {
                packet[12..16].copy_from_slice(&somebody(number).octets());
            }
        }
        datagrams += sender.send(target, batch)? as u64;
        let due = begun + Duration::from_secs_f64(datagrams as f64 / f64::from(rate));
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(Sent {
        datagrams,
        time: begun.elapsed(),
    })
}

/// Another unicast address for every number.
fn somebody(number: u64) -> Ipv4Addr {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Ipv4Addr::new(11 + mixed[0] % 80, mixed[1], mixed[2], mixed[3])
}

/// Puts the target under load, and makes the pool's second MACs with the cookie that it gives for it.
fn prove(
    socket: &UdpSocket,
    target: SocketAddrV4,
    key: &PublicKey,
    pool: &[[u8; INITIATION]],
) -> Result<Vec<[u8; INITIATION]>> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 2048];
    for _ in 0..100 {
        for bogus in pool {
            socket.send_to(bogus, target)?;
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let datagram = &buffer[..length];
            let cookie = pool.iter().find_map(|bogus| caller::cookie(key, datagram, bogus));
            if let Some(cookie) = cookie {
                return Ok(pool.iter().map(|bogus| caller::with_cookie(bogus, &cookie)).collect());
            }
        }
    }
    anyhow::bail!("no cookie was given")
}

/// An IPv4 packet with a UDP datagram that has no checksum; the kernel fills in that of the IPv4 header.
fn udp_packet(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&((28 + payload.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&from.ip().octets());
    packet.extend_from_slice(&to.ip().octets());
    packet.extend_from_slice(&from.port().to_be_bytes());
    packet.extend_from_slice(&to.port().to_be_bytes());
    packet.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

/// A supernode, two nodes that speak over it, a flooder and a caller.
#[derive(Debug)]
pub struct Scene {
    supernode: Supernode,
    key: PublicKey,
    nodes: Vec<(Node, Ipv4Addr)>,
    flooder: PublicHost,
    caller: PublicHost,
    /// Callers so far: each is a new node.
    identities: u64,
}

/// What a flood did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it was made of.
    pub kind: Option<Kind>,
    /// What was sent of it.
    pub sent: Option<Sent>,
    /// The relayed flow meanwhile.
    pub flow: Account,
    /// The calls meanwhile.
    pub calls: Vec<Call>,
    /// How much the flooded program's memory grew, in bytes.
    pub grown: i64,
    /// What it used of a processor.
    pub processor: f64,
    /// Pieces of public-key work that it did in a second.
    pub work: f64,
}

impl Outcome {
    /// The share of the flow that was lost.
    pub fn lost(&self) -> f64 {
        self.flow.lost as f64 / self.flow.sent as f64
    }

    /// The time that half of the calls took at the most.
    pub fn median_call(&self) -> Duration {
        let mut took: Vec<Duration> = self.calls.iter().map(|call| call.took).collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self
            .kind
            .map_or_else(|| "no flood".to_owned(), |kind| format!("{kind:?}"));
        let rate = self.sent.map_or(0.0, |sent| sent.rate());
        let slowest = self.calls.iter().map(|call| call.took).max().unwrap_or_default();
        let cookies: u32 = self.calls.iter().map(|call| call.cookies).sum();
        write!(
            f,
            "{kind:<21} {rate:>8.0}/s  flow {:>6} sent, {:>4} lost ({:.2} %)  {:>2} calls: median {:>4} ms, slowest {:>4} ms, {:>2} cookies  \
             memory {:+} KiB  processor {:>3.0} %  work {:>4.0}/s",
            self.flow.sent,
            self.flow.lost,
            self.lost() * 100.0,
            self.calls.len(),
            self.median_call().as_millis(),
            slowest.as_millis(),
            cookies,
            self.grown / 1024,
            self.processor * 100.0,
            self.work,
        )
    }
}

impl Scene {
    /// Builds it, and lets the two nodes speak.
    ///
    /// # Errors
    /// Anything on the way fails.
    pub fn new(lab: &mut Lab) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let Link::Supernode(world) = Link::parse(supernode.link(), Work::REQUIRED)? else {
            anyhow::bail!("the supernode's link is none of a supernode");
        };
        let key = world.supernodes().first().context("an empty world")?.key;
        let mut nodes = Vec::new();
        let mut link = None;
        // Two NATs that never meet: what the nodes say is relayed.
        for name in ["a", "b"] {
            let home = lab.home(name, Nat::Symmetric, Wire::PLAIN)?;
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            match &link {
                None => link = Some(node.host()?),
                Some(link) => {
                    node.join(link)?;
                }
            }
            let address = node.wait_addressed(JOIN_LIMIT)?.ipv4.context("no IPv4 address")?;
            nodes.push((node, address));
        }
        let flooder = lab.public_host("flooder", Wire::PLAIN)?;
        let caller = lab.public_host("caller", Wire::PLAIN)?;
        // Packets from anywhere pass, and what answers them ends in the core, unheard.
        for namespace in [lab.core(), &public.namespace, &flooder.namespace] {
            for interface in ["all", "default"] {
                namespace.set_sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0")?;
            }
            for interface in namespace.interfaces()? {
                namespace.set_sysctl_if_there(&format!("ipv4/conf/{interface}/rp_filter"), "0")?;
            }
        }
        lab.core().ip("route add blackhole default")?;
        Ok(Self {
            supernode,
            key,
            nodes,
            flooder,
            caller,
            identities: 0,
        })
    }

    /// The supernode.
    pub fn supernode(&mut self) -> &mut Supernode {
        &mut self.supernode
    }

    /// The namespace of the node `a`, and b's with its address in the network.
    fn ends(&self) -> Result<(&Namespace, &Namespace, IpAddr)> {
        let [(a, _), (b, address)] = &self.nodes[..] else {
            anyhow::bail!("not two nodes");
        };
        Ok((a.namespace(), b.namespace(), (*address).into()))
    }

    /// Lets the nodes speak for `time` and makes `calls` calls meanwhile, under a flood of `rate` datagrams a second or none.
    ///
    /// # Errors
    /// Something fails, or a call takes longer than `patience`.
    pub fn run(
        &mut self,
        flood_of: Option<(Kind, u32)>,
        time: Duration,
        calls: u64,
        patience: Duration,
    ) -> Result<Outcome> {
        let identities: Vec<Identity> = (self.identities..self.identities + calls)
            .map(|number| caller::identity((number + 1) << 32))
            .collect::<Result<_>>()?;
        self.identities += calls;
        let pid = self.supernode.process().pid();
        let target = SocketAddrV4::new(self.supernode.address(), PORT);
        let work_before = self.work()?;
        let (memory, processor) = (resident_bytes(pid)?, cpu_seconds(pid)?);
        let (over, begun) = (AtomicBool::new(false), Instant::now());
        let (sent, flow, calls) = thread::scope(|scope| -> Result<_> {
            let flooding = flood_of.map(|(kind, rate)| {
                let (over, key, flooder) = (&over, &self.key, &self.flooder);
                scope.spawn(move || {
                    let own = flooder.address;
                    flooder.namespace.inside(|| flood(kind, target, own, key, rate, over))?
                })
            });
            // The flood is on when the others begin.
            thread::sleep(FLOOD_BEGINS);
            let (a, b, address) = self.ends()?;
            let flowing = scope.spawn(move || flows::run(a, b, address, steady(time)));
            let calling = scope.spawn(|| -> Result<Vec<Call>> {
                self.caller.namespace.inside(|| -> Result<Vec<Call>> {
                    let pause = time / u32::try_from(identities.len() + 1)?;
                    let call = |identity| {
                        thread::sleep(pause);
                        caller::call(target.into(), &self.key, identity, patience)
                    };
                    identities.iter().map(call).collect()
                })?
            });
            let flow = flowing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let calls = calling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            over.store(true, Ordering::Relaxed);
            let sent =
                flooding.map(|flooding| flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok((sent.transpose()?, flow?, calls?))
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let used = cpu_seconds(pid)? - processor;
        let grown = i64::try_from(resident_bytes(pid)?)? - i64::try_from(memory)?;
        let work = (self.work()? - work_before) as f64 / seconds;
        ensure!(flow.damaged == 0, "the flow was damaged: {flow:?}");
        Ok(Outcome {
            kind: flood_of.map(|(kind, _)| kind),
            sent,
            flow,
            calls,
            grown,
            processor: used / seconds,
            work,
        })
    }

    /// Pieces of public-key work that the supernode did so far.
    fn work(&self) -> Result<u64> {
        let status = self.supernode.status()?;
        let work = status["counters"]["public_key_work"].as_u64();
        work.with_context(|| format!("no such counter: {status}"))
    }
}

/// A thousand datagrams a second.
fn steady(time: Duration) -> Load {
    let pause = Duration::from_millis(1);
    Load {
        flows: 1,
        rounds: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
        burst: 1,
        pause,
        segmented: false,
    }
}

/// How long a flood goes on before anything is measured.
const FLOOD_BEGINS: Duration = Duration::from_millis(300);

/// A call that takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Measures all `kinds` and prints what they do.
///
/// # Errors
/// The lab cannot be made, or a call fails.
pub fn measure(lab: &mut Lab, kinds: &[Kind], rate: u32, time: Duration, calls: u64) -> Result<Vec<Outcome>> {
    let mut scene = Scene::new(lab)?;
    let mut outcomes = Vec::new();
    for kind in [None].into_iter().chain(kinds.iter().copied().map(Some)) {
        let outcome = scene.run(kind.map(|kind| (kind, rate)), time, calls, PATIENCE)?;
        println!("{outcome}");
        outcomes.push(outcome);
    }
    let status = scene.supernode.status()?;
    println!("counters of the supernode: {}", status["counters"]);
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_sources_are_unicast_addresses_and_many() {
        let all: std::collections::BTreeSet<Ipv4Addr> = (0..100_000).map(somebody).collect();
        assert!(all.len() > 99_000, "{}", all.len());
        assert!(all.iter().all(|address| (11..=90).contains(&address.octets()[0])));
    }

    #[test]
    fn packets_are_what_they_say() {
        let (from, to) = (
            SocketAddrV4::new([192, 0, 2, 1].into(), 1000),
            SocketAddrV4::new([192, 0, 2, 2].into(), 9600),
        );
        let packet = udp_packet(from, to, &[7; INITIATION]);
        assert_eq!(packet.len(), 28 + INITIATION);
        assert_eq!(packet[2..4], [0, 204]);
        assert_eq!(packet[12..24], [192, 0, 2, 1, 192, 0, 2, 2, 3, 232, 37, 128]);
        assert_eq!(packet[24..26], [0, 184]);
    }
}
