//! The cards of the joined networks: made, given their addresses, and mended after what others do to them.

use std::net::{IpAddr, Ipv4Addr};

use farlan_engine::{NetworkHandle, NetworkStatus};
use farlan_netconf::{Mtu, NetworkId, Policy};
use farlan_tap::{Card, TapError};

use super::{Joined, Membership};
use crate::{
    daemon::{
        Book, Daemon,
        cards::{self, NewCard},
    },
    failure::Failure,
    shell::{self, Request},
};

/// What is known of a card once the data plane has its descriptor.
#[derive(Debug)]
pub(super) struct AttachedCard {
    pub(super) interface: String,
    pub(super) index: u32,
    /// Whether it has IPv6.
    pub(super) ipv6: bool,
}

impl Daemon {
    /// Makes the card of a network and hands it to the data plane; or none, where there are to be none.
    pub(super) async fn new_card(
        &self,
        membership: &Membership,
        status: &NetworkStatus,
    ) -> Result<AttachedCard, Failure> {
        if !self.cards.are_made() {
            return Ok(AttachedCard {
                interface: String::new(),
                index: 0,
                ipv6: true,
            });
        }
        let made = self.make_card(membership, status)?;
        let mtu = membership.link.parameters.mtu;
        self.attach_card(status.handle, mtu, made).await
    }

    fn make_card(&self, membership: &Membership, status: &NetworkStatus) -> Result<Card, TapError> {
        let parameters = &membership.link.parameters;
        let mut card = NewCard {
            name: String::new(),
            mac: *status.mac.as_bytes(),
            mtu: parameters.mtu.bytes(),
            addresses: ipv6_addresses(status),
            accept_router_advertisements: parameters.policy() == Policy::Friends,
        };
        let id = status.id.to_string();
        let mut taken = None;
        for name in cards::names(membership.interface.as_deref(), membership.card_label(), &id) {
            card.name = name;
            match self.cards.create(&card) {
                // A name that somebody else gave the card can be one that farlan gives to none.
                Err(error @ (TapError::NameTaken { .. } | TapError::BadName { .. })) => taken = Some(error),
                result => return result,
            }
        }
        Err(taken.unwrap_or(TapError::BadName { name: card.name }))
    }

    async fn attach_card(&self, network: NetworkHandle, mtu: Mtu, card: Card) -> Result<AttachedCard, Failure> {
        let Card {
            fd,
            name,
            index,
            ipv6,
            offloads,
        } = card;
        tracing::debug!(interface = %name, %offloads, "made a network card");
        let attached = self
            .data_plane
            .ask(|reply| Request::Attach {
                network,
                card: shell::AttachedCard {
                    descriptor: fd,
                    vnet: offloads.has_header(),
                },
                mtu: mtu.bytes(),
                reply,
            })
            .await?;
        attached.map_err(|error| Failure::negative(format_args!("cannot use the network card {name}: {error}")))?;
        Ok(AttachedCard {
            interface: name,
            index,
            ipv6,
        })
    }

    /// Looks at every card, and mends what somebody else did to it.
    pub(in crate::daemon) async fn restore_cards(&self, statuses: &[NetworkStatus]) {
        let mut book = self.book.lock().await;
        let mut renamed = false;
        for joined in &mut book.networks.joined {
            // A handle can be another network's since the snapshot was taken.
            let status = statuses
                .iter()
                .find(|status| (status.handle, status.id) == (joined.handle, joined.id));
            let Some(status) = status else { continue };
            let before = joined.card.interface.clone();
            let trouble = self
                .restore_card(joined, status)
                .await
                .err()
                .map(|failure| failure.message);
            if let Some(trouble) = &trouble
                && joined.card_trouble.as_ref() != Some(trouble)
            {
                tracing::warn!(network = %joined.name(), %trouble, "cannot mend the network card");
            }
            joined.card_trouble = trouble;
            renamed |= joined.card.interface != before;
        }
        if renamed {
            self.write_down(&book);
        }
    }

    /// The same for one network, at a user's wish.
    ///
    /// # Errors
    /// The card cannot be mended.
    pub(super) async fn restore_card_of(&self, book: &mut Book, id: NetworkId) -> Result<(), Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let joined = book.networks.joined.iter_mut().find(|joined| joined.id == id);
        let status = snapshot.networks.iter().find(|status| status.id == id);
        if let (Some(joined), Some(status)) = (joined, status) {
            self.restore_card(joined, status).await?;
            joined.card_trouble = None;
        }
        Ok(())
    }

    async fn restore_card(&self, joined: &mut Joined, status: &NetworkStatus) -> Result<(), Failure> {
        let Some(state) = self.cards.state(joined.card.index)? else {
            return self.replace_card(joined, status).await;
        };
        if state.name != joined.card.interface {
            tracing::info!(before = %joined.card.interface, now = %state.name, "the network card has another name");
            joined.membership.interface = Some(state.name.clone());
            joined.card.interface = state.name;
        }
        if !state.up {
            // Whoever brought it down wants it so, and the kernel keeps no IPv6 addresses on it meanwhile.
            return Ok(());
        }
        if state.is_port {
            // The addresses belong on the bridge now, and on both they would be in each other's way.
            return Ok(());
        }
        let mut addresses = ipv6_addresses(status);
        let prefix = joined.parameters().subnet.prefix();
        addresses.extend(joined.on_card.map(|address| (IpAddr::V4(address), prefix)));
        let restored = self.cards.restore_addresses(joined.card.index, &addresses)?;
        joined.card.ipv6 = restored.ipv6;
        if !restored.added.is_empty() {
            tracing::info!(
                interface = %joined.card.interface,
                addresses = restored.added.len(),
                "put addresses back on the network card"
            );
        }
        Ok(())
    }

    /// Makes the card of a network anew.
    async fn replace_card(&self, joined: &mut Joined, status: &NetworkStatus) -> Result<(), Failure> {
        let lost = joined.on_card.take();
        let made = self.make_card(&joined.membership, status).map_err(Failure::from);
        let made = made.map_err(|failure| Failure {
            message: format!("{} is gone and cannot be made anew: {failure}", joined.card.interface),
            ..failure
        })?;
        let mtu = joined.parameters().mtu;
        joined.card = self.attach_card(joined.handle, mtu, made).await?;
        joined.membership.interface = Some(joined.card.interface.clone());
        tracing::warn!(
            network = %joined.name(),
            interface = %joined.card.interface,
            "somebody removed the network card; made it anew"
        );
        if let Some(address) = lost {
            let prefix = joined.parameters().subnet.prefix();
            self.cards.add_address(joined.card.index, address, prefix)?;
            joined.on_card = Some(address);
        }
        Ok(())
    }

    /// Puts an address on the card of a network and keeps it for the next run.
    pub(in crate::daemon) async fn ipv4_assigned(&self, network: NetworkHandle, address: Ipv4Addr) {
        self.set_ipv4(network, Some(address)).await;
    }

    /// Takes the address from the card of a network.
    pub(in crate::daemon) async fn ipv4_withdrawn(&self, network: NetworkHandle) {
        self.set_ipv4(network, None).await;
    }

    /// Makes the cards agree with what the engine holds.
    pub(in crate::daemon) async fn reconcile_ipv4(&self, statuses: &[NetworkStatus]) {
        for status in statuses {
            self.set_ipv4(status.handle, status.ipv4).await;
        }
    }

    async fn set_ipv4(&self, network: NetworkHandle, address: Option<Ipv4Addr>) {
        let mut book = self.book.lock().await;
        let Some(joined) = book.networks.by_handle_mut(network) else {
            return;
        };
        if joined.on_card == address {
            return;
        }
        let prefix = joined.parameters().subnet.prefix();
        let (index, interface) = (joined.card.index, &joined.card.interface);
        if let Some(old) = joined.on_card.take()
            && let Err(error) = self.cards.remove_address(index, old, prefix)
        {
            tracing::warn!(%interface, %error, "cannot take the IPv4 address off");
        }
        let Some(address) = address else {
            tracing::info!(network = %joined.name(), "has no IPv4 address any more");
            return;
        };
        match self.cards.add_address(index, address, prefix) {
            Ok(()) => {
                tracing::info!(network = %joined.name(), "has an IPv4 address");
                joined.on_card = Some(address);
                joined.membership.ipv4 = Some(address);
                self.write_down(&book);
            }
            Err(error) => {
                tracing::warn!(%interface, %error, "cannot put the IPv4 address on");
            }
        }
    }
}

/// The addresses that every card has, with their prefix lengths.
fn ipv6_addresses(status: &NetworkStatus) -> Vec<(IpAddr, u8)> {
    vec![
        (status.ipv6.into(), IPV6_PREFIX),
        (status.link_local.into(), LINK_LOCAL_PREFIX),
    ]
}

/// The prefix of a network's IPv6 addresses in bits: `fd` and 40 bits of the network id.
const IPV6_PREFIX: u8 = 48;

/// The prefix of link-local IPv6 addresses in bits (RFC 4291 §2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;
