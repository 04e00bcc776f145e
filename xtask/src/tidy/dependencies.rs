//! What may be depended on, and how a package says it.

use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::Metadata;

/// Crates that must not be in the tree, with the reason.
const FORBIDDEN: &[(&str, &str)] = &[
    ("openssl-sys", "a C library; use rustls"),
    ("aws-lc-sys", "needs cmake and five times the build time; use rustls with ring"),
    ("zstd-sys", "a C library; use ruzstd"),
    ("libz-sys", "a C library; use flate2 with zlib-rs"),
    ("protobuf-src", "builds protoc; use protox"),
    ("protoc-bin-vendored", "brings protoc; use protox"),
    ("bindgen", "needs libclang"),
    ("cmake", "needs cmake"),
    ("rustables", "GPL"),
    ("sled", "unmaintained"),
    ("serde_yaml", "unmaintained; use serde-saphyr"),
    ("figment", "see the configuration module for the four layers"),
];

/// Complains about forbidden crates in the lock file, members that do not inherit the workspace's
/// lints, and versions that stand outside the workspace's list.
pub(super) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        if let Some((name, why)) = FORBIDDEN.iter().find(|(name, _)| package.name.as_str() == *name) {
            complaints.push(format!("dependency `{name}` is forbidden: {why}"));
        }
    }
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.as_std_path();
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
        complaints.extend(check_manifest(&shown, &text)?);
    }
    Ok(complaints)
}

fn check_manifest(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = text.parse().with_context(|| format!("parse {path}"))?;
    let mut complaints = Vec::new();
    let inherits =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if inherits != Some(true) {
        complaints.push(format!("{path}: add `[lints] workspace = true`"));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
        for (name, value) in table {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                complaints.push(format!("{path}: `{name}` must take its version from the workspace"));
            }
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(manifest: &str, expected: &[&str]) {
        assert_eq!(check_manifest("x/Cargo.toml", manifest).expect("valid TOML"), expected);
    }

    #[test]
    fn a_manifest_inherits_lints_and_versions() {
        check("[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n", &[]);
        check("", &["x/Cargo.toml: add `[lints] workspace = true`"]);
        check(
            "[lints]\nworkspace = true\n[dev-dependencies]\nserde = \"1\"\n",
            &["x/Cargo.toml: `serde` must take its version from the workspace"],
        );
    }
}
