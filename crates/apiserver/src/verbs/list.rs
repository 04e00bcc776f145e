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
use crate::state::State;
use crate::table::{Include, ListMetadata, table};
use crate::version::revision_of;

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
const PAGE: usize = 512;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = ListOptions::parse(&call.query)?;
    let selection = Arc::new(Selection::parse(call, &options)?);
    if !options.continue_token.is_empty() {
        let token = parse_token(&options.continue_token)?;
        return page_at(call, &options, &selection, token.rv, Some(&token.start)).await;
    }
    if let Some(revision) = options.revision()?.filter(|r| *r > 0) {
        wait_until_visible(&call.state, revision).await?;
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
pub(crate) async fn wait_until_visible(state: &State, revision: u64) -> Result<()> {
    state.cache.wait_for(revision).await.map_err(|current| {
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

/// A page of the past under way: from the store, which remembers.
struct Past {
    state: Arc<State>,
    /// Where the objects of the resource are.
    partition: String,
    selection: Arc<Selection>,
    /// What the keys of the resource begin with.
    root: String,
    revision: u64,
    limit: usize,
    /// The last key that was looked at.
    after: Option<String>,
    found: Vec<Arc<Stored>>,
}

/// A page as of a revision that may be past.
async fn page_at(
    call: &Call,
    options: &ListOptions,
    selection: &Arc<Selection>,
    revision: u64,
    after: Option<&str>,
) -> Result<Response<Body>> {
    let root = format!("{ROOT}{}/", call.resource.storage.partition);
    let past = Past {
        state: call.state.clone(),
        partition: call.resource.storage.partition.clone(),
        selection: selection.clone(),
        after: after.map(|name| format!("{root}{name}")),
        root,
        revision,
        limit: options.limit,
        found: Vec::new(),
    };
    // Long: each object of the past is read anew.
    let own = call.identity.is_component();
    let (objects, next) = call.state.workers.drive(own, past.read()).await?;
    Ok(respond(call, objects, revision, next))
}

impl Past {
    /// What is meant, and where to go on if there may be more.
    async fn read(mut self) -> Result<(Vec<Arc<Stored>>, Option<Next>)> {
        loop {
            let wanted = if self.limit == 0 { usize::MAX } else { self.limit - self.found.len() };
            // With selectors most of what is looked at may not be meant.
            let most = if self.selection.selects() { PAGE } else { wanted.min(PAGE) };
            // What comes after it is not counted: that would be done anew at each page.
            let request = Range::new(self.keys()).at(revision_of(self.revision)).limit(most).uncounted();
            let page = self.state.store.range(request).await.map_err(|e| Error::store(&e))?;
            for (index, kv) in page.items.iter().enumerate() {
                let name = kv.key_str().strip_prefix(&self.root).unwrap_or_default();
                let stored = self.state.cache.read(&self.partition, name, kv);
                self.after = Some(kv.key_str().to_owned());
                if !self.selection.takes(&stored) {
                    continue;
                }
                self.found.push(Arc::new(stored));
                if self.found.len() == self.limit {
                    let more = page.more || index + 1 < page.items.len();
                    let next = if more { Some(self.next().await?) } else { None };
                    return Ok((self.found, next));
                }
            }
            if !page.more || page.items.is_empty() {
                return Ok((self.found, None));
            }
            tokio::task::yield_now().await;
        }
    }

    /// The keys that have not been looked at.
    fn keys(&self) -> KeyRange {
        let keys = KeyRange::prefix(format!("{}{}", self.root, self.selection.prefix));
        match &self.after {
            Some(after) => keys.after(after),
            None => keys,
        }
    }

    async fn next(&self) -> Result<Next> {
        let last = self.after.as_deref().and_then(|last| last.strip_prefix(&self.root));
        let token = make_token(self.revision, last.unwrap_or_default());
        // With selectors nobody knows without looking.
        let remaining = if self.selection.selects() {
            None
        } else {
            let request = Range::new(self.keys()).at(revision_of(self.revision)).count_only();
            Some(self.state.store.range(request).await.map_err(|e| Error::store(&e))?.count)
        };
        Ok(Next { token, remaining })
    }
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
