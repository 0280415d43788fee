//! What a caller gives the engine and gets back, apart from packets: configuration, requests, events and snapshots.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use farlan_crypto::{Identity, KeyPair, NodeId, PublicKey, VerifyingKey, Work};
use farlan_netconf::{
    Mac, NetworkId, NetworkSeed, Parameters, Policy, World, WorldId,
    private::{self, Credential, Delegate, Delegation, DnsLabel, Rights, Signer},
};

use crate::Examination;

/// What an engine is made with.
#[derive(Debug)]
pub struct Config {
    /// Who this node is.
    pub identity: Identity,
    /// The work stamp demanded of other nodes' keys: [`Work::REQUIRED`] outside the simulator and load generators.
    pub work: Work,
    /// What this node does for others.
    pub role: Role,
    /// How much it keeps and does.
    pub limits: Limits,
}

/// How much is kept of others and done for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Peers a node keeps in memory.
    pub peers: usize,
    /// Registrations a supernode holds at one time, up to [`Self::MOST_REGISTRATIONS`].
    pub registrations: usize,
    /// Bytes relayed per second for one registration, counted as UDP payload; 0 for no limit.
    pub relay_source: u64,
    /// Bytes relayed per second from one registration to one other; 0 for no limit.
    pub relay_pair: u64,
    /// Bytes of private networks' documents that a supernode keeps.
    pub documents: usize,
    /// Members of a network, and subscribers of a channel, up to which each gets a copy of a frame to a group:
    /// [`Self::FULL_MAX`], fewer in tests of what happens beyond. Nodes and supernodes of a world must agree.
    pub full_max: usize,
}

impl Limits {
    /// As many registrations can be numbered, with those whose number rests.
    pub const MOST_REGISTRATIONS: usize = 1 << 20;

    /// Up to so many, copies to all cost less than spreading, and reach more.
    pub const FULL_MAX: usize = 128;
}

impl Default for Limits {
    /// 8192 peers; 32,768 registrations, which take less than 256 MiB of memory whatever they do, 100 Mbit/s for each, and no further
    /// limit to one other; 64 MiB of documents.
    fn default() -> Self {
        Self {
            peers: 8192,
            registrations: 1 << 15,
            relay_source: 12_500_000,
            relay_pair: 0,
            documents: 64 << 20,
            full_max: Self::FULL_MAX,
        }
    }
}

/// What a node does for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A machine with cards.
    Node,
    /// An anchor: registers nodes, answers look-ups and relays.
    Supernode,
}

/// One joined network of this engine, as long as it is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkHandle(pub(crate) u8);

impl NetworkHandle {
    /// A small number, unique among the networks joined at one time: 0 to [`MAX_NETWORKS`] - 1.
    pub fn as_u8(self) -> u8 {
        self.0
    }

    /// The handle whose number this is. If no network has it, calls that take the handle do nothing.
    pub fn from_u8(number: u8) -> Self {
        Self(number)
    }
}

/// How many networks a node can be in at one time.
pub const MAX_NETWORKS: usize = 16;

/// Which network to join, and how.
#[derive(Clone, Debug)]
pub struct Join {
    /// The network.
    pub parameters: Parameters,
    /// The world at whose supernodes its members meet; it must be known ([`crate::Engine::set_world`]).
    pub world: WorldId,
    /// Whether to claim an IPv4 address; off where the subnet clashes with the machine's own routes.
    pub ipv4: bool,
    /// The IPv4 address held here before, tried first; ignored unless it is one of this node's candidates.
    pub preferred: Option<Ipv4Addr>,
    /// Peers known to be in this network, greeted as soon as the supernode answers.
    pub greet: Vec<PublicKey>,
    /// What this machine is called there, as the other members are told; nothing is told without.
    pub name: Option<DnsLabel>,
    /// What this node holds of a private network; none for others.
    pub membership: Option<Box<Membership>>,
}

/// What a node holds of a private network.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The network's config; none as long as no member has handed it over.
    pub config: Option<private::Config>,
    /// The seed of the link, of use as long as there is no config.
    pub seed: Option<NetworkSeed>,
    /// The own credential.
    pub credential: Option<Credential>,
    /// The invite by which this node came in.
    pub invite: Option<Invite>,
    /// What is revoked, as far as it is known.
    pub revocations: private::Revocations,
    /// Members whom the link names.
    pub peers: Vec<PublicKey>,
    /// The name that is wished for in a certificate.
    pub name: Option<DnsLabel>,
    /// What makes this node a renewer, if it is one.
    pub delegation: Option<Delegation>,
}

/// What a holder hands a member without being asked.
#[derive(Clone, Debug)]
pub enum Handed {
    /// A credential of its own.
    Credential(Box<Credential>),
    /// What makes it a renewer.
    Delegation(Box<Delegation>),
}

/// An invite into a private network, with the secret key that its link carries.
#[derive(Clone, Debug)]
pub struct Invite {
    /// What it may do.
    pub delegation: Delegation,
    /// Its key.
    pub key: Arc<KeyPair>,
}

/// What a member's credential says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    /// What the member is called.
    pub name: Option<DnsLabel>,
    /// The IPv4 address that was given to it.
    pub ipv4: Option<Ipv4Addr>,
    /// What it may do.
    pub rights: Rights,
    /// The number of its certificate; 0 of a provisional one.
    pub issue: u64,
    /// From when on the credential is not valid any more.
    pub expiry: farlan_netconf::Seconds,
    /// Whether an invite let it in and no holder has given it a certificate yet.
    pub provisional: bool,
    /// The key of the invite that signed a provisional one.
    pub invite: Option<VerifyingKey>,
}

impl CredentialStatus {
    pub(crate) fn of(credential: &Credential) -> Self {
        let fields = credential.certificate().fields();
        let invite = match credential.certificate().signer() {
            Signer::Invite(delegation) => match delegation.fields().delegate {
                Delegate::Invite { key, .. } => Some(key),
                Delegate::Renewer { .. } => None,
            },
            Signer::Network => None,
        };
        Self {
            name: fields.name.clone(),
            ipv4: fields.ipv4,
            rights: fields.rights,
            issue: fields.issue,
            expiry: credential.expiry(),
            provisional: credential.is_provisional(),
            invite,
        }
    }
}

/// Why a network cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It is joined already.
    #[error("this node is in that network already")]
    Already,
    /// [`MAX_NETWORKS`] are joined.
    #[error("this node is in {MAX_NETWORKS} networks, which is the most it can be in; leave one first")]
    TooMany,
    /// It is a private one, and nothing is held of it.
    #[error("there is no invite to that network and no membership in it")]
    NoMembership,
    /// Its world is not known.
    #[error("no supernode of world {0} is known here")]
    UnknownWorld(WorldId),
}

/// A peer of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its key.
    pub key: PublicKey,
    /// Where it answered straight, the latest first.
    pub endpoints: Vec<SocketAddr>,
    /// Whether it was heard in the last minutes of that run.
    pub lately: bool,
}

/// A supernode with its addresses resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its key.
    pub key: PublicKey,
    /// Where it can be reached over UDP, in order of preference.
    pub addresses: Vec<SocketAddr>,
    /// Where it takes streams, in order of preference.
    pub streams: Vec<SocketAddr>,
}

/// Whom to ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node known by its full id.
    Node(NodeId),
    /// The holder of an overlay address in a joined network.
    Address(NetworkHandle, IpAddr),
}

/// The way datagrams to a peer take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Straight to the peer.
    Direct,
    /// Through a supernode.
    Relay,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        })
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A supernode registered this node.
    Registered {
        /// Which.
        supernode: NodeId,
        /// The world it serves.
        world: WorldId,
        /// This node's endpoint as the supernode sees it.
        observed: SocketAddr,
    },
    /// A supernode stopped answering; registration is tried again without end.
    RegistrationLost {
        /// Which.
        supernode: NodeId,
    },
    /// Somebody handed over a newer list of a world in use, signed by its operator: keep it, and bring the supernodes'
    /// addresses up to date ([`crate::Engine::set_world`]).
    WorldChanged {
        /// The new version.
        world: Box<World>,
    },
    /// This node holds an IPv4 address in a network: put it on the card.
    Ipv4Assigned {
        /// Where.
        network: NetworkHandle,
        /// The address; its prefix length is that of the network's subnet.
        address: Ipv4Addr,
    },
    /// This node has no IPv4 address in a network (any more): take it off the card.
    Ipv4Withdrawn {
        /// Where.
        network: NetworkHandle,
        /// What was held, if any.
        address: Option<Ipv4Addr>,
    },
    /// An address that others put on this machine's card is another member's too.
    AddressConflict {
        /// Where.
        network: NetworkHandle,
        /// Which.
        address: IpAddr,
        /// The other member.
        node: NodeId,
    },
    /// A member of a network can be reached now: a session stands and it proved to know the network.
    PeerUp {
        /// Where.
        network: NetworkHandle,
        /// Who.
        node: NodeId,
    },
    /// A member told what it is called in a network, or that it has no name there any more: see [`PeerNetwork::name`].
    NameTold {
        /// Where.
        network: NetworkHandle,
        /// Who.
        node: NodeId,
    },
    /// A peer is no member of a private network any more: its credential expired or was revoked, or it left. Nothing passes between
    /// the two there, whatever else they share.
    MemberOut {
        /// Where.
        network: NetworkHandle,
        /// Who.
        node: NodeId,
    },
    /// Members or supernodes handed over newer documents of a private network: keep them. They are in use from now on.
    DocumentsChanged {
        /// Where.
        network: NetworkHandle,
        /// The config in force, if one is known.
        config: Option<Box<private::Config>>,
        /// All revocations.
        revocations: Box<private::Revocations>,
    },
    /// A supernode keeps a document of a private network that lacks revocations which are known here: whoever holds the network key
    /// publishes one with a version above ([`crate::Engine::publish`]).
    DocumentStale {
        /// Where.
        network: NetworkHandle,
        /// Its version.
        version: u64,
    },
    /// There are two configs of a private network with one number: two hold its key, who did not know of each other. The greater one is in
    /// force.
    ConfigForked {
        /// Where.
        network: NetworkHandle,
        /// The number.
        counter: u64,
    },
    /// This node has another credential: keep it.
    CredentialIssued {
        /// Where.
        network: NetworkHandle,
        /// The credential, which is in use from now on.
        credential: Box<Credential>,
    },
    /// This node is a renewer of a private network from now on, or for longer: keep the delegation, which is in use.
    DelegationIssued {
        /// Where.
        network: NetworkHandle,
        /// What lets it extend certificates.
        delegation: Box<Delegation>,
    },
    /// A private network whose config names this node as a holder is shared with a member from now on: if there is a newer certificate
    /// for it, or it is to be a renewer, [`crate::Engine::hand_over`] brings it.
    MemberMet {
        /// Where.
        network: NetworkHandle,
        /// Who.
        node: PublicKey,
        /// The number of the certificate that it has shown; 0 of a provisional one.
        issue: u64,
    },
    /// A node asks for a certificate: decide, and tell [`crate::Engine::answer_application`], or where no controller is here
    /// [`crate::Engine::answer_as_renewer`].
    Application {
        /// Where.
        network: NetworkHandle,
        /// Who asks.
        node: PublicKey,
        /// The number of the request.
        request: u32,
        /// What is asked. An invite in it is the network's, and the node holds its key.
        application: Box<private::Application>,
        /// The valid credential that the node has shown, or a certificate of the network key that it sent along: that one may have
        /// expired, but no revocation names it. Without one there is an invite, and then the node may have been thrown out.
        credential: Option<Box<Credential>>,
        /// That of the session in which it was asked.
        handshake_hash: Box<[u8; 64]>,
    },
    /// A holder has no certificate for this node. It is asked again later, and the others go on being asked.
    ApplicationRefused {
        /// Where.
        network: NetworkHandle,
        /// Who refuses.
        node: NodeId,
        /// Why.
        refusal: private::Refusal,
    },
    /// A peer said goodbye or has not been heard for so long that its session ended.
    PeerDown {
        /// Who.
        node: NodeId,
    },
    /// Data to a peer takes another way from now on.
    PathChanged {
        /// Who.
        node: NodeId,
        /// The way.
        path: PathKind,
        /// The underlay endpoint, on a relay the supernode's; none while there is no relay.
        address: Option<SocketAddr>,
        /// Why, for people.
        reason: &'static str,
    },
    /// A peer answered a ping.
    Pong {
        /// The number given to [`crate::Engine::ping`].
        token: u64,
        /// Who answered.
        node: NodeId,
        /// The round trip.
        rtt: Duration,
        /// The way it took.
        path: PathKind,
        /// The underlay endpoint used.
        address: SocketAddr,
        /// The supernode that relays.
        supernode: Option<NodeId>,
        /// Whether it went over TCP.
        tcp: bool,
    },
    /// What stands between this node and a peer.
    Examined {
        /// The number given to [`crate::Engine::examine`].
        token: u64,
        /// What was found out.
        examination: Box<Examination>,
    },
    /// Another running machine uses this node's key: both take the registration from each other.
    Twin {
        /// Which supernode says so. It has seen the other prove that it holds the key.
        supernode: NodeId,
        /// Where it sees the other; nowhere, if that is reached through another supernode.
        other: Option<SocketAddr>,
    },
    /// Somebody speaks another version of the protocol, as far as an answer without proof can tell.
    OtherVersion {
        /// Who was called and answered so; nobody is known where the other end called.
        node: Option<NodeId>,
        /// The underlay endpoint it came from, on a relay the supernode's.
        address: Option<SocketAddr>,
        /// The version that is spoken there.
        version: u8,
    },
    /// Whether strangers get through to this node, as far as a supernode could tell.
    Reached {
        /// The number given to [`crate::Engine::prove_reach`].
        token: u64,
        /// Where they do; nowhere, if nothing came through.
        endpoint: Option<SocketAddr>,
    },
    /// A ping cannot be answered: nobody with that id or address is known to the supernode.
    PingFailed {
        /// The number given to [`crate::Engine::ping`].
        token: u64,
        /// Why, for people.
        reason: &'static str,
    },
}

/// A supernode as this node sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SupernodeStatus {
    /// Its id.
    pub node: NodeId,
    /// The world it serves.
    pub world: WorldId,
    /// The endpoint in use.
    pub address: Option<SocketAddr>,
    /// Whether the way there leads over a stream, because UDP is blocked or starved.
    pub tcp: bool,
    /// Whether it registered this node.
    pub registered: bool,
    /// Whether it is the home: where others reach this node.
    pub home: bool,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
}

/// A joined network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkStatus {
    /// Its handle.
    pub handle: NetworkHandle,
    /// Its id.
    pub id: NetworkId,
    /// Its policy.
    pub policy: Policy,
    /// This node's MAC there.
    pub mac: Mac,
    /// This node's IPv6 address there.
    pub ipv6: Ipv6Addr,
    /// This node's IPv6 link-local address there.
    pub link_local: Ipv6Addr,
    /// This node's IPv4 address there, if it holds one.
    pub ipv4: Option<Ipv4Addr>,
    /// Whether an IPv4 address is still being claimed.
    pub ipv4_pending: bool,
    /// What the own credential says; none in other than private networks, or without one.
    pub membership: Option<CredentialStatus>,
    /// How many members the supernode counts, or were met where it does not tell all, this node among them; 0 until one of both is known.
    pub members: u32,
}

/// A node in a common network, or one lately spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    /// Its id.
    pub node: NodeId,
    /// Its key.
    pub key: PublicKey,
    /// The way to it; none without a session.
    pub path: Option<PathKind>,
    /// The underlay endpoint in use, on a relay the supernode's.
    pub address: Option<SocketAddr>,
    /// The supernode that relays.
    pub supernode: Option<NodeId>,
    /// Whether the way there leads over a stream.
    pub tcp: bool,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
    /// How long ago something sealed came from it, if ever.
    pub heard: Option<Duration>,
    /// Where it answered straight, the latest first, as far as that may be so again later.
    pub endpoints: Vec<SocketAddr>,
    /// The common networks, with its addresses there.
    pub networks: Vec<PeerNetwork>,
}

/// A peer in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerNetwork {
    /// Where.
    pub network: NetworkHandle,
    /// Its MAC there.
    pub mac: Mac,
    /// Its IPv6 address there.
    pub ipv6: Ipv6Addr,
    /// Its IPv4 address there, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// What its credential says, if the network is a private one and it has shown one that is valid.
    pub membership: Option<CredentialStatus>,
    /// What it says it is called there, as long as there is a session. Nobody has looked whether others are called so, too.
    pub name: Option<DnsLabel>,
}

/// What a supernode serves at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnchorStatus {
    /// Registered nodes.
    pub registrations: usize,
    /// Lists with at least one entry: of the members of a network, or of the subscribers to a channel.
    pub subscriptions: usize,
    /// IPv4 claims held.
    pub claims: usize,
    /// Documents of private networks that are kept.
    pub documents: usize,
    /// Bytes that they take.
    pub document_bytes: usize,
}
