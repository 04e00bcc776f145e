//! A server in this process, called without a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use apiserver::{Handle, Identity};
use bytes::Bytes;
use client::Transport;
use client::transport::{Body, TransportError, body};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;

/// Calls the server as the binary does: what it shares is shared.
pub(crate) struct Direct {
    handle: Handle,
    watches: Watches,
}

/// How many watches were begun of each path.
pub(crate) type Watches = Arc<Mutex<HashMap<String, usize>>>;

impl Direct {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, watches: Watches::default() }
    }

    #[allow(dead_code, reason = "one of the programs asks")]
    pub(crate) fn watches(&self) -> Watches {
        self.watches.clone()
    }
}

impl Transport for Direct {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                let path = request.uri().path().to_owned();
                *self.watches.lock().expect("nobody panics with it").entry(path).or_insert(0) += 1;
            }
            let broken =
                |source| TransportError::Broken { server: "here".to_owned(), source: Box::new(source) };
            let answer = self.handle.call(request, Identity::administrator()).await;
            Ok(answer.map(|answer| body(answer.map_err(broken))))
        })
    }
}
