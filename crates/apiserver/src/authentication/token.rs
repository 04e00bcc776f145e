//! Service-account tokens: signed by this installation, for an audience, until they expire, and only
//! while the account and what they are bound to exist.
//! Source: Kubernetes documentation, "Managing Service Accounts", and RFC 7519.

use std::time::Duration;

use base::Timestamp;
use model::Object;
use serde_json::{Value, json};

use crate::consistency;
use crate::error::{Error, Result};
use crate::identity::Identity;
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
    state: &State,
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

fn check(state: &State, token: &str, audiences: &[String]) -> Result<Accepted, TokenError> {
    let claims = state.token_keys.verify(token).map_err(TokenError::Verify)?;
    if claims["iss"] != state.issuer.as_str() {
        return Err(TokenError::Issuer);
    }
    let meant: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return Err(TokenError::Claim("aud")),
    };
    let audiences: Vec<String> = audiences.iter().filter(|a| meant.contains(&a.as_str())).cloned().collect();
    if audiences.is_empty() {
        return Err(TokenError::Audience);
    }
    let now = state.clock.now().as_second();
    let expires = claims["exp"].as_i64().ok_or(TokenError::Claim("exp"))?;
    if now >= expires || claims["nbf"].as_i64().is_some_and(|from| now < from) {
        return Err(TokenError::Time);
    }
    Ok(Accepted { identity: identity(state, &claims)?, audiences })
}

/// Makes a token for an account.
pub(crate) fn issue(
    state: &State,
    account: &Object,
    audiences: &[String],
    lifetime: Duration,
    bound: Option<&Bound>,
    now: Timestamp,
) -> Result<String> {
    let namespace = account.namespace().unwrap_or_default();
    let seconds = now.as_second();
    let mut private = json!({
        "namespace": namespace,
        "serviceaccount": {"name": account.name(), "uid": account.uid()},
    });
    if let Some(bound) = bound {
        private[bound.kind] = json!({"name": bound.name, "uid": bound.uid});
        if let Some((name, uid)) = &bound.node {
            private["node"] = json!({"name": name, "uid": uid});
        }
    }
    let claims = json!({
        "aud": audiences,
        "exp": seconds + lifetime.as_secs().cast_signed(),
        "iat": seconds,
        "iss": state.issuer,
        "jti": state.new_uid(),
        CLAIMS: private,
        "nbf": seconds,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.name()),
    });
    state.token_keys.sign(&claims).map_err(|e| Error::internal(&e))
}

fn identity(state: &State, claims: &Value) -> Result<Identity, TokenError> {
    let private = &claims[CLAIMS];
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
    if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
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
