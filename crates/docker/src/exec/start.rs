//! `POST /exec/{name}/start`: runs a prepared process.

use bytes::Bytes;
use engine::OutputKind;
use http::StatusCode;

use super::create::size;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::detach::DetachKeys;
use crate::fault::Fault;
use crate::framing::Framing;
use crate::hijack::{self, Session};
use crate::wire::exec::Start;

/// Starts a process, and carries its streams unless it is to run alone.
pub(crate) async fn start(mut call: Call) -> Answer {
    let document: Start = call.optional_json().await?.unwrap_or_default();
    let id = call.exec()?;
    let exec = call.engine().exec_inspect(&id)?;
    if document.console_size.is_some() && !document.tty {
        return Err(Fault::invalid("console size is only supported when TTY is enabled"));
    }
    let started = call.engine().exec_start(&id).await;
    if document.detach {
        started?;
        return answer::bare(StatusCode::OK);
    }
    let framing = Framing::of_terminal(exec.spec.tty);
    let attached = match started {
        Ok(attached) => attached,
        // The client learns from the exit code that nothing ran, and shows the user why.
        Err(error) if error.exit_code().is_some() => {
            let text = Bytes::from(format!("{}\r\n", error.full_message()));
            return hijack::answer_text(call, framing, framing.wrap(OutputKind::Stdout, text));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(size) = document.console_size.and_then(size) {
        // It can have ended already.
        let _ = attached.resize.resize(size).await;
    }
    let session = Session {
        attached,
        framing,
        stdin: exec.spec.attach.stdin,
        stdout: exec.spec.attach.stdout,
        stderr: exec.spec.attach.stderr,
        detach: if exec.spec.tty { Some(DetachKeys::parse("")?) } else { None },
        close_stdin: true,
        earlier: None,
    };
    hijack::answer_without_input(call, session)
}
