//! Nothing that holds a secret shows it when it is printed for debugging.

mod shown;

use farlan_crypto::random::os_bytes;
use farlan_crypto::{
    Identity, Initiator, Key, Opener, Responder, SalsaPoly, Sealer, Secret, Seed, SystemRandom, TAG, Window, Work,
};
use shown::assert_hidden;

#[test]
fn debug_shows_no_secret_of_any_type() {
    let secret: [u8; 32] = std::array::from_fn(|n| 0x91 + 3 * n as u8);
    let mut shown = Vec::new();
    let mut show = |what: &'static str, text: [String; 2]| {
        for text in text {
            assert_hidden(what, &text, &secret);
        }
        shown.push(what);
    };
    macro_rules! show {
        ($what:expr, $value:expr) => {
            show($what, [format!("{:?}", $value), format!("{:#x?}", $value)])
        };
    }
    show!("Secret", Secret::from(secret));
    show!("Key", Key::from_bytes(secret));
    show!("Seed", Seed::from_bytes(secret));
    show!("os_bytes", os_bytes().unwrap());
    show!("SystemRandom", SystemRandom::from_os().unwrap());
    let mut sealer = Sealer::new(Key::from_bytes(secret));
    sealer.next_counter().unwrap();
    show!("Sealer", sealer);
    show!("Opener", Opener::new(Key::from_bytes(secret), Window::Node));
    // What it is to seal is as secret as the key.
    let mut message = [&secret[..], &[0; TAG]].concat();
    show!("SealJob", sealer.job(0, &[], &mut message));

    let identity = Identity::from_seed(Seed::from_bytes(secret), Work::NONE).unwrap();
    show!("Identity", identity);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let begun = Initiator::<SalsaPoly>::start(b"p", &identity, &identity.public(), &secret, b"", &mut first).unwrap();
    show!("Initiator", begun);
    let read = Responder::<SalsaPoly>::read(b"p", &identity, &first, &mut Vec::new()).unwrap();
    show!("Responder", read);
    let keys = read.respond(&secret, b"", &mut second).unwrap();
    for key in [&keys.send, &keys.receive] {
        for text in [format!("{keys:?}"), format!("{keys:#x?}")] {
            assert_hidden("SessionKeys", &text, key.as_bytes());
        }
    }
    assert_eq!(shown.len(), 11, "{shown:?}");
}

#[test]
#[should_panic(expected = "shows")]
fn what_is_shown_is_noticed() {
    assert_hidden(
        "an array",
        &format!("{:?}", [0x91, 0x94, 0x97, 0x9a]),
        &[0x91, 0x94, 0x97, 0x9a, 0x9d],
    );
}
