//! See `resin::fuzzing::node_uri`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resin::fuzzing::node_uri(data));
