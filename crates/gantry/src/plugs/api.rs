//! The Kubernetes API as clients in this process reach it: by a call.

use apiserver::{Handle, Identity};
use bytes::Bytes;
use client::transport::{Body, Transport, TransportError, body};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;

/// Calls the API server as a fixed identity.
#[derive(Clone)]
pub(crate) struct InProcess {
    handle: Handle,
    identity: Identity,
}

impl InProcess {
    pub(crate) fn new(handle: Handle, identity: Identity) -> Self {
        Self { handle, identity }
    }
}

impl Transport for InProcess {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let answer = self.handle.call(request, self.identity.clone()).await;
            let broken = |source| TransportError::Broken {
                server: "the API server of this process".to_owned(),
                source: Box::new(source),
            };
            Ok(answer.map(|answer| body(answer.map_err(broken))))
        })
    }
}
