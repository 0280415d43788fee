//! Why a controller does not do what its owner asks.

use std::net::Ipv4Addr;

use farlan_netconf::private::{Config, DnsLabel, DocumentError, ExportedKeyError};
use farlan_netconf::{NetworkId, Subnet};
use thiserror::Error;

use crate::store::StoreError;

/// Why a controller does not do what its owner asks. Nothing was changed then.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key of the network is not in the store.
    #[error("the key of network {0} is not here: ask on the node that made it, or import its key (`farlan import`)")]
    NoSuchNetwork(NetworkId),
    /// The network is in the store already.
    #[error("the key of network {0} is here already")]
    NetworkExists(NetworkId),
    /// No member has this key.
    #[error("there is no such member: `farlan members` lists them")]
    NoSuchMember,
    /// It was kicked before.
    #[error("this node was kicked already; a new invite lets it in again")]
    KickedAlready,
    /// No invite has this key.
    #[error("there is no such invite: `farlan invites` lists them")]
    NoSuchInvite,
    /// The invite is withdrawn, or was made by a controller with another store.
    #[error("the link of this invite cannot be shown any more: make a new one with `farlan invite`")]
    NoLink,
    /// The expiry has passed.
    #[error("that time has passed already: give a later one")]
    Past,
    /// A controller would kick itself.
    #[error(
        "this node is a controller of the network and does not kick itself: export the key, import it elsewhere, and kick from there"
    )]
    Oneself,
    /// Another member has the name.
    #[error("{0} is the name of another member: rename that first, or choose another name")]
    NameTaken(DnsLabel),
    /// The address is no host of the network.
    #[error("{address} is no address for a host in {subnet}")]
    NoHost {
        /// What was asked for.
        address: Ipv4Addr,
        /// The range of the network.
        subnet: Subnet,
    },
    /// Another member has the address, or it is reserved for another.
    #[error("{0} is in use by {1}, or reserved for it: choose another address, or change that first")]
    AddressTaken(Ipv4Addr, String),
    /// Nothing is reserved there.
    #[error("{0} is not reserved")]
    NotReserved(Ipv4Addr),
    /// The config has no room for another holder.
    #[error(
        "a network has at most {} controllers and renewers together: take the right from one of them first",
        Config::MAX_HOLDERS
    )]
    Holders,
    /// The node renews nothing.
    #[error("this member does not renew certificates: nothing to take from it")]
    NoDelegate,
    /// A document cannot be made of what was asked for.
    #[error("the document cannot be made: {0}")]
    Document(#[from] DocumentError),
    /// What stands in the store is not what farlan writes there.
    #[error(
        "the controller's store is damaged (a document in it: {0}): restore a backup, or import the exported network key into a new store"
    )]
    Damaged(DocumentError),
    /// The text is not an exported network key.
    #[error(transparent)]
    Text(#[from] ExportedKeyError),
}
