//! The daemon's end of the way to the card helper.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, PipeReader};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags,
    Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
};

use crate::device::{Address, Card, Create, Restored, check_name};
use crate::error::TapError;
use crate::privileges::{Keep, hand_on_capabilities};
use crate::requests::{Answer, HostName, LONGEST, MOST, MOST_NAMES, Made, Request, Wanted};

/// The way to a card helper, which ends when this is dropped.
///
/// Calls wait for each other, and for the helper as long as the kernel takes for what is asked: milliseconds.
#[derive(Debug)]
pub struct CardHelper {
    /// `None` once it said what makes no sense, or nothing.
    socket: Mutex<Option<OwnedFd>>,
    process: Option<Child>,
}

impl CardHelper {
    /// Starts this program again, with `argument` alone, as the helper, which has the capability for cards if the caller
    /// has it. The pipe's end is reached when the helper has ended.
    ///
    /// For a program with one thread, which has to give up its own privileges afterwards.
    ///
    /// # Errors
    /// The program cannot be started again; the system is short of something.
    pub fn start(argument: impl AsRef<OsStr>) -> io::Result<(Self, PipeReader)> {
        let (ours, theirs) = pair()?;
        let (ended, end) = io::pipe()?;
        let process = start_again(argument.as_ref(), Keep::Cards, theirs, Stdio::from(end))?;
        let mut helper = Self::at(ours);
        helper.process = Some(process);
        Ok((helper, ended))
    }

    /// A helper behind a socket, which [`serve`](crate::serve) answers; see [`pair`].
    pub fn at(socket: OwnedFd) -> Self {
        // A socket that takes no limit has none.
        let _ = set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE));
        Self {
            socket: Mutex::new(Some(socket)),
            process: None,
        }
    }

    /// Says, once and before all else, whose cards the helper makes from now on, and what they were called in former
    /// runs: names that somebody else gave them.
    ///
    /// # Errors
    /// [`TapError::BadOwner`]; [`TapError::Refused`] the second time; [`TapError::NoHelper`].
    pub fn begin<'a>(&self, owner: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), TapError> {
        let names = names.into_iter().filter(|name| check_name(name).is_ok()).take(MOST);
        self.done(&Request::Begin {
            owner: owner.to_owned(),
            names: names.map(str::to_owned).collect(),
        })
    }

    /// As [`create`](crate::create). The owner has to be the one that [`begin`](Self::begin) named.
    ///
    /// # Errors
    /// Those of [`create`](crate::create); [`TapError::BadName`] for a name that is neither farlan's nor known from
    /// before; [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn create(&self, request: &Create) -> Result<Card, TapError> {
        let wanted = Wanted {
            name: request.name.clone(),
            mac: request.mac,
            mtu: request.mtu,
            addresses: request.addresses.clone(),
            tx_queue: request.tx_queue,
            accept_router_advertisements: request.accept_router_advertisements,
            offloads: request.offloads,
        };
        let (answer, descriptor) = self.ask(&Request::Create(wanted))?;
        match (answer, descriptor) {
            (Answer::Card(made), Some(fd)) => {
                let Made {
                    name,
                    index,
                    ipv6,
                    offloads,
                } = made;
                Ok(Card {
                    fd,
                    name,
                    index,
                    ipv6,
                    offloads,
                })
            }
            _ => Err(self.give_up()),
        }
    }

    /// As [`add_address`](crate::add_address), for a card that the helper made.
    ///
    /// # Errors
    /// Those of [`add_address`](crate::add_address); [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn add_address(&self, index: u32, address: &Address) -> Result<(), TapError> {
        let address = *address;
        self.done(&Request::AddAddress { index, address })
    }

    /// As [`remove_address`](crate::remove_address), for a card that the helper made.
    ///
    /// # Errors
    /// Those of [`remove_address`](crate::remove_address); [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn remove_address(&self, index: u32, address: &Address) -> Result<(), TapError> {
        let address = *address;
        self.done(&Request::RemoveAddress { index, address })
    }

    /// As [`restore_addresses`](crate::restore_addresses), for a card that the helper made.
    ///
    /// # Errors
    /// Those of [`restore_addresses`](crate::restore_addresses); [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn restore_addresses(&self, index: u32, addresses: &[Address]) -> Result<Restored, TapError> {
        let addresses = addresses.to_vec();
        match self.ask(&Request::RestoreAddresses { index, addresses })? {
            (Answer::Restored(restored), None) => Ok(restored),
            _ => Err(self.give_up()),
        }
    }

    /// As [`remove_stale`](crate::remove_stale), for the owner that [`begin`](Self::begin) named.
    ///
    /// # Errors
    /// Those of [`remove_stale`](crate::remove_stale); [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn remove_stale(&self) -> Result<Vec<String>, TapError> {
        match self.ask(&Request::RemoveStale)? {
            (Answer::Removed(names), None) => Ok(names),
            _ => Err(self.give_up()),
        }
    }

    /// Has systemd-resolved ask for the names of a card's network, forward and back, at this port of 127.0.0.1. The card is one
    /// that the helper made; which names these are, the helper knows.
    ///
    /// # Errors
    /// [`TapError::NoResolver`] where there is none or it refuses; [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn direct_names(&self, index: u32, port: u16) -> Result<(), TapError> {
        self.done(&Request::DirectNames { index, port })
    }

    /// Takes back what [`direct_names`](Self::direct_names) did; it also goes with the card.
    ///
    /// # Errors
    /// Those of [`direct_names`](Self::direct_names).
    pub fn revert_names(&self, index: u32) -> Result<(), TapError> {
        self.done(&Request::RevertNames { index })
    }

    /// Replaces the node's names in `/etc/hosts`, or removes all of them if none is given; they are removed when the helper ends,
    /// too. Their addresses have to be those of subnets that cards were given.
    ///
    /// # Errors
    /// [`TapError::Hosts`] where the file cannot be written; [`TapError::Refused`]; [`TapError::NoHelper`].
    pub fn set_hosts(&self, names: &[HostName]) -> Result<(), TapError> {
        let mut parts = names.chunks(MOST_NAMES).peekable();
        loop {
            let names = parts.next().unwrap_or_default().to_vec();
            let more = parts.peek().is_some();
            self.done(&Request::Hosts { names, more })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Has this machine's traffic to these groups, and no others, go out by a card that the helper made, and what goes to
    /// 255.255.255.255 too if `broadcast`. The routes go with the card, and before that by a call with none.
    ///
    /// # Errors
    /// [`TapError::Kernel`] for a group to which another route leads, in which case those of the others are set;
    /// [`TapError::Refused`] for what [`is_game_group`](crate::is_game_group) denies, and where they would be more than
    /// [`MOST_GROUPS`](crate::requests::MOST_GROUPS) on all cards; [`TapError::NoHelper`].
    pub fn set_group_routes(&self, index: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError> {
        self.done(&Request::GroupRoutes {
            index,
            groups: groups.to_vec(),
            broadcast,
        })
    }

    fn done(&self, request: &Request) -> Result<(), TapError> {
        match self.ask(request)? {
            (Answer::Done, None) => Ok(()),
            _ => Err(self.give_up()),
        }
    }

    /// Sends a request and waits for its answer. What comes late would be taken for the answer to another request, so a
    /// helper that fails once is used no more.
    fn ask(&self, request: &Request) -> Result<(Answer, Option<OwnedFd>), TapError> {
        let mut socket = self.lock();
        let exchanged = match socket.as_ref() {
            Some(socket) => exchange(socket.as_fd(), request),
            None => return Err(TapError::NoHelper),
        };
        match exchanged {
            Ok((Answer::Error(error), _)) => Err(error),
            Ok(answered) => Ok(answered),
            Err(_) => {
                close(&mut socket);
                Err(TapError::NoHelper)
            }
        }
    }

    fn give_up(&self) -> TapError {
        close(&mut self.lock());
        TapError::NoHelper
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CardHelper {
    fn drop(&mut self) {
        close(&mut self.lock());
        let Some(mut process) = self.process.take() else { return };
        // It ends by itself, and by the kernel's doing with it whatever it still had. That is waited for, but not long.
        for _ in 0..LOOKS {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// Starts this program again with one argument, a socket as its standard input, and what it is to keep of the caller's capabilities.
pub(crate) fn start_again(argument: &OsStr, keep: Keep, input: OwnedFd, output: Stdio) -> io::Result<Child> {
    hand_on_capabilities(keep)?;
    let mut command = Command::new(THIS_PROGRAM);
    // Of the environment nothing is needed, and some of it would let others in.
    command.arg0("farlan").arg(argument).env_clear().current_dir("/");
    command.stdin(Stdio::from(input)).stdout(output).spawn()
}

/// The two ends of a way between a daemon and a helper, or a listener.
///
/// # Errors
/// The system is short of descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Ends the helper: it finds the other end closed, even while something else holds a copy of the descriptor.
fn close(socket: &mut Option<OwnedFd>) {
    if let Some(socket) = socket.take() {
        // An error means that it has ended already.
        let _ = shutdown(&socket, Shutdown::Both);
    }
}

fn exchange(socket: BorrowedFd<'_>, request: &Request) -> io::Result<(Answer, Option<OwnedFd>)> {
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    let bytes = request.to_bytes();
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut nothing, SendFlags::NOSIGNAL)?;

    let mut room = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(&mut room)];
        match recvmsg(socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(nonsense());
    }
    let answer = Answer::parse(room.get(..received.bytes).unwrap_or_default()).map_err(|_| nonsense())?;
    Ok((answer, descriptor))
}

/// The program that runs, whatever is at its path by now.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long the helper may take for one request. It asks the kernel a few dozen things at most; a machine that is out of
/// memory may let it wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often, and with which pause, the end of the helper is looked for.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
