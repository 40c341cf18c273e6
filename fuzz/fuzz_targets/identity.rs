//! See `resin::fuzzing::identity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::identity(data));
