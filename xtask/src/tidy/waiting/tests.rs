use super::*;

/// Where the complaints about one file are.
#[track_caller]
fn check(text: &str, lines: &[usize]) {
    let path = "crates/engine/src/it.rs";
    let functions = read::functions(path, text).expect("Rust");
    let found = complaints(&functions);
    let at = |complaint: &String| complaint.split(':').nth(1).and_then(|line| line.parse().ok());
    assert_eq!(found.iter().filter_map(at).collect::<Vec<usize>>(), lines, "{found:#?}");
}

#[test]
fn files_are_not_touched_by_asynchronous_code() {
    check("async fn a() {\n std::fs::read(\"x\");\n}", &[2]);
    check("use std::fs;\nasync fn a() {\n fs::read(\"x\");\n}", &[3]);
    check("use std::fs::File;\nfn a() { b(async move {\n File::open(\"x\") }) }", &[3]);
    check("async fn a(p: &Path) {\n if p.exists() {}\n}", &[2]);
    check("async fn a(p: &[&Path]) {\n p.iter().filter(|p| p.exists());\n}", &[2]);
    check("async fn a() {\n std::thread::sleep(x);\n}", &[2]);
    check("fn a() { std::fs::read(\"x\"); }", &[]);
    check("#[tokio::test]\nasync fn a() { std::fs::read(\"x\"); }", &[]);
}

#[test]
fn a_thread_may_touch_them() {
    check("async fn a() { blocking(move || std::fs::read(\"x\")).await }", &[]);
    check("async fn a() { let work = move || std::fs::read(\"x\"); blocking(work).await }", &[]);
    check("async fn a() { let work = move || std::fs::read(\"x\");\n work() }", &[1]);
    check("async fn a() { t.spawn(async move {\n std::fs::read(\"x\") }) }", &[2]);
}

#[test]
fn nobody_takes_a_thread_past_the_bounds() {
    check("async fn a() {\n tokio::task::spawn_blocking(|| x()).await }", &[2]);
    check("use tokio::task;\nfn a() {\n task::spawn_blocking(x) }", &[3]);
    check("fn a(t: &TaskTracker) {\n t.spawn_blocking_on(x, &y) }", &[2]);
    check("fn a() {\n tokio::task::block_in_place(x) }", &[2]);
    check("#[cfg(test)]\nmod tests { fn a() { tokio::task::spawn_blocking(x) } }", &[]);
}

#[test]
fn what_calls_something_that_blocks_blocks() {
    check("fn a() { std::fs::read(\"x\"); }\nfn b() { a() }\nasync fn c() {\n b() }", &[4]);
    check("impl A { fn keep(&self) { std::fs::read(\"x\"); }\n async fn b(&self) {\n self.keep() } }", &[3]);
    check("fn a() { in_place(|| std::fs::read(\"x\")) }\nasync fn c() { a() }", &[]);
    // Which one is meant cannot be told.
    check(
        "impl A { fn keep(&self) { std::fs::read(\"x\"); } }\nimpl B { fn keep(&self) {} }\nasync fn c(x: A) { x.keep() }",
        &[],
    );
}
