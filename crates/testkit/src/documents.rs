//! Documents that were written again.

use serde_json::Value;

/// Checks that `new` says whatever `old` says. It may say more.
#[track_caller]
pub fn check_kept(old: &Value, new: &Value, at: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let found = new.get(name).unwrap_or_else(|| panic!("{at}/{name} is lost"));
                check_kept(value, found, &format!("{at}/{name}"));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{at}");
            old.iter().zip(new).for_each(|(old, new)| check_kept(old, new, at));
        }
        (old, new) => assert_eq!(old, new, "{at}"),
    }
}
