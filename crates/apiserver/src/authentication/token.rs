//! Service-account tokens: signed by this installation, for an audience, until they expire, and only
//! while the account and what they are bound to exist.
//! Source: Kubernetes documentation, "Managing Service Accounts", and RFC 7519.

mod legacy;

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::Object;
use serde_json::{Value, json};

use crate::consistency;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::jws::Claims;
use crate::pki::VerifyError;
use crate::resource::partition;
use crate::state::{State, object_name};

const CLAIMS: &str = "kubernetes.io";
/// How long after the time at which it was to be gone something's tokens are still good.
const LEEWAY: Duration = Duration::from_secs(60);

/// A token that was found good.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    /// Those of the asked-for audiences that it is meant for.
    pub(crate) audiences: Vec<String>,
}

/// How long a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Until it is refused.
    pub lasts: Duration,
    /// Until whoever uses it should have taken a new one, where that is earlier.
    pub warns: Option<Duration>,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token cannot be verified")]
    Verify(#[source] VerifyError),
    #[error("the token lacks the claim `{0}`")]
    Claim(&'static str),
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is not valid at this time")]
    Time,
    #[error("the {0} that the token belongs to is gone")]
    Gone(&'static str),
    #[error("the token is not known")]
    Unknown,
    #[error("{0}")]
    Legacy(String),
    #[error("{0}")]
    Outside(String),
}

/// What a token is bound to besides its account.
#[derive(Clone, Debug)]
pub struct Bound {
    /// `pod`, `secret` or `node`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node that it is on, by name and uid, where it is a pod.
    pub node: Option<(String, String)>,
}

/// Checks a token for any of `audiences`.
pub(crate) async fn authenticate(
    state: &Arc<State>,
    token: &str,
    audiences: &[String],
) -> Result<Accepted, TokenError> {
    match check(state, token, audiences) {
        // What it belongs to may have been made through another server, a moment ago.
        Err(TokenError::Gone(_))
            if state.store.is_shared() && consistency::catch_up_with_store(state).await.is_ok() =>
        {
            check(state, token, audiences)
        }
        checked => checked,
    }
}

/// Whether tokens of this issuer are those of service accounts.
pub(super) fn is_ours(state: &State, issuer: &str) -> bool {
    issuer == legacy::ISSUER || state.issuers.iter().any(|known| known == issuer)
}

fn check(state: &Arc<State>, token: &str, audiences: &[String]) -> Result<Accepted, TokenError> {
    let claims = state.token_keys.verify(token).map_err(TokenError::Verify)?;
    let issuer = claims.text("iss").unwrap_or_default();
    let is_legacy = issuer == legacy::ISSUER;
    if !is_legacy && !is_ours(state, issuer) {
        return Err(TokenError::Issuer);
    }
    let meant = match claims.audiences() {
        Some(meant) => meant,
        // As old as that one, it is for this server and nobody else.
        None if is_legacy => state.audiences.iter().map(String::as_str).collect(),
        None => return Err(TokenError::Claim("aud")),
    };
    let audiences: Vec<String> = audiences.iter().filter(|a| meant.contains(&a.as_str())).cloned().collect();
    if audiences.is_empty() {
        return Err(TokenError::Audience);
    }
    if is_legacy {
        return Ok(Accepted { identity: legacy::identity(state, token, &claims)?, audiences });
    }
    let now = state.clock.now().as_second();
    let expires = claims.seconds("exp").ok_or(TokenError::Claim("exp"))?;
    if now >= expires || claims.seconds("nbf").is_some_and(|from| now < from) {
        return Err(TokenError::Time);
    }
    let identity = identity(state, &claims)?;
    let private = claims.0.get(CLAIMS).unwrap_or(&Value::Null);
    if private["warnafter"].as_i64().is_some_and(|after| now > after) {
        tracing::debug!(user = identity.user, "a token is used that should have been read anew");
    }
    Ok(Accepted { identity, audiences })
}

/// Makes a token for an account.
pub(crate) fn issue(
    state: &State,
    account: &Object,
    audiences: &[String],
    lifetime: Lifetime,
    bound: Option<&Bound>,
    now: Timestamp,
) -> Result<String> {
    let namespace = account.namespace().unwrap_or_default();
    let seconds = now.as_second();
    let mut private = json!({
        "namespace": namespace,
        "serviceaccount": {"name": account.name(), "uid": account.uid()},
    });
    if let Some(warns) = lifetime.warns {
        private["warnafter"] = json!(seconds + warns.as_secs().cast_signed());
    }
    if let Some(bound) = bound {
        private[bound.kind] = json!({"name": bound.name, "uid": bound.uid});
        if let Some((name, uid)) = &bound.node {
            private["node"] = json!({"name": name, "uid": uid});
        }
    }
    let claims = json!({
        "aud": audiences,
        "exp": seconds + lifetime.lasts.as_secs().cast_signed(),
        "iat": seconds,
        "iss": state.issuers[0],
        "jti": state.new_uid(),
        CLAIMS: private,
        "nbf": seconds,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.name()),
    });
    state.token_keys.sign(&claims).map_err(|e| Error::internal(&e))
}

fn identity(state: &State, claims: &Claims) -> Result<Identity, TokenError> {
    let private = claims.0.get(CLAIMS).unwrap_or(&Value::Null);
    let namespace = private["namespace"].as_str().ok_or(TokenError::Claim("namespace"))?;
    let account = &private["serviceaccount"];
    let name = account["name"].as_str().ok_or(TokenError::Claim("serviceaccount"))?;
    check_exists(state, "serviceaccounts", "service account", namespace, account)?;
    let mut identity = Identity::service_account(namespace, name);
    account["uid"].as_str().unwrap_or_default().clone_into(&mut identity.uid);
    let mut tell = |what: String, value: &str| {
        identity.extra.insert(format!("authentication.kubernetes.io/{what}"), vec![value.to_owned()]);
    };
    let is_on_node = private["pod"].is_object();
    for (kind, plural) in [("pod", "pods"), ("secret", "secrets"), ("node", "nodes")] {
        let bound = &private[kind];
        if bound.is_null() {
            continue;
        }
        // Of a pod's token the node tells where it is; the pod is what it lives with.
        if kind != "node" || !is_on_node {
            check_exists(state, plural, kind, if kind == "node" { "" } else { namespace }, bound)?;
        }
        for part in ["name", "uid"] {
            let value = bound[part].as_str().unwrap_or_default();
            if !value.is_empty() {
                tell(format!("{kind}-{part}"), value);
            }
        }
    }
    if let Some(id) = claims.text("jti").filter(|id| !id.is_empty()) {
        tell("credential-id".to_owned(), &format!("JTI={id}"));
    }
    Ok(identity)
}

/// What a token belongs to must be there, and not have been gone for a while: a pod may end in its own time.
fn check_exists(
    state: &State,
    plural: &str,
    what: &'static str,
    namespace: &str,
    claim: &Value,
) -> Result<(), TokenError> {
    let name = claim["name"].as_str().unwrap_or_default();
    let found = state.cache.partition(&partition("", plural)).get(&object_name(namespace, name));
    let part = |part: &str| found.as_ref().and_then(|stored| stored.scalar(&["metadata", part]));
    let ended = part("deletionTimestamp").and_then(|at| model::time::parse(&at));
    let over = ended.and_then(|at| at.checked_add(LEEWAY).ok()).is_some_and(|at| at < state.clock.now());
    match (part("uid"), claim["uid"].as_str()) {
        (Some(uid), Some(claimed)) if uid == claimed && !over => Ok(()),
        _ => Err(TokenError::Gone(what)),
    }
}
