//! Establishing who makes a request: by what a proxy in front of the server says, by client certificate, or by
//! token: of a service account, of a machine that is new, one that a file names, of an issuer elsewhere, or one
//! that a webhook knows.

pub(crate) mod bootstrap;
pub(crate) mod certificate;
pub(crate) mod fixed;
pub(crate) mod front_proxy;
pub(crate) mod structured;
pub(crate) mod token;
pub(crate) mod webhook;

use std::sync::Arc;

use http::{HeaderMap, header};
use model::Status;

use crate::error::Result;
use crate::identity::Identity;
use crate::jws::Unverified;
use crate::state::State;

use certificate::Shown;
use token::{Accepted, TokenError};

/// The caller behind a connection where `shown` was shown, and a request with `headers`; none where nothing was.
/// Whatever was shown must be good. What only a proxy may say is no header of the request afterwards.
pub(crate) async fn authenticate(
    state: &Arc<State>,
    shown: &Shown,
    headers: &mut HeaderMap,
) -> Result<Option<Identity>> {
    // A connection may outlive what was shown when it began.
    if shown.until.is_some_and(|until| state.clock.now().as_second() > until) {
        tracing::debug!("a client's certificate is over");
        return Err(Status::unauthorized().into());
    }
    let proxy = state.front_proxy.as_deref();
    let said = match (proxy, &shown.proxy) {
        (Some(proxy), Some(name)) if proxy.allows(name) => proxy.identity(headers),
        _ => None,
    };
    front_proxy::drop_headers(proxy, headers);
    if let Some(identity) = said.or_else(|| shown.identity.clone()) {
        return Ok(Some(identity));
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        // A proxy that names nobody is nobody itself.
        return if shown.proxy.is_some() { Err(Status::unauthorized().into()) } else { Ok(None) };
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token else { return Err(Status::unauthorized().into()) };
    match by_token(state, token, &state.audiences).await {
        Ok(accepted) => Ok(Some(accepted.identity)),
        Err(error) => {
            tracing::debug!(error = %base::error::chain(&error), "a token was refused");
            Err(Status::unauthorized().into())
        }
    }
}

/// Whose a token is, if it is meant for any of `audiences`.
pub(crate) async fn by_token(
    state: &Arc<State>,
    token: &str,
    audiences: &[String],
) -> std::result::Result<Accepted, TokenError> {
    let outcome = by_own(state, token, audiences).await;
    match (&state.token_webhook, outcome) {
        (Some(webhook), Err(why)) => {
            let asked = webhook.authenticate(&*state.clock, token, audiences, &state.audiences).await;
            // What is known of it here says more than that the other does not know it.
            asked.map_err(|error| if error == TokenError::Unknown { why } else { error })
        }
        (_, outcome) => outcome,
    }
}

async fn by_own(
    state: &Arc<State>,
    token: &str,
    audiences: &[String],
) -> std::result::Result<Accepted, TokenError> {
    if let Some(identity) = state.fixed_tokens.find(token) {
        return here(state, identity.clone(), audiences);
    }
    if let Some((id, secret)) = bootstrap::parts(token) {
        return here(state, bootstrap::authenticate(state, id, secret)?, audiences);
    }
    let is_ours = Unverified::parse(token).is_some_and(|token| token::is_ours(state, token.issuer()));
    if !is_ours && let Some(outcome) = state.structured.authenticate(token, &*state.clock).await {
        return here(state, outcome?, audiences);
    }
    token::authenticate(state, token, audiences).await
}

/// A token that says nothing of whom it is for: that is this server.
fn here(
    state: &State,
    identity: Identity,
    audiences: &[String],
) -> std::result::Result<Accepted, TokenError> {
    let audiences: Vec<String> =
        audiences.iter().filter(|audience| state.audiences.contains(audience)).cloned().collect();
    if audiences.is_empty() {
        return Err(TokenError::Audience);
    }
    Ok(Accepted { identity, audiences })
}
