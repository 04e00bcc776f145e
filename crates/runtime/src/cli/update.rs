//! `update`.

use std::io::Read;

use super::arguments::{Arguments, UsageError};
use super::{CliError, Context};
use crate::spec::{Pids, Resources};

pub(super) fn update(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    let mut resources = Resources::default();
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "resources" | "r" => resources = read(&args.text()?)?,
            "memory" => {
                resources.memory.get_or_insert_default().limit = Some(number("memory", &args.text()?)?)
            }
            "memory-reservation" => {
                let value = number("memory-reservation", &args.text()?)?;
                resources.memory.get_or_insert_default().reservation = Some(value);
            }
            "memory-swap" => {
                resources.memory.get_or_insert_default().swap = Some(number("memory-swap", &args.text()?)?);
            }
            "cpu-share" => {
                resources.cpu.get_or_insert_default().shares = Some(number("cpu-share", &args.text()?)?)
            }
            "cpu-quota" => {
                resources.cpu.get_or_insert_default().quota = Some(number("cpu-quota", &args.text()?)?)
            }
            "cpu-period" => {
                resources.cpu.get_or_insert_default().period = Some(number("cpu-period", &args.text()?)?)
            }
            "cpuset-cpus" => resources.cpu.get_or_insert_default().cpus = Some(args.text()?),
            "cpuset-mems" => resources.cpu.get_or_insert_default().mems = Some(args.text()?),
            "pids-limit" => resources.pids = Some(Pids { limit: number("pids-limit", &args.text()?)? }),
            "blkio-weight" => {
                resources.block_io.get_or_insert_default().weight =
                    Some(number("blkio-weight", &args.text()?)?);
            }
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    let id = args.positional()?;
    args.end()?;
    context.load(&id)?.cgroup()?.apply(&resources)?;
    Ok(0)
}

/// Reads limits from a file, or from standard input if it is `-`.
fn read(path: &str) -> Result<Resources, CliError> {
    let failed = |error| CliError::system(format!("read limits from `{path}`"), error);
    let mut text = String::new();
    if path == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    Ok(Resources::read(text.as_bytes(), std::path::Path::new(path))?)
}

fn number<T: std::str::FromStr>(flag: &'static str, text: &str) -> Result<T, UsageError> {
    text.parse().map_err(|_| UsageError::Value(flag, text.to_owned()))
}
