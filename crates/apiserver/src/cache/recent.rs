//! The objects that were looked at last, read already: every pod that is made has its namespace looked at, its
//! account, its class, which change seldom.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Object;
use parking_lot::Mutex;

use super::Stored;

/// So many are held.
const MOST: usize = 16;
/// None of which the text is longer.
const LONGEST: usize = 4 << 10;

/// Some objects of a partition, read.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(Arc<Stored>, Object)>>);

impl Recent {
    /// What is stored, read: from before, if that was not long ago.
    pub(super) fn object(&self, stored: &Arc<Stored>) -> Object {
        if stored.len() > LONGEST {
            return stored.object();
        }
        if let Some(object) = self.known(stored) {
            return object;
        }
        let object = stored.object();
        let mut all = self.0.lock();
        // What it was before is of no use to anybody, and makes room by itself.
        all.retain(|(of, _)| of.name != stored.name);
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back((Arc::clone(stored), object.clone()));
        object
    }

    /// What was read before: it stays for as long as it goes on being looked at.
    fn known(&self, stored: &Arc<Stored>) -> Option<Object> {
        let mut all = self.0.lock();
        let place = all.iter().position(|(of, _)| Arc::ptr_eq(of, stored))?;
        let found = all.remove(place)?;
        let object = found.1.clone();
        all.push_back(found);
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use model::Encoded;
    use serde_json::json;

    use super::super::outline::Places;
    use super::*;

    fn stored(name: &str, value: usize) -> Arc<Stored> {
        let object =
            Object::from_value(json!({"metadata": {"name": name}, "value": value})).expect("an object");
        Arc::new(Stored::new(
            name.into(),
            Encoded::stored(Encoded::encode(&object), 1),
            Arc::new(Places::of([])),
        ))
    }

    fn names(recent: &Recent) -> Vec<String> {
        let all = recent.0.lock();
        let mut names: Vec<String> = all.iter().map(|(of, _)| of.name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_changes_takes_its_own_place_and_what_is_looked_at_stays() {
        let recent = Recent::default();
        let all: Vec<_> = (0..MOST).map(|number| stored(&format!("n{number:02}"), 0)).collect();
        all.iter().for_each(|stored| drop(recent.object(stored)));
        let before = names(&recent);
        assert_eq!(before.len(), MOST);
        for change in 1..=MOST {
            let changed = stored("n15", change);
            assert_eq!(recent.object(&changed).get(&["value"]), Some(&json!(change)));
            assert_eq!(names(&recent), before, "nobody else goes for it");
        }
        for number in 0..3 * MOST {
            recent.object(&stored(&format!("other{number}"), 0));
            recent.object(&all[0]);
        }
        let known = |stored: &Arc<Stored>| recent.0.lock().iter().any(|(of, _)| Arc::ptr_eq(of, stored));
        assert!(known(&all[0]), "it was looked at all the time");
        assert!(!known(&all[1]) && names(&recent).len() == MOST);
    }
}
