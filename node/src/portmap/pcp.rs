//! Asking by PCP (RFC 6887).

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
};

use crab_nat::{
    PortMapping, PortMappingOptions, PortMappingType,
    pcp::{self, BaseMapRequest, DropMappingRange, Failure},
};
use farlan_tap::Gateway;

use super::{Held, LEASE_SECONDS, Lease, Port, Refusal, WAITS};

/// Asks for a mapping, or for the same again.
pub(super) async fn ask(
    gateway: Gateway,
    port: Port,
    external: Option<NonZeroU16>,
    before: Option<&PortMapping>,
) -> Result<Lease, Refusal> {
    let base = BaseMapRequest::new(
        gateway.address.into(),
        gateway.own.into(),
        port.transport.into(),
        port.number,
    );
    let (nonce, outside) = match before.map(PortMapping::mapping_type) {
        Some(PortMappingType::Pcp { nonce, external_ip, .. }) => (Some(nonce), Some(external_ip)),
        _ => (None, None),
    };
    let options = PortMappingOptions {
        external_port: external,
        lifetime_seconds: Some(LEASE_SECONDS),
        timeout_config: Some(WAITS),
    };
    let mapping = pcp::port_mapping(base, nonce, outside, options)
        .await
        .map_err(refusal)?;
    let outside = match mapping.mapping_type() {
        PortMappingType::Pcp {
            external_ip: IpAddr::V4(outside),
            ..
        } => outside,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let (external, lifetime, epoch) = (
        mapping.external_port().get(),
        mapping.lifetime(),
        mapping.gateway_epoch(),
    );
    Lease::new(Held::Pcp(mapping), outside, external, lifetime, Some(epoch))
}

/// Gives a mapping back.
pub(super) async fn remove(gateway: Gateway, port: Port, mapping: &PortMapping) -> Result<(), Refusal> {
    let PortMappingType::Pcp { client, nonce, .. } = mapping.mapping_type() else {
        return Err(Refusal::Unsupported);
    };
    let range = DropMappingRange::Single {
        protocol: port.transport.into(),
        internal_port: port.number,
    };
    pcp::try_drop_mapping(gateway.address.into(), client, nonce, range, Some(WAITS))
        .await
        .map_err(refusal)
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Timeout => Refusal::NoAnswer,
        Failure::Socket(error) => Refusal::of_socket(&error),
        Failure::UnsupportedVersion(_) | Failure::UnsupportedOpcode | Failure::UnsupportedProtocol => {
            Refusal::Unsupported
        }
        Failure::InvalidResponse(kind) => Refusal::Wrong(kind.to_string()),
        Failure::Nonce => Refusal::Wrong("another's nonce".into()),
        Failure::NetworkFailure(_) => Refusal::NoOutside,
        Failure::NotAuthorized(_) => Refusal::Refused("not authorised".into()),
        other => Refusal::Refused(other.to_string()),
    }
}
