//! The underlay: one UDP socket for IPv4 and IPv6.
//!
//! The socket is never connected, never lets the kernel fragment, and reports no ICMP errors: a path is judged by what
//! comes back over it, not by what a router claims about it.
#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    task::{Context, Poll},
};

use farlan_engine::{Batch, Received, Transmit};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};

/// A bound underlay socket, not yet tied to a runtime.
///
/// It is bound before the data plane starts, so that a taken port is reported to the person who starts the daemon.
#[derive(Debug)]
pub struct Underlay {
    socket: UdpSocket,
    family: Family,
}

/// Which addresses the socket understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// IPv6, and IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
    Dual,
    /// IPv4 only: this machine has no IPv6.
    V4,
}

impl Underlay {
    /// Binds UDP `port` (0: one the system picks) on all addresses, in both families where there are two.
    ///
    /// # Errors
    /// Those of the system: the port is taken (`AddrInUse`), or is not allowed to this user.
    pub fn bind(port: u16) -> io::Result<Self> {
        match Self::bind_family(Family::Dual, port) {
            Err(error) if no_ipv6(&error) => Self::bind_family(Family::V4, port),
            result => result,
        }
    }

    fn bind_family(family: Family, port: u16) -> io::Result<Self> {
        let (domain, any) = match family {
            Family::Dual => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            Family::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == Family::Dual {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        enlarge_buffers(&socket);
        never_fragment(&socket, family)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        Ok(Self {
            socket: socket.into(),
            family,
        })
    }

    /// The port it is bound to.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Ties the socket to the runtime of the calling thread.
    ///
    /// # Errors
    /// Those of registering the descriptor for readiness.
    ///
    /// # Panics
    /// Outside of a tokio runtime with IO switched on.
    pub(super) fn attach(self) -> io::Result<AttachedUnderlay> {
        Ok(AttachedUnderlay {
            socket: tokio::net::UdpSocket::from_std(self.socket)?,
            family: self.family,
        })
    }
}

/// The underlay socket in the data-plane thread.
#[derive(Debug)]
pub(super) struct AttachedUnderlay {
    socket: tokio::net::UdpSocket,
    family: Family,
}

impl AttachedUnderlay {
    /// Whether there may be something to receive; otherwise wakes the task when there is.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_recv_ready(context).map(|_| ())
    }

    /// Receives one datagram into the arena, with the address it came from.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(super) fn receive(&self, datagrams: &mut Batch<Received>) -> io::Result<()> {
        datagrams.read(LARGEST_DATAGRAM, |room| {
            let (length, source) = self.socket.try_recv_from(room)?;
            Ok((length, to_plain(source).into()))
        })?;
        Ok(())
    }

    /// Datagrams that the kernel dropped instead of queueing them for [`receive`](Self::receive), since the socket exists,
    /// modulo 2^32: its buffer was full, or (rarely) their checksum was wrong. 0 where the kernel does not tell.
    pub(super) fn overrun(&self) -> u32 {
        let mut info = [0u32; MEMINFO_WORDS];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the descriptor is open for the whole call, and pointer and length describe the live array, of which the
        // kernel writes at most that many bytes.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        if result == 0 { info[MEMINFO_DROPS] } else { 0 }
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of the system; `WouldBlock` when its queue is full. None of them concerns later datagrams.
    pub(super) fn send(&self, transmit: &Transmit, datagram: &[u8]) -> io::Result<()> {
        let destination = self.family.to_socket(transmit.destination)?;
        match transmit.ttl {
            // Not by the runtime's own call, which sends only once it has seen the socket writable.
            None => SockRef::from(&self.socket).send_to(datagram, &destination.into()),
            Some(ttl) => self.send_with_ttl(ttl, destination, datagram),
        }
        .map(|_| ())
    }

    fn send_with_ttl(&self, ttl: u8, destination: SocketAddr, datagram: &[u8]) -> io::Result<usize> {
        let control = TtlMessage::new(ttl, to_plain(destination).is_ipv4());
        let destination = SockAddr::from(destination);
        let buffers = [io::IoSlice::new(datagram)];
        let message = MsgHdr::new()
            .with_addr(&destination)
            .with_buffers(&buffers)
            .with_control(control.as_bytes());
        SockRef::from(&self.socket).sendmsg(&message, 0)
    }
}

impl Family {
    /// The form in which the socket takes `address`.
    fn to_socket(self, address: SocketAddr) -> io::Result<SocketAddr> {
        match (self, address) {
            (Self::Dual, SocketAddr::V4(v4)) => Ok(SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())),
            (Self::Dual, SocketAddr::V6(_)) | (Self::V4, SocketAddr::V4(_)) => Ok(address),
            (Self::V4, SocketAddr::V6(_)) => Err(io::ErrorKind::NetworkUnreachable.into()),
        }
    }
}

/// The address as the engine knows it: IPv4 is IPv4, however the socket shows it.
fn to_plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// A control message that sets the IP time to live (hop limit) of one datagram.
///
/// Laid out as `struct cmsghdr` with an `int` behind it (cmsg(3)), padded to the alignment of the header.
#[repr(C)]
struct TtlMessage {
    header: libc::cmsghdr,
    ttl: libc::c_int,
    padding: [u8; TTL_PADDING],
}

/// Bytes that fill [`TtlMessage`] up to a multiple of the header's alignment, so that it has no hidden padding.
const TTL_PADDING: usize = align_of::<libc::cmsghdr>() - size_of::<libc::c_int>() % align_of::<libc::cmsghdr>();

impl TtlMessage {
    fn new(ttl: u8, ipv4: bool) -> Self {
        // SAFETY: a `cmsghdr` consists of integers (and, with some C libraries, explicit padding), for which all-zero
        // bytes are valid.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<libc::c_int>()) as _;
        // A mapped IPv4 destination takes the IPv4 option on an IPv6 socket too.
        (header.cmsg_level, header.cmsg_type) = if ipv4 {
            (libc::IPPROTO_IP, libc::IP_TTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        };
        Self {
            header,
            ttl: ttl.into(),
            padding: [0; TTL_PADDING],
        }
    }

    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the type is `repr(C)` of integers whose sizes leave no gaps, so every byte is initialised, and the
        // slice borrows `self`.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// Gives the socket [`SOCKET_BUFFER`] bytes in each direction, or what it may have of them.
///
/// Many systems allow 212,992 bytes (`net.core.rmem_max`), a hundred datagrams of full size: they are lost whenever the
/// thread does not run for some milliseconds. CAP_NET_ADMIN, which a node has for its cards, lifts that limit. Without it
/// the kernel silently grants what the limit leaves; less only means earlier drops under load.
fn enlarge_buffers(socket: &Socket) {
    let bytes = SOCKET_BUFFER as libc::c_int;
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
}

/// Sets the don't-fragment bit on everything sent and makes the kernel ignore learned path MTUs: the engine probes
/// paths itself, and an ICMP message that anybody can forge must not shrink them.
fn never_fragment(socket: &Socket, family: Family) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    if family == Family::Dual {
        set_option(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )?;
    }
    Ok(())
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call, and the pointer and length describe one live `c_int`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the error means that this machine has no IPv6.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

/// Bytes asked for in each direction: some 30 ms of a 1 Gbit/s link.
const SOCKET_BUFFER: usize = 4 << 20;

/// Words that the kernel fills for `SO_MEMINFO` (`SK_MEMINFO_VARS` of `linux/sock_diag.h`).
const MEMINFO_WORDS: usize = 9;

/// The word that counts drops (`SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;

/// Bytes of the largest datagram taken: a whole frame of the largest network MTU (9000) with everything around it. What
/// is longer is cut by the kernel and then fails authentication.
const LARGEST_DATAGRAM: usize = 9216;

#[cfg(test)]
mod tests {
    use super::*;

    fn transmit(destination: SocketAddr, ttl: Option<u8>) -> Transmit {
        Transmit { destination, ttl }
    }

    /// Waits for one datagram; a lost one fails the test.
    async fn receive(socket: &AttachedUnderlay) -> (SocketAddr, Vec<u8>) {
        let mut batch = Batch::with_capacity(1, LARGEST_DATAGRAM);
        let wait = async {
            while batch.is_empty() {
                std::future::poll_fn(|context| socket.poll_readable(context)).await;
                let _ = socket.receive(&mut batch);
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), wait)
            .await
            .unwrap();
        let (label, bytes) = batch.packet(0).unwrap();
        (label.source, bytes.to_vec())
    }

    #[tokio::test]
    async fn ipv4_peers_are_seen_as_ipv4() {
        let a = Underlay::bind(0).unwrap();
        let b = Underlay::bind(0).unwrap();
        let (port_a, port_b) = (a.port().unwrap(), b.port().unwrap());
        let (a, b) = (a.attach().unwrap(), b.attach().unwrap());
        let to_b = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port_b);
        for ttl in [None, Some(5)] {
            a.send(&transmit(to_b, ttl), b"hello").unwrap();
            let (source, bytes) = receive(&b).await;
            assert_eq!(source, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port_a));
            assert_eq!(bytes, b"hello");
        }
        let nothing = b.receive(&mut Batch::default()).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn the_time_to_live_reaches_the_wire() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        let raw = SockRef::from(&receiver);
        let on: libc::c_int = 1;
        // SAFETY: as in `set_option`.
        let result = unsafe {
            libc::setsockopt(
                receiver.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_RECVTTL,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
        let sender = Underlay::bind(0).unwrap().attach().unwrap();
        sender
            .send(&transmit(receiver.local_addr().unwrap(), Some(5)), b"short-lived")
            .unwrap();

        let mut data = [std::mem::MaybeUninit::new(0u8); 64];
        let mut buffers = [socket2::MaybeUninitSlice::new(&mut data)];
        let mut control = [std::mem::MaybeUninit::new(0u8); 64];
        let mut message = socket2::MsgHdrMut::new()
            .with_buffers(&mut buffers)
            .with_control(&mut control);
        assert_eq!(raw.recvmsg(&mut message, 0).unwrap(), 11);
        // SAFETY: the buffer was initialised above.
        let control: Vec<u8> = control.iter().map(|byte| unsafe { byte.assume_init() }).collect();
        let expected = TtlMessage::new(5, true);
        let length = size_of::<libc::cmsghdr>() + size_of::<libc::c_int>();
        assert_eq!(control[..length], expected.as_bytes()[..length]);
    }

    #[tokio::test]
    async fn what_the_full_buffer_drops_is_counted() {
        let receiver = Underlay::bind(0).unwrap();
        SockRef::from(&receiver.socket).set_recv_buffer_size(4096).unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), receiver.port().unwrap());
        let receiver = receiver.attach().unwrap();
        assert_eq!(receiver.overrun(), 0);
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for _ in 0..50 {
            sender.send_to(&[0; 1000], to).unwrap();
        }
        let mut batch = Batch::with_capacity(64, LARGEST_DATAGRAM);
        std::future::poll_fn(|context| receiver.poll_readable(context)).await;
        let received = std::iter::from_fn(|| receiver.receive(&mut batch).ok()).count();
        assert!((1..50).contains(&received), "{received}");
        assert_eq!(received + receiver.overrun() as usize, 50);
    }

    #[test]
    fn the_limit_of_the_system_does_not_bind_a_privileged_node() {
        let probe = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        let is_privileged = set_option(&probe, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 4096).is_ok();
        let allowed = |name: &str| {
            let path = format!("/proc/sys/net/core/{name}");
            // Some kernels show the limits in the first network namespace only.
            let limit = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
            Some(SOCKET_BUFFER.min(limit))
        };
        let wanted = |name| {
            if is_privileged {
                Some(SOCKET_BUFFER)
            } else {
                allowed(name)
            }
        };
        let underlay = Underlay::bind(0).unwrap();
        let socket = SockRef::from(&underlay.socket);
        // The kernel doubles what it is asked for: its bookkeeping takes room too.
        for (granted, wanted) in [
            (socket.recv_buffer_size(), wanted("rmem_max")),
            (socket.send_buffer_size(), wanted("wmem_max")),
        ] {
            let granted = granted.unwrap() / 2;
            assert_eq!(granted, wanted.unwrap_or(granted));
        }
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let first = Underlay::bind(0).unwrap();
        let error = Underlay::bind(first.port().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn addresses_translate_both_ways() {
        let v4: SocketAddr = "192.0.2.1:9600".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:9600".parse().unwrap();
        assert_eq!(
            Family::Dual.to_socket(v4).unwrap().to_string(),
            "[::ffff:192.0.2.1]:9600"
        );
        assert_eq!(to_plain(Family::Dual.to_socket(v4).unwrap()), v4);
        assert_eq!(to_plain(Family::Dual.to_socket(v6).unwrap()), v6);
        assert_eq!(Family::V4.to_socket(v4).unwrap(), v4);
        assert!(Family::V4.to_socket(v6).is_err());
    }
}
