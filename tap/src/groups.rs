//! Multicast groups on cards of farlan's: routes to them, and memberships in them.
//!
//! A program that names no card sends to a group by its machine's default route, and joins it there. A route to the one group
//! leads both to a card; who joined before the route was there hears a group as long as anybody of the machine is a member
//! at that card, which the daemon is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::sockopt::{set_ip_add_membership_with_ifindex, set_ip_drop_membership_with_ifindex};
use rustix::net::{AddressFamily as Family, SocketFlags, SocketType, socket_with};

use crate::error::TapError;
use crate::netlink::Netlink;

/// Whether a group can be one of games: it is neither the link's own (224.0.0.0/24: routing, IGMP, mDNS) nor SSDP's, in which all
/// machines of a LAN speak.
pub fn is_game_group(group: Ipv4Addr) -> bool {
    group.is_multicast() && group.octets()[..3] != [224, 0, 0] && group != SSDP
}

/// The routes by which groups, and the limited broadcast, lead to cards, as far as they were set here.
#[derive(Debug, Default)]
pub(crate) struct GroupRoutes(BTreeMap<u32, BTreeSet<Ipv4Addr>>);

impl GroupRoutes {
    /// Has these groups, and 255.255.255.255 if `broadcast`, and no others, lead to a card. A route of somebody else's is never replaced.
    ///
    /// # Errors
    /// What went wrong first; the rest is done all the same.
    pub(crate) fn set(&mut self, card: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError> {
        let refused = |what: &str, to: Ipv4Addr, error: io::Error| {
            TapError::refused(format!("{what} the route of {to} to a network card"), &error)
        };
        let mut wanted: BTreeSet<Ipv4Addr> = groups.iter().copied().collect();
        wanted.extend(broadcast.then_some(Ipv4Addr::BROADCAST));
        let mut netlink = Netlink::open().map_err(|error| TapError::refused("set routes", &error))?;
        let set = self.0.entry(card).or_default();
        let mut result = Ok(());
        for &to in set.difference(&wanted) {
            match netlink.change(RouteNetlinkMessage::DelRoute(route(card, to)), 0) {
                // It went with the card, or when that was brought down.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => {}
                Err(error) => result = result.and_then(|()| Err(refused("remove", to, error))),
                Ok(()) => {}
            }
        }
        let before = std::mem::take(set);
        for to in wanted {
            let request = RouteNetlinkMessage::NewRoute(route(card, to));
            match netlink.change(request, NLM_F_CREATE | NLM_F_EXCL) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) && before.contains(&to) => {
                    set.insert(to);
                }
                Err(error) => result = result.and_then(|()| Err(refused("set", to, error))),
                Ok(()) => {
                    set.insert(to);
                }
            }
        }
        result
    }

    /// Forgets the cards that `is_there` does not know: their routes went with them.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.0.retain(|card, groups| !groups.is_empty() && is_there(*card));
    }

    /// How many lead to other cards than this.
    pub(crate) fn others(&self, card: u32) -> usize {
        let others = self.0.iter().filter(|(other, _)| **other != card);
        others.map(|(_, groups)| groups.len()).sum()
    }
}

/// A route to one address by a card: of a group in the main table, of the limited broadcast in that of local ones, where the
/// kernel looks for broadcasts.
fn route(card: u32, to: Ipv4Addr) -> RouteMessage {
    let (table, kind) = match to {
        Ipv4Addr::BROADCAST => (libc::RT_TABLE_LOCAL, RouteType::Broadcast),
        _ => (RouteHeader::RT_TABLE_MAIN, RouteType::Unicast),
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: 32,
        table,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Link,
        kind,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(to)),
        RouteAttribute::Oif(card),
    ];
    message
}

/// Memberships in groups at cards, which end when this is dropped. Needs no privilege.
#[derive(Debug, Default)]
pub struct Memberships(Vec<Member>);

/// A socket that receives nothing, with its memberships: the kernel limits how many one has.
#[derive(Debug)]
struct Member {
    socket: OwnedFd,
    groups: BTreeSet<(u32, Ipv4Addr)>,
}

impl Memberships {
    /// Has the kernel take at these cards, by their interface indices, what comes to these groups, and what comes to no others.
    ///
    /// # Errors
    /// What went wrong first; the rest is done all the same.
    pub fn set(&mut self, wanted: &BTreeSet<(u32, Ipv4Addr)>) -> io::Result<()> {
        for member in &mut self.0 {
            let socket = &member.socket;
            member.groups.retain(|&(card, group)| {
                let is_wanted = wanted.contains(&(card, group));
                if !is_wanted {
                    // An error says that it went with the card.
                    let _ = set_ip_drop_membership_with_ifindex(socket, &group, &Ipv4Addr::UNSPECIFIED, card);
                }
                is_wanted
            });
        }
        self.0.retain(|member| !member.groups.is_empty());
        let mut result = Ok(());
        for &(card, group) in wanted {
            if !self.0.iter().any(|member| member.groups.contains(&(card, group)))
                && let Err(error) = self.join(card, group)
            {
                result = result.and(Err(error));
            }
        }
        result
    }

    fn join(&mut self, card: u32, group: Ipv4Addr) -> io::Result<()> {
        let join = |socket: &OwnedFd| set_ip_add_membership_with_ifindex(socket, &group, &Ipv4Addr::UNSPECIFIED, card);
        for member in &mut self.0 {
            match join(&member.socket) {
                Err(rustix::io::Errno::NOBUFS) => {}
                result => {
                    result?;
                    member.groups.insert((card, group));
                    return Ok(());
                }
            }
        }
        // Without a port of its own nothing comes to it.
        let socket = socket_with(Family::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        join(&socket)?;
        let groups = BTreeSet::from([(card, group)]);
        self.0.push(Member { socket, groups });
        Ok(())
    }
}

/// The group of SSDP.
const SSDP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_services_are_no_games() {
        for game in [
            "224.0.1.0",
            "224.0.2.60",
            "225.1.1.1",
            "239.255.255.249",
            "239.255.255.255",
        ] {
            assert!(is_game_group(game.parse().unwrap()), "{game}");
        }
        for other in [
            "224.0.0.0",
            "224.0.0.251",
            "224.0.0.255",
            "239.255.255.250",
            "223.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(!is_game_group(other.parse().unwrap()), "{other}");
        }
    }
}
