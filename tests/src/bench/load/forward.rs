//! A forwarder that does nothing else: what a virtual network card in user space costs at least.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use super::datagrams::hand_over_whole;

/// Bytes of the largest frame and datagram.
const ROOM: usize = 2048;

/// The same with super-frames.
const SUPER_ROOM: usize = 1 << 16;

/// Bytes of the datagrams into which the kernel may cut a super-frame, so that they fit the wire's 1500.
const SEGMENT: u16 = 1400;

/// Most super-frames of one direction before the other has its turn.
const TURN: usize = 16;

/// Makes a card and carries its frames to `peer`, as they are, and back: two threads, each of which waits in the call that
/// reads. Runs until it is killed.
pub(super) fn forward(card: &str, mtu: u16, local: SocketAddr, peer: SocketAddr) -> Result<()> {
    let card = make_card(card, mtu, local, false)?;
    rustix::io::ioctl_fionbio(&card.fd, false).context("cannot make the card blocking")?;
    let inward = File::from(card.fd);
    let outward = inward.try_clone()?;
    let socket = connected(local, peer)?;
    thread::scope(|scope| {
        let up = scope.spawn(|| pass(|room| (&inward).read(room), |frame| socket.send(frame).map(drop)));
        let down = scope.spawn(|| pass(|room| socket.recv(room), |frame| (&outward).write_all(frame)));
        [up, down].into_iter().try_for_each(|thread| {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            ended.context("cannot read")
        })
    })
}

/// The same with all offloads and without a look at a byte: a super-frame of the card, with the kernel's header before it,
/// goes as it is to the socket, which carries it as many datagrams, and comes out of the other socket as it went in: on a wire like veth, which
/// carries all of them as one. Where the kernel joins datagrams itself, small frames that follow each other may come as one, and all but the
/// first are lost. Super-frames must not be longer than 65,507 bytes with their header, which is for the caller to see to.
pub(super) fn forward_whole(card: &str, mtu: u16, local: SocketAddr, peer: SocketAddr) -> Result<()> {
    let card = make_card(card, mtu, local, true)?;
    ensure!(
        card.offloads.has_header(),
        "this card has no offloads: {}",
        card.offloads
    );
    let card = File::from(card.fd);
    let socket = connected(local, peer)?;
    socket.set_nonblocking(true)?;
    hand_over_whole(&socket, SEGMENT).context("this kernel does not take or give several datagrams as one")?;
    let mut room = vec![0; SUPER_ROOM];
    loop {
        let mut waiting = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&card, PollFlags::IN)];
        poll(&mut waiting, None)?;
        turn(&mut room, |room| socket.recv(room), |frame| (&card).write_all(frame))?;
        turn(
            &mut room,
            |room| (&card).read(room),
            |frame| match socket.send(frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None)?;
                    socket.send(frame).map(drop)
                }
                sent => sent.map(drop),
            },
        )?;
    }
}

/// Carries what waits, up to [`TURN`] super-frames.
fn turn(
    room: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for _ in 0..TURN {
        match read(room) {
            // What cannot be written (nobody listens yet, the queue is full) is lost, as on any wire.
            Ok(length) => drop(write(&room[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // What the peer's kernel said of an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn connected(local: SocketAddr, peer: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    socket.connect(peer)?;
    Ok(socket)
}

fn make_card(card: &str, mtu: u16, local: SocketAddr, offloads: bool) -> Result<farlan_tap::Card> {
    let request = farlan_tap::Create {
        name: card.to_owned(),
        owner: "bench".to_owned(),
        mac: mac_of(local),
        mtu,
        addresses: Vec::new(),
        tx_queue: 1000,
        accept_router_advertisements: false,
        offloads,
    };
    Ok(farlan_tap::create(&request)?)
}

/// A hardware address that differs where the underlay's addresses differ.
fn mac_of(local: SocketAddr) -> [u8; 6] {
    match local.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [2, 0, a, b, c, d]
        }
        IpAddr::V6(_) => [2, 0, 0, 0, 0, 0],
    }
}

fn pass(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut room = [0; ROOM];
    loop {
        turn(&mut room, &mut read, &mut write)?;
    }
}
