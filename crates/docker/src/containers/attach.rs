//! `POST /containers/{name}/attach`: a container's own streams.

use engine::Container;
use engine::container::{LogQuery, Status};
use futures::StreamExt;

use crate::answer::Answer;
use crate::call::Call;
use crate::containers::logs;
use crate::detach::DetachKeys;
use crate::fault::Fault;
use crate::framing::Framing;
use crate::hijack::{self, Session};

/// Attaches to a container, or with `stream=0` gives what it wrote so far.
pub(crate) async fn attach(call: Call) -> Answer {
    detach_keys(&call)?;
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
    refuse(&container, &call.name)?;
    let framing = Framing::of_terminal(container.spec.tty);
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !query.flag("stream") {
        let lines = match query.flag("logs") {
            true => {
                let query = LogQuery { stdout, stderr, ..LogQuery::default() };
                call.engine().container_logs(&id, query).await?
            }
            false => futures::stream::empty().boxed(),
        };
        return hijack::answer_output(call, framing, logs::pieces(lines, framing, logs::Shape::default()));
    }
    let session = session(&call, query.flag("stdin"), stdout, stderr, framing).await?;
    hijack::answer(call, session)
}

/// Who attaches to a container that stands still, or is between two runs, would wait for nobody knows what.
fn refuse(container: &Container, named: &str) -> Result<(), Fault> {
    match container.state.status {
        Status::Paused => {
            Err(Fault::conflict(format!("container {named} is paused, unpause the container before attach")))
        }
        Status::Restarting => Err(Fault::conflict(format!(
            "container {named} is restarting, wait until the container is running"
        ))),
        _ => Ok(()),
    }
}

fn detach_keys(call: &Call) -> Result<DetachKeys, Fault> {
    let text = call.query.text("detachKeys");
    DetachKeys::parse(text).map_err(|_| Fault::invalid(format!("Invalid detach keys ({text}) provided")))
}

/// The session that the query of `call` asks for.
pub(super) async fn session(
    call: &Call,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    framing: Framing,
) -> Result<Session, Fault> {
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
    refuse(&container, &call.name)?;
    let spec = &container.spec;
    let detach = match spec.tty {
        true => Some(detach_keys(call)?),
        false => None,
    };
    // What is logged between the two is sent twice at worst, never lost.
    let attached = call.engine().container_attach(&id, stdin && spec.stdin_open).await?;
    let earlier = match call.query.flag("logs") {
        true => {
            Some(call.engine().container_logs(&id, LogQuery { stdout, stderr, ..LogQuery::default() }).await?)
        }
        false => None,
    };
    Ok(Session {
        attached,
        framing,
        stdin: stdin && spec.stdin_open,
        stdout,
        stderr,
        detach,
        close_stdin: spec.stdin_once && !spec.tty,
        earlier,
        detached: Box::new({
            let (engine, id) = (call.engine().clone(), id.clone());
            move || engine.container_detached(&id)
        }),
    })
}
