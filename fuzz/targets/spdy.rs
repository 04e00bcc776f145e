//! SPDY/3.1: frames do not depend on how they were cut, and header blocks are bounded.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| apiserver::fuzzing::spdy(data));
