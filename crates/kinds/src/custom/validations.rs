//! Rules of `x-kubernetes-validations`: expressions that objects of a custom kind must meet.
//!
//! A definition's rules are compiled when it is made, so that their types and what they may cost are known
//! ([`definition`]), and again when its kind is served. An object's are asked from its root down, all within one
//! budget. Where a value has not changed, a rule that says nothing of what was before lets it go on as it was.

mod definition;
mod field_path;
mod rule;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::HashMap;

use cel::{Declared, EvalError, PatternRoom, Value as CelValue};
use model::Object;
use model::field::{FieldError, Path};
use model::structural::{ListType, MOST, Structural};
use model::validate::Errors;
use serde_json::Value;

pub(crate) use definition::check_definition;
use rule::{Left, Rule};

/// How many bytes a message may have that an expression makes.
const LONGEST_MESSAGE: usize = 5 * 1024;
const NO_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of one version of a custom kind, ready to be asked.
#[derive(Debug)]
pub(crate) struct Validator(Node);

/// The rules of one place in a schema and of all below it.
#[derive(Debug, Default)]
struct Node {
    kind: &'static str,
    declared: Option<std::sync::Arc<Declared>>,
    rules: Vec<Rule>,
    all_of: Vec<Node>,
    properties: Vec<(Box<str>, Node)>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// What items of a list are told apart by, if they can be.
    keys: Option<Box<[Box<str>]>>,
}

/// What a value was before, and whether what is around it has changed.
#[derive(Clone, Copy, Default)]
struct Before<'a, 'w> {
    own: Option<&'a Value>,
    /// The nearest around it of which it is known what it was.
    around: Option<&'w Around<'a>>,
}

/// A value and what it was. Whether that is the same is found out once, however many ask.
struct Around<'a> {
    new: &'a Value,
    old: &'a Value,
    same: OnceCell<bool>,
}

/// No more rules are asked: there is nothing left to spend, or enough is wrong.
struct Spent;

impl Validator {
    /// Those of a schema; none where it has none.
    pub(crate) fn of(schema: &Structural) -> Option<Self> {
        Node::of(schema, schema, true, &mut PatternRoom::default()).map(Self)
    }

    /// What is wrong with an object that is to be made, or to be in the place of `old`. Not asked where what is wrong
    /// already would make the answer worth nothing.
    pub(crate) fn check(&self, object: &Object, old: Option<&Object>, errors: &mut Errors) {
        let before = Before { own: old.map(Object::value), around: None };
        let mut left = Left::default();
        // What is spent is told where it was spent.
        let _ = self.0.check(object.value(), before, &Path::EMPTY, &mut left, errors);
    }
}

impl Node {
    /// Rules of `rules`, which are about values of `schema`: parts of `allOf` have no types of their own.
    fn of(rules: &Structural, schema: &Structural, root: bool, room: &mut PatternRoom) -> Option<Self> {
        let declared = rule::declare(schema, root);
        let mut node = Self {
            kind: schema.kind.as_str(),
            rules: Vec::new(),
            keys: match &schema.list {
                ListType::Map(keys) => Some(keys.clone()),
                _ => None,
            },
            declared: declared.clone(),
            ..Self::default()
        };
        if let Some(declared) = &declared {
            node.rules =
                rules.validations.iter().map(|written| Rule::of(written, declared, schema, room)).collect();
        }
        if let (Some(rules), Some(schema)) = (&rules.items, &schema.items) {
            node.items = Self::of(rules, schema, schema.embedded, room).map(Box::new);
        }
        if let (Some(rules), Some(schema)) = (rules.additional(), schema.additional()) {
            node.additional = Self::of(rules, schema, schema.embedded, room).map(Box::new);
        }
        for (name, rules) in &rules.properties {
            let Some(schema) = schema.property(name) else { continue };
            if let Some(inner) = Self::of(rules, schema, schema.embedded, room) {
                node.properties.push((name.clone(), inner));
            }
        }
        for part in rules.asked.iter().flat_map(|asked| &asked.all_of) {
            node.all_of.extend(Self::of(part, schema, root, room));
        }
        let is_empty = node.rules.is_empty()
            && node.all_of.is_empty()
            && node.properties.is_empty()
            && node.additional.is_none()
            && node.items.is_none();
        (!is_empty).then_some(node)
    }

    fn check<'a>(
        &self,
        value: &'a Value,
        before: Before<'a, '_>,
        path: &Path<'_>,
        left: &mut Left,
        errors: &mut Errors,
    ) -> Result<(), Spent> {
        if value.is_null() {
            return Ok(());
        }
        let own = before.own.map(|old| Around { new: value, old, same: OnceCell::new() });
        self.ask(value, before, own.as_ref(), path, left, errors)?;
        for part in &self.all_of {
            // What an `allOf` says of a value that is as it was is told all the same.
            let before = Before { own: None, around: before.around };
            part.check(value, before, path, left, errors)?;
        }
        let below = |inner| Before { own: inner, around: own.as_ref().or(before.around) };
        match value {
            Value::Object(fields) => {
                let old = before.own.and_then(Value::as_object);
                for (name, value) in fields {
                    let below = below(old.and_then(|old| old.get(name)));
                    if let Some((_, node)) = self.properties.iter().find(|(known, _)| **known == **name) {
                        let place = if path.is_root() { Path::root(name) } else { path.child(name) };
                        node.check(value, below, &place, left, errors)?;
                    }
                    if let Some(node) = &self.additional {
                        node.check(value, below, &path.key(name), left, errors)?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(node) = &self.items else { return Ok(()) };
                let old = before.own.and_then(Value::as_array);
                let old = old.zip(self.keys.as_deref()).map(|(old, keys)| by_keys(old, keys));
                for (index, item) in items.iter().enumerate() {
                    let keys = self.keys.as_deref().unwrap_or_default();
                    let same = old.as_ref().and_then(|old| old.get(&key_of(item, keys)).copied());
                    node.check(item, below(same), &path.index(index), left, errors)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks the rules of this place.
    fn ask<'a>(
        &self,
        value: &'a Value,
        before: Before<'a, '_>,
        own_before: Option<&Around<'a>>,
        path: &Path<'_>,
        left: &mut Left,
        errors: &mut Errors,
    ) -> Result<(), Spent> {
        let Some(declared) = self.declared.as_ref().filter(|_| !self.rules.is_empty()) else { return Ok(()) };
        if left.is_spent() {
            errors.push(FieldError::invalid(path, self.kind, NO_BUDGET));
            return Err(Spent);
        }
        let read = |value| CelValue::from_json(value, Some(declared));
        let own = read(value);
        let old = before.own.filter(|old| !old.is_null()).map(read);
        for rule in &self.rules {
            if errors.len() >= MOST {
                return Err(Spent);
            }
            let program = match &rule.program {
                Ok(Some(program)) => program,
                Ok(None) => continue,
                Err(why) => {
                    errors.push(FieldError::invalid(path, self.kind, format!("rule compile error: {why}")));
                    continue;
                }
            };
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let variables = match rule.variables(&own, old.as_ref()) {
                Ok(variables) => variables,
                Err(error) => {
                    let why = format!("{error} evaluating rule: {}", rule.told());
                    errors.push(FieldError::invalid(path, self.kind, why));
                    continue;
                }
            };
            let Some(outcome) = left.evaluate(program, &variables) else {
                errors.push(FieldError::invalid(path, self.kind, NO_BUDGET));
                return Err(Spent);
            };
            match outcome {
                Ok(CelValue::Bool(true)) => continue,
                Ok(_) => {}
                Err(EvalError::Cancelled) => {
                    let why = format!(
                        "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        EvalError::Cancelled,
                        rule.told()
                    );
                    errors.push(FieldError::invalid(path, self.kind, why));
                    return Err(Spent);
                }
                Err(EvalError::Failed(why)) => {
                    let why = if why.starts_with("no such overload") {
                        format!(
                            "'{why}': call arguments did not match a supported operator, function or macro signature \
                             for rule: {}",
                            rule.told()
                        )
                    } else {
                        format!("{why} evaluating rule: {}", rule.told())
                    };
                    errors.push(FieldError::invalid(path, self.kind, why));
                    continue;
                }
            }
            // What has not changed may stay as it is.
            let stays = !rule.uses_old && own_before.or(before.around).is_some_and(Around::is_unchanged);
            let place = rule.place(path);
            let place = Path::root(&place);
            let detail = match rule.message(&variables, left) {
                Ok(detail) => detail,
                Err(why) => {
                    if !stays {
                        errors.push(FieldError::invalid(&place, self.kind, why));
                    }
                    return Err(Spent);
                }
            };
            if !stays {
                errors.push(rule.failed(&place, value, detail));
            }
        }
        Ok(())
    }
}

impl Around<'_> {
    fn is_unchanged(&self) -> bool {
        *self.same.get_or_init(|| self.new == self.old)
    }
}

/// The items of a list by what they are told apart by. Of two that are the same the first counts.
fn by_keys<'a>(items: &'a [Value], keys: &[Box<str>]) -> HashMap<String, &'a Value> {
    let mut all = HashMap::with_capacity(items.len());
    for item in items {
        all.entry(key_of(item, keys)).or_insert(item);
    }
    all
}

/// What an item is told apart by, as text.
fn key_of(item: &Value, keys: &[Box<str>]) -> String {
    let mut text = String::new();
    for key in keys {
        if let Some(value) = item.get(&**key) {
            text.push_str(&value.to_string());
        }
        text.push(',');
    }
    text
}
