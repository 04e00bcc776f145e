//! Rules of events in both of their forms. What is wrong is told by the names of the form of the core group.

use model::Object;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, immutable, invalid};
use serde_json::Value;

/// Bytes of who reports, what was done and why; and of what is said of it.
const LONGEST: usize = 128;
const LONGEST_NOTE: usize = 1024;

/// A field that is called so in both forms, or by the one name in events.k8s.io and by the other in core.
fn field<'a>(event: &'a Object, events: &str, core: &str) -> Option<&'a Value> {
    event.get(&[core]).or_else(|| event.get(&[events])).filter(|value| !value.is_null())
}

fn text<'a>(event: &'a Object, events: &str, core: &str) -> &'a str {
    field(event, events, core).and_then(Value::as_str).unwrap_or_default()
}

/// What any event must say.
pub(crate) fn any(event: &Object, errors: &mut Errors) {
    let involved = field(event, "regarding", "involvedObject").and_then(|object| object.get("namespace"));
    let involved = involved.and_then(Value::as_str).unwrap_or_default();
    let namespace = event.namespace().unwrap_or_default();
    let is_new = !text(event, "eventTime", "eventTime").is_empty();
    // What is cluster-wide has its events in the default namespace.
    let fits = match (involved.is_empty(), is_new) {
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (true, false) => namespace == "default",
        (false, true) => true,
        (false, false) => involved == namespace,
    };
    if !fits {
        let path = Path::root("involvedObject");
        let message = "does not match event.namespace";
        errors.push(FieldError::invalid(&path.child("namespace"), involved, message));
    }
    if !is_new {
        return;
    }
    let controller = text(event, "reportingController", "reportingComponent");
    let path = Path::root("reportingController");
    if controller.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    invalid(errors, &path, controller, names::qualified(controller));
    for name in ["reportingInstance", "action", "reason"] {
        let (path, value) = (Path::root(name), text(event, name, name));
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        short(value, LONGEST, &path, errors);
    }
    short(text(event, "note", "message"), LONGEST_NOTE, &Path::root("message"), errors);
}

fn short(value: &str, most: usize, path: &Path<'_>, errors: &mut Errors) {
    if value.len() > most {
        errors.push(FieldError::invalid(path, "", format!("can have at most {most} characters")));
    }
}

/// What a new event in the form of events.k8s.io must say besides.
pub(crate) fn creation(event: &Object, errors: &mut Errors) {
    series(event, errors);
    if text(event, "eventTime", "eventTime").is_empty() {
        errors.push(FieldError::required(&Path::root("eventTime"), ""));
    }
    let kind = text(event, "type", "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid(&Path::root("type"), "", format!("has invalid value: {kind}")));
    }
    let old = [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ];
    for (events, core) in old {
        let is_set = field(event, events, core).is_some_and(|value| match value {
            Value::Object(fields) => fields.values().any(|value| value != ""),
            value => value != 0,
        });
        if is_set {
            errors.push(FieldError::invalid(&Path::root(core), "", "needs to be unset"));
        }
    }
}

/// How often it has happened, where it goes on.
fn series(event: &Object, errors: &mut Errors) {
    let Some(series) = field(event, "series", "series") else { return };
    if series.get("count").and_then(Value::as_i64).unwrap_or_default() < 2 {
        errors.push(FieldError::invalid(&Path::root("series.count"), "", "should be at least 2"));
    }
    if series.get("lastObservedTime").is_none_or(Value::is_null) {
        errors.push(FieldError::required(&Path::root("series.lastObservedTime"), ""));
    }
}

/// Of an event in the form of events.k8s.io nothing changes but how often it has happened.
pub(crate) fn change(event: &Object, old: &Object, errors: &mut Errors) {
    if field(event, "series", "series") != field(old, "series", "series") {
        series(event, errors);
    }
    let kept = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    for (events, core) in kept {
        immutable(errors, field(event, events, core), field(old, events, core), &Path::root(core));
    }
}
