//! Watch: the stream of an object kind's changes.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use futures::stream::{self, Stream};
use http::Method;
use http_body_util::BodyExt;
use model::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Api, WatchOptions};
use crate::client::Call;
use crate::error::Error;
use crate::resource::Resource;
use crate::transport::Body;

/// One message of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// An object is there, or has come to be selected.
    Added(K),
    /// An object changed.
    Modified(K),
    /// An object is gone, or is no longer selected; as it was last, at the revision of its end.
    Deleted(K),
    /// Everything up to this resource version has been told.
    Bookmark {
        /// Where a later watch can go on.
        resource_version: String,
    },
}

impl<K: Resource> Api<K> {
    /// Follows the changes. The stream ends when the server ends it, or after an error: watch again
    /// after the last resource version seen; after [`Error::Expired`] list anew first.
    pub async fn watch(
        &self,
        options: &WatchOptions,
    ) -> Result<impl Stream<Item = Result<WatchEvent<K>, Error>> + Send + use<K>, Error> {
        let call = options.add_to(Call::new(Method::GET, self.path()?));
        let request = call.name();
        let response = self.client.call_stream(call).await?;
        Ok(Lines::new(response.into_body(), request, |object| serde_json::from_str(object.get())).stream())
    }
}

/// How an object is read.
type Read<T> = fn(&RawValue) -> Result<T, serde_json::Error>;

/// Reads a body line by line.
pub(super) struct Lines<T> {
    body: Body,
    buffer: BytesMut,
    ready: VecDeque<WatchEvent<T>>,
    request: String,
    read: Read<T>,
}

impl<T: Send + 'static> Lines<T> {
    pub(super) fn new(body: Body, request: String, read: Read<T>) -> Self {
        Self { body, buffer: BytesMut::new(), ready: VecDeque::new(), request, read }
    }

    pub(super) fn stream(self) -> impl Stream<Item = Result<WatchEvent<T>, Error>> + Send + use<T> {
        stream::try_unfold(
            self,
            |mut lines| async move { Ok(lines.next().await?.map(|event| (event, lines))) },
        )
    }

    async fn next(&mut self) -> Result<Option<WatchEvent<T>>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else {
                // What comes after the last line break was cut off: the next watch tells it again.
                return Ok(None);
            };
            let frame = frame.map_err(|source| Error::Transport { request: self.request.clone(), source })?;
            if let Ok(chunk) = frame.into_data() {
                self.take_in(&chunk)?;
            }
        }
    }

    fn take_in(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let mut searched = self.buffer.len();
        self.buffer.extend_from_slice(chunk);
        while let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
            let line = self.buffer.split_to(searched + end);
            self.buffer.advance(1);
            searched = 0;
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                self.ready.push_back(parse(&line, &self.request, self.read)?);
            }
        }
        Ok(())
    }
}

/// Reads one line of a watch.
pub(super) fn parse<T>(line: &[u8], request: &str, read: Read<T>) -> Result<WatchEvent<T>, Error> {
    let decode = |source| Error::Decode { request: request.to_owned(), source };
    let Message { kind, object } = serde_json::from_slice(line).map_err(decode)?;
    let read = || read(object).map_err(decode);
    Ok(match &*kind {
        "ADDED" => WatchEvent::Added(read()?),
        "MODIFIED" => WatchEvent::Modified(read()?),
        "DELETED" => WatchEvent::Deleted(read()?),
        "BOOKMARK" => {
            let Bookmark { metadata } = serde_json::from_str(object.get()).map_err(decode)?;
            WatchEvent::Bookmark { resource_version: metadata.resource_version }
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object.get()).map_err(decode)?;
            return Err(Error::from_status(status));
        }
        other => {
            let unknown = serde::de::Error::unknown_variant(other, &["ADDED", "MODIFIED", "DELETED"]);
            return Err(decode(unknown));
        }
    })
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: super::ListMeta,
}
