#![no_main]

#[path = "../bodies/spreading.rs"]
mod spreading;

libfuzzer_sys::fuzz_target!(|input: &[u8]| spreading::message(input));
