//! `cargo xtask tidy`: what the compiler does not hold.
//!
//! Each check is a function from facts to complaints; [`run`] gathers the facts, prints all
//! complaints and fails if there is one.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::workspace_root;

mod calls;
mod dependencies;
mod documents;
mod files;
mod kinds;
mod records;
mod rows;
mod runtimes;
mod source;
mod texts;
mod unused;
mod waiting;

/// Runs every check over the whole workspace.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace_root()?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .context("ask cargo for the workspace's metadata")?;
    let tracked = tracked_files(&root)?;

    let mut complaints = rows::check(&metadata);
    complaints.extend(dependencies::check(&metadata, &root)?);
    complaints.extend(unused::check(&metadata, &root, &tracked)?);
    complaints.extend(files::check(&root, &tracked)?);
    complaints.extend(documents::check(&root, &tracked)?);
    complaints.extend(calls::check(&root, &tracked)?);
    complaints.extend(kinds::check(&root, &tracked)?);
    complaints.extend(records::check(&root, &tracked)?);
    complaints.extend(runtimes::check(&root, &tracked)?);
    complaints.extend(texts::check(&root, &tracked)?);
    complaints.extend(waiting::check(&root, &tracked)?);

    for complaint in &complaints {
        eprintln!("tidy: {complaint}");
    }
    anyhow::ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    println!("tidy: {} packages, {} files", metadata.workspace_members.len(), tracked.len());
    Ok(())
}

/// Files that git tracks or would track, relative to the root.
fn tracked_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("ask git for the files")?;
    anyhow::ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    Ok(listing.lines().filter(|path| root.join(path).is_file()).map(str::to_owned).collect())
}
