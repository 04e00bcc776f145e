//! The way in for callers that share the process.

use bytes::Bytes;
use http::{Request, Response};

use crate::body::Body;
use crate::identity::Identity;

/// Calls the API without a connection. Cheap to clone; ends with the server it came from.
#[derive(Clone)]
pub struct Handle {}

impl Handle {
    /// Answers `request`, made by `identity`: the same service that the listener offers.
    ///
    /// The URI needs path and query only. Never fails: errors are answers with a `Status` body.
    pub async fn call(&self, _request: Request<Bytes>, _identity: Identity) -> Response<Body> {
        todo!("follows in this crate's next landing")
    }
}
