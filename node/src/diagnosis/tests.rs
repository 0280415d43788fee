use std::{collections::BTreeSet, fs, path::Path};

use farlan_crypto::{Identity, NodeId, Seed, Work};
use farlan_engine::{
    Behaviour, Endpoints, Examination, Filtering, Finding, Mapping, Observations, Openness, PathKind, PeerStatus,
    PortMapping, Ports, Reached, Search, Seconds, Standing, Surroundings, Theirs, Way,
};
use proptest::prelude::*;

use super::{obstacles::ObstacleCode, *};

const ORDINARY: Behaviour = Behaviour {
    translated: Some(true),
    mapping: Mapping::Independent,
    filtering: Filtering::ByPort,
    ports: Ports::Kept,
    hairpin: Some(false),
};

/// A node in an ordinary home, which opens itself.
fn home() -> Observations {
    Observations {
        openness: Openness::Open,
        version: [0, 1, 0],
        behaviour: ORDINARY,
        udp: Finding::Yes,
        twin: Finding::No,
        way: Way::Relay,
        over_tcp: Finding::No,
        told: Endpoints {
            outside: 1,
            local: 0,
            mapped: 0,
        },
        limited: Finding::No,
        used: Some(Seconds::new(1)),
        ..Observations::default()
    }
}

/// The same after three rounds in which nothing passed.
fn tried() -> Observations {
    Observations {
        rounds: 3,
        round: Some(Seconds::new(9)),
        sent: 21,
        ..home()
    }
}

fn with(end: Observations, mapping: Mapping, ports: Ports) -> Observations {
    let behaviour = Behaviour {
        mapping,
        ports,
        ..end.behaviour
    };
    Observations { behaviour, ..end }
}

fn hard(end: Observations) -> Observations {
    with(end, Mapping::PortDependent, Ports::Random)
}

fn peer() -> PeerStatus {
    let key = Identity::from_seed(Seed::from_bytes([7; 32]), Work::NONE)
        .unwrap()
        .public();
    PeerStatus {
        node: NodeId::from_bytes([7; 16]),
        key,
        path: Some(PathKind::Relay),
        address: Some("192.0.2.1:9600".parse().unwrap()),
        supernode: None,
        tcp: false,
        rtt: None,
        heard: None,
        endpoints: Vec::new(),
        networks: Vec::new(),
    }
}

const IN_TOUCH: Standing = Standing {
    registered: true,
    listed: true,
    session: true,
    shared: true,
    heard: true,
};

fn examination(own: Observations, theirs: Theirs) -> Examination {
    Examination {
        peer: Some(peer()),
        standing: IN_TOUCH,
        own,
        theirs,
    }
}

fn judged(examination: &Examination) -> Verdict {
    verdict(&Case {
        examination,
        other_version: None,
    })
}

fn between(own: Observations, theirs: Observations) -> Verdict {
    judged(&examination(own, Theirs::Told(theirs)))
}

fn unreached(standing: Standing) -> Verdict {
    judged(&Examination {
        standing,
        theirs: Theirs::NotAsked,
        ..examination(home(), Theirs::NotAsked)
    })
}

/// The verdict, and what is named beside it.
fn codes_of(verdict: &Verdict) -> (Code, Vec<Code>) {
    (verdict.code, verdict.also.clone())
}

fn only(code: Code) -> (Code, Vec<Code>) {
    (code, Vec::new())
}

#[test]
fn direct_ways_are_named_by_their_kind() {
    for (way, code) in [(Way::Direct, Code::Direct), (Way::Lan, Code::DirectLan)] {
        let own = Observations { way, ..home() };
        let verdict = between(own, own);
        assert_eq!(codes_of(&verdict), only(code));
        assert!(verdict.code.is_fine());
        // Where the other end does not tell, the path works all the same.
        assert_eq!(judged(&examination(own, Theirs::Silent)).code, code);
    }
}

#[test]
fn a_path_that_swallows_large_packets_is_named_and_a_narrow_one_is_not() {
    let own = |mtu, too_large| Observations {
        way: Way::Direct,
        mtu,
        too_large,
        ..home()
    };
    let narrow = between(own(1280, 1400), home());
    assert_eq!(narrow.code, Code::MtuBlackhole);
    assert!(narrow.sentence.contains("1280 bytes") && !narrow.code.is_fine());
    assert_eq!(between(own(1492, 1500), home()).code, Code::Direct);
    assert_eq!(between(own(1500, 0), home()).code, Code::Direct);
    assert_eq!(between(own(0, 0), home()).code, Code::Direct);
}

#[test]
fn who_cannot_be_reached_is_told_apart_by_what_is_known_of_him() {
    let standing = |registered, listed, session, heard| Standing {
        registered,
        listed,
        session,
        shared: session,
        heard,
    };
    for (standing, code) in [
        (standing(false, false, false, false), Code::NoSupernode),
        (standing(false, true, false, false), Code::NoSupernode),
        (standing(false, true, true, false), Code::NoSupernode),
        (standing(true, false, false, false), Code::PeerOffline),
        (standing(true, false, true, false), Code::PeerOffline),
        (standing(true, true, false, false), Code::PeerSilent),
        (standing(true, true, true, false), Code::PeerSilent),
    ] {
        assert_eq!(codes_of(&unreached(standing)), only(code), "{standing:?}");
    }
}

#[test]
fn nobody_is_unknown_and_without_a_supernode_not_even_that() {
    for (registered, code) in [(true, Code::PeerUnknown), (false, Code::NoSupernode)] {
        let nobody = Examination {
            peer: None,
            standing: Standing {
                registered,
                ..Standing::default()
            },
            own: Observations::default(),
            theirs: Theirs::NotAsked,
        };
        assert_eq!(codes_of(&judged(&nobody)), only(code));
    }
}

#[test]
fn another_version_is_why_a_peer_does_not_answer_and_nothing_where_it_does() {
    let silent = Examination {
        standing: Standing {
            session: false,
            shared: false,
            heard: false,
            ..IN_TOUCH
        },
        ..examination(home(), Theirs::NotAsked)
    };
    let case = |examination| Case {
        examination,
        other_version: Some(2),
    };
    let found = verdict(&case(&silent));
    assert_eq!(found.code, Code::VersionDiffers);
    assert!(found.sentence.contains("version 2"), "{}", found.sentence);
    let direct = examination(
        Observations {
            way: Way::Direct,
            ..home()
        },
        Theirs::Silent,
    );
    assert_eq!(verdict(&case(&direct)).code, Code::Direct);
}

#[test]
fn who_answers_and_shares_no_network_is_told_so() {
    let strangers = Examination {
        standing: Standing {
            shared: false,
            ..IN_TOUCH
        },
        ..examination(home(), Theirs::NotAsked)
    };
    assert_eq!(codes_of(&judged(&strangers)), only(Code::NotInCommonNetwork));
}

#[test]
fn a_twin_comes_before_everything_and_the_rest_is_named_beside_it() {
    let twin = |end| Observations {
        twin: Finding::Yes,
        ..end
    };
    assert_eq!(codes_of(&between(twin(home()), home())), (Code::Twin, Vec::new()));
    let direct = Observations {
        way: Way::Direct,
        ..home()
    };
    assert_eq!(
        codes_of(&between(twin(direct), home())),
        (Code::Twin, vec![Code::Direct])
    );
    assert_eq!(
        codes_of(&between(tried(), twin(tried()))),
        (Code::PeerTwin, Vec::new()),
        "what came of trying tells nothing beside it"
    );
    let offline = Examination {
        standing: Standing {
            registered: true,
            ..Standing::default()
        },
        ..examination(twin(home()), Theirs::NotAsked)
    };
    assert_eq!(codes_of(&judged(&offline)), (Code::Twin, vec![Code::PeerOffline]));
}

#[test]
fn a_hidden_address_is_named_with_its_owner() {
    let hidden = Observations {
        openness: Openness::Hidden,
        ..home()
    };
    let told = Observations {
        openness: Openness::Hidden,
        ..Observations::default()
    };
    assert_eq!(codes_of(&between(hidden, home())), only(Code::HiddenAddressOwn));
    assert_eq!(codes_of(&between(home(), told)), only(Code::HiddenAddressPeer));
    assert_eq!(
        codes_of(&between(hidden, told)),
        (Code::HiddenAddressOwn, vec![Code::HiddenAddressPeer])
    );
    // Where the peer does not tell at all, the own side is enough.
    assert_eq!(
        judged(&examination(hidden, Theirs::Silent)).code,
        Code::HiddenAddressOwn
    );
}

#[test]
fn blocked_udp_is_named_with_the_end_that_blocks_it() {
    let blocked = |end| Observations {
        udp: Finding::No,
        ..end
    };
    assert_eq!(codes_of(&between(blocked(home()), home())), only(Code::OwnUdpBlocked));
    assert_eq!(codes_of(&between(home(), blocked(home()))), only(Code::PeerUdpBlocked));
    assert_eq!(
        codes_of(&between(blocked(home()), blocked(home()))),
        only(Code::BothUdpBlocked)
    );
    assert_eq!(
        judged(&examination(blocked(tried()), Theirs::Silent)).code,
        Code::OwnUdpBlocked
    );
    // Not known to work is not blocked.
    let unknown = Observations {
        udp: Finding::Unknown,
        ..tried()
    };
    assert_ne!(between(unknown, tried()).code, Code::OwnUdpBlocked);
}

#[test]
fn of_two_causes_the_one_that_decides_first_is_named_and_the_other_beside_it() {
    let hidden = |end| Observations {
        openness: Openness::Hidden,
        ..end
    };
    let blocked = |end| Observations {
        udp: Finding::No,
        ..end
    };
    assert_eq!(
        codes_of(&between(hidden(hard(home())), hard(home()))),
        (Code::HiddenAddressOwn, vec![Code::BothHardNat])
    );
    assert_eq!(
        codes_of(&between(hard(home()), hard(home()))),
        only(Code::BothHardNat),
        "without the first"
    );
    assert_eq!(
        codes_of(&between(blocked(hard(home())), hard(home()))),
        (Code::OwnUdpBlocked, vec![Code::BothHardNat])
    );
    assert_eq!(
        codes_of(&between(blocked(home()), hard(home()))),
        only(Code::OwnUdpBlocked)
    );
    assert_eq!(
        codes_of(&between(home(), hard(home()))),
        only(Code::Trying),
        "without the first"
    );
    assert_eq!(
        codes_of(&between(hidden(blocked(home())), home())),
        (Code::HiddenAddressOwn, vec![Code::OwnUdpBlocked])
    );
    let two = between(hidden(hard(home())), hard(home()));
    assert!(
        two.evidence.iter().any(|line| line.starts_with("also both-hard-nat: ")),
        "{two:?}"
    );
}

#[test]
fn too_many_strangers_are_named_with_who_met_them() {
    let many = |end| Observations {
        openness: Openness::TooManyStrangers,
        ..end
    };
    assert_eq!(
        codes_of(&between(many(home()), home())),
        only(Code::TooManyStrangersOwn)
    );
    assert_eq!(
        codes_of(&between(home(), many(Observations::default()))),
        only(Code::TooManyStrangersPeer)
    );
}

#[test]
fn two_hard_nats_are_hopeless_unless_both_count_or_a_router_gave_a_port() {
    let sequential = Ports::Sequential { stride: 1 };
    let kinds = [
        (Mapping::AddressDependent, Ports::Random),
        (Mapping::PortDependent, sequential),
        (Mapping::PortDependent, Ports::Random),
        (Mapping::Dependent, Ports::Unknown),
    ];
    for (one, one_ports) in kinds {
        for (other, other_ports) in kinds {
            let found = between(with(tried(), one, one_ports), with(tried(), other, other_ports));
            let counted = one_ports == sequential && other_ports == sequential;
            assert_eq!(found.code == Code::BothHardNat, !counted, "{one:?} {other:?}");
        }
    }
    let held = Observations {
        port_mapping: PortMapping::Held,
        ..hard(tried())
    };
    assert_ne!(between(held, hard(tried())).code, Code::BothHardNat);
    assert_ne!(between(hard(tried()), held).code, Code::BothHardNat);
    // Known at once, however young the round is.
    assert_eq!(between(hard(home()), hard(home())).code, Code::BothHardNat);
}

#[test]
fn the_advice_for_two_hard_nats_goes_to_the_end_whose_router_can_be_changed() {
    let carriers = |end| Observations {
        carrier: Finding::Yes,
        ..end
    };
    let [own, theirs] = [hard(tried()); 2];
    let advice = |own, theirs| between(own, theirs).advice;
    assert!(advice(own, theirs).starts_with("at one of the two ends"));
    assert!(advice(carriers(own), theirs).starts_with("at the peer's end"));
    assert!(advice(own, carriers(theirs)).starts_with("here"));
    let both = between(carriers(own), carriers(theirs));
    assert_eq!(both.code, Code::BothHardCgnat);
    assert!(both.advice.contains("public IPv4 address"), "{}", both.advice);
}

#[test]
fn a_peer_that_is_not_used_was_not_tried() {
    let idle = |used| Observations { used, ..home() };
    assert_eq!(codes_of(&between(idle(None), home())), only(Code::NotUsed));
    assert_eq!(between(idle(Some(Seconds::new(60))), home()).code, Code::NotUsed);
    assert_eq!(judged(&examination(idle(None), Theirs::Silent)).code, Code::NotUsed);
    // What was tried before still counts.
    let before = Observations {
        used: Some(Seconds::new(60)),
        ..tried()
    };
    assert_eq!(between(before, tried()).code, Code::BlockedBetween);
}

#[test]
fn a_young_round_is_no_failed_one() {
    let round = |rounds, seconds| Observations {
        rounds,
        round: Some(Seconds::new(seconds)),
        ..tried()
    };
    assert_eq!(between(home(), home()).code, Code::Trying, "one is about to begin");
    assert_eq!(between(round(1, 2), tried()).code, Code::Trying);
    assert_eq!(between(round(1, ROUND_OVER), tried()).code, Code::BlockedBetween);
    assert_eq!(
        between(round(2, 1), tried()).code,
        Code::Trying,
        "what changed was told at once"
    );
    assert_eq!(
        between(tried(), round(2, 1)).code,
        Code::Trying,
        "the other end has only begun"
    );
    let searching = Observations {
        search: Search::UnderWay,
        ..tried()
    };
    assert_eq!(between(searching, hard(tried())).code, Code::Trying);
    assert_eq!(between(hard(tried()), searching).code, Code::Trying);
}

const ROUND_OVER: u16 = 6;

#[test]
fn the_direction_that_fails_names_the_firewall() {
    let heard = Observations { came: 9, ..tried() };
    assert_eq!(codes_of(&between(tried(), heard)), only(Code::FirewallFiltersOwn));
    assert_eq!(codes_of(&between(heard, tried())), only(Code::FirewallFiltersPeer));
    // Both heard each other, and still there is no path: nobody knows why.
    assert_eq!(codes_of(&between(heard, heard)), only(Code::Unknown));
    // Who sent nothing cannot have been filtered.
    let mute = Observations { sent: 0, ..tried() };
    assert_eq!(between(heard, tried()).code, Code::FirewallFiltersPeer);
    assert_eq!(between(Observations { came: 9, ..mute }, tried()).code, Code::Unknown);
}

#[test]
fn one_hard_nat_that_was_searched_in_vain_is_named() {
    for (own, theirs) in [(hard(tried()), tried()), (tried(), hard(tried()))] {
        let found = between(own, theirs);
        assert_eq!(codes_of(&found), only(Code::SearchFailed));
    }
    let in_vain = Observations {
        search: Search::Nothing,
        ..hard(tried())
    };
    let found = between(in_vain, tried());
    assert!(
        found
            .evidence
            .contains(&"this node's search for a port: nothing".to_owned()),
        "{found:?}"
    );
}

#[test]
fn nothing_passes_between_two_that_could() {
    let found = between(tried(), tried());
    assert_eq!(codes_of(&found), only(Code::BlockedBetween));
    let behaviour = Behaviour {
        translated: Some(false),
        mapping: Mapping::Unknown,
        ..ORDINARY
    };
    let none = Observations { behaviour, ..tried() };
    assert_eq!(between(none, tried()).code, Code::BlockedBetween);
    let limited = Observations {
        limited: Finding::Yes,
        ..tried()
    };
    assert_eq!(between(limited, tried()).code, Code::AddressesLimited);
    assert_eq!(between(tried(), limited).code, Code::AddressesLimited);
}

#[test]
fn what_is_unknown_is_said_to_be() {
    let unknown = Observations {
        behaviour: Behaviour::default(),
        ..tried()
    };
    for found in [
        between(unknown, tried()),
        between(tried(), unknown),
        between(unknown, hard(tried())),
    ] {
        assert_eq!(codes_of(&found), only(Code::Unknown), "{found:?}");
        assert!(
            found
                .evidence
                .iter()
                .any(|line| line.contains("how its router maps ports is unknown")),
            "{found:?}"
        );
    }
    let silent = judged(&examination(tried(), Theirs::Silent));
    assert_eq!(codes_of(&silent), only(Code::Unknown));
    assert!(
        silent
            .evidence
            .iter()
            .any(|line| line == "the peer: unknown, it has not told"),
        "{silent:?}"
    );
}

#[test]
fn a_lost_path_and_another_program_are_in_the_evidence() {
    let own = Observations {
        lost: Some(Seconds::new(40)),
        ..tried()
    };
    let theirs = Observations {
        version: [0, 2, 1],
        ..tried()
    };
    let evidence = between(own, theirs).evidence;
    for line in ["this node lost a direct path 40 s ago", "the peer runs farlan 0.2.1"] {
        assert!(evidence.iter().any(|found| found == line), "{evidence:?}");
    }
}

/// What a network check finds where everything is in order.
fn around() -> Surroundings {
    Surroundings {
        behaviour: ORDINARY,
        udp: Finding::Yes,
        ..Surroundings::default()
    }
}

fn checked(surroundings: &Surroundings) -> Checked<'_> {
    Checked {
        surroundings,
        known: 1,
        registered: 1,
        other_version: None,
        twin: false,
    }
}

fn found(checked: &Checked<'_>) -> Vec<&'static str> {
    obstacles(checked).iter().map(|found| found.code.word()).collect()
}

#[test]
fn an_ordinary_home_has_no_obstacles_and_each_obstacle_has_its_code() {
    assert_eq!(found(&checked(&around())), [""; 0]);
    let hard = Surroundings {
        behaviour: hard(home()).behaviour,
        ..around()
    };
    assert_eq!(found(&checked(&hard)), ["hard-nat"]);
    let carrier = Surroundings {
        carrier: Finding::Yes,
        ..hard.clone()
    };
    assert_eq!(found(&checked(&carrier)), ["hard-carrier-nat"]);
    let opened = Surroundings {
        port_mapping: PortMapping::Held,
        ..hard
    };
    assert_eq!(found(&checked(&opened)), [""; 0]);
    let public = Behaviour {
        translated: Some(false),
        ..ORDINARY
    };
    let firewall = Surroundings {
        behaviour: public,
        ..around()
    };
    assert_eq!(found(&checked(&firewall)), ["firewall"]);
    let blocked = Surroundings {
        udp: Finding::No,
        hidden: true,
        ..around()
    };
    assert_eq!(found(&checked(&blocked)), ["udp-blocked", "hidden-address"]);
    let narrow = Surroundings {
        supernodes: vec![Reached {
            node: NodeId::from_bytes([1; 16]),
            seen_at: None,
            also_seen_at: None,
            udp: Finding::Yes,
            tcp: Finding::Unknown,
            rtt: None,
            mtu: Some(1280),
            too_large: Some(1400),
        }],
        ..around()
    };
    assert_eq!(found(&checked(&narrow)), ["small-mtu"]);
    let plain = around();
    let unanswered = Checked {
        registered: 0,
        ..checked(&plain)
    };
    assert_eq!(found(&unanswered), ["no-supernode"]);
    let versions = Checked {
        other_version: Some(("abc", 2)),
        twin: true,
        ..unanswered
    };
    assert_eq!(found(&versions), ["supernode-version", "twin"]);
    let none = Checked { known: 0, ..unanswered };
    assert_eq!(found(&none), ["no-supernode-known"]);
}

/// The codes in the first column of the table below a heading of the page.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DIAGNOSIS.md");
    let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (_, section) = page
        .split_once(&format!("## {heading}\n"))
        .expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[test]
fn the_page_has_exactly_the_codes_there_are() {
    let verdicts: BTreeSet<String> = Code::ALL.iter().map(|code| code.word().to_owned()).collect();
    assert_eq!(verdicts.len(), Code::ALL.len(), "a word twice");
    assert_eq!(documented("Verdicts"), verdicts);
    let obstacles: BTreeSet<String> = ObstacleCode::ALL.iter().map(|code| code.word().to_owned()).collect();
    assert_eq!(obstacles.len(), ObstacleCode::ALL.len(), "a word twice");
    assert_eq!(documented("Obstacles"), obstacles);
}

#[test]
fn every_code_has_a_sentence_and_an_advice_of_its_own_words() {
    for code in Code::ALL {
        assert!(
            !code.word().is_empty()
                && code
                    .word()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        );
    }
    // Each verdict of the tests above names no other code's word as its own.
    let fine: Vec<_> = Code::ALL
        .iter()
        .filter(|code| code.is_fine())
        .map(|code| code.word())
        .collect();
    assert_eq!(fine, ["direct-lan", "direct", "not-used", "trying"]);
}

fn class<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn any_behaviour() -> impl Strategy<Value = Behaviour> {
    let mapping = class(&[
        Mapping::Unknown,
        Mapping::Independent,
        Mapping::AddressDependent,
        Mapping::PortDependent,
        Mapping::Dependent,
    ]);
    let filtering = class(&[Filtering::Unknown, Filtering::NotByPort, Filtering::ByPort]);
    let ports = class(&[
        Ports::Unknown,
        Ports::Kept,
        Ports::Changed,
        Ports::Sequential { stride: 2 },
        Ports::Random,
    ]);
    let so = proptest::option::of(any::<bool>());
    (so.clone(), mapping, filtering, ports, so).prop_map(|(translated, mapping, filtering, ports, hairpin)| Behaviour {
        translated,
        mapping,
        filtering,
        ports,
        hairpin,
    })
}

prop_compose! {
    fn any_observations()(
        openness in class(Openness::ALL),
        behaviour in any_behaviour(),
        (udp, tcp, carrier, twin, limited) in (
            class(Finding::ALL), class(Finding::ALL), class(Finding::ALL), class(Finding::ALL), class(Finding::ALL),
        ),
        port_mapping in class(PortMapping::ALL),
        way in class(Way::ALL),
        search in class(Search::ALL),
        (rounds, round, sent, came, answered) in (
            0..4_u16, proptest::option::of(0..20_u16), 0..3_u16, 0..3_u16, 0..3_u16,
        ),
        (lost, used) in (proptest::option::of(0..20_u16), proptest::option::of(0..20_u16)),
        (mtu, too_large) in (0..1501_u16, 0..1501_u16),
    ) -> Observations {
        Observations {
            openness, behaviour, udp, tcp, carrier, twin, limited, port_mapping, way, search, rounds, sent,
            came, answered, mtu, too_large,
            round: round.map(Seconds::new),
            lost: lost.map(Seconds::new),
            used: used.map(Seconds::new),
            ..Observations::default()
        }
    }
}

fn any_theirs() -> impl Strategy<Value = Theirs> {
    prop_oneof![
        Just(Theirs::NotAsked),
        Just(Theirs::Silent),
        any_observations().prop_map(Theirs::Told),
    ]
}

fn any_examination() -> impl Strategy<Value = Examination> {
    (any::<[bool; 6]>(), any_observations(), any_theirs()).prop_map(|(bits, own, theirs)| {
        let [known, registered, listed, session, shared, heard] = bits;
        Examination {
            peer: known.then(peer),
            standing: Standing {
                registered,
                listed,
                session,
                shared,
                heard,
            },
            own,
            theirs,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_case_has_one_verdict_that_says_what_to_do(
        examination in any_examination(),
        other_version in proptest::option::of(2_u8..4),
    ) {
        let case = Case { examination: &examination, other_version };
        let found = verdict(&case);
        prop_assert_eq!(&verdict(&case), &found, "twice the same");
        prop_assert!(!found.sentence.is_empty() && !found.advice.is_empty() && !found.evidence.is_empty());
        prop_assert!(!found.also.contains(&found.code) && !found.also.contains(&Code::Unknown));
        for line in found.evidence.iter().chain([&found.sentence, &found.advice]) {
            prop_assert!(!line.contains("  ") && !line.contains('\n'), "{}", line);
        }
        // Nothing is said to be direct that is not, and the other way about.
        let direct = matches!(found.code, Code::Direct | Code::DirectLan | Code::MtuBlackhole);
        if direct {
            prop_assert!(matches!(examination.own.way, Way::Direct | Way::Lan));
            prop_assert!(examination.standing.session && examination.standing.heard);
        }
        // What the other end alone can know is not said without its word.
        if !matches!(examination.theirs, Theirs::Told(_)) {
            let told = [
                Code::PeerTwin, Code::HiddenAddressPeer, Code::BothUdpBlocked, Code::PeerUdpBlocked,
                Code::TooManyStrangersPeer, Code::BothHardCgnat, Code::BothHardNat, Code::FirewallFiltersOwn,
                Code::FirewallFiltersPeer, Code::SearchFailed, Code::BlockedBetween,
            ];
            prop_assert!(!told.contains(&found.code), "{:?}", found.code);
        }
    }
}
