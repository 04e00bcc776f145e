//! `POST /containers/{name}/attach`: a container's own streams.

use engine::container::LogQuery;
use futures::StreamExt;

use crate::answer::Answer;
use crate::call::Call;
use crate::containers::logs;
use crate::detach::DetachKeys;
use crate::framing::Framing;
use crate::hijack::{self, Session};

/// Attaches to a container, or with `stream=0` gives what it wrote so far.
pub(crate) async fn attach(call: Call) -> Answer {
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
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

/// The session that the query of `call` asks for.
pub(super) async fn session(
    call: &Call,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    framing: Framing,
) -> Result<Session, crate::fault::Fault> {
    let id = call.container()?;
    let spec = &call.engine().container_inspect(&id)?.spec;
    let detach = match spec.tty {
        true => Some(DetachKeys::parse(call.query.text("detachKeys"))?),
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
    })
}
