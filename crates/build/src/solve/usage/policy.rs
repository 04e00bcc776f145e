//! Which parts of the cache go.

use std::time::Duration;

use base::Timestamp;

use super::filter::Filter;
use super::{PruneOptions, UsageRecord};
use crate::solve::Solver;

/// Chooses what goes: what nobody uses and no other part was made from comes first, that which was used longest ago
/// before the others.
pub(super) fn choose(
    records: Vec<UsageRecord>,
    total: u64,
    options: &PruneOptions,
    filter: &Filter,
    now: Timestamp,
    (free, _): (u64, u64),
) -> Vec<UsageRecord> {
    let limit = limit(total, options, free);
    let may_go = |record: &UsageRecord| {
        let used = record.last_used.unwrap_or(record.created);
        let is_old = options.keep_for.is_zero() || used < now - options.keep_for;
        // What images have gives nothing back, and is found again for nothing.
        let is_wanted = options.all || !record.shared;
        !record.in_use && is_old && is_wanted && filter.admits(record, now)
    };
    let mut candidates: Vec<UsageRecord> = records.into_iter().filter(may_go).collect();
    candidates.sort_by_key(|record| (record.last_used.unwrap_or(record.created), record.uses));
    let Some(limit) = limit else { return candidates };
    let mut left = total;
    candidates.retain(|record| {
        let goes = left > limit;
        if goes && !record.shared {
            left = left.saturating_sub(record.size);
        }
        goes
    });
    candidates
}

/// How many bytes may stay; `None` where nothing may.
fn limit(total: u64, options: &PruneOptions, free: u64) -> Option<u64> {
    if options.max_used == 0 && options.min_free == 0 && options.reserved == 0 {
        return None;
    }
    let mut limit = match options.max_used {
        0 if options.min_free == 0 => options.reserved,
        0 => total,
        most => most,
    };
    if options.min_free > free {
        limit = limit.min(total.saturating_sub(options.min_free - free));
    }
    Some(limit.max(options.reserved))
}

/// Keeps the cache within what a machine can spare, after a build: what changes and is made again for little goes
/// after two days, the rest when there is more than a tenth of the disk of it, or than is left.
pub(crate) async fn keep_within(solver: &Solver) {
    let (free, size) = super::free(solver);
    let cheap = PruneOptions {
        filter: vec!["type!=regular,type!=exec.cachemount".to_owned()],
        keep_for: Duration::from_secs(48 * 3600),
        ..PruneOptions::default()
    };
    let most = PruneOptions {
        all: true,
        reserved: (size / 10).min(2 << 30),
        max_used: size / 10 * 6,
        min_free: if free < size / 5 { size / 5 } else { 0 },
        ..PruneOptions::default()
    };
    for options in [cheap, most] {
        if let Err(error) = super::prune(solver, options).await {
            tracing::warn!(%error, "the build cache cannot be kept within its limits");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::UsageKind;
    use super::*;

    fn record(id: &str, size: u64, hour: u32, in_use: bool, shared: bool) -> UsageRecord {
        let used: Timestamp = format!("2026-01-01T{hour:02}:00:00Z").parse().expect("a time");
        UsageRecord {
            id: id.to_owned(),
            parents: Vec::new(),
            description: String::new(),
            kind: UsageKind::Regular,
            size,
            created: used,
            last_used: Some(used),
            uses: 1,
            in_use,
            shared,
            mutable: false,
        }
    }

    #[track_caller]
    fn check(options: PruneOptions, free: u64, expected: &[&str]) {
        let records = vec![
            record("new", 10, 9, false, false),
            record("old", 10, 1, false, false),
            record("used", 10, 0, true, false),
            record("shared", 10, 2, false, true),
        ];
        let now = "2026-01-01T10:00:00Z".parse().expect("a time");
        let chosen = choose(records, 30, &options, &Filter::default(), now, (free, 1000));
        let chosen: Vec<String> = chosen.into_iter().map(|record| record.id).collect();
        assert_eq!(chosen, expected);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_used_stays() {
        let options = PruneOptions::default;
        check(options(), 0, &["old", "new"]);
        check(PruneOptions { all: true, ..options() }, 0, &["old", "shared", "new"]);
        check(PruneOptions { keep_for: Duration::from_secs(3 * 3600), ..options() }, 0, &["old"]);
        check(PruneOptions { max_used: 20, ..options() }, 0, &["old"]);
        check(PruneOptions { max_used: 30, ..options() }, 0, &[]);
        check(PruneOptions { max_used: 5, reserved: 20, ..options() }, 0, &["old"]);
        check(PruneOptions { reserved: 25, ..options() }, 0, &["old"]);
        check(PruneOptions { min_free: 100, ..options() }, 95, &["old"]);
        check(PruneOptions { min_free: 100, ..options() }, 200, &[]);
    }
}
