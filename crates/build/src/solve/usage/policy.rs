//! Which parts of the cache go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use base::Timestamp;

use super::filter::Filter;
use super::{PruneOptions, UsageRecord};
use crate::solve::Solver;

/// How many bytes there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Of the cache.
    pub(super) total: u64,
    /// Of the disk, without use.
    pub(super) free: u64,
}

/// Chooses what goes: of what nobody uses, and no other part stands on that stays, that which was used longest ago
/// first.
pub(super) fn choose(
    records: Vec<UsageRecord>,
    stands_on: &HashMap<String, Vec<String>>,
    sizes: Sizes,
    options: &PruneOptions,
    filter: &Filter,
    now: Timestamp,
) -> Vec<UsageRecord> {
    let limit = limit(sizes.total, options, sizes.free);
    let may_go = |record: &UsageRecord| {
        let used = record.last_used.unwrap_or(record.created);
        let is_old = options.keep_for.is_zero() || used < now - options.keep_for;
        // What images have gives nothing back, and is found again for nothing.
        let is_wanted = options.all || !record.shared;
        !record.in_use && is_old && is_wanted && filter.admits(record, now)
    };
    // How many stand on each that are still there.
    let mut on_it: HashMap<&str, usize> = HashMap::new();
    for below in records.iter().filter_map(|record| stands_on.get(&record.id)).flatten() {
        *on_it.entry(below).or_default() += 1;
    }
    let mut candidates: BTreeMap<&str, &UsageRecord> =
        records.iter().filter(|record| may_go(record)).map(|record| (record.id.as_str(), record)).collect();
    let order = |record: &UsageRecord| {
        Reverse((record.last_used.unwrap_or(record.created), record.uses, record.id.clone()))
    };
    let is_free = |on_it: &HashMap<&str, usize>, id: &str| on_it.get(id).is_none_or(|count| *count == 0);
    let mut ready: BinaryHeap<_> = candidates
        .values()
        .filter(|record| is_free(&on_it, &record.id))
        .map(|record| order(record))
        .collect();
    let (mut left, mut chosen) = (sizes.total, Vec::new());
    while let Some(Reverse((_, _, id))) = ready.pop() {
        if limit.is_some_and(|limit| left <= limit) {
            break;
        }
        let Some(record) = candidates.remove(id.as_str()) else { continue };
        if !record.shared {
            left = left.saturating_sub(record.size);
        }
        for below in stands_on.get(&record.id).into_iter().flatten() {
            if let Some(count) = on_it.get_mut(below.as_str()) {
                *count -= 1;
            }
            if let Some(below) = candidates.get(below.as_str()).filter(|below| is_free(&on_it, &below.id)) {
                ready.push(order(below));
            }
        }
        chosen.push(record.clone());
    }
    chosen
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
    let (free, size) = offload::in_place(|| super::free(solver));
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
            record("base", 0, 0, false, false),
            record("used", 10, 0, true, false),
            record("shared", 10, 2, false, true),
        ];
        let now = "2026-01-01T10:00:00Z".parse().expect("a time");
        let stands_on = HashMap::from([("new".to_owned(), vec!["base".to_owned()])]);
        let sizes = Sizes { total: 30, free };
        let chosen = choose(records, &stands_on, sizes, &options, &Filter::default(), now);
        let chosen: Vec<String> = chosen.into_iter().map(|record| record.id).collect();
        assert_eq!(chosen, expected);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_used_stays() {
        let options = PruneOptions::default;
        // What another stands on goes after it, though it is the oldest.
        check(options(), 0, &["old", "new", "base"]);
        check(PruneOptions { all: true, ..options() }, 0, &["old", "shared", "new", "base"]);
        check(PruneOptions { keep_for: Duration::from_secs(3 * 3600), ..options() }, 0, &["old"]);
        check(PruneOptions { max_used: 20, ..options() }, 0, &["old"]);
        check(PruneOptions { max_used: 30, ..options() }, 0, &[]);
        check(PruneOptions { max_used: 5, reserved: 20, ..options() }, 0, &["old"]);
        check(PruneOptions { reserved: 25, ..options() }, 0, &["old"]);
        check(PruneOptions { min_free: 100, ..options() }, 95, &["old"]);
        check(PruneOptions { min_free: 100, ..options() }, 200, &[]);
    }
}
