//! Schemas of kinds that objects define, with documents that they are asked of, and paths into those.

use model::field::Path;
use model::json_path::JsonPath;
use model::structural::{PatternRoom, Structural, decode, rules, types, validate};
use model::{GroupVersionKind, Schema};
use serde_json::Value;

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "schema",
    shape: Shape::Json,
    examples,
    words: &[
        "\"type\":\"object\"",
        "\"type\":\"array\"",
        "\"properties\":",
        "\"additionalProperties\":",
        "\"items\":",
        "\"allOf\":",
        "\"anyOf\":",
        "\"oneOf\":",
        "\"not\":",
        "\"default\":",
        "\"nullable\":true",
        "\"pattern\":",
        "\"format\":",
        "\"enum\":",
        "\"required\":",
        "\"x-kubernetes-embedded-resource\":true",
        "\"x-kubernetes-int-or-string\":true",
        "\"x-kubernetes-list-map-keys\":",
        "\"x-kubernetes-list-type\":\"map\"",
        "\"x-kubernetes-preserve-unknown-fields\":true",
        "[?(@.",
        "..",
    ],
    read,
    turns: 1500,
};

fn read(text: &[u8]) -> bool {
    let Ok(Value::Object(input)) = serde_json::from_slice::<Value>(text) else { return false };
    let (Some(schema), Some(document)) = (input.get("schema"), input.get("document")) else { return false };
    if model::depth::check(schema).is_err() || model::depth::check(document).is_err() {
        return false;
    }
    if let Some(path) = input.get("path").and_then(Value::as_str)
        && let Ok(path) = path.parse::<JsonPath>()
    {
        path.find(document);
    }
    let root = Path::root("schema");
    let is_structural = rules::structural(schema, &mut PatternRoom::default(), &root).is_empty();
    rules::defaults(schema, true, &root, &mut Vec::new());
    let Ok(read) = Structural::parse(schema) else { return false };
    let kind = GroupVersionKind::new("g", "v1", "K");
    let schema: Schema = types::schema(&kind, std::sync::Arc::new(read));
    let structural = schema.structural().expect("it was made of one").clone();
    let Ok(decoded) = model::decode::value(&schema, document.clone()) else { return is_structural };
    let mut object = decoded.object;
    if structural.fill_in(object.fields_mut()).is_err() {
        return is_structural;
    }
    // What was pruned and filled in once is as it is to be.
    let again = model::decode::value(&schema, object.value().clone()).expect("it was one before").object;
    if is_structural {
        let mut filled = again.clone();
        let done = structural.fill_in(filled.fields_mut());
        let mut twice = model::decode::value(&schema, filled.value().clone()).expect("one").object;
        let again = structural.fill_in(twice.fields_mut());
        assert!(done.is_err() || again.is_err() || filled == twice, "it settles");
    }
    let mut errors = Vec::new();
    validate::values(&structural, again.value(), None, None, &mut errors);
    validate::embedded_objects(&structural, again.value(), &mut errors);
    validate::sets_and_maps(&structural, again.value(), &mut errors);
    // What is wrong already may stay as it is.
    let mut kept = Vec::new();
    validate::values(&structural, again.value(), Some(again.value()), None, &mut kept);
    assert!(kept.is_empty(), "{kept:?}");
    let mut value = again.into_value();
    assert!(!decode::prune(&structural, &mut value, true), "it was pruned");
    is_structural
}

fn examples() -> Vec<Vec<u8>> {
    [
        r#"{"schema":{"type":"object","properties":{"spec":{"type":"object","required":["a"],"properties":{
           "a":{"type":"string","pattern":"^[a-z]+$","maxLength":5,"default":"x"},
           "n":{"type":"integer","minimum":1,"maximum":5,"multipleOf":2,"format":"int32"},
           "e":{"type":"string","enum":["x","y"]},"u":{"type":"string","format":"uri","nullable":true}}}}},
           "document":{"apiVersion":"g/v1","kind":"K","metadata":{"name":"a"},"spec":{"a":"abc","n":2,"odd":1}},
           "path":".spec['a']"}"#,
        r#"{"schema":{"type":"object","properties":{"l":{"type":"array","x-kubernetes-list-type":"map",
           "x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{
           "k":{"type":"string"},"v":{"x-kubernetes-int-or-string":true}}}},"s":{"type":"array",
           "x-kubernetes-list-type":"set","items":{"type":"number"}}}},
           "document":{"apiVersion":"g/v1","kind":"K","l":[{"k":"a","v":1},{"k":"b","v":"5%"}],"s":[1,2.5]},
           "path":".l[?(@.k==\"a\")].v"}"#,
        r#"{"schema":{"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,
           "x-kubernetes-preserve-unknown-fields":true},"m":{"type":"object","additionalProperties":{"type":"object",
           "properties":{"x":{"type":"boolean","default":true}}}}}},
           "document":{"apiVersion":"g/v1","kind":"K","t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},
           "more":{"deep":[1]}},"m":{"a":{"odd":1},"b":{}}},"path":"..name"}"#,
        r#"{"schema":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},
           "oneOf":[{"required":["a"]},{"required":["b"],"properties":{"b":{"minimum":3}}}],
           "not":{"properties":{"a":{"enum":["no"]}},"required":["a"]}},
           "document":{"apiVersion":"g/v1","kind":"K","b":4},"path":".b"}"#,
    ]
    .iter()
    .map(|example| example.as_bytes().to_vec())
    .collect()
}
