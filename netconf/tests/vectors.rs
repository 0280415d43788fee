//! Fixed vectors of everything that two implementations have to agree on: those of PROTOCOL.md, A.6 to A.8 and A.11.
//!
//! They were computed apart from this code, with another language's SHA-512 and HMAC, and with Ed25519, Salsa20 and
//! Poly1305 written for that. The keys are those of
//! the seeds `[1; 32]` (operator), `[2; 32]` and `[3; 32]` (supernodes) and `[4; 32]` (the node), on the private
//! network also `[3; 32]` (a renewer), `[5; 32]` (the network key) and `[6; 32]` (an invite).

#![allow(
    clippy::unwrap_used,
    reason = "a step that fails is a test that fails, in the helpers too"
)]

use std::{net::Ipv4Addr, sync::Arc};

#[path = "../../crypto/tests/page/mod.rs"]
mod page;

use data_encoding::HEXLOWER;
use farlan_crypto::{Identity, KeyPair, Seed, Work};
use farlan_netconf::private::{
    Admission, Application, CertificateFields, Config, ConfigFields, Credential, Delegate, Delegation,
    DelegationFields, NetworkSeed, PrivateNetwork, Purpose, Revocation, Revocations, Revoked, Rights, SealedDocument,
    Seconds, document_key,
};
use farlan_netconf::{
    AddressPlan, Label, Link, Mac, Mtu, NetworkLink, NetworkName, NetworkSecret, Parameters, PrivateLink, Reader, Role,
    Subnet, Supernode, World,
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

#[test]
fn private_networks() {
    let page = Block::holding("A.11", "network key");
    assert_eq!(pair(5).public().as_bytes(), &page.array("network key"));
    let mut bytes = Vec::new();
    private_parameters().encode(&mut bytes);
    assert_eq!(bytes, page.bytes("parameters"));
    assert_eq!(Parameters::decode(&mut Reader::new(&bytes)), Ok(private_parameters()));
    let id = private_network().id();
    assert_eq!(
        [HEXLOWER.encode(id.as_bytes()), id.to_string()],
        page.lines("network id")[..]
    );

    let secret = private_secret();
    assert_eq!(secret.member_key().as_bytes(), &page.array("member key"));
    for (role, tag) in [
        (Role::Initiator, "initiator's tag"),
        (Role::Responder, "responder's tag"),
    ] {
        assert_eq!(secret.recognition_tag(&hash(), role), page.array(tag));
    }
}

#[test]
fn configs_and_delegations() {
    let page = Block::holding("A.11", "config");
    let fields = ConfigFields {
        parameters: private_parameters(),
        counter: 2,
        time: day(0),
        life: 365 * 86_400,
        label: Label::parse("Ben's LAN").unwrap(),
        domain: "ben".parse().unwrap(),
        world: world().id(),
        seeds: [7, 8].map(|number| NetworkSeed::from_bytes([number; 32])).to_vec(),
        holders: vec![identity(3).public()],
    };
    let config = Config::sign(&pair(5), fields).unwrap();
    assert_eq!(config.encode(), page.bytes("config"));
    assert_eq!(config.order().hash.to_vec(), page.bytes("config hash"));
    assert_eq!(Config::decode(&page.bytes("config"), Work::NONE), Ok(config));

    for (delegation, label) in [(invite(), "invite"), (renewer(), "renewer")] {
        let mut bytes = Vec::new();
        delegation.encode(&mut bytes);
        assert_eq!(bytes, page.bytes(label));
        let read = Delegation::decode(&mut Reader::new(&bytes), &private_network(), Work::NONE);
        assert_eq!(read, Ok(delegation));
    }
}

#[test]
fn credentials() {
    let page = Block::holding("A.11", "of the network key");
    for (credential, label) in [
        (member(), "of the network key"),
        (guest(), "provisional"),
        (extended(), "extended"),
    ] {
        let bytes = page.bytes(label);
        assert_eq!(credential.encode(), bytes);
        assert_eq!(
            Credential::decode(&bytes, &private_network(), Work::NONE),
            Ok(credential)
        );
    }
}

#[test]
fn revocations_and_their_sealed_document() {
    let (network, node) = (private_network(), *identity(4).public().as_bytes());
    let mut revocations = Revocations::new(network);
    for revoked in [
        Revoked::Member { node, issue: 4 },
        Revoked::Delegation { key: invite().key() },
    ] {
        revocations.insert(Revocation::sign(&network, &pair(5), revoked, day(3)).unwrap());
    }
    let page = Block::holding("A.11", "revocations");
    assert_eq!(revocations.encode(), page.bytes("revocations"));
    assert_eq!(revocations.digest(), page.array("digest"));
    assert_eq!(
        Revocations::decode(&page.bytes("revocations"), &network),
        Ok(revocations.clone())
    );

    let page = Block::holding("A.11", "blinded key");
    let secret = private_secret();
    let key = document_key(network.key(), &secret);
    assert_eq!(key.as_bytes(), &page.array("document key"));
    let salt = std::array::from_fn(|i| 0xa0 + i as u8);
    let document = SealedDocument::seal(&pair(5), &secret, 9, salt, &revocations.encode()).unwrap();
    let bytes = page.bytes("document");
    assert_eq!(document.encode(), bytes);
    assert_eq!(bytes[..32], page.bytes("blinded key"));
    let read = SealedDocument::decode(&bytes).unwrap();
    assert_eq!((read.document_key(), read.version()), (key, 9));
    assert_eq!(read.open(network.key(), &secret), Ok(revocations.encode()));
}

#[test]
fn what_is_sealed_in_a_session() {
    let page = Block::holding("A.11", "application");
    let (secret, network, node) = (private_secret(), private_network(), identity(4).public());
    let application = Application::new("laptop".parse().ok(), "10.128.16.9".parse().ok())
        .invited(&pair(6), invite(), &node, &hash())
        .unwrap();
    assert_eq!(application.encode(), page.bytes("application"));
    let read = Application::decode(&application.encode(), &network, &node, &hash(), Work::NONE);
    assert_eq!(read.as_ref(), Ok(&application));
    let (status, admission) = Admission::Granted(Box::new(member())).encode();
    assert_eq!(status, 0);
    for (purpose, role, number, content, label) in [
        (
            Purpose::Application,
            Role::Initiator,
            1,
            application.encode(),
            "sealed application",
        ),
        (Purpose::Admission, Role::Responder, 1, admission, "sealed admission"),
        (
            Purpose::Credentials,
            Role::Initiator,
            5,
            extended().encode(),
            "sealed credentials",
        ),
    ] {
        let sealed = page.bytes(label);
        assert_eq!(
            secret.seal_in_session(purpose, &hash(), role, number, 2, &content),
            sealed
        );
        let opened = secret.open_in_session(purpose, &hash(), role, number, 2, &sealed);
        assert_eq!(opened, Ok(content));
    }
}

#[test]
fn links_into_private_networks() {
    let page = Block::holding("A.11", "link");
    let link = PrivateLink::new(
        private_parameters(),
        Label::parse("Ben's LAN").unwrap(),
        NetworkSeed::from_bytes([7; 32]),
        invite(),
        Arc::new(pair(6)),
        vec![identity(3).public()],
        world(),
    );
    let link = Link::Private(Box::new(link.unwrap()));
    assert_eq!(link.to_string(), page.text("link"));
    assert_eq!(Link::parse(&page.text("link"), Work::NONE), Ok(link));
}

fn private_parameters() -> Parameters {
    Parameters::private(pair(5).public(), "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT)
}

fn private_network() -> PrivateNetwork {
    PrivateNetwork::of(&private_parameters()).unwrap()
}

fn private_secret() -> NetworkSecret {
    NetworkSeed::from_bytes([7; 32]).secret(&private_network().id())
}

fn hash() -> [u8; 64] {
    std::array::from_fn(|i| i as u8)
}

/// T of A.11 and so many days.
fn day(number: u64) -> Seconds {
    Seconds::new(1_800_000_000 + number * 86_400)
}

fn delegation(delegate: Delegate, rights: Rights, days: u64, life: u32) -> Delegation {
    let fields = DelegationFields {
        delegate,
        rights,
        time: day(0),
        expiry: day(days),
        life: life * 86_400,
    };
    Delegation::sign(&private_network(), &pair(5), fields).unwrap()
}

fn invite() -> Delegation {
    let key = pair(6).public();
    delegation(Delegate::Invite { key, uses: 0 }, Rights::BRIDGE, 30, 7)
}

fn renewer() -> Delegation {
    let node = identity(3).public();
    delegation(Delegate::Renewer { node }, Rights::NONE, 1000, 365)
}

fn member() -> Credential {
    let fields = CertificateFields {
        node: identity(4).public(),
        rights: Rights::NONE,
        ipv4: "10.128.16.7".parse().ok(),
        issue: 4,
        time: day(1),
        expiry: day(366),
        name: "laptop".parse().ok(),
    };
    Credential::by_network(&private_network(), &pair(5), fields).unwrap()
}

fn guest() -> Credential {
    let node = identity(4).public();
    Credential::by_invite(&private_network(), &pair(6), invite(), node, None, day(2)).unwrap()
}

fn extended() -> Credential {
    member()
        .extend(&identity(3), renewer(), day(200), 300 * 86_400)
        .unwrap()
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
    let group = Mac::from_bytes([0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]);
    let [port, alone] = page.lines("channel keys")[..] else {
        panic!("two channels")
    };
    for (key, text) in [
        (secret.channel_key(Mac::BROADCAST, Some(27_015)), port),
        (secret.channel_key(group, None), alone),
    ] {
        assert_eq!(HEXLOWER.encode(key.as_bytes()), text);
    }
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

fn pair(number: u8) -> KeyPair {
    KeyPair::from_seed(Seed::from_bytes([number; 32]))
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
}
