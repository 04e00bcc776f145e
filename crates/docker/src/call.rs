//! One request on its way to an endpoint.

use std::sync::Arc;

use bytes::Bytes;
use engine::{ContainerId, Engine, ExecId};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::body;
use crate::fault::Fault;
use crate::filters::Filters;
use crate::go_json;
use crate::query::Query;
use crate::serve::{Api, Place};
use crate::version::ApiVersion;

/// One request on its way to an endpoint.
pub(crate) struct Call {
    /// What all requests share.
    pub(crate) api: Arc<Api>,
    /// The version that the client speaks.
    pub(crate) version: ApiVersion,
    /// What the path names, decoded: a container, an image …; empty where it names nothing.
    pub(crate) name: String,
    /// The query.
    pub(crate) query: Query,
    /// Method, path and headers.
    pub(crate) parts: Parts,
    /// The connection itself, where the client asked for it.
    pub(crate) upgrade: Option<OnUpgrade>,
    body: Option<Incoming>,
}

impl Call {
    /// A request for the thing `name`.
    pub(crate) fn new(
        api: Arc<Api>,
        version: ApiVersion,
        name: String,
        mut request: http::Request<Incoming>,
    ) -> Self {
        let wants_upgrade = request.headers().contains_key(http::header::UPGRADE);
        let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        Self { api, version, name, query, parts, upgrade, body: Some(body) }
    }

    /// The engine behind all endpoints.
    pub(crate) fn engine(&self) -> &Engine {
        &self.api.engine
    }

    /// The connection's place, for whoever goes on with the connection.
    pub(crate) fn place(&self) -> Option<Place> {
        self.parts.extensions.get().cloned()
    }

    /// The container that the path names.
    pub(crate) fn container(&self) -> Result<ContainerId, Fault> {
        Ok(self.engine().container_find(&self.name)?)
    }

    /// The exec that the path names.
    pub(crate) fn exec(&self) -> Result<ExecId, Fault> {
        Ok(self.engine().exec_find(&self.name)?)
    }

    /// The filters of the query, of which only `known` are allowed.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters, Fault> {
        Filters::parse(self.query.text("filters"), known)
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The body, which can be taken once.
    pub(crate) fn take_body(&mut self) -> Result<Incoming, Fault> {
        self.body.take().ok_or_else(|| Fault::internal("the request's body was read twice"))
    }

    /// The body as an archive or other long thing.
    pub(crate) fn body_stream(&mut self) -> Result<engine::ByteStream, Fault> {
        let body = self.take_body()?;
        Ok(Box::pin(body::incoming(body, &self.api.sessions)))
    }

    /// The body as a JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        match self.optional_json().await? {
            Some(document) => Ok(document),
            None => Err(Fault::invalid("invalid JSON: got EOF while reading request body")),
        }
    }

    /// The body as a JSON document, or none where it is empty.
    pub(crate) async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        let body = self.take_body()?;
        if body.is_end_stream() {
            return Ok(None);
        }
        self.check_content_type()?;
        let text = body::document(body).await?;
        parse(&text)
    }

    /// Runs an operation to its end even if the client goes away meanwhile: what was begun is not
    /// left half done.
    pub(crate) async fn complete<T, F>(&self, operation: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        match self.api.operations.spawn(operation).await {
            Ok(result) => result,
            Err(error) => Err(Fault::internal(format!("the operation broke off: {error}"))),
        }
    }

    fn check_content_type(&self) -> Result<(), Fault> {
        let given =
            self.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Fault::invalid(format!("unsupported Content-Type header ({given}): must be 'application/json'")))
    }
}

/// Reads a document whose keys have been brought to their spelling.
pub(crate) fn read<T: DeserializeOwned>(document: serde_json::Value) -> Result<T, Fault> {
    T::deserialize(&document).map_err(|error| unfit::<T>(document, &error))
}

fn parse<T: DeserializeOwned>(text: &Bytes) -> Result<Option<T>, Fault> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_slice(text);
    match Option::<T>::deserialize(&mut values) {
        Ok(document) => match values.end() {
            Ok(()) => Ok(document),
            Err(_) => Err(Fault::invalid("unexpected content after JSON")),
        },
        Err(error) => Err(match (go_json::syntax_error(text), serde_json::from_slice(text)) {
            (Some(wrong), _) => Fault::invalid(format!("invalid JSON: {wrong}")),
            (None, Ok(document)) => unfit::<T>(document, &error),
            (None, Err(_)) => {
                let wrong = go_json::number_error(text).unwrap_or_else(|| shortened(error.to_string()));
                Fault::invalid(format!("invalid JSON: {wrong}"))
            }
        }),
    }
}

/// A well-formed document in which something is of the wrong kind.
fn unfit<T: DeserializeOwned>(document: serde_json::Value, error: &serde_json::Error) -> Fault {
    let wrong = go_json::type_error::<T>(document).unwrap_or_else(|| shortened(error.to_string()));
    Fault::invalid(format!("invalid JSON: {wrong}"))
}

/// So much of a message is told that repeats what a client has sent.
const LONGEST_MESSAGE: usize = 1024;

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        message.push('…');
    }
    message
}
