//! `POST /containers/{name}/wait`: waits for a container's end.

use bytes::Bytes;
use engine::container::WaitCondition;
use futures::{FutureExt, stream};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::wire::container::{WaitError, WaitResponse};
use crate::words;

/// Waits for a container's end. The head of the answer is sent at once, so that the client knows
/// that nothing is missed from here on.
pub(crate) async fn wait(call: Call) -> Answer {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Fault::invalid(format!("invalid condition: \"{other}\""))),
    };
    let waiting = call.engine().container_wait(&call.container()?, condition)?;
    let answered = waiting.map(|ended| {
        let document = match ended {
            // Why a program could not be started is told by the start; an error here would be one of waiting.
            Ok(status) => WaitResponse { status_code: i64::from(status.code), error: None },
            Err(error) => {
                WaitResponse { status_code: -1, error: Some(WaitError { message: words::message(&error) }) }
            }
        };
        let mut text = serde_json::to_vec(&document).map_err(std::io::Error::other)?;
        text.push(b'\n');
        Ok(Bytes::from(text))
    });
    answer::endless("application/json", stream::once(answered), call.api.closing.clone())
}
