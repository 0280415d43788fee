//! The committed inputs of the fuzz targets.

#[path = "../../../../fuzz/bodies/node.rs"]
mod bodies;
#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[test]
fn the_corpus_of_node_files() {
    corpus::replay("node_files", bodies::files);
}

#[test]
fn the_corpus_of_node_options() {
    corpus::replay("node_options", bodies::options);
}

#[test]
fn the_corpus_of_node_arguments() {
    corpus::replay("node_arguments", bodies::arguments);
}

#[test]
fn the_corpus_of_node_requests() {
    corpus::replay("node_requests", bodies::requests);
}
