//! The way in for callers that share the process.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::fairness::{FlowReport, LevelReport};
use crate::identity::Identity;
use crate::payload::Payload;
use crate::service;
use crate::state::State;

/// Calls the API without a connection. Cheap to clone; ends with the server it came from.
#[derive(Clone)]
pub struct Handle {
    state: Arc<State>,
}

impl Handle {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Answers `request`, made by `identity`: the same service that the listener offers.
    ///
    /// The URI needs path and query only. Never fails: errors are answers with a `Status` body.
    pub async fn call(&self, request: Request<Bytes>, identity: Identity) -> Response<Body> {
        Box::pin(service::answer(&self.state, request.map(Payload::Ready), Some(identity))).await
    }

    /// How levels of priority and flow schemas fare.
    pub fn fairness(&self) -> (Vec<LevelReport>, Vec<FlowReport>) {
        self.state.fairness.report()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
