//! Attributes in what the kernel sends, however they are nested.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzzing::netlink(data));
