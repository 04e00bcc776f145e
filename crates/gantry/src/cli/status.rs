//! `gantry status`: what runs and how it fares.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::output;
use crate::config::Config;

#[derive(Serialize)]
struct Row {
    part: &'static str,
    state: String,
    detail: String,
}

pub(super) fn run(config: &Config, arguments: output::Arguments) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    let socket = &config.docker_socket;
    let answers = match info(socket) {
        Ok(info) => {
            rows.push(Row {
                part: "docker api",
                state: "serving".to_owned(),
                detail: format!("unix://{}, version {}", socket.display(), text(&info, "ServerVersion")),
            });
            rows.push(Row {
                part: "containers",
                state: format!("{} running", number(&info, "ContainersRunning")),
                detail: format!(
                    "{} paused, {} stopped",
                    number(&info, "ContainersPaused"),
                    number(&info, "ContainersStopped")
                ),
            });
            rows.push(Row {
                part: "images",
                state: number(&info, "Images").to_string(),
                detail: String::new(),
            });
            for warning in info.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
                let detail = warning.as_str().unwrap_or_default().to_owned();
                rows.push(Row { part: "warning", state: String::new(), detail });
            }
            true
        }
        Err(error) => {
            rows.push(Row {
                part: "docker api",
                state: "not serving".to_owned(),
                detail: format!("{error:#}"),
            });
            false
        }
    };
    let api = config.api_address;
    let reached = std::net::TcpStream::connect_timeout(&local(api), Duration::from_secs(2)).is_ok();
    rows.push(Row {
        part: "kubernetes api",
        state: if reached { "serving" } else { "not serving" }.to_owned(),
        detail: format!("https://{}, kubeconfig {}", local(api), config.kubeconfig.display()),
    });
    output::print(&arguments, &["PART", "STATE", "DETAIL"], &rows, |row| {
        vec![row.part.to_owned(), row.state.clone(), row.detail.clone()]
    })?;
    Ok(if answers && reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The address at which this machine reaches what listens on `address`.
fn local(address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address }
}

/// The engine's own account of itself, as `docker info` gets it.
fn info(socket: &Path) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("connect to {}; is `gantry up` running?", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /info HTTP/1.0\r\nHost: gantry\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("the daemon's answer has no body")?;
    serde_json::from_slice(&answer[body + 4..]).context("read the daemon's answer")
}

fn text<'a>(info: &'a Value, key: &str) -> &'a str {
    info.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(info: &Value, key: &str) -> u64 {
    info.get(key).and_then(Value::as_u64).unwrap_or_default()
}
