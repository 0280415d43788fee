use proptest::prelude::*;

use super::*;
use crate::Channel;

fn record_for_test() -> NodeRecord {
    NodeRecord {
        key: [3; 32],
        home: NodeId::from_bytes([4; 16]),
        index: RelayIndex(5),
    }
}

fn place_for_test() -> Place {
    Place {
        home: NodeId::from_bytes([8; 16]),
        index: RelayIndex(9),
    }
}

/// The kinds that the parser knows.
pub(crate) fn known_kinds() -> Vec<u8> {
    let known = |kind: &u8| Control::decode(*kind, &[]) != Ok(None);
    (1..=u8::MAX).filter(known).collect()
}

/// A message of each kind.
pub(crate) fn all() -> Vec<Control> {
    let member_key = DirectoryKey::from_bytes([1; 16]);
    let world = WorldId::from_bytes([6; 16]);
    let address_key = DirectoryKey::from_bytes([2; 16]);
    let ipv4 = Some(Ipv4Addr::new(10, 1, 2, 3));
    let entry = MemberEntry {
        present: true,
        record: record_for_test(),
        ipv4,
    };
    vec![
        Control::Ack { number: 1 },
        Control::Networks {
            number: 2,
            tags: vec![[7; TAG]; 8],
        },
        Control::Claims {
            number: 3,
            claims: vec![(1, ipv4), (2, None)],
        },
        Control::Ping { token: 4 },
        Control::Pong { token: 5 },
        Control::GroupAck {
            sequences: vec![1, 2, u64::MAX],
        },
        Control::Bye,
        Control::Candidates {
            number: 4,
            ask: true,
            candidates: vec![
                Candidate {
                    local: false,
                    endpoint: SocketAddr::from(([192, 0, 2, 1], 9600)),
                },
                Candidate {
                    local: true,
                    endpoint: SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 9601)),
                },
            ],
            behaviour: behaviour_of(0b11_1011),
        },
        Control::PathChallenge { token: 8 },
        Control::PathResponse {
            token: 8,
            observed: SocketAddr::from(([192, 0, 2, 1], 9600)),
        },
        Control::Addresses {
            number: 4,
            addresses: vec![
                (1, IpAddr::from([192, 168, 7, 1])),
                (0, IpAddr::from([0xfd07, 0, 0, 0, 0, 0, 0, 9])),
            ],
        },
        Control::Names {
            number: 5,
            names: vec![
                (0, DnsLabel::parse("ben-s-laptop").unwrap()),
                (9, DnsLabel::parse("x").unwrap()),
            ],
        },
        Control::NamesAck { number: 5 },
        Control::Register {
            request: 1,
            memberships: vec![Membership {
                member_key,
                address_key,
                ipv4,
                version: 7,
                home: Some(place_for_test()),
            }],
        },
        Control::Registered {
            request: 1,
            index: RelayIndex(2),
            observed: SocketAddr::from(([192, 0, 2, 1], 9600)),
            refused: vec![0, 3],
        },
        Control::Members {
            member_key,
            from: 1,
            upto: 9,
            count: 3,
            entries: vec![entry; MEMBERS_AT_ONCE],
        },
        Control::MembersAck { member_key, version: 4 },
        Control::Audience(Audience::Subscribe {
            number: 6,
            member_key,
            channels: vec![(address_key, 0), (member_key, u64::MAX)],
        }),
        Control::Audience(Audience::Subscribed { number: 6 }),
        Control::Audience(Audience::Subscribers {
            channel_key: address_key,
            from: 0,
            upto: 9,
            count: 1000,
            entries: vec![entry; MEMBERS_AT_ONCE],
        }),
        Control::Audience(Audience::SubscribersAck {
            channel_key: address_key,
            version: 9,
        }),
        Control::Audience(Audience::Channels {
            number: 7,
            place: 63,
            more: true,
            channels: vec![
                Channel::broadcasts(27_015),
                Channel::multicast(farlan_netconf::Mac::from_bytes([0x01, 0, 0x5e, 1, 2, 3])),
            ],
        }),
        Control::Audience(Audience::Channels {
            number: 8,
            place: 0,
            more: false,
            channels: Vec::new(),
        }),
        Control::Audience(Audience::ChannelsAck { number: 7 }),
        Control::Spread(Spread::Ack {
            place: 3,
            need: 80,
            ids: vec![1, u64::MAX],
        }),
        Control::Spread(Spread::Contact {
            place: 3,
            need: 17,
            bye: true,
        }),
        Control::Spread(Spread::Clock {
            millis: 1_795_000_000_000,
        }),
        Control::Spread(Spread::SampleWanted { request: 9, member_key }),
        Control::Spread(Spread::Sample {
            request: 9,
            members: 10_000_000,
            records: vec![record_for_test(); 16],
        }),
        Control::Locate {
            request: 5,
            query: Query::Address(address_key),
        },
        Control::Located {
            request: 5,
            found: Some(record_for_test()),
        },
        Control::Located {
            request: 5,
            found: None,
        },
        Control::Introduce {
            record: record_for_test(),
        },
        Control::Challenge { nonce: 6 },
        Control::Answer { nonce: 6 },
        Control::Observed {
            endpoint: SocketAddr::from(([192, 0, 2, 1], 9600)),
        },
        Control::SearchOffer {
            number: 3,
            supernode: NodeId::from_bytes([5; 16]),
            technique: Technique::Birthday,
        },
        Control::SearchStep {
            number: 3,
            step: Step::Yes,
        },
        Control::SearchStep {
            number: 3,
            step: Step::OpenFrom {
                port: 20_000,
                stride: -2,
            },
        },
        Control::SearchWanted {
            number: 3,
            node: NodeId::from_bytes([5; 16]),
        },
        Control::SearchGranted {
            number: 3,
            node: NodeId::from_bytes([5; 16]),
            address: IpAddr::from([192, 0, 2, 9]),
        },
        Control::Look { token: 9, flags: 1 },
        Control::Seen {
            token: 9,
            observed: SocketAddr::from(([192, 0, 2, 3], 9602)),
            second: 9601,
        },
        Control::Show { nonce: 7 },
        Control::Shown { nonce: 8 },
        Control::Twin {
            other: SocketAddr::from(([192, 0, 2, 2], 9601)),
        },
        Control::TwinQuestion {
            nonce: 7,
            newer: SessionIndex(8),
        },
        Control::TwinAnswer { nonce: 7 },
        Control::WayProbe { token: 9 },
        Control::WayAnswer {
            token: 9,
            observed: SocketAddr::from(([192, 0, 2, 1], 9600)),
        },
        Control::Reach { nonce: 8, port: 9601 },
        Control::Window { millis: 5000 },
        Control::Reached {
            nonce: 8,
            endpoint: SocketAddr::from(([192, 0, 2, 3], 9601)),
        },
        Control::Homes {
            places: vec![place_for_test(); 2],
        },
        Control::World { world, version: 2 },
        Control::WorldWanted {
            world,
            version: 2,
            offset: 1000,
        },
        Control::Credentials {
            number: 1,
            place: 2,
            sealed: vec![3; 720],
        },
        Control::CredentialsAck { number: 4 },
        Control::Application {
            request: 5,
            place: 6,
            sealed: vec![7; 300],
        },
        Control::Admission {
            request: 8,
            place: 9,
            status: 1,
            sealed: Vec::new(),
        },
        Control::Papers(Papers::Told {
            number: 1,
            place: 2,
            holding: Holding {
                counter: 3,
                hash: [4; 8],
                digest: [5; 16],
            },
        }),
        Control::Papers(Papers::Ack { number: 1 }),
        Control::Papers(Papers::Issued {
            number: 1,
            place: 2,
            gift: Gift::Delegation,
            bytes: vec![3; 138],
        }),
        Control::Papers(Papers::IssuedAck { number: 1 }),
        Control::Papers(Papers::Wanted {
            place: 2,
            part: Part::News,
            offset: 0,
        }),
        Control::Papers(Papers::Piece {
            place: 2,
            part: Part::Revocations,
            hash: [4; 8],
            length: 70_000,
            offset: 69_000,
            bytes: vec![7; 1000],
        }),
        Control::Papers(Papers::Held {
            key: DirectoryKey::from_bytes([8; 16]),
            version: 9,
            flags: WATCH | TO_BE_ANSWERED,
        }),
        Control::Papers(Papers::SealedWanted {
            key: DirectoryKey::from_bytes([8; 16]),
            version: 9,
            offset: 1000,
        }),
        Control::Papers(Papers::SealedPiece {
            key: DirectoryKey::from_bytes([8; 16]),
            version: 9,
            length: 65_536,
            offset: 64_000,
            bytes: vec![7; 1000],
        }),
        Control::WorldPiece {
            world,
            version: 2,
            length: 1003,
            offset: 1000,
            bytes: vec![1, 2, 3],
        },
        Control::ObservationsWanted { request: 10 },
        Control::Observations {
            request: 10,
            told: Box::new(Observations {
                openness: crate::observations::Openness::Open,
                udp: crate::observations::Finding::Yes,
                sent: 7,
                ..Observations::default()
            }),
        },
    ]
}

#[test]
fn there_is_an_example_of_each_kind() {
    let mut kinds: Vec<u8> = all().iter().map(Control::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, known_kinds());
}

#[test]
fn each_message_comes_back_alone_and_in_a_padded_run() {
    let mut run = Vec::new();
    for message in all() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Ok(Some(message.clone()))]);
        run.extend_from_slice(&bytes);
    }
    run.resize(run.len().next_multiple_of(PADDING), 0);
    let back: Vec<_> = messages(&run).map(|message| message.unwrap().unwrap()).collect();
    assert_eq!(back, all());
}

#[test]
fn every_cut_is_refused_and_trailing_bytes_are_ignored() {
    for message in all() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let body = bytes.split_off(3);
        let kind = bytes[0];
        for length in 0..body.len() {
            assert!(
                Control::decode(kind, &body[..length]).is_err(),
                "{message:?} cut to {length}"
            );
        }
        let longer = [body.as_slice(), b"later"].concat();
        assert_eq!(Control::decode(kind, &longer), Ok(Some(message)));
    }
}

#[test]
fn every_behaviour_comes_back_as_far_as_it_is_told() {
    for code in 0..=u8::MAX {
        let behaviour = behaviour_of(code);
        assert_eq!(behaviour_of(behaviour_code(&behaviour)), behaviour);
    }
}

#[test]
fn unknown_kinds_are_skipped() {
    let mut bytes = vec![99, 0, 2, 1, 1];
    Control::Bye.encode(&mut bytes);
    assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Ok(None), Ok(Some(Control::Bye))]);
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for message in messages(&bytes).flatten().flatten() {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(messages(&again).next(), Some(Ok(Some(message))));
        }
    }
}
