//! The image configuration: Docker's superset of OCI's. Its digest is the image's id.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::limits::{DOCUMENT_MAX, TooMuch, at_most};
use crate::platform::Platform;
use crate::serde_shapes::{null_default, set};

/// An image's configuration document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor architecture that the layers' programs are for.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// The architecture's variant.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Who made the image.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What a container made from the image runs, and how.
    #[serde(default, deserialize_with = "null_default")]
    pub config: ContainerConfig,
    /// What the container ran that the image was made of: Docker's builder knows a step that was done
    /// before by its command in here, word by word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_config: Option<Verbatim>,
    /// When the image was made; kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How the image came about, oldest step first.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The operating system's version (Windows).
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// The layers, by the digests of their uncompressed archives.
    pub rootfs: RootFs,
}

/// A part of a document that nothing here depends on: it is kept as it came, byte for byte, takes no more room than
/// that, and is read by who asks for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(Box<RawValue>);

/// The layers of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer archives, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step in an image's making.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// When; kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command or instruction.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A message.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How a container runs: the defaults that an image gives to its containers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User and perhaps group, by name or number: `www-data`, `1000:50`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that the program listens on: `80/tcp`.
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// Environment, `NAME=value`.
    #[serde(default, deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Arguments before [`ContainerConfig::cmd`] that stay when the command is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default command, or the entrypoint's default arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Whether the command's arguments are escaped already (Windows); BuildKit's builder says so of every command.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How to find out whether the container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Directories that get an anonymous volume.
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Where the program starts.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Instructions for a build that starts from this image.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to end: `SIGTERM`, `15`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds to wait after that signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// What runs the shell form of instructions.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// How to find out whether a container is well. Durations are nanoseconds; 0 means the default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long a check may take.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count after the start.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until the container counts as unwell.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// Why a foreign configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadConfigError {
    /// It is no such JSON document.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It holds more than is taken.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Verbatim {}

impl From<&ContainerConfig> for Verbatim {
    fn from(config: &ContainerConfig) -> Self {
        Self(serde_json::value::to_raw_value(config).expect("a tree of strings and numbers always prints"))
    }
}

impl Verbatim {
    /// What it says; none where it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }
}

impl ImageConfig {
    /// What the container had that the image was made of, as far as that can be read, and no more of it than the
    /// bounds of [`crate::limits`] let a container have.
    pub fn container(&self) -> Option<ContainerConfig> {
        let read: Option<ContainerConfig> = self.container_config.as_ref()?.read();
        read.filter(|config| config.check().is_ok())
    }

    /// A configuration without layers for `platform`.
    pub fn for_platform(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            ..Self::default()
        }
    }

    /// Reads a document that comes from outside, within the bounds of [`crate::limits`].
    pub fn take(bytes: &[u8]) -> Result<Self, ReadConfigError> {
        at_most("bytes in its configuration", bytes.len(), DOCUMENT_MAX)?;
        let config = Self::parse(bytes)?;
        config.check()?;
        Ok(config)
    }

    /// Prints a document that is going to be stored, if it is one that [`ImageConfig::take`] takes.
    pub fn to_bytes_checked(&self) -> Result<Vec<u8>, TooMuch> {
        self.check()?;
        let bytes = self.to_bytes();
        at_most("bytes in its configuration", bytes.len(), DOCUMENT_MAX)?;
        Ok(bytes)
    }

    /// Reads a document that was taken before.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Prints the document as it is stored and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tree of strings and numbers always prints")
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: Vec::new(),
            variant: self.variant.clone(),
        }
    }

    /// The chain ids of the layers, lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        Digest::chains(&self.rootfs.diff_ids)
    }
}

impl ContainerConfig {
    /// The value of the environment variable `name`.
    pub fn env_get(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets the environment variable `name`, in place if it exists.
    pub fn env_set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |known: &&mut String| known.split('=').next() == Some(name);
        match self.env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.env.push(entry),
        }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_reads_and_prints_without_loss() {
        let text = r#"{
            "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "docker_version": "20.10",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": null, "Labels": null, "OnBuild": null,
                "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Hostname": "", "Tty": false,
                "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1000000000}, "Shell": ["/bin/bash", "-c"]},
            "history": [{"created_by": "ADD", "empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": null}
        }"#;
        let config = ImageConfig::parse(text.as_bytes()).expect("Docker's document");
        assert_eq!(config.config.exposed_ports.iter().collect::<Vec<_>>(), ["80/tcp"]);
        assert_eq!(config.config.entrypoint, None);
        let printed = config.to_bytes();
        assert_eq!(ImageConfig::parse(&printed).expect("our document"), config);
        assert_eq!(ImageConfig::parse(&printed).expect("our document").to_bytes(), printed);
    }

    /// It may be as large as a document, and of any shape.
    #[test]
    fn what_nothing_depends_on_goes_out_as_it_came() {
        for (written, command) in [
            (r#"{"Cmd": ["sh",  "-c"], "Unknown": {"b": 1.50, "a": "\u00e9"}}"#, Some(["sh", "-c"])),
            (r#"[1, {"Cmd": 7}]"#, None),
            (r#""text""#, None),
        ] {
            let text = format!(
                r#"{{"architecture":"","config":{{"Env":[]}},"container_config":{written},"os":"","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
            );
            let config = ImageConfig::take(text.as_bytes()).expect(written);
            let printed = String::from_utf8(config.to_bytes()).expect("text");
            assert!(printed.contains(&format!(r#""container_config":{written}"#)), "{printed}");
            let found = config.container().and_then(|container| container.cmd);
            assert_eq!(found, command.map(|words| words.map(str::to_owned).to_vec()));
        }
        let none = ImageConfig::parse(br#"{"container_config":null,"rootfs":{"type":"layers"}}"#);
        assert_eq!(none.expect("null is none").container_config, None);
    }

    #[test]
    fn setting_a_variable_replaces_only_the_same_name() {
        let mut config = ContainerConfig { env: vec!["A=1".into(), "AB=2".into()], ..Default::default() };
        config.env_set("A", "3");
        config.env_set("C", "4");
        assert_eq!(config.env, ["A=3", "AB=2", "C=4"]);
        assert_eq!(config.env_get("AB"), Some("2"));
        assert_eq!(config.env_get("B"), None);
    }
}
