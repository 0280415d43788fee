//! Networks of farlan: ids, addresses, worlds and links.
//!
//! A network is fixed by its [`Parameters`]; its [`NetworkId`] is a hash of them, so two nodes that agree on an id agree on
//! every parameter, and so is its [`NetworkSecret`], but for private networks, whose documents are in [`private`]. [`AddressPlan`] turns node ids into the addresses of one network and
//! back. A [`World`] is the signed list of supernodes through which nodes meet, and a [`Link`] is the text that carries
//! all of this to another person.
//!
//! The crate does no input or output. Integers in its documents are big-endian. Every document is canonical: one value
//! has one encoding, and a decoder refuses all others, trailing bytes included.

#![forbid(unsafe_code)]

// The bodies of the fuzz targets name the crate as their own programs do.
#[cfg(test)]
extern crate self as farlan_netconf;

mod addresses;
mod base32;
mod codec;
mod endpoint;
#[cfg(test)]
mod fuzzing;
mod link;
mod name;
mod network;
pub mod private;
mod secret;
mod subnet;
mod world;

pub use addresses::{AddressPlan, CANDIDATES, Mac, NetworkMask, NodePrefix, PrefixError};
pub use base32::IdError;
pub use codec::{CodecError, Reader};
pub use endpoint::{Endpoint, EndpointError};
pub use link::{Label, LabelError, Link, LinkError, NetworkLink, PrivateLink};
pub use name::{NameError, NetworkName};
pub use network::{Kind, Mtu, MtuError, NetworkId, Parameters, ParametersError, Policy};
pub use private::{DnsLabel, DnsLabelError, NetworkSeed, PrivateNetwork, Seconds};
pub use secret::{BeaconKeys, DirectoryKey, NetworkSecret, Role};
pub use subnet::{Subnet, SubnetError};
pub use world::{Supernode, World, WorldError, WorldId};
