//! The fixed vectors of PROTOCOL.md.
//!
//! They were computed by a separate program from libsodium's primitives (`crypto_stream_salsa20_xor_ic`,
//! `crypto_onetimeauth`, `crypto_scalarmult_curve25519`, `crypto_sign_seed_keypair` and its key conversions) and
//! Python's `hashlib` and `hmac`, not by this crate. A change that breaks one of them is a change of the protocol.

use data_encoding::HEXLOWER;
use farlan_crypto::{Aead, Identity, Initiator, Key, NodeId, Opener, PublicKey, Responder, SalsaPoly, Sealer};
use farlan_crypto::{Seed, TAG, Window, Work};

/// An identity; it carries the work that real nodes require.
struct Published {
    seed: &'static str,
    public: &'static str,
    noise: &'static str,
    node_id: &'static str,
    text: &'static str,
}

/// The initiator, and the responder: the seeds are the numbers 6583 and 33380, little-endian, the two smallest
/// whose keys carry 14 bits of work.
const IDENTITIES: [Published; 2] = [
    Published {
        seed: "b719000000000000000000000000000000000000000000000000000000000000",
        public: "dae249d4fca8fee906b64c26acb4edcf5ef7437c542cf09a3efe6824e041ba01",
        noise: "a020c63588e5c1ad6dfd836491250dade195f737868b2e08962ff9845843be39",
        node_id: "b0a463d0ba604b08a4ddc1938e1a01b0",
        text: "wcsghuf2mbfqrjg5ygjy4gqbwa",
    },
    Published {
        seed: "6482000000000000000000000000000000000000000000000000000000000000",
        public: "8be6b83cb782942ed914028189cf0f1b9fd21fbfcbea67806b6499cc582cdf03",
        noise: "0cedc5ed0625afb2b4cdbff9c89ad17265622a5720d4787e00e7e417508a5826",
        node_id: "efef201a275ffc5357a68182a8846142",
        text: "57xsagrhl76fgv5gqgbkrbdbii",
    },
];

/// The initiator's signature of "one LAN, any distance" in the domain "farlan example".
const SIGNATURE: &str = "85da3f209d9b1ac4172349724429ddac2db734bf942fc4bf369c47de0f20a60a\
     9f2a6f81eaea08d5bb79fb460fe67c7035ce258d4d409a383a55e31dfbbf2200";

/// Key 00 01 … 1f, counter 0x0102030405060708, header 40 41 … 4f, message 00 01 … 63.
const SEALED: &str = "4d3288040ab1795b6fd32182ccb199e4f3e64ba4639e418cf1987e891aa0c24c\
     7b4e15ffe87dec93e5c5b0a4cb03120f6f22dd97f86df703717ac734047bedb8\
     3b137aeef66ed1838756904ed3e05b3a549f01c9bbb6e528d46fb6f47917f598\
     01c1f21cb50ea30204dd0c8cf530c92070f25d7d";

/// The same key, counter 0, no header, no message: the tag alone.
const SEALED_NOTHING: &str = "1a71d195e419ce25073205230893114b";

/// A handshake between the two: ephemerals 11 11 … and 22 22 …, prologue "farlan 1", the payload of message 1 the
/// initiator's Ed25519 key, that of message 2 "welcome".
const MESSAGE_1: &str = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13\
     c5843eddcb3cd44967bca62a756efec0f178eb5c3e907948fff1cd4d998b0b39\
     f7ad1fce7b1ef538ab52966317a7f1871f6d953ab335871db510c9ea8d1414e1\
     4a83f25ffeed5f9d4dddbd242016959fd601b0ccdf46e83831945fd6416ae44c";
const MESSAGE_2: &str = "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20\
     a5f68b816df7356cc9effd09f387ad0377feb56a15a912";
const INITIATOR_TO_RESPONDER: &str = "25c57c98fa895638c9b65401a09d40e3f542b07ba42f6fa1219eaa593ecb666a";
const RESPONDER_TO_INITIATOR: &str = "37a720288ae4133d573f9d764bd12966c835d1f341c446369e27a6406de58bdc";
const HANDSHAKE_HASH: &str = "1d4cad85bd602f9f4c226c0462dabc746390405b5c7e74b21e7ae418f1573935\
     e79cf61b832b0b58f1df3602ae4d8f8fd02ae0a07dad5e8c02a93b2ebd0f18c3";

fn array<const N: usize>(hex: &str) -> [u8; N] {
    let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal digits");
    bytes.try_into().expect("the length of the array")
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn identities() -> [Identity; 2] {
    IDENTITIES.map(|published| {
        Identity::from_seed(Seed::from_bytes(array(published.seed)), Work::REQUIRED).expect("a seed with work")
    })
}

#[test]
fn identities_follow_from_their_seeds() {
    for (identity, published) in identities().iter().zip(IDENTITIES) {
        let public = PublicKey::from_bytes(&array(published.public), Work::REQUIRED).unwrap();
        assert_eq!(identity.public(), public);
        assert_eq!(hex(&public.noise_static()), published.noise);
        assert_eq!(public.node_id(), NodeId::from_bytes(array(published.node_id)));
        assert_eq!(public.node_id().to_string(), published.text);
        assert_eq!(published.text.parse(), Ok(identity.node_id()));
        assert_eq!(identity.seed().as_bytes(), &array(published.seed));
    }
}

/// Ed25519 signatures are deterministic, so that signing can be compared too.
#[test]
fn the_signature_is_reproduced() {
    let [signer, other] = identities();
    let (domain, message) = (b"farlan example", b"one LAN, any distance");
    let signature = signer.sign(domain, message);
    assert_eq!(hex(signature.as_bytes()), SIGNATURE);
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
    assert_eq!(hex(&buffer), SEALED);
    assert_eq!(
        SalsaPoly::open(&key, 0x0102_0304_0506_0708, &header, &mut buffer).unwrap(),
        message
    );

    let mut nothing = [0; TAG];
    SalsaPoly::seal(&key, 0, b"", &mut nothing);
    assert_eq!(hex(&nothing), SEALED_NOTHING);
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
    assert_eq!(hex(&message_1), MESSAGE_1);

    let mut payload = Vec::new();
    let responder = Responder::<SalsaPoly>::read(prologue, &bob, &message_1, &mut payload).unwrap();
    let claimed = PublicKey::from_bytes(&payload.try_into().unwrap(), Work::REQUIRED).unwrap();
    assert_eq!(claimed, alice.public());
    assert!(responder.remote_is(&claimed));
    let mut message_2 = Vec::new();
    let bobs = responder.respond(&[0x22; 32], b"welcome", &mut message_2).unwrap();
    assert_eq!(hex(&message_2), MESSAGE_2);

    let mut payload = Vec::new();
    let alices = initiator.finish(&alice, &message_2, &mut payload).unwrap();
    assert_eq!(payload, b"welcome");
    for (keys, send, receive) in [
        (&alices, INITIATOR_TO_RESPONDER, RESPONDER_TO_INITIATOR),
        (&bobs, RESPONDER_TO_INITIATOR, INITIATOR_TO_RESPONDER),
    ] {
        assert_eq!(hex(keys.send.as_bytes()), send);
        assert_eq!(hex(keys.receive.as_bytes()), receive);
        assert_eq!(hex(&keys.handshake_hash), HANDSHAKE_HASH);
    }

    let (mut sealer, mut opener) = (Sealer::new(alices.send), Opener::new(bobs.receive, Window::Node));
    let counter = sealer.next_counter().unwrap();
    let mut datagram = [&b"frame"[..], &[0; TAG]].concat();
    sealer.seal(counter, b"header", &mut datagram);
    assert_eq!(opener.open(counter, b"header", &mut datagram).unwrap(), b"frame");
}
