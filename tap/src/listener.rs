//! The listener: the small process that hears which searches of games leave this machine's other cards.
//!
//! To hear what leaves a card takes a packet socket, and so CAP_NET_RAW; and by such a socket any frame can be sent. A daemon that
//! is reached from the network must not have one, so this process does: the same program, started anew before privileges are
//! given up, with CAP_NET_RAW alone and one thread. It reads what leaves the machine and nothing that comes in, and sends nothing but
//! reports to the daemon.
//!
//! * **The daemon tells** which cards to watch, and which ports count ([`Watch`]).
//! * **The kernel chooses** the frames, by the program of `filter`, and drops what does not fit a small buffer.
//! * **At most 100 frames a second** are handed over ([`Report`]), of one card and port 10 (20 at once), so that a program gone wild
//!   silences no other. What is beyond that, or is not taken by the daemon at once, is dropped and counted ([`Report::Dropped`]).
//!
//! A daemon that was taken over can have it hear other ports, and so learns what this machine sends to groups and to all over
//! UDP, which every machine of its LANs hears too.

mod client;
mod filter;
mod limit;
mod messages;
mod packet;

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, sendmsg,
};

pub use client::{LanListener, Told};
pub use messages::{LONGEST_FRAME, MOST_CARDS, MOST_RANGES, NoMessage, Ports, Report, Watch};

use crate::helper::{HelperError, confined, refused};
use crate::privileges::Keep;
use limit::{Limiter, destination_port};
use messages::LONGEST_WATCH;

/// Is the listener: gives up all it does not need, and serves at standard input until the other end is closed.
///
/// The signals by which a terminal or a service manager ends all processes of a service do not end it; the daemon does.
///
/// # Errors
/// It was started by somebody else, or its privileges cannot be given up.
pub fn run_listener() -> Result<(), HelperError> {
    let input = confined(NAME, Keep::Listening)?;
    serve_listener(input.as_fd()).map_err(refused("speak with farlan"))
}

/// Listens for whoever holds the other end of a socket of the kind SOCK_SEQPACKET, until that is closed. Cards are those of the network
/// namespace of the calling thread.
///
/// # Errors
/// Those of the socket; what is said there makes no sense.
pub fn serve_listener(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut listener = Listener {
        watch: Watch::default(),
        sockets: BTreeMap::new(),
        refused: BTreeMap::new(),
        limiter: Limiter::new(Instant::now()),
        limited: 0,
        untaken: 0,
        room: vec![0; LONGEST_FRAME],
    };
    loop {
        match listener.turn(socket) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// What the listener knows.
struct Listener {
    watch: Watch,
    /// One for each card that can be watched.
    sockets: BTreeMap<u32, OwnedFd>,
    /// The cards that cannot, with the kernel's error numbers, of which the daemon is still to be told.
    refused: BTreeMap<u32, i32>,
    limiter: Limiter,
    /// Frames that were too many since the daemon was told last.
    limited: u32,
    /// Frames that the daemon did not take since then.
    untaken: u32,
    room: Vec<u8>,
}

impl Listener {
    /// Waits for something, and does what there is to do. Whether the other end is still there.
    fn turn(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let now = Instant::now();
        if self.limiter.begin_second(now) {
            self.tell_dropped(socket)?;
        }
        self.tell_refused(socket)?;
        let may_read = self.limiter.may_read();
        let waits = !may_read || !self.refused.is_empty() || (self.limited, self.untaken) != (0, 0);
        // At least a moment, so that nobody turns in circles.
        let rest = waits.then(|| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(self.limiter.rest(now).subsec_nanos()).max(1_000_000),
        });
        let mut waited = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        if may_read {
            let cards = self.sockets.values();
            waited.extend(cards.map(|card| PollFd::new(card, PollFlags::IN)));
        }
        match poll(&mut waited, rest.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            result => result?,
        };
        let told = !waited[0].revents().is_empty();
        let heard = waited[1..].iter().map(|card| !card.revents().is_empty());
        let heard: Vec<u32> = self
            .sockets
            .keys()
            .zip(heard)
            .filter_map(|(card, heard)| heard.then_some(*card))
            .collect();
        if told && !self.take(socket)? {
            return Ok(false);
        }
        for card in heard {
            self.hand_over(socket, card)?;
        }
        Ok(true)
    }

    /// Tells the daemon what was dropped, if something was.
    fn tell_dropped(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let (limited, untaken) = (self.limited, self.untaken);
        if (limited, untaken) != (0, 0) && report(socket, Report::Dropped { limited, untaken })? {
            (self.limited, self.untaken) = (0, 0);
        }
        Ok(())
    }

    /// Tells the daemon which cards cannot be watched, as far as it takes that now.
    fn tell_refused(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some((&card, &errno)) = self.refused.first_key_value() {
            if !report(socket, Report::Refused { card, errno })? {
                break;
            }
            self.refused.remove(&card);
        }
        Ok(())
    }

    /// Takes one message of the daemon. Whether it is still there.
    fn take(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut room = [0; LONGEST_WATCH];
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut room)],
            // Without room for them, descriptors that come along are closed by the kernel.
            &mut RecvAncillaryBuffer::new(&mut []),
            RecvFlags::DONTWAIT,
        );
        let received = match received {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(true),
            // The daemon was killed.
            Err(rustix::io::Errno::CONNRESET) => return Ok(false),
            result => result?,
        };
        if received.bytes == 0 {
            return Ok(false);
        }
        let message = room.get(..received.bytes).unwrap_or_default();
        match Watch::parse(message) {
            Ok(watch) if !received.flags.contains(ReturnFlags::TRUNC) => self.set(watch),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }

    fn set(&mut self, watch: Watch) {
        if watch.ports() != self.watch.ports() {
            self.sockets.clear();
        }
        self.sockets.retain(|card, _| watch.cards().contains(card));
        self.refused.clear();
        let filter = filter::program(watch.ports());
        for &card in watch.cards() {
            if self.sockets.contains_key(&card) {
                continue;
            }
            match packet::open(card, &filter) {
                Ok(opened) => {
                    self.sockets.insert(card, opened);
                }
                Err(error) => {
                    self.refused.insert(card, error.raw_os_error().unwrap_or(libc::EIO));
                }
            }
        }
        self.watch = watch;
    }

    /// Hands over what has left a card, or a part of it, so that the others have their turn.
    fn hand_over(&mut self, socket: BorrowedFd<'_>, card: u32) -> io::Result<()> {
        for _ in 0..MOST_A_TURN {
            let Some(opened) = self.sockets.get(&card) else { break };
            if !self.limiter.may_read() {
                break;
            }
            match recv(opened, &mut self.room[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((read, length)) => {
                    let frame = self.room.get(..read).unwrap_or_default();
                    let is_handed_over = self.limiter.take(Instant::now(), card, destination_port(frame));
                    if !is_handed_over {
                        self.limited = self.limited.saturating_add(1);
                    } else if read == length && !report(socket, Report::Left { card, frame })? {
                        // What was cut is no search.
                        self.untaken = self.untaken.saturating_add(1);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    // The card is gone or was brought down, or something that the daemon should know of; it tells when to listen again.
                    self.sockets.remove(&card);
                    self.refused.insert(card, error.raw_os_error());
                }
            }
        }
        Ok(())
    }
}

/// Tells the daemon something, or does not if it takes nothing at present. Whether it did.
fn report(socket: BorrowedFd<'_>, report: Report<'_>) -> io::Result<bool> {
    let bytes = report.to_bytes();
    let mut nothing = SendAncillaryBuffer::default();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket, &[IoSlice::new(&bytes)], &mut nothing, flags) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the process is called, so that it can be told from the others; the kernel keeps 15 bytes.
const NAME: &std::ffi::CStr = c"farlan-listener";

/// Frames that are read of one card before it is the next one's turn.
const MOST_A_TURN: usize = 32;
