//! What is said of devices: which there are, which somebody asks for, and which he got.
//!
//! Nobody gives devices to pods yet, so that expressions are kept as they are: what selects a device is
//! checked for its length only.

pub(crate) mod allocation;
pub(crate) mod claim;
pub(crate) mod defaults;
pub(crate) mod names;
pub(crate) mod slice;

use std::collections::HashSet;
use std::hash::Hash;

use model::field::{FieldError, Path};
use model::validate::Errors;
use serde_json::Value;

/// The items of a list of at most `most`, each looked at.
fn each(
    items: &[Value],
    most: usize,
    path: &Path<'_>,
    errors: &mut Errors,
    mut look: impl FnMut(&Value, &Path<'_>, &mut Errors),
) -> bool {
    if items.len() > most {
        errors.push(FieldError::too_many(path, items.len(), most));
        return false;
    }
    for (index, item) in items.iter().enumerate() {
        look(item, &path.index(index), errors);
    }
    true
}

/// As [`each`], and no two of them with the same key.
fn unique<K: Hash + Eq + Into<Value> + Clone>(
    items: &[Value],
    most: usize,
    path: &Path<'_>,
    errors: &mut Errors,
    look: impl FnMut(&Value, &Path<'_>, &mut Errors),
    key: impl Fn(&Value) -> K,
) {
    if !each(items, most, path, errors, look) {
        return;
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let key = key(item);
        if !seen.insert(key.clone()) {
            errors.push(FieldError::duplicate(&path.index(index), key));
        }
    }
}

/// As many as there are.
const ANY: usize = usize::MAX;
