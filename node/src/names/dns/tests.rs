use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{
    super::directory::tests::{member, network},
    *,
};

fn directory() -> Directory {
    let mut directory = Directory::default();
    let only_ipv6 = crate::names::Member {
        ipv4: None,
        ..member(2, "six")
    };
    directory.update(&[network(1, "lan", &[member(1, "ann"), only_ipv6])]);
    directory
}

/// A question as programs ask it, with EDNS.
fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    message
}

/// The answer as another implementation reads it: its code, addresses and names.
fn asked(name: &str, kind: u16) -> (RCODE, Vec<String>, usize) {
    let answer = answer(&directory(), &question(name, kind)).unwrap();
    let packet = Packet::parse(&answer).unwrap();
    assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
    assert!(!packet.has_flags(PacketFlag::RECURSION_AVAILABLE));
    assert_eq!(packet.id(), 0x1234);
    assert!(packet.opt().is_some());
    assert_eq!(packet.questions.len(), 1);
    assert_eq!(packet.questions[0].qname.to_string(), name);
    let records = packet.answers.iter().map(|record| {
        assert_eq!((record.name.to_string().as_str(), record.ttl), (name, TTL));
        match &record.rdata {
            RData::A(a) => Ipv4Addr::from_bits(a.address).to_string(),
            RData::AAAA(aaaa) => Ipv6Addr::from_bits(aaaa.address).to_string(),
            RData::PTR(ptr) => ptr.0.to_string(),
            other => panic!("{other:?}"),
        }
    });
    (packet.rcode(), records.collect(), packet.name_servers.len())
}

#[test]
fn members_are_answered_with_their_addresses() {
    let done = |records: &[&str]| (RCODE::NoError, records.iter().map(ToString::to_string).collect(), 0);
    assert_eq!(asked("ann.lan.farlan.internal", TYPE_A), done(&["10.128.16.1"]));
    assert_eq!(asked("ANN.Lan.farlan.INTERNAL", TYPE_A), done(&["10.128.16.1"]));
    assert_eq!(asked("ann.lan.farlan.internal", TYPE_AAAA), done(&["fd00::1"]));
    assert_eq!(asked("ann.lan.farlan.internal", ANY), done(&["10.128.16.1", "fd00::1"]));
    let back = done(&["ann.lan.farlan.internal"]);
    assert_eq!(asked("1.16.128.10.in-addr.arpa", TYPE_PTR), back);
    let digits = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(asked(&digits, TYPE_PTR), back);
}

#[test]
fn where_there_is_nothing_that_is_said_with_authority() {
    let empty = (RCODE::NoError, Vec::new(), 1);
    for (name, kind) in [
        ("six.lan.farlan.internal", TYPE_A),
        ("ann.lan.farlan.internal", 15),
        ("ann.lan.farlan.internal", 65),
        ("lan.farlan.internal", TYPE_A),
        ("farlan.internal", 6),
        ("1.16.128.10.in-addr.arpa", TYPE_A),
        ("16.128.10.in-addr.arpa", TYPE_PTR),
    ] {
        assert_eq!(asked(name, kind), empty, "{name} {kind}");
    }
    // A type that the other implementation does not know.
    let unknown = answer(&directory(), &question("ann.lan.farlan.internal", 65_400)).unwrap();
    assert_eq!((code(&unknown), unknown[7]), (0, 0));
    for name in [
        "ben.lan.farlan.internal",
        "ann.farlan.internal",
        "77.17.128.10.in-addr.arpa",
    ] {
        assert_eq!(asked(name, TYPE_A), (RCODE::NameError, Vec::new(), 1), "{name}");
    }
}

#[test]
fn everything_else_is_refused() {
    for name in [
        "example.org",
        "internal",
        "ann.lan",
        "7.7.168.192.in-addr.arpa",
        "ann.lan.farlan.internal.org",
    ] {
        assert_eq!(asked(name, TYPE_A), (RCODE::Refused, Vec::new(), 0), "{name}");
    }
    // The root, and the class of chaos.
    let root = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
    assert_eq!(code(&answer(&directory(), root).unwrap()), 5);
    let mut chaos = question("ann.lan.farlan.internal", TYPE_A);
    let place = chaos.len() - 12;
    chaos[place] = 3;
    assert_eq!(code(&answer(&directory(), &chaos).unwrap()), 5);
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0xf
}

#[test]
fn what_is_no_question_is_told_so_and_answers_are_left_alone() {
    let question = question("ann.lan.farlan.internal", TYPE_A);
    let directory = directory();
    for cut in 0..HEAD {
        assert_eq!(answer(&directory, &question[..cut]), None);
    }
    for cut in HEAD..question.len() {
        assert_eq!(code(&answer(&directory, &question[..cut]).unwrap()), 1, "{cut}");
    }
    let changed = |place: usize, value: u8| {
        let mut question = question.clone();
        question[place] = value;
        answer(&directory, &question)
    };
    assert_eq!(changed(2, 0x81), None, "an answer");
    assert_eq!(code(&changed(2, 0x21).unwrap()), 4, "an update");
    assert_eq!(code(&changed(5, 2).unwrap()), 1, "two questions");
    assert_eq!(code(&changed(7, 1).unwrap()), 1, "an answer in a question");
    assert_eq!(code(&changed(12, 0xc0).unwrap()), 1, "a pointer");
}

proptest! {
    #[test]
    fn any_answer_can_be_read_and_fits_a_datagram(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        name in "[a-z0-9.]{1,60}(\\.farlan\\.internal|\\.in-addr\\.arpa)?",
        kind in any::<u16>(),
    ) {
        let directory = directory();
        let mut questions = vec![bytes];
        if !name.split('.').any(str::is_empty) {
            questions.push(question(&name, kind));
        }
        for question in questions {
            if let Some(answer) = answer(&directory, &question) {
                prop_assert!(answer.len() <= 512);
                prop_assert_eq!(&answer[..2], &question[..2]);
                prop_assert!(answer[2] & 0x80 != 0);
            }
        }
    }
}
