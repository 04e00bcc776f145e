//! `gantry store check`: reads all of the store and tells what is damaged.

use std::process::ExitCode;

use super::super::output;
use crate::config::Config;

pub(crate) fn run(config: &Config, arguments: &output::Arguments) -> anyhow::Result<ExitCode> {
    let report = ::store::check(&super::directory(config)?)?;
    super::print(arguments, &report)?;
    if report.damage.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "gantry: `gantry store restore FILE` puts a backup in its place; without one, \
         `gantry store backup --salvage FILE` saves what can be read"
    );
    Ok(ExitCode::FAILURE)
}
