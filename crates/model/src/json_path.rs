//! JSONPath, as Kubernetes has it: where in a document values stand that are shown or selected by.
//!
//! Fields (`.a.b`, `['a']`, a dot in a name as `\.`), items and ranges of lists (`[0]`, `[-1]`, `[1:3]`), all of
//! them (`[*]`), several (`[0,2]`, `['a','b']`), whatever is below (`..`), and items of which something is so
//! (`[?(@.type=="Ready")]`). Braces around it may be left out. What is not there gives nothing.
//!
//! Source: Kubernetes documentation, "JSONPath Support".

use serde_json::Value;

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(pub String);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Of lists those in a range, of objects all fields.
    All,
    Range(Range),
    Several(Vec<Self>),
    Below,
    Where(Box<Filter>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Range {
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// None asks that there is something.
    compare: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A path has no more steps.
const STEPS: usize = 64;
/// One path leads to no more values.
const FOUND: usize = 4096;
/// No more values are looked at on the way.
const LOOKED_AT: usize = 1 << 17;

impl std::str::FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let text = text.strip_prefix(['$', '@']).unwrap_or(text);
        let mut reader = Reader { rest: text, depth: 0 };
        let steps = reader.steps()?;
        if reader.rest.is_empty() { Ok(Self(steps)) } else { Err(unexpected(reader.rest)) }
    }
}

impl JsonPath {
    /// The values that it leads to.
    pub fn find<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        self.find_among(document, &mut { LOOKED_AT })
    }

    /// As [`JsonPath::find`], where `left` more values may be looked at, of all paths that share it: less is found
    /// once there is nothing left.
    pub fn find_among<'v>(&self, document: &'v Value, left: &mut usize) -> Vec<&'v Value> {
        let mut found = vec![document];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.follow(value, &mut next, left);
                if next.len() > FOUND {
                    next.truncate(FOUND);
                    break;
                }
            }
            found = next;
        }
        found
    }
}

/// A value as it is printed.
pub fn print(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>, left: &mut usize) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => found.extend(fields.get(name)),
            (Self::All, Value::Object(fields)) => found.extend(fields.values()),
            (Self::All, Value::Array(items)) => found.extend(items),
            (Self::Range(range), Value::Array(items)) => range.pick(items, found),
            (Self::Several(steps), value) => steps.iter().for_each(|step| step.follow(value, found, left)),
            (Self::Below, value) => below(value, found, left),
            (Self::Where(filter), Value::Array(items)) => {
                for item in items {
                    if *left == 0 {
                        return;
                    }
                    *left -= 1;
                    if filter.takes(item, left) {
                        found.push(item);
                    }
                }
            }
            _ => {}
        }
    }
}

fn below<'v>(value: &'v Value, found: &mut Vec<&'v Value>, left: &mut usize) {
    if *left == 0 || found.len() > FOUND {
        return;
    }
    *left -= 1;
    found.push(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|inner| below(inner, found, left)),
        Value::Array(items) => items.iter().for_each(|inner| below(inner, found, left)),
        _ => {}
    }
}

impl Range {
    fn pick<'v>(&self, items: &'v [Value], found: &mut Vec<&'v Value>) {
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let place = |at: i64| if at < 0 { at + length } else { at };
        let within = |at: i64| usize::try_from(place(at).clamp(0, length)).unwrap_or_default();
        let (from, to) = (within(self.from.unwrap_or(0)), within(self.to.unwrap_or(length)));
        let step = usize::try_from(self.step.unwrap_or(1)).unwrap_or(1).max(1);
        found.extend(items.get(from..to).unwrap_or_default().iter().step_by(step));
    }
}

impl Filter {
    fn takes(&self, item: &Value, left: &mut usize) -> bool {
        let mut read = |operand: &Operand| match operand {
            Operand::Path(path) => path.find_among(item, left).first().map(|value| (*value).clone()),
            Operand::Value(value) => Some(value.clone()),
        };
        let first = read(&self.left);
        let Some((operator, right)) = &self.compare else { return first.is_some() };
        let (Some(a), Some(b)) = (first, read(right)) else { return false };
        let order = match (&a, &b) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().unwrap_or_default().partial_cmp(&b.as_f64().unwrap_or_default())
            }
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match operator {
            Operator::Equal => a == b || order.is_some_and(|order| order.is_eq()),
            Operator::NotEqual => a != b && !order.is_some_and(|order| order.is_eq()),
            Operator::Less => order.is_some_and(|order| order.is_lt()),
            Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Operator::Greater => order.is_some_and(|order| order.is_gt()),
            Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

fn unexpected(rest: &str) -> JsonPathError {
    JsonPathError(format!("unexpected {:?}", rest.chars().take(32).collect::<String>()))
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    fn steps(&mut self) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        loop {
            if steps.len() > STEPS {
                return Err(JsonPathError("it has too many steps".to_owned()));
            }
            if self.take("..") {
                steps.push(Step::Below);
                if !self.rest.starts_with('[') && !self.rest.is_empty() {
                    steps.push(self.name());
                }
            } else if self.take(".") {
                // A dot alone is the document, and one before brackets says nothing.
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.name());
                }
            } else if self.take("[") {
                steps.push(self.brackets()?);
            } else {
                return Ok(steps);
            }
        }
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Step {
        let (mut name, mut escaped, mut length) = (String::new(), false, self.rest.len());
        for (at, c) in self.rest.char_indices() {
            match c {
                _ if escaped => {
                    escaped = false;
                    name.push(c);
                }
                '\\' => escaped = true,
                '.' | '[' | ']' | ' ' | ')' | '=' | '!' | '<' | '>' | ',' => {
                    length = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[length..];
        if name == "*" { Step::All } else { Step::Field(name) }
    }

    fn brackets(&mut self) -> Result<Step, JsonPathError> {
        self.spaces();
        if self.take("?") {
            return self.filter();
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(self.one()?);
            self.spaces();
            if self.take("]") {
                break;
            }
            if !self.take(",") || steps.len() > STEPS {
                return Err(unexpected(self.rest));
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Several(steps) })
    }

    fn one(&mut self) -> Result<Step, JsonPathError> {
        if self.take("*") {
            return Ok(Step::All);
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Step::Field(self.quoted()?));
        }
        let mut numbers = vec![self.number()];
        while self.take(":") {
            numbers.push(self.number());
        }
        match numbers.as_slice() {
            [Some(at)] => {
                let to = if *at == -1 { None } else { Some(at.saturating_add(1)) };
                Ok(Step::Range(Range { from: Some(*at), to, step: None }))
            }
            [from, to] => Ok(Step::Range(Range { from: *from, to: *to, step: None })),
            [from, to, step] if *step != Some(0) => {
                Ok(Step::Range(Range { from: *from, to: *to, step: *step }))
            }
            _ => Err(JsonPathError(format!("invalid array index {}", self.rest))),
        }
    }

    fn number(&mut self) -> Option<i64> {
        let sign = usize::from(self.rest.starts_with('-'));
        let digits = self.rest[sign..].bytes().take_while(|byte| byte.is_ascii_digit()).count();
        let number = self.rest[..sign + digits].parse().ok()?;
        self.rest = &self.rest[sign + digits..];
        Some(number)
    }

    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let (mut text, mut escaped) = (String::new(), false);
        for (at, c) in chars {
            match c {
                _ if escaped => {
                    escaped = false;
                    text.push(c);
                }
                '\\' => escaped = true,
                c if Some(c) == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(JsonPathError("unterminated quoted string".to_owned()))
    }

    fn filter(&mut self) -> Result<Step, JsonPathError> {
        self.depth += 1;
        if self.depth > 4 {
            return Err(JsonPathError("filters nest too deep".to_owned()));
        }
        if !self.take("(") {
            return Err(unexpected(self.rest));
        }
        let left = self.operand()?;
        self.spaces();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = operators.into_iter().find(|(text, _)| self.take(text)).map(|(_, operator)| operator);
        let compare = match operator {
            Some(operator) => Some((operator, self.operand()?)),
            None => None,
        };
        self.spaces();
        self.depth -= 1;
        if self.take(")") && self.take("]") {
            Ok(Step::Where(Box::new(Filter { left, compare })))
        } else {
            Err(JsonPathError("unterminated filter".to_owned()))
        }
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        self.spaces();
        if self.take("@") || self.take("$") {
            return Ok(Operand::Path(JsonPath(self.steps()?)));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Operand::Value(self.quoted()?.into()));
        }
        for (word, value) in [("true", true), ("false", false)] {
            if self.take(word) {
                return Ok(Operand::Value(value.into()));
            }
        }
        let end = self.rest.find([')', '=', '!', '<', '>', ' ']).unwrap_or(self.rest.len());
        let number: serde_json::Number = self.rest[..end].parse().map_err(|_| unexpected(self.rest))?;
        self.rest = &self.rest[end..];
        Ok(Operand::Value(Value::Number(number)))
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &[Value]) {
        let document = json!({
            "spec": {"replicas": 3, "a.b": "dot", "list": [1, 2, 3, 4], "on": true},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 2}, {"type": "Other", "status": "False"},
            ]},
        });
        let path: JsonPath = path.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let found: Vec<Value> = path.find(&document).into_iter().cloned().collect();
        assert_eq!(found, expected, "{path:?}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".spec.replicas", &[json!(3)]);
        check("{.spec.replicas}", &[json!(3)]);
        check(".spec['replicas']", &[json!(3)]);
        check(".spec.a\\.b", &[json!("dot")]);
        check(".spec['a.b']", &[json!("dot")]);
        check(".spec.missing.more", &[]);
        check(".spec.list[0]", &[json!(1)]);
        check(".spec.list[-1]", &[json!(4)]);
        check(".spec.list[-1:]", &[json!(4)]);
        check(".spec.list[1:3]", &[json!(2), json!(3)]);
        check(".spec.list[::2]", &[json!(1), json!(3)]);
        check(".spec.list[0,3]", &[json!(1), json!(4)]);
        check(".spec.list[*]", &[json!(1), json!(2), json!(3), json!(4)]);
        check(".spec.list[9]", &[]);
        check(".spec.list[9223372036854775807]", &[]);
        check(".spec.list[-9223372036854775808]", &[]);
        check(".spec.list[3:1]", &[]);
        check(".status.conditions[?(@.type==\"Ready\")].status", &[json!("True")]);
        check(".status.conditions[?(@.type == 'Ready')].status", &[json!("True")]);
        check(".status.conditions[?(@.n)].type", &[json!("Ready")]);
        check(".status.conditions[?(@.n>1)].type", &[json!("Ready")]);
        check(".status.conditions[?(@.n>2)].type", &[]);
        check(".status.conditions[*].status", &[json!("True"), json!("False")]);
        check("..replicas", &[json!(3)]);
        check(".spec['replicas','on']", &[json!(3), json!(true)]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [".spec[", ".spec[?(@.a", "spec", ".a]", ".a[x]", ".a[?(@.b==)]", ".a['b]", ".a[0:1:0]"] {
            assert!(text.parse::<JsonPath>().is_err(), "{text}");
        }
        let deep = ".a".repeat(1000);
        assert!(deep.parse::<JsonPath>().is_err());
    }

    #[test]
    fn no_path_takes_long() {
        let wide = Value::Array(vec![json!({"a": [1, 2, 3]}); 1000]);
        let document = json!({"x": vec![wide; 100]});
        let path: JsonPath = "........a".parse().expect("a path");
        assert!(path.find(&document).len() <= FOUND);
        // Those that share what may be looked at find nothing more once it is used up.
        let mut left = 20;
        let path: JsonPath = "..a".parse().expect("a path");
        let first = path.find_among(&json!([{"a": 1}, {"a": 2}]), &mut left).len();
        let found: usize =
            (0..10).map(|_| path.find_among(&json!([{"a": 1}, {"a": 2}]), &mut left).len()).sum();
        assert_eq!((first, left), (2, 0));
        assert!(found < 20, "{found}");
    }
}
