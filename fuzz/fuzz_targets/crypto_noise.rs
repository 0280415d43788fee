#![no_main]

#[path = "../bodies/crypto.rs"]
mod crypto;

libfuzzer_sys::fuzz_target!(|input: &[u8]| crypto::noise(input));
