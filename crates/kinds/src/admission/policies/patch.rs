//! What a policy makes of an object.

use cel::{Budget, EvalError, Value as CelValue};
use model::Object;
use model::merge::apply::overlay;
use model::merge::json_patch::{self, JsonPatchError};
use model::schema::Schema;
use serde_json::{Map, Value};

use super::compiled::Form;

/// How many changes one list of them may have, as in Kubernetes.
const MOST_CHANGES: usize = 10_000;

/// What a text of a change takes besides its bytes.
const EACH: usize = 64;

/// The object that comes of what an expression came to; `work` is what is left of it. None where a change says that
/// there is nothing to be changed.
pub(super) fn patched(
    form: Form,
    value: &CelValue<'_>,
    object: &Object,
    schema: &Schema,
    work: &mut u64,
) -> Result<Option<Value>, String> {
    let mut budget = Budget::going_on(u64::MAX, *work);
    let made = match form {
        Form::ApplyConfiguration => configuration(value, object, &mut budget),
        Form::JsonPatch => changes(value, &mut budget),
    };
    *work = budget.work_left();
    let made = made?;
    match form {
        Form::ApplyConfiguration => {
            let merged = overlay(schema, object.value(), &made);
            merged.map(Some).map_err(|error| format!("error applying patch: {error}"))
        }
        Form::JsonPatch => match json_patch::apply(object.value(), &made) {
            Ok(patched) => Ok(Some(patched)),
            // One that asks whether something is so, and is told that it is not, changes nothing.
            Err(JsonPatchError::TestFailed(_)) => Ok(None),
            Err(error) => Err(format!("JSON Patch: {error}")),
        },
    }
}

fn configuration(value: &CelValue<'_>, object: &Object, budget: &mut Budget) -> Result<Value, String> {
    names(value, budget)?;
    let mut made = json(value, budget).map_err(|error| format!("invalid return type: {error}"))?;
    let Some(fields) = made.as_object_mut() else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    fields.insert("apiVersion".to_owned(), object.api_version().into());
    fields.insert("kind".to_owned(), object.kind().into());
    Ok(made)
}

fn changes(value: &CelValue<'_>, budget: &mut Budget) -> Result<Value, String> {
    let told = |error: EvalError| error.to_string();
    let Some(elements) = value.elements() else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let elements = elements.map_err(told)?;
    if elements.len() > MOST_CHANGES {
        return Err(format!("a JSON patch may have {MOST_CHANGES} operations, not {}", elements.len()));
    }
    let mut all = Vec::with_capacity(elements.len());
    for element in &elements {
        let text = |name: &str| element.made_field(name).and_then(CelValue::as_str).unwrap_or_default();
        let mut change = Map::new();
        for name in ["op", "path", "from"] {
            let text = text(name);
            if name != "from" || !text.is_empty() {
                // What expressions share is copied for each.
                budget.take(text.len() + EACH).map_err(told)?;
                change.insert(name.to_owned(), text.into());
            }
        }
        if let Some(value) = element.made_field("value") {
            names(value, budget)?;
            let value = json(value, budget).map_err(|error| {
                format!(
                    "JSON Patch valueExpression evaluated to a type that could not marshal to JSON: {error}"
                )
            })?;
            change.insert("value".to_owned(), value);
        }
        all.push(Value::Object(change));
    }
    Ok(Value::Array(all))
}

fn names(value: &CelValue<'_>, budget: &mut Budget) -> Result<(), String> {
    let wrong = value.misnamed(budget).map_err(|error| error.to_string())?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", wrong.join("\n"))) }
}

fn json(value: &CelValue<'_>, budget: &mut Budget) -> Result<Value, EvalError> {
    value.to_json(budget)
}

#[cfg(test)]
mod tests {
    use model::GroupVersionKind;
    use serde_json::json;

    use super::super::expressions::{Compiler, Purpose};
    use super::*;

    #[track_caller]
    fn check(form: Form, source: &str, spec: Value, expected: Result<Option<Value>, &str>) {
        let purpose = match form {
            Form::ApplyConfiguration => Purpose::ApplyConfiguration,
            Form::JsonPatch => Purpose::JsonPatch,
        };
        let program =
            Compiler::new(false).compile(purpose, source).unwrap_or_else(|why| panic!("{source}: {why}"));
        let object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
        let object = Object::from_value(object).expect("an object");
        let schema =
            model::schema::builtin(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("it is known");
        let mut budget = Budget::new(1_000_000);
        let plain = || CelValue::from_json(object.value(), None).expect("plain data");
        let variables: [CelValue<'_>; 7] = std::array::from_fn(|_| plain());
        let value = program.evaluate(&variables, &mut budget).expect(source);
        let mut work = budget.work_left();
        let outcome = patched(form, &value, &object, &schema, &mut work);
        let outcome = outcome.map(|made| made.map(|made| made["spec"].clone()));
        assert_eq!(
            outcome.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|why| *why),
            "{source}"
        );
    }

    #[test]
    fn configurations_are_merged() {
        let apply = |source: &str, spec: Value, expected: Result<Value, &str>| {
            check(Form::ApplyConfiguration, source, spec, expected.map(Some));
        };
        apply(
            "Object{spec: Object.spec{replicas: object.spec.replicas % 2 == 0 ? object.spec.replicas + 1 : 7}}",
            json!({"replicas": 2, "paused": true}),
            Ok(json!({"replicas": 3, "paused": true})),
        );
        apply(
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
                volumes: [Object.spec.template.spec.volumes{name: 'y'}]}}}}",
            json!({"template": {"spec": {"volumes": [{"name": "x"}]}}}),
            Ok(json!({"template": {"spec": {"volumes": [{"name": "x"}, {"name": "y"}]}}})),
        );
        apply(
            "Object{spec: Object.spec{?paused: optional.none(), minReadySeconds: 5}}",
            json!({}),
            Ok(json!({"minReadySeconds": 5})),
        );
        apply(
            "Object{spec: Object.specx{replicas: 1}}",
            json!({}),
            Err(
                "type mismatch: unexpected type name \"Object.specx\", expected \"Object.spec\", which matches field \
                 name path from root Object type",
            ),
        );
        apply(
            "Object{spec: Object.spec{replicasx: 1}}",
            json!({}),
            Err(
                "error applying patch: failed to convert patch object to typed object: .spec.replicasx: field not \
                 declared in schema",
            ),
        );
        apply(
            "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'l': 'v'}}}}",
            json!({}),
            Err(
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: \
                 .spec.selector",
            ),
        );
        // The kind is that of the object, whatever it says.
        apply("Object{kind: 'Pod', spec: Object.spec{replicas: 1}}", json!({}), Ok(json!({"replicas": 1})));
    }

    #[test]
    fn paths_that_are_shared_are_paid_for_each_time() {
        let source = "[1, 2, 3].map(i, JSONPatch{op: 'test', path: object.path, from: object.path})";
        let program = Compiler::new(false).compile(Purpose::JsonPatch, source).expect("a good one");
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "path": "/".repeat(1000)});
        let object = Object::from_value(value).expect("an object");
        let plain = || CelValue::from_json(object.value(), None).expect("plain data");
        let variables: [CelValue<'_>; 7] = std::array::from_fn(|_| plain());
        let value = program.evaluate(&variables, &mut Budget::new(1_000_000)).expect(source);
        let made = |work: u64| changes(&value, &mut Budget::going_on(u64::MAX, work));
        assert_eq!(made(7000).map(|all| all.as_array().map(Vec::len)), Ok(Some(3)));
        assert_eq!(made(6000), Err(EvalError::Cancelled.to_string()));
    }

    #[test]
    fn changes_are_made_in_their_order() {
        let patch = |source: &str, spec: Value, expected: Result<Option<Value>, &str>| {
            check(Form::JsonPatch, source, spec, expected);
        };
        patch(
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1},
              JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}]",
            json!({"replicas": 1}),
            Ok(Some(json!({"replicas": 3}))),
        );
        patch(
            "[JSONPatch{op: 'replace', path: '/spec/replicas', value: 3},
              JSONPatch{op: 'test', path: '/spec/replicas', value: 1}]",
            json!({"replicas": 1}),
            Ok(None),
        );
        patch(
            "[JSONPatch{op: 'copy', from: '/spec/a', path: '/spec/b'}, JSONPatch{op: 'remove', path: '/spec/a'}]",
            json!({"a": 1}),
            Ok(Some(json!({"b": 1}))),
        );
        patch(
            "[JSONPatch{op: 'add', path: '/spec/' + jsonpatch.escapeKey('x/y~z'), value: {'k': [1, 2]}}]",
            json!({}),
            Ok(Some(json!({"x/y~z": {"k": [1, 2]}}))),
        );
        patch(
            "[JSONPatch{op: 'add', path: '/spec/template', value: Object.spec.template{spec:
                Object.spec.template.spec{replicas: 10}}}]",
            json!({}),
            Ok(Some(json!({"template": {"spec": {"replicas": 10}}}))),
        );
        patch(
            "[JSONPatch{op: 'add', path: '/spec/t', value: Object.spec{a: Object.x{}}}]",
            json!({}),
            Err(
                "type mismatch: unexpected type name \"Object.x\", expected \"Object.spec.a\", which matches field \
                 name path from root Object type",
            ),
        );
        patch(
            "[JSONPatch{op: 'replace', path: '/spec/a', value: 1}]",
            json!({}),
            Err(
                "JSON Patch: replace operation does not apply: doc is missing path: \"/spec/a\": missing value",
            ),
        );
        patch("[JSONPatch{path: '/a'}]", json!({}), Err("JSON Patch: Unexpected kind: "));
        patch(
            "[JSONPatch{op: 'add', path: '/spec/a', value: type(1)}]",
            json!({}),
            Err(
                "JSON Patch valueExpression evaluated to a type that could not marshal to JSON: a value of type \
                 'type' is no JSON",
            ),
        );
    }
}
