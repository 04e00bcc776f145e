//! What may be depended on, and how a package says it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, PackageId};
use serde::Deserialize;
use spdx::Expression;
use spdx::ParseMode;

/// Complains about what `deny.toml` does not allow ([`Allowed`]), members that do not inherit the
/// workspace's lints, versions that stand outside the workspace's list, and several versions of one crate in
/// what is built for the platform.
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
    complaints.extend(allowed.check_versions(&versions(root, &allowed.targets)?));
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.as_std_path();
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
        complaints.extend(check_manifest(&shown, &text)?);
    }
    Ok(complaints)
}

/// The versions of each crate that is built, by name: what members depend on but for their tests.
fn versions(root: &Path, targets: &[String]) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for target in targets {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--filter-platform".to_owned(), target.clone()])
            .exec()
            .context("ask cargo for what is built")?;
        let graph = metadata.resolve.as_ref().context("cargo resolves what is depended on")?;
        let nodes: BTreeMap<&PackageId, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
        let mut waiting: Vec<&PackageId> = metadata.workspace_members.iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let built = nodes.get(id).into_iter().flat_map(|node| &node.deps).filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            });
            waiting.extend(built.map(|dependency| &dependency.pkg));
        }
        for package in metadata.packages.iter().filter(|package| seen.contains(&package.id)) {
            versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
        }
    }
    Ok(versions)
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
    /// Versions that may be there besides another, as `name@version`.
    skipped: Vec<Ban>,
    targets: Vec<String>,
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
            #[serde(default)]
            graph: Graph,
        }
        #[derive(Deserialize, Default)]
        struct Graph {
            targets: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Licenses {
            allow: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Bans {
            deny: Vec<Ban>,
            #[serde(default)]
            skip: Vec<Ban>,
        }
        let file: File = toml::from_str(text)?;
        let licences = file.licenses.allow.iter().map(|name| {
            spdx::Licensee::parse(name).map_err(|error| anyhow::anyhow!("licence `{name}`: {}", error.reason))
        });
        Ok(Self {
            licences: licences.collect::<Result<_, _>>()?,
            bans: file.bans.deny,
            skipped: file.bans.skip,
            targets: file.graph.targets,
        })
    }

    /// Complains about crates of which there are several versions, but for those that are skipped, and about
    /// those that are skipped and need not be.
    fn check_versions(&self, versions: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let is = |skipped: &Ban, name: &str, version: &str| {
            skipped.name.split_once('@').is_some_and(|(of, beginning)| {
                of == name && version.strip_prefix(beginning).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let mut complaints = Vec::new();
        for (name, versions) in versions {
            let is_skipped = |version: &&String| self.skipped.iter().any(|one| is(one, name, version));
            let left: Vec<&str> =
                versions.iter().filter(|version| !is_skipped(version)).map(String::as_str).collect();
            if left.len() > 1 {
                complaints.push(format!(
                    "`{name}` is there as {}: take one, or say in deny.toml why not",
                    left.join(" and ")
                ));
            }
        }
        for skipped in &self.skipped {
            let is_needed = versions.iter().any(|(name, versions)| {
                versions.len() > 1 && versions.iter().any(|version| is(skipped, name, version))
            });
            if !is_needed {
                complaints.push(format!("deny.toml: `{}` need not be skipped", skipped.name));
            }
        }
        complaints
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

    #[test]
    fn a_crate_is_there_once_or_it_is_said_why_not() {
        let text = "[licenses]\nallow = []\n[bans]\ndeny = []\n\
                    skip = [{ crate = \"a@0.1\", reason = \"b\" }, { crate = \"gone@1\", reason = \"b\" }]\n";
        let allowed = Allowed::read(text).expect("it is well formed");
        let versions = |of: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            let texts = |all: &[&str]| all.iter().map(|&version| version.to_owned()).collect();
            of.iter().map(|(name, all)| ((*name).to_owned(), texts(all))).collect()
        };
        let gone = "deny.toml: `gone@1` need not be skipped";
        let found = allowed.check_versions(&versions(&[("a", &["0.1.5", "0.10.0"]), ("b", &["1.0.0"])]));
        assert_eq!(found, [gone]);
        let found = allowed
            .check_versions(&versions(&[("a", &["0.1.5", "0.10.0", "0.11.0"]), ("b", &["1.0.0", "2.0.0"])]));
        assert_eq!(
            found,
            [
                "`a` is there as 0.10.0 and 0.11.0: take one, or say in deny.toml why not",
                "`b` is there as 1.0.0 and 2.0.0: take one, or say in deny.toml why not",
                gone,
            ]
        );
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
