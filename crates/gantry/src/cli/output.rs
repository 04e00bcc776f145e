//! How commands print data: a table for people, JSON or YAML for programs.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// `-o json|yaml|table`. No group of its own, since what it is flattened into has one of that name.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Yaml,
}

/// Prints `rows` in the format that was asked for; `cells` makes one line of the table from a row.
pub(crate) fn print<T: Serialize>(
    arguments: &Arguments,
    header: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    match arguments.output {
        Format::Json => {
            let text = serde_json::to_string_pretty(rows).context("print as JSON")?;
            write(&format!("{text}\n"))
        }
        Format::Yaml => write(&serde_saphyr::to_string(&rows).context("print as YAML")?),
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::NOTHING).set_header(header);
            table.add_rows(rows.iter().map(cells));
            for column in table.column_iter_mut() {
                column.set_padding((0, 3));
            }
            write(&format!("{}\n", table.trim_fmt()))
        }
    }
}

/// Writes to standard output. Whoever stopped reading it (`head`) has what he wanted.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}
