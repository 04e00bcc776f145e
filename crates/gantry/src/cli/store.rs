//! `gantry store …`: looking at the cluster's state, copying it, and putting a copy back.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::output;
use crate::config::Config;

pub(super) mod backup;
pub(super) mod check;
pub(super) mod restore;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Read all of the store and tell what is damaged; changes nothing
    Check(output::Arguments),
    /// Copy the store into a new file, whether the instance runs or not
    Backup(backup::Arguments),
    /// Put a backup in the place of the store; the instance must be stopped
    Restore(restore::Arguments),
}

/// What a store, or a copy of it, holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    state: &'static str,
    revision: u64,
    keys: usize,
    segments: usize,
    bytes: u64,
    running: bool,
    /// How many groups of acknowledged transactions cannot be read.
    lost_groups: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Damage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_files: Vec<String>,
}

#[derive(Serialize)]
struct Damage {
    file: PathBuf,
    offset: u64,
    what: String,
}

/// The store's directory.
fn directory(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(etcd) = &config.etcd {
        let servers = etcd.servers.join(", ");
        anyhow::bail!(
            "the cluster's state is in etcd at {servers}: `etcdctl snapshot` looks at it and copies it"
        );
    }
    Ok(config.root.join("store"))
}

/// Prints what is known of a store, data to stdout, what is wrong to stderr too.
fn print(arguments: &output::Arguments, report: &::store::Report) -> anyhow::Result<()> {
    if let Some(damage) = &report.damage {
        eprintln!("gantry: {damage}");
    }
    for name in &report.unknown {
        eprintln!("gantry: `{name}` beside the store's log is unknown, it is left alone");
    }
    let row = Row {
        state: if report.damage.is_some() { "damaged" } else { "good" },
        revision: report.revision,
        keys: report.keys,
        segments: report.segments,
        bytes: report.log_bytes + report.snapshot_bytes,
        running: report.running,
        lost_groups: report.skipped,
        damage: report.damage.clone().map(|::store::Damage { file, offset, what }| Damage {
            file,
            offset,
            what,
        }),
        unknown_files: report.unknown.clone(),
    };
    output::print(arguments, &["STATE", "REVISION", "KEYS", "SEGMENTS", "BYTES"], &[row], |row| {
        let numbers = [row.revision.to_string(), row.keys.to_string(), row.segments.to_string()];
        std::iter::once(row.state.to_owned()).chain(numbers).chain([row.bytes.to_string()]).collect()
    })
}
