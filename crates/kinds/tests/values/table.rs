//! Tables of good and bad objects: each is one sound object with a change, told as a merge patch.

use apiserver::Resource;
use kinds::Features;
use model::Object;
use model::merge::merge_patch;
use model::validate;
use serde_json::Value;

use crate::{defaulted, resource, resource_where};

/// The rules of one kind.
pub(crate) struct Table {
    sound: Value,
    features: Features,
}

impl Table {
    /// The table of the kind of a sound object.
    pub(crate) fn of(sound: Value) -> Self {
        Self::with(Features::default(), sound)
    }

    /// As [`Table::of`], where these features are on.
    pub(crate) fn with(features: Features, sound: Value) -> Self {
        let table = Self { sound, features };
        table.good(&[serde_json::json!({})]);
        table
    }

    fn entry(&self, object: &Object) -> Resource {
        resource_where(&self.features, object.api_version(), object.kind())
    }

    fn object(&self, change: &Value) -> Object {
        defaulted(merge_patch::apply(&self.sound, change))
    }

    /// Objects with these changes are good, and may be replaced by themselves.
    #[track_caller]
    pub(crate) fn good(&self, changes: &[Value]) -> &Self {
        for change in changes {
            let object = self.object(change);
            let entry = self.entry(&object);
            let created = validate::create(&*entry.rules, &object, entry.scope());
            let updated = validate::update(&*entry.rules, &object, &object, entry.scope());
            assert_eq!((created, updated), (Vec::new(), Vec::new()), "{change}");
        }
        self
    }

    /// Objects with these changes are refused with errors that begin so.
    #[track_caller]
    pub(crate) fn bad(&self, changes: &[(Value, &[&str])]) -> &Self {
        for (change, expected) in changes {
            let object = self.object(change);
            let entry = self.entry(&object);
            compare(&validate::create(&*entry.rules, &object, entry.scope()), expected, change);
        }
        self
    }

    /// An object with the first change is refused in place of the sound one.
    #[track_caller]
    pub(crate) fn changes(&self, changes: &[(Value, &[&str])]) -> &Self {
        let old = self.object(&serde_json::json!({}));
        for (change, expected) in changes {
            let new = self.object(change);
            let entry = self.entry(&new);
            compare(&validate::update(&*entry.rules, &new, &old, entry.scope()), expected, change);
        }
        self
    }

    /// What a part is changed to, by the subresource of its name.
    #[track_caller]
    pub(crate) fn part(&self, part: &str, old: &Value, changes: &[(Value, &[&str])]) -> &Self {
        let old = self.object(old);
        for (change, expected) in changes {
            let new = self.object(change);
            let entry = self.entry(&new);
            let errors = validate::update_part(&*entry.rules, part, &new, &old, entry.scope());
            compare(&errors, expected, change);
        }
        self
    }
}

/// The cells of an object that was made an hour ago, each of which has a column.
#[track_caller]
pub(crate) fn shows(object: Value, expected: Value) {
    use apiserver::table::{Include, ListMetadata, table};
    let mut document = object;
    document["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let object = Object::from_value(document).expect("an object");
    let entry = resource(object.api_version(), object.kind());
    let now = model::time::parse("2026-01-01T01:00:00Z").expect("valid");
    let metadata = ListMetadata::default();
    let table = table(&entry.columns, [&object], &metadata, Include::None, true, now);
    assert_eq!(table["rows"][0]["cells"], expected);
    let columns = table["columnDefinitions"].as_array().map(Vec::len);
    assert_eq!(columns, expected.as_array().map(Vec::len));
}

#[track_caller]
fn compare(errors: &[model::field::FieldError], expected: &[&str], change: &Value) {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let fits = texts.len() == expected.len()
        && texts.iter().zip(expected).all(|(text, expected)| text.starts_with(expected));
    assert!(fits, "{change}\n is: {texts:#?}\n not: {expected:#?}");
}
