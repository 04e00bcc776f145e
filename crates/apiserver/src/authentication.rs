//! Establishing who makes a request: by client certificate or by token: of a service account, of a machine
//! that is new, or one that a file names.

pub(crate) mod bootstrap;
pub(crate) mod certificate;
pub(crate) mod fixed;
pub(crate) mod token;

use http::{HeaderMap, header};
use model::Status;

use crate::error::Result;
use crate::identity::Identity;
use crate::state::State;

use token::{Accepted, TokenError};

/// The caller behind a connection with `certificate` and a request with `headers`; none where
/// nothing was shown. Whatever was shown must be good.
pub(crate) async fn authenticate(
    state: &State,
    certificate: Option<&Identity>,
    headers: &HeaderMap,
) -> Result<Option<Identity>> {
    if let Some(identity) = certificate {
        return Ok(Some(identity.clone()));
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token else { return Err(Status::unauthorized().into()) };
    match by_token(state, token, std::slice::from_ref(&state.issuer)).await {
        Ok(accepted) => Ok(Some(accepted.identity)),
        Err(error) => {
            tracing::debug!(error = %base::error::chain(&error), "a token was refused");
            Err(Status::unauthorized().into())
        }
    }
}

/// Whose a token is, if it is meant for any of `audiences`.
pub(crate) async fn by_token(
    state: &State,
    token: &str,
    audiences: &[String],
) -> std::result::Result<Accepted, TokenError> {
    let known = match (state.fixed_tokens.find(token), bootstrap::parts(token)) {
        (Some(identity), _) => identity.clone(),
        (None, Some((id, secret))) => bootstrap::authenticate(state, id, secret)?,
        (None, None) => return token::authenticate(state, token, audiences).await,
    };
    // They say nothing of whom they are for: that is this server.
    if !audiences.contains(&state.issuer) {
        return Err(TokenError::Audience);
    }
    Ok(Accepted { identity: known, audiences: vec![state.issuer.clone()] })
}
