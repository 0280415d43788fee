//! What must hold of the documents of private networks, whoever wrote them.

use std::sync::OnceLock;

use farlan_crypto::{KeyPair, PublicKey, Seed, Signature, Work};
use farlan_netconf::{
    Mtu, Parameters, PrivateNetwork, Reader, Role, Seconds, Subnet,
    private::{
        Admission, Application, Certificate, CertificateFields, Config, Credential, Delegate, Delegation,
        DelegationFields, DocumentError, Invalid, NetworkSeed, Purpose, Refusal, Revocation, Revocations, Rights,
        SEALED, SealedDocument,
    },
};

use super::{people, spoken};

/// Bytes of a revocation that are signed.
const REVOCATION: usize = Revocation::LENGTH - Signature::LENGTH;

/// Input: how a document is bent after it was signed, which one it is, and what is signed. What is read is written as it
/// stood there, keeps the rules, and is nothing that was bent.
pub(super) fn documents(input: &[u8]) {
    let Some((&[how, kind], rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let genuine = document(kind, told(rest));
    let mut bytes = genuine.clone();
    if how & 1 != 0 && !bytes.is_empty() {
        let at = usize::from(how >> 1) * bytes.len() / 128;
        bytes[at] ^= 1 << (how >> 5);
    }
    let is_genuine = bytes == genuine;
    let read = match kind % 9 {
        0 => config(&bytes),
        1 => delegation(&bytes),
        2..=4 => credential(&bytes),
        5 => revocations(&bytes),
        6 => sealed(&bytes),
        // Of these not all is signed.
        7 => return application(&bytes),
        _ => return admission(&bytes),
    };
    match read {
        Ok(again) => {
            assert!(is_genuine, "a document was taken that nobody signed");
            assert_eq!(again, bytes, "a document has one encoding");
        }
        Err(error) => {
            // In the others there may be parts that were signed elsewhere, or cut.
            let is_whole = kind % 9 == 5 || (kind % 9 == 1 && bytes.len() == Delegation::LENGTH);
            let is_signature = matches!(error, DocumentError::Signature(_));
            assert!(
                !(is_genuine && is_whole && is_signature),
                "a good signature was not taken"
            );
        }
    }
}

/// A document of this kind and content, signed by whom it should be.
fn document(kind: u8, content: Vec<u8>) -> Vec<u8> {
    let [network, invite, _, renewer] = pairs();
    match kind % 9 {
        0 => signed(network, b"farlan config 1", content),
        1 => signed(network, b"farlan delegation 1", content),
        2 => [signed(network, b"farlan certificate 1", content), vec![0]].concat(),
        3 => [signed(invite, b"farlan certificate 1", content), vec![0]].concat(),
        4 => signed(renewer, b"farlan extension 1", content),
        5 => {
            let mut bytes = ((content.len() / REVOCATION) as u16).to_be_bytes().to_vec();
            for one in content.chunks_exact(REVOCATION) {
                let message = [the_network().id().as_bytes(), one].concat();
                bytes.extend_from_slice(one);
                bytes.extend_from_slice(network.sign(b"farlan revocation 1", &message).as_bytes());
            }
            bytes
        }
        6 => signed(network, b"farlan document 1", content),
        7 if content.len() > Delegation::LENGTH => {
            let network = the_network().id();
            let message = [network.as_bytes(), &node().as_bytes()[..], &[3; 64]].concat();
            let signature = invite.sign(b"farlan application 1", &message);
            [&content[..], signature.as_bytes()].concat()
        }
        _ => content,
    }
}

fn signed(key: &KeyPair, domain: &[u8], content: Vec<u8>) -> Vec<u8> {
    let signature = key.sign(domain, &content);
    [&content[..], signature.as_bytes()].concat()
}

fn config(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let config = Config::decode(bytes, Work::NONE)?;
    let fields = config.fields();
    assert!(fields.counter > 0 && fields.life > 0);
    assert!((1..=Config::MAX_SEEDS).contains(&fields.seeds.len()) && fields.holders.len() <= Config::MAX_HOLDERS);
    assert_eq!(config.secrets().len(), fields.seeds.len());
    assert_eq!(config.network().key(), the_network().key());
    assert!(!config.forks(&config));
    Ok(config.encode())
}

fn delegation(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let mut reader = Reader::new(bytes);
    let delegation = Delegation::decode(&mut reader, the_network(), Work::NONE)?;
    reader.finish()?;
    let fields = delegation.fields();
    // Whatever the clock says, a whole life remains, or all that there is.
    for clock in [0, fields.time.get(), fields.expiry.get(), u64::MAX].map(Seconds::new) {
        let start = delegation.start(clock, Seconds::default());
        assert!(fields.time <= start && start < fields.expiry);
        let end = delegation.latest_expiry(start);
        assert!(start < end && end <= fields.expiry && end.since(start) <= fields.life.into());
    }
    let mut out = Vec::new();
    delegation.encode(&mut out);
    Ok(out)
}

fn credential(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let credential = Credential::decode(bytes, the_network(), Work::NONE)?;
    keeps_the_rules(&credential);
    Ok(credential.encode())
}

fn keeps_the_rules(credential: &Credential) {
    let fields = credential.certificate().fields();
    assert!(credential.time() < credential.expiry());
    assert_eq!(credential.is_provisional(), fields.issue == 0);
    assert!(!credential.is_provisional() || (fields.ipv4.is_none() && credential.extension().is_none()));
    for delegation in credential.delegations() {
        let delegated = delegation.fields();
        assert!(delegated.time <= credential.time() && credential.expiry() <= delegated.expiry);
        match delegated.delegate {
            Delegate::Invite { uses, .. } => {
                assert!(uses == 0 && delegated.rights.include(fields.rights) && credential.is_provisional());
            }
            Delegate::Renewer { .. } => assert!(!credential.is_provisional()),
        }
    }
    let none = Revocations::new(*the_network());
    let last = credential.expiry().minus(1);
    let standing = credential.check(the_network(), &fields.node, last, &none);
    assert!(standing.is_ok_and(|standing| standing.rights == fields.rights));
    let after = credential.check(the_network(), &fields.node, credential.expiry(), &none);
    assert_eq!(after, Err(Invalid::Expired));
    assert!(credential.needs_renewal(credential.expiry()));

    // As members show it.
    let content = credential.encode();
    let (purpose, role) = (Purpose::Credentials, Role::Initiator);
    let secret = NetworkSeed::from_bytes([7; 32]).secret(&the_network().id());
    let sealed = secret.seal_in_session(purpose, &[3; 64], role, 1, 2, &content);
    assert_eq!(sealed.len(), SEALED);
    let opened = secret.open_in_session(purpose, &[3; 64], role, 1, 2, &sealed);
    assert_eq!(opened, Ok(content));
}

fn revocations(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let set = Revocations::decode(bytes, the_network())?;
    let mut again = Revocations::new(*the_network());
    for revocation in set.iter() {
        let read = Revocation::decode(revocation.as_bytes(), the_network());
        assert_eq!(read.as_ref(), Ok(revocation));
        assert!(again.insert(revocation.clone()));
    }
    assert_eq!(again.digest(), set.digest());
    assert!(!again.merge(&set) && set.newest(2).len() == set.len().min(2));
    Ok(set.encode())
}

fn sealed(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let document = SealedDocument::decode(bytes)?;
    assert!(document.version() > 0);
    // Its key is no blinded one.
    let secret = NetworkSeed::from_bytes([7; 32]).secret(&the_network().id());
    assert_eq!(document.open(the_network().key(), &secret), Err(DocumentError::Sealed));
    Ok(document.encode())
}

fn application(bytes: &[u8]) {
    let Ok(application) = Application::decode(bytes, the_network(), &node(), &[3; 64], Work::NONE) else {
        return;
    };
    assert_eq!(application.encode(), bytes);
    assert!(bytes.len() <= Application::MAX_SIZE);
    let elsewhere = Application::decode(bytes, the_network(), &node(), &[4; 64], Work::NONE);
    assert_eq!(elsewhere.is_ok(), application.invite().is_none());
}

/// A status and what comes with it.
fn admission(bytes: &[u8]) {
    let Some((status, content)) = bytes.split_first() else {
        return;
    };
    match Admission::decode(*status, content, the_network(), Work::NONE) {
        Ok(admission) => {
            assert_eq!(admission.encode(), (*status, content.to_vec()));
            assert_eq!(*status == 0, matches!(admission, Admission::Granted(_)));
        }
        Err(_) => assert!(Refusal::from_code(*status).is_none() || !content.is_empty()),
    }
}

/// The bytes, but that 0xe0 to 0xe4 stand for what they do in lists of supernodes, and those above for the parts of which
/// documents are made.
pub(super) fn told(bytes: &[u8]) -> Vec<u8> {
    let mut told = Vec::new();
    for byte in bytes {
        match byte {
            0xe5..=0xef => told.extend_from_slice(&parts()[usize::from(byte - 0xe5)]),
            other => told.extend(spoken(&[*other])),
        }
    }
    told
}

/// What stands before the world in a link to the private network.
pub(super) fn before_world() -> Vec<u8> {
    let mut bytes = told(b"\x01\x03\xe9\x03lan................................\xe7");
    bytes.extend_from_slice(&[2; 32]);
    bytes.extend(told(b"\x01\xe3"));
    bytes
}

fn the_network() -> &'static PrivateNetwork {
    static NETWORK: OnceLock<PrivateNetwork> = OnceLock::new();
    NETWORK.get_or_init(|| PrivateNetwork::of(&parameters()).expect("it is a private one"))
}

fn parameters() -> Parameters {
    let subnet: Subnet = "10.128.16.0/20".parse().expect("it is a subnet");
    Parameters::private(pairs()[0].public(), subnet, Mtu::DEFAULT)
}

/// The keys of the same people, as those of the network, an invite, a member and a renewer.
fn pairs() -> &'static [KeyPair; 4] {
    static PAIRS: OnceLock<[KeyPair; 4]> = OnceLock::new();
    PAIRS.get_or_init(|| [1, 2, 3, 4].map(|seed| KeyPair::from_seed(Seed::from_bytes([seed; 32]))))
}

/// The member.
fn node() -> PublicKey {
    people()[2].public()
}

/// From 0xe5 on: a world, the network id, an invite, a renewer, the parameters, three times, the certificate of a member, one
/// by the invite, and an invite whose uses are counted.
fn parts() -> &'static [Vec<u8>; 11] {
    static PARTS: OnceLock<[Vec<u8>; 11]> = OnceLock::new();
    PARTS.get_or_init(|| {
        let network = the_network();
        let key = &pairs()[0];
        let time = |day: u64| Seconds::new(1_800_000_000 + day * 86_400);
        let delegation = |delegate, rights| {
            let fields = DelegationFields {
                delegate,
                rights,
                time: time(0),
                expiry: time(30),
                life: Delegation::MAX_INVITE_LIFE,
            };
            Delegation::sign(network, key, fields).expect("it keeps the rules")
        };
        let invite = |uses| {
            let key = pairs()[1].public();
            delegation(Delegate::Invite { key, uses }, Rights::BRIDGE)
        };
        let node = people()[3].public();
        let renewer = delegation(Delegate::Renewer { node }, Rights::NONE);
        let fields = CertificateFields {
            node: self::node(),
            rights: Rights::NONE,
            ipv4: "10.128.16.7".parse().ok(),
            issue: 4,
            time: time(1),
            expiry: time(8),
            name: "laptop".parse().ok(),
        };
        let member = Certificate::by_network(network, key, fields).expect("it keeps the rules");
        let by_invite = Certificate::by_invite(
            network,
            &pairs()[1],
            invite(0),
            self::node(),
            Rights::NONE,
            None,
            time(1),
        );
        let guest = by_invite.expect("it keeps the rules");
        let bytes = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            bytes
        };
        [
            super::signed_world(b"\x00\x00\x00\x07\x01\xe1\x01\xe4"),
            network.id().as_bytes().to_vec(),
            bytes(&|out| invite(0).encode(out)),
            bytes(&|out| renewer.encode(out)),
            bytes(&|out| parameters().encode(out)),
            time(0).get().to_be_bytes().to_vec(),
            time(1).get().to_be_bytes().to_vec(),
            time(8).get().to_be_bytes().to_vec(),
            bytes(&|out| member.encode(out)),
            bytes(&|out| guest.encode(out)),
            bytes(&|out| invite(3).encode(out)),
        ]
    })
}
