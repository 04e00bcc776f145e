//! Exec, attach and port-forward: upgrades the connection and hands its streams to the pod's node.

use std::sync::Arc;

use http::Response;
use hyper_util::rt::TokioIo;
use model::Object;

use super::pod;
use crate::body::Body;
use crate::call::{Call, Takeover};
use crate::error::{Error, Result};
use crate::node::{PodTarget, StreamOptions};
use crate::stream::{self, Upgrade, Wanted};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>> {
    let pod = call.live()?.object();
    let target = pod::target(&call, &pod)?;
    let upgrade = call.upgrade.take();
    match call.target.subresource.as_str() {
        "portforward" => {
            let chosen = Upgrade::negotiate(
                &call.headers,
                &stream::PORT_FORWARD_WEBSOCKET,
                &stream::PORT_FORWARD_SPDY,
            )?;
            check_running(&pod)?;
            begin(&call, upgrade, chosen, move |call, connection| {
                let nodes = call.state.nodes.clone();
                let connect: stream::Connect =
                    Arc::new(move |port, connection| nodes.port_forward(target.clone(), port, connection));
                stream::port_forward(chosen, connection, connect, call.state.stop.clone())
            })
        }
        which => {
            let attach = which == "attach";
            let chosen =
                Upgrade::negotiate(&call.headers, &stream::COMMAND_WEBSOCKET, &stream::COMMAND_SPDY)?;
            let wanted = wanted(&call)?;
            let options = options(&call, &pod, attach, wanted.tty)?;
            begin(&call, upgrade, chosen, move |call, connection| {
                let command = command(call, target, options, attach);
                stream::remote_command(chosen, connection, wanted, command, call.state.stop.clone())
            })
        }
    }
}

pub(super) type Connection = TokioIo<hyper::upgrade::Upgraded>;

/// Answers with the switch of protocols, and serves the connection once it is ours.
pub(super) fn begin<F>(
    call: &Call,
    upgrade: Option<Takeover>,
    chosen: Upgrade,
    serve: impl FnOnce(&Call, Connection) -> F + Send + 'static,
) -> Result<Response<Body>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(Takeover { connection, seat }) = upgrade else {
        return Err(Error::bad_request("this connection cannot be upgraded; streams need HTTP/1.1"));
    };
    let response = chosen.response(&call.headers)?;
    let call = call.of_object(call.namespace(), &call.target.name);
    let tasks = call.state.tasks.clone();
    tasks.spawn(async move {
        // Whose connection it is does not change by what it carries.
        let _seat = seat;
        match connection.await {
            Ok(connection) => serve(&call, TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "a client left before its streams began"),
        }
    });
    Ok(response)
}

fn command(call: &Call, target: PodTarget, options: StreamOptions, attach: bool) -> stream::Command {
    let nodes = call.state.nodes.clone();
    Box::new(move |streams| {
        if attach { nodes.attach(target, options, streams) } else { nodes.exec(target, options, streams) }
    })
}

fn wanted(call: &Call) -> Result<Wanted> {
    let flag = |name: &str| call.query.flag(name);
    let wanted =
        Wanted { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr"), tty: flag("tty") };
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err(Error::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

fn options(call: &Call, pod: &Object, attach: bool, tty: bool) -> Result<StreamOptions> {
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    if command.is_empty() && !attach {
        return Err(Error::bad_request("you must specify at least 1 command for the container"));
    }
    check_running(pod)?;
    Ok(StreamOptions { container: pod::container(pod, call.query.filled("container"))?, command, tty })
}

fn check_running(pod: &Object) -> Result<()> {
    match pod.get_str(&["status", "phase"]) {
        Some(phase @ ("Succeeded" | "Failed")) => Err(Error::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(()),
    }
}
