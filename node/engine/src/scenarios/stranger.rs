//! Somebody who makes handshake messages by hand, right ones and others.

use std::net::SocketAddr;

use farlan_crypto::{Identity, Initiator, PublicKey, SalsaPoly, Seed, Work};

use super::lab::{Lab, Place};
use crate::{
    gate::{WITH_FIRST_MAC, open_cookie, put_first_mac, put_second_mac},
    wire::datagram::{PROLOGUE, SessionIndex, put_initiation},
};

/// Kinds of datagrams, their first byte.
pub(super) const INITIATION: u8 = 1;
pub(super) const RESPONSE: u8 = 2;
pub(super) const COOKIE: u8 = 9;

/// Where the stranger `who` is: everybody at an address of its own.
pub(super) fn address(who: u16) -> SocketAddr {
    let [high, low] = who.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], 9600))
}

/// An initiation to the holder of `key` from the stranger `who`; every `try_number` makes another one.
pub(super) fn initiation(who: u16, try_number: u8, key: &PublicKey) -> Vec<u8> {
    initiation_with(PROLOGUE, who, try_number, key)
}

pub(super) fn initiation_with(prologue: &[u8], who: u16, try_number: u8, key: &PublicKey) -> Vec<u8> {
    let mut seed = [0xee; 32];
    seed[..2].copy_from_slice(&who.to_be_bytes());
    let identity = Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap();
    let mut datagram = Vec::new();
    put_initiation(&mut datagram, SessionIndex(who.into()));
    let payload = [&datagram, &identity.public().as_bytes()[..]].concat();
    let ephemeral = [try_number.wrapping_add(1); 32];
    Initiator::<SalsaPoly>::start(prologue, &identity, key, ephemeral, &payload, &mut datagram).unwrap();
    put_first_mac(key, &mut datagram);
    let mut whole = Vec::new();
    put_second_mac(None, &datagram, &mut whole);
    whole
}

/// Something that is as long as an initiation to the holder of `key` and has the right first MAC, but was made by nobody.
pub(super) fn bogus(number: u32, key: &PublicKey) -> Vec<u8> {
    let mut datagram = Vec::new();
    put_initiation(&mut datagram, SessionIndex(number));
    datagram.resize(crate::gate::AUTHENTIC, 0x5a);
    put_first_mac(key, &mut datagram);
    let mut whole = Vec::new();
    put_second_mac(None, &datagram, &mut whole);
    whole
}

/// The initiation with its second MAC, if this is a cookie of the holder of `key` for it.
pub(super) fn with_cookie(initiation: &[u8], datagram: &[u8], key: &PublicKey) -> Option<Vec<u8>> {
    let cookie = open_cookie(key, datagram, initiation)?;
    let mut whole = Vec::new();
    put_second_mac(Some(cookie), &initiation[..WITH_FIRST_MAC], &mut whole);
    Some(whole)
}

/// What comes back at once for a datagram from `from`, work done.
pub(super) fn replies(lab: &mut Lab, place: Place, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
    lab.deliver(place, from, datagram);
    lab.settle();
    let passing = lab.passing.drain(..);
    passing
        .filter(|passing| passing.to == from)
        .map(|passing| passing.bytes)
        .collect()
}

/// Whether the host at `place` answers an initiation of the stranger `who`, who shows where it is if it is asked to.
pub(super) fn answers_to(lab: &mut Lab, place: Place, who: u16, datagram: &[u8]) -> bool {
    let key = lab.key(place);
    let mut got = replies(lab, place, address(who), datagram);
    if let Some(proved) = got.iter().find_map(|reply| with_cookie(datagram, reply, &key)) {
        got = replies(lab, place, address(who), &proved);
    }
    got.iter().any(|reply| reply[0] == RESPONSE)
}

/// The same for its own initiation `try_number`.
pub(super) fn answers(lab: &mut Lab, place: Place, who: u16, try_number: u8) -> bool {
    let datagram = initiation(who, try_number, &lab.key(place));
    answers_to(lab, place, who, &datagram)
}
