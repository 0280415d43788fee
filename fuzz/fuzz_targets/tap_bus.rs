#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    farlan_tap::fuzzing::bus(input);
});
