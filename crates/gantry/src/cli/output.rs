//! How commands print data: a table for people, JSON or YAML for programs.

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
        Format::Json => println!("{}", serde_json::to_string_pretty(rows).context("print as JSON")?),
        Format::Yaml => print!("{}", serde_saphyr::to_string(&rows).context("print as YAML")?),
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::NOTHING).set_header(header);
            table.add_rows(rows.iter().map(cells));
            for column in table.column_iter_mut() {
                column.set_padding((0, 3));
            }
            println!("{}", table.trim_fmt());
        }
    }
    Ok(())
}
