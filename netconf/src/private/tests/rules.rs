//! Each rule of the chain broken once, by somebody who has the keys and another program: the documents are put together
//! from bytes here, as PROTOCOL.md draws them, and signed by whom they should be.

use super::*;
use DocumentError as E;

/// A delegation as it stands on the wire.
#[derive(Clone)]
struct RawDelegation {
    kind: u8,
    network: [u8; 16],
    key: [u8; 32],
    rights: u8,
    time: Seconds,
    expiry: Seconds,
    life: u32,
    uses: u32,
    signer: u8,
}

/// A certificate as it stands on the wire.
#[derive(Clone)]
struct RawCertificate {
    network: [u8; 16],
    node: [u8; 32],
    rights: u8,
    ipv4: [u8; 4],
    issue: u64,
    time: Seconds,
    expiry: Seconds,
    name: Vec<u8>,
    kind: u8,
    delegation: Option<RawDelegation>,
    signer: u8,
}

/// An extension as it stands on the wire.
#[derive(Clone)]
struct RawExtension {
    kind: u8,
    time: Seconds,
    expiry: Seconds,
    delegation: RawDelegation,
    signer: u8,
}

fn signed(signer: u8, domain: &[u8], bytes: Vec<u8>) -> Vec<u8> {
    let signature = pair(signer).sign(domain, &bytes);
    [&bytes[..], signature.as_bytes()].concat()
}

impl RawDelegation {
    /// That of [`invite`].
    fn invite() -> Self {
        Self {
            kind: 1,
            network: *network().id().as_bytes(),
            key: *pair(2).public().as_bytes(),
            rights: 1,
            time: at(0),
            expiry: at(30),
            life: Delegation::MAX_INVITE_LIFE,
            uses: 0,
            signer: 1,
        }
    }

    /// That of [`renewer`].
    fn renewer() -> Self {
        Self {
            kind: 2,
            key: *identity(9).public().as_bytes(),
            rights: 0,
            expiry: at(1000),
            life: (365 * DAY) as u32,
            ..Self::invite()
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes = [
            &[self.kind],
            &self.network[..],
            &self.key,
            &[self.rights],
            &self.time.get().to_be_bytes(),
            &self.expiry.get().to_be_bytes(),
            &self.life.to_be_bytes(),
            &self.uses.to_be_bytes(),
        ]
        .concat();
        signed(self.signer, b"farlan delegation 1", bytes)
    }

    fn decode(&self) -> Result<Delegation, DocumentError> {
        Delegation::decode(&mut Reader::new(&self.bytes()), &network(), Work::NONE)
    }
}

impl RawCertificate {
    /// That of [`member`].
    fn member() -> Self {
        Self {
            network: *network().id().as_bytes(),
            node: *identity(3).public().as_bytes(),
            rights: 0,
            ipv4: [10, 128, 16, 7],
            issue: 4,
            time: at(1),
            expiry: at(366),
            name: b"laptop".to_vec(),
            kind: 0,
            delegation: None,
            signer: 1,
        }
    }

    /// That of [`guest`].
    fn guest() -> Self {
        Self {
            rights: 1,
            ipv4: [0; 4],
            issue: 0,
            time: at(2),
            expiry: at(9),
            name: vec![],
            kind: 1,
            delegation: Some(RawDelegation::invite()),
            signer: 2,
            ..Self::member()
        }
    }

    /// Alone.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [
            &self.network[..],
            &self.node,
            &[self.rights],
            &self.ipv4,
            &self.issue.to_be_bytes(),
            &self.time.get().to_be_bytes(),
            &self.expiry.get().to_be_bytes(),
            &[self.name.len() as u8],
            &self.name,
            &[self.kind],
        ]
        .concat();
        if let Some(delegation) = &self.delegation {
            bytes.extend(delegation.bytes());
        }
        signed(self.signer, b"farlan certificate 1", bytes)
    }

    /// As a credential that is not extended.
    fn decode(&self) -> Result<Credential, DocumentError> {
        decode(&[self.bytes(), vec![0]].concat())
    }
}

impl RawExtension {
    /// That of [`extended`].
    fn extension() -> Self {
        Self {
            kind: 1,
            time: at(200),
            expiry: at(500),
            delegation: RawDelegation::renewer(),
            signer: 9,
        }
    }

    fn of(&self, certificate: &RawCertificate) -> Vec<u8> {
        let bytes = [
            &certificate.bytes()[..],
            &[self.kind],
            &self.time.get().to_be_bytes(),
            &self.expiry.get().to_be_bytes(),
            &self.delegation.bytes(),
        ]
        .concat();
        signed(self.signer, b"farlan extension 1", bytes)
    }
}

fn decode(bytes: &[u8]) -> Result<Credential, DocumentError> {
    Credential::decode(bytes, &network(), Work::NONE)
}

/// What comes of a delegation that is changed before it is signed.
fn delegation(mut raw: RawDelegation, change: impl FnOnce(&mut RawDelegation)) -> Result<(), DocumentError> {
    change(&mut raw);
    raw.decode().map(|_| ())
}

/// What comes of the certificate of a member, changed before it is signed.
fn of_member(change: impl FnOnce(&mut RawCertificate)) -> Result<(), DocumentError> {
    let mut raw = RawCertificate::member();
    change(&mut raw);
    raw.decode().map(|_| ())
}

/// The same of a provisional one.
fn of_guest(change: impl FnOnce(&mut RawCertificate)) -> Result<(), DocumentError> {
    let mut raw = RawCertificate::guest();
    change(&mut raw);
    raw.decode().map(|_| ())
}

/// The same of one whose invite is changed before it is signed.
fn of_invite(change: impl FnOnce(&mut RawDelegation)) -> Result<(), DocumentError> {
    of_guest(|raw| change(raw.delegation.as_mut().unwrap()))
}

/// The same of the extension of a member's certificate.
fn of_extension(change: impl FnOnce(&mut RawExtension)) -> Result<(), DocumentError> {
    let mut raw = RawExtension::extension();
    change(&mut raw);
    decode(&raw.of(&RawCertificate::member())).map(|_| ())
}

const NOT_SIGNED: Result<(), E> = Err(E::Signature(BadSignature));

#[test]
fn what_is_put_together_here_is_what_the_code_makes() {
    let encoded = |delegation: &Delegation| {
        let mut bytes = Vec::new();
        delegation.encode(&mut bytes);
        bytes
    };
    assert_eq!(RawDelegation::invite().bytes(), encoded(&invite(0)));
    assert_eq!(RawDelegation::renewer().bytes(), encoded(&renewer()));
    assert_eq!(RawCertificate::member().decode(), Ok(member()));
    assert_eq!(RawCertificate::guest().decode(), Ok(guest()));
    let bytes = RawExtension::extension().of(&RawCertificate::member());
    assert_eq!(decode(&bytes), Ok(extended()));
}

#[test]
fn a_document_needs_the_signature_of_whom_it_is_from() {
    for signer in [2, 3, 9] {
        assert_eq!(delegation(RawDelegation::invite(), |d| d.signer = signer), NOT_SIGNED);
        assert_eq!(of_member(|c| c.signer = signer), NOT_SIGNED, "{signer}");
    }
    for signer in [1, 3, 9] {
        assert_eq!(of_guest(|c| c.signer = signer), NOT_SIGNED, "{signer}");
    }
    for signer in [1, 2, 3] {
        assert_eq!(of_extension(|e| e.signer = signer), NOT_SIGNED, "{signer}");
    }
    assert_eq!(of_invite(|d| d.signer = 2), NOT_SIGNED);
    assert_eq!(of_extension(|e| e.delegation.signer = 9), NOT_SIGNED);
    // The same bytes, signed for something else.
    let mut bytes = RawCertificate::member().bytes();
    bytes.truncate(bytes.len() - 64);
    let bytes = signed(1, b"farlan delegation 1", bytes);
    assert_eq!(decode(&[&bytes[..], &[0]].concat()).map(|_| ()), NOT_SIGNED);
}

#[test]
fn who_has_not_the_key_makes_nothing() {
    let (network, fields) = (network(), member().certificate().fields().clone());
    let wrong = Some(E::WrongKey);
    assert_eq!(Credential::by_network(&network, &pair(2), fields).err(), wrong);
    assert_eq!(
        Delegation::sign(&network, &pair(2), invite(0).fields().clone()).err(),
        wrong
    );
    let revoked = Revoked::Delegation { key: [1; 32] };
    assert_eq!(Revocation::sign(&network, &pair(2), revoked, at(0)).err(), wrong);
    let node = identity(3).public();
    for delegation in [invite(0), renewer()] {
        let made = Credential::by_invite(&network, &pair(4), delegation, node, None, at(2));
        assert_eq!(made.err(), wrong);
    }
    for (renewer, delegation) in [(identity(3), renewer()), (identity(2), invite(0))] {
        assert_eq!(member().extend(&renewer, delegation, at(200), 100).err(), wrong);
    }
    let proof = |key: &KeyPair, delegation| Application::new(None, None).invited(key, delegation, &node, &[3; 64]);
    assert_eq!(proof(&pair(4), invite(0)).err(), wrong);
    assert_eq!(proof(&pair(9), renewer()).err(), wrong);
}

#[test]
fn rights_never_grow() {
    assert_eq!(of_invite(|d| d.rights = 0), Err(E::MoreRights));
    assert_eq!(delegation(RawDelegation::renewer(), |d| d.rights = 1), Err(E::Renewer));
    // What has no meaning yet could mean anything.
    assert_eq!(delegation(RawDelegation::invite(), |d| d.rights = 3), Err(E::Rights));
    assert_eq!(of_member(|c| c.rights = 2), Err(E::Rights));
    assert_eq!(of_guest(|c| c.rights = 0x80), Err(E::Rights));
    // Fewer are fine.
    assert_eq!(of_guest(|c| c.rights = 0), Ok(()));
    let fields = DelegationFields {
        rights: Rights::NONE,
        ..invite(0).fields().clone()
    };
    let poor = Delegation::sign(&network(), &pair(1), fields).unwrap();
    let node = identity(3).public();
    let made = Certificate::by_invite(&network(), &pair(2), poor, node, Rights::BRIDGE, None, at(2));
    assert_eq!(made.err(), Some(E::MoreRights));
    // An extension gives what the certificate gave.
    let standing = extended().check(&network(), &node, at(300), &Revocations::new(network()));
    assert_eq!(standing.unwrap().rights, Rights::NONE);
}

#[test]
fn an_invite_signs_within_its_own_time_and_life() {
    assert_eq!(of_guest(|c| c.time = at(0).minus(1)), Err(E::Lifetime));
    assert_eq!(of_guest(|c| c.expiry = at(9).plus(1)), Err(E::Lifetime));
    assert_eq!(
        of_guest(|c| (c.time, c.expiry) = (at(25), at(30).plus(1))),
        Err(E::Lifetime)
    );
    assert_eq!(of_guest(|c| (c.time, c.expiry) = (at(25), at(30))), Ok(()));
    assert_eq!(of_guest(|c| c.expiry = c.time), Err(E::Times));
    // Behind its end there is nothing left to give.
    assert_eq!(
        of_guest(|c| (c.time, c.expiry) = (at(30), at(30).plus(1))),
        Err(E::Lifetime)
    );
    let node = identity(3).public();
    let late = Credential::by_invite(&network(), &pair(2), invite(0), node, None, at(30));
    assert_eq!(late.err(), Some(E::Times));
    // Times at the end of all times do not wrap around.
    assert_eq!(
        of_guest(|c| (c.time, c.expiry) = (Seconds::new(u64::MAX - 1), Seconds::new(u64::MAX))),
        Err(E::Lifetime)
    );
}

#[test]
fn a_renewer_extends_within_its_own_time_and_life() {
    assert_eq!(of_extension(|e| e.time = at(0).minus(1)), Err(E::Lifetime));
    assert_eq!(of_extension(|e| e.expiry = at(565).plus(1)), Err(E::Lifetime));
    assert_eq!(of_extension(|e| e.expiry = at(565)), Ok(()));
    assert_eq!(
        of_extension(|e| (e.time, e.expiry) = (at(900), at(1000).plus(1))),
        Err(E::Lifetime)
    );
    assert_eq!(of_extension(|e| (e.time, e.expiry) = (at(900), at(1000))), Ok(()));
    assert_eq!(of_extension(|e| e.expiry = e.time), Err(E::Times));
    // Whatever life it asks for.
    let long = member().extend(&identity(9), renewer(), at(900), u32::MAX).unwrap();
    assert_eq!(long.expiry(), at(1000));
    assert_eq!(
        member().extend(&identity(9), renewer(), at(200), 0).err(),
        Some(E::Times)
    );
}

#[test]
fn a_delegation_has_times_and_a_life() {
    let of = |raw, change: fn(&mut RawDelegation)| delegation(raw, change);
    for raw in [RawDelegation::invite(), RawDelegation::renewer()] {
        assert_eq!(of(raw.clone(), |_| {}), Ok(()));
        assert_eq!(of(raw.clone(), |d| d.expiry = d.time), Err(E::Times));
        assert_eq!(of(raw.clone(), |d| d.life = 0), Err(E::Life));
        assert_eq!(of(raw, |d| d.kind = 3), Err(E::Kind(3)));
    }
    let more = Delegation::MAX_INVITE_LIFE + 1;
    assert_eq!(delegation(RawDelegation::invite(), |d| d.life = more), Err(E::Life));
    assert_eq!(of(RawDelegation::renewer(), |d| d.life = u32::MAX), Ok(()));
    assert_eq!(of(RawDelegation::renewer(), |d| d.uses = 1), Err(E::Renewer));
    assert_eq!(of(RawDelegation::invite(), |d| d.uses = u32::MAX), Ok(()));
    // The neutral element, of which anybody can make signatures.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for raw in [RawDelegation::invite(), RawDelegation::renewer()] {
        assert!(matches!(delegation(raw, |d| d.key = neutral), Err(E::Key(_))));
    }
    for (rights, life, error) in [
        (Rights::NONE, 0, E::Life),
        (Rights::NONE, more, E::Life),
        (Rights::BRIDGE, 1, E::Renewer),
    ] {
        let delegate = match error {
            E::Renewer => renewer().fields().delegate,
            _ => invite(0).fields().delegate,
        };
        let fields = DelegationFields {
            delegate,
            rights,
            life,
            ..invite(0).fields().clone()
        };
        assert_eq!(Delegation::sign(&network(), &pair(1), fields).err(), Some(error));
    }
}

#[test]
fn an_invite_whose_uses_are_counted_signs_nothing_itself() {
    assert_eq!(of_invite(|d| d.uses = 1), Err(E::Counted));
    let node = identity(3).public();
    let made = Credential::by_invite(&network(), &pair(2), invite(1), node, None, at(2));
    assert_eq!(made.err(), Some(E::Counted));
    assert!(invite(0).signs_certificates());
    assert!(!invite(1).signs_certificates() && !renewer().signs_certificates());
}

#[test]
fn delegations_are_for_their_purpose_only() {
    let renewers = |d: &mut RawDelegation| *d = RawDelegation::renewer();
    assert_eq!(of_invite(renewers), Err(E::Purpose));
    assert_eq!(
        of_extension(|e| e.delegation = RawDelegation::invite()),
        Err(E::Purpose)
    );
}

#[test]
fn a_provisional_certificate_is_not_extended() {
    let bytes = RawExtension::extension().of(&RawCertificate::guest());
    // There is not even room for one.
    let (size, most) = (bytes.len(), Credential::MAX_SIZE);
    assert_eq!(decode(&bytes).err(), Some(E::Size { size, most }));
    let extended = guest().extend(&identity(9), renewer(), at(3), 100);
    assert_eq!(extended.err(), Some(E::NotExtendable));
}

#[test]
fn an_extension_belongs_to_its_certificate() {
    let certificate = RawCertificate::member();
    let bytes = RawExtension::extension().of(&certificate);
    let extension = &bytes[certificate.bytes().len()..];
    let other = RawCertificate {
        node: *identity(4).public().as_bytes(),
        ..certificate
    };
    assert_eq!(decode(&[&other.bytes(), extension].concat()).map(|_| ()), NOT_SIGNED);
    assert_eq!(of_extension(|e| e.kind = 2), Err(E::Kind(2)));
}

#[test]
fn certificates_are_numbered_by_who_signs_them() {
    assert_eq!(of_member(|c| c.issue = 0), Err(E::Issue));
    assert_eq!(of_member(|c| c.issue = u64::MAX), Ok(()));
    assert_eq!(of_guest(|c| c.issue = 1), Err(E::Issue));
    let fields = CertificateFields {
        issue: 0,
        ..member().certificate().fields().clone()
    };
    assert_eq!(
        Credential::by_network(&network(), &pair(1), fields).err(),
        Some(E::Issue)
    );
}

#[test]
fn addresses_are_hosts_of_the_subnet_and_come_from_the_network_key() {
    for address in [[10, 128, 16, 0], [10, 128, 31, 255], [10, 128, 32, 1], [192, 168, 0, 1]] {
        assert_eq!(of_member(|c| c.ipv4 = address), Err(E::Address), "{address:?}");
    }
    for address in [[0; 4], [10, 128, 16, 1], [10, 128, 31, 254]] {
        assert_eq!(of_member(|c| c.ipv4 = address), Ok(()), "{address:?}");
    }
    assert_eq!(of_guest(|c| c.ipv4 = [10, 128, 16, 7]), Err(E::Address));
    let fields = CertificateFields {
        ipv4: Some("10.128.32.1".parse().unwrap()),
        ..member().certificate().fields().clone()
    };
    assert_eq!(
        Credential::by_network(&network(), &pair(1), fields).err(),
        Some(E::Address)
    );
}

#[test]
fn what_a_certificate_says_is_in_its_canonical_form() {
    assert_eq!(of_member(|c| c.expiry = c.time), Err(E::Times));
    assert_eq!(of_member(|c| c.kind = 2), Err(E::Kind(2)));
    assert!(matches!(of_member(|c| c.node = [0xff; 32]), Err(E::Key(_))));
    for (name, error) in [
        (&b"Laptop"[..], DnsLabelError::Form),
        (b"l\xc3\xa4ptop", DnsLabelError::Character('ä')),
        (b"lap\xfftop", DnsLabelError::Form),
        (b"-laptop", DnsLabelError::Hyphen),
        (b"lap.top", DnsLabelError::Character('.')),
        (&[b'l'; 33], DnsLabelError::TooLong(33)),
    ] {
        assert_eq!(of_member(|c| c.name = name.to_vec()), Err(E::Name(error)), "{name:?}");
    }
    // The keys of nodes carry work.
    let bytes = [RawCertificate::member().bytes(), vec![0]].concat();
    let decoded = Credential::decode(&bytes, &network(), Work::REQUIRED);
    assert_eq!(decoded.err(), Some(E::Key(farlan_crypto::KeyError::Work)));
}

#[test]
fn documents_of_another_network_are_refused() {
    let other = *other_network().id().as_bytes();
    // Its key is another one, so that its documents are signed by that.
    let own = |d: &mut RawDelegation| (d.network, d.signer) = (other, 11);
    assert_eq!(delegation(RawDelegation::invite(), own), Err(E::OtherNetwork));
    assert_eq!(of_member(|c| (c.network, c.signer) = (other, 11)), Err(E::OtherNetwork));
    assert_eq!(of_guest(|c| c.network = other), Err(E::OtherNetwork));
    assert_eq!(of_invite(own), Err(E::OtherNetwork));
    assert_eq!(of_extension(|e| own(&mut e.delegation)), Err(E::OtherNetwork));
    // Nor does its key sign in this one.
    assert_eq!(of_member(|c| c.signer = 11), NOT_SIGNED);
    assert_eq!(of_invite(|d| d.signer = 11), NOT_SIGNED);
}

#[test]
fn a_credential_is_good_for_its_network_node_and_time_only() {
    let (network, node) = (network(), identity(3).public());
    let none = Revocations::new(network);
    for credential in [member(), guest(), extended()] {
        let check = |network: &PrivateNetwork, node, now| credential.check(network, node, now, &none);
        let last = credential.expiry().minus(1);
        let standing = check(&network, &node, last).unwrap();
        let fields = credential.certificate().fields();
        assert_eq!((standing.rights, standing.ipv4), (fields.rights, fields.ipv4));
        assert_eq!(
            (standing.name, standing.expiry),
            (fields.name.clone(), credential.expiry())
        );
        assert_eq!(standing.provisional, credential == guest());
        // Clocks differ: one that has not begun yet is good.
        assert!(check(&network, &node, Seconds::default()).is_ok());

        assert_eq!(check(&other_network(), &node, last), Err(Invalid::OtherNetwork));
    }
}

#[test]
fn the_credential_of_another_node_is_none() {
    let none = Revocations::new(network());
    for credential in [member(), guest(), extended()] {
        let checked = credential.check(&network(), &identity(4).public(), at(3), &none);
        assert_eq!(checked, Err(Invalid::OtherNode));
    }
}

#[test]
fn an_expired_credential_is_none() {
    let (network, node) = (network(), identity(3).public());
    let none = Revocations::new(network);
    for (credential, expiry) in [(member(), at(366)), (guest(), at(9)), (extended(), at(500))] {
        assert_eq!(credential.expiry(), expiry);
        assert!(credential.check(&network, &node, expiry.minus(1), &none).is_ok());
        for now in [expiry, expiry.plus(20 * 365 * DAY)] {
            assert_eq!(credential.check(&network, &node, now, &none), Err(Invalid::Expired));
        }
    }
}

#[test]
fn revocations_void_what_is_not_newer_than_they_are() {
    let (network, node) = (network(), identity(3).public());
    let set = |revoked, time| {
        let mut set = Revocations::new(network);
        assert!(set.insert(Revocation::sign(&network, &pair(1), revoked, time).unwrap()));
        set
    };
    let check = |credential: &Credential, set: &Revocations| credential.check(&network, &node, at(3), set).err();
    let kicked = |node: [u8; 32], issue| set(Revoked::Member { node, issue }, at(2));
    // The issue of `member` is 4.
    assert_eq!(check(&member(), &kicked(*node.as_bytes(), 3)), None);
    assert_eq!(
        check(&member(), &kicked(*node.as_bytes(), 4)),
        Some(Invalid::MemberRevoked)
    );
    assert_eq!(
        check(&extended(), &kicked(*node.as_bytes(), 4)),
        Some(Invalid::MemberRevoked)
    );
    assert_eq!(
        check(&guest(), &kicked(*node.as_bytes(), 0)),
        Some(Invalid::MemberRevoked)
    );
    let other = *identity(4).public().as_bytes();
    assert_eq!(check(&member(), &kicked(other, u64::MAX)), None);

    // `invite` and `renewer` are of day 0.
    let taken = |delegation: Delegation, time| set(Revoked::Delegation { key: delegation.key() }, time);
    for (credential, delegation) in [(guest(), invite(0)), (extended(), renewer())] {
        let void = Some(Invalid::DelegationRevoked);
        assert_eq!(check(&credential, &taken(delegation.clone(), at(0))), void);
        assert_eq!(check(&credential, &taken(delegation, at(0).minus(1))), None);
    }
    // One kind says nothing of the other, nor of a node the delegation of whose key is void.
    assert_eq!(check(&member(), &taken(renewer(), at(9))), None);
    let as_member = set(Revoked::Delegation { key: *node.as_bytes() }, at(9));
    assert_eq!(check(&member(), &as_member), None);
    assert_eq!(check(&guest(), &kicked(invite(0).key(), u64::MAX)), None);
}

#[test]
fn an_application_is_by_an_invite_and_of_one_node_and_session() {
    let (network, node) = (network(), identity(3).public());
    let proved = |delegation: Vec<u8>, invited: u8, domain: &[u8]| {
        let message = [network.id().as_bytes(), &node.as_bytes()[..], &[3; 64]].concat();
        let signature = pair(2).sign(domain, &message);
        [&[0, 0, 0, 0, 0, invited], &delegation[..], signature.as_bytes()].concat()
    };
    let decode = |bytes: &[u8]| Application::decode(bytes, &network, &node, &[3; 64], Work::NONE);
    let (invite, domain) = (RawDelegation::invite(), &b"farlan application 1"[..]);
    let good = proved(invite.bytes(), 1, domain);
    assert_eq!(decode(&good).unwrap().invite(), Some(&super::invite(0)));
    let refused = |bytes: Vec<u8>| decode(&bytes).map(|_| ());
    assert_eq!(refused(proved(invite.bytes(), 3, domain)), Err(E::Kind(3)));
    assert_eq!(refused(proved(invite.bytes(), 1, b"farlan certificate 1")), NOT_SIGNED);
    let renewer = RawDelegation::renewer();
    assert_eq!(refused(proved(renewer.bytes(), 1, domain)), Err(E::Purpose));
    let other = RawDelegation {
        network: *other_network().id().as_bytes(),
        signer: 11,
        ..invite
    };
    assert_eq!(refused(proved(other.bytes(), 1, domain)), Err(E::OtherNetwork));
    // The uses of an invite may be counted here: that is what applications are for.
    let counted = RawDelegation { uses: 1, ..invite };
    assert_eq!(refused(proved(counted.bytes(), 1, domain)), Ok(()));

    let other_node = Application::decode(&good, &network, &identity(4).public(), &[3; 64], Work::NONE);
    assert_eq!(other_node.map(|_| ()), NOT_SIGNED);
    let other_session = Application::decode(&good, &network, &node, &[4; 64], Work::NONE);
    assert_eq!(other_session.map(|_| ()), NOT_SIGNED);
}

#[test]
fn an_application_carries_the_own_certificate_of_the_network_key_and_no_other() {
    let (network, node) = (network(), identity(3).public());
    let decode = |bytes: &[u8]| Application::decode(bytes, &network, &node, &[3; 64], Work::NONE);
    let with = |credential: &[u8]| [&[0, 0, 0, 0, 0, 2], credential].concat();
    let refused = |bytes: &[u8]| decode(bytes).map(|_| ());
    for credential in [member(), extended()] {
        let wish = Application::new("desktop".parse().ok(), None);
        let application = wish.certified(credential.clone()).unwrap();
        assert_eq!(application.name, None, "its name is in the certificate");
        let bytes = application.encode();
        assert_eq!(bytes, with(&credential.encode()));
        let read = decode(&bytes).unwrap();
        assert_eq!((read.credential(), read.invite()), (Some(&credential), None));
        let named = [&[1, b'a', 0, 0, 0, 0, 2], &credential.encode()[..]].concat();
        assert_eq!(refused(&named), Err(E::Purpose));
        let elsewhere = Application::decode(&bytes, &network, &identity(4).public(), &[3; 64], Work::NONE);
        assert_eq!(elsewhere.map(|_| ()), Err(E::WrongKey));
    }
    assert_eq!(refused(&with(&guest().encode())), Err(E::Purpose));
    let wish = Application::new(None, None);
    assert_eq!(wish.certified(guest()).map(|_| ()), Err(E::Purpose));
    let other = RawCertificate {
        network: *other_network().id().as_bytes(),
        ..RawCertificate::member()
    };
    assert!(refused(&with(&other.bytes())).is_err());
    let forged = RawCertificate {
        signer: 11,
        ..RawCertificate::member()
    };
    assert_eq!(refused(&with(&[&forged.bytes()[..], &[0]].concat())), NOT_SIGNED);
    // Without a name in the certificate one may be wished, and the largest of all still fits.
    let nameless = RawCertificate {
        name: vec![],
        ..RawCertificate::member()
    };
    let named = [&[1, b'a', 0, 0, 0, 0, 2], &nameless.bytes()[..], &[0]].concat();
    assert_eq!(decode(&named).unwrap().name, "a".parse().ok());
}
