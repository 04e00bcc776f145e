//! The levels of priority that every cluster has.

use apiserver::resource::Permanent;
use serde_json::{Value, json};

use crate::flow_control::made;

/// All of them: those that must be as they are, and those that are there to begin with.
pub(super) fn all() -> Vec<Permanent> {
    let suggested = [
        ("system", limited(30, 33, Some((64, 6)))),
        ("node-high", limited(40, 25, Some((64, 6)))),
        ("leader-election", limited(10, 0, Some((16, 4)))),
        ("workload-high", limited(40, 50, Some((128, 6)))),
        ("workload-low", limited(100, 90, Some((128, 6)))),
        ("global-default", limited(20, 50, Some((128, 6)))),
    ];
    must().into_iter().chain(suggested).map(|(name, spec)| made(name, spec)).collect()
}

/// What the spec of one must be that nobody may change.
pub(super) fn mandatory(name: &str) -> Option<Value> {
    must().into_iter().find(|(own, _)| *own == name).map(|(_, spec)| spec)
}

/// Those that must be as they are.
pub(crate) fn must() -> [(&'static str, Value); 2] {
    let exempt = json!({
        "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    [("exempt", exempt), ("catch-all", limited(5, 0, None))]
}

/// A level with a limit, and with queues of 50 requests where there are any.
fn limited(shares: i64, lends: i64, queues: Option<(i64, i64)>) -> Value {
    let response = match queues {
        Some((queues, hand)) => json!({
            "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
        }),
        None => json!({"type": "Reject"}),
    };
    json!({
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lends, "limitResponse": response},
    })
}
