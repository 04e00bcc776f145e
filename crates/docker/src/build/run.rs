//! `POST /build`: builds an image, with the classic builder's protocol.

use build::{BuildError, BuildEvent, BuildRequest, BuildStream};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::cancel::Running;
use super::options;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::images::progress::{self, Form};
use crate::version::ApiVersion;
use crate::wire::progress::Progress;
use crate::words;

/// Builds an image of the context in the body.
pub(crate) async fn build(mut call: Call) -> Answer {
    if call.query.text("version") == "2" {
        return super::graph::build(call).await;
    }
    let options = options::read(&call)?;
    // Results that programs read came with this version; a quiet build tells its id alone.
    let tells_results = call.version >= ApiVersion(1, 30) && !options.quiet;
    let running = call.api.builds.begin(call.query.text("buildid"));
    let context = call.body_stream()?;
    let mut events = ::build::build(call.api.buildkit.solver(), BuildRequest { context, options });
    // A build that fails before it says anything fails as a whole.
    let first = tokio::select! {
        first = events.next() => first.transpose().map_err(fault)?,
        () = running.cancelled() => return Err(Fault::internal(CANCELLED)),
    };
    let events =
        stream::iter(first.map(|event| Told::Event(Ok(event)))).chain(until_cancelled(events, running));
    let lines = events.flat_map(move |told| {
        let lines = match told {
            Told::Event(Ok(BuildEvent::Text(text))) => vec![Progress::stream(text)],
            Told::Event(Ok(BuildEvent::Pull(step))) => progress::lines_of(step, Form::Transfer),
            Told::Event(Ok(BuildEvent::Built(id))) if tells_results => {
                vec![Progress::aux(serde_json::json!({"ID": id.as_str()}))]
            }
            Told::Event(Ok(BuildEvent::Built(_))) => Vec::new(),
            Told::Event(Err(error)) => vec![failure(error)],
            Told::Cancelled => {
                vec![Progress::stream(format!("{CANCELLED}\n")), Progress::error(CANCELLED, None)]
            }
        };
        stream::iter(lines.into_iter().map(|line| Ok(Bytes::from(line.line()))))
    });
    answer::stream("application/json", lines)
}

/// What is said of a build that was cancelled.
pub(super) const CANCELLED: &str = "Build cancelled";

/// What there is to tell of a build.
enum Told {
    Event(Result<BuildEvent, BuildError>),
    Cancelled,
}

/// What a build tells, until it ends or is cancelled: then it is dropped.
fn until_cancelled(events: BuildStream, running: Running) -> impl Stream<Item = Told> + Send {
    stream::unfold(Some((events, running)), |state| async move {
        let (mut events, running) = state?;
        tokio::select! {
            event = events.next() => Some((Told::Event(event?), Some((events, running)))),
            () = running.cancelled() => Some((Told::Cancelled, None)),
        }
    })
}

fn fault(error: BuildError) -> Fault {
    match error {
        BuildError::Engine(error) => error.into(),
        BuildError::Operation(error) => Fault::of(error.kind(), words::message(&error)),
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
