//! Which occurrences are the same, and which are too many. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::Timestamp;

use super::{EventType, Occurrence};

/// How many different events are remembered.
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
#[derive(Default)]
pub(super) struct Correlator {
    told: HashMap<Same, Told>,
    order: VecDeque<Same>,
    similar: HashMap<Similar, Group>,
    budgets: HashMap<String, (f64, Timestamp)>,
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

struct Group {
    messages: Vec<String>,
    last: Timestamp,
}

impl Correlator {
    pub(super) fn judge(&mut self, occurrence: &Occurrence, now: Timestamp) -> Verdict {
        let (same, message) = self.same(occurrence, now);
        let known = self.told.contains_key(&same);
        if !self.spend(&same.similar.object, now) {
            return Verdict::Drop;
        }
        match self.told.get_mut(&same).filter(|_| known) {
            None => Verdict::Create { message },
            Some(told) => {
                told.count += 1;
                Verdict::Count { message, name: told.name.clone(), count: told.count }
            }
        }
    }

    /// Notes under which name an occurrence was told.
    pub(super) fn created(&mut self, occurrence: &Occurrence, name: &str) {
        let same = self.current(occurrence);
        if self.told.insert(same.clone(), Told { name: name.to_owned(), count: 1 }).is_none() {
            self.order.push_back(same);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.similar.remove(&oldest.similar);
            self.budgets.remove(&oldest.similar.object);
            self.told.remove(&oldest);
        }
    }

    /// As what an occurrence counts, and in which words.
    fn same(&mut self, occurrence: &Occurrence, now: Timestamp) -> (Same, String) {
        let similar = similar(occurrence);
        let group = self.similar.entry(similar).or_insert_with(|| Group { messages: Vec::new(), last: now });
        if now.duration_since(group.last).unsigned_abs() > SIMILAR_WINDOW {
            group.messages.clear();
        }
        group.last = now;
        if !group.messages.contains(&occurrence.message) && group.messages.len() <= SIMILAR_LIMIT {
            group.messages.push(occurrence.message.clone());
        }
        let combined = group.messages.len() > SIMILAR_LIMIT;
        let same = self.current(occurrence);
        let message = if combined {
            format!("(combined from similar events): {}", occurrence.message)
        } else {
            occurrence.message.clone()
        };
        (same, message)
    }

    fn current(&self, occurrence: &Occurrence) -> Same {
        let similar = similar(occurrence);
        let combined = self.similar.get(&similar).is_some_and(|group| group.messages.len() > SIMILAR_LIMIT);
        let message = if combined { String::new() } else { occurrence.message.clone() };
        Same { similar, message }
    }

    /// Takes one event out of an object's budget, if there is one left.
    fn spend(&mut self, object: &str, now: Timestamp) -> bool {
        let (left, at) = self.budgets.entry(object.to_owned()).or_insert((BURST, now));
        let passed = now.duration_since(*at).as_secs_f64().max(0.0);
        *left = (*left + passed / REFILL_SECONDS).min(BURST);
        *at = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
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

    fn tell(correlator: &mut Correlator, occurrence: &Occurrence, seconds: i64) -> String {
        let now = Timestamp::from_second(seconds).expect("a time");
        match correlator.judge(occurrence, now) {
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
        let combined = |number: i64| format!("(combined from similar events): try {number}");
        let next = |correlator: &mut Correlator, number: i64, at| {
            tell(correlator, &occurrence("a", "Failed", &format!("try {number}")), at)
        };
        assert_eq!(next(&mut correlator, 10, 10), format!("create {}", combined(10)));
        assert_eq!(next(&mut correlator, 11, 11), format!("event-10 2 {}", combined(11)));
        assert_eq!(next(&mut correlator, 12, 9000), "create try 12", "a new window begins");
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
