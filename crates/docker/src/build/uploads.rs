//! Contexts that come in a request of their own (`remote=upload-request`): what docker 18.09 to 22 do with an archive
//! from a pipe. A second request has the context in its body, and the build's id in its own.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use buildkit::Owner;
use bytes::Bytes;
use engine::ByteStream;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// What `remote` is for a build whose context comes so.
pub(super) const REMOTE: &str = "upload-request";
/// What its id begins with in the request that has the context.
const PREFIX: &str = "upload-request:";
/// How long either request waits for the other.
const COMING: Duration = Duration::from_secs(5);

/// Whose build it is, and its id.
type Key = (Owner, String);

/// Builds that wait for their contexts.
#[derive(Clone)]
pub(crate) struct Uploads(Arc<Inner>);

struct Inner {
    waiting: Mutex<HashMap<Key, oneshot::Sender<ByteStream>>>,
    /// Told when a build begins to wait.
    came: watch::Sender<()>,
}

/// A context on its way, and who is told when it has been read, or given up.
struct Uploaded {
    pieces: ByteStream,
    _read: oneshot::Sender<()>,
}

impl Stream for Uploaded {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

/// A build's place among those that wait.
struct Waits<'a> {
    uploads: &'a Uploads,
    key: Key,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.uploads.0.waiting.lock();
        if waiting.get(&self.key).is_some_and(oneshot::Sender::is_closed) {
            waiting.remove(&self.key);
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Uploads(Arc::new(Inner { waiting: Mutex::default(), came: watch::Sender::new(()) }))
    }
}

/// The build that the context in a request's body is of, if that is what it brings.
pub(super) fn brought(id: &str) -> Option<&str> {
    id.strip_prefix(PREFIX)
}

/// Gives the body to the build `id`; answers when that has read it.
pub(super) async fn bring(mut call: Call, id: &str) -> Answer {
    let key = (super::connection::owner(&call), id.to_owned());
    let pieces = call.body_stream()?;
    call.api.uploads.bring(key, pieces).await?;
    answer::bare(http::StatusCode::OK)
}

impl Uploads {
    /// The context of a build, which comes in another request.
    pub(super) async fn wait(&self, owner: Owner, id: &str) -> Result<ByteStream, Fault> {
        if id.is_empty() {
            return Err(Fault::invalid("build ID not provided"));
        }
        // Goes after the receiver, so that it knows its own.
        let waits = Waits { uploads: self, key: (owner, id.to_owned()) };
        let (sender, receiver) = oneshot::channel();
        self.0.waiting.lock().insert(waits.key.clone(), sender);
        self.0.came.send_replace(());
        match tokio::time::timeout(COMING, receiver).await {
            Ok(Ok(context)) => Ok(context),
            // Another build of this id waits instead.
            Ok(Err(_)) => Err(Fault::conflict("another build has this ID")),
            Err(_) => Err(Fault::internal("the context of the build was not uploaded")),
        }
    }

    /// Gives a context to the build that waits for it; returns when it has been read.
    async fn bring(&self, key: Key, pieces: ByteStream) -> Result<(), Fault> {
        let mut came = self.0.came.subscribe();
        let waiting = async {
            loop {
                if let Some(waiting) = self.0.waiting.lock().remove(&key) {
                    return Some(waiting);
                }
                came.changed().await.ok()?;
            }
        };
        let none = || Fault::not_found(format!("no build {} waits for its context", key.1));
        let waiting = tokio::time::timeout(COMING, waiting).await.ok().flatten().ok_or_else(none)?;
        let (read, told) = oneshot::channel();
        if waiting.send(Box::pin(Uploaded { pieces, _read: read })).is_err() {
            return Err(none());
        }
        // Nothing is sent: it goes with the stream.
        let _ = told.await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    fn pieces(text: &'static str) -> ByteStream {
        stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_context_finds_its_build_whichever_comes_first() {
        let uploads = Uploads::default();
        let owner = |name: &str| Owner::of(name);
        let key = |name: &str| (owner(name), "1".to_owned());
        let build = async {
            let mut context = uploads.wait(owner("a"), "1").await.expect("a context");
            assert_eq!(context.next().await.expect("a piece").expect("bytes"), "x");
        };
        let (_, brought) = tokio::join!(build, uploads.bring(key("a"), pieces("x")));
        brought.expect("it was read");
        let late = async {
            tokio::time::sleep(COMING / 2).await;
            drop(uploads.wait(owner("a"), "1").await.expect("a context"));
        };
        let (brought, ()) = tokio::join!(uploads.bring(key("a"), pieces("x")), late);
        brought.expect("it was given up");
        // Nobody gets what is somebody else's, and nobody waits for ever.
        let (waited, brought) =
            tokio::join!(uploads.wait(owner("a"), "1"), uploads.bring(key("b"), pieces("x")));
        assert!(waited.is_err() && brought.is_err());
        let given_up = tokio::time::timeout(COMING / 2, uploads.wait(owner("a"), "1"));
        assert!(given_up.await.is_err());
        assert!(uploads.0.waiting.lock().is_empty());
        assert!(uploads.wait(owner("a"), "").await.is_err());
    }
}
