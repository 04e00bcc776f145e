//! An instruction's line: keyword, flags, words.

use super::{Arguments, Node};

/// White space between words, as the format has it; a line has no other.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Takes a line apart.
pub(super) fn node(line: &str, escape: char) -> Result<Node, String> {
    let trimmed = line.trim();
    let (keyword, rest) = match trimmed.split_once(is_blank) {
        Some((keyword, rest)) => (keyword, rest.trim_start_matches(is_blank)),
        None => (trimmed, ""),
    };
    let (flags, rest) = flags(rest, escape);
    let arguments = arguments(&keyword.to_lowercase(), rest.trim(), escape)?;
    Ok(Node { keyword: keyword.to_owned(), flags, arguments, original: line.to_owned(), ..Node::default() })
}

/// The words at the front that begin with two dashes; a bare `--` ends them.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let mut word = String::new();
        let mut quote = None;
        let mut was_quoted = false;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match (c, quote) {
                (c, None) if c.is_whitespace() => {
                    end = at;
                    break;
                }
                ('\'' | '"', None) => {
                    quote = Some(c);
                    was_quoted = true;
                }
                (c, Some(open)) if c == open => quote = None,
                (c, _) if c == escape => word.extend(chars.next().map(|(_, c)| c)),
                (c, _) => word.push(c),
            }
        }
        rest = &rest[end..];
        if word == "--" {
            return (flags, rest);
        }
        if was_quoted || !word.is_empty() {
            flags.push(word);
        }
    }
}

/// The arguments of an instruction, each kind in its own way.
fn arguments(keyword: &str, rest: &str, escape: char) -> Result<Arguments, String> {
    let plain = |words: Vec<String>| Ok(Arguments { words, is_json: false });
    let whole = || if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] };
    match keyword {
        "add" | "copy" | "volume" => match json(rest)? {
            Some(words) => Ok(Arguments { words, is_json: true }),
            None => plain(blank_delimited(rest)),
        },
        "cmd" | "entrypoint" | "run" | "shell" => match json(rest)? {
            Some(words) => Ok(Arguments { words, is_json: true }),
            None => plain(whole()),
        },
        "healthcheck" => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (kind, command) = (&rest[..end], rest[end..].trim_start());
            if kind.is_empty() {
                return plain(Vec::new());
            }
            let (mut words, is_json) = match json(command)? {
                Some(words) => (words, true),
                None if command.is_empty() => (Vec::new(), false),
                None => (vec![command.to_owned()], false),
            };
            words.insert(0, kind.to_owned());
            Ok(Arguments { words, is_json })
        }
        "maintainer" | "stopsignal" | "user" | "workdir" => plain(whole()),
        "expose" | "from" => plain(blank_delimited(rest)),
        "arg" => plain(words(rest, escape)),
        "env" | "label" => plain(pairs(&keyword.to_uppercase(), rest, escape)?),
        "onbuild" => {
            if rest.is_empty() {
                return plain(Vec::new());
            }
            // What stands in there is no instruction that one may carry: it need not be taken apart.
            if rest.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("onbuild")) {
                return plain(vec![rest.split(is_blank).next().unwrap_or_default().to_owned()]);
            }
            let inner = node(rest, escape)?;
            let mut words = inner.arguments.words;
            words.insert(0, inner.keyword);
            Ok(Arguments { words, is_json: inner.arguments.is_json })
        }
        _ => plain(Vec::new()),
    }
}

fn blank_delimited(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = rest.split_once(is_blank) {
        words.push(word.to_owned());
        rest = after.trim_start_matches(is_blank);
    }
    words.push(rest.to_owned());
    words
}

/// A JSON array of texts; none where it is no such array, and a complaint where it is one of other things.
fn json(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let words = values.into_iter().map(|value| match value {
        serde_json::Value::String(word) => Some(word),
        _ => None,
    });
    words
        .collect::<Option<Vec<_>>>()
        .map(Some)
        .ok_or_else(|| "when using JSON array syntax, arrays must be comprised of strings only".to_owned())
}

/// Cuts a text at white space outside quotes. Quotes and escapes stay.
fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            // One at the very end is no part of the word.
            (c, None | Some('"')) if c == escape => {
                if let Some(escaped) = chars.next() {
                    word.extend([c, escaped]);
                }
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, open) => {
                if open == Some(c) {
                    quote = None;
                }
                word.push(c);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Names, values, and how they were told apart, three words a pair: `name=value …`, or the old `name value`.
fn pairs(keyword: &str, rest: &str, escape: char) -> Result<Vec<String>, String> {
    let words = words(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let (name, value) =
            rest.split_once(is_blank).ok_or_else(|| format!("{keyword} must have two arguments"))?;
        return Ok(vec![name.to_owned(), value.trim_start_matches(is_blank).to_owned(), String::new()]);
    }
    let mut triples = Vec::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            let word = crate::go::quote(&word);
            return Err(format!("Syntax error - can't find = in {word}. Must be of the form: name=value"));
        };
        triples.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(triples)
}
