//! The kinds of router that homes are behind: by name, as nftables rules, and by what they do.
//!
//! The words mapping and filtering are those of RFC 4787: which port a flow gets outside, and whose packets get back in.

pub mod access;
pub mod behaviour;
pub mod classify;
mod rules;

pub use access::Access;
pub use behaviour::{Behaviour, Dependence, PortRule};
pub(super) use rules::{Router, ipv6_firewall};

/// How one router translates UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// No translation and no firewall: the home's hosts have public addresses.
    Absent,
    /// The full cone: one mapping for all destinations, open to anybody.
    FullCone,
    /// One mapping for all destinations, open to the addresses the home has sent to.
    AddressRestricted,
    /// The ordinary home router: ports are kept, one mapping for all destinations, filtered by address and port.
    Port,
    /// As [`Port`](Self::Port), by a table of mappings of its own instead of the kernel's.
    PortStrict,
    /// As [`Port`](Self::Port), but the port outside is another than inside.
    PortShuffled,
    /// As [`Port`](Self::Port) without a firewall for the router itself, as hand-made gateways often are. It keeps an
    /// entry for a stranger's packet, and what the home then sends to that stranger leaves from another port.
    Poison,
    /// The symmetric router: a random port for each destination.
    Symmetric,
    /// A symmetric router whose ports are one after the other.
    SymmetricSequential,
    /// Another port for each destination address, but the same for all ports there.
    SymmetricByAddress,
    /// An ordinary router that lets no UDP out, and TCP only to the ports of the web.
    UdpBlocked,
}

impl Nat {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Absent,
        Self::FullCone,
        Self::AddressRestricted,
        Self::Port,
        Self::PortStrict,
        Self::PortShuffled,
        Self::Poison,
        Self::Symmetric,
        Self::SymmetricSequential,
        Self::SymmetricByAddress,
        Self::UdpBlocked,
    ];

    /// The name by which commands and tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::FullCone => "full",
            Self::AddressRestricted => "addr",
            Self::Port => "port",
            Self::PortStrict => "port-strict",
            Self::PortShuffled => "port-rand",
            Self::Poison => "poison",
            Self::Symmetric => "sym",
            Self::SymmetricSequential => "sym-seq",
            Self::SymmetricByAddress => "sym-addr",
            Self::UdpBlocked => "udp-blocked",
        }
    }

    /// What it does to UDP; none if it lets none out.
    pub fn behaviour(self) -> Option<Behaviour> {
        use Dependence::{Address, AddressAndPort, Nothing};
        let (mapping, filtering, port) = match self {
            Self::Absent | Self::FullCone => (Nothing, Nothing, PortRule::Kept),
            Self::AddressRestricted => (Nothing, Address, PortRule::Kept),
            Self::Port | Self::PortStrict | Self::Poison => (Nothing, AddressAndPort, PortRule::Kept),
            Self::PortShuffled => (Nothing, AddressAndPort, PortRule::Scattered),
            Self::Symmetric => (AddressAndPort, AddressAndPort, PortRule::Scattered),
            Self::SymmetricSequential => (AddressAndPort, AddressAndPort, PortRule::Sequential),
            Self::SymmetricByAddress => (Address, AddressAndPort, PortRule::Scattered),
            Self::UdpBlocked => return None,
        };
        Some(Behaviour {
            mapping,
            filtering,
            port,
            // A host with a public address reaches itself.
            hairpins: self == Self::Absent,
            poisonable: self == Self::Poison,
        })
    }

    /// Whether it can let hosts of its LAN reach each other by their outside endpoints: it knows whose each port is.
    pub fn can_hairpin(self) -> bool {
        matches!(
            self,
            Self::FullCone | Self::AddressRestricted | Self::Port | Self::PortStrict
        )
    }
}
