//! How a container's program is run, watched and kept alive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{container, stream};

#[derive(Default, Serialize, Deserialize)]
pub(super) struct AttachFlags {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TerminalSize {
    columns: u16,
    rows: u16,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RestartPolicy {
    #[default]
    No,
    OnFailure {
        retries: Option<u32>,
    },
    Always,
    UnlessStopped,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::state) struct Healthcheck {
    test: HealthTest,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    start_period: Option<Duration>,
    start_interval: Option<Duration>,
    retries: Option<u32>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HealthTest {
    #[default]
    Inherit,
    Disabled,
    Command(Vec<String>),
    Shell(String),
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(in crate::state) struct Log {
    driver: String,
    options: BTreeMap<String, String>,
    max_size: Option<u64>,
    max_files: Option<u32>,
    path: Option<PathBuf>,
}

/// What is meant where a document says nothing.
impl Default for Log {
    fn default() -> Self {
        Self {
            driver: "json-file".to_owned(),
            options: BTreeMap::new(),
            max_size: Some(16 << 20),
            max_files: Some(5),
            path: None,
        }
    }
}

base::same_fields!(AttachFlags = container::AttachFlags { stdin, stdout, stderr });

base::same_fields!(TerminalSize = stream::TerminalSize { columns, rows });

base::same_fields!(
    Healthcheck =
        container::Healthcheck { test: inner, interval, timeout, start_period, start_interval, retries }
);

base::same_fields!(Log = container::LogOptions { driver, options, max_size, max_files, path });

base::same_variants!(RestartPolicy = container::RestartPolicy {
    No,
    OnFailure { retries },
    Always,
    UnlessStopped,
});

base::same_variants!(HealthTest = container::HealthTest { Inherit, Disabled, Command(words), Shell(line) });
