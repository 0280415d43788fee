//! A home router that opens ports on request: miniupnpd, which speaks UPnP-IGD, NAT-PMP and PCP.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::command::{DEFAULT_LIMIT, wait_for};
use super::home::Home;
use super::namespace::Namespace;
use super::program::Process;
use super::topology::{LAN, Lab, OUTSIDE};

/// The UDP port of NAT-PMP and PCP (RFC 6887 §19.1).
pub const PCP_PORT: u16 = 5351;

/// The UDP port of SSDP, by which UPnP devices are found.
pub const SSDP_PORT: u16 = 1900;

/// How long it may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Which protocols the router speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// UPnP-IGD.
    pub upnp: bool,
    /// NAT-PMP and PCP, which share a port.
    pub pcp: bool,
}

impl Protocols {
    /// All of them.
    pub const ALL: Self = Self { upnp: true, pcp: true };
}

/// miniupnpd on a home's router. Dropping it ends it; the mappings it has made stay in the router's rules, as they do when
/// such a program crashes.
#[derive(Debug)]
pub struct Upnp {
    process: Option<Process>,
    router: Arc<Namespace>,
    protocols: Protocols,
    configuration: PathBuf,
    logs: PathBuf,
    name: String,
}

impl Upnp {
    /// Starts it on the router of a home, which gets another address outside first: miniupnpd opens no ports on addresses
    /// from documentation, as the lab has them otherwise.
    ///
    /// # Errors
    /// It does not start, or the home has public addresses.
    pub fn start(lab: &mut Lab, home: &mut Home, protocols: Protocols) -> Result<Self> {
        ensure!(
            home.carrier.is_none(),
            "a port of the home's router is not one of the carrier's"
        );
        let outside = home.change_address(lab)?;
        let name = format!("upnp-{outside}");
        let configuration = lab.directory().join(format!("{name}.conf"));
        fs::write(&configuration, text(home, protocols))?;
        let mut upnp = Self {
            process: None,
            router: Arc::clone(&home.router),
            protocols,
            configuration,
            logs: lab.directory().to_owned(),
            name,
        };
        upnp.run()?;
        Ok(upnp)
    }

    /// Starts it anew without the mappings it had, as a rebooted router does. See [`Home::reboot_router`] for the rest of
    /// that.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        self.run()
    }

    /// The mappings that there are, as nftables rules.
    ///
    /// # Errors
    /// `nft` fails.
    pub fn mappings(&self) -> Result<Vec<String>> {
        let words = ["nft", "list", "chain", "inet", "upnp", "mapped"];
        let listing = self.router.exec(&words, DEFAULT_LIMIT)?.success()?.stdout;
        let rules = listing.lines().filter(|line| line.contains("dnat"));
        Ok(rules.map(|line| line.trim().to_owned()).collect())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    fn run(&mut self) -> Result<()> {
        self.router.nft(RULES)?;
        let mut command = self.router.command("miniupnpd");
        // In the foreground, and what is logged goes to standard error.
        command.args(["-d", "-f"]).arg(&self.configuration);
        command.arg("-P").arg(self.configuration.with_extension("pid"));
        let mut process = Process::spawn(command, &self.name, &self.logs)?;
        let mut ports = Vec::new();
        if self.protocols.upnp {
            ports.push(SSDP_PORT);
        }
        if self.protocols.pcp {
            ports.push(PCP_PORT);
        }
        wait_for("miniupnpd's sockets", START_LIMIT, || {
            process.ensure_running()?;
            let sockets = self.router.exec(&["ss", "-Huln"], DEFAULT_LIMIT)?.success()?.stdout;
            let is_open = |port: &u16| sockets.contains(&format!(":{port} "));
            Ok(ports.iter().all(is_open).then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }
}

/// The chains that miniupnpd writes to. They come before the router's own, so that a mapping asked for wins.
const RULES: &str = "table inet upnp { }
delete table inet upnp
table inet upnp {
    chain admitted { }
    chain mapped { }
    chain translated { }
    chain forward {
        type filter hook forward priority -5;
        jump admitted
    }
    chain prerouting {
        type nat hook prerouting priority dstnat - 5;
        jump mapped
    }
    chain postrouting {
        type nat hook postrouting priority srcnat - 5;
        jump translated
    }
}";

fn text(home: &Home, protocols: Protocols) -> String {
    let word = |on: bool| if on { "yes" } else { "no" };
    let (upnp, pcp) = (word(protocols.upnp), word(protocols.pcp));
    let [a, b, c, _] = home.inside.octets();
    let lan = Ipv4Addr::new(a, b, c, 0);
    format!(
        "ext_ifname={OUTSIDE}
listening_ip={LAN}
ipv6_disable=yes
http_port=5000
enable_upnp={upnp}
enable_natpmp={pcp}
secure_mode=yes
system_uptime=no
notify_interval=60
clean_ruleset_interval=0
min_lifetime=1
max_lifetime=86400
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=admitted
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=translated
uuid=00000000-0000-4000-8000-00000000fa11
serial=1
model_number=1
allow 1024-65535 {lan}/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"
    )
}
