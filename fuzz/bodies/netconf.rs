//! What must hold of documents and texts about networks, whoever wrote them.
#![allow(dead_code, reason = "each target uses a part")]

use std::{fmt::Display, str::FromStr, sync::OnceLock};

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{Identity, NodeId, Seed, Work, sha512};
use farlan_netconf::{
    Endpoint, Label, Link, NetworkId, NetworkName, NodePrefix, Parameters, Reader, Subnet, Supernode, World, WorldId,
};

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
    if let Some(label) = shown::<Label>(text) {
        assert!(label.as_str().len() <= Label::MAX_LENGTH && !label.as_str().contains(char::is_control));
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

fn shown<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    let again = value.to_string().parse::<T>();
    assert!(again.is_ok_and(|again| again == value));
    Some(value)
}

/// Input: what a world's operator signs, and how it is bent afterwards. Only what the operator signed is taken, and it has
/// one encoding.
pub(crate) fn world(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else {
        return;
    };
    let mut bytes = signed(rest);
    let genuine = bytes.clone();
    if how & 1 != 0 {
        let at = usize::from(how >> 1) * bytes.len() / 128;
        bytes[at] ^= 1 << (how >> 5);
    }
    let Ok(world) = World::decode(&bytes, Work::NONE) else {
        return;
    };
    assert_eq!(bytes, genuine, "a world was taken that nobody signed");
    assert_eq!(world.encode(), bytes);
    assert_eq!(world.operator(), &people()[0].public());
    assert_eq!(world.id(), WorldId::of(world.operator()));
    assert!((1..=World::MAX_SUPERNODES).contains(&world.supernodes().len()) && world.version() > 0);
    for supernode in world.supernodes() {
        assert!((1..=World::MAX_ENDPOINTS).contains(&supernode.endpoints.len()));
    }
}

/// Input: a text in the place of a link, or the bytes of one without its checksum. What is read is written so that it is
/// read as the same.
pub(crate) fn link(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else {
        return;
    };
    let text = match how % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        // The begin of the bytes, and a world behind it.
        1 => encoded(&[rest, &valid_world()].concat()),
        _ => {
            let mut bytes = spoken(rest);
            if how & 0x80 != 0 {
                bytes.extend_from_slice(&signed(&rest[rest.len() / 2..]));
            }
            encoded(&bytes)
        }
    };
    let Ok(link) = Link::parse(&text, Work::NONE) else {
        return;
    };
    let shown = link.to_string();
    assert!(shown.len() <= Link::MAX_TEXT + 7);
    assert_eq!(Link::parse(&shown, Work::NONE), Ok(link));
    let plain: String = text.split_whitespace().collect();
    assert_eq!(shown, plain, "a link has one text");
}

/// The text of a link of these bytes, with a good checksum.
fn encoded(bytes: &[u8]) -> String {
    let sum = sha512(&[bytes]);
    format!("farlan:{}", BASE64URL_NOPAD.encode(&[bytes, &sum[..4]].concat()))
}

/// A world of the operator with these bytes in the place of version and supernodes.
fn signed(rest: &[u8]) -> Vec<u8> {
    let operator = &people()[0];
    let mut bytes = operator.public().as_bytes().to_vec();
    bytes.extend_from_slice(&spoken(rest));
    let signature = operator.sign(b"farlan world 1", &bytes);
    bytes.extend_from_slice(signature.as_bytes());
    bytes
}

fn valid_world() -> Vec<u8> {
    static WORLD: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let supernode = Supernode {
            key: people()[1].public(),
            endpoints: vec!["203.0.113.5:9600".parse().expect("it is one")],
        };
        let world = World::sign(&people()[0], 1, vec![supernode]);
        world.expect("it keeps the rules").encode()
    };
    WORLD.get_or_init(make).clone()
}

/// The bytes, but that 0xe0 to 0xe3 stand for keys that are some, and 0xe4 for an endpoint.
fn spoken(bytes: &[u8]) -> Vec<u8> {
    let mut spoken = Vec::new();
    for byte in bytes {
        match byte {
            0xe0..=0xe3 => spoken.extend_from_slice(people()[usize::from(byte & 3)].public().as_bytes()),
            0xe4 => spoken.extend_from_slice(b"\x0b203.0.113.5\x25\x80"),
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
