//! The small Internet: a routed core, public hosts, homes behind NATs, wires with a delay.
//!
//! ```text
//!   host 192.168.n.2 -- router (nftables NAT) -- wire -- core -- wire -- public host 198.51.100.x
//! ```
//! Each attachment to the core is a point-to-point link with a /30 of 198.51.100.0/24 (a documentation prefix,
//! RFC 5737); the core's end has the lower address and forwards between all of them.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::namespace::{self, DIRECTORY_PREFIX, Namespace};
use super::program::{Process, helper};

/// Name of the interface towards the core, in public hosts and in routers.
pub const OUTSIDE: &str = "wan";

/// Name of the interface of a home's host towards its router.
pub const INSIDE: &str = "eth0";

/// How many /30 networks 198.51.100.0/24 has.
const MOST_ATTACHMENTS: u8 = 64;

static LABS: AtomicU32 = AtomicU32::new(0);

/// A lab: the core, all that is attached to it, and a directory for state and logs. Dropping it removes
/// everything.
#[derive(Debug)]
pub struct Lab {
    number: u32,
    core: Namespace,
    directory: PathBuf,
    attachments: u8,
    homes: u8,
    // Declared before the namespaces they run in, so that they end first.
    relays: Vec<Process>,
    wires: Vec<Namespace>,
    // What is attached stays attached, even where a test keeps only a part of it.
    attached: Vec<Arc<Namespace>>,
}

/// What a link to the core does to packets, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wire {
    /// Time a packet takes one way; zero is a plain veth without a relay if nothing is lost either.
    pub delay: Duration,
    /// Share of packets lost, 0 to 1, by a seeded generator.
    pub loss: f64,
}

/// A host with a public address.
#[derive(Clone, Debug)]
pub struct PublicHost {
    /// Where its programs run.
    pub namespace: Arc<Namespace>,
    /// Its public address.
    pub address: Ipv4Addr,
}

/// A home: a router that translates addresses, and one host behind it.
#[derive(Clone, Debug)]
pub struct Home {
    /// The host's namespace, where programs run.
    pub host: Arc<Namespace>,
    /// The router's namespace.
    pub router: Arc<Namespace>,
    /// The host's address on the home's LAN.
    pub inside: Ipv4Addr,
    /// The router's public address.
    pub outside: Ipv4Addr,
}

/// How a home's router translates UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The ordinary home router: ports are kept, one mapping for all destinations, filtered by address and port.
    Port,
    /// The symmetric router: a random port for each destination.
    Symmetric,
}

impl Wire {
    /// A plain veth.
    pub const PLAIN: Self = Self {
        delay: Duration::ZERO,
        loss: 0.0,
    };

    /// A wire on which two attached machines that both have it see the given round trip between them: a packet
    /// passes four such wires on its way there and back.
    pub fn for_round_trip(round_trip: Duration) -> Self {
        Self {
            delay: round_trip / 4,
            loss: 0.0,
        }
    }
}

impl Lab {
    /// Makes an empty lab, after removing what dead labs have left.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn new() -> Result<Self> {
        namespace::remove_leftovers()?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{}-{number}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let core = Namespace::create(number, "core")?;
        core.set_sysctl("ipv4/ip_forward", "1")?;
        core.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
        Ok(Self {
            number,
            core,
            directory,
            attachments: 0,
            homes: 0,
            relays: Vec::new(),
            wires: Vec::new(),
            attached: Vec::new(),
        })
    }

    /// The directory for state and logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The namespace that forwards between all attached machines.
    pub fn core(&self) -> &Namespace {
        &self.core
    }

    /// Attaches a host with a public address.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn public_host(&mut self, name: &str, wire: Wire) -> Result<PublicHost> {
        let namespace = Namespace::create(self.number, name)?;
        let address = self.attach(&namespace, wire)?;
        let namespace = self.keep(namespace);
        Ok(PublicHost { namespace, address })
    }

    /// Attaches a home: a router with a NAT and one host behind it.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses.
    pub fn home(&mut self, name: &str, nat: Nat, wire: Wire) -> Result<Home> {
        let router = Namespace::create(self.number, &format!("{name}-router"))?;
        let host = Namespace::create(self.number, name)?;
        let outside = self.attach(&router, wire)?;
        self.homes += 1;
        let lan = self.homes;
        let inside = Ipv4Addr::new(192, 168, lan, 2);
        router.ip(&format!(
            "link add lan type veth peer name {INSIDE} netns {}",
            host.name()
        ))?;
        use_ipv4_only(&router, "lan")?;
        router.ip(&format!("address add 192.168.{lan}.1/24 dev lan"))?;
        router.ip("link set lan up")?;
        router.set_sysctl("ipv4/ip_forward", "1")?;
        // Bridged frames passing iptables break hairpin translation; the module need not be loaded.
        router.set_sysctl_if_there("bridge/bridge-nf-call-iptables", "0")?;
        router.nft(&nat.rules(OUTSIDE))?;
        use_ipv4_only(&host, INSIDE)?;
        host.ip(&format!("address add {inside}/24 dev {INSIDE}"))?;
        host.ip(&format!("link set {INSIDE} up"))?;
        host.ip(&format!("route add default via 192.168.{lan}.1"))?;
        let (host, router) = (self.keep(host), self.keep(router));
        Ok(Home {
            host,
            router,
            inside,
            outside,
        })
    }

    /// Makes a host that is attached to nothing yet.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn loose_host(&mut self, name: &str) -> Result<Arc<Namespace>> {
        let host = Namespace::create(self.number, name)?;
        Ok(self.keep(host))
    }

    fn keep(&mut self, namespace: Namespace) -> Arc<Namespace> {
        let namespace = Arc::new(namespace);
        self.attached.push(Arc::clone(&namespace));
        namespace
    }

    /// Connects `namespace` to the core and returns the public address it got.
    fn attach(&mut self, namespace: &Namespace, wire: Wire) -> Result<Ipv4Addr> {
        ensure!(
            self.attachments < MOST_ATTACHMENTS,
            "the lab's core has no address left"
        );
        let number = self.attachments;
        self.attachments += 1;
        let core_address = Ipv4Addr::new(198, 51, 100, 4 * number + 1);
        let address = Ipv4Addr::new(198, 51, 100, 4 * number + 2);
        let core_interface = format!("to{number}");
        let other = namespace.name();
        if wire == Wire::PLAIN {
            self.core.ip(&format!(
                "link add {core_interface} type veth peer name {OUTSIDE} netns {other}"
            ))?;
        } else {
            let between = Namespace::create(self.number, &format!("wire{number}"))?;
            between.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
            between.set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
            let core = self.core.name();
            between.ip(&format!(
                "link add left type veth peer name {core_interface} netns {core}"
            ))?;
            between.ip(&format!("link add right type veth peer name {OUTSIDE} netns {other}"))?;
            between.ip("link set left up")?;
            between.ip("link set right up")?;
            self.start_relay(&between, number, wire)?;
            self.wires.push(between);
        }
        self.core
            .ip(&format!("address add {core_address}/30 dev {core_interface}"))?;
        self.core.ip(&format!("link set {core_interface} up"))?;
        use_ipv4_only(namespace, OUTSIDE)?;
        namespace.ip(&format!("address add {address}/30 dev {OUTSIDE}"))?;
        namespace.ip(&format!("link set {OUTSIDE} up"))?;
        namespace.ip(&format!("route add default via {core_address}"))?;
        Ok(address)
    }

    fn start_relay(&mut self, between: &Namespace, number: u8, wire: Wire) -> Result<()> {
        let mut command = between.command(helper("farlan-delay")?);
        command.args(["left", "right"]);
        command.args(["--delay-ms", &(wire.delay.as_secs_f64() * 1000.0).to_string()]);
        command.args(["--loss", &wire.loss.to_string(), "--seed", &number.to_string()]);
        let name = format!("wire{number}");
        let mut relay = Process::spawn(command, &name, &self.directory)?;
        wait_for("the delay relay", Duration::from_secs(10), || {
            relay.ensure_running()?;
            Ok(relay.log().contains("ready").then_some(()))
        })?;
        self.relays.push(relay);
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A directory that stays is removed by the next lab.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Nat {
    /// The nftables rules of a router whose outside interface is `wan`.
    ///
    /// The input chain matters for translation: a router that accepts a stranger's packet itself keeps an entry
    /// for it, and the home's own packet then leaves from another port.
    fn rules(self, wan: &str) -> String {
        let translate = match self {
            Self::Port => "masquerade",
            Self::Symmetric => "masquerade random,fully-random",
        };
        let mut rules = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            rules,
            "table ip home {{
                chain forward {{
                    type filter hook forward priority 0;
                    ct state established,related accept
                    ct status dnat accept
                    iifname {wan} drop
                }}
                chain input {{
                    type filter hook input priority 0;
                    ct state established,related accept
                    iifname {wan} ct state new meta l4proto != icmp drop
                }}
                chain translate {{
                    type nat hook postrouting priority srcnat;
                    oifname {wan} {translate}
                }}
            }}"
        );
        rules
    }
}

/// Leaves IPv6 out on an underlay interface, so that nothing but farlan's card carries it.
fn use_ipv4_only(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace.set_sysctl_if_there(&format!("ipv6/conf/{interface}/disable_ipv6"), "1")
}
