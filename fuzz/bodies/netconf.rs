//! What must hold of documents and texts about networks, whoever wrote them.
#![allow(dead_code, reason = "each target uses a part")]

use std::{fmt::Display, str::FromStr, sync::OnceLock};

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{Identity, NodeId, Seed, Work, sha512};
use farlan_netconf::private::ExportedKey;
use farlan_netconf::{
    Endpoint, Label, Link, LinkError, NetworkId, NetworkName, NodePrefix, Parameters, Reader, Subnet, World,
    WorldError, WorldId, private::DnsLabel,
};

#[path = "private.rs"]
mod private;

/// Input: bytes in the place of each small document. What is read is written as it stood there: there is one encoding.
pub(crate) fn documents(input: &[u8]) {
    canonical(
        input,
        |reader| Parameters::decode(reader).ok(),
        |parameters, out| {
            parameters.encode(out);
            // Ids and secrets can be made of whatever was taken.
            assert_eq!(parameters.id(), parameters.clone().id());
        },
    );
    canonical(
        input,
        |reader| Subnet::decode(reader).ok(),
        |subnet, out| {
            subnet.encode(out);
            assert!(subnet.contains(subnet.address()) && subnet.contains(subnet.broadcast()));
            assert_eq!(subnet.to_string().parse(), Ok(*subnet));
        },
    );
    canonical(
        input,
        |reader| Endpoint::decode(reader).ok(),
        |endpoint, out| {
            endpoint.encode(out);
            assert_eq!(endpoint.to_string().parse().as_ref(), Ok(endpoint));
        },
    );
    canonical(
        input,
        |reader| NodePrefix::decode(reader).ok(),
        |prefix, out| {
            prefix.encode(out);
            let (low, high) = prefix.bounds();
            assert!(low <= high && prefix.matches(&low) && prefix.matches(&high));
        },
    );
}

fn canonical<T>(input: &[u8], read: impl Fn(&mut Reader<'_>) -> Option<T>, write: impl Fn(&T, &mut Vec<u8>)) {
    let mut reader = Reader::new(input);
    let Some(value) = read(&mut reader) else { return };
    let taken = input.len() - reader.remaining();
    let mut written = Vec::new();
    write(&value, &mut written);
    assert_eq!(written, input[..taken]);
}

/// Input: a text in the place of each that people write. What is read and shown is read as the same.
pub(crate) fn texts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    shown::<Subnet>(text);
    shown::<Endpoint>(text);
    shown::<NetworkName>(text);
    if let Ok(key) = ExportedKey::parse(text, Work::NONE) {
        let again = ExportedKey::parse(&key.to_text(), Work::NONE).expect("what is written is read");
        assert_eq!((again.issued, again.config()), (key.issued, key.config()));
    }
    if let Some(label) = shown::<Label>(text) {
        assert!(label.as_str().len() <= Label::MAX_LENGTH && !label.as_str().contains(char::is_control));
    }
    if let Some(name) = shown::<DnsLabel>(text) {
        assert_eq!(name.as_str(), text.to_ascii_lowercase());
        assert_eq!(DnsLabel::nearest(text), Some(shortened(&name)));
    }
    if let Some(name) = DnsLabel::nearest(text) {
        assert_eq!(name.as_str().parse().as_ref(), Ok(&name));
        let numbered = name.numbered(u32::MAX);
        assert_eq!(numbered.as_str().parse().as_ref(), Ok(&numbered));
    }
    for id in [
        shown::<NetworkId>(text).map(|id| id.to_string()),
        shown::<WorldId>(text).map(|id| id.to_string()),
        shown::<NodeId>(text).map(|id| id.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        assert!(id.eq_ignore_ascii_case(text), "an id has one spelling");
    }
}

/// Hyphens side by side are one in the name nearest to a text.
fn shortened(name: &DnsLabel) -> DnsLabel {
    let parts: Vec<_> = name.as_str().split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-").parse().expect("a shorter name is one too")
}

fn shown<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    let again = value.to_string().parse::<T>();
    assert!(again.is_ok_and(|again| again == value));
    Some(value)
}

/// Input: version and supernodes of a world. What is read is written as it stood there, and keeps the rules.
pub(crate) fn world(input: &[u8]) {
    let bytes = [people()[0].public().as_bytes(), &spoken(input)[..], &[0x51; 64]].concat();
    if let Ok(world) = World::unverified(&bytes, Work::NONE) {
        keeps_the_rules(&world, &bytes);
    }
}

/// Input: how something is bent that an operator signed, what it is, and what is signed. Only what was signed is taken, and
/// it has one encoding.
pub(crate) fn signed(input: &[u8]) {
    let Some((&[how, kind], rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let genuine = signed_world(rest);
    let mut bytes = genuine.clone();
    if how & 1 != 0 {
        let at = usize::from(how >> 1) * bytes.len() / 128;
        bytes[at] ^= 1 << (how >> 5);
    }
    let is_genuine = bytes == genuine;
    match World::decode(&bytes, Work::NONE) {
        Ok(world) => {
            assert!(is_genuine, "a world was taken that nobody signed");
            keeps_the_rules(&world, &bytes);
        }
        Err(error) => assert!(!is_genuine || !matches!(error, WorldError::Signature(_)), "{error}"),
    }
    let before = match kind {
        0xf0.. => private::before_world(),
        _ => before_world(kind % 4),
    };
    let link = encoded(&[before, bytes].concat());
    if let Ok(link) = shown_link(&link) {
        assert!(is_genuine, "a link was taken whose world nobody signed");
        let is = match link {
            Link::Supernode(_) => kind < 0xf0 && kind % 4 == 0,
            Link::Network(_) => kind < 0xf0 && kind % 4 != 0,
            Link::Private(_) => kind >= 0xf0,
        };
        assert!(is, "a link of another kind");
    }
}

/// Input: how a document of a private network is bent, which one it is, and what is signed.
pub(crate) fn private(input: &[u8]) {
    private::documents(input);
}

fn keeps_the_rules(world: &World, bytes: &[u8]) {
    assert_eq!(world.encode(), bytes);
    assert_eq!(world.operator(), &people()[0].public());
    assert_eq!(world.id(), WorldId::of(world.operator()));
    assert!((1..=World::MAX_SUPERNODES).contains(&world.supernodes().len()) && world.version() > 0);
    for supernode in world.supernodes() {
        assert!((1..=World::MAX_ENDPOINTS).contains(&supernode.endpoints.len()));
    }
}

/// Input: a text in the place of a link, or the bytes of one without its checksum. What is read is written
/// so that it is read as the same.
pub(crate) fn link(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else {
        return;
    };
    let text = match how & 3 {
        0 | 2 => String::from_utf8_lossy(rest).into_owned(),
        1 => encoded(&spoken(rest)),
        _ => encoded(&private::told(rest)),
    };
    _ = shown_link(&text);
}

/// Reads a link; if it is one, it has one text.
fn shown_link(text: &str) -> Result<Link, LinkError> {
    let link = Link::parse(text, Work::NONE)?;
    let shown = link.to_string();
    assert!(shown.len() <= Link::MAX_TEXT + 7);
    assert_eq!(Link::parse(&shown, Work::NONE).as_ref(), Ok(&link));
    let plain: String = text.split_whitespace().collect();
    assert_eq!(shown, plain, "a link has one text");
    Ok(link)
}

/// The text of a link of these bytes, with a good checksum.
fn encoded(bytes: &[u8]) -> String {
    let sum = sha512(&[bytes]);
    format!("farlan:{}", BASE64URL_NOPAD.encode(&[bytes, &sum[..4]].concat()))
}

/// A world of the operator with these bytes in the place of version and supernodes.
fn signed_world(rest: &[u8]) -> Vec<u8> {
    let operator = &people()[0];
    let mut bytes = operator.public().as_bytes().to_vec();
    bytes.extend_from_slice(&spoken(rest));
    let signature = operator.sign(b"farlan world 1", &bytes);
    bytes.extend_from_slice(signature.as_bytes());
    bytes
}

/// What stands before the world in a link: format and kind; for networks parameters, label and peers.
fn before_world(kind: u8) -> Vec<u8> {
    let id = WorldId::of(&people()[0].public());
    match kind {
        0 => vec![1, 1],
        1 => b"\x01\x02\x02\x01\x05\x5c\x0a\x80\x10\x00\x14................\x03lan\x00".to_vec(),
        2 => spoken(b"\x01\x02\x02\x01\x05\x5c\x0a\x80\x10\x00\x14................\x00\x01\xe1"),
        _ => [
            b"\x01\x02\x01\x02\x05\x5c\x0a\x40\x00\x00\x0a",
            &id.as_bytes()[..],
            b"\x05earth\x00\x00",
        ]
        .concat(),
    }
}

/// The bytes, but that 0xe0 to 0xe3 stand for keys that are some, 0xe4 for an endpoint and 0xe5 for one over TCP.
fn spoken(bytes: &[u8]) -> Vec<u8> {
    let mut spoken = Vec::new();
    for byte in bytes {
        match byte {
            0xe0..=0xe3 => spoken.extend_from_slice(people()[usize::from(byte & 3)].public().as_bytes()),
            0xe4 => spoken.extend_from_slice(b"\x11\x0b203.0.113.5\x25\x80"),
            0xe5 => spoken.extend_from_slice(b"\x06\x0b203.0.113.5\x01\xbb"),
            _ => spoken.push(*byte),
        }
    }
    spoken
}

/// An operator, then some others.
fn people() -> &'static [Identity; 4] {
    static PEOPLE: OnceLock<[Identity; 4]> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        [1, 2, 3, 4]
            .map(|seed| Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE).expect("no work is asked for"))
    })
}
