//! Fixed vectors of everything that two implementations have to agree on: those of PROTOCOL.md, A.6 to A.8.
//!
//! They were computed apart from this code, with another language's SHA-512, HMAC and Ed25519. The keys are those of
//! the seeds `[1; 32]` (operator), `[2; 32]` and `[3; 32]` (supernodes) and `[4; 32]` (the node).

#![allow(
    clippy::unwrap_used,
    reason = "a step that fails is a test that fails, in the helpers too"
)]

use std::net::Ipv4Addr;

#[path = "../../crypto/tests/page/mod.rs"]
mod page;

use data_encoding::HEXLOWER;
use farlan_crypto::{Identity, Seed, Work};
use farlan_netconf::{
    AddressPlan, Label, Link, Mtu, NetworkLink, NetworkName, Parameters, Reader, Role, Subnet, Supernode, World,
};
use page::Block;

/// The node of A.6, as the text in front of its blocks has it.
const NODE_ID: &str = "3nu3b72xo6doxnw7ghmzfimwse";

#[test]
fn networks() {
    let link = |subnet: &str, mtu| {
        let random = std::array::from_fn(|i| i as u8);
        Parameters::link(random, subnet.parse().unwrap(), Mtu::new(mtu).unwrap())
    };
    let earth = Parameters::open_name(world().id(), NetworkName::parse("earth").unwrap());
    check(&earth, 0);
    check(&link("10.128.16.0/20", 1372), 1);
    check(&link("192.168.7.16/28", 1280), 2);
}

#[test]
fn worlds() {
    let page = Block::of("A.7", 0);
    let bytes = page.bytes("world");
    assert_eq!(world().encode(), bytes);
    assert_eq!(World::decode(&bytes, Work::NONE), Ok(world()));
    assert_eq!(world().id().to_string(), page.text("world id"));
}

#[test]
fn links() {
    let page = Block::of("A.8", 0);
    let supernode = Link::Supernode(world());
    assert_eq!(supernode.to_string(), page.text("supernode"));
    assert_eq!(Link::parse(&page.text("supernode"), Work::NONE), Ok(supernode));

    let subnet: Subnet = "10.128.16.0/20".parse().unwrap();
    let network = Link::Network(NetworkLink {
        parameters: Parameters::link(std::array::from_fn(|i| i as u8), subnet, Mtu::DEFAULT),
        label: Label::parse("Ben's LAN").unwrap(),
        world: world(),
        peers: vec![identity(4).public()],
    });
    assert_eq!(network.to_string(), page.text("network"));
    assert_eq!(Link::parse(&page.text("network"), Work::NONE), Ok(network));
}

/// Compares everything that follows from the parameters of a network with block `number` of A.6.
fn check(parameters: &Parameters, number: usize) {
    let page = Block::of("A.6", number);
    let mut bytes = Vec::new();
    parameters.encode(&mut bytes);
    assert_eq!(bytes, page.bytes("parameters"));
    assert_eq!(Parameters::decode(&mut Reader::new(&bytes)).as_ref(), Ok(parameters));
    let [id, text] = page.lines("network id")[..] else {
        panic!("two forms")
    };
    assert_eq!(HEXLOWER.encode(parameters.id().as_bytes()), id);
    assert_eq!(parameters.id().to_string(), text);

    let secret = parameters.secret().unwrap();
    let third = Ipv4Addr::from_bits(parameters.subnet.address().to_bits() + 3);
    let hash = std::array::from_fn(|i| i as u8);
    assert_eq!(secret.member_key().as_bytes(), &page.array("member key"));
    assert_eq!(secret.address_key(third).as_bytes(), &page.array("address key"));
    for (role, tag) in [
        (Role::Initiator, "initiator's tag"),
        (Role::Responder, "responder's tag"),
    ] {
        assert_eq!(secret.recognition_tag(&hash, role), page.array(tag));
    }

    let node = identity(4).node_id();
    assert_eq!(node.to_string(), NODE_ID);
    let plan = AddressPlan::new(&parameters.id(), &parameters.subnet);
    assert_eq!(plan.mac(&node).to_string(), page.text("MAC"));
    assert_eq!(plan.ipv6(&node).to_string(), page.text("IPv6"));
    assert_eq!(plan.link_local(&node).to_string(), page.text("link-local"));
    let candidates = plan.ipv4_candidates(&node).map(|address| address.to_string());
    assert_eq!(candidates.join(" "), page.lines("candidates").join(" "));
}

fn world() -> World {
    let supernode = |number, endpoints: &[&str]| Supernode {
        key: identity(number).public(),
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let supernodes = vec![
        supernode(2, &["203.0.113.5:9600", "[2001:db8::5]:9600", "tcp/203.0.113.5:443"]),
        supernode(3, &["super.example.org:443", "tcp/super.example.org:443"]),
    ];
    World::sign(&identity(1), 7, supernodes).unwrap()
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
}
