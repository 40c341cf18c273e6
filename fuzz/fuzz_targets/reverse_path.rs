//! See `resin::fuzzing::reverse_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::reverse_path(data));
