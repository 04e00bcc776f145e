//! Source files as syntax, and which of it is for tests only.

use std::path::Path;

use anyhow::Context as _;

/// Whether a file holds what a crate of the house is, not what tests it.
pub(super) fn is_program(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", krate, "src", ..] if krate != "testkit")
        && path.ends_with(".rs")
        && !parts.iter().any(|part| matches!(*part, "tests" | "tests.rs"))
}

/// Complains about each of the files, given as a path and a text.
pub(super) fn check_each<'a>(
    root: &Path,
    paths: impl Iterator<Item = &'a String>,
    check: impl Fn(&str, &str) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        complaints.extend(check(path, &text)?);
    }
    Ok(complaints)
}

/// A file without what is in it for tests only.
pub(super) fn program(path: &str, text: &str) -> anyhow::Result<syn::File> {
    let mut file = syn::parse_file(text).with_context(|| format!("parse {path}"))?;
    leave_tests_out(&mut file.items);
    Ok(file)
}

fn leave_tests_out(items: &mut Vec<syn::Item>) {
    items.retain(|item| match item {
        syn::Item::Mod(module) => !is_test(&module.attrs),
        syn::Item::Fn(function) => !is_test(&function.attrs),
        syn::Item::Impl(block) => !is_test(&block.attrs),
        _ => true,
    });
    for item in items {
        if let syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) = item {
            leave_tests_out(items);
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|when| when == "test")
    })
}
