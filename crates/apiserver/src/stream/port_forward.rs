//! Port-forward: connections to ports of a pod, each as two streams of a SPDY session.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy::{self, Stream};
use super::{Upgrade, websocket};
use crate::error::Error;
use crate::node::Duplex;

/// The protocol that tunnels SPDY through a WebSocket.
pub(crate) const WEBSOCKET: [&str; 1] = ["SPDY/3.1+portforward.k8s.io"];
/// The protocol over SPDY itself.
pub(crate) const SPDY: [&str; 1] = ["portforward.k8s.io"];

/// Bytes that may wait between a client and a port.
const BUFFER: usize = 64 << 10;

/// Connects to a port of the pod until one side closes.
pub(crate) type Connect =
    Arc<dyn Fn(u16, Box<dyn Duplex>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// Serves port-forward over an upgraded connection, until the client leaves or the server stops.
pub(crate) async fn port_forward(
    upgrade: Upgrade,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    connect: Connect,
    stop: CancellationToken,
) {
    let serving = async {
        match upgrade {
            Upgrade::WebSocket(_) => {
                let (tunnel, work) = websocket::tunnel(connection).await;
                tokio::join!(serve(tunnel, connect), work);
            }
            Upgrade::Spdy(_) => serve(connection, connect).await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = serving => {}
    }
}

async fn serve(connection: impl AsyncRead + AsyncWrite + Send + Unpin, connect: Connect) {
    let (streams, session) = spdy::session(connection);
    tokio::pin!(session);
    tokio::select! {
        () = &mut session => {}
        () = pair(streams, connect) => session.await,
    }
}

/// Puts the two streams of each connection together and serves them, until no more come.
async fn pair(mut streams: mpsc::Receiver<Stream>, connect: Connect) {
    let mut waiting: HashMap<String, (Option<Stream>, Option<Stream>)> = HashMap::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = streams.recv() => stream,
            Some(_) = connections.join_next() => continue,
        };
        // Dropping the set ends the connections that are left: the client is gone.
        let Some(stream) = stream else { return };
        let text = |name: &str| stream.header(name).unwrap_or_default().to_owned();
        let (kind, port, id) = (text("streamtype"), text("port"), text("requestid"));
        let Ok(port) = port.parse::<u16>() else { continue };
        // Old clients give no id; they make one connection to a port at a time.
        let key = if id.is_empty() { format!("port {port}") } else { id };
        let entry = waiting.entry(key.clone()).or_default();
        match kind.as_str() {
            "error" => entry.0 = Some(stream),
            "data" => entry.1 = Some(stream),
            _ => continue,
        }
        if let (Some(_), Some(_)) = entry
            && let Some((Some(error), Some(data))) = waiting.remove(&key)
        {
            connections.spawn(forward(port, error, data, connect.clone()));
        }
    }
}

/// Serves one connection.
async fn forward(port: u16, error: Stream, data: Stream, connect: Connect) {
    let Stream { mut incoming, outgoing, .. } = data;
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (mut from_pod, mut to_pod) = tokio::io::split(ours);
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to_pod.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            match from_pod.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) if outgoing.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() => return,
                Ok(_) => {}
            }
        }
    };
    let connecting = async {
        let (outcome, ()) = tokio::join!(connect(port, Box::new(theirs)), outward);
        if let Err(failure) = outcome {
            let text = format!("an error occurred forwarding {port}: {failure}");
            let _ = error.outgoing.send(text.into()).await;
        }
        let _ = error.outgoing.finish().await;
        let _ = outgoing.finish().await;
    };
    // The pod's side ends the connection; a client that is done sending may still be listening.
    tokio::select! {
        () = connecting => {}
        () = async { inward.await; std::future::pending::<()>().await } => {}
    }
}
