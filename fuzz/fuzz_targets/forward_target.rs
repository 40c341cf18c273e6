//! See `resin::fuzzing::forward_target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::forward_target(data));
