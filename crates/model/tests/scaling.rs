//! Long lists cost in proportion to their length: nothing compares each item with each.
//!
//! Measured in processor time of the test's own thread, as the ratio of a list to one of four times its
//! length, which no load of the machine changes: in proportion it is 4, comparing each with each 16.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use model::merge::apply::{Manager, Versions, apply, track};
use model::merge::{json_patch, merge_patch, strategic};
use model::validate::{Plain, Scope, create, update};
use model::{GroupVersionKind, Object, Schema};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

const SHORT: usize = 1500;

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[track_caller]
fn check<T, R>(what: &str, prepare: impl Fn(usize) -> T, work: impl Fn(&T) -> R) {
    let cost = |length: usize| {
        let input = prepare(length);
        // The best of three: what caches do, and page faults, counts as little as possible.
        let once = || {
            let began = processor_time();
            let result = work(&input);
            let took = processor_time() - began;
            drop(result);
            took
        };
        (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
    };
    let ratio = cost(4 * SHORT) / cost(SHORT);
    assert!(ratio < 9.0, "{what}: four times the length costs {ratio:.1} times as much");
}

fn schema() -> Schema {
    model::schema::builtin(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("a built-in kind")
}

fn deployment(finalizers: usize, variables: usize) -> Value {
    let finalizers: Vec<String> = (0..finalizers).map(|index| format!("a.b/{index}")).collect();
    let variables: Vec<Value> =
        (0..variables).map(|index| json!({"name": format!("V{index}"), "value": "x"})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "finalizers": finalizers},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "env": variables}]}}},
    })
}

#[test]
fn strategic_merges_are_in_proportion() {
    let schema = schema();
    let primitives =
        |length| (deployment(length, 0), json!({"metadata": deployment(length + 10, 0)["metadata"]}));
    check("scalars", primitives, |(document, patch)| {
        strategic::apply(&schema, document, patch).expect("merge")
    });
    let deletions = |length| {
        let document = deployment(length, 0);
        let list = document["metadata"]["finalizers"].clone();
        (document, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": list}}))
    };
    check("deletions", deletions, |(document, patch)| {
        strategic::apply(&schema, document, patch).expect("merge")
    });
    let keyed = |length| {
        let (document, mut patch) = (deployment(0, length), deployment(0, length));
        let order: Vec<Value> = (0..length).rev().map(|index| json!({"name": format!("V{index}")})).collect();
        let container = &mut patch["spec"]["template"]["spec"]["containers"][0];
        container["env"].as_array_mut().expect("a list").reverse();
        container["$setElementOrder/env"] = order.into();
        (document, patch)
    };
    check("by key, in order", keyed, |(document, patch)| {
        strategic::apply(&schema, document, patch).expect("merge")
    });
    let unkeyed = |length| (deployment(0, length), deployment(0, length + 10));
    let nulls = |length| {
        let (document, names) = labelled(length);
        (document, json!({"metadata": {"labels": names}}))
    };
    check("nulls", nulls, |(document, patch)| strategic::apply(&schema, document, patch).expect("merge"));
    check("by key", unkeyed, |(document, patch)| strategic::apply(&schema, document, patch).expect("merge"));
}

/// An object of many labels, and a null for each.
fn labelled(length: usize) -> (Value, Map<String, Value>) {
    let name = |index| format!("label-{index}");
    let labels: Map<String, Value> = (0..length).map(|index| (name(index), json!("x"))).collect();
    let mut document = deployment(0, 0);
    document["metadata"]["labels"] = labels.into();
    (document, (0..length).map(|index| (name(index), Value::Null)).collect())
}

#[test]
fn a_merge_patch_takes_out_what_it_takes_out_at_once() {
    let nulls = |length| {
        let (document, names) = labelled(5 * length);
        (document, json!({"metadata": {"labels": names}}))
    };
    check("nulls", nulls, |(document, patch)| {
        let merged = merge_patch::apply(document, patch);
        assert_eq!(merged["metadata"]["labels"], json!({}));
        merged
    });
}

#[test]
fn a_long_name_is_not_copied_for_all_that_lies_below_it() {
    let schema = schema();
    let long = |length: usize| {
        let mut value = deployment(0, length);
        value["spec"]["template"]["spec"]["containers"][0]["name"] = "x".repeat(50 * length).into();
        Object::from_value(value).expect("an object")
    };
    let manager = |name| Manager { name, subresource: "", ignored: &[], now: Timestamp::UNIX_EPOCH };
    check("apply", long, |applied| {
        apply(&schema, None, applied, manager("first"), true, &Versions::default()).expect("apply")
    });
    let conflicting = |length: usize| {
        let live =
            track(&schema, None, long(length), manager("first"), &Versions::default()).expect("one version");
        let mut value = long(length).value().clone();
        let container = &mut value["spec"]["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array_mut().expect("a list") {
            variable["value"] = json!("other");
        }
        (live, Object::from_value(value).expect("an object"))
    };
    check("conflicts", conflicting, |(live, applied)| {
        apply(&schema, Some(live), applied, manager("second"), false, &Versions::default())
            .expect_err("conflicts")
    });
    let repeated = |length: usize| {
        format!("{{\"{}\":{{{}\"a\":1}}}}", "x".repeat(50 * length), "\"a\":1,".repeat(length))
    };
    check("duplicates", repeated, |text| model::decode::parse(text.as_bytes()).expect("JSON"));
}

#[test]
fn many_managers_of_little_each_cost_no_more_than_one_of_all() {
    let schema = schema();
    let managed = |length: usize| {
        let (mut live, _) = labelled(length);
        let entry = |index: usize| {
            json!({
                "manager": format!("m{index}"), "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {format!("f:label-{index}"): {}}}},
            })
        };
        live["metadata"]["managedFields"] = (0..length).map(entry).collect();
        let mut new = live.clone();
        for (_, value) in new["metadata"]["labels"].as_object_mut().expect("labels") {
            *value = json!("y");
        }
        (Object::from_value(live).expect("an object"), Object::from_value(new).expect("an object"))
    };
    let manager = Manager { name: "all", subresource: "", ignored: &[], now: Timestamp::UNIX_EPOCH };
    check("track", managed, |(live, new)| {
        track(&schema, Some(live), new.clone(), manager, &Versions::default()).expect("one version")
    });
}

#[test]
fn applying_and_tracking_are_in_proportion() {
    let schema = schema();
    let manager = |name| Manager { name, subresource: "", ignored: &[], now: Timestamp::UNIX_EPOCH };
    let objects = |length: usize| {
        let applied = Object::from_value(deployment(length / 4, length)).expect("an object");
        let live = track(&schema, None, applied.clone(), manager("first"), &Versions::default())
            .expect("one version");
        (live, applied)
    };
    check("apply", objects, |(live, applied)| {
        apply(&schema, Some(live), applied, manager("second"), true, &Versions::default()).expect("apply")
    });
    check("track", objects, |(live, applied)| {
        track(&schema, Some(live), applied.clone(), manager("third"), &Versions::default())
            .expect("one version")
    });
}

#[test]
fn the_rules_of_an_update_are_in_proportion() {
    let being_deleted = |length: usize| {
        let mut value = deployment(length, 0);
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        Object::from_value(value).expect("an object")
    };
    check("finalizers", being_deleted, |object| update(&Plain, object, object, Scope::Namespaced));
    let owned = |length: usize| {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        let mut value = deployment(0, 0);
        value["metadata"]["ownerReferences"] = vec![owner; length].into();
        Object::from_value(value).expect("an object")
    };
    check("owners", owned, |object| create(&Plain, object, Scope::Namespaced));
    let complaints = |length: usize| {
        let labels: serde_json::Map<String, Value> =
            (0..length).map(|i| (format!("not a label {i}"), json!("x"))).collect();
        let mut value = deployment(0, 0);
        value["metadata"]["labels"] = labels.into();
        Object::from_value(value).expect("an object")
    };
    check("complaints", complaints, |object| {
        let errors = create(&Plain, object, Scope::Namespaced);
        model::Status::invalid(&model::GroupKind::new("apps", "Deployment"), "d", &errors)
    });
}

#[test]
fn a_json_patch_has_an_end_whatever_it_moves() {
    let document = json!({"l": vec![0; 1_000_000]});
    let steps = [
        json!({"op": "add", "path": "/l/0", "value": 0}),
        json!({"op": "remove", "path": "/l/0"}),
        json!({"op": "move", "from": "/l", "path": "/m"}),
    ];
    for step in steps {
        let back = json!({"op": "move", "from": "/m", "path": "/l"});
        let moves = step["op"] == "move";
        let patch: Vec<Value> =
            (0..10_000).map(|i| if moves && i % 2 == 1 { back.clone() } else { step.clone() }).collect();
        let error = json_patch::apply(&document, &patch.into()).expect_err("it is too much");
        assert!(error.to_string().contains("move more than"), "{error}");
    }
}
