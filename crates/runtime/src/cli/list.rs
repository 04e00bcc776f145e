//! `list` and `state`.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::arguments::{Arguments, UsageError};
use super::state::Saved;
use super::{CliError, Context};

pub(super) fn state(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    if let Some(flag) = args.flag()? {
        return Err(UsageError::Flag(flag).into());
    }
    let id = args.positional()?;
    args.end()?;
    println!("{:#}", describe(context, &context.load(&id)?)?);
    Ok(0)
}

pub(super) fn list(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    let (mut quiet, mut format) = (false, "table".to_owned());
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "quiet" | "q" => quiet = args.switch()?,
            "format" | "f" => format = args.text()?,
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    args.end()?;
    let names = context.names()?;
    if quiet {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(0);
    }
    // One that is being made or removed right now is none yet or no more.
    let all: Vec<Value> = names
        .iter()
        .filter_map(|name| context.load(name).ok())
        .filter_map(|saved| describe(context, &saved).ok())
        .collect();
    match format.as_str() {
        "json" => println!("{}", Value::from(all)),
        "table" => print_table(&all),
        other => return Err(UsageError::Value("format", other.to_owned()).into()),
    }
    Ok(0)
}

/// The specification's state, and what engines read besides.
fn describe(context: &Context, saved: &Saved) -> Result<Value, CliError> {
    let spec = context.load_spec(&saved.id)?;
    let mut state = serde_json::to_value(saved.state(context, &spec)).expect("a state has only string keys");
    let owner = std::fs::metadata(context.root.join(&saved.id)).map_or(0, |metadata| metadata.uid());
    let owner = if owner == 0 { "root".to_owned() } else { owner.to_string() };
    let more = json!({ "rootfs": saved.rootfs, "created": saved.created.to_string(), "owner": owner });
    if let (Value::Object(state), Value::Object(more)) = (&mut state, more) {
        state.extend(more);
    }
    Ok(state)
}

fn print_table(all: &[Value]) {
    let columns = ["id", "pid", "status", "bundle", "created", "owner"];
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let width = |column: &str| {
        all.iter().map(|row| cell(row, column).len()).chain([column.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<_> =
            cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(columns.iter().map(|column| column.to_uppercase()).collect());
    for row in all {
        line(columns.iter().map(|column| cell(row, column)).collect());
    }
}
