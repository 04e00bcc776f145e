//! Sizes and habits of source files.

use std::path::Path;

use anyhow::Context as _;

/// Past this many lines a file has more than one subject.
const MOST_LINES: usize = 1000;

/// Crates that talk to the kernel and may hold `unsafe` blocks; every other forbids them.
const MAY_BE_UNSAFE: &[&str] = &["runtime", "net"];

/// Complains about long files, `mod.rs`, and crates that do not forbid `unsafe`.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in tracked.iter().filter(|path| path.ends_with(".rs")) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        complaints.extend(check_file(path, &text));
    }
    Ok(complaints)
}

fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES && !text.starts_with("// @generated") {
        complaints.push(format!("{path}: {lines} lines, more than {MOST_LINES}: divide it by subject"));
    }
    // What integration tests share has to be a `mod.rs`: any other file there is a test of its own.
    if path.ends_with("/mod.rs") && !path.contains("/tests/") {
        complaints.push(format!("{path}: name it after its module, beside its folder"));
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let may_be_unsafe = MAY_BE_UNSAFE.iter().any(|name| path.starts_with(&format!("crates/{name}/")));
    if is_root && !may_be_unsafe && !text.contains("#![forbid(unsafe_code)]") {
        complaints.push(format!("{path}: add `#![forbid(unsafe_code)]`"));
    }
    if is_root && !text.starts_with("//! ") {
        complaints.push(format!("{path}: say in the first line what the crate is"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(check_file(path, text), expected);
    }

    #[test]
    fn a_long_file_is_refused_unless_it_is_generated() {
        let long = "//\n".repeat(1001);
        check("a/b.rs", &long, &["a/b.rs: 1001 lines, more than 1000: divide it by subject"]);
        check("a/b.rs", &format!("// @generated\n{long}"), &[]);
    }

    #[test]
    fn only_the_crates_that_talk_to_the_kernel_may_be_unsafe() {
        check("crates/net/src/lib.rs", "//! Net.\n", &[]);
        check(
            "crates/oci/src/lib.rs",
            "//! Oci.\n",
            &["crates/oci/src/lib.rs: add `#![forbid(unsafe_code)]`"],
        );
    }
}
