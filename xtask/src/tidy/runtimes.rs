//! Who knows which runtime the node has: one module, and nobody else in that crate.
//!
//! Whatever names a type of the engine beside it could not be had from another runtime.

use std::path::Path;

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};

use super::source;

/// The crate that works with a runtime, and where it may know which one that is.
const NODE: &str = "crates/node/src/";
const KNOWING: &[&str] = &["crates/node/src/runtime/engine.rs", "crates/node/src/runtime/engine/"];

/// The crate that nobody else may name.
const ENGINE: &str = "engine";

/// Words before a path that are no part of it.
const KEYWORDS: &[&str] = &["use", "as", "dyn", "impl", "in", "mut", "return", "where", "for"];

/// Complains about whoever names the engine where any runtime will do.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    source::check_each(root, tracked.iter().filter(|path| is_read(path)), check_file)
}

fn is_read(path: &str) -> bool {
    path.starts_with(NODE)
        && path.ends_with(".rs")
        && !KNOWING.iter().any(|known| path == *known || (known.ends_with('/') && path.starts_with(known)))
}

fn check_file(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let tokens: TokenStream =
        text.parse().map_err(|error| anyhow::anyhow!("{error}")).with_context(|| format!("parse {path}"))?;
    let mut lines = Vec::new();
    names(tokens, &mut lines);
    let complain = |line: &usize| {
        format!(
            "{path}:{line}: names the crate `{ENGINE}`: the node works with any runtime, say it in crates/node/src/runtime"
        )
    };
    Ok(lines.iter().map(complain).collect())
}

/// The lines on which a path begins with the engine.
fn names(tokens: TokenStream, lines: &mut Vec<usize>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
    let is_name = |token: Option<&TokenTree>| {
        matches!(token, Some(TokenTree::Ident(word)) if !KEYWORDS.iter().any(|keyword| word == keyword))
            || matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == '>')
    };
    for (place, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => names(group.stream(), lines),
            TokenTree::Ident(ident) if ident == ENGINE => {
                let before = |back: usize| place.checked_sub(back).and_then(|at| tokens.get(at));
                // `base64::engine` is another's; `::engine` is not.
                let is_inner = is_colon(before(1)) && is_colon(before(2)) && is_name(before(3));
                let leads_on = is_colon(tokens.get(place + 1)) && is_colon(tokens.get(place + 2));
                let is_used = matches!(before(1), Some(TokenTree::Ident(word)) if word == "use" || word == "crate")
                    && !leads_on;
                if (leads_on && !is_inner) || is_used {
                    lines.push(ident.span().start().line);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[usize]) {
        let complaints = if is_read(path) { check_file(path, text).expect("it parses") } else { Vec::new() };
        let expected: Vec<String> = expected.iter().map(|line| format!("{path}:{line}")).collect();
        let said: Vec<&str> =
            complaints.iter().map(|complaint| complaint.split(": names").next().expect("a part")).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn one_module_of_the_node_knows_its_runtime() {
        let path = "crates/node/src/agent.rs";
        check(path, "use engine::Engine;", &[1]);
        check(path, "use ::engine::Engine;", &[1]);
        check(path, "use engine as runs_pods;", &[1]);
        check(path, "fn a() {\n    warn!(\"x\", error = engine::Kind::NotFound);\n}", &[2]);
        check(path, "fn a(x: &engine::Error) -> Option<engine::Kind> { None }", &[1, 1]);
        check(
            path,
            "mod engine;\nuse base64::engine::general_purpose;\nfn a(engine: u8) { engine.b() }",
            &[],
        );
        check("crates/node/src/runtime/engine.rs", "use engine::Engine;", &[]);
        check("crates/node/src/runtime/engine/stream.rs", "use engine::Engine;", &[]);
        check("crates/node/src/runtime/engines.rs", "use engine::Engine;", &[1]);
        check("crates/docker/src/lib.rs", "use engine::Engine;", &[]);
    }
}
