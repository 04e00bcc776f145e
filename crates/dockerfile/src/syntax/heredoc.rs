//! Here-documents: text that follows an instruction.

use crate::lexer::Lexer;

/// A here-document.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Heredoc {
    /// The word that ends it.
    pub(crate) name: String,
    /// Whether variables in it are put in: not if its name has quotes.
    pub(crate) expands: bool,
    /// Whether the tabs that its lines begin with are no part of it.
    pub(crate) chomps: bool,
    /// Its lines as written, each with its end.
    pub(crate) content: String,
}

/// Reads the announcement that a word is: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
pub(crate) fn heredoc(word: &str) -> Result<Option<Heredoc>, String> {
    let after = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(after) = after.strip_prefix("<<") else { return Ok(None) };
    let (chomps, after) = match after.strip_prefix('-') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let name = after.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if name.is_empty() || name.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer { keeps_unset: true, ..Lexer::new('\\') };
    let none = |_: &str| None;
    let plain = lexer.expand(name, &none)?.words;
    let [plain] = plain.as_slice() else { return Ok(None) };
    let raw = Lexer { keeps_quotes: true, ..lexer }.expand(name, &none)?.words;
    let [raw] = raw.as_slice() else {
        return Err(format!("internal lexing of heredoc produced inconsistent results: {name}"));
    };
    let quotes = |text: &str| text.chars().filter(|c| matches!(c, '\'' | '"')).count();
    let expands = quotes(plain) == quotes(raw);
    Ok(Some(Heredoc { name: plain.clone(), expands, chomps, content: String::new() }))
}

/// Those that an instruction announces, in order.
pub(super) fn announced(line: &str) -> Result<Vec<Heredoc>, String> {
    let lexer = Lexer { keeps_quotes: true, keeps_escapes: true, keeps_unset: true, ..Lexer::new('\\') };
    let words = lexer.expand(line, &|_: &str| None).map(|expansion| expansion.words).unwrap_or_default();
    words.iter().filter_map(|word| heredoc(word).transpose()).collect()
}

/// The text without the tabs that its lines begin with.
pub(crate) fn chomp(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
