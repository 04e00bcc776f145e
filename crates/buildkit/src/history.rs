//! Builds that there were, as long as the daemon runs.

mod left;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::sessions::Owner;
use crate::wire::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, StatusResponse,
};
pub(crate) use left::{Left, leave, result_of};

/// How many builds of one owner are remembered.
const KEPT: usize = 100;
/// How many of those may be pinned.
const PINNED: usize = KEPT / 2;
/// How many builds of all owners are remembered, and how many of those may be pinned: who has the most gives way.
const KEPT_OF_ALL: usize = 10 * KEPT;
const PINNED_OF_ALL: usize = KEPT_OF_ALL / 2;
/// Bytes of what one build was asked for, and of what it came to, that are remembered.
const SAID: usize = 64 << 10;
/// Bytes of what all builds left besides.
const LEFT: usize = 32 << 20;
/// How far who listens may be behind.
const BEHIND: usize = 256;

/// Builds that there were. Cheap to clone: all clones are one.
#[derive(Clone)]
pub(crate) struct History {
    inner: Arc<Inner>,
}

struct Inner {
    records: Mutex<VecDeque<Known>>,
    told: broadcast::Sender<(Owner, BuildHistoryEvent)>,
}

/// A build, and whose it is: nobody else hears of it. Two owners may give their builds one name.
struct Known {
    owner: Owner,
    record: BuildHistoryRecord,
    left: Left,
}

/// Why a record stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// There is none, or it is somebody else's, or has not ended.
    #[error("not found")]
    None,
    /// As many as may be are pinned.
    #[error("{0} builds are pinned, more cannot be")]
    Full(usize),
}

impl Known {
    fn is(&self, owner: &Owner, id: &str) -> bool {
        self.owner == *owner && self.record.r#ref == id
    }

    /// Whether it may be forgotten.
    fn is_dispensable(&self) -> bool {
        !self.record.pinned && self.record.completed_at.is_some()
    }

    /// Bytes of what it left.
    fn weight(&self) -> usize {
        self.left.values().map(Bytes::len).sum()
    }
}

impl History {
    pub(crate) fn new() -> Self {
        let told = broadcast::Sender::new(BEHIND);
        History { inner: Arc::new(Inner { records: Mutex::default(), told }) }
    }

    /// A build of `owner` has begun or ended: `record` replaces what was known of it, and so does what it `left`.
    pub(crate) fn tell(&self, owner: &Owner, mut record: BuildHistoryRecord, left: Left) {
        shorten(&mut record);
        let kind = match record.completed_at {
            Some(_) => BuildHistoryEventType::Complete,
            None => BuildHistoryEventType::Started,
        };
        let mut records = self.inner.records.lock();
        match records.iter_mut().find(|known| known.is(owner, &record.r#ref)) {
            Some(known) => {
                record.pinned = known.record.pinned;
                (known.record, known.left) = (record.clone(), left);
            }
            None => records.push_back(Known { owner: owner.clone(), record: record.clone(), left }),
        }
        let of_owner = |records: &VecDeque<Known>| records.iter().filter(|it| it.owner == *owner).count();
        while of_owner(&records) > KEPT && forget(&mut records, owner) {}
        while records.len() > KEPT_OF_ALL
            && let Some(most) = most(&records, |known| usize::from(known.is_dispensable()))
            && forget(&mut records, &most)
        {}
        keep_within(&mut records, LEFT);
        self.say(owner, kind, record);
    }

    /// Content that a build of `owner` left.
    pub(crate) fn content(&self, owner: &Owner, digest: &Digest) -> Option<Bytes> {
        let records = self.inner.records.lock();
        records.iter().filter(|known| known.owner == *owner).find_map(|known| known.left.get(digest)).cloned()
    }

    /// All content that builds of `owner` left, and how long it is.
    pub(crate) fn contents(&self, owner: &Owner) -> Vec<(Digest, u64)> {
        let records = self.inner.records.lock();
        let all = records.iter().filter(|known| known.owner == *owner).flat_map(|known| &known.left);
        all.map(|(digest, bytes)| (digest.clone(), bytes.len() as u64)).collect()
    }

    /// What a build of `owner` told that has ended, as far as that is remembered.
    pub(crate) fn told(&self, owner: &Owner, id: &str) -> Option<Vec<StatusResponse>> {
        let told = {
            let records = self.inner.records.lock();
            let known = records.iter().find(|known| known.is(owner, id))?;
            let digest = Digest::parse(&known.record.logs.as_ref()?.digest).ok()?;
            known.left.get(&digest)?.clone()
        };
        Some(left::messages(told))
    }

    /// Keeps a build of `owner` from being forgotten, or not any more.
    pub(crate) fn pin(&self, owner: &Owner, id: &str, pinned: bool) -> Result<(), HistoryError> {
        let mut records = self.inner.records.lock();
        let others = || records.iter().filter(|known| known.record.pinned && !known.is(owner, id));
        let (of_owner, of_all) = (others().filter(|known| known.owner == *owner).count(), others().count());
        let known = records.iter_mut().find(|known| known.is(owner, id)).ok_or(HistoryError::None)?;
        if pinned && of_owner >= PINNED {
            return Err(HistoryError::Full(PINNED));
        }
        if pinned && of_all >= PINNED_OF_ALL {
            return Err(HistoryError::Full(PINNED_OF_ALL));
        }
        known.record.pinned = pinned;
        Ok(())
    }

    /// Forgets a build of `owner` that has ended.
    pub(crate) fn remove(&self, owner: &Owner, id: &str) -> Result<(), HistoryError> {
        let mut records = self.inner.records.lock();
        let ended = |known: &Known| known.is(owner, id) && known.record.completed_at.is_some();
        let place = records.iter().position(ended).ok_or(HistoryError::None)?;
        if let Some(known) = records.remove(place) {
            self.say(owner, BuildHistoryEventType::Deleted, known.record);
        }
        Ok(())
    }

    /// What there is of what `owner` asks for, and what comes, unless only the former is wanted.
    pub(crate) fn listen(
        &self,
        owner: &Owner,
        request: BuildHistoryRequest,
    ) -> BoxStream<'static, BuildHistoryEvent> {
        let records = self.inner.records.lock();
        // From here on: nothing is told while the records are held.
        let told = self.inner.told.subscribe();
        let asked = |record: &BuildHistoryRecord| {
            (request.r#ref.is_empty() || request.r#ref == record.r#ref)
                && !(request.active_only && record.completed_at.is_some())
        };
        let (ended, mut running): (Vec<_>, Vec<_>) = records
            .iter()
            .filter(|known| known.owner == *owner)
            .map(|known| &known.record)
            .filter(|record| asked(record))
            .cloned()
            .partition(|it| it.completed_at.is_some());
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
        let (wanted, owner) = (request.r#ref, owner.clone());
        let coming = stream::unfold(told, |mut told| async move {
            loop {
                match told.recv().await {
                    Ok(event) => return Some((event, told)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let coming = coming.filter_map(move |(whose, event)| {
            let id = event.record.as_ref().map(|record| &*record.r#ref).unwrap_or_default();
            let asked = whose == owner && (wanted.is_empty() || wanted == id);
            async move { asked.then_some(event) }
        });
        first.chain(coming).boxed()
    }

    fn say(&self, owner: &Owner, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        let event = BuildHistoryEvent { r#type: kind.into(), record: Some(record) };
        // Nobody may listen.
        let _ = self.inner.told.send((owner.clone(), event));
    }
}

/// Forgets the oldest build of `owner` that may be forgotten, if there is one.
fn forget(records: &mut VecDeque<Known>, owner: &Owner) -> bool {
    let oldest = records.iter().position(|known| known.owner == *owner && known.is_dispensable());
    oldest.and_then(|oldest| records.remove(oldest)).is_some()
}

/// Who has the most, by what each record counts.
fn most(records: &VecDeque<Known>, count: impl Fn(&Known) -> usize) -> Option<Owner> {
    let mut counts: HashMap<&Owner, usize> = HashMap::new();
    for known in records {
        *counts.entry(&known.owner).or_default() += count(known);
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(owner, _)| owner.clone())
}

/// Lets go of what builds left, where it is more than `bytes`: of those of who has the most, the oldest first, and of
/// those that are pinned last.
fn keep_within(records: &mut VecDeque<Known>, bytes: usize) {
    let mut all: usize = records.iter().map(Known::weight).sum();
    while all > bytes {
        let Some(owner) = most(records, Known::weight) else { return };
        let heavy = |known: &Known, pinned| {
            known.owner == owner && known.record.pinned == pinned && known.weight() > 0
        };
        let oldest =
            [false, true].iter().find_map(|pinned| records.iter().position(|known| heavy(known, *pinned)));
        let Some(known) = oldest.and_then(|place| records.get_mut(place)) else { return };
        all -= known.weight();
        known.left.clear();
        (known.record.logs, known.record.external_error) = (None, None);
    }
}

/// Leaves out what is too much to be remembered: what comes last goes first.
fn shorten(record: &mut BuildHistoryRecord) {
    let mut room = SAID;
    let mut fits = |length: usize| match room.checked_sub(length) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    if !fits(record.frontend.len()) {
        record.frontend.clear();
    }
    if let Some(error) = &mut record.error {
        let most = SAID / 4;
        if error.message.len() > most {
            let end = (0..=most).rev().find(|at| error.message.is_char_boundary(*at)).unwrap_or(0);
            error.message.truncate(end);
        }
        fits(error.message.len());
        error.details.retain(|detail| fits(detail.type_url.len() + detail.value.len()));
    }
    // Each of them takes something, empty or not.
    let mut attribute = |name: &String, value: &mut String| fits(64 + name.len() + value.len());
    record.exporter_response.retain(&mut attribute);
    record.frontend_attrs.retain(&mut attribute);
    for exporter in &mut record.exporters {
        exporter.attrs.retain(&mut attribute);
    }
    record.exporters.retain(|exporter| fits(64 + exporter.r#type.len()));
}

#[cfg(test)]
mod tests;
