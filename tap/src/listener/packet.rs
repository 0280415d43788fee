//! The packet sockets of the listener, as far as no safe call offers them.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::{sock_filter, sock_fprog, sockaddr_ll};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A socket that hears the frames of one card which `filter` lets through, those that leave too. It does not wait.
///
/// # Errors
/// There is no such card, or CAP_NET_RAW is missing.
pub(super) fn open(card: u32, filter: &[sock_filter]) -> io::Result<OwnedFd> {
    // Of no protocol it hears nothing, so nothing comes past the filter before it is there.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    set_socket_recv_buffer_size(&socket, BUFFER)?;
    attach(socket.as_fd(), filter)?;
    bind(socket.as_fd(), card)?;
    Ok(socket)
}

fn attach(socket: impl AsFd, filter: &[sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    let size = size_of::<sock_fprog>() as libc::socklen_t;
    let value = (&raw const program).cast();
    // SAFETY: the option takes a `sock_fprog` of that size, which outlives the call, as do the steps it points to; their number is
    // that of the slice, and the kernel only reads them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            value,
            size,
        )
    };
    done(result)
}

fn bind(socket: impl AsFd, card: u32) -> io::Result<()> {
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        // Only sockets of all protocols hear what leaves.
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: i32::try_from(card).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = size_of::<sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a whole `sockaddr_ll` of that size, which outlives the call, and the kernel only reads it.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), size) };
    done(result)
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Bytes that may wait at a card: a few dozen searches. What is beyond that, the kernel drops.
const BUFFER: usize = 64 << 10;
