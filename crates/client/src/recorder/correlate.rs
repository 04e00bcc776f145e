//! Which occurrences are the same, and which are too many. Pure.
//!
//! However many objects there are, and whatever becomes of what is written about them, so many are
//! remembered and no more. Moments are those of the steady clock.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::recent::Recent;
use super::{EventType, Occurrence};

/// How many different events are remembered, and how many objects that have some.
const REMEMBERED: usize = 4096;
/// So many that differ in their text only are told one by one; the rest as one.
const SIMILAR_LIMIT: usize = 10;
/// How long similar events belong together.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// So many events of one object and component are told in a row …
const BURST: f64 = 25.0;
/// … and then one in so many seconds.
const REFILL_SECONDS: f64 = 300.0;

/// What to do about an occurrence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: the object has too many already.
    Drop,
    /// Tell it anew.
    Create { message: String },
    /// Count it on an event that is there.
    Count { message: String, name: String, count: i32 },
}

/// Remembers what was told.
pub(super) struct Correlator {
    told: Recent<Same, Told>,
    similar: Recent<Similar, Group>,
    budgets: Recent<String, Budget>,
    /// Texts are remembered by what this makes of them.
    hasher: RandomState,
}

/// What makes two occurrences similar.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Similar {
    object: String,
    kind: EventType,
    reason: String,
}

/// What makes two occurrences the same: being similar and saying the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Same {
    similar: Similar,
    message: String,
}

struct Told {
    name: String,
    count: i32,
}

#[derive(Clone, Default)]
struct Group {
    messages: HashSet<u64>,
    last: Duration,
}

/// How many events an object may still have, as of a moment.
#[derive(Clone, Copy)]
struct Budget {
    left: f64,
    at: Duration,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            told: Recent::new(REMEMBERED),
            similar: Recent::new(REMEMBERED),
            budgets: Recent::new(REMEMBERED),
            hasher: RandomState::new(),
        }
    }
}

impl Correlator {
    pub(super) fn judge(&mut self, occurrence: &Occurrence, now: Duration) -> Verdict {
        let (same, message) = self.same(occurrence, now);
        if !self.spend(&same.similar.object, now) {
            return Verdict::Drop;
        }
        match self.told.get(&same) {
            None => Verdict::Create { message },
            Some(told) => {
                told.count = told.count.saturating_add(1);
                Verdict::Count { message, name: told.name.clone(), count: told.count }
            }
        }
    }

    /// Notes under which name an occurrence was told.
    pub(super) fn created(&mut self, occurrence: &Occurrence, name: &str) {
        let similar = similar(occurrence);
        let combined = self.similar.get(&similar).is_some_and(|group| group.is_combined());
        self.told.insert(as_same(similar, occurrence, combined), Told { name: name.to_owned(), count: 1 });
    }

    /// As what an occurrence counts, and in which words.
    fn same(&mut self, occurrence: &Occurrence, now: Duration) -> (Same, String) {
        let similar = similar(occurrence);
        let text = self.hasher.hash_one(&occurrence.message);
        let mut group = self.similar.get(&similar).cloned().unwrap_or_default();
        if now.saturating_sub(group.last) > SIMILAR_WINDOW {
            group.messages.clear();
        }
        group.last = now;
        if group.messages.len() <= SIMILAR_LIMIT {
            group.messages.insert(text);
        }
        let combined = group.is_combined();
        self.similar.insert(similar.clone(), group);
        let message = if combined {
            format!("(combined from similar events): {}", occurrence.message)
        } else {
            occurrence.message.clone()
        };
        (as_same(similar, occurrence, combined), message)
    }

    /// Takes one event out of an object's budget, if there is one left.
    fn spend(&mut self, object: &str, now: Duration) -> bool {
        let key = object.to_owned();
        let known = self.budgets.get(&key).copied().unwrap_or(Budget { left: BURST, at: now });
        let passed = now.saturating_sub(known.at).as_secs_f64();
        let left = (known.left + passed / REFILL_SECONDS).min(BURST);
        let enough = left >= 1.0;
        self.budgets.insert(key, Budget { left: if enough { left - 1.0 } else { left }, at: now });
        enough
    }
}

impl Group {
    /// Whether there are so many that they are told as one.
    fn is_combined(&self) -> bool {
        self.messages.len() > SIMILAR_LIMIT
    }
}

fn as_same(similar: Similar, occurrence: &Occurrence, combined: bool) -> Same {
    let message = if combined { String::new() } else { occurrence.message.clone() };
    Same { similar, message }
}

fn similar(occurrence: &Occurrence) -> Similar {
    let object = &occurrence.object;
    let parts = [&object.kind, &object.namespace, &object.name, &object.uid, &object.field_path];
    let object: Vec<&str> = parts.into_iter().map(|part| part.as_deref().unwrap_or_default()).collect();
    Similar { object: object.join("\n"), kind: occurrence.kind, reason: occurrence.reason.clone() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn occurrence(name: &str, reason: &str, message: &str) -> Occurrence {
        Occurrence {
            object: ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() },
            kind: EventType::Warning,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn tell(correlator: &mut Correlator, occurrence: &Occurrence, seconds: u64) -> String {
        match correlator.judge(occurrence, Duration::from_secs(seconds)) {
            Verdict::Drop => "drop".to_owned(),
            Verdict::Create { message } => {
                correlator.created(occurrence, &format!("event-{seconds}"));
                format!("create {message}")
            }
            Verdict::Count { message, name, count } => format!("{name} {count} {message}"),
        }
    }

    #[test]
    fn the_same_occurrence_is_counted_and_another_is_not() {
        let mut correlator = Correlator::default();
        let check = |correlator: &mut Correlator, name, reason, message, at, expected: &str| {
            assert_eq!(tell(correlator, &occurrence(name, reason, message), at), expected);
        };
        check(&mut correlator, "a", "BackOff", "no", 1, "create no");
        check(&mut correlator, "a", "BackOff", "no", 2, "event-1 2 no");
        check(&mut correlator, "b", "BackOff", "no", 3, "create no");
        check(&mut correlator, "a", "Pulled", "no", 4, "create no");
        check(&mut correlator, "a", "BackOff", "no", 5, "event-1 3 no");
    }

    #[test]
    fn many_that_differ_in_their_text_only_become_one() {
        let mut correlator = Correlator::default();
        for number in 0..10 {
            let told = tell(&mut correlator, &occurrence("a", "Failed", &format!("try {number}")), number);
            assert_eq!(told, format!("create try {number}"));
        }
        let combined = |number: u64| format!("(combined from similar events): try {number}");
        let next = |correlator: &mut Correlator, number: u64, at| {
            tell(correlator, &occurrence("a", "Failed", &format!("try {number}")), at)
        };
        assert_eq!(next(&mut correlator, 10, 10), format!("create {}", combined(10)));
        assert_eq!(next(&mut correlator, 11, 11), format!("event-10 2 {}", combined(11)));
        assert_eq!(next(&mut correlator, 12, 9000), "create try 12", "a new window begins");
    }

    #[test]
    fn what_is_never_written_is_not_remembered_for_ever() {
        let mut correlator = Correlator::default();
        for number in 0..3 * REMEMBERED {
            let lost = occurrence(&format!("pod-{number}"), "Failed", "refused");
            let verdict = correlator.judge(&lost, Duration::ZERO);
            assert_eq!(verdict, Verdict::Create { message: "refused".to_owned() });
        }
        let sizes = [correlator.told.len(), correlator.similar.len(), correlator.budgets.len()];
        assert_eq!(sizes, [0, REMEMBERED, REMEMBERED]);
        // What goes on happening is remembered whatever else happens once.
        let kept = occurrence("kept", "BackOff", "no");
        assert_eq!(tell(&mut correlator, &kept, 1), "create no");
        for number in 0..2 * REMEMBERED {
            tell(&mut correlator, &occurrence(&format!("other-{number}"), "Failed", "no"), 1);
            if number % 1000 == 999 {
                assert!(tell(&mut correlator, &kept, 1).starts_with("event-1 "));
            }
        }
        assert_eq!(correlator.told.len(), REMEMBERED);
    }

    #[test]
    fn one_object_cannot_fill_the_store() {
        let mut correlator = Correlator::default();
        let event = occurrence("a", "Failed", "no");
        let told = (0..100).filter(|_| tell(&mut correlator, &event, 1) != "drop").count();
        assert_eq!(told, 25);
        assert_eq!(tell(&mut correlator, &occurrence("b", "Failed", "no"), 1), "create no");
        assert_eq!(tell(&mut correlator, &event, 400), "event-1 26 no");
    }
}
