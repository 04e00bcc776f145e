//! The directives at the top: `# syntax=…`, `# escape=…`, `# check=…`.

use std::collections::BTreeSet;

/// A directive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Directive {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where, from 1.
    pub(crate) line: u32,
}

/// The names there are.
const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// Reads directives line by line; the first line that is none ends them.
pub(crate) struct Directives {
    prefix: &'static str,
    line: u32,
    seen: BTreeSet<String>,
    done: bool,
}

impl Directives {
    pub(crate) fn new(prefix: &'static str, line: u32) -> Self {
        Self { prefix, line, seen: BTreeSet::new(), done: false }
    }

    /// The directive that a line is.
    pub(crate) fn read(&mut self, line: &str) -> Result<Option<Directive>, String> {
        self.line += 1;
        if self.done {
            return Ok(None);
        }
        let found = line.strip_prefix(self.prefix).and_then(split);
        let Some((name, value)) = found.filter(|(name, _)| NAMES.contains(&name.as_str())) else {
            self.done = true;
            return Ok(None);
        };
        if !self.seen.insert(name.clone()) {
            return Err(format!("only one {name} parser directive can be used"));
        }
        Ok(Some(Directive { name, value: value.to_owned(), line: self.line }))
    }
}

/// `name = value`, the name in lower case.
fn split(text: &str) -> Option<(String, &str)> {
    let (name, value) = text.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// The directive of a name.
pub(crate) fn directive(text: &str, name: &str) -> Option<Directive> {
    let (text, line) = body(text);
    find(text, name, Directives::new("#", line))
}

/// The front end that a text asks for, in any of the languages that front ends read: a directive, one after `//`,
/// or a member of a JSON object.
pub(crate) fn syntax_of(text: &str) -> Option<Directive> {
    let (text, line) = body(text);
    find(text, "syntax", Directives::new("#", line))
        .or_else(|| find(text, "syntax", Directives::new("//", line)))
        .or_else(|| {
            if !text.trim_start().starts_with('{') {
                return None;
            }
            let object: serde_json::Value = serde_json::from_str(text).ok()?;
            let value = object.get("syntax")?.as_str()?.to_owned();
            Some(Directive { name: "syntax".to_owned(), value, line: line.max(1) })
        })
}

/// The text without what only editors and shells want, and how many lines that was.
fn body(text: &str) -> (&str, u32) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.starts_with("#!") {
        true => (text.split_once('\n').map_or("", |(_, rest)| rest), 1),
        false => (text, 0),
    }
}

fn find(text: &str, name: &str, mut directives: Directives) -> Option<Directive> {
    for line in text.lines() {
        let found = directives.read(line).ok()?;
        if found.as_ref().is_some_and(|found| found.name == name) {
            return found;
        }
        if directives.done {
            return None;
        }
    }
    None
}
