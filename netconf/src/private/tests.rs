//! The chain from the network key to a member, with each of its rules.

use farlan_crypto::{Identity, KeyPair, Seed, Work};

use super::*;
use crate::network::Mtu;
use crate::secret::Role;

mod clock;
mod forms;
mod links;
mod rules;

fn pair(number: u8) -> KeyPair {
    KeyPair::from_seed(Seed::from_bytes([number; 32]))
}

/// What anybody else makes a network of.
fn other_network() -> PrivateNetwork {
    let parameters = Parameters::private(pair(11).public(), "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT);
    PrivateNetwork::of(&parameters).unwrap()
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
}

fn parameters() -> Parameters {
    Parameters::private(pair(1).public(), "10.128.16.0/20".parse().unwrap(), Mtu::DEFAULT)
}

fn network() -> PrivateNetwork {
    PrivateNetwork::of(&parameters()).unwrap()
}

const DAY: u64 = 24 * 3600;

fn at(day: u64) -> Seconds {
    Seconds::new(1_800_000_000 + day * DAY)
}

fn invite(uses: u32) -> Delegation {
    let fields = DelegationFields {
        delegate: Delegate::Invite {
            key: pair(2).public(),
            uses,
        },
        rights: Rights::BRIDGE,
        time: at(0),
        expiry: at(30),
        life: Delegation::MAX_INVITE_LIFE,
    };
    Delegation::sign(&network(), &pair(1), fields).unwrap()
}

fn renewer() -> Delegation {
    let fields = DelegationFields {
        delegate: Delegate::Renewer {
            node: identity(9).public(),
        },
        rights: Rights::NONE,
        time: at(0),
        expiry: at(1000),
        life: (365 * DAY) as u32,
    };
    Delegation::sign(&network(), &pair(1), fields).unwrap()
}

fn member() -> Credential {
    let fields = CertificateFields {
        node: identity(3).public(),
        rights: Rights::NONE,
        ipv4: Some("10.128.16.7".parse().unwrap()),
        issue: 4,
        time: at(1),
        expiry: at(366),
        name: Some("laptop".parse().unwrap()),
    };
    Credential::by_network(&network(), &pair(1), fields).unwrap()
}

fn guest() -> Credential {
    Credential::by_invite(&network(), &pair(2), invite(0), identity(3).public(), None, at(2)).unwrap()
}

fn extended() -> Credential {
    member()
        .extend(&identity(9), renewer(), at(200), (300 * DAY) as u32)
        .unwrap()
}

#[test]
fn credentials_round_trip_and_any_changed_bit_is_refused() {
    for credential in [member(), guest(), extended()] {
        let bytes = credential.encode();
        assert!(bytes.len() <= Credential::MAX_SIZE);
        assert_eq!(Credential::decode(&bytes, &network(), Work::NONE), Ok(credential));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Credential::decode(&changed, &network(), Work::NONE).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            assert!(Credential::decode(&bytes[..length], &network(), Work::NONE).is_err());
        }
        assert!(Credential::decode(&[&bytes[..], &[0]].concat(), &network(), Work::NONE).is_err());
    }
}

#[test]
fn what_is_sealed_in_a_session_opens_there_only() {
    let secret = NetworkSeed::from_bytes([7; 32]).secret(&network().id());
    let content = extended().encode();
    let sealed = secret.seal_in_session(Purpose::Credentials, &[3; 64], Role::Initiator, 5, 2, &content);
    assert_eq!(sealed.len(), SEALED);
    let open = |purpose, hash, role, number, place| secret.open_in_session(purpose, hash, role, number, place, &sealed);
    assert_eq!(open(Purpose::Credentials, &[3; 64], Role::Initiator, 5, 2), Ok(content));
    for wrong in [
        open(Purpose::Application, &[3; 64], Role::Initiator, 5, 2),
        open(Purpose::Credentials, &[4; 64], Role::Initiator, 5, 2),
        open(Purpose::Credentials, &[3; 64], Role::Responder, 5, 2),
        open(Purpose::Credentials, &[3; 64], Role::Initiator, 6, 2),
        open(Purpose::Credentials, &[3; 64], Role::Initiator, 5, 3),
    ] {
        assert_eq!(wrong, Err(DocumentError::Sealed));
    }
}

#[test]
fn sealed_documents_are_checked_by_anybody_and_opened_by_members() {
    let secret = NetworkSeed::from_bytes([7; 32]).secret(&network().id());
    let former = NetworkSeed::from_bytes([8; 32]).secret(&network().id());
    let document = SealedDocument::seal(&pair(1), &secret, 3, [1; 16], b"content").unwrap();
    let read = SealedDocument::decode(&document.encode()).unwrap();
    assert_eq!(read, document);
    assert_eq!(read.document_key(), document_key(network().key(), &secret));
    assert_eq!(read.open(network().key(), &secret).as_deref(), Ok(&b"content"[..]));
    assert_eq!(read.open(network().key(), &former), Err(DocumentError::Sealed));
    assert_eq!(read.open(&pair(2).public(), &secret), Err(DocumentError::Sealed));
}

#[test]
fn a_revoked_member_is_none_until_a_later_issue() {
    let (network, node) = (network(), identity(3).public());
    let mut revocations = Revocations::new(network);
    let check =
        |revocations: &Revocations, credential: &Credential| credential.check(&network, &node, at(3), revocations);
    assert_eq!(check(&revocations, &member()).unwrap().ipv4, "10.128.16.7".parse().ok());
    let revoked = Revoked::Member {
        node: *node.as_bytes(),
        issue: 3,
    };
    assert!(revocations.insert(Revocation::sign(&network, &pair(1), revoked, at(2)).unwrap()));
    assert!(check(&revocations, &member()).is_ok());
    assert_eq!(check(&revocations, &guest()), Err(Invalid::MemberRevoked));
    let revoked = Revoked::Delegation { key: renewer().key() };
    assert!(revocations.insert(Revocation::sign(&network, &pair(1), revoked, at(2)).unwrap()));
    assert_eq!(check(&revocations, &extended()), Err(Invalid::DelegationRevoked));
    assert_eq!(Revocations::decode(&revocations.encode(), &network), Ok(revocations));
}
