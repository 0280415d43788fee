//! The datagrams that PROTOCOL.md prints in appendix A, read from that page.

#[path = "../../../../crypto/tests/page/mod.rs"]
mod page;

use std::net::SocketAddr;

use farlan_crypto::{Identity, Initiator, PublicKey, Responder, SalsaPoly, Seed, SessionKeys, Window, Work};
use farlan_netconf::{Parameters, Reader, Role as Side};
use farlan_offload::complete;
use page::Block;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{
    Batch, Config, Engine, Limits, Outbox, Role, Time,
    content::Content,
    gate::{open_cookie, put_first_mac, put_second_mac},
    peers::Path,
    sessions::{Lifetime, Session},
    wire::{
        beacon::{self, Sender},
        control::{Control, messages},
        datagram::{DATA_HEADER, Datagram, PROLOGUE, SessionIndex, VERSION, put_initiation, put_response},
        sealed::{FrameIn, MACS, Sealed},
    },
};

/// The indexes under which the two ends receive.
const INITIATOR: SessionIndex = SessionIndex(0x0a0b_0c0d);
const RESPONDER: SessionIndex = SessionIndex(0x0102_0304);

/// The vector `label` of appendix A's section `section`.
fn vector(section: &str, label: &str) -> Vec<u8> {
    Block::holding(section, label).bytes(label)
}

/// The initiator and the responder of A.1.
fn identities() -> [Identity; 2] {
    [6583_u16, 33380].map(|number| {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        Identity::from_seed(Seed::from_bytes(seed), Work::REQUIRED).unwrap()
    })
}

/// The datagram with message 1 of A.5 as far as its MACs, and what its maker keeps.
fn initiation() -> (Vec<u8>, Initiator<SalsaPoly>) {
    let [initiator, responder] = identities();
    let mut datagram = Vec::new();
    put_initiation(&mut datagram, INITIATOR);
    let payload = [datagram.as_slice(), initiator.public().as_bytes()].concat();
    let state = Initiator::start(
        PROLOGUE,
        &initiator,
        &responder.public(),
        &[0x11; 32],
        &payload,
        &mut datagram,
    );
    (datagram, state.unwrap())
}

/// The datagram with message 2 of A.5, and the responder's keys.
fn response() -> (Vec<u8>, SessionKeys) {
    let [_, responder] = identities();
    let (initiation, _) = initiation();
    let mut payload = Vec::new();
    let state = Responder::<SalsaPoly>::read(PROLOGUE, &responder, &initiation[8..], &mut payload).unwrap();
    let mut datagram = Vec::new();
    put_response(&mut datagram, INITIATOR, RESPONDER);
    let payload = [datagram.as_slice(), responder.public().as_bytes()].concat();
    let keys = state.respond(&[0x22; 32], &payload, &mut datagram).unwrap();
    (datagram, keys)
}

/// The initiator's keys.
fn initiator_keys() -> SessionKeys {
    let [initiator, _] = identities();
    let (_, state) = initiation();
    state.finish(&initiator, &response().0[12..], &mut Vec::new()).unwrap()
}

fn engine(identity: Identity) -> Engine {
    let config = Config {
        identity,
        work: Work::REQUIRED,
        role: Role::Node,
        limits: Limits::default(),
    };
    Engine::new(config, Box::new(ChaCha20Rng::seed_from_u64(1)))
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 9600))
}

/// Puts the session of A.5 into an engine.
fn insert(engine: &mut Engine, peer: PublicKey, session: Session) {
    let id = engine.peers.pin(peer).unwrap();
    engine.peers.bind(session.local, id);
    let peer = engine.peers.get_mut(id).unwrap();
    peer.path = Some(Path::Direct(address().into()));
    peer.sessions.add(session);
}

/// The initiator's engine when the session stands.
fn initiator_engine() -> Engine {
    let [initiator, responder] = identities();
    let mut engine = engine(initiator);
    let indexes = (INITIATOR, RESPONDER);
    let keys = initiator_keys();
    let session = Session::new(keys, indexes, Side::Initiator, Lifetime::PEER, Window::Node, Time::ZERO);
    insert(&mut engine, responder.public(), session);
    engine
}

#[test]
fn the_handshake_datagrams_of_the_page_are_made() {
    assert_eq!(VERSION, 1);
    let [_, responder] = identities();
    let (mut with_first, _) = initiation();
    put_first_mac(&responder.public(), &mut with_first);
    let mut datagram = Vec::new();
    put_second_mac(None, &with_first, &mut datagram);
    assert_eq!(datagram, vector("A.5", "initiation"));
    let cookie_datagram = vector("A.5", "cookie");
    let cookie = open_cookie(&responder.public(), &cookie_datagram, &with_first).expect("a cookie for the initiation");
    datagram.clear();
    put_second_mac(Some(cookie), &with_first, &mut datagram);
    assert_eq!(datagram, vector("A.5", "initiation with the cookie"));
    let (response, keys) = response();
    assert_eq!(response, vector("A.5", "response"));
    assert_eq!(keys.handshake_hash.to_vec(), vector("A.5", "handshake hash"));
    let initiator = initiator_keys();
    assert_eq!(initiator.handshake_hash, keys.handshake_hash);
    // The payloads do not enter the keys: they are those of A.4.
    assert_eq!(initiator.send.as_bytes().to_vec(), vector("A.4", "initiator sends"));
    assert_eq!(keys.send.as_bytes().to_vec(), vector("A.4", "responder sends"));
}

#[test]
fn the_initiation_of_the_page_is_answered() {
    let [initiator, responder] = identities();
    let key = *responder.public().as_bytes();
    let mut engine = engine(responder);
    let (mut batch, mut out) = (Batch::default(), Outbox::default());
    batch.push(address(), &vector("A.5", "initiation"));
    engine.handle_datagrams(Time::ZERO, &mut batch, &mut out);
    engine.handle_timeout(Time::ZERO, &mut out);
    let (transmit, response) = out.datagrams.packet(0).unwrap();
    assert_eq!(transmit.destination, address().into());
    assert_eq!(response.len(), vector("A.5", "response").len());
    let Ok(Datagram::Response { receiver, message, .. }) = Datagram::parse(response) else {
        panic!("not a response");
    };
    assert_eq!(receiver, INITIATOR);
    let mut payload = Vec::new();
    let (_, state) = initiation();
    state.finish(&initiator, message, &mut payload).unwrap();
    assert_eq!(payload, [&response[..12], &key].concat());
}

#[test]
fn the_data_datagrams_of_the_page_are_made() {
    let mut engine = initiator_engine();
    let [_, responder] = identities();
    let id = engine.peers.by_node(&responder.node_id()).unwrap();
    let own = [&[0; 12][..], &[0x88, 0xb5], b"hello"].concat();
    let group = [
        &[0xff; 6][..],
        &[0x5a, 0x2b, 0xb9, 0x38, 0xf2, 0x6a, 0x88, 0xb5],
        b"hello",
    ]
    .concat();
    let ping = [Control::Ping {
        token: 0x0011_2233_4455_6677,
    }];
    let contents = [
        ("sign of life", Content::Empty),
        ("ping", Content::Control(&ping)),
        (
            "own",
            Content::Frame {
                network: 0,
                frame: &own,
                own: true,
            },
        ),
        (
            "group",
            Content::Group {
                network: 0,
                sequence: 258,
                frame: &group,
            },
        ),
    ];
    for (label, content) in contents {
        let mut out = Outbox::default();
        assert!(engine.send_sealed(Time::ZERO, id, None, content, &mut out));
        let (_, datagram) = out.datagrams.packet(0).unwrap();
        assert_eq!(datagram, vector("A.5", label), "{label}");
    }
}

#[test]
fn the_data_datagrams_of_the_page_are_opened() {
    let (_, keys) = response();
    let mut opener = farlan_crypto::Opener::new(keys.receive, Window::Node);
    let mut plain = |label: &str| {
        let mut datagram = vector("A.5", label);
        let Ok(Datagram::Data { receiver, counter }) = Datagram::parse(&datagram) else {
            panic!("{label} is no data datagram");
        };
        assert_eq!(receiver, RESPONDER);
        let (header, sealed) = datagram.split_at_mut(DATA_HEADER);
        opener.open(counter, header, sealed).unwrap().to_vec()
    };
    assert_eq!(plain("sign of life"), []);
    for label in ["ping", "own", "group", "open"] {
        assert_eq!(plain(label), vector("A.5", &format!("{label}, plain")), "{label}");
    }
    let ping = vector("A.5", "ping, plain");
    let Ok(Sealed::Control(run)) = Sealed::parse(&ping) else {
        panic!("the ping is no control message");
    };
    let open = vector("A.5", "open, plain");
    let frame = FrameIn::of(&open).expect("a frame");
    assert_eq!((frame.own, frame.partial, frame.place), (true, true, 0));
    let mut frame = [&[0; MACS][..], frame.bytes].concat();
    complete(&mut frame).expect("a frame whose checksum can be completed");
    // What a checksum of UDP over its pseudo-header, its header and "hello" comes to.
    assert_eq!(frame[40..42], [0x9c, 0x45]);
    let token = 0x0011_2233_4455_6677;
    assert_eq!(messages(run).collect::<Vec<_>>(), [Ok(Some(Control::Ping { token }))]);
}

#[test]
fn a_beacon_is_as_the_page_says() {
    // The second network of A.6.
    let parameters = Block::of("A.6", 1).bytes("parameters");
    let parameters = Parameters::decode(&mut Reader::new(&parameters)).unwrap();
    let nonce: [u8; beacon::NONCE] = std::array::from_fn(|at| 0xa0 + u8::try_from(at).unwrap());
    let keys = parameters.secret().unwrap().beacon(&nonce);
    let page = Block::of("A.10", 0);
    assert_eq!(keys.tag, page.array("tag"));
    let [initiator, _] = identities();
    let sender = Sender {
        key: *initiator.public().as_bytes(),
        seeks: true,
    };
    let (head, slot) = (page.array("head"), page.lines("slot").concat());
    assert_eq!(beacon::header(&nonce), head);
    let made = beacon::slot(&head, &keys, &sender);
    let hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, slot);
    let mut bytes = head.to_vec();
    bytes.resize(beacon::HEADER + beacon::SLOTS * beacon::SLOT, 0);
    bytes[beacon::HEADER..][..beacon::SLOT].copy_from_slice(&made);
    let Ok(Datagram::Beacon(read)) = Datagram::parse(&bytes) else {
        panic!("it is a beacon")
    };
    assert_eq!(read.sender(&keys), Some(sender));
}
