//! The control interface: HTTP/JSON on a Unix socket and, where it is switched on, on a loopback address.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/networks` | a list of [`Network`] |
//! | `GET /v1/peers` | a list of [`Peer`] |
//! | `GET /v1/supernodes` | a list of [`ConfiguredWorld`] |
//! | `POST /v1/join` with [`JoinRequest`] | [`JoinReply`] |
//! | `POST /v1/host` with [`HostRequest`] | [`HostReply`] |
//! | `POST /v1/leave` with [`LeaveRequest`] | [`LeaveReply`] |
//! | `GET /v1/games`, `POST /v1/games` with [`OfNetwork`] | [`GamesReply`], of all networks or of one; it is searched for 15 s more |
//! | `GET /v1/circle`, `POST /v1/circle` with [`CircleRequest`] | [`CircleReply`], of all networks or of one, of all broadcasts or of a channel's |
//! | `POST /v1/mute`, `/v1/unmute`, `/v1/pin`, `/v1/unpin` with [`MarkRequest`] | [`MarkReply`] |
//! | `GET /v1/opened` | a list of [`OpenedNetwork`] |
//! | `POST /v1/open` with [`OpenRequest`] | [`OpenedNetwork`] |
//! | `POST /v1/close` with [`OpenRequest`] | [`OpenedNetwork`] |
//! | `POST /v1/lan_games` with [`LanGamesRequest`] | [`LanGamesReply`] |
//! | `GET /metrics` | counters and gauges, in the text format of Prometheus |
//! | `POST /v1/down` | [`DownReply`]; the daemon ends |
//! | `POST /v1/ping` with [`PingRequest`] | [`PingReply`] |
//! | `POST /v1/create` with [`CreateRequest`] | [`CreateReply`] |
//! | `POST /v1/invite` with [`InviteRequest`] | [`InviteReply`] |
//! | `POST /v1/invites` with [`OfNetwork`] | [`InvitesReply`] |
//! | `POST /v1/uninvite` with [`UninviteRequest`] | [`UninviteReply`] |
//! | `POST /v1/members` with [`OfNetwork`] | [`MembersReply`] |
//! | `POST /v1/kick` with [`KickRequest`] | [`KickReply`] |
//! | `POST /v1/rename` with [`RenameRequest`] | [`MemberReply`] |
//! | `POST /v1/delegate` with [`DelegateRequest`] | [`MemberReply`] |
//! | `POST /v1/renew` with [`RenewRequest`] | [`JoinReply`] |
//! | `POST /v1/export` with [`OfNetwork`] | [`ExportReply`] |
//! | `POST /v1/import` with [`ImportRequest`] | [`JoinReply`] |
//! | `POST /v1/set` with [`SetRequest`] | [`SetReply`] |
//! | `POST /v1/supernodes/add` with [`AddRequest`] | [`ConfiguredWorld`] |
//! | `POST /v1/supernodes/remove` with [`RemoveRequest`] | [`ConfiguredWorld`] |
//!
//! Every object that is an answer of its own carries `schema`, the [version](SCHEMA) of these documents; a list carries
//! it in the header `farlan-schema`, as every answer does. Fields are only ever added within a version, and readers
//! ignore those they do not know. A failure is an [`ErrorReply`] with a status of 400 or above.
//!
//! A request goes through these, in this order:
//!
//! | module | what it does |
//! |---|---|
//! | `sockets` | makes the sockets, for the user, the group and this machine alone |
//! | `callers` | lets in root, the own user and the group, by the kernel's word |
//! | `server` | bounds connections, times and sizes |
//! | `admission` | refuses what no program of farlan's would send; over TCP also what does not show the `token` |
//! | `routes` | does what is asked |

mod admission;
mod callers;
mod circle;
mod diagnosis;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod games;
mod metrics;
mod private;
mod routes;
mod schema;
mod server;
mod sockets;
mod token;

pub use circle::{
    CircleChannel, CircleCounts, CircleMember, CircleReply, CircleRequest, MarkReply, MarkRequest, NetworkCircle,
};
pub use diagnosis::{CheckedSupernode, Nat, NetcheckReply, Observed, Obstacle, WhyReply, WhyRequest};
pub use games::{FoundServer, GamesReply, NetworkGames};
pub use metrics::exposition;
pub use private::{
    CreateReply, CreateRequest, DelegateRequest, ExportReply, ImportRequest, Invite, InviteReply, InviteRequest,
    InvitesReply, KickReply, KickRequest, Member, MemberReply, MembersReply, Membership, NamedNode, OfNetwork,
    RenameRequest, RenewRequest, Reservation, SetReply, SetRequest, UninviteReply, UninviteRequest,
};
pub use routes::{Answer, daemon_router, finish};
pub use schema::{
    AddRequest, ConfiguredWorld, DownReply, ErrorReply, HostReach, HostReply, HostRequest, Hosting, JoinReply,
    JoinRequest, LanGamesReply, LanGamesRequest, LeaveReply, LeaveRequest, Lifting, MappedPort, Naming, Network,
    OpenRequest, OpenedNetwork, Peer, PeerNetwork, PingReply, PingRequest, PortMapping, RemoveRequest, ResolveReply,
    ResolveRequest, SCHEMA, Status, Supernode, Twin, WorldSupernode, milliseconds,
};
pub use server::Server;
pub(crate) use sockets::{GROUP, group_id, is_leftover, is_making_place, refuse_answered};
pub use sockets::{LoopbackAddress, Sockets};
pub use token::{Token, token_path};
