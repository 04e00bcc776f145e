//! `POST /containers/{name}/exec`: prepares a process.

use engine::TerminalSize;
use engine::container::{AttachFlags, Status};
use engine::exec::ExecSpec;
use http::StatusCode;

use super::start::SIZES;
use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::containers::resize::terminal_size;
use crate::convert::keys;
use crate::detach::DetachKeys;
use crate::fault::Fault;
use crate::wire::exec::{Create, Created};

/// Prepares a process in a running container.
pub(crate) async fn create(mut call: Call) -> Answer {
    let mut document = call.json().await?;
    keys::of_exec(&mut document);
    let document: Create = call::read(document)?;
    if document.cmd.0.is_empty() {
        return Err(Fault::invalid("No exec command specified"));
    }
    let wrong = |_| Fault::invalid(format!("Invalid escape keys ({}) provided", document.detach_keys));
    DetachKeys::parse(&document.detach_keys).map_err(wrong)?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let spec = ExecSpec {
        command: document.cmd.0,
        env: document.env,
        workdir: some(document.working_dir),
        user: some(document.user),
        tty: document.tty,
        size: document.console_size.filter(|_| call.version >= SIZES).and_then(size),
        privileged: document.privileged,
        detach_keys: document.detach_keys,
        attach: AttachFlags {
            stdin: document.attach_stdin,
            stdout: document.attach_stdout,
            stderr: document.attach_stderr,
        },
    };
    let container = call.container()?;
    if call.engine().container_inspect(&container)?.state.status == Status::Paused {
        return Err(Fault::conflict(format!(
            "Container {} is paused, unpause the container before exec",
            call.name
        )));
    }
    let id = call.engine().exec_create(&container, spec).await?;
    answer::json_with(StatusCode::CREATED, &Created { id: id.to_string() })
}

/// Height and width; all zero is none.
pub(super) fn size([rows, columns]: [u32; 2]) -> Option<TerminalSize> {
    (rows > 0 && columns > 0).then(|| terminal_size(rows, columns))
}
