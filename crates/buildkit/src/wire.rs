//! The messages and services as they are on the wire (`proto`).
#![allow(missing_docs, unreachable_pub, dead_code, unused_qualifications, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/wire.rs"));
