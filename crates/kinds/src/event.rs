//! What events are in both of their forms: core/v1, which is what is stored, and events.k8s.io/v1.

pub(crate) mod columns;
pub(crate) mod rules;

use std::time::Duration;

use apiserver::resource::Conversion;
use k8s_openapi::api::core::v1::Event;
use model::select::Selectable;
use model::{GroupVersionKind, Object};

/// Events go after so long.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// Where one of the forms has what the other has elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) object: &'static str,
    pub(crate) controller: &'static str,
}

/// Fields to select by: each under its names in both forms, read from the form that is selected from.
pub(crate) fn selectable(form: Form) -> Vec<Selectable> {
    let parts = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let mut fields: Vec<Selectable> = Vec::new();
    for part in parts {
        let place = format!("{}.{part}", form.object);
        for object in ["regarding", "involvedObject"] {
            fields.push(Selectable::text(format!("{object}.{part}")).at(&place));
        }
    }
    fields.extend(["reason", "type"].map(Selectable::text));
    fields.extend(
        ["reportingComponent", "reportingController"].map(|name| Selectable::text(name).at(form.controller)),
    );
    fields.push(Selectable::by("source", |event: &Object| {
        let component = event.get_str(&["source", "component"]);
        let component = component.or_else(|| event.get_str(&["deprecatedSource", "component"]));
        let controller = || event.get_str(&["reportingComponent"]);
        let controller = || controller().or_else(|| event.get_str(&["reportingController"]));
        component.filter(|component| !component.is_empty()).or_else(controller).unwrap_or_default().into()
    }));
    fields
}

/// The form of the core group is stored.
pub(crate) fn conversion() -> Conversion {
    Conversion::functions(GroupVersionKind::of::<Event>(), to_stored, from_stored)
}

/// Field names: events.k8s.io first, core second.
const FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_stored(object: &mut Object) {
    object.set(&["apiVersion"], "v1");
    for (events, core) in FIELDS {
        rename(object, events, core);
    }
}

fn from_stored(object: &mut Object) {
    object.set(&["apiVersion"], "events.k8s.io/v1");
    for (events, core) in FIELDS {
        rename(object, core, events);
    }
}

fn rename(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.remove(&[from]) {
        object.set(&[to], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_the_same_after_going_there_and_back() {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
            "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reason": "Started",
            "reportingController": "node", "deprecatedCount": 2,
        });
        let mut object = Object::from_value(event.clone()).expect("an object");
        to_stored(&mut object);
        assert_eq!(object.get_str(&["involvedObject", "name"]), Some("p"));
        assert_eq!(object.get_str(&["message"]), Some("hello"));
        from_stored(&mut object);
        assert_eq!(object.value(), &event);
    }
}
