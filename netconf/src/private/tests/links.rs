//! Links into private networks.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{PublicKey, sha512};

use super::*;
use crate::link::{Label, Link, LinkError, NetworkLink, PrivateLink};
use crate::world::{Supernode, World};

fn world() -> World {
    let supernode = Supernode {
        key: identity(2).public(),
        endpoints: vec!["203.0.113.5:9600".parse().unwrap()],
    };
    World::sign(&identity(1), 1, vec![supernode]).unwrap()
}

fn made(delegation: Delegation, peers: Vec<PublicKey>) -> Result<PrivateLink, LinkError> {
    let label = Label::parse("Ben's LAN")?;
    let seed = NetworkSeed::from_bytes([7; 32]);
    PrivateLink::new(parameters(), label, seed, delegation, Arc::new(pair(2)), peers, world())
}

fn link() -> Link {
    Link::Private(Box::new(made(invite(0), vec![identity(9).public()]).unwrap()))
}

/// The bytes of a link before its checksum.
fn content(link: &Link) -> Vec<u8> {
    let text = link.to_string();
    let mut bytes = BASE64URL_NOPAD.decode(&text.as_bytes()["farlan:".len()..]).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

/// Reads a link of any content with a good checksum.
fn read(content: &[u8]) -> Result<Link, LinkError> {
    let bytes = [content, &sha512(&[content])[..4]].concat();
    Link::parse(&format!("farlan:{}", BASE64URL_NOPAD.encode(&bytes)), Work::NONE)
}

/// Where the kind's body, the delegation and the invite's key stand in `link()`: behind 2 bytes, parameters of 41, and label
/// and seed.
const DELEGATION: usize = 2 + 41 + 10 + 32;
const KEY: usize = DELEGATION + Delegation::LENGTH;

#[test]
fn an_invite_is_handed_on_as_a_text() {
    let link = link();
    assert_eq!(Link::parse(&link.to_string(), Work::NONE), Ok(link.clone()));
    let Link::Private(read) = read(&content(&link)).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(read.network(), &network());
    assert_eq!(read.delegation(), &invite(0));
    assert_eq!(read.invite().public(), pair(2).public());
    let secret = read.seed.secret(&network().id());
    assert_eq!(read.secret().member_key(), secret.member_key());
}

#[test]
fn peers_beyond_the_fourth_are_left_out_of_an_invite() {
    let peers: Vec<_> = (20..26).map(|number| identity(number).public()).collect();
    let link = Link::Private(Box::new(made(invite(0), peers.clone()).unwrap()));
    let Ok(Link::Private(read)) = read(&content(&link)) else {
        panic!("another kind");
    };
    assert_eq!(read.peers, peers[..NetworkLink::MAX_PEERS]);
}

#[test]
fn a_forged_checksum_does_not_help_whoever_changes_an_invite() {
    let bytes = content(&link());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    assert!(read(&[&bytes[..], &[0]].concat()).is_err());
    // What the network's or the operator's key signed, and the key that has to fit, cannot be changed; the rest can.
    let peers = KEY + 32..KEY + 32 + 33;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        // The clamp of Ed25519 does not touch a seed, so that each other seed is another key.
        match read(&changed) {
            Ok(other) => {
                assert!((43..DELEGATION).contains(&at) || peers.contains(&at), "byte {at}");
                assert_eq!(content(&other), changed);
            }
            Err(error) if (KEY..KEY + 32).contains(&at) => {
                assert_eq!(error, LinkError::Invite(DocumentError::WrongKey));
            }
            Err(_) => {}
        }
    }
}

#[test]
fn what_is_no_invite_of_the_network_makes_no_link() {
    let invite_of = |network: &PrivateNetwork, key: u8, signer: u8| {
        let fields = DelegationFields {
            delegate: Delegate::Invite {
                key: pair(key).public(),
                uses: 0,
            },
            ..invite(0).fields().clone()
        };
        Delegation::sign(network, &pair(signer), fields).unwrap()
    };
    let made = |delegation| made(delegation, vec![]).map(|_| ());
    let refused = |error| Err(LinkError::Invite(error));
    assert_eq!(made(renewer()), refused(DocumentError::Purpose));
    assert_eq!(made(invite_of(&network(), 4, 1)), refused(DocumentError::WrongKey));
    let other = invite_of(&other_network(), 2, 11);
    assert_eq!(made(other.clone()), refused(DocumentError::OtherNetwork));

    // The same in a text.
    let with = |delegation: &Delegation| {
        let mut bytes = content(&link());
        let mut encoded = Vec::new();
        delegation.encode(&mut encoded);
        bytes[DELEGATION..KEY].copy_from_slice(&encoded);
        read(&bytes).map(|_| ())
    };
    assert_eq!(with(&invite(0)), Ok(()));
    assert_eq!(with(&invite(3)), Ok(()));
    assert_eq!(with(&renewer()), refused(DocumentError::Purpose));
    assert_eq!(with(&invite_of(&network(), 4, 1)), refused(DocumentError::WrongKey));
    assert_eq!(with(&other), refused(DocumentError::OtherNetwork));
}

#[test]
fn kind_and_network_of_a_link_belong_together() {
    let mut bytes = content(&link());
    bytes[1] = 2;
    // Read as a link of the other kind, the seed stands where that one's peers do.
    assert!(read(&bytes).is_err());
    let plain = NetworkLink {
        parameters: parameters(),
        label: Label::default(),
        world: world(),
        peers: vec![],
    };
    let text = Link::Network(plain).to_string();
    assert_eq!(Link::parse(&text, Work::NONE), Err(LinkError::OtherKind));
    let link_network = Parameters::link([5; 16], "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT);
    let made = PrivateLink::new(
        link_network,
        Label::default(),
        NetworkSeed::from_bytes([7; 32]),
        invite(0),
        Arc::new(pair(2)),
        vec![],
        world(),
    );
    assert_eq!(made, Err(LinkError::OtherKind));
}
