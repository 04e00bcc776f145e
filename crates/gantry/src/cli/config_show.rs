//! `gantry config show`: the effective configuration, each key with where it came from.

use std::process::ExitCode;

use serde::Serialize;

use super::output;
use crate::config::Config;

#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    value: &'a str,
    origin: String,
}

pub(super) fn run(config: &Config, arguments: output::Arguments) -> anyhow::Result<ExitCode> {
    let rows: Vec<_> = config
        .origins
        .iter()
        .map(|(key, value, origin)| Row { key, value, origin: origin.to_string() })
        .collect();
    output::print(&arguments, &["KEY", "VALUE", "FROM"], &rows, |row| {
        vec![row.key.to_owned(), row.value.to_owned(), row.origin.clone()]
    })?;
    Ok(ExitCode::SUCCESS)
}
