//! `gantry store backup`: copies the store into one file.

use std::path::PathBuf;
use std::process::ExitCode;

use super::super::output;
use crate::config::Config;

/// `[--salvage] FILE`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The new file
    file: PathBuf,
    /// Save what can be read of a damaged store
    #[arg(long)]
    salvage: bool,
    #[command(flatten)]
    output: output::Arguments,
}

pub(crate) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = ::store::backup(&super::directory(config)?, &arguments.file, arguments.salvage)?;
    super::print(&arguments.output, &report)?;
    if report.damage.is_some() {
        eprintln!(
            "gantry: what could be read is in {}, {} groups of transactions are lost",
            arguments.file.display(),
            report.skipped
        );
    }
    Ok(ExitCode::SUCCESS)
}
