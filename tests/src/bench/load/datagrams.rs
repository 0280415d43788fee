//! Many UDP packets by one system call.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Most packets by one call.
pub(super) const AT_ONCE: usize = 64;

/// Each packet begins with its number, so many bytes.
pub(super) const NUMBER: usize = 8;

/// Bytes kept of a received packet; more are cut off.
const KEPT: usize = 64;

/// Bytes of a receive buffer that does not overflow while the receiver has no processor for a quarter of a second: that
/// loss would not be the LAN's.
const RECEIVE_BUFFER: i32 = 128 << 20;

/// Sends packets over a connected socket; returns how many the kernel took.
///
/// # Errors
/// What `sendmmsg(2)` reports; a full buffer is none, and takes nothing.
pub(super) fn send_many(socket: &UdpSocket, packets: &[Vec<u8>]) -> io::Result<usize> {
    let count = packets.len().min(AT_ONCE);
    // SAFETY: iovec and mmsghdr are plain C structures for which all zeros is valid.
    let (mut vectors, mut messages): ([libc::iovec; AT_ONCE], [libc::mmsghdr; AT_ONCE]) = unsafe { mem::zeroed() };
    for ((packet, vector), message) in packets.iter().zip(&mut vectors).zip(&mut messages) {
        vector.iov_base = packet.as_ptr().cast_mut().cast();
        vector.iov_len = packet.len();
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` messages point to vectors that live as long, and those to packets that are only read.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => {
            let error = io::Error::last_os_error();
            let is_full = error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS);
            if is_full { Ok(0) } else { Err(error) }
        }
    }
}

/// Has the kernel cut whatever is sent over a socket into datagrams of `segment` bytes, and give what arrived of it as one.
///
/// # Errors
/// The kernel knows neither or not both.
pub(super) fn hand_over_whole(socket: &UdpSocket, segment: u16) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_UDP, libc::UDP_SEGMENT, segment.into())?;
    set_option(socket, libc::IPPROTO_UDP, libc::UDP_GRO, 1)?;
    widen_receive_buffer(socket)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, RECEIVE_BUFFER)
}

/// Room for received packets.
#[derive(Debug)]
pub(super) struct Received {
    buffers: Vec<[u8; KEPT]>,
    lengths: Vec<usize>,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            buffers: vec![[0; KEPT]; AT_ONCE],
            lengths: Vec::new(),
        }
    }
}

impl Received {
    /// The beginnings of the packets received by the last call.
    pub(super) fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let both = self.buffers.iter().zip(&self.lengths);
        both.map(|(buffer, length)| &buffer[..*length])
    }
}

/// Waits for a packet and takes all that are there.
///
/// # Errors
/// What `recvmmsg(2)` reports, for instance that nothing came in the socket's read timeout.
pub(super) fn receive_many(socket: &UdpSocket, received: &mut Received) -> io::Result<()> {
    // SAFETY: iovec and mmsghdr are plain C structures for which all zeros is valid.
    let (mut vectors, mut messages): ([libc::iovec; AT_ONCE], [libc::mmsghdr; AT_ONCE]) = unsafe { mem::zeroed() };
    for ((buffer, vector), message) in received.buffers.iter_mut().zip(&mut vectors).zip(&mut messages) {
        vector.iov_base = buffer.as_mut_ptr().cast();
        vector.iov_len = KEPT;
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
    }
    received.lengths.clear();
    let count = received.buffers.len() as u32;
    // SAFETY: there are `count` messages, each points to a vector that lives as long, and that to KEPT bytes of its own.
    let came = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_WAITFORONE,
            std::ptr::null_mut(),
        )
    };
    let came = usize::try_from(came).map_err(|_| io::Error::last_os_error())?;
    let lengths = messages[..came]
        .iter()
        .map(|message| (message.msg_len as usize).min(KEPT));
    received.lengths.extend(lengths);
    Ok(())
}

/// Gives a socket a large receive buffer, whatever the system's limit is.
///
/// # Errors
/// What `setsockopt(2)` reports, for instance that the caller is not root.
pub(super) fn widen_receive_buffer(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)
}

fn set_option(socket: &UdpSocket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: pointer and length describe a live i32, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
