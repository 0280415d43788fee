//! Making a device and altering it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{TapError, errno};
use crate::netlink::{Link, Netlink};
use crate::offloads::{Offloads, with_header};
use crate::tun::Tap;

/// An address of a device with its subnet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    /// The device's own address.
    pub ip: IpAddr,
    /// The subnet's prefix length: 0 to 32 bits for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

/// The device to make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Create {
    /// The wanted name: 1 to 15 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit. One `%d` at
    /// the end becomes the first free number (`farlan%d`). `all` and `default` are refused: in `/proc/sys` they stand
    /// for every device.
    pub name: String,
    /// Whose device it is: 1 to 128 printable ASCII characters without spaces. The interface alias becomes
    /// `farlan:<owner>`.
    pub owner: String,
    /// The hardware address, unicast.
    pub mac: [u8; 6],
    /// The MTU in bytes, Ethernet header not counted. The kernel takes 68 and more; IPv6 needs 1280.
    pub mtu: u16,
    /// All addresses. The IPv6 link-local one is among them, for the kernel makes none itself.
    pub addresses: Vec<Address>,
    /// How many frames the kernel queues for the reader (txqueuelen); further ones are dropped. At 32 frames are lost even
    /// while the reader runs all the time.
    pub tx_queue: u32,
    /// Whether router advertisements arriving on the device are obeyed. If not, `accept_ra` and `router_solicitations`
    /// become 0: another node of the network cannot give this machine addresses and routes. If so, the system's
    /// defaults stay.
    pub accept_router_advertisements: bool,
    /// Whether the kernel may hand over super-frames and open checksums, where it can; see [`Offloads`].
    pub offloads: bool,
}

/// A TAP device, which lives as long as its descriptor.
#[derive(Debug)]
pub struct Card {
    /// Non-blocking and close-on-exec. One read or write is one Ethernet frame without preamble or frame check sequence,
    /// behind the header that `offloads` tells of, if any.
    pub fd: OwnedFd,
    /// The name it got.
    pub name: String,
    /// Its interface index.
    pub index: u32,
    /// Whether it has the IPv6 addresses asked for. `false` when IPv6 is off in the kernel or by sysctl, or the MTU is
    /// under 1280; the IPv6 addresses are then left out.
    pub ipv6: bool,
    /// What the kernel leaves to the reader, and takes from the writer.
    pub offloads: Offloads,
}

/// How a device of ours is now, after what others may have done to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CardState {
    /// Its name, which anybody with the privilege can change.
    pub name: String,
    /// Whether it is up, by the administrator's wish.
    pub up: bool,
    /// Whether it is a port of another device, such as a bridge: addresses on it are of no use then.
    pub is_port: bool,
    /// Frames that the kernel counts as dropped on their way to the reader, since the device exists: most of all those for
    /// which the queue was full.
    pub dropped: u64,
}

/// What [`restore_addresses`] found and did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Restored {
    /// The addresses that were missing and are there again.
    pub added: Vec<Address>,
    /// Whether the IPv6 addresses asked for are there. `false` when IPv6 is off, as with [`Card::ipv6`].
    pub ipv6: bool,
}

/// Makes a TAP device, sets everything `request` says and brings it up.
///
/// A leftover with the wanted name and the same owner, held by no program, is removed first. On an error no new device
/// remains. The kernel makes no IPv6 address of its own (`addr_gen_mode none`) and tests none for duplicates
/// (`IFA_F_NODAD`): addresses derive from keys and cannot collide by chance. It joins the multicast groups of the
/// addresses itself.
///
/// # Errors
/// [`TapError::BadName`], [`TapError::BadOwner`] and [`TapError::BadAddress`] before anything is touched;
/// [`TapError::NoTunDevice`]; [`TapError::Permission`]; [`TapError::NameTaken`] by a device that is another's or in use;
/// [`TapError::Kernel`] for a refused setting.
pub fn create(request: &Create) -> Result<Card, TapError> {
    check_name(&request.name)?;
    let alias = alias(&request.owner)?;
    request.addresses.iter().try_for_each(check_address)?;

    let mut netlink = open()?;
    make_way(&mut netlink, &request.name, &alias)?;
    // From here on an early return closes the descriptor, and with it the device vanishes.
    let (mut tap, mut link) = make_marked(&mut netlink, &request.name, &alias)?;
    let mut offloads = Offloads::Plain {
        reason: "not wanted".to_owned(),
    };
    if request.offloads {
        match with_header(&mut netlink, tap, link.index) {
            Ok((upgraded, reached)) => (tap, offloads) = (upgraded, reached),
            Err(error) => {
                // The device may be persistent, and may not be where it was. A new one is known to be as it should be.
                remove_half_made(&mut netlink, &link, &alias)?;
                (tap, link) = make_marked(&mut netlink, &request.name, &alias)?;
                offloads = Offloads::Plain {
                    reason: error.to_string(),
                };
            }
        }
    }
    let ipv6 = configure(&mut netlink, request, &link)?;
    Ok(Card {
        fd: tap.fd,
        name: tap.name,
        index: link.index,
        ipv6,
        offloads,
    })
}

/// Gives a device of ours an address. An address it has already is fine, even if an IPv6 one has another prefix.
///
/// # Errors
/// [`TapError::BadAddress`], [`TapError::NoSuchDevice`], [`TapError::NotOurs`], [`TapError::Ipv6Off`],
/// [`TapError::Permission`], [`TapError::Kernel`].
pub fn add_address(index: u32, address: &Address) -> Result<(), TapError> {
    check_address(address)?;
    let (mut netlink, link) = open_ours(index)?;
    put_address(&mut netlink, &link, address).map(drop)
}

/// Gives a device of ours those of the addresses that it lacks.
///
/// IPv6 addresses that cannot be, because IPv6 is off, are left out. On another error those before it are there.
///
/// # Errors
/// [`TapError::BadAddress`], [`TapError::NoSuchDevice`], [`TapError::NotOurs`], [`TapError::Permission`],
/// [`TapError::Kernel`].
pub fn restore_addresses(index: u32, addresses: &[Address]) -> Result<Restored, TapError> {
    addresses.iter().try_for_each(check_address)?;
    let (mut netlink, link) = open_ours(index)?;
    let mut restored = Restored {
        added: Vec::new(),
        ipv6: true,
    };
    for address in addresses {
        match put_address(&mut netlink, &link, address) {
            Ok(true) => restored.added.push(*address),
            Ok(false) => {}
            Err(TapError::Ipv6Off { .. }) => restored.ipv6 = false,
            Err(error) => return Err(error),
        }
    }
    Ok(restored)
}

/// How a device of ours is; `None` when there is no device with this index any more. Needs no privilege.
///
/// # Errors
/// [`TapError::NotOurs`], [`TapError::Kernel`].
pub fn card_state(index: u32) -> Result<Option<CardState>, TapError> {
    match open_ours(index) {
        Ok((_, link)) => Ok(Some(CardState {
            name: link.name,
            up: link.up,
            is_port: link.master.is_some(),
            dropped: link.tx_dropped,
        })),
        Err(TapError::NoSuchDevice { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes an address from a device of ours. An address it does not have, with exactly this prefix, is fine.
///
/// Taking the first IPv4 address of a subnet takes the later ones of the same subnet too, unless the sysctl
/// `promote_secondaries` is set.
///
/// # Errors
/// [`TapError::BadAddress`], [`TapError::NoSuchDevice`], [`TapError::NotOurs`], [`TapError::Permission`],
/// [`TapError::Kernel`].
pub fn remove_address(index: u32, address: &Address) -> Result<(), TapError> {
    check_address(address)?;
    let (mut netlink, link) = open_ours(index)?;
    let request = RouteNetlinkMessage::DelAddress(address_message(index, address));
    match netlink.change(request, 0) {
        Err(error) if errno(&error) == libc::EADDRNOTAVAIL => Ok(()),
        // Without IPv6 on the device the address is not there either.
        Err(error) if address.ip.is_ipv6() && is_ipv6_missing(&error) => Ok(()),
        result => result.map_err(|error| {
            TapError::refused(
                format!("take {}/{} from {}", address.ip, address.prefix, link.name),
                &error,
            )
        }),
    }
}

/// Brings a device of ours up or down.
///
/// A device that goes down loses its IPv6 addresses, unless the sysctl `keep_addr_on_down` is set (and then still the
/// link-local one); they are to be added again after it is up. IPv4 addresses stay.
///
/// # Errors
/// [`TapError::NoSuchDevice`], [`TapError::NotOurs`], [`TapError::Permission`], [`TapError::Kernel`].
pub fn set_link(index: u32, up: bool) -> Result<(), TapError> {
    let (mut netlink, link) = open_ours(index)?;
    netlink.set_up(index, up).map_err(|error| {
        TapError::refused(
            format!("bring {} {}", link.name, if up { "up" } else { "down" }),
            &error,
        )
    })
}

/// Sets the MTU of a device of ours, in bytes, Ethernet header not counted.
///
/// Under 1280 the kernel takes IPv6 and its addresses from the device; they do not come back by themselves.
///
/// # Errors
/// [`TapError::NoSuchDevice`], [`TapError::NotOurs`], [`TapError::Permission`], [`TapError::Kernel`] (EINVAL under 68).
pub fn set_mtu(index: u32, mtu: u16) -> Result<(), TapError> {
    let (mut netlink, link) = open_ours(index)?;
    netlink
        .set_link(index, vec![LinkAttribute::Mtu(u32::from(mtu))])
        .map_err(|error| TapError::refused(format!("set the MTU of {} to {mtu}", link.name), &error))
}

/// Deletes the devices whose interface alias is exactly `farlan:<owner>`, and no other; gives their names.
///
/// The alias alone decides: a device that a program still holds is deleted as well. Call it before the owner's own
/// [`create`], not after.
///
/// # Errors
/// [`TapError::BadOwner`], [`TapError::Permission`], [`TapError::Kernel`]. Devices deleted before the error stay deleted.
pub fn remove_stale(owner: &str) -> Result<Vec<String>, TapError> {
    let alias = alias(owner)?;
    let mut netlink = open()?;
    let links = netlink
        .links()
        .map_err(|error| TapError::refused("list the network interfaces", &error))?;
    let mut removed = Vec::new();
    for link in links.into_iter().filter(|link| link.alias.as_ref() == Some(&alias)) {
        delete(&mut netlink, &link)?;
        removed.push(link.name);
    }
    Ok(removed)
}

/// Makes a plain device and marks it as ours, before all else: should the program be killed while the device is
/// persistent, the leftover is known.
fn make_marked(netlink: &mut Netlink, name: &str, alias: &str) -> Result<(Tap, Link), TapError> {
    let tap = Tap::new(name)?;
    let link = netlink
        .link_by_name(&tap.name)
        .and_then(|link| link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV)))
        .map_err(|error| TapError::refused(format!("find the new interface {}", tap.name), &error))?;
    netlink
        .set_link(link.index, vec![LinkAttribute::IfAlias(alias.to_owned())])
        .map_err(|error| TapError::refused(format!("set the alias of {}", tap.name), &error))?;
    Ok((tap, link))
}

/// Removes a device that [`make_marked`] made, if it is still there and nobody has taken it.
fn remove_half_made(netlink: &mut Netlink, made: &Link, alias: &str) -> Result<(), TapError> {
    let found = netlink
        .link_by_index(made.index)
        .map_err(|error| TapError::refused(format!("look for the interface {}", made.name), &error))?;
    match found {
        Some(link) if link.alias.as_deref() == Some(alias) && !link.carrier => delete(netlink, &link),
        _ => Ok(()),
    }
}

/// Sets up a new device up to the moment it is up; gives whether it has IPv6.
fn configure(netlink: &mut Netlink, request: &Create, link: &Link) -> Result<bool, TapError> {
    let (index, name) = (link.index, &link.name);
    let refused = |what: &str, error: &io::Error| TapError::refused(format!("set the {what} of {name}"), error);

    let no_addresses = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut ipv6 = match netlink.set_link(index, vec![LinkAttribute::AfSpecUnspec(vec![no_addresses])]) {
        Ok(()) => true,
        Err(error) if is_ipv6_missing(&error) => false,
        Err(error) => return Err(refused("addr_gen_mode", &error)),
    };
    if !request.accept_router_advertisements {
        silence_router_discovery(name)?;
    }

    let attributes = vec![LinkAttribute::Address(request.mac.to_vec())];
    netlink
        .set_link(index, attributes)
        .map_err(|error| refused("hardware address", &error))?;
    let attributes = vec![LinkAttribute::Mtu(u32::from(request.mtu))];
    netlink
        .set_link(index, attributes)
        .map_err(|error| refused("MTU", &error))?;
    let attributes = vec![LinkAttribute::TxQueueLen(request.tx_queue)];
    netlink
        .set_link(index, attributes)
        .map_err(|error| refused("queue length", &error))?;

    ipv6 &= request.mtu >= IPV6_MIN_MTU;
    for address in &request.addresses {
        if address.ip.is_ipv6() && !ipv6 {
            continue;
        }
        match put_address(netlink, link, address) {
            Err(TapError::Ipv6Off { .. }) => ipv6 = false,
            // The capability is there, or the mark could not have been set: this is about IPv6 alone.
            Err(TapError::Permission { .. }) if address.ip.is_ipv6() => ipv6 = false,
            result => {
                result?;
            }
        }
    }
    netlink
        .set_up(index, true)
        .map_err(|error| TapError::refused(format!("bring {name} up"), &error))?;
    Ok(ipv6)
}

/// Sees to it that no device has the wanted name: removes a leftover of the same owner, refuses for any other.
fn make_way(netlink: &mut Netlink, name: &str, alias: &str) -> Result<(), TapError> {
    // The kernel picks a free name for a pattern.
    if name.ends_with(PATTERN) {
        return Ok(());
    }
    let found = netlink
        .link_by_name(name)
        .map_err(|error| TapError::refused(format!("look for an interface called {name}"), &error))?;
    let Some(link) = found else { return Ok(()) };
    let ours = link.alias.as_deref() == Some(alias);
    if ours && !link.carrier {
        return delete(netlink, &link);
    }
    let holder = if ours {
        "in use by a running farlan of the same owner".to_owned()
    } else {
        match link.alias {
            Some(alias) if alias.starts_with(MARK) => format!("another farlan's, marked {alias}"),
            _ => "not made by farlan".to_owned(),
        }
    };
    Err(TapError::NameTaken {
        name: name.to_owned(),
        holder,
    })
}

fn delete(netlink: &mut Netlink, link: &Link) -> Result<(), TapError> {
    netlink
        .delete_link(link.index)
        .map_err(|error| TapError::refused(format!("delete the interface {}", link.name), &error))
}

/// Keeps the kernel from asking for routers on the device and from obeying them.
///
/// A value already as wanted is not written, so a read-only `/proc/sys` with such defaults is fine.
fn silence_router_discovery(name: &str) -> Result<(), TapError> {
    for setting in ["accept_ra", "router_solicitations"] {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/{setting}");
        let written = fs::read_to_string(&path).and_then(|value| match value.trim() {
            "0" => Ok(()),
            _ => fs::write(&path, "0"),
        });
        match written {
            // Without IPv6 there is nothing to silence.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|error| TapError::refused(format!("write 0 to {path}"), &error))?,
        }
    }
    Ok(())
}

/// Gives a device an IPv4 or IPv6 address; `false` if it had it already.
fn put_address(netlink: &mut Netlink, link: &Link, address: &Address) -> Result<bool, TapError> {
    let off = TapError::Ipv6Off { ip: address.ip };
    // The kernel's answer to this would be EINVAL, which says nothing.
    if address.ip.is_ipv6() && link.mtu < u32::from(IPV6_MIN_MTU) {
        return Err(off);
    }
    let request = RouteNetlinkMessage::NewAddress(address_message(link.index, address));
    match netlink.change(request, NLM_F_CREATE | NLM_F_EXCL) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == libc::EEXIST => Ok(false),
        // The sysctl `disable_ipv6` makes it EACCES; a missing capability would be EPERM.
        Err(error) if address.ip.is_ipv6() && (is_ipv6_missing(&error) || errno(&error) == libc::EACCES) => Err(off),
        Err(error) => Err(TapError::refused(
            format!("give {} the address {}/{}", link.name, address.ip, address.prefix),
            &error,
        )),
    }
}

/// The request that adds or removes `address`.
fn address_message(index: u32, address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix;
    message.attributes = vec![
        AddressAttribute::Local(address.ip),
        AddressAttribute::Address(address.ip),
    ];
    match address.ip {
        IpAddr::V4(ip) => {
            message.header.family = AddressFamily::Inet;
            // The kernel broadcasts to the subnet by itself; the attribute is for programs that ask for the address, as
            // games and discovery services do. Subnets of one or two addresses have none (RFC 3021).
            if address.prefix < 31 {
                let hosts = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(Ipv4Addr::from_bits(ip.to_bits() | hosts)));
            }
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

/// Whether the error says that the kernel, or the device, has no IPv6 at all.
fn is_ipv6_missing(error: &io::Error) -> bool {
    matches!(errno(error), libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::ENXIO)
}

/// A netlink socket, and the device `index` if it is one of ours.
fn open_ours(index: u32) -> Result<(Netlink, Link), TapError> {
    let mut netlink = open()?;
    let link = netlink
        .link_by_index(index)
        .map_err(|error| TapError::refused(format!("look for the interface with index {index}"), &error))?
        .ok_or(TapError::NoSuchDevice { index })?;
    if link.alias.as_ref().is_some_and(|alias| alias.starts_with(MARK)) {
        Ok((netlink, link))
    } else {
        Err(TapError::NotOurs { index, name: link.name })
    }
}

fn open() -> Result<Netlink, TapError> {
    Netlink::open().map_err(|error| TapError::refused("open a netlink socket", &error))
}

/// The interface alias that marks the devices of `owner`.
pub(crate) fn alias(owner: &str) -> Result<String, TapError> {
    let length = (1..=OWNER_MAX).contains(&owner.len());
    if length && owner.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(format!("{MARK}{owner}"))
    } else {
        Err(TapError::BadOwner {
            owner: owner.to_owned(),
        })
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), TapError> {
    let stem = name.strip_suffix(PATTERN).unwrap_or(name);
    let begins = stem.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if begins && stem.bytes().all(allowed) && name.len() <= NAME_MAX && !matches!(name, "all" | "default") {
        Ok(())
    } else {
        Err(TapError::BadName { name: name.to_owned() })
    }
}

fn check_address(address: &Address) -> Result<(), TapError> {
    let longest = if address.ip.is_ipv4() { 32 } else { 128 };
    if address.prefix <= longest {
        Ok(())
    } else {
        Err(TapError::BadAddress {
            ip: address.ip,
            prefix: address.prefix,
        })
    }
}

/// What the interface alias of every device of ours begins with.
pub(crate) const MARK: &str = "farlan:";

/// The part of a wanted name that the kernel replaces by a number.
const PATTERN: &str = "%d";

/// The longest interface name in bytes: IFNAMSIZ of `linux/if.h` less the NUL.
const NAME_MAX: usize = 15;

/// The longest owner in bytes. The kernel takes aliases of up to 255 bytes (IFALIASZ of `linux/if.h`).
const OWNER_MAX: usize = 128;

/// The smallest MTU in bytes with which IPv6 works (RFC 8200, section 5).
const IPV6_MIN_MTU: u16 = 1280;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in [
            "f",
            "farlan%d",
            "fl-london",
            "0",
            "a.b_c-d",
            "exactly15bytes0",
            "thirteen-byte%d",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "%d",
            "-x",
            "_x",
            "a/b",
            "a b",
            "a:b",
            "a\n",
            "a\0b",
            "%dx",
            "a%d%d",
            "a%s",
            "a%",
            "naïve",
            "all",
            "default",
            "sixteen-bytes-00",
            "fourteen-bytes%d",
        ] {
            assert_eq!(
                check_name(bad),
                Err(TapError::BadName { name: bad.to_owned() }),
                "{bad}"
            );
        }
    }

    #[test]
    fn owners_are_checked() {
        assert_eq!(alias("abc234").as_deref(), Ok("farlan:abc234"));
        assert!(alias(&"x".repeat(128)).is_ok());
        for bad in ["", "a b", "a\n", "ä", "a\0", &"x".repeat(129)] {
            assert_eq!(alias(bad), Err(TapError::BadOwner { owner: bad.to_owned() }));
        }
    }

    #[test]
    fn the_broadcast_address_is_the_last_of_the_subnet() {
        let broadcast = |prefix| {
            let message = address_message(
                1,
                &Address {
                    ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
                    prefix,
                },
            );
            message.attributes.into_iter().find_map(|attribute| match attribute {
                AddressAttribute::Broadcast(ip) => Some(ip),
                _ => None,
            })
        };
        assert_eq!(broadcast(0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(8), Some(Ipv4Addr::new(10, 255, 255, 255)));
        assert_eq!(broadcast(30), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(broadcast(31), None);
        assert_eq!(broadcast(32), None);
    }
}
