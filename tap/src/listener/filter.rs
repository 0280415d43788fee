//! Which frames of a card come to the listener: a program that the kernel runs over each (classic BPF).
//!
//! It lets through what can be a game's search: a UDP datagram in IPv4 that leaves the machine by this card, for a group or
//! for all, to one of the ports. Everything else ends in its first few steps, so that a card which carries much is
//! watched at the price of those.

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH,
    BPF_RET, BPF_W, sock_filter,
};

use super::messages::{LONGEST_FRAME, Ports};

/// The program for these ports. It has at most 30 steps and 3 for each range, which the kernel takes (its limit is 4,096).
pub(super) fn program(ports: &[Ports]) -> Vec<sock_filter> {
    // The one that leaves is counted from the end, so each refusal knows how far it is once all is there.
    let mut steps = vec![
        // It leaves, and is no longer than a search can be.
        load(BPF_W, ancillary(libc::SKF_AD_PKTTYPE)),
        unless_equal(OUTGOING),
        step(BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
        if_above(LONGEST_FRAME as u32),
        // Of no VLAN: neither beside the frame, where the kernel keeps the tag, nor by its EtherType.
        load(BPF_W, ancillary(libc::SKF_AD_VLAN_TAG_PRESENT)),
        unless_equal(0),
        load(BPF_H, ETHER_TYPE),
        unless_equal(IPV4),
        // For a group or for all.
        load(BPF_B, 0),
        unless_set(GROUP_BIT),
        load(BPF_B, PROTOCOL),
        unless_equal(UDP),
        // Neither a fragment nor the first of several.
        load(BPF_H, FRAGMENT),
        if_set(MORE_AND_OFFSET),
        // The port behind a header of 4 bytes for each of its own lower half's.
        step(BPF_LDX | BPF_B | BPF_MSH, ETHERNET, 0, 0),
        step(BPF_LD | BPF_H | BPF_IND, ETHERNET + DESTINATION_PORT, 0, 0),
    ];
    let refusal = steps.len() as u32;
    for range in ports {
        steps.push(step(BPF_JMP | BPF_JGE | BPF_K, range.first.into(), 0, 2));
        steps.push(step(BPF_JMP | BPF_JGT | BPF_K, range.last.into(), 1, 0));
        steps.push(step(BPF_RET | BPF_K, LONGEST_FRAME as u32, 0, 0));
    }
    steps.push(step(BPF_RET | BPF_K, 0, 0, 0));
    refuse_early(&mut steps, refusal);
    steps
}

/// Puts a refusal behind the first `checks` steps, jumped over by what passed them all: that at the end can be farther away than a
/// jump goes, which is 255 steps.
fn refuse_early(steps: &mut Vec<sock_filter>, checks: u32) {
    let at = checks as usize;
    steps.insert(at, step(BPF_JMP | BPF_JA, 1, 0, 0));
    steps.insert(at + 1, step(BPF_RET | BPF_K, 0, 0, 0));
    for (number, step) in steps.iter_mut().enumerate().take(at) {
        // The program has fewer than 255 checks.
        let distance = (at - number) as u8;
        if step.jt == REFUSE {
            step.jt = distance;
        }
        if step.jf == REFUSE {
            step.jf = distance;
        }
    }
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // Codes have 8 bits.
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

fn load(size: u32, offset: u32) -> sock_filter {
    step(BPF_LD | size | BPF_ABS, offset, 0, 0)
}

fn unless_equal(value: u32) -> sock_filter {
    step(BPF_JMP | BPF_JEQ | BPF_K, value, 0, REFUSE)
}

fn if_above(value: u32) -> sock_filter {
    step(BPF_JMP | BPF_JGT | BPF_K, value, REFUSE, 0)
}

fn unless_set(bits: u32) -> sock_filter {
    step(BPF_JMP | BPF_JSET | BPF_K, bits, 0, REFUSE)
}

fn if_set(bits: u32) -> sock_filter {
    step(BPF_JMP | BPF_JSET | BPF_K, bits, REFUSE, 0)
}

/// Where the kernel tells something about a frame that is not in it.
fn ancillary(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what).cast_unsigned()
}

/// Stands for the distance to the refusal until that is known.
const REFUSE: u8 = u8::MAX;

/// Load the length (`linux/bpf_common.h`).
const BPF_LEN: u32 = 0x80;

/// Jump in any case.
const BPF_JA: u32 = 0x00;

/// The kind of frames that leave (`linux/if_packet.h`).
const OUTGOING: u32 = libc::PACKET_OUTGOING as u32;

/// Bytes of an Ethernet header, at whose beginning is the destination with the bit of groups, and at whose end the EtherType.
const ETHERNET: u32 = 14;
const GROUP_BIT: u32 = 1;
const ETHER_TYPE: u32 = 12;
const IPV4: u32 = 0x0800;

/// Behind it, in the IPv4 header: flags with the fragment's offset, and the protocol.
const FRAGMENT: u32 = ETHERNET + 6;
const MORE_AND_OFFSET: u32 = 0x3fff;
const PROTOCOL: u32 = ETHERNET + 9;
const UDP: u32 = 17;

/// In the UDP header.
const DESTINATION_PORT: u32 = 2;

#[cfg(test)]
mod tests;
