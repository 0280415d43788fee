//! The fixed vectors of PROTOCOL.md, A.1 to A.4.
//!
//! They were computed by a separate program from libsodium's primitives (`crypto_stream_salsa20_xor_ic`,
//! `crypto_onetimeauth`, `crypto_scalarmult_curve25519`, `crypto_sign_seed_keypair` and its key conversions) and
//! Python's `hashlib` and `hmac`, not by this crate. A change that breaks one of them is a change of the protocol.

mod page;

use farlan_crypto::{Aead, Identity, Initiator, Key, NodeId, Opener, PublicKey, Responder, SalsaPoly, Sealer};
use farlan_crypto::{Seed, TAG, Window, Work};
use page::Block;

/// The initiator and the responder: the seeds are the numbers 6583 and 33380, little-endian, the two smallest whose keys carry
/// 14 bits of work.
fn identities() -> [Identity; 2] {
    [0, 1].map(|number| {
        let seed = Seed::from_bytes(Block::of("A.1", number).array("seed"));
        Identity::from_seed(seed, Work::REQUIRED).expect("a seed with work")
    })
}

#[test]
fn identities_follow_from_their_seeds() {
    for (number, identity) in identities().iter().enumerate() {
        let page = Block::of("A.1", number);
        let public = PublicKey::from_bytes(&page.array("public key"), Work::REQUIRED).unwrap();
        assert_eq!(identity.public(), public);
        assert_eq!(public.noise_static(), page.array("Noise static"));
        let [hexadecimal, text] = page.lines("node id")[..] else {
            panic!("two forms")
        };
        assert_eq!(data_encoding::HEXLOWER.encode(public.node_id().as_bytes()), hexadecimal);
        assert_eq!(public.node_id().to_string(), text);
        assert_eq!(text.parse::<NodeId>(), Ok(identity.node_id()));
        assert_eq!(identity.seed().as_bytes(), &page.array("seed"));
    }
}

/// Ed25519 signatures are deterministic, so that signing can be compared too.
#[test]
fn the_signature_is_reproduced() {
    let [signer, other] = identities();
    let (domain, message) = (b"farlan example", b"one LAN, any distance");
    let signature = signer.sign(domain, message);
    assert_eq!(signature.as_bytes(), &Block::of("A.2", 0).array("signature"));
    assert!(signer.public().verify(domain, message, &signature).is_ok());
    assert!(other.public().verify(domain, message, &signature).is_err());
}

#[test]
fn sealing_is_reproduced() {
    let key = Key::from_bytes(std::array::from_fn(|n| n as u8));
    let header: [u8; 16] = std::array::from_fn(|n| 0x40 + n as u8);
    let message: [u8; 100] = std::array::from_fn(|n| n as u8);

    let mut buffer = [&message[..], &[0; TAG]].concat();
    SalsaPoly::seal(&key, 0x0102_0304_0506_0708, &header, &mut buffer);
    let page = Block::of("A.3", 0);
    assert_eq!(buffer, page.bytes("sealed"));
    assert_eq!(
        SalsaPoly::open(&key, 0x0102_0304_0506_0708, &header, &mut buffer).unwrap(),
        message
    );

    let mut nothing = [0; TAG];
    SalsaPoly::seal(&key, 0, b"", &mut nothing);
    assert_eq!(nothing, page.array("sealed nothing"));
    assert!(SalsaPoly::open(&key, 0, b"", &mut nothing).unwrap().is_empty());
}

#[test]
fn the_handshake_is_reproduced() {
    let [alice, bob] = identities();
    let prologue = b"farlan 1";

    let mut message_1 = Vec::new();
    let initiator = Initiator::<SalsaPoly>::start(
        prologue,
        &alice,
        &bob.public(),
        &[0x11; 32],
        alice.public().as_bytes(),
        &mut message_1,
    )
    .unwrap();
    let page = Block::of("A.4", 0);
    assert_eq!(message_1, page.bytes("message 1"));

    let mut payload = Vec::new();
    let responder = Responder::<SalsaPoly>::read(prologue, &bob, &message_1, &mut payload).unwrap();
    let claimed = PublicKey::from_bytes(&payload.try_into().unwrap(), Work::REQUIRED).unwrap();
    assert_eq!(claimed, alice.public());
    assert!(responder.remote_is(&claimed));
    let mut message_2 = Vec::new();
    let bobs = responder.respond(&[0x22; 32], b"welcome", &mut message_2).unwrap();
    assert_eq!(message_2, page.bytes("message 2"));

    let mut payload = Vec::new();
    let alices = initiator.finish(&alice, &message_2, &mut payload).unwrap();
    assert_eq!(payload, b"welcome");
    for (keys, send, receive) in [
        (&alices, "initiator sends", "responder sends"),
        (&bobs, "responder sends", "initiator sends"),
    ] {
        assert_eq!(keys.send.as_bytes(), &page.array(send));
        assert_eq!(keys.receive.as_bytes(), &page.array(receive));
        assert_eq!(keys.handshake_hash, page.array("handshake hash"));
    }

    let (mut sealer, mut opener) = (Sealer::new(alices.send), Opener::new(bobs.receive, Window::Node));
    let counter = sealer.next_counter().unwrap();
    let mut datagram = [&b"frame"[..], &[0; TAG]].concat();
    sealer.seal(counter, b"header", &mut datagram);
    assert_eq!(opener.open(counter, b"header", &mut datagram).unwrap(), b"frame");
}
