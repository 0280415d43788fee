//! The small Internet: a routed core, public hosts, homes behind NATs, wires with a delay.
//!
//! ```text
//!   host 192.168.n.2 -- router (nftables NAT) -- wire -- core -- wire -- public host 198.51.100.x
//! ```
//! Each attachment to the core is a point-to-point link with a /30 of 198.51.100.0/24 (a documentation prefix,
//! RFC 5737); the core's end has the lower address and forwards between all of them. In a dual-stack lab each also has
//! a /64 of 2001:db8::/32 (RFC 3849), and so has each home's LAN, behind a stateful firewall in its router.
//!
//! What the core lets through is in [`traffic`](super::traffic).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::conntrack;
use super::namespace::{self, DIRECTORY_PREFIX, Namespace};
use super::program::{Process, helper};

pub use super::nat::Nat;

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
    dual_stack: bool,
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
    /// Its public IPv6 address, in a dual-stack lab.
    pub ipv6: Option<Ipv6Addr>,
}

/// A host in a home, behind a router that translates addresses. Homes that share a router share its LAN.
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
    /// The host's public IPv6 address, in a dual-stack lab.
    pub ipv6: Option<Ipv6Addr>,
    /// How the router translates.
    pub nat: Nat,
    /// The core's end of the router's wire.
    pub core_interface: String,
}

/// What an attachment to the core got.
#[derive(Clone, Debug)]
struct Attachment {
    core_interface: String,
    ipv4: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
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
        core.nft(super::traffic::RULES)?;
        Ok(Self {
            number,
            core,
            directory,
            attachments: 0,
            homes: 0,
            dual_stack: false,
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

    /// Gives all that is attached from now on IPv6 besides IPv4.
    ///
    /// # Errors
    /// The kernel has no IPv6.
    pub fn use_dual_stack(&mut self) -> Result<()> {
        self.core.set_sysctl("ipv6/conf/all/disable_ipv6", "0")?;
        self.core.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        self.dual_stack = true;
        Ok(())
    }

    /// Attaches a host with a public address.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn public_host(&mut self, name: &str, wire: Wire) -> Result<PublicHost> {
        let namespace = Namespace::create(self.number, name)?;
        let attachment = self.attach(&namespace, wire)?;
        let namespace = self.keep(namespace);
        Ok(PublicHost {
            namespace,
            address: attachment.ipv4,
            ipv6: attachment.ipv6,
        })
    }

    /// Attaches a home: a router with a NAT and one host behind it.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses.
    pub fn home(&mut self, name: &str, nat: Nat, wire: Wire) -> Result<Home> {
        let mut homes = self.shared_home(&[name], nat, wire)?;
        homes.pop().context("a home without a host")
    }

    /// Attaches a router with a NAT and several hosts on the switch behind it. The router is called after the first.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses, or there are no names.
    pub fn shared_home(&mut self, names: &[&str], nat: Nat, wire: Wire) -> Result<Vec<Home>> {
        let first = names.first().context("a home without a host")?;
        let router = Namespace::create(self.number, &format!("{first}-router"))?;
        let attachment = self.attach(&router, wire)?;
        self.homes += 1;
        let lan = self.homes;
        let prefix = |host: u16| Ipv6Addr::new(0x2001, 0xdb8, 1, lan.into(), 0, 0, 0, host);
        // A switch must not learn who listens to what: queries would come from nobody.
        router.ip("link add lan type bridge mcast_snooping 0")?;
        self.choose_families(&router, "lan")?;
        router.ip(&format!("address add 192.168.{lan}.1/24 dev lan"))?;
        router.ip("link set lan up")?;
        router.set_sysctl("ipv4/ip_forward", "1")?;
        // Bridged frames passing iptables break hairpin translation; the module need not be loaded.
        router.set_sysctl_if_there("bridge/bridge-nf-call-iptables", "0")?;
        router.nft(&nat.rules(OUTSIDE, attachment.ipv4))?;
        if let Some(outside) = attachment.ipv6 {
            router.set_sysctl("ipv6/conf/all/forwarding", "1")?;
            router.ip(&format!("address add {}/64 dev lan nodad", prefix(1)))?;
            router.nft(&super::nat::ipv6_firewall(OUTSIDE))?;
            self.core.ip(&format!("-6 route add {}/64 via {outside}", prefix(0)))?;
        }
        let router = self.keep(router);
        let mut homes = Vec::new();
        for (number, name) in (2_u8..).zip(names) {
            let host = Namespace::create(self.number, name)?;
            let (port, other) = (format!("lan{number}"), host.name());
            router.ip(&format!("link add {port} type veth peer name {INSIDE} netns {other}"))?;
            router.set_sysctl_if_there(&format!("ipv6/conf/{port}/disable_ipv6"), "1")?;
            router.ip(&format!("link set {port} master lan up"))?;
            let inside = Ipv4Addr::new(192, 168, lan, number);
            self.choose_families(&host, INSIDE)?;
            host.ip(&format!("address add {inside}/24 dev {INSIDE}"))?;
            host.ip(&format!("link set {INSIDE} up"))?;
            host.ip(&format!("route add default via 192.168.{lan}.1"))?;
            let ipv6 = self.dual_stack.then(|| prefix(number.into()));
            if let Some(ipv6) = ipv6 {
                host.ip(&format!("address add {ipv6}/64 dev {INSIDE} nodad"))?;
                host.ip(&format!("-6 route add default via {}", prefix(1)))?;
            }
            homes.push(Home {
                host: self.keep(host),
                router: Arc::clone(&router),
                inside,
                outside: attachment.ipv4,
                ipv6,
                nat,
                core_interface: attachment.core_interface.clone(),
            });
        }
        Ok(homes)
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

    /// Connects `namespace` to the core.
    fn attach(&mut self, namespace: &Namespace, wire: Wire) -> Result<Attachment> {
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
        self.choose_families(&self.core, &core_interface)?;
        self.core
            .ip(&format!("address add {core_address}/30 dev {core_interface}"))?;
        self.core.ip(&format!("link set {core_interface} up"))?;
        self.choose_families(namespace, OUTSIDE)?;
        namespace.ip(&format!("address add {address}/30 dev {OUTSIDE}"))?;
        namespace.ip(&format!("link set {OUTSIDE} up"))?;
        namespace.ip(&format!("route add default via {core_address}"))?;
        let prefix = |host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, number.into(), 0, 0, 0, host);
        if self.dual_stack {
            self.core
                .ip(&format!("address add {}/64 dev {core_interface} nodad", prefix(1)))?;
            namespace.ip(&format!("address add {}/64 dev {OUTSIDE} nodad", prefix(2)))?;
            namespace.ip(&format!("-6 route add default via {}", prefix(1)))?;
        }
        Ok(Attachment {
            core_interface,
            ipv4: address,
            ipv6: self.dual_stack.then(|| prefix(2)),
        })
    }

    /// Leaves IPv6 out on an underlay interface of an IPv4 lab, so that nothing but farlan's card carries it.
    fn choose_families(&self, namespace: &Namespace, interface: &str) -> Result<()> {
        let disabled = if self.dual_stack { "0" } else { "1" };
        namespace.set_sysctl_if_there(&format!("ipv6/conf/{interface}/disable_ipv6"), disabled)?;
        // Neighbours are not asked for before an interface has finished looking for its own address elsewhere.
        namespace.set_sysctl_if_there(&format!("ipv6/conf/{interface}/accept_dad"), "0")
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

impl Home {
    /// The addresses by which the home is seen at the core.
    pub fn outsides(&self) -> Vec<IpAddr> {
        let ipv6 = self.ipv6.map(IpAddr::from);
        std::iter::once(self.outside.into()).chain(ipv6).collect()
    }

    /// Reboots the router: it forgets all translations.
    ///
    /// # Errors
    /// The kernel or `nft` refuses.
    pub fn reboot_router(&self) -> Result<()> {
        self.router.nft(&self.nat.rules(OUTSIDE, self.outside))?;
        conntrack::flush(&self.router)
    }

    /// Reboots the router into using other UDP ports outside than it would: those of the given range.
    ///
    /// # Errors
    /// The kernel or `nft` refuses.
    pub fn rebind_router(&self, ports: std::ops::RangeInclusive<u16>) -> Result<()> {
        self.router.nft(&self.nat.rules(OUTSIDE, self.outside))?;
        let (low, high) = (ports.start(), ports.end());
        self.router.nft(&format!(
            "insert rule ip home translate oifname {OUTSIDE} meta l4proto udp masquerade to :{low}-{high}"
        ))?;
        conntrack::flush(&self.router)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A directory that stays is removed by the next lab.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
