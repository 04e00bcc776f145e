use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;
use crate::schema;
use crate::time;

const OBJECT: &[&[&str]] = &[&["status"]];
const STATUS: &[&[&str]] = &[&["spec"], &["metadata", "labels"]];

/// An object that goes through requests one after the other.
struct World {
    schema: Schema,
    live: Option<Object>,
    second: u32,
}

impl World {
    fn new(group: &str, kind: &str) -> Self {
        let schema = schema::builtin(&GroupVersionKind::new(group, "v1", kind)).expect("built in");
        Self { schema, live: None, second: 0 }
    }

    fn apply(&mut self, name: &str, force: bool, applied: Value) -> Result<bool, ApplyError> {
        let mut document = self.head();
        for (name, value) in applied.as_object().expect("fields") {
            document[name] = value.clone();
        }
        let document = Object::from_value(document).expect("an object");
        let manager = self.manager(name, "", OBJECT);
        let new = apply(&self.schema, self.live.as_ref(), &document, manager, force, &Versions::default())?;
        Ok(self.keep(new))
    }

    fn update(&mut self, name: &str, change: impl FnOnce(&mut Object)) -> bool {
        self.change(name, "", OBJECT, change)
    }

    fn change(
        &mut self,
        name: &str,
        subresource: &'static str,
        ignored: &'static [&'static [&'static str]],
        change: impl FnOnce(&mut Object),
    ) -> bool {
        let mut new =
            self.live.clone().unwrap_or_else(|| Object::from_value(self.head()).expect("an object"));
        change(&mut new);
        let manager = self.manager(name, subresource, ignored);
        let new = track(&self.schema, self.live.as_ref(), new, manager, &Versions::default());
        let new = new.expect("there is one version");
        self.keep(new)
    }

    fn keep(&mut self, mut new: Object) -> bool {
        let changed = match &self.live {
            Some(live) => settle(live, &mut new),
            None => true,
        };
        self.live = Some(new);
        changed
    }

    fn head(&self) -> Value {
        let kinds = &self.schema.root().structure().expect("a struct").kinds;
        json!({"apiVersion": kinds[0].api_version(), "kind": kinds[0].kind, "metadata": {"name": "x", "namespace": "n"}})
    }

    fn manager<'a>(
        &mut self,
        name: &'a str,
        subresource: &'a str,
        ignored: &'a [&'a [&'a str]],
    ) -> Manager<'a> {
        self.second += 1;
        let now = time::parse(&format!("2026-01-01T00:00:{:02}Z", self.second)).expect("valid");
        Manager { name, subresource, ignored, now }
    }

    /// The live object without its managers, below a field.
    fn value(&self, name: &str) -> Value {
        self.live.as_ref().and_then(|live| live.get(&[name]).cloned()).unwrap_or(Value::Null)
    }

    /// `manager operation: fields` for each manager.
    fn owners(&self) -> Vec<String> {
        let live = self.live.as_ref().expect("an object");
        live.managed_fields()
            .iter()
            .map(|entry| {
                let set = FieldSet::decode(&entry["fieldsV1"]).expect("valid");
                let paths = set.paths();
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                let subresource =
                    entry.get("subresource").map(|_| format!("/{}", text("subresource"))).unwrap_or_default();
                format!("{}{subresource} {}: {}", text("manager"), text("operation"), paths.join(" "))
            })
            .collect()
    }
}

fn conflict(result: Result<bool, ApplyError>) -> String {
    match result {
        Err(ApplyError::Conflict { message, .. }) => message,
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn an_applied_configuration_owns_what_it_names() {
    let mut world = World::new("", "ConfigMap");
    world.apply("one", false, json!({"data": {"a": "1", "b": "2"}})).expect("applies");
    assert_eq!(world.owners(), ["one Apply: .data.a .data.b"]);
    assert_eq!(
        world.live.as_ref().expect("live").managed_fields(),
        [json!({
            "manager": "one", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:01Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}},
        })]
    );
}

#[test]
fn what_is_no_longer_applied_goes() {
    let mut world = World::new("", "ConfigMap");
    world.apply("one", false, json!({"data": {"a": "1", "b": "2"}})).expect("applies");
    world.apply("one", false, json!({"data": {"b": "2"}})).expect("applies");
    assert_eq!(world.value("data"), json!({"b": "2"}));
    world.apply("one", false, json!({})).expect("applies");
    assert_eq!(world.value("data"), Value::Null);
    assert_eq!(world.owners(), Vec::<String>::new());
}

#[test]
fn what_others_own_stays_and_conflicts() {
    let mut world = World::new("", "ConfigMap");
    world.apply("one", false, json!({"data": {"a": "1", "b": "1"}})).expect("applies");
    // The same value is shared.
    world.apply("two", false, json!({"data": {"a": "1"}})).expect("applies");
    world.apply("one", false, json!({"data": {"b": "1"}})).expect("applies");
    assert_eq!(world.value("data"), json!({"a": "1", "b": "1"}));
    // Another value is not.
    let message = conflict(world.apply("two", false, json!({"data": {"a": "1", "b": "2"}})));
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"one\": .data.b");
    assert_eq!(world.value("data"), json!({"a": "1", "b": "1"}));
    // Unless forced.
    world.apply("two", true, json!({"data": {"a": "1", "b": "2"}})).expect("applies");
    assert_eq!(world.value("data"), json!({"a": "1", "b": "2"}));
    assert_eq!(world.owners(), ["two Apply: .data.a .data.b"]);
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut world = World::new("", "ConfigMap");
    world.apply("one", false, json!({"data": {"a": "1"}})).expect("applies");
    world.update("kubectl-edit", |object| object.set(&["data", "b"], "1"));
    let message = conflict(world.apply("two", false, json!({"data": {"a": "2", "b": "2"}})));
    assert_eq!(
        message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-edit\" using v1:\n- .data.b\nconflicts with \"one\":\n- .data.a"
    );
}

#[test]
fn an_update_owns_what_it_changes_and_takes_it_from_others() {
    let mut world = World::new("", "ConfigMap");
    world.apply("one", false, json!({"data": {"a": "1", "b": "1"}})).expect("applies");
    assert!(world.update("two", |object| object.set(&["data", "a"], "2")));
    assert_eq!(world.owners(), ["one Apply: .data.b", "two Update: .data.a"]);
    // Removing a field takes it from whoever owned it, and gives nobody anything.
    world.update("three", |object| {
        object.remove(&["data", "b"]);
    });
    assert_eq!(world.owners(), ["two Update: .data.a"]);
    // What an updater owns is not removed by an applier that never named it.
    world.apply("one", false, json!({"data": {"c": "1"}})).expect("applies");
    assert_eq!(world.value("data"), json!({"a": "2", "c": "1"}));
}

#[test]
fn items_of_keyed_lists_are_fields_of_their_own() {
    let mut world = World::new("apps", "Deployment");
    let spec = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world
        .apply("one", false, spec(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])))
        .expect("applies");
    world.apply("sidecar", false, spec(json!([{"name": "s", "image": "1"}]))).expect("applies");
    world.apply("one", false, spec(json!([{"name": "b", "image": "2"}]))).expect("applies");
    let containers = &world.value("spec")["template"]["spec"]["containers"];
    assert_eq!(containers, &json!([{"name": "b", "image": "2"}, {"name": "s", "image": "1"}]));
    assert_eq!(
        world.owners()[0],
        "sidecar Apply: .spec.template.spec.containers[name=\"s\"] .spec.template.spec.containers[name=\"s\"].image \
         .spec.template.spec.containers[name=\"s\"].name"
    );
}

#[test]
fn keys_that_are_left_out_have_their_default() {
    let mut world = World::new("", "Service");
    world.update("creator", |object| {
        object.set(&["spec", "ports"], json!([{"port": 80, "protocol": "TCP", "name": "web"}]));
    });
    world.apply("one", false, json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81, "protocol": "UDP", "name": "u"}]}})).expect("applies");
    assert_eq!(
        world.value("spec")["ports"],
        json!([{"port": 80, "protocol": "TCP", "name": "web"}, {"port": 81, "protocol": "UDP", "name": "u"}])
    );
}

#[test]
fn merged_lists_keep_the_applied_order() {
    let check = |live: &[&str], applied: &[&str], expected: &[&str]| {
        let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
        let containers = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            json!({"spec": {"containers": list}})
        };
        let merged =
            typed::merge(Some(schema.root()), &containers(live), &containers(applied)).expect("merges");
        assert_eq!(merged, containers(expected), "{live:?} with {applied:?}");
    };
    check(&["a", "b"], &["c"], &["a", "b", "c"]);
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "s", "b"], &["a", "b", "c"], &["a", "s", "b", "c"]);
    check(&["a", "s1", "b", "s2"], &["x", "s1", "y", "s2"], &["a", "x", "s1", "b", "y", "s2"]);
    check(&[], &["a"], &["a"]);
}

#[test]
fn atomic_values_are_taken_whole() {
    let mut world = World::new("apps", "Deployment");
    world.apply("one", false, json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}})).expect("applies");
    assert_eq!(world.owners(), ["one Apply: .spec.selector"]);
    let message =
        conflict(world.apply("two", false, json!({"spec": {"selector": {"matchLabels": {"b": "1"}}}})));
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"one\": .spec.selector");
    world.apply("one", false, json!({"spec": {"selector": {"matchLabels": {"c": "1"}}}})).expect("applies");
    assert_eq!(world.value("spec"), json!({"selector": {"matchLabels": {"c": "1"}}}));
}

#[test]
fn sets_are_owned_item_by_item() {
    let mut world = World::new("", "ConfigMap");
    let with =
        |finalizers: Value| json!({"metadata": {"name": "x", "namespace": "n", "finalizers": finalizers}});
    world.apply("one", false, with(json!(["a", "b"]))).expect("applies");
    world.apply("two", false, with(json!(["b", "c"]))).expect("applies");
    world.apply("one", false, with(json!(["a"]))).expect("applies");
    assert_eq!(world.value("metadata")["finalizers"], json!(["a", "b", "c"]));
    assert_eq!(
        world.owners(),
        [
            "one Apply: .metadata.finalizers[=\"a\"]",
            "two Apply: .metadata.finalizers[=\"b\"] .metadata.finalizers[=\"c\"]",
        ]
    );
}

#[test]
fn subresources_are_managers_of_their_own() {
    let mut world = World::new("apps", "Deployment");
    world.update("kubectl", |object| {
        object.set(&["spec", "replicas"], 1);
        object.set(&["status", "replicas"], 9);
    });
    assert_eq!(world.owners(), ["kubectl Update: .spec.replicas"]);
    world.change("controller", "status", STATUS, |object| object.set(&["status", "replicas"], 1));
    assert_eq!(
        world.owners(),
        ["kubectl Update: .spec.replicas", "controller/status Update: .status.replicas"]
    );
    world.change("kubectl", "scale", &[], |object| object.set(&["spec", "replicas"], 3));
    let message = conflict(world.apply("one", false, json!({"spec": {"replicas": 2}})));
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn requests_that_change_nothing_change_not_even_the_time() {
    let mut world = World::new("", "ConfigMap");
    assert!(world.apply("one", false, json!({"data": {"a": "1"}})).expect("applies"));
    let before = world.live.clone();
    assert!(!world.apply("one", false, json!({"data": {"a": "1"}})).expect("applies"));
    assert!(!world.update("two", |_| {}));
    assert_eq!(world.live, before);
    // A new manager of the same value is a change.
    assert!(world.apply("two", false, json!({"data": {"a": "1"}})).expect("applies"));
}

#[test]
fn what_was_there_before_the_first_apply_has_a_manager_of_its_own() {
    let mut world = World::new("", "ConfigMap");
    world.update("creator", |object| object.set(&["data", "a"], "1"));
    world.update("eraser", |object| object.set(&["metadata", "managedFields"], json!([{}])));
    assert_eq!(world.owners(), Vec::<String>::new());
    world.update("editor", |object| object.set(&["data", "b"], "1"));
    assert_eq!(world.owners(), Vec::<String>::new());
    let message = conflict(world.apply("one", false, json!({"data": {"a": "2"}})));
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    world.apply("one", false, json!({"data": {"a": "1"}})).expect("applies");
    assert_eq!(world.owners(), ["one Apply: .data.a", "before-first-apply Update: .data .data.a .data.b"]);
}

#[test]
fn old_updates_are_put_together() {
    let mut world = World::new("", "ConfigMap");
    for index in 0..15 {
        world.update(&format!("m{index:02}"), |object| object.set(&["data", &format!("k{index:02}")], "1"));
    }
    let owners = world.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(
        owners[0],
        "ancient-changes Update: .data .data.k00 .data.k01 .data.k02 .data.k03 .data.k04 .data.k05"
    );
}

#[test]
fn malformed_configurations_are_refused() {
    let mut world = World::new("", "Service");
    let mut refuse = |applied: Value, expected: &str| match world.apply("one", false, applied) {
        Err(ApplyError::Malformed(message) | ApplyError::Untyped(message)) => {
            assert!(message.contains(expected), "{message}")
        }
        other => panic!("not refused: {other:?}"),
    };
    refuse(
        json!({"spec": {"ports": [{"port": 80}, {"port": 80}]}}),
        "failed to create typed patch object (n/x; /v1, Kind=Service): .spec.ports: \
         duplicate entries for key [port=80,protocol=\"TCP\"]",
    );
    refuse(json!({"metadata": {"managedFields": []}}), "metadata.managedFields must be nil");
}

/// Tracks a change, with `v2` of a config map having its data as `binaryData`; other versions are gone.
fn tracked(live: &Object, new: Object, name: &str, asked: &mut Vec<String>) -> Object {
    let world = World::new("", "ConfigMap");
    let manager = Manager { name, subresource: "", ignored: OBJECT, now: time::Timestamp::UNIX_EPOCH };
    let mut versions = Versions::several();
    loop {
        let wanted = match track(&world.schema, Some(live), new.clone(), manager, &versions) {
            Ok(tracked) => return tracked,
            Err(wanted) => wanted,
        };
        asked.push(wanted.version.clone());
        let form = (wanted.version == "v2").then(|| {
            let mut form = wanted.object.clone();
            form.set(&["apiVersion"], "v2");
            let data = form.remove(&["data"]).expect("it has data");
            form.set(&["binaryData"], data);
            (Some(world.schema.clone()), form)
        });
        versions.learn(wanted, form);
    }
}

#[test]
fn who_manages_fields_in_another_version_loses_what_changes_there_and_in_one_that_is_gone_all() {
    let entry = |manager: &str, version: &str, fields: Value| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        })
    };
    let live = Object::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "managedFields": [
            entry("other", "v2", json!({"f:binaryData": {"f:x": {}, "f:y": {}}})),
            entry("gone", "v0", json!({"f:values": {"f:y": {}}})),
            entry("same", "v1", json!({"f:data": {"f:z": {}}})),
        ]},
        "data": {"x": "aaa1", "y": "aaa1", "z": "aaa1"},
    }));
    let live = live.expect("an object");
    let mut new = live.clone();
    new.set(&["data", "x"], "aaa2");
    let mut asked = Vec::new();
    let tracked = tracked(&live, new, "me", &mut asked);
    // As it was and as it is to be; of what is gone nothing more is asked.
    assert_eq!(asked.iter().filter(|version| *version == "v2").count(), 2, "{asked:?}");
    let mut told: Vec<String> = tracked
        .managed_fields()
        .iter()
        .map(|entry| format!("{} {} {}", entry["manager"], entry["apiVersion"], entry["fieldsV1"]))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            r#""me" "v1" {"f:data":{"f:x":{}}}"#,
            r#""other" "v2" {"f:binaryData":{"f:y":{}}}"#,
            r#""same" "v1" {"f:data":{"f:z":{}}}"#,
        ]
    );
}

/// A config map as kubectl's apply on the client's side leaves it, and somebody who changes it.
fn applied_by_client(changed: &[(&str, &str)]) -> World {
    let mut world = World::new("", "ConfigMap");
    let mut applied = world.head();
    applied["data"] = json!({"a": "1", "b": "<1>"});
    let text = applied.to_string();
    world.update("kubectl-client-side-apply", |object| {
        object.set(&["data"], applied["data"].clone());
        object.set_annotation("kubectl.kubernetes.io/last-applied-configuration", &text);
    });
    for (name, value) in changed {
        world.update("other", |object| object.set(&["data", name], *value));
    }
    world
}

#[test]
fn what_kubectl_applied_on_the_clients_side_is_its_own_on_the_servers_as_long_as_nobody_changes_it() {
    let changed = json!({"data": {"a": "2", "b": "<2>"}});
    let mut world = applied_by_client(&[]);
    assert!(conflict(world.apply("flux", false, changed.clone())).contains("2 conflicts"));
    assert!(world.apply("kubectl", false, changed.clone()).expect("it is kubectl's own"));
    assert_eq!(world.value("data"), changed["data"]);
    let owners = world.owners();
    assert_eq!(owners[0], "kubectl Apply: .data.a .data.b");
    assert!(owners[1].starts_with("kubectl-client-side-apply Update: .data .metadata"), "{owners:?}");
    // What is applied now is noted, so that one may go back, in the words that kubectl would use.
    let note = "kubectl.kubernetes.io/last-applied-configuration";
    assert_eq!(
        world.live.as_ref().and_then(|live| live.annotation(note)),
        Some(
            "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\",\"b\":\"\\u003c2\\u003e\"},\"kind\":\"ConfigMap\",\
             \"metadata\":{\"name\":\"x\",\"namespace\":\"n\"}}\n"
        )
    );

    // What others have changed is in conflict, and that alone is told.
    let mut world = applied_by_client(&[("b", "9")]);
    let message = conflict(world.apply("kubectl", false, changed));
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"other\" using v1: .data.b");
    // A note of another version, or none, says nothing.
    let mut world = applied_by_client(&[]);
    world.update("x", |object| object.set_annotation(note, r#"{"apiVersion":"v0","data":{"a":"1"}}"#));
    conflict(world.apply("kubectl", false, json!({"data": {"a": "2"}})));
}

#[test]
fn who_manages_fields_in_a_version_that_the_kind_does_not_have_is_forgotten() {
    let mut world = World::new("", "ConfigMap");
    world.update("old", |object| object.set(&["data", "a"], "1"));
    let live = world.live.as_mut().expect("an object");
    let mut managers = live.managed_fields().to_vec();
    managers[0]["apiVersion"] = json!("v0beta1");
    live.set(&["metadata", "managedFields"], managers);
    world.update("new", |object| object.set(&["data", "b"], "1"));
    assert_eq!(world.owners(), ["new Update: .data.b"]);
    assert!(world.apply("one", false, json!({"data": {"a": "2"}})).expect("nobody manages it"));
}
