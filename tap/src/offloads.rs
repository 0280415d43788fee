//! Offloads of a device: what the kernel leaves to whoever reads its frames, and takes from whoever writes them.
//!
//! `tun_tap` makes devices without them, and a device's header is settled when a descriptor is attached. So a new device
//! is made persistent, let go and attached to again, with the header this time:
//! 1. TUNSETOWNER, so that no other user gets hold of it meanwhile, and TUNSETPERSIST on the descriptor of `tun_tap`,
//!    which is closed then;
//! 2. TUNSETIFF by name with IFF_VNET_HDR on a new one, and a look whether that is the same device;
//! 3. TUNSETVNETHDRSZ, and TUNSETOFFLOAD for as much as the kernel has;
//! 4. TUNSETPERSIST again, so that the device goes with the new descriptor.

use std::fmt;
use std::io;

use crate::error::TapError;
use crate::netlink::Netlink;
use crate::tun::Tap;

/// What goes through a device's descriptor besides single whole frames.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Offloads {
    /// Nothing: one read or write is one frame with its checksums.
    Plain {
        /// Why, for the log.
        reason: String,
    },
    /// Every frame has a `virtio_net_hdr` of 10 bytes before it, with numbers in the machine's byte order, and may leave
    /// its TCP or UDP checksum open. When writing, super-frames of TCP and UDP are for the kernel to refuse; reading
    /// gives these:
    Header {
        /// Super-frames of TCP, of up to 64 KiB.
        tcp: bool,
        /// Among them those that carry a congestion mark (CWR).
        ecn: bool,
        /// Super-frames of UDP, from programs that send with UDP_SEGMENT.
        udp: bool,
    },
}

impl Offloads {
    /// Whether there is a header before every frame.
    pub fn has_header(&self) -> bool {
        matches!(self, Self::Header { .. })
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tcp, ecn, udp) = match self {
            Self::Plain { reason } => return write!(f, "none ({reason})"),
            Self::Header { tcp, ecn, udp } => (*tcp, *ecn, *udp),
        };
        f.write_str("checksum")?;
        for (has, name) in [(tcp, " tcp"), (ecn, " ecn"), (udp, " udp")] {
            if has {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

/// Turns a device just made, with the mark on it, into one with offloads.
///
/// On an error nobody holds the device, which may be persistent then.
///
/// # Errors
/// What the kernel refused; the device is not the one with `index` any more.
pub(crate) fn with_header(netlink: &mut Netlink, tap: Tap, index: u32) -> Result<(Tap, Offloads), TapError> {
    let refused = |what: &str| {
        let what = format!("{what} {}", tap.name);
        move |error: io::Error| TapError::refused(what, &error)
    };
    tap.set_owner().map_err(refused("set the owner of"))?;
    tap.set_persistent(true).map_err(refused("make persistent"))?;
    drop(tap.fd);

    let reopened = Tap::reopen_with_header(&tap.name).map_err(refused("hand over with headers"))?;
    // Somebody may have renamed or deleted the device while nobody held it, and then another can have the name.
    let found = netlink.link_by_name(&reopened.name).map_err(refused("find again"))?;
    if found.is_none_or(|link| link.index != index) {
        return Err(refused("find again")(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    reopened.set_header_size().map_err(refused("set the header of"))?;
    let reached = set_most(&reopened).map_err(refused("switch on the offloads of"))?;
    reopened
        .set_persistent(false)
        .map_err(refused("make no longer persistent"))?;
    Ok((reopened, reached))
}

/// Switches on as many offloads as the kernel has.
fn set_most(tap: &Tap) -> io::Result<Offloads> {
    let mut result = Err(io::ErrorKind::Unsupported.into());
    for (tcp, ecn, udp) in STEPS {
        let mut mask = libc::TUN_F_CSUM;
        if tcp {
            mask |= libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        }
        if ecn {
            mask |= libc::TUN_F_TSO_ECN;
        }
        if udp {
            mask |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
        }
        result = tap.set_offloads(mask).map(|()| Offloads::Header { tcp, ecn, udp });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What is tried, best first: TCP, its congestion marks, UDP. Linux has the last since 6.2.
const STEPS: [(bool, bool, bool); 4] = [
    (true, true, true),
    (true, true, false),
    (true, false, false),
    (false, false, false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_what_was_reached_and_why_not() {
        let header = |tcp, ecn, udp| Offloads::Header { tcp, ecn, udp }.to_string();
        assert_eq!(header(true, true, true), "checksum tcp ecn udp");
        assert_eq!(header(true, false, false), "checksum tcp");
        assert_eq!(header(false, false, false), "checksum");
        let reason = "no luck".to_owned();
        assert_eq!(Offloads::Plain { reason }.to_string(), "none (no luck)");
    }
}
