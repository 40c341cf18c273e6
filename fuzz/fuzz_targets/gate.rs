//! See `resin::fuzzing::gate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::gate(data));
