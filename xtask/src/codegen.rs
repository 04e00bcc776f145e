//! Generated files that are committed, and what makes them.

mod protobuf;
mod schema;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};

/// Makes committed files that are generated.
#[derive(Args)]
pub(crate) struct Codegen {
    /// Write nothing: fail if what is committed is not what would be made
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    target: Target,
}

/// What can be generated.
#[derive(Subcommand)]
enum Target {
    /// The table of protobuf field numbers, `crates/apiserver/src/protobuf/fields.txt`
    Protobuf {
        /// Folder of the Go module `k8s.io/api`
        api: PathBuf,
        /// Folder of the Go module `k8s.io/apimachinery`
        apimachinery: PathBuf,
        /// Folder of the Go module `k8s.io/kube-aggregator`
        kube_aggregator: PathBuf,
        /// Folder of the Go module `k8s.io/apiextensions-apiserver`
        apiextensions: PathBuf,
    },
    /// The table of built-in Kubernetes types, `crates/model/src/schema/builtin.txt`
    Schema {
        /// Folder of one version's definitions inside the Python package `kubernetes-validate`,
        /// such as `…/kubernetes_validate/kubernetes-json-schema/v1.36.0-local`
        definitions: PathBuf,
    },
}

/// Makes the target anew, or looks whether it is what would be made.
pub(crate) fn run(Codegen { check, target }: &Codegen) -> anyhow::Result<()> {
    let (file, text) = match target {
        Target::Protobuf { api, apimachinery, kube_aggregator, apiextensions } => {
            (protobuf::FILE, protobuf::make(api, apimachinery, kube_aggregator, apiextensions)?)
        }
        Target::Schema { definitions } => (schema::FILE, schema::make(definitions)?),
    };
    let path = crate::workspace_root()?.join(file);
    if *check {
        let committed = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(committed == text, "{file} is not what is generated: make it anew and commit it");
        println!("{file} is what is generated");
    } else {
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        println!("{file}: {} bytes", text.len());
    }
    Ok(())
}
