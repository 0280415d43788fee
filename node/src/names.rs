//! Names of members: `MEMBER.NETWORK.farlan.internal`.
//!
//! * [`Directory`] says what everybody is called and keeps it so: two with one name are told apart, and stay who they are.
//! * [`answer`] answers DNS questions out of it, and [`Responder`] does so at a port of the loopback interface.
//! * [`host_name`] is what this machine calls itself.
//!
//! The door for whoever knows members is [`Network`]: a plain list, handed over whole as often as something changed. Who fills it
//! for the networks that are joined is `daemon/names.rs`.

mod directory;
mod dns;
mod pins;
mod responder;

pub use directory::{Directory, Found, Member, Network, Resolved, Unresolved};
pub use dns::answer;
pub use pins::{MemberPin, NetworkPin, Pins};
pub use responder::Responder;

use farlan_netconf::DnsLabel;

/// Below it are all names, and no others (RFC 6762 and ICANN keep `internal` for private use).
pub const DOMAIN: &str = "farlan.internal";

/// What this machine calls itself: the first label of its host name, as far as that can be one. Nothing for a machine that nobody
/// named.
pub fn host_name() -> Option<DnsLabel> {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok()?.split('.').next()?.to_owned();
    DnsLabel::nearest(&name).filter(|name| name.as_str() != "localhost")
}
