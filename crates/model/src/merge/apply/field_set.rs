//! Sets of fields: what `managedFields` holds, in memory and in the form `fieldsV1`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::{Map, Value};

use crate::field::quote;

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeMap<Element, Node>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A field, or a key of a map.
    Field(String),
    /// The item of a list that has these values in its key fields, sorted by name.
    Key(Vec<(String, Value)>),
    /// The item of a set that is this value.
    Value(Value),
    /// The item of a list at this place.
    Index(i64),
}

/// The end of one step: what of a set lies there and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether the path that ends here is in the set.
    pub(super) member: bool,
    pub(super) children: FieldSet,
}

/// A text that is no set of fields.
#[derive(Debug, thiserror::Error)]
#[error("not a set of fields: {0}")]
pub(super) struct FieldSetError(String);

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() { node.member = true } else { node.children.insert(rest) }
    }

    /// Puts in what lies at a step that is not in the set yet.
    pub(super) fn attach(&mut self, element: Element, node: Node) {
        self.0.insert(element, node);
    }

    /// Whether the path of this one step is in the set.
    pub(super) fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What of the set lies below a step.
    pub(super) fn below(&self, element: &Element) -> Option<&FieldSet> {
        self.0.get(element).map(|node| &node.children).filter(|set| !set.is_empty())
    }

    /// Takes all of another set in.
    pub(super) fn absorb(&mut self, other: Self) {
        if self.0.is_empty() {
            self.0 = other.0;
            return;
        }
        for (element, node) in other.0 {
            match self.0.entry(element) {
                Entry::Vacant(place) => drop(place.insert(node)),
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.member |= node.member;
                    known.children.absorb(node.children);
                }
            }
        }
    }

    /// Takes out what another set has.
    pub(super) fn subtract(&mut self, other: &Self) {
        // Only what both have is looked at, by way of the smaller: often little is taken from much, and
        // much may be taken from each of many.
        if self.0.len() < other.0.len() {
            self.0.retain(|element, node| {
                if let Some(there) = other.0.get(element) {
                    node.member &= !there.member;
                    node.children.subtract(&there.children);
                }
                !node.is_empty()
            });
            return;
        }
        for (element, there) in &other.0 {
            let Some(node) = self.0.get_mut(element) else { continue };
            node.member &= !there.member;
            node.children.subtract(&there.children);
            if node.is_empty() {
                self.0.remove(element);
            }
        }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let nodes = self.0.iter().filter_map(|(element, node)| {
            let there = other.0.get(element)?;
            let member = node.member && there.member;
            let node = Node { member, children: node.children.intersection(&there.children) };
            (!node.is_empty()).then(|| (element.clone(), node))
        });
        Self(nodes.collect())
    }

    pub(super) fn difference(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    /// Without the given paths and all that lies below them.
    pub(super) fn without(mut self, paths: &[&[&str]]) -> Self {
        for path in paths {
            self.cut(path);
        }
        self
    }

    /// How many paths there are.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(|node| usize::from(node.member) + node.children.count()).sum()
    }

    /// Visits all paths, in order, until the visitor breaks off.
    pub(super) fn each<'s>(
        &'s self,
        prefix: &mut Vec<&'s Element>,
        visit: &mut impl FnMut(&[&Element]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (element, node) in &self.0 {
            prefix.push(element);
            if node.member {
                visit(prefix)?;
            }
            node.children.each(prefix, visit)?;
            prefix.pop();
        }
        ControlFlow::Continue(())
    }

    /// All paths as conflicts print them, in order.
    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let _ = self.each(&mut Vec::new(), &mut |path| {
            paths.push(path.iter().map(ToString::to_string).collect());
            ControlFlow::Continue(())
        });
        paths
    }

    /// Maps every element with what lies below it, keeping its membership or adding to it.
    pub(super) fn map(&self, mut change: impl FnMut(&Element, bool, &FieldSet) -> (bool, FieldSet)) -> Self {
        let nodes = self.0.iter().map(|(element, node)| {
            let (member, children) = change(element, node.member, &node.children);
            (element.clone(), Node { member, children })
        });
        Self(nodes.collect())
    }

    /// The form `fieldsV1`.
    pub(super) fn encode(&self) -> Value {
        self.encode_below(false).into()
    }

    /// What lies below a step, which is itself in the set or not.
    fn encode_below(&self, member: bool) -> Map<String, Value> {
        if self.is_empty() {
            return Map::new();
        }
        let mut fields = Map::with_capacity(self.0.len() + usize::from(member));
        if member {
            fields.insert(".".into(), Map::new().into());
        }
        for (element, node) in &self.0 {
            fields.insert(element.encode(), node.children.encode_below(node.member).into());
        }
        fields
    }

    /// Reads the form `fieldsV1`.
    pub(super) fn decode(fields: &Value) -> Result<Self, FieldSetError> {
        let fields = fields.as_object().ok_or_else(|| FieldSetError(fields.to_string()))?;
        let mut set = Self::default();
        for (name, inside) in fields {
            if name == "." {
                continue;
            }
            let element = Element::decode(name)?;
            let inside_fields = inside.as_object().ok_or_else(|| FieldSetError(inside.to_string()))?;
            let member = inside_fields.is_empty() || inside_fields.contains_key(".");
            set.0.insert(element, Node { member, children: Self::decode(inside)? });
        }
        Ok(set)
    }

    fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = Element::Field((*first).to_owned());
        if rest.is_empty() {
            self.0.remove(&element);
        } else if let Some(node) = self.0.get_mut(&element) {
            node.children.cut(rest);
            if node.is_empty() {
                self.0.remove(&element);
            }
        }
    }
}

/// Reads a set and works with it as the owners of fields are worked with; gives it as it is written.
pub(crate) fn fuzz(fields: &Value) -> Option<Value> {
    let set = FieldSet::decode(fields).ok()?;
    let written = set.encode();
    let again = FieldSet::decode(&written).expect("what was written can be read");
    assert!(again == set, "a set is not what was written: {written}");
    assert!(set.intersection(&again) == set, "a set shares all with itself: {written}");
    assert!(set.clone().difference(&again).is_empty(), "a set lacks nothing of itself: {written}");
    let mut both = again;
    both.absorb(set.clone());
    assert!(both == set, "a set that gets what it has is the same: {written}");
    let mut paths = 0;
    let _ = set.each(&mut Vec::new(), &mut |_| {
        paths += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(paths, set.count(), "{written}");
    Some(written)
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl Element {
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    fn encode(&self) -> String {
        match self {
            // Most are such, and each object has many.
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(keys) => {
                let keys: Map<String, Value> = keys.iter().cloned().collect();
                format!("k:{}", Value::Object(keys))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn decode(text: &str) -> Result<Self, FieldSetError> {
        let wrong = || FieldSetError(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "f" => Ok(Self::Field(rest.to_owned())),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|_| wrong())?;
                let mut keys: Vec<_> = keys.into_iter().collect();
                keys.sort_by(|(a, _), (b, _)| a.cmp(b));
                Ok(Self::Key(keys))
            }
            "v" => serde_json::from_str(rest).map(Self::Value).map_err(|_| wrong()),
            "i" => rest.parse().map(Self::Index).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// Prints one step as conflicts do: `.spec`, `[name="a"]`, `[="v"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = |value: &Value| match value {
            Value::String(text) => quote(text),
            other => other.to_string(),
        };
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={}", print(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", print(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (Self::Value(a), Self::Value(b)) => compare(a, b),
            (Self::Key(a), Self::Key(b)) => {
                let pairs = a.iter().zip(b);
                let first = pairs
                    .map(|((a_name, a), (b_name, b))| a_name.cmp(b_name).then_with(|| compare(a, b)))
                    .find(|order| order.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// A total order of values: numbers, texts, booleans, then all else by its text.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_read_and_print_as_fields_v1() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:set": {"v:\"x\"": {}}},
        });
        let set = FieldSet::decode(&text).expect("valid");
        assert_eq!(set.encode(), text);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
                ".spec.set[=\"x\"]",
            ]
        );
        assert!(FieldSet::decode(&json!({"x:a": {}})).is_err());
        assert!(FieldSet::decode(&json!({"f:a": 1})).is_err());
    }

    #[test]
    fn sets_combine() {
        let set = |text: Value| FieldSet::decode(&text).expect("valid");
        let (a, b) = (
            set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}})),
            set(json!({"f:b": {"f:c": {}}, "f:d": {}})),
        );
        let mut all = a.clone();
        all.absorb(b.clone());
        assert_eq!(all, set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:d": {}})));
        assert_eq!(a.intersection(&b), set(json!({"f:b": {"f:c": {}}})));
        assert_eq!(a.clone().difference(&b), set(json!({"f:a": {}, "f:b": {}})));
        assert_eq!(a.clone().without(&[&["b", "c"]]), set(json!({"f:a": {}, "f:b": {}})));
        assert_eq!(a.without(&[&["b"], &["a"]]), FieldSet::default());
    }
}
