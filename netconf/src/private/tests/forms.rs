//! Every document has one encoding: what is written is read as the same, and nothing else is read.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::link::Label;
use crate::secret::NetworkSecret;
use crate::world::WorldId;

/// How a document is read from all of these bytes: written anew, if it is one.
type Rewrite<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, DocumentError>;

fn delegation_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let mut reader = Reader::new(bytes);
    let delegation = Delegation::decode(&mut reader, &network(), Work::NONE)?;
    reader.finish()?;
    let mut out = Vec::new();
    delegation.encode(&mut out);
    Ok(out)
}

fn credential_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    Credential::decode(bytes, &network(), Work::NONE).map(|credential| credential.encode())
}

fn config_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    Config::decode(bytes, Work::NONE).map(|config| config.encode())
}

fn revocations_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    Revocations::decode(bytes, &network()).map(|set| set.encode())
}

fn sealed_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    SealedDocument::decode(bytes).map(|document| document.encode())
}

fn application_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    Application::decode(bytes, &network(), &identity(3).public(), &[3; 64], Work::NONE)
        .map(|application| application.encode())
}

fn admission_again(bytes: &[u8]) -> Result<Vec<u8>, DocumentError> {
    let (status, bytes) = bytes.split_first().ok_or(CodecError::Truncated)?;
    let (status, bytes) = Admission::decode(*status, bytes, &network(), Work::NONE)?.encode();
    Ok([vec![status], bytes].concat())
}

fn delegation_bytes(delegation: &Delegation) -> Vec<u8> {
    let mut bytes = Vec::new();
    delegation.encode(&mut bytes);
    bytes
}

fn config_fields() -> ConfigFields {
    ConfigFields {
        parameters: parameters(),
        counter: 2,
        time: at(0),
        life: (365 * DAY) as u32,
        label: Label::parse("Ben's LAN").unwrap(),
        domain: "ben".parse().unwrap(),
        world: WorldId::from_bytes([5; 16]),
        seeds: vec![NetworkSeed::from_bytes([7; 32]), NetworkSeed::from_bytes([8; 32])],
        holders: vec![identity(9).public(), identity(3).public()],
    }
}

fn config() -> Config {
    Config::sign(&pair(1), config_fields()).unwrap()
}

fn revocation(number: u8, time: Seconds) -> Revocation {
    let revoked = match number % 2 {
        0 => Revoked::Delegation { key: [number; 32] },
        _ => Revoked::Member {
            node: [number; 32],
            issue: u64::from(number),
        },
    };
    Revocation::sign(&network(), &pair(1), revoked, time).unwrap()
}

fn set(numbers: impl IntoIterator<Item = u8>) -> Revocations {
    let mut set = Revocations::new(network());
    for number in numbers {
        set.insert(revocation(number, at(number.into())));
    }
    set
}

fn application() -> Application {
    Application::new("laptop".parse().ok(), "10.128.16.9".parse().ok())
        .invited(&pair(2), invite(3), &identity(3).public(), &[3; 64])
        .unwrap()
}

fn secret(number: u8) -> NetworkSecret {
    NetworkSeed::from_bytes([number; 32]).secret(&network().id())
}

fn sealed(content: &[u8]) -> SealedDocument {
    SealedDocument::seal(&pair(1), &secret(7), 3, [1; 16], content).unwrap()
}

/// One of each.
fn documents() -> Vec<(&'static str, Vec<u8>, Rewrite<'static>)> {
    vec![
        ("invite", delegation_bytes(&invite(0)), &delegation_again),
        ("renewer", delegation_bytes(&renewer()), &delegation_again),
        ("certificate", member().encode(), &credential_again),
        ("provisional certificate", guest().encode(), &credential_again),
        ("extended certificate", extended().encode(), &credential_again),
        ("config", config().encode(), &config_again),
        ("revocations", set(1..4).encode(), &revocations_again),
        ("sealed document", sealed(b"content").encode(), &sealed_again),
    ]
}

/// What must hold of a document whoever wrote it: it is read as it stands, and neither shorter nor longer.
fn has_one_form(name: &str, bytes: &[u8], again: Rewrite<'_>) {
    assert_eq!(again(bytes).as_deref(), Ok(bytes), "{name}");
    for length in 0..bytes.len() {
        assert!(again(&bytes[..length]).is_err(), "{name}: {length} bytes of it");
    }
    for behind in [0, 1, 0xff] {
        let longer = [bytes, &[behind]].concat();
        assert!(again(&longer).is_err(), "{name} and {behind}");
    }
}

#[test]
fn documents_are_neither_cut_nor_followed_by_anything() {
    for (name, bytes, again) in documents() {
        has_one_form(name, &bytes, again);
    }
    has_one_form("application", &application().encode(), &application_again);
    let plain = Application::new(None, None).encode();
    has_one_form("plain application", &plain, &application_again);
    for credential in [member(), extended()] {
        let certified = Application::new(None, None).certified(credential).unwrap().encode();
        has_one_form("application with a certificate", &certified, &application_again);
    }
    let (status, bytes) = Admission::Granted(Box::new(extended())).encode();
    has_one_form("admission", &[vec![status], bytes].concat(), &admission_again);
    for code in 1..=255 {
        let (status, bytes) = Admission::Refused(Refusal::from_code(code).unwrap()).encode();
        assert_eq!(status, code);
        has_one_form("refusal", &[vec![status], bytes].concat(), &admission_again);
    }
}

#[test]
fn every_byte_of_a_document_is_signed() {
    for (name, bytes, again) in documents() {
        for at in 0..bytes.len() {
            for flip in [1 << (at % 8), 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(again(&changed).is_err(), "{name}: byte {at}");
            }
        }
    }
}

#[test]
fn of_an_application_all_is_signed_but_the_wishes() {
    let bytes = application().encode();
    let wishes = 1 + 6 + 4;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        match application_again(&changed) {
            Ok(again) => {
                assert!(at < wishes, "byte {at}");
                assert_eq!(again, changed);
            }
            Err(_) if at < wishes => {}
            Err(error) => assert_ne!(error, DocumentError::Sealed, "byte {at}"),
        }
    }
}

#[test]
fn a_signature_that_was_bent_is_called_one() {
    let last_byte = |bytes: &[u8], again: Rewrite<'_>| {
        let mut changed = bytes.to_vec();
        // The last byte but one, since certificates alone are followed by another.
        let at = changed.len() - 2;
        changed[at] ^= 1;
        again(&changed)
    };
    for (name, bytes, again) in documents() {
        assert_eq!(last_byte(&bytes, again), Err(BadSignature.into()), "{name}");
    }
}

#[test]
fn a_config_keeps_its_rules() {
    let of = |change: &dyn Fn(&mut ConfigFields)| {
        let mut fields = config_fields();
        change(&mut fields);
        let made = Config::sign(&pair(1), fields.clone()).map(|_| ());
        // Whoever has the key and another program makes it all the same.
        let mut bytes = fields.to_bytes();
        let signature = pair(1).sign(b"farlan config 1", &bytes);
        bytes.extend_from_slice(signature.as_bytes());
        assert_eq!(Config::decode(&bytes, Work::NONE).map(|_| ()), made);
        made
    };
    use DocumentError as E;
    let seeds = |count: u8| (0..count).map(|n| NetworkSeed::from_bytes([n; 32])).collect();
    let holders = |count: u8| (20..20 + count).map(|n| identity(n).public()).collect();
    assert_eq!(of(&|_| {}), Ok(()));
    assert_eq!(of(&|f| f.counter = 0), Err(E::Counter));
    assert_eq!(of(&|f| f.life = 0), Err(E::Life));
    assert_eq!(of(&|f| f.seeds.clear()), Err(E::Seeds(0)));
    assert_eq!(of(&|f| f.seeds = seeds(8)), Ok(()));
    assert_eq!(of(&|f| f.seeds = seeds(9)), Err(E::Seeds(9)));
    assert_eq!(of(&|f| f.seeds.push(f.seeds[0].clone())), Err(E::Repeated));
    assert_eq!(of(&|f| f.holders.clear()), Ok(()));
    assert_eq!(of(&|f| f.holders = holders(16)), Ok(()));
    assert_eq!(of(&|f| f.holders = holders(17)), Err(E::Holders(17)));
    assert_eq!(of(&|f| f.holders.push(f.holders[0])), Err(E::Repeated));
    let link = Parameters::link([5; 16], parameters().subnet, Mtu::DEFAULT);
    assert_eq!(of(&|f| f.parameters = link.clone()), Err(E::NotPrivate));

    // A network is that of the key in its parameters.
    assert_eq!(Config::sign(&pair(2), config_fields()).err(), Some(E::WrongKey));
    let mut bytes = config_fields().to_bytes();
    let signature = pair(2).sign(b"farlan config 1", &bytes);
    bytes.extend_from_slice(signature.as_bytes());
    assert_eq!(Config::decode(&bytes, Work::NONE).err(), Some(BadSignature.into()));
    let long = vec![0; Config::MAX_SIZE + 1];
    assert!(matches!(Config::decode(&long, Work::NONE), Err(E::Size { .. })));
}

#[test]
fn of_two_configs_one_is_in_force_and_a_fork_is_seen() {
    let with = |counter, life| {
        let fields = ConfigFields {
            counter,
            life,
            ..config_fields()
        };
        Config::sign(&pair(1), fields).unwrap()
    };
    assert!(with(3, 5).order() > with(2, 9).order());
    assert!(!with(3, 5).forks(&with(2, 5)) && !with(3, 5).forks(&with(3, 5)));
    assert!(with(3, 5).forks(&with(3, 6)));
    assert_ne!(with(3, 5).order(), with(3, 6).order());
    let none = ConfigOrder {
        counter: 0,
        hash: [0xff; 64],
    };
    assert!(with(1, 5).order() > none);
    assert_eq!(
        Config::decode(&with(3, 5).encode(), Work::NONE).unwrap().order(),
        with(3, 5).order()
    );
    let secrets = config().secrets();
    let keys: Vec<_> = secrets.iter().map(NetworkSecret::member_key).collect();
    assert_eq!(keys, [secret(7).member_key(), secret(8).member_key()]);
}

#[test]
fn revocations_stand_in_order_and_once() {
    use DocumentError as E;
    let [first, second] = [revocation(1, at(1)), revocation(3, at(3))].map(|r| *r.as_bytes());
    let read = |parts: &[&[u8]]| revocations_again(&[&[0, parts.len() as u8], &parts.concat()[..]].concat());
    assert!(read(&[&first, &second]).is_ok());
    assert_eq!(read(&[&second, &first]), Err(E::Order));
    assert_eq!(read(&[&first, &first]), Err(E::Order));
    let with = |kind: u8, issue: u64, signed: &PrivateNetwork| {
        let mut bytes = [&[kind], &[9; 32][..], &issue.to_be_bytes(), &[0; 8]].concat();
        let message = [signed.id().as_bytes(), &bytes[..]].concat();
        bytes.extend_from_slice(pair(1).sign(b"farlan revocation 1", &message).as_bytes());
        read(&[&bytes]).map(|_| ())
    };
    assert_eq!(with(1, 5, &network()), Ok(()));
    assert_eq!(with(2, 0, &network()), Ok(()));
    assert_eq!(with(2, 1, &network()), Err(E::Issue));
    assert_eq!(with(3, 0, &network()), Err(E::Kind(3)));
    assert_eq!(with(1, 5, &other_network()), Err(BadSignature.into()));
    let many = [&4097u16.to_be_bytes()[..], &[0; 113]].concat();
    assert_eq!(revocations_again(&many), Err(E::Revocations(4097)));
}

#[test]
fn sets_of_revocations_are_united_and_whole_or_not_at_all() {
    let (mut left, mut right) = (set([1, 2]), set([2, 3]));
    assert!(left.merge_encoded(&right.encode()).unwrap());
    assert!(right.merge(&set([1, 2])));
    assert_eq!(left, right);
    assert_eq!(left.digest(), set([3, 2, 1]).digest());
    assert_ne!(left.digest(), set([1, 2]).digest());
    // Nothing new.
    assert!(!left.merge_encoded(&right.encode()).unwrap());
    assert!(!left.merge(&right) && !left.insert(revocation(1, at(1))));
    // One of another network, and one that is bent behind good ones.
    let revoked = Revoked::Delegation { key: [1; 32] };
    assert!(!left.insert(Revocation::sign(&other_network(), &pair(11), revoked, at(1)).unwrap()));
    let mut bent = set([4, 6]).encode();
    *bent.last_mut().unwrap() ^= 1;
    assert!(left.merge_encoded(&bent).is_err());
    assert_eq!(left, right);
}

#[test]
fn of_too_many_revocations_the_newest_stay_whatever_the_order() {
    let few = set(1..9);
    assert_eq!(few.newest(3), set(6..9));
    assert_eq!(few.newest(0), Revocations::new(network()));
    assert_eq!(few.newest(100), few);
    // The same with as many as a set holds and four more.
    let most = Revocations::MAX_COUNT as u64;
    let one = |number: u64| {
        let revoked = Revoked::Delegation { key: [7; 32] };
        Revocation::sign(&network(), &pair(1), revoked, Seconds::new(number)).unwrap()
    };
    let all: Vec<_> = (0..most + 4).map(one).collect();
    let (mut upwards, mut downwards) = (Revocations::new(network()), Revocations::new(network()));
    for (number, revocation) in all.iter().enumerate() {
        assert!(upwards.insert(revocation.clone()), "{number}");
    }
    for (number, revocation) in all.iter().rev().enumerate() {
        // The oldest four find no room, and are not told as new.
        let is_new = downwards.insert(revocation.clone());
        assert_eq!(is_new, number < Revocations::MAX_COUNT, "{number}");
    }
    assert_eq!(upwards.len(), Revocations::MAX_COUNT);
    assert_eq!(upwards, downwards);
    assert_eq!(upwards.iter().map(Revocation::time).min(), Some(Seconds::new(4)));
    assert_eq!(upwards.encode().len(), Revocations::MAX_SIZE);
    assert_eq!(upwards.newest(2).len(), 2);
    let mut old = Revocations::new(network());
    all[..3]
        .iter()
        .for_each(|revocation| _ = old.insert(revocation.clone()));
    assert!(!upwards.merge_encoded(&old.encode()).unwrap());
    assert_eq!(upwards, downwards);
}

#[test]
fn a_sealed_document_keeps_its_rules() {
    use DocumentError as E;
    let seal = |version, content: &[u8]| SealedDocument::seal(&pair(1), &secret(7), version, [1; 16], content);
    assert_eq!(seal(0, b"").err(), Some(E::Version));
    let largest = seal(1, &vec![0x5a; SealedDocument::MAX_CONTENT]).unwrap();
    assert_eq!(largest.encode().len(), SealedDocument::MAX_SIZE);
    assert_eq!(SealedDocument::decode(&largest.encode()), Ok(largest));
    let size = SealedDocument::MAX_CONTENT + 1;
    assert!(matches!(seal(1, &vec![0; size]), Err(E::Size { .. })));
    let long = vec![0; SealedDocument::MAX_SIZE + 1];
    assert!(matches!(SealedDocument::decode(&long), Err(E::Size { .. })));

    // Any key signs documents of its own: version 0, and content that cannot have been sealed.
    let signed = |version: u64, sealed: &[u8]| {
        let mut bytes = pair(4).public().as_bytes().to_vec();
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
        bytes.extend_from_slice(sealed);
        let signature = pair(4).sign(b"farlan document 1", &bytes);
        bytes.extend_from_slice(signature.as_bytes());
        SealedDocument::decode(&bytes)
    };
    assert_eq!(signed(0, &[0; 16]).err(), Some(E::Version));
    assert!(matches!(signed(1, &[0; 15]), Err(E::Codec(_))));
    // Such a one is nobody's, to members of this network.
    let foreign = signed(1, &[0; 16]).unwrap();
    assert_eq!(foreign.open(network().key(), &secret(7)), Err(E::Sealed));
    assert_ne!(foreign.document_key(), document_key(network().key(), &secret(7)));
}

#[test]
fn versions_of_documents_grow_and_differ() {
    let next = SealedDocument::next_version;
    let now = at(0);
    assert_eq!(next(0, now, 0), (now.get() << 30) + 1);
    // Above what is held, be it from a clock that was ahead.
    let ahead = next(0, now.plus(20 * 365 * DAY), 77);
    assert_eq!(next(ahead, now, 4), ahead + 5);
    // Two controllers that saw the same at the same time.
    assert_ne!(next(ahead, now, 1), next(ahead, now, 2));
    // A random number is cut to its 30 bits, and nothing overflows.
    assert_eq!(next(0, now, u32::MAX), (now.get() + 1) << 30);
    assert_eq!(next(u64::MAX, now, 5), u64::MAX);
    assert_eq!(next(5, Seconds::new(u64::MAX), 5), u64::MAX);
}

#[test]
fn what_fills_up_a_sealed_message_is_zero() {
    use farlan_crypto::{Aead, SalsaPoly};
    let secret = secret(7);
    let key = secret.sealing_key(&[b"credentials", &[3; 64], &[Role::Initiator.code()]]);
    let open = |plain: &[u8]| {
        let mut bytes = plain.to_vec();
        bytes.resize(SEALED, 0);
        SalsaPoly::seal(&key, 5, &[2], &mut bytes);
        secret.open_in_session(Purpose::Credentials, &[3; 64], Role::Initiator, 5, 2, &bytes)
    };
    assert_eq!(open(&[0, 2, 8, 9]), Ok(vec![8, 9]));
    assert_eq!(open(&[0, 2, 8, 9, 1]), Err(DocumentError::Fill));
    let mut full = vec![7; SEALED - 16];
    (full[0], full[1]) = (1, 0xae);
    assert_eq!(open(&full), Ok(vec![7; 430]));
    full[1] = 0xaf;
    assert!(matches!(open(&full), Err(DocumentError::Codec(_))));
    for length in [0, SEALED - 1, SEALED + 1] {
        let opened = secret.open_in_session(Purpose::Credentials, &[3; 64], Role::Initiator, 5, 2, &vec![0; length]);
        assert_eq!(opened, Err(DocumentError::Sealed));
    }
}

#[test]
fn names_are_made_fit_for_the_dns() {
    for (text, nearest) in [
        ("Ben's Laptop", Some("ben-s-laptop")),
        ("--a__b--", Some("a-b")),
        ("Zürich", Some("z-rich")),
        ("東京", None),
        ("", None),
    ] {
        let label = DnsLabel::nearest(text);
        assert_eq!(label.as_ref().map(DnsLabel::as_str), nearest, "{text}");
    }
    let long = DnsLabel::nearest(&format!("{}-b", "a".repeat(31))).unwrap();
    assert_eq!(long.as_str(), "a".repeat(31));
    assert_eq!(long.numbered(2).as_str(), format!("{}-2", "a".repeat(30)));
    let label: DnsLabel = "laptop".parse().unwrap();
    assert_eq!(label.numbered(u32::MAX).as_str(), "laptop-4294967295");
}

/// Names as documents have them.
fn name() -> impl Strategy<Value = Option<DnsLabel>> {
    option::of("[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?".prop_map(|text| DnsLabel::parse(&text).unwrap()))
}

/// A begin and a later end.
fn times() -> impl Strategy<Value = (Seconds, Seconds)> {
    let begin = prop_oneof![0..u64::MAX - 1, 1_700_000_000..1_900_000_000u64];
    (begin, 1..100 * 365 * DAY).prop_map(|(begin, life)| (Seconds::new(begin), Seconds::new(begin).plus(life)))
}

fn rights() -> impl Strategy<Value = Rights> {
    prop_oneof![Just(Rights::NONE), Just(Rights::BRIDGE)]
}

fn any_delegation() -> impl Strategy<Value = Delegation> {
    let uses = prop_oneof![Just(0), any::<u32>()];
    let invite =
        (rights(), times(), 1..=Delegation::MAX_INVITE_LIFE, uses).prop_map(|(rights, (time, expiry), life, uses)| {
            DelegationFields {
                delegate: Delegate::Invite {
                    key: pair(2).public(),
                    uses,
                },
                rights,
                time,
                expiry,
                life,
            }
        });
    let renewer = (times(), 1..=u32::MAX).prop_map(|((time, expiry), life)| DelegationFields {
        delegate: Delegate::Renewer {
            node: identity(9).public(),
        },
        rights: Rights::NONE,
        time,
        expiry,
        life,
    });
    prop_oneof![invite, renewer].prop_map(|fields| Delegation::sign(&network(), &pair(1), fields).unwrap())
}

/// A credential of the network key.
fn any_credential() -> impl Strategy<Value = Credential> {
    let host = option::of(1..4095u32);
    (10..30u8, rights(), host, 1..=u64::MAX, times(), name()).prop_map(
        |(node, rights, host, issue, (time, expiry), name)| {
            let fields = CertificateFields {
                node: identity(node).public(),
                rights,
                ipv4: host.map(|host| Ipv4Addr::from_bits(0x0a80_1000 + host)),
                issue,
                time,
                expiry,
                name,
            };
            Credential::by_network(&network(), &pair(1), fields).unwrap()
        },
    )
}

/// What somebody bent: not the same bytes.
fn bent(bytes: &[u8], at: prop::sample::Index, flip: u8) -> Vec<u8> {
    let mut bent = bytes.to_vec();
    bent[at.index(bytes.len())] ^= flip;
    bent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn delegations_round_trip(delegation in any_delegation(), at: prop::sample::Index, flip in 1..=u8::MAX) {
        let bytes = delegation_bytes(&delegation);
        prop_assert_eq!(bytes.len(), Delegation::LENGTH);
        let read = Delegation::decode(&mut Reader::new(&bytes), &network(), Work::NONE);
        prop_assert_eq!(read, Ok(delegation));
        prop_assert!(delegation_again(&bent(&bytes, at, flip)).is_err());
    }

    #[test]
    fn credentials_round_trip(
        credential in any_credential(),
        delegation in any_delegation(),
        rights in rights(),
        name in name(),
        (begin, life) in (any::<u64>(), 1..=u32::MAX),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let fields = delegation.fields().clone();
        let begin = Seconds::new(fields.time.get() + begin % fields.expiry.since(fields.time));
        let credential = match fields.delegate {
            Delegate::Renewer { .. } => credential.extend(&identity(9), delegation, begin, life).unwrap(),
            Delegate::Invite { uses: 0, .. } if fields.rights.include(rights) => {
                let node = identity(3).public();
                let made = Certificate::by_invite(&network(), &pair(2), delegation, node, rights, name, begin);
                made.unwrap().into()
            }
            Delegate::Invite { .. } => credential,
        };
        let bytes = credential.encode();
        prop_assert!(bytes.len() <= Credential::MAX_SIZE);
        prop_assert_eq!(Credential::decode(&bytes, &network(), Work::NONE), Ok(credential.clone()));
        prop_assert!(credential_again(&bent(&bytes, at, flip)).is_err());
        prop_assert!(credential.time() < credential.expiry());
        for delegation in credential.delegations() {
            prop_assert!(credential.expiry() <= delegation.fields().expiry);
            prop_assert!(credential.expiry().since(credential.time()) <= delegation.fields().life.into());
        }
    }

    #[test]
    fn configs_round_trip(
        (counter, time, life) in (1..=u64::MAX, any::<u64>(), 1..=u32::MAX),
        label in "[a-zA-Z0-9 äöü]{0,16}",
        domain in name(),
        world: [u8; 16],
        seeds in 1..=8u8,
        holders in 0..=16u8,
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let fields = ConfigFields {
            parameters: parameters(),
            counter,
            time: Seconds::new(time),
            life,
            label: Label::parse(&label).unwrap(),
            domain: domain.unwrap_or_else(|| "lan".parse().unwrap()),
            world: WorldId::from_bytes(world),
            seeds: (0..seeds).map(|n| NetworkSeed::from_bytes([n; 32])).collect(),
            holders: (20..20 + holders).map(|n| identity(n).public()).collect(),
        };
        let config = Config::sign(&pair(1), fields).unwrap();
        let bytes = config.encode();
        prop_assert!(bytes.len() <= Config::MAX_SIZE);
        prop_assert_eq!(Config::decode(&bytes, Work::NONE), Ok(config));
        prop_assert!(config_again(&bent(&bytes, at, flip)).is_err());
    }

    #[test]
    fn revocations_round_trip_and_their_order_of_arrival_does_not_count(
        numbers in vec(1..200u8, 0..8),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let united = set(numbers.iter().copied());
        prop_assert_eq!(&united, &set(numbers.iter().rev().copied()));
        let bytes = united.encode();
        prop_assert_eq!(Revocations::decode(&bytes, &network()), Ok(united.clone()));
        prop_assert!(revocations_again(&bent(&bytes, at, flip)).is_err());
        for revocation in united.iter() {
            prop_assert_eq!(Revocation::decode(revocation.as_bytes(), &network()), Ok(revocation.clone()));
        }
    }

    #[test]
    fn sealed_documents_round_trip(
        (version, salt) in (1..=u64::MAX, any::<[u8; 16]>()),
        content in vec(any::<u8>(), 0..300),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let document = SealedDocument::seal(&pair(1), &secret(7), version, salt, &content).unwrap();
        let bytes = document.encode();
        prop_assert_eq!(SealedDocument::decode(&bytes), Ok(document.clone()));
        prop_assert_eq!(document.version(), version);
        prop_assert_eq!(document.open(network().key(), &secret(7)), Ok(content));
        prop_assert!(sealed_again(&bent(&bytes, at, flip)).is_err());
    }

    #[test]
    fn applications_round_trip(name in name(), host in option::of(1..=u32::MAX), delegation in any_delegation()) {
        let mut application = Application::new(name, host.map(Ipv4Addr::from_bits));
        if let Delegate::Invite { .. } = delegation.fields().delegate {
            let node = identity(3).public();
            application = application.invited(&pair(2), delegation, &node, &[3; 64]).unwrap();
        }
        let bytes = application.encode();
        prop_assert!(bytes.len() <= Application::MAX_SIZE);
        let read = Application::decode(&bytes, &network(), &identity(3).public(), &[3; 64], Work::NONE);
        prop_assert_eq!(read.as_ref(), Ok(&application));
    }

    #[test]
    fn messages_sealed_in_a_session_round_trip(
        content in vec(any::<u8>(), 0..=430),
        (number, place) in any::<(u32, u8)>(),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let secret = secret(7);
        let (purpose, role) = (Purpose::Admission, Role::Responder);
        let sealed = secret.seal_in_session(purpose, &[3; 64], role, number, place, &content);
        let open = |bytes: &[u8]| secret.open_in_session(purpose, &[3; 64], role, number, place, bytes);
        prop_assert_eq!(open(&sealed), Ok(content));
        prop_assert_eq!(open(&bent(&sealed, at, flip)), Err(DocumentError::Sealed));
    }

    #[test]
    fn names_nearest_to_any_text_are_names(text in "\\PC{0,60}", number: u32) {
        if let Some(label) = DnsLabel::nearest(&text) {
            prop_assert_eq!(DnsLabel::parse(label.as_str()), Ok(label.clone()));
            let numbered = label.numbered(number);
            prop_assert_eq!(DnsLabel::parse(numbered.as_str()), Ok(numbered));
        }
    }
}
