//! Generated files that are committed, and what makes them.

mod protobuf;
mod schema;

use std::path::PathBuf;

use clap::Subcommand;

/// What can be generated.
#[derive(Subcommand)]
pub(crate) enum Target {
    /// The table of protobuf field numbers, `crates/apiserver/src/protobuf/fields.txt`
    Protobuf {
        /// Folder of the Go module `k8s.io/api`
        api: PathBuf,
        /// Folder of the Go module `k8s.io/apimachinery`
        apimachinery: PathBuf,
    },
    /// The table of built-in Kubernetes types, `crates/model/src/schema/builtin.txt`
    Schema {
        /// Folder of one version's definitions inside the Python package `kubernetes-validate`,
        /// such as `…/kubernetes_validate/kubernetes-json-schema/v1.36.0-local`
        definitions: PathBuf,
    },
}

/// Makes the target anew.
pub(crate) fn run(target: &Target) -> anyhow::Result<()> {
    match target {
        Target::Protobuf { api, apimachinery } => protobuf::run(api, apimachinery),
        Target::Schema { definitions } => schema::run(definitions),
    }
}
