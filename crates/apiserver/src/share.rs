//! Lists and watches for callers in the same process ([`model::shared`]), where whole objects are asked for.

use std::sync::Arc;

use futures::stream::{Stream, StreamExt};
use http::{Response, StatusCode};
use model::shared::{Objects, Told};

use crate::body::Body;
use crate::cache::Stored;
use crate::call::json_response;

/// So many objects are told at once.
pub(crate) const SOME: usize = 256;

/// The answer that tells what `stream` gives.
pub(crate) fn respond(stream: impl Stream<Item = Vec<Told>> + Send + 'static) -> Response<Body> {
    let mut response = json_response(StatusCode::OK, Body::empty());
    response.extensions_mut().insert(Objects::new(stream));
    response
}

/// The answer with a list: its text without items, and the items.
pub(crate) fn list(text: Vec<u8>, objects: Vec<Arc<Stored>>) -> Response<Body> {
    let objects = objects.into_iter();
    let steps = futures::stream::unfold(objects, |mut objects| async move {
        let told = |stored: Arc<Stored>| Told::Object { event: "", object: stored.encoded().clone() };
        let some: Vec<Told> = objects.by_ref().take(SOME).map(told).collect();
        tokio::task::coop::consume_budget().await;
        (!some.is_empty()).then_some((some, objects))
    });
    respond(futures::stream::iter([vec![Told::Text(text.into())]]).chain(steps))
}
