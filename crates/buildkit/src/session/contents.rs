//! Stores of content that a client has: layouts of images, directories of caches.

use build::solve::{SessionError, Upload};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use oci::Digest;
use tonic::{Code, Request};

use super::{failure, origin, put};
use crate::channel::{Channel, LONGEST};
use crate::wire::containerd::services::content::v1::content_client::ContentClient;
use crate::wire::containerd::services::content::v1::{
    InfoRequest, ReadContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};

/// How much goes into one message; clients take four times as much.
const PIECE: usize = 1 << 20;

fn client(channel: Channel) -> ContentClient<Channel> {
    ContentClient::with_origin(channel, origin()).max_decoding_message_size(LONGEST)
}

/// A call about the client's store `store`.
fn about<T>(store: &str, message: T) -> Result<Request<T>, SessionError> {
    let mut request = Request::new(message);
    put(&mut request, "buildkit-attachable-store-id", [store])?;
    Ok(request)
}

/// How long content is; none if the store does not have it.
pub(super) async fn size(
    channel: Channel,
    store: &str,
    digest: &Digest,
) -> Result<Option<u64>, SessionError> {
    match client(channel).info(about(store, InfoRequest { digest: digest.to_string() })?).await {
        Ok(answer) => {
            let size = answer.into_inner().info.map(|info| info.size).unwrap_or_default();
            Ok(Some(u64::try_from(size).unwrap_or_default()))
        }
        // Where there is no such store either: who writes to it is told so.
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(failure(status)),
    }
}

/// What content is.
pub(super) async fn read(channel: Channel, store: &str, digest: &Digest) -> Result<Upload, SessionError> {
    let request = ReadContentRequest { digest: digest.to_string(), ..ReadContentRequest::default() };
    let pieces = client(channel).read(about(store, request)?).await.map_err(failure)?.into_inner();
    Ok(Box::pin(pieces.map(|piece| piece.map(|piece| piece.data).map_err(failure))))
}

/// Puts content into the store. Each message is answered before the next is sent, as the others do it.
pub(super) async fn write(
    channel: Channel,
    store: &str,
    digest: &Digest,
    size: u64,
    mut content: Upload,
) -> Result<(), SessionError> {
    let total = i64::try_from(size).unwrap_or(i64::MAX);
    let (mut requests, outward) = mpsc::channel::<WriteContentRequest>(1);
    let message = |action: WriteAction, offset: u64, data: Bytes| WriteContentRequest {
        action: action.into(),
        r#ref: digest.to_string(),
        total,
        expected: digest.to_string(),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        data,
        ..WriteContentRequest::default()
    };
    let gone = |_| SessionError::Failed("the client takes no more of the content".to_owned());
    requests.send(message(WriteAction::Stat, 0, Bytes::new())).await.map_err(gone)?;
    let answers = match client(channel).write(about(store, outward)?).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return there(status),
    };
    let mut answers = answers;
    // What an earlier attempt left is written over.
    let mut written = 0;
    if let Answered::IsThere = answer(&mut answers).await? {
        return Ok(());
    }
    while let Some(mut piece) = content.next().await.transpose()? {
        while !piece.is_empty() {
            let data = piece.split_to(piece.len().min(PIECE));
            let length = data.len() as u64;
            requests.send(message(WriteAction::Write, written, data)).await.map_err(gone)?;
            match answer(&mut answers).await? {
                Answered::IsThere => return Ok(()),
                Answered::At(offset) if offset == written + length => written = offset,
                Answered::At(offset) => {
                    let expected = written + length;
                    return Err(SessionError::Failed(format!(
                        "the client has {offset} bytes of {digest} where {expected} were sent"
                    )));
                }
            }
        }
    }
    if written != size {
        return Err(SessionError::Failed(format!("content {digest} has {written} bytes, and not {size}")));
    }
    requests.send(message(WriteAction::Commit, written, Bytes::new())).await.map_err(gone)?;
    answer(&mut answers).await.map(drop)
}

/// What a client says to a message of content.
enum Answered {
    /// It has the content already.
    IsThere,
    /// It has so many bytes of it.
    At(u64),
}

async fn answer(answers: &mut tonic::Streaming<WriteContentResponse>) -> Result<Answered, SessionError> {
    match answers.next().await {
        Some(Ok(answer)) => Ok(Answered::At(u64::try_from(answer.offset).unwrap_or_default())),
        Some(Err(status)) => there(status).map(|()| Answered::IsThere),
        None => Err(SessionError::Failed("the client broke the transfer off".to_owned())),
    }
}

/// What fails because the content is there already has not failed.
fn there(status: tonic::Status) -> Result<(), SessionError> {
    match status.code() {
        Code::AlreadyExists => Ok(()),
        _ => Err(failure(status)),
    }
}
