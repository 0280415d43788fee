//! The committed inputs of the fuzz targets, and bytes at random.

use proptest::{collection::vec, prelude::*};

#[path = "../../fuzz/bodies/netconf.rs"]
mod bodies;
#[path = "../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_netconf_documents() {
    corpus::replay("netconf_documents", bodies::documents);
}

#[test]
fn the_corpus_of_netconf_texts() {
    corpus::replay("netconf_texts", bodies::texts);
}

#[test]
fn the_corpus_of_netconf_world() {
    corpus::replay("netconf_world", bodies::world);
}

#[test]
fn the_corpus_of_netconf_signed() {
    corpus::replay("netconf_signed", bodies::signed);
}

#[test]
fn the_corpus_of_netconf_link() {
    corpus::replay("netconf_link", bodies::link);
}

#[test]
fn the_corpus_of_netconf_private() {
    corpus::replay("netconf_private", bodies::private);
}

#[test]
fn documents_and_texts_of_networks_stand_a_quarter_of_a_million_mutations() {
    let made = corpus::mutate("netconf_documents", 80_000, bodies::documents)
        + corpus::mutate("netconf_texts", 80_000, bodies::texts)
        + corpus::mutate("netconf_world", 40_000, bodies::world)
        + corpus::mutate("netconf_link", 50_000, bodies::link);
    assert_eq!(made, 250_000);
}

#[test]
fn documents_of_private_networks_stand_ten_thousand_mutations() {
    let made = corpus::mutate("netconf_private", 10_000, bodies::private);
    assert_eq!(made, 10_000);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(input in vec(any::<u8>(), 0..120), text in "\\PC{0,40}") {
        bodies::documents(&input);
        bodies::texts(text.as_bytes());
        bodies::world(&input);
        bodies::signed(&input);
        bodies::link(&input);
        bodies::private(&input);
        bodies::link(format!("\u{0}farlan:{text}").as_bytes());
    }
}
