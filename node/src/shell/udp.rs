//! The underlay: one UDP socket for IPv4 and IPv6 at the port that everybody is told, and extra ones ([`extra`]).
//!
//! A socket is never connected, never lets the kernel fragment, and reports no ICMP errors: a path is judged by what
//! comes back over it, not by what a router claims about it.
//!
//! Datagrams leave and arrive many at a time where the kernel can do that (UDP_SEGMENT, UDP_GRO, recvmmsg). Receiving
//! is `quinn-udp`'s. Sending is not: it gives up segmentation for the socket at the first destination that refuses it,
//! and the kernel's errors are the same for one that only got too long a datagram.
#![allow(unsafe_code)]

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Instant,
};

use farlan_engine::{Batch, Leg, Socket as Via, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};

use self::extra::Extras;
use super::{
    data_plane::ShellCounters,
    segments::{Group, Refusals},
    streams::StreamListener,
};

mod extra;

/// A bound underlay socket, not yet in use.
///
/// It is bound before the data plane starts, so that a taken port is reported to the person who starts the daemon.
#[derive(Debug)]
pub struct Underlay {
    socket: UdpSocket,
    second: Option<UdpSocket>,
    family: Family,
    offloads: UnderlayOffloads,
    /// Where streams are taken, too.
    listeners: Vec<StreamListener>,
}

/// Which of the kernel's offloads the underlay uses, where the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderlayOffloads {
    /// Datagrams of one destination are handed over as one (UDP_SEGMENT).
    pub segment: bool,
    /// Datagrams of one source are taken as one (UDP_GRO).
    pub coalesce: bool,
}

impl Default for UnderlayOffloads {
    fn default() -> Self {
        Self {
            segment: true,
            coalesce: true,
        }
    }
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
        let socket = new_socket(family, port)?;
        enlarge_buffers(&socket);
        Ok(Self {
            socket: socket.into(),
            second: None,
            family,
            offloads: UnderlayOffloads::default(),
            listeners: Vec::new(),
        })
    }

    /// Binds a second socket to UDP `port`, which is [`farlan_engine::Socket::Extra`] 0 and stays open: by it a supernode
    /// answers from another port than it was asked at, which shows how a NAT behaves.
    ///
    /// # Errors
    /// Those of [`Self::bind`].
    pub fn bind_second(&mut self, port: u16) -> io::Result<()> {
        self.second = Some(new_socket(self.family, port)?.into());
        Ok(())
    }

    /// The port of the second socket, if there is one.
    pub fn second_port(&self) -> Option<u16> {
        let address = self.second.as_ref()?.local_addr();
        address.ok().map(|address| address.port())
    }

    /// With these offloads instead of all.
    #[must_use]
    pub fn with_offloads(self, offloads: UnderlayOffloads) -> Self {
        Self { offloads, ..self }
    }

    /// With streams taken at a listener as well.
    #[must_use]
    pub fn with_listener(mut self, listener: StreamListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Where streams are taken.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn takes_streams_at(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(StreamListener::address).collect()
    }

    /// The listeners, for the data plane to have.
    pub(super) fn take_listeners(&mut self) -> Vec<StreamListener> {
        std::mem::take(&mut self.listeners)
    }

    /// The port it is bound to.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Makes the socket ready for use by one thread.
    ///
    /// # Errors
    /// Those of setting it up.
    pub(super) fn attach(self) -> io::Result<AttachedUnderlay> {
        // The state is made from another socket. What it is made from comes to tell time, address and interface of
        // every datagram; and one that once told times makes the kernel take the time of all packets for as long as it
        // lives.
        let other = Socket::new(self.family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
        let state = UdpSocketState::new((&other).into())?;
        let socket = SockRef::from(&self.socket);
        let coalesces = self.offloads.coalesce && set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        Ok(AttachedUnderlay {
            family: self.family,
            segments: if self.offloads.segment {
                state.max_gso_segments()
            } else {
                1
            },
            refusals: Refusals::default(),
            slots: if coalesces { Slots::COALESCED } else { Slots::PLAIN },
            meta: vec![RecvMeta::default(); BATCH_SIZE].into(),
            state,
            extras: Extras::new(self.family, self.offloads, self.second),
            socket: self.socket,
        })
    }
}

/// The underlay sockets in the data-plane thread.
#[derive(Debug)]
pub(super) struct AttachedUnderlay {
    socket: UdpSocket,
    extras: Extras,
    family: Family,
    state: UdpSocketState,
    /// Datagrams that may leave in one system call; 1 without the offload.
    segments: usize,
    refusals: Refusals,
    slots: Slots,
    meta: Box<[RecvMeta]>,
}

/// The places into which one system call receives.
#[derive(Clone, Copy, Debug)]
struct Slots {
    count: usize,
    bytes: usize,
}

impl AttachedUnderlay {
    /// A batch with room for `calls` calls of [`receive`](Self::receive).
    pub(super) fn batch<M>(&self, calls: usize) -> Batch<M> {
        Batch::with_arena(calls * self.slots.count, calls * self.slots.count * self.slots.bytes)
    }

    /// Receives datagrams of one socket into the arena, with the leg they came by, by one system call; returns whether
    /// there may be more.
    ///
    /// # Errors
    /// Those of the system, which concern one datagram. That there is none is no error, nor that the socket is closed.
    pub(super) fn receive<M: From<Leg>>(&mut self, via: Via, datagrams: &mut Batch<M>) -> io::Result<bool> {
        let Slots { count, bytes } = self.slots;
        let socket = match via {
            Via::Main => &self.socket,
            Via::Extra(number) => {
                self.extras.heard(number);
                let Some(socket) = self.extras.get(number) else {
                    return Ok(false);
                };
                socket
            }
            Via::Stream(_) => return Ok(false),
        };
        datagrams.read_many(count * bytes, |room, places| {
            let mut slots = room.chunks_exact_mut(bytes);
            let mut buffers: [_; BATCH_SIZE] = array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
            let received = match self.state.recv(socket.into(), &mut buffers[..count], &mut self.meta) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            for (index, message) in self.meta[..received].iter().enumerate() {
                let source = Leg {
                    socket: via,
                    endpoint: to_plain(message.addr),
                };
                let slot = index * bytes;
                for start in (0..message.len).step_by(message.stride.max(1)) {
                    let length = message.stride.min(message.len - start).min(LARGEST_DATAGRAM);
                    places.add(source.into(), slot + start..slot + start + length);
                }
            }
            Ok(received == count)
        })
    }

    /// Datagrams that the kernel dropped instead of queueing them for [`receive`](Self::receive), of all sockets there
    /// were, modulo 2^32.
    pub(super) fn overrun(&self) -> u32 {
        overrun(&self.socket).wrapping_add(self.extras.overrun())
    }

    /// The extra sockets opened since this was last asked, which are to be waited for.
    pub(super) fn take_opened(&mut self) -> Vec<u16> {
        self.extras.take_fresh()
    }

    /// The descriptor of an extra socket, if it is open.
    pub(super) fn extra(&self, number: u16) -> Option<BorrowedFd<'_>> {
        self.extras.descriptor(number)
    }

    /// Closes an extra socket. The main one stays.
    pub(super) fn close(&mut self, via: Via) {
        if let Via::Extra(number) = via {
            self.extras.close(number);
        }
    }

    /// Sends datagrams in order. What cannot be sent is counted, and concerns no other.
    pub(super) fn send_all<'a>(
        &mut self,
        datagrams: impl IntoIterator<Item = (Transmit, &'a [u8])>,
        counters: &mut ShellCounters,
    ) {
        let mut group = Group::new(self.segments);
        for (transmit, datagram) in datagrams {
            if !group.join(transmit, datagram) {
                self.send_group(&group, counters);
                group.start(transmit, datagram);
            }
        }
        self.send_group(&group, counters);
    }

    fn send_group(&mut self, group: &Group<'_>, counters: &mut ShellCounters) {
        let Some(transmit) = group.transmit() else { return };
        let datagrams = group.datagrams();
        let segmented = datagrams.len() > 1 && self.is_segmented(transmit.destination.endpoint);
        let socket = match transmit.destination.socket {
            Via::Main => &self.socket,
            Via::Extra(number) => match self.extras.open(number) {
                Ok(socket) => socket,
                Err(_) => {
                    counters.underlay_no_socket += datagrams.len() as u64;
                    return;
                }
            },
            Via::Stream(_) => {
                counters.underlay_refused += datagrams.len() as u64;
                return;
            }
        };
        let sender = Sender {
            socket,
            family: self.family,
        };
        let mut refused = None;
        if segmented {
            match sender.send_segments(transmit.destination.endpoint, group) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    counters.underlay_full += datagrams.len() as u64;
                    return;
                }
                Err(error) => refused = Some(error),
            }
        }
        for (index, datagram) in datagrams.iter().enumerate() {
            match sender.send(&transmit, datagram) {
                // The first is as long as any, so it is not their length that was refused.
                Ok(()) if index == 0 => {
                    if let Some(error) = refused.take_if(|error| !is_shortage(error)) {
                        let destination = transmit.destination.endpoint;
                        tracing::debug!(%destination, %error, "segmentation offload refused");
                        self.refusals.note(destination, Instant::now());
                    }
                }
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => counters.underlay_full += 1,
                Err(_) => counters.underlay_refused += 1,
            }
        }
    }

    /// Whether datagrams to `destination` are handed over as one.
    fn is_segmented(&mut self, destination: SocketAddr) -> bool {
        self.refusals.is_empty() || self.refusals.permit(destination, Instant::now())
    }
}

/// A socket to send by.
struct Sender<'a> {
    socket: &'a UdpSocket,
    family: Family,
}

impl Sender<'_> {
    /// Sends a group by one system call: either all leave, or none.
    fn send_segments(&self, destination: SocketAddr, group: &Group<'_>) -> io::Result<()> {
        let segment = u16::try_from(group.segment()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let control = ControlMessage::new(libc::SOL_UDP, libc::UDP_SEGMENT, segment.to_ne_bytes());
        self.send_message(destination, group.datagrams(), &control)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of the system; `WouldBlock` when its queue is full. None of them concerns later datagrams.
    fn send(&self, transmit: &Transmit, datagram: &[u8]) -> io::Result<()> {
        let Some(ttl) = transmit.ttl else {
            let destination = self.family.to_socket(transmit.destination.endpoint)?;
            return SockRef::from(self.socket)
                .send_to(datagram, &destination.into())
                .map(|_| ());
        };
        let control = ControlMessage::ttl(ttl, !transmit.destination.is_ipv6());
        self.send_message(transmit.destination.endpoint, &[IoSlice::new(datagram)], &control)
    }

    fn send_message(&self, destination: SocketAddr, data: &[IoSlice<'_>], control: &ControlMessage) -> io::Result<()> {
        let destination = SockAddr::from(self.family.to_socket(destination)?);
        let message = MsgHdr::new()
            .with_addr(&destination)
            .with_buffers(data)
            .with_control(control.as_bytes());
        SockRef::from(self.socket).sendmsg(&message, 0).map(|_| ())
    }
}

/// The main socket.
impl AsFd for AttachedUnderlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Slots {
    /// A slot holds what the kernel coalesces at most, so that one source needs few of them; of many sources each needs
    /// one. Only the pages that something came into take memory.
    const COALESCED: Self = Self {
        count: 8,
        bytes: 1 << 16,
    };

    /// A slot holds one datagram.
    const PLAIN: Self = Self {
        count: BATCH_SIZE,
        bytes: LARGEST_DATAGRAM,
    };
}

impl Family {
    fn domain(self) -> Domain {
        match self {
            Self::Dual => Domain::IPV6,
            Self::V4 => Domain::IPV4,
        }
    }

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
pub(super) fn to_plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// A control message of up to 8 bytes, laid out as `struct cmsghdr` with the value behind it (cmsg(3)).
#[repr(C)]
struct ControlMessage {
    header: libc::cmsghdr,
    /// A multiple of the header's alignment, so that there is no hidden padding.
    value: [u8; 8],
}

impl ControlMessage {
    fn new<const LENGTH: usize>(level: libc::c_int, name: libc::c_int, value: [u8; LENGTH]) -> Self {
        const { assert!(LENGTH <= 8) };
        // SAFETY: a `cmsghdr` consists of integers (and, with some C libraries, explicit padding), for which all-zero
        // bytes are valid.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (size_of::<libc::cmsghdr>() + LENGTH) as _;
        (header.cmsg_level, header.cmsg_type) = (level, name);
        let mut padded = [0; 8];
        padded[..LENGTH].copy_from_slice(&value);
        Self { header, value: padded }
    }

    /// Sets the IP time to live (hop limit) of one datagram.
    fn ttl(ttl: u8, ipv4: bool) -> Self {
        // A mapped IPv4 destination takes the IPv4 option on an IPv6 socket too.
        let (level, name) = if ipv4 {
            (libc::IPPROTO_IP, libc::IP_TTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        };
        Self::new(level, name, libc::c_int::from(ttl).to_ne_bytes())
    }

    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the type is `repr(C)` of integers whose sizes leave no gaps, so every byte is initialised, and the
        // slice borrows `self`.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// A socket bound to `port` (0: one the system picks) on all addresses, which waits for nothing.
fn new_socket(family: Family, port: u16) -> io::Result<Socket> {
    let any = match family {
        Family::Dual => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let socket = Socket::new(family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
    if family == Family::Dual {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    never_fragment(&socket, family)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    Ok(socket)
}

/// Datagrams that the kernel dropped instead of queueing them at a socket, since it exists, modulo 2^32: its buffer was
/// full, or (rarely) their checksum was wrong. 0 where the kernel does not tell.
fn overrun(socket: &UdpSocket) -> u32 {
    let mut info = [0u32; MEMINFO_WORDS];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open for the whole call, and pointer and length describe the live array, of which the
    // kernel writes at most that many bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == 0 { info[MEMINFO_DROPS] } else { 0 }
}

/// Whether the error passes by itself: there was no memory at this moment.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Gives the socket [`SOCKET_BUFFER`] bytes in each direction, or what it may have of them.
///
/// Many systems allow 212,992 bytes (`net.core.rmem_max`), a hundred datagrams of full size: they are lost whenever the
/// thread does not run for some milliseconds. CAP_NET_ADMIN, which a node has for its cards, lifts that limit. Without
/// it the kernel silently grants what the limit leaves; less only means earlier drops under load.
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
pub(super) fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

/// Bytes asked for in each direction: some 30 ms of a 1 Gbit/s link.
///
/// The kernel grants twice that and counts the memory that datagrams occupy, from a little more than their length where
/// it coalesced them to about twice where it did not. More would save nothing where the machine is too slow, since
/// senders fill whatever there is; it would only make the queue longer.
const SOCKET_BUFFER: usize = 4 << 20;

/// Words that the kernel fills for `SO_MEMINFO` (`SK_MEMINFO_VARS` of `linux/sock_diag.h`).
const MEMINFO_WORDS: usize = 9;

/// The word that counts drops (`SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;

/// Bytes of the largest datagram taken: a whole frame of the largest network MTU (9000) with everything around it. What
/// is longer is cut by the kernel and then fails authentication.
const LARGEST_DATAGRAM: usize = 9216;

#[cfg(test)]
mod tests;
