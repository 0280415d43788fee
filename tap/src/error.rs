//! What can go wrong with a device, with the remedy in the message.

use std::io;
use std::net::IpAddr;

use thiserror::Error;

/// Why a call failed.
///
/// Every variant is plain data: a privileged helper can hand one to the daemon as it is. Error numbers are those of
/// `errno(3)`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TapError {
    /// `/dev/net/tun` is missing, or no driver stands behind it.
    #[error(
        "there is no /dev/net/tun ({}): load the driver with `modprobe tun`; in a container, hand the device in \
         (`--device /dev/net/tun`)",
        io::Error::from_raw_os_error(*errno)
    )]
    NoTunDevice {
        /// The error number of opening it (ENOENT, ENODEV or ENXIO).
        errno: i32,
    },

    /// The kernel refused for want of a privilege (EPERM or EACCES).
    #[error(
        "not permitted to {what}: this needs CAP_NET_ADMIN; run as root, or give the program the capability \
         (`setcap cap_net_admin+ep`); in a container add `--cap-add NET_ADMIN --device /dev/net/tun`"
    )]
    Permission {
        /// What was being done, as a verb phrase.
        what: String,
    },

    /// The wanted name belongs to a device that is not a leftover of the same owner.
    #[error(
        "the interface name {name} is taken ({holder}): choose another name, or remove that interface with \
         `ip link delete {name}` if nothing needs it"
    )]
    NameTaken {
        /// The wanted name.
        name: String,
        /// Who has it, as far as is known.
        holder: String,
    },

    /// The wanted name is not one this crate gives to a device.
    #[error(
        "{name:?} cannot be an interface name: use 1 to 15 letters, digits, '-', '_' or '.', beginning with a letter \
         or digit, with at most one %d at the end, and none of 'all' and 'default'"
    )]
    BadName {
        /// The wanted name.
        name: String,
    },

    /// The owner cannot be part of an interface alias.
    #[error("{owner:?} cannot mark an interface: use 1 to 128 printable ASCII characters without spaces")]
    BadOwner {
        /// The given owner.
        owner: String,
    },

    /// The prefix is longer than the address.
    #[error("{ip}/{prefix} is no address: the prefix is at most 32 bits for IPv4 and 128 for IPv6")]
    BadAddress {
        /// The address.
        ip: IpAddr,
        /// The prefix length given, in bits.
        prefix: u8,
    },

    /// The device does not carry the mark `farlan:…`, so it is left alone.
    #[error("the interface {name} (index {index}) was not made by farlan and is left alone")]
    NotOurs {
        /// The interface index.
        index: u32,
        /// The interface's name.
        name: String,
    },

    /// No device has this index, for instance because its descriptor is closed.
    #[error("there is no interface with index {index} (any more)")]
    NoSuchDevice {
        /// The interface index.
        index: u32,
    },

    /// IPv6 is switched off on the device, or in the kernel, or the MTU is under 1280.
    #[error(
        "IPv6 is off here, so {ip} was not added: it needs an MTU of at least 1280 and \
         `sysctl net.ipv6.conf.all.disable_ipv6=0`"
    )]
    Ipv6Off {
        /// The address that was to be added.
        ip: IpAddr,
    },

    /// The card helper does not do this for anybody.
    #[error("the card helper refuses to {what}")]
    Refused {
        /// What it was asked for, as a verb phrase.
        what: String,
    },

    /// systemd-resolved does not take the names of a card.
    #[error("systemd-resolved was not told of the names: {reason}")]
    NoResolver {
        /// Why not.
        reason: String,
    },

    /// The names were not written into `/etc/hosts`, or not taken out.
    #[error("cannot write /etc/hosts: {reason}")]
    Hosts {
        /// Why not.
        reason: String,
    },

    /// The card helper has ended, or says what makes no sense.
    #[error("the card helper has ended, without which farlan cannot change its network cards: start farlan again")]
    NoHelper,

    /// The kernel refused for another reason.
    #[error("the kernel refused to {what}: {}", io::Error::from_raw_os_error(*errno))]
    Kernel {
        /// What was being done, as a verb phrase.
        what: String,
        /// The error number; EBADMSG (74) stands for a reply that makes no sense.
        errno: i32,
    },
}

impl TapError {
    /// Sorts the failure of a system call or netlink request: `what` is the verb phrase of the messages.
    pub(crate) fn refused(what: impl Into<String>, error: &io::Error) -> Self {
        let what = what.into();
        match errno(error) {
            libc::EPERM | libc::EACCES => Self::Permission { what },
            errno => Self::Kernel { what, errno },
        }
    }
}

/// The error number of `error`; EBADMSG for one that carries none, which only malformed replies do.
pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EBADMSG)
}
