//! Port-forward as it was before SPDY was tunnelled: over a WebSocket, for the ports that the request names.
//!
//! Each port has two channels, one for its connection and one for what went wrong. A message begins with its
//! channel: as a byte, or in the base64 form as a digit (and what comes after `9` in ASCII). The first
//! message of each channel is the port, two bytes with the lower one first. No channel can be closed by
//! itself: when all connections have ended, the WebSocket does. Source: package `portforward` of the kubelet.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Upgrade;
use super::port_forward::{BUFFER, Connect};
use super::websocket::{FAREWELL, Socket, open};

/// A message is bytes.
pub(super) const BINARY: &str = "v4.channel.k8s.io";
/// A message is base64 text.
pub(super) const BASE64: &str = "v4.base64.channel.k8s.io";
/// A client that names no protocol takes the first.
pub(super) const UNNAMED: &str = "";

/// So many ports have channels that can be told, in both forms.
const PORTS: usize = 32;
/// Messages that may wait to be sent.
const QUEUE: usize = 16;

/// A message to the client: its channel, and what is in it.
type Outgoing = (u8, Bytes);

/// The ports that a request names, where the protocol takes them from there.
pub(crate) fn named_ports<'a>(
    upgrade: Upgrade,
    named: impl Iterator<Item = &'a str>,
) -> Result<Vec<u16>, String> {
    if !matches!(upgrade, Upgrade::WebSocket(BINARY | BASE64 | UNNAMED)) {
        return Ok(Vec::new());
    }
    let mut ports = Vec::new();
    for text in named.flat_map(|named| named.split(',')) {
        match text.parse::<u16>() {
            Ok(0) => return Err(format!("port {text:?} must be > 0")),
            Ok(port) => ports.push(port),
            Err(_) => return Err(format!("unable to parse {text:?} as a port")),
        }
    }
    match ports.len() {
        0 => Err("query parameter \"ports\" is required".to_owned()),
        1..=PORTS => Ok(ports),
        _ => Err(format!("at most {PORTS} ports can be forwarded over one connection")),
    }
}

/// Serves the ports, until all their connections have ended or the client leaves.
pub(super) async fn serve<S>(connection: S, protocol: &str, ports: &[u16], connect: &Connect)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let is_text = protocol == BASE64;
    let (mut sink, source) = open(connection).await.split();
    let (outgoing, mut queue) = mpsc::channel::<Outgoing>(QUEUE);
    let (mut inward, mut connections) = (Vec::new(), Vec::new());
    for (index, port) in ports.iter().enumerate() {
        let channel = u8::try_from(2 * index).expect("there are few ports");
        let (sender, incoming) = mpsc::channel(1);
        inward.push(Some(sender));
        connections.push(forward(*port, channel, incoming, connect, outgoing.clone()));
    }
    drop(outgoing);
    let writing = async {
        while let Some((channel, bytes)) = queue.recv().await {
            if sink.send(message(is_text, channel, &bytes)).await.is_err() {
                return;
            }
        }
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(end))).await;
    };
    let serving = async {
        tokio::join!(writing, join_all(connections));
    };
    let reading = read(source, is_text, inward);
    tokio::pin!(serving, reading);
    tokio::select! {
        // Hanging up on a client that is still sending would take from it what it has not read yet.
        () = &mut serving => drop(tokio::time::timeout(FAREWELL, &mut reading).await),
        () = &mut reading => {}
    }
}

/// Serves one connection, until the pod closes it: the client has no way to say that it is done sending.
async fn forward(
    port: u16,
    channel: u8,
    mut incoming: mpsc::Receiver<Bytes>,
    connect: &Connect,
    outgoing: mpsc::Sender<Outgoing>,
) {
    let (data, error) = (channel, channel + 1);
    for channel in [data, error] {
        if outgoing.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await.is_err() {
            return;
        }
    }
    let pod = match connect(port).await {
        Ok(pod) => pod,
        Err(failure) => {
            let _ = outgoing.send((error, failure.into())).await;
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
        // What the pod has sent by then is still passed on.
        incoming.close();
        std::future::pending::<()>().await;
    };
    let outward = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = from_pod.read(&mut buffer).await {
            if outgoing.send((data, Bytes::copy_from_slice(&buffer[..read]))).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

/// Hands on what the client sends, until it leaves.
async fn read<S>(
    mut source: SplitStream<Socket<S>>,
    is_text: bool,
    mut inward: Vec<Option<mpsc::Sender<Bytes>>>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Close(_) => return,
            _ => continue,
        };
        if bytes.is_empty() {
            continue;
        }
        let Some((channel, mut content)) = said(is_text, bytes) else { return };
        // Nobody reads what is sent as if something had gone wrong.
        if channel % 2 == 1 {
            continue;
        }
        let Some(place) = inward.get_mut(usize::from(channel / 2)) else { continue };
        while let Some(sender) = place.as_ref().filter(|_| !content.is_empty()) {
            let piece = content.split_to(content.len().min(BUFFER));
            if sender.send(piece).await.is_err() {
                *place = None;
            }
        }
    }
}

/// Which channel a message is of that is not empty, and what it says; none where it should be base64 and is
/// not: it cannot be passed on, and a gap must not go unnoticed.
pub(super) fn said(is_text: bool, message: Bytes) -> Option<(u8, Bytes)> {
    let (first, rest) = message.split_first()?;
    if is_text {
        return Some((first.wrapping_sub(b'0'), STANDARD.decode(rest).ok()?.into()));
    }
    Some((*first, message.slice(1..)))
}

/// What a channel says, as a message.
pub(super) fn message(is_text: bool, channel: u8, bytes: &[u8]) -> Message {
    if is_text {
        let mut text = String::from(char::from(b'0' + channel));
        STANDARD.encode_string(bytes, &mut text);
        return Message::Text(text.into());
    }
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.freeze())
}
