//! Serving the API at its sockets: who and what is let in, how much and how long.

use std::{io, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::{
    admission::{Entrance, LONGEST_BODY, Refusal, admit},
    callers::Callers,
    schema::{ErrorReply, SCHEMA},
    sockets::{LoopbackSocket, SocketFile, Sockets, UnixSocket},
    token::TokenFile,
};
use crate::failure::Failure;

/// A served API; its files and the service vanish with it. Connections that are open stay so until the runtime ends.
#[derive(Debug)]
pub struct Server {
    services: Vec<JoinHandle<()>>,
    /// They remove their files when they are dropped.
    _files: (SocketFile, Option<TokenFile>),
}

impl Server {
    /// Makes the Unix socket `path` and serves `router` there; see [`Sockets::open`] and [`serve`](Self::serve).
    ///
    /// # Errors
    /// Those of [`Sockets::open`].
    pub fn start(path: &Path, router: Router) -> Result<Self, Failure> {
        Self::serve(Sockets::open(path, None)?, router)
    }

    /// Serves `router` at sockets that were made before.
    ///
    /// # Errors
    /// The runtime does not take a socket.
    pub fn serve(sockets: Sockets, router: Router) -> Result<Self, Failure> {
        let Sockets { unix, loopback } = sockets;
        let UnixSocket {
            listener,
            callers,
            file,
            ..
        } = unix;
        let listener = UnixListener::from_std(listener).map_err(Failure::negative)?;
        let mut services = vec![tokio::spawn(serve_unix(listener, callers, router.clone()))];
        let token_file = match loopback {
            None => None,
            Some(LoopbackSocket {
                listener,
                address,
                token,
                file,
            }) => {
                let listener = TcpListener::from_std(listener).map_err(Failure::negative)?;
                tracing::info!(%address, token = %file.path().display(), "the API is served over TCP, too");
                let entrance = Entrance::Loopback { address, token };
                services.push(tokio::spawn(serve_loopback(listener, guarded(router, entrance))));
                Some(file)
            }
        };
        Ok(Self {
            services,
            _files: (file, token_file),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for service in &self.services {
            service.abort();
        }
    }
}

/// Accepts callers of the Unix socket, and says to those who may not use it that they may not.
async fn serve_unix(listener: UnixListener, callers: Callers, router: Router) {
    let welcome = guarded(router, Entrance::Socket);
    let refused = Router::new().fallback(async || refuse(Refusal::Caller));
    let refused = refused.layer(middleware::map_response(with_headers));
    let (room, refusals) = (
        Arc::new(Semaphore::new(CONNECTIONS)),
        Arc::new(Semaphore::new(REFUSALS)),
    );
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else {
            continue;
        };
        if callers.let_in(&stream) {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            serve(stream, welcome.clone(), permit, CONNECTION_LIFE);
        } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            serve(stream, refused.clone(), permit, REFUSAL_LIFE);
        }
    }
}

/// Accepts connections from this machine; who they are is found out by their requests.
async fn serve_loopback(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Some((stream, from)) = accepted(listener.accept().await).await else {
            continue;
        };
        // The socket takes packets from the card lo alone; should that ever not hold, this does.
        if !from.ip().is_loopback() {
            tracing::warn!("dropped a connection to the API from another machine");
            continue;
        }
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        serve(stream, router.clone(), permit, CONNECTION_LIFE);
    }
}

/// What was accepted, or a pause: at its limit of open files the system refuses until some are closed.
async fn accepted<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::debug!(%error, "a connection to the API cannot be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection for `life` at most, on a task of its own.
fn serve<S>(stream: S, router: Router, permit: OwnedSemaphorePermit, life: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let _permit = permit;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(MOST_HEADERS)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // However it ends, it has ended; nobody is told of requests that are none.
        let _ = tokio::time::timeout(life, connection).await;
    });
}

/// Lets only those requests through to `router` that the entrance admits, with their whole bodies.
fn guarded(router: Router, entrance: Entrance) -> Router {
    router
        .layer(middleware::from_fn_with_state(Arc::new(entrance), guard))
        .layer(middleware::map_response(with_headers))
}

async fn guard(State(entrance): State<Arc<Entrance>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = admit(&parts, &entrance) {
        return refuse(refusal);
    }
    // Nothing waits for a slow body but this, and no handler gets a part of one.
    let body = match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, LONGEST_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_too_long(&error) => return refuse(Refusal::TooLong),
        Ok(Err(_)) | Err(_) => return refuse(Refusal::Incomplete),
    };
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The answer to a request that is not let in, after which the connection is closed.
fn refuse(refusal: Refusal) -> Response {
    tracing::debug!(reason = %refusal, "a request to the API is refused");
    let reply = ErrorReply {
        schema: SCHEMA,
        error: refusal.into(),
    };
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (refusal.status(), close, Json(reply)).into_response()
}

fn is_too_long(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// What every answer carries: the schema, and for browsers, should one get to see it, that it is no script, for no other
/// page, and not to be kept.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("farlan-schema"), HeaderValue::from(SCHEMA));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// How many connections each socket serves at a time; each carries one request at a time. Further ones wait.
const CONNECTIONS: usize = 64;

/// How many callers are told at a time that they may not; further ones are hung up on.
const REFUSALS: usize = 8;

/// How long a connection lasts at most: longer than the longest request, a ping that may wait a minute.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// How long a caller has to be told that it may not.
const REFUSAL_LIFE: Duration = Duration::from_secs(5);

/// How long the lines before a body may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of the longest lines before a body, together; also of the buffer for reading.
const LONGEST_HEAD: usize = 16 * 1024;

/// How many headers a request may have.
const MOST_HEADERS: usize = 48;

/// Between two attempts to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
