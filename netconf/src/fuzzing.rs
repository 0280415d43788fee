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

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(input in vec(any::<u8>(), 0..120), text in "\\PC{0,40}") {
        bodies::documents(&input);
        bodies::texts(text.as_bytes());
        bodies::world(&input);
        bodies::signed(&input);
        bodies::link(&input);
        bodies::link(format!("\u{0}farlan:{text}").as_bytes());
    }
}
