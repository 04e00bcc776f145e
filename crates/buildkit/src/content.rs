//! Content by its digest, which clients read and nothing else: what builds left in the history, and what the
//! image store has.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use oci::Digest;
use tonic::{Request, Response, Status, Streaming};

use crate::service::Caller;
use crate::wire::containerd::services::content::v1::content_server::Content;
use crate::wire::containerd::services::content::v1::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse,
    StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteContentRequest, WriteContentResponse,
};

/// How much goes into one message.
const PIECE: u64 = 256 << 10;
/// How many go into one message of a list.
const LISTED: usize = 100;

/// Content that somebody may read.
enum Found {
    /// A build of the reader's left it.
    Kept(Bytes),
    /// It is a file of the image store.
    File(File, u64),
}

impl Found {
    fn size(&self) -> u64 {
        match self {
            Found::Kept(bytes) => bytes.len() as u64,
            Found::File(_, size) => *size,
        }
    }

    /// So many bytes at a place, as far as there are any.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        match self {
            Found::Kept(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(place(offset)..place(offset.saturating_add(length))))
            }
            Found::File(file, _) => offload::in_place(|| {
                let mut piece = Vec::new();
                file.seek(SeekFrom::Start(offset))?;
                file.take(length).read_to_end(&mut piece)?;
                Ok(piece.into())
            }),
        }
    }
}

impl Caller {
    fn find(&self, digest: &str) -> Result<(Digest, Found), Status> {
        let wanted =
            Digest::parse(digest).map_err(|error| Status::invalid_argument(format!("{digest}: {error}")))?;
        if let Some(kept) = self.shared.history.content(&self.owner, &wanted) {
            return Ok((wanted, Found::Kept(kept)));
        }
        let opened = offload::in_place(|| self.shared.solver.content_open(&wanted));
        let opened = opened.map_err(|error| Status::unknown(format!("open content {digest}: {error}")))?;
        match opened {
            Some((file, size)) => Ok((wanted, Found::File(file, size))),
            None => Err(Status::not_found(format!("content {digest}: not found"))),
        }
    }
}

fn info(digest: &Digest, size: u64) -> Info {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Info { digest: digest.to_string(), size, ..Info::default() }
}

/// What is said to who wants to change something.
fn read_only<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the content store is read-only"))
}

#[tonic::async_trait]
impl Content for Caller {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let (digest, found) = self.find(&request.into_inner().digest)?;
        Ok(Response::new(InfoResponse { info: Some(info(&digest, found.size())) }))
    }

    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let (digest, found) = self.find(&request.digest)?;
        let size = found.size();
        let from = u64::try_from(request.offset).unwrap_or_default();
        let Some(rest) = size.checked_sub(from) else {
            return Err(Status::out_of_range(format!("read past object length {size} bytes")));
        };
        // Without a size all of the rest is meant.
        let wanted = u64::try_from(request.size).unwrap_or_default();
        let end = from + if wanted == 0 { rest } else { wanted.min(rest) };
        let pieces = stream::unfold((found, from), move |(mut found, at)| {
            let failed = |problem: String| Status::unknown(format!("read content {digest}: {problem}"));
            let piece = (at < end).then(|| match found.read(at, PIECE.min(end - at)) {
                Ok(data) if data.is_empty() => Err(failed("it is shorter than it was".to_owned())),
                Ok(data) => {
                    Ok(ReadContentResponse { offset: i64::try_from(at - from).unwrap_or(i64::MAX), data })
                }
                Err(error) => Err(failed(error.to_string())),
            });
            async move {
                let piece = piece?;
                // After a failure there is nothing more.
                let next = piece.as_ref().map_or(end, |piece| at + piece.data.len() as u64);
                Some((piece, (found, next)))
            }
        });
        Ok(Response::new(pieces.boxed()))
    }

    type ListStream = BoxStream<'static, Result<ListContentResponse, Status>>;

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        if !request.into_inner().filters.is_empty() {
            return Err(Status::unimplemented("filters of content are not supported"));
        }
        let mut all = offload::in_place(|| self.shared.solver.content_list());
        all.extend(self.shared.history.contents(&self.owner));
        let parts: Vec<_> = all
            .chunks(LISTED)
            .map(|part| part.iter().map(|(digest, size)| info(digest, *size)).collect())
            .map(|info| Ok(ListContentResponse { info }))
            .collect();
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    /// Nothing is being written over this service.
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::not_found(format!("ref {}: not found", request.into_inner().r#ref)))
    }

    async fn list_statuses(
        &self,
        _: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        read_only()
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        read_only()
    }

    type WriteStream = BoxStream<'static, Result<WriteContentResponse, Status>>;

    async fn write(
        &self,
        _: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        read_only()
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        read_only()
    }
}
