//! See `resin::fuzzing::client_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::client_bytes(data));
