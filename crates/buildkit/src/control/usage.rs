//! What the cache takes, as clients read it.

use std::time::Duration;

use build::solve::{PruneOptions, UsageKind, UsageRecord};

use crate::progress::time;
use crate::wire::moby::buildkit::v1::{self as wire, PruneRequest};

/// What is to go, as it is asked for.
pub(super) fn options(request: PruneRequest) -> PruneOptions {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    PruneOptions {
        filter: request.filter,
        all: request.all,
        keep_for: Duration::from_nanos(number(request.keep_duration)),
        reserved: number(request.reserved_space),
        max_used: number(request.max_used_space),
        min_free: number(request.min_free_space),
    }
}

/// One thing that takes space.
pub(super) fn record(record: UsageRecord) -> wire::UsageRecord {
    wire::UsageRecord {
        id: record.id,
        mutable: record.mutable,
        in_use: record.in_use,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        created_at: Some(time(record.created)),
        last_used_at: record.last_used.map(time),
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
        description: record.description,
        record_type: kind(record.kind).to_owned(),
        shared: record.shared,
        parents: record.parents,
        ..wire::UsageRecord::default()
    }
}

/// A sort of thing, as clients name it.
fn kind(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::Regular => "regular",
        UsageKind::Local => "source.local",
        UsageKind::Git => "source.git.checkout",
        UsageKind::CacheMount => "exec.cachemount",
    }
}
