//! Builds that there were, as long as the daemon runs.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::wire::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest,
};

/// How many builds are remembered.
const KEPT: usize = 100;
/// How far who listens may be behind.
const BEHIND: usize = 256;

/// Builds that there were. Cheap to clone: all clones are one.
#[derive(Clone)]
pub(crate) struct History {
    inner: Arc<Inner>,
}

struct Inner {
    records: Mutex<VecDeque<BuildHistoryRecord>>,
    told: broadcast::Sender<BuildHistoryEvent>,
}

impl History {
    pub(crate) fn new() -> Self {
        let told = broadcast::Sender::new(BEHIND);
        History { inner: Arc::new(Inner { records: Mutex::default(), told }) }
    }

    /// A build has begun or ended: `record` replaces what was known of it.
    pub(crate) fn tell(&self, record: BuildHistoryRecord) {
        let kind = match record.completed_at {
            Some(_) => BuildHistoryEventType::Complete,
            None => BuildHistoryEventType::Started,
        };
        let mut records = self.inner.records.lock();
        match records.iter_mut().find(|known| known.r#ref == record.r#ref) {
            Some(known) => *known = record.clone(),
            None => records.push_back(record.clone()),
        }
        if records.len() > KEPT
            && let Some(oldest) =
                records.iter().position(|known| !known.pinned && known.completed_at.is_some())
        {
            records.remove(oldest);
        }
        self.say(kind, record);
    }

    /// Keeps a build from being forgotten, or not any more; false if there is none.
    pub(crate) fn pin(&self, id: &str, pinned: bool) -> bool {
        let mut records = self.inner.records.lock();
        let Some(known) = records.iter_mut().find(|known| known.r#ref == id) else { return false };
        known.pinned = pinned;
        true
    }

    /// Forgets a build that has ended; false if there is none.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut records = self.inner.records.lock();
        let ended = |known: &BuildHistoryRecord| known.r#ref == id && known.completed_at.is_some();
        let Some(place) = records.iter().position(ended) else { return false };
        if let Some(record) = records.remove(place) {
            self.say(BuildHistoryEventType::Deleted, record);
        }
        true
    }

    /// What there is of what is asked for, and what comes, unless only the former is wanted.
    pub(crate) fn listen(&self, request: BuildHistoryRequest) -> BoxStream<'static, BuildHistoryEvent> {
        let records = self.inner.records.lock();
        // From here on: nothing is told while the records are held.
        let told = self.inner.told.subscribe();
        let asked = |record: &BuildHistoryRecord| {
            (request.r#ref.is_empty() || request.r#ref == record.r#ref)
                && !(request.active_only && record.completed_at.is_some())
        };
        let (ended, mut running): (Vec<_>, Vec<_>) =
            records.iter().filter(|record| asked(record)).cloned().partition(|it| it.completed_at.is_some());
        let mut first: Vec<BuildHistoryEvent> = Vec::new();
        let event = |kind: BuildHistoryEventType, record| BuildHistoryEvent {
            r#type: kind.into(),
            record: Some(record),
        };
        first.extend(running.drain(..).map(|record| event(BuildHistoryEventType::Started, record)));
        first.extend(ended.into_iter().map(|record| event(BuildHistoryEventType::Complete, record)));
        if let Ok(limit) = usize::try_from(request.limit)
            && limit > 0
        {
            first.truncate(limit);
        }
        let first = stream::iter(first);
        if request.early_exit {
            return first.boxed();
        }
        let wanted = request.r#ref;
        let coming = stream::unfold(told, |mut told| async move {
            loop {
                match told.recv().await {
                    Ok(event) => return Some((event, told)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let coming = coming.filter(move |event| {
            let id = event.record.as_ref().map(|record| &*record.r#ref).unwrap_or_default();
            let asked = wanted.is_empty() || wanted == id;
            async move { asked }
        });
        first.chain(coming).boxed()
    }

    fn say(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        // Nobody may listen.
        let _ = self.inner.told.send(BuildHistoryEvent { r#type: kind.into(), record: Some(record) });
    }
}
