//! The steps of a plan.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use farlan_engine::{Batch, FrameLabel, NetworkHandle, OpenPorts, Target, Transport, fuzzing};
use farlan_offload::{Offload, VNET_HEADER, read_vnet};

use super::lab::{ALICE, BERTA, BERTAS, CHOSEN, ELSEWHERE, FRIENDS, Lab, NOBODY, STRANGERS, SUPERNODE};

/// The input of a fuzzer, read from the front; what is behind its end reads as zeros.
#[derive(Debug)]
pub(crate) struct Plan<'a>(&'a [u8]);

impl<'a> Plan<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A length byte and as many bytes, or what is left.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..length).unwrap_or_default()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Control messages between nodes.
    Control,
    /// Control messages between a node and its supernode.
    Directory,
    /// A frame as a node sends it to another.
    Frame,
    /// A message in parts.
    Parts,
    /// Any bytes, sealed.
    Raw,
    /// Frames from a card.
    Card,
    /// A genuine datagram, spoilt.
    Spoilt,
    /// A genuine datagram, once more.
    Again,
    /// Any datagram.
    Unsealed,
    /// Something to be passed on.
    Wrapped,
    /// Something that a machine wants of its own engine.
    Local,
    /// A way that begins or ends to lose everything.
    Lossy,
    /// Time.
    Time,
}

/// Takes a step. Returns whether something of it got past authentication.
pub(crate) fn take(lab: &mut Lab<'_>, step: Step, plan: &mut Plan<'_>) -> bool {
    let refused = lab.refused();
    let said = match step {
        Step::Control => {
            let (from, to) = pair(lab, plan);
            let message = control(lab, plan, &PEER_KINDS);
            lab.say(from, to, &message)
        }
        Step::Directory => {
            let (from, to) = plan.one_of(&[
                (ALICE, SUPERNODE),
                (SUPERNODE, ALICE),
                (BERTA, SUPERNODE),
                (SUPERNODE, BERTA),
            ]);
            let message = control(lab, plan, &DIRECTORY_KINDS);
            lab.say(from, to, &message)
        }
        Step::Frame => {
            let (from, to) = pair(lab, plan);
            let message = frame_message(lab, plan, (from, to));
            lab.say(from, to, &message)
        }
        Step::Parts => parts(lab, plan),
        Step::Raw => {
            let (from, to) = plan.one_of(&[
                (ALICE, BERTA),
                (BERTA, ALICE),
                (ALICE, SUPERNODE),
                (SUPERNODE, ALICE),
                (SUPERNODE, BERTA),
            ]);
            let message = plan.bytes().to_vec();
            lab.say(from, to, &message)
        }
        Step::Card => card(lab, plan),
        Step::Spoilt => {
            spoilt(lab, plan);
            return false;
        }
        Step::Again => {
            again(lab, plan);
            false
        }
        Step::Unsealed => {
            unsealed(lab, plan);
            return false;
        }
        Step::Wrapped => return wrapped(lab, plan),
        Step::Local => {
            local(lab, plan);
            return false;
        }
        Step::Lossy => return false,
        Step::Time => {
            let scale = plan.one_of(&[1, 20, 100, 500]);
            lab.run(Duration::from_millis(u64::from(plan.byte()) * scale));
            return false;
        }
    };
    lab.run(Duration::from_millis(4));
    said && lab.refused() == refused
}

fn pair(lab: &Lab<'_>, plan: &mut Plan<'_>) -> (usize, usize) {
    let (from, to) = plan.one_of(&[(ALICE, BERTA), (BERTA, ALICE), (ALICE, BERTA), (3, BERTA)]);
    if from < lab.hosts.len() {
        (from, to)
    } else {
        (ALICE, BERTA)
    }
}

/// Kinds of control messages that nodes send each other, and those between nodes and supernodes; some that nobody knows.
const PEER_KINDS: [u8; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 26, 27, 29, 40, 42, 43, 44, 45, 46, 47, 48, 54,
];
const DIRECTORY_KINDS: [u8; 27] = [
    4, 5, 7, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 32, 33, 1, 9, 16, 18, 40, 50, 51, 52,
];

/// Some control messages: kinds of the list, bodies of the plan with names for what they should speak of.
fn control(lab: &Lab<'_>, plan: &mut Plan<'_>, kinds: &[u8]) -> Vec<u8> {
    let mut message = vec![4];
    for _ in 0..plan.byte() % 4 + 1 {
        message.push(plan.one_of(kinds));
        let body = spoken(lab, plan);
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(&body);
    }
    message
}

/// Bytes of the plan. From 0xe0 on they stand for what the hosts know: keys, ids, addresses, indexes.
fn spoken(lab: &Lab<'_>, plan: &mut Plan<'_>) -> Vec<u8> {
    let mut bytes = plan.bytes().iter();
    let mut spoken = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte.checked_sub(0xe0) {
            None => spoken.push(*byte),
            Some(31) => spoken.push(bytes.next().copied().unwrap_or_default()),
            Some(name) => put_name(lab, name, &mut spoken),
        }
        if spoken.len() > 1200 {
            break;
        }
    }
    spoken
}

fn put_name(lab: &Lab<'_>, name: u8, bytes: &mut Vec<u8>) {
    let endpoint = |bytes: &mut Vec<u8>, address: SocketAddr| {
        let IpAddr::V4(ip) = address.ip() else { return };
        bytes.extend_from_slice(&ip.to_ipv6_mapped().octets());
        bytes.extend_from_slice(&address.port().to_be_bytes());
    };
    let host = |place: u8| &lab.hosts[usize::from(place)];
    let ipv4 = |place: usize, network: usize| {
        let held = lab.status(place, network).and_then(|status| status.ipv4);
        held.unwrap_or(Ipv4Addr::new(10, 128, 16, 5))
    };
    match name {
        0..=2 => bytes.extend_from_slice(host(name).key.as_bytes()),
        3..=5 => bytes.extend_from_slice(host(name - 3).id.as_bytes()),
        6..=8 => endpoint(bytes, host(name - 6).address),
        9..=12 => {
            let secret = lab.parameters[usize::from(name - 9)]
                .secret()
                .expect("no network of the lab is private");
            bytes.extend_from_slice(secret.member_key().as_bytes());
        }
        13 => bytes.extend_from_slice(lab.world.id().as_bytes()),
        14 => bytes.extend_from_slice(&lab.newer.encode()),
        15 => bytes.extend_from_slice(&(lab.newer.encode().len() as u16).to_be_bytes()),
        16 => {
            let key = lab.parameters[FRIENDS]
                .secret()
                .expect("no network of the lab is private")
                .address_key(ipv4(ALICE, FRIENDS));
            bytes.extend_from_slice(key.as_bytes());
        }
        17 => bytes.extend_from_slice(&ipv4(ALICE, FRIENDS).octets()),
        18 => bytes.extend_from_slice(&ipv4(BERTA, FRIENDS).octets()),
        19 => bytes.extend_from_slice(&ipv4(ALICE, STRANGERS).octets()),
        20 => bytes.extend_from_slice(&lab.index_of(ALICE).to_be_bytes()),
        21 => bytes.extend_from_slice(&lab.index_of(BERTA).to_be_bytes()),
        22 => bytes.extend_from_slice(&lab.plan(STRANGERS).ipv6(&host(1).id).octets()),
        23 => bytes.extend_from_slice(&lab.plan(FRIENDS).ipv6(&host(2).id).octets()),
        24 => bytes.extend_from_slice(lab.plan(STRANGERS).mac(&host(1).id).as_bytes()),
        25 => bytes.extend_from_slice(lab.plan(FRIENDS).mac(&host(2).id).as_bytes()),
        26 => bytes.extend_from_slice(&[0; 8]),
        27 => bytes.extend_from_slice(&[0, 0, 0, 1]),
        28 => bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        // A challenge or sequence that is often the next one.
        _ => bytes.extend_from_slice(&lab.now.as_nanos().to_be_bytes()),
    }
}

/// A frame, sealed as a node does it: own, full or group, with the checksum open or not.
fn frame_message(lab: &Lab<'_>, plan: &mut Plan<'_>, (from, to): (usize, usize)) -> Vec<u8> {
    let kind = plan.one_of(&[1, 2, 3, 0x81, 0x82, 2]);
    let place = plan.byte() % 6;
    // The order in which networks were joined is that of the places.
    let network = if place == 0 { FRIENDS } else { STRANGERS };
    let mut message = vec![kind, place];
    if kind == 3 {
        message.extend_from_slice(&[0; 7]);
        message.push(plan.byte());
    }
    let frame = frame(lab, plan, (from, to), network);
    message.extend_from_slice(if kind & 0x7f == 1 { &frame[12..] } else { &frame });
    message
}

/// A frame between two hosts, or what looks like one.
fn frame(lab: &Lab<'_>, plan: &mut Plan<'_>, (from, to): (usize, usize), network: usize) -> Vec<u8> {
    let addresses = lab.plan(network);
    let mac = |place: usize| *addresses.mac(&lab.hosts[place].id).as_bytes();
    let ipv4 = |place: usize| {
        let held = lab.status(place, network).and_then(|status| status.ipv4);
        held.unwrap_or(Ipv4Addr::new(10, 128, 16, 9)).octets()
    };
    let ipv6 = |place: usize| addresses.ipv6(&lab.hosts[place].id).octets();
    let local = |place: usize| addresses.link_local(&lab.hosts[place].id).octets();
    let choice = plan.byte();
    let foreign = [2, 0x16, 0x3e, 0, 0, choice];
    let destinations = [
        mac(to),
        [0xff; 6],
        mac(to),
        [0x33, 0x33, 0, 0, 0, 1],
        [1, 0, 0x5e, 0, 0, 0xfb],
        mac(from),
        foreign,
        mac(to),
    ];
    let sources = [
        mac(from),
        mac(from),
        mac(from),
        mac(from),
        mac(to),
        foreign,
        [0xff; 6],
        mac(from),
    ];
    let mut frame = destinations[usize::from(choice & 7)].to_vec();
    let source = sources[usize::from(choice >> 3 & 7)];
    frame.extend_from_slice(&source);
    let shape = plan.byte();
    for tag in 0..usize::from(shape >> 6) {
        frame.extend_from_slice(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]][tag]);
        frame.extend_from_slice(&[0, choice]);
    }
    let who = plan.byte();
    let speaker = if who & 1 == 0 { from } else { to };
    let asked = if who & 2 == 0 { to } else { from };
    match shape & 7 {
        0 => frame.extend_from_slice(&[0x88, 0xb5]),
        // ARP.
        1 => {
            frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, who >> 2 & 3]);
            frame.extend_from_slice(&source);
            frame.extend_from_slice(&if who & 16 == 0 { ipv4(speaker) } else { [0; 4] });
            frame.extend_from_slice(&[0; 6]);
            frame.extend_from_slice(&ipv4(asked));
        }
        // IPv4.
        2 | 3 => {
            let protocol = plan.one_of(&[1, 6, 17, 2, 47, 6, 17, 1]);
            let payload = payload(lab, plan, protocol);
            frame.extend_from_slice(&[8, 0, 0x45, 0]);
            frame.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
            frame.extend_from_slice(&[0, 0, who >> 4 & 0x20, 0, 64, protocol, 0, 0]);
            frame.extend_from_slice(&ipv4(speaker));
            frame.extend_from_slice(&if who & 16 == 0 { ipv4(asked) } else { [255; 4] });
            frame.extend_from_slice(&payload);
        }
        // IPv6, and neighbour discovery.
        4..=6 => {
            let next = plan.one_of(&[58, 6, 17, 0, 44, 58, 60, 17]);
            let payload = if shape & 7 == 6 {
                let kind = 133 + who % 5;
                let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
                message.extend_from_slice(&if who & 4 == 0 { ipv6(asked) } else { local(asked) });
                message.extend_from_slice(&[1 + who % 2, 1]);
                message.extend_from_slice(&source);
                message
            } else {
                payload(lab, plan, next)
            };
            let next = if shape & 7 == 6 { 58 } else { next };
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            frame.extend_from_slice(&[next, 255 - (who >> 7)]);
            frame.extend_from_slice(&match who >> 3 & 3 {
                0 => ipv6(speaker),
                1 => local(speaker),
                2 => [0; 16],
                _ => [0xfd; 16],
            });
            frame.extend_from_slice(&if who & 32 == 0 { ipv6(asked) } else { [0xff; 16] });
            frame.extend_from_slice(&payload);
        }
        _ => {}
    }
    frame.extend_from_slice(&spoken(lab, plan));
    frame.resize(frame.len().max(14), 0);
    frame
}

/// What stands in an IP packet: ports and headers in good order, or bytes of the plan; sometimes much of it.
fn payload(lab: &Lab<'_>, plan: &mut Plan<'_>, protocol: u8) -> Vec<u8> {
    let mut payload = spoken(lab, plan);
    let filler = plan.byte();
    let header: &[u8] = match protocol {
        6 => &[0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0],
        17 => &[0x1f, 0x90, 0, filler, 0, 8, 0, 0],
        _ => &[],
    };
    payload.splice(0..0, header.iter().copied());
    if filler & 7 == 7 {
        payload.resize(payload.len() + usize::from(filler) * 32, 0x5a);
    }
    payload
}

/// Parts of a message of kind 1, 2 or 3, in some order, some twice or missing.
fn parts(lab: &mut Lab<'_>, plan: &mut Plan<'_>) -> bool {
    let (from, to) = pair(lab, plan);
    let message = frame_message(lab, plan, (from, to));
    let count = plan.byte() % 34;
    let size = message.len().div_ceil(usize::from(count.max(1))).max(1);
    let number = plan.byte();
    let order = plan.byte() | 1;
    let flaw = plan.byte();
    let mut said = false;
    for step in 0..count {
        let position = step.wrapping_mul(order) % count;
        if flaw & 1 != 0 && step == flaw >> 2 {
            continue;
        }
        let bytes = message.chunks(size).nth(usize::from(position)).unwrap_or_default();
        let count = if flaw & 2 != 0 && step == flaw >> 3 {
            count + 1
        } else {
            count
        };
        let part = [&[5, 0, number, position, count][..], bytes].concat();
        said |= lab.say(from, to, &part);
    }
    said
}

/// Frames of one turn from the card of Alice or a third node, with labels as the kernel gives them or any. Returns whether
/// some left under a session.
fn card(lab: &mut Lab<'_>, plan: &mut Plan<'_>) -> bool {
    let choice = plan.byte();
    let from = if choice & 1 != 0 && lab.hosts.len() > 3 {
        3
    } else {
        ALICE
    };
    let network = usize::from(choice >> 1) % CHOSEN;
    // Nothing of Berta's own network is asked for, so that whatever comes there is wrong.
    if network == BERTAS {
        return false;
    }
    let handle = lab.hosts[from].handles[network].unwrap_or_else(|| NetworkHandle::from_u8(choice >> 4));
    let mut frames = Batch::default();
    for _ in 0..(choice >> 3) % 4 + 1 {
        let mut frame = frame(lab, plan, (from, BERTA), network);
        let shape = plan.byte();
        let mut offload = Offload {
            partial: shape & 1 != 0,
            segment: NonZeroU16::new(u16::from(shape >> 1) * 16),
        };
        if shape & 0x80 != 0 {
            let mut header = [0; VNET_HEADER];
            for (byte, value) in header.iter_mut().zip(plan.bytes()) {
                *byte = *value;
            }
            let Ok(read) = read_vnet(&header, &mut frame) else {
                continue;
            };
            offload = read;
        }
        frames.push(
            FrameLabel {
                network: handle,
                offload,
            },
            &frame,
        );
    }
    let sealed = |lab: &Lab<'_>| {
        let counters = lab.hosts[from].engine.counters();
        counters.frames_sent + counters.group_copies_sent
    };
    let before = sealed(lab);
    lab.send(from, network, &mut frames);
    sealed(lab) > before
}

/// A genuine datagram that was bent, cut or mixed with another is never opened: no frame, no session, no way learned.
fn spoilt(lab: &mut Lab<'_>, plan: &mut Plan<'_>) {
    let Some(passing) = kept(lab, plan) else { return };
    let others: Vec<Vec<u8>> = lab.kept.iter().map(|passing| passing.bytes.clone()).collect();
    let mut bytes = fuzzing::innermost(&passing.bytes).to_vec();
    let genuine = bytes.clone();
    if !spoil(plan, &mut bytes, &others) {
        return;
    }
    let known = others.iter().any(|other| fuzzing::innermost(other) == bytes);
    let place = lab.hosts.iter().position(|host| host.address == passing.to);
    let (Some(place), false) = (place, known || genuine == bytes) else {
        return;
    };
    let source = if plan.byte() & 1 == 0 { passing.from } else { NOBODY };
    let is_data = bytes.first() == Some(&3);
    let (refused, delivered) = (lab.refused(), lab.hosts[place].delivered);
    lab.deliver(place, source, &bytes);
    if is_data {
        assert_eq!(lab.refused(), refused + 1, "a spoilt datagram is refused and counted");
        assert_eq!(lab.hosts[place].delivered, delivered);
    }
    lab.settle();
}

/// A genuine datagram once more: from where it came, or from elsewhere.
fn again(lab: &mut Lab<'_>, plan: &mut Plan<'_>) {
    let Some(passing) = kept(lab, plan) else { return };
    let Some(place) = lab.hosts.iter().position(|host| host.address == passing.to) else {
        return;
    };
    let source = if plan.byte() & 1 == 0 { passing.from } else { ELSEWHERE };
    lab.deliver(place, source, &passing.bytes);
    lab.settle();
}

fn kept(lab: &Lab<'_>, plan: &mut Plan<'_>) -> Option<super::lab::Passing> {
    let back = usize::from(plan.byte()) % lab.kept.len().max(1);
    lab.kept.iter().rev().nth(back).cloned()
}

/// Any datagram, from nobody, from a supernode's address or from a node's.
fn unsealed(lab: &mut Lab<'_>, plan: &mut Plan<'_>) {
    let choice = plan.byte();
    let place = usize::from(choice) % 3;
    let source = [NOBODY, lab.hosts[SUPERNODE].address, lab.hosts[ALICE].address, NOBODY][usize::from(choice >> 2) % 4];
    let bytes = spoken(lab, plan);
    lab.deliver(place, source, &bytes);
    lab.run(Duration::from_millis(2));
}

/// Something for the supernode to pass on, or that it passes on: relayed, forwarded, one within the other. Returns whether
/// it was passed on or taken out.
fn wrapped(lab: &mut Lab<'_>, plan: &mut Plan<'_>) -> bool {
    let choice = plan.byte();
    let (alice, berta) = (lab.index_of(ALICE), lab.index_of(BERTA));
    let indexes = [alice, berta, 0, u32::from(choice)];
    let mut bytes = vec![plan.one_of(&[4, 4, 4, 5, 7, 8])];
    let tag = *lab.hosts[SUPERNODE].id.as_bytes();
    bytes.extend_from_slice(&if choice & 1 == 0 {
        [0; 3]
    } else {
        [tag[0], tag[1], tag[2]]
    });
    let which = plan.byte();
    match bytes[0] {
        5 => bytes.extend_from_slice(lab.hosts[usize::from(which & 3) % 3].id.as_bytes()),
        _ => bytes.extend_from_slice(&indexes[usize::from(which & 3)].to_be_bytes()),
    }
    bytes.extend_from_slice(&indexes[usize::from(which >> 2 & 3)].to_be_bytes());
    let inner = if which & 16 == 0 {
        kept(lab, plan).map_or_else(Vec::new, |passing| fuzzing::innermost(&passing.bytes).to_vec())
    } else {
        spoken(lab, plan)
    };
    bytes.extend_from_slice(&inner);
    let (from, to) = if choice & 2 == 0 {
        (ALICE, SUPERNODE)
    } else {
        (SUPERNODE, ALICE)
    };
    let relayed = |lab: &Lab<'_>| lab.hosts[to].engine.counters().relayed;
    let (before, refused) = (relayed(lab), lab.refused());
    let source = lab.hosts[from].address;
    lab.deliver(to, source, &bytes);
    let passed = relayed(lab) > before || (to == ALICE && lab.refused() == refused);
    lab.run(Duration::from_millis(3));
    passed
}

/// What a machine wants of its own engine.
fn local(lab: &mut Lab<'_>, plan: &mut Plan<'_>) {
    let choice = plan.byte();
    let place = [ALICE, BERTA][usize::from(choice >> 4) % 2];
    let network = usize::from(choice >> 5) % CHOSEN;
    let now = lab.now;
    match choice & 7 {
        0 => {
            // Each stays in what is its own alone.
            let allowed = if place == ALICE {
                network != BERTAS
            } else {
                network != 2
            };
            if allowed {
                lab.join(place, network);
            }
        }
        1 => lab.leave(place, network),
        2 => {
            let addresses: Vec<IpAddr> = (0..plan.byte() % 4)
                .map(|_| {
                    let bytes = plan.number().to_be_bytes();
                    IpAddr::from([10, 128, 16 | bytes[0] & 15, bytes[1]])
                })
                .collect();
            if let Some(handle) = lab.hosts[place].handles[network] {
                lab.hosts[place].engine.set_addresses(now, handle, &addresses);
            }
        }
        3 => {
            let endpoints = (0..plan.byte() % 5)
                .map(|number| SocketAddr::from(([192, 168, number, plan.byte()], 9600)))
                .collect();
            lab.hosts[place].engine.set_local_endpoints(now, endpoints);
        }
        4 => {
            let other = if place == ALICE { BERTA } else { ALICE };
            lab.ping(place, other);
        }
        5 => {
            let hide = plan.byte() & 1 != 0;
            lab.hosts[place].engine.set_hide_address(hide);
        }
        6 => {
            if let Some(handle) = lab.hosts[place].handles[network] {
                let address = IpAddr::from([10, 128, 16, plan.byte()]);
                let token = u64::from(choice);
                lab.hosts[place]
                    .engine
                    .ping(now, Target::Address(handle, address), token);
            }
        }
        _ if choice & 8 != 0 => {
            let transport = plan.one_of(&[Transport::Tcp, Transport::Udp]);
            let (first, last) = (u16::from(plan.byte()), plan.number());
            if let Some(handle) = lab.hosts[place].handles[network] {
                let ports = OpenPorts { transport, first, last };
                lab.hosts[place].engine.set_opened(handle, &[ports]);
            }
        }
        _ => {
            if plan.byte() & 1 == 0 {
                let newer = lab.newer.clone();
                lab.hosts[place].engine.hold_world(now, &newer);
            } else {
                lab.know_supernode(place);
            }
        }
    }
    lab.run(Duration::from_millis(3));
}

/// Changes a datagram as the plan says. Returns whether it arrives at all.
pub(crate) fn spoil(plan: &mut Plan<'_>, bytes: &mut Vec<u8>, others: &[Vec<u8>]) -> bool {
    if plan.is_empty() || bytes.is_empty() {
        return true;
    }
    let how = plan.byte();
    let at = usize::from(plan.number()) % bytes.len();
    match how % 12 {
        0 => {}
        1 | 2 => bytes[at] ^= 1 << (how >> 5),
        3 => bytes.truncate(at),
        4 => bytes.extend_from_slice(plan.bytes()),
        5 => bytes[at] = plan.byte(),
        6 => {
            // The begin of this and the end of another.
            let other = usize::from(plan.byte()) % others.len().max(1);
            if let Some(other) = others.get(other) {
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(at..).unwrap_or_default());
            }
        }
        7 => {
            let other = usize::from(plan.byte()) % others.len().max(1);
            if let Some(other) = others.get(other) {
                other.clone_into(bytes);
            }
        }
        8 => {
            let field = plan.bytes();
            for (byte, value) in bytes[at..].iter_mut().zip(field) {
                *byte = *value;
            }
        }
        9 => {
            bytes.remove(at);
        }
        10 => bytes.insert(at, plan.byte()),
        _ => return false,
    }
    true
}
