//! What is wrong with a JSON document, in the words of Go's decoder: programs that were written against Docker's
//! daemon look for them.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why the first value in `text` is none: what Go's decoder says of it. `None` where it is well formed.
pub(crate) fn syntax_error(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    scan.document().err().map(|wrong| match wrong {
        Wrong::End => "unexpected EOF".to_owned(),
        Wrong::Character(at, context) => format!("invalid character {} {context}", quoted(text[at])),
    })
}

/// What Go's decoder says of a well-formed document that is no `T`. `None` where it says nothing of the kind.
pub(crate) fn type_error<T: DeserializeOwned>(mut document: Value) -> Option<String> {
    if size_of(&document) > EXPLAINED {
        return None;
    }
    let wrong = T::deserialize(&document).err()?.to_string();
    let mut way = Vec::new();
    // What is still wrong with a part alone is wrong in that part.
    while let Some(key) = narrow::<T>(&mut document, &way, &wrong) {
        way.push(key);
    }
    explain(type_name::<T>(), &field(&way), &wrong)
}

/// What Go's decoder says of a well-formed document with a number that is too large for any. `None` where there is none.
pub(crate) fn number_error(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    while let Some(byte) = scan.peek() {
        match byte {
            b'"' => scan.string().ok()?,
            b'-' | b'0'..=b'9' => {
                let first = scan.at;
                scan.number().ok()?;
                let number = std::str::from_utf8(&text[first..scan.at]).ok()?;
                if number.parse::<f64>().is_ok_and(f64::is_infinite) {
                    return Some(format!(
                        "json: cannot unmarshal number {} into Go value of type float64",
                        told(number)
                    ));
                }
            }
            _ => scan.at += 1,
        }
    }
    None
}

/// So many digits of a number are told.
const DIGITS: usize = 64;

fn told(number: &str) -> String {
    match number.get(..DIGITS) {
        Some(first) if number.len() > DIGITS => format!("{first}…"),
        _ => number.to_owned(),
    }
}

/// The longest document, by its parts, in which the one that does not fit is looked for.
const EXPLAINED: usize = 1024;

fn size_of(document: &Value) -> usize {
    match document {
        Value::Array(parts) => 1 + parts.iter().map(size_of).sum::<usize>(),
        Value::Object(parts) => 1 + parts.values().map(size_of).sum::<usize>(),
        _ => 1,
    }
}

/// Leaves of what is at the end of `way` only the part that is `wrong` by itself; its name, none for an element of a
/// list.
fn narrow<T: DeserializeOwned>(
    document: &mut Value,
    way: &[Option<String>],
    wrong: &str,
) -> Option<Option<String>> {
    let parts: Vec<(Option<String>, Value)> = match at(document, way)? {
        Value::Object(parts) => parts.iter().map(|(key, part)| (Some(key.clone()), part.clone())).collect(),
        Value::Array(parts) => parts.iter().map(|part| (None, part.clone())).collect(),
        _ => return None,
    };
    for (key, part) in parts {
        let mut alone = document.clone();
        *at(&mut alone, way)? = match &key {
            Some(key) => Value::Object([(key.clone(), part)].into_iter().collect()),
            None => Value::Array(vec![part]),
        };
        if T::deserialize(&alone).is_err_and(|error| error.to_string() == wrong) {
            *document = alone;
            return Some(key);
        }
    }
    None
}

/// What is at the end of `way`, of lists their only element.
fn at<'a>(document: &'a mut Value, way: &[Option<String>]) -> Option<&'a mut Value> {
    way.iter().try_fold(document, |here, key| match key {
        Some(key) => here.get_mut(key),
        None => here.get_mut(0),
    })
}

/// What Go says where `said` is what serde says: `field` is the way to what does not fit, and `root` what Go calls
/// the type of the whole.
fn explain(root: &str, field: &str, said: &str) -> Option<String> {
    let (found, expected) = said.split_once(", expected ")?;
    let kind = match expected.split(" at line ").next()?.trim() {
        number @ ("i8" | "i16" | "i32" | "i64") => format!("int{}", &number[1..]),
        number @ ("u8" | "u16" | "u32" | "u64") => format!("uint{}", &number[1..]),
        "f64" => "float64".to_owned(),
        "a string" => "string".to_owned(),
        "a boolean" => "bool".to_owned(),
        "a sequence" => "[]string".to_owned(),
        "a map" => "map[string]string".to_owned(),
        other => other.strip_prefix("struct ")?.to_owned(),
    };
    let of_numbers = kind.starts_with("int") || kind.starts_with("uint") || kind.starts_with("float");
    let found = found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: "))?;
    let value = match found.split(' ').next()? {
        "string" => "string".to_owned(),
        "boolean" => "bool".to_owned(),
        "map" => "object".to_owned(),
        "sequence" => "array".to_owned(),
        "integer" | "floating" if of_numbers => {
            // What is too large for any number has become one with a point.
            let digits = found.split('`').nth(1)?;
            match digits.parse::<f64>() {
                Ok(number) if number.abs() >= 1e15 && number.fract() == 0.0 => {
                    format!("number {}", told(&number.to_string()))
                }
                _ => format!("number {}", told(digits)),
            }
        }
        "integer" | "floating" => "number".to_owned(),
        _ => return None,
    };
    // Go names the innermost type, and the way from the outermost.
    let mut names = field.rsplit('.');
    names.next();
    let holder = names.find(|name| name.starts_with(char::is_alphabetic)).unwrap_or(root);
    Some(format!("json: cannot unmarshal {value} into Go struct field {holder}.{field} of type {kind}"))
}

/// What Go's libraries call a type of ours.
fn type_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    match path.strip_prefix("docker::wire::").unwrap_or(path) {
        "container::Create" => "CreateRequest",
        "container::Update" | "container::host_config::Update" => "UpdateConfig",
        "exec::Create" => "ExecCreateRequest",
        "exec::Start" => "ExecStartRequest",
        "network::Connect" => "ConnectRequest",
        "network::Disconnect" => "DisconnectRequest",
        "network::Create" => "CreateRequest",
        "volume::Create" => "CreateRequest",
        other => other.rsplit("::").next().unwrap_or(other),
    }
}

/// Objects whose keys are names, which are no fields to Go.
const MAPS: [&str; 14] = [
    "Annotations",
    "Config",
    "DriverOpts",
    "EndpointsConfig",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "AuxiliaryAddresses",
];

/// The way to a field as Go tells it: without elements of lists, and without keys that are names.
fn field(way: &[Option<String>]) -> String {
    let mut fields: Vec<&str> = Vec::new();
    for name in way.iter().flatten() {
        if fields.last().is_some_and(|last| MAPS.contains(last)) {
            break;
        }
        fields.push(name);
    }
    fields.join(".")
}

enum Wrong {
    /// It ends too early.
    End,
    /// This byte cannot stand there.
    Character(usize, &'static str),
}

/// What may come next.
enum Next {
    Value,
    /// A value, or the end of the list.
    FirstElement,
    /// A key, or the end of the object.
    FirstKey,
    Key,
    /// What follows a value.
    After,
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// Without recursion: a document may be as deep as it likes.
    fn document(&mut self) -> Result<(), Wrong> {
        // Whether each thing that is open is an object.
        let mut open = Vec::new();
        let mut next = Next::Value;
        loop {
            self.skip_blanks();
            let wrong = |at, context| Err(Wrong::Character(at, context));
            let byte = match self.peek() {
                Some(byte) => byte,
                None => return Err(Wrong::End),
            };
            match (&next, byte) {
                (Next::FirstElement, b']') | (Next::FirstKey, b'}') => {
                    self.at += 1;
                    open.pop();
                    next = Next::After;
                }
                (Next::Value | Next::FirstElement, b'{') => {
                    self.at += 1;
                    open.push(true);
                    next = Next::FirstKey;
                }
                (Next::Value | Next::FirstElement, b'[') => {
                    self.at += 1;
                    open.push(false);
                    next = Next::FirstElement;
                }
                (Next::Value | Next::FirstElement, _) => {
                    self.scalar()?;
                    next = Next::After;
                }
                (Next::FirstKey | Next::Key, b'"') => {
                    self.string()?;
                    self.skip_blanks();
                    match self.peek() {
                        Some(b':') => self.at += 1,
                        Some(_) => return wrong(self.at, "after object key"),
                        None => return Err(Wrong::End),
                    }
                    next = Next::Value;
                }
                (Next::FirstKey | Next::Key, _) => {
                    return wrong(self.at, "looking for beginning of object key string");
                }
                (Next::After, _) => {
                    let is_object = open.last() == Some(&true);
                    match byte {
                        b',' => next = if is_object { Next::Key } else { Next::Value },
                        b'}' if is_object => drop(open.pop()),
                        b']' if !is_object => drop(open.pop()),
                        _ if is_object => return wrong(self.at, "after object key:value pair"),
                        _ => return wrong(self.at, "after array element"),
                    }
                    self.at += 1;
                }
            }
            if matches!(next, Next::After) && open.is_empty() {
                return Ok(());
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Wrong> {
        match self.text[self.at] {
            b'"' => self.string(),
            b't' => self.literal([
                (b'r', "in literal true (expecting 'r')"),
                (b'u', "in literal true (expecting 'u')"),
                (b'e', "in literal true (expecting 'e')"),
            ]),
            b'f' => self.literal([
                (b'a', "in literal false (expecting 'a')"),
                (b'l', "in literal false (expecting 'l')"),
                (b's', "in literal false (expecting 's')"),
                (b'e', "in literal false (expecting 'e')"),
            ]),
            b'n' => self.literal([
                (b'u', "in literal null (expecting 'u')"),
                (b'l', "in literal null (expecting 'l')"),
                (b'l', "in literal null (expecting 'l')"),
            ]),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Wrong::Character(self.at, "looking for beginning of value")),
        }
    }

    fn literal<const N: usize>(&mut self, rest: [(u8, &'static str); N]) -> Result<(), Wrong> {
        self.at += 1;
        for (letter, context) in rest {
            self.expect(|byte| byte == letter, context)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Wrong> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        let first = self.at;
        self.expect(|byte| byte.is_ascii_digit(), "in numeric literal")?;
        if self.text[first] != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.expect(|byte| byte.is_ascii_digit(), "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.expect(|byte| byte.is_ascii_digit(), "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Wrong> {
        self.at += 1;
        loop {
            let byte = self.peek().ok_or(Wrong::End)?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    let escape = self.peek();
                    self.expect(|byte| b"bfnrt\\/\"u".contains(&byte), "in string escape code")?;
                    if escape == Some(b'u') {
                        for _ in 0..4 {
                            self.expect(
                                |byte| byte.is_ascii_hexdigit(),
                                "in \\u hexadecimal character escape",
                            )?;
                        }
                    }
                }
                0x20.. => self.at += 1,
                _ => return Err(Wrong::Character(self.at, "in string literal")),
            }
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, good: impl FnOnce(u8) -> bool, context: &'static str) -> Result<(), Wrong> {
        match self.peek() {
            None => Err(Wrong::End),
            Some(byte) if good(byte) => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Wrong::Character(self.at, context)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// A byte as Go quotes it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0..0x20 | 0x7f => {
            let mut text = String::from("'");
            let _ = write!(text, "\\x{byte:02x}'");
            text
        }
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::container::Create;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(syntax_error(text.as_bytes()).unwrap_or_default(), expected, "{text}");
    }

    #[test]
    fn a_document_that_is_none_is_refused_in_go_s_words() {
        check("{invalid json", "invalid character 'i' looking for beginning of object key string");
        check("invalid", "invalid character 'i' looking for beginning of value");
        check("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        check("{\"a\" 1}", "invalid character '1' after object key");
        check("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("[tru]", "invalid character ']' in literal true (expecting 'e')");
        check("[-]", "invalid character ']' in numeric literal");
        check("[1.]", "invalid character ']' after decimal point in numeric literal");
        check("[1e]", "invalid character ']' in exponent of numeric literal");
        check("\"\\x\"", "invalid character 'x' in string escape code");
        check("\"a\nb\"", "invalid character '\\n' in string literal");
        check("{'a':1}", "invalid character '\\'' looking for beginning of object key string");
        check("{\"a\":", "unexpected EOF");
        check("{\"a", "unexpected EOF");
    }

    #[test]
    fn a_document_that_is_one_is_not_complained_of() {
        for text in ["{}", " [ ] ", "{\"a\":[1,-2.5e+3,true,false,null,\"\\u00e4\\n\"],\"b\":{}}", "0"] {
            check(text, "");
        }
        // How much is open is no matter of a stack.
        assert_eq!(syntax_error(&vec![b'['; 1 << 20]).as_deref(), Some("unexpected EOF"));
    }

    #[test]
    fn a_number_that_is_too_large_for_any_is_told_shortly() {
        let check = |text: &str, expected: &str| {
            assert_eq!(number_error(text.as_bytes()).unwrap_or_default(), expected, "{text}");
        };
        let said =
            |number: &str| format!("json: cannot unmarshal number {number} into Go value of type float64");
        check(r#"{"a": [-1e-3, "1e999"], "b": 1e999}"#, &said("1e999"));
        check(&"9".repeat(1 << 20), &said(&format!("{}…", "9".repeat(64))));
        check(r#"{"a\"1e999": 17}"#, "");
    }

    #[test]
    fn what_does_not_fit_is_named_as_go_names_it() {
        let check = |document: &str, expected: &str| {
            let document = serde_json::from_str(document).expect("JSON");
            assert_eq!(type_error::<Create>(document).unwrap_or_default(), expected);
        };
        check(
            r#"{"Image":"a","HostConfig":{"Memory":1,"LogConfig":{"Config":{"max-file":3}}}}"#,
            "json: cannot unmarshal number into Go struct field LogConfig.HostConfig.LogConfig.Config of type string",
        );
        check(
            r#"{"Image":"a","StopTimeout":"5"}"#,
            "json: cannot unmarshal string into Go struct field CreateRequest.StopTimeout of type int64",
        );
        check(
            r#"{"HostConfig":{"BlkioWeight":-1,"Privileged":true}}"#,
            "json: cannot unmarshal number -1 into Go struct field HostConfig.HostConfig.BlkioWeight of type uint16",
        );
        check(
            r#"{"HostConfig":{"Ulimits":[{"Hard":1},{"Hard":"x"}]}}"#,
            "json: cannot unmarshal string into Go struct field Ulimits.HostConfig.Ulimits.Hard of type int64",
        );
        check(
            &format!(r#"{{"StopTimeout":1{}}}"#, "0".repeat(300)),
            &format!(
                "json: cannot unmarshal number 1{}… into Go struct field CreateRequest.StopTimeout of type int64",
                "0".repeat(63)
            ),
        );
        check(r#"{"Image":"a"}"#, "");
    }
}
