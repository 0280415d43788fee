//! Nothing that holds the secret of a network shows it when it is printed for debugging.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "../../crypto/tests/shown/mod.rs"]
mod shown;

use farlan_crypto::{Identity, Seed, Work};
use farlan_netconf::{Label, Link, Mtu, NetworkLink, Parameters, Supernode, World};
use shown::assert_hidden;

#[test]
fn debug_shows_no_secret_of_any_type() {
    let random: [u8; 16] = std::array::from_fn(|n| 0x91 + 3 * n as u8);
    let parameters = Parameters::link(random, "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT);
    let operator = Identity::from_seed(Seed::from_bytes([1; 32]), Work::NONE).unwrap();
    let supernode = Supernode {
        key: operator.public(),
        endpoints: vec!["192.0.2.1:9600".parse().unwrap()],
    };
    let link = NetworkLink {
        parameters: parameters.clone(),
        label: Label::parse("lan").unwrap(),
        world: World::sign(&operator, 1, vec![supernode]).unwrap(),
        peers: Vec::new(),
    };
    let texts = [
        ("Kind", format!("{:?} {:#x?}", parameters.kind, parameters.kind)),
        ("Parameters", format!("{parameters:?} {parameters:#x?}")),
        ("NetworkLink", format!("{link:?} {link:#x?}")),
        ("Link", format!("{:?}", Link::Network(link))),
        (
            "NetworkSecret",
            format!("{:?} {:#x?}", parameters.secret(), parameters.secret()),
        ),
    ];
    for (what, text) in &texts {
        assert_hidden(what, text, &random);
    }
    // From the secret follow the keys under which supernodes keep the members; those may be shown.
    let member = parameters.secret().unwrap().member_key();
    assert!(format!("{member:?}").contains(&data_encoding::HEXLOWER.encode(member.as_bytes())));
}
