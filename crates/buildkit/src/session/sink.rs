//! A file, sent to a client.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use build::solve::{FileSink, SessionError};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{Sink as _, Stream as _};
use tokio::io::{AsyncWrite, BufWriter};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::{WAITING, origin, put};
use crate::channel::Channel;
use crate::wire::moby::filesync::v1::BytesMessage;
use crate::wire::moby::filesync::v1::file_send_client::FileSendClient;

/// How much goes into one message; clients take four times as much.
const PIECE: usize = 1 << 20;
/// How much is gathered before it is sent.
const GATHERED: usize = 128 << 10;

/// Opens the file that the client keeps for what its exporter `exporter` makes.
pub(super) fn open(
    channel: Channel,
    exporter: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<FileSink, SessionError> {
    let (messages, outward) = mpsc::channel(WAITING);
    let mut request = Request::new(outward);
    put(&mut request, "buildkit-attachable-exporter-id", [exporter])?;
    for (name, value) in metadata {
        let name = format!("exporter-md-{}", name.to_ascii_lowercase()).parse::<MetadataKey<Ascii>>();
        let value = value.parse::<MetadataValue<Ascii>>();
        // What a head cannot hold is of no use to a client, which only shows it.
        if let (Ok(name), Ok(value)) = (name, value) {
            request.metadata_mut().append(name, value);
        }
    }
    let mut client = FileSendClient::with_origin(channel, origin());
    let call = Box::pin(async move { client.diff_copy(request).await });
    let sink = Sink { messages, answer: Answer::Coming(call) };
    Ok(Box::pin(BufWriter::with_capacity(GATHERED, sink)))
}

struct Sink {
    messages: mpsc::Sender<BytesMessage>,
    answer: Answer,
}

/// What the client says: nothing, until it has the file.
enum Answer {
    Coming(BoxFuture<'static, Result<Response<Streaming<BytesMessage>>, Status>>),
    Ending(Streaming<BytesMessage>),
    Ended,
}

impl Sink {
    /// Drives the call, and fails if the client does.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.answer {
                Answer::Coming(call) => match ready!(call.as_mut().poll(context)) {
                    Ok(answer) => self.answer = Answer::Ending(answer.into_inner()),
                    Err(status) => return Poll::Ready(Err(failed(&status))),
                },
                Answer::Ending(answer) => match ready!(Pin::new(answer).poll_next(context)) {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return Poll::Ready(Err(failed(&status))),
                    None => self.answer = Answer::Ended,
                },
                Answer::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(heard) = self.listen(context) {
            heard?;
            return Poll::Ready(Err(io::Error::other("the client takes no more of the file")));
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        let message = BytesMessage { data: Bytes::copy_from_slice(piece) };
        // It may be closed between the two.
        let is_taken = ready!(self.messages.poll_ready(context)).is_ok()
            && Pin::new(&mut self.messages).start_send(message).is_ok();
        if is_taken {
            return Poll::Ready(Ok(piece.len()));
        }
        // Why comes with its answer, which may be on its way.
        ready!(self.listen(context))?;
        Poll::Ready(Err(io::Error::other("the client has closed the transfer")))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.listen(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.messages.close_channel();
        self.listen(context)
    }
}

fn failed(status: &Status) -> io::Error {
    io::Error::other(status.message().to_owned())
}
