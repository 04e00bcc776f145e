//! List, then watch from there, for ever.
//!
//! ```text
//!        ┌───────── list ◀──────────────┐ 410, or what cannot be decoded
//!        ▼                              │
//!      watch ── ended, or broken ──▶ watch after the last revision seen
//! ```

use std::collections::HashSet;
use std::time::Duration;

use base::backoff::Backoff;
use base::{Random, SystemRandom};
use futures::{StreamExt, pin_mut};

use super::Shared;
use crate::api::{List, WatchEvent, WatchOptions};
use crate::error::Error;
use crate::resource::Resource;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MOST_DELAY: Duration = Duration::from_secs(30);
/// How long the server is asked to keep a watch open, so that connections are spread anew.
const WATCH_SECONDS: u32 = 300;

/// How many objects a list is asked for at once, by those who cannot share what the server holds.
const PAGE: usize = 1000;
/// So many are taken in before others get their turn.
const STEP: usize = 128;

/// Keeps the store of `shared` true; never returns.
pub(super) async fn reflect<K: Resource>(shared: &Shared<K>) {
    let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
    let mut version: Option<String> = None;
    let plural = shared.api.kind().plural.clone();
    loop {
        let result = match &mut version {
            None => list(shared).await.map(|listed| version = Some(listed)),
            Some(version) => watch(shared, version, &mut backoff).await,
        };
        match result {
            Ok(()) => continue,
            Err(error @ (Error::Expired(_) | Error::Decode { .. })) => {
                tracing::debug!(%plural, error = %base::error::chain(&error), "listing anew");
                version = None;
            }
            Err(error) => {
                tracing::warn!(%plural, error = %base::error::chain(&error), "cannot follow changes, trying again");
            }
        }
        tokio::time::sleep(jittered(backoff.next_delay())).await;
    }
}

/// Lists everything; gives the resource version to watch after.
///
/// What comes is taken in page by page, in steps that let others go on; the store says that it has come so
/// far when it has all.
async fn list<K: Resource>(shared: &Shared<K>) -> Result<String, Error> {
    let mut listed = HashSet::new();
    let mut options = shared.options.clone();
    options.limit.get_or_insert(PAGE);
    let version = loop {
        let List { metadata, items } = shared.api.list_encoded(&options).await?;
        let mut items = items.into_iter();
        while items.len() > 0 {
            shared.change(|store| {
                let taken = items.by_ref().take(STEP).map(|object| store.insert(object));
                let mut changes = Vec::new();
                for (name, change) in taken {
                    listed.extend(name);
                    changes.extend(change);
                }
                changes
            });
            tokio::task::yield_now().await;
        }
        if metadata.continue_token.is_empty() {
            break metadata.resource_version;
        }
        options.continue_token = Some(metadata.continue_token);
        options.resource_version = None;
    };
    shared.change(|store| store.retain(&listed));
    shared.store.advance(version.parse().unwrap_or_default(), true);
    Ok(version)
}

/// Watches until the server ends the watch; moves `version` along.
async fn watch<K: Resource>(
    shared: &Shared<K>,
    version: &mut String,
    backoff: &mut Backoff,
) -> Result<(), Error> {
    let options = WatchOptions {
        labels: shared.options.labels.clone(),
        fields: shared.options.fields.clone(),
        timeout_seconds: Some(WATCH_SECONDS + (SystemRandom.next_u64() % u64::from(WATCH_SECONDS)) as u32),
        ..WatchOptions::after(version.clone())
    };
    let events = shared.api.watch_encoded(&options).await?;
    pin_mut!(events);
    let mut told = false;
    while let Some(event) = events.next().await {
        let event = event?;
        told = true;
        backoff.reset();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let revision = object.revision();
                *version = revision.to_string();
                shared.change(|store| store.insert(object).1);
                shared.store.advance(revision, false);
            }
            WatchEvent::Deleted(object) => {
                *version = object.revision().to_string();
                shared.change(|store| store.remove(&object));
                shared.store.advance(object.revision(), false);
            }
            WatchEvent::Bookmark { resource_version } => {
                shared.store.advance(resource_version.parse().unwrap_or_default(), false);
                *version = resource_version;
            }
        }
    }
    if !told {
        // A server that ends every watch at once must not be asked in a tight loop.
        tokio::time::sleep(jittered(backoff.next_delay())).await;
    }
    Ok(())
}

/// Between a half and the whole of `delay`, so that many clients do not come back at once.
fn jittered(delay: Duration) -> Duration {
    let part = (SystemRandom.next_u64() % 1000) as u32;
    delay / 2 + delay * part / 2000
}
