//! Words as BuildKit takes them apart: quotes, escapes and variables, and which variables were there.
//!
//! What this does differently from [`crate::words`], which the classic builder has: an escape at the very end is
//! dropped, escapes stay in patterns, both parts of a replacement are wanted, and a complaint names the word.

use std::collections::BTreeSet;

use crate::go::quote;
use crate::pattern::Pattern;
use crate::words::{Variables, bound_search, cut_back, cut_front, replace};

/// How deep `${A:-${B:-…}}` may go: each level takes from the stack of the thread.
const DEEPEST: usize = 64;
/// How long a word may become, in bytes: variables that double each other have no end of their own.
const LONGEST: usize = 1 << 20;
/// What is a name by itself, as in a shell.
const SPECIAL: &str = "@*#?-$!0";

/// How words are taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer {
    /// The character that takes the next one's meaning.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) keeps_quotes: bool,
    /// Escapes stay in the result.
    pub(crate) keeps_escapes: bool,
    /// Quotes mean nothing.
    pub(crate) ignores_quotes: bool,
    /// Variables that are not set stay as they are written.
    pub(crate) keeps_unset: bool,
}

/// What a word came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expansion {
    pub(crate) text: String,
    /// The same, cut at white space outside quotes.
    pub(crate) words: Vec<String>,
    /// The variables in it that were set.
    pub(crate) found: BTreeSet<String>,
    /// And those that were not.
    pub(crate) missing: BTreeSet<String>,
}

impl Lexer {
    /// One that takes quotes and escapes away.
    pub(crate) fn new(escape: char) -> Self {
        Self { escape, keeps_quotes: false, keeps_escapes: false, ignores_quotes: false, keeps_unset: false }
    }

    /// Takes a word apart. The error is a sentence of BuildKit's.
    pub(crate) fn expand(&self, word: &str, variables: &dyn Variables) -> Result<Expansion, String> {
        let mut reader = Reader {
            lexer: *self,
            chars: word.chars().collect(),
            at: 0,
            keeps_escapes: self.keeps_escapes,
            variables,
            depth: 0,
            found: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        match reader.until(None, self.keeps_escapes) {
            Ok((text, words)) => Ok(Expansion { text, words, found: reader.found, missing: reader.missing }),
            Err(problem) => Err(format!("failed to process {}: {problem}", quote(word))),
        }
    }
}

struct Reader<'a> {
    lexer: Lexer,
    chars: Vec<char>,
    at: usize,
    keeps_escapes: bool,
    variables: &'a dyn Variables,
    depth: usize,
    found: BTreeSet<String>,
    missing: BTreeSet<String>,
}

/// Text that grows, and its words.
#[derive(Default)]
struct Grown {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Grown {
    /// Text in which white space ends a word.
    fn loose(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            match c.is_whitespace() {
                true if self.word.is_empty() => {}
                true => self.words.push(std::mem::take(&mut self.word)),
                false => self.word.push(c),
            }
        }
    }

    /// Text that belongs to one word.
    fn bound(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn finish(mut self) -> (String, Vec<String>) {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        (self.text, self.words)
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads up to `stop`, which is taken too, or to the end.
    fn until(&mut self, stop: Option<char>, keeps_escapes: bool) -> Result<(String, Vec<String>), String> {
        let before = std::mem::replace(&mut self.keeps_escapes, keeps_escapes);
        let read = self.read_until(stop);
        self.keeps_escapes = before;
        read
    }

    fn read_until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let mut grown = Grown::default();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.at += 1;
                return Ok(grown.finish());
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    grown.loose(&value);
                }
                '<' => {
                    let arrow = self.arrow();
                    grown.bound(&arrow);
                }
                '\'' if !self.lexer.ignores_quotes => {
                    let text = self.single_quoted()?;
                    grown.bound(&text);
                }
                '"' if !self.lexer.ignores_quotes => {
                    let text = self.double_quoted()?;
                    grown.bound(&text);
                }
                c if c == self.lexer.escape => {
                    self.at += 1;
                    if self.keeps_escapes {
                        grown.bound(c.encode_utf8(&mut [0; 4]));
                    }
                    let Some(escaped) = self.next() else { break };
                    grown.bound(escaped.encode_utf8(&mut [0; 4]));
                }
                c => {
                    self.at += 1;
                    grown.loose(c.encode_utf8(&mut [0; 4]));
                }
            }
            bound(&grown.text)?;
        }
        match stop {
            None => Ok(grown.finish()),
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
        }
    }

    /// `<`, or `<<` with the white space before the name of a here-document.
    fn arrow(&mut self) -> String {
        self.at += 1;
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.at += 1;
        let mut arrow = "<<".to_owned();
        while let Some(c) = self.peek().filter(|c| matches!(c, '\t' | '\r' | ' ')) {
            arrow.push(c);
            self.at += 1;
        }
        arrow
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        if self.lexer.keeps_quotes {
            text.push('\'');
        }
        loop {
            match self.next() {
                Some('\'') => break,
                Some(c) => text.push(c),
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote".to_owned()
                    );
                }
            }
        }
        if self.lexer.keeps_quotes {
            text.push('\'');
        }
        Ok(text)
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        if self.lexer.keeps_quotes {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote".to_owned()
                    );
                }
                Some('"') => {
                    self.at += 1;
                    if self.lexer.keeps_quotes {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.at += 1;
                    if c != self.lexer.escape {
                        text.push(c);
                        continue;
                    }
                    if self.keeps_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(escaped) if matches!(escaped, '"' | '$') || escaped == self.lexer.escape => {
                            self.at += 1;
                            text.push(escaped);
                        }
                        Some(_) => text.push(c),
                    }
                }
            }
            bound(&text)?;
        }
    }

    /// A variable, or what stands for itself after a dollar sign.
    fn dollar(&mut self) -> Result<String, String> {
        if self.depth == DEEPEST {
            return Err(format!("substitutions are nested more than {DEEPEST} deep"));
        }
        self.depth += 1;
        let value = self.substitution();
        self.depth -= 1;
        value
    }

    fn substitution(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(&name) {
                None if self.lexer.keeps_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.at += 1;
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let Some(modifier) = self.next() else { return Err(unsupported("\u{fffd}")) };
        match modifier {
            '}' => Ok(match self.value(&name) {
                None if self.lexer.keeps_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => {
                let Some(second) = self.next() else { return Err(unsupported(":\u{fffd}")) };
                if matches!(second, '#' | '%') {
                    return Err(unsupported(&format!(":{second}")));
                }
                self.with_default(&name, second, true)
            }
            '+' | '-' | '?' => self.with_default(&name, modifier, false),
            '#' | '%' => self.cut(&name, modifier),
            '/' => self.replaced(&name),
            other => Err(unsupported(other.encode_utf8(&mut [0; 4]))),
        }
    }

    /// `${name-word}` and its like; with a colon an empty value counts as none.
    fn with_default(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, String> {
        let word = self.braced(false)?;
        let value = self.value(name);
        let shown = if empty_is_unset { format!(":{modifier}") } else { modifier.to_string() };
        if value.is_none() && self.lexer.keeps_unset {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let lacks = if value.is_some() { "empty" } else { "unset" };
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match modifier {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(if value.is_some() { word } else { String::new() }),
            '?' => value.ok_or_else(|| match word.is_empty() {
                true => format!("{name}: is not allowed to be {lacks}"),
                false => format!("{name}: {word}"),
            }),
            _ => Err(unsupported(&shown)),
        }
    }

    /// `${name#pattern}` and its like.
    fn cut(&mut self, name: &str, modifier: char) -> Result<String, String> {
        let word = self.braced(true)?;
        let Some(value) = self.value(name).or_else(|| (!self.lexer.keeps_unset).then(String::new)) else {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        };
        let (longest, text) = match word.strip_prefix(modifier) {
            Some(text) => (true, text),
            None => (false, word.as_str()),
        };
        bound_search(name, &value, text)?;
        let pattern = pattern(text)?;
        Ok(match modifier {
            '#' => cut_front(&value, &pattern, longest),
            _ => cut_back(&value, &pattern, longest),
        })
    }

    /// `${name/pattern/replacement}`, or `//` for all.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let text = self.until(Some('/'), true);
        let (text, _) = text.map_err(|problem| self.missing("missing '/' in ${}", problem))?;
        let replacement = self.braced(true)?;
        let Some(value) = self.value(name).or_else(|| (!self.lexer.keeps_unset).then(String::new)) else {
            return Ok(format!("${{{name}/{text}/{replacement}}}"));
        };
        bound_search(name, &value, &text)?;
        let replaced = replace(&value, &text, &pattern(&text)?, &replacement, all);
        bound(&replaced)?;
        Ok(replaced)
    }

    /// The rest up to the brace that ends a substitution.
    fn braced(&mut self, keeps_escapes: bool) -> Result<String, String> {
        let word = self.until(Some('}'), keeps_escapes);
        word.map(|(word, _)| word).map_err(|problem| self.missing("missing '}'", problem))
    }

    /// The complaint about something that is not there: an inner one where there is text still.
    fn missing(&self, what: &str, inner: String) -> String {
        match self.peek() {
            None => format!("syntax error: {what}"),
            Some(_) => inner,
        }
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name);
        let names = if value.is_some() { &mut self.found } else { &mut self.missing };
        names.insert(name.to_owned());
        value
    }

    /// A name; `$1` and `$$` and the like are names too, and never set.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self.peek().filter(|c| SPECIAL.contains(*c) && *c != '0') {
            self.at += 1;
            name.push(special);
            return name;
        }
        let is_number = self.peek().is_some_and(char::is_numeric);
        let goes_on = |c: &char| match is_number {
            true => c.is_numeric(),
            false => *c == '_' || c.is_alphanumeric(),
        };
        while let Some(c) = self.peek().filter(goes_on) {
            name.push(c);
            self.at += 1;
        }
        name
    }
}

fn unsupported(modifier: &str) -> String {
    format!("unsupported modifier ({modifier}) in substitution")
}

fn bound(text: &str) -> Result<(), String> {
    match text.len() {
        0..=LONGEST => Ok(()),
        _ => Err(format!("a word becomes longer than {LONGEST} bytes")),
    }
}

/// A pattern of the shell in which only what has a meaning can be escaped.
fn pattern(text: &str) -> Result<Pattern, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some(escaped @ ('}' | '/')) => plain.push(escaped),
            Some(escaped @ ('*' | '?' | '\\')) => plain.extend(['\\', escaped]),
            other => {
                let other = other.unwrap_or('\u{fffd}');
                let problem = format!("invalid escape '\\{other}'");
                return Err(format!("invalid pattern ({text}) in substitution: {problem}"));
            }
        }
    }
    Ok(Pattern::shell(&plain))
}

#[cfg(test)]
mod tests;
