//! `POST /exec/{name}/start`: runs a prepared process.

use http::StatusCode;

use super::create::size;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::detach::DetachKeys;
use crate::fault::Fault;
use crate::framing::Framing;
use crate::hijack::{self, Session};
use crate::version::ApiVersion;
use crate::wire::exec::Start;
use crate::words;

/// The first version in which clients say how large a terminal is from the start.
pub(super) const SIZES: ApiVersion = ApiVersion(1, 42);

/// Starts a process, and carries its streams unless it is to run alone.
pub(crate) async fn start(mut call: Call) -> Answer {
    let document: Start = call.optional_json().await?.unwrap_or_default();
    let id = call.exec()?;
    let exec = call.engine().exec_inspect(&id)?;
    if exec.exit_code.is_some() {
        return Err(Fault::conflict(format!("exec command {id} has already run")));
    }
    if exec.running {
        return Err(Fault::conflict(format!("exec command {id} is already running")));
    }
    let engine = call.engine().clone();
    // Where there is no terminal, nor the version that has it, nobody asked for a size.
    let size = document.console_size.filter(|_| document.tty && call.version >= SIZES).and_then(size);
    if document.detach {
        call.complete(async move {
            engine.exec_start(&id, size).await?;
            Ok(())
        })
        .await?;
        return answer::bare(StatusCode::OK);
    }
    // The client says anew how it reads the stream, whatever the process has.
    let framing = Framing::of_terminal(document.tty);
    let detach = if exec.spec.tty { Some(DetachKeys::parse(&exec.spec.detach_keys)?) } else { None };
    hijack::answer_then(call, framing, async move {
        // The client learns from the exit code that nothing ran, and shows the user why.
        let attached = engine.exec_start(&id, size).await.map_err(|error| words::message(&error))?;
        Ok(Session {
            attached,
            framing,
            stdin: exec.spec.attach.stdin,
            stdout: exec.spec.attach.stdout,
            stderr: exec.spec.attach.stderr,
            detach,
            close_stdin: true,
            earlier: None,
            detached: Box::new(move || engine.exec_detached(&id)),
        })
    })
}
