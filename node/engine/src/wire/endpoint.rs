//! Underlay endpoints on the wire, and the error of all wire formats.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use farlan_netconf::{CodecError, Reader};

/// The bytes ended too early or held a value out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<CodecError> for Malformed {
    fn from(_: CodecError) -> Self {
        Self
    }
}

/// Reads `address 16 (IPv4 as ::ffff:a.b.c.d) | port 2`.
pub(crate) fn endpoint(reader: &mut Reader<'_>) -> Result<SocketAddr, Malformed> {
    let address = Ipv6Addr::from(reader.array::<16>()?);
    let port = reader.u16()?;
    let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
    Ok(SocketAddr::new(address, port))
}

/// Appends an underlay endpoint as [`endpoint`] reads it.
pub(crate) fn put_endpoint(bytes: &mut Vec<u8>, endpoint: SocketAddr) {
    let address = match endpoint.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&endpoint.port().to_be_bytes());
}
