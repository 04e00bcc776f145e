//! Reading a collection, whole or page by page.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use model::Status;
use serde::{Deserialize, Serialize};
use store::{KeyRange, Range};

use crate::body::Body;
use crate::cache::{ROOT, Stored};
use crate::call::{Call, json_response};
use crate::error::{Error, Result};
use crate::negotiate::View;
use crate::render::{self, Form};
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
/// How many objects of the past are looked at in one step.
const PAGE: usize = 256;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = ListOptions::parse(&call.query)?;
    let selection = Arc::new(Selection::parse(call, &options)?);
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
        return Ok(respond(call, found, revision, None));
    }
    let (all, revision) = partition.snapshot(call.state.cache.revision(), &selection.prefix);
    let found = selection.find(call, all, options.limit).await;
    let next = found.objects.last().filter(|_| found.remaining > 0 && options.limit > 0).map(|last| Next {
        token: make_token(revision, &last.name),
        // With selectors nobody knows without looking.
        remaining: (!selection.selects()).then_some(found.remaining),
    });
    Ok(respond(call, found.objects, revision, next))
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
    objects: Vec<Arc<Stored>>,
    revision: u64,
    next: Option<Next>,
) -> Response<Body> {
    let form = Form { resource: call.resource.clone(), view: call.view, now: call.now };
    let (head, tail): (Vec<u8>, &'static [u8]) = match call.view {
        View::Table(include) => (table_head(call, revision, next, include), b"]}"),
        View::Full | View::Metadata => (list_head(call, revision, next), b"]}\n"),
    };
    let body = render::list(&call.state, call.identity.is_component(), form, objects, head, tail);
    json_response(StatusCode::OK, body)
}

/// A list up to its first item.
fn list_head(call: &Call, revision: u64, next: Option<Next>) -> Vec<u8> {
    let (kind, api_version) = call.view.list_kind(&call.resource);
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
    head.into_bytes()
}

/// A table up to its first row.
fn table_head(call: &Call, revision: u64, next: Option<Next>, include: Include) -> Vec<u8> {
    let mut metadata = ListMetadata { resource_version: revision.to_string(), ..ListMetadata::default() };
    if let Some(next) = next {
        metadata.continue_token = next.token;
        metadata.remaining = next.remaining.and_then(|r| i64::try_from(r).ok());
    }
    let mut head = table(&call.resource.columns, [], &metadata, include, true, call.now).to_string();
    debug_assert!(head.ends_with("\"rows\":[]}"), "the rows come last");
    head.truncate(head.len() - 2);
    head.into_bytes()
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
    let left = 'pages: loop {
        let mut keys = KeyRange::prefix(format!("{root}{}", selection.prefix));
        if let Some(after) = &after {
            keys = keys.after(after);
        }
        // With selectors most of what is looked at may not be meant.
        let most = match options.limit {
            0 => PAGE,
            limit if selection.selects() => (limit - objects.len()).max(PAGE),
            limit => limit - objects.len(),
        };
        let request = Range::new(keys).at(revision).limit(most);
        let page = call.state.store.range(request).await.map_err(|e| Error::store(&e))?;
        for (index, kv) in page.items.iter().enumerate() {
            let name = kv.key_str().strip_prefix(&root).unwrap_or_default();
            let stored = Stored::new(name.into(), kv.mod_revision, &kv.value);
            after = Some(kv.key_str().to_owned());
            if selection.takes(&stored) {
                objects.push(Arc::new(stored));
                if options.limit > 0 && objects.len() == options.limit {
                    break 'pages page.count - index - 1;
                }
            }
        }
        if !page.more || page.items.is_empty() {
            break 0;
        }
        tokio::task::yield_now().await;
    };
    let next = after.filter(|_| left > 0).map(|last| Next {
        token: make_token(revision, last.strip_prefix(&root).unwrap_or_default()),
        remaining: (!selection.selects()).then_some(left),
    });
    Ok(respond(call, objects, revision, next))
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
