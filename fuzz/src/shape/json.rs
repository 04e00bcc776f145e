//! JSON: values are removed, doubled, exchanged, wrapped.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// What comes of that many changes in a row is still short.
const LONGEST: usize = 256 << 10;

pub(super) fn change(input: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(input).ok()?;
    let places = count(&document);
    let taken =
        serde_json::from_slice(if rng.bool() { other } else { input }).ok().and_then(|mut from: Value| {
            let nth = rng.usize(..count(&from));
            nth_of(&mut from, nth).map(std::mem::take)
        });
    let place = nth_of(&mut document, rng.usize(..places))?;
    match rng.u8(..8) {
        0 => *place = scalar(rng),
        1 => *place = taken?,
        2 => {
            let inside = std::mem::take(place);
            *place = if rng.bool() { json!([inside]) } else { json!({ name(rng): inside }) };
        }
        // Deep.
        3 => {
            for _ in 0..rng.usize(..200) {
                let inside = std::mem::take(place);
                *place = json!([inside]);
            }
        }
        _ => match place {
            Value::Array(items) => {
                let at = rng.usize(..=items.len());
                match rng.u8(..4) {
                    0 if at < items.len() => drop(items.remove(at)),
                    1 if at < items.len() => {
                        let item = items[at].clone();
                        for _ in 0..rng.usize(1..20) {
                            items.insert(at, item.clone());
                        }
                    }
                    2 => rng.shuffle(items),
                    _ => items.insert(at, taken.unwrap_or_else(|| scalar(rng))),
                }
            }
            Value::Object(fields) => {
                let names: Vec<String> = fields.keys().cloned().collect();
                let one = (!names.is_empty()).then(|| names[rng.usize(..names.len())].clone());
                match (rng.u8(..4), one) {
                    (0, Some(one)) => drop(fields.shift_remove(&one)),
                    (1, Some(one)) => {
                        let value = fields.shift_remove(&one)?;
                        fields.insert(name(rng), value);
                    }
                    (2, Some(one)) => *fields = only(fields, &one),
                    (_, one) => {
                        let place = one.filter(|_| rng.bool()).unwrap_or_else(|| name(rng));
                        fields.insert(place, taken.unwrap_or_else(|| scalar(rng)));
                    }
                }
            }
            Value::String(text) => change_text(text, rng),
            other => *other = scalar(rng),
        },
    }
    let bytes = serde_json::to_vec(&document).ok()?;
    (bytes.len() <= LONGEST).then_some(bytes)
}

fn only(fields: &Map<String, Value>, name: &str) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(known, _)| *known == name)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn change_text(text: &mut String, rng: &mut Rng) {
    let at =
        text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(rng.usize(..=text.chars().count()));
    let at = at.unwrap_or_default();
    match rng.u8(..5) {
        0 => text.truncate(at),
        1 => text.insert(at, rng.char(..)),
        2 => text
            .insert_str(at, ["/", "~1", "~", "..", ":", "-", "\u{0}", "é", "%", "e9", " "][rng.usize(..11)]),
        3 => *text = text.repeat(rng.usize(..12)),
        _ => {
            text.insert(at, rng.char('!'..='~'));
        }
    }
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..7) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => json!(super::number(rng)),
        3 => json!(super::number(rng).cast_signed()),
        4 => json!([0.5, -0.0, 1e308, 5e-324, -1.5e10][rng.usize(..5)]),
        5 => json!(name(rng)),
        _ => [json!({}), json!([])][rng.usize(..2)].clone(),
    }
}

fn name(rng: &mut Rng) -> String {
    (0..rng.usize(..6)).map(|_| rng.char('+'..='z')).collect()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn nth_of(value: &mut Value, nth: usize) -> Option<&mut Value> {
    let mut left = nth;
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        if left == 0 {
            return Some(value);
        }
        left -= 1;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => waiting.extend(fields.values_mut()),
            _ => {}
        }
    }
    None
}
