//! The committed inputs of the fuzz targets, and others made of them.

use std::cell::Cell;

#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_tap_netlink() {
    corpus::replay("tap_netlink", super::netlink);
}

#[test]
fn the_corpora_of_tap_bus_and_tap_hosts() {
    corpus::replay("tap_bus", super::bus);
    assert_eq!(corpus::mutate("tap_bus", 50_000, super::bus), 50_000);
    corpus::replay("tap_hosts", super::hosts);
    assert_eq!(corpus::mutate("tap_hosts", 50_000, super::hosts), 50_000);
}

#[test]
fn the_corpus_of_tap_requests() {
    let read = Cell::new(0);
    let count = corpus::replay("tap_requests", |input| {
        read.set(read.get() + usize::from(super::requests(input)));
    });
    assert!(2 * read.get() > count, "{} of {count} are read", read.get());
}

#[test]
fn what_the_kernel_and_the_card_helper_say_stands_a_quarter_of_a_million_mutations() {
    let read = Cell::new(0);
    let made = corpus::mutate("tap_netlink", 100_000, super::netlink)
        + corpus::mutate("tap_requests", 150_000, |input| {
            read.set(read.get() + usize::from(super::requests(input)));
        });
    assert_eq!(made, 250_000);
    // Some of them are still messages, so not all is refused at the first byte.
    assert!(read.get() > 10_000, "{} are read", read.get());
}
