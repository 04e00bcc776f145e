//! What differs between two forms of an object, for people to read.

use serde_json::{Map, Value};

/// The fields that differ, each with what it was and what it is.
pub(crate) fn difference(new: &Value, old: &Value) -> String {
    let empty = Map::new();
    let (new, old) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let print = |value: Option<&Value>| value.map_or_else(|| "unset".to_owned(), Value::to_string);
    let mut lines = String::new();
    for name in names.filter(|name| old.get(*name) != new.get(*name)) {
        lines.push_str(&format!(
            "-\t{name}: {}\n+\t{name}: {}\n",
            print(old.get(name)),
            print(new.get(name))
        ));
    }
    lines
}
