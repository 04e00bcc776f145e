//! RUN.

use super::flags::{Flags, Takes};
use super::mount::Mount;
use super::{CommandLine, Run, RunNetwork};
use crate::go::{csv, quote};
use crate::suggest;

/// `RUN --device=…`: a device by its name of the Container Device Interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) is_required: bool,
}

const FLAGS: [(&str, Takes); 4] =
    [("mount", Takes::Texts), ("network", Takes::Text), ("security", Takes::Text), ("device", Takes::Texts)];

pub(super) fn read(flags: &[String], command: CommandLine) -> Result<Run, String> {
    let flags = Flags::read(flags, &FLAGS)?;
    let devices = flags.texts("device").iter().map(|text| Device::read(text)).collect::<Result<_, _>>()?;
    let mounts = flags.texts("mount");
    for mount in &mounts {
        Mount::source_of(mount)?;
    }
    let network = match flags.texts("network").pop().as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => return Err(format!("invalid network mode {}", quote(other))),
    };
    let is_insecure = match flags.texts("security").pop().as_deref() {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => return Err(format!("security {} is not valid", quote(other))),
    };
    Ok(Run { command, mounts, devices, network, is_insecure })
}

impl Device {
    /// Reads a device.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut device = Self::default();
        let fields = csv(text).map_err(|problem| format!("failed to parse csv devices: {problem}"))?;
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                match field.to_lowercase().as_str() {
                    "required" => device.is_required = true,
                    _ if device.name.is_empty() => device.name = field,
                    _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
                }
                continue;
            };
            match key.to_lowercase().as_str() {
                "name" if !device.name.is_empty() => {
                    return Err(format!("device name already set to {}", device.name));
                }
                "name" => value.clone_into(&mut device.name),
                "required" => {
                    device.is_required = base::truth::parse(value)
                        .ok_or_else(|| format!("invalid value for required: {value}"))?;
                }
                _ if device.name.is_empty() => device.name = field,
                key => {
                    let problem = format!("unexpected key '{key}' in '{field}'");
                    return Err(suggest::hint(problem, key, ["name", "required"], true));
                }
            }
        }
        Ok(device)
    }
}
