//! Expressions and what they come to, cost, and are refused for.

mod costs;
mod hostile;
mod language;
mod libraries;
mod typed;

use serde_json::Value as Json;

use crate::{Budget, Environment, EvalError, PER_CALL_LIMIT, Type, Value};

/// What an expression without variables comes to, as text; what it fails with after `!`.
fn text(expression: &str) -> String {
    let environment = Environment::new().with_mutation();
    let checked = match environment.compile(expression) {
        Ok(checked) => checked,
        Err(issues) => return format!("?{}", issues.messages().collect::<Vec<_>>().join("; ")),
    };
    let program = match checked.program() {
        Ok(program) => program,
        Err(error) => return format!("#{error}"),
    };
    let mut budget = Budget::new(PER_CALL_LIMIT);
    match program.evaluate(&[], &mut budget) {
        Ok(value) => shown(&value),
        Err(error) => format!("!{error}"),
    }
}

fn shown(value: &Value<'_>) -> String {
    let mut budget = Budget::new(u64::MAX);
    match value {
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(|part| shown(&part.expect("an element"))).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries();
            let parts = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", shown(key), shown(&value.clone().expect("a value"))));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("{:?}", &**text),
        Value::Uint(number) => format!("{number}u"),
        Value::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
        Value::Optional(None) => "none".to_owned(),
        Value::Optional(Some(value)) => format!("some({})", shown(value)),
        Value::Object(_) => value.to_json(&mut budget).expect("an object is JSON").to_string(),
        other => other.to_string(),
    }
}

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(expression, expected)| {
            let found = text(expression);
            (found != *expected).then(|| format!("{expression}\n  wanted {expected}\n  found  {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What an expression about data comes to, and what it cost.
fn with_data(expression: &str, data: &Json) -> (Result<String, EvalError>, u64) {
    let environment = Environment::new().with_variable("object", Type::Dyn);
    let program = environment
        .compile(expression)
        .unwrap_or_else(|issues| panic!("{expression}: {issues}"))
        .program()
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut budget = Budget::new(PER_CALL_LIMIT);
    let value = Value::from_json(data, None).expect("plain data");
    let result = program.evaluate(&[value], &mut budget).map(|value| shown(&value));
    (result, budget.cost())
}
