//! A Dockerfile, and the list of what stays out of the context.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| build::fuzzing::dockerfile(text));
