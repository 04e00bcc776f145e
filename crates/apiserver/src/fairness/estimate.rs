//! What a request is reckoned to cost, before it is served.
//!
//! Source: Kubernetes API Priority and Fairness, "Seats Occupied by a Request", and "Execution time tweaks for
//! watch requests".

use std::time::Duration;

use super::queues::Work;
use crate::request::{Query, ResourceTarget, Verb};

/// The most seats of one list, and of what follows a change.
const MOST_OF_LIST: u32 = 100;
const MOST_OF_CHANGE: u32 = 10;
/// So many bytes at once cost a seat.
const BYTES_OF_SEAT: u64 = 100_000;
/// No more than this is held at once for a list from memory, however long it is.
const BYTES_AT_ONCE: u64 = 1_000_000;
/// So many watchers cost a seat for so long.
const WATCHES_OF_SEAT: usize = 10;
const TELLING: Duration = Duration::from_millis(5);

/// What is there of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// The cost of a request for a resource, of a level whose requests have `most` seats, where it says so. `named` is
/// one that is about a single object; `held` says what there is, and `watchers` how many are told of a change.
pub(super) fn of_resource(
    target: &ResourceTarget,
    query: &Query,
    named: bool,
    most: Option<u32>,
    held: impl FnOnce() -> Held,
    watchers: impl FnOnce() -> usize,
) -> Work {
    match target.verb {
        Verb::List => of_list(query, named, most, held()),
        Verb::Watch if begins_with_all(query) => of_list(query, named, most, held()),
        // A token of an account is no change of it.
        Verb::Create if target.subresource == "token" => Work::of(1),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => of_change(watchers(), most),
        Verb::Get | Verb::Watch | Verb::DeleteCollection => Work::of(1),
    }
}

/// Whether a watch is told what there is, first.
fn begins_with_all(query: &Query) -> bool {
    query.flag("sendInitialEvents") || matches!(query.filled("resourceVersion"), None | Some("0"))
}

fn of_list(query: &Query, named: bool, most: Option<u32>, held: Held) -> Work {
    let limit = query.filled("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let objects = if named { 1 } else { held.objects.min(limit.unwrap_or(u64::MAX)) };
    let average = held.bytes / held.objects.max(1);
    let bytes = objects.saturating_mul(average).min(BYTES_AT_ONCE);
    let seats = u32::try_from(bytes.div_ceil(BYTES_OF_SEAT)).unwrap_or(u32::MAX);
    Work::of(seats.clamp(1, most.unwrap_or(MOST_OF_LIST).clamp(1, MOST_OF_LIST)))
}

fn of_change(watchers: usize, most: Option<u32>) -> Work {
    if watchers < WATCHES_OF_SEAT {
        return Work::of(1);
    }
    // The same work on fewer seats takes longer.
    let wanted = u32::try_from(watchers.div_ceil(WATCHES_OF_SEAT)).unwrap_or(u32::MAX);
    let last_seats = wanted.min(most.unwrap_or(MOST_OF_CHANGE).clamp(1, MOST_OF_CHANGE));
    let lingers = TELLING.saturating_mul(wanted) / last_seats;
    Work { seats: 1, last_seats, lingers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, most: Option<u32>, held: (u64, u64), watchers: usize, expected: (u32, u32, u64)) {
        let (verb, rest) = request.split_once(' ').expect("a verb");
        let (subresource, query) = rest.split_once('?').unwrap_or((rest, ""));
        let verbs = [Verb::Get, Verb::List, Verb::Watch, Verb::Create, Verb::Update, Verb::DeleteCollection];
        let verb = verbs.into_iter().find(|known| known.as_str() == verb).expect("a verb");
        let target =
            ResourceTarget { verb, subresource: subresource.to_owned(), ..ResourceTarget::default() };
        let named = query.contains("metadata.name");
        let held = || Held { objects: held.0, bytes: held.1 };
        let work = of_resource(&target, &Query::parse(query), named, most, held, || watchers);
        let lingers = u64::try_from(work.lingers.as_micros()).expect("short");
        assert_eq!((work.seats, work.last_seats, lingers), expected, "{request} {most:?}");
    }

    #[test]
    fn lists_cost_by_what_is_held_for_them_at_once() {
        let many = (10_000, 20_000_000);
        check("list ", None, many, 0, (10, 0, 0));
        check("list ", Some(8), many, 0, (8, 0, 0));
        check("list ", Some(0), many, 0, (1, 0, 0));
        check("list ?limit=100", None, many, 0, (2, 0, 0));
        check("list ?limit=1", None, many, 0, (1, 0, 0));
        check("list ?limit=nonsense", None, many, 0, (10, 0, 0));
        check("list ?labelSelector=a", None, many, 0, (10, 0, 0));
        check("list ?fieldSelector=metadata.name%3Da&metadata.name", None, many, 0, (1, 0, 0));
        check("list ", None, (0, 0), 0, (1, 0, 0));
        check("list ", None, (3, 700_000), 0, (7, 0, 0));
        check("watch ", None, many, 0, (10, 0, 0));
        check("watch ?resourceVersion=0", None, many, 0, (10, 0, 0));
        check("watch ?resourceVersion=7", None, many, 0, (1, 0, 0));
        check("watch ?resourceVersion=7&sendInitialEvents=true", None, many, 0, (10, 0, 0));
        check("get ", None, many, 50, (1, 0, 0));
        check("deletecollection ", None, many, 50, (1, 0, 0));
    }

    #[test]
    fn changes_cost_by_how_many_are_told_of_them() {
        check("update ", None, (0, 0), 9, (1, 0, 0));
        check("update ", None, (0, 0), 10, (1, 1, 5000));
        check("create ", None, (0, 0), 95, (1, 10, 5000));
        // As much work on fewer seats.
        check("create ", None, (0, 0), 1000, (1, 10, 50_000));
        check("create ", Some(4), (0, 0), 95, (1, 4, 12_500));
        check("create token", None, (0, 0), 1000, (1, 0, 0));
    }
}
