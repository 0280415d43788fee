//! TCP and UDP between two namespaces, with what arrived compared to what was sent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use socket2::SockRef;

use super::command::wait_for;
use super::namespace::Namespace;

/// How long a transfer may stand still.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that a [`SteadyTransfer`] sends at once: 1 MB/s, of which the queue of a card, 1000 frames, holds the second for
/// which a busy machine may leave a daemon without a processor.
const PIECE: usize = 20_000;

/// Time between two pieces of a [`SteadyTransfer`].
const PIECE_INTERVAL: Duration = Duration::from_millis(20);

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
    hexadecimal(&Sha256::digest(bytes))
}

/// Sends `data` over one TCP connection to a listener on `address` in another namespace.
///
/// # Errors
/// No connection, or either side stands still for 20 s.
pub fn tcp(from: &Namespace, to: &Namespace, address: IpAddr, data: &[u8]) -> Result<Received> {
    tcp_by(from, to, address, data, None)
}

/// As [`tcp`], with a congestion control of the kernel other than the system's.
///
/// # Errors
/// As [`tcp`]; the kernel does not have it.
pub fn tcp_by(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    data: &[u8],
    control: Option<&str>,
) -> Result<Received> {
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
            if let Some(control) = control {
                let set = SockRef::from(&stream).set_tcp_congestion(control.as_bytes());
                set.with_context(|| format!("the kernel's congestion control {control}"))?;
            }
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

/// A TCP connection over which a piece of noise goes every `PIECE_INTERVAL` until it is stopped.
#[derive(Debug)]
pub struct SteadyTransfer {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<String>>,
    receiver: JoinHandle<Result<(String, usize)>>,
}

impl SteadyTransfer {
    /// Connects to a listener on `address` in another namespace and begins to send.
    ///
    /// # Errors
    /// No connection.
    pub fn start(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<Self> {
        let listener = to.inside(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
        let address = listener.local_addr()?;
        let connect = || TcpStream::connect_timeout(&address, PATIENCE).context("connecting");
        let mut outgoing = from.inside(connect)??;
        outgoing.set_write_timeout(Some(PATIENCE))?;
        let mut incoming = accept(&listener)?;
        incoming.set_read_timeout(Some(PATIENCE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let sender = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (mut digest, mut noise) = (Sha256::new(), ChaCha8Rng::seed_from_u64(3));
                let mut piece = vec![0; PIECE];
                while !stop.load(Ordering::Relaxed) {
                    noise.fill_bytes(&mut piece);
                    outgoing.write_all(&piece).context("sending")?;
                    digest.update(&piece);
                    thread::sleep(PIECE_INTERVAL);
                }
                outgoing.shutdown(Shutdown::Write)?;
                Ok(hexadecimal(&digest.finalize()))
            }
        });
        let receiver = thread::spawn(move || {
            let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 65_536]);
            loop {
                let length = incoming.read(&mut buffer).context("receiving")?;
                if length == 0 {
                    return Ok((hexadecimal(&digest.finalize()), bytes));
                }
                digest.update(&buffer[..length]);
                bytes += length;
            }
        });
        Ok(Self { stop, sender, receiver })
    }

    /// Ends the connection and returns how many bytes have come through it.
    ///
    /// # Errors
    /// It stood still for 20 s, or what was received is not what was sent.
    pub fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self
            .sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let received = self
            .receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (received, bytes) = received?;
        ensure!(sent == received, "{bytes} bytes arrived, but not those sent");
        Ok(bytes)
    }
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
