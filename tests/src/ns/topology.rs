//! The small Internet: a routed core, public hosts, homes behind NATs, wires with a delay.
//!
//! ```text
//!   host 192.168.n.2 -- router (nftables NAT) -- wire -- core -- wire -- public host 198.51.100.x
//! ```
//! Each attachment to the core is a point-to-point link with a /30 of 198.51.100.0/24 (a documentation prefix,
//! RFC 5737); the core's end has the lower address and forwards between all of them. In a dual-stack lab each also has
//! a /64 of 2001:db8::/32 (RFC 3849), and so has each home's LAN, behind a stateful firewall in its router.
//!
//! Homes are in [`home`](super::home), what happens to them in [`changes`](super::changes), what the core lets through in
//! [`traffic`](super::traffic).

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::namespace::{self, DIRECTORY_PREFIX, Namespace};
use super::program::{Process, helper};

pub use super::home::Home;
pub use super::nat::{Access, Nat};
pub use super::wire::{Bursts, Wire};

/// Name of the interface towards the core, in public hosts and in routers.
pub const OUTSIDE: &str = "wan";

/// Name of the interface of a home's host towards its router.
pub const INSIDE: &str = "eth0";

/// Name of the interface of a router towards its hosts, or of a carrier's router towards the home's.
pub const LAN: &str = "lan";

/// How many /30 networks 198.51.100.0/24 has.
const MOST_ATTACHMENTS: u8 = 64;

static LABS: AtomicU32 = AtomicU32::new(0);

/// A lab: the core, all that is attached to it, and a directory for state and logs. Dropping it removes
/// everything.
#[derive(Debug)]
pub struct Lab {
    pub(super) number: u32,
    pub(super) core: Namespace,
    directory: PathBuf,
    attachments: u8,
    pub(super) homes: u8,
    pub(super) public_homes: u8,
    pub(super) moved: u16,
    pub(super) dual_stack: bool,
    // Declared before the namespaces they run in, so that they end first.
    relays: Vec<Process>,
    wires: Vec<Namespace>,
    // What is attached stays attached, even where a test keeps only a part of it.
    attached: Vec<Arc<Namespace>>,
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

/// What an attachment to the core got.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    /// The core's end.
    pub core_interface: String,
    /// The core's address there.
    pub gateway: Ipv4Addr,
    /// The address of what is attached.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a dual-stack lab.
    pub ipv6: Option<Ipv6Addr>,
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
            public_homes: 0,
            moved: 0,
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

    /// Makes a host that is attached to nothing yet.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn loose_host(&mut self, name: &str) -> Result<Arc<Namespace>> {
        let host = Namespace::create(self.number, name)?;
        Ok(self.keep(host))
    }

    pub(super) fn keep(&mut self, namespace: Namespace) -> Arc<Namespace> {
        let namespace = Arc::new(namespace);
        self.attached.push(Arc::clone(&namespace));
        namespace
    }

    /// Connects `namespace` to the core.
    pub(super) fn attach(&mut self, namespace: &Namespace, wire: Wire) -> Result<Attachment> {
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
            gateway: core_address,
            ipv4: address,
            ipv6: self.dual_stack.then(|| prefix(2)),
        })
    }

    /// Leaves IPv6 out on an underlay interface of an IPv4 lab, so that nothing but farlan's card carries it.
    pub(super) fn choose_families(&self, namespace: &Namespace, interface: &str) -> Result<()> {
        let disabled = if self.dual_stack { "0" } else { "1" };
        namespace.set_sysctl_if_there(&format!("ipv6/conf/{interface}/disable_ipv6"), disabled)?;
        // Neighbours are not asked for before an interface has finished looking for its own address elsewhere.
        namespace.set_sysctl_if_there(&format!("ipv6/conf/{interface}/accept_dad"), "0")
    }

    fn start_relay(&mut self, between: &Namespace, number: u8, wire: Wire) -> Result<()> {
        let mut command = between.command(helper("farlan-delay")?);
        command.args(["left", "right"]);
        command.args(wire.arguments());
        command.args(["--seed", &number.to_string()]);
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
