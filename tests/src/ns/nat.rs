//! The NAT kinds of homes, as nftables rules.
//!
//! The words mapping and filtering are those of RFC 4787: which port a flow gets outside, and whose packets get back in.

use std::net::Ipv4Addr;

/// How a home's router translates UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The full cone: one mapping for all destinations, open to anybody.
    FullCone,
    /// One mapping for all destinations, open to the addresses the home has sent to.
    AddressRestricted,
    /// The ordinary home router: ports are kept, one mapping for all destinations, filtered by address and port.
    Port,
    /// As [`Port`](Self::Port), but the port outside is another than inside.
    PortShuffled,
    /// The symmetric router: a random port for each destination.
    Symmetric,
    /// As [`Port`](Self::Port) without a firewall for the router itself, as hand-made gateways often are. It keeps an
    /// entry for a stranger's packet, and what the home then sends to that stranger leaves from another port.
    Poison,
}

impl Nat {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::Port,
        Self::PortShuffled,
        Self::Symmetric,
        Self::Poison,
    ];

    /// Whether each destination sees another port.
    pub fn maps_by_destination(self) -> bool {
        self == Self::Symmetric
    }

    /// The nftables rules of a router whose outside interface is `wan`, with the address `outside`. Loading them again
    /// replaces them.
    pub(super) fn rules(self, wan: &str, outside: Ipv4Addr) -> String {
        let translate = match self {
            Self::FullCone | Self::AddressRestricted => format!("snat to {outside}"),
            Self::Port | Self::Poison => "masquerade".to_owned(),
            Self::PortShuffled => {
                let port = "jhash ip saddr . udp sport mod 64000 seed 0x5eed offset 1024";
                format!("meta l4proto udp snat to {outside} : {port}; oifname {wan} masquerade")
            }
            Self::Symmetric => "masquerade random,fully-random".to_owned(),
        };
        // Chains of type nat see only the first packet of a flow, so mappings are noted in a chain of type filter before.
        let (memory, admission) = match self {
            Self::FullCone => (cone(wan), "ct status dnat accept"),
            Self::AddressRestricted => (cone(wan), "ct status dnat ip daddr . udp dport . ip saddr @seen accept"),
            _ => (String::new(), "ct status dnat accept"),
        };
        let input = if self == Self::Poison {
            String::new()
        } else {
            firewall_input(wan, "icmp")
        };
        format!(
            "table ip home {{ }}
            delete table ip home
            table ip home {{
                {memory}
                chain forward {{
                    type filter hook forward priority 0;
                    ct state established,related accept
                    {admission}
                    iifname {wan} drop
                }}
                {input}
                chain translate {{
                    type nat hook postrouting priority srcnat;
                    oifname {wan} {translate}
                }}
            }}"
        )
    }
}

/// The rules of a router that lets IPv6 out, and in only what belongs to it.
pub(super) fn ipv6_firewall(wan: &str) -> String {
    let input = firewall_input(wan, "ipv6-icmp");
    format!(
        "table ip6 home {{
            chain forward {{
                type filter hook forward priority 0;
                ct state established,related accept
                iifname {wan} drop
            }}
            {input}
        }}"
    )
}

/// The router's own firewall. It matters for translation, see [`Nat::Poison`].
fn firewall_input(wan: &str, icmp: &str) -> String {
    format!(
        "chain input {{
            type filter hook input priority 0;
            ct state established,related accept
            iifname {wan} ct state new meta l4proto != {icmp} drop
        }}"
    )
}

/// Mappings that all destinations share, and to whom each of them has sent.
fn cone(wan: &str) -> String {
    format!(
        "map mapped {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 30s; }}
        set seen {{ type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout 30s; }}
        chain remember {{
            type filter hook postrouting priority 90;
            oifname {wan} meta l4proto udp update @mapped {{ udp sport : ip saddr . udp sport }}
            oifname {wan} meta l4proto udp update @seen {{ ip saddr . udp sport . ip daddr }}
        }}
        chain admit {{
            type nat hook prerouting priority dstnat;
            iifname {wan} meta l4proto udp dnat to udp dport map @mapped
        }}"
    )
}
