//! Calls that are made in one place only, or not at all.
//!
//! What asks the machine for the time cannot be tested at another time, and a task that nobody holds is not
//! ended with what it works for, nor missed when it panics.

use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Expr, Pat, Stmt};

use super::source;

/// The file that asks the machine for the time.
const CLOCK: &str = "crates/base/src/clock.rs";

/// Complains about calls that go past what is there for them.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    source::check_each(root, tracked.iter().filter(|path| source::is_program(path)), check_file)
}

fn check_file(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let mut calls = Calls { asks_the_time: path == CLOCK, found: Vec::new() };
    calls.visit_file(&source::program(path, text)?);
    Ok(calls.found.iter().map(|(line, why)| format!("{path}:{line}: {why}")).collect())
}

struct Calls {
    asks_the_time: bool,
    found: Vec<(usize, &'static str)>,
}

/// The line of a path that ends in these two.
fn ends_in(path: &syn::Path, kind: &str, name: &str) -> Option<usize> {
    let mut idents = path.segments.iter().rev().map(|segment| &segment.ident);
    let last = idents.next().filter(|last| *last == name)?;
    idents.next().is_some_and(|before| before == kind).then(|| last.span().start().line)
}

/// The line of an expression that begins a task and gives its handle.
fn spawns(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Call(call) => match &*call.func {
            Expr::Path(of) => {
                ends_in(&of.path, "tokio", "spawn").or_else(|| ends_in(&of.path, "task", "spawn"))
            }
            _ => None,
        },
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let dropped = match statement {
            Stmt::Expr(Expr::Let(_), _) => None,
            Stmt::Expr(expression, Some(_)) => Some(expression),
            Stmt::Local(local) if matches!(local.pat, Pat::Wild(_)) => {
                local.init.as_ref().map(|init| &*init.expr)
            }
            _ => None,
        };
        if let Some(line) = dropped.and_then(spawns) {
            let why = "nobody holds this task: keep its handle, or have a `TaskTracker` spawn it";
            self.found.push((line, why));
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr_path(&mut self, of: &'ast syn::ExprPath) {
        if let Some(line) = ends_in(&of.path, "Timestamp", "now").filter(|_| !self.asks_the_time) {
            self.found.push((line, "`Timestamp::now` asks the machine: take a `base::Clock`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let complaints = check_file("a.rs", text).expect("it parses");
        let said: Vec<&str> = complaints
            .iter()
            .map(|complaint| complaint.split_once(": ").expect("a place").1)
            .map(|why| why.split([':', ' ']).next().expect("a word"))
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn only_the_clock_asks_for_the_time() {
        check("fn a() -> T { base::Timestamp::now() }", &["`Timestamp"]);
        check("fn a() -> T { times.map(Timestamp::now) }", &["`Timestamp"]);
        check("fn a(clock: &dyn Clock) -> T { clock.now() }", &[]);
        check("#[cfg(test)]\nmod tests { fn a() -> T { Timestamp::now() } }", &[]);
        check("#[tokio::test]\nasync fn a() { Timestamp::now(); }", &[]);
        assert_eq!(check_file(CLOCK, "fn a() -> T { Timestamp::now() }").expect("it parses"), [""; 0]);
    }

    #[test]
    fn every_task_is_held_by_somebody() {
        check("fn a() { tokio::spawn(b()); }", &["nobody"]);
        check("fn a() { if c { ::tokio::spawn(b()); } }", &["nobody"]);
        check("fn a() { let _ = tokio::spawn(b()); }", &["nobody"]);
        check("fn a() { tokio::task::spawn(b()); }", &["nobody"]);
        check("fn a() -> H { let task = tokio::spawn(b()); task }", &[]);
        check("fn a() -> H { tokio::spawn(b()) }", &[]);
        check("fn a(&self) { self.tasks.spawn(b()); }", &[]);
    }
}
