//! What a container is, wherever it runs: command, environment, user, labels.

use serde::{Deserialize, Serialize};

use crate::wire::{Empty, Map};

/// A command line: one word alone, or a list of words.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::One(word) => Self(vec![word]),
            Form::Many(words) => Self(words),
        })
    }
}

wire! {
    /// The portable half of a container's configuration.
    pub(crate) struct Config {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        exposed_ports: Map<Empty>,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Option<Vec<String>>,
        cmd: Option<Words>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        args_escaped: bool,
        image: String,
        volumes: Option<Map<Empty>>,
        working_dir: String,
        entrypoint: Option<Words>,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        network_disabled: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        mac_address: String,
        on_build: Option<Vec<String>>,
        labels: Option<Map<String>>,
        #[serde(skip_serializing_if = "String::is_empty")]
        stop_signal: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        shell: Option<Words>,
    }

    /// A check that says whether a running container is healthy; durations in nanoseconds.
    pub(crate) struct Healthcheck {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        test: Vec<String>,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        interval: i64,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        timeout: i64,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        start_period: i64,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        start_interval: i64,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        retries: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, expected: &str) {
        let config: Config = serde_json::from_str(request).expect("a configuration");
        let text = serde_json::to_string(&config).expect("JSON");
        assert!(text.contains(expected), "{expected} is not in {text}");
    }

    #[test]
    fn a_command_may_be_one_string() {
        check(r#"{"Cmd":"ls"}"#, r#""Cmd":["ls"]"#);
        check(r#"{"Cmd":["ls","-l"]}"#, r#""Cmd":["ls","-l"]"#);
    }

    #[test]
    fn null_counts_as_absent() {
        check(r#"{"Cmd":null,"Labels":null,"User":null,"Tty":null}"#, r#""Cmd":null"#);
        check(r#"{"ExposedPorts":null}"#, r#""Tty":false"#);
    }

    #[test]
    fn an_empty_entrypoint_differs_from_none() {
        check(r#"{"Entrypoint":[]}"#, r#""Entrypoint":[]"#);
        check(r#"{}"#, r#""Entrypoint":null"#);
    }
}
