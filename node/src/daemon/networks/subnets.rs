//! The subnets of the networks beside what else this machine uses: which get IPv4, and which are free.

use std::net::Ipv4Addr;

use farlan_crypto::random;
use farlan_netconf::Subnet;

use crate::{
    daemon::{Book, Daemon},
    failure::Failure,
};

impl Daemon {
    /// Joins the networks anew, with IPv4, that had none because of something that is gone; the caller writes down.
    pub(in crate::daemon) async fn claim_freed_ipv4(&self, book: &mut Book) -> Result<(), Failure> {
        let waiting = book.networks.joined.iter().filter(|joined| !joined.claims_ipv4());
        let waiting: Vec<_> = waiting.map(|joined| joined.id).collect();
        for id in waiting {
            let Some(at) = book.networks.joined.iter().position(|joined| joined.id == id) else {
                continue;
            };
            let subnet = book.networks.joined[at].parameters().subnet;
            let obstacle = self.ipv4_obstacle(book, subnet);
            if obstacle.is_some() {
                // It may be another one than before.
                book.networks.joined[at].ipv4_obstacle = obstacle;
                continue;
            }
            let network = book.networks.joined[at].handle;
            self.leave_engine(network).await?;
            let membership = book.networks.joined.remove(at).membership;
            tracing::info!(network = %membership.name(), "joining again, as IPv4 is possible there now");
            self.enter_or_keep(book, membership).await;
        }
        Ok(())
    }

    /// Why a network with this subnet gets no IPv4 here, if it does not.
    pub(super) fn ipv4_obstacle(&self, book: &Book, subnet: Subnet) -> Option<String> {
        let rival = book
            .networks
            .joined
            .iter()
            .find(|joined| joined.claims_ipv4() && joined.parameters().subnet.overlaps(&subnet));
        if let Some(rival) = rival {
            return Some(format!("its subnet {subnet} is used by the network {}", rival.name()));
        }
        match self.cards.clashing_routes(subnet) {
            Ok(routes) => routes.first().map(|route| {
                format!(
                    "its subnet {subnet} overlaps the route {}/{} ({})",
                    route.destination,
                    route.prefix,
                    if route.interface.is_empty() {
                        "no interface"
                    } else {
                        &route.interface
                    },
                )
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot compare the network's subnet with this machine's routes");
                None
            }
        }
    }

    pub(in crate::daemon) fn wanted_subnet(&self, book: &Book, subnet: Subnet) -> Result<Subnet, Failure> {
        match self.ipv4_obstacle(book, subnet) {
            Some(obstacle) => Err(Failure::negative(format_args!(
                "{obstacle}; choose another with --subnet, or let farlan choose"
            ))),
            None => Ok(subnet),
        }
    }

    /// A random subnet that nothing on this machine uses.
    pub(in crate::daemon) fn free_subnet(&self, book: &Book) -> Result<Subnet, Failure> {
        let routes = self.cards.clashing_routes(Subnet::LINK_RANGE)?;
        let [a, b, c, d, ..] = *random::os_bytes().map_err(Failure::negative)?.as_bytes();
        let is_free = |subnet: &Subnet| {
            let routed = routes
                .iter()
                .any(|route| overlap((route.destination, route.prefix), *subnet));
            !routed
                && !book
                    .networks
                    .joined
                    .iter()
                    .any(|joined| joined.parameters().subnet.overlaps(subnet))
        };
        Subnet::random_link_subnet(u32::from_be_bytes([a, b, c, d]), is_free).ok_or_else(|| {
            Failure::negative("all of 10.128.0.0/9 is in use on this machine; choose a subnet with --subnet")
        })
    }
}

/// Whether a route and a subnet share an address: they do when they agree in the bits that both fix.
fn overlap(route: (Ipv4Addr, u8), subnet: Subnet) -> bool {
    let common = u32::from(route.1.min(subnet.prefix()));
    let mask = u32::MAX.checked_shl(32 - common).unwrap_or(0);
    (route.0.to_bits() ^ subnet.address().to_bits()) & mask == 0
}
