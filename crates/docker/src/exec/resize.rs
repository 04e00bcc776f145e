//! `POST /exec/{name}/resize`: the size of a process's terminal.

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::containers;

/// Sets the size of the terminal.
pub(crate) async fn resize(call: Call) -> Answer {
    let size = containers::resize::size(&call)?;
    call.engine().exec_resize(&call.exec()?, size).await?;
    answer::bare(StatusCode::OK)
}
