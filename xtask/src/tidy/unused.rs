//! Dependencies that a manifest names and no source file does.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata};

/// Complains about dependencies whose name stands in none of the files that could use them. A manifest
/// that needs one all the same says so where `cargo machete` reads it too:
/// `[package.metadata.cargo-machete] ignored = ["NAME"]`, with the reason beside it.
pub(super) fn check(metadata: &Metadata, root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let home = package.manifest_path.parent().context("a manifest is in a directory")?;
        let home = home.as_std_path().strip_prefix(root).context("a member is below the root")?;
        let mut sources = BTreeMap::new();
        for path in tracked.iter().filter(|path| path.ends_with(".rs")) {
            if let Ok(inside) = Path::new(path).strip_prefix(home) {
                let text =
                    std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
                sources.insert(inside.to_owned(), text);
            }
        }
        let ignored = &package.metadata["cargo-machete"]["ignored"];
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
            let is_ignored = ignored.as_array().is_some_and(|names| names.iter().any(|n| n == name.as_str()));
            let identifier = name.replace('-', "_");
            let used = sources
                .iter()
                .any(|(path, text)| may_use(dependency.kind, path) && has_word(text, &identifier));
            if !used && !is_ignored {
                complaints.push(format!("{}: nothing uses `{name}`", package.manifest_path));
            }
        }
    }
    Ok(complaints)
}

/// Whether a source file of a package can name its dependencies of that kind.
fn may_use(kind: DependencyKind, path: &Path) -> bool {
    match kind {
        DependencyKind::Build => path == Path::new("build.rs") || path.starts_with("build"),
        DependencyKind::Development => path != Path::new("build.rs"),
        _ => path.starts_with("src"),
    }
}

/// Whether an identifier stands in the text by itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_itself_only() {
        for (text, expected) in [
            ("use serde::Serialize;", true),
            ("#[derive(serde::Serialize)]", true),
            ("use serde_json::Value;", false),
            ("let x = myserde;", false),
            ("", false),
        ] {
            assert_eq!(has_word(text, "serde"), expected, "{text}");
        }
    }

    #[test]
    fn each_kind_has_its_files() {
        let may = |kind, path: &str| may_use(kind, Path::new(path));
        assert!(may(DependencyKind::Normal, "src/a/b.rs") && !may(DependencyKind::Normal, "tests/a.rs"));
        assert!(
            may(DependencyKind::Development, "tests/a.rs") && may(DependencyKind::Development, "src/a.rs")
        );
        assert!(may(DependencyKind::Build, "build.rs") && !may(DependencyKind::Build, "src/a.rs"));
    }
}
