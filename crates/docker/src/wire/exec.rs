//! Documents about commands run in a container.

use super::container::config::Words;

wire! {
    /// The body of `POST /containers/{id}/exec`.
    pub(crate) struct Create {
        user: String,
        privileged: bool,
        tty: bool,
        console_size: Option<[u32; 2]>,
        attach_stdin: bool,
        attach_stderr: bool,
        attach_stdout: bool,
        detach_keys: String,
        env: Vec<String>,
        working_dir: String,
        cmd: Words,
    }

    /// The answer to it.
    pub(crate) struct Created {
        id: String,
    }

    /// The body of `POST /exec/{id}/start`.
    pub(crate) struct Start {
        detach: bool,
        tty: bool,
        console_size: Option<[u32; 2]>,
    }

    /// The answer to `GET /exec/{id}/json`.
    pub(crate) struct Inspect {
        #[serde(rename = "ID")]
        id: String,
        running: bool,
        exit_code: Option<i64>,
        process_config: ProcessConfig,
        open_stdin: bool,
        open_stderr: bool,
        open_stdout: bool,
        can_remove: bool,
        #[serde(rename = "ContainerID")]
        container_id: String,
        detach_keys: String,
        pid: u32,
    }

    /// The command of an exec; its names are in lower case, unlike all others.
    pub(crate) struct ProcessConfig {
        #[serde(rename = "tty")]
        tty: bool,
        #[serde(rename = "entrypoint")]
        entrypoint: String,
        #[serde(rename = "arguments")]
        arguments: Vec<String>,
        #[serde(rename = "privileged")]
        privileged: bool,
        #[serde(rename = "user", skip_serializing_if = "String::is_empty")]
        user: String,
    }
}
