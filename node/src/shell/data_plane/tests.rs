//! The loop turn by turn, with sockets for cards; and the thread.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use farlan_crypto::{Identity, Work};
use farlan_engine::{Anchor, Join, Leg, Limits, Role, Transmit};
use farlan_netconf::{NetworkName, Parameters, WorldId};
use socket2::{Domain, Socket, Type};

use super::{requests::REQUESTS_PER_TURN, *};
use crate::shell::cards::AttachedCard;

const LONG: Duration = Duration::from_secs(10);

fn config() -> Config {
    let mut random = SystemRandom::from_os().unwrap();
    Config {
        identity: Identity::generate(&mut random, Work::NONE),
        work: Work::NONE,
        role: Role::Node,
        limits: Limits::default(),
    }
}

/// A loop in which nothing runs, and the ends that the rest of the program has.
fn lone_loop() -> (Loop, DataPlane, mpsc::Receiver<Event>) {
    let (poller, waker) = Poller::new().unwrap();
    let underlay = Underlay::bind(0).unwrap().attach().unwrap();
    poller.add(&underlay, UNDERLAY).unwrap();
    let (mut handle, requests) = DataPlane::channel();
    handle.waker = Some(Arc::new(waker));
    let (events, received) = mpsc::channel(EVENTS);
    let engine = Engine::new(config(), Box::new(SystemRandom::from_os().unwrap()));
    let streams = Streams::new(Vec::new(), &poller).unwrap();
    let data_plane = Loop::new(engine, poller, (underlay, streams), requests, events);
    (data_plane, handle, received)
}

/// Joins a network, and gives it one end of a pair of sockets for a card.
fn add_card(data_plane: &mut Loop, name: &str) -> (NetworkHandle, UnixStream) {
    let world = WorldId::from_bytes([7; 16]);
    let now = data_plane.now();
    data_plane.engine.set_world(now, world, Vec::new());
    let join = Join {
        parameters: Parameters::open_name(world, NetworkName::parse(name).unwrap()),
        world,
        ipv4: false,
        preferred: None,
        greet: Vec::new(),
        membership: None,
        name: None,
    };
    let network = data_plane.join(now, join).unwrap().handle;
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    data_plane.attach(network, plain(near), 1372).unwrap();
    (network, far)
}

fn plain(socket: impl Into<OwnedFd>) -> AttachedCard {
    AttachedCard {
        descriptor: socket.into(),
        vnet: false,
    }
}

/// Waits until something is ready and does a turn.
fn turn(data_plane: &mut Loop) {
    let now = data_plane.now();
    data_plane.wait(now).unwrap();
    assert!(data_plane.turn().is_none());
}

/// What is ready at once.
fn ready(data_plane: &mut Loop) -> Vec<Ready> {
    data_plane.poller.wait(Time::ZERO, Some(Time::ZERO)).unwrap().to_vec()
}

#[test]
fn a_card_that_breaks_is_closed_and_not_asked_again() {
    let (mut data_plane, _handle, _events) = lone_loop();
    let (broken, far) = add_card(&mut data_plane, "broken");
    let (whole, mut other) = add_card(&mut data_plane, "whole");
    drop(far);
    assert_eq!(ready(&mut data_plane), [Ready::Broken(broken.as_u8().into())]);
    turn(&mut data_plane);
    assert_eq!(data_plane.cards.network(broken.as_u8().into()), None);
    assert_eq!(ready(&mut data_plane), []);
    // The others go on, and the network can have another card.
    other.write_all(&[0; 60]).unwrap();
    turn(&mut data_plane);
    assert_eq!(ready(&mut data_plane), []);
    assert_eq!(data_plane.cards.network(whole.as_u8().into()), Some(whole));
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    data_plane.attach(broken, plain(near), 1372).unwrap();
    far.write_all(&[0; 60]).unwrap();
    assert_eq!(ready(&mut data_plane), [Ready::Readable(broken.as_u8().into())]);
}

#[test]
fn a_silent_card_is_read_once_and_a_busy_one_to_its_end() {
    let (mut data_plane, _handle, _events) = lone_loop();
    let (card, mut far) = add_card(&mut data_plane, "card");
    // A stream gives up to one frame's room with each read.
    let frames = |count: usize| vec![0; count * (1372 + 14 + 8 + 1)];
    far.write_all(&frames(3)).unwrap();
    turn(&mut data_plane);
    assert_eq!(data_plane.counters.card_overlong, 1);
    assert_eq!(data_plane.ready.busy, [card]);
    turn(&mut data_plane);
    assert_eq!(data_plane.counters.card_overlong, 3);
    assert_eq!(ready(&mut data_plane), []);
    // Something else was ready, and the card was not: it is silent again.
    data_plane.poller.wait(Time::ZERO, Some(Time::ZERO)).unwrap();
    data_plane.ready.cards.clear();
    data_plane.read_cards();
    assert_eq!(data_plane.ready.busy, []);
}

#[test]
fn no_card_keeps_the_others_from_their_turn() {
    let (mut data_plane, _handle, _events) = lone_loop();
    let (card, _far) = add_card(&mut data_plane, "busy");
    let (near, busy) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    for socket in [&near, &busy] {
        socket.set_nonblocking(true).unwrap();
    }
    data_plane.attach(card, plain(near), 1372).unwrap();
    let mut others: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| add_card(&mut data_plane, name).1)
        .collect();
    for turns in 0..5 {
        let mut sent = 0;
        while busy.send(&[0]).is_ok() {
            sent += 1;
        }
        if turns == 0 {
            assert!(sent > ROUNDS_PER_TURN * FRAMES_PER_READ, "{sent}");
        }
        for other in &mut others {
            other.write_all(&[0; 60]).unwrap();
        }
        turn(&mut data_plane);
        assert_eq!(ready(&mut data_plane), [Ready::Readable(card.as_u8().into())]);
    }
}

#[test]
fn requests_are_carried_out_some_at_a_time() {
    let (mut data_plane, handle, _events) = lone_loop();
    let ask = || Request::SetHideAddress { hide: true };
    for _ in 0..REQUESTS_PER_TURN + 1 {
        handle.requests.try_send(ask()).unwrap();
    }
    handle.waker.as_ref().unwrap().wake();
    turn(&mut data_plane);
    assert!(data_plane.ready.requests);
    assert_eq!(data_plane.requests.len(), 1);
    turn(&mut data_plane);
    assert!(!data_plane.ready.requests);
    assert_eq!(data_plane.requests.len(), 0);
}

#[tokio::test]
async fn the_thread_answers_from_sleep_and_ends_with_its_last_handle() {
    let (handle, mut events) = DataPlane::start(config(), Underlay::bind(0).unwrap()).unwrap();
    let clone = handle.clone();
    for handle in [&handle, &clone] {
        let answer = tokio::time::timeout(LONG, handle.snapshot()).await.unwrap();
        assert_eq!(answer.unwrap().shell, ShellCounters::default());
    }
    drop(handle);
    assert!(tokio::time::timeout(LONG, clone.snapshot()).await.unwrap().is_ok());
    drop(clone);
    // The thread owns the sender.
    assert_eq!(tokio::time::timeout(LONG, events.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn the_thread_ends_when_it_is_told_to() {
    let (handle, mut events) = DataPlane::start(config(), Underlay::bind(0).unwrap()).unwrap();
    let told = handle.ask(|reply| Request::Shutdown { reply });
    assert!(tokio::time::timeout(LONG, told).await.unwrap().is_ok());
    assert_eq!(tokio::time::timeout(LONG, events.recv()).await.unwrap(), None);
    assert!(handle.snapshot().await.is_err());
}

#[test]
fn what_comes_by_an_extra_socket_reaches_the_engine_until_the_socket_is_closed() {
    let (mut data_plane, _handle, _events) = lone_loop();
    let far = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    let destination = Leg {
        socket: farlan_engine::Socket::Extra(3),
        endpoint: far.local_addr().unwrap(),
    };
    data_plane.outbox.datagrams.push(Transmit::from(destination), b"out");
    data_plane.flush();
    let (_, source) = far.recv_from(&mut [0; 8]).unwrap();
    far.send_to(&[0xff; 40], source).unwrap();
    turn(&mut data_plane);
    assert_eq!(data_plane.engine.counters().malformed_datagrams, 1);
    data_plane.outbox.closed.push(destination.socket);
    data_plane.flush();
    far.send_to(&[0xff; 40], source).unwrap();
    assert!(data_plane.underlay.extra(3).is_none());
    assert_eq!(ready(&mut data_plane), []);
}

#[test]
fn what_comes_by_a_stream_with_its_end_is_taken_before_the_end() {
    let (mut data_plane, _handle, _events) = lone_loop();
    let silent = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = SystemRandom::from_os().unwrap();
    let anchor = Anchor {
        key: Identity::generate(&mut random, Work::NONE).public(),
        addresses: vec![silent.local_addr().unwrap()],
        streams: vec![listener.local_addr().unwrap()],
    };
    let world = WorldId::from_bytes([7; 16]);
    data_plane.engine.set_world(data_plane.now(), world, vec![anchor]);
    let join = Join {
        parameters: Parameters::open_name(world, NetworkName::parse("streamed").unwrap()),
        world,
        ipv4: false,
        preferred: None,
        greet: Vec::new(),
        membership: None,
        name: None,
    };
    data_plane.join(data_plane.now(), join).unwrap();
    data_plane.requested = true;
    // It begins a handshake by the stream, whose index tells it that the answer is the supernode's.
    listener.set_nonblocking(true).unwrap();
    let mut stream = None;
    let mut begun = Vec::new();
    let limit = std::time::Instant::now() + 3 * LONG;
    while begun.len() < 8 + 2 + 8 {
        assert!(std::time::Instant::now() < limit, "no handshake by a stream");
        let now = data_plane.now();
        data_plane.chores(now);
        turn(&mut data_plane);
        if stream.is_none()
            && let Ok((accepted, _)) = listener.accept()
        {
            accepted.set_nonblocking(true).unwrap();
            stream = Some(accepted);
        }
        if let Some(stream) = &mut stream {
            let mut room = [0; 2048];
            let count = io::Read::read(stream, &mut room).unwrap_or(0);
            begun.extend_from_slice(&room[..count]);
        }
    }
    assert_eq!(begun.get(8 + 2), Some(&1), "an initiation comes first");
    let receiver = begun.get(8 + 2 + 4..8 + 2 + 8).unwrap();
    let response = [&[2, 1, 0, 0], receiver, &[0; 92][..]].concat();
    let framed = [&(response.len() as u16).to_be_bytes()[..], &response].concat();
    let mut stream = stream.unwrap();
    stream.write_all(&framed).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Both have come when it is read.
    let (Some(number), mut datagrams) = (data_plane.streams.first(), Batch::default()) else {
        panic!("no stream");
    };
    while data_plane.streams.first().is_some() {
        assert!(std::time::Instant::now() < limit, "the stream does not end");
        data_plane
            .streams
            .receive(number, &mut datagrams, &mut data_plane.counters);
    }
    for (label, datagram) in datagrams.iter() {
        data_plane.streamed.push(*label, datagram);
    }
    assert_eq!(data_plane.streamed.len(), 1);
    data_plane.take_streamed();
    let counters = data_plane.engine.counters();
    assert_eq!(counters.foreign_stream, 0, "{counters:?}");
    // It was told, too.
    assert!(data_plane.streams.take_ended().is_empty());
}
