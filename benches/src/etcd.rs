//! The same writes into etcd, by its gRPC service.
//!
//! The one call that is needed (`etcdserverpb.KV/Put`) is a message of two byte strings, so it is
//! encoded here by hand: no generated client.

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::load;

const VALUE: [u8; 1024] = [0x61; 1024];
const KEY_FIELD: u8 = 1 << 3 | 2;
const VALUE_FIELD: u8 = 2 << 3 | 2;

/// Writes into the etcd that listens on `address`.
pub(crate) async fn measure(address: &str) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let address: std::sync::Arc<str> = address.into();
    load::writes(move |key| put(sender.clone(), address.clone(), key)).await
}

async fn put(
    mut sender: SendRequest<Full<Bytes>>,
    address: std::sync::Arc<str>,
    key: String,
) -> anyhow::Result<()> {
    let request = Request::post(format!("http://{address}/etcdserverpb.KV/Put"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(Full::new(message(key.as_bytes())))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?.into_body().collect().await?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
    ensure!(status.is_some_and(|status| status == "0"), "etcd refused a write: {status:?}");
    Ok(())
}

/// A `PutRequest` behind gRPC's five bytes of frame.
fn message(key: &[u8]) -> Bytes {
    let mut fields = BytesMut::new();
    for (field, bytes) in [(KEY_FIELD, key), (VALUE_FIELD, &VALUE[..])] {
        fields.put_u8(field);
        varint(&mut fields, bytes.len());
        fields.put_slice(bytes);
    }
    let mut frame = BytesMut::with_capacity(fields.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(fields.len()).expect("a kibibyte and a short key"));
    frame.put_slice(&fields);
    frame.freeze()
}

fn varint(to: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        to.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}
