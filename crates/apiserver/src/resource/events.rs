//! Events in both of their forms: core/v1, which is what is stored, and events.k8s.io/v1.

use std::time::Duration;

use model::Object;

use super::{Conversion, Resource, partition};

/// Events go after so long.
const LIFETIME: Duration = Duration::from_secs(3600);

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

pub(super) fn core() -> Resource {
    let mut resource = Resource::builtin("", "v1", "Event", "events").short(&["ev"]);
    resource.storage.lifetime = Some(LIFETIME);
    resource
}

pub(super) fn events() -> Resource {
    let mut resource = Resource::builtin("events.k8s.io", "v1", "Event", "events");
    resource.storage.partition = partition("", "events");
    resource.storage.lifetime = Some(LIFETIME);
    resource.storage.conversion = Some(Conversion { to_stored, from_stored });
    resource
}

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
