//! Exec, attach and port-forward. However one is opened, the caller has to be allowed to `create` it.

use apiserver::node::StreamOptions;
use apiserver::{Body, Call, CommandSession, Error, Result};
use http::Response;
use model::Object;

use super::container::{container, target};
use crate::conversation::{OF_COMMANDS, OF_PORTS, admit};

pub(super) async fn exec(call: Call) -> Result<Response<Body>> {
    call.may_create().await?;
    admit(&call, "PodExecOptions", &OF_COMMANDS).await?;
    let pod = call.current().await?;
    let target = target(&call, &pod)?;
    let session = call.command_session()?;
    let command: Vec<String> = session.call().query().all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Error::bad_request("you must specify at least 1 command for the container"));
    }
    let options = options(&session, &pod, command)?;
    session.exec(target, options)
}

pub(super) async fn attach(call: Call) -> Result<Response<Body>> {
    call.may_create().await?;
    admit(&call, "PodAttachOptions", &OF_COMMANDS[..5]).await?;
    let pod = call.current().await?;
    let target = target(&call, &pod)?;
    let session = call.command_session()?;
    let command = session.call().query().all("command").map(str::to_owned).collect();
    let options = options(&session, &pod, command)?;
    session.attach(target, options)
}

pub(super) async fn port_forward(call: Call) -> Result<Response<Body>> {
    call.may_create().await?;
    admit(&call, "PodPortForwardOptions", &OF_PORTS).await?;
    let pod = call.current().await?;
    let target = target(&call, &pod)?;
    let session = call.port_session()?;
    check_running(&pod)?;
    session.forward(target)
}

fn options(session: &CommandSession, pod: &Object, command: Vec<String>) -> Result<StreamOptions> {
    check_running(pod)?;
    let named = session.call().query().filled("container");
    Ok(StreamOptions { container: container(pod, named)?, command, tty: session.tty() })
}

fn check_running(pod: &Object) -> Result<()> {
    match pod.get_str(&["status", "phase"]) {
        Some(phase @ ("Succeeded" | "Failed")) => Err(Error::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(()),
    }
}
