//! `POST /grpc` and `POST /session`: connections over which BuildKit's clients call, and are called.

use buildkit::{Introduction, Owner};
use http::header::UPGRADE;

use crate::answer::Answer;
use crate::call::Call;
use crate::fault::Fault;
use crate::hijack;

/// HTTP/2 without TLS of its own.
const HTTP2: &str = "h2c";

/// Lets the client call BuildKit's services.
pub(crate) async fn grpc(mut call: Call) -> Answer {
    let upgrade = upgrade(&mut call)?;
    let (buildkit, owner) = (call.api.buildkit.clone(), owner(&call));
    hijack::hand_over(&call, upgrade, HTTP2, move |io| async move { buildkit.serve(owner, io).await })
}

/// Keeps a session: builds ask the client for its files and more.
pub(crate) async fn session(mut call: Call) -> Answer {
    let introduction = Introduction::read(&call.parts.headers);
    let buildkit = call.api.buildkit.clone();
    let upgrade = upgrade(&mut call)?;
    buildkit.check_session(&introduction).map_err(|error| Fault::invalid(error.to_string()))?;
    let owner = owner(&call);
    hijack::hand_over(&call, upgrade, HTTP2, move |io| async move {
        if let Err(error) = buildkit.hold_session(introduction, owner, io).await {
            tracing::debug!(error = %base::error::chain(&error), "a session was not held");
        }
    })
}

/// The connection, if the client wants it in the one protocol that there is.
fn upgrade(call: &mut Call) -> Result<hyper::upgrade::OnUpgrade, Fault> {
    let wanted = call.parts.headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (wanted, call.upgrade.take()) {
        (HTTP2, Some(upgrade)) => Ok(upgrade),
        ("", _) | (_, None) => Err(Fault::invalid("no upgrade proto in request")),
        (other, _) => Err(Fault::invalid(format!("protocol {other} not supported"))),
    }
}

/// Whose connection a request came over.
pub(super) fn owner(call: &Call) -> Owner {
    call.parts.extensions.get().cloned().unwrap_or_else(|| Owner::of("nobody"))
}
