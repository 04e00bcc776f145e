//! Tokens that are kept in Secrets of type `kubernetes.io/service-account-token`: without an end, good while the
//! Secret has them and their account is there.
//! Source: Kubernetes documentation, "Manually create a long-lived API token for a ServiceAccount" and "Legacy
//! ServiceAccount token cleaner".

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, header};
use model::Object;
use serde_json::json;

use super::{TokenError, check_exists};
use crate::handle::Handle;
use crate::identity::Identity;
use crate::jws::Claims;
use crate::resource::partition as partition_of;
use crate::state::{State, object_name};

/// What such tokens say of their issuer.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Whose such a token is.
pub(super) fn identity(state: &Arc<State>, token: &str, claims: &Claims) -> Result<Identity, TokenError> {
    let claim =
        |name: &'static str| claims.text(name).filter(|text| !text.is_empty()).ok_or(TokenError::Claim(name));
    let namespace = claim("kubernetes.io/serviceaccount/namespace")?;
    let secret = claim("kubernetes.io/serviceaccount/secret.name")?;
    let account = claim("kubernetes.io/serviceaccount/service-account.name")?;
    let uid = claim("kubernetes.io/serviceaccount/service-account.uid")?;
    if claim("sub")? != format!("system:serviceaccount:{namespace}:{account}") {
        return Err(TokenError::Claim("sub"));
    }
    let partition = state.cache.partition(&partition_of("", "secrets"));
    let found = partition.get(&object_name(namespace, secret)).ok_or(TokenError::Gone("secret"))?.object();
    let holds = found.get_str(&["data", "token"]).and_then(|data| STANDARD.decode(data).ok());
    if found.is_being_deleted() || holds.as_deref() != Some(token.as_bytes()) {
        return Err(TokenError::Gone("secret"));
    }
    check_exists(
        state,
        "serviceaccounts",
        "service account",
        namespace,
        &json!({"name": account, "uid": uid}),
    )?;
    // Of a token without an end nothing is left to be done meanwhile.
    let accounts = state.cache.partition(&partition_of("", "serviceaccounts"));
    if accounts
        .get(&object_name(namespace, account))
        .is_none_or(|account| account.object().is_being_deleted())
    {
        return Err(TokenError::Gone("service account"));
    }
    note_use(state, namespace, &found);
    if !found.get_str(&["metadata", "labels", INVALID_SINCE]).unwrap_or_default().is_empty() {
        return Err(TokenError::Legacy(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked \
             invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        )));
    }
    let mut identity = Identity::service_account(namespace, account);
    uid.clone_into(&mut identity.uid);
    Ok(identity)
}

/// Notes on the Secret the day that its token was used on last, beside the request that used it.
fn note_use(state: &Arc<State>, namespace: &str, secret: &Object) {
    let now = model::time::format(state.clock.now());
    let today = now.split('T').next().unwrap_or_default();
    if secret.get_str(&["metadata", "labels", LAST_USED]) == Some(today) {
        return;
    }
    let key = object_name(namespace, secret.name());
    // Whoever uses it a thousand times at once has it noted once.
    if !state.noting.lock().insert(key.clone()) {
        return;
    }
    let uid = secret.uid();
    let patch = json!({"metadata": {"uid": uid, "labels": {LAST_USED: today}}});
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/api/v1/namespaces/{namespace}/secrets/{}", secret.name()))
        .header(header::USER_AGENT, "kube-apiserver")
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(Bytes::from(patch.to_string()));
    let Ok(request) = request else { return };
    let worker = state.clone();
    state.tasks.spawn(async move {
        let answer = Handle::new(worker.clone()).call(request, Identity::server()).await;
        if !answer.status().is_success() {
            tracing::warn!(secret = key, code = answer.status().as_u16(), "cannot note that a token is used");
        }
        worker.noting.lock().remove(&key);
    });
}
