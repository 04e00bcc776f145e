//! `/openapi/v3`, `/openapi/v2`: served with hashes by which clients need not ask twice.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::Status;

use super::Asked;
use crate::body::Body;
use crate::compress::Packed;
use crate::error::{Error, Result};
use crate::negotiate::{Range, accepted};
use crate::openapi::{self, Document, Entry, SubresourceEntry, parse_version_path};
use crate::resource::Resource;
use crate::state::State;

const V2: &str = "openapi/v2";

/// Answers a path below `/openapi`.
pub(super) async fn answer(
    state: &Arc<State>,
    segments: &[&str],
    asked: Asked<'_>,
) -> Result<Response<Body>> {
    let path = segments.join("/");
    let form = form(asked.headers, &path)?;
    let worker = state.clone();
    let gzip = asked.gzip;
    let make = move || {
        let document = document(&worker, &path, form)?;
        let packed = if gzip { document.packed() } else { None };
        Some((document, packed))
    };
    let made = state.workers.document(make).await;
    let (document, packed) = made.ok_or_else(|| Error::from(Status::no_such_resource()))?;
    let mut response = respond(asked.headers, &document, asked.query.get("hash") == Some(&document.etag));
    if let Some(packed) = packed.filter(|_| response.status() == StatusCode::OK) {
        response.extensions_mut().insert(Packed(packed));
    }
    Ok(response)
}

/// The first media type that the client names and that can be given.
fn form(headers: &HeaderMap, path: &str) -> Result<&'static str> {
    let ranges = accepted(headers);
    if ranges.is_empty() {
        return Ok(openapi::JSON);
    }
    let form = |range: &Range<'_>| match range.media_type {
        openapi::JSON | "application/*" | "*/*" => Some(openapi::JSON),
        // The second is how clients have always spelt it; the answer is given the name that is well formed.
        openapi::V2_PROTOBUF | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" if path == V2 => {
            Some(openapi::V2_PROTOBUF)
        }
        _ => None,
    };
    ranges
        .iter()
        .find_map(form)
        .ok_or_else(|| Status::not_acceptable(&[openapi::JSON, openapi::V2_PROTOBUF]).into())
}

fn document(state: &State, path: &str, form: &str) -> Option<Document> {
    let described = state.aggregation.described();
    let is_own = |entry: &Entry| described.is_empty() || !described.contains_key(&entry.kind.group_version());
    let named = state.table.all().into_iter().filter(|resource| !resource.any_name);
    let entries: Vec<Entry> = named.map(|resource| entry(&resource)).filter(is_own).collect();
    let others = described.iter().filter_map(|(version, described)| Some((version, described.as_deref()?)));
    let parts = || others.clone().filter_map(|(_, described)| described.v2.clone()).collect::<Vec<_>>();
    match path {
        V2 if form == openapi::V2_PROTOBUF => Some(state.documents.v2_protobuf_with(&entries, &parts())),
        V2 => Some(state.documents.v2_with(&entries, &parts())),
        "openapi/v3" => {
            let others = others.clone().filter_map(|(version, described)| Some((version, described.hash()?)));
            Some(state.documents.index_with(&entries, others))
        }
        _ => {
            let version = parse_version_path(path.strip_prefix("openapi/v3/")?)?;
            match described.get(&version) {
                Some(other) => other.as_ref()?.v3.clone(),
                None => state.documents.group_version(&version, &entries),
            }
        }
    }
}

fn entry(resource: &Resource) -> Entry {
    let subresources = resource.subresources.iter().map(|s| SubresourceEntry {
        name: s.name.clone(),
        kind: s.kind.clone(),
        description: s.description,
        verbs: s.verbs.iter().map(|verb| verb.as_str()).collect(),
    });
    Entry {
        kind: resource.gvk(),
        list_kind: resource.list_kind(),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced,
        verbs: resource.verbs(),
        subresources: subresources.collect(),
        description: resource.description,
        schema: resource.schema.clone(),
        documented: resource.documented.clone(),
    }
}

fn respond(headers: &HeaderMap, document: &Document, hashed: bool) -> Response<Body> {
    let etag = format!("\"{}\"", document.etag);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(&etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::full(document.body.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.media_type));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    // What stands at an address with the right hash never changes.
    let caching = if hashed { "public, max-age=31536000, immutable" } else { "no-cache, private" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
