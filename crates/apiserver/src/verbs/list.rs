//! Reading a collection, whole or page by page.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use model::{Object, Status};
use serde::{Deserialize, Serialize};
use store::{KeyRange, Range};

use crate::body::{Body, Chunks};
use crate::cache::{ROOT, Stored};
use crate::call::{Call, json_response};
use crate::error::{Error, Result};
use crate::negotiate::{View, from_stored};
use crate::request::{ListOptions, VersionMatch};
use crate::selection::Selection;
use crate::table::{Include, ListMetadata, table};

/// Where a list goes on.
pub(super) struct Next {
    token: String,
    remaining: Option<usize>,
}

/// What a client hands back to go on; opaque to it.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    /// The last name that was shown.
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = ListOptions::parse(&call.query)?;
    let selection = Selection::parse(call, &options)?;
    if !options.continue_token.is_empty() {
        let token = parse_token(&options.continue_token)?;
        return page_at(call, &options, &selection, token.rv, Some(&token.start)).await;
    }
    if let Some(revision) = options.revision()?.filter(|r| *r > 0) {
        wait_until_visible(call, revision).await?;
        if options.version_match == Some(VersionMatch::Exact) {
            return page_at(call, &options, &selection, revision, None).await;
        }
    }
    let partition = call.partition();
    if let Some(only) = selection.only() {
        let revision = call.state.cache.revision();
        let found: Vec<_> = partition.get(only).filter(|s| selection.takes(s)).into_iter().collect();
        return Ok(respond(call, &found, revision, None));
    }
    let snapshot =
        partition.snapshot(call.state.cache.revision(), &selection.prefix, options.limit, |stored| {
            selection.takes(stored)
        });
    let next =
        snapshot.objects.last().filter(|_| snapshot.remaining > 0 && options.limit > 0).map(|last| Next {
            token: make_token(snapshot.revision, &last.name),
            // With selectors nobody knows without looking.
            remaining: (!selection.selects()).then_some(snapshot.remaining),
        });
    Ok(respond(call, &snapshot.objects, snapshot.revision, next))
}

/// Fails where a revision lies in a future that does not come.
pub(super) async fn wait_until_visible(call: &Call, revision: u64) -> Result<()> {
    call.state.cache.wait_for(revision).await.map_err(|current| {
        let why = format!("Too large resource version: {revision}, current: {current}");
        let mut status = Status::timeout(why, 1);
        status.details.get_or_insert_default().causes.push(model::status::Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
        Error::from(status)
    })
}

/// The answer with a list of objects.
pub(super) fn respond(
    call: &Call,
    objects: &[Arc<Stored>],
    revision: u64,
    next: Option<Next>,
) -> Response<Body> {
    if let View::Table(include) = call.view {
        return respond_table(call, objects, revision, next, include);
    }
    let (kind, api_version) = call.view.list_kind(&call.resource);
    let mut chunks = Chunks::default();
    let mut head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\""
    );
    if let Some(next) = next {
        head.push_str(&format!(",\"continue\":\"{}\"", next.token));
        if let Some(remaining) = next.remaining {
            head.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
    }
    head.push_str("},\"items\":[");
    chunks.push(head.as_bytes());
    for (index, stored) in objects.iter().enumerate() {
        if index > 0 {
            chunks.push(b",");
        }
        chunks.push(&call.view.object_bytes(&call.resource, stored, call.now));
    }
    chunks.push(b"]}\n");
    json_response(StatusCode::OK, chunks.into_body())
}

fn respond_table(
    call: &Call,
    objects: &[Arc<Stored>],
    revision: u64,
    next: Option<Next>,
    include: Include,
) -> Response<Body> {
    let objects: Vec<Object> = objects.iter().map(|stored| from_stored(&call.resource, stored)).collect();
    let mut metadata = ListMetadata { resource_version: revision.to_string(), ..ListMetadata::default() };
    if let Some(next) = next {
        metadata.continue_token = next.token;
        metadata.remaining = next.remaining.and_then(|r| i64::try_from(r).ok());
    }
    let table = table(&call.resource.gvk(), &objects, &metadata, include, true, call.now);
    json_response(StatusCode::OK, Body::full(table.to_string()))
}

/// A page as of a revision that may be past: from the store, which remembers.
async fn page_at(
    call: &Call,
    options: &ListOptions,
    selection: &Selection,
    revision: u64,
    after: Option<&str>,
) -> Result<Response<Body>> {
    let root = format!("{ROOT}{}/", call.resource.storage.partition);
    let mut after = after.map(|name| format!("{root}{name}"));
    let mut objects: Vec<Arc<Stored>> = Vec::new();
    let left = loop {
        let mut keys = KeyRange::prefix(format!("{root}{}", selection.prefix));
        if let Some(after) = &after {
            keys = keys.after(after);
        }
        let mut request = Range::new(keys).at(revision);
        if options.limit > 0 {
            request = request.limit(options.limit - objects.len());
        }
        let page = call.state.store.range(request).await.map_err(|e| Error::store(&e))?;
        let left = page.count - page.items.len();
        for kv in &page.items {
            let name = kv.key_str().strip_prefix(&root).unwrap_or_default();
            let stored = Stored::new(name.into(), kv.mod_revision, &kv.value);
            if selection.takes(&stored) {
                objects.push(Arc::new(stored));
            }
        }
        after = page.items.last().map(|kv| kv.key_str().to_owned());
        let full = options.limit > 0 && objects.len() >= options.limit;
        if !page.more || full || after.is_none() {
            break left;
        }
    };
    let next = after.filter(|_| left > 0).map(|last| Next {
        token: make_token(revision, last.strip_prefix(&root).unwrap_or_default()),
        remaining: (!selection.selects()).then_some(left),
    });
    Ok(respond(call, &objects, revision, next))
}

fn make_token(revision: u64, last: &str) -> String {
    let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start: last.to_owned() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token always has a text"))
}

fn parse_token(text: &str) -> Result<Token> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok())
        .filter(|token| token.v == TOKEN_VERSION && token.rv > 0)
        .ok_or_else(|| Error::bad_request("continue key is not valid"))
}
