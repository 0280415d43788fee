//! Network cards without a kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use farlan_netconf::Subnet;
use farlan_tap::{
    Address, Card, CardState, ChangeMonitor, Restored, Route, TapError, UnderlayCard, requests::HostName,
};

use super::super::{Cards, Daemon, NewCard};
use crate::local_programs::LocalPrograms;

/// Cards that are one end of a socket pair; what the daemon asked for is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeCards(Arc<Mutex<Fake>>);

#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) made: Vec<NewCard>,
    pub(super) addresses: BTreeMap<u32, Vec<(Ipv4Addr, u8)>>,
    pub(super) ipv6: BTreeMap<u32, Vec<(IpAddr, u8)>>,
    /// The cards that exist, with their names.
    pub(super) present: BTreeMap<u32, String>,
    pub(super) routes: Vec<Route>,
    pub(super) taken: Vec<String>,
    pub(super) forbidden: bool,
    pub(super) far_ends: Vec<UnixDatagram>,
    /// What stands in the hosts file.
    pub(super) hosts: Vec<HostName>,
    /// The cards whose names are asked for here, if there is a resolver at all.
    pub(super) directed: Option<BTreeMap<u32, u16>>,
    /// What programs listen to.
    pub(super) programs: LocalPrograms,
    /// How often that was read, and how often nobody had the book then, if a daemon is told.
    pub(super) reads: usize,
    pub(super) reads_without_book: usize,
    pub(super) daemon: Weak<Daemon>,
    /// The far ends of the descriptors that tell of changed addresses.
    pub(super) watchers: Vec<UnixDatagram>,
    /// The machine's other cards.
    pub(super) underlay: Vec<UnderlayCard>,
    /// The groups that lead to cards, and whether broadcasts do.
    pub(super) group_routes: BTreeMap<u32, (Vec<Ipv4Addr>, bool)>,
    pub(super) memberships: BTreeSet<(u32, Ipv4Addr)>,
    /// The cards whose routes to groups do not go away.
    pub(super) stubborn: BTreeSet<u32>,
    /// The card by which broadcasts leave.
    pub(super) broadcast_card: Option<(u32, String)>,
    /// The cards that are ports of a bridge.
    pub(super) ports: BTreeSet<u32>,
}

impl Fake {
    fn make(&mut self, card: &NewCard) -> Card {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        self.far_ends.push(far);
        self.made.push(card.clone());
        let index = u32::try_from(self.made.len()).unwrap();
        self.ipv6.insert(index, card.addresses.clone());
        self.present.insert(index, card.name.clone());
        Card {
            fd: OwnedFd::from(near),
            name: card.name.clone(),
            index,
            ipv6: true,
            offloads: farlan_tap::Offloads::Plain {
                reason: "a socket".to_owned(),
            },
        }
    }

    fn watch(&mut self) -> OwnedFd {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        self.watchers.push(far);
        OwnedFd::from(near)
    }
}

impl FakeCards {
    pub(super) fn lock(&self) -> MutexGuard<'_, Fake> {
        self.0.lock().unwrap()
    }
}

impl Cards for FakeCards {
    fn create(&self, card: &NewCard) -> Result<Card, TapError> {
        let mut fake = self.lock();
        if fake.forbidden {
            return Err(TapError::Permission {
                what: "create a TAP device".into(),
            });
        }
        if fake.taken.contains(&card.name) {
            return Err(TapError::NameTaken {
                name: card.name.clone(),
                holder: "a test".into(),
            });
        }
        Ok(fake.make(card))
    }

    fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError> {
        self.lock().addresses.entry(index).or_default().push((address, prefix));
        Ok(())
    }

    fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), TapError> {
        self.lock()
            .addresses
            .entry(index)
            .or_default()
            .retain(|have| *have != (address, prefix));
        Ok(())
    }

    fn state(&self, index: u32) -> Result<Option<CardState>, TapError> {
        let name = self.lock().present.get(&index).cloned();
        Ok(name.map(|name| CardState {
            name,
            up: true,
            is_port: self.lock().ports.contains(&index),
            dropped: u64::from(index),
        }))
    }

    fn restore_addresses(&self, index: u32, addresses: &[(IpAddr, u8)]) -> Result<Restored, TapError> {
        let mut fake = self.lock();
        let mut added = Vec::new();
        for &(ip, prefix) in addresses {
            let missing = match ip {
                IpAddr::V4(v4) => put(fake.addresses.entry(index).or_default(), (v4, prefix)),
                IpAddr::V6(_) => put(fake.ipv6.entry(index).or_default(), (ip, prefix)),
            };
            if missing {
                added.push(Address { ip, prefix });
            }
        }
        Ok(Restored { added, ipv6: true })
    }

    fn addresses(&self, index: u32) -> Result<Vec<IpAddr>, TapError> {
        let fake = self.lock();
        let v4 = fake.addresses.get(&index).into_iter().flatten();
        let v6 = fake.ipv6.get(&index).into_iter().flatten();
        Ok(v4.map(|(ip, _)| IpAddr::V4(*ip)).chain(v6.map(|(ip, _)| *ip)).collect())
    }

    fn direct_names(&self, index: u32, port: u16) -> Result<(), TapError> {
        let mut fake = self.lock();
        let directed = fake.directed.as_mut().ok_or_else(|| TapError::NoResolver {
            reason: "there is none".to_owned(),
        })?;
        directed.insert(index, port);
        Ok(())
    }

    fn revert_names(&self, index: u32) -> Result<(), TapError> {
        self.lock().directed.as_mut().map(|directed| directed.remove(&index));
        Ok(())
    }

    fn set_hosts(&self, names: &[HostName]) -> Result<(), TapError> {
        self.lock().hosts = names.to_vec();
        Ok(())
    }

    fn programs(&self, _with_tcp: bool) -> LocalPrograms {
        let mut fake = self.lock();
        fake.reads += 1;
        let daemon = fake.daemon.upgrade();
        if daemon.is_some_and(|daemon| daemon.book.try_lock().is_ok()) {
            fake.reads_without_book += 1;
        }
        fake.programs.clone()
    }

    fn underlay(&self) -> Result<Vec<UnderlayCard>, TapError> {
        Ok(self.lock().underlay.clone())
    }

    fn broadcast_card(&self) -> Result<Option<(u32, String)>, TapError> {
        Ok(self.lock().broadcast_card.clone())
    }

    fn set_group_routes(&self, index: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError> {
        let mut fake = self.lock();
        if groups.is_empty() && fake.stubborn.contains(&index) {
            return Err(TapError::Kernel {
                what: "remove a route".to_owned(),
                errno: libc::ENOBUFS,
            });
        }
        fake.group_routes.remove(&index);
        if !groups.is_empty() || broadcast {
            fake.group_routes.insert(index, (groups.to_vec(), broadcast));
        }
        Ok(())
    }

    fn set_memberships(&self, wanted: &BTreeSet<(u32, Ipv4Addr)>) -> std::io::Result<()> {
        self.lock().memberships.clone_from(wanted);
        Ok(())
    }

    fn watch_addresses(&self) -> Result<ChangeMonitor, TapError> {
        Ok(self.lock().watch().into())
    }

    fn clashing_routes(&self, subnet: Subnet) -> Result<Vec<Route>, TapError> {
        let routes = self.lock().routes.clone();
        Ok(routes
            .into_iter()
            .filter(|route| subnet.contains(route.destination))
            .collect())
    }

    fn remove_stale(&self) {}
}

/// Adds what is not there yet, and tells whether it did.
fn put<T: PartialEq>(list: &mut Vec<T>, item: T) -> bool {
    let missing = !list.contains(&item);
    if missing {
        list.push(item);
    }
    missing
}
