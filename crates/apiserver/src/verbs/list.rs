//! Reading a collection, whole or page by page.

mod past;
mod token;

use std::sync::Arc;

use http::{Response, StatusCode, header};

use crate::body::Body;
use crate::cache::Stored;
use crate::call::{Call, json_response};
use crate::error::{Error, Result};
use crate::negotiate::View;
use crate::protobuf::encode;
use crate::render::{self, Form};
use crate::request::ListOptions;
use crate::selection::Selection;
use crate::share;
use crate::state::State;
use crate::style::Document;
use crate::table::{ListMetadata, TableForm, table};

use past::Page;
use token::Token;

/// Where a list goes on.
pub(super) struct Next {
    token: String,
    remaining: Option<usize>,
}

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let mut options = ListOptions::parse(&call.query)?;
    if call.shares() {
        // References are told: no page could be smaller.
        options.limit = 0;
    }
    let selection = Arc::new(Selection::parse(call, &options)?);
    if !options.continue_token.is_empty() {
        let token = Token::parse(&options.continue_token)?;
        let version = match token.version() {
            Some(version) => {
                wait_until_visible(&call.state, version).await?;
                version
            }
            None => call.state.cache.revision(),
        };
        let page = Page { version, after: Some(token.last), limit: options.limit };
        return page.answer(call, &selection).await;
    }
    if let Some(version) = options.revision()?.filter(|version| *version > 0) {
        wait_until_visible(&call.state, version).await?;
        if options.exact()?.is_some() {
            return Page { version, after: None, limit: options.limit }.answer(call, &selection).await;
        }
    }
    let partition = call.partition();
    if let Some(only) = selection.only() {
        let revision = call.state.cache.revision();
        let found = selection.find(call, partition.get(only).into_iter().collect(), 0).await?;
        return Ok(respond(call, found.objects, revision, None));
    }
    let (all, revision) = partition.snapshot(call.state.cache.revision(), &selection.prefix);
    respond_found(call, &selection, all, revision, options.limit).await
}

/// The answer with those of `all`, as they are at a version, that are meant.
async fn respond_found(
    call: &Call,
    selection: &Arc<Selection>,
    all: Vec<Arc<Stored>>,
    version: u64,
    limit: usize,
) -> Result<Response<Body>> {
    let found = selection.find(call, all, limit).await?;
    let next = found.objects.last().filter(|_| found.remaining > 0 && limit > 0).map(|last| Next {
        token: Token::new(version, &last.name).to_text(),
        // With selectors nobody knows without looking.
        remaining: (!selection.selects()).then_some(found.remaining),
    });
    Ok(respond(call, found.objects, version, next))
}

/// Fails where a version lies in a future that does not come.
pub(crate) async fn wait_until_visible(state: &State, version: u64) -> Result<()> {
    if state.store.is_shared() && !state.cache.shows(version) {
        // What it is the version of may have been written where nothing here is.
        state.cache.ask_for_progress();
    }
    state.cache.wait_for(version).await.map_err(|current| Error::too_large_version(version, current))
}

/// The answer with a list that is whole.
pub(crate) fn respond_whole(call: &Call, objects: Vec<Arc<Stored>>, revision: u64) -> Response<Body> {
    respond(call, objects, revision, None)
}

/// The answer with a list of objects.
pub(super) fn respond(
    call: &Call,
    objects: Vec<Arc<Stored>>,
    revision: u64,
    next: Option<Next>,
) -> Response<Body> {
    let style = call.style;
    let form = Form { resource: call.resource.clone(), view: call.view, style, now: call.now };
    let own = call.identity.is_component();
    if call.view.is_protobuf() {
        let (token, remaining) = match &next {
            Some(next) => (next.token.as_str(), next.remaining),
            None => ("", None),
        };
        let metadata = encode::list_metadata(revision, token, remaining);
        return call.respond(StatusCode::OK, render::messages(&call.state, own, form, objects, metadata));
    }
    let (head, tail): (Vec<u8>, &'static [u8]) = match call.view {
        View::Table(form) => (table_head(call, revision, next, form), b"]}"),
        _ => (list_head(call, revision, next), b"]}\n"),
    };
    if call.shares() {
        return share::list([head.as_slice(), tail].concat(), objects);
    }
    let frame = style.frame(head, tail, objects.is_empty());
    let mut response = json_response(StatusCode::OK, render::list(&call.state, own, form, objects, frame));
    // It is what the client wants already.
    response.extensions_mut().remove::<Document>();
    response.headers_mut().insert(header::CONTENT_TYPE, style.media_type());
    response
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
fn table_head(call: &Call, revision: u64, next: Option<Next>, form: TableForm) -> Vec<u8> {
    let mut metadata = ListMetadata { resource_version: revision.to_string(), ..ListMetadata::default() };
    if let Some(next) = next {
        metadata.continue_token = next.token;
        metadata.remaining = next.remaining.and_then(|r| i64::try_from(r).ok());
    }
    let mut head = table(&call.resource.columns, [], &metadata, form, true, call.now).to_string();
    debug_assert!(head.ends_with("\"rows\":[]}"), "the rows come last");
    head.truncate(head.len() - 2);
    head.into_bytes()
}
