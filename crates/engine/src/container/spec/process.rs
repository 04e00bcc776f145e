//! How a container's program is kept alive and watched, and its output kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What happens when a container's program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if it failed, so often at most (`None`: for ever).
    OnFailure {
        /// How often at most.
        retries: Option<u32>,
    },
    /// It is started again, also when the engine starts, unless it is stopped by hand while the engine runs.
    Always,
    /// As `Always`, and what was stopped by hand stays stopped when the engine starts.
    UnlessStopped,
}

/// How a container's health is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthTest,
    /// Time between two checks; `None` is 30 s.
    pub interval: Option<Duration>,
    /// Time that one may take; `None` is 30 s.
    pub timeout: Option<Duration>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between checks in the start period; `None` is 5 s.
    pub start_interval: Option<Duration>,
    /// Failures in a row until it is unhealthy; `None` is 3.
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthTest {
    /// The image's.
    #[default]
    Inherit,
    /// Nothing, also where the image has one.
    Disabled,
    /// The program with its arguments.
    Command(Vec<String>),
    /// A line for the image's shell.
    Shell(String),
}

/// How a container's output is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The name that the front shows for it; `none` keeps nothing, `json-file` a line of JSON for each of
    /// output, and all others CRI's format.
    pub driver: String,
    /// The options as the user gave them, for listings.
    pub options: BTreeMap<String, String>,
    /// Bytes of one file; a fuller one is rotated.
    pub max_size: Option<u64>,
    /// Files kept, the current one included.
    pub max_files: Option<u32>,
    /// Where the log goes, if not into the container's own directory; whoever says this owns the
    /// file, which then outlives the container.
    pub path: Option<PathBuf>,
}

impl Default for LogOptions {
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

impl LogOptions {
    /// Whether output is kept at all.
    pub fn is_kept(&self) -> bool {
        self.driver != "none"
    }

    /// Whether its file is in the format that Docker's of this name has, for programs that collect logs.
    /// One that somebody else owns is in CRI's.
    pub fn is_json(&self) -> bool {
        self.driver == "json-file" && self.path.is_none()
    }
}
