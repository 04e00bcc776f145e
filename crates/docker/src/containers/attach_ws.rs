//! `GET /containers/{name}/attach/ws`: a container's own streams over a WebSocket.

use std::future::pending;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_util::io::ReaderStream;

use super::attach;
use crate::answer::Answer;
use crate::call::Call;
use crate::fault::Fault;
use crate::framing::{Framing, RAW};
use crate::hijack;

/// How much waits between the socket and the session.
const BUFFER: usize = 64 << 10;
/// The longest message that is read.
const MESSAGE: usize = 1 << 20;
/// What waits to be sent, answers to the client's pings among it.
const UNSENT: usize = 1 << 20;

/// Attaches to a container; both outputs come unframed.
pub(crate) async fn attach_ws(mut call: Call) -> Answer {
    let key = call.header("Sec-WebSocket-Key").map(|key| derive_accept_key(key.as_bytes()));
    let (Some(accept), Some(upgrade)) = (key, call.upgrade.take()) else {
        return Err(Fault::invalid("not a WebSocket handshake"));
    };
    // Clients that name no stream mean all of them.
    let named = ["stdin", "stdout", "stderr"].iter().any(|name| call.query.get(name).is_some());
    let wanted = |name: &str| call.query.flag_or(name, !named);
    let session =
        attach::session(&call, wanted("stdin"), wanted("stdout"), wanted("stderr"), Framing::Raw).await?;
    let (closing, place) = (call.api.closing.clone(), call.place());
    call.api.sessions.spawn(async move {
        let _place = place;
        let connection = match upgrade.await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "a connection was not handed over");
                return;
            }
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .max_write_buffer_size(UNSENT);
        let connection = TokioIo::new(connection);
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        let (near, far) = tokio::io::duplex(BUFFER);
        let (reader, writer) = tokio::io::split(near);
        let carried = async {
            // A client that leaves ends the bridge, and that the session.
            let (running, bridge) = (session.run(reader, writer, pending()), bridge(socket, far));
            tokio::pin!(running, bridge);
            tokio::select! {
                () = &mut running => bridge.await,
                () = &mut bridge => {}
            }
        };
        tokio::select! {
            () = carried => {}
            () = closing.cancelled() => {}
        }
    });
    let mut response = hijack::upgraded(RAW, "websocket");
    let accept = HeaderValue::try_from(accept)
        .map_err(|error| Fault::internal(format!("answer the handshake: {error}")))?;
    response.headers_mut().insert("Sec-WebSocket-Accept", accept);
    Ok(response)
}

/// Carries bytes between the messages of a socket and a plain stream, until either ends.
async fn bridge(socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, plain: tokio::io::DuplexStream) {
    let (mut sink, mut source) = socket.split();
    let (reader, mut writer) = tokio::io::split(plain);
    let mut pieces = ReaderStream::new(reader);
    let outward = async {
        while let Some(Ok(piece)) = pieces.next().await {
            if sink.send(Message::Binary(piece)).await.is_err() {
                return;
            }
        }
        // The peer may have gone first.
        let _ = sink.close().await;
    };
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            let bytes: Bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        // There is no half of such a connection: who has said goodbye reads no more.
        () = inward => {}
    }
}
