//! Further processes in running containers.

mod create;
mod inspect;
mod resize;
mod run;
mod start;

use serde::{Deserialize, Serialize};

use crate::container::AttachFlags;
use crate::id::{ContainerId, ExecId};

pub use run::ExecOutput;

/// What a further process should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over the container's.
    pub env: Vec<String>,
    /// The working directory; `None` is the container's.
    pub workdir: Option<String>,
    /// `user[:group]`; `None` is the container's.
    pub user: Option<String>,
    /// Gives it a terminal.
    pub tty: bool,
    /// Its size from the start.
    pub size: Option<crate::stream::TerminalSize>,
    /// All capabilities.
    pub privileged: bool,
    /// Which streams are wanted; standard input is open only if it is.
    pub attach: AttachFlags,
}

/// A further process and its state.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Its id.
    pub id: ExecId,
    /// The container it belongs to.
    pub container: ContainerId,
    /// What was asked for.
    pub spec: ExecSpec,
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it did.
    pub exit_code: Option<i32>,
    /// Its process id as the host sees it; `None` before the start.
    pub pid: Option<u32>,
}
