//! Patterns that texts match, as Go's `regexp` reads them.
//!
//! Both engines take a time that is linear in the text and have nearly the same syntax. What is written the
//! same and means something else is rewritten: classes like `\d` are of ASCII alone in Go.

use std::fmt;
use std::sync::OnceLock;

use regex::Regex;

/// How much memory one pattern may take when it is compiled.
const SIZE: usize = 4 << 20;

/// A pattern; it is compiled when it is first asked for.
pub struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<Box<Regex>>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a text has a part that matches. None does where the pattern is none.
    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok().map(Box::new));
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// Why a text is no pattern, as Go says it.
pub fn pattern_error(text: &str) -> Option<String> {
    compile(text).err().map(|why| format!("error parsing regexp: {why}"))
}

fn compile(text: &str) -> Result<Regex, String> {
    let rewritten = rewrite(text)?;
    regex::RegexBuilder::new(&rewritten).size_limit(SIZE).dfa_size_limit(SIZE).build().map_err(|error| {
        match error {
            regex::Error::CompiledTooBig(_) => format!("expression too large: `{text}`"),
            other => said(text, &other.to_string()),
        }
    })
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
                    let quoted: String = chars[at..].iter().collect();
                    let (quoted, ended) = match quoted.split_once("\\E") {
                        Some((quoted, _)) => (quoted.to_owned(), 2),
                        None => (quoted, 0),
                    };
                    out.push_str(&regex::escape(&quoted));
                    at += quoted.chars().count() + ended;
                    continue;
                }
                escape(next, in_class, &chars, &mut at, &mut out)?;
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
            '{' if !in_class && !is_repetition(&chars[at..]) => out.push_str("\\{"),
            '}' if !in_class && !out_has_open(&out) => out.push_str("\\}"),
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
        '8' | '9' | 'Z' | 'C' | 'G' | 'R' | 'X' | 'K' | 'h' | 'H' | 'N' | 'V' | 'u' | 'U' | '<' | '>' => {
            return Err(format!("invalid escape sequence: `\\{next}`"));
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

/// Whether what follows a brace makes it a repetition; otherwise it stands for itself.
fn is_repetition(rest: &[char]) -> bool {
    let inside: String = rest.iter().take_while(|c| **c != '}').take(12).collect();
    let closed = rest.get(inside.chars().count()) == Some(&'}');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    closed
        && match inside.split_once(',') {
            Some((low, high)) => number(low) && (high.is_empty() || number(high)),
            None => number(&inside),
        }
}

/// Whether a brace is open that is a repetition, or a name of a class or a character.
fn out_has_open(out: &str) -> bool {
    let open = out.rfind('{').filter(|at| !out[..*at].ends_with('\\'));
    open.is_some_and(|open| !out[open..].contains('}'))
}
