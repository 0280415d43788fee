#![no_main]

#[path = "../bodies/node.rs"]
mod node;

libfuzzer_sys::fuzz_target!(|input: &[u8]| node::names(input));
