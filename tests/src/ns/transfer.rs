//! TCP and UDP between two namespaces, with what arrived compared to what was sent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::command::wait_for;
use super::namespace::Namespace;

/// How long a transfer may stand still.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a receiver got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes.
    pub bytes: usize,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
    /// From the sender's first call until the receiver had the last byte.
    pub took: Duration,
}

/// Reproducible noise, which nothing can compress or guess.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends `data` over one TCP connection to a listener on `address` in another namespace.
///
/// # Errors
/// No connection, or either side stands still for 20 s.
pub fn tcp(from: &Namespace, to: &Namespace, address: IpAddr, data: &[u8]) -> Result<Received> {
    let listener = to.inside(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let receiver = scope.spawn(move || -> Result<(Vec<u8>, Instant)> {
            let mut stream = accept(&listener)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received).context("receiving")?;
            Ok((received, Instant::now()))
        });
        let start = from.inside(|| -> Result<Instant> {
            let start = Instant::now();
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connecting")?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(data).context("sending")?;
            stream.shutdown(Shutdown::Write)?;
            Ok(start)
        })??;
        let (bytes, end) = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(summary(&bytes, end - start))
    })
}

/// Sends `data` as one UDP datagram to a socket on `address` in another namespace.
///
/// # Errors
/// Nothing arrives within 20 s.
pub fn udp(from: &Namespace, to: &Namespace, address: IpAddr, data: &[u8]) -> Result<Received> {
    let receiver = to.inside(|| UdpSocket::bind(SocketAddr::new(address, 0)))??;
    let sender = from.inside(|| UdpSocket::bind(SocketAddr::new(unspecified(address), 0)))??;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    sender.send_to(data, receiver.local_addr()?).context("sending")?;
    let mut buffer = vec![0; 65_536];
    let length = receiver.recv(&mut buffer).context("receiving")?;
    Ok(summary(&buffer[..length], start.elapsed()))
}

fn summary(bytes: &[u8], took: Duration) -> Received {
    Received {
        bytes: bytes.len(),
        sha256: sha256(bytes),
        took,
    }
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let stream = wait_for("a TCP connection", PATIENCE, || match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
