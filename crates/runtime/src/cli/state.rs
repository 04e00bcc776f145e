//! What is known of a container between two commands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::Timestamp;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::cgroup::{Cgroup, CgroupError};
use crate::spec::{Spec, State, Status, VERSION};
use crate::sys::{process, signal};

/// The pipe that a created container's first process waits at.
pub(super) const START_PIPE: &str = "start";

const STATE_FILE: &str = "state.json";
const SPEC_FILE: &str = "config.json";

/// The form of `state.json`; another number is another form.
const FORM: u32 = 1;

/// What is known of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Saved {
    form: u32,
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) pid: u32,
    /// With `pid`, names the process for good.
    pub(super) start_time: u64,
    pub(super) created: Timestamp,
    pub(super) cgroup: PathBuf,
}

/// Why a container's state could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("container `{0}` does not exist")]
    NotFound(String),
    #[error("container `{0}` already exists")]
    Exists(String),
    #[error("`{0}` is no container's name: letters, digits, `_`, `+`, `-` and `.` are allowed")]
    Name(String),
    #[error("container not running: `{0}` is {1}")]
    NotRunning(String, Status),
    #[error("{what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` is of another version of this program", .0.display())]
    Form(PathBuf),
}

impl Context {
    /// The directory of a container's state.
    pub(super) fn directory(&self, id: &str) -> Result<PathBuf, StateError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() || id == "." || id == ".." || !id.bytes().all(allowed) {
            return Err(StateError::Name(id.to_owned()));
        }
        Ok(self.root.join(id))
    }

    /// Makes the directory of a new container.
    pub(super) fn reserve(&self, id: &str) -> Result<PathBuf, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let directory = self.directory(id)?;
        let failed = |path: &Path, source| StateError::File {
            what: "create directory",
            path: path.to_owned(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|error| failed(&self.root, error))?;
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StateError::Exists(id.to_owned()))
            }
            Err(error) => Err(failed(&directory, error)),
        }
    }

    /// What is known of a container.
    pub(super) fn load(&self, id: &str) -> Result<Saved, StateError> {
        let path = self.directory(id)?.join(STATE_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::NotFound(id.to_owned()));
            }
            Err(source) => return Err(StateError::File { what: "read", path, source }),
        };
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|_| StateError::Form(path.clone()))?;
        if saved.form == FORM { Ok(saved) } else { Err(StateError::Form(path)) }
    }

    /// The configuration as it was when the container was made.
    pub(super) fn load_spec(&self, id: &str) -> Result<Spec, super::CliError> {
        Ok(Spec::load(&self.directory(id)?.join(SPEC_FILE))?)
    }

    /// The names of all containers, those included that are just being made.
    pub(super) fn names(&self) -> Result<Vec<String>, StateError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::File { what: "list", path: self.root.clone(), source }),
        };
        let mut names: Vec<_> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }
}

impl Saved {
    pub(super) fn new(
        id: &str,
        bundle: &Path,
        rootfs: &Path,
        process: (u32, u64),
        created: Timestamp,
        cgroup: &Path,
    ) -> Self {
        Self {
            form: FORM,
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            pid: process.0,
            start_time: process.1,
            created,
            cgroup: cgroup.to_owned(),
        }
    }

    /// Keeps it, and the configuration, in the container's directory.
    pub(super) fn save(&self, directory: &Path, spec: &Spec) -> Result<(), super::CliError> {
        spec.save(&directory.join(SPEC_FILE))?;
        let path = directory.join(STATE_FILE);
        let bytes = serde_json::to_vec(self).expect("a state has only string keys");
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600)
            .map_err(|source| StateError::File { what: "write", path, source }.into())
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup, CgroupError> {
        Cgroup::at(&self.cgroup)
    }

    /// Where the container is in its life.
    pub(super) fn status(&self, context: &Context) -> Status {
        if self.hold().is_none() {
            return Status::Stopped;
        }
        if context.root.join(&self.id).join(START_PIPE).exists() {
            return Status::Created;
        }
        let frozen = self.cgroup().is_ok_and(|cgroup| cgroup.is_frozen());
        if frozen { Status::Paused } else { Status::Running }
    }

    /// The container's first process, if it lives.
    pub(super) fn hold(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid as i32)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at with the process held: the number may have gone to another before.
        let same = process::start_time(self.pid) == Some(self.start_time) && !process::is_zombie(self.pid);
        (same && signal::send(pidfd.as_fd(), 0).is_ok()).then_some(pidfd)
    }

    /// As the specification prints it.
    pub(super) fn state(&self, context: &Context, spec: &Spec) -> State {
        let status = self.status(context);
        State {
            oci_version: VERSION.to_owned(),
            id: self.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.pid as i32 },
            bundle: self.bundle.clone(),
            annotations: spec.annotations.clone(),
        }
    }
}
