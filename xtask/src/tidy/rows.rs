//! The rows of the house: a crate uses lower rows only, or those of its own row that the table names.

use cargo_metadata::{DependencyKind, Metadata};

/// Every crate, its row, and which crates of the house it may use besides `base`.
///
/// This is the table of `docs/architecture.md`; a crate that is not in it may not exist.
const HOUSE: &[(&str, &[&str])] = &[
    // Vocabulary.
    ("base", &[]),
    ("offload", &[]),
    ("oci", &[]),
    ("llb", &["oci"]),
    ("model", &[]),
    ("cel", &["model"]),
    ("tls", &[]),
    ("metrics", &[]),
    // Mechanisms.
    ("store", &[]),
    ("image", &["oci", "offload", "tls"]),
    ("runtime", &[]),
    ("net", &["offload"]),
    // Engines.
    ("engine", &["oci", "offload", "image", "runtime", "net"]),
    ("dockerfile", &["oci", "llb"]),
    ("build", &["oci", "offload", "image", "engine", "llb", "dockerfile"]),
    ("apiserver", &["model", "cel", "offload", "tls", "metrics", "store"]),
    ("client", &["model", "tls", "metrics"]),
    ("observe", &["offload"]),
    // Actors.
    ("kinds", &["model", "cel", "apiserver", "observe"]),
    ("control", &["model", "metrics", "client"]),
    ("node", &["model", "offload", "tls", "client", "engine", "net"]),
    // Fronts.
    ("buildkit", &["oci", "offload", "engine", "llb", "build"]),
    ("docker", &["engine", "build", "buildkit"]),
];

/// Crates that may use the whole house: the binary, tests and chores.
const EVERYTHING: &[&str] = &["gantry", "xtask", "testkit", "fuzz"];

/// Complains about every dependency between crates of the house that the table does not allow, and
/// about every one that it allows and nobody has.
///
/// Dev-dependencies are free: a test may look down from anywhere.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if EVERYTHING.contains(&name) || name.ends_with("-tests") || name == "benches" {
            continue;
        }
        let Some((_, allowed)) = HOUSE.iter().find(|(known, _)| *known == name) else {
            complaints
                .push(format!("crate `{name}` has no row: add it to the table in xtask/src/tidy/rows.rs"));
            continue;
        };
        let inner = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some() && dependency.kind != DependencyKind::Development);
        for dependency in inner.clone() {
            if dependency.name != "base" && !allowed.contains(&dependency.name.as_str()) {
                complaints.push(format!(
                    "crate `{name}` may not use `{}`: it stands in the way of the rows",
                    dependency.name
                ));
            }
        }
        for unused in allowed.iter().filter(|name| !inner.clone().any(|used| used.name == **name)) {
            complaints.push(format!(
                "crate `{name}` does not use `{unused}`: take it out of the table in xtask/src/tidy/rows.rs"
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of a crate, counted from the bottom, as the comments of the table number them.
    fn place(name: &str) -> usize {
        HOUSE.iter().position(|(known, _)| *known == name).expect("the table names crates that it has")
    }

    #[test]
    fn the_table_only_points_downwards() {
        for (name, allowed) in HOUSE {
            for used in *allowed {
                assert!(place(used) < place(name), "`{name}` may not use `{used}`, which stands above it");
            }
        }
    }
}
