//! See `resin::fuzzing::connect_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::connect_answer(data));
