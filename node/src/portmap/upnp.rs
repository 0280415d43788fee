//! Asking by UPnP: the Internet Gateway Device, found by SSDP, asked by SOAP over HTTP.
//!
//! Whatever in the house answers the search is asked for its description, at the address it answered from; a mapping is
//! asked of the gateway alone.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use farlan_tap::Gateway;
use igd_next::{
    AddAnyPortError, AddPortError, GatewayIpVersion, GetExternalIpError, PortMappingProtocol, RemovePortError,
    RequestError, SearchError, SearchOptions,
    aio::{
        self,
        tokio::{Tokio, search_gateway},
    },
};
use tokio::time::timeout;

use super::{Held, LEASE_SECONDS, Lease, Port, Refusal, Transport};

/// A gateway that was found.
#[derive(Clone, Debug)]
pub(super) struct Device(aio::Gateway<Tokio>);

/// Looks for the gateway's device: by multicast, as devices expect it, and straight, for gateways behind a switch that
/// passes no multicast on.
pub(super) async fn discover(gateway: Gateway) -> Result<Device, Refusal> {
    let straight = SocketAddr::new(gateway.address.into(), SSDP_PORT);
    let all = SocketAddr::new(SSDP_GROUP.into(), SSDP_PORT);
    let mut straight = std::pin::pin!(search(gateway, straight));
    let mut all = std::pin::pin!(search(gateway, all));
    tokio::select! {
        Ok(device) = &mut straight => Ok(device),
        Ok(device) = &mut all => Ok(device),
        // Both have failed. The group's answer says more: where there is no device, nobody listens.
        else => Err(Refusal::NoAnswer),
    }
}

async fn search(gateway: Gateway, destination: SocketAddr) -> Result<Device, Refusal> {
    let mut options = SearchOptions::default();
    // From the address that the gateway knows, which also says on which card a multicast leaves.
    options.bind_addr = SocketAddr::new(gateway.own.into(), 0);
    options.broadcast_address = destination;
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    options.gateway_ip_version = GatewayIpVersion::V4;
    match search_gateway(options).await {
        Ok(device) if device.addr.ip() == IpAddr::V4(gateway.address) => Ok(Device(device)),
        Ok(_) | Err(SearchError::NoResponseWithinTimeout) => Err(Refusal::NoAnswer),
        Err(error) => Err(Refusal::Wrong(error.to_string())),
    }
}

impl Device {
    /// Asks for a mapping, or for the same again.
    pub(super) async fn ask(
        &self,
        gateway: Gateway,
        port: Port,
        external: Option<NonZeroU16>,
    ) -> Result<Lease, Refusal> {
        timeout(TALK, self.talk(gateway, port, external))
            .await
            .unwrap_or(Err(Refusal::NoAnswer))
    }

    async fn talk(&self, gateway: Gateway, port: Port, external: Option<NonZeroU16>) -> Result<Lease, Refusal> {
        let outside = match self.0.get_external_ip().await {
            Ok(IpAddr::V4(outside)) if !outside.is_unspecified() => outside,
            Ok(_) => return Err(Refusal::NoOutside),
            Err(GetExternalIpError::ActionNotAuthorized) => return Err(Refusal::Refused("not authorised".into())),
            Err(GetExternalIpError::RequestError(error)) => return Err(request(&error)),
        };
        let own = SocketAddr::new(gateway.own.into(), port.number.get());
        let (transport, wished) = (protocol(port), external.unwrap_or(port.number).get());
        let added = self
            .0
            .add_port(transport, wished, own, LEASE_SECONDS, DESCRIPTION)
            .await;
        let external = match added {
            Ok(()) => wished,
            // Somebody else in the house has it.
            Err(AddPortError::PortInUse) => self
                .0
                .add_any_port(transport, own, LEASE_SECONDS, DESCRIPTION)
                .await
                .map_err(|error| match error {
                    AddAnyPortError::OnlyPermanentLeasesSupported => Refusal::PermanentOnly,
                    AddAnyPortError::RequestError(error) => request(&error),
                    other => Refusal::Refused(other.to_string()),
                })?,
            Err(AddPortError::OnlyPermanentLeasesSupported) => return Err(Refusal::PermanentOnly),
            Err(AddPortError::RequestError(error)) => return Err(request(&error)),
            Err(other) => return Err(Refusal::Refused(other.to_string())),
        };
        Lease::new(Held::Upnp(self.clone()), outside, external, LEASE_SECONDS, None)
    }

    /// Gives a mapping back.
    pub(super) async fn remove(&self, port: Port, external: u16) -> Result<(), Refusal> {
        let removed = timeout(TALK, self.0.remove_port(protocol(port), external)).await;
        match removed {
            Ok(Ok(()) | Err(RemovePortError::NoSuchPortMapping)) => Ok(()),
            Ok(Err(RemovePortError::ActionNotAuthorized)) => Err(Refusal::Refused("not authorised".into())),
            Ok(Err(RemovePortError::RequestError(error))) => Err(request(&error)),
            Err(_) => Err(Refusal::NoAnswer),
        }
    }
}

fn protocol(port: Port) -> PortMappingProtocol {
    match port.transport {
        Transport::Udp => PortMappingProtocol::UDP,
        Transport::Tcp => PortMappingProtocol::TCP,
    }
}

fn request(error: &RequestError) -> Refusal {
    match error {
        RequestError::ErrorCode(725, _) => Refusal::PermanentOnly,
        RequestError::ErrorCode(code, text) => Refusal::Refused(format!("error {code}, {text}")),
        RequestError::IoError(error) => Refusal::of_socket(error),
        RequestError::InvalidResponse(text) => Refusal::Wrong(text.clone()),
        other => Refusal::Refused(other.to_string()),
    }
}

/// The group and port of SSDP (UPnP Device Architecture §1).
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SSDP_PORT: u16 = 1900;

/// What the router's page shows beside the mapping.
const DESCRIPTION: &str = "farlan";

/// How long devices may take to answer a search. (They are told to take a second at most.)
const SEARCH: Duration = Duration::from_millis(2500);

/// How long a gateway may take for the three questions of one mapping.
const TALK: Duration = Duration::from_secs(5);
