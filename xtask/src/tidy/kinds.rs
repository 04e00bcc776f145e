//! Names of Kubernetes kinds where none may stand: in the machinery that serves every kind.
//!
//! A kind is known by the file in the crate `kinds` that makes its entry. Whatever `apiserver` or `model`
//! would do for one kind by its name, a custom resource could not have.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};

/// Where no kind may be named.
const NAMELESS: &[&str] = &["crates/apiserver/src/", "crates/model/src/"];

/// Names that belong to the protocol, and where: the file, the name, why.
const PROTOCOL: &[(&str, &str, &str)] = &[
    ("crates/apiserver/src/audit/event.rs", "Event", "what the audit log notes is called so"),
    ("crates/apiserver/src/request.rs", "namespaces", "the grammar of paths has namespaces"),
    ("crates/apiserver/src/authentication/token.rs", "serviceaccounts", "a token names an account"),
    ("crates/apiserver/src/authentication/token.rs", "pods", "a token may be bound to a pod"),
    ("crates/apiserver/src/authentication/token.rs", "secrets", "a token may be bound to a secret"),
    ("crates/apiserver/src/authentication/token.rs", "nodes", "a token may be bound to a node"),
    ("crates/apiserver/src/authentication/token/legacy.rs", "secrets", "a token may be kept in a secret"),
    ("crates/apiserver/src/authentication/token/legacy.rs", "serviceaccounts", "a token names an account"),
    ("crates/apiserver/src/authentication/bootstrap.rs", "secrets", "a bootstrap token is a secret"),
    ("crates/apiserver/src/authorisation/configuration.rs", "Node", "an authorizer is called so"),
    ("crates/apiserver/src/impersonation.rs", "serviceaccounts", "an account can be impersonated"),
    ("crates/apiserver/src/impersonation.rs", "nodes", "a node can be impersonated"),
    ("crates/apiserver/src/allocation.rs", "IPAddress", "an address that is taken is told as one"),
    ("crates/apiserver/src/protobuf/encode.rs", "Namespace", "the metadata of all kinds has one type"),
    ("crates/model/src/validate/metadata.rs", "Event", "events own nothing"),
];

/// Complains about kinds that are named in the machinery, and about files of kinds that are not formatted.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let mut names = BTreeSet::new();
    let kinds: Vec<&String> =
        tracked.iter().filter(|path| path.starts_with("crates/kinds/") && path.ends_with(".rs")).collect();
    for path in &kinds {
        names.extend(names_of(&read(path)?));
    }
    let mut complaints = Vec::new();
    if names.is_empty() {
        complaints.push(
            "crates/kinds: no kind is made by `Resource::of::<…>()` any more: mend xtask/src/tidy/kinds.rs"
                .to_owned(),
        );
    }
    for path in tracked.iter().filter(|path| is_nameless(path)) {
        complaints.extend(check_file(path, &read(path)?, &names)?);
    }
    // Its build script finds the files of that crate, not `cargo fmt`.
    let formatted = Command::new("rustfmt")
        .args(["--check", "-l", "--edition", "2024"])
        .args(&kinds)
        .current_dir(root)
        .output()
        .context("run rustfmt")?;
    let listed = String::from_utf8_lossy(&formatted.stdout);
    complaints.extend(listed.lines().map(|path| format!("{path}: format it with `rustfmt --edition 2024`")));
    Ok(complaints)
}

fn is_nameless(path: &str) -> bool {
    NAMELESS.iter().any(|root| path.starts_with(root))
        && path.ends_with(".rs")
        && !path.ends_with("tests.rs")
        && !path.contains("/tests/")
}

/// The kinds that a file makes entries of, and their plural names.
fn names_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("Resource::of::<").skip(1) {
        let kind = rest.split('>').next().unwrap_or_default();
        let lower = kind.to_lowercase();
        let plural = match lower.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None if lower.ends_with("points") => lower.clone(),
            None if lower.ends_with('s') => format!("{lower}es"),
            None => format!("{lower}s"),
        };
        names.extend([kind.to_owned(), plural]);
    }
    names
}

fn check_file(path: &str, text: &str, names: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let tokens: TokenStream =
        text.parse().map_err(|error| anyhow::anyhow!("{error}")).with_context(|| format!("parse {path}"))?;
    let mut found = Vec::new();
    literals(tokens, &mut found);
    let allowed = |name: &str| PROTOCOL.iter().any(|(file, known, _)| *file == path && *known == name);
    let complain = |(line, text): (usize, String)| {
        // `pods/log` names pods too.
        let name = text.split('/').next().unwrap_or_default().to_owned();
        (names.contains(&name) && !allowed(&name))
            .then(|| format!("{path}:{line}: names the kind `{name}`: what is particular to a kind is said in its file in crates/kinds"))
    };
    Ok(found.into_iter().filter_map(complain).collect())
}

/// The texts in a stream of tokens, with their lines; tests left out.
fn literals(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                let is_test = matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.to_string().replace(' ', "") == "[cfg(test)]");
                if is_test {
                    // Up to the end of what is for tests only.
                    let ends = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == proc_macro2::Delimiter::Brace,
                        TokenTree::Punct(sign) => sign.as_char() == ';',
                        _ => false,
                    };
                    let _ = tokens.by_ref().find(ends);
                }
            }
            TokenTree::Group(group) => literals(group.stream(), found),
            TokenTree::Literal(literal) => {
                let (line, text) = (literal.span().start().line, literal.to_string());
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&text) {
                    found.push((line, text.value()));
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let kinds = "Resource::of::<Pod>() Resource::of::<Namespace>() Resource::of::<Endpoints>()";
        let names = names_of(kinds).into_iter().collect();
        let complaints = check_file(path, text, &names).expect("it parses");
        let said: Vec<&str> =
            complaints.iter().map(|complaint| complaint.split(": what").next().expect("a part")).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn kinds_are_named_in_their_own_files_only() {
        let path = "crates/apiserver/src/a.rs";
        check(path, r#"fn a() { b("Pod"); }"#, &["crates/apiserver/src/a.rs:1: names the kind `Pod`"]);
        check(
            path,
            "fn a(kind: &str) {\n    match kind { \"pods/log\" => {} _ => c(\"endpoints\") }\n}",
            &[
                "crates/apiserver/src/a.rs:2: names the kind `pods`",
                "crates/apiserver/src/a.rs:2: names the kind `endpoints`",
            ],
        );
        check(
            path,
            r#"fn a() { json!({"a": ["Pod"]}) }"#,
            &["crates/apiserver/src/a.rs:1: names the kind `Pod`"],
        );
        check(path, r#"fn a() { b("a pod", "namespace", "podsx"); } // "Pod""#, &[]);
        check(path, "#[cfg(test)]\nmod tests { fn a() { b(\"Pod\"); } }\nfn b() {}", &[]);
        check("crates/apiserver/src/request.rs", r#"const A: &str = "namespaces";"#, &[]);
        check(
            path,
            r#"const A: &str = "namespaces";"#,
            &["crates/apiserver/src/a.rs:1: names the kind `namespaces`"],
        );
    }
}
