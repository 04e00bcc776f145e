//! Patterns that texts match, as Go's `regexp` reads them.
//!
//! Both engines take a time that is linear in the text and have nearly the same syntax. What is written the
//! same and means something else is rewritten: classes like `\d` are of ASCII alone in Go.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use regex_automata::meta::Regex;

/// A pattern is no longer than this.
const LONGEST: usize = 4 << 10;
/// How much memory one pattern may take when it is compiled.
const SIZE: usize = 2 << 20;
/// How much all patterns of a definition may take together.
const ALL: usize = 16 << 20;
/// How much is kept of patterns that are compiled, of all definitions.
const KEPT: usize = 32 << 20;
/// Go repeats nothing more often.
const REPETITIONS: u32 = 1000;

/// A pattern; it is compiled when it is asked for, and kept as long as there is room.
pub struct Pattern {
    text: Box<str>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a text has a part that matches. None does where the pattern is none.
    pub fn is_match(&self, text: &str) -> bool {
        compiled(&self.text).is_ok_and(|regex| regex.is_match(text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// Why a text is no pattern, as Go says it.
pub fn pattern_error(text: &str) -> Option<String> {
    compiled(text).err().map(|why| format!("error parsing regexp: {why}"))
}

/// How much the patterns of a definition may still take.
#[derive(Debug)]
pub struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(ALL)
    }
}

impl Room {
    /// As [`pattern_error`]; patterns for which there is no room beside the others are none either.
    pub(super) fn error(&mut self, text: &str) -> Option<String> {
        // Once there is no room, nothing is compiled any more.
        let outcome = if self.0 == 0 { Err(too_large(text)) } else { compiled(text) };
        let outcome = outcome.and_then(|regex| {
            let left = self.0.checked_sub(regex.memory_usage());
            self.0 = left.unwrap_or_default();
            left.ok_or_else(|| too_large(text))
        });
        outcome.err().map(|why| format!("error parsing regexp: {why}"))
    }
}

fn too_large(text: &str) -> String {
    format!("expression too large: `{text}`")
}

/// The patterns that were asked for last, compiled.
#[derive(Default)]
struct Kept {
    by_text: HashMap<Box<str>, (Arc<Regex>, u64)>,
    /// How often one was asked for.
    asked: u64,
    size: usize,
}

impl Kept {
    fn get(&mut self, text: &str) -> Option<Arc<Regex>> {
        self.asked += 1;
        let (regex, asked) = self.by_text.get_mut(text)?;
        *asked = self.asked;
        Some(regex.clone())
    }

    fn keep(&mut self, text: &str, regex: &Arc<Regex>) {
        if self.by_text.insert(text.into(), (regex.clone(), self.asked)).is_none() {
            self.size += size(text, regex);
        }
        if self.size <= KEPT {
            return;
        }
        // Half of them go, so that this is seldom.
        let mut asked: Vec<u64> = self.by_text.values().map(|(_, asked)| *asked).collect();
        asked.sort_unstable();
        let since = asked[asked.len() / 2];
        self.by_text.retain(|_, (_, asked)| *asked > since);
        self.size = self.by_text.iter().map(|(text, (regex, _))| size(text, regex)).sum();
    }
}

fn size(text: &str, regex: &Regex) -> usize {
    /// What is kept takes so much besides.
    const EACH: usize = 256;
    text.len() + regex.memory_usage() + EACH
}

static COMPILED: Mutex<Option<Kept>> = Mutex::new(None);

fn compiled(text: &str) -> Result<Arc<Regex>, String> {
    if let Some(known) = COMPILED.lock().get_or_insert_default().get(text) {
        return Ok(known);
    }
    let regex = Arc::new(compile(text)?);
    COMPILED.lock().get_or_insert_default().keep(text, &regex);
    Ok(regex)
}

fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > LONGEST {
        return Err(format!("expression too large: it has more than {LONGEST} bytes"));
    }
    let rewritten = rewrite(text)?;
    let config = Regex::config().nfa_size_limit(Some(SIZE)).onepass_size_limit(Some(SIZE / 4));
    let built = Regex::builder().configure(config).build(&rewritten);
    let regex = built.map_err(|error| match error.syntax_error() {
        Some(why) => said(text, &why.to_string()),
        None => too_large(text),
    })?;
    if regex.memory_usage() > SIZE { Err(too_large(text)) } else { Ok(regex) }
}

/// What the other engine says of a pattern, in Go's words where there are some.
fn said(text: &str, error: &str) -> String {
    let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    for (theirs, ours) in [
        ("unclosed group", "missing closing )"),
        ("unopened group", "unexpected )"),
        ("unclosed character class", "missing closing ]"),
        ("invalid character class range", "invalid character class range"),
        ("repetition operator missing expression", "missing argument to repetition operator"),
        ("invalid repetition count range", "invalid repeat count"),
        ("unrecognized escape sequence", "invalid escape sequence"),
        ("incomplete escape sequence", "trailing backslash at end of expression"),
        ("Unicode property not found", "invalid character class range"),
        ("duplicate capture group name", "duplicate capture group name"),
    ] {
        if why.contains(theirs) {
            return format!("{ours}: `{text}`");
        }
    }
    format!("{why}: `{text}`")
}

/// The same pattern in the syntax of the engine that there is.
fn rewrite(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut in_class = false;
    // Whether a brace is open that is a repetition, or a name of a class or a character.
    let mut in_braces = false;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        at += 1;
        match c {
            '\\' => {
                let Some(next) = next else {
                    return Err("trailing backslash at end of expression: ``".to_owned());
                };
                at += 1;
                if next == 'Q' && !in_class {
                    let rest = &chars[at..];
                    let end = rest.windows(2).position(|two| two == ['\\', 'E']);
                    let quoted = &rest[..end.unwrap_or(rest.len())];
                    quoted.iter().for_each(|c| literal(*c, &mut out));
                    at += quoted.len() + if end.is_some() { 2 } else { 0 };
                    continue;
                }
                escape(next, in_class, &chars, &mut at, &mut out)?;
                // What it names may follow in braces.
                if matches!(next, 'p' | 'P' | 'x') && chars.get(at) == Some(&'{') {
                    out.push('{');
                    at += 1;
                    in_braces = true;
                }
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.get(at) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                // The first one is none that ends the class.
                if chars.get(at) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
            }
            '[' if next == Some(':') && posix(&chars[at - 1..]).is_some() => {
                let name = posix(&chars[at - 1..]).unwrap_or_default();
                at += name.chars().count() - 1;
                out.push_str(&name);
            }
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && next == Some('-') => out.push_str("\\-"),
            '}' if in_braces => {
                in_braces = false;
                out.push('}');
            }
            '{' if !in_class => match repetition(&chars[at..]) {
                None => out.push_str("\\{"),
                Some(Ok(())) => {
                    in_braces = true;
                    out.push('{');
                }
                Some(Err(count)) => return Err(format!("invalid repeat count: `{count}`")),
            },
            '}' if !in_class => out.push_str("\\}"),
            '(' if !in_class && next == Some('?') => {
                let rest: String = chars[at - 1..].iter().take(4).collect();
                let unsupported = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "(?#", "(?x", "(?u", "(?R", "(?-u"];
                if let Some(found) = unsupported.iter().find(|found| rest.starts_with(**found)) {
                    // Go names what it has read up to where it cannot go on.
                    let shown = if found.starts_with("(?<") { "(?<" } else { found };
                    return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
                }
                out.push('(');
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn escape(
    next: char,
    in_class: bool,
    chars: &[char],
    at: &mut usize,
    out: &mut String,
) -> Result<(), String> {
    let (inside, outside) = match next {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => ("\\t\\n\\x0C\\r ", "[\\t\\n\\x0C\\r ]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => ("[^\\t\\n\\x0C\\r ]", "[^\\t\\n\\x0C\\r ]"),
        'b' if !in_class => ("", "(?-u:\\b)"),
        'B' if !in_class => ("", "\\B"),
        '0'..='7' => {
            // An octal number of up to three digits; one digit that is not 0 would refer to a group.
            let digits: String = std::iter::once(next)
                .chain(chars[*at..].iter().copied().take_while(|c| matches!(c, '0'..='7')).take(2))
                .collect();
            if next != '0' && digits.len() == 1 {
                return Err(format!("invalid escape sequence: `\\{next}`"));
            }
            *at += digits.len() - 1;
            let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
            out.push_str(&format!("\\x{{{code:X}}}"));
            return Ok(());
        }
        '8' | '9' | 'Z' | 'C' | 'G' | 'R' | 'X' | 'K' | 'h' | 'H' | 'N' | 'V' | 'u' | 'U' => {
            return Err(format!("invalid escape sequence: `\\{next}`"));
        }
        // In the other engine these mean the beginning and the end of a word.
        '<' | '>' => {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(next)));
            return Ok(());
        }
        other => {
            out.push('\\');
            out.push(other);
            return Ok(());
        }
    };
    out.push_str(if in_class { inside } else { outside });
    Ok(())
}

/// A POSIX class that a text begins with, such as `[:alpha:]`.
fn posix(chars: &[char]) -> Option<String> {
    let text: String = chars.iter().take(16).collect();
    let end = text.find(":]")?;
    let name = text.get(2..end)?.trim_start_matches('^');
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())).then(|| text[..end + 2].to_owned())
}

/// What follows a brace, where that makes it a repetition: one that is allowed, or what it is. Without, it stands for
/// itself.
fn repetition(rest: &[char]) -> Option<Result<(), String>> {
    /// Longer numbers are none.
    const DIGITS: usize = 40;
    let end = rest.iter().take(DIGITS).position(|c| *c == '}')?;
    let inside: String = rest[..end].iter().collect();
    let number = |text: &str| {
        let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (low, high) = match inside.split_once(',') {
        Some((low, "")) => (number(low)?, None),
        Some((low, high)) => (number(low)?, Some(number(high)?)),
        None => (number(&inside)?, None),
    };
    let is_allowed = low <= REPETITIONS && high.is_none_or(|high| (low..=REPETITIONS).contains(&high));
    Some(if is_allowed { Ok(()) } else { Err(format!("{{{inside}}}")) })
}

/// A character that stands for itself.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}
