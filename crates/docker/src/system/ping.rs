//! `GET` and `HEAD /_ping`: whether the daemon is there, and what it speaks.

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};

use crate::answer::{self, Answer};
use crate::body;
use crate::call::Call;

/// `OK`, with the headers by which clients choose version and builder.
pub(crate) async fn ping(_call: Call) -> Answer {
    let mut response = answer::with_type(StatusCode::OK, "text/plain; charset=utf-8", body::full("OK"));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    // Clients that know of it build by BuildKit's way in; others send `POST /build` as before.
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    Ok(response)
}
