//! The daemon's end of the way to the listener.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};

use super::messages::{LONGEST_REPORT, Report, Watch};
use crate::client::{pair, start_again};
use crate::privileges::Keep;

/// The way to a listener, which ends when this is dropped. Nothing here waits.
#[derive(Debug)]
pub struct LanListener {
    socket: OwnedFd,
    process: Mutex<Option<Child>>,
}

/// What [`LanListener::receive`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told<'a> {
    /// A report.
    Report(Report<'a>),
    /// Nothing at present.
    Nothing,
}

impl LanListener {
    /// Starts this program again, with `argument` alone, as the listener, which has CAP_NET_RAW if the caller has it.
    ///
    /// For a program with one thread, which has to give up its own privileges afterwards.
    ///
    /// # Errors
    /// The program cannot be started again; the system is short of something.
    pub fn start(argument: impl AsRef<OsStr>) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let process = start_again(argument.as_ref(), Keep::Listening, theirs, Stdio::null())?;
        let listener = Self::at(ours);
        *listener.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(listener)
    }

    /// A listener behind a socket, at which [`serve_listener`](super::serve_listener) listens; see [`pair`].
    pub fn at(socket: OwnedFd) -> Self {
        Self {
            socket,
            process: Mutex::new(None),
        }
    }

    /// Has it watch these cards, and no others, from now on.
    ///
    /// # Errors
    /// It has ended, or takes nothing at present.
    pub fn watch(&self, watch: &Watch) -> io::Result<()> {
        let bytes = watch.to_bytes();
        let mut nothing = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut nothing, flags)?;
        Ok(())
    }

    /// Takes its next report.
    ///
    /// # Errors
    /// It has ended, or says what makes no sense.
    pub fn receive<'a>(&self, room: &'a mut Vec<u8>) -> io::Result<Told<'a>> {
        // One byte more shows what is too long.
        room.resize(LONGEST_REPORT + 1, 0);
        let read = match recv(&self.socket, &mut room[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((read, _)) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Told::Nothing),
            Err(error) => return Err(error.into()),
        };
        let report = Report::parse(room.get(..read).unwrap_or_default());
        report.map(Told::Report).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Ends it, if it has not ended yet, so that nothing is left of it.
    pub fn end(&self) {
        // An error means that it has ended already.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if let Some(process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // Of one that takes its time the kernel keeps a line until this program ends.
            let _ = process.try_wait();
        }
    }
}

impl Drop for LanListener {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsRawFd for LanListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for LanListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
