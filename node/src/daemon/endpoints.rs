//! This machine's own underlay endpoints: the data plane is told at the start and after every change, so that a node that
//! moves to another network shows itself there at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use farlan_engine::LinkSubnet;
use farlan_tap::{ChangeMonitor, Changes, UnderlayCard, underlay_cards};

use super::changes::Changed;
use crate::shell::{DataPlane, DataPlaneError, LinkCard, Request};

/// Tells the data plane of this machine's endpoints as long as it lives, of the cards for beacons, if there are to be
/// any, and `others` of each change. `port` is the underlay's.
pub(super) async fn follow(data_plane: DataPlane, port: u16, beacon: bool, others: impl Fn()) {
    let changed = watch();
    // At least what there is now is told.
    if tell(&data_plane, port, beacon).await.is_err() {
        return;
    }
    let told = async {
        let changed = changed?;
        loop {
            changed.next(SETTLING).await?;
            others();
            if tell(&data_plane, port, beacon).await.is_err() {
                return Ok(());
            }
        }
    };
    let told: io::Result<()> = told.await;
    if let Err(error) = told {
        tracing::warn!(%error, "changes of this machine's addresses go unnoticed");
    }
}

fn watch() -> io::Result<Changed> {
    let monitor = ChangeMonitor::open(&[Changes::Links, Changes::Addresses, Changes::Routes]);
    Changed::new(monitor.map_err(io::Error::other)?)
}

async fn tell(data_plane: &DataPlane, port: u16, beacon: bool) -> Result<(), DataPlaneError> {
    match underlay_cards() {
        Ok(cards) => {
            let addresses = cards.iter().flat_map(|card| &card.addresses);
            let endpoints = addresses.map(|address| SocketAddr::new(address.ip, port)).collect();
            data_plane.send(Request::SetLocalEndpoints { endpoints }).await?;
            let sources = sources();
            data_plane.send(Request::SetSources { sources }).await?;
            let cards = cards.iter().filter(|card| beacon && card.reaches_groups);
            let cards = cards.map(link_card).collect();
            data_plane.send(Request::SetLinkCards { cards }).await
        }
        Err(error) => {
            tracing::warn!(%error, "this machine's addresses are not known");
            Ok(())
        }
    }
}

/// The own addresses from which the kernel would speak to the rest of the world: they tell by which card it does. Nothing is
/// sent.
fn sources() -> Vec<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849), which lie behind the default route and are nobody's.
    let outside: [SocketAddr; 2] = [
        (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
    ];
    let source = |outside: SocketAddr| -> Option<IpAddr> {
        let any = match outside {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(outside).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    outside.into_iter().filter_map(source).collect()
}

/// A card as far as beacons are concerned.
fn link_card(card: &UnderlayCard) -> LinkCard {
    let mut addresses = card.addresses.iter();
    let ipv4 = addresses.clone().filter_map(|address| match address.ip {
        IpAddr::V4(ip) => Some(LinkSubnet {
            address: ip,
            prefix: address.prefix,
        }),
        IpAddr::V6(_) => None,
    });
    LinkCard {
        index: card.index,
        ipv4: ipv4.collect(),
        ipv6: addresses.any(|address| matches!(address.ip, IpAddr::V6(ip) if ip.is_unicast_link_local())),
    }
}

/// How long changes are gathered before they are looked at: an address that is new may not be used yet.
const SETTLING: Duration = Duration::from_millis(100);
