//! Who is asked again about what others change: webhooks and policies that may change what is written.

use std::collections::BTreeSet;

use model::Object;

/// What is kept between the first time that all are asked and the second.
#[derive(Default)]
pub(super) struct Rounds {
    /// Who has been asked and wants to be asked again about what others change.
    before: BTreeSet<String>,
    /// Who is to be asked again.
    due: BTreeSet<String>,
    /// What came out of the last one.
    last: Option<Object>,
}

impl Rounds {
    /// Somebody has changed the object: who was asked before is asked again.
    pub(super) fn change(&mut self) {
        self.due.append(&mut self.before);
    }

    /// All are asked once more, about this: has it been changed since the last of them?
    pub(super) fn begin(&mut self, now: Option<&Object>) {
        if self.last.as_ref().is_some_and(|last| Some(last) != now) {
            self.change();
        }
    }

    /// Whether this one is to be asked again.
    pub(super) fn is_due(&self, id: &str) -> bool {
        self.due.contains(id)
    }

    /// This one has been asked, and wants to be asked again.
    pub(super) fn asked(&mut self, id: &str) {
        self.before.insert(id.to_owned());
    }

    /// All have been asked, and this came of it.
    pub(super) fn end(&mut self, object: &Object) {
        self.last = Some(object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_wants_it_is_asked_again_about_what_others_change() {
        let object = |value: u8| Object::from_value(json!({"value": value})).expect("an object");
        let mut rounds = Rounds::default();
        rounds.asked("a");
        rounds.change();
        rounds.asked("b");
        rounds.end(&object(1));
        assert!(rounds.is_due("a") && !rounds.is_due("b") && !rounds.is_due("c"));
        rounds.begin(Some(&object(1)));
        assert!(!rounds.is_due("b"), "nobody has changed it since");
        rounds.begin(Some(&object(2)));
        assert!(rounds.is_due("b"));
    }
}
