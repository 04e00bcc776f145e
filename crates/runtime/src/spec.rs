//! The OCI runtime specification's `config.json` (1.2), the part that concerns Linux.
//!
//! Plain structures with public fields: an engine fills them with struct-update syntax, the
//! launcher reads them. What is absent in the document is `None` or empty. Unknown keys are refused
//! where they may confine a container, and ignored elsewhere.
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md>.

mod linux;
mod process;
mod resources;
mod seccomp;
mod state;
mod strict;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use linux::{
    IdMapping, IntelRdt, Linux, LinuxDevice, Namespace, NamespaceKind, Personality, TimeOffset, device_kind,
};
pub use process::{
    Capabilities, ConsoleSize, ExecCpuAffinity, HIGHEST_ID, IoPriority, Process, Rlimit, Scheduler, User,
};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, NetworkLimits, Pids, Resources,
    ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, SeccompAction, SeccompArg, SeccompOperator, SeccompRule};
pub use state::{State, Status};

/// The version of the specification that these types speak.
pub const VERSION: &str = "1.2.1";

/// A whole `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification the document follows.
    pub oci_version: String,
    /// The container's root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// What is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Host name seen inside; needs a UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name seen inside; needs a UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Mounts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub mounts: Vec<Mount>,
    /// Programs run at fixed points of the container's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free text, passed on to hooks and `state`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
    /// All that is particular to Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// Where the root file system is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: PathBuf,
    /// Whether it is read-only inside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
}

/// One mount: a bind if the options say `bind` or `rbind` (or the type is `bind`), else a file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where inside the container, absolute.
    pub destination: PathBuf,
    /// File system type, `bind`, or absent for a bind.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is mounted: for a bind, a path relative to the bundle or absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// As `mount -o` takes them.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub options: Vec<String>,
    /// Mapping of an idmapped mount.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Mapping of an idmapped mount.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Mount {
    /// A mount of the file system `kind`, its source named after it.
    pub fn filesystem(kind: &str, destination: &str, options: &[&str]) -> Self {
        Self {
            destination: destination.into(),
            kind: Some(kind.to_owned()),
            source: Some(kind.into()),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A bind mount of `source`, with further options such as `ro` and `rprivate`.
    pub fn bind(source: impl Into<PathBuf>, destination: impl Into<PathBuf>, options: &[&str]) -> Self {
        let mut all = vec!["rbind".to_owned()];
        all.extend(options.iter().map(|&option| option.to_owned()));
        Self {
            destination: destination.into(),
            kind: Some("bind".to_owned()),
            source: Some(source.into()),
            options: all,
            ..Self::default()
        }
    }
}

/// Programs run at fixed points of the container's life, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated by the specification; run with `create_runtime`, before it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, after the container's exist, before the root is pivoted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before the root is pivoted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub create_container: Vec<Hook>,
    /// In the container, just before its program.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the program was started.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container was deleted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub poststop: Vec<Hook>,
}

/// One hook; gets the container's state on its standard input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Its arguments, the first of them its name.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Seconds after which it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Why a `config.json` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file itself.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Its content.
    #[error("`{}` is not an OCI runtime configuration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// It asks for what this runtime does not know.
    #[error("`{0}` is not supported by this runtime: it is not known, so that it cannot be enforced")]
    Unknown(String),
    /// Writing it.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Spec {
    /// Reads the `config.json` at `path`.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let bytes =
            std::fs::read(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        read(&bytes, "", path)
    }

    /// Writes the document to `path`, atomically, readable by the owner only.
    pub fn save(&self, path: &Path) -> Result<(), SpecError> {
        let bytes = serde_json::to_vec(self).expect("a spec has only string keys");
        base::fs::write_atomic_unsynced(path, &bytes, 0o600)
            .map_err(|source| SpecError::Write { path: path.to_owned(), source })
    }
}

impl Process {
    /// Reads the description of a process at `path`.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let bytes =
            std::fs::read(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        read(&bytes, "process", path)
    }
}

impl Resources {
    /// Reads limits, which come from `path`.
    pub(crate) fn read(bytes: &[u8], path: &Path) -> Result<Self, SpecError> {
        read(bytes, "linux.resources", path)
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], place: &str, path: &Path) -> Result<T, SpecError> {
    match strict::read(bytes, place) {
        Ok((document, None)) => Ok(document),
        Ok((_, Some(key))) => Err(SpecError::Unknown(key)),
        Err(source) => Err(SpecError::Parse { path: path.to_owned(), source }),
    }
}

/// Reads `null` as the default value: Go programs write absent lists and maps so.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
