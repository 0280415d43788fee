//! The table of flows beside a reference that keeps everything that happened and judges from that alone.

use proptest::prelude::*;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 64, 0, 1));

fn there(host: u8) -> IpAddr {
    IpAddr::from([10, 64, 1, host])
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn flags(bits: u8) -> TcpFlags {
    TcpFlags {
        syn: bits & 1 != 0,
        ack: bits & 2 != 0,
        fin: bits & 4 != 0,
        rst: bits & 8 != 0,
    }
}

const SYN: u8 = 1;
const ACK: u8 = 2;
const SYN_ACK: u8 = 3;
const FIN: u8 = 6;
const RST: u8 = 8;

fn out(host: u8, content: Content) -> IpPacket {
    IpPacket {
        source: HERE,
        destination: there(host),
        fragment: None,
        content,
    }
}

fn back(host: u8, content: Content) -> IpPacket {
    IpPacket {
        source: there(host),
        destination: HERE,
        fragment: None,
        content,
    }
}

fn tcp(from: u16, to: u16, bits: u8) -> Content {
    Content::Tcp {
        from,
        to,
        flags: flags(bits),
    }
}

fn udp(from: u16, to: u16) -> Content {
    Content::Udp {
        from,
        to,
        is_name_answer: false,
    }
}

fn none() -> Opened {
    Opened::new(&[])
}

/// A table whose network was joined long ago.
fn table() -> Flows {
    Flows {
        adopting: Some(Time::ZERO),
        ..Flows::default()
    }
}

#[test]
fn nobody_else_begins_a_flow() {
    let mut flows = table();
    for bits in [SYN, ACK, SYN_ACK, FIN, RST] {
        assert!(!flows.came(at(1), &back(1, tcp(80, 4000, bits))));
        // What a kernel says to a segment that came in by mistake.
        flows.sent(at(1), &out(1, tcp(4000, 80, RST)), false, (&none(), &none()));
        flows.sent(at(1), &out(1, tcp(4000, 80, SYN_ACK)), false, (&none(), &none()));
        assert!(!flows.came(at(1), &back(1, tcp(80, 4000, bits))));
    }
    assert!(!flows.came(at(1), &back(1, udp(53, 4000))));
    assert!(!flows.came(at(1), &back(1, Content::EchoReply { identifier: 7 })));
    assert!(flows.flows.is_empty() && flows.of_one.is_empty());
}

#[test]
fn a_connection_lives_from_its_first_segment_to_30_seconds_after_its_end() {
    let mut flows = table();
    flows.sent(at(1), &out(1, tcp(4000, 80, SYN)), false, (&none(), &none()));
    assert!(!flows.came(at(2), &back(1, tcp(80, 4000, SYN))), "asked for from there");
    assert!(!flows.came(at(2), &back(2, tcp(80, 4000, SYN_ACK))), "of another");
    assert!(
        !flows.came(at(2), &back(1, tcp(81, 4000, SYN_ACK))),
        "from another port"
    );
    assert!(flows.came(at(2), &back(1, tcp(80, 4000, SYN_ACK))));
    flows.sent(at(3), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    let idle = at(3) + TCP_IDLE;
    assert!(flows.came(at(7200), &back(1, tcp(80, 4000, ACK))));
    flows.sent(at(7200), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    assert!(flows.came(idle, &back(1, tcp(80, 4000, ACK))));
    flows.sent(at(8000), &out(1, tcp(4000, 80, FIN)), false, (&none(), &none()));
    assert!(flows.came(at(8100), &back(1, tcp(80, 4000, ACK))), "it may send on");
    flows.sent(at(8200), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(8400), &back(1, tcp(80, 4000, FIN))));
    flows.sent(at(8410), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(8429), &back(1, tcp(80, 4000, FIN))), "once more");
    assert!(!flows.came(at(8430), &back(1, tcp(80, 4000, FIN))));
}

#[test]
fn a_connection_that_is_not_answered_ends_after_60_seconds_and_one_broken_off_after_30() {
    let mut flows = table();
    flows.sent(at(1), &out(1, tcp(4000, 80, SYN)), false, (&none(), &none()));
    assert!(flows.came(at(60), &back(1, tcp(80, 4000, SYN_ACK))));
    assert!(!flows.came(at(61), &back(1, tcp(80, 4000, SYN_ACK))));
    flows.sent(at(100), &out(1, tcp(4000, 80, SYN)), false, (&none(), &none()));
    flows.came(at(101), &back(1, tcp(80, 4000, SYN_ACK)));
    flows.sent(at(102), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(110), &back(1, tcp(80, 4000, RST))));
    flows.sent(at(111), &out(1, tcp(4000, 80, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(139), &back(1, tcp(80, 4000, ACK))));
    assert!(!flows.came(at(140), &back(1, tcp(80, 4000, ACK))));
}

#[test]
fn the_other_end_cannot_keep_a_flow_alive() {
    let mut flows = table();
    flows.sent(at(0), &out(1, udp(4000, 9)), false, (&none(), &none()));
    flows.sent(at(0), &out(1, tcp(4000, 9, SYN)), false, (&none(), &none()));
    for second in 0..10_000 {
        let datagram = flows.came(at(second), &back(1, udp(9, 4000)));
        assert_eq!(datagram, second < 180, "after {second} s");
        let segment = flows.came(at(second), &back(1, tcp(9, 4000, ACK)));
        assert_eq!(segment, second < 60, "after {second} s");
    }
}

#[test]
fn connections_of_before_the_join_are_taken_up_for_ten_minutes() {
    let mut flows = Flows::default();
    flows.sent(at(100), &out(1, tcp(4000, 22, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(101), &back(1, tcp(22, 4000, ACK))));
    flows.sent(at(699), &out(1, tcp(4001, 22, ACK)), false, (&none(), &none()));
    assert!(flows.came(at(700), &back(1, tcp(22, 4001, ACK))));
    for bits in [ACK, FIN, RST, SYN_ACK] {
        flows.sent(at(700), &out(1, tcp(4002, 22, bits)), false, (&none(), &none()));
        assert!(!flows.came(at(700), &back(1, tcp(22, 4002, ACK))));
    }
}

#[test]
fn what_leaves_an_opened_port_makes_no_flow() {
    use super::super::open::{OpenPorts, Transport};
    let opened = [Transport::Tcp, Transport::Udp].map(|transport| OpenPorts {
        transport,
        first: 80,
        last: 80,
    });
    let opened = Opened::new(&opened);
    let mut flows = Flows::default();
    for port in 1..=u16::MAX {
        flows.sent(at(1), &out(1, tcp(80, port, ACK)), false, (&opened, &none()));
        flows.sent(at(1), &out(1, udp(80, port)), false, (&opened, &none()));
    }
    assert!(flows.flows.is_empty());
}

#[test]
fn a_question_to_all_is_answered_by_anybody_for_30_seconds() {
    let mut flows = table();
    let question = |content| IpPacket {
        source: HERE,
        destination: IpAddr::from([255; 4]),
        fragment: None,
        content,
    };
    flows.sent(at(0), &question(udp(4000, 27960)), true, (&none(), &none()));
    assert!(flows.came(at(29), &back(9, udp(1, 4000))));
    assert!(!flows.came(at(29), &back(9, udp(27960, 4001))), "to another port");
    assert!(!flows.came(at(30), &back(9, udp(27960, 4000))));
    flows.sent(
        at(40),
        &question(Content::EchoRequest { identifier: 5 }),
        true,
        (&none(), &none()),
    );
    assert!(flows.came(at(41), &back(8, Content::EchoReply { identifier: 5 })));
    flows.sent(at(40), &question(tcp(4000, 80, SYN)), true, (&none(), &none()));
    assert!(!flows.came(at(41), &back(8, tcp(80, 4000, SYN_ACK))));
}

#[test]
fn name_services_are_answered_from_their_own_port_and_only_if_asked() {
    for port in NAME_SERVICES {
        let mut flows = table();
        let said = |is_name_answer| IpPacket {
            source: HERE,
            destination: IpAddr::from([224, 0, 0, 251]),
            fragment: None,
            content: Content::Udp {
                from: port,
                to: port,
                is_name_answer,
            },
        };
        flows.sent(at(0), &said(true), true, (&none(), &none()));
        assert!(
            !flows.came(at(0), &back(1, udp(port, port))),
            "an announcement is no question"
        );
        flows.sent(at(0), &said(false), true, (&none(), &none()));
        assert!(flows.came(at(0), &back(1, udp(port, port))));
        assert!(!flows.came(at(0), &back(1, udp(port + 1, port))));
    }
}

#[test]
fn an_error_is_let_in_for_a_flow_that_lives() {
    let mut flows = table();
    let quoted = |host, ports| Quoted {
        protocol: Protocol::Udp,
        source: HERE,
        destination: there(host),
        ports,
    };
    flows.sent(at(0), &out(1, udp(4000, 9)), false, (&none(), &none()));
    assert!(flows.has(at(29), &quoted(1, (4000, 9))));
    assert!(!flows.has(at(30), &quoted(1, (4000, 9))));
    for other in [quoted(2, (4000, 9)), quoted(1, (4001, 9)), quoted(1, (4000, 8))] {
        assert!(!flows.has(at(1), &other));
    }
}

#[test]
fn whoever_has_most_flows_loses_the_idlest() {
    let mut flows = table();
    flows.sent(at(0), &out(1, tcp(1, 80, SYN)), false, (&none(), &none()));
    flows.came(at(0), &back(1, tcp(80, 1, SYN_ACK)));
    flows.sent(at(0), &out(1, tcp(1, 80, ACK)), false, (&none(), &none()));
    let mut displaced = 0;
    for port in 1..=2000 {
        displaced += flows.sent(at(1), &out(2, tcp(port, 80, SYN)), false, (&none(), &none()));
    }
    assert_eq!(displaced, 2000 - MAX_FLOWS_OF_ONE as u64);
    assert_eq!(flows.flows.len(), MAX_FLOWS_OF_ONE + 1);
    for host in 3..=200 {
        for port in 1..=100 {
            flows.sent(at(2), &out(host, udp(port, 9)), false, (&none(), &none()));
        }
    }
    assert_eq!(flows.flows.len(), MAX_FLOWS);
    assert!(
        flows.came(at(3), &back(1, tcp(80, 1, ACK))),
        "the one flow of somebody else stays"
    );
    assert_eq!(flows.of_one.values().sum::<usize>(), MAX_FLOWS);
    // Ended ones give way without a loss.
    let more = flows.sent(at(300), &out(250, udp(1, 9)), false, (&none(), &none()));
    assert_eq!(more, 0);
}

#[test]
fn questions_are_few() {
    let mut flows = table();
    let question = |port| IpPacket {
        source: HERE,
        destination: IpAddr::from([255; 4]),
        fragment: None,
        content: udp(port, 9),
    };
    for port in 0..1000 {
        flows.sent(at(u64::from(port) / 100), &question(port), true, (&none(), &none()));
    }
    assert_eq!(flows.asked.len(), MAX_ASKED);
    assert!(flows.came(at(10), &back(1, udp(9, 999))));
}

/// What happened on one pair of ports.
#[derive(Clone, Copy, Debug)]
struct Happened {
    at: u64,
    from_here: bool,
    flags: u8,
}

/// Whether a datagram from there is let in at `now`, by all that happened: 30 s after the last from here, 180 s once
/// anything that came was let in since the flow began.
fn datagram_expected(history: &[Happened], now: u64) -> bool {
    let (mut last, mut answered) = (None::<u64>, false);
    let lives =
        |last: Option<u64>, answered, moment| last.is_some_and(|last| moment < last + if answered { 180 } else { 30 });
    for event in history {
        match (event.from_here, lives(last, answered, event.at)) {
            (true, lived) => {
                answered &= lived;
                last = Some(event.at);
            }
            (false, true) => answered = true,
            (false, false) => {}
        }
    }
    lives(last, answered, now)
}

/// The same for a segment that asks for nothing, by the phases of the connection since the last segment from here that asked
/// for one.
fn segment_expected(history: &[Happened], now: u64) -> bool {
    let asked = history.iter().rposition(|event| event.from_here && event.flags == SYN);
    let Some(asked) = asked else { return false };
    let (mut end, mut answered) = (history[asked].at + 60, false);
    let (mut ended_here, mut ended_there, mut closing) = (false, false, false);
    for event in &history[asked + 1..] {
        if event.at >= end {
            return false;
        }
        if event.from_here {
            if answered && !closing {
                end = event.at + if ended_here || ended_there { 240 } else { 7440 };
            }
        } else if event.flags != SYN {
            answered = true;
        } else {
            continue;
        }
        let fin = event.flags == FIN && answered;
        let both = fin && if event.from_here { ended_there } else { ended_here };
        if (event.flags == RST || both) && !closing {
            closing = true;
            end = if event.from_here {
                event.at + 30
            } else {
                end.min(event.at + 30)
            };
        } else if fin && !closing && !ended_here && !ended_there {
            (ended_here, ended_there) = (event.from_here, !event.from_here);
            end = if event.from_here {
                event.at + 240
            } else {
                end.min(event.at + 240)
            };
        }
    }
    now < end
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn datagrams_are_let_in_as_the_reference_says(
        steps in proptest::collection::vec((0_u8..3, 0_u16..2, 0_u64..70, any::<bool>()), 1..80)
    ) {
        let mut flows = table();
        let mut histories = BTreeMap::<(u8, u16), Vec<Happened>>::new();
        let mut now = 1;
        for (host, port, passed, from_here) in steps {
            now += passed;
            let history = histories.entry((host, port)).or_default();
            if from_here {
                flows.sent(at(now), &out(host, udp(4000 + port, 9)), false, (&none(), &none()));
            } else {
                let let_in = flows.came(at(now), &back(host, udp(9, 4000 + port)));
                prop_assert_eq!(let_in, datagram_expected(history, now));
            }
            history.push(Happened { at: now, from_here, flags: 0 });
        }
    }

    #[test]
    fn segments_are_let_in_as_the_reference_says(
        steps in proptest::collection::vec(
            (0_u8..2, 0_u64..100, any::<bool>(), prop_oneof![
                3 => Just(SYN), 2 => Just(SYN_ACK), 6 => Just(ACK), 2 => Just(FIN), 1 => Just(RST)
            ]),
            1..60,
        )
    ) {
        let mut flows = table();
        let mut histories = BTreeMap::<u8, Vec<Happened>>::new();
        let mut now = 1;
        for (host, passed, from_here, bits) in steps {
            now += passed;
            let history = histories.entry(host).or_default();
            if from_here {
                flows.sent(at(now), &out(host, tcp(4000, 9, bits)), false, (&none(), &none()));
            } else {
                let let_in = flows.came(at(now), &back(host, tcp(9, 4000, bits)));
                let expected = bits != SYN && segment_expected(history, now);
                prop_assert_eq!(let_in, expected, "{:?} at {}", history, now);
            }
            history.push(Happened { at: now, from_here, flags: bits });
        }
    }

    #[test]
    fn the_table_is_bounded_and_its_counts_are_right(
        steps in proptest::collection::vec((0_u8..12, any::<u16>(), 0_u64..3, any::<bool>()), 1..2000)
    ) {
        let mut flows = table();
        let mut now = 1;
        for (host, port, passed, datagram) in steps {
            now += passed;
            let content = if datagram { udp(port, 9) } else { tcp(port, 9, SYN) };
            flows.sent(at(now), &out(host, content), false, (&none(), &none()));
            let answer = if datagram { udp(9, port) } else { tcp(9, port, SYN_ACK) };
            prop_assert!(flows.came(at(now), &back(host, answer)), "the newest flow lives");
        }
        prop_assert!(flows.flows.len() <= MAX_FLOWS);
        for (remote, count) in &flows.of_one {
            prop_assert_eq!(flows.flows.keys().filter(|key| key.remote == *remote).count(), *count);
            prop_assert!((1..=MAX_FLOWS_OF_ONE).contains(count));
        }
        prop_assert_eq!(flows.of_one.values().sum::<usize>(), flows.flows.len());
    }
}
