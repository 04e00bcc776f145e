//! Walks over documents along their types: which fields they set, how two differ, merging, removing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::field_set::{Element, FieldSet, Node};
use crate::schema::{ListKind, Type, TypeRef};

/// How two documents differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// A list whose items cannot be told apart, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub(super) struct ListError {
    path: String,
    message: String,
}

type Result<T> = std::result::Result<T, ListError>;

/// The type at a place; [`None`] is a place without a schema, where types follow from the values.
type At<'a> = Option<TypeRef<'a>>;

/// What a value is to server-side apply.
enum Shape<'a> {
    /// One value, whatever it holds.
    Leaf,
    /// An object whose fields stand for themselves.
    Map,
    /// A list whose items stand for themselves.
    List(&'a ListKind),
}

/// Objects that Kubernetes' Go types hold by value: they are never absent there, so nobody owns
/// their being there.
const ALWAYS_THERE: [&str; 6] = ["containers", "metadata", "spec", "status", "strategy", "template"];

/// The fields that an applied document sets.
pub(super) fn fields_of(ty: At<'_>, value: &Value) -> Result<FieldSet> {
    Ok(collect(ty, value, &mut Vec::new())?.children)
}

/// How `new` differs from `old`.
pub(super) fn compare(ty: At<'_>, old: &Value, new: &Value) -> Difference {
    let Branch { added, modified, removed } = walk(ty, Some(old), Some(new), false);
    Difference { added: added.children, modified: modified.children, removed: removed.children }
}

/// `live` with `applied` merged in.
pub(super) fn merge(ty: At<'_>, live: &Value, applied: &Value) -> Result<Value> {
    merge_at(ty, live, applied, &mut Vec::new())
}

/// Without the fields of a set. [`None`] if nothing is left.
pub(super) fn remove(ty: At<'_>, value: &Value, set: &FieldSet) -> Option<Value> {
    match (shape(ty, value), value) {
        (Shape::Map, Value::Object(fields)) => {
            let mut kept = Map::new();
            for (name, value) in fields {
                let element = Element::field(name);
                if set.has(&element) {
                    continue;
                }
                let value = match set.below(&element) {
                    Some(inside) => remove(child(ty, name), value, inside),
                    None => Some(value.clone()),
                };
                if let Some(value) = value {
                    kept.insert(name.clone(), value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Shape::List(kind), Value::Array(items)) => {
            let mut kept = Vec::new();
            for item in items {
                let element = element_of(ty, kind, item).ok();
                if element.as_ref().is_some_and(|element| set.has(element)) {
                    continue;
                }
                let inside = element.as_ref().and_then(|element| set.below(element));
                kept.extend(match inside {
                    Some(inside) => remove(item_type(ty), item, inside),
                    None => Some(item.clone()),
                });
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

/// The set with every known field that leads to a member as a member too.
pub(super) fn with_parents(ty: At<'_>, set: &FieldSet) -> FieldSet {
    set.map(|element, member, children| {
        let (known, inner) = match element {
            Element::Field(name) => {
                let known = ty.is_some_and(|ty| ty.field(name).is_some());
                (known && !children.is_empty(), child(ty, name))
            }
            _ => (false, item_type(ty)),
        };
        (member || known, with_parents(inner, children))
    })
}

/// What a document sets at one place and below. Built from the leaves up: a step is copied once, however
/// much lies below it.
fn collect(ty: At<'_>, value: &Value, path: &mut Vec<Element>) -> Result<Node> {
    let mut node = Node::default();
    match (shape(ty, value), value) {
        (Shape::Map, Value::Object(fields)) => {
            for (name, value) in fields {
                path.push(Element::field(name));
                let mut inner = collect(child(ty, name), value, path)?;
                let known = ty.is_some_and(|ty| ty.field(name).is_some());
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                inner.member |= empty || !known;
                attach_last(&mut node, path, inner);
            }
        }
        (Shape::List(kind), Value::Array(items)) => {
            for (index, element) in elements(ty, kind, items, path, false)?.into_iter().enumerate() {
                path.push(element);
                let mut inner = collect(item_type(ty), &items[index], path)?;
                inner.member = true;
                attach_last(&mut node, path, inner);
            }
        }
        _ => node.member = true,
    }
    Ok(node)
}

fn attach_last(node: &mut Node, path: &mut Vec<Element>, inner: Node) {
    let element = path.pop().expect("it was pushed just now");
    if !inner.is_empty() {
        node.children.attach(element, inner);
    }
}

/// How two documents differ at one place and below.
///
/// Built from the leaves up, so that what is alike costs nothing.
#[derive(Default)]
struct Branch {
    added: Node,
    modified: Node,
    removed: Node,
}

impl Branch {
    /// Puts in what lies at one step.
    fn attach(&mut self, element: impl Fn() -> Element, inner: Self) {
        let halves = [
            (&mut self.added, inner.added),
            (&mut self.modified, inner.modified),
            (&mut self.removed, inner.removed),
        ];
        for (all, node) in halves {
            if !node.is_empty() {
                all.children.attach(element(), node);
            }
        }
    }
}

/// `implied`: nobody owns that there is something at this place.
fn walk(ty: At<'_>, old: Option<&Value>, new: Option<&Value>, implied: bool) -> Branch {
    let mut out = Branch::default();
    let Some(sample) = new.or(old) else { return out };
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let both_alike = match (old, new) {
        (Some(old), Some(new)) => std::mem::discriminant(old) == std::mem::discriminant(new),
        _ => true,
    };
    let shape = shape(ty, sample);
    if matches!(shape, Shape::Leaf) || (empty(old) && empty(new)) || !both_alike {
        match (old, new) {
            (None, _) => out.added.member = true,
            (_, None) => out.removed.member = true,
            (Some(old), Some(new)) => out.modified.member = old != new,
        }
        return out;
    }
    match shape {
        Shape::Leaf => {}
        Shape::Map => walk_map(ty, old, new, &mut out),
        Shape::List(kind) => walk_list(ty, kind, old, new, &mut out),
    }
    match (old, new) {
        (None, Some(_)) => out.added.member = !implied,
        (Some(_), None) => out.removed.member = !implied,
        _ => {}
    }
    out
}

fn walk_map(ty: At<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Branch) {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    // Custom kinds have no Go types.
    let always = ty.is_none_or(TypeRef::is_builtin);
    let mut step = |name: &String, before: Option<&Value>, after: Option<&Value>| {
        let inner = walk(child(ty, name), before, after, always && ALWAYS_THERE.contains(&name.as_str()));
        out.attach(|| Element::field(name), inner);
    };
    for (name, before) in old.into_iter().flatten() {
        step(name, Some(before), new.and_then(|new| new.get(name)));
    }
    for (name, after) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            step(name, None, Some(after));
        }
    }
}

fn walk_list(ty: At<'_>, kind: &ListKind, old: Option<&Value>, new: Option<&Value>, out: &mut Branch) {
    if old == new {
        return;
    }
    let (old, new) = (index(ty, kind, old), index(ty, kind, new));
    let empty: &[&Value] = &[];
    let added = new.iter().filter(|(element, _)| !old.contains_key(element)).map(|(element, _)| element);
    for element in old.keys().chain(added) {
        let before = old.get(element).map_or(empty, Vec::as_slice);
        let after = new.get(element).map_or(empty, Vec::as_slice);
        let inner = match (before, after) {
            (before, after) if before.len() <= 1 && after.len() <= 1 => {
                walk(item_type(ty), before.first().copied(), after.first().copied(), false)
            }
            // Items that occur more than once are one value together.
            (before, after) if before.len() >= 2 && after.len() >= 2 => {
                let mut inner = Branch::default();
                inner.modified.member = before != after;
                inner
            }
            (before, after) if before.len() >= 2 => {
                let mut inner = walk(item_type(ty), None, after.first().copied(), false);
                inner.removed.member = true;
                inner
            }
            (before, _) => {
                let mut inner = walk(item_type(ty), before.first().copied(), None, false);
                inner.added.member = true;
                inner
            }
        };
        out.attach(|| element.clone(), inner);
    }
}

/// The items of a list by their elements. An item without its key cannot be owned: it is left out.
fn index<'v>(ty: At<'_>, kind: &ListKind, list: Option<&'v Value>) -> BTreeMap<Element, Vec<&'v Value>> {
    let mut index: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(element) = element_of(ty, kind, item) {
            index.entry(element).or_default().push(item);
        }
    }
    index
}

fn merge_at(ty: At<'_>, live: &Value, applied: &Value, path: &mut Vec<Element>) -> Result<Value> {
    match (shape(ty, applied), live, applied) {
        (Shape::Map, Value::Object(live), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                path.push(Element::field(name));
                let value = match live.get(name) {
                    Some(current) => merge_at(child(ty, name), current, value, path)?,
                    None => merge_at(child(ty, name), &nothing_like(value), value, path)?,
                };
                path.pop();
                merged.insert(name.clone(), value);
            }
            Ok(Value::Object(merged))
        }
        (Shape::List(kind), Value::Array(live), Value::Array(applied)) => {
            merge_list(ty, kind, live, applied, path)
        }
        _ => Ok(applied.clone()),
    }
}

/// Applied items in their order; the others where they were, before the shared item that they stood before.
fn merge_list(
    ty: At<'_>,
    kind: &ListKind,
    live: &[Value],
    applied: &[Value],
    path: &mut Vec<Element>,
) -> Result<Value> {
    let applied_keys = elements(ty, kind, applied, path, false)?;
    let live_keys = elements(ty, kind, live, path, true)?;
    let mut merged = Vec::with_capacity(live.len().max(applied.len()));
    let applied_set: BTreeSet<&Element> = applied_keys.iter().collect();
    // Of items that occur more than once none is merged: they are replaced together.
    let mut live_items: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (key, item) in live_keys.iter().zip(live) {
        live_items.entry(key).and_modify(|known| *known = None).or_insert(Some(item));
    }
    let mut done = 0;
    let mut emit = |upto: usize, merged: &mut Vec<Value>, path: &mut Vec<Element>| -> Result<()> {
        while done < upto {
            let key = &applied_keys[done];
            let current = match live_items.get(key).copied().flatten() {
                Some(item) => item.clone(),
                None => nothing_like(&applied[done]),
            };
            path.push(key.clone());
            merged.push(merge_at(item_type(ty), &current, &applied[done], path)?);
            path.pop();
            done += 1;
        }
        Ok(())
    };
    let mut next_shared =
        applied_keys.iter().enumerate().filter(|(_, key)| live_items.contains_key(key)).peekable();
    for (key, item) in live_keys.iter().zip(live) {
        if !applied_set.contains(key) {
            merged.push(item.clone());
        } else if let Some((at, _)) = next_shared.next_if(|(_, next)| *next == key) {
            emit(at + 1, &mut merged, path)?;
        }
    }
    emit(applied_keys.len(), &mut merged, path)?;
    Ok(Value::Array(merged))
}

/// The element of each item. Items that occur twice are an error unless the list is the live one.
fn elements(
    ty: At<'_>,
    kind: &ListKind,
    items: &[Value],
    path: &[Element],
    duplicates: bool,
) -> Result<Vec<Element>> {
    let place = || path.iter().map(ToString::to_string).collect::<String>();
    let mut all: Vec<Element> = Vec::with_capacity(items.len());
    let mut known: BTreeSet<Element> = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        match element_of(ty, kind, item) {
            Ok(element) if !duplicates && !known.insert(element.clone()) => {
                return Err(ListError {
                    path: place(),
                    message: format!("duplicate entries for key {element}"),
                });
            }
            Ok(element) => all.push(element),
            Err(_) if duplicates => all.push(Element::Index(index as i64)),
            Err(message) => {
                return Err(ListError { path: place(), message: format!("element {index}: {message}") });
            }
        }
    }
    Ok(all)
}

pub(super) fn element_of(ty: At<'_>, kind: &ListKind, item: &Value) -> std::result::Result<Element, String> {
    match (kind, item) {
        (ListKind::Map(keys), Value::Object(fields)) => {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                let default = || item_type(ty)?.field(key)?.0.default();
                if let Some(value) = fields.get(key.as_ref()).or_else(default) {
                    values.push((key.to_string(), value.clone()));
                }
            }
            if values.is_empty() {
                let keys: Vec<String> = keys.iter().map(|key| crate::field::quote(key)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] \
                     (and doesn't have default values for any key fields)",
                    keys.join(" ")
                ));
            }
            values.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(Element::Key(values))
        }
        (ListKind::Map(_), Value::Null) => {
            Err("associative list with keys may not have a null element".into())
        }
        (ListKind::Map(_), _) => Err("associative list with keys may not have non-map elements".into()),
        (_, Value::Object(_)) => Err("associative list without keys has an element that's a map type".into()),
        (_, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
        (_, Value::Null) => {
            Err("associative list without keys has an element that's an explicit null".into())
        }
        (_, scalar) => Ok(Element::Value(scalar.clone())),
    }
}

fn shape<'a>(ty: At<'a>, value: &Value) -> Shape<'a> {
    let Some(ty) = ty else {
        // Without a schema objects are merged and lists are one value.
        return if value.is_object() { Shape::Map } else { Shape::Leaf };
    };
    match ty.get() {
        Type::Struct { atomic: false, .. } | Type::Map { atomic: false, .. } => Shape::Map,
        Type::List { kind: kind @ (ListKind::Set | ListKind::Map(_)), .. } => Shape::List(kind),
        Type::Deduced if value.is_object() => Shape::Map,
        Type::Any
        | Type::Deduced
        | Type::Elsewhere(_)
        | Type::Raw(_)
        | Type::Scalar(_)
        | Type::Struct { .. }
        | Type::Map { .. }
        | Type::List { .. } => Shape::Leaf,
    }
}

fn child<'a>(ty: At<'a>, name: &str) -> At<'a> {
    ty?.child(name)
}

fn item_type(ty: At<'_>) -> At<'_> {
    ty?.element()
}

fn nothing_like(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}
