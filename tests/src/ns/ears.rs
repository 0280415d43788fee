//! Broadcasts that carry a number, and which members' cards got which. Nothing is bound to a port, so that nobody subscribes to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::SockRef;

use super::command::wait_for;
use super::crowd::CrowdMember;
use super::games::unbound;
use super::sys::{Offloads, PacketSocket};

/// What begins each.
const MAGIC: &[u8] = b"fl-ears ";

/// How long a lost copy is repeated for, and some.
const SETTLE: Duration = Duration::from_secs(2);

/// A socket at every member's card.
#[derive(Debug)]
pub struct Ears {
    sockets: Vec<PacketSocket>,
    /// For each member the numbers heard, and how often each.
    heard: Vec<BTreeMap<u32, u32>>,
    next: u32,
}

impl Ears {
    /// Opens the sockets.
    ///
    /// # Errors
    /// A kernel refuses one.
    pub fn open(members: &[CrowdMember]) -> Result<Self> {
        Ok(Self {
            sockets: members.iter().map(open).collect::<Result<_>>()?,
            heard: vec![BTreeMap::new(); members.len()],
            next: 0,
        })
    }

    /// Listens to the card that a member has now: another run made it.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn open_again(&mut self, number: usize, member: &CrowdMember) -> Result<()> {
        *self.sockets.get_mut(number).context("no such member")? = open(member)?;
        Ok(())
    }

    /// Has a member broadcast to a UDP port, and returns the number of it.
    ///
    /// # Errors
    /// The socket refuses to send.
    pub fn send(&mut self, from: &CrowdMember, port: u16) -> Result<u32> {
        self.next += 1;
        let socket = from.host().inside(|| unbound(0, None))??;
        SockRef::from(&socket).bind_device(Some(from.network.interface.as_bytes()))?;
        let payload = [MAGIC, &self.next.to_be_bytes()].concat();
        socket.send_to(&payload, SocketAddr::from((Ipv4Addr::BROADCAST, port)))?;
        Ok(self.next)
    }

    /// Waits until all of these have heard a broadcast, and a little for those that come twice. Returns who heard it.
    ///
    /// # Errors
    /// Somebody did not within `limit`, or heard it twice.
    pub fn wait(&mut self, number: u32, whom: &BTreeSet<usize>, limit: Duration) -> Result<BTreeSet<usize>> {
        wait_for(&format!("broadcast {number} to be heard"), limit, || {
            let heard = self.who_heard(number)?;
            let missing: Vec<_> = whom.difference(&heard).collect();
            ensure!(missing.is_empty(), "not by {missing:?}");
            Ok(Some(()))
        })?;
        std::thread::sleep(SETTLE);
        let heard = self.who_heard(number)?;
        for (member, numbers) in self.heard.iter().enumerate() {
            let times = numbers.get(&number).copied().unwrap_or_default();
            ensure!(times <= 1, "member {member} heard broadcast {number} {times} times");
        }
        Ok(heard)
    }

    /// Who has heard a broadcast so far.
    ///
    /// # Errors
    /// A card went away.
    pub fn who_heard(&mut self, number: u32) -> Result<BTreeSet<usize>> {
        for (socket, heard) in self.sockets.iter().zip(&mut self.heard) {
            while let Some(packet) = socket.receive()? {
                if let Some(number) = read(&packet) {
                    *heard.entry(number).or_insert(0) += 1;
                }
            }
        }
        let heard = self.heard.iter().enumerate();
        let heard = heard.filter(|(_, numbers)| numbers.contains_key(&number));
        Ok(heard.map(|(member, _)| member).collect())
    }
}

fn open(member: &CrowdMember) -> Result<PacketSocket> {
    let interface = &member.network.interface;
    Ok(member
        .host()
        .inside(|| PacketSocket::open(interface, Offloads::Bare))??)
}

/// The number in a frame, if it is such a broadcast.
fn read(frame: &[u8]) -> Option<u32> {
    let at = frame.windows(MAGIC.len()).position(|part| part == MAGIC)?;
    let number = frame.get(at + MAGIC.len()..)?.first_chunk()?;
    Some(u32::from_be_bytes(*number))
}
