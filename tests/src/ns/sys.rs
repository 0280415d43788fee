//! The system calls std does not offer: entering a network namespace, packet sockets, signals.
//!
//! All unsafe code of the lab is here.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Largest packet a veth hands over whole: 64 KiB of segmentation super-packet and its headers.
pub const LARGEST_PACKET: usize = 65_536 + 256;

/// Length in bytes of the `virtio_net_hdr` in front of each packet of a socket opened [`Offloads::Kept`].
pub const VNET_HEADER: usize = 10;

/// Moves the calling thread into the network namespace that `namespace` was opened from.
///
/// # Errors
/// What `setns(2)` reports, for instance that the caller is not root.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns reads two integers; the descriptor is open for the length of the call.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Asks a process to end (SIGTERM).
///
/// # Errors
/// What `kill(2)` reports; the process may be gone already.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGTERM)
}

/// Asks a process to read its configuration again (SIGHUP).
///
/// # Errors
/// What `kill(2)` reports; the process may be gone already.
pub fn hang_up(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGHUP)
}

/// Ends a process at once (SIGKILL).
///
/// # Errors
/// What `kill(2)` reports; the process may be gone already.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGKILL)
}

/// Interrupts a process (SIGINT).
///
/// # Errors
/// As [`terminate`].
pub fn interrupt(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGINT)
}

/// Gives a socket a receive buffer beyond the system's limit, as root may.
///
/// # Errors
/// What `setsockopt(2)` reports.
pub fn set_receive_buffer(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    set_buffer(socket, libc::SO_RCVBUFFORCE, bytes)
}

/// The same for what it sent and nobody took yet: over loopback what waits at the receiver counts as that.
///
/// # Errors
/// Those of [`set_receive_buffer`].
pub fn set_send_buffer(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    set_buffer(socket, libc::SO_SNDBUFFORCE, bytes)
}

fn set_buffer(socket: &UdpSocket, option: libc::c_int, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live integer of the length given, which the call only reads.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Sends several datagrams of `size` bytes, of which the last may be shorter, on a connected socket as one piece that
/// the kernel cuts up (`UDP_SEGMENT`).
///
/// # Errors
/// What the kernel reports, for instance that it does not know that.
pub fn send_segmented(socket: &UdpSocket, datagrams: &[u8], size: u16) -> io::Result<()> {
    let size = libc::c_int::from(size);
    // SAFETY: the pointer is to a live integer of the length given, which the call only reads.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        )
    })?;
    socket.send(datagrams)?;
    Ok(())
}

/// Stops a process of ours until [`go_on`]: it gets no processor.
///
/// # Errors
/// As [`terminate`].
pub fn stand_still(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGSTOP)
}

/// Lets a process go on.
///
/// # Errors
/// As [`terminate`].
pub fn go_on(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGCONT)
}

/// Stops all processes of a group of ours until [`group_goes_on`].
///
/// # Errors
/// As [`terminate`].
pub fn group_stands_still(group: u32) -> io::Result<()> {
    signal_group(group, libc::SIGSTOP)
}

/// Lets all processes of a group go on.
///
/// # Errors
/// As [`terminate`].
pub fn group_goes_on(group: u32) -> io::Result<()> {
    signal_group(group, libc::SIGCONT)
}

/// Puts the calling thread before all ordinary ones, so that a timer fires when it is due on a busy machine.
///
/// # Errors
/// What `sched_setscheduler(2)` reports; the caller may go on without.
pub fn take_real_time_priority() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the pointer is to a live sched_param that the call only reads.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })?;
    Ok(())
}

/// Keeps the calling thread, and what it starts from now on, on one processor.
///
/// # Errors
/// What `sched_setaffinity(2)` reports, for instance that there is no such processor.
pub fn stay_on_processor(number: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is a plain C structure for which all zeros is valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if number >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number is one that a set has.
    unsafe { libc::CPU_SET(number, &mut set) };
    // SAFETY: pointer and length describe the live set, which the call only reads; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// Waits until one of two sockets has a packet or `timeout` has passed, to the nanosecond.
///
/// # Errors
/// What `ppoll(2)` reports; an interrupted wait is no error.
pub fn wait_readable(sockets: [&PacketSocket; 2], timeout: Duration) -> io::Result<()> {
    let mut polls = sockets.map(|socket| libc::pollfd {
        fd: socket.fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: `polls` holds two pollfd and the count says so; the timespec lives through the call; no signal mask.
    let ready = check(unsafe { libc::ppoll(polls.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) });
    match ready {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// What a [`PacketSocket`] does with packets whose checksum or segmentation the kernel has left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Each packet begins with its `virtio_net_hdr` ([`VNET_HEADER`] bytes), which a relay hands on unchanged.
    Kept,
    /// Packets are bare frames; for sockets on which no partial checksums are expected.
    Bare,
}

/// A packet socket (`AF_PACKET`) bound to one interface: whole Ethernet frames in and out.
///
/// It does not see frames that leave through the interface, only those that arrive.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    offloads: Offloads,
}

impl PacketSocket {
    /// Opens a socket on `interface` of the calling thread's namespace. Reads never block.
    ///
    /// # Errors
    /// What the kernel reports, for instance that there is no such interface.
    pub fn open(interface: &str, offloads: Offloads) -> io::Result<Self> {
        // SAFETY: socket takes three integers. Protocol 0 receives nothing until bind names one.
        let fd = check(unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        })?;
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd, offloads };
        socket.set_option(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        socket.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 32 << 20)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        if offloads == Offloads::Kept {
            socket.set_option(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        }
        socket.bind(interface)?;
        Ok(socket)
    }

    /// Sends one packet; it begins with a `virtio_net_hdr` where offloads are kept.
    ///
    /// # Errors
    /// What the kernel reports, for instance a frame longer than the interface takes.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length describe the live slice, which the call only reads.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Receives one packet, or nothing if none waits. The kernel takes the VLAN tag out of arriving frames;
    /// it is put back from the auxiliary data, so a bare frame is byte for byte what was on the wire.
    ///
    /// # Errors
    /// What the kernel reports, for instance that the interface went away.
    pub fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.receive_stamped()?.map(|(_, packet)| packet))
    }

    /// As [`receive`](Self::receive), with the time since 1970 at which the kernel saw the packet.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_stamped(&self) -> io::Result<Option<(Duration, Vec<u8>)>> {
        let mut packet = vec![0_u8; LARGEST_PACKET];
        let mut control = [0_u64; 16];
        let mut vector = libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: packet.len(),
        };
        // SAFETY: msghdr is a plain C structure for which all zeros is valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: all pointers in the header are to live buffers of the lengths given beside them.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(None)
            } else {
                Err(error)
            };
        };
        packet.truncate(length);
        if let Some(tag) = vlan_tag(&message) {
            let start = if self.offloads == Offloads::Kept {
                VNET_HEADER
            } else {
                0
            };
            insert_tag(&mut packet, start, tag);
        }
        Ok(Some((time_stamp(&message).unwrap_or_default(), packet)))
    }

    fn set_option(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        // SAFETY: pointer and length describe a live i32, which the call only reads.
        check(unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }

    fn bind(&self, interface: &str) -> io::Result<()> {
        let name = CString::new(interface)?;
        // SAFETY: the name is a live NUL-terminated string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let Ok(index @ 1..) = i32::try_from(index) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: sockaddr_ll is a plain C structure for which all zeros is valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: pointer and length describe the live sockaddr_ll, which the call only reads.
        check(unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }
}

/// Sends IPv4 packets whose headers the caller makes, sources included.
#[derive(Debug)]
pub struct RawSender(OwnedFd);

impl RawSender {
    /// Opens one in the namespace of the calling thread.
    ///
    /// # Errors
    /// What `socket(2)` reports, for instance that the caller is not root.
    pub fn open() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Hands the packets to the kernel in one call, and returns how many it took.
    ///
    /// # Errors
    /// What `sendmmsg(2)` reports of the first one.
    pub fn send(&self, to: SocketAddrV4, packets: &[Vec<u8>]) -> io::Result<usize> {
        // SAFETY: sockaddr_in is a plain C structure for which all zeros is valid.
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
        let mut parts: Vec<libc::iovec> = packets
            .iter()
            .map(|packet| libc::iovec {
                iov_base: packet.as_ptr().cast_mut().cast(),
                iov_len: packet.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: mmsghdr is a plain C structure for which all zeros is valid.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_name = (&raw mut address).cast();
                message.msg_hdr.msg_namelen = size_of_val(&address) as libc::socklen_t;
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: the messages, their parts and the address live until the call returns, which only reads what they point to.
        let sent = check(unsafe {
            libc::sendmmsg(
                self.0.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                0,
            )
        })?;
        usize::try_from(sent).map_err(io::Error::other)
    }
}

/// Finds the VLAN tag that the kernel took out of a packet: protocol and tag as they stood in the frame.
fn vlan_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the data of a message of this level and type is a tpacket_auxdata (packet(7)).
    let data: libc::tpacket_auxdata = unsafe { control(message, libc::SOL_PACKET, libc::PACKET_AUXDATA) }?;
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let protocol = if data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        libc::ETH_P_8021Q as u16
    } else {
        data.tp_vlan_tpid
    };
    let [p0, p1] = protocol.to_be_bytes();
    let [t0, t1] = data.tp_vlan_tci.to_be_bytes();
    Some([p0, p1, t0, t1])
}

/// Finds the time since 1970 at which the kernel saw a packet.
fn time_stamp(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the data of a message of this level and type is a timespec (socket(7)).
    let time: libc::timespec = unsafe { control(message, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) }?;
    Some(Duration::new(
        time.tv_sec.try_into().ok()?,
        time.tv_nsec.try_into().ok()?,
    ))
}

/// Finds the control message of that level and type.
///
/// # Safety
/// The kernel's data of such a message is a `T`, and `message` was filled by `recvmsg`.
unsafe fn control<T>(message: &libc::msghdr, level: i32, kind: i32) -> Option<T> {
    // SAFETY: the header was filled by recvmsg, so CMSG_FIRSTHDR and CMSG_NXTHDR walk the live control buffer; the
    // data is a T, says the caller, and is read unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == level && (*header).cmsg_type == kind {
                return Some(libc::CMSG_DATA(header).cast::<T>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// Puts a VLAN tag behind the two MAC addresses of the frame that begins at `start`, and moves the checksum
/// offset of a `virtio_net_hdr` before it accordingly.
fn insert_tag(packet: &mut Vec<u8>, start: usize, tag: [u8; 4]) {
    const MAC_ADDRESSES: usize = 12;
    const CHECKSUM_START: std::ops::Range<usize> = 6..8;
    let place = start + MAC_ADDRESSES;
    if packet.len() < place {
        return;
    }
    packet.splice(place..place, tag);
    if start == VNET_HEADER && packet[0] & 1 != 0 {
        let offset = u16::from_ne_bytes([packet[CHECKSUM_START.start], packet[CHECKSUM_START.start + 1]]);
        packet[CHECKSUM_START].copy_from_slice(&(offset + 4).to_ne_bytes());
    }
}

fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes two integers.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

fn signal_group(group: u32, signal: i32) -> io::Result<()> {
    let group = i32::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The group 1 and none at all mean everybody.
    if group <= 1 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: kill takes two integers.
    check(unsafe { libc::kill(-group, signal) })?;
    Ok(())
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
