//! The documents of the API about private networks. Times are whole seconds since 1970.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::schema::Network;
use crate::secret_text::SecretText;

/// What this node is in a private network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// `certified` (by the network's key), `provisional` (an invite let it in, and no controller was met yet), `revoked` (it, or the
    /// invite by which it came, was removed from the network), or `none` (nobody has let it in yet).
    pub state: String,
    /// What stands behind its members' names in the DNS, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What this node is called, as its certificate says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When its credential expires, unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether the network's key is here.
    #[serde(default)]
    pub controller: bool,
    /// Whether this node extends certificates.
    #[serde(default)]
    pub renewer: bool,
    /// Whether the invite is counted, so that only a controller can let this node in.
    #[serde(default)]
    pub counted: bool,
    /// Why a controller did not let it in or renew its certificate, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether that is the last word on the invite.
    #[serde(default)]
    pub refused_for_good: bool,
}

/// Asks for a new private network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateRequest {
    /// Its label.
    pub name: String,
    /// What stands behind its members' names in the DNS; what is nearest to the label if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What this machine is called there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub my_name: Option<String>,
    /// Its IPv4 subnet, as `10.128.16.0/20`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Its MTU in bytes, 1280 to 9000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// A new private network, whose key is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network.
    pub network: Network,
    /// Where its members meet, for people.
    pub meeting: String,
}

/// Names a network, a private one except where games are asked for: by its label, domain, id (or the first 10 letters and more) or interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfNetwork {
    /// Which.
    pub network: String,
}

/// Asks for an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Into which network.
    pub network: String,
    /// How many it lets in; as many as want if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// In how many seconds it expires; 30 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
    /// What its maker calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// The link; whoever holds it is let in.
    pub link: SecretText,
    /// The invite.
    pub invite: Invite,
}

/// An invite, as its maker sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Its public key, 64 hexadecimal digits, by which it is called; the first 10 and more will do.
    pub id: String,
    /// What its maker calls it.
    pub name: String,
    /// How many it lets in; as many as want if absent.
    pub uses: Option<u32>,
    /// How many came in by it.
    pub taken: u64,
    /// When it was made.
    pub created: u64,
    /// Until when it works.
    pub expires: u64,
    /// When it was withdrawn, if it was.
    pub withdrawn: Option<u64>,
    /// Who came in by it, and was not kicked.
    pub members: Vec<NamedNode>,
}

/// The invites of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitesReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// Its invites, the oldest first.
    pub invites: Vec<Invite>,
}

/// A node with what it is called in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// Its id.
    pub node_id: String,
    /// What it is called, if anything.
    pub name: Option<String>,
}

/// Asks to withdraw an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UninviteRequest {
    /// Its id, or the first 10 digits and more, or what its maker calls it.
    pub invite: String,
    /// In which network; may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// An invite that lets nobody in any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UninviteReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// The invite's id.
    pub invite: String,
    /// Who came in by it, and stays.
    pub members: Vec<NamedNode>,
}

/// A member of a private network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub node_id: String,
    /// What it is called, if anything.
    pub name: Option<String>,
    /// Its IPv4 address, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// Whether it is this node.
    pub own: bool,
    /// `certified`, `provisional`, or `kicked`.
    pub state: String,
    /// Whether it may let in, or renew: a controller or renewer.
    pub holder: bool,
    /// When its credential expires, unless it is renewed.
    pub expires: Option<u64>,
    /// When it came in, where that is known.
    pub admitted: Option<u64>,
    /// When it was last met, where that is known.
    pub seen: Option<u64>,
    /// `direct` or `relay`; nothing without a session.
    pub path: Option<String>,
    /// The id of the invite by which it came in, if it did and that is known.
    pub invite: Option<String>,
}

/// The members of a private network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MembersReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// Whether these are all, since the network's key is here; else they are those that were met.
    pub complete: bool,
    /// The members by name.
    pub members: Vec<Member>,
}

/// Asks to throw a member out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KickRequest {
    /// A name, a node id or its first 10 letters and more, or an address.
    pub member: String,
    /// Of which network; may be left out where the node is a member of one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Whether the invite by which it came in goes on letting others in.
    #[serde(default)]
    pub keep_invite: bool,
}

/// Who was thrown out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// The node.
    pub member: NamedNode,
    /// The id of the invite by which it came in, if that was withdrawn.
    pub withdrawn: Option<String>,
    /// Whether it is known by which invite it came in. If not, links that were made before may let it in again, with another key, until
    /// they expire.
    pub invite_known: bool,
    /// Who else came in by the same invite, and stays.
    pub companions: Vec<NamedNode>,
}

/// Asks to call a member otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Which, as in [`KickRequest`].
    pub member: String,
    /// What it is called from now on, a DNS label.
    pub name: String,
    /// In which network; may be left out where the node is a member of one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Asks to let a member extend certificates, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    /// Which, as in [`KickRequest`].
    pub member: String,
    /// In which network; may be left out where the node is a member of one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// For how many seconds from now; 10 years if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Whether the right is taken back.
    #[serde(default)]
    pub withdraw: bool,
}

/// What was changed of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// The node.
    pub member: NamedNode,
    /// What the member is to take with `farlan renew`, if it may extend certificates now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<SecretText>,
}

/// Hands a renewer what a controller made for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// What `farlan delegate` printed.
    pub delegation: SecretText,
}

/// A network key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The network's label.
    pub network: String,
    /// The key as a text; whoever has it controls the network.
    pub key: SecretText,
}

/// Brings a network key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What `farlan export` printed.
    pub key: SecretText,
}

/// Asks to change what can be changed of a private network; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetRequest {
    /// Which.
    pub network: String,
    /// How people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What stands behind its members' names in the DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How many seconds certificates live from their next renewal on; 0: as long as fits its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life_s: Option<u32>,
    /// Keeps an address for a member or a name: `ADDRESS=NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserve: Vec<Reservation>,
    /// Keeps an address for nobody any longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<Ipv4Addr>,
    /// That this machine's clock is right, though this node's own certificate has expired by it.
    pub clock_is_right: bool,
}

/// An address that is kept for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// Which.
    pub address: Ipv4Addr,
    /// For whom: the name of a member now or later, or a node id.
    pub member: String,
}

/// A private network as its controller has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReply {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Its label.
    pub network: String,
    /// Its id.
    pub network_id: String,
    /// What stands behind its members' names in the DNS.
    pub domain: String,
    /// Seconds that certificates live.
    pub life_s: u32,
    /// Its subnet.
    pub subnet: String,
    /// The ids of those to turn to for certificates.
    pub holders: Vec<String>,
    /// The addresses that are kept.
    pub reservations: Vec<Reservation>,
}
