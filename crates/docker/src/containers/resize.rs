//! `POST /containers/{name}/resize`: the size of a container's terminal.

use engine::TerminalSize;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Sets the size of the terminal.
pub(crate) async fn resize(call: Call) -> Answer {
    let size = size(&call)?;
    call.engine().container_resize(&call.container()?, size).await?;
    answer::bare(StatusCode::OK)
}

/// The size in the query of `call`.
pub(crate) fn size(call: &Call) -> Result<TerminalSize, Fault> {
    let side = |name: &str, what: &str| {
        let text = call.query.text(name);
        text.parse().map_err(|_| Fault::invalid(format!("invalid resize {what} \"{text}\": invalid syntax")))
    };
    Ok(TerminalSize { rows: side("h", "height")?, columns: side("w", "width")? })
}
