use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::routing::{get, post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::*;
use crate::{
    api::{Answer, LoopbackAddress, Token, finish, token_path},
    cli::client::Client,
    failure::{Failure, FailureKind},
};

fn small_router() -> Router {
    finish(
        Router::new()
            .route("/v1/yes", get(async || -> Answer<u8> { Ok(Json(7)) }))
            .route(
                "/v1/no",
                get(async || -> Answer<()> { Err(Failure::permission("not you")) }),
            )
            .route(
                "/v1/echo",
                post(async |body: String| -> Answer<usize> { Ok(Json(body.len())) }),
            ),
    )
}

/// A server at a socket and a loopback address.
struct Both {
    _directory: tempfile::TempDir,
    _server: Server,
    socket: PathBuf,
    address: SocketAddr,
    token: String,
}

impl Both {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        // A port that was free a moment ago; others may take it.
        let (sockets, address) = (0..20)
            .find_map(|_| {
                let address = std::net::TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap();
                let tcp = LoopbackAddress::try_from(address.to_string()).unwrap();
                Some((Sockets::open(&socket, Some(tcp)).ok()?, address))
            })
            .expect("a free port");
        let server = Server::serve(sockets, small_router()).unwrap();
        let token = Token::read(&token_path(&socket)).unwrap().header().to_string();
        Self {
            _directory: directory,
            _server: server,
            socket,
            address,
            token,
        }
    }

    fn client(&self) -> Client {
        let tcp = LoopbackAddress::try_from(self.address.to_string()).unwrap();
        Client::over_tcp(tcp, token_path(&self.socket))
    }

    /// The answer to what is sent over TCP; `{host}` and `{token}` in it are the right ones.
    async fn tcp(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = request
            .replace("{host}", &self.address.to_string())
            .replace("{token}", &self.token);
        exchange(&mut stream, request.as_bytes()).await
    }

    async fn unix(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        exchange(&mut stream, request.as_bytes()).await
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A refusal may come with a reset after it.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

#[tokio::test]
async fn failures_reach_the_client_with_their_kind() {
    let both = Both::start();
    for client in [Client::new(&both.socket), both.client()] {
        assert_eq!(client.get::<u8>("/v1/yes").await, Ok(7));
        let refused = client.get::<()>("/v1/no").await.unwrap_err();
        assert_eq!(refused, Failure::permission("not you"));
        let unknown = client.get::<()>("/v1/other").await.unwrap_err();
        assert_eq!(unknown.kind, FailureKind::Usage);
        assert_eq!(client.post("/v1/echo", &"text", Duration::ZERO).await, Ok(6));
    }
}

#[tokio::test]
async fn over_tcp_the_token_decides() {
    let both = Both::start();
    let asked = "GET /v1/yes HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n";
    let answer = both.tcp(&format!("{asked}authorization: {{token}}\r\n\r\n")).await;
    assert_eq!(status_of(&answer), "200", "{answer}");
    assert!(
        answer.contains("farlan-schema: 1") && answer.contains("nosniff"),
        "{answer}"
    );
    for (authorization, status) in [
        ("", "401"),
        ("authorization: Bearer 0000\r\n", "401"),
        ("authorization: {token}0\r\n", "401"),
        ("authorization: {token}\r\nauthorization: {token}\r\n", "401"),
    ] {
        let answer = both.tcp(&format!("{asked}{authorization}\r\n")).await;
        assert_eq!(status_of(&answer), status, "{answer}");
        assert!(answer.contains("farlan-schema: 1"), "{answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
    let wrong = both.token.replace("Bearer ", "").chars().rev().collect::<String>();
    let file = both.socket.with_extension("wrong");
    std::fs::write(&file, wrong).unwrap();
    let tcp = LoopbackAddress::try_from(both.address.to_string()).unwrap();
    let failure = Client::over_tcp(tcp, file).get::<u8>("/v1/yes").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permission);
}

#[tokio::test]
async fn the_rules_hold_at_the_socket_too() {
    let both = Both::start();
    for (head, status) in [
        ("GET /v1/yes HTTP/1.1\r\nhost: farlan\r\n", "200"),
        ("GET /v1/yes HTTP/1.1\r\nhost: localhost\r\n", "200"),
        ("GET /v1/yes HTTP/1.1\r\nhost: evil.example\r\n", "403"),
        ("GET /v1/yes HTTP/1.0\r\n", "403"),
        ("GET /v1/yes HTTP/1.1\r\nhost: farlan\r\norigin: null\r\n", "403"),
        (
            "GET /v1/yes HTTP/1.1\r\nhost: farlan\r\nx-forwarded-for: 192.0.2.1\r\n",
            "403",
        ),
        ("GET http://farlan/v1/yes HTTP/1.1\r\nhost: farlan\r\n", "400"),
        ("GET /v1/yes?x HTTP/1.1\r\nhost: farlan\r\n", "400"),
        ("OPTIONS /v1/echo HTTP/1.1\r\nhost: farlan\r\n", "405"),
        ("POST /v1/echo HTTP/1.1\r\nhost: farlan\r\ncontent-length: 0\r\n", "415"),
        (
            "POST /v1/echo HTTP/1.1\r\nhost: farlan\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n",
            "413",
        ),
    ] {
        let answer = both.unix(&format!("{head}connection: close\r\n\r\n")).await;
        assert_eq!(status_of(&answer), status, "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_body_of_untold_length_has_a_bound_and_a_limit_of_time() {
    let both = Both::start();
    let head = "POST /v1/echo HTTP/1.1\r\nhost: farlan\r\ncontent-type: application/json\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let mut long = head.to_owned();
    for _ in 0..=LONGEST_BODY / 0x8000 {
        long.push_str("8000\r\n");
        long.push_str(&"x".repeat(0x8000));
        long.push_str("\r\n");
    }
    let mut stream = UnixStream::connect(&both.socket).await.unwrap();
    // It may be refused before all of it is sent.
    let _ = stream.write_all(long.as_bytes()).await;
    let answer = exchange(&mut stream, b"").await;
    assert_eq!(status_of(&answer), "413", "{answer}");
    let answer = both.unix(&format!("{head}3\r\nabc\r\n0\r\n\r\n")).await;
    assert_eq!(status_of(&answer), "200", "{answer}");
    assert!(answer.ends_with('3'), "{answer}");
}

/// In virtual time, so that the limits are waited for without waiting.
#[tokio::test(start_paused = true)]
async fn who_is_slow_is_hung_up_on() {
    let (requests, router) = counted();
    for (sent, status) in [
        ("GET /v1/yes HT", "nothing"),
        ("", "nothing"),
        (
            "POST /v1/echo HTTP/1.1\r\nhost: farlan\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\nabc",
            "408",
        ),
    ] {
        let (mut near, far) = tokio::io::duplex(4096);
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        serve(far, guarded(router.clone(), Entrance::Socket), permit, CONNECTION_LIFE);
        near.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status_of(&answer), status, "{sent}: {answer}");
        assert_eq!(room.available_permits(), 1, "its place is free again");
    }
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn no_connection_outlives_its_time() {
    let (requests, router) = counted();
    let (mut near, far) = tokio::io::duplex(4096);
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    serve(far, guarded(router, Entrance::Socket), permit, CONNECTION_LIFE);
    // It asks again and again, which is no reason to stay for ever.
    let begun = tokio::time::Instant::now();
    let ended = async {
        loop {
            if near
                .write_all(b"GET /v1/yes HTTP/1.1\r\nhost: farlan\r\n\r\n")
                .await
                .is_err()
            {
                return;
            }
            let mut answer = [0; 4096];
            if near.read(&mut answer).await.unwrap_or(0) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    tokio::time::timeout(2 * CONNECTION_LIFE, ended).await.unwrap();
    assert!(begun.elapsed() >= CONNECTION_LIFE);
    assert!(requests.load(Ordering::Relaxed) > 20);
}

fn counted() -> (Arc<AtomicU32>, Router) {
    let requests = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&requests);
    let count = move |request: Request| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move { request }
    };
    (requests, small_router().layer(middleware::map_request(count)))
}

#[tokio::test]
async fn heads_have_a_bound() {
    let both = Both::start();
    let head = "GET /v1/yes HTTP/1.1\r\nhost: farlan\r\nconnection: close\r\n";
    let many = format!("{head}{}\r\n", "x: y\r\n".repeat(MOST_HEADERS));
    let long = format!("{head}x: {}\r\n\r\n", "y".repeat(LONGEST_HEAD));
    for request in [many, long] {
        let mut stream = UnixStream::connect(&both.socket).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = exchange(&mut stream, b"").await;
        assert_eq!(status_of(&answer), "431", "{answer}");
    }
}

/// Idle connections take all places, and those who wait are served when one goes.
#[tokio::test]
async fn no_more_connections_are_served_than_there_are_places() {
    let both = Both::start();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(&both.socket).await.unwrap();
        stream.write_all(b"GET").await.unwrap();
        idle.push(stream);
    }
    let client = Client::new(&both.socket);
    let mut waiting = Box::pin(client.get::<u8>("/v1/yes"));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut waiting)
            .await
            .is_err()
    );
    // The other entrance has its own places.
    assert_eq!(both.client().get::<u8>("/v1/yes").await, Ok(7));
    idle.pop();
    assert_eq!(waiting.await, Ok(7));
}

#[tokio::test]
async fn socket_and_token_go_with_the_server() {
    let both = Both::start();
    let (socket, token) = (both.socket.clone(), token_path(&both.socket));
    assert!(socket.exists() && token.exists());
    let Both { _server, .. } = both;
    drop(_server);
    assert!(!socket.exists() && !token.exists());
}
