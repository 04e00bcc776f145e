//! Decisions by the text of a message: whoever words it anew changes what the program does.
//!
//! Errors have kinds, facts, reasons and causes for that. Tests may look at texts: that is what they test.

use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Expr, Member};

use super::source;

/// What looks into a text.
const LOOKS: &[&str] =
    &["contains", "starts_with", "ends_with", "strip_prefix", "strip_suffix", "find", "split_once"];

/// What gives the text of an error or a status.
const TEXTS: &[&str] = &["message", "full_message"];

/// Complains about decisions by the text of a message.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    source::check_each(root, tracked.iter().filter(|path| source::is_program(path)), check_file)
}

fn check_file(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let file = source::program(path, text)?;
    let mut decisions = Decisions::default();
    decisions.visit_file(&file);
    let complain = |(line, how): &(usize, String)| {
        format!(
            "{path}:{line}: `{how}` decides by the text of a message: look at a kind, a fact, a reason or a cause"
        )
    };
    Ok(decisions.found.iter().map(complain).collect())
}

/// Where a text is looked into; tests left out.
#[derive(Default)]
struct Decisions {
    found: Vec<(usize, String)>,
}

/// Whether an expression is the text of an error or a status, however it is borrowed.
fn is_text(expression: &Expr) -> bool {
    match expression {
        Expr::Field(field) => {
            matches!(&field.member, Member::Named(name) if TEXTS.iter().any(|text| name == text))
        }
        Expr::MethodCall(call) if TEXTS.iter().any(|text| call.method == text) => true,
        Expr::MethodCall(call) => {
            matches!(&*call.method.to_string(), "as_str" | "as_ref" | "clone") && is_text(&call.receiver)
        }
        Expr::Reference(reference) => is_text(&reference.expr),
        Expr::Paren(paren) => is_text(&paren.expr),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Decisions {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        if LOOKS.contains(&&*method) && is_text(&call.receiver) {
            self.found.push((call.method.span().start().line, format!("message.{method}")));
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let complaints = check_file("a.rs", text).expect("it parses");
        let said: Vec<&str> =
            complaints.iter().map(|complaint| complaint.split(" decides").next().expect("a part")).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn nothing_is_decided_by_the_text_of_a_message() {
        check(
            "fn a(status: Status) -> bool {\n    status.message.contains(\"being terminated\")\n}",
            &["a.rs:2: `message.contains`"],
        );
        check(
            "fn a(e: E) { if e.full_message().starts_with(\"no\") { b() } }",
            &["a.rs:1: `message.starts_with`"],
        );
        check(
            "fn a(e: E) { match e { E(s) if (&s.message).as_str().ends_with(\"x\") => {} _ => {} } }",
            &["a.rs:1: `message.ends_with`"],
        );
        check("fn a(e: E) { if e.reason == \"NotFound\" { show(e.message()) } }", &[]);
        check("#[cfg(test)]\nmod tests {\n    fn a(e: E) { assert!(e.message.contains(\"x\")); }\n}", &[]);
    }
}
