//! systemd-resolved: names of members are asked at this machine's daemon, and at nobody else.
//!
//! A card gets a server on the loopback interface and the domains that lead to it: `farlan.internal`, and the reverse ones of the
//! card's subnets. They are routing domains, so no bare name is completed by them, and the card is no way for other names.
//! All of this is resolved's state for that card and goes with it. (org.freedesktop.resolve1(5))

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::dbus::{Body, Bus, BusError, Method};
use crate::device::Address;
use crate::error::TapError;
use crate::hosts::DOMAIN;

/// Where the system's bus is reached.
pub(crate) const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// Has names below `farlan.internal`, and the reverse names of `subnets`, asked at `port` of 127.0.0.1 for the card with `index`.
pub(crate) fn direct(bus: &Path, index: u32, port: u16, subnets: &[Address]) -> Result<(), TapError> {
    calls(bus, &direct_calls(link(index)?, port, subnets))
}

/// Takes back what [`direct`] did for a card.
pub(crate) fn revert(bus: &Path, index: u32) -> Result<(), TapError> {
    let mut body = Body::new("i");
    body.i32(link(index)?);
    calls(bus, &[("RevertLink", body)])
}

fn link(index: u32) -> Result<i32, TapError> {
    i32::try_from(index).map_err(|_| TapError::NoSuchDevice { index })
}

/// The calls, in an order in which nothing is asked elsewhere meanwhile: the domains come last.
fn direct_calls(link: i32, port: u16, subnets: &[Address]) -> Vec<(&'static str, Body)> {
    let with = |signature, put: &dyn Fn(&mut Body)| {
        let mut body = Body::new(signature);
        body.i32(link);
        put(&mut body);
        body
    };
    let text = |value: &'static str| with("is", &|body| body.text(value));
    let server = with("ia(iayqs)", &|body| {
        body.array(8, [Ipv4Addr::LOCALHOST], |body, server| {
            body.i32(AF_INET);
            body.array(1, server.octets(), Body::byte);
            body.u16(port);
            body.text("");
        });
    });
    let domains = with("ia(sb)", &|body| {
        let all = std::iter::once(DOMAIN.to_owned()).chain(subnets.iter().flat_map(reverse_domains));
        body.array(8, all.take(MOST_DOMAINS), |body, domain| {
            body.text(&domain);
            body.boolean(true);
        });
    });
    vec![
        ("SetLinkDefaultRoute", with("ib", &|body| body.boolean(false))),
        // The daemon neither signs nor encrypts, whatever is demanded of other servers.
        ("SetLinkDNSSEC", text("no")),
        ("SetLinkDNSOverTLS", text("no")),
        ("SetLinkDNSEx", server),
        ("SetLinkDomains", domains),
    ]
}

fn calls(bus: &Path, calls: &[(&'static str, Body)]) -> Result<(), TapError> {
    let call = || -> Result<(), BusError> {
        let mut bus = Bus::connect(bus, PATIENCE)?;
        for (member, body) in calls {
            bus.call(Method { member, ..MANAGER }, body)?;
        }
        Ok(())
    };
    let mut called = call();
    for _ in 0..LOOKS {
        if !matches!(&called, Err(BusError::Error { name, .. }) if name == NO_SUCH_LINK) {
            break;
        }
        thread::sleep(BETWEEN_LOOKS);
        called = call();
    }
    called.map_err(|error| TapError::NoResolver {
        reason: match error {
            BusError::Io(error) => format!("the system's bus: {error}"),
            BusError::Error { name, message } if message.is_empty() => name,
            BusError::Error { message, .. } => message,
        },
    })
}

/// The domains in which the reverse names of a subnet lie: whole labels, so a subnet between two lengths takes several.
fn reverse_domains(subnet: &Address) -> Vec<String> {
    let prefix = u32::from(subnet.prefix);
    match subnet.ip {
        IpAddr::V4(ip) => {
            let octets = prefix.div_ceil(8).clamp(1, 4);
            let (below, count) = (32 - 8 * octets, 1_u32 << (8 * octets).saturating_sub(prefix).min(7));
            let first = ip.to_bits() & u32::MAX.checked_shl(32 - prefix.clamp(1, 32)).unwrap_or(u32::MAX);
            (0..count)
                .map(|number| {
                    let address = Ipv4Addr::from_bits(first.wrapping_add(number.unbounded_shl(below)));
                    let all = address.octets();
                    let labels = all.get(..usize::try_from(octets).unwrap_or(4)).unwrap_or(&all);
                    format!("{}.in-addr.arpa", reversed(labels.iter()))
                })
                .collect()
        }
        IpAddr::V6(ip) => {
            // Networks have whole groups of four bits; a longer prefix would be one domain for all that is shorter.
            let digits = usize::from(subnet.prefix / 4);
            let hex: String = ip.octets().iter().map(|octet| format!("{octet:02x}")).collect();
            let labels = hex.get(..digits).unwrap_or(&hex);
            vec![format!("{}.ip6.arpa", reversed(labels.chars()))]
        }
    }
}

/// Labels stand in a name the other way round.
fn reversed<T: ToString>(labels: impl DoubleEndedIterator<Item = T>) -> String {
    let labels: Vec<String> = labels.rev().map(|label| label.to_string()).collect();
    labels.join(".")
}

const MANAGER: Method<'_> = Method {
    destination: "org.freedesktop.resolve1",
    path: "/org/freedesktop/resolve1",
    interface: "org.freedesktop.resolve1.Manager",
    member: "",
};

/// How long all calls for a card may take. resolved answers within milliseconds, or asks polkit for some that nobody answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// What resolved answers about a card that it has not heard of yet: the kernel tells it of a new one by itself.
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";

/// How often, and with which pause, such a card is asked for again.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Domains of a card: resolved takes 256.
const MOST_DOMAINS: usize = 256;

const AF_INET: i32 = 2;

#[cfg(test)]
mod tests;
