//! Making the network cards.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
};

use farlan_crypto::NodeId;
use farlan_netconf::Subnet;
use farlan_tap::{
    Address, Card, CardHelper, CardState, ChangeMonitor, Changes, Create, Memberships, PREFIX, Restored, Route,
    TapError, UnderlayCard, requests::HostName,
};

use crate::local_programs::{LocalPrograms, Reader};

/// The cards of this machine.
pub trait Cards: fmt::Debug + Send + Sync {
    /// Whether networks get cards at all. Where they get none, nothing else is asked of a card but that of the index 0.
    fn are_made(&self) -> bool {
        true
    }

    /// Makes a card called `name` with the hardware address, MTU and addresses given.
    ///
    /// # Errors
    /// Those of [`farlan_tap::create`]; [`TapError::NameTaken`] asks for another name.
    fn create(&self, card: &NewCard) -> Result<Card, TapError>;

    /// Gives a card an address.
    ///
    /// # Errors
    /// Those of [`farlan_tap::add_address`].
    fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError>;

    /// Takes an address from a card.
    ///
    /// # Errors
    /// Those of [`farlan_tap::remove_address`].
    fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError>;

    /// How a card is; `None` when somebody deleted it.
    ///
    /// # Errors
    /// Those of [`farlan_tap::card_state`].
    fn state(&self, index: u32) -> Result<Option<CardState>, TapError>;

    /// Gives a card those of the addresses, each with a prefix length, that somebody took from it.
    ///
    /// # Errors
    /// Those of [`farlan_tap::restore_addresses`].
    fn restore_addresses(&self, index: u32, addresses: &[(IpAddr, u8)]) -> Result<Restored, TapError>;

    /// The addresses in use on a card, its own and those that others put there.
    ///
    /// # Errors
    /// Those of [`farlan_tap::card_addresses`].
    fn addresses(&self, index: u32) -> Result<Vec<IpAddr>, TapError>;

    /// What tells when addresses of cards change.
    ///
    /// # Errors
    /// Those of [`ChangeMonitor::open`].
    fn watch_addresses(&self) -> Result<ChangeMonitor, TapError>;

    /// The routes of this machine that overlap `subnet` and would compete with a card there.
    ///
    /// # Errors
    /// Those of [`farlan_tap::clashing_routes`].
    fn clashing_routes(&self, subnet: Subnet) -> Result<Vec<Route>, TapError>;

    /// What programs listen to beside the cards, with who accepts connections if that is wanted.
    fn programs(&self, with_tcp: bool) -> LocalPrograms;

    /// Removes what an earlier run left behind.
    fn remove_stale(&self);

    /// The cards of this machine that lead out of it, which are none of farlan's.
    ///
    /// # Errors
    /// Those of [`farlan_tap::underlay_cards`].
    fn underlay(&self) -> Result<Vec<UnderlayCard>, TapError>;

    /// Has groups, and the limited broadcast, and no others, lead to a card.
    ///
    /// # Errors
    /// Those of [`CardHelper::set_group_routes`].
    fn set_group_routes(&self, index: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError>;

    /// Has the kernel take what comes to groups at cards, and what comes to no others.
    ///
    /// # Errors
    /// Those of [`Memberships::set`].
    fn set_memberships(&self, wanted: &BTreeSet<(u32, Ipv4Addr)>) -> io::Result<()>;

    /// Has the system's resolver ask for names of a card's network at this port of 127.0.0.1.
    ///
    /// # Errors
    /// Those of [`CardHelper::direct_names`].
    fn direct_names(&self, index: u32, port: u16) -> Result<(), TapError>;

    /// Takes that back.
    ///
    /// # Errors
    /// Those of [`CardHelper::revert_names`].
    fn revert_names(&self, index: u32) -> Result<(), TapError>;

    /// Replaces this node's names in the hosts file.
    ///
    /// # Errors
    /// Those of [`CardHelper::set_hosts`].
    fn set_hosts(&self, names: &[HostName]) -> Result<(), TapError>;
}

/// A card to make.
#[derive(Clone, Debug)]
pub struct NewCard {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The hardware address.
    pub mac: [u8; 6],
    /// The MTU in bytes.
    pub mtu: u16,
    /// Its addresses, each with a prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether other members may configure this machine by router advertisements.
    pub accept_router_advertisements: bool,
}

/// Cards of the kernel, marked as this node's. What takes a privilege is asked of the card helper.
#[derive(Debug)]
pub struct KernelCards {
    owner: String,
    offloads: bool,
    helper: CardHelper,
    programs: Mutex<Reader>,
    memberships: Mutex<Memberships>,
}

impl KernelCards {
    /// Cards of the node with this id, with offloads where that is wished and possible, by a helper that was told of no
    /// node yet. `names` are those that the cards had before, whoever gave them.
    ///
    /// # Errors
    /// [`TapError::NoHelper`].
    pub fn new<'a>(
        node: NodeId,
        offloads: bool,
        helper: CardHelper,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TapError> {
        let owner = node.short();
        helper.begin(&owner, names)?;
        Ok(Self {
            owner,
            offloads,
            helper,
            programs: Mutex::default(),
            memberships: Mutex::default(),
        })
    }
}

impl Cards for KernelCards {
    fn programs(&self, with_tcp: bool) -> LocalPrograms {
        let mut reader = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        reader.read(with_tcp)
    }

    fn create(&self, card: &NewCard) -> Result<Card, TapError> {
        self.helper.create(&Create {
            name: card.name.clone(),
            owner: self.owner.clone(),
            mac: card.mac,
            mtu: card.mtu,
            addresses: tap_addresses(&card.addresses),
            tx_queue: TX_QUEUE,
            accept_router_advertisements: card.accept_router_advertisements,
            offloads: self.offloads,
        })
    }

    fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError> {
        self.helper.add_address(
            index,
            &Address {
                ip: address.into(),
                prefix,
            },
        )
    }

    fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError> {
        self.helper.remove_address(
            index,
            &Address {
                ip: address.into(),
                prefix,
            },
        )
    }

    fn state(&self, index: u32) -> Result<Option<CardState>, TapError> {
        farlan_tap::card_state(index)
    }

    fn restore_addresses(&self, index: u32, addresses: &[(IpAddr, u8)]) -> Result<Restored, TapError> {
        self.helper.restore_addresses(index, &tap_addresses(addresses))
    }

    fn addresses(&self, index: u32) -> Result<Vec<IpAddr>, TapError> {
        let addresses = farlan_tap::card_addresses(index)?;
        Ok(addresses.into_iter().map(|address| address.ip).collect())
    }

    fn watch_addresses(&self) -> Result<ChangeMonitor, TapError> {
        ChangeMonitor::open(&[Changes::Links, Changes::Addresses])
    }

    fn clashing_routes(&self, subnet: Subnet) -> Result<Vec<Route>, TapError> {
        let mut routes = farlan_tap::clashing_routes((subnet.address(), subnet.prefix()), None)?;
        routes.retain(|route| route.prefix >= NARROWEST_DEFAULT);
        Ok(routes)
    }

    fn remove_stale(&self) {
        match self.helper.remove_stale() {
            Ok(removed) => {
                for name in removed {
                    tracing::info!(
                        interface = %name,
                        "removed a network card that an earlier run left behind"
                    );
                }
            }
            // Whoever lacks the privilege has left nothing behind; with networks to join, making their cards says so.
            Err(error) => tracing::debug!(%error, "cannot look for old network cards"),
        }
    }

    fn underlay(&self) -> Result<Vec<UnderlayCard>, TapError> {
        farlan_tap::underlay_cards()
    }

    fn set_group_routes(&self, index: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError> {
        self.helper.set_group_routes(index, groups, broadcast)
    }

    fn set_memberships(&self, wanted: &BTreeSet<(u32, Ipv4Addr)>) -> io::Result<()> {
        let mut memberships = self.memberships.lock().unwrap_or_else(PoisonError::into_inner);
        memberships.set(wanted)
    }

    fn direct_names(&self, index: u32, port: u16) -> Result<(), TapError> {
        self.helper.direct_names(index, port)
    }

    fn revert_names(&self, index: u32) -> Result<(), TapError> {
        self.helper.revert_names(index)
    }

    fn set_hosts(&self, names: &[HostName]) -> Result<(), TapError> {
        self.helper.set_hosts(names)
    }
}

fn tap_addresses(addresses: &[(IpAddr, u8)]) -> Vec<Address> {
    addresses.iter().map(|&(ip, prefix)| Address { ip, prefix }).collect()
}

/// The names to try for a card, best first: the one it had, then `fl-` and what of `label` can be in a name, then the
/// same with a number.
pub(super) fn names(before: Option<&str>, label: &str, network: &str) -> impl Iterator<Item = String> {
    let usable: String = label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let usable = usable.trim_matches('-');
    let stem = if usable.is_empty() { network } else { usable };
    // What was escaped is ASCII, so bytes are characters.
    let name = |suffix: &str| {
        let room = NAME_MAX - PREFIX.len() - suffix.len();
        format!("{PREFIX}{}{suffix}", stem.get(..room).unwrap_or(stem))
    };
    let fresh: Vec<String> = std::iter::once(name(""))
        .chain((2..=99).map(|n| name(&n.to_string())))
        .collect();
    let mut seen = BTreeSet::new();
    before
        .map(str::to_owned)
        .into_iter()
        .chain(fresh)
        .filter(move |name| seen.insert(name.clone()))
}

/// The longest interface name in bytes: IFNAMSIZ of `linux/if.h` less the NUL.
const NAME_MAX: usize = 15;

/// Frames that the kernel queues for the daemon (txqueuelen) before it drops them: what comes while the daemon gets no
/// processor. A busy machine was seen to leave it without one for more than a second, in which a transfer of 1 MB/s beside
/// pings makes 830 frames. It adds delay only where a card brings more than the daemon can send on: at 1 Gbit/s this
/// many frames of full size are 12 ms, and this many super-frames of 64 KiB half a second.
const TX_QUEUE: u32 = 1000;

/// Routes with a shorter prefix are halves and quarters of a default route, as VPN clients set them; a network's route
/// is more specific than they are and takes nothing from them that they need.
const NARROWEST_DEFAULT: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn first(before: Option<&str>, label: &str, count: usize) -> Vec<String> {
        names(before, label, "abcdefghijklmnopqrstuvwxyz").take(count).collect()
    }

    #[test]
    fn names_are_short_clean_and_numbered() {
        assert_eq!(first(None, "London", 3), ["fl-london", "fl-london2", "fl-london3"]);
        assert_eq!(
            first(None, "a very long label", 2),
            ["fl-a-very-long-", "fl-a-very-long2"]
        );
        assert_eq!(first(None, "Zürich/../x", 1), ["fl-z-rich----x"]);
        assert_eq!(first(None, "日本", 1), ["fl-abcdefghijkl"]);
        assert_eq!(first(Some("fl-lan2"), "lan", 3), ["fl-lan2", "fl-lan", "fl-lan3"]);
        assert!(names(None, "0123456789abcdef", "x").all(|name| name.len() <= NAME_MAX));
        assert_eq!(names(None, "x", "y").count(), 99);
    }
}
