//! A page of a collection as of a version that may be past.

use std::sync::Arc;

use http::Response;
use model::Status;
use store::{KeyRange, Range};

use super::token::{self, Token};
use super::{Next, respond, respond_found};
use crate::body::Body;
use crate::cache::{ROOT, Stored};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::resource::Resource;
use crate::selection::Selection;
use crate::state::State;
use crate::version::{is_known, revision_of};

/// How many objects of the past are looked at in one step.
const STEP: usize = 512;

/// What is asked for.
pub(super) struct Page {
    /// As of when.
    pub(super) version: u64,
    /// The name that it comes after, where it is not the first.
    pub(super) after: Option<String>,
    /// At most so many objects; 0 for all.
    pub(super) limit: usize,
}

/// A page that is read from the store, which remembers.
struct Past {
    state: Arc<State>,
    resource: Arc<Resource>,
    selection: Arc<Selection>,
    /// What the keys of the resource begin with.
    root: String,
    page: Page,
    /// The last key that was looked at.
    after: Option<String>,
    found: Vec<Arc<Stored>>,
}

impl Page {
    pub(super) async fn answer(self, call: &Call, selection: &Arc<Selection>) -> Result<Response<Body>> {
        if !is_known(self.version) {
            return Err(self.expired());
        }
        if call.resource.storage.is_passing.is_some() {
            return self.remembered(call, selection).await;
        }
        let version = self.version;
        let root = format!("{ROOT}{}/", call.resource.storage.partition);
        let past = Past {
            state: call.state.clone(),
            resource: call.resource.clone(),
            selection: selection.clone(),
            after: self.after.as_ref().map(|name| format!("{root}{name}")),
            root,
            page: self,
            found: Vec::new(),
        };
        // Long: each object of the past is read anew.
        let own = call.identity.is_component();
        let (objects, next) = call.state.workers.drive(own, past.read()).await?;
        Ok(respond(call, objects, version, next))
    }

    /// Of what changes in memory too, the store does not know how it was: memory does, as far back as it
    /// reaches.
    async fn remembered(self, call: &Call, selection: &Arc<Selection>) -> Result<Response<Body>> {
        let all = call.partition().as_of(self.version, selection.names());
        let mut all = all.map_err(|_| self.expired())?;
        if let Some(after) = &self.after {
            all.retain(|stored| *stored.name > **after);
        }
        respond_found(call, selection, all, self.version, self.limit).await
    }

    fn expired(&self) -> Error {
        if let Some(after) = &self.after {
            return token::expired(after);
        }
        Status::expired("The resourceVersion for the provided list is too old.").into()
    }

    fn error(&self, error: &store::Error) -> Error {
        match error {
            store::Error::Compacted { .. } => self.expired(),
            error => Error::store(error),
        }
    }
}

impl Past {
    /// What is meant, and where to go on if there may be more.
    async fn read(mut self) -> Result<(Vec<Arc<Stored>>, Option<Next>)> {
        let (limit, of) = (self.page.limit, self.resource.storage.partition.clone());
        let partition = self.state.cache.partition(&of);
        loop {
            let wanted = if limit == 0 { usize::MAX } else { limit - self.found.len() };
            // With selectors most of what is looked at may not be meant.
            let most = if self.selection.selects() { STEP } else { wanted.min(STEP) };
            // What comes after it is not counted: that would be done anew at each page.
            let request = Range::new(self.keys()).at(revision_of(self.page.version)).limit(most).uncounted();
            let page = self.state.store.range(request).await.map_err(|error| self.page.error(&error))?;
            for (index, kv) in page.items.iter().enumerate() {
                let name = kv.key_str().strip_prefix(&self.root).unwrap_or_default();
                let mut stored = Arc::new(self.state.cache.read(&partition, &of, name, kv));
                self.after = Some(kv.key_str().to_owned());
                if !stored.is_readable() {
                    continue;
                }
                if self.resource.storage.served.is_some() && self.selection.names_it(&stored) {
                    // What memory has too may be converted already.
                    let shown = partition.get(name).filter(|shown| shown.revision() == stored.revision());
                    stored = partition.served_one(&self.resource, shown.unwrap_or(stored)).await?;
                }
                if !self.selection.takes(&stored) {
                    continue;
                }
                self.found.push(stored);
                if self.found.len() == limit {
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
        let token = Token::new(self.page.version, last.unwrap_or_default()).to_text();
        // With selectors nobody knows without looking.
        let remaining = if self.selection.selects() {
            None
        } else {
            let request = Range::new(self.keys()).at(revision_of(self.page.version)).count_only();
            let counted = self.state.store.range(request).await;
            Some(counted.map_err(|error| self.page.error(&error))?.count)
        };
        Ok(Next { token, remaining })
    }
}
