//! What must hold for any input at all.

use model::merge::apply::{self, Manager, Versions};
use model::merge::{merge_patch, strategic};
use model::select::LabelSelector;
use model::{GroupVersionKind, Object, Quantity, Schema, decode, schema};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn kind(group: &str, name: &str) -> Schema {
    schema::builtin(&GroupVersionKind::new(group, "v1", name)).expect("built in")
}

/// Any JSON, not too deep, with names that objects have.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9%./-]{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("spec".to_owned()),
        Just("containers".to_owned()),
        Just("name".to_owned()),
        Just("image".to_owned()),
        Just("ports".to_owned()),
        Just("port".to_owned()),
        Just("metadata".to_owned()),
        Just("labels".to_owned()),
        Just("$patch".to_owned()),
        "[a-z]{1,3}",
    ];
    scalar.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name.clone(), inner, 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// What a config map may hold, of few keys so that managers meet.
fn data() -> impl Strategy<Value = Value> {
    btree_map("[a-d]", "[x-z]", 0..4).prop_map(|entries| json!(entries))
}

fn config_map(data: &Value) -> Object {
    let document = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data});
    Object::from_value(document).expect("an object")
}

fn manager(name: &str) -> Manager<'_> {
    let now = model::time::parse("2026-01-01T00:00:00Z").expect("valid");
    Manager { name, subresource: "", ignored: &[], now }
}

/// How many managers own each key of `data`.
fn owners(object: &Object, key: &str) -> usize {
    let owns = |entry: &&Value| entry["fieldsV1"]["f:data"].get(format!("f:{key}")).is_some();
    object.managed_fields().iter().filter(owns).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn quantities_read_back_as_they_print(
        text in "-?[0-9]{1,12}(\\.[0-9]{0,6})?(n|u|m|k|M|G|Ki|Mi|Gi|Ti|e2|E3)?",
    ) {
        let quantity: Quantity = text.parse().expect("it follows the grammar");
        let printed = quantity.to_string();
        let again: Quantity = printed.parse().expect("what was printed reads");
        // A binary one prints whole units, and plain ones read back as decimal, as in Kubernetes.
        prop_assert_eq!(again.value(), quantity.value(), "{} {}", text, printed);
    }

    #[test]
    fn a_merge_patch_applied_twice_is_applied_once(document in any_json(), patch in any_json()) {
        let once = merge_patch::apply(&document, &patch);
        prop_assert_eq!(merge_patch::apply(&once, &patch), once);
    }

    #[test]
    fn any_strategic_patch_is_applied_or_refused(document in any_json(), patch in any_json()) {
        let pod = kind("", "Pod");
        let _ = strategic::apply(&pod, &document, &patch);
        if document.is_object() {
            prop_assert_eq!(strategic::apply(&pod, &document, &json!({})), Ok(document));
        }
    }

    #[test]
    fn any_document_is_decoded_or_refused(document in any_json()) {
        let text = json!({"apiVersion": "v1", "kind": "Pod", "spec": document}).to_string();
        if let Ok(decoded) = decode::slice(&kind("", "Pod"), text.as_bytes()) {
            let again = decode::slice(&kind("", "Pod"), &decoded.object.encoded()).expect("what was decoded decodes");
            prop_assert_eq!(again.problems, Vec::<String>::new());
            prop_assert_eq!(&again.object, &decoded.object);
        }
    }

    #[test]
    fn any_selector_is_read_or_refused(text in "[a-z!=,() <>]{0,20}") {
        if let Ok(selector) = text.parse::<LabelSelector>() {
            prop_assert_eq!(selector.to_string().parse::<LabelSelector>(), Ok(selector));
        }
    }

    #[test]
    fn applying_the_same_twice_changes_nothing(first in data(), second in data()) {
        let schema = kind("", "ConfigMap");
        let live = apply::apply(&schema, None, &config_map(&first), manager("a"), false, &Versions::default()).expect("nobody is in the way");
        let live = apply::apply(&schema, Some(&live), &config_map(&second), manager("b"), true, &Versions::default()).expect("forced");
        let mut again = apply::apply(&schema, Some(&live), &config_map(&second), manager("b"), false, &Versions::default()).expect("its own");
        prop_assert!(!apply::settle(&live, &mut again));
    }

    #[test]
    fn what_is_forced_is_there_and_what_was_shared_stays(first in data(), second in data()) {
        let schema = kind("", "ConfigMap");
        let live = apply::apply(&schema, None, &config_map(&first), manager("a"), false, &Versions::default()).expect("nobody is in the way");
        let live = apply::apply(&schema, Some(&live), &config_map(&second), manager("b"), true, &Versions::default()).expect("forced");
        for (key, value) in second.as_object().expect("entries") {
            prop_assert_eq!(live.get(&["data", key]), Some(value));
        }
        // What b takes back goes, unless a applied the same.
        let live = apply::apply(&schema, Some(&live), &config_map(&json!({})), manager("b"), false, &Versions::default()).expect("its own");
        for (key, value) in second.as_object().expect("entries") {
            let shared = first.get(key) == Some(value);
            prop_assert_eq!(live.get(&["data", key]).is_some(), shared, "{}", key);
        }
    }

    #[test]
    fn after_updates_each_field_has_one_manager(steps in vec(("[m-o]", data()), 1..8)) {
        let schema = kind("", "ConfigMap");
        let mut live: Option<Object> = None;
        for (name, data) in &steps {
            let mut new = config_map(data);
            if let Some(live) = &live {
                new.metadata_mut().insert("managedFields".into(), live.managed_fields().to_vec().into());
            }
            live = Some(apply::track(&schema, live.as_ref(), new, manager(name), &Versions::default()).expect("there is one version"));
        }
        let live = live.expect("at least one step");
        let last = &steps.last().expect("at least one step").1;
        for key in ["a", "b", "c", "d"] {
            prop_assert_eq!(owners(&live, key), usize::from(last.get(key).is_some()), "{}", key);
        }
    }
}
