//! The routes of the daemon, and what becomes of their results.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;

use super::circle::{CircleReply, CircleRequest, MarkReply, MarkRequest};
use super::diagnosis::{NetcheckReply, WhyReply, WhyRequest};
use super::games::GamesReply;
use super::metrics::{EXPOSITION, exposition};
use super::private::{
    CreateReply, CreateRequest, DelegateRequest, ExportReply, ImportRequest, InviteReply, InviteRequest, InvitesReply,
    KickReply, KickRequest, MemberReply, MembersReply, OfNetwork, RenameRequest, RenewRequest, SetReply, SetRequest,
    UninviteReply, UninviteRequest,
};
use super::schema::{
    AddRequest, ConfiguredWorld, DownReply, ErrorReply, HostReply, HostRequest, JoinReply, JoinRequest, LanGamesReply,
    LanGamesRequest, LeaveReply, LeaveRequest, Network, OpenRequest, OpenedNetwork, Peer, PingReply, PingRequest,
    RemoveRequest, ResolveReply, ResolveRequest, SCHEMA, Status,
};
use crate::{
    daemon::Daemon,
    failure::{Failure, FailureKind},
};

/// What a handler returns.
pub type Answer<T> = Result<Json<T>, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.kind {
            FailureKind::Negative => StatusCode::CONFLICT,
            FailureKind::Usage => StatusCode::BAD_REQUEST,
            FailureKind::DaemonDown => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Permission => StatusCode::FORBIDDEN,
            FailureKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        };
        (
            status,
            Json(ErrorReply {
                schema: SCHEMA,
                error: self,
            }),
        )
            .into_response()
    }
}

/// The routes of the daemon.
pub fn daemon_router(daemon: Arc<Daemon>) -> Router {
    let routes = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/networks", get(networks))
        .route("/v1/peers", get(peers))
        .route("/v1/supernodes", get(supernodes))
        .route("/v1/join", post(join))
        .route("/v1/host", post(host))
        .route("/v1/leave", post(leave))
        .route("/v1/create", post(create))
        .route("/v1/invite", post(invite))
        .route("/v1/invites", post(invites))
        .route("/v1/uninvite", post(uninvite))
        .route("/v1/members", post(members))
        .route("/v1/kick", post(kick))
        .route("/v1/rename", post(rename))
        .route("/v1/delegate", post(delegate))
        .route("/v1/renew", post(renew))
        .route("/v1/export", post(export))
        .route("/v1/import", post(import))
        .route("/v1/set", post(set))
        .route("/v1/games", get(games).post(games_of))
        .route("/v1/circle", get(circle).post(circle_of))
        .route("/v1/mute", post(mute))
        .route("/v1/unmute", post(unmute))
        .route("/v1/pin", post(pin))
        .route("/v1/unpin", post(unpin))
        .route("/v1/opened", get(opened))
        .route("/v1/open", post(open))
        .route("/v1/close", post(close))
        .route("/v1/lan_games", post(lan_games))
        .route("/metrics", get(metrics))
        .route("/v1/down", post(down))
        .route("/v1/ping", post(ping))
        .route("/v1/why", post(why))
        .route("/v1/resolve", post(resolve))
        .route("/v1/netcheck", post(netcheck))
        .route("/v1/supernodes/add", post(add_supernode))
        .route("/v1/supernodes/remove", post(remove_supernode))
        .with_state(daemon);
    finish(routes)
}

/// Gives a router what all have in common: the answer to unknown requests.
pub fn finish(routes: Router) -> Router {
    routes.fallback(async || {
        Failure::usage("this request is not known here; the daemon may be older than the program that asks")
    })
}

type Shared = State<Arc<Daemon>>;
type Body<T> = Result<Json<T>, JsonRejection>;

async fn status(State(daemon): Shared) -> Answer<Status> {
    json(daemon.status().await)
}

async fn networks(State(daemon): Shared) -> Answer<Vec<Network>> {
    json(daemon.networks().await)
}

async fn peers(State(daemon): Shared) -> Answer<Vec<Peer>> {
    json(daemon.peers().await)
}

async fn supernodes(State(daemon): Shared) -> Answer<Vec<ConfiguredWorld>> {
    Ok(Json(daemon.worlds().await))
}

async fn join(State(daemon): Shared, body: Body<JoinRequest>) -> Answer<JoinReply> {
    json(daemon.join(&content(body)?).await)
}

async fn host(State(daemon): Shared, body: Body<HostRequest>) -> Answer<HostReply> {
    json(daemon.host(&content(body)?).await)
}

async fn leave(State(daemon): Shared, body: Body<LeaveRequest>) -> Answer<LeaveReply> {
    json(daemon.leave(&content(body)?).await)
}

async fn create(State(daemon): Shared, body: Body<CreateRequest>) -> Answer<CreateReply> {
    json(daemon.create(&content(body)?).await)
}

async fn invite(State(daemon): Shared, body: Body<InviteRequest>) -> Answer<InviteReply> {
    json(daemon.invite(&content(body)?).await)
}

async fn invites(State(daemon): Shared, body: Body<OfNetwork>) -> Answer<InvitesReply> {
    json(daemon.invites(&content(body)?).await)
}

async fn uninvite(State(daemon): Shared, body: Body<UninviteRequest>) -> Answer<UninviteReply> {
    json(daemon.uninvite(&content(body)?).await)
}

async fn members(State(daemon): Shared, body: Body<OfNetwork>) -> Answer<MembersReply> {
    json(daemon.members(&content(body)?).await)
}

async fn kick(State(daemon): Shared, body: Body<KickRequest>) -> Answer<KickReply> {
    json(daemon.kick(&content(body)?).await)
}

async fn rename(State(daemon): Shared, body: Body<RenameRequest>) -> Answer<MemberReply> {
    json(daemon.rename(&content(body)?).await)
}

async fn delegate(State(daemon): Shared, body: Body<DelegateRequest>) -> Answer<MemberReply> {
    json(daemon.delegate(&content(body)?).await)
}

async fn renew(State(daemon): Shared, body: Body<RenewRequest>) -> Answer<JoinReply> {
    json(daemon.renew(&content(body)?).await)
}

async fn export(State(daemon): Shared, body: Body<OfNetwork>) -> Answer<ExportReply> {
    json(daemon.export(&content(body)?).await)
}

async fn import(State(daemon): Shared, body: Body<ImportRequest>) -> Answer<JoinReply> {
    json(daemon.import(&content(body)?).await)
}

async fn set(State(daemon): Shared, body: Body<SetRequest>) -> Answer<SetReply> {
    json(daemon.set_network(&content(body)?).await)
}

async fn games(State(daemon): Shared) -> Answer<GamesReply> {
    json(daemon.games(None).await)
}

async fn games_of(State(daemon): Shared, body: Body<OfNetwork>) -> Answer<GamesReply> {
    json(daemon.games(Some(&content(body)?.network)).await)
}

async fn circle(State(daemon): Shared) -> Answer<CircleReply> {
    json(daemon.circle(&CircleRequest::default()).await)
}

async fn circle_of(State(daemon): Shared, body: Body<CircleRequest>) -> Answer<CircleReply> {
    json(daemon.circle(&content(body)?).await)
}

async fn mute(State(daemon): Shared, body: Body<MarkRequest>) -> Answer<MarkReply> {
    json(daemon.mute(&content(body)?, true).await)
}

async fn unmute(State(daemon): Shared, body: Body<MarkRequest>) -> Answer<MarkReply> {
    json(daemon.mute(&content(body)?, false).await)
}

async fn pin(State(daemon): Shared, body: Body<MarkRequest>) -> Answer<MarkReply> {
    json(daemon.pin(&content(body)?, true).await)
}

async fn unpin(State(daemon): Shared, body: Body<MarkRequest>) -> Answer<MarkReply> {
    json(daemon.pin(&content(body)?, false).await)
}

async fn opened(State(daemon): Shared) -> Answer<Vec<OpenedNetwork>> {
    Ok(Json(daemon.opened().await))
}

async fn open(State(daemon): Shared, body: Body<OpenRequest>) -> Answer<OpenedNetwork> {
    json(daemon.open(&content(body)?).await)
}

async fn close(State(daemon): Shared, body: Body<OpenRequest>) -> Answer<OpenedNetwork> {
    json(daemon.close(&content(body)?).await)
}

async fn lan_games(State(daemon): Shared, body: Body<LanGamesRequest>) -> Answer<LanGamesReply> {
    json(daemon.lan_games(&content(body)?).await)
}

async fn metrics(State(daemon): Shared) -> Result<impl IntoResponse, Failure> {
    let status = daemon.status().await?;
    Ok(([(CONTENT_TYPE, EXPOSITION)], exposition(&status)))
}

async fn down(State(daemon): Shared) -> Answer<DownReply> {
    json(daemon.down())
}

async fn ping(State(daemon): Shared, body: Body<PingRequest>) -> Answer<PingReply> {
    json(daemon.ping(&content(body)?).await)
}

async fn resolve(State(daemon): Shared, body: Body<ResolveRequest>) -> Answer<ResolveReply> {
    json(daemon.resolve(&content(body)?).await)
}

async fn why(State(daemon): Shared, body: Body<WhyRequest>) -> Answer<WhyReply> {
    json(daemon.why(&content(body)?).await)
}

async fn netcheck(State(daemon): Shared) -> Answer<NetcheckReply> {
    json(daemon.netcheck().await)
}

async fn add_supernode(State(daemon): Shared, body: Body<AddRequest>) -> Answer<ConfiguredWorld> {
    json(daemon.add_supernode(&content(body)?).await)
}

async fn remove_supernode(State(daemon): Shared, body: Body<RemoveRequest>) -> Answer<ConfiguredWorld> {
    json(daemon.remove_supernode(&content(body)?).await)
}

fn json<T: Serialize>(result: Result<T, Failure>) -> Answer<T> {
    result.map(Json)
}

fn content<T>(body: Body<T>) -> Result<T, Failure> {
    body.map(|Json(content)| content)
        .map_err(|rejection| Failure::usage(rejection.body_text()))
}
