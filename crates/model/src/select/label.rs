//! Label selectors, in both forms: `app=web,tier in (a,b)` and `matchLabels`/`matchExpressions`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::SelectorError;
use crate::field::{FieldError, Path};
use crate::names;
use crate::object::{Object, StringMap};

/// Requirements on labels that must all hold. Without any, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of its value.
    pub test: Test,
}

/// What is asked of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// It is this one (`=`, `==`).
    Equals(String),
    /// It is missing or another one (`!=`).
    NotEquals(String),
    /// It is one of these.
    In(BTreeSet<String>),
    /// It is missing or none of these.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
    /// It is a larger whole number.
    GreaterThan(i64),
    /// It is a smaller whole number.
    LessThan(i64),
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing, as an absent `LabelSelector` of an object does.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Selects what has all of these labels, as a Service's `spec.selector` does.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        labels
            .into_iter()
            .map(|(key, value)| Requirement { key: key.to_owned(), test: Test::Equals(value.to_owned()) })
            .collect()
    }

    /// Reads `metav1.LabelSelector`: `matchLabels` and `matchExpressions`. [`None`] selects nothing,
    /// an empty one everything.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let empty = Map::new();
        let fields = selector.as_object().unwrap_or(&empty);
        let mut all =
            Self::from_labels(StringMap::new(fields.get("matchLabels").and_then(Value::as_object)).iter());
        for expression in fields.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let values: BTreeSet<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            let test = match text("operator") {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                other => {
                    let message =
                        format!("{} is not a valid label selector operator", crate::field::quote(other));
                    return Err(SelectorError(message));
                }
            };
            all.requirements.push(Requirement { key: text("key").to_owned(), test });
        }
        all.sort();
        Ok(all)
    }

    /// Whether an object's labels meet every requirement.
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_labels(object.labels())
    }

    /// Whether these labels meet every requirement.
    pub fn matches_labels(&self, labels: StringMap<'_>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.test.holds(labels.get(&requirement.key)))
    }

    /// Whether labels meet every requirement, where `value` gives that of a key.
    pub fn match_values<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self.requirements.iter().all(|requirement| requirement.test.holds(value(&requirement.key)))
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// What it asks for.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    fn sort(&mut self) {
        self.requirements.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

impl FromIterator<Requirement> for LabelSelector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut all = Self { requirements: requirements.into_iter().collect(), nothing: false };
        all.sort();
        all
    }
}

impl Test {
    /// Whether a label's value, or its absence, passes.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Equals(wanted) => value == Some(wanted),
            Self::NotEquals(unwanted) => value != Some(unwanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Self::NotIn(unwanted) => value.is_none_or(|value| !unwanted.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(limit) => number().is_some_and(|number| number > *limit),
            Self::LessThan(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let key = &requirement.key;
            let join =
                |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match &requirement.test {
                Test::Equals(value) => write!(f, "{key}={value}")?,
                Test::NotEquals(value) => write!(f, "{key}!={value}")?,
                Test::In(values) => write!(f, "{key} in ({})", join(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", join(values))?,
                Test::Exists => write!(f, "{key}")?,
                Test::DoesNotExist => write!(f, "!{key}")?,
                Test::GreaterThan(limit) => write!(f, "{key}>{limit}")?,
                Test::LessThan(limit) => write!(f, "{key}<{limit}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    /// Reads the string form; an empty text selects everything.
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: tokens(text), position: 0 };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::End => break,
                Token::Word(_) | Token::Symbol("!") => {
                    let requirement = parser
                        .requirement()
                        .map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?;
                    requirements.push(requirement);
                    match parser.next() {
                        Token::End => break,
                        Token::Symbol(",") => match parser.peek() {
                            Token::Word(_) | Token::Symbol("!") => {}
                            other => return fail(format!("found '{other}', expected: identifier after ','")),
                        },
                        other => return fail(format!("found '{other}', expected: ',' or 'end of string'")),
                    }
                }
                other => {
                    return fail(format!("found '{other}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
        Ok(requirements.into_iter().collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    Unknown(&'a str),
    End,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => f.write_str(text),
            Self::Symbol(text) => f.write_str(text),
            Self::Unknown(text) => write!(f, "error expected: keyword found '{text}'"),
            Self::End => Ok(()),
        }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Symbol("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{other}', expected: identifier")),
        };
        if let Some(error) = invalid(&Path::root("key"), key, names::qualified(key)) {
            return Err(error.replacen("key: ", "<nil>: ", 1));
        }
        let made = |test| Ok(Requirement { key: key.to_owned(), test });
        if absent {
            return made(Test::DoesNotExist);
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return made(Test::Exists);
        }
        let test = match self.next() {
            Token::Word("in") => Test::In(self.values()?),
            Token::Word("notin") => Test::NotIn(self.values()?),
            Token::Symbol("=" | "==") => Test::Equals(self.value()?),
            Token::Symbol("!=") => Test::NotEquals(self.value()?),
            Token::Symbol(">") => Test::GreaterThan(self.number()?),
            Token::Symbol("<") => Test::LessThan(self.number()?),
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values: Vec<&String> = match &test {
            Test::Equals(value) | Test::NotEquals(value) => vec![value],
            Test::In(values) | Test::NotIn(values) => values.iter().collect(),
            _ => Vec::new(),
        };
        let list = Path::root("values");
        for (index, value) in values.into_iter().enumerate() {
            let errors = names::label_value(value);
            let path = list.index(index);
            if let Some(error) = invalid(&path.key(key), value, errors) {
                return Err(error);
            }
        }
        made(test)
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let text = self.value()?;
        let list = Path::root("values");
        text.parse().map_err(|_| {
            let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
            FieldError::invalid(&list.index(0), text.clone(), detail).to_string()
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{other}' expected: '('")),
        }
        let mut values = BTreeSet::new();
        // Kubernetes takes empty places between commas for empty values.
        let mut last = "";
        loop {
            match self.next() {
                Token::Word(word) => {
                    if !matches!(self.peek(), Token::Symbol("," | ")")) {
                        return Err(format!("found '{}', expected: ',' or ')'", self.peek()));
                    }
                    last = word;
                    values.insert(word.to_owned());
                }
                Token::Symbol(",") => {
                    if last.is_empty() {
                        values.insert(String::new());
                    }
                    last = "";
                    if self.peek() == Token::Symbol(")") {
                        values.insert(String::new());
                    }
                }
                Token::Symbol(")") => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    return Ok(values);
                }
                other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
            }
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let special = |c: char| "=!(),><".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let taken = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        } else {
            let end = rest.find(|c: char| special(c) || c.is_whitespace()).unwrap_or(rest.len());
            let end = end.max(rest.chars().next().map_or(1, char::len_utf8));
            let word = &rest[..end];
            tokens.push(if word.starts_with(special) { Token::Unknown(word) } else { Token::Word(word) });
            end
        };
        rest = rest[taken..].trim_start();
    }
    tokens
}

fn invalid(path: &Path<'_>, value: &str, errors: Vec<String>) -> Option<String> {
    if errors.is_empty() {
        None
    } else {
        Some(FieldError::invalid(path, value, errors.join("; ")).to_string())
    }
}

fn fail<T>(message: String) -> Result<T, SelectorError> {
    Err(SelectorError(message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &LabelSelector, labels: Value) -> bool {
        selector.matches_labels(StringMap::new(labels.as_object()))
    }

    #[test]
    fn the_string_form_selects() {
        let check = |text: &str, labels: Value, expected: bool| {
            let selector: LabelSelector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(matches(&selector, labels), expected, "{text}");
        };
        check("", json!({}), true);
        check("a=1", json!({"a": "1"}), true);
        check("a==1,b!=2", json!({"a": "1"}), true);
        check("a==1,b!=2", json!({"a": "1", "b": "2"}), false);
        check("a in (1,2)", json!({"a": "2"}), true);
        check("a notin (1, 2)", json!({"a": "2"}), false);
        check("a notin (1, 2)", json!({}), true);
        check("a", json!({"a": ""}), true);
        check("!a", json!({"a": ""}), false);
        check("a=", json!({"a": ""}), true);
        check("a>1", json!({"a": "2"}), true);
        check("a<1", json!({"a": "x"}), false);
        check("in in (in,notin)", json!({"in": "notin"}), true);
        check("x in (a,,b)", json!({"x": ""}), true);
    }

    #[test]
    fn a_selector_prints_as_it_reads() {
        for text in ["a=1,b!=2,c in (x,y),d notin (z),e,!f,g>3,h<4", ""] {
            let selector: LabelSelector = text.parse().expect("valid");
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn malformed_selectors_are_refused_in_kubernetes_words() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<LabelSelector>().expect_err(text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        };
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("a,", "found '', expected: identifier after ','");
        check("a in b", "found 'b' expected: '('");
        check("=a", "found '=', expected: !, identifier, or 'end of string'");
        check("-a=b", "name part must consist of alphanumeric characters");
        check("a=-", "a valid label must be an empty string or consist of");
    }

    #[test]
    fn the_object_form_selects() {
        let selector = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        let selector = LabelSelector::from_json(Some(&selector)).expect("valid");
        assert_eq!(selector.to_string(), "app=web,!old,tier in (a,b)");
        assert!(matches(&selector, json!({"app": "web", "tier": "a"})));
        assert!(!matches(&selector, json!({"app": "web", "tier": "a", "old": ""})));
        let nothing = LabelSelector::from_json(None).expect("valid");
        assert!(!matches(&nothing, json!({})));
        let everything = LabelSelector::from_json(Some(&json!({}))).expect("valid");
        assert!(matches(&everything, json!({"a": "1"})));
    }
}
