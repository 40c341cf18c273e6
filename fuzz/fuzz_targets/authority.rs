//! See `resin::fuzzing::authority`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::authority(data));
