//! Deleting all objects that a list would show.

use std::sync::Arc;

use http::Response;

use super::delete_object;
use crate::body::Body;
use crate::call::Call;
use crate::decode;
use crate::error::Result;
use crate::request::ListOptions;
use crate::selection::Selection;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = decode::delete_options(call)?;
    let list = ListOptions::parse(&call.query)?;
    let selection = Arc::new(Selection::parse(call, &list)?);
    let (all, revision) = call.partition().snapshot(call.state.cache.revision(), selection.names());
    let found = selection.find(call, all, 0).await?;
    for stored in &found.objects {
        let split = if call.resource.namespaced { stored.name.split_once('/') } else { None };
        let (namespace, name) = split.unwrap_or(("", &stored.name));
        let one = call.of_object(namespace, name);
        match delete_object(&one, &options).await {
            Err(error) if !error.status().is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(super::list::respond(call, found.objects, revision, None))
}
