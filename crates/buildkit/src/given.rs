//! A client whose build's context came with its request: it has no session, or one that offers the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::solve::{Duplex, FileSelection, FileSink, Session, SessionError, Transfers, UPLOADS, Upload};
use bytes::Bytes;
use engine::image::RegistryAuth;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// The client of such a build.
pub(crate) struct Given {
    /// What it offers besides; nothing if it has opened no session.
    client: Option<Arc<dyn Session>>,
    /// The build's own name, which the context is known by.
    id: String,
    owner: String,
    /// The context, until it is asked for.
    context: Mutex<Option<Upload>>,
}

impl Given {
    pub(crate) fn new(client: Option<Arc<dyn Session>>, id: &str, owner: &str, context: Upload) -> Self {
        Given { client, id: id.to_owned(), owner: owner.to_owned(), context: Mutex::new(Some(context)) }
    }

    /// Where a front end finds the context of the build `id`.
    pub(crate) fn address(id: &str) -> String {
        format!("{UPLOADS}{id}")
    }

    fn client(&self) -> Result<&Arc<dyn Session>, SessionError> {
        self.client.as_ref().ok_or_else(|| SessionError::NotOffered("no active sessions".to_owned()))
    }
}

impl Session for Given {
    fn id(&self) -> &str {
        self.client.as_ref().map_or(&self.id, |client| client.id())
    }

    fn shared_key(&self) -> &str {
        self.client.as_ref().map_or("", |client| client.shared_key())
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn other<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Arc<dyn Session>>> {
        Box::pin(async move { self.client.as_ref()?.other(id).await })
    }

    fn receive_files<'a>(
        &'a self,
        name: &'a str,
        selection: &'a FileSelection,
        into: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move { self.client()?.receive_files(name, selection, into, told).await })
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, SessionError>> {
        Box::pin(async move {
            match &self.client {
                Some(client) => client.secret(id).await,
                None => Ok(None),
            }
        })
    }

    fn ssh_check<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move { self.client()?.ssh_check(id).await })
    }

    fn ssh_connect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>, SessionError>> {
        Box::pin(async move { self.client()?.ssh_connect(id).await })
    }

    fn credentials<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>, SessionError>> {
        Box::pin(async move {
            match &self.client {
                Some(client) => client.credentials(host).await,
                None => Ok(None),
            }
        })
    }

    fn send_file<'a>(
        &'a self,
        exporter: &'a str,
        metadata: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<FileSink, SessionError>> {
        Box::pin(async move { self.client()?.send_file(exporter, metadata).await })
    }

    fn send_tree<'a>(
        &'a self,
        exporter: &'a str,
        directory: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move { self.client()?.send_tree(exporter, directory, told).await })
    }

    fn upload<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Upload, SessionError>> {
        Box::pin(async move {
            if path.strip_prefix('/') != Some(&self.id) {
                return self.client()?.upload(path).await;
            }
            let again =
                || SessionError::Failed("the context that came with the request was read before".to_owned());
            self.context.lock().take().ok_or_else(again)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn the_context_is_there_once_under_its_own_name() {
        let context: Upload = Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"x"))]));
        let given = Given::new(None, "request-1", "user", context);
        assert_eq!(Given::address("request-1"), "http://buildkit-session/request-1");
        assert!(matches!(given.upload("/request-2").await, Err(SessionError::NotOffered(_))));
        let mut pieces = given.upload("/request-1").await.expect("the context");
        assert_eq!(pieces.next().await.expect("a piece").expect("bytes"), "x");
        assert!(matches!(given.upload("/request-1").await, Err(SessionError::Failed(_))));
        assert!(matches!(given.secret("a").await, Ok(None)));
        assert!(matches!(given.ssh_check("a").await, Err(SessionError::NotOffered(_))));
        assert_eq!((given.id(), given.owner()), ("request-1", "user"));
    }
}
