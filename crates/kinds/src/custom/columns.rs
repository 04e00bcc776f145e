//! How objects of a custom kind are shown: columns by JSONPath.

use apiserver::table::{Column, Columns, NAME, since};
use base::Timestamp;
use model::Object;
use model::json_path::{JsonPath, print};
use model::validate::text;
use serde_json::Value;

/// The columns that a definition names, after the name; without any, the age.
pub(super) fn columns(defined: &[Value]) -> Columns {
    let age = serde_json::json!({
        "name": "Age",
        "type": "date",
        "jsonPath": ".metadata.creationTimestamp",
        "description": "How long ago it was created.",
    });
    let defined = if defined.is_empty() { std::slice::from_ref(&age) } else { defined };
    let mut columns = vec![NAME];
    let mut paths: Vec<(&'static str, JsonPath)> = Vec::new();
    for column in defined {
        // One that cannot be read ends them, as in Kubernetes.
        let Ok(path) = text(column, "jsonPath").parse() else { break };
        let kind = word(text(column, "type"));
        let description = match text(column, "description") {
            "" => format!(
                "Custom resource definition column (in JSONPath format): {}",
                text(column, "jsonPath")
            ),
            said => said.to_owned(),
        };
        columns.push(Column {
            name: text(column, "name").to_owned().into(),
            kind,
            format: word(text(column, "format")),
            priority: column
                .get("priority")
                .and_then(Value::as_i64)
                .and_then(|p| i32::try_from(p).ok())
                .unwrap_or(0),
            description: description.into(),
        });
        paths.push((kind, path));
    }
    Columns::new(columns, move |object: &Object, now: Timestamp| {
        let mut left = LOOKED_AT;
        let cells =
            paths.iter().map(|(kind, path)| match path.find_among(object.value(), &mut left).first() {
                Some(value) => cell(kind, value, now),
                None => Value::Null,
            });
        std::iter::once(object.name().into()).chain(cells).collect()
    })
}

/// No more values are looked at for all columns of a row; those that come after are empty.
const LOOKED_AT: usize = 1 << 16;

/// Types and formats that columns may have.
pub(crate) const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
pub(crate) const FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn word(text: &str) -> &'static str {
    TYPES.into_iter().chain(FORMATS).find(|known| *known == text).unwrap_or_default()
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::Null) => "<nil>".into(),
        ("string", value) => print(value).into(),
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) => (float as i64).into(),
            (None, None) => Value::Null,
        },
        ("number", value @ Value::Number(_)) | ("boolean", value @ Value::Bool(_)) => value.clone(),
        ("date", Value::String(at)) => match model::time::parse(at) {
            Some(at) => since(Some(at), now).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_what_paths_lead_to_in_the_type_of_the_column() {
        let object = Object::from_value(json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"n": 3, "f": 1.5, "s": "text", "on": true, "list": [1, 2], "bad": "yesterday"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("an object");
        let now = model::time::parse("2026-01-01T00:05:00Z").expect("a moment");
        let check = |kind: &str, path: &str, expected: Value| {
            let columns = columns(&[json!({"name": "C", "type": kind, "jsonPath": path, "priority": 1})]);
            assert_eq!(columns.columns()[1].priority, 1);
            assert_eq!(columns.cells(&object, now), [json!("a"), expected], "{kind} {path}");
        };
        check("integer", ".spec.n", json!(3));
        check("integer", ".spec.f", json!(1));
        check("integer", ".spec.s", Value::Null);
        check("number", ".spec.f", json!(1.5));
        check("string", ".spec.n", json!("3"));
        check("string", ".spec.list", json!("[1,2]"));
        check("string", ".spec.missing", Value::Null);
        check("boolean", ".spec.on", json!(true));
        check("date", ".metadata.creationTimestamp", json!("5m"));
        check("date", ".spec.bad", json!("<invalid>"));
        check("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("True"));
        let wide =
            json!({"metadata": {"name": "a"}, "spec": {"list": vec![json!({}); LOOKED_AT / 4], "n": 3}});
        let wide = Object::from_value(wide).expect("an object");
        let costly = json!({"name": "C", "type": "string", "jsonPath": ".spec.list[?(@.x==1)].y"});
        let cheap = json!({"name": "N", "type": "integer", "jsonPath": ".spec.n"});
        let row = columns(&[vec![cheap.clone(), costly.clone()], vec![costly; 8], vec![cheap]].concat())
            .cells(&wide, now);
        assert_eq!((&row[1], row.last()), (&json!(3), Some(&Value::Null)));
        assert_eq!(columns(&[]).cells(&object, now), [json!("a"), json!("5m")]);
    }
}
