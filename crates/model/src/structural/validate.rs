//! Whether values are what a schema asks, in the words of Kubernetes' server.
//!
//! That is the validator of `kube-openapi`, its oddities included: of several alternatives that all fail it
//! tells what is wrong with the one of which most was right, and what it says of `oneOf` and its like names no
//! field. What was wrong before and has not changed is let pass.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Number, Value};

use super::{Additional, Asked, Kind, ListType, MOST, Structural, embedded, format, lists};
use crate::field::{FieldError, FieldErrorKind, Path, shortened};
use crate::validate::Errors;

/// What is wrong with the values of a document that is to be made, or that is to be in the place of `old`. Errors
/// are of places below `base`.
pub fn values(
    schema: &Structural,
    value: &Value,
    old: Option<&Value>,
    base: Option<&str>,
    errors: &mut Errors,
) {
    let left = MOST.saturating_sub(errors.len());
    let checked = check(schema, value, old, &Path::EMPTY, Mode::Tells);
    errors.extend(checked.problems.into_iter().take(left).map(|problem| problem.at(base)));
}

/// What is wrong with whole objects inside a document, besides their values.
pub fn embedded_objects(schema: &Structural, document: &Value, errors: &mut Errors) {
    embedded::check(schema, document, false, &Path::EMPTY, errors);
}

/// What is wrong with lists that are sets or maps.
pub fn sets_and_maps(schema: &Structural, document: &Value, errors: &mut Errors) {
    lists::check(schema, document, &Path::EMPTY, errors);
}

/// Something that is wrong.
#[derive(Clone, Debug)]
enum Problem {
    /// With the value at a place.
    At(FieldError),
    /// With alternatives, at no place.
    Composite(String),
}

impl Problem {
    fn at(self, base: Option<&str>) -> FieldError {
        match self {
            Self::Composite(message) => FieldError {
                kind: FieldErrorKind::Invalid,
                field: base.unwrap_or("<nil>").to_owned(),
                value: Some("".into()),
                detail: message,
            },
            Self::At(error) => {
                let field = match (base, error.field.as_str()) {
                    (None, "") => "<nil>".to_owned(),
                    (None, field) => field.to_owned(),
                    (Some(base), "") => base.to_owned(),
                    (Some(base), field) => format!("{base}.{field}"),
                };
                FieldError { field, ..error }
            }
        }
    }
}

/// What a check is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// To tell what is wrong.
    Tells,
    /// To know how much is right. Of alternatives all are tried, and most of what is wrong with them is never told.
    Counts,
}

/// What came of a check: what is wrong, and how much was right.
struct Checked {
    mode: Mode,
    /// What is wrong, where that is to be told.
    problems: Vec<Problem>,
    wrong: usize,
    matches: usize,
}

impl Checked {
    fn new(mode: Mode) -> Self {
        Self { mode, problems: Vec::new(), wrong: 0, matches: 0 }
    }

    fn merge(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.wrong += other.wrong;
        self.matches += other.matches;
    }

    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        self.wrong += 1;
        if self.mode == Mode::Tells && self.problems.len() <= MOST {
            self.problems.push(problem());
        }
    }

    fn wrong(&mut self, error: impl FnOnce() -> FieldError) {
        self.add(|| Problem::At(error()));
    }

    /// Something is wrong that is at no place.
    fn composite(&mut self, message: impl FnOnce() -> String) {
        self.add(|| Problem::Composite(shortened(message())));
    }

    fn is_valid(&self) -> bool {
        self.wrong == 0
    }

    /// Whether so much is wrong that nothing more is looked at.
    fn is_full(&self) -> bool {
        self.wrong > MOST
    }
}

fn check(schema: &Structural, value: &Value, old: Option<&Value>, path: &Path<'_>, mode: Mode) -> Checked {
    let mut checked = Checked::new(mode);
    let asked = schema.asked.as_deref();
    let has_format = asked.is_some_and(|asked| asked.format.is_some());
    if schema.kind != Kind::Any || schema.int_or_string || has_format {
        match type_problem(schema, asked, value) {
            Some((wanted, is)) => checked.wrong(|| {
                let message = format!("{path} in body must be of type {wanted}: {}", crate::field::quote(is));
                FieldError::type_invalid(path, is, message)
            }),
            None => checked.matches += 1,
        }
        if !value.is_null() {
            checked.matches += 1;
        }
    }
    if value.is_null() {
        // Nothing else is asked of it, but to be one of those that are allowed.
        check_allowed(asked, value, path, &mut checked);
    } else {
        check_present(schema, asked, value, old, path, &mut checked);
    }
    if !checked.is_valid() && old == Some(value) {
        checked.problems.clear();
        checked.wrong = 0;
    }
    checked.problems.truncate(MOST);
    checked.wrong = checked.wrong.min(MOST);
    checked
}

fn check_present(
    schema: &Structural,
    asked: Option<&Asked>,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    checked: &mut Checked,
) {
    let mut alternatives = Checked::new(checked.mode);
    if let Some(asked) = asked {
        check_alternatives(asked, value, old, path, &mut alternatives);
    }
    alternatives.matches += 2;
    checked.merge(alternatives);
    match value {
        Value::String(text) => {
            if let Some(asked) = asked {
                check_text(asked, text, path, checked);
            }
            checked.matches += 1;
        }
        Value::Number(number) => {
            if let Some(asked) = asked {
                check_number(asked, number, path, checked);
            }
            checked.matches += 2;
        }
        Value::Array(items) => {
            check_list(schema, asked, items, old, path, checked);
            checked.matches += 2;
        }
        _ => {}
    }
    check_allowed(asked, value, path, checked);
    checked.matches += 1;
    if let Value::Object(fields) = value {
        check_object(schema, asked, fields, old, path, checked);
        checked.matches += 1;
    }
    checked.matches += 1;
}

/// The name of a value's type, and its format where it has one.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
    }
}

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_i64() => true,
        Value::Number(number) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() < 9e15)
        }
        _ => false,
    }
}

/// The type that a value should be of and is not, and the one that it is of.
fn type_problem<'a>(
    schema: &Structural,
    asked: Option<&'a Asked>,
    value: &Value,
) -> Option<(&'a str, &'static str)> {
    let names = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
    let (is, is_format) = type_of(value);
    let has = |name: &str| names.split(',').any(|one| one == name);
    if value.is_null() {
        return if names.is_empty() || schema.nullable { None } else { Some((names, "null")) };
    }
    let format = asked.and_then(|asked| asked.format.as_deref()).unwrap_or_default();
    let whole = is == "number" && is_whole(value) && has("integer");
    let number = is == "integer" && has("number");
    let textual = value.is_string() || value.is_array();
    let formatted = !format.is_empty();
    let fits = has(is) || is_format == format || whole || number;
    if formatted && !textual && !fits {
        return Some((format, is_format));
    }
    let numeric = has("number") || has("integer");
    if formatted && textual && !numeric {
        return None;
    }
    if names.is_empty() || has(is) || whole || number { None } else { Some((names, is)) }
}

fn check_allowed(asked: Option<&Asked>, value: &Value, path: &Path<'_>, checked: &mut Checked) {
    let Some(values) = asked.and_then(|asked| asked.values.as_deref()) else { return };
    let same = |allowed: &Value| match (allowed, value) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Null, _) => false,
        (allowed, value) => allowed == value,
    };
    if values.iter().any(same) {
        return;
    }
    checked.wrong(|| {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown: Vec<String> = values.iter().map(text).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        FieldError::not_supported(path, value.clone(), &shown)
    });
}

fn check_text(asked: &Asked, text: &str, path: &Path<'_>, checked: &mut Checked) {
    let mut wrong = |detail: &dyn Fn() -> String| {
        checked.wrong(|| FieldError::invalid(path, text, format!("{path} in body {}", detail())));
    };
    let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let too_long = asked.max_length.filter(|most| length() > *most);
    let too_short = asked.min_length.filter(|least| length() < *least);
    match (too_long, too_short, &asked.pattern) {
        (Some(most), _, _) => {
            checked.wrong(|| FieldError::too_long(path, usize::try_from(most).unwrap_or_default()));
        }
        (_, Some(least), _) => wrong(&|| format!("should be at least {least} chars long")),
        (_, _, Some(pattern)) if !pattern.is_match(text) => {
            wrong(&|| format!("should match '{}'", pattern.as_str()));
        }
        _ => {}
    }
    if let Some(format) = asked.format.as_deref().filter(|format| format::is_of_texts(format)) {
        checked.matches += 1;
        if !format::matches(format, text) {
            checked.wrong(|| {
                let message =
                    format!("{path} in body must be of type {format}: {}", crate::field::quote(text));
                FieldError::type_invalid(path, text, message)
            });
        }
    }
}

/// A number as Go prints one.
struct Shown(f64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        if number == 0.0 {
            return f.write_str("0");
        }
        let exponent = number.abs().log10().floor();
        if (-4.0..6.0).contains(&exponent) {
            return write!(f, "{number}");
        }
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(f, "{digits}e{sign}{exponent:0>2}")
    }
}

fn check_number(asked: &Asked, number: &Number, path: &Path<'_>, checked: &mut Checked) {
    let value = || Value::Number(number.clone());
    let mut wrong = |detail: &dyn Fn() -> String| {
        checked.wrong(|| FieldError::invalid(path, value(), format!("{path} in body {}", detail())));
    };
    // Bounds of whole numbers are whole.
    let whole = number.as_i64();
    let shown =
        |bound: f64| if whole.is_some() { (bound as i64).to_string() } else { Shown(bound).to_string() };
    let compare = |bound: f64| match whole {
        Some(whole) => Some(whole.cmp(&(bound as i64))),
        None => number.as_f64().unwrap_or_default().partial_cmp(&bound),
    };
    if let Some(factor) = asked.multiple_of {
        let multiple = match whole {
            Some(whole) => (factor as i64 != 0).then(|| whole % (factor as i64) == 0),
            None => (factor > 0.0).then(|| {
                let data = number.as_f64().unwrap_or_default();
                let times = if factor < 1.0 { 1.0 / factor * data } else { data / factor };
                is_whole(&Value::from(times))
            }),
        };
        match multiple {
            Some(true) if factor > 0.0 => {}
            Some(false) if factor > 0.0 => wrong(&|| format!("should be a multiple of {}", shown(factor))),
            _ => {
                checked.wrong(|| {
                    let factor_shown = Shown(factor);
                    let detail =
                        format!("factor MultipleOf declared for {path} must be positive: {factor_shown}");
                    FieldError::invalid(path, factor, detail)
                });
                return;
            }
        }
    }
    let mut wrong = |detail: &dyn Fn() -> String| {
        checked.wrong(|| FieldError::invalid(path, value(), format!("{path} in body {}", detail())));
    };
    if let Some(least) = asked.minimum {
        match compare(least) {
            Some(std::cmp::Ordering::Less) if !asked.exclusive_minimum => {
                wrong(&|| format!("should be greater than or equal to {}", shown(least)));
            }
            Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal) if asked.exclusive_minimum => {
                wrong(&|| format!("should be greater than {}", shown(least)));
            }
            _ => {}
        }
    }
    if let Some(most) = asked.maximum {
        match compare(most) {
            Some(std::cmp::Ordering::Greater) if !asked.exclusive_maximum => {
                wrong(&|| format!("should be less than or equal to {}", shown(most)));
            }
            Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal) if asked.exclusive_maximum => {
                wrong(&|| format!("should be less than {}", shown(most)));
            }
            _ => {}
        }
    }
    let (low, high) = match asked.format.as_deref() {
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        Some("float") => (f64::from(f32::MIN), f64::from(f32::MAX)),
        _ => return,
    };
    if !number.as_f64().is_some_and(|number| (low..=high).contains(&number)) {
        let (kind, format) = match asked.format.as_deref() {
            Some("int32") => ("integer", "int32"),
            _ => ("number", "float"),
        };
        checked.composite(|| format!("Checked value must be of type {kind} with format {format} in {path}"));
    }
}

fn check_list(
    schema: &Structural,
    asked: Option<&Asked>,
    items: &[Value],
    old: Option<&Value>,
    path: &Path<'_>,
    checked: &mut Checked,
) {
    let before = Before::of(schema, old);
    if let Some(inner) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let mut one = check(inner, item, None, &path, checked.mode);
            if !one.is_valid()
                && let Some(old) = before.of_item(item)
            {
                one = check(inner, item, Some(old), &path, checked.mode);
            }
            checked.merge(one);
            if checked.is_full() {
                return;
            }
        }
    }
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = asked.and_then(|asked| asked.min_items).filter(|least| size < *least) {
        checked.wrong(|| {
            let detail = format!("{path} in body should have at least {least} items");
            FieldError::invalid(path, size, detail)
        });
    }
    if let Some(most) = asked.and_then(|asked| asked.max_items).filter(|most| size > *most) {
        let most = usize::try_from(most).unwrap_or_default();
        checked.wrong(|| FieldError::too_many(path, items.len(), most));
    }
}

/// The items that were there, where it is known which of them is which: by their keys, once one is asked for.
struct Before<'a> {
    keys: &'a [Box<str>],
    items: &'a [Value],
    by_key: OnceCell<HashMap<String, &'a Value>>,
}

impl<'a> Before<'a> {
    fn of(schema: &'a Structural, old: Option<&'a Value>) -> Self {
        let (keys, items) = match &schema.list {
            ListType::Map(keys) => (&**keys, old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice)),
            _ => (&[][..], &[][..]),
        };
        Self { keys, items, by_key: OnceCell::new() }
    }

    fn of_item(&self, item: &Value) -> Option<&'a Value> {
        let key = |item: &Value| -> String {
            self.keys
                .iter()
                .map(|key| item.get(&**key).map_or_else(String::new, lists::canonical) + "\0")
                .collect()
        };
        let by_key = self.by_key.get_or_init(|| self.items.iter().map(|item| (key(item), item)).collect());
        by_key.get(&key(item)).copied()
    }
}

fn check_object(
    schema: &Structural,
    asked: Option<&Asked>,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    path: &Path<'_>,
    checked: &mut Checked,
) {
    let size = i64::try_from(fields.len()).unwrap_or(i64::MAX);
    if let Some(least) = asked.and_then(|asked| asked.min_properties).filter(|least| size < *least) {
        checked.wrong(|| {
            let detail = format!("{path} in body should have at least {least} properties");
            FieldError::invalid(path, size, detail)
        });
    }
    if let Some(most) = asked.and_then(|asked| asked.max_properties).filter(|most| size > *most) {
        let most = usize::try_from(most).unwrap_or_default();
        checked.wrong(|| FieldError::too_many(path, fields.len(), most));
    }
    // Of what is one value nothing tells which part was which.
    let old = old.filter(|_| !schema.atomic).and_then(Value::as_object);
    let at_root = path.is_root();
    for (name, value) in fields {
        let inner = match (schema.property(name), &schema.additional) {
            (Some(property), _) => property,
            (None, Additional::Of(additional)) => additional,
            (None, Additional::Allowed(false)) => {
                checked.wrong(|| {
                    let detail = format!("{path}.{name} in body is a forbidden property");
                    FieldError::invalid(path, name.as_str(), detail)
                });
                if checked.is_full() {
                    return;
                }
                continue;
            }
            (None, _) => continue,
        };
        let before = old
            .filter(|_| !(at_root && matches!(name.as_str(), "kind" | "apiVersion")))
            .and_then(|old| old.get(name));
        checked.merge(check(inner, value, before, &path.child(name), checked.mode));
        if checked.is_full() {
            return;
        }
    }
    for name in asked.iter().flat_map(|asked| &asked.required) {
        if !fields.contains_key(name.as_ref()) {
            checked.wrong(|| FieldError::required(&path.child(name), ""));
        }
    }
}

fn check_alternatives(
    asked: &Asked,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    checked: &mut Checked,
) {
    let place = || crate::field::quote(&path.to_string());
    let count = |schema: &Structural| check(schema, value, old, path, Mode::Counts);
    // What is wrong with an alternative, once it is known that this one is told of.
    let tell = |checked: &mut Checked, alternatives: &[Structural], best: Option<(usize, Checked)>| {
        if let Some((index, counted)) = best {
            let told = match checked.mode {
                Mode::Tells => check(&alternatives[index], value, old, path, Mode::Tells),
                Mode::Counts => counted,
            };
            checked.merge(told);
        }
    };
    let better = |best: Option<(usize, Checked)>, index: usize, one: Checked| match best {
        Some((index, best)) if best.matches >= one.matches => Some((index, best)),
        _ => Some((index, one)),
    };
    if !asked.any_of.is_empty() {
        let mut best: Option<(usize, Checked)> = None;
        let mut succeeded = None;
        for (index, schema) in asked.any_of.iter().enumerate() {
            let one = count(schema);
            if one.is_valid() {
                succeeded = Some(one);
                break;
            }
            best = better(best, index, one);
        }
        match succeeded {
            Some(one) => checked.merge(one),
            None => {
                checked.composite(|| format!("{} must validate at least one schema (anyOf)", place()));
                tell(checked, &asked.any_of, best);
            }
        }
    }
    if !asked.one_of.is_empty() {
        let mut best: Option<(usize, Checked)> = None;
        let (mut first, mut valid) = (None, 0);
        for (index, schema) in asked.one_of.iter().enumerate() {
            let one = count(schema);
            if one.is_valid() {
                valid += 1;
                best = None;
                first.get_or_insert(one);
            } else if valid == 0 {
                best = better(best, index, one);
            }
        }
        match (valid, first) {
            (1, Some(first)) => checked.merge(first),
            _ => {
                checked.composite(|| {
                    let more = match valid {
                        0 => "Found none valid".to_owned(),
                        valid => format!("Found {valid} valid alternatives"),
                    };
                    format!("{} must validate one and only one schema (oneOf). {more}", place())
                });
                tell(checked, &asked.one_of, best);
            }
        }
    }
    if !asked.all_of.is_empty() {
        let (mut valid, mut looked_at) = (0, 0);
        for schema in &asked.all_of {
            let one = check(schema, value, old, path, checked.mode);
            looked_at += 1;
            valid += usize::from(one.is_valid());
            checked.merge(one);
            if checked.is_full() {
                break;
            }
        }
        if valid != looked_at {
            let more = if valid == 0 { ". None validated" } else { "" };
            checked.composite(|| format!("{} must validate all the schemas (allOf){more}", place()));
        }
    }
    if let Some(not) = &asked.not
        && count(not).is_valid()
    {
        checked.composite(|| format!("{} must not validate the schema (not)", place()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_counted_is_what_would_be_told() {
        let schema = json!({"type": "object", "required": ["r"], "properties": {
            "a": {"type": "string", "maxLength": 1, "enum": ["x"]},
            "l": {"type": "array", "minItems": 5, "items": {"type": "integer", "maximum": 3}},
        }, "additionalProperties": false, "anyOf": [{"required": ["q"]}, {"not": {"required": ["a"]}}],
            "oneOf": [{"minProperties": 9}, {"properties": {"a": {"pattern": "^b$"}}}]});
        let schema = Structural::parse(&schema).expect("a schema");
        for value in
            [json!({"a": "long", "l": [1, 9], "z": 1}), json!({"a": "x", "r": 1}), json!(3), json!({})]
        {
            let told = check(&schema, &value, None, &Path::EMPTY, Mode::Tells);
            let counted = check(&schema, &value, None, &Path::EMPTY, Mode::Counts);
            assert_eq!((counted.wrong, counted.matches), (told.wrong, told.matches), "{value}");
            assert_eq!((told.problems.len(), counted.problems.len()), (told.wrong, 0), "{value}");
        }
    }
}
