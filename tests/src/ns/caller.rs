//! Somebody who calls a node by hand, as PROTOCOL.md §5 says: initiations right and bogus, and the answer to a cookie.
//!
//! It is made from the page and from `farlan-crypto` alone, not from the engine.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use farlan_crypto::{Aead as _, Identity, Initiator, Key, PublicKey, SalsaPoly, Seed, Work, hmac_sha512, sha512};

/// Length of an initiation.
pub const INITIATION: usize = 176;

/// Length of an initiation up to its first MAC, and up to its second.
const AUTHENTIC: usize = 144;
const WITH_FIRST: usize = 160;

const RESPONSE: usize = 104;
const COOKIE: usize = 56;

/// When an initiation is sent again, and how often before the handshake is begun anew.
const AGAIN: Duration = Duration::from_millis(600);
const SENDINGS: u32 = 8;

/// An identity that carries the work stamp; making one takes a while.
///
/// # Errors
/// `first` is too near the end of all numbers.
pub fn identity(first: u64) -> Result<Identity> {
    for number in first.. {
        let mut seed = [0xca; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        if let Ok(identity) = Identity::from_seed(Seed::from_bytes(seed), Work::REQUIRED) {
            return Ok(identity);
        }
    }
    bail!("no identity with the work stamp")
}

fn first_mac(responder: &PublicKey, authentic: &[u8]) -> [u8; 16] {
    first(&hmac_sha512(
        &sha512(&[b"farlan mac 1", responder.as_bytes()]),
        &[authentic],
    ))
}

fn first<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut first = [0; LENGTH];
    first.copy_from_slice(&bytes[..LENGTH]);
    first
}

/// Something as long as an initiation to `responder` with the right first MAC, or a wrong one, that was made by nobody.
pub fn bogus(number: u32, responder: &PublicKey, knows_key: bool) -> [u8; INITIATION] {
    let mut bogus = [0; INITIATION];
    bogus[..4].copy_from_slice(&[1, 1, 0, 0]);
    bogus[4..8].copy_from_slice(&number.to_be_bytes());
    for (index, chunk) in bogus[8..AUTHENTIC].chunks_mut(64).enumerate() {
        let noise = sha512(&[&number.to_be_bytes(), &[index as u8]]);
        chunk.copy_from_slice(&noise[..chunk.len()]);
    }
    let mut mac = first_mac(responder, &bogus[..AUTHENTIC]);
    if !knows_key {
        mac[0] ^= 1;
    }
    bogus[AUTHENTIC..WITH_FIRST].copy_from_slice(&mac);
    bogus
}

/// The cookie in a datagram from `responder`, if it answers the initiation.
pub fn cookie(responder: &PublicKey, datagram: &[u8], initiation: &[u8; INITIATION]) -> Option<[u8; 16]> {
    let datagram: &[u8; COOKIE] = datagram.try_into().ok()?;
    if datagram[..4] != [9, 1, 0, 0] || datagram[4..8] != initiation[4..8] {
        return None;
    }
    let key = hmac_sha512(
        &sha512(&[b"farlan cookie 1", responder.as_bytes()]),
        &[&datagram[8..24]],
    );
    let aad = [&datagram[..8], &initiation[AUTHENTIC..WITH_FIRST]].concat();
    let mut sealed = datagram[24..].to_vec();
    let opened = SalsaPoly::open(&Key::from_bytes(first(&key)), 0, &aad, &mut sealed).ok()?;
    Some(first(opened))
}

/// The initiation with the second MAC that a cookie makes.
pub fn with_cookie(initiation: &[u8; INITIATION], cookie: &[u8; 16]) -> [u8; INITIATION] {
    let mut whole = *initiation;
    let mac: [u8; 16] = first(&hmac_sha512(cookie, &[&initiation[..WITH_FIRST]]));
    whole[WITH_FIRST..].copy_from_slice(&mac);
    whole
}

/// How a call went.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// From the first initiation until the session stood.
    pub took: Duration,
    /// Cookies that were asked for on the way.
    pub cookies: u32,
    /// Initiations sent.
    pub sent: u32,
}

/// Calls `responder` at `to` as a node does, which sends again after 600 ms; until the session stands.
///
/// # Errors
/// It does not within `limit`, or the socket fails.
pub fn call(to: SocketAddr, responder: &PublicKey, caller: &Identity, limit: Duration) -> Result<Call> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    let begun = Instant::now();
    let (mut cookies, mut sent) = (0, 0);
    let mut known: Option<[u8; 16]> = None;
    for try_number in 0_u8.. {
        let index = [0xca, 0x11, 0, try_number];
        let mut datagram = [&[1, 1, 0, 0][..], &index].concat();
        let payload = [&datagram[..], caller.public().as_bytes()].concat();
        let ephemeral: [u8; 32] = first(&sha512(&[
            &caller.public().as_bytes()[..],
            &begun.elapsed().as_nanos().to_le_bytes(),
            &[try_number],
        ]));
        let state = Initiator::<SalsaPoly>::start(b"farlan 1", caller, responder, ephemeral, &payload, &mut datagram)
            .context("message 1")?;
        ensure!(datagram.len() == AUTHENTIC, "message 1 has another length");
        datagram.extend_from_slice(&first_mac(responder, &datagram));
        datagram.resize(INITIATION, 0);
        let initiation: [u8; INITIATION] = first(&datagram);
        for _ in 0..SENDINGS {
            if begun.elapsed() >= limit {
                bail!("no session within {limit:?}; {cookies} cookies");
            }
            let send = |cookie: Option<[u8; 16]>| {
                socket.send(&cookie.map_or(initiation, |cookie| with_cookie(&initiation, &cookie)))
            };
            send(known)?;
            sent += 1;
            let mut hastened = false;
            let until = Instant::now() + AGAIN;
            let mut buffer = [0; 2048];
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(left))?;
                let Ok(length) = socket.recv(&mut buffer) else {
                    continue;
                };
                let received = &buffer[..length];
                if let Some(cookie) = cookie(responder, received, &initiation) {
                    cookies += 1;
                    known = Some(cookie);
                    if !std::mem::replace(&mut hastened, true) {
                        send(known)?;
                        sent += 1;
                    }
                } else if length == RESPONSE && received[..8] == [&[2, 1, 0, 0][..], &index].concat() {
                    let mut proof = Vec::new();
                    state.finish(caller, &received[12..], &mut proof).context("message 2")?;
                    ensure!(proof[12..] == responder.as_bytes()[..], "somebody else answered");
                    return Ok(Call {
                        took: begun.elapsed(),
                        cookies,
                        sent,
                    });
                }
            }
        }
    }
    bail!("no session after all tries")
}
