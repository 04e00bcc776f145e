//! Objects and the rules of their schema.

use serde_json::json;

use super::*;

fn object(spec: Value) -> Object {
    let object =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    Object::from_value(object).expect("an object")
}

/// What is wrong with a spec of this schema that is to be in the place of another.
fn errors(schema: Value, old: Option<Value>, new: Value) -> Errors {
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    let schema = Structural::parse(&schema).expect("it is structural");
    let validator = Validator::of(&schema).expect("it has rules");
    let mut errors = Errors::new();
    validator.check(&object(new), old.map(object).as_ref(), &mut errors);
    errors
}

fn told(schema: Value, old: Option<Value>, new: Value) -> Vec<String> {
    errors(schema, old, new).iter().map(ToString::to_string).collect()
}

fn parts(list: &str, rules: Value) -> Value {
    let mut schema = json!({"type": "array", "items": {
        "type": "object", "required": ["name", "port"],
        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": rules,
    }});
    if list == "map" {
        schema["x-kubernetes-list-type"] = "map".into();
        schema["x-kubernetes-list-map-keys"] = json!(["name", "port"]);
    }
    schema
}

#[test]
fn so_much_that_is_wrong_is_told_and_no_more() {
    let schema = json!({"type": "array", "items": {
        "type": "string", "x-kubernetes-validations": [{"rule": "self == ''", "message": "empty"}],
    }});
    let many: Vec<String> = (0..2 * MOST).map(|number| number.to_string()).collect();
    assert_eq!(errors(schema.clone(), None, json!(many)).len(), MOST);
    let long = "x".repeat(100_000);
    let wrong = errors(schema, None, json!([long]));
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].to_string().len() < 20_000, "what is long is shortened");
    let schema = json!({
        "type": "object", "additionalProperties": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(key, self[key] == key)"}],
    });
    let wrong = errors(schema, None, json!({(long.clone()): "y", "z": "z"}));
    assert!(wrong.iter().all(|error| error.to_string().len() < 40_000));
}

#[test]
fn items_of_a_map_are_told_apart_by_all_their_keys() {
    let rules = json!([{"rule": "self.size >= oldSelf.size", "message": "parts grow"}]);
    let part = |name: &str, port: u32, size: u32| json!({"name": name, "port": port, "size": size});
    let old = json!([part("a", 1, 5), part("a", 2, 7), part("b", 1, 9)]);
    let new = json!([part("b", 1, 9), part("a", 2, 6), part("c", 1, 0), part("a", 1, 5)]);
    assert_eq!(
        told(parts("map", rules.clone()), Some(old.clone()), new.clone()),
        ["spec[1]: Invalid value: parts grow"]
    );
    // Nothing is known of what was where, unless items have keys.
    assert!(told(parts("atomic", rules), Some(old), new).is_empty());
}

#[test]
fn what_is_as_it_was_may_stay_so() {
    let rules = json!([{"rule": "self.size > 0", "message": "some"}]);
    let part = |name: &str, size: u32| json!({"name": name, "port": 1, "size": size});
    let old = json!([part("a", 0), part("b", 1), part("c", 0)]);
    // In a list that is one value, all of it has to be as it was.
    assert!(told(parts("atomic", rules.clone()), Some(old.clone()), old.clone()).is_empty());
    let new = json!([part("a", 0), part("b", 2), part("c", 0)]);
    assert_eq!(
        told(parts("atomic", rules.clone()), Some(old.clone()), new.clone()),
        ["spec[0]: Invalid value: some", "spec[2]: Invalid value: some"]
    );
    // In one whose items have keys, each.
    assert!(told(parts("map", rules.clone()), Some(old.clone()), new).is_empty());
    let new = json!([part("a", 0), part("d", 0), part("b", 1)]);
    assert_eq!(told(parts("map", rules), Some(old), new), ["spec[1]: Invalid value: some"]);
    // What has no value from before goes by what is around it.
    let schema = json!({"type": "object", "properties": {"list": {
        "type": "array", "items": {"type": "array", "items": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "more"}],
        }},
    }, "other": {"type": "integer"}}});
    let spec = |other: u32| json!({"list": [[0, 0], [0]], "other": other});
    assert!(told(schema.clone(), Some(spec(1)), spec(2)).is_empty());
    assert_eq!(told(schema, Some(spec(1)), json!({"list": [[0]]})).len(), 1);
}

#[test]
fn each_kind_of_refusal_has_its_form() {
    let rule = |reason: &str| json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5", "message": "m", "reason": reason}]});
    for (reason, expected) in [
        ("FieldValueInvalid", "spec: Invalid value: 1: m"),
        ("FieldValueForbidden", "spec: Forbidden: m"),
        ("FieldValueRequired", "spec: Required value: m"),
        ("FieldValueDuplicate", "spec: Duplicate value: 1"),
    ] {
        assert_eq!(told(rule(reason), None, json!(1)), [expected]);
    }
}
