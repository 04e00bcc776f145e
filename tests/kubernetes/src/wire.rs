//! A way to the API of a daemon, for whoever says which request failed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client::Transport;
use client::remote::{Config, RemoteTransport};
use docker_tests::Daemon;
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

/// How long an answer may take: a daemon that gives none is as good as gone.
const LIMIT: Duration = Duration::from_secs(60);

/// The daemon is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// Sends requests from a thread that has entered the daemon's network.
pub(crate) struct Wire {
    runtime: tokio::runtime::Runtime,
    server: RemoteTransport,
}

impl Wire {
    /// Gives what connects, to be called in the thread that sends, which enters the daemon's network.
    pub(crate) fn to(daemon: &Daemon) -> impl FnOnce() -> Self + Send + 'static {
        let network = daemon.network();
        let config = Config::from_kubeconfig(&daemon.kubeconfig()).expect("the daemon wrote its kubeconfig");
        move || {
            enter(&network);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start tokio");
            let server = RemoteTransport::new(&config).expect("the kubeconfig can be used");
            Self { runtime, server }
        }
    }

    /// Sends a request; gives status code and answer.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), Gone> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request =
            Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind).body(body);
        let request = request.expect("a well-formed request");
        let answered = async {
            let answer = self.server.send(request).await.map_err(|_| Gone)?;
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await.map_err(|_| Gone)?.to_bytes();
            Ok((code, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        let limited = async { tokio::time::timeout(LIMIT, answered).await.unwrap_or(Err(Gone)) };
        self.runtime.block_on(limited)
    }

    /// Reads an answer that does not end, line by line, until `each` has enough. It is called without a line now
    /// and then, when none comes.
    pub(crate) fn follow(
        &self,
        path: &str,
        mut each: impl FnMut(Option<Value>) -> std::ops::ControlFlow<()>,
    ) -> Result<(), Gone> {
        let request = Request::get(path).body(Bytes::new()).expect("a well-formed request");
        self.runtime.block_on(async {
            let answer = self.server.send(request).await.map_err(|_| Gone)?;
            let mut body = answer.into_body();
            let mut text = Vec::new();
            loop {
                let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), body.frame()).await else {
                    if each(None).is_break() {
                        return Ok(());
                    }
                    continue;
                };
                let Some(frame) = frame else { return Ok(()) };
                let frame = frame.map_err(|_| Gone)?;
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let value = serde_json::from_slice(&line).expect("each line is a document");
                    if each(Some(value)).is_break() {
                        return Ok(());
                    }
                }
            }
        })
    }
}

/// Moves this thread into the network namespace at `path`.
pub(crate) fn enter(path: &Path) {
    let namespace = File::open(path).expect("open the daemon's network namespace");
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
        .expect("enter the daemon's network namespace");
}
