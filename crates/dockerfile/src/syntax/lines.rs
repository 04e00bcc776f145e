//! From lines to instructions: comments, directives, continuations, here-documents.

use super::directives::Directives;
use super::heredoc::{Heredoc, announced};
use super::{Lines, Node, Syntax, SyntaxError, split};

/// The longest line, in bytes.
const LINE_MAX: usize = (64 << 10) - 1;
/// How many instructions a Dockerfile may have, in all its stages. An image takes a thousand of them
/// ([`oci::limits::HISTORY_MAX`]).
const NODES_MAX: usize = 10_000;

/// Takes a Dockerfile apart.
pub(crate) fn parse(text: &str) -> Result<Syntax, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { lines: text.split_inclusive('\n'), number: 0 };
    let mut syntax = Syntax { nodes: Vec::new(), escape: '\\', empty_continuations: Vec::new() };
    let mut directives = Directives::new("#", 0);
    let mut comments: Vec<String> = Vec::new();
    while let Some(raw) = reader.next()? {
        let first = reader.number;
        let fail = |problem: String, reader: &Reader<'_>| SyntaxError {
            problem,
            lines: Lines { first, last: reader.number },
        };
        let line = without_end(raw).trim_start();
        let directive = directives.read(line).map_err(|problem| fail(problem, &reader))?;
        match directive {
            Some(directive) if directive.name == "escape" => match directive.value.as_str() {
                "\\" => syntax.escape = '\\',
                "`" => syntax.escape = '`',
                other => {
                    let problem = format!("invalid escape token '{other}' does not match ` or \\");
                    return Err(fail(problem, &reader));
                }
            },
            Some(_) => {}
            None if is_comment(line) => {
                let comment = line[1..].trim();
                match comment.is_empty() {
                    true => comments.clear(),
                    false => comments.push(comment.to_owned()),
                }
            }
            None => {}
        }
        if is_comment(line) {
            continue;
        }
        let (kept, mut ends) = continuation(line, syntax.escape);
        if ends && kept.is_empty() {
            continue;
        }
        let mut joined = kept.to_owned();
        let mut has_empty = false;
        while !ends {
            let Some(raw) = reader.next()? else { break };
            let line = without_end(raw);
            if is_comment(line.trim_start()) {
                continue;
            }
            if line.trim().is_empty() {
                has_empty = true;
                continue;
            }
            let (kept, end) = continuation(line, syntax.escape);
            joined.push_str(kept);
            ends = end;
        }
        if has_empty {
            syntax.empty_continuations.push(Lines::at(reader.number));
        }
        let mut node = split::node(&joined, syntax.escape).map_err(|problem| fail(problem, &reader))?;
        if joined.contains("<<") && takes_heredocs(&node) {
            let announced = announced(&joined).map_err(|problem| fail(problem, &reader))?;
            for heredoc in announced {
                let read = reader.heredoc(heredoc)?;
                let read = read.ok_or_else(|| fail("unterminated heredoc".to_owned(), &reader))?;
                node.heredocs.push(read);
            }
        }
        if syntax.nodes.len() == NODES_MAX {
            return Err(fail(format!("there are more than {NODES_MAX} instructions"), &reader));
        }
        node.comments = std::mem::take(&mut comments);
        node.lines = Lines { first, last: reader.number };
        syntax.nodes.push(node);
    }
    if syntax.nodes.is_empty() {
        let lines = Lines::at(reader.number.max(1));
        return Err(SyntaxError { problem: "file with no instructions".to_owned(), lines });
    }
    Ok(syntax)
}

struct Reader<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    /// The line that was read last, from 1.
    number: u32,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, SyntaxError> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        self.number += 1;
        if line.len() > LINE_MAX {
            let problem = format!("dockerfile line greater than max allowed size of {LINE_MAX}");
            return Err(SyntaxError { problem, lines: Lines::at(self.number) });
        }
        Ok(Some(line))
    }

    /// Reads up to the line that ends a here-document; none if there is no such line.
    fn heredoc(&mut self, mut heredoc: Heredoc) -> Result<Option<Heredoc>, SyntaxError> {
        while let Some(line) = self.next()? {
            let end = without_end(line);
            let end = if heredoc.chomps { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                return Ok(Some(heredoc));
            }
            heredoc.content.push_str(line);
        }
        Ok(None)
    }
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#')
}

/// The line without the escape at its end, and whether the instruction ends with it.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, false),
        _ => (line, true),
    }
}

/// Whether here-documents may follow an instruction, or the one that ONBUILD carries.
fn takes_heredocs(node: &Node) -> bool {
    let keyword = match node.keyword.to_lowercase().as_str() {
        "onbuild" => node.arguments.words.first().map(|word| word.to_lowercase()).unwrap_or_default(),
        keyword => keyword.to_owned(),
    };
    matches!(keyword.as_str(), "add" | "copy" | "run") && !node.arguments.is_json
}
