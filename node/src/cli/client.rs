//! The program's side of the API.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use crate::{
    api::{ErrorReply, LoopbackAddress, Token},
    config::Config,
    failure::Failure,
};

/// Sends requests to the daemon, each over a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    start_hint: String,
}

/// Where the daemon answers.
#[derive(Clone, Debug)]
enum Place {
    /// At a Unix socket.
    Socket(PathBuf),
    /// At a loopback address, to whoever shows the token in a file. Each start of the daemon writes a new one.
    Loopback { address: SocketAddr, token: PathBuf },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Loopback { address, .. } => write!(f, "http://{address}"),
        }
    }
}

/// A connection to the daemon.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection, and what its requests carry to be answered.
struct Connected {
    stream: Box<dyn Stream>,
    host: String,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// A client of `farlan` at `socket`.
    pub fn new(socket: &Path) -> Self {
        let start = "farlan is not running here; start it with: farlan up";
        if socket == Config::default().socket {
            Self::with_hint(socket, start)
        } else {
            Self::with_hint(socket, format!("{start} --socket {}", socket.display()))
        }
    }

    /// A client that says `start_hint` when nobody serves `socket`.
    pub fn with_hint(socket: &Path, start_hint: impl Into<String>) -> Self {
        Self {
            place: Place::Socket(socket.into()),
            start_hint: start_hint.into(),
        }
    }

    /// A client of the `farlan` that serves TCP at `address` and has written its token to the file `token`.
    pub fn over_tcp(address: LoopbackAddress, token: PathBuf) -> Self {
        Self {
            place: Place::Loopback {
                address: address.address(),
                token,
            },
            start_hint: "farlan is not running here, or does not serve TCP (the key api.tcp of its configuration)"
                .into(),
        }
    }

    /// Where the daemon answers, for people.
    pub fn place(&self) -> impl fmt::Display {
        &self.place
    }

    /// Whether the daemon is one that a program without it would become: that at the Unix socket.
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// Asks for the document at `path`.
    ///
    /// # Errors
    /// The daemon's failure; [`DaemonDown`](crate::failure::FailureKind::DaemonDown) if nobody serves the socket,
    /// [`Permission`](crate::failure::FailureKind::Permission) if this user may not use it,
    /// [`Timeout`](crate::failure::FailureKind::Timeout) if no answer comes within 15 s.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.exchange(Method::GET, path, Vec::new(), TIMEOUT).await
    }

    /// Sends `body` to `path` and waits up to `timeout` beyond the time every request gets.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::usage)?;
        self.exchange(Method::POST, path, body, TIMEOUT + timeout).await
    }

    /// Sends a request without a body to `path`, and waits up to `limit` for the daemon to end, which closes the connection.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Timeout`](crate::failure::FailureKind::Timeout) if it goes on.
    pub async fn post_until_closed<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, Failure> {
        let connected = self.connect().await?;
        let sent = tokio::time::timeout(TIMEOUT, connected.send(Method::POST, path, Vec::new())).await;
        let (answer, connection) = sent.map_err(|_| self.silent())??;
        let answer = answer?;
        if tokio::time::timeout(limit, connection).await.is_err() {
            return Err(Failure::timeout(format_args!(
                "the daemon at {} is asked to end and has not yet",
                self.place
            )));
        }
        Ok(answer)
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let exchange = async {
            let (answer, connection) = self.connect().await?.send(method, path, body).await?;
            connection.abort();
            answer
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(self.silent()))
    }

    fn silent(&self) -> Failure {
        Failure::timeout(format_args!("the daemon at {} does not answer", self.place))
    }

    async fn connect(&self) -> Result<Connected, Failure> {
        match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                Ok(Connected {
                    stream: Box::new(stream.map_err(|error| self.unreachable(&error))?),
                    host: "farlan".into(),
                    authorization: None,
                })
            }
            Place::Loopback { address, token } => {
                let token = Token::read(token)?.header();
                let mut authorization = HeaderValue::from_str(&token).map_err(Failure::negative)?;
                authorization.set_sensitive(true);
                let stream = TcpStream::connect(address).await;
                Ok(Connected {
                    stream: Box::new(stream.map_err(|error| self.unreachable(&error))?),
                    host: address.to_string(),
                    authorization: Some(authorization),
                })
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::permission(format_args!(
                "you may not use {}; add yourself to the group farlan (sudo usermod -aG farlan $USER, then log in \
                 again), or use sudo",
                self.place
            )),
            _ => Failure::daemon_down(format_args!("nobody answers at {}: {}", self.place, self.start_hint)),
        }
    }
}

impl Connected {
    /// Sends a request; the answer, and what keeps the connection open.
    async fn send<T: DeserializeOwned>(
        self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(Result<T, Failure>, JoinHandle<()>), Failure> {
        let broken = |error: &dyn fmt::Display| Failure::daemon_down(format_args!("the daemon hung up: {error}"));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.stream))
            .await
            .map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::<Bytes>::from(body)).map_err(Failure::usage)?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let success = response.status().is_success();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| broken(&error))?
            .to_bytes();
        let answer = if success {
            serde_json::from_slice(&body).map_err(|error| {
                Failure::negative(format_args!(
                    "the daemon's answer is not understood ({error}); is it another version?"
                ))
            })
        } else {
            let reply = serde_json::from_slice::<ErrorReply>(&body);
            Err(reply.map_or_else(
                |_| Failure::negative("the daemon refused without a reason; is it another version?"),
                |reply| reply.error,
            ))
        };
        // Without the sender the connection would be closed from here.
        let connection = tokio::spawn(async move {
            let _sender = sender;
            // However it ends, it has ended.
            let _ = connection.await;
        });
        Ok((answer, connection))
    }
}

/// Refuses a path that is too long for a Unix socket.
///
/// # Errors
/// It has more than 98 bytes: the system takes 107 (unix(7): `sun_path` has 108 with the closing zero), and the socket is
/// made in a directory of its own beside its place, with the process id for a name.
pub fn check_socket(path: &Path) -> Result<(), Failure> {
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(Failure::usage(format_args!(
            "the path of the socket, {}, is too long: it has {length} bytes, and a socket's can have {LONGEST_SOCKET} \
             here; choose a shorter one",
            path.display()
        )));
    }
    Ok(())
}

/// Bytes of the longest path of a socket.
const LONGEST_SOCKET: usize = 98;

/// How long any request may take: more than the slowest thing the daemon does without being asked to wait.
const TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[tokio::test]
    async fn nobody_at_the_socket_means_the_daemon_is_down() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let failure = Client::new(&path).get::<()>("/v1/status").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::DaemonDown);
        let remedy = format!("farlan up --socket {}", path.display());
        assert!(failure.message.ends_with(&remedy), "{failure}");
        let nobody = format!("nobody answers at {}: ", path.display());
        assert!(failure.message.starts_with(&nobody), "{failure}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let failure = Client::new(&path).get::<()>("/v1/status").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::DaemonDown);
    }

    #[test]
    fn the_default_socket_needs_no_mention_in_the_remedy() {
        let failure = Client::new(&Config::default().socket).unreachable(&io::ErrorKind::NotFound.into());
        assert!(failure.message.ends_with("start it with: farlan up"), "{failure}");
    }

    #[test]
    fn paths_too_long_for_a_socket_are_refused_in_plain_words() {
        let path = |length: usize| PathBuf::from("/".repeat(length));
        assert_eq!(check_socket(&path(LONGEST_SOCKET)), Ok(()));
        let failure = check_socket(&path(LONGEST_SOCKET + 1)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains("too long: it has 99 bytes"), "{failure}");
        // The shortest name in the longest directory: `/s` there, and `/.4194304/s` where it is made.
        let longest = tempfile::tempdir().unwrap();
        let name = "d".repeat(LONGEST_SOCKET + 9 - longest.path().as_os_str().len() - 1);
        std::os::unix::net::UnixListener::bind(longest.path().join(name)).unwrap();
    }

    #[test]
    fn refusal_is_a_matter_of_permission() {
        let failure = Client::new(Path::new("/s")).unreachable(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(failure.kind, FailureKind::Permission);
        assert!(failure.message.contains("group farlan"), "{failure}");
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let answers: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{{{",
            b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno",
            b"gibberish\r\n\r\n",
        ];
        tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                stream.writable().await.unwrap();
                assert_eq!(stream.try_write(answer).unwrap(), answer.len());
                // Kept open until the client has read it.
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    drop(stream);
                });
            }
        });
        let client = Client::new(&path);
        for kind in [FailureKind::Negative, FailureKind::Negative, FailureKind::DaemonDown] {
            let failure = client.get::<u8>("/v1/status").await.unwrap_err();
            assert_eq!(failure.kind, kind, "{failure}");
        }
    }
}
