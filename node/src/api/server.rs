//! Serving the API on a Unix socket.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::{net::UnixListener, task::JoinHandle};

use super::metrics::{EXPOSITION, exposition};
use super::schema::{
    AddRequest, ConfiguredWorld, DownReply, ErrorReply, HostReply, HostRequest, JoinReply, JoinRequest, LeaveReply,
    LeaveRequest, Network, OpenRequest, OpenedNetwork, Peer, PingReply, PingRequest, RemoveRequest, SCHEMA, Status,
};
use crate::{
    daemon::Daemon,
    failure::{Failure, FailureKind},
};

/// A served socket; the file and the service vanish with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Which file it is.
    file: FileId,
    service: JoinHandle<()>,
}

impl Server {
    /// Serves `router` at the Unix socket `path`: mode 0660, of the group `farlan` if there is one. Its directory is
    /// made if it is missing.
    ///
    /// # Errors
    /// Another program serves that socket; something that is no socket is there, which stays as it is; the directory
    /// cannot be written.
    pub fn start(path: &Path, router: Router) -> Result<Self, Failure> {
        let group = group_id(GROUP);
        let (listener, file) = bind(path, group)?;
        let service = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the API has ended");
            }
        });
        Ok(Self {
            path: path.into(),
            file,
            service,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.service.abort();
        // Another program may have put its own file there since.
        if FileId::of(&self.path).is_ok_and(|file| file == self.file) {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode, by which a file is known whatever stands at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

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
        .route("/v1/opened", get(opened))
        .route("/v1/open", post(open))
        .route("/v1/close", post(close))
        .route("/metrics", get(metrics))
        .route("/v1/down", post(down))
        .route("/v1/ping", post(ping))
        .route("/v1/supernodes/add", post(add_supernode))
        .route("/v1/supernodes/remove", post(remove_supernode))
        .with_state(daemon);
    finish(routes)
}

/// Gives a router what all have in common: the answer to unknown requests and the header with the schema.
pub fn finish(routes: Router) -> Router {
    routes
        .fallback(async || {
            Failure::usage("this request is not known here; the daemon may be older than the program that asks")
        })
        .layer(axum::middleware::map_response(with_schema))
}

async fn with_schema(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(HeaderName::from_static("farlan-schema"), HeaderValue::from(SCHEMA));
    response
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

async fn opened(State(daemon): Shared) -> Answer<Vec<OpenedNetwork>> {
    Ok(Json(daemon.opened().await))
}

async fn open(State(daemon): Shared, body: Body<OpenRequest>) -> Answer<OpenedNetwork> {
    json(daemon.open(&content(body)?).await)
}

async fn close(State(daemon): Shared, body: Body<OpenRequest>) -> Answer<OpenedNetwork> {
    json(daemon.close(&content(body)?).await)
}

async fn metrics(State(daemon): Shared) -> Result<impl IntoResponse, Failure> {
    let status = daemon.status().await?;
    Ok(([(CONTENT_TYPE, EXPOSITION)], exposition(&status)))
}

async fn down(State(daemon): Shared) -> Answer<DownReply> {
    Ok(Json(daemon.down()))
}

async fn ping(State(daemon): Shared, body: Body<PingRequest>) -> Answer<PingReply> {
    json(daemon.ping(&content(body)?).await)
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

/// Binds the socket under another name and moves it to its place, so that it never stands there with looser
/// permissions and a leftover is replaced in one step.
fn bind(path: &Path, group: Option<u32>) -> Result<(UnixListener, FileId), Failure> {
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty() && !directory.exists())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|error| Failure::file("make the directory", directory, &error))?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        return Err(Failure::negative(format_args!(
            "{} exists and is no socket; give another path with --socket, or remove it",
            path.display()
        )));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::negative(format_args!(
            "another farlan answers at the socket {}; stop that one first, or give this one another with --socket",
            path.display()
        )));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let placed = || -> io::Result<(UnixListener, FileId)> {
        if fs::exists(&temporary)? {
            fs::remove_file(&temporary)?;
        }
        let listener = UnixListener::bind(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o660))?;
        if group.is_some() {
            // Refused to all but root, for whom the group matters.
            let _ = std::os::unix::fs::chown(&temporary, None, group);
        }
        // Moving keeps device and inode.
        let file = FileId::of(&temporary)?;
        fs::rename(&temporary, path)?;
        Ok((listener, file))
    };
    placed().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Failure::file("make the socket", path, &error)
    })
}

/// The id of a group by `/etc/group` (group(5): `name:password:id:members`).
fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The group whose members may use the API.
const GROUP: &str = "farlan";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Client;

    fn small_router() -> Router {
        finish(Router::new().route(
            "/v1/no",
            get(async || -> Answer<()> { Err(Failure::permission("not you")) }),
        ))
    }

    #[tokio::test]
    async fn a_socket_is_private_replaceable_and_exclusive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/farlan.sock");
        let server = Server::start(&path, small_router()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = Server::start(&path, small_router()).unwrap_err();
        assert!(second.message.contains("another farlan answers"), "{second}");
        drop(server);
        assert!(!path.exists());
        // A leftover of a killed daemon.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Server::start(&path, small_router()).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_or_anothers_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "text").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for there in [&path, &link, &directory.path().to_owned()] {
            let refused = Server::start(there, small_router()).unwrap_err();
            assert!(refused.message.contains("exists and is no socket"), "{refused}");
            assert!(refused.message.contains("--socket"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "text");

        let path = directory.path().join("s");
        let server = Server::start(&path, small_router()).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(server);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            3,
            "nothing else is left"
        );
    }

    #[tokio::test]
    async fn failures_reach_the_client_with_their_kind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _server = Server::start(&path, small_router()).unwrap();
        let client = Client::new(&path);
        let refused = client.get::<()>("/v1/no").await.unwrap_err();
        assert_eq!(refused, Failure::permission("not you"));
        let unknown = client.get::<()>("/v1/other").await.unwrap_err();
        assert_eq!(unknown.kind, FailureKind::Usage);
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no such group"), None);
    }
}
