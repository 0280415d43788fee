//! What happens to homes: routers reboot and get other addresses, hosts move, timers and firewalls change.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::conntrack;
use super::home::{Home, plug_in};
use super::namespace::Namespace;
use super::nat::Nat;
use super::topology::{INSIDE, Lab, OUTSIDE};

/// The rules of a router through which no UDP passes.
const NO_UDP: &str = "table ip blocked {
    chain forward {
        type filter hook forward priority -1;
        meta l4proto udp drop
    }
}";

impl Home {
    /// Reboots the routers: they forget all translations.
    ///
    /// # Errors
    /// The kernel or `nft` refuses.
    pub fn reboot_router(&self) -> Result<()> {
        self.load_rules()?;
        self.forget_flows()
    }

    /// Reboots the routers into using other UDP ports outside than they would: those of the given range.
    ///
    /// # Errors
    /// The kernel or `nft` refuses, or there is no translation.
    pub fn rebind_router(&self, ports: RangeInclusive<u16>) -> Result<()> {
        ensure!(self.access.router != Nat::Absent, "a home without translation");
        self.load_rules()?;
        let (low, high) = (ports.start(), ports.end());
        self.edge().nft(&format!(
            "insert rule ip home translate oifname {OUTSIDE} meta l4proto udp masquerade to :{low}-{high}"
        ))?;
        self.forget_flows()
    }

    fn forget_flows(&self) -> Result<()> {
        self.routers()
            .into_iter()
            .try_for_each(|router| conntrack::flush(router))
    }

    /// How long the routers remember a flow: one that was not answered yet (the kernel's default is 30 s), and one that
    /// was (120 s). Tables of their own follow the second. Whole seconds. What is remembered already keeps its time.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_udp_timers(&mut self, unanswered: Duration, answered: Duration) -> Result<()> {
        self.memory = answered;
        for router in self.routers() {
            for (setting, time) in [("udp_timeout", unanswered), ("udp_timeout_stream", answered)] {
                let setting = format!("netfilter/nf_conntrack_{setting}");
                router.set_sysctl(&setting, &time.as_secs().to_string())?;
            }
        }
        self.load_rules()
    }

    /// Lets no UDP through the home's router any more, in or out.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn block_udp(&self) -> Result<()> {
        self.router.nft(NO_UDP)
    }

    /// Ends [`block_udp`](Self::block_udp).
    ///
    /// # Errors
    /// `nft` refuses, for instance because nothing was blocked.
    pub fn unblock_udp(&self) -> Result<()> {
        self.router.nft("delete table ip blocked")
    }

    /// Gives the home another address outside, as providers do at night: that of the router at the end of the wire. Flows
    /// are forgotten. Returns the new address.
    ///
    /// # Errors
    /// The kernel, `ip` or `nft` refuses, the home has public addresses, or the lab has none left.
    pub fn change_address(&mut self, lab: &mut Lab) -> Result<Ipv4Addr> {
        ensure!(
            self.access.router != Nat::Absent,
            "a home whose hosts have public addresses keeps them"
        );
        lab.moved = lab.moved.checked_add(1).context("the lab has no address left")?;
        // The test network of the radio amateurs, which looks public to everybody.
        let [high, low] = lab.moved.to_be_bytes();
        let address = Ipv4Addr::new(44, 128, high, low);
        let (edge, gateway) = (Arc::clone(self.edge()), self.gateway);
        edge.ip(&format!("-4 address flush dev {OUTSIDE}"))?;
        edge.ip(&format!("address add {address}/32 dev {OUTSIDE}"))?;
        edge.ip(&format!("route add {gateway} dev {OUTSIDE}"))?;
        edge.ip(&format!("route add default via {gateway}"))?;
        let interface = &self.core_interface;
        lab.core().ip(&format!("route replace {address}/32 dev {interface}"))?;
        let previous = std::mem::replace(&mut self.outside, address);
        if self.carrier.is_none() {
            self.router_address = address;
        }
        if previous.octets()[..2] == address.octets()[..2] {
            lab.core().ip(&format!("route del {previous}/32 dev {interface}"))?;
        }
        self.load_rules()?;
        self.forget_flows()?;
        Ok(address)
    }

    /// Takes IPv6 from the host's card, as where the provider has none. Returns the home so.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn without_ipv6(self) -> Result<Self> {
        self.host.set_sysctl(&format!("ipv6/conf/{INSIDE}/disable_ipv6"), "1")?;
        Ok(Self { ipv6: None, ..self })
    }

    /// Lets the host reach its router but no neighbour on the LAN, as guests' Wi-Fi does. Both have to be isolated.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn isolate(&self) -> Result<()> {
        let port = &self.port;
        self.router
            .ip(&format!("link set {port} type bridge_slave isolated on"))?;
        Ok(())
    }

    /// Pulls the host's cable, or takes it out of the range of its Wi-Fi: it keeps its interface, which has no carrier, and
    /// loses its addresses.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn unplug(&self) -> Result<()> {
        self.router.ip(&format!("link set {} down", self.port))?;
        // What the kernel made itself stays, as on any machine.
        self.host.ip(&format!("address flush dev {INSIDE} scope global"))?;
        if self.ipv6.is_some() {
            // Without its prefix this one would stay.
            self.host.ip(&format!("-6 route del default dev {INSIDE}"))?;
        }
        Ok(())
    }

    /// Connects the host, which was [unplugged](Self::unplug), to the LAN of another home, where it gets addresses. Returns
    /// the host there.
    ///
    /// # Errors
    /// `ip` refuses, or that LAN is full.
    pub fn plug_into(&self, other: &Self) -> Result<Self> {
        let number = other.free_place()?;
        let there = other.at_place(&self.host, number);
        let (port, router) = (&there.port, other.router.name());
        self.router
            .ip(&format!("link set {} netns {router} name {port}", self.port))?;
        plug_in(&other.router, port)?;
        wait_for_carrier(&self.host)?;
        there.lan.settle(&self.host, number)?;
        Ok(there)
    }

    /// Moves the host to the LAN of another home at once, and returns it there.
    ///
    /// # Errors
    /// As [`plug_into`](Self::plug_into).
    pub fn roam_to(&self, other: &Self) -> Result<Self> {
        self.unplug()?;
        self.plug_into(other)
    }
}

/// An address can be set before, but routes cannot.
fn wait_for_carrier(host: &Namespace) -> Result<()> {
    super::command::wait_for("the host's link", Duration::from_secs(10), || {
        let link = host.ip(&format!("-o link show dev {INSIDE}"))?;
        Ok((!link.contains("NO-CARRIER") && !link.contains("state DOWN")).then_some(()))
    })
}
