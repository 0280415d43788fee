//! Fixed vectors of everything that two implementations have to agree on; PROTOCOL.md lists the same ones.
//!
//! They were computed apart from this code, with another language's SHA-512, HMAC and Ed25519. The keys are those of
//! the seeds `[1; 32]` (operator), `[2; 32]` and `[3; 32]` (supernodes) and `[4; 32]` (the node).

#![allow(
    clippy::unwrap_used,
    reason = "a step that fails is a test that fails, in the helpers too"
)]

use std::net::Ipv4Addr;

use data_encoding::HEXLOWER;
use farlan_crypto::{Identity, Seed, Work};
use farlan_netconf::{
    AddressPlan, Label, Link, Mtu, NetworkLink, NetworkName, Parameters, Reader, Role, Subnet, Supernode, World,
};

/// What follows from the parameters of a network.
struct Network {
    parameters: &'static str,
    id: &'static str,
    id_text: &'static str,
    member_key: &'static str,
    /// The key of the third host of the subnet.
    address_key: &'static str,
    /// The tags for the handshake hash 00 01 … 3f.
    tag_of_initiator: &'static str,
    tag_of_responder: &'static str,
    /// The addresses of the node.
    mac: &'static str,
    ipv6: &'static str,
    link_local: &'static str,
    candidates: &'static str,
}

/// `earth` in the world below.
const EARTH: Network = Network {
    parameters: "0102055c0a4000000a1e403ca6f9e0e822c24b91553da41916056561727468",
    id: "8964bd72dd6c313c91f8eb48cbc2ebf1",
    id_text: "rfsl24w5nqytzepy5nemxqxl6e",
    member_key: "6469b35be56affe526b1efa8be27772e",
    address_key: "e2c696f3e788096cef77b61364be32f2",
    tag_of_initiator: "b9311176606cf72166d9cf9b0dcb6954",
    tag_of_responder: "637c5f4bebf529fc71eda76a42d12a0b",
    mac: "1a:1f:f2:ee:38:17",
    ipv6: "fd89:64bd:72dd:db69:b0ff:5777:86eb:b6df",
    link_local: "fe80::181f:f2ff:feee:3817",
    candidates: "10.70.21.204 10.89.52.120 10.99.0.95 10.65.94.61 \
             10.90.229.243 10.118.184.145 10.75.33.204 10.88.234.133 \
             10.96.27.63 10.90.235.119 10.71.206.99 10.89.123.194 \
             10.94.49.179 10.112.19.60 10.114.224.90 10.84.15.89",
};

/// Random bits 00 01 … 0f, MTU 1372, 10.128.16.0/20.
const LINK: Network = Network {
    parameters: "0201055c0a80100014000102030405060708090a0b0c0d0e0f",
    id: "917dafdcbe3bb7acbe446ee037908ebf",
    id_text: "sf627xf6ho32zpsen3qdpeeox4",
    member_key: "9a47815975852c545b36aabd59d17112",
    address_key: "8749b5d2084aff8923099ef2b242706a",
    tag_of_initiator: "b312d0245d00428ec87f55e533f176ef",
    tag_of_responder: "d725dd5f89e854c255b6a5ee860ea666",
    mac: "5a:2b:b9:38:f2:6a",
    ipv6: "fd91:7daf:dcbe:db69:b0ff:5777:86eb:b6df",
    link_local: "fe80::582b:b9ff:fe38:f26a",
    candidates: "10.128.26.173 10.128.20.55 10.128.26.59 10.128.29.171 \
             10.128.28.45 10.128.31.77 10.128.19.141 10.128.19.136 \
             10.128.24.190 10.128.31.116 10.128.30.32 10.128.17.135 \
             10.128.27.149 10.128.24.51 10.128.31.212 10.128.20.36",
};

/// Random bits 00 01 … 0f, MTU 1280, 192.168.7.16/28: with 14 hosts the last two candidates repeat the first two.
const SMALL: Network = Network {
    parameters: "02010500c0a807101c000102030405060708090a0b0c0d0e0f",
    id: "9ea7265bebb599c11e2a1150a4817bd4",
    id_text: "t2tsmw7lwwm4chrkcfikjal32q",
    member_key: "fa7aa78429f627e1c1c079e01cc7992d",
    address_key: "4fa97cf8a4755ca92a92689a8744ac18",
    tag_of_initiator: "4947e3ae90591a7a8a3ec3f627e7623e",
    tag_of_responder: "47105f484390e3e57f98d3404c4705bd",
    mac: "f6:1f:f6:d6:6f:8a",
    ipv6: "fd9e:a726:5beb:db69:b0ff:5777:86eb:b6df",
    link_local: "fe80::f41f:f6ff:fed6:6f8a",
    candidates: "192.168.7.19 192.168.7.18 192.168.7.17 192.168.7.20 \
             192.168.7.29 192.168.7.21 192.168.7.24 192.168.7.23 \
             192.168.7.25 192.168.7.27 192.168.7.22 192.168.7.28 \
             192.168.7.26 192.168.7.30 192.168.7.19 192.168.7.18",
};

const NODE_ID: &str = "3nu3b72xo6doxnw7ghmzfimwse";

/// Version 7: the first supernode at 203.0.113.5:9600 and [2001:db8::5]:9600, the second at super.example.org:443.
const WORLD: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c00000007028139770ea87d175f56a354\
    66c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394020b3230332e302e3131332e3525800b323030313a6462383a3a35\
    2580ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1011173757065722e6578616d706c\
    652e6f726701bb82db07fa94d735536f4e87344e291d6b8bf4ff938bb75c052a23ea3f382d36d2a6e0fe591ad21c1ffc\
    d3da4557a0e5c4ade4c9e8463b0442daa0ecc84659f00e";
const WORLD_ID: &str = "dzadzjxz4ducfqslsfkt3jazcy";

const SUPERNODE_LINK: &str = "farlan:AQGKiOPddAnxlf1S2y08ul1yymcJvx2UEhvzdIgBtA9vXAAAAAcCgTl3Dqh9F19Wo1Rmw0x-zMuNipG07jeiXfYPW\
    4_Js5QCCzIwMy4wLjExMy41JYALMjAwMTpkYjg6OjUlgO1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfRARFzdXBlc\
    i5leGFtcGxlLm9yZwG7gtsH-pTXNVNvToc0Tikda4v0_5OLt1wFKiPqPzgtNtKm4P5ZGtIcH_zT2kVXoOXEreTJ6EY7BELao\
    OzIRlnwDoZI4lg";

/// To `LINK`, with the label "Ben's LAN", the world above and the node as peer.
const NETWORK_LINK: &str = "farlan:AQICAQVcCoAQABQAAQIDBAUGBwgJCgsMDQ4PCUJlbidzIExBTgHKk6wXBRhwcdZ7g8f_Dv6BCOjsRTBXXXcmh5Mz2\
    9q-fIqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29cAAAABwKBOXcOqH0XX1ajVGbDTH7My42KkbTuN6Jd9g9bj8mzl\
    AILMjAzLjAuMTEzLjUlgAsyMDAxOmRiODo6NSWA7UkoxijRwsbq6QM4kFmVYSlZJzpcY_k2NsFGFKyHN9EBEXN1cGVyLmV4Y\
    W1wbGUub3JnAbuC2wf6lNc1U29OhzROKR1ri_T_k4u3XAUqI-o_OC020qbg_lka0hwf_NPaRVeg5cSt5MnoRjsEQtqg7MhGW\
    fAOGaotgA";

#[test]
fn networks() {
    let link = |subnet: &str, mtu| {
        let random = std::array::from_fn(|i| i as u8);
        Parameters::link(random, subnet.parse().unwrap(), Mtu::new(mtu).unwrap())
    };
    let earth = Parameters::open_name(world().id(), NetworkName::parse("earth").unwrap());
    check(&earth, &EARTH);
    check(&link("10.128.16.0/20", 1372), &LINK);
    check(&link("192.168.7.16/28", 1280), &SMALL);
}

#[test]
fn worlds() {
    let bytes = HEXLOWER.decode(WORLD.as_bytes()).unwrap();
    assert_eq!(HEXLOWER.encode(&world().encode()), WORLD);
    assert_eq!(World::decode(&bytes, Work::NONE), Ok(world()));
    assert_eq!(world().id().to_string(), WORLD_ID);
}

#[test]
fn links() {
    let supernode = Link::Supernode(world());
    assert_eq!(supernode.to_string(), SUPERNODE_LINK);
    assert_eq!(Link::parse(SUPERNODE_LINK, Work::NONE), Ok(supernode));

    let subnet: Subnet = "10.128.16.0/20".parse().unwrap();
    let network = Link::Network(NetworkLink {
        parameters: Parameters::link(std::array::from_fn(|i| i as u8), subnet, Mtu::DEFAULT),
        label: Label::parse("Ben's LAN").unwrap(),
        world: world(),
        peers: vec![identity(4).public()],
    });
    assert_eq!(network.to_string(), NETWORK_LINK);
    assert_eq!(Link::parse(NETWORK_LINK, Work::NONE), Ok(network));
}

fn check(parameters: &Parameters, expected: &Network) {
    let mut bytes = Vec::new();
    parameters.encode(&mut bytes);
    assert_eq!(HEXLOWER.encode(&bytes), expected.parameters);
    assert_eq!(Parameters::decode(&mut Reader::new(&bytes)).as_ref(), Ok(parameters));
    assert_eq!(HEXLOWER.encode(parameters.id().as_bytes()), expected.id);
    assert_eq!(parameters.id().to_string(), expected.id_text);

    let secret = parameters.secret();
    let third = Ipv4Addr::from_bits(parameters.subnet.address().to_bits() + 3);
    let hash = std::array::from_fn(|i| i as u8);
    assert_eq!(HEXLOWER.encode(secret.member_key().as_bytes()), expected.member_key);
    assert_eq!(
        HEXLOWER.encode(secret.address_key(third).as_bytes()),
        expected.address_key
    );
    for (role, tag) in [
        (Role::Initiator, expected.tag_of_initiator),
        (Role::Responder, expected.tag_of_responder),
    ] {
        assert_eq!(HEXLOWER.encode(&secret.recognition_tag(&hash, role)), tag);
    }

    let node = identity(4).node_id();
    assert_eq!(node.to_string(), NODE_ID);
    let plan = AddressPlan::new(&parameters.id(), &parameters.subnet);
    assert_eq!(plan.mac(&node).to_string(), expected.mac);
    assert_eq!(plan.ipv6(&node).to_string(), expected.ipv6);
    assert_eq!(plan.link_local(&node).to_string(), expected.link_local);
    let candidates = plan.ipv4_candidates(&node).map(|address| address.to_string());
    assert_eq!(candidates.join(" "), expected.candidates);
}

fn world() -> World {
    let supernode = |number, endpoints: &[&str]| Supernode {
        key: identity(number).public(),
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let supernodes = vec![
        supernode(2, &["203.0.113.5:9600", "[2001:db8::5]:9600"]),
        supernode(3, &["super.example.org:443"]),
    ];
    World::sign(&identity(1), 7, supernodes).unwrap()
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
}
