//! Events in the form of events.k8s.io. They are stored as those of the core group.

use apiserver::Resource;
use apiserver::request::Verb;
use apiserver::resource::Conversion;
use k8s_openapi::api::core::v1::Event as Stored;
use k8s_openapi::api::events::v1::Event;
use model::{GroupVersionKind, Object};

use crate::event::{Form, LIFETIME, columns, selectable};

pub(crate) fn resource() -> Resource {
    Resource::of::<Event>()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(selectable(FORM))
        .nodes_may(&[Verb::Create, Verb::Update, Verb::Patch])
        .kept_for(LIFETIME)
        .stored_as(Conversion::functions(GroupVersionKind::of::<Stored>(), to_stored, from_stored))
}

/// Where the fields to select by are.
const FORM: Form = Form { object: "regarding", controller: "reportingController" };

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
