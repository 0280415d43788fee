use proptest::prelude::*;

use super::*;

pub(in crate::names) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn network_id(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

pub(in crate::names) fn member(number: u8, name: &str) -> Member {
    Member {
        node: node(number),
        name: DnsLabel::parse(name).ok(),
        certified: false,
        issue: 0,
        own: number == 0,
        ipv4: Some([10, 128, 16, number].into()),
        ipv6: Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)]),
    }
}

/// A network of friends with this machine, called "me", and others.
pub(in crate::names) fn network(number: u8, label: &str, members: &[Member]) -> Network {
    Network {
        id: network_id(number),
        label: label.to_owned(),
        strangers: false,
        out: BTreeMap::new(),
        subnets: vec![
            ([10, 128, 16, 0].into(), 20),
            (Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0]).into(), 48),
        ],
        members: std::iter::once(member(0, "me"))
            .chain(members.iter().cloned())
            .collect(),
    }
}

fn names(directory: &Directory) -> Vec<String> {
    let mut names: Vec<_> = directory.all().map(|found| found.name).collect();
    names.sort();
    names
}

/// What the node with that number is called in network 1.
fn called(directory: &Directory, number: u8) -> Option<String> {
    directory.name(&network_id(1), &node(number)).map(str::to_owned)
}

#[test]
fn members_are_found_by_short_and_long_names() {
    let mut directory = Directory::default();
    directory.update(&[network(1, "Ben's LAN", &[member(1, "ann")])]);
    for text in [
        "ann",
        "ANN",
        "ann.ben-s-lan",
        "ann.ben-s-lan.farlan.internal",
        "Ann.Ben-s-LAN.farlan.internal.",
    ] {
        let found = directory.resolve(text).unwrap();
        assert_eq!(found.name, "ann.ben-s-lan.farlan.internal", "{text}");
        assert_eq!((found.node, found.ipv4), (node(1), Some([10, 128, 16, 1].into())));
    }
    for text in [
        "",
        "an",
        "ann.lan",
        "ann.farlan.internal",
        "ben-s-lan",
        "x.ann.ben-s-lan",
        "ann.ben-s-lan.internal",
    ] {
        assert_eq!(directory.resolve(text), Err(Unresolved::Unknown), "{text}");
    }
    assert!(directory.resolve("me").unwrap().own);
    let back = directory.reverse(IpAddr::from([10, 128, 16, 1])).unwrap();
    assert_eq!(back.name, "ann.ben-s-lan.farlan.internal");
    assert_eq!(directory.reverse(IpAddr::from([10, 128, 16, 9])), None);
}

#[test]
fn of_two_with_one_name_the_first_keeps_it_whatever_the_order_later() {
    let mut directory = Directory::default();
    let (ann, other, third) = (member(7, "ann"), member(3, "ann"), member(1, "ann"));
    directory.update(&[network(1, "lan", std::slice::from_ref(&ann))]);
    directory.update(&[network(1, "lan", &[other.clone(), ann.clone()])]);
    directory.update(&[network(1, "lan", &[third.clone(), other, ann])]);
    let expected = [(7, "ann"), (3, "ann-2"), (1, "ann-3")];
    for (number, name) in expected {
        assert_eq!(called(&directory, number).as_deref(), Some(name));
    }
    // Nor does a restart change it, nor who comes first behind it.
    let text = toml::to_string(&directory.pins()).unwrap();
    let mut again = Directory::restore(&toml::from_str(&text).unwrap());
    again.update(&[network(1, "lan", &[third])]);
    for (number, name) in expected {
        assert_eq!(called(&again, number).as_deref(), Some(name));
    }
    let away = again.resolve("ann").unwrap();
    assert_eq!((away.node, away.ipv4), (node(7), Some([10, 128, 16, 7].into())));
}

#[test]
fn nobody_takes_this_machines_name_from_it() {
    let mut directory = Directory::default();
    let network = Network {
        members: vec![member(1, "me"), member(0, "me")],
        ..network(1, "lan", &[])
    };
    directory.update(&[network]);
    assert_eq!(called(&directory, 0).as_deref(), Some("me"));
    assert_eq!(called(&directory, 1).as_deref(), Some("me-2"));
}

#[test]
fn who_changes_its_name_gets_the_new_one_and_frees_the_old_one() {
    let mut directory = Directory::default();
    directory.update(&[network(1, "lan", &[member(1, "ann"), member(2, "ann")])]);
    directory.update(&[network(1, "lan", &[member(1, "anna"), member(2, "ann")])]);
    assert_eq!(
        names(&directory),
        [
            "ann-2.lan.farlan.internal",
            "anna.lan.farlan.internal",
            "me.lan.farlan.internal"
        ]
    );
    directory.update(&[network(1, "lan", &[member(3, "ann")])]);
    assert_eq!(called(&directory, 3).as_deref(), Some("ann"));
    // Somebody called so from the beginning.
    directory.update(&[network(1, "lan", &[member(4, "ann-2")])]);
    assert_eq!(called(&directory, 4).as_deref(), Some("ann-2-2"));
}

#[test]
fn who_says_nothing_has_no_name_and_who_is_away_keeps_it() {
    let mut directory = Directory::default();
    let silent = Member {
        name: None,
        ..member(1, "x")
    };
    directory.update(&[network(1, "lan", std::slice::from_ref(&silent))]);
    assert_eq!(called(&directory, 1), None);
    directory.update(&[network(1, "lan", &[member(1, "ann")])]);
    let moved = Member {
        ipv4: Some([10, 128, 16, 99].into()),
        ..silent
    };
    directory.update(&[network(1, "lan", &[moved])]);
    assert_eq!(directory.resolve("ann").unwrap().ipv4, Some([10, 128, 16, 99].into()));
    directory.update(&[network(1, "lan", &[])]);
    assert_eq!(directory.resolve("ann").unwrap().ipv4, Some([10, 128, 16, 99].into()));
    // A network that is asleep keeps them, one that was left does not.
    let asleep = Network {
        members: Vec::new(),
        ..network(1, "lan", &[])
    };
    directory.update(&[asleep]);
    assert!(directory.resolve("ann").is_ok());
    directory.update(&[]);
    assert_eq!(directory, Directory::default());
}

#[test]
fn two_networks_of_one_label_are_told_apart() {
    let mut directory = Directory::default();
    let nameless = network(3, "日本", &[]);
    directory.update(&[
        network(1, "lan", &[member(1, "ann")]),
        network(2, "LAN", &[member(2, "ann")]),
        nameless,
    ]);
    assert_eq!(directory.domain(&network_id(1)).as_deref(), Some("lan.farlan.internal"));
    assert_eq!(
        directory.domain(&network_id(2)).as_deref(),
        Some("lan-2.farlan.internal")
    );
    let id = network_id(3).to_string();
    assert_eq!(
        directory.domain(&network_id(3)).unwrap(),
        format!("{}.farlan.internal", &id[..10])
    );
    assert_eq!(
        directory.resolve("ann"),
        Err(Unresolved::Several(vec![
            "ann.lan.farlan.internal".into(),
            "ann.lan-2.farlan.internal".into()
        ]))
    );
    assert_eq!(directory.resolve("ann.lan-2").unwrap().node, node(2));
    // One node in two networks is one.
    assert!(directory.resolve("me").is_ok());
    // It stays so, in another order and after a restart.
    let mut again = Directory::restore(&directory.pins());
    again.update(&[network(2, "lan", &[]), network(1, "lan", &[])]);
    assert_eq!(again.domain(&network_id(2)).as_deref(), Some("lan-2.farlan.internal"));
}

#[test]
fn strangers_are_found_by_what_they_cannot_choose() {
    let mut directory = Directory::default();
    let strangers = Network {
        strangers: true,
        ..network(1, "earth", &[member(1, "bank"), member(2, "me")])
    };
    directory.update(&[strangers, network(2, "lan", &[member(3, "bank")])]);
    let id = node(1).to_string();
    let name = format!("bank-{}", &id[..10]);
    assert_eq!(called(&directory, 1).unwrap(), name);
    assert_eq!(directory.resolve(&format!("{name}.earth")).unwrap().node, node(1));
    assert_eq!(directory.resolve("bank.earth"), Err(Unresolved::Unknown));
    assert_eq!(directory.resolve("bank").unwrap().node, node(3));
    assert_eq!(directory.resolve("me.earth").unwrap().node, node(0));
}

#[test]
fn what_a_controller_certified_goes_before_what_others_say() {
    let mut directory = Directory::default();
    directory.update(&[network(1, "lan", &[member(1, "ann")])]);
    let certified = Member {
        certified: true,
        ..member(2, "ann")
    };
    directory.update(&[network(1, "lan", &[member(1, "ann"), certified])]);
    assert_eq!(called(&directory, 2).as_deref(), Some("ann"));
    assert_eq!(called(&directory, 1).as_deref(), Some("ann-2"));
}

#[test]
fn who_was_thrown_out_has_no_name_until_it_is_let_in_again() {
    let mut directory = Directory::default();
    let certified = |number, name, issue| Member {
        certified: true,
        issue,
        ..member(number, name)
    };
    let everybody = network(
        1,
        "lan",
        &[certified(1, "ann", 3), certified(2, "eve", 4), member(3, "bob")],
    );
    directory.update(std::slice::from_ref(&everybody));
    let out = BTreeMap::from([(node(2), 4), (node(3), 4), (node(0), 9)]);
    let without = |members: &[Member]| Network {
        out: out.clone(),
        ..network(1, "lan", members)
    };
    let there = ["ann.lan.farlan.internal", "me.lan.farlan.internal"];
    // Away or not, and over restarts, too.
    let mut restored = Directory::restore(&directory.pins());
    for directory in [&mut directory, &mut restored] {
        directory.update(&[without(&[])]);
        assert_eq!(names(directory), there);
        directory.update(&[without(&[certified(2, "eve", 4), member(3, "bob")])]);
        assert_eq!(names(directory), there);
        assert_eq!(directory.reverse([10, 128, 16, 2].into()), None);
    }
    // By another invite, and away afterwards.
    directory.update(&[without(&[certified(2, "eve", 5)])]);
    directory.update(&[without(&[])]);
    assert!(directory.resolve("eve").is_ok());
    let mut directory = Directory::restore(&directory.pins());
    directory.update(&[without(&[])]);
    assert!(directory.resolve("eve").is_ok());
    directory.forget(&network_id(1), &node(2));
    directory.forget(&network_id(1), &node(0));
    assert_eq!(names(&directory), there);
}

#[test]
fn of_more_members_than_are_kept_those_unseen_the_longest_go() {
    let mut directory = Directory::default();
    let many: Vec<_> = (0..600_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let mut id = [1; 16];
            id[0] = high;
            id[1] = low;
            Member {
                node: NodeId::from_bytes(id),
                ..member(1, &format!("m{number}"))
            }
        })
        .collect();
    directory.update(&[network(1, "lan", &many[..500])]);
    directory.update(&[network(1, "lan", &many[..1])]);
    directory.update(&[network(1, "lan", &many[500..])]);
    assert_eq!(directory.all().count(), MOST_MEMBERS);
    for (name, is_there) in [("me", true), ("m0", true), ("m599", true), ("m1", false)] {
        assert_eq!(directory.resolve(name).is_ok(), is_there, "{name}");
    }
}

#[test]
fn the_dns_knows_names_and_addresses_of_its_own_alone() {
    let mut directory = Directory::default();
    directory.update(&[network(1, "lan", &[member(1, "ann")])]);
    let look_up = |name: &str| directory.look_up(&name.split('.').collect::<Vec<_>>());
    let ann = member(1, "ann");
    assert_eq!(
        look_up("ann.lan.farlan.internal"),
        Found::Member(ann.ipv4, Some(ann.ipv6))
    );
    for empty in [
        "farlan.internal",
        "lan.farlan.internal",
        "16.128.10.in-addr.arpa",
        "31.128.10.in-addr.arpa",
        "0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
    ] {
        assert_eq!(look_up(empty), Found::Empty, "{empty}");
    }
    for nothing in [
        "ben.lan.farlan.internal",
        "ann.farlan.internal",
        "x.farlan.internal",
        "x.ann.lan.farlan.internal",
        "9.16.128.10.in-addr.arpa",
    ] {
        assert_eq!(look_up(nothing), Found::Nothing, "{nothing}");
    }
    for foreign in [
        "internal",
        "example.org",
        "ann.lan",
        "farlan.internal.example.org",
        "128.10.in-addr.arpa",
        "10.in-addr.arpa",
        "32.128.10.in-addr.arpa",
        "1.32.128.10.in-addr.arpa",
        "01.16.128.10.in-addr.arpa",
        "1.2.3.4.5.in-addr.arpa",
        "0.0.d.f.ip6.arpa",
        "ip6.arpa",
        "in-addr.arpa",
        "arpa",
    ] {
        assert_eq!(look_up(foreign), Found::Foreign, "{foreign}");
    }
    assert_eq!(
        look_up("1.16.128.10.in-addr.arpa"),
        Found::Pointer("ann.lan.farlan.internal".into())
    );
    let digits = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(look_up(&digits), Found::Pointer("ann.lan.farlan.internal".into()));
}

proptest! {
    #[test]
    fn names_are_unique_labels_and_stay(
        steps in proptest::collection::vec((1..3_u8, 0..6_u8, "[ab]{1,2}(-2)?", any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut directory = Directory::default();
        for (at, number, name, strangers, certified) in steps {
            // The policy belongs to the network.
            let strangers = strangers && at == 2;
            let member = Member { certified: certified && at == 1, ..member(number, &name) };
            let told = |number| {
                let members = if number == at { vec![member.clone()] } else { Vec::new() };
                Network { strangers: number == 2 && strangers, members, ..network(number, "lan", &[]) }
            };
            let before = names(&directory);
            directory.update(&[told(1), told(2)]);
            let mut all = names(&directory);
            prop_assert!(all.iter().all(|name| name.split('.').all(is_label)));
            let count = all.len();
            all.dedup();
            prop_assert_eq!(all.len(), count, "one name is nobody else's");
            // One step renames one, or two where a name is certified to somebody else.
            let kept = before.iter().filter(|name| all.contains(name)).count();
            prop_assert!(kept + 2 >= before.len());
            prop_assert_eq!(names(&Directory::restore(&directory.pins())), all);
        }
    }
}
