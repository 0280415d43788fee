//! The committed inputs of the fuzz targets.

#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_tap_netlink() {
    corpus::replay("tap_netlink", super::netlink);
}
