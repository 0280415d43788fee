//! DNS at a port of the loopback interface, over UDP and TCP (RFC 7766).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
};

use super::{Directory, answer, dns::LONGEST_DATAGRAM};

/// A responder, which ends when it is dropped.
#[derive(Debug)]
pub struct Responder {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Responder {
    /// Answers at this port of 127.0.0.1, or at one that the system picks for 0.
    ///
    /// # Errors
    /// The port is taken or not permitted.
    pub async fn start(directory: Arc<RwLock<Directory>>, port: u16) -> io::Result<Self> {
        let (udp, tcp) = bind(port).await?;
        let port = udp.local_addr()?.port();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_datagrams(Arc::clone(&directory), udp));
        tasks.spawn(serve_streams(directory, tcp));
        Ok(Self { port, _tasks: tasks })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Both at one port. One that is free for UDP need not be so for TCP.
async fn bind(port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Err(_) if port == 0 && tries < TRIES => tries += 1,
            tcp => return Ok((udp, tcp?)),
        }
    }
}

fn answered(directory: &RwLock<Directory>, message: &[u8]) -> Option<Vec<u8>> {
    let directory = directory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    answer(&directory, message)
}

async fn serve_datagrams(directory: Arc<RwLock<Directory>>, socket: UdpSocket) {
    let mut room = vec![0; usize::from(LONGEST_DATAGRAM)];
    loop {
        let received: io::Result<(usize, SocketAddr)> = socket.recv_from(&mut room).await;
        let Ok((length, from)) = received else {
            // What ICMP says about an earlier answer; and whatever it is, it must not go round at full speed.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let message = room.get(..length).unwrap_or_default();
        if let Some(answer) = answered(&directory, message) {
            // Whoever asked is gone.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_streams(directory: Arc<RwLock<Directory>>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST_STREAMS));
    let mut streams = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while streams.try_join_next().is_some() {}
        // Beyond that, whoever comes is turned away.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let directory = Arc::clone(&directory);
        streams.spawn(async move {
            // Whatever ends it, the other side sees that.
            let _ = tokio::time::timeout(LONGEST_STREAM, serve_stream(&directory, stream)).await;
            drop(place);
        });
    }
}

async fn serve_stream(directory: &RwLock<Directory>, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await?;
        let Some(answer) = answered(directory, &message) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat()).await?;
    }
}

/// How often a pair of free ports is looked for.
const TRIES: u32 = 20;

/// Streams at one time, and how long one lasts.
const MOST_STREAMS: usize = 32;
const LONGEST_STREAM: Duration = Duration::from_secs(20);

/// The pause after something went wrong.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// A question for the A record of `x.farlan.internal`.
    const QUESTION: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x06farlan\x08internal\x00\x00\x01\x00\x01";

    #[tokio::test]
    async fn questions_are_answered_over_udp_and_tcp() {
        let responder = Responder::start(Arc::default(), 0).await.unwrap();
        let address = (Ipv4Addr::LOCALHOST, responder.port());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut room = [0; 512];
        // Of what is no question nothing is seen, and it goes on.
        socket.send_to(b"x", address).await.unwrap();
        socket.send_to(QUESTION, address).await.unwrap();
        let length = socket.recv(&mut room).await.unwrap();
        let by_udp = room[..length].to_vec();
        assert_eq!((&by_udp[..2], by_udp[3] & 0xf), (&b"\x12\x34"[..], 3), "no such name");
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let length = u16::try_from(QUESTION.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).await.unwrap();
            stream.write_all(QUESTION).await.unwrap();
            let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, by_udp);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = Responder::start(Arc::default(), 0).await.unwrap();
        assert!(Responder::start(Arc::default(), first.port()).await.is_err());
    }
}
