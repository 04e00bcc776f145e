//! Words: quotes, escapes and variables, as the Dockerfile reference has them.

use crate::pattern::Pattern;

/// How deep `${A:-${B:-…}}` may go: each level takes from the stack of the thread.
const DEEPEST: usize = 64;
/// What is a name by itself, as in a shell.
const SPECIAL: &str = "@*#?-$!0";
/// How long a word may become, in bytes: variables that double each other have no end of their own.
const LONGEST: usize = 1 << 20;
/// How long a value may be that is searched by a pattern, in characters, and how long the pattern.
const SEARCHED: usize = 8 << 10;
const PATTERN: usize = 256;

/// Looks up a variable; `None` if it is not set.
pub trait Variables {
    /// The value of the variable `name`.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Cuts a line at white space outside quotes. Quotes and escapes stay in the words.
pub fn split(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, None | Some('"')) if c == escape => {
                word.push(c);
                word.extend(chars.next());
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(open)) if c == open => {
                quote = None;
                word.push(c);
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Removes quotes and escapes and puts in variables.
pub fn expand(word: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut expander = Expander::new(word, escape, variables);
    expander.until(&[])
}

/// As [`expand`], for text in which quotes and single escapes mean nothing, as in here-documents.
pub fn expand_text(text: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut expander = Expander::new(text, escape, variables);
    let mut expanded = String::new();
    while let Some(c) = expander.next() {
        match c {
            c if c == escape && expander.peek() == Some('$') => expanded.extend(expander.next()),
            '$' => expanded.push_str(&expander.variable()?),
            c => expanded.push(c),
        }
        expander.bound(&expanded)?;
    }
    Ok(expanded)
}

/// As [`expand`]; what a variable brought in is cut at white space too.
pub fn expand_words(word: &str, escape: char, variables: &dyn Variables) -> Result<Vec<String>, String> {
    Ok(expand(word, escape, variables)?.split_whitespace().map(str::to_owned).collect())
}

struct Expander<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    variables: &'a dyn Variables,
    depth: usize,
}

impl<'a> Expander<'a> {
    fn new(text: &str, escape: char, variables: &'a dyn Variables) -> Self {
        Self { chars: text.chars().collect(), at: 0, escape, variables, depth: 0 }
    }

    /// Fails if what was put together so far is too long.
    fn bound(&self, out: &str) -> Result<(), String> {
        match out.len() {
            0..=LONGEST => Ok(()),
            _ => Err(format!("a word becomes longer than {LONGEST} bytes")),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Expands up to one of `stops`, which is not consumed, or the end.
    fn until(&mut self, stops: &[char]) -> Result<String, String> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if stops.contains(&c) {
                break;
            }
            self.at += 1;
            match c {
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => out.push(c),
                        None => {
                            return Err(
                                "unexpected end of statement while looking for matching single-quote".into(),
                            );
                        }
                    }
                },
                '"' => out.push_str(&self.double_quoted()?),
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape => match self.next() {
                    Some(escaped) => out.push(escaped),
                    None => out.push(c),
                },
                c => out.push(c),
            }
            self.bound(&out)?;
        }
        Ok(out)
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(out),
                Some('$') => out.push_str(&self.variable()?),
                Some(c) if c == self.escape => match self.next() {
                    Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                        out.push(escaped)
                    }
                    Some(other) => out.extend([c, other]),
                    None => out.push(c),
                },
                Some(c) => out.push(c),
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
            }
            self.bound(&out)?;
        }
    }

    /// What stands after a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.depth == DEEPEST {
            return Err(format!("substitutions are nested more than {DEEPEST} deep"));
        }
        self.depth += 1;
        let value = self.substitution();
        self.depth -= 1;
        value
    }

    fn substitution(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.variables.get(&name).unwrap_or_default()
            });
        }
        self.at += 1;
        match self.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.variables.get(&name);
        let modifier = self.next().ok_or("syntax error: missing '}'")?;
        match modifier {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = self.next().ok_or("syntax error: missing '}'")?;
                if matches!(modifier, '#' | '%') {
                    return Err(format!("unsupported modifier (:{modifier}) in substitution"));
                }
                let lacks = if value.is_some() { "empty" } else { "unset" };
                let set = value.filter(|value| !value.is_empty());
                self.with_default(&name, modifier, set, lacks)
            }
            '-' | '+' | '?' => self.with_default(&name, modifier, value, "unset"),
            '#' | '%' => {
                let longest = self.peek() == Some(modifier);
                self.at += usize::from(longest);
                let pattern = self.braced_word(&['}'])?;
                let value = value.unwrap_or_default();
                bound_search(&name, &value, &pattern)?;
                let pattern = Pattern::shell(&pattern);
                Ok(if modifier == '#' {
                    cut_front(&value, &pattern, longest)
                } else {
                    cut_back(&value, &pattern, longest)
                })
            }
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(&['/', '}'])?;
                let replacement = if self.peek() == Some('/') {
                    self.at += 1;
                    self.until(&['}'])?
                } else {
                    String::new()
                };
                self.close()?;
                let value = value.unwrap_or_default();
                bound_search(&name, &value, &pattern)?;
                let replaced = replace(&value, &pattern, &Pattern::shell(&pattern), &replacement, all);
                self.bound(&replaced)?;
                Ok(replaced)
            }
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn with_default(
        &mut self,
        name: &str,
        modifier: char,
        value: Option<String>,
        lacks: &str,
    ) -> Result<String, String> {
        let word = self.braced_word(&['}'])?;
        match modifier {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(if value.is_some() { word } else { String::new() }),
            '?' => value.ok_or_else(|| {
                let why = match word.is_empty() {
                    true => format!("is not allowed to be {lacks}"),
                    false => word.clone(),
                };
                format!("{name}: {why}")
            }),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn braced_word(&mut self, stops: &[char]) -> Result<String, String> {
        let word = self.until(stops)?;
        self.close()?;
        Ok(word)
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some('}') => Ok(()),
            _ => Err("syntax error: missing '}'".into()),
        }
    }

    /// A name; `$1` and `$$` and the like are names too, and never set.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self.peek().filter(|c| SPECIAL.contains(*c)) {
            self.at += 1;
            name.push(special);
            return name;
        }
        let is_number = self.peek().is_some_and(|c| c.is_numeric());
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

/// Searching takes time by both lengths together.
pub(crate) fn bound_search(name: &str, value: &str, pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || (value.len() <= SEARCHED && pattern.len() <= PATTERN) {
        return Ok(());
    }
    Err(format!("{name} is too long to be searched: {SEARCHED} bytes at most, by a pattern of {PATTERN}"))
}

pub(crate) fn cut_front(value: &str, pattern: &Pattern, longest: bool) -> String {
    let value = chars(value);
    let mut lengths = pattern.beginnings(&value);
    let cut = if longest { lengths.next_back() } else { lengths.next() };
    value[cut.unwrap_or(0)..].iter().collect()
}

pub(crate) fn cut_back(value: &str, pattern: &Pattern, longest: bool) -> String {
    let mut backwards = chars(value);
    backwards.reverse();
    let mut lengths = pattern.reversed().beginnings(&backwards);
    let cut = if longest { lengths.next_back() } else { lengths.next() };
    backwards[cut.unwrap_or(0)..].iter().rev().collect()
}

/// Puts `replacement` where the pattern is, once or everywhere; `text` is the pattern as written.
pub(crate) fn replace(value: &str, text: &str, pattern: &Pattern, replacement: &str, all: bool) -> String {
    if text.is_empty() {
        return value.to_owned();
    }
    let value = chars(value);
    let mut out = String::new();
    let mut at = 0;
    while at < value.len() {
        match pattern.beginnings(&value[at..]).next_back().filter(|length| *length > 0) {
            Some(length) => {
                out.push_str(replacement);
                at += length;
                if !all {
                    break;
                }
            }
            None => {
                out.push(value[at]);
                at += 1;
            }
        }
        if out.len() > LONGEST {
            break;
        }
    }
    out.extend(&value[at..]);
    out
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}
