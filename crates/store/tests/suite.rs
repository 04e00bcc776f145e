//! What any backend must pass: each function takes an empty store and is one claim about it.
//!
//! A backend's test target lists them with [`run_suite`], giving a way to make an empty store.

mod compaction;
mod leases;
mod range;
mod txn;
mod watch;

use std::sync::Arc;

use store::{Error, Range, RangeResult, Store, WatchMessage, Watcher};

pub(crate) use {compaction::*, leases::*, range::*, txn::*, watch::*};

/// Makes one test of every claim.
macro_rules! run_suite {
    ($empty_store:path) => {
        suite::run_suite!($empty_store:
            // Transactions.
            every_writing_transaction_raises_the_revision_by_one,
            a_transaction_that_writes_nothing_keeps_the_revision,
            a_key_counts_its_versions_and_begins_anew_after_a_deletion,
            only_one_of_many_conditional_writers_wins_each_revision,
            a_failed_condition_runs_the_other_operations_and_shows_what_is_there,
            a_transaction_sees_its_own_writes_and_is_one_revision,
            a_transaction_that_writes_a_key_twice_is_refused_whole,
            a_transaction_of_too_many_operations_is_refused,
            a_value_of_one_and_a_half_mebibytes_is_kept,
            deleting_a_range_deletes_each_of_its_keys,
            oversized_keys_and_values_are_refused,
            // Ranges.
            a_range_lists_its_keys_in_order_and_no_others,
            a_limited_range_goes_on_where_it_stopped_at_the_same_revision,
            a_range_that_is_not_counted_gives_the_same_pages,
            a_range_at_a_revision_shows_what_was_then,
            a_future_revision_is_refused,
            // Watches.
            a_watch_tells_every_change_after_its_start_in_order,
            all_changes_of_a_revision_are_there_where_one_of_them_is,
            a_watch_tells_what_was_there_before_and_of_the_deleted_the_key_alone,
            a_watch_from_a_future_revision_waits,
            what_was_acknowledged_is_told_up_to_the_revision_that_is_asked_for,
            a_watch_tells_only_its_range,
            a_watch_reports_progress_past_changes_elsewhere,
            a_slow_watch_is_cut_off_and_holds_up_nobody,
            who_is_further_behind_than_a_watch_may_hold_is_told_all_in_steps,
            a_dropped_watch_is_forgotten,
            a_store_that_is_closed_has_ended_its_watches_and_takes_nothing_more,
            // Compaction.
            what_is_compacted_cannot_be_read_or_watched_but_the_rest_can,
            compaction_keeps_current_values_and_forgets_deleted_keys,
            compacting_twice_or_beyond_the_present_is_refused,
            // Leases.
            revoking_a_lease_deletes_its_keys,
            a_key_leaves_its_lease_when_it_is_set_without,
            an_unknown_lease_is_refused,
        );
    };
    ($empty_store:path: $($claim:ident,)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                let (_guard, store) = $empty_store().await;
                suite::$claim(store).await;
            }
        )*
    };
}
pub(crate) use run_suite;

/// The store under test.
pub(crate) type Subject = Arc<dyn Store>;

/// `key=value@revision` of each item, joined by spaces.
fn show(result: &RangeResult) -> String {
    let items: Vec<String> = result
        .items
        .iter()
        .map(|kv| format!("{}={}@{}", kv.key_str(), String::from_utf8_lossy(&kv.value), kv.mod_revision))
        .collect();
    items.join(" ")
}

async fn list(store: &Subject, range: Range) -> String {
    show(&store.range(range).await.expect("range"))
}

/// The next message of a watch as text: `put k=v@r`, `delete k=v@r` or `progress r`.
async fn next(watcher: &mut Watcher) -> String {
    let message = tokio::time::timeout(std::time::Duration::from_secs(10), watcher.next())
        .await
        .expect("a message within ten seconds")
        .expect("the watch goes on");
    match message {
        WatchMessage::Event(event) => {
            let kind = format!("{:?}", event.kind).to_lowercase();
            let value = String::from_utf8_lossy(&event.kv.value).into_owned();
            format!("{kind} {}={value}@{}", event.kv.key_str(), event.revision())
        }
        WatchMessage::Progress(revision) => format!("progress {revision}"),
    }
}

fn is_compacted<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Compacted { .. }))
}
