#![no_main]

#[path = "../bodies/netconf.rs"]
mod netconf;

libfuzzer_sys::fuzz_target!(|input: &[u8]| netconf::private(input));
