//! `ps`.

use super::arguments::{Arguments, UsageError};
use super::{CliError, Context};

pub(super) fn ps(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    let mut format = "table".to_owned();
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "format" | "f" => format = args.text()?,
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    let id = args.positional()?;
    let pids = context.load(&id)?.cgroup()?.pids()?;
    match format.as_str() {
        "json" => println!("{}", serde_json::to_string(&pids).expect("numbers are JSON")),
        "table" => {
            println!("PID      COMMAND");
            for pid in pids {
                // One that has just ended has no command any more.
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                println!("{pid:<8} {}", command.trim_end());
            }
        }
        other => return Err(UsageError::Value("format", other.to_owned()).into()),
    }
    Ok(0)
}
