//! The listener: the small process that hears which searches of games leave this machine's other cards.
//!
//! To hear what leaves a card takes a packet socket, and so CAP_NET_RAW; and by such a socket any frame can be sent. A daemon that
//! is reached from the network must not have one, so this process does: the same program, started anew before privileges are
//! given up, with CAP_NET_RAW alone and one thread. It reads what leaves the machine and nothing that comes in, and sends nothing but
//! reports to the daemon.
//!
//! * **The daemon tells** which cards to watch, and which ports count ([`Watch`]).
//! * **The kernel chooses** the frames, by the program of `filter`, and drops what does not fit a small buffer.
//! * **At most [`MOST_A_SECOND`] frames a second** are handed over ([`Report`]); after those the sockets are left alone until the
//!   second is over. What the daemon does not take at once is dropped.
//!
//! A daemon that was taken over can have it hear other ports, and so learns what this machine sends to groups and to all over
//! UDP, which every machine of its LANs hears too.

mod client;
mod filter;
mod messages;
mod packet;

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, SocketType, recv,
    recvmsg, sendmsg,
};

pub use client::{LanListener, Told};
pub use messages::{LONGEST_FRAME, MOST_CARDS, MOST_RANGES, NoMessage, Ports, Report, Watch};

use crate::helper::HelperError;
use crate::privileges::{Keep, close_memory, give_up_capabilities};
use crate::process;
use messages::LONGEST_WATCH;

/// Is the listener: gives up all it does not need, and serves at standard input until the other end is closed.
///
/// The signals by which a terminal or a service manager ends all processes of a service do not end it; the daemon does.
///
/// # Errors
/// It was started by somebody else, or its privileges cannot be given up.
pub fn run_listener() -> Result<(), HelperError> {
    let refused = |what| move |error| HelperError::Refused { what, error };
    let input = io::stdin();
    let is_sequenced = socket_type(&input).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    if !is_sequenced || socket_domain(&input) != Ok(AddressFamily::UNIX) {
        return Err(HelperError::Alone);
    }
    process::name(NAME).map_err(refused("take its name"))?;
    process::ignore_ending_signals().map_err(refused("ignore signals"))?;
    process::close_all_but_standard().map_err(refused("close what it inherited"))?;
    give_up_capabilities(Keep::Listening).map_err(refused("give up its other privileges"))?;
    close_memory().map_err(refused("close its memory to others"))?;
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
        second: Instant::now(),
        left: MOST_A_SECOND,
        room: vec![0; LONGEST_FRAME],
    };
    while listener.turn(socket)? {}
    Ok(())
}

/// What the listener knows.
struct Listener {
    watch: Watch,
    /// One for each card that can be watched.
    sockets: BTreeMap<u32, OwnedFd>,
    /// When the present second began.
    second: Instant,
    /// How many frames may be handed over in it.
    left: u32,
    room: Vec<u8>,
}

impl Listener {
    /// Waits for something, and does what there is to do. Whether the other end is still there.
    fn turn(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let rest = self.rest_of_second();
        let mut waited = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        if rest.is_none() {
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
            match self.hand_over(socket, card) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                result => result?,
            }
        }
        Ok(true)
    }

    /// How long nothing more is handed over, if that much was already.
    fn rest_of_second(&mut self) -> Option<Timespec> {
        let gone = self.second.elapsed();
        if gone >= SECOND {
            self.second = Instant::now();
            self.left = MOST_A_SECOND;
        }
        let rest = SECOND.saturating_sub(gone);
        // At least a moment, so that nobody turns in circles.
        (self.left == 0).then(|| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(rest.subsec_nanos()).max(1_000_000),
        })
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
            Ok(watch) if !received.flags.contains(ReturnFlags::TRUNC) => self.set(watch, socket)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }

    fn set(&mut self, watch: Watch, socket: BorrowedFd<'_>) -> io::Result<()> {
        if watch.ports() != self.watch.ports() {
            self.sockets.clear();
        }
        self.sockets.retain(|card, _| watch.cards().contains(card));
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
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    report(socket, Report::Refused { card, errno })?;
                }
            }
        }
        self.watch = watch;
        Ok(())
    }

    /// Hands over what has left a card.
    fn hand_over(&mut self, socket: BorrowedFd<'_>, card: u32) -> io::Result<()> {
        while self.left > 0 {
            let Some(opened) = self.sockets.get(&card) else { break };
            match recv(opened, &mut self.room[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((read, length)) => {
                    // What was cut is no search.
                    if let Some(frame) = self.room.get(..read).filter(|_| read == length) {
                        self.left -= 1;
                        report(socket, Report::Left { card, frame })?;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                // Told once when the card is brought down; the socket hears it again when it comes up.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NETDOWN) => {}
                Err(error) => {
                    // The card is gone, or something that the daemon should know of; it tells when to listen again.
                    self.sockets.remove(&card);
                    let errno = error.raw_os_error();
                    report(socket, Report::Refused { card, errno })?;
                }
            }
        }
        Ok(())
    }
}

/// Tells the daemon something, or does not if it takes nothing at present.
fn report(socket: BorrowedFd<'_>, report: Report<'_>) -> io::Result<()> {
    let bytes = report.to_bytes();
    let mut nothing = SendAncillaryBuffer::default();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket, &[IoSlice::new(&bytes)], &mut nothing, flags) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the process is called, so that it can be told from the others; the kernel keeps 15 bytes.
const NAME: &std::ffi::CStr = c"farlan-listener";

/// Frames that are handed over in a second: twenty times what is copied to a network of them.
const MOST_A_SECOND: u32 = 100;

const SECOND: Duration = Duration::from_secs(1);
