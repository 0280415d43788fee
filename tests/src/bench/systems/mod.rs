//! What is measured: each system makes a LAN of the two hosts of a [`Rig`], by its own daemons or by the kernel.

mod bare;
mod farlan;
mod fastd;
mod kernel;
mod n2n;
mod openvpn;
mod tinc;
mod vpncloud;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lab::{Rig, Shape};
use crate::ns::command::{self, wait_for};
use crate::ns::program::Process;
use crate::ns::{Namespace, Node, Supernode, requirements};

/// How long a system may take from its start until the first ping is answered.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// The MTU given to systems that leave it to their user: with their headers it fits the wire's 1500 bytes.
const MTU: u16 = 1400;

/// The name of the card that other systems are told to make.
const CARD: &str = "lan0";

/// The addresses of `A` and `B` on a LAN whose addresses are set by hand.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];

/// Where the programs of other builds of farlan are.
#[derive(Clone, Debug, Default)]
pub struct Builds {
    /// The build without encryption.
    pub plaintext: Option<PathBuf>,
    /// The build of an earlier commit.
    pub previous: Option<PathBuf>,
    /// The build of an earlier commit without encryption.
    pub previous_plaintext: Option<PathBuf>,
}

/// Something that connects two hosts.
pub trait System: std::fmt::Debug {
    /// Its name in options and tables.
    fn name(&self) -> &'static str;

    /// How it is set, exactly.
    fn settings(&self) -> String;

    /// How the hosts must be wired for it.
    fn shape(&self) -> Shape {
        Shape::Direct
    }

    /// Its version.
    ///
    /// # Errors
    /// It is not installed, or this build of it cannot do what is measured; the message says what to do.
    fn version(&self) -> Result<String>;

    /// Starts it, without waiting for more than its cards.
    ///
    /// # Errors
    /// It does not start.
    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel>;
}

/// All systems, in the order of the tables.
pub fn all(builds: &Builds) -> Vec<Box<dyn System>> {
    let mut systems: Vec<Box<dyn System>> = vec![
        Box::new(kernel::Underlay),
        Box::new(kernel::Vxlan),
        Box::new(bare::Bare::Frames),
        Box::new(bare::Bare::Whole),
    ];
    for variant in farlan::Variant::ALL {
        systems.push(Box::new(farlan::Farlan::new(variant, builds)));
    }
    systems.push(Box::new(n2n::N2n));
    systems.push(Box::new(tinc::Tinc));
    systems.push(Box::new(openvpn::OpenVpn::ORDINARY));
    systems.push(Box::new(openvpn::OpenVpn::LARGE));
    systems.push(Box::new(vpncloud::VpnCloud));
    systems.push(Box::new(fastd::Fastd));
    systems
}

/// A system at work. Dropping it ends its programs.
#[derive(Debug)]
pub struct Tunnel {
    /// Its ends on `A` and `B`.
    pub ends: [End; 2],
    /// The process in the middle, where there is one.
    pub middle: Option<u32>,
    programs: Programs,
    logs: PathBuf,
    tools: AtomicU32,
}

/// One end of a [`Tunnel`].
#[derive(Clone, Debug)]
pub struct End {
    /// The host.
    pub host: Arc<Namespace>,
    /// The host's address on the LAN.
    pub address: Ipv4Addr,
    /// The card of the LAN.
    pub card: String,
    /// The daemon behind the card; none where it is the kernel.
    pub daemon: Option<u32>,
}

#[derive(Debug)]
enum Programs {
    Farlan {
        nodes: Box<[Node; 2]>,
        _supernode: Box<Supernode>,
        path: &'static str,
    },
    Others {
        _processes: Vec<Process>,
    },
}

impl Tunnel {
    /// Waits until a ping from `A` to `B` is answered, and for farlan until both nodes say that their path is the one to
    /// be measured.
    ///
    /// # Errors
    /// That does not come in time.
    pub fn wait_connected(&self) -> Result<()> {
        let [a, b] = &self.ends;
        let target = b.address.to_string();
        wait_for("the first answered ping", CONNECT_LIMIT, || {
            let pinged = a.host.exec(&["ping", "-nc1", "-W1", &target], CONNECT_LIMIT)?;
            Ok((pinged.code == Some(0)).then_some(()))
        })?;
        match &self.programs {
            Programs::Farlan { nodes, path, .. } => farlan::wait_path(nodes, path, CONNECT_LIMIT),
            Programs::Others { .. } => Ok(()),
        }
    }

    /// The MTU of `A`'s card.
    ///
    /// # Errors
    /// There is no such card.
    pub fn mtu(&self) -> Result<u32> {
        let [end, _] = &self.ends;
        let listing = end.host.ip(&format!("-o link show dev {}", end.card))?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "mtu");
        let mtu = words.nth(1).with_context(|| format!("no mtu in {listing}"))?;
        Ok(mtu.parse()?)
    }

    /// What the daemons have counted so far, added up, by name; nothing where they do not count.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        if let Programs::Farlan { nodes, .. } = &self.programs {
            for node in nodes.iter() {
                let status = node.status()?;
                let counters = status.get("counters").and_then(Value::as_object);
                for (name, value) in counters.context("a status without counters")? {
                    *sums.entry(name.clone()).or_default() += value.as_u64().unwrap_or_default();
                }
            }
        }
        Ok(sums)
    }

    /// Starts a program that measures, with an empty log of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, command: Command, name: &str) -> Result<Process> {
        let number = self.tools.fetch_add(1, Ordering::Relaxed);
        Process::spawn(command, &format!("{name}-{number}"), &self.logs)
    }

    fn new(rig: &Rig<'_>, ends: [End; 2], middle: Option<u32>, programs: Programs) -> Self {
        Self {
            ends,
            middle,
            programs,
            logs: rig.lab.directory().to_owned(),
            tools: AtomicU32::new(0),
        }
    }

    /// Of a system whose cards have addresses set by hand, and whose first two processes are the daemons of `A` and `B`.
    fn of_daemons(rig: &Rig<'_>, card: &str, processes: Vec<Process>) -> Self {
        let end = |index: usize| End {
            host: Arc::clone(&rig.hosts[index]),
            address: ADDRESSES[index],
            card: card.to_owned(),
            daemon: processes.get(index).map(Process::pid),
        };
        let middle = processes.get(2).map(Process::pid);
        let ends = [end(0), end(1)];
        Self::new(rig, ends, middle, Programs::Others { _processes: processes })
    }
}

/// Starts a program on host 0 (`A`) or 1 (`B`), with its log in the lab's directory.
fn spawn(rig: &Rig<'_>, index: usize, program: &str, words: &[&str]) -> Result<Process> {
    let mut command = rig.hosts[index].command(program);
    command.args(words);
    Process::spawn(command, &format!("{program}-{index}"), rig.lab.directory())
}

/// Gives a card its address and MTU and sets it up, as soon as a program has made it.
fn set_card(rig: &Rig<'_>, index: usize, process: &mut Process, mtu: u16) -> Result<()> {
    let host = &rig.hosts[index];
    wait_for("the card", CONNECT_LIMIT, || {
        process.ensure_running()?;
        Ok(host.interfaces()?.iter().any(|card| card == CARD).then_some(()))
    })?;
    host.ip(&format!("link set {CARD} mtu {mtu} up"))?;
    host.ip(&format!("address replace {}/24 dev {CARD}", ADDRESSES[index]))?;
    Ok(())
}

/// The first line of what a program prints to tell its version that has `word` in it.
fn version_of(program: &str, words: &[&str], word: &str, how_to_install: &str) -> Result<String> {
    if !requirements::installed(program) {
        bail!("not installed ({how_to_install})");
    }
    let mut command = Command::new(program);
    command.args(words);
    let finished = command::finish(command, command::DEFAULT_LIMIT, None)?;
    let printed = [finished.stdout, finished.stderr].concat();
    let line = printed.lines().find(|line| line.contains(word));
    Ok(line
        .with_context(|| format!("{program} does not tell its version: {printed}"))?
        .trim()
        .to_owned())
}

/// Checks for the program that makes the keys of systems that make none themselves.
fn need_openssl() -> Result<()> {
    if !requirements::installed("openssl") {
        bail!("its keys cannot be made: not installed (Debian package openssl)");
    }
    Ok(())
}

/// Writes a file for a program in a directory of its own in the lab, and returns its path.
fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    // Keys among them; and programs complain where others may read such files.
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    std::io::Write::write_all(&mut file?, text.as_bytes())?;
    Ok(path)
}
