//! `gantry store restore`: puts a backup in the place of the store.

use std::path::PathBuf;
use std::process::ExitCode;

use super::super::output;
use crate::config::Config;

/// `FILE`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What `gantry store backup` wrote
    file: PathBuf,
    #[command(flatten)]
    output: output::Arguments,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let directory = super::directory(config)?;
    let report = ::store::restore(&directory, &arguments.file)?;
    super::print(&arguments.output, &report)?;
    eprintln!("gantry: restored; what was there before is kept in {}", directory.display());
    Ok(ExitCode::SUCCESS)
}
