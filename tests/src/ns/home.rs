//! Homes: hosts on a LAN behind a router, which may be behind a carrier's router.
//!
//! ```text
//!   host 192.168.n.2 -- router -- wire -- core
//!   host 192.168.n.2 -- router 100.64.1.2 -- 100.64.1.1 carrier -- wire -- core
//!   host 192.0.2.x   -- router without translation -- wire -- core
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::namespace::Namespace;
use super::nat::{self, Access, Nat};
use super::topology::{Attachment, INSIDE, LAN, Lab, OUTSIDE, Wire};

/// How long routers with tables of their own remember what is not used.
const MEMORY: Duration = Duration::from_secs(30);

/// Addresses of a LAN without translation, a /28 of 192.0.2.0/24 (RFC 5737), and how many such LANs there can be.
const PUBLIC_LAN: u8 = 16;
const MOST_PUBLIC_HOMES: u8 = 16;

/// A host in a home, behind a router that translates addresses. Homes that share a router share its LAN.
#[derive(Clone, Debug)]
pub struct Home {
    /// The host's namespace, where programs run.
    pub host: Arc<Namespace>,
    /// The home's router.
    pub router: Arc<Namespace>,
    /// The carrier's router, where the home is behind one.
    pub carrier: Option<Arc<Namespace>>,
    /// The host's address on the home's LAN.
    pub inside: Ipv4Addr,
    /// The address by which the home is seen at the core.
    pub outside: Ipv4Addr,
    /// The host's public IPv6 address, in a dual-stack lab.
    pub ipv6: Option<Ipv6Addr>,
    /// How the routers translate.
    pub access: Access,
    /// The core's end of the wire.
    pub core_interface: String,
    /// The core's address there.
    pub(super) gateway: Ipv4Addr,
    /// The LAN that the host is on.
    pub(super) lan: Lan,
    /// The router's port on the LAN's switch that the host is at.
    pub port: String,
    /// The address of the home's router towards the core or the carrier.
    pub(super) router_address: Ipv4Addr,
    /// How long routers with tables of their own remember what is not used.
    pub(super) memory: Duration,
}

/// The addresses of a LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lan {
    network: Ipv4Addr,
    prefix_length: u8,
    /// The /64, in a dual-stack lab.
    prefix: Option<Ipv6Addr>,
}

impl Lan {
    fn ipv4(self, host: u8) -> Ipv4Addr {
        let [a, b, c, d] = self.network.octets();
        Ipv4Addr::new(a, b, c, d + host)
    }

    fn ipv6(self, host: u8) -> Option<Ipv6Addr> {
        self.prefix.map(|prefix| with_host(prefix, host))
    }

    /// Gives a host addresses and routes. Its interface must be up.
    pub(super) fn settle(self, host: &Namespace, number: u8) -> Result<()> {
        let (own, length, router) = (self.ipv4(number), self.prefix_length, self.ipv4(1));
        host.ip(&format!("address add {own}/{length} dev {INSIDE}"))?;
        host.ip(&format!("route add default via {router}"))?;
        if let (Some(own), Some(router)) = (self.ipv6(number), self.ipv6(1)) {
            host.ip(&format!("address add {own}/64 dev {INSIDE} nodad"))?;
            host.ip(&format!("-6 route add default via {router}"))?;
        }
        Ok(())
    }
}

impl Lab {
    /// Attaches a home: a router with a NAT and one host behind it.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses, or there are no such routers.
    pub fn home(&mut self, name: &str, access: impl Into<Access>, wire: Wire) -> Result<Home> {
        let mut homes = self.shared_home(&[name], access, wire)?;
        homes.pop().context("a home without a host")
    }

    /// Attaches a router with a NAT and several hosts on the switch behind it. The router is called after the first.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses, there are no such routers, or there are no names.
    pub fn shared_home(&mut self, names: &[&str], access: impl Into<Access>, wire: Wire) -> Result<Vec<Home>> {
        let access = access.into();
        access.check()?;
        let first = names.first().context("a home without a host")?;
        let router = Namespace::create(self.number, &format!("{first}-router"))?;
        self.homes += 1;
        let number = self.homes;
        let (attachment, carrier, router_address) = if access.carrier.is_some() {
            let (carrier, attachment) = self.behind_carrier(first, &router, wire)?;
            (attachment, Some(carrier), CARRIED)
        } else {
            let attachment = self.attach(&router, wire)?;
            let address = attachment.ipv4;
            (attachment, None, address)
        };
        let lan = self.lan(number, access, &attachment)?;
        // A switch must not learn who listens to what: queries would come from nobody.
        router.ip(&format!("link add {LAN} type bridge mcast_snooping 0"))?;
        self.choose_families(&router, LAN)?;
        let (own, length) = (lan.ipv4(1), lan.prefix_length);
        router.ip(&format!("address add {own}/{length} dev {LAN}"))?;
        router.ip(&format!("link set {LAN} up"))?;
        forward(&router)?;
        if let Some(own) = lan.ipv6(1) {
            router.set_sysctl("ipv6/conf/all/forwarding", "1")?;
            router.ip(&format!("address add {own}/64 dev {LAN} nodad"))?;
            if access.router != Nat::Absent {
                router.nft(&nat::ipv6_firewall(OUTSIDE))?;
            }
            let via = attachment.ipv6.context("an attachment without IPv6")?;
            let prefix = with_host(own, 0);
            self.core.ip(&format!("-6 route add {prefix}/64 via {via}"))?;
            if let Some(carrier) = &carrier {
                let between = carried_ipv6(number);
                let core = &self.core;
                core.ip(&format!("-6 route add {}/64 via {via}", with_host(between, 0)))?;
                carrier.set_sysctl("ipv6/conf/all/forwarding", "1")?;
                carrier.ip(&format!("address add {}/64 dev {LAN} nodad", with_host(between, 1)))?;
                carrier.ip(&format!("-6 route add {prefix}/64 via {}", with_host(between, 2)))?;
                router.ip(&format!("address add {}/64 dev {OUTSIDE} nodad", with_host(between, 2)))?;
                router.ip(&format!("-6 route add default via {}", with_host(between, 1)))?;
            }
        }
        let router = self.keep(router);
        let carrier = carrier.map(|carrier| self.keep(carrier));
        let mut homes = Vec::new();
        for (number, name) in (2_u8..).zip(names) {
            let host = Namespace::create(self.number, name)?;
            let port = format!("{LAN}{number}");
            let other = host.name();
            router.ip(&format!("link add {port} type veth peer name {INSIDE} netns {other}"))?;
            plug_in(&router, &port)?;
            self.choose_families(&host, INSIDE)?;
            host.ip(&format!("link set {INSIDE} up"))?;
            lan.settle(&host, number)?;
            let inside = lan.ipv4(number);
            let outside = if access.router == Nat::Absent {
                inside
            } else {
                attachment.ipv4
            };
            homes.push(Home {
                host: self.keep(host),
                router: Arc::clone(&router),
                carrier: carrier.clone(),
                inside,
                outside,
                ipv6: lan.ipv6(number),
                access,
                core_interface: attachment.core_interface.clone(),
                gateway: attachment.gateway,
                lan,
                port,
                router_address,
                memory: MEMORY,
            });
        }
        let home = homes.first().context("a home without a host")?;
        home.load_rules()?;
        Ok(homes)
    }

    /// Attaches a carrier's router to the core and the home's router to that.
    fn behind_carrier(&mut self, name: &str, router: &Namespace, wire: Wire) -> Result<(Namespace, Attachment)> {
        let carrier = Namespace::create(self.number, &format!("{name}-carrier"))?;
        let attachment = self.attach(&carrier, wire)?;
        let other = router.name();
        carrier.ip(&format!("link add {LAN} type veth peer name {OUTSIDE} netns {other}"))?;
        for (namespace, interface, address) in [(&carrier, LAN, CARRIER), (router, OUTSIDE, CARRIED)] {
            self.choose_families(namespace, interface)?;
            namespace.ip(&format!("address add {address}/24 dev {interface}"))?;
            namespace.ip(&format!("link set {interface} up"))?;
        }
        router.ip(&format!("route add default via {CARRIER}"))?;
        forward(&carrier)?;
        Ok((carrier, attachment))
    }

    /// The addresses of the next home's LAN, which the core knows the way to if they are public.
    fn lan(&mut self, number: u8, access: Access, attachment: &Attachment) -> Result<Lan> {
        let prefix = self
            .dual_stack
            .then(|| Ipv6Addr::new(0x2001, 0xdb8, 1, number.into(), 0, 0, 0, 0));
        if access.router != Nat::Absent {
            return Ok(Lan {
                network: Ipv4Addr::new(192, 168, number, 0),
                prefix_length: 24,
                prefix,
            });
        }
        ensure!(
            self.public_homes < MOST_PUBLIC_HOMES,
            "the lab has no public addresses left for another home"
        );
        let network = Ipv4Addr::new(192, 0, 2, PUBLIC_LAN * self.public_homes);
        self.public_homes += 1;
        let via = attachment.ipv4;
        self.core.ip(&format!("route add {network}/28 via {via}"))?;
        Ok(Lan {
            network,
            prefix_length: 28,
            prefix,
        })
    }
}

/// Addresses between a carrier's router and a home's (RFC 6598).
const CARRIER: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 1);
const CARRIED: Ipv4Addr = Ipv4Addr::new(100, 64, 1, 2);

/// The /64 between a carrier's router and that of a home.
fn carried_ipv6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, number.into(), 0, 0, 0, 0)
}

fn with_host(prefix: Ipv6Addr, host: u8) -> Ipv6Addr {
    let [a, b, c, d, ..] = prefix.segments();
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, host.into())
}

/// Makes a namespace a router for IPv4.
fn forward(router: &Namespace) -> Result<()> {
    router.set_sysctl("ipv4/ip_forward", "1")?;
    // Bridged frames passing iptables break hairpin translation; the module need not be loaded.
    router.set_sysctl_if_there("bridge/bridge-nf-call-iptables", "0")
}

/// Makes an interface a port of a router's switch.
pub(super) fn plug_in(router: &Namespace, port: &str) -> Result<()> {
    router.set_sysctl_if_there(&format!("ipv6/conf/{port}/disable_ipv6"), "1")?;
    router.ip(&format!("link set {port} master {LAN} up"))?;
    Ok(())
}

impl Home {
    /// The addresses by which the home is seen at the core.
    pub fn outsides(&self) -> Vec<IpAddr> {
        let ipv6 = self.ipv6.map(IpAddr::from);
        std::iter::once(self.outside.into()).chain(ipv6).collect()
    }

    /// The router at the end of the wire: the carrier's where there is one.
    pub fn edge(&self) -> &Arc<Namespace> {
        self.carrier.as_ref().unwrap_or(&self.router)
    }

    /// Both routers, the home's first.
    pub fn routers(&self) -> Vec<&Arc<Namespace>> {
        std::iter::once(&self.router).chain(&self.carrier).collect()
    }

    /// Loads the rules of all routers, which forget their mappings thereby, so far as those are in tables of their own.
    pub(super) fn load_rules(&self) -> Result<()> {
        let rules = |nat, hairpins, outside| {
            let router = nat::Router {
                nat,
                hairpins,
                wan: OUTSIDE,
                lan: LAN,
                outside,
                memory: self.memory,
            };
            router.rules()
        };
        let Access {
            router,
            hairpins,
            carrier,
        } = self.access;
        self.router.nft(&rules(router, hairpins, self.router_address))?;
        if let (Some(nat), Some(namespace)) = (carrier, &self.carrier) {
            namespace.nft(&rules(nat, false, self.outside))?;
        }
        Ok(())
    }

    /// The address of the LAN that a host with that number has, and the number of one that nobody has.
    pub(super) fn free_place(&self) -> Result<u8> {
        let taken = self.router.interfaces()?;
        let mut numbers = 2..PUBLIC_LAN - 1;
        let free = numbers.find(|number| !taken.contains(&format!("{LAN}{number}")));
        free.context("the LAN has no place left")
    }

    /// The same home as seen from another place on its LAN.
    pub(super) fn at_place(&self, host: &Arc<Namespace>, number: u8) -> Self {
        let inside = self.lan.ipv4(number);
        let outside = if self.access.router == Nat::Absent {
            inside
        } else {
            self.outside
        };
        Self {
            host: Arc::clone(host),
            inside,
            outside,
            ipv6: self.lan.ipv6(number),
            port: format!("{LAN}{number}"),
            ..self.clone()
        }
    }
}
