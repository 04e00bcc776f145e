//! The log of a container as messages of a WebSocket.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Upgrade, websocket};

/// The protocols: bytes as they are, or as text in base64. Without a name it is the former.
pub(crate) const WEBSOCKET: [&str; 3] = ["binary.k8s.io", BASE64, ""];
const BASE64: &str = "base64.binary.k8s.io";

/// Sends `lines` until they end or the client leaves.
pub(crate) async fn log(
    upgrade: Upgrade,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    lines: impl Stream<Item = Bytes> + Send + 'static,
) {
    let as_text = upgrade == Upgrade::WebSocket(BASE64);
    websocket::outward(connection, lines.boxed(), as_text).await;
}
