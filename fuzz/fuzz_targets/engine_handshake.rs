#![no_main]

#[path = "../bodies/engine.rs"]
mod engine;
#[path = "../bodies/share.rs"]
mod share;

libfuzzer_sys::fuzz_target!(|input: &[u8]| share::note(engine::handshake(input)));
