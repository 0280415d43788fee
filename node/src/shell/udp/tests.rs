//! The socket over loopback.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::*;

const ALL: UnderlayOffloads = UnderlayOffloads {
    segment: true,
    coalesce: true,
};

const NONE: UnderlayOffloads = UnderlayOffloads {
    segment: false,
    coalesce: false,
};

fn bind(offloads: UnderlayOffloads) -> (AttachedUnderlay, u16) {
    let underlay = Underlay::bind(0).unwrap().with_offloads(offloads);
    let port = underlay.port().unwrap();
    (underlay.attach().unwrap(), port)
}

fn loopback(ipv4: bool, port: u16) -> SocketAddr {
    if ipv4 {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    } else {
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)
    }
}

fn transmit(destination: SocketAddr, ttl: Option<u8>) -> Transmit {
    Transmit {
        ttl,
        ..Leg::from(destination).into()
    }
}

/// Waits for `count` datagrams, lost ones of which fail the test; and returns how many calls it took.
fn receive_calls(socket: &mut AttachedUnderlay, count: usize) -> (Vec<(SocketAddr, Vec<u8>)>, usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let (mut received, mut calls) = (Vec::new(), 0);
    let mut batch: Batch<Leg> = socket.batch(1);
    while received.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} of {count} have come", received.len());
        let mut ready = libc::pollfd {
            fd: socket.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the pointer is to one live `pollfd`.
        unsafe { libc::poll(&raw mut ready, 1, left.as_millis() as libc::c_int) };
        batch.clear();
        socket.receive(Via::Main, &mut batch).unwrap();
        calls += 1;
        received.extend(batch.iter().map(|(source, bytes)| (source.endpoint, bytes.to_vec())));
    }
    (received, calls)
}

fn receive(socket: &mut AttachedUnderlay, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    receive_calls(socket, count).0
}

/// Datagrams of these lengths, no two alike.
fn datagrams(lengths: &[usize]) -> Vec<Vec<u8>> {
    let numbered = lengths.iter().zip(0u32..);
    numbered
        .map(|(length, number)| number.to_be_bytes().into_iter().cycle().take(*length).collect())
        .collect()
}

/// Sends all of them to one destination.
fn send_all(socket: &mut AttachedUnderlay, destination: SocketAddr, datagrams: &[Vec<u8>]) -> ShellCounters {
    let mut counters = ShellCounters::default();
    let to = transmit(destination, None);
    socket.send_all(datagrams.iter().map(|datagram| (to, &datagram[..])), &mut counters);
    counters
}

#[test]
fn datagrams_arrive_whole_and_in_order_with_every_choice_of_offloads() {
    let mixed = [
        100, 1400, 1400, 1400, 20, 1400, 1400, 1, 0, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9216, 7,
    ];
    let mut lengths = vec![1446; 150];
    lengths.extend(mixed);
    let sent = datagrams(&lengths);
    // An empty one says nothing.
    let expected: Vec<_> = sent.iter().filter(|datagram| !datagram.is_empty()).cloned().collect();
    for ipv4 in [true, false] {
        for (segment, coalesce) in [(true, true), (true, false), (false, true), (false, false)] {
            let (mut sender, _) = bind(UnderlayOffloads {
                segment,
                coalesce: true,
            });
            let (mut receiver, port) = bind(UnderlayOffloads {
                segment: true,
                coalesce,
            });
            let counters = send_all(&mut sender, loopback(ipv4, port), &sent);
            assert_eq!(counters, ShellCounters::default());
            let received = receive(&mut receiver, expected.len());
            let sources: BTreeSet<_> = received.iter().map(|(source, _)| *source).collect();
            assert_eq!(sources.len(), 1);
            let received: Vec<_> = received.into_iter().map(|(_, bytes)| bytes).collect();
            assert!(
                received == expected,
                "IPv4 {ipv4}, segment {segment}, coalesce {coalesce}"
            );
            assert!(sender.refusals.is_empty());
        }
    }
}

#[test]
fn a_full_call_is_followed_by_another_and_a_partial_one_is_the_last() {
    let (mut receiver, port) = bind(NONE);
    let (mut sender, _) = bind(NONE);
    let sent = datagrams(&[100; BATCH_SIZE + 1]);
    send_all(&mut sender, loopback(true, port), &sent);
    let mut batch: Batch<Leg> = receiver.batch(2);
    assert!(receiver.receive(Via::Main, &mut batch).unwrap());
    assert_eq!(batch.len(), BATCH_SIZE);
    assert!(!receiver.receive(Via::Main, &mut batch).unwrap());
    assert_eq!(batch.len(), BATCH_SIZE + 1);
    assert!(!receiver.receive(Via::Main, &mut batch).unwrap());
    assert!(
        batch
            .iter()
            .map(|(_, bytes)| bytes)
            .eq(sent.iter().map(|datagram| &datagram[..]))
    );
}

#[test]
fn a_run_is_sent_and_received_as_one() {
    let (mut receiver, port) = bind(ALL);
    let (mut sender, _) = bind(ALL);
    assert!(sender.segments > 1, "the kernel has UDP_SEGMENT since 4.18");
    let sent = datagrams(&[1000; 5 * 64]);
    send_all(&mut sender, loopback(false, port), &sent);
    // Were it not one message for 64 of them, 8 would come with each call.
    let (received, calls) = receive_calls(&mut receiver, sent.len());
    assert_eq!(received.len(), sent.len());
    assert!(calls <= 5, "{calls}");
}

#[test]
fn what_the_system_refuses_as_one_goes_one_by_one() {
    let (mut receiver, port) = bind(ALL);
    let (mut sender, _) = bind(ALL);
    // The kernel segments nothing that has no checksum, and says EINVAL.
    set_option(&SockRef::from(&sender.socket), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let sent = datagrams(&[1000, 1000, 1000, 1000, 10]);
    let to = loopback(true, port);
    assert_eq!(send_all(&mut sender, to, &sent), ShellCounters::default());
    let received = receive(&mut receiver, sent.len());
    assert!(received.iter().map(|(_, bytes)| bytes).eq(&sent));
    // It is remembered for this destination only.
    assert!(!sender.is_segmented(to));
    assert!(sender.is_segmented(loopback(true, 1)));
    set_option(&SockRef::from(&sender.socket), libc::SOL_SOCKET, libc::SO_NO_CHECK, 0).unwrap();
    assert_eq!(send_all(&mut sender, to, &sent), ShellCounters::default());
    assert_eq!(receive(&mut receiver, sent.len()).len(), sent.len());
}

#[test]
fn what_cannot_be_sent_is_counted_and_hinders_nothing() {
    let (mut receiver, port) = bind(ALL);
    let (mut sender, _) = bind(ALL);
    let to = transmit(loopback(true, port), None);
    // No network of the broadcast address, and longer than IP allows.
    let nowhere = transmit("255.255.255.255:9".parse().unwrap(), None);
    let (fits, too_long) = (vec![1; 1000], vec![2; 65_530]);
    let mut counters = ShellCounters::default();
    let all = [
        (to, &fits[..]),
        (to, &too_long[..]),
        (to, &fits[..]),
        (to, &fits[..]),
        (nowhere, &fits[..]),
        (nowhere, &fits[..]),
        (nowhere, &fits[..10]),
        (to, &fits[..]),
    ];
    sender.send_all(all, &mut counters);
    let expected = ShellCounters {
        underlay_refused: 4,
        ..ShellCounters::default()
    };
    assert_eq!(counters, expected);
    assert_eq!(receive(&mut receiver, 4).len(), 4);
    assert!(sender.refusals.is_empty());
}

#[test]
fn a_batch_to_receive_into_takes_no_memory_before_it_is_used() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let (socket, _) = bind(ALL);
    let before = resident();
    let batches: Vec<Batch<Leg>> = (0..64).map(|_| socket.batch(2)).collect();
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for {} batches", batches.len());
}

#[test]
fn ipv4_peers_are_seen_as_ipv4() {
    let (mut a, port_a) = bind(ALL);
    let (mut b, port_b) = bind(ALL);
    for ttl in [None, Some(5)] {
        let to = transmit(loopback(true, port_b), ttl);
        a.send_all([(to, &b"hello"[..])], &mut ShellCounters::default());
        assert_eq!(receive(&mut b, 1), [(loopback(true, port_a), b"hello".to_vec())]);
    }
    let mut nothing: Batch<Leg> = b.batch(1);
    assert!(!b.receive(Via::Main, &mut nothing).unwrap());
    assert!(nothing.is_empty());
}

#[test]
fn the_time_to_live_reaches_the_wire() {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let raw = SockRef::from(&receiver);
    let on: libc::c_int = 1;
    // SAFETY: as in `set_option`.
    let result = unsafe {
        libc::setsockopt(
            receiver.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVTTL,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    let (mut sender, _) = bind(ALL);
    let to = transmit(receiver.local_addr().unwrap(), Some(5));
    sender.send_all([(to, &b"short-lived"[..])], &mut ShellCounters::default());

    let mut data = [std::mem::MaybeUninit::new(0u8); 64];
    let mut buffers = [socket2::MaybeUninitSlice::new(&mut data)];
    let mut control = [std::mem::MaybeUninit::new(0u8); 64];
    let mut message = socket2::MsgHdrMut::new()
        .with_buffers(&mut buffers)
        .with_control(&mut control);
    assert_eq!(raw.recvmsg(&mut message, 0).unwrap(), 11);
    // SAFETY: the buffer was initialised above.
    let control: Vec<u8> = control.iter().map(|byte| unsafe { byte.assume_init() }).collect();
    let expected = ControlMessage::ttl(5, true);
    let length = size_of::<libc::cmsghdr>() + size_of::<libc::c_int>();
    assert_eq!(control[..length], expected.as_bytes()[..length]);
}

#[test]
fn what_the_full_buffer_drops_is_counted() {
    let (mut receiver, port) = bind(ALL);
    SockRef::from(&receiver.socket).set_recv_buffer_size(4096).unwrap();
    assert_eq!(receiver.overrun(), 0);
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for _ in 0..50 {
        sender.send_to(&[0; 1000], loopback(true, port)).unwrap();
    }
    let mut batch: Batch<Leg> = receiver.batch(5);
    while receiver.receive(Via::Main, &mut batch).unwrap() {}
    let received = batch.len();
    assert!((1..50).contains(&received), "{received}");
    assert_eq!(received + receiver.overrun() as usize, 50);
}

#[test]
fn the_limit_of_the_system_does_not_bind_a_privileged_node() {
    let probe = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    let is_privileged = set_option(&probe, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 4096).is_ok();
    let allowed = |name: &str| {
        let path = format!("/proc/sys/net/core/{name}");
        // Some kernels show the limits in the first network namespace only.
        let limit = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
        Some(SOCKET_BUFFER.min(limit))
    };
    let wanted = |name| {
        if is_privileged {
            Some(SOCKET_BUFFER)
        } else {
            allowed(name)
        }
    };
    let underlay = Underlay::bind(0).unwrap();
    let socket = SockRef::from(&underlay.socket);
    // The kernel doubles what it is asked for: its bookkeeping takes room too.
    for (granted, wanted) in [
        (socket.recv_buffer_size(), wanted("rmem_max")),
        (socket.send_buffer_size(), wanted("wmem_max")),
    ] {
        let granted = granted.unwrap() / 2;
        assert_eq!(granted, wanted.unwrap_or(granted));
    }
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Underlay::bind(0).unwrap();
    let error = Underlay::bind(first.port().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn addresses_translate_both_ways() {
    let v4: SocketAddr = "192.0.2.1:9600".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::1]:9600".parse().unwrap();
    assert_eq!(
        Family::Dual.to_socket(v4).unwrap().to_string(),
        "[::ffff:192.0.2.1]:9600"
    );
    assert_eq!(to_plain(Family::Dual.to_socket(v4).unwrap()), v4);
    assert_eq!(to_plain(Family::Dual.to_socket(v6).unwrap()), v6);
    assert_eq!(Family::V4.to_socket(v4).unwrap(), v4);
    assert!(Family::V4.to_socket(v6).is_err());
}

fn by_extra(number: u16, destination: SocketAddr) -> Transmit {
    let leg = Leg {
        socket: Via::Extra(number),
        endpoint: destination,
    };
    leg.into()
}

/// What came by one socket, which has to be something.
fn receive_by(socket: &mut AttachedUnderlay, via: Via) -> Vec<(Leg, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut batch: Batch<Leg> = socket.batch(1);
    while batch.is_empty() {
        assert!(Instant::now() < deadline);
        socket.receive(via, &mut batch).unwrap();
    }
    batch.iter().map(|(leg, bytes)| (*leg, bytes.to_vec())).collect()
}

#[test]
fn an_extra_socket_is_opened_by_what_leaves_by_it_and_is_a_way_of_its_own() {
    let (mut far, far_port) = bind(ALL);
    let (mut near, near_port) = bind(ALL);
    let to = loopback(true, far_port);
    let mut counters = ShellCounters::default();
    near.send_all(
        [
            (by_extra(7, to), &b"one"[..]),
            (by_extra(7, to), b"two"),
            (by_extra(9, to), b"three"),
        ],
        &mut counters,
    );
    assert_eq!(near.take_opened(), [7, 9]);
    assert!(near.take_opened().is_empty(), "each is told once");
    let received = receive(&mut far, 3);
    let ports: BTreeSet<u16> = received.iter().map(|(source, _)| source.port()).collect();
    assert_eq!(ports.len(), 2);
    assert!(!ports.contains(&near_port));
    // What comes back says by which it came.
    for (source, bytes) in received {
        far.send_all([(transmit(source, None), &bytes[..])], &mut counters);
    }
    let leg = |number| by_extra(number, to).destination;
    assert_eq!(receive_by(&mut near, Via::Extra(9)), [(leg(9), b"three".to_vec())]);
    let by_seven = receive_by(&mut near, Via::Extra(7));
    assert_eq!(by_seven.first(), Some(&(leg(7), b"one".to_vec())));
    assert_eq!(counters, ShellCounters::default());
    // One that is closed is opened anew, at another port.
    near.close(Via::Extra(9));
    assert!(near.extra(9).is_none() && near.extra(7).is_some());
    assert!(!near.receive(Via::Extra(9), &mut Batch::<Leg>::default()).unwrap());
    near.send_all([(by_extra(9, to), &b"four"[..])], &mut counters);
    assert_eq!(near.take_opened(), [9]);
    assert_eq!(receive(&mut far, 1)[0].1, b"four");
}

#[test]
fn no_more_extra_sockets_are_opened_than_there_is_room_for() {
    let (mut far, port) = bind(ALL);
    let (mut near, _) = bind(ALL);
    let to = loopback(true, port);
    let mut counters = ShellCounters::default();
    let most = u16::try_from(extra::MAX_EXTRAS).unwrap();
    for number in 0..most + 10 {
        near.send_all([(by_extra(number, to), &b"x"[..])], &mut counters);
    }
    assert_eq!(near.extras.len(), extra::MAX_EXTRAS);
    assert_eq!(counters.underlay_no_socket, 10);
    assert_eq!(receive(&mut far, extra::MAX_EXTRAS).len(), extra::MAX_EXTRAS);
    for number in 0..most {
        near.close(Via::Extra(number));
    }
    assert_eq!(near.extras.len(), 0);
    assert!(near.take_opened().is_empty(), "what is closed is not waited for");
    near.send_all([(by_extra(most, to), &b"y"[..])], &mut counters);
    assert_eq!(receive(&mut far, 1).len(), 1);
}

#[test]
fn a_run_by_an_extra_socket_is_sent_as_one_and_received_so_once_something_came() {
    let (mut far, port) = bind(ALL);
    let (mut near, _) = bind(ALL);
    let all = datagrams(&[1000; 40]);
    let mut counters = ShellCounters::default();
    let to = by_extra(1, loopback(true, port));
    near.send_all(all.iter().map(|datagram| (to, &datagram[..])), &mut counters);
    let (received, calls) = receive_calls(&mut far, all.len());
    assert_eq!(calls, 1);
    let source = received[0].0;
    let calls = [(); 2].map(|()| {
        far.send_all(
            all.iter().map(|datagram| (transmit(source, None), &datagram[..])),
            &mut counters,
        );
        let (mut back, mut calls) = (0, 0);
        while back < all.len() {
            back += receive_by(&mut near, Via::Extra(1)).len();
            calls += 1;
        }
        calls
    });
    assert_eq!(calls, [all.len() / Slots::COALESCED.count, 1]);
    assert_eq!(counters, ShellCounters::default());
}

#[test]
fn a_second_socket_is_there_from_the_start_at_its_own_port() {
    let first = Underlay::bind(0).unwrap();
    let taken = first.port().unwrap();
    assert_eq!(first.second_port(), None);
    let mut underlay = Underlay::bind(0).unwrap();
    let error = underlay.bind_second(taken).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    underlay.bind_second(0).unwrap();
    let port = underlay.second_port().unwrap();
    let mut attached = underlay.attach().unwrap();
    assert_eq!(attached.take_opened(), [0]);
    let mut asker = first.attach().unwrap();
    asker.send_all(
        [(transmit(loopback(true, port), None), &b"?"[..])],
        &mut ShellCounters::default(),
    );
    let (source, _) = receive_by(&mut attached, Via::Extra(0)).remove(0);
    assert_eq!((source.socket, source.endpoint.port()), (Via::Extra(0), taken));
}
