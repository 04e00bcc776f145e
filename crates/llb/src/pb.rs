//! The messages of a definition, as they are on the wire (`proto/llb.proto`).
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/pb.rs"));

/// Bytes as JSON has them that knows none.
fn numbers<S: serde::Serializer>(bytes: &prost::bytes::Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(bytes.iter())
}
