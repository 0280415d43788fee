//! The doors of the fuzz targets: what must hold of the engine's parsers whatever they are given, and a node that says
//! what it likes under genuine keys. Compiled for the fuzzers and the tests alone.
//!
//! A body takes the input of a fuzzer and panics where something does not hold.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::OnceLock,
    time::Duration,
};

use farlan_crypto::{Identity, NodeId, PublicKey, Seed, Work};
use farlan_netconf::{Mac, Mtu, NetworkSecret, Parameters, Subnet};

use crate::{
    Engine, Outbox, Time,
    content::Content,
    filter::{FlowMark, PacketContent, StrangersPacket},
    fragments::{Assemblies, MAX_IN_ALL, MAX_OF_PEER, Part},
    gate::{AUTHENTIC, COOKIE_DATAGRAM, INITIATION, WITH_FIRST_MAC, open_cookie, put_first_mac, put_second_mac},
    neighbours::{Asked, announcement, answer, is_membership_report, question, spoken_for},
    peers::{MAX_WAITING, PeerId},
    sessions::MAX_SESSIONS,
    switch::{carries_ipv4, mac_at},
    wire::{
        beacon::{self, Beacon},
        control::messages,
        datagram::{
            Datagram, RELAY_FIRST_HEADER, RELAY_HEADER, RelayIndex, RelayTarget, SessionIndex, VERSION, passed_header,
            put_cookie, put_data, put_hint, put_initiation, put_other_version, put_relay, put_response,
        },
        sealed::{FRAGMENT_HEADER, FrameIn, GROUP_HEADER, LONGEST, MAX_PARTS, Sealed},
    },
};

/// Input: what came by UDP. What is understood of it is what stands there: written anew, it is the same, but for the
/// bytes that this version does not interpret.
pub fn datagram(input: &[u8]) {
    let parsed = Datagram::parse(input);
    assert_eq!(Datagram::is_data(input), matches!(parsed, Ok(Datagram::Data { .. })));
    let Ok(parsed) = parsed else { return };
    assert_eq!(parsed.is_handshake(), matches!(input[0], 1 | 2 | 9));
    let mut written = Vec::new();
    // Which of the first four bytes are not interpreted.
    let ignored: &[usize] = match parsed {
        Datagram::Initiation { version, sender } => {
            put_initiation(&mut written, sender);
            assert_eq!(std::mem::replace(&mut written[1], version), VERSION);
            written.extend_from_slice(&input[written.len()..]);
            &[2, 3]
        }
        Datagram::Cookie { version, receiver } => {
            // Nobody sealed this one.
            let (datagram, initiation) = input.split_at(input.len().min(COOKIE_DATAGRAM));
            assert!(open_cookie(responder(), datagram, initiation).is_none());
            put_cookie(&mut written, receiver);
            assert_eq!(std::mem::replace(&mut written[1], version), VERSION);
            written.extend_from_slice(&input[written.len()..]);
            &[2, 3]
        }
        Datagram::Response {
            version,
            receiver,
            sender,
            message,
        } => {
            put_response(&mut written, receiver, sender);
            assert_eq!(std::mem::replace(&mut written[1], version), VERSION);
            written.extend_from_slice(message);
            &[2, 3]
        }
        Datagram::Data { receiver, counter } => {
            put_data(&mut written, receiver, counter);
            written.extend_from_slice(&input[written.len()..]);
            &[1, 2, 3]
        }
        Datagram::Relay {
            destination,
            source,
            inner,
        } => {
            put_relay(&mut written, destination, source);
            let length = match destination {
                RelayTarget::Index(_) => RELAY_HEADER,
                RelayTarget::Node(_) => RELAY_FIRST_HEADER,
                RelayTarget::Remote { .. } => unreachable!("that is a datagram of another kind"),
            };
            assert_eq!(written.len(), length);
            written.extend_from_slice(inner);
            &[1, 2, 3]
        }
        Datagram::Forward {
            supernode,
            destination: index,
            source,
            inner,
        } => {
            put_relay(&mut written, RelayTarget::Remote { supernode, index }, source);
            written.extend_from_slice(inner);
            &[]
        }
        Datagram::Beacon(beacon) => {
            // Nobody sealed this one.
            assert!(beacon.sender(&network().beacon(&beacon.nonce())).is_none());
            written.extend_from_slice(&beacon::header(&beacon.nonce()));
            assert_eq!(std::mem::replace(&mut written[1], beacon.version()), VERSION);
            assert_eq!(input.len(), beacon::HEADER + beacon.slots() * beacon::SLOT);
            written.extend_from_slice(&input[written.len()..]);
            &[2, 3]
        }
        Datagram::Passed {
            supernode,
            destination,
            source,
            inner,
        } => {
            written.extend_from_slice(&passed_header(supernode, destination, source));
            written.extend_from_slice(inner);
            &[]
        }
        Datagram::Hint(unknown) => {
            put_hint(&mut written, unknown);
            written.extend_from_slice(&input[written.len()..]);
            &[2, 3]
        }
        Datagram::OtherVersion { version, index } => {
            put_other_version(&mut written, index);
            assert_eq!(std::mem::replace(&mut written[2], version), VERSION);
            written.extend_from_slice(&input[written.len()..]);
            &[3]
        }
    };
    let mut expected = input.to_vec();
    for at in ignored {
        expected[*at] = 0;
        written[*at] = 0;
    }
    assert_eq!(written, expected);
}

/// Somebody who could have made a cookie.
fn responder() -> &'static PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let identity = Identity::from_seed(Seed::from_bytes([1; 32]), Work::NONE);
        identity.expect("no work is asked for").public()
    })
}

/// The secret of a network whose members sent nothing of what is made up.
fn network() -> &'static NetworkSecret {
    static SECRET: OnceLock<NetworkSecret> = OnceLock::new();
    SECRET.get_or_init(|| {
        let secret = Parameters::link([1; 16], Subnet::LINK_RANGE, Mtu::DEFAULT).secret();
        secret.expect("that of a link follows from its parameters")
    })
}

/// Input: what somebody sends to the group of beacons; or, behind a first byte that is odd, the nonce and the key of a
/// genuine one, and how it is bent. A member reads what was written, and nothing of what was bent.
pub fn beacon(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    if kind % 2 == 0 {
        if let Ok(read) = Beacon::parse(input) {
            assert!(read.sender(&network().beacon(&read.nonce())).is_none());
            assert!((1..=beacon::MAX_SLOTS).contains(&read.slots()));
        }
        return;
    }
    let mut given = input.iter().copied();
    let mut next = || given.next().unwrap_or_default();
    let nonce: [u8; beacon::NONCE] = std::array::from_fn(|_| next());
    let written = beacon::Sender {
        key: std::array::from_fn(|_| next()),
        seeks: kind & 2 != 0,
    };
    let header = beacon::header(&nonce);
    let slots = beacon::SLOTS * (1 + usize::from(kind >> 2) % 4);
    let place = usize::from(kind >> 4) % slots;
    let mut bytes = header.to_vec();
    bytes.resize(beacon::HEADER + slots * beacon::SLOT, 0xa5);
    let slot = beacon::HEADER + place * beacon::SLOT..beacon::HEADER + (place + 1) * beacon::SLOT;
    bytes[slot.clone()].copy_from_slice(&beacon::slot(&header, &network().beacon(&nonce), &written));
    let genuine = bytes.clone();
    let read = |bytes: &[u8]| Beacon::parse(bytes).ok()?.sender(&network().beacon(&nonce));
    assert_eq!(read(&bytes), Some(written));
    while let (Some(at), mask) = (given.next(), given.next().unwrap_or(1)) {
        let at = usize::from(at) * 5 % bytes.len();
        bytes[at] ^= mask;
    }
    let bent = bytes[..beacon::HEADER] != genuine[..beacon::HEADER] || bytes[slot.clone()] != genuine[slot];
    assert_eq!(read(&bytes), Some(written).filter(|_| !bent));
}

/// Input: an opened message. Both readers of frames agree, and nothing is left out or invented.
pub fn sealed(input: &[u8]) {
    let frame = FrameIn::of(input);
    let Ok(parsed) = Sealed::parse(input) else {
        assert!(frame.is_none());
        return;
    };
    let seen = match parsed {
        Sealed::Own { network, rest: bytes } | Sealed::Full { network, frame: bytes } => {
            let frame = frame.expect("both read it");
            assert_eq!((frame.place, frame.bytes), (network, bytes));
            assert_eq!(frame.own, matches!(parsed, Sealed::Own { .. }));
            assert_eq!(frame.partial, input[0] & 0x80 != 0);
            2 + bytes.len()
        }
        other => {
            assert!(frame.is_none());
            match other {
                Sealed::Group { frame, .. } => GROUP_HEADER + frame.len(),
                Sealed::Spread { copy, .. } => 2 + copy.len(),
                Sealed::Control(body) => 1 + body.len(),
                Sealed::Fragment { part, .. } => FRAGMENT_HEADER + part.len(),
                _ => input.len(),
            }
        }
    };
    assert_eq!(seen, input.len());
}

/// Input: the control messages of one opened message. What is read and written again is read as the same, and takes no
/// more room.
pub fn control(input: &[u8]) {
    let mut written = Vec::new();
    let mut read = Vec::new();
    let mut ended = false;
    for message in messages(input) {
        assert!(!ended, "nothing follows what cannot be read");
        match message {
            Ok(Some(message)) => {
                message.encode(&mut written);
                read.push(message);
            }
            Ok(None) => {}
            Err(_) => ended = true,
        }
    }
    assert!(written.len() <= input.len());
    let mut again = messages(&written);
    for message in &read {
        assert_eq!(again.next(), Some(Ok(Some(message.clone()))));
    }
    assert_eq!(again.next(), None);
}

/// Input: a MAC, then a frame as another node or the own machine sends it. What is said of it and answered agrees.
pub fn frame(input: &[u8]) {
    let Some((mac, frame)) = input.split_first_chunk::<6>() else {
        return;
    };
    let mac = Mac::from_bytes(*mac);
    let asked = question(frame);
    let spoken = spoken_for(frame);
    if is_membership_report(frame) {
        assert!(asked.is_none() && spoken.is_none());
    }
    let rest = frame.get(12..).unwrap_or_default();
    if matches!(spoken, Some(Asked::Ipv4(_))) {
        assert!(carries_ipv4(rest));
    }
    assert_eq!(mac_at(frame, 6).is_some(), frame.len() >= 12);
    strangers_frame(frame);
    let Some(asked) = asked else { return };
    if let Some(asker) = asked.asker {
        assert_eq!(spoken, Some(asker));
    }
    let reply = answer(frame, &asked, mac);
    says(&reply, asked.target, mac);
    assert_eq!(mac_at(&reply, 0), mac_at(frame, 6));
    assert_eq!(question(&reply), None, "an answer asks nothing");
    let address = match asked.target {
        Asked::Ipv4(address) => IpAddr::V4(address),
        Asked::Ipv6(address) => IpAddr::V6(address),
    };
    says(&announcement(address, mac), asked.target, mac);
}

/// What a member of a network of strangers is understood to say stands in the frame, and is what others read there.
fn strangers_frame(frame: &[u8]) {
    let mark = FlowMark::of(frame);
    let Ok(packet) = StrangersPacket::parse(frame) else {
        return;
    };
    match packet {
        StrangersPacket::Arp(arp) => {
            assert!(mark.is_none());
            let spoken = Some(Asked::Ipv4(arp.sender)).filter(|_| !arp.sender.is_unspecified());
            assert_eq!(spoken_for(frame), spoken);
            assert_eq!(question(frame).is_some(), arp.is_request);
        }
        StrangersPacket::Neighbour(neighbour) => {
            let said = match (neighbour.is_solicitation, neighbour.source.is_unspecified()) {
                (true, true) => None,
                (true, false) => Some(Asked::Ipv6(neighbour.source)),
                (false, _) => Some(Asked::Ipv6(neighbour.target)),
            };
            assert_eq!(spoken_for(frame), said);
            let asked = question(frame).map(|asked| asked.target);
            assert_eq!(
                asked,
                Some(Asked::Ipv6(neighbour.target)).filter(|_| neighbour.is_solicitation)
            );
        }
        StrangersPacket::Ip(packet) => {
            let at = |v4: usize, v6: usize| match packet.source {
                IpAddr::V4(_) => IpAddr::from(*frame[14 + v4..].first_chunk::<4>().expect("it was read")),
                IpAddr::V6(_) => IpAddr::from(*frame[14 + v6..].first_chunk::<16>().expect("it was read")),
            };
            assert_eq!((packet.source, packet.destination), (at(12, 8), at(16, 24)));
            assert_eq!(spoken_for(frame), None);
            if let Some(fragment) = packet.fragment {
                assert!(mark.is_none() && fragment.offset + fragment.length <= 0xffff);
            }
            let is_flow = matches!(packet.content, PacketContent::Tcp { .. } | PacketContent::Udp { .. });
            assert!(is_flow || mark.is_none());
        }
    }
}

/// An answer or announcement of ours that says `address` to be at `mac`, as the same code reads it.
fn says(frame: &[u8], address: Asked, mac: Mac) {
    assert_eq!(mac_at(frame, 6), Some(mac));
    assert!(!is_membership_report(frame));
    match address {
        Asked::Ipv4(Ipv4Addr::UNSPECIFIED) => assert_eq!(spoken_for(frame), None),
        _ => assert_eq!(spoken_for(frame), Some(address)),
    }
    if let Asked::Ipv6(target) = address {
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(internet_sum(frame, target), 0xffff);
    } else {
        assert_eq!(frame.len(), 14 + 28);
    }
}

/// RFC 1071 over the pseudo-header and the message of an advertisement, which begins at byte 54.
fn internet_sum(frame: &[u8], source: Ipv6Addr) -> u32 {
    let destination: &[u8] = &frame[38..54];
    let bytes = [&source.octets()[..], destination, &[0, 32, 0, 58], &frame[54..]].concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Input: rows of `what 1 | message 1 | position 1 | count 1 | length 2`, parts of messages that four peers send; *what* says
/// whose, under which session, and how long after the one before. What is put together is what was sent, in order.
pub fn fragments(input: &[u8]) {
    let mut assemblies = Assemblies::default();
    let mut model: BTreeMap<(u64, u32, u16), BTreeMap<u8, Vec<u8>>> = BTreeMap::new();
    let mut now = Time::ZERO;
    let mut lost = 0;
    let mut sent = 0u64;
    for (number, row) in input.as_chunks::<6>().0.iter().enumerate() {
        let [what, message, position, count, high, low] = *row;
        now += Duration::from_millis(u64::from(what >> 4) * 20);
        let (peer, session) = (u64::from(what & 3), u32::from(what >> 2 & 3));
        let length = usize::from(u16::from_be_bytes([high, low])) % (LONGEST + 2);
        let bytes = vec![number as u8; length];
        let part = Part {
            message: message.into(),
            position,
            count,
            bytes: &bytes,
        };
        sent += 1;
        let (whole, gone) = assemblies.take(now, PeerId::for_test(peer), SessionIndex(session), part);
        lost += gone;
        let parts = model.entry((peer, session, message.into())).or_default();
        if (2..=MAX_PARTS).contains(&usize::from(count)) && position < count && length > 0 {
            parts.insert(position, bytes);
        }
        if let Some(whole) = whole {
            assert!((2..=MAX_PARTS).contains(&usize::from(count)) && whole.len() <= LONGEST);
            // Newer parts replace older ones in the model; in the table they would have ended the message.
            let expected: Vec<u8> = (0..count).flat_map(|position| parts[&position].clone()).collect();
            assert_eq!(whole, expected);
            *parts = BTreeMap::new();
        }
        let (held, ordered) = assemblies.held();
        assert!(held <= 4 * MAX_OF_PEER && ordered <= 4 * MAX_IN_ALL + 1);
        assert!(assemblies.deadline().is_none_or(|deadline| deadline > now));
    }
    now += Duration::from_secs(1);
    lost += assemblies.expire(now);
    assert_eq!((assemblies.held(), assemblies.deadline()), ((0, 0), None));
    assert!(lost <= sent);
}

/// Lets `engine` say `message`, whatever it is, under the keys of its session with the node `to`. Returns whether there
/// was one.
pub fn say(engine: &mut Engine, now: Time, to: &NodeId, message: &[u8], out: &mut Outbox) -> bool {
    let Some(id) = engine.peers.by_node(to) else {
        return false;
    };
    engine.send_sealed(now, id, None, Content::Raw(message), out)
}

/// How many sessions `engine` has with the node `with`, and how many of them it sends under.
pub fn sessions(engine: &Engine, with: &NodeId) -> (usize, usize) {
    let peer = engine
        .peers
        .by_node(with)
        .and_then(|id| engine.peers.get(id))
        .map(|peer| &peer.sessions);
    let sessions = || peer.iter().flat_map(|sessions| sessions.iter());
    (
        sessions().count(),
        sessions().filter(|session| session.confirmed).count(),
    )
}

/// The nodes with which `engine` has a session.
pub fn met(engine: &Engine) -> Vec<NodeId> {
    let peers = engine.peers.iter().filter(|(_, peer)| !peer.sessions.is_empty());
    peers.map(|(_, peer)| peer.key.node_id()).collect()
}

/// Checks the bounds that hold of every engine at every time.
pub fn bounds(engine: &Engine) {
    for (_, peer) in engine.peers.iter() {
        assert!(peer.sessions.iter().filter(|session| session.confirmed).count() <= MAX_SESSIONS);
        assert!(peer.waiting.len() <= MAX_WAITING);
    }
    let (held, ordered) = engine.assemblies.held();
    assert!(held <= MAX_IN_ALL && ordered <= 4 * MAX_IN_ALL + 1);
    assert!(engine.pending_seals.is_empty(), "nothing laid out stays unsealed");
    assert!(engine.acks_due.is_empty() && engine.entropy_wanted() <= 64);
}

/// The relay indexes that stand in a datagram from a node to its supernode or back: destination, source.
pub fn relay_indexes(datagram: &[u8]) -> Option<(u32, u32)> {
    match Datagram::parse(datagram).ok()? {
        Datagram::Relay {
            destination: RelayTarget::Index(RelayIndex(destination)),
            source: RelayIndex(source),
            ..
        } => Some((destination, source)),
        _ => None,
    }
}

/// The datagram inside a relayed one, or itself.
pub fn innermost(datagram: &[u8]) -> &[u8] {
    match Datagram::parse(datagram) {
        Ok(Datagram::Relay { inner, .. } | Datagram::Forward { inner, .. } | Datagram::Passed { inner, .. }) => inner,
        _ => datagram,
    }
}

/// Whether a datagram of the own or a relayed one is of a handshake.
pub fn is_handshake(datagram: &[u8]) -> bool {
    Datagram::parse(innermost(datagram)).is_ok_and(|parsed| parsed.is_handshake())
}

/// What of a handshake message makes it what it is: the second MAC of an initiation only says where it came from.
pub fn essence(message: &[u8]) -> &[u8] {
    match message {
        [1, ..] if message.len() == INITIATION => &message[..WITH_FIRST_MAC],
        _ => message,
    }
}

/// Gives an initiation, whatever is left of it, the first MAC with which `responder` looks at it.
pub fn let_pass(responder: &PublicKey, initiation: &mut Vec<u8>) {
    if initiation.first() == Some(&1) {
        initiation.resize(AUTHENTIC, 0);
        put_first_mac(responder, initiation);
        let with_first = initiation.clone();
        put_second_mac(None, &with_first, initiation);
    }
}

#[cfg(test)]
mod tests;
