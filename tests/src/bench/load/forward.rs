//! A forwarder that does nothing else: what a virtual network card in user space costs at least.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use anyhow::{Context, Result, anyhow};

/// Bytes of the largest frame and datagram.
const ROOM: usize = 2048;

/// Makes a card and carries its frames to `peer`, as they are, and back: two threads, each of which waits in the call that
/// reads. Runs until it is killed.
pub(super) fn forward(card: &str, mtu: u16, local: SocketAddr, peer: SocketAddr) -> Result<()> {
    let request = farlan_tap::Create {
        name: card.to_owned(),
        owner: "bench".to_owned(),
        mac: mac_of(local),
        mtu,
        addresses: Vec::new(),
        tx_queue: 1000,
        accept_router_advertisements: false,
        offloads: false,
    };
    let card = farlan_tap::create(&request)?;
    rustix::io::ioctl_fionbio(&card.fd, false).context("cannot make the card blocking")?;
    let inward = File::from(card.fd);
    let outward = inward.try_clone()?;
    let socket = UdpSocket::bind(local)?;
    socket.connect(peer)?;
    thread::scope(|scope| {
        let up = scope.spawn(|| pass(|room| (&inward).read(room), |frame| socket.send(frame).map(drop)));
        let down = scope.spawn(|| pass(|room| socket.recv(room), |frame| (&outward).write_all(frame)));
        [up, down].into_iter().try_for_each(|thread| {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            ended.context("cannot read")
        })
    })
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
        match read(&mut room) {
            // What cannot be written (nobody listens yet, the queue is full) is lost, as on any wire.
            Ok(length) => drop(write(&room[..length])),
            // What the peer's kernel said of an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}
