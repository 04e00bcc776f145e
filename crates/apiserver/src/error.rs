//! The one error of this crate: a Kubernetes `Status` of a failure, and the answer it becomes.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use model::Status;
use model::status::Cause;

use crate::body::Body;
use crate::call::json_response;
use crate::style::Document;
use crate::version::version_at;

/// The result of an API operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed, as the client is told.
#[derive(Clone, Debug)]
pub struct Error(Box<Status>);

impl Error {
    /// The request itself makes no sense: 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::bad_request(message).into()
    }

    /// Somebody who is needed for it cannot be reached: 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Status::unavailable(message).into()
    }

    /// A fault of this program or its disk: 500. Logged with its whole chain.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let chain = base::error::chain(error);
        tracing::error!(error = %chain, "request failed");
        Status::internal(chain).into()
    }

    /// The store failed. A full or failing disk is told as such, and that it may pass.
    pub(crate) fn store(error: &store::Error) -> Self {
        match error {
            store::Error::Compacted { requested, oldest } => Status::expired(format!(
                "too old resource version: {} ({})",
                version_at(*requested),
                version_at(*oldest)
            ))
            .into(),
            store::Error::Future { requested, current } => {
                Self::too_large_version(version_at(*requested), version_at(*current))
            }
            store::Error::DiskFull { .. }
            | store::Error::Disk { .. }
            | store::Error::Unreachable { .. }
            | store::Error::Closed => {
                let chain = base::error::chain(error);
                tracing::error!(error = %chain, "the store refused a request");
                Status::unavailable(chain.to_string()).into()
            }
            store::Error::Unsettled { .. } | store::Error::Unknown { .. } => {
                let chain = base::error::chain(error);
                tracing::error!(error = %chain, "the store does not know whether it kept a write");
                Status::timeout(chain, 1).into()
            }
            store::Error::TooLarge { .. } => Status::too_large(error).into(),
            other => Self::internal(other),
        }
    }

    /// A version that is not there yet, and may be soon: 504, with the cause that clients know it by.
    pub(crate) fn too_large_version(version: u64, current: u64) -> Self {
        let why = format!("Too large resource version: {version}, current: {current}");
        let mut status = Status::timeout(why, 1);
        status.details.get_or_insert_default().causes.push(Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
        status.into()
    }

    /// The `Status` object.
    pub fn status(&self) -> &Status {
        &self.0
    }

    /// The HTTP status code.
    pub fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The `Status` object's text.
    pub(crate) fn encoded(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(&*self.0).expect("a status always has a text"))
    }

    /// The answer to the client.
    pub fn response(&self) -> Response<Body> {
        // Clients look at the text of it, its last newline included.
        let mut text = self.encoded().to_vec();
        text.push(b'\n');
        let mut response = json_response(self.code(), Body::full(text));
        let headers = response.headers_mut();
        if let Some(seconds) = self.0.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl Error {
    /// The same as Protocol Buffers.
    pub(crate) fn protobuf_response(&self) -> Response<Body> {
        let value = serde_json::to_value(&*self.0).expect("a status always has a text");
        let mut response = self.response();
        if let Some(body) = crate::protobuf::encode::document(&value) {
            *response.body_mut() = Body::full(body);
            response.extensions_mut().remove::<Document>();
            let media_type = HeaderValue::from_static(crate::protobuf::MEDIA_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        }
        response
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_the_store_does_not_have_yet_is_no_fault_of_the_server() {
        let error = Error::store(&store::Error::Future { requested: 9, current: 7 });
        let told: serde_json::Value = serde_json::from_slice(&error.encoded()).expect("JSON");
        assert_eq!((&told["code"], &told["reason"]), (&504.into(), &"Timeout".into()), "{told}");
        assert_eq!(told["message"], "Timeout: Too large resource version: 36864, current: 28672");
        assert_eq!(told["details"]["retryAfterSeconds"], 1);
        assert_eq!(
            told["details"]["causes"],
            serde_json::json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}])
        );
    }
}
