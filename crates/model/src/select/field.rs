//! Field selectors: `status.phase=Running,metadata.name!=a`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::SelectorError;
use crate::field::quote;
use crate::object::Object;

/// Conditions on fields that must all hold. Without any, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    conditions: Vec<Condition>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The field, such as `metadata.name`.
    pub field: String,
    /// Whether the value must be this one, or must not.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// A field that objects can be selected by.
#[derive(Clone, Debug)]
pub struct Selectable {
    name: Cow<'static, str>,
    read: Read,
    indexed: bool,
}

#[derive(Clone, Debug)]
enum Read {
    /// What stands at a place; the text where there is nothing.
    At(Vec<String>, &'static str),
    /// What a function makes of the object.
    By(fn(&Object) -> Cow<'_, str>),
}

/// Conditions on fields that objects can be selected by, ready to be asked of many objects.
#[derive(Clone, Debug, Default)]
pub struct SelectedFields {
    conditions: Vec<(Selectable, Condition)>,
}

impl Selectable {
    /// A field that holds a text. Absent it reads as the empty one.
    pub fn text(name: impl Into<Cow<'static, str>>) -> Self {
        Self::with_absent(name.into(), "")
    }

    /// A field that holds a whole number. Absent it reads as 0.
    pub fn number(name: impl Into<Cow<'static, str>>) -> Self {
        Self::with_absent(name.into(), "0")
    }

    /// A field that is true or false. Absent it is false.
    pub fn flag(name: impl Into<Cow<'static, str>>) -> Self {
        Self::with_absent(name.into(), "false")
    }

    /// A field that is made from others.
    pub fn by(name: impl Into<Cow<'static, str>>, read: fn(&Object) -> Cow<'_, str>) -> Self {
        Self { name: name.into(), read: Read::By(read), indexed: false }
    }

    /// The same field, for which watches with one value each are many, such as a pod's node: a change
    /// of an object is then no matter to those with other values. Only for fields in the first two levels.
    #[must_use]
    pub fn indexed(self) -> Self {
        Self { indexed: true, ..self }
    }

    /// The same field, which stands at another place than its name says.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        if let Read::At(known, _) = &mut self.read {
            *known = split(place);
        }
        self
    }

    /// What it is called, such as `status.phase`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn with_absent(name: Cow<'static, str>, absent: &'static str) -> Self {
        Self { read: Read::At(split(&name), absent), name, indexed: false }
    }

    /// Where in an object it stands; nothing where it is made from others.
    pub fn place(&self) -> &[String] {
        match &self.read {
            Read::At(place, _) => place,
            Read::By(_) => &[],
        }
    }

    /// Its value, where this scalar stands at its place.
    pub fn or_absent<'a>(&'a self, scalar: Option<Cow<'a, str>>) -> Cow<'a, str> {
        let absent = match &self.read {
            Read::At(_, absent) => absent,
            Read::By(_) => "",
        };
        scalar.unwrap_or(Cow::Borrowed(absent))
    }

    /// Its value in an object, as text.
    pub fn value<'a>(&'a self, object: &'a Object) -> Cow<'a, str> {
        match &self.read {
            Read::By(read) => read(object),
            Read::At(place, absent) => {
                let found = place.iter().try_fold(object.value(), |inside, name| inside.get(name));
                match found {
                    Some(Value::String(text)) => Cow::Borrowed(text),
                    Some(Value::Null) | None => Cow::Borrowed(absent),
                    // Numbers and truth are compared as they are written.
                    Some(other) => Cow::Owned(other.to_string()),
                }
            }
        }
    }
}

impl SelectedFields {
    /// Whether an object meets every condition.
    pub fn matches(&self, object: &Object) -> bool {
        let meets = |(field, condition): &(Selectable, Condition)| {
            (field.value(object) == condition.value) == condition.equal
        };
        self.conditions.iter().all(meets)
    }

    /// Whether an object meets every condition, where `value` gives that of a field.
    pub fn match_values<'a>(&'a self, value: impl Fn(&'a Selectable) -> Cow<'a, str>) -> bool {
        self.conditions.iter().all(|(field, condition)| (value(field) == condition.value) == condition.equal)
    }

    /// Whether all fields lie in the object's first two levels.
    pub fn are_shallow(&self) -> bool {
        let shallow = |(field, _): &(Selectable, Condition)| match &field.read {
            Read::At(place, _) => place.len() <= 2,
            Read::By(_) => false,
        };
        self.conditions.iter().all(shallow)
    }

    /// An indexed field that must have one value, with that value.
    pub fn indexed(&self) -> Option<(&Selectable, &str)> {
        let (field, condition) = self.conditions.iter().find(|(field, condition)| {
            condition.equal && field.indexed && matches!(field.place().len(), 1 | 2)
        })?;
        Some((field, &condition.value))
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.conditions.is_empty()
    }

    /// How many conditions there are.
    pub fn len(&self) -> usize {
        self.conditions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}

impl FieldSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects what has this value in this field.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { conditions: vec![Condition { field: field.into(), equal: true, value: value.into() }] }
    }

    /// Asks for this besides.
    pub fn also(&mut self, field: &str, equal: bool, value: &str) {
        self.conditions.push(Condition { field: field.into(), equal, value: value.into() });
    }

    /// The conditions with the fields that they are on: `selectable`, name and namespace. Fails on
    /// others, in Kubernetes' words.
    pub fn among(&self, selectable: &[Selectable]) -> Result<SelectedFields, SelectorError> {
        let mut conditions = Vec::with_capacity(self.conditions.len());
        for condition in &self.conditions {
            let name = condition.field.as_str();
            let known = selectable.iter().find(|field| field.name == name).cloned();
            let Some(field) = known.or_else(|| is_metadata(name).then(|| Selectable::text(name.to_owned())))
            else {
                return Err(SelectorError(if selectable.is_empty() {
                    format!(
                        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        quote(name)
                    )
                } else {
                    format!("field label not supported: {name}")
                }));
            };
            conditions.push((field, condition.clone()));
        }
        Ok(SelectedFields { conditions })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.conditions.is_empty()
    }

    /// What it asks for.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The value that a field must have, if one is asked for: lets a list by name become a get.
    pub fn required(&self, field: &str) -> Option<&str> {
        let condition =
            self.conditions.iter().find(|condition| condition.equal && condition.field == field)?;
        Some(&condition.value)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.conditions.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if condition.equal { "=" } else { "!=" };
            write!(f, "{}{operator}{}", condition.field, escape(&condition.value))?;
        }
        Ok(())
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut conditions = Vec::new();
        for term in split_unescaped(text) {
            if term.is_empty() {
                continue;
            }
            let operator = ["!=", "==", "="]
                .into_iter()
                .filter_map(|operator| Some((find_unescaped(term, operator)?, operator)))
                // At the same place the longer operator wins, since it comes first above.
                .min_by_key(|(at, _)| *at);
            let Some((at, operator)) = operator else {
                let message = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(SelectorError(message));
            };
            let field = term[..at].to_owned();
            let value = unescape(&term[at + operator.len()..])?;
            conditions.push(Condition { field, equal: operator != "!=", value });
        }
        Ok(Self { conditions })
    }
}

fn is_metadata(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

fn split(field: &str) -> Vec<String> {
    field.split('.').map(str::to_owned).collect()
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn find_unescaped(term: &str, operator: &str) -> Option<usize> {
    let mut escaped = false;
    term.char_indices().find_map(|(at, c)| match c {
        _ if escaped => {
            escaped = false;
            None
        }
        '\\' => {
            escaped = true;
            None
        }
        _ => term[at..].starts_with(operator).then_some(at),
    })
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let sequence: String = ['\\'].into_iter().chain(next).collect();
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_select() {
        let pod = Object::from_value(json!({
            "metadata": {"name": "a=b", "namespace": "n"}, "status": {"phase": "Running"},
        }))
        .expect("an object");
        let fields = [
            Selectable::text("status.phase"),
            Selectable::text("spec.nodeName"),
            Selectable::flag("spec.hostNetwork"),
            Selectable::number("status.replicas"),
            Selectable::text("what").at("status.phase"),
            Selectable::by("both", |object| format!("{}/{}", object.name(), object.kind()).into()),
        ];
        let check = |text: &str, expected: bool| {
            let selector: FieldSelector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let selected = selector.among(&fields).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selected.matches(&pod), expected, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector));
        };
        check("", true);
        check("status.phase=Running", true);
        check("status.phase==Running,metadata.namespace=n", true);
        check("status.phase!=Running", false);
        check("spec.nodeName=", true);
        check("spec.hostNetwork=false", true);
        check("metadata.name=a\\=b", true);
        check("status.replicas=0,what=Running,both=a\\=b/", true);
        check("what!=Running", false);
    }

    #[test]
    fn malformed_and_unknown_fields_are_refused() {
        assert!("a".parse::<FieldSelector>().is_err());
        assert!("a=\\x".parse::<FieldSelector>().is_err());
        let selector = FieldSelector::equal("spec.foo", "x");
        let check = |fields: &[Selectable], expected: &str| {
            assert_eq!(selector.among(fields).expect_err("unknown").to_string(), expected);
        };
        check(&[Selectable::text("status.phase")], "field label not supported: spec.foo");
        check(
            &[],
            "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        );
        assert!(selector.among(&[Selectable::text("spec.foo".to_owned())]).is_ok());
        assert_eq!(selector.required("spec.foo"), Some("x"));
    }
}
