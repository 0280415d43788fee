//! Streams between two ends in this process, over loopback.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use super::{places::MOST_OF_PREFIX, *};
use crate::shell::poller::Ready;

/// One end.
struct End {
    streams: Streams,
    poller: Poller,
    counters: ShellCounters,
    /// What came, and by which stream.
    came: Vec<(u32, Vec<u8>)>,
    news: Vec<(u32, bool)>,
    /// A clock that a test can put forward.
    now: Time,
}

impl End {
    fn new(listeners: Vec<StreamListener>) -> Self {
        let (poller, _) = Poller::new().unwrap();
        Self {
            streams: Streams::new(listeners, &poller).unwrap(),
            poller,
            counters: ShellCounters::default(),
            came: Vec::new(),
            news: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// One that listens, and where.
    fn listening() -> (Self, SocketAddr) {
        let listener = StreamListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.address().unwrap();
        (Self::new(vec![listener]), address)
    }

    /// Does what is to be done now; waits up to 10 ms for something.
    fn turn(&mut self) {
        let until = Time::ZERO + Duration::from_millis(10);
        let ready = self.poller.wait(Time::ZERO, Some(until)).unwrap().to_vec();
        let mut batch: Batch<Received> = Batch::default();
        for ready in ready {
            let (number, writable) = match ready {
                Ready::Readable(number) | Ready::Broken(number) => (number, false),
                Ready::Writable(number) => (number, true),
                Ready::Woken => continue,
            };
            match Source::of(number).unwrap() {
                Source::Listener(position) => {
                    self.streams
                        .accept(self.now, position, &self.poller, &mut self.counters);
                }
                Source::Stream(number) if writable => self.streams.writable(self.now, number, &self.poller),
                Source::Stream(number) => self.streams.receive(number, &mut batch, &mut self.counters),
            }
        }
        for (label, datagram) in batch.iter() {
            let Own::Stream(number) = label.source.socket else {
                panic!("{label:?}")
            };
            self.came.push((number, datagram.to_vec()));
        }
        self.streams.tend(self.now, &self.poller, &mut self.counters);
        self.news
            .extend(self.streams.take_begun().into_iter().map(|number| (number, true)));
        self.news
            .extend(self.streams.take_ended().into_iter().map(|number| (number, false)));
    }

    fn send(&mut self, number: u32, datagram: &[u8]) {
        self.streams.send(number, datagram);
        self.streams.flush(self.now, &self.poller);
    }
}

/// Lets ends take turns until `done`.
fn turns<const COUNT: usize>(ends: [&mut End; COUNT], done: impl Fn([&End; COUNT]) -> bool) {
    let begin = Instant::now();
    let mut ends = ends;
    loop {
        for end in &mut ends {
            end.turn();
        }
        if done(ends.each_ref().map(|end| &**end)) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "it does not come");
    }
}

/// A node's end and a supernode's with a stream between them; its number at each.
fn pair() -> (End, End, [u32; 2]) {
    let (mut supernode, address) = End::listening();
    let mut node = End::new(Vec::new());
    node.streams.open(7, address, &node.poller);
    turns([&mut node, &mut supernode], |[node, supernode]| {
        node.news.len() == 1 && supernode.news.len() == 1
    });
    assert_eq!(node.news.pop(), Some((7, true)));
    let (number, stands) = supernode.news.pop().unwrap();
    assert!(stands);
    (node, supernode, [7, number])
}

#[test]
fn datagrams_come_as_they_were_sent_in_order_both_ways() {
    let (mut node, mut supernode, [near, far]) = pair();
    let datagrams: Vec<Vec<u8>> = (1..=200_usize).map(|length| vec![length as u8; length * 46]).collect();
    for datagram in datagrams.iter().take(60) {
        node.send(near, datagram);
        supernode.send(far, datagram);
    }
    turns([&mut node, &mut supernode], |[node, supernode]| {
        node.came.len() == 60 && supernode.came.len() == 60
    });
    for (end, number) in [(&node, near), (&supernode, far)] {
        let came: Vec<&Vec<u8>> = end.came.iter().map(|(_, datagram)| datagram).collect();
        assert_eq!(came, datagrams.iter().take(60).collect::<Vec<_>>());
        assert!(end.came.iter().all(|(by, _)| *by == number));
    }
    assert_eq!((node.streams.full(), supernode.streams.full()), (0, 0));
}

#[test]
fn what_the_other_end_does_not_read_is_dropped_beyond_the_bound_and_the_rest_comes() {
    let (mut node, mut supernode, [near, _]) = pair();
    let begin = Instant::now();
    let mut sent = 0_usize;
    while node.streams.full() == 0 {
        node.send(near, &[5; 1400]);
        sent += 1;
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing is ever full");
    }
    // A short one still has room.
    node.send(near, &[6; 40]);
    let full = node.streams.full();
    assert_eq!(full, 1);
    turns([&mut node, &mut supernode], |[_, supernode]| {
        supernode.came.last().is_some_and(|(_, datagram)| datagram.len() == 40)
    });
    assert_eq!(supernode.came.len(), sent);
}

#[test]
fn one_that_takes_nothing_for_long_is_ended() {
    let (mut node, _supernode, [near, _]) = pair();
    let begin = Instant::now();
    while node.streams.full() == 0 {
        node.send(near, &[5; 1400]);
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing is ever full");
    }
    node.turn();
    node.now += STALLED - Duration::from_secs(2);
    node.turn();
    assert_eq!(node.news, []);
    node.now += Duration::from_secs(4);
    node.turn();
    assert_eq!(node.news, [(near, false)]);
    assert_eq!(node.counters.streams_stalled, 1);
}

#[test]
fn who_is_no_node_is_shown_nothing() {
    let (mut supernode, address) = End::listening();
    let mut browser = TcpStream::connect(address).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_malformed == 1
    });
    let mut answer = Vec::new();
    let end = browser.read_to_end(&mut answer);
    // Closed with something unread, which some see as a reset.
    assert!(answer.is_empty(), "{end:?}");

    // And who says nothing is not waited for.
    let mut silent = TcpStream::connect(address).unwrap();
    turns([&mut supernode], |[supernode]| supernode.counters.streams_accepted == 2);
    supernode.now += PREFACE_WITHIN - Duration::from_millis(500);
    supernode.turn();
    assert_eq!(supernode.counters.streams_malformed, 1);
    supernode.now += Duration::from_secs(2);
    supernode.turn();
    assert_eq!(supernode.counters.streams_malformed, 2);
    assert_eq!(silent.read_to_end(&mut answer).unwrap(), 0);
    assert_eq!(supernode.news, [], "the engine never hears of them");
}

/// Connects some, each of which sends what a stream begins with and nothing else.
fn prefaced(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&framing::PREFACE).unwrap();
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn a_proved_stream_stays_whoever_fills_the_places_of_its_prefix() {
    let (mut supernode, address) = End::listening();
    let _first = prefaced(address, MOST_OF_PREFIX);
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_accepted == MOST_OF_PREFIX as u64
    });
    // An honest one comes, though nobody else has gone.
    let mut node = End::new(Vec::new());
    node.streams.open(7, address, &node.poller);
    turns([&mut node, &mut supernode], |[node, supernode]| {
        node.news == [(7, true)] && supernode.news.len() == MOST_OF_PREFIX + 2
    });
    assert_eq!(supernode.counters.streams_gave_way, 1);
    assert!(supernode.news.contains(&(1, false)), "the oldest gives way");
    let number = supernode.streams.accepted;
    assert!(supernode.news.contains(&(number, true)));
    supernode.streams.proved(number, &mut supernode.counters);
    // Whatever comes then.
    let _others = prefaced(address, 3 * MOST_OF_PREFIX);
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_accepted == 4 * MOST_OF_PREFIX as u64 + 1
    });
    assert_eq!(supernode.streams.connections.len(), MOST_OF_PREFIX + 1);
    node.send(7, b"here");
    turns([&mut node, &mut supernode], |[_, supernode]| !supernode.came.is_empty());
    assert_eq!(supernode.came, [(number, b"here".to_vec())]);
}

#[test]
fn a_prefix_has_a_bounded_number_of_proved_streams_and_one_that_ends_makes_room() {
    let (mut supernode, address) = End::listening();
    let mut open = prefaced(address, MOST_OF_PREFIX);
    turns([&mut supernode], |[supernode]| supernode.news.len() == MOST_OF_PREFIX);
    for number in 1..=MOST_OF_PREFIX as u32 {
        supernode.streams.proved(number, &mut supernode.counters);
    }
    let mut refused = TcpStream::connect(address).unwrap();
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_over_limit == 1
    });
    assert_eq!(refused.read(&mut [0; 8]).unwrap_or(0), 0);
    drop(open.pop());
    turns([&mut supernode], |[supernode]| {
        supernode.streams.connections.len() == MOST_OF_PREFIX - 1
    });
    let _more = TcpStream::connect(address).unwrap();
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_accepted == MOST_OF_PREFIX as u64 + 1
    });
}

#[test]
fn where_there_are_too_many_the_oldest_that_is_not_proved_gives_way() {
    let (mut supernode, address) = End::listening();
    supernode.streams.places.most = 3;
    let mut open = prefaced(address, 3);
    turns([&mut supernode], |[supernode]| supernode.news.len() == 3);
    supernode.streams.proved(1, &mut supernode.counters);
    open.push(TcpStream::connect(address).unwrap());
    turns([&mut supernode], |[supernode]| supernode.counters.streams_accepted == 4);
    let numbers: Vec<u32> = supernode.streams.connections.keys().copied().collect();
    assert_eq!(numbers, [1, 3, 4]);
    assert!(supernode.news.contains(&(2, false)));
    // Where all are proved, there is none.
    for number in [3, 4] {
        supernode.streams.proved(number, &mut supernode.counters);
    }
    open.push(TcpStream::connect(address).unwrap());
    turns([&mut supernode], |[supernode]| {
        supernode.counters.streams_over_limit == 1
    });
}

#[test]
fn an_end_is_told_once_and_what_is_sent_later_is_lost() {
    let (mut node, mut supernode, [near, far]) = pair();
    node.streams.close(near);
    turns([&mut supernode], |[supernode]| supernode.news == [(far, false)]);
    supernode.send(far, b"late");
    node.send(near, b"late");
    for _ in 0..5 {
        supernode.turn();
        node.turn();
    }
    assert_eq!((node.news.len(), supernode.news.len()), (0, 1));
    assert!(supernode.streams.places.is_empty());
}

#[test]
fn a_port_where_nobody_listens_is_told_as_the_end() {
    let free = StreamListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = free.address().unwrap();
    drop(free);
    let mut node = End::new(Vec::new());
    node.streams.open(3, address, &node.poller);
    turns([&mut node], |[node]| !node.news.is_empty());
    assert_eq!(node.news, [(3, false)]);
}

#[test]
fn a_listener_at_all_addresses_takes_both_families() {
    let listener = StreamListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    let port = listener.address().unwrap().port();
    let mut supernode = End::new(vec![listener]);
    let _four = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _six = TcpStream::connect(("::1", port)).unwrap();
    turns([&mut supernode], |[supernode]| supernode.counters.streams_accepted == 2);
    let remotes: Vec<SocketAddr> = supernode.streams.connections.values().map(|one| one.remote).collect();
    assert!(
        remotes.iter().any(SocketAddr::is_ipv4) && remotes.iter().any(SocketAddr::is_ipv6),
        "{remotes:?}"
    );
}

#[test]
fn what_waits_in_all_is_bounded_and_a_stream_has_a_little_of_its_own_even_then() {
    let (mut node, mut supernode, [near, _]) = pair();
    assert_eq!(node.streams.waiting, 0, "the preface has left");
    // As if it waited in others.
    node.streams.waiting = SHARED;
    for _ in 0..10 {
        node.streams.send(near, &[5; 1400]);
    }
    assert_eq!(node.streams.full(), 4);
    assert_eq!(node.streams.waiting, SHARED + 6 * 1402);
    node.streams.flush(node.now, &node.poller);
    turns([&mut node, &mut supernode], |[_, supernode]| supernode.came.len() == 6);
    assert_eq!(node.streams.waiting, SHARED, "what was sent does not wait");
    node.streams.send(near, &[5; 1400]);
    node.streams.close(near);
    assert_eq!(node.streams.waiting, SHARED, "nor what a stream had that has ended");
    assert_eq!(SHARED + MOST_ACCEPTED * OWN, 64 << 20);
}
