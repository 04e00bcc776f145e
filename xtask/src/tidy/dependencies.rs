//! What may be depended on, and how a package says it.

use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::Metadata;
use serde::Deserialize;
use spdx::Expression;
use spdx::ParseMode;

/// Complains about what `deny.toml` does not allow ([`Allowed`]), members that do not inherit the
/// workspace's lints, and versions that stand outside the workspace's list.
pub(super) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("read deny.toml")?;
    let allowed = Allowed::read(&text).context("read deny.toml")?;
    let mut complaints = Vec::new();
    for package in
        metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id))
    {
        complaints.extend(allowed.check(&Facts {
            name: &package.name,
            licence: package.license.as_deref(),
            from_registry: package.source.as_ref().is_some_and(cargo_metadata::Source::is_crates_io),
        }));
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

/// What `deny.toml` allows, in the form that `cargo deny` reads.
struct Allowed {
    licences: Vec<spdx::Licensee>,
    bans: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// What is known of one dependency.
struct Facts<'a> {
    name: &'a str,
    /// Its SPDX expression.
    licence: Option<&'a str>,
    from_registry: bool,
}

impl Allowed {
    fn read(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct File {
            licenses: Licenses,
            bans: Bans,
        }
        #[derive(Deserialize)]
        struct Licenses {
            allow: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Bans {
            deny: Vec<Ban>,
        }
        let file: File = toml::from_str(text)?;
        let licences = file.licenses.allow.iter().map(|name| {
            spdx::Licensee::parse(name).map_err(|error| anyhow::anyhow!("licence `{name}`: {}", error.reason))
        });
        Ok(Self { licences: licences.collect::<Result<_, _>>()?, bans: file.bans.deny })
    }

    fn check(&self, package: &Facts<'_>) -> Option<String> {
        let name = package.name;
        if let Some(ban) = self.bans.iter().find(|ban| ban.name == name) {
            return Some(format!("dependency `{name}` is forbidden: {}", ban.reason));
        }
        if !package.from_registry {
            return Some(format!("dependency `{name}` comes from elsewhere than the registry"));
        }
        let Some(licence) = package.licence else {
            return Some(format!("dependency `{name}` names no licence"));
        };
        let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
            return Some(format!("dependency `{name}`: its licence `{licence}` is no SPDX expression"));
        };
        let granted = expression.evaluate(|asked| self.licences.iter().any(|given| given.satisfies(asked)));
        (!granted).then(|| format!("dependency `{name}`: deny.toml does not allow `{licence}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_free_known_and_not_forbidden() {
        let text = "[licenses]\nallow = [\"MIT\", \"Apache-2.0\", \"Apache-2.0 WITH LLVM-exception\"]\n\
                    [bans]\ndeny = [{ crate = \"bad-sys\", reason = \"a C library\" }]\n";
        let allowed = Allowed::read(text).expect("it is well formed");
        let check = |name, licence, from_registry, expected: Option<&str>| {
            let complaint = allowed.check(&Facts { name, licence, from_registry });
            assert_eq!(complaint.as_deref(), expected);
        };
        check("a", Some("MIT OR Apache-2.0"), true, None);
        check("a", Some("MIT/GPL-3.0"), true, None);
        check("a", Some("Apache-2.0 WITH LLVM-exception"), true, None);
        check(
            "a",
            Some("GPL-3.0-only"),
            true,
            Some("dependency `a`: deny.toml does not allow `GPL-3.0-only`"),
        );
        check(
            "a",
            Some("MIT AND GPL-3.0-only"),
            true,
            Some("dependency `a`: deny.toml does not allow `MIT AND GPL-3.0-only`"),
        );
        check("a", None, true, Some("dependency `a` names no licence"));
        check("a", Some("MIT"), false, Some("dependency `a` comes from elsewhere than the registry"));
        check("bad-sys", Some("MIT"), true, Some("dependency `bad-sys` is forbidden: a C library"));
    }

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
