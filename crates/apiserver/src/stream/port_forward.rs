//! Port-forward: connections to ports of a pod, each as two streams of a SPDY session. Clients that speak
//! no SPDY use the [`super::port_channels`] of a WebSocket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::spdy::{self, Stream};
use super::{Upgrade, port_channels, websocket};
use crate::node::Duplex;

/// The protocols over a WebSocket, best first.
pub(crate) const WEBSOCKET: [&str; 4] =
    [TUNNEL, port_channels::BINARY, port_channels::BASE64, port_channels::UNNAMED];
/// The protocol that tunnels SPDY through a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocol over SPDY itself.
pub(crate) const SPDY: [&str; 1] = ["portforward.k8s.io"];

/// Bytes of a port that are read at once.
pub(super) const BUFFER: usize = 64 << 10;

/// Connections of one client at a time.
const CONNECTIONS: usize = 1000;
/// Streams of one client that wait for their other halves, and how long they may where others want their
/// places, as in Kubernetes.
const WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to a port of the pod; gives what the client is told where that fails.
pub(crate) type Connect =
    Arc<dyn Fn(u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, String>> + Send + Sync>;

/// Serves port-forward over an upgraded connection, until the client leaves or the server stops. `ports`
/// are those that the request names: where clients ask for each as they go, none.
pub(crate) async fn port_forward(
    upgrade: Upgrade,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ports: Vec<u16>,
    connect: Connect,
    stop: CancellationToken,
) {
    let serving = async {
        match upgrade {
            Upgrade::WebSocket(protocol) if protocol != TUNNEL => {
                port_channels::serve(connection, protocol, &ports, &connect).await;
            }
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

/// The streams whose other half has not come yet.
#[derive(Default)]
struct Waiting {
    halves: HashMap<String, Half>,
}

struct Half {
    came: Instant,
    is_error: bool,
    stream: Stream,
}

/// A stream and its other half, or a stream for which there is no room.
enum Met {
    Both { error: Stream, data: Stream },
    Refused(Stream),
    Not,
}

impl Waiting {
    /// Takes a stream in, and gives it out with its other half once both are there. One of the same kind
    /// takes the place of an earlier one.
    fn meet(&mut self, key: String, is_error: bool, stream: Stream) -> Met {
        match self.halves.remove(&key) {
            Some(other) if other.is_error != is_error => {
                let (error, data) = if is_error { (stream, other.stream) } else { (other.stream, stream) };
                return Met::Both { error, data };
            }
            _ => {}
        }
        let now = Instant::now();
        if self.halves.len() >= WAITING {
            self.halves.retain(|_, half| now.duration_since(half.came) < PATIENCE);
        }
        if self.halves.len() >= WAITING {
            return Met::Refused(stream);
        }
        self.halves.insert(key, Half { came: now, is_error, stream });
        Met::Not
    }
}

/// Puts the two streams of each connection together and serves them, until no more come.
async fn pair(mut streams: mpsc::Receiver<Stream>, connect: Connect) {
    let mut waiting = Waiting::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = streams.recv() => stream,
            Some(_) = connections.join_next() => continue,
        };
        // Dropping the set ends the connections that are left: the client is gone.
        let Some(stream) = stream else { return };
        let is_error = match stream.headers.kind.as_str() {
            "error" => true,
            "data" => false,
            _ => continue,
        };
        let Ok(port) = stream.headers.port.parse::<u16>() else { continue };
        // Old clients give no id; they make one connection to a port at a time.
        let key = match stream.headers.request.as_str() {
            "" => format!("port {port}"),
            id => id.to_owned(),
        };
        match waiting.meet(key, is_error, stream) {
            Met::Both { error, data } if connections.len() < CONNECTIONS => {
                connections.spawn(forward(port, error, data, connect.clone()));
            }
            Met::Both { error, data } => {
                let _ = error.outgoing.refuse().await;
                let _ = data.outgoing.refuse().await;
            }
            Met::Refused(stream) => drop(stream.outgoing.refuse().await),
            Met::Not => {}
        }
    }
}

/// Serves one connection, until both sides have closed it or the client has let go of it.
async fn forward(port: u16, error: Stream, data: Stream, connect: Connect) {
    let Stream { mut incoming, outgoing, reset, .. } = data;
    let carrying = async {
        let pod = match connect(port).await {
            Ok(pod) => pod,
            Err(failure) => {
                let _ = error.outgoing.send(failure.into()).await;
                let _ = error.outgoing.finish().await;
                let _ = outgoing.finish().await;
                return;
            }
        };
        let (mut from_pod, mut to_pod) = tokio::io::split(pod);
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
            // The client learns at once that there is no more, and that nothing went wrong: it waits for both
            // before it closes its own side.
            let _ = outgoing.finish().await;
            let _ = error.outgoing.finish().await;
        };
        tokio::join!(inward, outward);
    };
    tokio::select! {
        () = carrying => {}
        () = reset.cancelled() => {}
    }
}
