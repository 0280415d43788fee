//! Who is called what, as it stands in the state directory: so that names stay over restarts.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// `names.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The networks.
    #[serde(default, rename = "network", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkPin>,
}

impl Pins {
    /// A text taken for the file.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn from_text(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// The same, whoever was seen last.
    pub fn in_order(&self) -> Self {
        let mut pins = self.clone();
        for network in &mut pins.networks {
            network.members.sort_by(|one, other| one.node.cmp(&other.node));
        }
        pins
    }
}

/// A network and its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPin {
    /// Its id.
    pub id: String,
    /// Its label in the DNS.
    pub domain: String,
    /// Whether its members are strangers.
    #[serde(default)]
    pub strangers: bool,
    /// Its members, those unseen the longest first.
    #[serde(default, rename = "member", skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberPin>,
}

/// A member and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPin {
    /// Its node id.
    pub node: String,
    /// What it calls itself.
    pub base: String,
    /// What it is called here.
    pub name: String,
    /// The number of its certificate, if the network is a private one and it has one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub issue: u64,
    /// The IPv4 address it had last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

fn is_none(issue: &u64) -> bool {
    *issue == 0
}
