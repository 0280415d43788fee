//! What is said about where the members of a network meet.

use std::net::SocketAddr;

use farlan_netconf::Endpoint;

use super::{Reach, proof::Unproved};
use crate::api::HostReach;

/// The word of the API.
pub(super) fn kind(reach: Reach) -> &'static str {
    match reach {
        Reach::Address => "address",
        Reach::Proved => "proved",
        Reach::Perhaps => "perhaps",
        Reach::Lan => "lan",
    }
}

pub(super) fn reach(reach: Reach, addresses: &[Endpoint], text: String) -> HostReach {
    HostReach {
        kind: kind(reach).to_owned(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        text,
    }
}

fn configured(text: String) -> HostReach {
    HostReach {
        kind: "supernode".to_owned(),
        addresses: Vec::new(),
        text,
    }
}

fn all(endpoints: &[Endpoint]) -> String {
    let texts: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    texts.join(" and ")
}

pub(super) fn told(endpoints: &[Endpoint]) -> String {
    format!(
        "the others meet at this machine, at {}, as you say; nobody has tried whether that can be reached",
        all(endpoints)
    )
}

pub(super) fn as_before(endpoints: &[Endpoint]) -> String {
    format!("the others meet at this machine, at {}, as before", all(endpoints))
}

pub(super) fn proved(endpoints: &[Endpoint]) -> String {
    format!(
        "this machine can be reached from outside, as the configured supernode has proved; the others meet here, at {}",
        all(endpoints)
    )
}

pub(super) fn not_proved(port: u16, reason: &Unproved) -> HostReach {
    let finding = match reason {
        Unproved::Closed(_) => "this machine cannot be reached from outside",
        _ => "it is not proved that this machine can be reached from outside",
    };
    configured(format!(
        "{finding} ({reason}), so the others meet at the configured supernodes; to host without them forward UDP {port} or \
         give --address"
    ))
}

pub(super) fn unasked() -> HostReach {
    configured(
        "no configured supernode answers, so whether this machine can be reached is not known; the others meet at those \
         supernodes"
            .to_owned(),
    )
}

pub(super) fn by_wish() -> HostReach {
    configured("the others meet at the configured supernodes".to_owned())
}

pub(super) fn mapped(endpoints: &[Endpoint], port: u16, router: &str) -> String {
    format!(
        "the others meet at this machine, perhaps: the router {router} lets UDP {port} in at {}, and nobody has tried whether \
         that can be reached",
        all(endpoints)
    )
}

pub(super) fn public(endpoints: &[Endpoint], port: u16) -> String {
    format!(
        "the others meet at this machine, perhaps: it has the public address {}, and nobody has tried whether a firewall lets \
         UDP {port} in",
        all(endpoints)
    )
}

/// `router` is what is known of the router, if anything.
pub(super) fn lan(port: u16, router: Option<&str>) -> String {
    format!("only this LAN can join; {}", advice(port, router))
}

/// The public addresses are of IPv6, and by IPv4 there is a NAT before this machine.
pub(super) fn public_by_ipv6(endpoints: &[Endpoint], port: u16, router: Option<&str>) -> String {
    format!(
        "{}\nby IPv4 only this LAN can join, and many have nothing else; {}",
        public(endpoints, port),
        advice(port, router)
    )
}

fn advice(port: u16, router: Option<&str>) -> String {
    let router = router.map_or_else(String::new, |router| format!("\n({router})"));
    format!(
        "to be reached from outside forward UDP {port}, give --address, or add a supernode (`farlan supernode add \
         LINK`){router}"
    )
}

pub(super) fn double_nat(external: SocketAddr) -> String {
    format!(
        "the router maps the port, but at {}, which is no public address: there is another NAT behind it",
        external.ip()
    )
}

/// Said where a network was left that met at this machine.
pub(super) const LEFT: &str = "its members met at this machine, which serves them no more; those who are in touch stay so, \
and nobody new gets in";

/// Refused as an address of this machine's supernode.
pub(super) const NO_STREAMS: &str = "this machine's own supernode takes UDP alone: give --address HOST:PORT without tcp/ (for \
nodes whose UDP is blocked run farlan-supernode, which takes TCP)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ipv6_alone_outside_is_told_what_helps_the_others_too() {
        let endpoints = ["[2001:db8::1]:9601".parse().unwrap()];
        let text = public_by_ipv6(&endpoints, 9601, Some("the router speaks nothing"));
        for words in [
            "perhaps: it has the public address [2001:db8::1]:9601",
            "by IPv4 only this LAN can join",
            "to be reached from outside forward UDP 9601, give --address, or add a supernode (`farlan supernode add LINK`)\n\
             (the router speaks nothing)",
        ] {
            assert!(text.contains(words), "{words:?} in {text:?}");
        }
    }
}
