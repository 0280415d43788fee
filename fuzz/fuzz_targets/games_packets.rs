#![no_main]

#[path = "../bodies/games.rs"]
mod games;

libfuzzer_sys::fuzz_target!(|input: &[u8]| games::packets(input));
