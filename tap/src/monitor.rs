//! Word from the kernel that something about its devices changed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::error::TapError;

/// What a [`ChangeMonitor`] is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// A device comes, goes, or is brought up or down.
    Links,
    /// An address of any device comes, goes, or has passed the check for duplicates.
    Addresses,
    /// A route comes or goes.
    Routes,
}

impl Changes {
    fn groups(self) -> &'static [u32] {
        match self {
            Self::Links => &[libc::RTNLGRP_LINK],
            Self::Addresses => &[libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR],
            Self::Routes => &[libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE],
        }
    }
}

/// A non-blocking, close-on-exec descriptor that becomes readable when something changes. It may come from another
/// process, whose network namespace counts then.
#[derive(Debug)]
pub struct ChangeMonitor {
    descriptor: File,
}

impl ChangeMonitor {
    /// Begins to listen in the network namespace of the calling thread. Needs no privilege.
    ///
    /// # Errors
    /// [`TapError::Kernel`].
    pub fn open(changes: &[Changes]) -> Result<Self, TapError> {
        let open = || -> io::Result<OwnedFd> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            for group in changes.iter().flat_map(|changes| changes.groups()) {
                socket.add_membership(*group)?;
            }
            socket.as_fd().try_clone_to_owned()
        };
        open()
            .map(Self::from)
            .map_err(|error| TapError::refused("watch for changes", &error))
    }

    /// Takes in all that was told since the last call; returns whether there was something. An overrun counts too:
    /// whatever was missed, it was a change.
    ///
    /// # Errors
    /// Nothing will be told any more.
    pub fn drain(&self) -> io::Result<bool> {
        let mut told = false;
        let mut report = [0; REPORT];
        loop {
            match (&self.descriptor).read(&mut report) {
                // Nothing to read without an error is an end.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => told = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => told = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(told),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl From<OwnedFd> for ChangeMonitor {
    /// A monitor that somebody else opened. Every datagram, whatever it says, tells of a change.
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            descriptor: File::from(descriptor),
        }
    }
}

impl AsRawFd for ChangeMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for ChangeMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Room for the begin of a report; the rest is cut off, and only that it came matters.
const REPORT: usize = 4096;
