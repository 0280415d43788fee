#![no_main]

#[path = "../bodies/offload.rs"]
mod offload;

libfuzzer_sys::fuzz_target!(|input: &[u8]| offload::run(input));
