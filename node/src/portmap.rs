//! Port mappings: the home's router is asked to let datagrams from outside through to this machine.
//!
//! A *mapping* is asked of each default gateway in three ways, by one file each: PCP (`pcp`), NAT-PMP (`natpmp`) and
//! UPnP-IGD (`upnp`). All three are tried at once, and the first of this order that works is used; of NAT-PMP and UPnP
//! nothing is asked but whether they are there until those before them have failed. What a gateway gave is a lease; `keeper`
//! renews it at half its time, asks anew where the gateway or the machine's addresses changed, and removes it at the end.
//! `announcements` hears gateways that started anew.
//!
//! This runs on the control side. Nothing of it touches the data plane: the endpoints outside are handed to the engine as
//! candidates.

mod announcements;
#[cfg(test)]
mod fake;
mod keeper;
mod natpmp;
mod pcp;
mod upnp;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    num::NonZeroU16,
    time::Duration,
};

use farlan_tap::Gateway;
use thiserror::Error;
use tokio::time::Instant;

pub use keeper::{Keeper, Mapped, Report, RouterReport};

/// A port of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Whose port it is.
    pub transport: Transport,
    /// Its number.
    pub number: NonZeroU16,
}

/// What ports are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// How a gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// The Port Control Protocol (RFC 6887).
    Pcp,
    /// The NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// The Internet Gateway Device of UPnP.
    Upnp,
}

impl Port {
    /// A UDP port; nothing for port 0.
    pub fn udp(number: u16) -> Option<Self> {
        Some(Self {
            transport: Transport::Udp,
            number: NonZeroU16::new(number)?,
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(f, "{transport} {}", self.number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

impl From<Transport> for crab_nat::InternetProtocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
        }
    }
}

/// Why a gateway maps nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not speak the protocol, as far as one can tell.
    #[error("no answer")]
    NoAnswer,
    /// It says that it does not speak it.
    #[error("not supported")]
    Unsupported,
    /// It says no.
    #[error("refused: {0}")]
    Refused(String),
    /// What it says makes no sense.
    #[error("a wrong answer: {0}")]
    Wrong(String),
    /// It has no address outside (yet).
    #[error("it has no address outside")]
    NoOutside,
    /// It gives mappings for ever only, which would outlive this program.
    #[error("it gives permanent mappings only, which would outlive farlan")]
    PermanentOnly,
}

impl Refusal {
    /// A socket that failed: where nobody listens, the network may say so.
    fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => {
                Self::NoAnswer
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// What a gateway gave.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    held: Held,
    /// Where it is reached from outside.
    external: SocketAddrV4,
    /// When it was given.
    at: Instant,
    /// For how long.
    lifetime: Duration,
    /// The gateway's clock then, in seconds since it started, where the protocol has one.
    epoch: Option<u32>,
}

/// What it takes to renew or remove it.
#[derive(Clone, Debug)]
enum Held {
    Pcp(crab_nat::PortMapping),
    NatPmp,
    Upnp(upnp::Device),
}

impl Lease {
    /// A lease as given now.
    ///
    /// # Errors
    /// What was given cannot be used: no address outside, no time.
    fn new(held: Held, ip: Ipv4Addr, port: u16, lifetime: u32, epoch: Option<u32>) -> Result<Self, Refusal> {
        if ip.is_unspecified() {
            return Err(Refusal::NoOutside);
        }
        if ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || port == 0 {
            return Err(Refusal::Wrong(format!("the endpoint {ip}:{port}")));
        }
        if lifetime == 0 {
            return Err(Refusal::Wrong("a mapping for no time".into()));
        }
        Ok(Self {
            held,
            external: SocketAddrV4::new(ip, port),
            at: Instant::now(),
            lifetime: Duration::from_secs(lifetime.into()),
            epoch,
        })
    }

    fn protocol(&self) -> Protocol {
        match self.held {
            Held::Pcp(_) => Protocol::Pcp,
            Held::NatPmp => Protocol::NatPmp,
            Held::Upnp(_) => Protocol::Upnp,
        }
    }

    /// When it is renewed: at half its time. A gateway that started anew without a word is noticed then, so a long time
    /// is not used up.
    fn renewal(&self) -> Instant {
        self.at + self.lifetime.min(LEASE) / 2
    }

    fn expiry(&self) -> Instant {
        // What a gateway grants for centuries is not waited for.
        self.at + self.lifetime.min(LONGEST_LEASE)
    }

    /// Asks for the same again, by the same protocol.
    async fn renew(&self, gateway: Gateway, port: Port) -> Result<Self, Refusal> {
        let external = NonZeroU16::new(self.external.port());
        match &self.held {
            Held::Pcp(mapping) => pcp::ask(gateway, port, external, Some(mapping)).await,
            Held::NatPmp => natpmp::ask(gateway, port, external).await,
            Held::Upnp(device) => device.ask(gateway, port, external).await,
        }
    }

    /// Gives it back. A gateway that does not answer forgets it when its time is over.
    async fn remove(&self, gateway: Gateway, port: Port) -> Result<(), Refusal> {
        match &self.held {
            Held::Pcp(mapping) => pcp::remove(gateway, port, mapping).await,
            Held::NatPmp => natpmp::remove(gateway, port).await,
            Held::Upnp(device) => device.remove(port, self.external.port()).await,
        }
    }
}

/// Asks a gateway in all three ways. Discovery goes on side by side; no more than one mapping is made.
async fn ask(gateway: Gateway, port: Port) -> Result<Lease, Refusals> {
    let wished = Some(port.number);
    let mut found = std::pin::pin!(upnp::discover(gateway));
    let by_pcp = async { pcp::ask(gateway, port, wished, None).await };
    let by_natpmp = natpmp::is_there(gateway);
    let mut both = std::pin::pin!(async { tokio::join!(by_pcp, by_natpmp) });
    let mut device = None;
    let (pcp, natpmp) = loop {
        tokio::select! {
            answers = &mut both => break answers,
            result = &mut found, if device.is_none() => device = Some(result),
        }
    };
    let pcp = match pcp {
        Ok(lease) => return Ok(lease),
        Err(refusal) => refusal,
    };
    let natpmp = match natpmp {
        Ok(()) => match natpmp::ask(gateway, port, wished).await {
            Ok(lease) => return Ok(lease),
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    let device = match device {
        Some(device) => device,
        None => found.await,
    };
    let upnp = match device {
        Ok(device) => match device.ask(gateway, port, wished).await {
            Ok(lease) => return Ok(lease),
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    Err(Refusals { pcp, natpmp, upnp })
}

/// Why a gateway maps nothing, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusals {
    pcp: Refusal,
    natpmp: Refusal,
    upnp: Refusal,
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = [
            (Protocol::Pcp, &self.pcp),
            (Protocol::NatPmp, &self.natpmp),
            (Protocol::Upnp, &self.upnp),
        ];
        let mut told = told
            .into_iter()
            .filter(|(_, refusal)| !matches!(refusal, Refusal::NoAnswer | Refusal::Unsupported))
            .peekable();
        if told.peek().is_none() {
            return f.write_str("the router speaks none of PCP, NAT-PMP and UPnP, or they are switched off there");
        }
        f.write_str("the router maps no port (")?;
        for (i, (protocol, refusal)) in told.enumerate() {
            let before = if i == 0 { "" } else { "; " };
            write!(f, "{before}{protocol}: {refusal}")?;
        }
        f.write_str(")")
    }
}

/// Whether an address outside is one that only a carrier or an outer router reaches: private (RFC 1918), link-local, or
/// shared by a carrier's customers (RFC 6598). Then there is another NAT behind the router.
pub fn is_behind_another_nat(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, ..] = address.ip().octets();
            address.ip().is_private() || address.ip().is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        SocketAddr::V6(_) => false,
    }
}

/// Whether a gateway may be asked: it is in the subnet of the machine's own address, or has an address that leads nowhere
/// else. Anything else is a router of somebody's on the Internet.
fn may_ask(gateway: &Gateway) -> bool {
    let address = SocketAddr::new(gateway.address.into(), 0);
    let unusable = gateway.address.is_unspecified() || gateway.address.is_loopback() || gateway.address.is_multicast();
    !unusable
        && (gateway.is_on_link()
            || is_behind_another_nat(address)
            || farlan_crypto::defects::planted("any-gateway-asked"))
}

/// Milliseconds to the first repetition of a question to a gateway, which doubles; two repetitions.
const WAITS: crab_nat::TimeoutConfig = crab_nat::TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: None,
};

/// For how long a mapping is asked: after a crash it lives no longer, and a router that started anew is noticed in half of it
/// even where it does not announce itself. (RFC 6886 recommends two hours, RFC 6887 nothing.)
const LEASE: Duration = Duration::from_secs(1200);

/// The same for the protocols.
const LEASE_SECONDS: u32 = 1200;

/// What is longer counts as this.
const LONGEST_LEASE: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests;
