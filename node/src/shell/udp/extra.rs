//! The extra sockets of the underlay: each at a port that the system picks, opened when a datagram first leaves by it.
//!
//! Many are open at once for a second or two, while a way through a NAT is searched, and nothing comes in by most of
//! them. So they begin with the small buffers that the system gives to any socket. One by which something came may become
//! a path, and gets what the main socket has.

use std::{
    collections::BTreeMap,
    io,
    net::UdpSocket,
    os::fd::{AsFd, BorrowedFd},
};

use socket2::SockRef;

use super::{Family, UnderlayOffloads, enlarge_buffers, new_socket, overrun, set_option};

/// All extra sockets, by their numbers.
#[derive(Debug)]
pub(super) struct Extras {
    family: Family,
    offloads: UnderlayOffloads,
    open: BTreeMap<u16, Extra>,
    /// Those that nobody waits for yet.
    fresh: Vec<u16>,
    /// What closed ones had dropped.
    overrun: u32,
}

#[derive(Debug)]
struct Extra {
    socket: UdpSocket,
    /// Whether something came in by it.
    heard: bool,
}

impl Extras {
    /// None but `second`, which is number 0.
    pub(super) fn new(family: Family, offloads: UnderlayOffloads, second: Option<UdpSocket>) -> Self {
        let mut extras = Self {
            family,
            offloads,
            open: BTreeMap::new(),
            fresh: Vec::new(),
            overrun: 0,
        };
        if let Some(socket) = second {
            extras.add(0, socket);
        }
        extras
    }

    /// The socket, opened if it is not.
    ///
    /// # Errors
    /// Those of the system, which has no descriptor or port left; and that [`MAX_EXTRAS`] are open.
    pub(super) fn open(&mut self, number: u16) -> io::Result<&UdpSocket> {
        if !self.open.contains_key(&number) {
            if self.open.len() >= MAX_EXTRAS {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.add(number, new_socket(self.family, 0)?.into());
        }
        self.get(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add(&mut self, number: u16, socket: UdpSocket) {
        self.open.insert(number, Extra { socket, heard: false });
        self.fresh.push(number);
    }

    /// The socket, if it is open.
    pub(super) fn get(&self, number: u16) -> Option<&UdpSocket> {
        self.open.get(&number).map(|extra| &extra.socket)
    }

    /// Something came in by a socket.
    pub(super) fn heard(&mut self, number: u16) {
        let Some(extra) = self.open.get_mut(&number).filter(|extra| !extra.heard) else {
            return;
        };
        extra.heard = true;
        let socket = SockRef::from(&extra.socket);
        enlarge_buffers(&socket);
        if self.offloads.coalesce {
            // Without it datagrams come one by one.
            let _ = set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
    }

    /// Closes a socket; what waits in it is lost.
    pub(super) fn close(&mut self, number: u16) {
        if let Some(extra) = self.open.remove(&number) {
            self.overrun = self.overrun.wrapping_add(overrun(&extra.socket));
        }
        self.fresh.retain(|fresh| *fresh != number);
    }

    /// The sockets opened since this was last asked.
    pub(super) fn take_fresh(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.fresh)
    }

    /// A descriptor to wait for.
    pub(super) fn descriptor(&self, number: u16) -> Option<BorrowedFd<'_>> {
        self.get(number).map(AsFd::as_fd)
    }

    /// What all of them dropped, as [`overrun`].
    pub(super) fn overrun(&self) -> u32 {
        let open = self.open.values().map(|extra| overrun(&extra.socket));
        open.fold(self.overrun, u32::wrapping_add)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// Extra sockets open at one time: two searches' worth.
pub(super) const MAX_EXTRAS: usize = 512;
