//! Logical lines: comments and continuations taken care of, here-documents attached.

use super::ParseError;

/// An instruction's text, on one line.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LogicalLine {
    /// Where it begins, from 1.
    pub(super) number: usize,
    pub(super) text: String,
    /// The here-documents that it announces, in order.
    pub(super) documents: Vec<HereDocument>,
}

/// A here-document: text that follows an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HereDocument {
    /// The word that ends it.
    pub name: String,
    /// Its lines, each with its line end.
    pub content: String,
    /// Whether variables in it are expanded: not if its name was quoted.
    pub expand: bool,
}

/// The announcement of a here-document: `<<NAME`, `<<-NAME`, `<<"NAME"`.
struct Announced {
    name: String,
    strip_tabs: bool,
    expand: bool,
}

/// The escape character, from the directives at the top.
pub(super) fn escape(text: &str) -> Result<char, ParseError> {
    let mut escape = '\\';
    for (at, line) in text.lines().enumerate() {
        let Some(directive) = line.trim().strip_prefix('#') else { break };
        let Some((key, value)) = directive.split_once('=') else { break };
        match (key.trim().to_lowercase().as_str(), value.trim()) {
            ("escape", "\\") => escape = '\\',
            ("escape", "`") => escape = '`',
            ("escape", other) => {
                let problem = format!("invalid ESCAPE '{other}': must be ` or \\");
                return Err(ParseError::Instruction { line: at + 1, problem });
            }
            ("syntax" | "check", _) => {}
            _ => break,
        }
    }
    Ok(escape)
}

/// Cuts a text into instructions.
pub(super) fn logical(text: &str, escape: char) -> Result<Vec<LogicalLine>, ParseError> {
    let mut logical = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if is_blank_or_comment(line) {
            continue;
        }
        let mut joined = String::new();
        let mut part = line.trim_start();
        loop {
            match continued(part, escape) {
                None => {
                    joined.push_str(part);
                    break;
                }
                Some(kept) => joined.push_str(kept),
            }
            // Comments and empty lines in the middle of an instruction are no part of it.
            match lines.find(|(_, line)| !is_blank_or_comment(line)) {
                Some((_, next)) => part = next,
                None => break,
            }
        }
        let text = joined.trim().to_owned();
        let mut documents = Vec::new();
        for announced in announcements(&text, escape) {
            let mut content = String::new();
            let mut ended = false;
            for (_, line) in lines.by_ref() {
                let line = if announced.strip_tabs { line.trim_start_matches('\t') } else { line };
                if line == announced.name {
                    ended = true;
                    break;
                }
                content.push_str(line);
                content.push('\n');
            }
            if !ended {
                let problem = format!("unterminated heredoc `{}`", announced.name);
                return Err(ParseError::Instruction { line: at + 1, problem });
            }
            documents.push(HereDocument { name: announced.name, content, expand: announced.expand });
        }
        logical.push(LogicalLine { number: at + 1, text, documents });
    }
    Ok(logical)
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The line without the escape at its end, if the next line continues it.
fn continued(line: &str, escape: char) -> Option<&str> {
    let trimmed = line.trim_end_matches([' ', '\t']);
    let kept = trimmed.strip_suffix(escape)?;
    // An escaped escape at the end is one of its own.
    let escapes = kept.chars().rev().take_while(|&c| c == escape).count();
    (escapes % 2 == 0).then_some(kept)
}

/// The here-documents that an instruction announces; only RUN, COPY and ADD can.
fn announcements(text: &str, escape: char) -> Vec<Announced> {
    let (keyword, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let keyword = keyword.to_uppercase();
    let rest = match keyword.as_str() {
        "ONBUILD" => return announcements(rest.trim_start(), escape),
        "RUN" | "COPY" | "ADD" => rest,
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut quote = None;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, _) if c == escape => {
                chars.next();
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('<', None) if rest[at..].starts_with("<<") && !rest[at..].starts_with("<<<") => {
                if let Some((announced, len)) = announcement(&rest[at..]) {
                    found.push(announced);
                    while chars.peek().is_some_and(|(next, _)| *next < at + len) {
                        chars.next();
                    }
                }
            }
            ('<', None) if rest[at..].starts_with("<<<") => {
                chars.next();
                chars.next();
            }
            _ => {}
        }
    }
    found
}

/// Reads `<<NAME` at the beginning of `text`; gives how long it is.
fn announcement(text: &str) -> Option<(Announced, usize)> {
    let after = text.strip_prefix("<<")?;
    let (strip_tabs, after) = match after.strip_prefix('-') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (name, len) = match quote {
        Some(quote) => {
            let name = after[1..].split(quote).next()?;
            (name, name.len() + 2)
        }
        None => {
            let end = after.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-')));
            let name = &after[..end.unwrap_or(after.len())];
            (name, name.len())
        }
    };
    let is_word = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let announced = Announced { name: name.to_owned(), strip_tabs, expand: quote.is_none() };
    is_word.then_some((announced, 2 + usize::from(strip_tabs) + len))
}
