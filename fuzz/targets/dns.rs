//! What clients and other servers send to the server of names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzzing::dns(data));
