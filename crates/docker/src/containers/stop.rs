//! `POST /containers/{name}/stop`.

use std::time::Duration;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// A grace that is as good as for ever.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Asks a container to stop, and kills it when it does not.
pub(crate) async fn stop(call: Call) -> Answer {
    let id = call.container()?;
    let (signal, grace) = wish(&call)?;
    let engine = call.engine().clone();
    let stopped =
        call.complete(async move { Ok(engine.container_stop(&id, signal.as_deref(), grace).await?) });
    stopped
        .await
        .map_err(|fault| fault.while_trying(format_args!("cannot stop container: {}", call.name)))?;
    answer::no_content()
}

/// The signal and the grace that the query of `call` names; a negative grace has no end.
pub(super) fn wish(call: &Call) -> Result<(Option<String>, Option<Duration>), Fault> {
    let signal = Some(call.query.text("signal")).filter(|signal| !signal.is_empty()).map(str::to_owned);
    let grace =
        call.query.number("t")?.map(|seconds| u64::try_from(seconds).map_or(FOR_EVER, Duration::from_secs));
    Ok((signal, grace))
}
