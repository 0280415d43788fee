//! The vectors for `Noise_IK_25519_ChaChaPoly_SHA512` in the collections of the cacophony and snow projects: the only ones with
//! this pattern and hash. farlan's own cipher has none; it runs the same code.

use super::*;

const VECTORS: &str = include_str!("published.txt");

struct Vector {
    script: Script,
    remote: [u8; 32],
    hash: Option<[u8; 64]>,
    messages: Vec<[Vec<u8>; 2]>,
}

fn parse(text: &str) -> Vector {
    let all = |name: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(word, _)| *word == name)
            .map(|(_, value)| value)
            .collect()
    };
    let one = |name: &str| array(all(name)[0]);
    let messages = all("message").into_iter().map(|line| {
        let (payload, ciphertext) = line.split_once(' ').unwrap();
        [decode(payload), decode(ciphertext)]
    });
    let messages: Vec<_> = messages.collect();
    Vector {
        script: Script {
            prologue: decode(all("init_prologue")[0]),
            initiator: one("init_static"),
            responder: one("resp_static"),
            ephemerals: [one("init_ephemeral"), one("resp_ephemeral")],
            payloads: [messages[0][0].clone(), messages[1][0].clone()],
        },
        remote: one("init_remote_static"),
        hash: all("handshake_hash")
            .first()
            .map(|hash| decode(hash).try_into().unwrap()),
        messages,
    }
}

#[test]
fn published_handshakes_are_reproduced() {
    let vectors: Vec<_> = VECTORS
        .split("collection ")
        .filter(|text| !text.is_empty())
        .map(parse)
        .collect();
    assert_eq!(vectors.len(), 2, "one in each collection");
    let mut transported = 0;
    for vector in &vectors {
        assert_eq!(vector.script.responder_public(), vector.remote);
        let outcome = vector.script.ours::<ChaChaPoly>();
        assert_eq!(outcome.messages[0], vector.messages[0][1]);
        assert_eq!(outcome.messages[1], vector.messages[1][1]);
        assert!(vector.hash.is_none_or(|hash| hash == outcome.hash));
        // The initiator and the responder in turn, each with a counter of its own.
        for (number, [plain, sealed]) in vector.messages[2..].iter().enumerate() {
            let key = Key::from_bytes(outcome.keys[number % 2]);
            let mut buffer = [plain, &[0; TAG][..]].concat();
            ChaChaPoly::seal(&key, number as u64 / 2, b"", &mut buffer);
            assert_eq!(&buffer, sealed);
            transported += 1;
        }
    }
    assert_eq!(transported, 6);
}

/// RFC 7748 §5.2, both vectors, and the loop of a thousand.
#[test]
fn scalar_multiplication_is_that_of_rfc_7748() {
    let multiply = |scalar: [u8; 32], point: [u8; 32]| *shared_for_test(&StaticSecret::from(scalar), &point).unwrap();
    for (scalar, point, product) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(multiply(array(scalar), array(point)), array(product));
    }
    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut scalar, mut point) = (nine, nine);
    for iteration in 1..=1000 {
        (scalar, point) = (multiply(scalar, point), scalar);
        if iteration == 1 {
            assert_eq!(
                scalar,
                array("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")
            );
        }
    }
    assert_eq!(
        scalar,
        array("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
    );
}

/// A thousand handshakes of random keys, prologues and payloads with snow at the other end, in both roles, byte for byte, and
/// then messages both ways under the keys of both.
#[test]
fn a_thousand_random_handshakes_with_snow_agree() {
    let random = |name: &str, number: u32| sha512(&[name.as_bytes(), &number.to_le_bytes()]);
    let secret = |name, number| <[u8; 32]>::try_from(&random(name, number)[..32]).unwrap();
    for number in 0..1000 {
        let some = |name, most| {
            let bytes = random(name, number);
            bytes[1..]
                .iter()
                .copied()
                .take(usize::from(bytes[0]) % most)
                .collect::<Vec<u8>>()
        };
        let script = Script {
            prologue: some("prologue", 40),
            initiator: secret("initiator", number),
            responder: secret("responder", number),
            ephemerals: [secret("first", number), secret("second", number)],
            payloads: [some("to you", 64), some("to me", 64)],
        };
        let outcome = match number % 2 {
            0 => script.ours_to_snow::<SalsaPoly>(),
            _ => script.snow_to_ours::<SalsaPoly>(),
        };
        let ours = script.ours::<SalsaPoly>();
        assert_eq!(outcome, ours, "{number}");
        assert_eq!(outcome.messages[0].len(), script.payloads[0].len() + MESSAGE_1_OVERHEAD);
    }
}

/// What goes under the session keys is the same at both: snow's transport opens ours and seals what ours opens.
#[test]
fn snow_and_ours_exchange_datagrams() {
    let script = Script::numbered(5);
    let mut snow = script.snow(SalsaPoly::NAME, false);
    let mut message = Vec::new();
    let initiator = static_key(script.initiator);
    let begun = Initiator::<SalsaPoly>::start_with(
        &script.prologue,
        &initiator,
        &script.responder_public(),
        &script.ephemerals[0],
        b"",
        &mut message,
    )
    .unwrap();
    snow_reads(&mut snow, &message);
    let answer = snow_writes(&mut snow, b"");
    let keys = begun.finish_with(&initiator, &answer, &mut Vec::new()).unwrap();
    let snow = snow.into_stateless_transport_mode().unwrap();
    for (counter, length) in [(0, 0), (1, 1), (2, 64), (3, 1400), (1 << 40, 9000)] {
        let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let mut ours = [&plain[..], &[0; TAG]].concat();
        SalsaPoly::seal(&keys.send, counter, b"", &mut ours);
        let mut theirs = vec![0; length + TAG];
        assert_eq!(snow.read_message(counter, &ours, &mut theirs).unwrap(), length);
        assert_eq!(theirs[..length], plain);
        let sealed = snow.write_message(counter, &plain, &mut theirs).unwrap();
        assert_eq!(
            SalsaPoly::open(&keys.receive, counter, b"", &mut theirs[..sealed]).unwrap(),
            plain
        );
    }
}
