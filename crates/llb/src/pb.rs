//! The messages of a definition, as they are on the wire (`proto/llb.proto`).
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/pb.rs"));
