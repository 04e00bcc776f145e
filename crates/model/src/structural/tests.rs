use serde_json::json;

use super::*;
use crate::field::Path;
use crate::gvk::GroupVersionKind;
use crate::merge::apply;
use crate::validate::Errors;

fn read(schema: &Value) -> Structural {
    Structural::parse(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// An object of which `spec` is this.
fn of_spec(spec: Value) -> Structural {
    read(&json!({"type": "object", "properties": {"spec": spec}}))
}

#[track_caller]
fn structural(schema: Value, expected: &[&str]) {
    let root = Path::root("s");
    let found: Vec<String> = rules::structural(&schema, &mut PatternRoom::default(), &root)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, expected, "{schema}");
}

#[test]
fn a_schema_specifies_the_types_of_all_that_it_asks_of() {
    structural(json!({"type": "object", "properties": {"a": {"type": "string"}}}), &[]);
    structural(json!({}), &["s.type: Required value: must not be empty at the root"]);
    structural(
        json!({"type": "array"}),
        &[
            "s.items: Required value: must be specified",
            "s.type: Invalid value: \"array\": must be object at the root",
        ],
    );
    structural(
        json!({"type": "object", "properties": {"a": {}, "l": {"type": "array", "items": {}}}}),
        &[
            "s.properties[a].type: Required value: must not be empty for specified object fields",
            "s.properties[l].items.type: Required value: must not be empty for specified array items",
        ],
    );
    structural(
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        &["s.additionalProperties: Forbidden: must not be used at the root"],
    );
    structural(
        json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string", "default": 1}, "b": {"minimum": 1}}}],
               "properties": {"a": {"type": "string"}}}),
        &[
            "s.anyOf[0].properties[a].default: Forbidden: must be undefined to be structural",
            "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
            "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
        ],
    );
    structural(
        json!({"type": "object", "not": {"description": "x", "nullable": true, "additionalProperties": true,
               "x-kubernetes-list-type": "set", "properties": {"metadata": {}}}}),
        &[
            "s.not.additionalProperties: Forbidden: must be undefined to be structural",
            "s.not.description: Forbidden: must be empty to be structural",
            "s.not.nullable: Forbidden: must be false to be structural",
            "s.not.properties[metadata]: Forbidden: must not be specified in a nested context",
            "s.not.x-kubernetes-list-type: Forbidden: must be undefined to be structural",
            "s.properties[metadata]: Required value: because it is defined in s.not.properties[metadata]",
        ],
    );
    // Of both an integer and a string it may be said.
    let both = json!([{"type": "integer"}, {"type": "string"}]);
    structural(
        json!({"type": "object", "properties": {
            "a": {"x-kubernetes-int-or-string": true},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": both},
            "c": {"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": both}, {"minimum": 1}]},
        }}),
        &[],
    );
    structural(
        json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true,
               "x-kubernetes-preserve-unknown-fields": true}}}),
        &["s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if \
           x-kubernetes-int-or-string is true"],
    );
}

#[test]
fn what_whole_objects_have_is_not_specified() {
    structural(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string",
               "maxLength": 8}}}, "kind": {"type": "integer"}}}),
        &["s.properties[kind].type: Invalid value: \"integer\": must be string"],
    );
    structural(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "description": "x"}}}),
        &[
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but \
           metadata is implicitly specified",
        ],
    );
    structural(
        json!({"type": "object", "properties": {"a": {"x-kubernetes-embedded-resource": true, "type": "object"}}}),
        &[
            "s.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true \
           without x-kubernetes-preserve-unknown-fields",
        ],
    );
    structural(
        json!({"type": "object", "properties": {"a": {"x-kubernetes-embedded-resource": true,
               "x-kubernetes-preserve-unknown-fields": true}}}),
        &["s.properties[a].type: Required value: must be object if x-kubernetes-embedded-resource is true"],
    );
}

#[test]
fn defaults_are_values_of_their_schemas() {
    #[track_caller]
    fn check(schema: Value, expected: &[&str]) {
        let root = Path::root("s");
        let mut errors = Vec::new();
        rules::defaults(&schema, true, &root, &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{schema}");
    }
    check(json!({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}), &[]);
    check(
        json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
        &["s.properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\""],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "object", "default": {"b": 1, "c": 2},
               "properties": {"b": {"type": "string"}}}}}),
        &["s.properties[a].default: Invalid value: {\"b\":1,\"c\":2}: must not have unknown fields"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": true,
               "x-kubernetes-preserve-unknown-fields": true, "default": {"kind": "A"}}}}),
        &["s.properties[a].default.apiVersion: Required value"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": true,
               "properties": {"metadata": {"type": "object", "default": {"name": "a/b"}}}}}}),
        &[
            "s.properties[a].properties[metadata].default: Invalid value: {\"name\":\"a/b\"}: must result in valid \
           metadata: metadata.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
}

#[test]
fn what_is_not_specified_is_pruned() {
    #[track_caller]
    fn check(spec: Value, given: Value, expected: Value, unknown: &[&str]) {
        let document =
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "odd": 1}, "spec": given});
        let decoded = decode::object(&of_spec(spec), document).expect("an object");
        assert_eq!(decoded.object.get(&["spec"]).cloned().unwrap_or_default(), expected);
        let told: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        assert_eq!(decoded.problems, told);
    }
    let fields = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    check(fields.clone(), json!({"a": "x", "b": 1}), json!({"a": "x"}), &["metadata.odd", "spec.b"]);
    check(
        json!({"type": "array", "items": fields}),
        json!([{"b": 1}, {"a": "y", "c": {}}]),
        json!([{}, {"a": "y"}]),
        &["metadata.odd", "spec[0].b", "spec[1].c"],
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}}),
        json!({"x": {"a": "1", "b": 2}}),
        json!({"x": {"a": "1"}}),
        &["metadata.odd", "spec.x.b"],
    );
    check(
        json!({"type": "object", "additionalProperties": true}),
        json!({"x": 1, "y": {"z": 1}}),
        json!({"x": 1, "y": {}}),
        &["metadata.odd", "spec.y.z"],
    );
    let keeps = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "a": {"type": "object", "properties": {"b": {"type": "string"}}}}});
    check(
        keeps,
        json!({"odd": {"deep": 1}, "a": {"b": "1", "c": 1}}),
        json!({"odd": {"deep": 1}, "a": {"b": "1"}}),
        &["metadata.odd", "spec.a.c"],
    );
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"s": {"type": "string"}}});
    check(
        embedded,
        json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "more": 1}, "s": "1", "t": 2}),
        json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x"}, "s": "1"}),
        &["metadata.odd", "spec.t", "spec.metadata.more"],
    );
    // What is null and may not be is as good as absent.
    let nulls = json!({"type": "object", "properties": {
        "a": {"type": "string"}, "b": {"type": "string", "nullable": true}, "c": {"type": "string", "default": "x"}}});
    check(nulls, json!({"a": null, "b": null, "c": null}), json!({"b": null, "c": null}), &["metadata.odd"]);
}

#[test]
fn metadata_has_the_types_of_metadata() {
    let schema = of_spec(json!({"type": "object"}));
    let refused = |metadata: Value| {
        let document = json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata});
        decode::object(&schema, document).expect_err("no metadata").to_string()
    };
    assert_eq!(
        refused(json!({"name": 5})),
        "json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"
    );
    assert_eq!(
        decode::object(&schema, json!({"kind": 5})).expect_err("no kind").to_string(),
        ".kind accessor error: 5 is of the type int64, expected string"
    );
}

#[test]
fn defaults_are_filled_in_where_something_is_left_out() {
    #[track_caller]
    fn check(spec: Value, given: Value, expected: Value) {
        let schema = of_spec(spec);
        let mut fields = json!({"spec": given});
        for _ in 0..2 {
            schema.fill_in(fields.as_object_mut().expect("an object")).expect("there is room");
            assert_eq!(fields["spec"], expected);
        }
    }
    let fields = json!({"type": "object", "properties": {
        "a": {"type": "integer", "default": 1},
        "n": {"type": "string", "default": "d", "nullable": true},
        "o": {"type": "object", "default": {}, "properties": {"x": {"type": "boolean", "default": true}}},
    }});
    check(fields.clone(), json!({}), json!({"a": 1, "n": "d", "o": {"x": true}}));
    check(
        fields.clone(),
        json!({"a": 0, "n": null, "o": {"x": false}}),
        json!({"a": 0, "n": null, "o": {"x": false}}),
    );
    check(fields.clone(), json!({"a": null}), json!({"a": 1, "n": "d", "o": {"x": true}}));
    check(
        json!({"type": "array", "items": fields}),
        json!([{"a": 2}]),
        json!([{"a": 2, "n": "d", "o": {"x": true}}]),
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "string", "default": "v"}}),
        json!({"k": null, "l": "x"}),
        json!({"k": "v", "l": "x"}),
    );
}

#[track_caller]
fn values(spec: Value, given: Value, expected: &[&str]) {
    let schema = of_spec(spec.clone());
    let mut errors = Vec::new();
    validate::values(&schema, &json!({"spec": given}), None, None, &mut errors);
    let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{spec} {given}");
}

#[test]
fn types_are_asked_for() {
    let integer = || json!({"type": "integer"});
    values(integer(), json!(3), &[]);
    values(integer(), json!(3.0), &[]);
    values(
        integer(),
        json!("3"),
        &["spec: Invalid value: \"string\": spec in body must be of type integer: \"string\""],
    );
    values(
        integer(),
        json!(3.5),
        &["spec: Invalid value: \"number\": spec in body must be of type integer: \"number\""],
    );
    values(
        integer(),
        Value::Null,
        &["spec: Invalid value: \"null\": spec in body must be of type integer: \"null\""],
    );
    values(json!({"type": "integer", "nullable": true}), Value::Null, &[]);
    values(json!({"type": "number"}), json!(3), &[]);
    values(
        json!({"type": "string"}),
        json!(true),
        &["spec: Invalid value: \"boolean\": spec in body must be of type string: \"boolean\""],
    );
    values(json!({"x-kubernetes-int-or-string": true}), json!("25%"), &[]);
    values(json!({"x-kubernetes-int-or-string": true}), json!(2), &[]);
    values(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &["spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\""],
    );
    values(
        json!({"type": "array", "items": {"type": "string"}}),
        json!(["a", 1]),
        &["spec[1]: Invalid value: \"integer\": spec[1] in body must be of type string: \"integer\""],
    );
}

#[test]
fn bounds_are_kept() {
    let number = json!({"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2});
    values(number.clone(), json!(4), &[]);
    values(
        number.clone(),
        json!(0),
        &["spec: Invalid value: 0: spec in body should be greater than or equal to 1"],
    );
    values(
        number.clone(),
        json!(12),
        &["spec: Invalid value: 12: spec in body should be less than or equal to 10"],
    );
    values(number, json!(5), &["spec: Invalid value: 5: spec in body should be a multiple of 2"]);
    let float = json!({"type": "number", "minimum": 0.5, "exclusiveMinimum": true, "maximum": 1_000_000.0});
    values(float.clone(), json!(0.5), &["spec: Invalid value: 0.5: spec in body should be greater than 0.5"]);
    values(
        float,
        json!(1_000_000.5),
        &["spec: Invalid value: 1000000.5: spec in body should be less than or equal to 1e+06"],
    );
    let text = json!({"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"});
    values(
        text.clone(),
        json!("abé"),
        &["spec: Invalid value: \"abé\": spec in body should match '^[a-z]+$'"],
    );
    values(
        text.clone(),
        json!("a"),
        &["spec: Invalid value: \"a\": spec in body should be at least 2 chars long"],
    );
    values(text, json!("abcde"), &["spec: Too long: may not be more than 4 bytes"]);
    let list = json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2});
    values(list.clone(), json!([]), &["spec: Invalid value: 0: spec in body should have at least 1 items"]);
    values(list, json!([1, 2, 3]), &["spec: Too many: 3: must have at most 2 items"]);
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 1});
    values(
        map.clone(),
        json!({}),
        &["spec: Invalid value: 0: spec in body should have at least 1 properties"],
    );
    values(map, json!({"a": 1, "b": 2}), &["spec: Too many: 2: must have at most 1 item"]);
    values(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["spec: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    values(
        json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string"}}}),
        json!({"a": "1"}),
        &["spec.b: Required value"],
    );
    let cron = "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$";
    values(
        json!({"type": "string", "pattern": cron}),
        json!("* * * *"),
        &[
            "spec: Invalid value: \"* * * *\": spec in body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'",
        ],
    );
    values(json!({"type": "string", "pattern": cron}), json!("* * * * */5"), &[]);
}

#[test]
fn of_alternatives_the_nearest_is_told() {
    let fields = || json!({"a": {"type": "string"}, "b": {"type": "integer"}});
    let one_of = json!({"type": "object", "properties": fields(), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    values(one_of.clone(), json!({"a": "x"}), &[]);
    values(
        one_of.clone(),
        json!({}),
        &[
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required value",
        ],
    );
    values(
        one_of,
        json!({"a": "x", "b": 1}),
        &[
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    let any_of = json!({"type": "object", "properties": fields(), "anyOf": [
        {"required": ["a"], "properties": {"b": {"minimum": 5}}}, {"properties": {"b": {"minimum": 7}}}]});
    values(any_of.clone(), json!({"b": 8}), &[]);
    values(
        any_of,
        json!({"b": 1, "a": "x"}),
        &[
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
            "spec.b: Invalid value: 1: spec.b in body should be greater than or equal to 5",
        ],
    );
    values(
        json!({"type": "object", "properties": fields(), "allOf": [{"required": ["a"]}]}),
        json!({}),
        &[
            "spec.a: Required value",
            "<nil>: Invalid value: \"\": \"spec\" must validate all the schemas (allOf). None validated",
        ],
    );
    values(
        json!({"type": "object", "properties": fields(), "not": {"required": ["a"]}}),
        json!({"a": "x"}),
        &["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"],
    );
}

#[test]
fn what_was_wrong_before_and_is_as_it_was_is_let_pass() {
    let schema = of_spec(json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
              "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"},
                        "v": {"type": "integer", "maximum": 5}}}},
        "t": {"type": "array", "items": {"type": "integer", "maximum": 5}},
    }}));
    let check = |old: Value, new: Value, expected: &[&str]| {
        let mut errors = Vec::new();
        validate::values(&schema, &json!({"spec": new}), Some(&json!({"spec": old})), None, &mut errors);
        let found: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
        assert_eq!(found, expected, "{new}");
    };
    let old = json!({"a": "abc", "l": [{"k": "1", "v": 9}, {"k": "2", "v": 1}], "t": [9, 1]});
    check(old.clone(), old.clone(), &[]);
    let mut changed = old.clone();
    changed["l"] = json!([{"k": "2", "v": 1}, {"k": "1", "v": 9}, {"k": "3", "v": 2}]);
    check(old.clone(), changed.clone(), &[]);
    changed["l"][1]["v"] = json!(8);
    check(old.clone(), changed, &["spec.l[1].v"]);
    // Of items without keys nobody knows which was which.
    check(old.clone(), json!({"a": "abc", "t": [9, 2]}), &["spec.t[0]"]);
    check(old, json!({"a": "abcd"}), &["spec.a"]);
}

#[test]
fn sets_and_maps_have_each_item_once() {
    #[track_caller]
    fn check(spec: Value, given: Value, expected: &[&str]) {
        let mut errors = Vec::new();
        validate::sets_and_maps(&of_spec(spec), &json!({"spec": given}), &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{given}");
    }
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}});
    check(set.clone(), json!([1, 2]), &[]);
    check(set, json!([1, 2, 1, 1]), &["spec[2]: Duplicate value: 1"]);
    let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                     "items": {"type": "object"}});
    check(map.clone(), json!([{"a": 1, "b": 1}, {"a": 1, "b": 2}]), &[]);
    check(
        map.clone(),
        json!([{"a": 1, "b": 1}, {"b": 1, "a": 1}]),
        &["spec[1]: Duplicate value: {\"a\":1,\"b\":1}"],
    );
    check(
        map,
        json!(["x"]),
        &["spec[0]: Invalid value: \"x\": must be an object for an array of list-type map"],
    );
}

#[test]
fn whole_objects_inside_say_what_they_are() {
    let schema = of_spec(json!({"type": "object", "x-kubernetes-embedded-resource": true,
                                "x-kubernetes-preserve-unknown-fields": true}));
    let check = |spec: Value, expected: &[&str]| {
        let mut errors = Vec::new();
        validate::embedded_objects(&schema, &json!({"spec": spec}), &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        found.iter().zip(expected).for_each(|(is, begins)| assert!(is.starts_with(begins), "{is}"));
    };
    check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}), &[]);
    check(json!({}), &["spec.apiVersion: Required value", "spec.kind: Required value"]);
    check(
        json!({"apiVersion": "", "kind": "A_b", "metadata": {"name": "a/b"}}),
        &[
            "spec.apiVersion: Invalid value: \"\": must not be empty",
            "spec.kind: Invalid value: \"A_b\": may have mixed case, but s",
            "spec.metadata.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
}

#[test]
fn formats_are_those_that_kubernetes_lists() {
    #[track_caller]
    fn check(format: &str, good: &[&str], bad: &[&str]) {
        for (texts, expected) in [(good, true), (bad, false)] {
            for text in texts {
                assert_eq!(format::matches(format, text), expected, "{format} {text}");
            }
        }
        assert!(is_known_format(format, Kind::String), "{format}");
    }
    check("ipv4", &["10.0.0.1", "010.0.0.1"], &["", "::1", "10.0.0", "1.2.3.256"]);
    check("ipv6", &["::1", "fe80::1"], &["10.0.0.1", "x"]);
    check("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "x/1"]);
    check(
        "mac",
        &["01:23:45:67:89:ab", "01-23-45-67-89-ab", "0123.4567.89ab"],
        &["01:23", "01:23:45:67:89:zz"],
    );
    check("date", &["2026-01-31"], &["2026-02-30", "26-1-1", "2026-01-31T00:00:00Z"]);
    check(
        "date-time",
        &["2026-01-31T10:00:00Z", "2026-01-31t10:00:00.5+01:00"],
        &["2026-01-31", "2026-01-31T25:00:00Z"],
    );
    check("duration", &["1h30m", "22 ns", "3 days", "0", "-1.5s"], &["", "x", "5"]);
    check("email", &["a@b.c", "A B <a@b.c>"], &["", "a", "@b", "a@"]);
    check("uri", &["https://a.b/c?d", "/a", "mailto:a@b.c"], &["", "a.b", "http://a b/", "://x"]);
    check("hostname", &["a.example.com", "a"], &["", "-a.com", "a..com"]);
    check("uuid", &["123e4567-e89b-12d3-a456-426614174000"], &["123"]);
    check("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]);
    check("byte", &["YWJj", "YQ=="], &["YWJ", "%%%%"]);
    check("isbn", &["0321751043", "978-0321751041"], &["1", "0321751044"]);
    check("creditcard", &["4111 1111 1111 1111"], &["4111 1111 1111 1112"]);
    check("ssn", &["111-11-1111"], &["111111111"]);
    check("hexcolor", &["#FFFFFF", "fff"], &["#ggg"]);
    check("rgbcolor", &["rgb(255,255,2)"], &["rgb(256,0,0)"]);
    check("bsonobjectid", &["507f1f77bcf86cd799439011"], &["x"]);
    check("k8s-short-name", &["a-b"], &["a.b", "A"]);
    check("k8s-long-name", &["a.b-c"], &["a..b"]);
    check("password", &["", "x"], &[]);
    // What is not one counts for nothing, and neither does one of another type.
    values(json!({"type": "string", "format": "novel"}), json!("x"), &[]);
    values(json!({"type": "integer", "format": "ipv4"}), json!(1), &[]);
    values(
        json!({"type": "string", "format": "ipv4"}),
        json!("x"),
        &["spec: Invalid value: \"x\": spec in body must be of type ipv4: \"x\""],
    );
    values(
        json!({"type": "integer", "format": "int32"}),
        json!(1_i64 << 40),
        &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec"],
    );
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    #[track_caller]
    fn check(pattern: &str, good: &[&str], bad: &[&str]) {
        assert_eq!(pattern_error(pattern), None, "{pattern}");
        let pattern = Pattern::new(pattern);
        good.iter().for_each(|text| assert!(pattern.is_match(text), "{pattern:?} {text}"));
        bad.iter().for_each(|text| assert!(!pattern.is_match(text), "{pattern:?} {text}"));
    }
    check(r"^\d+$", &["12"], &["١٢", ""]);
    check(r"^[\d\-]+$", &["1-2"], &["a"]);
    check(r"^\w+$", &["a_1"], &["é"]);
    check(r"^[^\s]+$", &["a", "\u{a0}"], &["a b"]);
    check(r"^[[]$", &["["], &["]"]);
    check(r"^[[:alpha:]]+$", &["ab"], &["1"]);
    check(r"^[]a]+$", &["]a"], &["b"]);
    check(r"^a{2,3}$", &["aa"], &["a"]);
    check(r"^a{,3}$", &["a{,3}"], &["aa"]);
    check(r"^\Qa.b\E$", &["a.b"], &["axb"]);
    check(r"^[a&&b]$", &["&", "a"], &["c"]);
    check(r"\bfoo\b", &["a foo b"], &["afoob"]);
    check(r"^(?i)abc$", &["ABC"], &["abd"]);
    check(r"^\<a\>$", &["<a>"], &["a"]);
    check(r"^[\<\>]$", &["<", ">"], &["a"]);
    check(r"^\p{Greek}\x{4A}$", &["λJ"], &["lJ", "λj"]);
    check(r"^a}\Q{1}\E{2}$", &["a}{1}}"], &["a}{1}"]);
    check(r"^.{1,1000}$", &["é"], &[""]);
    check(r"a\Bb", &["éabé"], &["aé"]);
    check(r"\Bé\B", &["é"], &["xé"]);
    check(r"^a\b{start}", &["a{start}"], &["a"]);
    check(r"^a{01}$", &["a{01}"], &["a"]);
    check(r"^(?i-s:a)(?U)b+?(?:c)$", &["Abbc"], &["aBc"]);
    check(r"^(?P<name>a)(?<other>b)??$", &["a", "ab"], &["b"]);
    for (bad, why) in [
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?<=a)", "invalid or unsupported Perl syntax: `(?<`"),
        ("(a", "missing closing ): `(a`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*a`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{0,99999999999999999999}", "invalid repeat count: `{0,99999999999999999999}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("(a{40}){40}", "invalid repeat count: `{40}`"),
        ("((a{10,}){0,10}|b){11}", "invalid repeat count: `{11}`"),
        ("(?ix)a", "invalid or unsupported Perl syntax: `(?ix`"),
        ("(?i-u:a)", "invalid or unsupported Perl syntax: `(?i-u`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a+?{2}?b", "invalid nested repetition operator: `+?{2}?`"),
    ] {
        assert_eq!(pattern_error(bad), Some(format!("error parsing regexp: {why}")), "{bad}");
    }
    assert!(pattern_error("(((a{1000}){1000}){1000})").is_some(), "it would take all memory");
    assert!(pattern_error(&"a".repeat(5000)).is_some(), "it is too long");
}

/// The most memory that this process had at once, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kilobytes * 1024
}

#[test]
fn a_match_takes_no_more_memory_than_its_pattern() {
    // Where each of these groups matched would take 1.5 GB.
    let groups = vec!["(a)"; 4000].join("|");
    let regex = Regex::new(&groups).expect("a pattern");
    let before = most_memory();
    assert!(!regex.is_match("b") && regex.is_match("xa"));
    assert!(most_memory() - before < 256 << 20);
}

#[test]
fn patterns_that_take_long_to_compile_are_refused_before() {
    for good in ["(?i)[a-z]+é", "(?i:\\pL)\\pN", "[ -\u{10ffff}]\\pL\\pM\\pN", "(?i)[^x]"] {
        assert!(Regex::new(good).is_ok(), "{good}");
    }
    for bad in ["(?i)[ -\u{10ffff}]", "(?i:a)\\pL\\pM\\pN", "a(?s-m:(?i)b[\\pL\\PL\\pN])"] {
        let why = Regex::new(bad).expect_err(bad);
        assert_eq!(why, format!("error parsing regexp: expression too large: `{bad}`"));
        assert_eq!(super::syntax_error(bad), Some(why));
    }
    // What fails since it is too large takes its part of what there is, too.
    let mut room = super::PatternRoom::default();
    for letter in "abcdefgh".chars() {
        assert!(room.compiled("x").is_ok());
        let bad = format!("\\pL{{1000}}{letter}");
        assert!(room.compiled(&bad).expect_err("too large").contains("expression too large"));
    }
    assert!(room.compiled("x").is_err());
}

#[test]
fn it_is_told_how_far_all_matches_may_be_looked_for() {
    let looked = |pattern: &str, text: &str| {
        let (mut bytes, mut found) = (0, 0);
        let each = |_| {
            found += 1;
            true
        };
        let ask = |length: usize| {
            bytes += length;
            if bytes > 1 << 20 { Err(()) } else { Ok(()) }
        };
        let outcome = Regex::new(pattern).expect("a pattern").find_all(text, ask, each);
        (outcome, bytes, found)
    };
    let text = "a".repeat(1000);
    assert_eq!(looked("a", &text), (Ok(()), 1000 + 1000, 1000));
    assert_eq!(looked("[ab]{3}", &text), (Ok(()), 1000 + 333 * 3 + 1, 333));
    // Each time the `b` is looked for up to the end.
    assert_eq!(looked("a*b|a", &text), (Ok(()), 1000 * 1001 / 2, 1000));
    let (outcome, _, found) = looked("a*b|a", &"a".repeat(100_000));
    assert!(outcome.is_err() && found < 20);
    assert_eq!(looked("a", "").2, 0);
}

#[test]
fn all_patterns_of_a_definition_share_what_they_may_take() {
    let mut room = PatternRoom::default();
    let schema = |from: usize| {
        let fields = (from..from + 10)
            .map(|n| (format!("f{n}"), json!({"type": "string", "pattern": format!("^{n}.{{1,900}}$")})));
        json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()})
    };
    let root = Path::root("s");
    assert_eq!(rules::structural(&schema(0), &mut room, &root), []);
    let refused = (1..20).find_map(|n| rules::structural(&schema(n * 10), &mut room, &root).pop());
    let refused = refused.expect("there is no more room").to_string();
    assert!(refused.contains("expression too large"), "{refused}");
    // What was refused there is a pattern by itself.
    assert_eq!(rules::structural(&schema(190), &mut PatternRoom::default(), &root), []);
}

#[test]
fn defaults_fill_a_document_so_far_and_no_further() {
    let default = "x".repeat(100_000);
    let item = json!({"type": "object", "properties": {"d": {"type": "string", "default": default}}});
    let schema = of_spec(json!({"type": "object", "properties": {
        "list": {"type": "array", "items": item},
        "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": false, "default": default}},
    }}));
    let fill = |spec: Value| {
        let mut fields = json!({"spec": spec});
        schema.fill_in(fields.as_object_mut().expect("an object"))
    };
    assert_eq!(fill(json!({"list": vec![json!({}); 100]})), Ok(()));
    assert_eq!(fill(json!({"list": vec![json!({}); 100_000]})).ok(), None);
    let nulls = |count: usize| (0..count).map(|n| (n.to_string(), Value::Null)).collect::<Value>();
    assert_eq!(fill(json!({"map": nulls(100)})), Ok(()));
    assert_eq!(fill(json!({"map": nulls(10_000)})).ok(), None);
    // What is small is counted by what it takes beside its text.
    let small = of_spec(json!({"type": "array", "items": {"type": "object", "properties": {
        "a": {"type": "boolean", "default": true}, "b": {"type": "boolean", "default": true}}}}));
    let mut fields = json!({"spec": vec![json!({}); 1_000_000]});
    assert!(small.fill_in(fields.as_object_mut().expect("an object")).is_err());
}

#[test]
fn so_many_errors_are_told_and_no_more() {
    let many = || (0..2 * MOST).map(|n| (format!("f{n}"), json!({"a": 1}))).collect::<Value>();
    let list = || Value::Array((0..MOST * 3).map(|n| json!([n / 2, n / 2])).collect());
    let count = |spec: Value, given: Value| {
        let (schema, document) = (of_spec(spec), json!({"spec": given}));
        let mut errors = Errors::new();
        validate::values(&schema, &document, None, None, &mut errors);
        validate::sets_and_maps(&schema, &document, &mut errors);
        validate::embedded_objects(&schema, &document, &mut errors);
        errors.len()
    };
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let few = MOST..MOST + 8;
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}});
    let all = json!({"allOf": vec![json!({"properties": {"x": {}}, "required": ["x"], "minProperties": 9999}); 600]});
    for (spec, given) in [
        (json!({"type": "object", "additionalProperties": {"type": "string"}}), many()),
        (json!({"type": "object", "additionalProperties": false}), many()),
        (json!({"type": "object", "additionalProperties": embedded}), many()),
        (json!({"type": "array", "items": set}), list()),
        (all, json!({})),
    ] {
        let found = count(spec.clone(), given);
        assert!(few.contains(&found), "{spec} {found}");
    }
    let fields = (0..MOST * 2).map(|n| (format!("f{n}"), json!({})));
    let schema = json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()});
    let found = rules::structural(&schema, &mut PatternRoom::default(), &Path::root("s")).len();
    assert!(few.contains(&found), "{found}");
}

#[test]
fn what_is_wrong_with_an_alternative_is_written_where_it_is_told() {
    // Each level doubles what is tried; what is told is one path through them.
    let mut schema = json!({"required": ["missing"]});
    for _ in 0..12 {
        schema = json!({"anyOf": [{"oneOf": [schema.clone(), {"required": ["missing"]}]}, {"not": {"not": schema}}]});
    }
    let read = of_spec(schema);
    let mut errors = Errors::new();
    validate::values(&read, &json!({"spec": {}}), None, None, &mut errors);
    assert!(errors.len() <= 2 * 12 + 1, "{}", errors.len());
}

#[test]
fn apply_goes_by_the_types() {
    let kind = GroupVersionKind::new("g", "v1", "K");
    let structural = std::sync::Arc::new(read(
        &json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
                              "v": {"type": "integer"}}}},
            "list": {"type": "array", "items": {"type": "string"}},
            "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        }}}}),
    ));
    let schema = types::schema(&kind, structural);
    let object = |spec: Value, manager: &str, live: Option<&crate::Object>| {
        let applied =
            crate::Object::from_value(json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"},
                                                       "spec": spec}))
            .expect("an object");
        let now = crate::time::parse("2026-01-01T00:00:00Z").expect("a moment");
        let manager = apply::Manager { name: manager, subresource: "", ignored: &[], now };
        apply::apply(&schema, live, &applied, manager, false, &apply::Versions::default())
    };
    let first = object(
        json!({"map": [{"name": "a", "v": 1}], "list": ["x"], "one": {"k": "1"}, "any": {"deep": {"x": 1}}}),
        "one",
        None,
    )
    .expect("new");
    let second =
        object(json!({"map": [{"name": "b", "v": 2}], "any": {"deep": {"y": 2}}}), "two", Some(&first));
    let second = second.expect("no conflict");
    assert_eq!(second.get(&["spec", "map"]), Some(&json!([{"name": "a", "v": 1}, {"name": "b", "v": 2}])));
    assert_eq!(second.get(&["spec", "any"]), Some(&json!({"deep": {"x": 1, "y": 2}})));
    for spec in [json!({"list": ["y"]}), json!({"one": {"l": "2"}}), json!({"map": [{"name": "a", "v": 3}]})]
    {
        assert!(matches!(object(spec, "three", Some(&second)), Err(apply::ApplyError::Conflict { .. })));
    }
    // What one no longer applies goes.
    let third = object(json!({"list": ["x"]}), "one", Some(&second)).expect("no conflict");
    assert_eq!(third.get(&["spec", "map"]), Some(&json!([{"name": "b", "v": 2}])));
}
