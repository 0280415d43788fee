//! What others put on the cards: addresses set by hand, by DHCP, by router advertisements or by programs like keepalived.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use farlan_netconf::Policy;

use super::Joined;
use crate::{
    daemon::{Daemon, changes::Changed},
    shell::Request,
};

impl Daemon {
    /// Tells the engine of every change, until the kernel reports none any more. What is missed then is found when the
    /// cards are looked at.
    pub(in crate::daemon) async fn watch_cards(self: Arc<Self>) {
        if let Err(error) = self.follow_hand_set().await {
            tracing::warn!(%error, "cannot watch the addresses of the network cards; looking at them now and then");
        }
    }

    async fn follow_hand_set(&self) -> io::Result<()> {
        let changed = Changed::new(self.cards.watch_addresses().map_err(io::Error::other)?)?;
        // What changed before the kernel was asked to tell.
        self.tell_hand_set().await;
        loop {
            changed.next(GATHER).await?;
            self.tell_hand_set().await;
        }
    }

    /// This machine's IPv4 address in a network: farlan's own, else one that others put on the card.
    pub(in crate::daemon) fn ipv4_on_card(&self, joined: &Joined) -> Option<Ipv4Addr> {
        joined.on_card.or_else(|| {
            let addresses = self.cards.addresses(joined.card.index).ok()?;
            addresses.into_iter().find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
        })
    }

    /// Compares the cards with what the engine knows, and tells it what is new.
    pub(in crate::daemon) async fn tell_hand_set(&self) {
        let mut book = self.book.lock().await;
        for joined in &mut book.networks.joined {
            if joined.parameters().policy() != Policy::Friends {
                continue;
            }
            let addresses = match self.cards.addresses(joined.card.index) {
                Ok(addresses) => hand_set(joined, addresses),
                Err(error) => {
                    tracing::warn!(interface = %joined.card.interface, %error, "cannot list the addresses");
                    continue;
                }
            };
            if addresses == joined.hand_set {
                continue;
            }
            tracing::debug!(
                network = %joined.name(),
                addresses = addresses.len(),
                "addresses that others put on the network card"
            );
            let request = Request::SetAddresses {
                network: joined.handle,
                addresses: addresses.clone(),
            };
            if self.data_plane.send(request).await.is_err() {
                // It has ended, and so does the daemon.
                return;
            }
            joined.hand_set = addresses;
        }
    }
}

/// What is left without farlan's own. (Those that follow from the node's id the engine knows itself.)
fn hand_set(joined: &Joined, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let own = joined.on_card.map(IpAddr::V4);
    addresses.into_iter().filter(|address| Some(*address) != own).collect()
}

/// How long changes are gathered before the cards are looked at.
const GATHER: Duration = Duration::from_millis(20);
