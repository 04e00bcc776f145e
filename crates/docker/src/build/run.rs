//! `POST /build`: builds an image, with the classic builder's protocol.

use build::{BuildError, BuildEvent, BuildRequest};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::options;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::images::progress::{self, Form};
use crate::wire::progress::Progress;
use crate::words;

/// Builds an image of the context in the body.
pub(crate) async fn build(mut call: Call) -> Answer {
    let options = options::read(&call)?;
    let context = call.body_stream()?;
    let mut events = ::build::build(call.engine().clone(), BuildRequest { context, options });
    // A build that fails before it says anything fails as a whole.
    let first = events.next().await.transpose().map_err(fault)?;
    let events = stream::iter(first.map(Ok)).chain(events);
    let lines = events.filter_map(|event| async move {
        let line = match event {
            Ok(BuildEvent::Text(text)) => Some(Progress::stream(text)),
            Ok(BuildEvent::Pull(step)) => progress::line(step, Form::Transfer, ""),
            Ok(BuildEvent::Built(id)) => Some(Progress::aux(serde_json::json!({"ID": id.as_str()}))),
            Err(error) => Some(failure(error)),
        };
        line.map(|line| Ok(Bytes::from(line.line())))
    });
    answer::stream("application/json", lines)
}

fn fault(error: BuildError) -> Fault {
    match error {
        BuildError::Engine(error) => error.into(),
        other => Fault::of(other.kind(), words::message(&other)),
    }
}

/// The last line; its code becomes the client's exit status.
fn failure(error: BuildError) -> Progress {
    let code = match &error {
        BuildError::Engine(error) => error.exit_code(),
        _ => None,
    };
    Progress::error(fault(error).message, code)
}
