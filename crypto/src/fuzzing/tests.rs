//! The committed inputs of the fuzz targets, and bytes at random.

use proptest::{collection::vec, prelude::*};

#[path = "../../../fuzz/bodies/crypto.rs"]
mod bodies;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_crypto_keys() {
    corpus::replay("crypto_keys", bodies::keys);
}

#[test]
fn the_corpus_of_crypto_noise() {
    corpus::replay("crypto_noise", bodies::noise);
}

#[test]
fn keys_and_their_files_stand_a_hundred_thousand_mutations() {
    assert_eq!(corpus::mutate("crypto_keys", 100_000, bodies::keys), 100_000);
}

proptest! {
    #[test]
    fn any_bytes_are_keys_or_refused(input in vec(any::<u8>(), 0..120), digits in "[0-9a-fA-F]{62,66}\n?") {
        bodies::keys(&input);
        bodies::keys(format!("farlan-seed-1 {digits}").as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bent_handshakes_come_to_nothing(input in vec(any::<u8>(), 0..60)) {
        bodies::noise(&input);
    }
}
