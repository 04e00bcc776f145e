//! A body that is JSON or YAML, by the schema of what it says it is.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| apiserver::fuzzing::document(data));
