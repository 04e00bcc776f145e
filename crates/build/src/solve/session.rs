//! What a client offers besides its request: its files, secrets, keys and names at registries.
//!
//! Whoever speaks a client's way in implements [`Session`]; the solver asks for what an operation needs, when
//! it needs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::image::RegistryAuth;
use futures::Stream;
use futures::future::BoxFuture;
use oci::Digest;
use tokio::io::{AsyncRead, AsyncWrite};

/// So long a client may take to answer a small question.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A connection to something of the client's, an agent that has its keys.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Takes a file that goes to the client; shutting it down waits until the client has it.
pub type FileSink = Pin<Box<dyn AsyncWrite + Send>>;

/// Bytes that come from the client.
pub type Upload = Pin<Box<dyn Stream<Item = Result<Bytes, SessionError>> + Send>>;

/// Which files of a directory of the client's are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileSelection {
    /// Patterns of what is wanted; all if there are none.
    pub include: Vec<String>,
    /// Patterns of what is left out, in the manner of `.dockerignore`.
    pub exclude: Vec<String>,
    /// Paths whose links are followed, so that what they lead to comes along.
    pub follow: Vec<String>,
}

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes of files.
    pub bytes: u64,
    /// Whether that is all.
    pub done: bool,
}

/// Hears how far a transfer has come.
pub type Transfers<'a> = &'a (dyn Fn(Transferred) + Send + Sync);

/// Why a client did not give what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// It does not have that, or does not offer to give it.
    #[error("{0}")]
    NotOffered(String),
    /// It could not, or broke off.
    #[error("{0}")]
    Failed(String),
    /// It is gone.
    #[error("no active session: the client is gone")]
    Gone,
}

/// What a client answers to small questions, within the time that it has for them.
pub(crate) async fn answered<T, E: From<SessionError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    within(ANSWER_WITHIN, answer).await
}

async fn within<T, E: From<SessionError>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |_| E::from(SessionError::Failed("the client does not answer".to_owned()));
    tokio::time::timeout(limit, answer).await.map_err(late)?
}

/// What a client offers. All of it may be slow, and may fail at any time: who asks waits in a task that can be
/// dropped.
pub trait Session: Send + Sync {
    /// Which one it is.
    fn id(&self) -> &str;

    /// What clients that send the same files have in common; empty if nothing is said.
    fn shared_key(&self) -> &str;

    /// Whose it is: as far as that is known, the same for all that one client opens, and for nobody else's. What is
    /// kept of clients' files is told apart by it, whatever they say of themselves.
    fn owner(&self) -> &str;

    /// Another session of the same client's: several builds may get the same files from one. Nothing if there is
    /// none of this name, or it is somebody else's.
    fn other<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Option<Arc<dyn Session>>> {
        Box::pin(async { None })
    }

    /// Makes the directory `into` what the selected files of the client's directory `name` are (`context`,
    /// `dockerfile`, the name of another): what is there and the same is not sent again, what is there and
    /// not wanted goes. Owners are 0, times and modes are the client's.
    fn receive_files<'a>(
        &'a self,
        name: &'a str,
        selection: &'a FileSelection,
        into: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>>;

    /// A secret; none if the client has none of this name.
    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, SessionError>>;

    /// Whether the client forwards to an agent of this name.
    fn ssh_check<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), SessionError>>;

    /// A connection to that agent.
    fn ssh_connect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>, SessionError>>;

    /// Who one is at a registry.
    fn credentials<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>, SessionError>>;

    /// Sends a file that an exporter made.
    fn send_file<'a>(
        &'a self,
        exporter: &'a str,
        metadata: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<FileSink, SessionError>>;

    /// Sends the files of a directory that an exporter made.
    fn send_tree<'a>(
        &'a self,
        exporter: &'a str,
        directory: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>>;

    /// What the client uploads under a path: a context that it was given through a pipe.
    fn upload<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Upload, SessionError>>;

    /// How long content is that the client has in its store of this name; none if it is not there.
    fn content_size<'a>(
        &'a self,
        _store: &'a str,
        _digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<u64>, SessionError>> {
        Box::pin(async { Err(no_stores()) })
    }

    /// What content of a store of the client's is. Nobody has verified it.
    fn content_read<'a>(
        &'a self,
        _store: &'a str,
        _digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Upload, SessionError>> {
        Box::pin(async { Err(no_stores()) })
    }

    /// Puts content into a store of the client's, unless it is there: so many bytes, of this digest.
    fn content_write<'a>(
        &'a self,
        _store: &'a str,
        _digest: &'a Digest,
        _size: u64,
        _content: Upload,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async { Err(no_stores()) })
    }
}

fn no_stores() -> SessionError {
    SessionError::NotOffered("content stores are not supported by the client".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_answer_is_not_waited_for() {
        let never = std::future::pending::<Result<(), SessionError>>();
        assert!(matches!(within(Duration::from_millis(1), never).await, Err(SessionError::Failed(_))));
        assert!(matches!(answered(async { Ok::<_, SessionError>(7) }).await, Ok(7)));
    }
}
