//! Asking by NAT-PMP (RFC 6886).

use std::num::NonZeroU16;

use crab_nat::{
    PortMappingOptions,
    natpmp::{self, Failure},
};
use farlan_tap::Gateway;

use super::{Held, LEASE_SECONDS, Lease, Port, Refusal, WAITS};

/// Whether the gateway speaks it: it is asked for its address outside, which makes no mapping.
pub(super) async fn is_there(gateway: Gateway) -> Result<(), Refusal> {
    let outside = natpmp::external_address(gateway.address.into(), Some(WAITS)).await;
    outside.map(drop).map_err(refusal)
}

/// Asks for a mapping, or for the same again, and for the address outside, which may be another than before.
pub(super) async fn ask(gateway: Gateway, port: Port, external: Option<NonZeroU16>) -> Result<Lease, Refusal> {
    let options = PortMappingOptions {
        external_port: external,
        lifetime_seconds: Some(LEASE_SECONDS),
        timeout_config: Some(WAITS),
    };
    // First, so that nothing is mapped that cannot be told to anybody.
    let outside = natpmp::external_address(gateway.address.into(), Some(WAITS))
        .await
        .map_err(refusal)?;
    if outside.is_unspecified() {
        return Err(Refusal::NoOutside);
    }
    let mapping = natpmp::port_mapping(gateway.address.into(), port.transport.into(), port.number, options)
        .await
        .map_err(refusal)?;
    let (external, lifetime, epoch) = (
        mapping.external_port().get(),
        mapping.lifetime(),
        mapping.gateway_epoch(),
    );
    Lease::new(Held::NatPmp, outside, external, lifetime, Some(epoch))
}

/// Gives a mapping back.
pub(super) async fn remove(gateway: Gateway, port: Port) -> Result<(), Refusal> {
    let (protocol, number) = (port.transport.into(), Some(port.number));
    natpmp::try_drop_mapping(gateway.address.into(), protocol, number, Some(WAITS))
        .await
        .map_err(refusal)
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Timeout => Refusal::NoAnswer,
        Failure::Socket(error) => Refusal::of_socket(&error),
        Failure::UnsupportedVersion(_) | Failure::UnsupportedOpcode => Refusal::Unsupported,
        Failure::InvalidResponse(kind) => Refusal::Wrong(kind.to_string()),
        Failure::NetworkFailure => Refusal::NoOutside,
        Failure::NotAuthorized => Refusal::Refused("not authorised".into()),
        Failure::OutOfResources => Refusal::Refused("out of resources".into()),
    }
}
